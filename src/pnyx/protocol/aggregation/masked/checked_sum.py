"""A masked sum that anybody can check, without any single vector: a linear hash.

A contributor signs a ring-SIS hash of its residues (`primitives.ring.LinearHash`) beside the name
of the parcel that holds them. The hash of a sum of integers is the sum of the hashes, so whoever
holds a sum, from whatever aggregator, checks it in one pass against the hashes of the contributors
that are said to be in it: a sum that is not theirs, in a single coefficient, is a collision. That
is believed to take 2^`HASH_SECURITY_BITS` operations for sums below 2^35; two primes instead of
three would leave 2^122 or less (`tests/independent/lattice.py`).

The key of the hash comes from the context of the attempt and has its own part for every block and
prime: a hash from another context, or with blocks exchanged, does not add up. What binds a hash to
its contributor is the signed header (`messages.ContributionHeader`).

A contributor may sign a hash that is not of its vector: then no sum passes, and its round comes to
nothing. Aggregators hold the vector, so they tell before they give a receipt. A contributor gains
nothing else: what it signs fixes one vector, up to a collision, before the other keys are known.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pnyx.primitives.codec import encode
from pnyx.primitives.hashing import digest
from pnyx.primitives.ring import LANES, LinearHash
from pnyx.primitives.ring.linear_hash import HASH_DEGREE, HASH_PRIMES, Digest, combine_digest
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation.masked.mask import Residues, Sums
from pnyx.protocol.aggregation.masked.parameters import ParameterSet, layout

_WORD_BYTES = 4
_WEIGHTS_BYTES_MAX = 32 * 1024 * 1024  # 2.8 million residues
HASH_SECURITY_BITS = 192  # against collisions among sums of at most 256 vectors, rounded down


def unpack_digest(data: bytes) -> Digest:
    """Read a linear hash. Raises MalformedMessage."""
    return LinearHash.unpack(data)


def pack_digest(value: Digest) -> bytes:
    """Write a linear hash: DIGEST_BYTES bytes."""
    return LinearHash.pack(value)


class HashOfVector:
    """The linear hash of a vector, or of a sum of vectors, gathered segment by segment."""

    __slots__ = ("_hashes", "_segments", "parameters", "value")

    def __init__(self, parameters: ParameterSet, context: bytes) -> None:
        self.parameters = parameters
        self.value: Digest = np.zeros((len(HASH_PRIMES), HASH_DEGREE), dtype=np.uint32)
        self._hashes = linear_hashes(parameters, context)
        self._segments: set[int] = set()

    def add_segment(self, segment: int, integers: Residues | Sums) -> None:
        """Add a segment's residues, or sums of them. Each segment is given once, in any order."""
        first = segment * layout(self.parameters).segment_blocks
        if segment in self._segments or not 0 <= segment < layout(self.parameters).segments:
            raise ValueError("every segment is hashed once")
        self._segments.add(segment)
        for at, hashed in enumerate(self._hashes):
            self.value = hashed.add(self.value, hashed.digest(integers[at], first))


class HashChecker:
    """Tells which vectors of one attempt have the linear hash that they came with.

    For whoever is shown many of them: it compares what secret rows make of both (`LinearHash`), and
    keeps the weights for that, 12 bytes a residue, of the first segments up to `_WEIGHTS_BYTES_MAX`
    in all; those beyond are hashed. A wrong hash passes with a chance below 2^-29, a right one
    always. seed: 32 secret bytes, for who foresaw the rows could make a wrong hash that passes.
    """

    __slots__ = ("_context", "_hashes", "_parameters", "_rows", "_weights")

    def __init__(self, parameters: ParameterSet, context: bytes, seed: bytes) -> None:
        sampler = Sampler(seed, "pnyx/masked/rows")
        rows = [sampler.field_elements(prime, HASH_DEGREE) for prime in HASH_PRIMES]
        self._parameters = parameters
        self._context = context
        self._rows: Digest = np.stack(rows).astype(np.uint32)
        self._hashes = linear_hashes(parameters, context)
        self._weights: dict[int, tuple[NDArray[np.uint32], ...]] = {}

    def agrees(self, segments: Iterable[tuple[int, Residues]], linear_hash: Digest) -> bool:
        """Whether a vector, all its segments with their numbers, seems to have this linear hash."""
        rest, found = HashOfVector(self._parameters, self._context), [0] * len(HASH_PRIMES)
        for segment, residues in segments:
            weights = self._weights_of(segment)
            if weights is None:
                rest.add_segment(segment, residues)
                continue
            for hashed, part, factors in zip(self._hashes, residues, weights, strict=True):
                combined = hashed.combine(part, factors)
                found = [a + b for a, b in zip(found, combined, strict=True)]
        wanted, beyond = (combine_digest(self._rows, each) for each in (linear_hash, rest.value))
        return all(
            (here + there - right) % prime == 0
            for here, there, right, prime in zip(found, beyond, wanted, HASH_PRIMES, strict=True)
        )

    def _weights_of(self, segment: int) -> tuple[NDArray[np.uint32], ...] | None:
        """The weights of a segment, computed at its first use; None where there is no room."""
        shape = layout(self._parameters)
        known = self._weights.get(segment)
        each = len(HASH_PRIMES) * _WORD_BYTES * len(self._hashes) * shape.segment_blocks
        if known is None and (segment + 1) * each * self._parameters.degree * LANES <= (
            _WEIGHTS_BYTES_MAX
        ):
            first = segment * shape.segment_blocks
            known = self._weights[segment] = tuple(
                hashed.weights(self._rows, shape.blocks(segment), self._parameters.degree, first)
                for hashed in self._hashes
            )
        return known


def linear_hashes(parameters: ParameterSet, context: bytes) -> tuple[LinearHash, ...]:
    """One hash for each prime, each with a key of its own, for one attempt."""
    return tuple(
        LinearHash(digest("pnyx/masked/hash", context, encode(parameters), bytes([at])))
        for at in range(len(parameters.primes))
    )


def add_digests(digests: Iterable[Digest]) -> Digest:
    """The hash of the sum of what these are hashes of."""
    total: NDArray[np.uint64] = np.zeros((len(HASH_PRIMES), HASH_DEGREE), dtype=np.uint64)
    for each in digests:
        total += each
    return (total % np.array(HASH_PRIMES, dtype=np.uint64)[:, np.newaxis]).astype(np.uint32)
