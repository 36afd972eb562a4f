"""Ring arithmetic agrees with polynomials of integers; packing accepts exactly the packings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.ring import (
    HASH_PRIMES,
    IMPLEMENTATIONS,
    LEAST_PRIME,
    MASK_PRIMES,
    random_blocks,
    schoolbook,
    use,
)

from pnyx.errors import MalformedMessage
from pnyx.primitives.ring import LANES, LinearHash, Ring

DEGREE = 32
PRIMES = (LEAST_PRIME, *MASK_PRIMES, *HASH_PRIMES)
rings = st.sampled_from([Ring(DEGREE, prime) for prime in PRIMES])
numbers = st.integers(0, 2**30) | st.sampled_from([0, 1, 2, -1, -2])
polynomials = st.lists(numbers, min_size=DEGREE, max_size=DEGREE)
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(params=list(IMPLEMENTATIONS), autouse=True, scope="module")
def implementation(request):
    with pytest.MonkeyPatch.context() as patch:
        use(patch, request.param)
        yield


def word(ring: Ring, values: list[int]):
    return np.array([value % ring.modulus for value in values], dtype=np.uint32)


@settings(deadline=None, max_examples=60)
@given(rings, polynomials, polynomials)
def test_products_agree_with_integers(ring: Ring, left: list[int], right: list[int]) -> None:
    a, b = word(ring, left), word(ring, right)
    expected = schoolbook(a.tolist(), b.tolist(), ring.modulus)
    product = ring.multiply(ring.forward(a), ring.forward(b))
    assert ring.inverse(product).tolist() == expected
    public = ring.zeros(1)
    public[0, :, 9] = a
    masks = ring.mask(ring.forward(public), b)
    assert masks[0, :, 9].tolist() == expected
    assert not masks[0, :, :9].any()


@settings(deadline=None, max_examples=20)
@given(rings, st.lists(polynomials, min_size=DEGREE // 2, max_size=DEGREE // 2))
def test_sums_of_squares_agree_with_integers(ring: Ring, factors: list[list[int]]) -> None:
    total, expected = ring.zeros(1), np.zeros(DEGREE, dtype=object)
    for values in factors:
        polynomial = word(ring, values)
        block = ring.zeros(1)
        block[0, :, 4] = polynomial
        transformed = ring.forward(block)
        ring.add_into(total, ring.multiply(transformed, transformed))
        expected += np.array(schoolbook(polynomial.tolist(), polynomial.tolist(), ring.modulus))
    assert ring.inverse(total)[0, :, 4].tolist() == (expected % ring.modulus).tolist()


@settings(deadline=None, max_examples=40)
@given(rings, seeds, st.integers(1, 3), st.lists(st.integers(-(2**61), 2**61), max_size=20))
def test_masks_vanish_from_sums_with_the_sum_of_keys(
    ring: Ring, seed: int, contributors: int, values: list[int]
) -> None:
    """The identity that masked aggregation rests on, with messages and errors."""
    public = random_blocks(ring, 2, seed)
    keys = random_blocks(ring, 1, seed + 1)[0, :, :contributors].T.copy()
    message = np.zeros(public.shape, dtype=np.int64)
    message.reshape(-1)[: len(values)] = values
    errors = np.random.default_rng(seed).integers(-60, 61, public.shape).astype(np.int8)
    total = ring.zeros(2)
    for key in keys:
        masked = ring.mask(public, key)
        ring.add_signed_into(masked, message)
        ring.add_errors_into(masked, errors)
        ring.add_into(total, ring.unpack(ring.pack(masked), 2))
    key = (keys.sum(axis=0, dtype=np.int64) % ring.modulus).astype(np.uint32)
    opened = ring.subtract(total, ring.mask(public, key))
    expected = contributors * (message.astype(object) + errors.astype(object)) % ring.modulus
    assert opened.tolist() == expected.tolist()


@settings(deadline=None, max_examples=60)
@given(rings, seeds, st.sampled_from(["none", "bit", "longer", "shorter", "modulus"]), st.data())
def test_unpacking_accepts_exactly_the_packings(
    ring: Ring, seed: int, fault: str, data: st.DataObject
) -> None:
    block = random_blocks(ring, 1, seed)
    packed = bytearray(ring.pack(block))
    if fault == "bit":
        bit = data.draw(st.integers(0, 8 * len(packed) - 1))
        packed[bit // 8] ^= 1 << bit % 8
    elif fault == "longer":
        packed += bytes(data.draw(st.integers(1, 9)))
    elif fault == "shorter":
        del packed[-data.draw(st.integers(1, 9)) :]
    elif fault == "modulus":
        row, lane = data.draw(st.integers(0, 31)), data.draw(st.integers(0, LANES - 1))
        column = np.frombuffer(packed, dtype="<u4").reshape(-1, LANES)[:, lane]
        number = sum(int(each) << 32 * at for at, each in enumerate(column))
        bits = ring.modulus.bit_length()
        number += (ring.modulus - int(block[0, row, lane])) << bits * row
        words = np.frombuffer(bytes(packed), dtype="<u4").reshape(-1, LANES).copy()
        words[:, lane] = [number >> 32 * at & 0xFFFFFFFF for at in range(bits)]
        packed = bytearray(words.tobytes())
    try:
        found = ring.unpack(bytes(packed), 1)
    except MalformedMessage:
        assert fault != "none"
    else:
        assert fault in ("none", "bit")
        assert ring.pack(found) == packed
        assert np.array_equal(found, block) == (fault == "none")


@settings(deadline=None, max_examples=15)
@given(seeds, st.integers(0, 1000), st.integers(0, 2**35 - 2**28))
def test_hashes_are_additive(seed: int, first_block: int, offset: int) -> None:
    ring, linear = Ring(1024, MASK_PRIMES[0]), LinearHash(bytes(32))
    small = random_blocks(ring, 1, seed)
    large = random_blocks(ring, 1, seed + 1).astype(np.uint64) + np.uint64(offset)
    total = linear.digest(small + large, first_block)
    parts = [linear.digest(each, first_block) for each in (small, large)]
    assert np.array_equal(total, linear.add(*parts))
    assert np.array_equal(linear.unpack(linear.pack(total)), total)
