"""Honest contributions are accepted, add up, and are read strictly."""

import numpy as np
import pytest

from pnyx.errors import MalformedMessage, RuleBroken
from pnyx.primitives.hashing import merkle_root
from pnyx.protocol.aggregation import coefficients, direct, verification
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.encoding import FIELDS
from pnyx.protocol.aggregation.verdicts import UNDECIDED, Rule, Verdict, judge, judge_one
from pnyx.protocol.selection import committee_size

SIZE = committee_size(7, 1, 2)
BOUNDS = Bounds(8, 5, 60, 9)
VECTOR = np.array([60, 0, 0, 0, 0, 0, 9, 5])
CHALLENGE = b"c" * 32
CONTEXT = b"round"


def contribution(who: int, vector=VECTOR, bounds=BOUNDS, size=SIZE):
    """A claim, and each member's share."""
    proven = verification.prove(vector, bounds, size, who.to_bytes(32, "big"), CONTEXT)
    commitment = verification.commit(CONTEXT, merkle_root(proven.payloads))
    claim = coefficients.Claim(who, commitment, proven.published)
    return claim, [verification.read_payload(p, bounds, size) for p in proven.payloads]


def answered(contributions, bounds=BOUNDS, size=SIZE, members=None):
    return {
        m: {
            claim.contributor: verification.answers(shares[m], m, claim, CHALLENGE, bounds, size)
            for claim, shares in contributions
        }
        for m in (range(size.size) if members is None else members)
    }


def total(contributions, bounds=BOUNDS, size=SIZE) -> list[int]:
    length = verification.summed_length(bounds, size)
    released = {
        m: direct.read_released(
            verification.sum_share([shares[m] for _, shares in contributions], bounds, size),
            length,
            size.packing,
        )
        for m in range(size.size)
    }
    decoded, _, liars = direct.decode_sum(size, released, length)
    assert not liars
    return verification.summed_vector(decoded, bounds, size).tolist()


def many_honest(count: int) -> None:
    generator = np.random.Generator(np.random.PCG64(1))
    contributions, plain = [], np.zeros(8, dtype=np.int64)
    for who in range(count):
        update = generator.integers(-26, 27, 5)  # 5·26² < 60²
        vector = np.concatenate([update, generator.integers(0, 10, 3)])
        plain += vector
        contributions.append(contribution(who, vector))
    claims = [claim for claim, _ in contributions]
    found = judge(SIZE, BOUNDS, claims, CHALLENGE, answered(contributions))
    assert found == dict.fromkeys(range(count), Verdict(accepted=True))
    assert total(contributions) == plain.tolist()


def test_honest_contributions_are_accepted():
    many_honest(120)


@pytest.mark.full
def test_a_thousand_honest_contributions_are_accepted():
    many_honest(1000)


@pytest.mark.parametrize(
    ("bounds", "vector"),
    [
        (BOUNDS, [60, 0, 0, 0, 0, 9, 9, 9]),
        (BOUNDS, [0] * 8),
        (BOUNDS, [-30, 30, -30, 30, 0, 0, 0, 0]),
        (Bounds(3, 3, 7, 0), [2, -3, 6]),
        (Bounds(1, 1, 1, 0), [-1]),
        (Bounds(3, 0, 0, 1), [1, 0, 1]),
        (Bounds(2, 1, 4096, 2**40 + 1), [-4096, 2**40 + 1]),
    ],
)
@pytest.mark.parametrize("size", [SIZE, committee_size(9, 2, 1), committee_size(11, 2, 2)])
def test_vectors_at_the_bounds(bounds, vector, size):
    contributions = [contribution(1, np.array(vector), bounds, size)]
    claims = [claim for claim, _ in contributions]
    found = judge(size, bounds, claims, CHALLENGE, answered(contributions, bounds, size))
    assert found == {1: Verdict(accepted=True)}
    assert total(contributions, bounds, size) == vector


def test_a_committee_that_needs_three_repetitions():
    size = committee_size(64, 12, 4)
    contributions = [contribution(1, size=size)]
    given = answered(contributions, size=size, members=range(size.answers_needed))
    assert all(len(answers[1]) == 18 for answers in given.values())
    claim = contributions[0][0]
    assert judge_one(size, BOUNDS, claim, CHALLENGE, {m: a[1] for m, a in given.items()}).accepted


@pytest.mark.parametrize(
    "vector",
    [
        [60, 1, 0, 0, 0, 0, 0, 0],
        [61, 0, 0, 0, 0, 0, 0, 0],
        [2**62, 2**62, 2**62, 2**62, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 10, 0, 0],
        [0, 0, 0, 0, 0, -1, 0, 0],
        [0] * 7,
    ],
)
def test_a_vector_out_of_bounds_is_the_callers_bug(vector):
    with pytest.raises(ValueError, match="not within"):
        verification.prove(np.array(vector), BOUNDS, SIZE, bytes(32), CONTEXT)


@pytest.mark.parametrize("noise", [11, -11, 2**62, -(2**63)])
def test_noise_out_of_bounds_is_the_callers_bug(noise):
    bounds = Bounds(1, 0, 0, 9, 4, 10)
    assert bounds.given_length == 2
    assert verification.within(np.array([9, -10]), bounds)
    assert not verification.within(np.array([9, noise]), bounds)
    assert not verification.within(np.array([9]), bounds)


def test_the_same_call_gives_the_same_contribution():
    first = verification.prove(VECTOR, BOUNDS, SIZE, bytes(32), CONTEXT)
    assert verification.prove(VECTOR, BOUNDS, SIZE, bytes(32), CONTEXT) == first
    assert "payload" not in repr(first)


def test_no_randomness_is_used_twice():
    """The same seed under another context, or for another vector, gives unrelated shares."""
    other = np.array([59, 0, 0, 0, 0, 0, 9, 5])
    calls = [(VECTOR, CONTEXT), (VECTOR, b"later"), (other, CONTEXT)]
    rows = set()
    for vector, context in calls:
        proven = verification.prove(vector, BOUNDS, SIZE, bytes(32), context)
        rows |= {proven.payloads[0][at : at + 4] for at in range(0, len(proven.payloads[0]), 4)}
    assert len(rows) == len(calls) * len(proven.payloads[0]) // 4


def test_payloads_are_read_strictly():
    proven = verification.prove(VECTOR, BOUNDS, SIZE, bytes(32), CONTEXT)
    payload = proven.payloads[0]
    assert len(payload) == verification.payload_bytes(BOUNDS, SIZE)
    for wrong in (payload[:-1], payload + b"\0", b""):
        with pytest.raises(MalformedMessage, match="wrong size"):
            verification.read_payload(wrong, BOUNDS, SIZE)
    with pytest.raises(MalformedMessage, match="not below"):
        verification.read_payload(payload[:-4] + b"\xff\xff\xff\x7f", BOUNDS, SIZE)


def test_published_vectors_are_read_strictly():
    limit = BOUNDS.published_max
    vector = np.full(256, -limit)
    read = verification.check_published(vector.astype("<i4").tobytes(), BOUNDS)
    assert read.tolist() == vector.tolist()
    vector[7] -= 1
    with pytest.raises(RuleBroken, match="too long"):
        verification.check_published(vector.astype("<i4").tobytes(), BOUNDS)
    with pytest.raises(RuleBroken, match="too long"):
        verification.check_published(np.full(256, -(2**31)).astype("<i4").tobytes(), BOUNDS)
    with pytest.raises(MalformedMessage, match="1024 bytes"):
        verification.check_published(bytes(1023), BOUNDS)


def test_answers_travel_as_bytes():
    claim, shares = contribution(1)
    given = [verification.answers(shares[m], m, claim, CHALLENGE, BOUNDS, SIZE) for m in range(3)]
    data = verification.pack_answers(given)
    assert (verification.read_answers(data, 3, SIZE) == np.stack(given)).all()
    with pytest.raises(MalformedMessage, match="wrong size"):
        verification.read_answers(data, 2, SIZE)
    for at, field in enumerate(FIELDS):
        wrong = bytearray(data)
        wrong[24 * at : 24 * at + 4] = field.modulus.to_bytes(4, "little")
        with pytest.raises(MalformedMessage, match="not an element"):
            verification.read_answers(bytes(wrong), 3, SIZE)
    assert verification.read_answers(b"", 0, SIZE).shape == (0, 12)


def test_contributions_with_different_answerers():
    """Each is judged by those who answered for it; too few leave it undecided."""
    contributions = [contribution(who) for who in range(4)]
    given = answered(contributions)
    del given[6][0]
    for m in range(2, 7):
        del given[m][2]
    claims = [claim for claim, _ in contributions]
    claims[3] = coefficients.Claim(3, claims[3].commitment, b"\xff\x7f" * 512)
    found = judge(SIZE, BOUNDS, claims, CHALLENGE, given)
    assert found == {
        0: Verdict(accepted=True),
        1: Verdict(accepted=True),
        2: UNDECIDED,
        3: Verdict(accepted=False, rule=Rule.RANGE),
    }


def test_a_judgement_of_nothing():
    assert judge(SIZE, BOUNDS, [], CHALLENGE, {}) == {}
    claim, _ = contribution(1)
    assert judge_one(SIZE, BOUNDS, claim, CHALLENGE, {}) == UNDECIDED


@pytest.mark.parametrize("what", ["project", "discrete_gaussian"])
def test_what_the_mask_would_not_hide_is_drawn_again(what, monkeypatch):
    """A projection longer than masks are made for, or a v that nobody would accept."""
    calls = []
    honest = getattr(verification, what)

    def long_once(*args):
        values = honest(*args).copy()
        if not calls:
            values[0] = {
                "project": 2 * BOUNDS.mask_width // 11,
                "discrete_gaussian": 2 * BOUNDS.published_max,
            }[what]
        calls.append(args)
        return values

    monkeypatch.setattr(verification, what, long_once)
    monkeypatch.setattr(verification, "hides", lambda *args: True)
    proven = verification.prove(VECTOR, BOUNDS, SIZE, bytes(32), CONTEXT)
    assert len(calls) == 2
    verification.check_published(proven.published, BOUNDS)


def test_coefficients_depend_on_everything_that_is_claimed():
    claim = coefficients.Claim(1, b"c" * 32, bytes(1024))
    claims = [
        claim,
        coefficients.Claim(2, claim.commitment, claim.published),
        coefficients.Claim(1, b"d" * 32, claim.published),
        coefficients.Claim(1, claim.commitment, b"\1" + bytes(1023)),
    ]
    cases = [(each, CHALLENGE) for each in claims] + [(claim, b"d" * 32)]
    drawn = [coefficients.weights(*case, BOUNDS, 2) for case in cases]
    assert len({each.rho.tobytes() for each in drawn}) == len(cases)
    assert len({each.taus.tobytes() for each in drawn}) == len(cases)


def test_a_rejected_vector_is_never_published(monkeypatch):
    """Rejection decides on v and on what it hides; the next try has another mask throughout."""
    tried = []
    hides = verification.hides

    def thrice(sampler, hidden, masked, width):
        tried.append((hidden, masked, width))
        return len(tried) > 3 and hides(sampler, hidden, masked, width)

    monkeypatch.setattr(verification, "hides", thrice)
    proven = verification.prove(VECTOR, BOUNDS, SIZE, bytes(32), CONTEXT)
    assert len(tried) > 3
    masks = {tuple((masked - hidden).tolist()) for hidden, masked, _ in tried}
    assert len(masks) == len(tried)
    assert {width for _, _, width in tried} == {BOUNDS.mask_width}
    published = verification.check_published(proven.published, BOUNDS)
    assert published.tolist() == tried[-1][1].tolist()
    assert all(int(hidden @ hidden) <= BOUNDS.projection_squared_max for hidden, _, _ in tried)


@pytest.mark.full
def test_published_vectors_do_not_lean_towards_what_they_hide(monkeypatch):
    """Without rejection the mean would be ‖R'X‖/σ, about 0.05, and stand out."""
    vector, bounds = np.array([60, 0]), Bounds(2, 2, 60, 0)
    along, accepted = [], []
    hides = verification.hides

    def recording(sampler, hidden, masked, width):
        length = float(np.sqrt(hidden @ hidden))
        along.append(float(masked @ hidden) / (length * width))
        accepted.append(hides(sampler, hidden, masked, width))
        return True

    monkeypatch.setattr(verification, "hides", recording)
    for who in range(12_000):
        verification.prove(vector, bounds, SIZE, who.to_bytes(32, "big"), CONTEXT)
    kept = np.array(along)[np.array(accepted)]
    assert abs(kept.mean()) < 4.5 / np.sqrt(len(kept))
    assert np.mean(along) > 4.5 / np.sqrt(len(along))
