"""Field arithmetic against Python integers, at the ends of the ranges above all."""

import numpy as np
import pytest

from pnyx.errors import MalformedMessage
from pnyx.primitives.field import PRIMES, PrimeField, Vector, crt_centred
from pnyx.primitives.sampling import Sampler

SMALL = PrimeField(101)
FIELDS = [PrimeField(prime) for prime in PRIMES]


def elements(field: PrimeField, shape: int | tuple[int, ...], domain: str = "a") -> Vector:
    return Sampler(bytes(32), domain).field_elements(field.modulus, shape)


def full(field: PrimeField, *shape: int) -> Vector:
    return np.full(shape, field.modulus - 1, dtype=np.int64)


@pytest.mark.parametrize("field", [SMALL, *FIELDS])
def test_elementwise_operations_agree_with_integers(field: PrimeField) -> None:
    p = field.modulus
    ends = np.array([0, 0, 1, 1, p - 1, p - 1, p // 2, p // 2 + 1], dtype=np.int64)
    a = np.concatenate([ends, elements(field, 50, "a")])
    b = np.concatenate([ends[::-1], elements(field, 50, "b")])
    pairs = list(zip(a.tolist(), b.tolist(), strict=True))
    assert field.add(a, b).tolist() == [(x + y) % p for x, y in pairs]
    assert field.subtract(a, b).tolist() == [(x - y) % p for x, y in pairs]
    assert field.multiply(a, b).tolist() == [x * y % p for x, y in pairs]
    assert field.negate(a).tolist() == [-x % p for x, _ in pairs]
    assert field.power(a, 5).tolist() == [pow(x, 5, p) for x, _ in pairs]
    assert field.power(a, 0).tolist() == [1] * len(a)
    assert field.add(a, 3).tolist() == [(x + 3) % p for x, _ in pairs]
    assert field.reduce(np.array([-1, -p, -p - 1, 2**62])).tolist() == [p - 1, 0, p - 1, 2**62 % p]


@pytest.mark.parametrize("field", [SMALL, *FIELDS])
def test_inverses(field: PrimeField) -> None:
    a = 1 + elements(PrimeField(field.modulus), 40) % (field.modulus - 1)
    assert (field.multiply(field.inverse(a), a) == 1).all()
    assert int(field.inverse(np.int64(3))) == pow(3, -1, field.modulus)
    with pytest.raises(ValueError, match="zero has no inverse"):
        field.inverse(np.array([1, 0, 2]))
    with pytest.raises(ValueError, match="must not be negative"):
        field.power(a, -1)


SHAPES = [
    (1, 1, 1),
    (4, 6, 33),
    (24, 6, 1571),
    (30, 1571, 2),  # several int64 chunks
    (2, 512, 3),
    (2, 513, 3),
    (9, 512, 1),
    (9, 513, 1),  # one pass
    (1, 5120, 1),
    (33, 2048, 1),  # too large for it
    (24, 24, 1571),  # split BLAS, several blocks
    (8, 10, 256),
    (9, 4096, 256),
    (9, 4097, 256),
    (3, 4, 0),
]


@pytest.mark.parametrize(("rows", "inner", "columns"), SHAPES)
def test_matrix_products_are_exact(rows: int, inner: int, columns: int) -> None:
    for field in FIELDS:
        a, b = elements(field, (rows, inner), "a"), elements(field, (inner, columns), "b")
        expected = np.zeros((rows, columns), dtype=np.int64)
        for k in range(inner):
            expected = (expected + a[:, k : k + 1] * b[k]) % field.modulus
        product = field.matmul(a, b)
        assert product.dtype == np.int64
        assert np.array_equal(product, expected)
        largest = field.matmul(full(field, rows, inner), full(field, inner, columns))
        assert (largest == inner % field.modulus).all()  # (-1)(-1) summed `inner` times


@pytest.mark.parametrize("inner", [4095, 4096, 8191])
def test_float_products_never_round(inner: int) -> None:
    """The largest low halves, and an odd factor: beyond 2^53 such a sum has no exact float64."""
    field = FIELDS[0]
    low_half, odd = 2**14 - 1, field.modulus - 2
    a = np.full((8, inner), low_half, dtype=np.int64)
    b = np.full((inner, 256), odd, dtype=np.int64)
    assert (field.matmul(a, b) == inner * low_half * odd % field.modulus).all()


@pytest.mark.parametrize("modulus", [0, 1, 2, 9, 134176769 * 2, 2**31 - 1])
def test_only_odd_primes_of_at_most_27_bits_are_fields(modulus: int) -> None:
    with pytest.raises(ValueError, match="odd prime"):
        PrimeField(modulus)


def test_the_primes_are_the_largest_27_bit_ones_that_are_1_modulo_2_to_the_13() -> None:
    candidates = range(2**27 - 2**13 + 1, PRIMES[1] - 1, -(2**13))

    def is_prime(number: int) -> bool:
        return all(number % divisor for divisor in range(2, int(number**0.5) + 1))

    assert tuple(n for n in candidates if is_prime(n)) == PRIMES


def test_centred_representatives() -> None:
    assert SMALL.centred(np.array([0, 1, 50, 51, 100])).tolist() == [0, 1, 50, -50, -1]


@pytest.mark.parametrize("count", [0, 1, 57])
def test_packing_is_four_little_endian_bytes_each(count: int) -> None:
    field = FIELDS[0]
    vector = elements(field, count)
    packed = field.pack(vector)
    assert packed == b"".join(value.to_bytes(4, "little") for value in vector.tolist())
    assert np.array_equal(field.unpack(packed, count), vector)
    assert field.unpack(packed, count).dtype == np.int64


def test_packed_vectors_of_wrong_length_or_range_are_refused() -> None:
    field = FIELDS[0]
    largest = field.pack(np.array([5, field.modulus - 1]))
    assert field.unpack(largest, 2).tolist() == [5, field.modulus - 1]
    for data, count in ((largest, 1), (largest, 3), (largest[:-1], 2), (b"", 1)):
        with pytest.raises(MalformedMessage, match="takes"):
            field.unpack(data, count)
    for value in (field.modulus, 2**31, 2**32 - 1):
        with pytest.raises(MalformedMessage, match="not below the prime"):
            field.unpack(largest[:4] + value.to_bytes(4, "little"), 2)
    for value in (-1, field.modulus):
        with pytest.raises(ValueError, match="only reduced"):
            field.pack(np.array([0, value]))


def test_residues_of_both_primes_give_back_signed_integers() -> None:
    half = PRIMES[0] * PRIMES[1] // 2
    values = np.array([0, 1, -1, half, -half, half - 1, 123456789012345, -98765432109876])
    residues = [field.reduce(values) for field in FIELDS]
    assert crt_centred(residues).tolist() == values.tolist()
    with pytest.raises(ValueError, match="each of"):
        crt_centred(residues[:1])
