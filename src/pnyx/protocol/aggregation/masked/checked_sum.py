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
from pnyx.primitives.ring import LinearHash
from pnyx.primitives.ring.linear_hash import HASH_DEGREE, HASH_PRIMES, Digest
from pnyx.protocol.aggregation.masked.mask import Residues, Sums
from pnyx.protocol.aggregation.masked.parameters import ParameterSet, layout

HASH_SECURITY_BITS = 192  # against collisions among sums of at most 256 vectors, rounded down


def unpack_digest(data: bytes) -> Digest:
    """Read a linear hash. Raises MalformedMessage."""
    return LinearHash(bytes(32)).unpack(data)


def pack_digest(value: Digest) -> bytes:
    """Write a linear hash: DIGEST_BYTES bytes."""
    return LinearHash(bytes(32)).pack(value)


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
