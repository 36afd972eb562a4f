"""Whole masked vectors as the roles of a round handle them, segment by segment inside.

A vector, and a sum of vectors, travels as the concatenation of its packed segments (`segments`);
the parcel that carries it commits to every byte. Public polynomials and the key of the linear hash
come from the context of the attempt.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pnyx.errors import DecodingError, MalformedMessage, RuleBroken
from pnyx.primitives.ring.linear_hash import Digest
from pnyx.protocol.aggregation.encoding import IntVector
from pnyx.protocol.aggregation.masked.checked_sum import (
    HashChecker,
    HashOfVector,
    add_digests,
    pack_digest,
    unpack_digest,
)
from pnyx.protocol.aggregation.masked.keys import MaskingKey, hash_vector
from pnyx.protocol.aggregation.masked.mask import (
    Residues,
    SegmentSum,
    hidden_segment,
    mask_segment,
    public_segment,
    transform_key,
    unmask_segment,
)
from pnyx.protocol.aggregation.masked.parameters import ParameterSet, layout
from pnyx.protocol.aggregation.masked.segments import (
    pack_segment,
    pack_sum,
    sum_bytes,
    unpack_segment,
    unpack_sum,
    whole_sum_bytes,
)

Blocks = tuple[NDArray[np.uint32], ...]  # of one prime, [n, LANES] each


class MaskedUpdate(NamedTuple):
    """What a contributor makes of an update. key: [n] elements of the field of each prime, secret.

    segments: what the aggregators get. linear_hash: of all of it, as bytes. blocks, hidden: where
    updates are verified, the residues of the vector, and what they hide, block by block, secret.
    """

    segments: tuple[bytes, ...]
    linear_hash: bytes
    key: tuple[IntVector, ...]
    blocks: Blocks = ()
    hidden: tuple[NDArray[np.int32], ...] = ()

    def __repr__(self) -> str:
        return "MaskedUpdate(...)"


class VectorCode:
    """Masks, checks and unmasks the vectors of one attempt.

    context: names network, study, round and attempt; the same for every contributor. reach: where
    updates are verified, the largest absolute value of their masked sum.
    """

    def __init__(self, parameters: ParameterSet, context: bytes, reach: int = 0) -> None:
        self.parameters = parameters
        self.context = context
        self._reach = reach
        self._layout = layout(parameters)

    @property
    def vector_bytes(self) -> int:
        """Size of a masked vector."""
        return self.parameters.bytes

    @property
    def sum_bytes(self) -> int:
        """Size of a sum of masked vectors."""
        return whole_sum_bytes(self.parameters)

    def mask(self, update: IntVector, seed: bytes, contributor_context: bytes) -> MaskedUpdate:
        """Mask an update [length] of values within `value_max`.

        seed: secret, fresh for this contribution. Repeating a call gives the same; any other update
        or context has secrets of its own. Raises ValueError when a value is out of range.
        """
        shape, parameters = self._layout, self.parameters
        pieces = [
            update[shape.start(segment) : shape.start(segment) + shape.values(segment)]
            for segment in range(shape.segments)
        ]
        key = MaskingKey.derive(parameters, seed, contributor_context, hash_vector(pieces))
        transformed = transform_key(parameters, key.secret)
        hashed = HashOfVector(parameters, self.context)
        segments: list[bytes] = []
        blocks: list[NDArray[np.uint32]] = []
        hidden: list[NDArray[np.int32]] = []
        for segment, values in enumerate(pieces):
            public = public_segment(parameters, self.context, segment)
            residues = mask_segment(
                parameters, public, transformed, key.errors_seed, segment, values
            )
            hashed.add_segment(segment, residues)
            segments.append(pack_segment(parameters, segment, residues))
            if self._reach:
                blocks.extend(residues[0])
                hidden.extend(hidden_segment(parameters, key.errors_seed, segment, values))
        secret = tuple(part.astype(np.int64) for part in key.secret)
        return MaskedUpdate(
            tuple(segments), pack_digest(hashed.value), secret, tuple(blocks), tuple(hidden)
        )

    def public(self) -> Iterator[NDArray[np.uint32]]:
        """The public polynomials of one prime, block by block, transformed."""
        for segment in range(self._layout.segments):
            yield from public_segment(self.parameters, self.context, segment)[0]

    def read_linear_hash(self, data: bytes) -> Digest:
        """Parse a linear hash. Raises MalformedMessage."""
        return unpack_digest(data)

    def linear_hash(self, vector: bytes) -> bytes:
        """The linear hash of a masked vector. Raises MalformedMessage when it is none."""
        hashed = HashOfVector(self.parameters, self.context)
        for segment, residues in self._segments(vector):
            hashed.add_segment(segment, residues)
        return pack_digest(hashed.value)

    def checker(self, seed: bytes) -> HashChecker:
        """What tells whether many vectors have the linear hashes that they came with.

        seed: 32 secret bytes.
        """
        return HashChecker(self.parameters, self.context, seed)

    def has_hash(self, checker: HashChecker, vector: bytes, linear_hash: Digest) -> bool:
        """Whether a masked vector seems to have a linear hash; see `HashChecker`.

        Raises MalformedMessage when it is none.
        """
        return checker.agrees(self._segments(vector), linear_hash)

    def blocks(self, vector: bytes) -> Blocks:
        """The residues of a masked vector, of one prime. Raises MalformedMessage."""
        return tuple(block for _, residues in self._segments(vector) for block in residues[0])

    def _segments(self, vector: bytes) -> Iterator[tuple[int, Residues]]:
        """Read a masked vector segment by segment. Raises MalformedMessage."""
        if len(vector) != self.vector_bytes:
            raise MalformedMessage(
                f"a masked vector has the wrong size: {len(vector)} bytes, not {self.vector_bytes}"
            )
        for segment, start, size in self._parts(self._layout.segment_bytes):
            part = vector[start : start + size]
            yield segment, unpack_segment(self.parameters, segment, part)

    def summed_hash(self, linear_hashes: Sequence[bytes]) -> bytes:
        """The linear hash of a sum, from those of what it sums. Raises MalformedMessage."""
        return pack_digest(add_digests(map(unpack_digest, linear_hashes)))

    def check_sum(self, total: bytes, linear_hashes: Sequence[bytes]) -> None:
        """Check the sum of the vectors with these linear hashes.

        Raises MalformedMessage or RuleBroken when it is not that sum.
        """
        self.check_hash(total, self.summed_hash(linear_hashes), len(linear_hashes))

    def check_hash(self, total: bytes, linear_hash: bytes, count: int) -> None:
        """Check the sum of so many vectors, which is to have this linear hash.

        Raises MalformedMessage or RuleBroken when it is not that sum.
        """
        if len(total) != self.sum_bytes:
            raise MalformedMessage(
                f"a masked sum has the wrong size: {len(total)} bytes, not {self.sum_bytes}"
            )
        wanted = unpack_digest(linear_hash)
        hashed = HashOfVector(self.parameters, self.context)
        for segment, start, size in self._parts(
            lambda segment: sum_bytes(self.parameters, segment)
        ):
            part = total[start : start + size]
            sums = unpack_sum(self.parameters, segment, part, count)
            hashed.add_segment(segment, sums)
        if not np.array_equal(hashed.value, wanted):
            raise RuleBroken("a masked sum is not that of its contributions")

    def unmask(self, total: bytes, keys: tuple[IntVector, ...], count: int) -> IntVector | None:
        """The sum of `count` updates [length], from a checked sum of their vectors and their keys.

        None when the two do not belong together: a contributor shared another key than it masked
        with, and nothing of this sum is worth anything.
        """
        key_sum = transform_key(self.parameters, tuple(part.astype(np.uint32) for part in keys))
        found = np.empty(self.parameters.length, dtype=np.int64)
        for segment, start, size in self._parts(
            lambda segment: sum_bytes(self.parameters, segment)
        ):
            sums = unpack_sum(self.parameters, segment, total[start : start + size], count)
            public = public_segment(self.parameters, self.context, segment)
            first = self._layout.start(segment)
            try:
                found[first : first + self._layout.values(segment)] = unmask_segment(
                    self.parameters, public, key_sum, sums, segment, count, reach=self._reach
                )
            except DecodingError:
                return None
        return found

    def _parts(self, size_of: Callable[[int], int]) -> Iterator[tuple[int, int, int]]:
        """Segment, offset and size in the concatenation."""
        start = 0
        for segment in range(self._layout.segments):
            size = size_of(segment)
            yield segment, start, size
            start += size


def sum_vectors(parameters: ParameterSet, vectors: Sequence[Iterator[bytes]]) -> Iterator[bytes]:
    """Add up masked vectors, one segment of each in memory at a time; yields packed sums.

    vectors: each in pieces of any size. Raises MalformedMessage when one is no masked vector.
    """
    shape = layout(parameters)
    readers = [_Reader(vector) for vector in vectors]
    for segment in range(shape.segments):
        size = shape.segment_bytes(segment)
        total = SegmentSum(parameters, segment)
        for reader in readers:
            total.add(unpack_segment(parameters, segment, reader.read(size)))
        yield pack_sum(parameters, segment, total.total())
    if any(reader.read(1) for reader in readers):
        raise MalformedMessage(f"a masked vector goes on beyond its {parameters.bytes} bytes")


class _Reader:
    """Reads so many bytes at a time from pieces of any size."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int) -> bytes:
        parts, have = [self._rest], len(self._rest)
        while have < size and (piece := next(self._pieces, b"")):
            parts.append(piece)
            have += len(piece)
        joined = b"".join(parts)
        self._rest = joined[size:]
        return joined[:size]
