"""Which parameter sets exist, what they hold, and that the bounds on their sums are true."""

from fractions import Fraction
from math import log2, prod

import msgspec
import numpy as np
import pytest
from tests.support.masked import in_ring

from pnyx.errors import MalformedMessage
from pnyx.primitives.codec import decode, encode
from pnyx.protocol.aggregation.masked.parameters import (
    FAILURE_LOG2_MAX,
    GROUP,
    P0,
    P1,
    P2,
    RINGS,
    ParameterSet,
    UnsafeParameters,
    choose,
    key_share_bytes,
    layout,
)

CASES = [(1, 12, 2), (10**4, 12, 24), (10**6, 12, 24), (10**6, 8, 256), (10**7, 16, 100)]


def changed(parameters, **fields):
    return ParameterSet(**{**msgspec.structs.asdict(parameters), **fields})


@pytest.mark.parametrize("case", CASES)
def test_a_chosen_set_is_the_cheapest_of_all(case):
    for members, packing in ((0, 1), (24, 2), (64, 8)):
        chosen = choose(*case, members=members, packing=packing)
        bytes_of = []
        for ring in RINGS:
            try:
                found = in_ring(ring, *case)
            except AssertionError:
                continue
            bytes_of.append(found.bytes + members * key_share_bytes(found, packing))
        assert chosen.bytes + members * key_share_bytes(chosen, packing) == min(bytes_of)


@pytest.mark.parametrize("case", CASES)
def test_no_slot_more_would_fit(case):
    chosen = choose(*case)
    with pytest.raises(UnsafeParameters, match="contributors_max"):
        changed(chosen, slots=chosen.slots + 1)


def test_short_vectors_get_short_keys_and_long_ones_few_bytes():
    assert choose(100, 12, 24, members=64, packing=4).degree == P0.degree
    long = choose(10**7, 12, 24, members=64, packing=4)
    assert long.degree == P2.degree
    assert 8 * long.bytes / 10**7 < 21.7


def test_a_million_values_of_twelve_bits_take_at_most_3_6_megabytes():
    for contributors in (2, 24, 31, 128, 256):
        assert choose(10**6, 12, contributors).bytes <= 3_600_000


@pytest.mark.parametrize("case", CASES)
def test_capacity_is_what_really_holds(case):
    chosen = choose(*case)
    assert chosen.contributors_max <= chosen.capacity <= 256
    for count in (chosen.capacity, chosen.capacity + 1):
        most = count * chosen.slot_value_max
        packed = sum(most << (chosen.slot_bits * slot) for slot in range(chosen.slots))
        holds = (
            most < 1 << chosen.slot_bits
            and (packed + 1) << chosen.shift <= prod(chosen.primes)
            and count <= 256
        )
        reach = 1 << (chosen.shift - 1)
        exponent = reach**2 / (2 * count * 4.5**2)
        failure = log2(2 * chosen.coefficients) - exponent * log2(np.e)
        assert (holds and failure <= FAILURE_LOG2_MAX) == (count == chosen.capacity)
    assert changed(chosen, contributors_max=chosen.capacity).capacity == chosen.capacity
    with pytest.raises(UnsafeParameters) as raised:
        changed(chosen, contributors_max=chosen.capacity + 1)
    assert raised.value.field == "contributors_max"
    assert raised.value.limit == chosen.capacity


@pytest.mark.parametrize("count", [2, 3, 64, 200, 256])
def test_slots_are_filled_to_the_last_bit_and_no_further(count):
    """A count whose sums need one bit more than a slot has is the first that is refused."""
    slot_bits = (count * 3).bit_length()  # values of two bits
    largest = (2**slot_bits - 1) // 3
    fields = {"length": 10, "value_bits": 2, "slots": 1, "slot_bits": slot_bits, "shift": 14}
    held = ParameterSet(P1.degree, P1.primes, contributors_max=min(largest, 256), **fields)
    assert held.capacity == min(largest, 256)
    if largest < 256:
        with pytest.raises(UnsafeParameters, match="run over"):
            ParameterSet(P1.degree, P1.primes, contributors_max=largest + 1, **fields)


def test_a_slot_of_four_bits_adds_up_fifteen_bits():
    fields = {"length": 10, "value_bits": 1, "slots": 1, "slot_bits": 4, "shift": 14}
    ParameterSet(P1.degree, P1.primes, contributors_max=15, **fields)
    with pytest.raises(UnsafeParameters, match="run over"):
        ParameterSet(P1.degree, P1.primes, contributors_max=16, **fields)


def test_the_modulus_is_filled_to_the_last_multiple_of_the_scale():
    """One slot of one bit in the smallest ring: h contributors as long as Δ·(h + 1) <= Q."""
    for shift in range(17, 27):
        held = [h for h in range(2, 257) if (h + 1) << shift <= P0.primes[0]]
        fields = {"length": 10, "value_bits": 1, "slots": 1, "slot_bits": 27, "shift": shift}
        for count in {2, *held[-1:], *(h + 1 for h in held[-1:])} - {257}:
            if count in held:
                ParameterSet(P0.degree, P0.primes, contributors_max=count, **fields)
            else:
                with pytest.raises(UnsafeParameters, match="wrap around"):
                    ParameterSet(P0.degree, P0.primes, contributors_max=count, **fields)


@pytest.mark.parametrize("shift", [7, 8, 9, 10])
def test_errors_are_bounded_by_their_moments(shift):
    """The formula of the module, and the last count for which it gives 2^-64."""
    fields = {"length": 1, "value_bits": 1, "slots": 1, "slot_bits": 9, "shift": shift}
    reach = 1 << (shift - 1)

    def failure(count):
        return log2(2 * GROUP) + log2(np.e) * -(reach**2) / (2 * count * 4.5**2)

    last = max((h for h in range(1, 257) if failure(h) <= -64), default=0)
    for count in range(2, 257):
        if count <= last:
            held = ParameterSet(P1.degree, P1.primes, contributors_max=count, **fields)
            assert held.failure_log2 == pytest.approx(failure(count))
        else:
            with pytest.raises(UnsafeParameters, match="errors could reach"):
                ParameterSet(P1.degree, P1.primes, contributors_max=count, **fields)


def exact_tail(contributors: int, reach: int) -> Fraction:
    """P[|E| >= reach] for the sum of discrete Gaussians of width 4.5, by exact convolution.

    The distribution is held in integers of 2^-256, the long tails (beyond 12σ: below 2^-100 each)
    cut; a product of long integers convolves (Kronecker substitution).
    """
    from decimal import Context, Decimal

    context, cut, digits = Context(prec=90), 60, 900
    weights = [
        context.exp(context.divide(Decimal(-x * x), Decimal("40.5"))) for x in range(-cut, cut + 1)
    ]
    total = sum(weights)
    scaled = [int(weight / total * Decimal(2) ** 96) for weight in weights]
    one = sum(weight << (digits * at * 4) for at, weight in enumerate(scaled))
    power = one**contributors
    width, count = digits * 4, contributors * 2 * cut + 1
    mask = (1 << width) - 1
    sums = [power >> (width * at) & mask for at in range(count)]
    tail = sum(v for at, v in enumerate(sums) if abs(at - contributors * cut) >= reach)
    return Fraction(tail, sum(sums))


@pytest.mark.parametrize(("contributors", "shift"), [(2, 5), (4, 6), (8, 7), (24, 8), (31, 8)])
def test_the_bound_on_errors_is_above_the_exact_tail(contributors, shift):
    tail = exact_tail(contributors, 1 << (shift - 1))
    bound = 2 * np.exp(-((1 << (shift - 1)) ** 2) / (2 * contributors * 4.5**2))
    assert 0 < float(tail) <= bound
    assert bound < 50 * float(tail)  # and not far above


@pytest.mark.parametrize("ring", RINGS, ids=["P0", "P1", "P2"])
@pytest.mark.parametrize("length", [1, 1023, 1024, 1025, 40_000, 300_000, 2_000_000])
def test_a_layout_covers_a_vector_without_gap_or_overlap(ring, length):
    parameters = in_ring(ring, length, 9, 10)
    shape = layout(parameters)
    place = 0
    for segment in range(shape.segments):
        assert shape.start(segment) == place
        place += shape.values(segment)
        sent = shape.segment_coefficients(segment)
        assert sent % GROUP == 0
        assert 0 <= sent * parameters.slots - shape.values(segment) < GROUP * parameters.slots
        assert (shape.blocks(segment) - 1) * ring.degree * 32 < sent
        assert sent <= shape.blocks(segment) * ring.degree * 32
        assert shape.segment_bytes(segment) <= 1_800_000
        if segment + 1 < shape.segments:  # a full segment is full blocks of about a megabyte
            assert sent == shape.blocks(segment) * ring.degree * 32
            assert shape.segment_bytes(segment) >= 800_000
    assert place == length
    assert parameters.bytes == sum(
        shape.segment_bytes(segment) for segment in range(shape.segments)
    )
    for beyond in (-1, shape.segments):
        with pytest.raises(ValueError, match="no such segment"):
            shape.start(beyond)


def test_what_cannot_be_held_is_refused():
    for field, given in (
        ("length", (0, 12, 24)),
        ("length", (1 << 25, 12, 24)),
        ("value_bits", (10, 0, 24)),
        ("value_bits", (10, 33, 24)),
        ("contributors_max", (10, 12, 1)),
        ("contributors_max", (10, 12, 257)),
    ):
        with pytest.raises(UnsafeParameters) as raised:
            choose(*given)
        assert raised.value.field == field
    with pytest.raises(UnsafeParameters) as raised:
        choose(10, 12, 24, noise_width=4.4)
    assert raised.value.field == "noise_width"


@pytest.mark.parametrize(("last", "beyond"), [(4.5, 0.0), (9.0, 10.0)])
def test_errors_are_as_wide_as_estimates_take_them_to_be(last, beyond):
    """Whoever states a set need not have chosen it: it is refused at the next width of all."""
    parameters = choose(10, 2, 2, noise_width=9.0)
    assert changed(parameters, noise_width=last).noise_width == last
    for width in (float(np.nextafter(last, beyond)), 4.0, float("nan")):
        with pytest.raises(UnsafeParameters) as raised:
            changed(parameters, noise_width=width)
        assert raised.value.field == "noise_width"


@pytest.mark.parametrize("ring", RINGS, ids=["P0", "P1", "P2"])
def test_primes_with_half_of_the_roots_are_refused(ring):
    """1 + n modulo 2n: the roots that the transform needs are not there, only their squares."""
    parameters = in_ring(ring, 10, 2, 2)
    half = next(p for p in range((1 << 27) - ring.degree + 1, 1, -2 * ring.degree) if prime(p))
    assert half % ring.degree == 1
    assert half % (2 * ring.degree) == 1 + ring.degree
    with pytest.raises(UnsafeParameters, match="no transform") as raised:
        changed(parameters, primes=(*ring.primes[:-1], half))
    assert (raised.value.field, raised.value.value) == ("primes", half)


def test_what_no_ring_holds_is_refused_with_the_largest_that_fits():
    """The smallest ring alone: 21 bits of a value, of two contributors; or 64 of 16 bits."""
    for given, field in (((10, 32, 2), "value_bits"), ((10, 16, 256), "value_bits")):
        with pytest.raises(UnsafeParameters) as raised:
            choose(*given, rings=(P0,))
        assert raised.value.field == field
        limit = raised.value.limit
        assert choose(given[0], limit, given[2], rings=(P0,)).value_bits == limit
        with pytest.raises(UnsafeParameters):
            choose(given[0], limit + 1, given[2], rings=(P0,))


def test_a_set_travels_and_an_unsafe_one_is_malformed():
    parameters = choose(1000, 12, 24)
    data = encode(parameters)
    assert decode(data, ParameterSet, bytes_max=200) == parameters
    weak = msgspec.msgpack.decode(data)
    weak[4] = parameters.capacity + 1
    with pytest.raises(MalformedMessage, match="contributors_max"):
        decode(msgspec.msgpack.encode(weak), ParameterSet, bytes_max=200)


def test_the_rings_have_the_largest_primes_of_their_kind():
    assert P2.primes[:2] == P1.primes
    assert P1.primes[:1] == P0.primes
    found = [p for p in range((1 << 27) - (1 << 13) + 1, P2.primes[-1] - 1, -(1 << 13)) if prime(p)]
    assert tuple(found) == P2.primes


def prime(number):
    return all(number % divisor for divisor in range(3, int(number**0.5) + 1, 2))


def test_values_have_as_many_places_below_zero_as_above():
    parameters = choose(10, 12, 24)
    assert (parameters.offset, parameters.value_max) == (2048, 2047)
