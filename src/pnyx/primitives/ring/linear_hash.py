"""A hash that is linear: the hash of a sum is the sum of the hashes.

The key is a list of uniform polynomials a_j of degree below 1024, expanded from a public seed; the
hash of small polynomials y_j is the sum over j of a_j·y_j modulo X^1024 + 1, modulo each of three
30-bit primes. Finding other small y_j with the same hash is the problem ring-SIS (Lyubashevsky and
Micciancio 2006). The residues of a masked vector are hashed as the integers that they are; when
contributions are added as integers, never reduced, the hash of the sum is the sum of the hashes,
and whoever holds the sum checks it against hashes that the contributors signed.

Digests stay in transformed form, where they are equal exactly if the polynomials are.

Whoever is shown many vectors with their hashes need not hash each (`weights`, `combine`). It draws
secret rows r, three times 1024 numbers, and compares r·h with a combination of the residues whose
weights it computes once (Freivalds 1977). A wrong hash passes with a chance of 1 in 2^29.9 at most,
and a right one always.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pnyx.errors import MalformedMessage
from pnyx.primitives.ring._kernels import LANES, Block
from pnyx.primitives.ring.arithmetic import Ring
from pnyx.primitives.ring.packing import pack_residues, packed_bytes, unpack_residues
from pnyx.primitives.ring.public import expand_public, fill_public

HASH_DEGREE = 1024
HASH_PRIMES = (1073707009, 1073698817, 1073692673)  # the largest below 2^30, 1 modulo 2048
INTEGER_BITS_MAX = 35  # 256 residues of 27 bits

Digest = NDArray[np.uint32]

RINGS = tuple(Ring(HASH_DEGREE, prime) for prime in HASH_PRIMES)

_PRIMES = np.array(HASH_PRIMES, dtype=np.uint32)[:, np.newaxis]
_PART_BYTES = packed_bytes(HASH_DEGREE, HASH_PRIMES[0])
_CHUNK = 8  # pieces hashed at a time: what is expanded or reduced for them fits the cache

DIGEST_BYTES = len(RINGS) * _PART_BYTES


@dataclass(frozen=True, slots=True)
class LinearHash:
    """The hash under one public seed of 32 bytes.

    Blocks [blocks, n, LANES] of a mask ring, n a multiple of 1024, are cut into polynomials of
    degree below 1024 in C order. Blocks are numbered, so that parts of a vector can be hashed
    apart: the hash of the whole is the sum over the parts, each with its own `first_block`.
    Where a vector has residues modulo several primes, give each prime a seed or numbers of its own.
    """

    seed: bytes

    def expand(self, blocks: int, degree: int, first_block: int = 0) -> Block:
        """Return the key of some blocks [3, blocks·n/1024, 1024, LANES], 12 bytes a residue.

        Worth keeping where several vectors are hashed: it takes about as long as a hash.
        """
        pieces = _pieces(degree)
        key = np.empty((len(RINGS), blocks * pieces, HASH_DEGREE, LANES), dtype=np.uint32)
        for part, ring in zip(key, RINGS, strict=True):
            fill_public(ring, self.seed, part, first_block * pieces)
        return key

    def digest(
        self,
        residues: NDArray[np.unsignedinteger],
        first_block: int = 0,
        key: Block | None = None,
    ) -> Digest:
        """Hash residues, or sums of them below 2^35: [3, 1024], reduced.

        `key` is what `expand` gives for these blocks; without it it is expanded on the way.
        """
        if residues.ndim != 3 or residues.shape[2] != LANES:
            raise ValueError(f"expected blocks [blocks, n, {LANES}]")
        if residues.dtype not in (np.uint32, np.uint64):
            raise ValueError("only unsigned integers of 32 or 64 bits can be hashed")
        pieces = _pieces(residues.shape[1])
        integers = np.ascontiguousarray(residues).reshape(-1, HASH_DEGREE, LANES)
        if key is not None and key.shape != (len(RINGS), *integers.shape):
            raise ValueError("the key is for other blocks")
        sums = np.zeros((len(RINGS), HASH_DEGREE), dtype=np.uint64)
        for start in range(0, len(integers), _CHUNK):
            chunk = integers[start : start + _CHUNK]
            largest = int(chunk.max())
            if largest >= 1 << INTEGER_BITS_MAX:
                raise ValueError(f"only integers below 2**{INTEGER_BITS_MAX} can be hashed")
            for number, ring in enumerate(RINGS):
                if key is None:
                    place = first_block * pieces + start
                    factors = expand_public(ring, self.seed, len(chunk), place)
                else:
                    factors = key[number, start : start + len(chunk)]
                ring.add_products_into(sums[number], _reduced(ring, chunk, largest), factors)
        return sums.astype(np.uint32)

    def weights(self, rows: Digest, blocks: int, degree: int, first_block: int = 0) -> Block:
        """Return what `combine` needs of some blocks: [3, blocks·n/1024, 1024, LANES].

        rows: [3, 1024] numbers below the primes. Costs what two hashes do, and 12 bytes a residue.
        """
        _check(rows)
        weights = self.expand(blocks, degree, first_block)
        for number, ring in enumerate(RINGS):
            for start in range(0, weights.shape[1], _CHUNK):
                part = weights[number, start : start + _CHUNK]
                part[:] = ring.weigh(rows[number], part)
        return weights

    def combine(self, residues: NDArray[np.uint32], weights: Block) -> tuple[int, ...]:
        """Return what `combine_digest` does for the hash of residues, at a fraction of its cost.

        residues: [blocks, n, LANES]. weights: of these blocks, as `weights` gives them.
        """
        integers = np.ascontiguousarray(residues).reshape(-1, HASH_DEGREE, LANES)
        if weights.shape != (len(RINGS), *integers.shape):
            raise ValueError("the weights are for other blocks")
        sums = [0] * len(RINGS)
        for start in range(0, len(integers), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            for number, ring in enumerate(RINGS):
                sums[number] += ring.dot(integers[chunk], weights[number, chunk])
        return tuple(total % p for total, p in zip(sums, HASH_PRIMES, strict=True))

    @staticmethod
    def add(a: Digest, b: Digest) -> Digest:
        """Return the hash of the sum of what a and b are hashes of."""
        _check(a)
        _check(b)
        total = a + b
        return np.asarray(np.minimum(total, total - _PRIMES))

    @staticmethod
    def pack(digest: Digest) -> bytes:
        """Write a digest in DIGEST_BYTES, bits in the order of `packing`."""
        _check(digest)
        return b"".join(
            pack_residues(part, prime) for part, prime in zip(digest, HASH_PRIMES, strict=True)
        )

    @staticmethod
    def unpack(data: bytes) -> Digest:
        """Read a digest, or raise MalformedMessage."""
        if len(data) != DIGEST_BYTES:
            raise MalformedMessage(f"A linear hash takes {DIGEST_BYTES} bytes, not {len(data)}.")
        parts = [data[start : start + _PART_BYTES] for start in range(0, len(data), _PART_BYTES)]
        return np.stack(
            [
                unpack_residues(part, (HASH_DEGREE,), prime)
                for part, prime in zip(parts, HASH_PRIMES, strict=True)
            ]
        )


def combine_digest(rows: Digest, digest: Digest) -> tuple[int, ...]:
    """Return Σ rows·digest modulo each prime."""
    _check(rows)
    _check(digest)
    products = rows.astype(np.uint64) * digest % _PRIMES
    return tuple(int(total) % p for total, p in zip(products.sum(axis=1), HASH_PRIMES, strict=True))


def _pieces(degree: int) -> int:
    """Return how many polynomials of the hash one of this degree makes."""
    if degree < HASH_DEGREE or degree % HASH_DEGREE:
        raise ValueError(f"the degree must be a multiple of {HASH_DEGREE}")
    return degree // HASH_DEGREE


def _reduced(ring: Ring, integers: NDArray[np.unsignedinteger], largest: int) -> Block:
    """Return integers modulo the prime of a hash ring."""
    if largest < ring.modulus:
        return integers.astype(np.uint32, copy=False)
    block = ring.zeros(len(integers))
    ring.add_signed_into(block, integers.astype(np.uint64, copy=False).view(np.int64))
    return block


def _check(digest: Digest) -> None:
    if digest.shape != (len(RINGS), HASH_DEGREE) or digest.dtype != np.uint32:
        raise ValueError(f"a digest is a uint32 array [{len(RINGS)}, {HASH_DEGREE}]")
    if (digest >= _PRIMES).any():
        raise ValueError("a digest is reduced")
