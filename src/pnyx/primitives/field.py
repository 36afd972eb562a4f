"""Vectors over prime fields of at most 27 bits, as numpy arrays of int64 in [0, p).

Why 27 bits: a product of two elements stays below 2^54, so 512 of them add up in an int64 without
overflow, and two such primes together carry the 53-bit signed sums of an aggregation (`PRIMES`,
the two largest 27-bit primes that are 1 modulo 2^13, as masked sums will need).

All functions are exact. Arguments must already be reduced unless the docstring says otherwise;
`unpack` is the way in for bytes of a peer and checks it. numpy is not constant-time.

Matrix products use float64 BLAS where that is faster: one factor is split into 13 + 14 bits, so
partial sums stay integers below 2^53 and come out exact in any order of summation. Measured, µs,
int64 against split BLAS: (24,6)(6,1571) 190 / 200-560; (24,24)(24,1571) 600 / 290;
(19,24)(24,1571) 500 / 265; (30,1571)(1571,2) 70 / 780; (128,36)(36,4000) 13000 / 5200.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from pnyx.errors import MalformedMessage

PRIMES = (134176769, 134111233)
ELEMENT_BYTES = 4

Vector = NDArray[np.int64]

_MODULUS_BITS_MAX = 27
_INT64_TERMS_MAX = 1 << (63 - 2 * _MODULUS_BITS_MAX)
_SPLIT_BITS = 14
_BLAS_TERMS_MAX = 1 << (53 - _SPLIT_BITS - _MODULUS_BITS_MAX)
_BLAS_INNER_MIN = 10  # below these shapes the conversions cost more than they save
_BLAS_ROWS_MIN = 8
_BLAS_COLUMNS_MIN = 256
_ONE_PASS_MAX = 1 << 16  # products that stay in the cache
_BLAS_BLOCK_WORK = 1 << 18  # multiplications: fits the cache, and too small for BLAS threads


@dataclass(frozen=True, slots=True)
class PrimeField:
    """The integers modulo a prime below 2^27; methods act on arrays of any shape, element-wise."""

    modulus: int

    def __post_init__(self) -> None:
        if not 2 < self.modulus < 1 << _MODULUS_BITS_MAX or not _is_prime(self.modulus):
            raise ValueError(f"the modulus must be an odd prime below 2**{_MODULUS_BITS_MAX}")

    def reduce(self, values: Vector) -> Vector:
        """Bring any int64 values, negative ones too, into [0, p)."""
        # numpy divides by a constant with SIMD instructions, but has no such path for `%`
        return np.asarray(values - (values // self.modulus) * self.modulus)

    def add(self, a: Vector, b: Vector | int) -> Vector:
        """Return a + b."""
        return self.reduce(a + b)

    def subtract(self, a: Vector, b: Vector | int) -> Vector:
        """Return a - b."""
        return self.reduce(a - b)

    def negate(self, a: Vector) -> Vector:
        """Return -a."""
        return self.reduce(-a)

    def multiply(self, a: Vector, b: Vector | int) -> Vector:
        """Return the element-wise product."""
        return self.reduce(a * b)

    def power(self, a: Vector, exponent: int) -> Vector:
        """Return a to a non-negative power, element-wise."""
        if exponent < 0:
            raise ValueError("the exponent must not be negative: invert first")
        result, square = np.ones_like(a), a
        while exponent:
            if exponent & 1:
                result = self.multiply(result, square)
            square = self.multiply(square, square)
            exponent >>= 1
        return result

    def inverse(self, a: Vector) -> Vector:
        """Return 1/a, element-wise, by Fermat's little theorem; zero raises ValueError."""
        a = np.asarray(a, dtype=np.int64)
        if not a.all():
            raise ValueError("zero has no inverse")
        return self.power(a, self.modulus - 2)

    def matmul(self, a: Vector, b: Vector) -> Vector:
        """Return the exact matrix product of a [m, k] and b [k, n], reduced: [m, n]."""
        (rows, inner), columns = a.shape, b.shape[1]
        if (
            _BLAS_INNER_MIN <= inner <= _BLAS_TERMS_MAX
            and rows >= _BLAS_ROWS_MIN
            and columns >= _BLAS_COLUMNS_MIN
        ):
            return self._matmul_blas(a, b)
        if inner <= _INT64_TERMS_MAX:
            return self._reduce_products(a @ b)
        if columns == 1 and a.size <= _ONE_PASS_MAX:
            products = a * b[:, 0]
            sums = np.add.reduceat(products, range(0, inner, _INT64_TERMS_MAX), axis=1)
            return self.reduce(self._reduce_products(sums).sum(axis=1, keepdims=True))
        total = np.zeros((rows, columns), dtype=np.int64)
        for start in range(0, inner, _INT64_TERMS_MAX):
            chunk = slice(start, start + _INT64_TERMS_MAX)
            total += self._reduce_products(a[:, chunk] @ b[chunk])
        return self.reduce(total)

    def centred(self, values: Vector) -> Vector:
        """Return the representatives in (-p/2, p/2)."""
        return np.where(values > self.modulus // 2, values - self.modulus, values)

    def pack(self, vector: Vector) -> bytes:
        """Write reduced elements as 4-byte little-endian words, in C order."""
        if vector.size and not 0 <= int(vector.min()) <= int(vector.max()) < self.modulus:
            raise ValueError("only reduced field elements can be packed")
        return vector.astype("<u4").tobytes()

    def unpack(self, data: bytes, count: int) -> Vector:
        """Read exactly `count` elements written by `pack`, or raise MalformedMessage."""
        if len(data) != ELEMENT_BYTES * count:
            raise MalformedMessage(
                f"A vector of {count} field elements takes {ELEMENT_BYTES * count} bytes, "
                f"not {len(data)}."
            )
        words = np.frombuffer(data, dtype="<u4")
        if count and int(words.max()) >= self.modulus:
            raise MalformedMessage(f"A field element is not below the prime {self.modulus}.")
        return words.astype(np.int64)

    def _matmul_blas(self, a: Vector, b: Vector) -> Vector:
        rows, inner = a.shape
        columns = b.shape[1]
        low_mask = (1 << _SPLIT_BITS) - 1
        halves = np.concatenate([a >> _SPLIT_BITS, a & low_mask]).astype(np.float64)  # [2m, k]
        result = np.empty((rows, columns), dtype=np.int64)
        step = max(_BLAS_COLUMNS_MIN, _BLAS_BLOCK_WORK // (2 * rows * inner))
        for start in range(0, columns, step):
            block = slice(start, start + step)
            sums = (halves @ b[:, block].astype(np.float64)).astype(np.int64)  # [2m, step]
            high = self._reduce_products(sums[:rows])
            high <<= _SPLIT_BITS
            high += sums[rows:]
            result[:, block] = self._reduce_products(high)
        return result

    def _reduce_products(self, values: Vector) -> Vector:
        """Reduce non-negative values: unsigned division is a quarter faster."""
        unsigned = values.view(np.uint64)
        modulus = np.uint64(self.modulus)
        quotients = unsigned // modulus
        quotients *= modulus
        np.subtract(unsigned, quotients, out=quotients)
        return quotients.view(np.int64)


def crt_centred(residues: Sequence[Vector]) -> Vector:
    """Combine residues modulo each of `PRIMES` into the integers of (-p1·p2/2, p1·p2/2)."""
    if len(residues) != len(PRIMES):
        raise ValueError(f"expected residues modulo each of {PRIMES}")
    (first, second), (p1, p2) = residues, PRIMES
    # x = r1 + p1·((r2 - r1)/p1 mod p2), below p1·p2 < 2^54
    quotient = PrimeField(p2).reduce((second - first) * pow(p1, -1, p2))
    values = first + p1 * quotient
    product = p1 * p2
    return np.where(values > product // 2, values - product, values)


@lru_cache(maxsize=64)
def _is_prime(number: int) -> bool:
    odd_divisors = range(3, isqrt(number) + 1, 2)
    return number % 2 == 1 and all(number % divisor for divisor in odd_divisors)
