"""A masked contributor outside its bound, or with a proof of something else.

The attacks that worked on earlier versions of the mode, and those that were tried beside them. Each
is shown to succeed when the one test that stops it is replaced by nothing.
"""

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.forger import square_root, two_squares
from tests.support.masked_forger import MaskedForger, digits_of, hidden, masked, public, update

from pnyx.errors import MalformedMessage
from pnyx.primitives.field import PRIMES
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation import coefficients, payloads, verdicts
from pnyx.protocol.aggregation.ballots import bit_weights, to_bits
from pnyx.protocol.aggregation.bounds import layout
from pnyx.protocol.aggregation.encoding import FIELDS
from pnyx.protocol.aggregation.masked_verification import commitments, key_weights
from pnyx.protocol.aggregation.masked_verification.bounds import (
    BLOCK,
    MODULUS,
    RING_DEGREE,
    MaskedBounds,
)
from pnyx.protocol.aggregation.masked_verification.key_weights import RING
from pnyx.protocol.aggregation.masked_verification.proof import digits_of as honest_digits
from pnyx.protocol.aggregation.masked_verification.sketch import Sketch, masked_sketch
from pnyx.protocol.aggregation.verdicts import Rule
from pnyx.protocol.selection import committee_size

SIZE = committee_size(7, 1, 2)
BOUNDS = MaskedBounds(20_000, 4096, 1024, 24, 6, 512)
PLAN = layout(BOUNDS.alone, SIZE)
TRIALS = 20


def challenge(trial: int) -> bytes:
    return trial.to_bytes(32, "big")


def vector(share: float, trial: int) -> np.ndarray:
    return hidden(BOUNDS, update(BOUNDS, share, trial), trial)


def fits(sketch: np.ndarray) -> bool:
    """Salts are drawn anew until digits are within their thresholds, as honest ones do."""
    return honest_digits(sketch, BOUNDS) is not None


def ignoring(monkeypatch, *, sums: int) -> None:
    """Judge without the sums of L (0) or of Q (1)."""
    left = verdicts._linked_verdict

    def weak(holds, off):
        ignored = holds.copy()
        ignored[:, sums] = True
        return left(ignored, off)

    monkeypatch.setattr(verdicts, "_linked_verdict", weak)


@pytest.fixture
def weakened(monkeypatch):
    """Replaces weights of the challenge, for members and judges: 0 for no test, 1 for no chance."""
    drawn = coefficients.weights

    def weaken(**changes):
        def weak(*args):
            honest = drawn(*args)
            return replace(
                honest, **{name: c(getattr(honest, name)) for name, c in changes.items()}
            )

        coefficients._remembered.cache_clear()
        for module in (coefficients, verdicts, key_weights):
            monkeypatch.setattr(module, "weights", weak)

    yield weaken
    coefficients._remembered.cache_clear()


def rules(make, trials: int = TRIALS) -> set[Rule | None]:
    found = set()
    for trial in range(trials):
        verdict = make(trial).judged(challenge(trial))
        assert not verdict.off, "no honest member is named"
        assert verdict.accepted == (verdict.rule is None)
        found.add(verdict.rule)
    return found


def test_the_forger_passes_when_it_forges_nothing():
    assert rules(lambda t: MaskedForger(BOUNDS, SIZE, vector(0.8, t), seed=t, grind=fits)) == {None}


# --- too long a vector ---


def over_norm(factor: float):
    """The true digits, with slack bits that say there is none."""

    def make(trial):
        def digits(sketch):
            return digits_of(sketch, BOUNDS, slack=(0, 0))

        return MaskedForger(BOUNDS, SIZE, vector(factor, trial), seed=trial, digits=digits)

    return make


@pytest.mark.parametrize("factor", [1.5, 3, 10])
def test_over_norm_with_forged_bits(factor, monkeypatch):
    assert rules(over_norm(factor)) == {Rule.BOUND}
    ignoring(monkeypatch, sums=1)
    assert rules(over_norm(factor), 5) == {None}


def all_in_the_lower(trial: int) -> MaskedForger:
    """a = 0 and b = u: the lower digits absorb everything."""
    upper, lower = BOUNDS.thresholds

    def digits(sketch):
        slack = (upper, upper), (0, lower)
        bits = np.concatenate([to_bits(np.array([left]), t)[:, 0] for left, t in slack])
        return np.zeros_like(sketch), sketch, bits

    return MaskedForger(BOUNDS, SIZE, vector(10, trial), seed=trial, digits=digits)


def test_upper_digits_moved_into_the_lower(weakened):
    """Lower digits have a range, and a threshold of their own: either is enough."""
    assert rules(all_in_the_lower) == {Rule.RANGE}
    weakened(rho=np.zeros_like)
    assert rules(all_in_the_lower, 5) == {Rule.BOUND}
    weakened(rho=np.zeros_like, taus=without_lower_threshold)
    assert rules(all_in_the_lower, 5) == {None}


def without_lower_threshold(taus):
    left = taus.copy()
    left[1] = 0
    return left


# --- a proof of another vector, or of another key ---


def another_sketch(trial: int) -> MaskedForger:
    """x 10, with the digits of a tenth of its sketch."""

    def digits(sketch):
        return digits_of(sketch // 12, BOUNDS)

    return MaskedForger(
        BOUNDS, SIZE, vector(10, trial), seed=trial, digits=digits, grind=lambda u: fits(u // 12)
    )


def unrelated_key(trial: int) -> MaskedForger:
    def other(key):
        return Sampler(challenge(trial), "key").field_elements(MODULUS, len(key))

    return MaskedForger(BOUNDS, SIZE, vector(0.8, trial), seed=trial, shared_key=other, grind=fits)


def key_off_by_one(trial: int) -> MaskedForger:
    def other(key):
        key = key.copy()
        key[trial % len(key)] += 1
        return key

    return MaskedForger(BOUNDS, SIZE, vector(0.8, trial), seed=trial, shared_key=other, grind=fits)


@pytest.mark.parametrize("make", [another_sketch, unrelated_key, key_off_by_one])
def test_proof_of_something_else(make, weakened):
    assert rules(make) == {Rule.LINK}
    weakened(kappa=np.zeros_like)
    assert rules(make, 5) == {None}


def solved(matrix: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """One solution x [columns] of matrix·x = wanted modulo p, by elimination."""
    rows = np.concatenate([matrix, wanted[:, np.newaxis]], axis=1)
    pivots = []
    for at in range(len(rows)):
        column = int(np.flatnonzero(rows[at])[0])
        pivots.append(column)
        rows[at] = rows[at] * pow(int(rows[at, column]), -1, MODULUS) % MODULUS
        factors = rows[:, column].copy()
        factors[at] = 0
        rows -= factors[:, np.newaxis] * rows[at] % MODULUS
        rows %= MODULUS
    solution = np.zeros(matrix.shape[1], dtype=np.int64)
    solution[pivots] = rows[:, -1]
    return solution


class KeyChosenAfterTheSketch(MaskedForger):
    """Commits to some key shares, sees P, and deals shares of a key that makes P·z short.

    256 equations for 1,024 unknowns: z = y - a·s' is as long as random vectors are.
    """

    def __init__(self) -> None:
        super().__init__(BOUNDS, SIZE, vector(0.5, 0))
        transposed = Sketch(self.claim.sketched).transpose(np.eye(256, dtype=np.int64), FIELDS[0])
        columns = transposed.chunk(0)
        columns[:, BOUNDS.sent(0) :] = 0
        rows = columns.reshape(256, 1, RING_DEGREE, -1)
        sums = np.zeros((256, RING_DEGREE), dtype=np.uint64)
        mirrored = np.ascontiguousarray(public(1)[:, ::-1])
        for row, total in zip(rows, sums, strict=True):
            RING.add_products_into(total, row, mirrored)
        on_key = np.stack([RING.inverse(each.astype(np.uint32)) for each in sums])
        wished = np.zeros(256, dtype=np.int64)
        stated = masked_sketch(self.claim.sketched, list(self.vector), BOUNDS)
        self.chosen = solved(on_key.astype(np.int64), (stated - wished) % MODULUS)
        self.dealing.share_key(self.chosen)
        self._share_rest([digits_of(wished, BOUNDS)] * 2, self.dealing.sampler, None)
        self.payloads = self.dealing.payloads()
        self.claim = self.claims(stated)
        self.claim = replace(self.claim, published=self._published(digits_of(wished, BOUNDS)))

    def refused_by(self) -> list[int]:
        """Members whose key share is not that of the commitment."""
        found = []
        for member in range(SIZE.size):
            try:
                self.shares(member)
            except MalformedMessage:
                found.append(member)
        return found


def test_key_chosen_after_the_sketch(monkeypatch):
    """Nothing in the answers shows it: what stops it is that C1 binds the key shares."""
    forger = KeyChosenAfterTheSketch()
    assert forger.refused_by() == list(range(SIZE.corrupt_max, SIZE.size))
    z = (forger.vector.astype(np.int64) - masked(np.zeros_like(forger.vector), forger.chosen)) % (
        MODULUS
    )
    centred = np.where(z > MODULUS // 2, z - MODULUS, z).reshape(-1)[: BOUNDS.coefficients]
    assert np.linalg.norm(centred.astype(float)) > 1000 * BOUNDS.norm_scaled
    assert MaskedForger(BOUNDS, SIZE, vector(0.5, 0)).judged(challenge(1)).accepted
    monkeypatch.setattr(payloads, "verify_merkle_proof", lambda *_: True)
    assert forger.judged(challenge(1)).accepted


# --- bits that are no bits ---


def non_boolean(trial: int) -> MaskedForger:
    """x 1.5: the slack is negative, and so is one of its 'bits', by a few units."""

    def digits(sketch):
        upper, lower, _ = digits_of(sketch, BOUNDS)
        bits = []
        for row, threshold in zip((upper, lower), BOUNDS.thresholds, strict=True):
            slack = threshold - int(row @ row)
            largest = max(bit_weights(threshold))
            forged = to_bits(np.array([slack % largest]), threshold)[:, 0]
            forged[bit_weights(threshold).index(largest)] += slack // largest
            assert forged @ np.array(bit_weights(threshold)) == slack
            bits.append(forged)
        return upper, lower, np.concatenate(bits)

    return MaskedForger(BOUNDS, SIZE, vector(1.5, trial), seed=trial, digits=digits)


def test_non_boolean_slack(weakened):
    assert rules(non_boolean) == {Rule.BOUND}

    def without_bits(taus):
        taus = taus.copy()
        taus[2] = 0
        return taus

    weakened(taus=without_bits)
    assert rules(non_boolean, 5) == {None}


# --- what the range step is for ---


def solve_digits(upper, lower, sampler):
    """Shift three digits, u = D·a + b unchanged, so that both sums of squares are right modulo p₁.

    Σ(a + δ)² = T and Σ(b - Dδ)² = T': D² times the first less the second is linear in δ.
    """
    p, base, (t_upper, t_lower) = MODULUS, BOUNDS.digit, BOUNDS.thresholds
    a, b = [int(x) for x in upper[:3]], [int(x) for x in lower[:3]]
    missing_upper = (t_upper - int(upper @ upper)) % p
    missing_lower = (t_lower - int(lower @ lower)) % p
    linear = [2 * base * base * x + 2 * base * y for x, y in zip(a, b, strict=True)]
    constant = base * base * missing_upper - missing_lower
    inverse = pow(linear[1], -1, p)
    while True:
        third = sampler.below(p)
        # δ₁ = offset + slope·δ₀, so 2aδ + δ² summed is a quadratic x²·c2 + x·c1 + c0 in δ₀
        offset, slope = (constant - linear[2] * third) * inverse % p, -linear[0] * inverse % p
        c2 = 1 + slope * slope
        c1 = 2 * a[0] + 2 * a[1] * slope + 2 * offset * slope
        c0 = 2 * a[1] * offset + offset**2 + 2 * a[2] * third + third**2 - missing_upper
        root = square_root((c1 * c1 - 4 * c2 * c0) % p, p)
        if root is not None:
            first = (root - c1) * pow(2 * c2, -1, p) % p
            break
    shift = np.zeros(len(upper), dtype=np.int64)
    shift[:3] = [first, (offset + slope * first) % p, third]
    return (upper + shift) % p, (lower - base * shift) % p


def wrapping(trial: int) -> MaskedForger:
    """x 10: sums of squares that are right modulo each prime, and over the integers are not."""

    def digits(sketch):
        sampler = Sampler(challenge(trial), "wrap")
        upper, lower, bits = digits_of(sketch, BOUNDS, slack=(0, 0))
        in_ring = (*solve_digits(upper, lower, sampler), bits)
        other = []
        for threshold in BOUNDS.thresholds:  # nothing ties these to the sketch
            row = np.zeros(256, dtype=np.int64)
            row[:2] = two_squares(threshold, sampler)
            other.append(row)
        return in_ring, (*other, bits)

    return MaskedForger(BOUNDS, SIZE, vector(10, trial), seed=trial, digits=digits)


def other_digits_in_the_other_field(trial: int) -> MaskedForger:
    """x 10: true digits in the ring's field with slack modulo p₁, short ones in the other."""

    def digits(sketch):
        upper, lower, _ = digits_of(sketch, BOUNDS)
        honest = digits_of(np.zeros_like(sketch), BOUNDS)
        bits = np.zeros_like(honest[2])
        half = len(bits) // 2
        for at, (row, threshold) in enumerate(zip((upper, lower), BOUNDS.thresholds, strict=True)):
            bits[at * half] = (threshold - int(row @ row)) % MODULUS
        return fix_bits(upper, lower, bits, trial), honest

    return MaskedForger(BOUNDS, SIZE, vector(10, trial), seed=trial, digits=digits)


def fix_bits(upper, lower, bits, trial):
    """Spread each slack over three 'bits' whose Σ(β² - β) is 0 modulo p₁."""
    p, sampler, half = MODULUS, Sampler(challenge(trial), "bits"), len(bits) // 2
    for start in (0, half):
        slack = int(bits[start])
        while True:  # β₀ + 2β₁ + 4β₂ = slack, Σβ² - β = 0
            third = sampler.below(p)
            rest = slack - 4 * third
            # (rest - 2x)² - (rest - 2x) + x² - x + third² - third = 0
            c2, c1 = 5, -4 * rest + 2 - 1
            c0 = rest * rest - rest + third * third - third
            root = square_root((c1 * c1 - 4 * c2 * c0) % p, p)
            if root is not None:
                second = (root - c1) * pow(2 * c2, -1, p) % p
                break
        bits[start : start + 3] = [(rest - 2 * second) % p, second, third]
    return upper, lower, bits


@pytest.mark.parametrize("make", [wrapping, other_digits_in_the_other_field])
def test_sums_of_squares_wrapped(make, weakened):
    assert rules(make) == {Rule.RANGE}
    weakened(rho=np.zeros_like)
    assert rules(make, 5) == {None}, "Q alone holds: only modulo the primes"


def test_published_vector_too_long():
    forger = wrapping(0)
    long = np.frombuffer(forger.claim.published, "<i4").copy()
    long[0] = forger.bounds.published_max + 1
    forger.claim = replace(forger.claim, published=long.tobytes())
    assert forger.judged(challenge(0)).rule is Rule.RANGE
    forger.claim = replace(forger.claim, published=b"short")
    assert forger.verdict(challenge(0), {}).rule is Rule.RANGE


# --- fractions of the modulus ---


@pytest.mark.parametrize("divisor", [2, 3, 4, 8, 16])
@pytest.mark.parametrize("coordinates", [2, 64, 4096, 4 * BLOCK])
def test_fractions_of_the_modulus(divisor, coordinates):
    """Multiples of p/2, ..., p/16 shrink under some sketches modulo p; under this one none does."""
    bounds = MaskedBounds(coordinates, 4096, 1024, 24, 6, 512)
    value = MODULUS // divisor
    assert value * np.sqrt(coordinates) > bounds.certified_max
    z = np.zeros((-(-coordinates // BLOCK), BLOCK), dtype=np.int32)
    z.reshape(-1)[:coordinates] = value
    z[:, ::2] *= -1
    for trial in range(4 if coordinates > BLOCK else 10):
        sketch = np.mod(Sketch(challenge(trial)).apply(z), MODULUS)
        centred = np.where(sketch > MODULUS // 2, sketch - MODULUS, sketch)
        assert honest_digits(centred, bounds) is None


# --- blinds ---


def excess(check: int):
    """Over-norm by a known excess, with a Q (or L) blind whose slots sum to what is missing."""

    def make(trial):
        missing = 0

        def digits(sketch):
            nonlocal missing
            upper, lower, bits = digits_of(sketch, BOUNDS, slack=(0, 0))
            squares = int(upper @ upper) + int(lower @ lower)
            missing = sum(BOUNDS.thresholds) - squares
            return upper, lower, bits

        def blinds(secrets, _field, which):
            if which == check:
                secrets = secrets.copy()
                secrets[0] += missing
            return secrets

        z = vector(3, trial)
        return MaskedForger(BOUNDS, SIZE, z, seed=trial, digits=digits, blinds=blinds)

    return make


def test_non_zero_zero_blind(weakened):
    assert rules(excess(2)) == {Rule.BOUND}
    assert rules(excess(1)) == {Rule.RANGE}
    weakened(taus=np.ones_like)
    # with constant factors before the sums of squares, the blind pays for the excess
    assert rules(excess(2), 5) == {None}


# --- another context ---


def test_replay_in_another_context(monkeypatch):
    """Shares and v that were made for another round or contributor prove nothing in this one."""
    here, elsewhere = b"study 1, round 1, contributor 3", b"study 1, round 2, contributor 3"
    forger = MaskedForger(BOUNDS, SIZE, vector(0.8, 1), context=here)
    assert forger.judged(challenge(1)).accepted

    def replayed(forger, context):
        claim = forger.claims(np.zeros(256, dtype=np.int64), context, forger.claim.published)
        stated = masked_sketch(claim.sketched, list(forger.vector), BOUNDS)
        forger.claim = replace(claim, sketch=FIELDS[0].pack(stated))
        return forger.judged(challenge(1))

    for other in (elsewhere, b"study 1, round 1, contributor 4"):
        assert not replayed(forger, other).accepted
    bound = commitments.sketch_commitment
    monkeypatch.setattr(commitments, "sketch_commitment", lambda _, *parts: bound(b"", *parts))
    weak = MaskedForger(BOUNDS, SIZE, vector(0.8, 1), context=here)
    assert replayed(weak, elsewhere).accepted


# --- shares of too high a degree ---


def over_degree(at: int, column: int, extra: int):
    """One column, in one field, of degree D + extra; seeded members' shares cannot be chosen."""

    def shares(tables, free):
        points = [int(x) for x in range(1, SIZE.size + 1)]
        for member in np.flatnonzero(free):
            x, term = points[member], 12345
            for seeded in points[: SIZE.corrupt_max]:
                term = term * (x - seeded) % PRIMES[at]
            term *= pow(x, SIZE.degree + extra - SIZE.corrupt_max, PRIMES[at])
            tables[at][member, column] = (int(tables[at][member, column]) + term) % PRIMES[at]

    dealt = "key_shares" if column >= PLAN.columns else "shares"
    return lambda t: MaskedForger(
        BOUNDS, SIZE, vector(0.8, t), seed=t, grind=fits, **{dealt: shares}
    )


@pytest.mark.parametrize("extra", [1, 2, 4])
def test_over_degree_sharing(extra):
    for at, column in ((0, PLAN.columns), (0, 0), (1, 0), (1, PLAN.data - 1)):
        assert rules(over_degree(at, column, extra), 3) == {Rule.SHARING}


def test_wrong_share_for_one_member():
    victim = SIZE.size - 1

    def shares(tables, _free):
        tables[0][victim, 0] = (int(tables[0][victim, 0]) + 1) % PRIMES[0]  # of a digit

    verdict = MaskedForger(BOUNDS, SIZE, vector(0.8, 0), shares=shares).judged(challenge(0))
    assert verdict.accepted
    assert verdict.off == {victim}


# --- what is said of the masked vector ---


def test_a_contributor_that_states_another_sketch_of_its_vector_fails_the_link(weakened):
    """P·y is the contributor's own signed word: nobody else can have it convicted."""
    for trial in range(TRIALS):
        forger = MaskedForger(BOUNDS, SIZE, vector(0.8, trial), seed=trial, grind=fits)
        stated = FIELDS[0].unpack(forger.claim.sketch, 256)
        other = (stated + (np.arange(256) == trial)) % MODULUS
        forger.claim = replace(forger.claim, sketch=FIELDS[0].pack(other))
        verdict = forger.judged(challenge(trial))
        assert verdict.rule is Rule.LINK
        assert verdict.rule.convicts
    weakened(kappa=np.zeros_like)
    assert forger.judged(challenge(0)).accepted


def test_an_over_scaled_vector_with_the_sketch_of_a_short_one_passes_the_committee():
    """Members never see y, so they believe P·y: those who hold y, and vouch, are the defence."""
    honest = MaskedForger(BOUNDS, SIZE, vector(0.8, 0), grind=fits)
    forger = MaskedForger(BOUNDS, SIZE, vector(0.8, 0), grind=fits)
    forger.vector = masked(10 * vector(0.8, 0), forger.key)
    assert forger.judged(challenge(0)).accepted
    assert forger.claim.sketch == honest.claim.sketch
    true = masked_sketch(forger.claim.sketched, list(forger.vector), BOUNDS)
    assert FIELDS[0].pack(true) != forger.claim.sketch, "which is what aggregators see"


def test_two_members_that_answer_by_another_c_are_left_out():
    """Each computes its own; f that are wrong are off, f + 1 leave a contribution undecided."""
    forger = MaskedForger(BOUNDS, SIZE, vector(0.8, 0))
    row = forger.key_row(challenge(0))
    given = forger.answers(challenge(0))
    given |= forger.answers(challenge(0), members=[3], key_row=(row + 1) % MODULUS)
    verdict = forger.verdict(challenge(0), given)
    assert (verdict.accepted, verdict.off) == (True, {3})


# --- full counts ---


@pytest.mark.full
@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (over_norm(10), Rule.BOUND),
        (over_norm(3), Rule.BOUND),
        (another_sketch, Rule.LINK),
        (unrelated_key, Rule.LINK),
        (key_off_by_one, Rule.LINK),
        (non_boolean, Rule.BOUND),
        (wrapping, Rule.RANGE),
        (excess(1), Rule.BOUND),
        (excess(2), Rule.BOUND),
        (all_in_the_lower, Rule.RANGE),
        (over_degree(0, 0, 1), Rule.SHARING),
    ],
)
def test_ten_thousand_of_each_kind(make, rule):
    assert rules(make, 10_000) == {rule}
