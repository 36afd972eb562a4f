"""Masked sums are exact to the last integer, whatever is summed, in every ring."""

import tracemalloc

import numpy as np
import pytest
from tests.support import masked
from tests.support.masked import in_ring

from pnyx.errors import DecodingError, RuleBroken
from pnyx.primitives.ring import LANES
from pnyx.protocol.aggregation.masked.keys import MaskingKey, hash_vector
from pnyx.protocol.aggregation.masked.mask import (
    SegmentSum,
    check_sums,
    mask_segment,
    public_segment,
    rings,
    transform_key,
    unmask_segment,
)
from pnyx.protocol.aggregation.masked.parameters import (
    P0,
    P1,
    P2,
    RINGS,
    SHARED_RINGS,
    UnsafeParameters,
    choose,
    layout,
)

NAMES = ["P0", "P1", "P2"]


@pytest.mark.parametrize("ring", RINGS, ids=NAMES)
@pytest.mark.parametrize("length", [1, 31, 1024, 1025, 70_001])
def test_sums_are_exact(ring, length):
    parameters = in_ring(ring, length, 12, 24)
    vectors = masked.draw(parameters, 3)
    assert masked.sum_of(parameters, vectors).tolist() == vectors.sum(axis=0).tolist()


@pytest.mark.parametrize("ring", RINGS, ids=NAMES)
@pytest.mark.parametrize(("value_bits", "contributors"), [(1, 256), (8, 128), (12, 31), (15, 5)])
def test_extremes_with_as_many_contributors_as_are_held(ring, value_bits, contributors):
    parameters = in_ring(ring, 1500, value_bits, contributors)
    most = parameters.value_max
    vector = np.array([-most, most, 0] * 500)
    keys = [masked.key_of(parameters, who, vector) for who in range(contributors)]
    sums = masked.add(parameters, [masked.mask(parameters, key, vector) for key in keys])
    key_sum = masked.add_keys(parameters, [key.secret for key in keys])
    found = masked.unmask(parameters, key_sum, sums, contributors)
    assert found.tolist() == (contributors * vector).tolist()


def test_one_contribution_more_than_are_held_is_refused():
    parameters = in_ring(P0, 10, 12, 31)
    vector = masked.draw(parameters, 1)[0]
    key = masked.key_of(parameters, 0, vector)
    [residues] = masked.mask(parameters, key, vector)
    total = SegmentSum(parameters, 0)
    for _ in range(31):
        total.add(residues)
    with pytest.raises(UnsafeParameters) as raised:
        total.add(residues)
    assert (raised.value.field, raised.value.limit) == ("contributors", 31)
    assert total.count == 31
    for count in (0, 32):
        with pytest.raises(UnsafeParameters, match="contributors"):
            masked.unmask(parameters, key.secret, [total.total()], count)


@pytest.mark.parametrize("ring", RINGS, ids=NAMES)
def test_a_segment_is_unmasked_into_its_place(ring):
    one = layout(in_ring(ring, 1, 12, 24)).segment_values
    parameters = in_ring(ring, one + 5, 12, 24)
    vector = masked.draw(parameters, 1)[0]
    key = masked.key_of(parameters, 0, vector)
    sums = masked.add(parameters, [masked.mask(parameters, key, vector)])
    whole = np.zeros(one + 5, dtype=np.int64)
    secret = transform_key(parameters, key.secret)
    for segment, place in ((1, slice(one, one + 5)), (0, slice(0, one))):
        public = masked.public(parameters)[segment]
        unmask_segment(parameters, public, secret, sums[segment], segment, 1, whole[place])
        for wrong in (whole[:-1], np.zeros((one, 2), dtype=np.int64)[:, 0]):
            with pytest.raises(ValueError, match="no room"):
                unmask_segment(parameters, public, secret, sums[0], 0, 1, wrong)
    assert whole.tolist() == vector.tolist()


def test_ten_million_values_take_the_memory_of_a_segment():
    """Vectors are made, masked, added, unmasked and compared piece by piece."""
    parameters = choose(10_000_000, 12, 24)
    shape, contributors = layout(parameters), 2
    keys = [
        MaskingKey.derive(parameters, bytes([who]) * 32, masked.CONTEXT, bytes(32))
        for who in range(contributors)
    ]
    key_sum = transform_key(parameters, masked.add_keys(parameters, [key.secret for key in keys]))
    secrets = [(transform_key(parameters, key.secret), key.errors_seed) for key in keys]
    compared = 0
    public_segment(parameters, masked.CONTEXT, 0)  # whatever is loaded once is not counted
    tracemalloc.start()
    for segment in range(shape.segments):
        values = np.arange(shape.values(segment)) % 4095 - 2047
        public = public_segment(parameters, masked.CONTEXT, segment)
        total = SegmentSum(parameters, segment)
        total.add(mask_segment(parameters, public, *secrets[0], segment, values))
        total.add(mask_segment(parameters, public, *secrets[1], segment, values[::-1].copy()))
        found = unmask_segment(parameters, public, key_sum, total.total(), segment, contributors)
        assert np.array_equal(found, values + values[::-1])
        compared += len(found)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert compared == 10_000_000
    assert peak_bytes < 48 << 20  # the vector alone would be 80 MB


@pytest.mark.parametrize("kind", ["least", "most", "nothing", "mixed"])
def test_the_largest_group_of_the_longest_vectors(kind):
    """256 contributors of ten million values: the first segment, and the last."""
    parameters = choose(10_000_000, 16, 256, rings=SHARED_RINGS)
    keys = [
        MaskingKey.derive(parameters, bytes([who]) * 32, masked.CONTEXT, bytes(32))
        for who in range(256)
    ]
    key_sum = transform_key(parameters, masked.add_keys(parameters, [key.secret for key in keys]))
    shape = layout(parameters)
    for segment in (0, shape.segments - 1):
        ramp = np.arange(shape.values(segment)) % 65_535 - parameters.value_max
        value = {"least": ramp * 0 + ramp[0], "most": ramp * 0 + 32_767, "nothing": ramp * 0}
        values = value.get(kind, ramp)
        public = public_segment(parameters, masked.CONTEXT, segment)
        total = SegmentSum(parameters, segment)
        for key in keys:
            secret = transform_key(parameters, key.secret)
            total.add(mask_segment(parameters, public, secret, key.errors_seed, segment, values))
        found = unmask_segment(parameters, public, key_sum, total.total(), segment, 256)
        assert np.array_equal(found, 256 * values)


def test_sums_stay_integers():
    """Over 32 additions of the largest residue, and read in between."""
    parameters = choose(10, 1, 256)
    assert parameters.degree == P0.degree
    prime = parameters.primes[0]
    largest = (np.full((1, P0.degree, LANES), prime - 1, dtype=np.uint32),)
    total = SegmentSum(parameters, 0)
    for count in range(1, 257):
        total.add(largest)
        if count in (1, 32, 33, 100, 256):
            assert set(total.total()[0].reshape(-1).tolist()) == {count * (prime - 1)}
            check_sums(parameters, total.total(), count)
            with pytest.raises(RuleBroken, match="larger"):
                check_sums(parameters, total.total(), count - 1)


@pytest.mark.parametrize("ring", RINGS, ids=NAMES)
def test_segments_can_be_handled_alone_and_in_any_order(ring):
    length = 2 * layout(in_ring(ring, 1, 12, 24)).segment_values + 5
    parameters = in_ring(ring, length, 12, 24)
    assert layout(parameters).segments == 3
    vectors = masked.draw(parameters, 2)
    keys = [masked.key_of(parameters, who, vector) for who, vector in enumerate(vectors)]
    key_sum = transform_key(parameters, masked.add_keys(parameters, [key.secret for key in keys]))
    for segment in (2, 0):
        polynomials = public_segment(parameters, masked.CONTEXT, segment)
        total = SegmentSum(parameters, segment)
        for key, vector in zip(keys, vectors, strict=True):
            values = masked.pieces(parameters, vector)[segment]
            secret = transform_key(parameters, key.secret)
            total.add(
                mask_segment(parameters, polynomials, secret, key.errors_seed, segment, values)
            )
        found = unmask_segment(parameters, polynomials, key_sum, total.total(), segment, 2)
        expected = masked.pieces(parameters, vectors.sum(axis=0))[segment]
        assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("ring", RINGS, ids=NAMES)
def test_a_masked_vector_is_mask_error_and_message(ring):
    """By the definition: taking a·s away leaves Δ·m and a small error, in what is sent."""
    parameters = in_ring(ring, 3000, 12, 24)
    vector = masked.draw(parameters, 1)[0]
    key = masked.key_of(parameters, 0, vector)
    [residues] = masked.mask(parameters, key, vector)
    sent = layout(parameters).segment_coefficients(0)
    shifted = np.full(parameters.slots * sent, parameters.offset)
    shifted[:3000] += vector
    packed = [
        sum(int(u) << (parameters.slot_bits * at) for at, u in enumerate(column))
        for column in shifted.reshape(parameters.slots, sent).T
    ]
    found = []
    for at, each in enumerate(rings(parameters)):
        left = each.subtract(
            residues[at], each.mask(masked.public(parameters)[0][at], key.secret[at])
        )
        p = each.modulus
        errors = [
            (int(value) - (message << parameters.shift)) % p
            for value, message in zip(left.reshape(-1)[:sent], packed, strict=True)
        ]
        small = np.array([error - p if error > p // 2 else error for error in errors])
        assert int(np.abs(small).max()) <= 61
        assert 4.2 < small.std() < 4.8
        found.append(small.tolist())
        assert not residues[at].reshape(-1)[sent:].any()
    assert all(each == found[0] for each in found)  # one error, the same modulo every prime


def test_what_is_sent_looks_uniform():
    parameters = in_ring(P0, 200_000, 12, 24)
    vector = np.zeros(200_000, dtype=np.int64)
    [residues] = masked.mask(parameters, masked.key_of(parameters, 0, vector), vector)
    sent = residues[0].reshape(-1)[: layout(parameters).segment_coefficients(0)]
    counts = np.bincount(sent.astype(np.int64) * 64 // parameters.primes[0], minlength=64)
    expected = len(sent) / 64
    assert ((counts - expected) ** 2 / expected).sum() < 130  # 63 degrees of freedom: 10^-6


def test_public_polynomials_and_errors_are_fresh_for_every_segment():
    """And polynomials for every context: under one key, equal ones would cancel in differences."""
    parameters = in_ring(P0, 300_000, 12, 24)
    first, second = masked.public(parameters)
    [other] = [public_segment(parameters, b"another context", 0)]
    places = [each[0][0].tobytes() for each in (first, second, other)]
    assert len(set(places)) == 3
    vector = np.zeros(300_000, dtype=np.int64)
    key = masked.key_of(parameters, 0, vector)
    [ring] = rings(parameters)
    errors = []
    for public, [residues] in zip(
        (first, second), masked.mask(parameters, key, vector), strict=True
    ):
        left = ring.subtract(residues, ring.mask(public[0], key.secret[0]))
        errors.append(left.reshape(-1)[:30_000])
    assert 0.9 < (errors[0] != errors[1]).mean() < 0.99  # independent ones agree in 6 %


@pytest.mark.parametrize("ring", RINGS, ids=NAMES)
def test_the_largest_sum_is_the_last_that_is_decoded(ring):
    """One more in a slot is garbage, also where the slot has room for it."""
    parameters = in_ring(ring, 10_240, 12, 24)  # 1, 2 or 5 slots, all of them filled
    most = np.full(10_240, parameters.value_max)
    key = masked.key_of(parameters, 0, most)
    sums = masked.add(parameters, [masked.mask(parameters, key, most)])
    assert masked.unmask(parameters, key.secret, sums, 1).tolist() == most.tolist()
    for slot in range(parameters.slots):
        place = parameters.shift + slot * parameters.slot_bits
        for prime, total in zip(parameters.primes, sums[0], strict=True):
            total[0, 0, 0] += pow(2, place, prime)
        with pytest.raises(DecodingError, match="garbage"):
            masked.unmask(parameters, key.secret, sums, 1)
        for prime, total in zip(parameters.primes, sums[0], strict=True):
            total[0, 0, 0] -= pow(2, place, prime)


def test_sums_are_checked_up_to_the_last_integer():
    parameters = in_ring(P1, 10, 12, 24)
    sums = tuple(
        np.full((1, P1.degree, LANES), 7 * (prime - 1), dtype=np.uint64)
        for prime in parameters.primes
    )
    check_sums(parameters, sums, 7)
    for total in sums:
        total[0, 5, 6] += 1
        with pytest.raises(RuleBroken, match="larger"):
            check_sums(parameters, sums, 7)
        total[0, 5, 6] -= 1


def test_values_out_of_range_are_refused():
    parameters = in_ring(P1, 100, 12, 24)
    key = masked.key_of(parameters, 0, np.zeros(100, dtype=np.int64))
    for value in (2048, -2048, 1 << 40, -(1 << 40)):
        vector = np.zeros(100, dtype=np.int64)
        vector[99] = value
        with pytest.raises(ValueError, match="12 bits"):
            masked.mask(parameters, key, vector)
    for length in (99, 101):
        with pytest.raises(ValueError, match="not the values of this segment"):
            mask_segment(
                parameters,
                masked.public(parameters)[0],
                transform_key(parameters, key.secret),
                key.errors_seed,
                0,
                np.zeros(length, dtype=np.int64),
            )
    with pytest.raises(ValueError, match="no such segment"):
        public_segment(parameters, masked.CONTEXT, 1)


@pytest.mark.parametrize("ring", RINGS, ids=NAMES)
def test_keys_of_another_set_decode_to_garbage_and_are_told(ring):
    parameters = in_ring(ring, 5000, 12, 24)
    vectors = masked.draw(parameters, 3)
    keys = [masked.key_of(parameters, who, vector) for who, vector in enumerate(vectors)]
    sums = masked.add(
        parameters,
        [masked.mask(parameters, key, v) for key, v in zip(keys, vectors, strict=True)],
    )
    wrong = masked.add_keys(parameters, [key.secret for key in keys[:2]])
    with pytest.raises(DecodingError, match="garbage"):
        masked.unmask(parameters, wrong, sums, 3)


def test_a_sum_that_leaves_the_limbs_is_garbage_too():
    """A set that fills less than a limb: what lies above it is looked at all the same."""
    parameters = in_ring(P2, 1024, 8, 2)
    parameters = type(parameters)(P2.degree, P2.primes, 1024, 8, 2, slots=2, slot_bits=9, shift=8)
    vectors = masked.draw(parameters, 2)
    assert masked.sum_of(parameters, vectors).tolist() == vectors.sum(axis=0).tolist()
    key = masked.key_of(parameters, 0, vectors[0])
    sums = masked.add(parameters, [masked.mask(parameters, key, vectors[0])])
    for place in (30, 60, 100):
        for prime, total in zip(parameters.primes, sums[0], strict=True):
            total[0, 0, 0] += pow(2, place, prime)
        with pytest.raises(DecodingError, match="garbage"):
            masked.unmask(parameters, key.secret, sums, 1)
        for prime, total in zip(parameters.primes, sums[0], strict=True):
            total[0, 0, 0] -= pow(2, place, prime)
    assert masked.unmask(parameters, key.secret, sums, 1).tolist() == vectors[0].tolist()


def test_keys_differ_for_every_seed_context_vector_and_set():
    parameters = in_ring(P0, 10, 12, 24)
    other = in_ring(P0, 11, 12, 24)
    zero, one = (
        hash_vector([np.zeros(10, dtype=np.int64)]),
        hash_vector([np.ones(10, dtype=np.int64)]),
    )
    given = [
        (parameters, bytes(32), b"context", zero),
        (parameters, b"\1" * 32, b"context", zero),
        (parameters, bytes(32), b"another", zero),
        (parameters, bytes(32), b"context", one),
        (other, bytes(32), b"context", zero),
    ]
    keys = [MaskingKey.derive(*each) for each in given]
    assert len({key.secret[0].tobytes() for key in keys}) == len(keys)
    assert len({key.errors_seed for key in keys}) == len(keys)
    again = MaskingKey.derive(*given[0])
    assert again.secret[0].tolist() == keys[0].secret[0].tolist()
    assert str(keys[0].secret[0][0]) not in repr(keys[0])


def test_a_vector_is_hashed_with_its_cuts():
    values = np.arange(10)
    assert hash_vector([values[:4], values[4:]]) != hash_vector([values])
    assert hash_vector([values[:4], values[4:]]) == hash_vector([values[:4], values[4:].copy()])
