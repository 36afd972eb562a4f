"""Polynomials modulo X^n + 1 over a prime field, transformed, masked and added in blocks.

The transform of a polynomial f is the list of its values at the n primitive 2n-th roots of unity:
place i holds f(ψ^(2r + 1)), where r is i with its log2(n) bits reversed, and ψ = g^((p - 1)/2n) for
the smallest g >= 2 with ψ^n = -1. Products of transforms, element by element, are transforms of
products modulo X^n + 1. The order is fixed because public polynomials are expanded from seeds in
transformed form: everybody must mean the same polynomial by them.

Two kinds of primes are used: of 27 bits for masks (`field.PRIMES` and two more) and of 30 bits for
the linear hash. Both leave room above p in a 32-bit word, which saves most reductions.

Methods take and give reduced blocks, see the package; `unpack` is the way in for bytes of a peer
and checks them. A wrong shape or type is a bug of the caller and raises ValueError.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import isqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pnyx.primitives.ring import _choice
from pnyx.primitives.ring._kernels import LANES, WORD_BITS, Block, Words
from pnyx.primitives.ring.packing import pack_residues, packed_bytes, unpack_residues

DEGREE_MIN = 32
DEGREE_MAX = 1 << 15
MODULUS_BITS_MIN, MODULUS_BITS_MAX = 27, 30


class _Tables(NamedTuple):
    roots: Words  # powers of ψ in bit-reversed order, [n]
    roots_shoup: Words
    inverse_roots: Words
    inverse_roots_shoup: Words
    scale: int  # 1/n
    scale_shoup: int


@dataclass(frozen=True, slots=True)
class Ring:
    """Z_p[X]/(X^n + 1) for n = `degree`, a power of two, and p = `modulus`, 1 modulo 2n."""

    degree: int
    modulus: int

    def __post_init__(self) -> None:
        n, p = self.degree, self.modulus
        if not DEGREE_MIN <= n <= DEGREE_MAX or n & (n - 1):
            raise ValueError(f"the degree must be a power of two, {DEGREE_MIN} to {DEGREE_MAX}")
        bits = range(MODULUS_BITS_MIN, MODULUS_BITS_MAX + 1)
        if p.bit_length() not in bits or p % (2 * n) != 1 or not _is_prime(p):
            raise ValueError(f"the modulus must be a prime of 27 to 30 bits, 1 modulo {2 * n}")

    @property
    def packed_block_bytes(self) -> int:
        """Bytes of one packed block: every coefficient takes the bits of p, without padding."""
        return packed_bytes(self.degree * LANES, self.modulus)

    def zeros(self, blocks: int) -> Block:
        """Return blocks of zeros, to add into."""
        return np.zeros((blocks, self.degree, LANES), dtype=np.uint32)

    def forward(self, block: Block) -> Block:
        """Transform blocks [blocks, n, LANES], or one polynomial [n]."""
        tables = self._tables
        if block.ndim == 1:
            self._check_polynomial(block)
            one = block.copy()
            _choice.kernels().forward_one(one, tables.roots, tables.roots_shoup, self.modulus)
            return one
        self._check(block)
        result = block.copy()
        _choice.kernels().forward(result, tables.roots, tables.roots_shoup, self.modulus)
        return result

    def inverse(self, block: Block) -> Block:
        """Undo `forward`."""
        if block.ndim == 1:
            return self.inverse(self._in_one_lane(block))[0, :, 0].copy()
        self._check(block)
        result, (*_, roots, shoup, scale, scale_shoup) = block.copy(), self._tables
        _choice.kernels().inverse(result, roots, shoup, self.modulus, scale, scale_shoup)
        return result

    def multiply(self, transformed_a: Block, transformed_b: Block) -> Block:
        """Multiply transforms; a single one [n] stands for itself in every lane of the other."""
        if transformed_a.ndim == transformed_b.ndim == 1:
            one = self._in_one_lane(transformed_a)
            return self.multiply(one, transformed_b)[0, :, 0].copy()
        a, b = (
            self._in_every_lane(each, len(other)) if each.ndim == 1 else each
            for each, other in ((transformed_a, transformed_b), (transformed_b, transformed_a))
        )
        self._check(a, b)
        out = np.empty_like(a)
        _choice.kernels().multiply(a.reshape(-1), b.reshape(-1), self.modulus, out.reshape(-1))
        return out

    def subtract(self, a: Block, b: Block) -> Block:
        """Return a - b."""
        self._check(a, b)
        out = np.empty_like(a)
        _choice.kernels().subtract(a.reshape(-1), b.reshape(-1), self.modulus, out.reshape(-1))
        return out

    def add_into(self, total: Block, block: Block) -> None:
        """Add a block to a total, in place, at the speed of the memory."""
        self._check(total, block)
        _choice.kernels().add_into(total.reshape(-1), block.reshape(-1), self.modulus)

    def add_signed_into(self, total: Block, values: NDArray[np.int64], factor: int = 1) -> None:
        """Add signed integers times a factor, not reduced, to a total, in place.

        The products stay below 2^62 in absolute value.
        """
        self._check(total)
        _check_like(total, values, np.int64)
        _choice.kernels().add_signed_into(
            total.reshape(-1), values.reshape(-1), factor, self.modulus
        )

    def add_combination_into(
        self, total: Block, values: NDArray[np.int64], factors: NDArray[np.int64]
    ) -> None:
        """Add signed integers [rows, blocks, n, LANES] times a factor a row to a total, in place.

        One reduction for all rows: whatever is added up is above -2^62 and below 2^63.
        """
        self._check(total)
        if values.shape != (len(factors), *total.shape) or not len(factors):
            raise ValueError("expected as many rows of integers as factors, each like the total")
        if values.dtype != np.int64 or factors.dtype != np.int64 or not values.flags.c_contiguous:
            raise ValueError("integers and factors are contiguous arrays of int64")
        _choice.kernels().add_combination_into(
            total.reshape(-1), values.reshape(len(factors), -1), factors, self.modulus
        )

    def add_errors_into(self, total: Block, errors: NDArray[np.int8]) -> None:
        """Add errors as `gaussian_errors` gives them to a total, in place."""
        self._check(total)
        _check_like(total, errors, np.int8)
        _choice.kernels().add_errors_into(total.reshape(-1), errors.reshape(-1), self.modulus)

    def transform_key(self, key: Words) -> "TransformedKey":
        """Prepare a secret key [n] for `mask`, where it is to mask many blocks in several calls."""
        p, scale = np.uint64(self.modulus), np.uint64(self._tables.scale)
        scaled = (self.forward(key).astype(np.uint64) * scale % p).astype(np.uint32)
        return TransformedKey(self, scaled, _shoup(scaled, self.modulus))

    def mask(self, public: Block, key: "Words | TransformedKey") -> Block:
        """Return the products, not transformed, of transformed polynomials and a secret key [n].

        The same as inverse(multiply(public, forward(key))), in one pass.

        Under the ring-LWE assumption the masks look uniform once errors are added, and no sooner:
        as they are, they give the key away.
        """
        self._check(public)
        prepared = key if isinstance(key, TransformedKey) else self.transform_key(key)
        if prepared.ring != self:
            raise ValueError("the key was transformed for another ring")
        tables, out = self._tables, np.empty_like(public)
        _choice.kernels().mask(
            public,
            prepared.scaled,
            prepared.shoup,
            tables.inverse_roots,
            tables.inverse_roots_shoup,
            self.modulus,
            out,
        )
        return out

    def add_products_into(self, sums: NDArray[np.uint64], block: Block, key: Block) -> None:
        """Add key·forward(block), summed over blocks and lanes, to reduced sums [n]."""
        self._check(block, key)
        if sums.shape != (self.degree,) or sums.dtype != np.uint64:
            raise ValueError(f"expected sums [{self.degree}] of uint64")
        tables = self._tables
        _choice.kernels().hash_into(
            block, key, tables.roots, tables.roots_shoup, self.modulus, sums
        )

    def weigh(self, row: Words, key: Block) -> Block:
        """Return weights w with Σ values·w = Σ row·(key·forward(values)), over all places.

        So one product of numbers tells what `row` makes of a whole transform. This is `forward`
        transposed: a root's power at place i is the inverse one's at place n - 1 - i.
        """
        self._check(key)
        self._check_polynomial(row)
        result = np.ascontiguousarray(self.multiply(key, row)[:, ::-1])
        (*_, roots, shoup, _, _) = self._tables
        unscaled = (1 << WORD_BITS) // self.modulus  # n times the inverse: by a factor of 1
        _choice.kernels().inverse(result, roots, shoup, self.modulus, 1, unscaled)
        return result

    def dot(self, block: Block, weights: Block) -> int:
        """Return Σ block·weights modulo p over all places; the block need not be reduced."""
        self._check(block, weights)
        return int(_choice.kernels().dot(block.reshape(-1), weights.reshape(-1), self.modulus))

    def centred(self, block: Block) -> NDArray[np.int32]:
        """Return the representatives in (-p/2, p/2)."""
        self._check(block)
        wrapped = (block > self.modulus // 2) * np.int32(self.modulus)
        return np.asarray(block.astype(np.int32) - wrapped)

    def pack(self, block: Block) -> bytes:
        """Write blocks in as many bits a coefficient as p has: `packed_block_bytes` a block.

        The order of the bits is in `packing`.
        """
        self._check(block)
        return pack_residues(block, self.modulus)

    def unpack(self, data: bytes, blocks: int) -> Block:
        """Read exactly `blocks` blocks written by `pack`, or raise MalformedMessage."""
        return unpack_residues(data, (blocks, self.degree, LANES), self.modulus)

    @property
    def _tables(self) -> _Tables:
        return _tables(self.degree, self.modulus)

    def _check(self, *blocks: Block) -> None:
        for block in blocks:
            if block.ndim != 3 or block.shape[1:] != (self.degree, LANES):
                raise ValueError(f"expected blocks [blocks, {self.degree}, {LANES}]")
            if block.shape != blocks[0].shape:
                raise ValueError("expected equally many blocks")
            if block.dtype != np.uint32 or not block.flags.c_contiguous:
                raise ValueError("blocks are contiguous arrays of uint32")

    def _in_one_lane(self, polynomial: Words) -> Block:
        self._check_polynomial(polynomial)
        block = self.zeros(1)
        block[0, :, 0] = polynomial
        return block

    def _in_every_lane(self, polynomial: Words, blocks: int) -> Block:
        self._check_polynomial(polynomial)
        shape = (blocks, self.degree, LANES)
        return np.ascontiguousarray(np.broadcast_to(polynomial[:, np.newaxis], shape))

    def _check_polynomial(self, polynomial: Words) -> None:
        if polynomial.shape != (self.degree,) or polynomial.dtype != np.uint32:
            raise ValueError(f"expected a polynomial [{self.degree}] of uint32")
        if int(polynomial.max()) >= self.modulus:
            raise ValueError("the coefficients of a polynomial are reduced")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class TransformedKey:
    """A secret key in the form that `Ring.mask` multiplies by: transformed, with a factor 1/n."""

    ring: Ring
    scaled: Words  # [n]
    shoup: Words  # [n], see `_kernels`


def _check_like(total: Block, values: NDArray[np.signedinteger], dtype: type) -> None:
    if values.shape != total.shape or values.dtype != dtype or not values.flags.c_contiguous:
        raise ValueError(f"expected a contiguous array {total.shape} of {dtype.__name__}")


@lru_cache(maxsize=32)
def _tables(degree: int, modulus: int) -> _Tables:
    root = _primitive_root(degree, modulus)
    inverse = pow(root, -1, modulus)
    roots, inverse_roots = (_bit_reversed_powers(each, degree, modulus) for each in (root, inverse))
    scale = pow(degree, -1, modulus)
    return _Tables(
        roots,
        _shoup(roots, modulus),
        inverse_roots,
        _shoup(inverse_roots, modulus),
        scale,
        (scale << WORD_BITS) // modulus,
    )


def _primitive_root(degree: int, modulus: int) -> int:
    """Return ψ, see the module."""
    generator = 2
    while pow(root := pow(generator, (modulus - 1) // (2 * degree), modulus), degree, modulus) == 1:
        generator += 1
    return root


def _bit_reversed_powers(root: int, degree: int, modulus: int) -> Words:
    powers, power = [], 1
    for _ in range(degree):
        powers.append(power)
        power = power * root % modulus
    bits = degree.bit_length() - 1
    order = [int(f"{index:0{bits}b}"[::-1], 2) for index in range(degree)]
    table = np.array(powers, dtype=np.uint32)[order]
    table.flags.writeable = False
    return table


def _shoup(factors: Words, modulus: int) -> Words:
    quotients = (factors.astype(np.uint64) << np.uint64(WORD_BITS)) // np.uint64(modulus)
    return quotients.astype(np.uint32)


@lru_cache(maxsize=32)
def _is_prime(number: int) -> bool:
    odd_divisors = range(3, isqrt(number) + 1, 2)
    return number % 2 == 1 and all(number % divisor for divisor in odd_divisors)
