"""What is certified follows from numbers that are recomputed here, and coarse units are refused."""

from collections import defaultdict
from fractions import Fraction
from math import comb, factorial, log2, sqrt

import msgspec
import numpy as np
import pytest

from pnyx.errors import ConfigError
from pnyx.primitives.field import PRIMES
from pnyx.protocol.aggregation.bounds import Bounds, deciding_honest, layout, repetitions
from pnyx.protocol.aggregation.masked.parameters import RINGS
from pnyx.protocol.aggregation.masked.parameters import choose as choose_masks
from pnyx.protocol.aggregation.masked_verification import bounds as module
from pnyx.protocol.aggregation.masked_verification._kernels import BLOCK_ROWS, BLOCKS
from pnyx.protocol.aggregation.masked_verification.bounds import (
    BLOCK,
    CERTIFIED_TENTHS,
    CHEATING_LOG2,
    HASHES_LOG2,
    MODULUS,
    MaskedBounds,
    bounds_of,
    choose,
    choose_for,
    colluding_bound,
    many_entries_log2,
    masks_of,
    noise_sum_max,
    passing_probability,
)
from pnyx.protocol.aggregation.masked_verification.sketch import Sketch
from pnyx.protocol.selection import choose_committee, committee_size
from pnyx.protocol.selection.tails import binomial_upper

BOUNDS = MaskedBounds(1_000_000, 4096, 1024, 24, 6, 512)


def few_entries(entries: int) -> dict[int, Fraction]:
    """Distribution of ‖P·z‖² for z of some ±1, all in buckets of their own.

    Every block of rows is 8·entries signed balls in 32 bins; blocks are independent.
    """
    balls = 8 * entries
    one_bin = []
    for count in range(balls + 1):
        energies = defaultdict(Fraction)
        for minus in range(count + 1):
            energies[(count - 2 * minus) ** 2] += Fraction(comb(count, minus), 2**count)
        scale = Fraction(1, factorial(count) * BLOCK_ROWS**count)
        one_bin.append({energy: chance * scale for energy, chance in energies.items()})
    states = {0: {0: Fraction(1)}}
    for _ in range(BLOCK_ROWS):
        following: dict[int, defaultdict[int, Fraction]] = defaultdict(
            lambda: defaultdict(Fraction)
        )
        for used, reached in states.items():
            for count in range(balls - used + 1):
                for energy, chance in one_bin[count].items():
                    for before, weight in reached.items():
                        following[used + count][before + energy] += weight * chance
        states = following
    block = {energy: chance * factorial(balls) for energy, chance in states[balls].items()}
    total = {0: Fraction(1)}
    for _ in range(BLOCKS):
        sums: defaultdict[int, Fraction] = defaultdict(Fraction)
        for before, weight in total.items():
            for energy, chance in block.items():
                sums[before + energy] += weight * chance
        total = sums
    return total


def below(distribution: dict[int, Fraction], limit: float) -> float:
    """log₂ of the chance of an energy up to a limit."""
    return log2(sum(chance for energy, chance in distribution.items() if energy <= limit))


def accepted_energy(factor: float) -> float:
    """The largest ‖P·ẑ‖² of a unit vector ẑ with which a z of norm factor·W is accepted."""
    upper, lower = BOUNDS.thresholds
    longest = BOUNDS.digit * sqrt(upper) + sqrt(lower)
    return (longest / (factor * BOUNDS.norm_scaled)) ** 2


def test_the_certified_norm_of_a_vector_with_one_entry():
    """At 2.2·W a draw passes with 2^-86: 2^40 hashes, 2^6 sets, and 2^-40 are left."""
    distribution = few_entries(1)
    assert sum(distribution.values()) == 1
    assert sum(e * c for e, c in distribution.items()) == 64, "E ‖P·z‖² = 64·‖z‖²"
    deviation = sqrt(sum(e * e * c for e, c in distribution.items()) - 64**2) / 64
    assert round(deviation, 3) == 0.083
    assert round(log2(distribution[0]), 1) == -139.4
    chance = below(distribution, accepted_energy(CERTIFIED_TENTHS / 10))
    assert round(chance) == -86
    assert chance + HASHES_LOG2 + 6 <= CHEATING_LOG2
    assert below(distribution, accepted_energy(2.1)) + HASHES_LOG2 > CHEATING_LOG2
    assert below(distribution, accepted_energy(1.54)) <= -40, "without grinding"


def test_sets_of_members_that_may_hold_different_vectors():
    """At most as many as decide (Johnson 1962): 2^6 for committees of up to 110."""
    for nodes in (36, 1000, 100_000):
        assert deciding_honest(choose_committee(nodes)) <= 64


def test_vectors_with_many_entries_are_certified_more_tightly():
    assert many_entries_log2(1.8) + HASHES_LOG2 + 6 <= CHEATING_LOG2
    assert round(many_entries_log2(1.42)) == -36
    assert many_entries_log2(CERTIFIED_TENTHS / 10) < -140


def test_vectors_with_two_entries_are_certified_more_tightly_than_with_one():
    two, limit = few_entries(2), accepted_energy(CERTIFIED_TENTHS / 10)
    assert below(two, 2 * limit) < below(few_entries(1), limit) - 10


@pytest.mark.parametrize("norm_max", [40, 512, 4096, 4600])
def test_nothing_wraps(norm_max):
    """The inequalities of the module docstring."""
    bounds = MaskedBounds(1000, norm_max, 1024, 2, 0, 1)
    proven, (upper, lower) = bounds.alone, bounds.thresholds
    largest = 32 * proven.published_max**2 + 2 * proven.bits * proven.published_max + upper
    assert largest < PRIMES[0] * PRIMES[1]
    assert abs(upper / lower - 1) < 0.01
    longest = bounds.digit * sqrt(upper) + sqrt(lower)
    assert longest < MODULUS / 2
    assert 8 * bounds.norm_scaled <= longest < 8.04 * bounds.norm_scaled
    assert proven.published_max < 2**31
    room = (2**16 - proven.bits) // 17  # counts of 16 bits and one that is cut to fit
    Bounds(
        room, 0, 0, 2**17 - 1, key_length=1024, key_fields=1, masked_norm_max=proven.masked_norm_max
    )


def test_honest_sketches_pass():
    """0.993 at nine tenths of the bound, and the lower digits' threshold hardly matters."""
    assert round(passing_probability(0.9), 3) == 0.994
    assert round(passing_probability(1.0), 1) == 0.5
    generator = np.random.Generator(np.random.PCG64(1))
    z = generator.normal(size=BLOCK)
    lower_passes, energies, draws = 0, [], 300
    for share in (0.9,):
        scaled = np.rint(z * share * BOUNDS.norm_scaled / np.linalg.norm(z)).astype(np.int32)
        for draw in range(draws):
            found = Sketch(draw.to_bytes(32, "big")).apply([scaled])
            energies.append(float(found @ found) / (64 * float(BOUNDS.norm_scaled) ** 2))
            lower = (found + BOUNDS.digit // 2) % BOUNDS.digit - BOUNDS.digit // 2
            lower_passes += int(lower @ lower) <= BOUNDS.thresholds[1]
    assert sum(energy > 1 for energy in energies) <= 8
    assert lower_passes >= draws - 4
    assert 0.81 * 0.98 < np.mean(energies) < 0.81 * 1.02
    assert 0.07 < np.std(energies) / 0.81 < 0.11


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ((1000, 4096, 1024, 24, 25, 512), "colluding_max"),
        ((1000, 4096, 1024, 24, 6, 4097), "entry_max"),
        (
            (1000, 2**20, 2**10, 24, 0, 1),
            "norm_max is 1048576, too large for the ring, which holds 131032",
        ),
        ((1000, 4096, 256, 24, 6, 512), "scale is 256: errors of the sum"),
        ((1000, 4700, 1024, 2, 0, 1), "too large to be proven"),
        ((1000, 4096, 1024, 24, 8, 512), "norm_max is 4096: .* wrap beyond 67088384"),
        ((1000, 4096, 1024, 24, 0, 2800), "wrap beyond 67088384"),
        ((1_000_000, 10, 1024, 24, 0, 1), "errors alone"),
    ],
)
def test_bounds_that_cannot_be_proven_are_refused(terms, message):
    with pytest.raises(ValueError, match=message):
        MaskedBounds(*terms)
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(list(terms)), type=MaskedBounds)


@pytest.mark.parametrize(
    "terms", [(1000, 4700, 1024, 2, 0, 1), (1_000_000, 10, 1024, 24, 0, 1)], ids=["most", "least"]
)
def test_the_limit_that_an_error_names_is_the_last_that_can_be_proven(terms):
    length, norm_max, *rest = terms
    with pytest.raises(ValueError, match="norm_max") as raised:
        MaskedBounds(*terms)
    limit = int(str(raised.value).split()[-1])
    MaskedBounds(length, limit, *rest)
    with pytest.raises(ValueError, match="norm_max"):
        MaskedBounds(length, limit + (1 if norm_max > limit else -1), *rest)


def test_sums_wrap_where_the_bounds_are_refused():
    """Seven that spend everything on one entry fit beside 17 honest ones; eight would wrap."""
    worst = CERTIFIED_TENTHS * BOUNDS.norm_scaled // 10
    assert MaskedBounds(1000, 4096, 1024, 24, 7, 64).largest_sum <= MODULUS // 2
    assert 8 * worst > MODULUS // 2
    total = np.int64(8 * worst) % MODULUS
    assert (total - MODULUS if total > MODULUS // 2 else total) < 0, "a large sum turned negative"


def test_errors_of_a_sum_never_show():
    """The tail that is claimed, by Chernoff's bound for the largest entry."""
    for contributors in (2, 24, 256):
        limit = noise_sum_max(1_000_000, contributors)
        exponent = limit**2 / (2 * 4.5**2 * contributors) / np.log(2)
        assert 1 + log2(977 * 1024) - exponent <= -64
        assert 1 + log2(977 * 1024) - exponent * 0.95 > -64, "hardly more than is needed"
    generator = np.random.Generator(np.random.PCG64(2))
    errors = np.rint(generator.normal(scale=4.5, size=(24, 100_000))).sum(axis=0)
    assert np.abs(errors).max() < noise_sum_max(100_000, 24) / 1.8


@pytest.mark.parametrize("length", [1, 1000, 100_000, 1_000_000, 5_000_000])
@pytest.mark.parametrize(("contributors", "colluding"), [(2, 2), (24, 1), (24, 6)])
def test_chosen_bounds_are_the_finest_that_hold(length, contributors, colluding):
    chosen = choose(length, contributors, colluding)
    assert chosen.rounding_error <= module.ROUNDING_ERROR_MAX
    assert chosen.clip_max <= 0.9 * chosen.norm_max
    finer = chosen.norm_max * 101 // 100
    with pytest.raises(ValueError, match="coarser units"):
        MaskedBounds(length, finer, chosen.scale, contributors, colluding, max(1, finer // 8))


@pytest.mark.parametrize(
    ("length", "contributors", "colluding"),
    [(10_000_000, 24, 24), (10_000_000, 100, 10), (5_000_000, 100, 10), (1_000_000, 256, 256)],
)
def test_too_coarse_units_are_refused(length, contributors, colluding):
    with pytest.raises(ConfigError, match="rounding alone would add"):
        choose(length, contributors, colluding)


@pytest.mark.parametrize(
    ("contributors", "colluding", "last"),
    [(50, 5, 5_821_350), (100, 3, 4_588_501), (256, 2, 307_813)],
)
def test_rounding_adds_a_quarter_at_most(contributors, colluding, last):
    """√(length/6) is a quarter of the norm at the last length that is taken."""
    chosen = choose(last, contributors, colluding)
    assert 8 * last <= 3 * chosen.norm_max**2 < 8 * (last + 1)
    with pytest.raises(ConfigError, match="rounding alone would add 25%"):
        choose(last + 1, contributors, colluding)


def test_rounding_adds_a_quarter_of_a_stated_norm_at_most():
    """Ninety units of a bound of 100: 3,750 values round to a norm of 25."""
    assert choose_for(90, 3750, 8, 2).norm_max == 100
    with pytest.raises(ConfigError, match="Rounding alone would add 25%"):
        choose_for(90, 3751, 8, 2)


@pytest.mark.parametrize("terms", [(0, 24, 1), (2**24 + 1, 24, 1), (10, 1, 0), (10, 257, 0)])
def test_sizes_that_cannot_be(terms):
    with pytest.raises(ConfigError, match=r"carry 1 to 16777216 values of 2 to 256 contributors\."):
        choose(*terms)


def test_as_many_contributors_as_masks_hold_and_no_more():
    """More could be stated and never masked."""
    for contributors in (2, 256):
        chosen = choose(10, contributors, 1)
        read = msgspec.msgpack.decode(msgspec.msgpack.encode(chosen), type=MaskedBounds)
        assert masks_of(read).contributors_max == contributors
    terms = list(msgspec.structs.astuple(choose(10, 256, 1)))
    for place, value in ((3, 1), (3, 257), (4, 257)):
        data = msgspec.msgpack.encode([*terms[:place], value, *terms[place + 1 :]])
        with pytest.raises(msgspec.ValidationError, match=r"Expected `int` (<= 256|>= 2)"):
            msgspec.msgpack.decode(data, type=MaskedBounds)


def test_errors_are_those_that_the_bounds_assume():
    """Wider ones are safe to mask with, and could be beyond what a sum is assumed to hold."""
    chosen = choose(1000, 31, 6)  # whose shift would hold the widest errors as well
    masks = masks_of(chosen)
    assert masks.noise_width == 4.5
    assert bounds_of(masks, chosen.norm_max, 6) == chosen
    for width in (float(np.nextafter(4.5, 5)), 6.0, 9.0):
        wider = msgspec.structs.replace(masks, noise_width=width)
        with pytest.raises(ValueError, match=r"errors of a verified update have width 4\.5"):
            bounds_of(wider, chosen.norm_max, 6)


def test_more_colluding_than_there_are():
    with pytest.raises(ConfigError, match="can collude"):
        choose(1000, 24, 25)


def test_layout():
    """Digits in the place of an update; the key where it always is."""
    size = committee_size(64, 12, 4, 9)
    plan = layout(BOUNDS.alone, size)
    assert (plan.keys, plan.digits, plan.slack, plan.repetitions) == ((256, 0), 64, 14, 4)
    assert plan.repetitions == repetitions(size)
    assert (plan.update, plan.slack_start, plan.counts_start, plan.short) == (0, 128, 142, 142)
    assert (plan.data, plan.columns) == (142 + 64, 142 + 64 + 12)
    assert plan.squared == (64, 64)
    assert plan.dimension == 4 * 142


def test_masks_and_bounds_say_the_same():
    for terms in ((1000, 24, 8), (100_000, 24, 6), (50, 100, 0), (1, 2, 2)):
        chosen = choose(*terms)
        masks = masks_of(chosen)
        assert bounds_of(masks, chosen.norm_max, chosen.colluding_max) == chosen
        assert masks.value_max <= chosen.norm_max // 8 or masks.value_max == 1
        assert masks.capacity >= chosen.contributors_max


@pytest.mark.parametrize("terms", [(2048, 12), (1024, 4)])
def test_other_rings_and_packed_values_cannot_be_verified(terms):
    degree, bits = terms
    ring = next(each for each in RINGS if each.degree == degree)
    masks = choose_masks(5000, bits, 8, rings=(ring,))
    assert masks.slots > 1 or masks.degree > 1024
    with pytest.raises(ValueError, match="smallest ring, a value a coefficient"):
        bounds_of(masks, 100, 0)


def test_entries_are_cut_shorter_where_the_masks_of_so_many_would_wrap():
    """W/8 in every entry of 200 honest contributors leaves room for no offset: W/16 does."""
    chosen = choose(1000, 200, 0)
    assert masks_of(chosen).capacity >= 200


@pytest.mark.parametrize(
    ("norm", "length", "contributors", "colluding"),
    [(2048, 3500, 30, 10), (1000, 9, 8, 6), (2000, 100_000, 24, 9)],
)
def test_the_tightest_bounds_for_a_norm(norm, length, contributors, colluding):
    chosen = choose_for(norm, length, contributors, colluding)
    assert norm <= chosen.clip_max <= norm + 1
    assert masks_of(chosen).value_max == chosen.entry_max
    with pytest.raises(ValueError, match=r"wrap|part of"):
        masks_of(msgspec.structs.replace(chosen, entry_max=2 * chosen.entry_max + 1))


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ((7000, 3500, 24, 9), "cannot be verified"),
        ((100, 100_000, 24, 9), "Rounding alone would add"),
    ],
)
def test_norms_that_cannot_be_verified(terms, message):
    with pytest.raises(ConfigError, match=message):
        choose_for(*terms)


def test_contributors_that_collude_at_most():
    assert [colluding_bound(count) for count in (2, 10, 30, 100, 256)] == [2, 6, 10, 18, 32]
    assert colluding_bound(30, 0.0) == 0
    for count in (24, 100):
        most = colluding_bound(count)
        assert binomial_upper(count, 0.05, most + 1) <= 1e-6 < binomial_upper(count, 0.05, most)
