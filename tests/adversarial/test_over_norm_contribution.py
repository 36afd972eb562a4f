"""A contributor outside its bounds: too long an update, counts out of range (THREATS A9).

AGGREGATION.md, section 4, attacks 2 and 9. Each attack is shown to succeed when the one test that
stops it is replaced by nothing.
"""

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.forger import (
    PRODUCT,
    Forger,
    as_two_squares,
    forged_slack,
    parts,
    slack_of,
    two_squares,
)

from pnyx.errors import RuleBroken
from pnyx.primitives.field import PRIMES
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation import coefficients, direct, verdicts, verification
from pnyx.protocol.aggregation.ballots import bit_weights
from pnyx.protocol.aggregation.bounds import ROWS, Bounds
from pnyx.protocol.aggregation.encoding import to_slots
from pnyx.protocol.aggregation.verdicts import Rule
from pnyx.protocol.selection import committee_size

SIZE = committee_size(7, 1, 2)
BOUNDS = Bounds(8, 5, 60, 9)
UPDATE = np.array([30, -30, 20, 10, -20])  # norm 52
TRIALS = 40


def challenge(trial: int) -> bytes:
    return trial.to_bytes(32, "big")


def without(monkeypatch, test: str) -> None:
    """Judge by one test only: leave out the sums of L (`range`) or of Q (`bound`)."""
    left = verdicts._verdict

    def weak(holds, off):
        ignored = holds.copy()
        ignored[:, 0 if test == "range" else 1] = True
        return left(ignored, off)

    monkeypatch.setattr(verdicts, "_verdict", weak)


def rules(make, trials: int = TRIALS) -> set[Rule | None]:
    found = set()
    for trial in range(trials):
        verdict = make(trial).judged(challenge(trial))
        assert not verdict.off, "no honest member is named"
        assert verdict.accepted == (verdict.rule is None)
        found.add(verdict.rule)
    return found


def opened(forger: Forger) -> list[int]:
    """What the sum would be with this contribution alone."""
    released = {}
    for m, payload in enumerate(forger.payloads):
        share = verification.read_payload(payload, BOUNDS, SIZE)
        released[m] = direct.read_released(
            verification.sum_share([share], BOUNDS, SIZE),
            verification.summed_length(BOUNDS, SIZE),
            SIZE.packing,
        )
    total, _, _ = direct.decode_sum(SIZE, released, verification.summed_length(BOUNDS, SIZE))
    return verification.summed_vector(total, BOUNDS, SIZE).tolist()


def test_the_forger_passes_when_it_forges_nothing():
    honest = parts(BOUNDS, SIZE, UPDATE, slack_of(BOUNDS, UPDATE))
    assert rules(lambda trial: Forger(BOUNDS, SIZE, honest, seed=trial)) == {None}


# --- too long an update, with bits ---


def over_norm(factor: int, slack: int = 0):
    update = UPDATE * factor
    return lambda trial: Forger(BOUNDS, SIZE, parts(BOUNDS, SIZE, update, slack), seed=trial)


@pytest.mark.parametrize("factor", [3, 10])
def test_over_norm_with_forged_bits(factor, monkeypatch):
    assert rules(over_norm(factor)) == {Rule.BOUND}
    without(monkeypatch, "bound")
    assert rules(over_norm(factor), 5) == {None}


def test_one_unit_above_the_bound():
    """The bound is exact: 3600 passes, 3601 does not."""
    for update, rule in (([60, 0, 0, 0, 0], None), ([60, 1, 0, 0, 0], Rule.BOUND)):
        short = parts(BOUNDS, SIZE, np.array(update), 0)
        assert rules(lambda trial, s=short: Forger(BOUNDS, SIZE, s, seed=trial)) == {rule}


def test_padding_counts_towards_the_norm():
    """What a dealer hides in a slot that nobody decodes is bounded like the rest."""
    short = parts(BOUNDS, SIZE, np.array([60, 0, 0, 0, 0]), 0)
    short[1, 2] = 1
    assert rules(lambda trial: Forger(BOUNDS, SIZE, short, seed=trial)) == {Rule.BOUND}


# --- bits that are no bits ---


def without_bit_test(monkeypatch) -> None:
    products = verification._products
    monkeypatch.setattr(verification, "_products", lambda *args: products(*args) * np.array([1, 0]))


@pytest.mark.parametrize("factor", [3, 10])
def test_non_boolean_slack(factor, monkeypatch):
    """A negative slack makes the norm equation true; that it is no bit gives it away."""
    update = UPDATE * factor
    slack = forged_slack(BOUNDS, BOUNDS.norm_squared - int(update @ update))
    short = parts(BOUNDS, SIZE, update, slack)

    def make(trial):
        return Forger(BOUNDS, SIZE, short, seed=trial)

    assert rules(make) <= {Rule.BOUND, Rule.RANGE}  # a large slack is not short either
    if factor == 3:
        assert rules(make) == {Rule.BOUND}
        without_bit_test(monkeypatch)
        assert rules(make, 5) == {None}


@pytest.mark.parametrize("wrong", [-1, 2, 5])
def test_count_out_of_range(wrong, monkeypatch):
    count_bits = np.zeros((4, 3), dtype=np.int64)
    count_bits[3, 1] = wrong
    assert not 0 <= bit_weights(BOUNDS.count_max)[3] * wrong <= 1
    short = parts(BOUNDS, SIZE, UPDATE, slack_of(BOUNDS, UPDATE), count_bits)

    def make(trial):
        return Forger(BOUNDS, SIZE, short, seed=trial)

    assert rules(make) == {Rule.BOUND}
    assert opened(make(0))[5:] == [0, 2 * wrong, 0]
    without_bit_test(monkeypatch)
    assert rules(make, 5) == {None}


def test_every_pattern_of_count_bits_is_within_the_range():
    """No test is needed for the upper bound: bits cannot say more than count_max."""
    count_bits = np.ones((4, 3), dtype=np.int64)
    short = parts(BOUNDS, SIZE, UPDATE, slack_of(BOUNDS, UPDATE), count_bits)
    forger = Forger(BOUNDS, SIZE, short)
    assert forger.judged(challenge(0)).accepted
    assert opened(forger)[5:] == [9, 9, 9]


# --- wrapping around: what the range step is for ---


def wrapping(trial: int) -> Forger:
    """x 10 on three entries; two more make the sum of squares right modulo p1·p2."""
    update = [300, -300, 200, 0, 0]
    rest = BOUNDS.norm_squared - sum(x * x for x in update)
    sampler = Sampler(challenge(trial), "wrap")
    update[3], update[4] = two_squares(rest, sampler)
    return Forger(BOUNDS, SIZE, parts(BOUNDS, SIZE, np.array(update), 0), seed=trial)


def test_sum_of_squares_wrapped(monkeypatch):
    assert rules(wrapping) == {Rule.RANGE}
    without(monkeypatch, "range")
    assert rules(wrapping, 5) == {None}, "Q alone holds: only modulo the primes"
    assert opened(wrapping(0))[:3] == [300, -300, 200]


def wrapping_bits(trial: int) -> Forger:
    """Two 'bits' with Σ(β² - β) = 0 modulo p1·p2: counts of any size."""
    sampler = Sampler(challenge(trial), "wrap")
    half = (PRODUCT + 1) // 2  # β² - β = (β - 1/2)² - 1/4
    first, second = two_squares(half, sampler)
    count_bits = np.zeros((4, 3), dtype=np.int64)
    count_bits[0, 0] = (first + half) % PRODUCT
    count_bits[1, 0] = (second + half) % PRODUCT
    short = parts(BOUNDS, SIZE, UPDATE, slack_of(BOUNDS, UPDATE), count_bits)
    return Forger(BOUNDS, SIZE, short, seed=trial)


def test_bits_wrapped(monkeypatch):
    assert rules(wrapping_bits) == {Rule.RANGE}
    without(monkeypatch, "range")
    assert rules(wrapping_bits, 5) == {None}


@pytest.mark.parametrize("modulus", [*PRIMES, PRODUCT])
@pytest.mark.parametrize("divisor", [2, 3, 4, 8, 16])
@pytest.mark.parametrize("coordinates", [2, 5])
def test_fractions_of_the_modulus(modulus, divisor, coordinates):
    """Multiples of p/2, ..., p/16 vanish or shrink under sketches modulo p; not under this one."""
    signs = np.array([1, -1, 1, -1, 1])[:coordinates]
    update = np.zeros(5, dtype=np.int64)
    update[:coordinates] = signs * (modulus // divisor)
    short = parts(BOUNDS, SIZE, update, 0)
    assert rules(lambda trial: Forger(BOUNDS, SIZE, short, seed=trial), 3) == {Rule.RANGE}


def test_different_values_in_the_two_fields(monkeypatch):
    """Short in each field, and within the bound, but not the same: the sum would be garbage."""
    other = UPDATE.copy()
    other[0] += 1
    both = tuple(parts(BOUNDS, SIZE, u, slack_of(BOUNDS, u)) for u in (UPDATE, other))

    def make(trial):
        return Forger(BOUNDS, SIZE, both, seed=trial)

    assert rules(make) == {Rule.RANGE}
    assert abs(opened(make(0))[0]) > 10**6
    without(monkeypatch, "range")
    assert rules(make, 5) == {None}


def test_a_mask_that_absorbs_everything():
    """A mask chosen per field, to make v short for an X that is not: it is fixed before R'."""
    update = np.full(5, PRODUCT // 7)
    sampler = Sampler(bytes(32), "mask")
    masks = tuple(to_slots(sampler.field_elements(p, ROWS), SIZE.packing) for p in PRIMES)
    short = parts(BOUNDS, SIZE, update, 0)
    assert rules(lambda t: Forger(BOUNDS, SIZE, short, mask=masks, seed=t), 5) == {Rule.RANGE}


def one_wrap(trial: int) -> Forger:
    """Entries near 2^26 whose squares add up to p1·p2 + T: short enough for a v of 31 bits."""
    sampler = Sampler(challenge(trial), "one wrap")
    target = PRODUCT + BOUNDS.norm_squared
    while True:
        first = [(1 << 25) + sampler.below(1 << 24) for _ in range(3)]
        pair = as_two_squares(target - sum(x * x for x in first))
        if pair is not None:
            update = np.array([*first, *pair])
            assert sum(int(x) ** 2 for x in update) == target
            return Forger(BOUNDS, SIZE, parts(BOUNDS, SIZE, update, 0), seed=trial)


def test_published_vector_too_long(monkeypatch):
    for trial in range(10):
        forger = one_wrap(trial)
        assert int(np.abs(forger.exact).max()) > BOUNDS.published_max
        assert forger.judged(challenge(trial)).rule is Rule.RANGE
        long = forger.exact.astype("<i4").tobytes()
        with pytest.raises(RuleBroken, match="too long"):
            verification.check_published(long, BOUNDS)
        forger.claim = coefficients.Claim(3, forger.claim.commitment, long)
        assert forger.judged(challenge(trial)).rule is Rule.RANGE
    monkeypatch.setattr(Bounds, "published_max", 2**31 - 1)
    assert rules(one_wrap, 5) == {None}, "a factor of a million over the bound"


# --- blinds ---


def excess(check: int):
    """Over-norm by a known excess, with a Q (or L) blind whose slots sum to what is missing."""
    update = UPDATE * 3
    missing = BOUNDS.norm_squared - int(update @ update)

    def blinds(secrets, _field, which):
        if which == check:
            secrets = secrets.copy()
            secrets[0] += missing
        return secrets

    short = parts(BOUNDS, SIZE, update, 0)
    return lambda trial: Forger(BOUNDS, SIZE, short, seed=trial, blinds=blinds)


def test_non_zero_zero_blind(monkeypatch):
    assert rules(excess(2)) == {Rule.BOUND}
    assert rules(excess(1)) == {Rule.RANGE}
    weights = coefficients.weights

    def constant(*args):
        drawn = weights(*args)
        return replace(drawn, taus=np.ones_like(drawn.taus))

    monkeypatch.setattr(coefficients, "weights", constant)
    monkeypatch.setattr(verdicts, "weights", constant)
    coefficients._remembered.cache_clear()
    # with a constant factor before the sum of squares, the blind pays for the excess
    assert rules(excess(2), 5) == {None}
    coefficients._remembered.cache_clear()


# --- another context ---


def test_replay_in_another_context(monkeypatch):
    honest = parts(BOUNDS, SIZE, UPDATE, slack_of(BOUNDS, UPDATE))
    context = b"study 1, round 1, contributor 3"
    replayed = Forger(BOUNDS, SIZE, honest, context=context)
    assert replayed.judged(challenge(1)).accepted
    root = verification.merkle_root(replayed.payloads)
    for other in (b"study 1, round 2, contributor 3", b"study 1, round 1, contributor 4"):
        claim = coefficients.Claim(3, verification.commit(other, root), replayed.claim.published)
        assert claim.commitment != replayed.claim.commitment
        replayed.claim = claim
        assert replayed.judged(challenge(1)).rule is Rule.RANGE
    # were the context not bound, the commitment would be the old one, and the replay would pass
    monkeypatch.setattr(
        verification, "commit", lambda context, root: verification.digest("weak", root)
    )
    weak = Forger(BOUNDS, SIZE, honest, context=context)
    weak.claim = coefficients.Claim(3, verification.commit(b"round 2", root), weak.claim.published)
    assert weak.judged(challenge(1)).accepted


# --- shares of too high a degree ---


def over_degree(column: int, extra: int):
    """One column, in one field, of degree D + extra."""

    def shares(table):
        points = np.arange(1, SIZE.size + 1)
        for degree in range(SIZE.degree + 1, SIZE.degree + extra + 1):
            powers = np.array([pow(int(x), degree, PRIMES[0]) for x in points])
            table[:, 0, column] = (table[:, 0, column] + 12345 * powers) % PRIMES[0]

    honest = parts(BOUNDS, SIZE, UPDATE, slack_of(BOUNDS, UPDATE))
    return lambda trial: Forger(BOUNDS, SIZE, honest, seed=trial, shares=shares)


@pytest.mark.parametrize("extra", [1, 2, 4])
def test_over_degree_sharing_of_a_verified_contribution(extra):
    plan = verification.layout(BOUNDS, SIZE)
    for column in (0, plan.update, plan.short - 1, plan.data - 1):
        found = rules(over_degree(column, extra), 5)
        assert found == {Rule.SHARING}


def test_wrong_share_for_one_member(monkeypatch):
    """Its holder leaves the pool of this contribution; unnoticed, it would spoil the sum."""
    victim = SIZE.size - 1

    def shares(table):
        table[victim, 1, 0] = (table[victim, 1, 0] + 1) % PRIMES[1]

    honest = parts(BOUNDS, SIZE, UPDATE, slack_of(BOUNDS, UPDATE))
    forger = Forger(BOUNDS, SIZE, honest, shares=shares)
    verdict = forger.judged(challenge(0))
    assert verdict.accepted
    assert verdict.off == {victim}
    monkeypatch.setattr(
        verdicts, "_on_polynomials", lambda size, members, v: np.ones(v.shape[1], dtype=bool)
    )
    verdict = forger.judged(challenge(0))
    assert verdict.accepted
    assert not verdict.off, "an honest member would be named when the sum is opened"


# --- full counts ---


def non_boolean(trial: int) -> Forger:
    update = UPDATE * 3
    slack = forged_slack(BOUNDS, BOUNDS.norm_squared - int(update @ update))
    return Forger(BOUNDS, SIZE, parts(BOUNDS, SIZE, update, slack), seed=trial)


@pytest.mark.full
@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (over_norm(10), Rule.BOUND),
        (over_norm(3), Rule.BOUND),
        (non_boolean, Rule.BOUND),
        (excess(2), Rule.BOUND),
        (wrapping, Rule.RANGE),
        (wrapping_bits, Rule.RANGE),
        (one_wrap, Rule.RANGE),
        (over_degree(0, 1), Rule.SHARING),
    ],
)
def test_ten_thousand_of_each_kind(make, rule):
    assert rules(make, 10_000) == {rule}
