"""Rings: transforms, masks and sums agree with integers, whichever implementation computes."""

import math

import numpy as np
import pytest
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
from pnyx.primitives.ring import (
    LANES,
    LIMB_BITS,
    Ring,
    _choice,
    compose,
    expand_public,
    extract,
)
from pnyx.primitives.sampling import Sampler

SEED = bytes(range(32))
RINGS = [Ring(1024, MASK_PRIMES[0]), Ring(64, LEAST_PRIME), Ring(32, HASH_PRIMES[0])]
LARGE = [Ring(2048, MASK_PRIMES[1]), *(Ring(4096, prime) for prime in MASK_PRIMES)]


@pytest.fixture(params=list(IMPLEMENTATIONS), autouse=True)
def implementation(request, monkeypatch):
    use(monkeypatch, request.param)


def full(ring: Ring, value: int, blocks: int = 1):
    return np.full((blocks, ring.degree, LANES), value, dtype=np.uint32)


def values_by_definition(ring: Ring, polynomial: list[int]) -> list[int]:
    n, p = ring.degree, ring.modulus
    generator = 2
    while pow(generator, (p - 1) // 2, p) == 1:
        generator += 1
    root = pow(generator, (p - 1) // (2 * n), p)
    assert pow(root, n, p) == p - 1
    bits = n.bit_length() - 1
    found = []
    for place in range(n):
        odd = 2 * int(f"{place:0{bits}b}"[::-1], 2) + 1
        point, value = pow(root, odd, p), 0
        for coefficient in reversed(polynomial):
            value = (value * point + coefficient) % p
        found.append(value)
    return found


@pytest.mark.parametrize("ring", RINGS, ids=str)
def test_a_transform_lists_the_values_at_the_roots(ring: Ring) -> None:
    block = random_blocks(ring, 2)
    transformed = ring.forward(block)
    for lane in (0, 31):
        expected = values_by_definition(ring, block[1, :, lane].tolist())
        assert transformed[1, :, lane].tolist() == expected
    assert ring.forward(block[1, :, 5].copy()).tolist() == transformed[1, :, 5].tolist()


@pytest.mark.parametrize("ring", RINGS + LARGE, ids=str)
def test_inverse_undoes_forward(ring: Ring) -> None:
    for block in (random_blocks(ring, 2), full(ring, 0), full(ring, ring.modulus - 1)):
        before = block.copy()
        transformed = ring.forward(block)
        assert transformed.dtype == np.uint32
        assert int(transformed.max()) < ring.modulus
        assert np.array_equal(ring.inverse(transformed), block)
        assert np.array_equal(ring.forward(ring.inverse(block)), block)
        assert np.array_equal(block, before)
    single = random_blocks(ring, 1)[0, :, 3].copy()
    assert np.array_equal(ring.inverse(ring.forward(single)), single)


@pytest.mark.parametrize("ring", RINGS, ids=str)
def test_masks_are_products_modulo_the_ring(ring: Ring) -> None:
    public, key = random_blocks(ring, 2), random_blocks(ring, 1, seed=2)[0, :, 1].copy()
    masks = ring.mask(ring.forward(public), key)
    for block, lane in ((0, 0), (1, 31)):
        expected = schoolbook(public[block, :, lane].tolist(), key.tolist(), ring.modulus)
        assert masks[block, :, lane].tolist() == expected


@pytest.mark.parametrize("ring", RINGS + LARGE, ids=str)
def test_masking_is_transform_multiply_and_back(ring: Ring) -> None:
    public, key = random_blocks(ring, 2), random_blocks(ring, 1, seed=2)[0, :, 1].copy()
    masks = ring.mask(public, key)
    assert np.array_equal(masks, ring.inverse(ring.multiply(public, ring.forward(key))))
    assert np.array_equal(masks, ring.inverse(ring.multiply(ring.forward(key), public)))


@pytest.mark.parametrize("ring", RINGS, ids=str)
def test_a_key_is_transformed_once_for_many_blocks(ring: Ring, monkeypatch) -> None:
    public, key = random_blocks(ring, 3), random_blocks(ring, 1, seed=2)[0, :, 1].copy()
    expected = ring.mask(public, key)
    prepared = ring.transform_key(key)
    monkeypatch.setattr(Ring, "forward", None)  # nothing is transformed again
    for block in range(3):
        masks = ring.mask(public[block : block + 1], prepared)
        assert np.array_equal(masks, expected[block : block + 1])
    assert str(key[0]) not in repr(prepared)


def test_a_transformed_key_serves_its_ring_alone() -> None:
    """Modulo another prime its masks would be of no key at all."""
    first, second = (Ring(1024, prime) for prime in MASK_PRIMES[:2])
    public = random_blocks(second, 1)
    key = first.transform_key(random_blocks(first, 1)[0, :, 0].copy())
    with pytest.raises(ValueError, match="another ring"):
        second.mask(public, key)


@pytest.mark.parametrize("ring", RINGS, ids=str)
@pytest.mark.parametrize("value", [0, 1, -1])
def test_extreme_public_polynomials_and_keys(ring: Ring, value: int) -> None:
    """All coefficients 0, 1 or p - 1: the lazily reduced sums are as large as they get."""
    p, n = ring.modulus, ring.degree
    public = ring.forward(full(ring, value % p))
    for key_value in (0, 1, -1):
        key = np.full(n, key_value % p, dtype=np.uint32)
        expected = [value * key_value * (2 * (i + 1) - n) % p for i in range(n)]
        assert ring.mask(public, key)[0, :, 7].tolist() == expected


@pytest.mark.parametrize("ring", RINGS, ids=str)
def test_products_of_transforms(ring: Ring) -> None:
    a, b = random_blocks(ring, 2), random_blocks(ring, 2, seed=2)
    a[0, :, 0] = b[0, :, 0] = ring.modulus - 1
    expected = (a.astype(object) * b.astype(object) % ring.modulus).tolist()
    assert ring.multiply(a, b).tolist() == expected
    single = ring.multiply(a[0, :, 4].copy(), b[0, :, 4].copy())
    assert single.shape == (ring.degree,)
    assert single.tolist() == [row[4] for row in expected[0]]


@pytest.mark.parametrize("ring", RINGS, ids=str)
def test_products_next_to_a_multiple_of_the_modulus(ring: Ring) -> None:
    """There a quotient that is rounded is off by one."""
    p = ring.modulus
    a = random_blocks(ring, 1)
    a[a == 0] = 1
    inverses = np.array([pow(int(x), -1, p) for x in a.ravel()], dtype=np.uint64).reshape(a.shape)
    for rest in (1, p - 1, 2, p - 2):
        b = (inverses * np.uint64(rest) % np.uint64(p)).astype(np.uint32)
        assert (ring.multiply(a, b) == rest).all()


@pytest.mark.parametrize("ring", RINGS, ids=str)
def test_integers_next_to_a_multiple_of_the_modulus(ring: Ring) -> None:
    p = ring.modulus
    quotients = np.random.default_rng(5).integers(
        -(2**62 // p), 2**62 // p, (1, ring.degree, LANES)
    )
    for start in (0, p - 1):
        for rest in (-1, 0, 1):
            total = full(ring, start)
            ring.add_signed_into(total, quotients * p + rest)
            assert (total == (start + rest) % p).all()


def test_words_next_to_the_modulus_are_told_apart() -> None:
    modulus, mask = MASK_PRIMES[0], 2**27 - 1
    edges = [0, modulus - 1, modulus, modulus + 1, mask, 2**27, 2**27 + modulus, 2**32 - 1, 5]
    for filler in (0, 127, 128, 300):  # many words are tried at a time
        words = np.array([7] * filler + edges + [9] * filler, dtype=np.uint32)
        expected = [word & mask for word in words.tolist() if word & mask < modulus]
        out = np.empty_like(words)
        assert _choice.kernels().accept(words, mask, modulus, out) == len(expected)
        assert out[: len(expected)].tolist() == expected
        allowed = np.array([*edges[:2], 2**27, 5], dtype=np.uint32)
        assert _choice.kernels().accept(allowed, mask, modulus, out) == 4


@pytest.mark.parametrize("ring", RINGS, ids=str)
def test_sums_and_differences(ring: Ring) -> None:
    p = ring.modulus
    a, b = random_blocks(ring, 3), random_blocks(ring, 3, seed=2)
    a[0, 0], b[0, 0] = p - 1, p - 1
    a[0, 1], b[0, 1] = 0, p - 1
    total = a.copy()
    ring.add_into(total, b)
    wide = a.astype(np.int64)
    assert np.array_equal(total, (wide + b) % p)
    assert np.array_equal(ring.subtract(a, b), (wide - b) % p)
    assert np.array_equal(ring.subtract(total, b), a)
    ring.add_into(total, total)
    assert np.array_equal(total, 2 * (wide + b) % p)


@pytest.mark.parametrize("ring", RINGS, ids=str)
def test_signed_integers_are_added_exactly(ring: Ring) -> None:
    p = ring.modulus
    total = random_blocks(ring, 2)
    edges = [0, 1, -1, p, -p, p - 1, 1 - p, 2**62 - 1, 1 - 2**62, 2**53 + 1, -(2**53) - 1]
    multiples = [
        sign * (q * p + d) for q in (2**32, 2**20 + 7) for d in (-1, 0, 1) for sign in (1, -1)
    ]
    values = np.random.default_rng(3).integers(1 - 2**62, 2**62, total.shape)
    values.reshape(-1)[: len(edges)] = edges
    values.reshape(-1)[40 : 40 + len(multiples)] = multiples
    expected = (total.astype(object) + values.astype(object)) % p
    ring.add_signed_into(total, values)
    assert total.tolist() == expected.tolist()
    small = values >> 20
    expected = (total.astype(object) + small.astype(object) * -(2**19)) % p
    ring.add_signed_into(total, small, -(2**19))
    assert total.tolist() == expected.tolist()


@pytest.mark.parametrize("ring", RINGS, ids=str)
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_combinations_are_added_exactly(ring: Ring, rows: int) -> None:
    generator = np.random.default_rng(rows)
    total = random_blocks(ring, 1)
    most = 2**62 // (rows * ring.modulus)
    values = generator.integers(1 - most, most, (rows, *total.shape))
    factors = generator.integers(0, ring.modulus, rows)
    values[:, 0, 0, 0], values[:, 0, 0, 1], factors[-1] = most - 1, 1 - most, ring.modulus - 1
    added = sum(row.astype(object) * int(f) for row, f in zip(values, factors, strict=True))
    expected = (total.astype(object) + added) % ring.modulus
    ring.add_combination_into(total, values, factors)
    assert total.tolist() == expected.tolist()


def test_combinations_reach_up_to_two_to_the_63() -> None:
    ring = RINGS[0]
    total = full(ring, ring.modulus - 1)
    values, factors = np.full((2, *total.shape), 2**36), np.array([2**26 - 1, 2**25])
    expected = (ring.modulus - 1 + 2**36 * (2**26 - 1 + 2**25)) % ring.modulus
    assert 2**62 < 2**36 * (2**26 - 1 + 2**25) < 2**63
    ring.add_combination_into(total, values, factors)
    assert np.array_equal(total, full(ring, expected))


@pytest.mark.parametrize("ring", RINGS, ids=str)
def test_errors_are_added_exactly(ring: Ring) -> None:
    total = random_blocks(ring, 1)
    errors = np.random.default_rng(3).integers(-128, 128, total.shape).astype(np.int8)
    total[0, :4] = 0
    total[0, 4:8] = ring.modulus - 1
    errors[0, :2], errors[0, 2:4], errors[0, 4:6], errors[0, 6:8] = -128, 127, 127, -128
    expected = (total.astype(np.int64) + errors) % ring.modulus
    ring.add_errors_into(total, errors)
    assert np.array_equal(total, expected)


@pytest.mark.parametrize("ring", RINGS, ids=str)
def test_centred_representatives(ring: Ring) -> None:
    p = ring.modulus
    block = full(ring, 0)
    block[0, :5, 0] = 0, 1, p // 2, p // 2 + 1, p - 1
    centred = ring.centred(block)
    assert centred.dtype == np.int32
    assert centred[0, :5, 0].tolist() == [0, 1, p // 2, -(p // 2), -1]


def packed_by_definition(ring: Ring, block) -> bytes:
    bits, found = ring.modulus.bit_length(), []
    for group in block.reshape(-1, 32, LANES):
        columns = [
            sum(int(value) << bits * row for row, value in enumerate(group[:, lane]))
            for lane in range(LANES)
        ]
        for word in range(bits):
            found += [
                (column >> 32 * word & 0xFFFFFFFF).to_bytes(4, "little") for column in columns
            ]
    return b"".join(found)


@pytest.mark.parametrize("prime", [MASK_PRIMES[0], LEAST_PRIME, 268369921, 536813569, *HASH_PRIMES])
def test_packing_leaves_no_bit_unused(prime: int) -> None:
    """27 to 30 bits: values end at the edge of a word at other places."""
    ring = Ring(64, prime)
    for block in (random_blocks(ring, 2), full(ring, 0), full(ring, prime - 1)):
        data = ring.pack(block)
        assert data == packed_by_definition(ring, block)
        assert len(data) == len(block) * ring.packed_block_bytes
        assert ring.packed_block_bytes * 8 == ring.degree * LANES * prime.bit_length()
        assert np.array_equal(ring.unpack(data, len(block)), block)


@pytest.mark.parametrize("ring", RINGS, ids=str)
def test_packed_blocks_of_wrong_length_are_refused(ring: Ring) -> None:
    data = ring.pack(random_blocks(ring, 2))
    for wrong in (b"", data[:-1], data + b"\x00", data[: ring.packed_block_bytes], data * 2):
        with pytest.raises(MalformedMessage, match="take"):
            ring.unpack(wrong, 2)
    assert ring.unpack(b"", 0).shape == (0, ring.degree, LANES)


@pytest.mark.parametrize("ring", RINGS, ids=str)
def test_residues_that_are_not_reduced_are_refused(ring: Ring) -> None:
    """Otherwise one vector had two packings, and its sum with others would leave the range."""
    for value in (ring.modulus, 2 ** ring.modulus.bit_length() - 1):
        for place in ((0, 0, 0), (1, ring.degree - 1, LANES - 1), (0, 31, 5)):
            block = random_blocks(ring, 2)
            block[place] = value
            with pytest.raises(MalformedMessage, match="not below the prime"):
                ring.unpack(packed_by_definition(ring, block), 2)
            with pytest.raises(ValueError, match="reduced"):
                ring.pack(block)


def test_unpacking_reads_bytes_at_any_address() -> None:
    ring = RINGS[2]
    data = ring.pack(random_blocks(ring, 1))
    for offset in range(4):
        view = memoryview(bytes(offset) + data)[offset:]
        assert ring.pack(ring.unpack(view, 1)) == data


@pytest.mark.parametrize("ring", RINGS + LARGE[:1], ids=str)
def test_public_blocks_are_the_field_elements_of_their_streams(ring: Ring) -> None:
    """With the least prime half of the words are dropped: reducing them instead would be biased."""
    whole = expand_public(ring, SEED, 3)
    for block in range(3):
        sampler = Sampler(SEED, f"ring/public/{ring.degree}/{ring.modulus}/{block}")
        expected = sampler.field_elements(ring.modulus, (ring.degree, LANES))
        assert np.array_equal(whole[block], expected)
    assert np.array_equal(expand_public(ring, SEED, 2, first_block=1), whole[1:])
    assert expand_public(ring, SEED, 0).shape == (0, ring.degree, LANES)
    assert not np.array_equal(expand_public(ring, bytes(32), 1), whole[:1])


def unevenness(values, modulus: int) -> float:
    """Chi-square of 64 equal parts of the range."""
    counts = np.bincount(values.astype(np.int64).ravel() * 64 // modulus, minlength=64)
    expected = values.size / 64
    return float(((counts - expected) ** 2 / expected).sum())


def test_public_blocks_are_uniform() -> None:
    """A third of the words are dropped here; reduced instead, they would favour small values."""
    ring = Ring(1024, 100005889)
    assert unevenness(expand_public(ring, SEED, 2), ring.modulus) < 120  # 63 degrees: p < 2e-5
    words = np.frombuffer(Sampler(SEED, "words").bytes(4 * 65536), dtype="<u4") & (2**27 - 1)
    assert unevenness(words % ring.modulus, ring.modulus) > 5000


@pytest.mark.parametrize(
    ("degree", "modulus"),
    [
        (1000, MASK_PRIMES[0]),
        (16, MASK_PRIMES[0]),
        (1 << 16, MASK_PRIMES[0]),
        (8192, MASK_PRIMES[0]),  # 1 modulo 2^13, not 2^14
        (32, 134217727),
        (32, 134217728),
        (32, (1 << 26) + 1),  # 5·13421773
        (32, 67104769),  # 26 bits
        (32, 2147473409),  # 31 bits
        (32, 193),
    ],
)
def test_rings_without_a_transform_are_refused(degree: int, modulus: int) -> None:
    with pytest.raises(ValueError, match=r"degree|modulus"):
        Ring(degree, modulus)


def test_wrong_shapes_and_types_are_bugs() -> None:
    ring = RINGS[2]
    good = random_blocks(ring, 2)
    wrong = [
        good[0],
        good[:, :16],
        good[:, :, :16],
        good.astype(np.int64),
        good[:, ::-1],
        good[None],
    ]
    for block in wrong:
        for act in (ring.forward, ring.inverse, ring.pack, ring.centred):
            with pytest.raises(ValueError, match="blocks"):
                act(block)
        for act in (ring.add_into, ring.subtract, ring.multiply):
            with pytest.raises(ValueError, match="blocks"):
                act(good, block)
        with pytest.raises(ValueError, match="blocks"):
            ring.mask(block, good[0, :, 0].copy())
    for act in (ring.add_into, ring.subtract, ring.multiply):
        with pytest.raises(ValueError, match="equally many"):
            act(good, good[:1])
    for values in (
        good[:1].astype(np.int64),
        good.astype(np.int32),
        good[:, ::-1].astype(np.int64)[:, ::-1],
    ):
        with pytest.raises(ValueError, match="contiguous array"):
            ring.add_signed_into(good, values)
    with pytest.raises(ValueError, match="contiguous array"):
        ring.add_errors_into(good, good.astype(np.int64))
    rows, factors = np.zeros((2, *good.shape), dtype=np.int64), np.array([1, 2])
    for values, by in ((rows[:1], factors), (rows[:0], factors[:0]), (rows[:, :1], factors)):
        with pytest.raises(ValueError, match="as many rows"):
            ring.add_combination_into(good, values, by)
    transposed = np.zeros((*good.shape, 2), dtype=np.int64).transpose(3, 0, 1, 2)
    for values, by in (
        (rows.astype(np.int32), factors),
        (rows, factors * 1.0),
        (transposed, factors),
    ):
        with pytest.raises(ValueError, match="contiguous arrays of int64"):
            ring.add_combination_into(good, values, by)
    with pytest.raises(ValueError, match="counted from zero"):
        expand_public(ring, SEED, -1)
    with pytest.raises(ValueError, match="counted from zero"):
        expand_public(ring, SEED, 1, first_block=-1)


def test_inputs_may_be_read_only() -> None:
    """As what was read from bytes is."""
    ring = RINGS[2]
    public, key = random_blocks(ring, 2), random_blocks(ring, 1, seed=2)[0, :, 1].copy()
    masks, sums = ring.mask(public, key), ring.multiply(public, public)
    total = masks.copy()
    ring.add_into(total, public)
    for array in (public, key, masks):
        array.flags.writeable = False
    assert np.array_equal(ring.mask(public, key), masks)
    assert np.array_equal(ring.multiply(public, public), sums)
    assert np.array_equal(ring.subtract(total, public), masks)
    assert np.array_equal(ring.inverse(ring.forward(public)), public)
    assert np.array_equal(ring.unpack(ring.pack(public), 2), public)
    with pytest.raises((TypeError, ValueError)):
        ring.add_into(masks, public)


def test_single_polynomials_are_checked() -> None:
    """A signed key, cast to words, would give masks that no sum of keys takes away."""
    ring = RINGS[2]
    good = random_blocks(ring, 1)
    for polynomial in (good[0, :16, 0], good[0, :, 0].astype(np.int64)):
        for act in (ring.forward, ring.inverse, lambda one: ring.mask(good, one)):
            with pytest.raises(ValueError, match="polynomial"):
                act(polynomial)
        with pytest.raises(ValueError, match="polynomial"):
            ring.multiply(good, polynomial)
    unreduced = good[0, :, 0].copy()
    unreduced[9] = ring.modulus
    with pytest.raises(ValueError, match="reduced"):
        ring.mask(good, unreduced)


def test_products_are_added_to_sums() -> None:
    ring = RINGS[2]
    block, key = random_blocks(ring, 3), random_blocks(ring, 3, seed=2)
    sums = np.full(ring.degree, ring.modulus - 1, dtype=np.uint64)
    ring.add_products_into(sums, block, key)
    products = ring.forward(block).astype(object) * key.astype(object)
    expected = (products.sum(axis=(0, 2)) + ring.modulus - 1) % ring.modulus
    assert sums.tolist() == expected.tolist()
    for wrong in (sums[:16], sums.astype(np.int64)):
        with pytest.raises(ValueError, match="sums"):
            ring.add_products_into(wrong, block, key)
    largest = full(ring, ring.modulus - 1, 40)
    sums[:] = 0
    ring.add_products_into(sums, ring.inverse(largest), largest)
    assert sums.tolist() == [40 * LANES] * ring.degree


@pytest.mark.parametrize("shift", [0, 9, 43, 53, 54, 60, 107])
@pytest.mark.parametrize("limbs", [1, 2])
def test_bits_are_extracted_from_two_limbs(shift: int, limbs: int) -> None:
    generator = np.random.default_rng(shift)
    low = generator.integers(0, 2**54, 1000, dtype=np.uint64)
    high = generator.integers(0, 2**54, 1000 if limbs == 2 else 0, dtype=np.uint64)
    low[:2], high[:2] = (0, 2**54 - 1), (2**54 - 1, 0)[: len(high)]
    out = np.empty(990, dtype=np.int64)
    upper = high.tolist() or [0] * 1000
    numbers = [a + (b << 54) for a, b in zip(low.tolist(), upper, strict=True)]
    expected = [(number >> shift) & (2**17 - 1) for number in numbers[:990]]
    assert extract(low, high, 54, shift, 17, 5, out) == max(expected)
    assert out.tolist() == [each - 5 for each in expected]


def test_bits_of_wrong_limbs_are_bugs() -> None:
    low, out = np.zeros(8, dtype=np.uint64), np.empty(9, dtype=np.int64)
    with pytest.raises(ValueError, match="fewer numbers"):
        extract(low, low[:0], 54, 0, 17, 0, out)
    with pytest.raises(ValueError, match="fewer numbers"):
        extract(low, low[:1], 54, 0, 17, 0, out[:8])
    for limb_bits, shift, bits in ((0, 0, 1), (63, 0, 1), (54, 118, 1), (54, -1, 1), (54, 0, 63)):
        with pytest.raises(ValueError, match="fewer than 63 bits"):
            extract(low, low, limb_bits, shift, bits, 0, out[:8])


def radix_weights(primes: list[int]):
    """By the definition of mixed radix: digit i undoes the places below it, and their product."""
    weights = np.zeros((len(primes), len(primes)), dtype=np.int64)
    for at, prime in enumerate(primes):
        scale = pow(math.prod(primes[:at]), -1, prime)
        weights[at, at] = scale
        for below in range(at):
            weights[at, below] = -math.prod(primes[:below]) * scale % prime
    return weights, np.array(primes, dtype=np.int64)


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_numbers_are_composed_of_their_residues(rows: int) -> None:
    """Every number below the product of the primes, from residues that are not reduced."""
    primes = MASK_PRIMES[:rows]
    product, added = math.prod(primes), 1 << 11
    sampler = Sampler(SEED, f"compose/{rows}")
    numbers = [0, 1, product - 1, *(sampler.below(product) for _ in range(1100))]
    rounds = (-256, 0, 255)  # of the prime: sums of 256 residues less a mask
    residues = np.array(
        [
            [number % prime - added + prime * rounds[sampler.below(3)] for number in numbers]
            for prime in primes
        ]
    )
    low, high = compose(residues, *radix_weights(primes), added)
    upper = high.tolist() if rows > 2 else [0] * len(numbers)
    assert [a + (b << LIMB_BITS) for a, b in zip(low.tolist(), upper, strict=True)] == numbers
    assert int(low.max()) < 1 << LIMB_BITS
    assert len(high) == (len(numbers) if rows > 2 else 0)


def test_what_cannot_be_composed_is_a_bug() -> None:
    weights, moduli = radix_weights(MASK_PRIMES[:2])
    residues = np.zeros((2, 40), dtype=np.int64)
    with pytest.raises(ValueError, match="a row of residues"):
        compose(residues[:1], weights, moduli, 0)
    with pytest.raises(ValueError, match="a row of residues"):
        compose(np.zeros((5, 4), dtype=np.int64), np.zeros((5, 5)), np.ones(5), 0)
    with pytest.raises(ValueError, match="half its bits"):
        compose(residues, weights, np.array(HASH_PRIMES[:2]), 0)
    with pytest.raises(ValueError, match="contiguous"):
        compose(residues[:, ::2], weights, moduli, 0)
    with pytest.raises(ValueError, match="contiguous"):
        compose(residues.astype(np.int32), weights, moduli, 0)
