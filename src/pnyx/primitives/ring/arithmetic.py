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

from pnyx.primitives.ring._kernels import LANES, WORD_BITS, Block, Words, kernels
from pnyx.primitives.ring.packing import pack_residues, packed_bytes, unpack_residues

DEGREE_MIN = 32
DEGREE_MAX = 1 << 15
MODULUS_BITS_MAX = 30
SIGNED_MAX = 1 << 62


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
        if not 2 < p < 1 << MODULUS_BITS_MAX or p % (2 * n) != 1 or not _is_prime(p):
            raise ValueError(f"the modulus must be a prime below 2**30 that is 1 modulo {2 * n}")

    @property
    def packed_block_bytes(self) -> int:
        """Bytes of one packed block: every coefficient takes the bits of p, without padding."""
        return packed_bytes(self.degree * LANES, self.modulus)

    def zeros(self, blocks: int) -> Block:
        """Return blocks of zeros, to add into."""
        return np.zeros((blocks, self.degree, LANES), dtype=np.uint32)

    def forward(self, block: Block) -> Block:
        """Transform blocks [blocks, n, LANES], or one polynomial [n]."""
        if block.ndim == 1:
            return self.forward(self._in_one_lane(block))[0, :, 0].copy()
        self._check(block)
        result, tables = block.copy(), self._tables
        kernels().forward(result, tables.roots, tables.roots_shoup, self.modulus)
        return result

    def inverse(self, block: Block) -> Block:
        """Undo `forward`."""
        if block.ndim == 1:
            return self.inverse(self._in_one_lane(block))[0, :, 0].copy()
        self._check(block)
        result, (*_, roots, shoup, scale, scale_shoup) = block.copy(), self._tables
        kernels().inverse(result, roots, shoup, self.modulus, scale, scale_shoup)
        return result

    def multiply(self, transformed_a: Block, transformed_b: Block) -> Block:
        """Multiply transforms; a single one [n] stands for itself in every lane."""
        a, b = self._blocks(transformed_a, transformed_b)
        out = np.empty_like(a)
        kernels().multiply(a, b, self.modulus, out)
        return out[0, :, 0].copy() if transformed_a.ndim == transformed_b.ndim == 1 else out

    def subtract(self, a: Block, b: Block) -> Block:
        """Return a - b."""
        self._check(a, b)
        out = np.empty_like(a)
        kernels().subtract(a, b, self.modulus, out)
        return out

    def add_into(self, total: Block, block: Block) -> None:
        """Add a block to a total, in place."""
        self._check(total, block)
        kernels().add_into(total, block, self.modulus)

    def add_signed_into(self, total: Block, values: NDArray[np.int64]) -> None:
        """Add signed integers, not reduced, of absolute value below 2^62, to a total in place."""
        self._check(total)
        if values.shape != total.shape or values.dtype != np.int64:
            raise ValueError(f"expected int64 values of shape {total.shape}")
        kernels().add_signed_into(total, np.ascontiguousarray(values), self.modulus)

    def mask(self, public: Block, key: Words) -> Block:
        """Return the products, not transformed, of transformed polynomials and a secret key [n].

        They are uniform to whoever knows neither the key nor, under the ring-LWE assumption, the
        errors that must be added before they leave.
        """
        self._check(public)
        transformed = self.forward(key)
        out, (*_, roots, shoup, scale, scale_shoup) = np.empty_like(public), self._tables
        kernels().mask(
            public,
            transformed,
            _shoup(transformed, self.modulus),
            roots,
            shoup,
            self.modulus,
            scale,
            scale_shoup,
            out,
        )
        return out

    def add_products(
        self, block: Block, key: Block, low: NDArray[np.uint64], high: NDArray[np.uint64]
    ) -> None:
        """Add the products of the transformed block with a transformed key, summed over lanes.

        low, high: [n], the sums of lower and of upper 32 bits, to be reduced at the end as
        low + 2^32·high. Room for 2^32 products.
        """
        self._check(block, key)
        tables = self._tables
        kernels().hash_into(block, key, tables.roots, tables.roots_shoup, self.modulus, low, high)

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

    def _blocks(self, a: Block, b: Block) -> tuple[Block, Block]:
        """Spread single polynomials over the lanes of the other's blocks."""
        shape = next((each.shape for each in (a, b) if each.ndim > 1), (1, self.degree, LANES))
        spread = [
            np.broadcast_to(each[:, np.newaxis], shape).copy() if each.ndim == 1 else each
            for each in (a, b)
        ]
        self._check(*spread)
        return spread[0], spread[1]

    def _in_one_lane(self, polynomial: Words) -> Block:
        if polynomial.shape != (self.degree,):
            raise ValueError(f"expected a polynomial [{self.degree}]")
        block = self.zeros(1)
        block[0, :, 0] = polynomial
        return block


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
