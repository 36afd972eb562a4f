"""Whatever is within the bounds is accepted and added up exactly; nothing else is ever shared."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.forger import Forger, parts, slack_of

from pnyx.primitives.hashing import merkle_root
from pnyx.protocol.aggregation import coefficients, direct, verification
from pnyx.protocol.aggregation.ballots import Ballot, bit_weights, equations, to_bits
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.encoding import to_slots
from pnyx.protocol.aggregation.verdicts import Verdict, judge
from pnyx.protocol.selection import committee_size

SIZES = [committee_size(7, 1, 2), committee_size(11, 2, 2), committee_size(9, 2, 1)]


BALLOTS = [
    (Ballot("choice", 3), 6, [1, 0, 0, 0, 0, 1]),
    (Ballot("approval", 4, 3), 4, [1, 0, 1, 1]),
    (Ballot("approval", 2, 1), 4, [0, 0, 0, 1]),
    (Ballot("ranking", 3), 3, [1, 1, 0]),
]


def update_within(draw: st.DrawFn, bounded: int, norm_max: int) -> list[int]:
    left, update = norm_max**2, []
    for _ in range(bounded):
        most = int(left**0.5)
        most -= most * most > left
        update.append(draw(st.integers(-most, most)))
        left -= update[-1] ** 2
    return draw(st.permutations(update))


@st.composite
def cases(draw: st.DrawFn):
    """Bounds, a committee, and vectors (update, counts, noise of the counts) within the bounds."""
    bounded, counts = draw(st.integers(0, 6)), draw(st.integers(0, 4))
    norm_max, count_max = draw(st.integers(1, 16_000)), draw(st.integers(1, 2**40))
    ballot, valid = None, []
    if draw(st.booleans()):
        ballot, counts, valid = draw(st.sampled_from(BALLOTS))
        count_max = 1
    elif bounded + counts == 0:
        bounded = 1
    scale, noise_max = 1, 0
    if counts:
        scale, noise_max = draw(st.integers(1, 64)), draw(st.integers(0, 500))
    bounds = Bounds(bounded + counts, bounded, norm_max, count_max, scale, noise_max, ballot)
    vectors = []
    for _ in range(draw(st.integers(1, 3))):
        vector = update_within(draw, bounded, norm_max)
        vector += valid or [draw(st.integers(0, count_max)) for _ in range(counts)]
        if noise_max:
            vector += [draw(st.integers(-noise_max, noise_max)) for _ in range(counts)]
        vectors.append(vector)
    return bounds, draw(st.sampled_from(SIZES)), np.array(vectors, dtype=np.int64)


def summand(vector: np.ndarray, bounds: Bounds) -> np.ndarray:
    """What a vector adds to the sum: scaled counts with their noise."""
    added = vector[: bounds.length].copy()
    added[bounds.bounded :] *= bounds.count_scale
    if bounds.noise_max:
        added[bounds.bounded :] += vector[bounds.length :]
    return added


@given(cases(), st.binary(min_size=32, max_size=32))
@settings(deadline=None, max_examples=40)
def test_vectors_within_the_bounds_are_accepted_and_added(case, challenge):
    bounds, size, vectors = case
    claims, shares = [], []
    for who, vector in enumerate(vectors):
        proven = verification.prove(vector, bounds, size, challenge, bytes([who]))
        commitment = verification.commit(bytes([who]), merkle_root(proven.payloads))
        claims.append(coefficients.Claim(who, commitment, proven.published))
        shares.append([verification.read_payload(p, bounds, size) for p in proven.payloads])
    answers = {
        m: {
            c.contributor: verification.answers(s[m], m, c, challenge, bounds, size)
            for c, s in zip(claims, shares, strict=True)
        }
        for m in range(size.size)
    }
    found = judge(size, bounds, claims, challenge, answers)
    assert set(found.values()) == {Verdict(accepted=True)}
    length = verification.summed_length(bounds, size)
    released = {
        m: direct.read_released(
            verification.sum_share([s[m] for s in shares], bounds, size), length, size.packing
        )
        for m in range(size.size)
    }
    decoded, _, _ = direct.decode_sum(size, released, length)
    summed = verification.summed_vector(decoded, bounds, size)
    assert summed.tolist() == sum(summand(vector, bounds) for vector in vectors).tolist()


@given(st.lists(st.integers(-2000, 2000), min_size=3, max_size=3), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_an_update_is_accepted_exactly_when_it_is_within_the_bound(update, seed):
    """Forged or not: the proof passes for norms up to the bound, and for no other."""
    bounds, size, vector = Bounds(3, 3, 1500, 0), SIZES[0], np.array(update)
    with_slack = parts(bounds, size, vector, slack_of(bounds, vector))
    within = int(vector @ vector) <= bounds.norm_squared
    assert Forger(bounds, size, with_slack, seed=seed).judged(bytes(32)).accepted == within
    if not within:
        with pytest.raises(ValueError, match="not within"):
            verification.prove(vector, bounds, size, bytes(32), b"")


@st.composite
def ballots_of_any_kind(draw: st.DrawFn):
    """Bounds with a ballot, and entries, noise and slack of it that may be bits, or nearly so."""
    ballot, counts, valid = draw(st.sampled_from(BALLOTS))
    noise_max = draw(st.integers(0, 40))
    bounds = Bounds(counts, 0, 0, 1, draw(st.integers(1, 64)), noise_max, ballot)
    nearly = st.sampled_from((0, 1)) if draw(st.booleans()) else st.integers(-1, 2)
    noise_bits = (2 * noise_max).bit_length() * counts

    def some(length: int) -> list[int]:
        return draw(st.lists(nearly, min_size=length, max_size=length))

    entries = valid if draw(st.booleans()) else some(counts)
    parts = [np.array(part, dtype=np.int64) for part in (entries, some(noise_bits))]
    return bounds, *parts, np.array(some(bounds.ballot_slack), dtype=np.int64)


@given(ballots_of_any_kind(), st.sampled_from(SIZES), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_a_ballot_is_accepted_exactly_when_it_keeps_its_rule(case, size, seed):
    """Whatever numbers are shared: they pass when all are bits that solve the equations."""
    bounds, entries, noise, slack = case
    pieces = [entries, *noise.reshape(-1, bounds.counts), slack]
    columns = np.concatenate([to_slots(piece, size.packing) for piece in pieces], axis=1)
    rules = equations(bounds.ballot, bounds.counts)
    left = rules.entries @ entries + rules.slack @ slack
    keeps = bool((left == rules.wanted).all()) and set(columns.flat) <= {0, 1}
    assert Forger(bounds, size, columns, seed=seed).judged(bytes(32)).accepted == keeps


@given(
    st.integers(1, 2**52).flatmap(lambda limit: st.tuples(st.just(limit), st.integers(0, limit)))
)
@settings(deadline=None, max_examples=100)
def test_bits_and_weights(pair):
    limit, value = pair
    bits = to_bits(np.array([value]), limit)[:, 0]
    assert sum(w * int(b) for w, b in zip(bit_weights(limit), bits, strict=True)) == value
    assert sum(bit_weights(limit)) == limit
