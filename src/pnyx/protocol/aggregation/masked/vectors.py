"""Whole masked vectors as the roles of a round handle them, segment by segment inside.

A vector, and a sum of vectors, travels as the concatenation of its packed segments (`segments`);
the parcel that carries it commits to every byte. Public polynomials and the key of the linear hash
come from the context of the attempt.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
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
    Sums,
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

    segments: what the aggregators get. linear_hashes: after each segment, as bytes. blocks, hidden:
    where updates are verified, the residues of the vector, and what they hide, block by block,
    secret.
    """

    segments: tuple[bytes, ...]
    linear_hashes: tuple[bytes, ...]
    key: tuple[IntVector, ...]
    blocks: Blocks = ()
    hidden: tuple[NDArray[np.int32], ...] = ()

    @property
    def linear_hash(self) -> bytes:
        """That of all segments."""
        return self.linear_hashes[-1]

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
    def segments(self) -> int:
        """How many segments a vector has, and a sum."""
        return self._layout.segments

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
        linear_hashes: list[bytes] = []
        blocks: list[NDArray[np.uint32]] = []
        hidden: list[NDArray[np.int32]] = []
        for segment, values in enumerate(pieces):
            public = public_segment(parameters, self.context, segment)
            residues = mask_segment(
                parameters, public, transformed, key.errors_seed, segment, values
            )
            hashed.add_segment(segment, residues)
            linear_hashes.append(pack_digest(hashed.value))
            segments.append(pack_segment(parameters, segment, residues))
            if self._reach:
                blocks.extend(residues[0])
                hidden.extend(hidden_segment(parameters, key.errors_seed, segment, values))
        secret = tuple(part.astype(np.int64) for part in key.secret)
        return MaskedUpdate(
            tuple(segments), tuple(linear_hashes), secret, tuple(blocks), tuple(hidden)
        )

    def public(self) -> Iterator[NDArray[np.uint32]]:
        """The public polynomials of one prime, block by block, transformed."""
        for segment in range(self._layout.segments):
            yield from public_segment(self.parameters, self.context, segment)[0]

    def read_linear_hash(self, data: bytes) -> Digest:
        """Parse a linear hash. Raises MalformedMessage."""
        return unpack_digest(data)

    def linear_hashes(self, vector: bytes) -> tuple[bytes, ...]:
        """The linear hash of a masked vector after each segment. Raises MalformedMessage."""
        self._check_size(vector)
        found: list[bytes] = []
        for segment, part in enumerate(self.cut(vector)):
            found.append(self.hash_on(found[-1] if found else b"", segment, part))
        return tuple(found)

    def cut(self, vector: bytes) -> Iterator[bytes]:
        """The segments of a masked vector."""
        for start, size in self.places():
            yield vector[start : start + size]

    def cut_sum(self, total: bytes) -> Iterator[bytes]:
        """The segments of a sum."""
        for start, size in self.sum_places():
            yield total[start : start + size]

    def places(self) -> list[tuple[int, int]]:
        """Offset and size of each segment in a masked vector."""
        return self._places(self._layout.segment_bytes)

    def sum_places(self) -> list[tuple[int, int]]:
        """Offset and size of each segment in a sum."""
        return self._places(lambda segment: sum_bytes(self.parameters, segment))

    def hash_on(self, before: bytes, segment: int, part: bytes) -> bytes:
        """The linear hash after a segment of a vector. before: that of the segments before it.

        Raises MalformedMessage when the segment is none.
        """
        return self._hash_on(before, segment, unpack_segment(self.parameters, segment, part))

    def hash_sum_on(self, before: bytes, segment: int, part: bytes, count: int) -> bytes:
        """The same for a segment of a sum of so many vectors.

        Raises MalformedMessage or RuleBroken when the segment is none.
        """
        return self._hash_on(before, segment, unpack_sum(self.parameters, segment, part, count))

    def _hash_on(self, before: bytes, segment: int, integers: Residues | Sums) -> bytes:
        hashed = HashOfVector(self.parameters, self.context)
        if before:
            hashed.value = unpack_digest(before)
        hashed.add_segment(segment, integers)
        return pack_digest(hashed.value)

    def blocks_before(self, segment: int) -> int:
        """How many blocks the segments before this one have."""
        return segment * self._layout.segment_blocks

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

    def segment_blocks(self, segment: int, part: bytes) -> Blocks:
        """The residues of one of its segments. Raises MalformedMessage."""
        return tuple(unpack_segment(self.parameters, segment, part)[0])

    def _segments(self, vector: bytes) -> Iterator[tuple[int, Residues]]:
        """Read a masked vector segment by segment. Raises MalformedMessage."""
        self._check_size(vector)
        for segment, part in enumerate(self.cut(vector)):
            yield segment, unpack_segment(self.parameters, segment, part)

    def _check_size(self, vector: bytes) -> None:
        if len(vector) != self.vector_bytes:
            raise MalformedMessage(
                f"a masked vector has the wrong size: {len(vector)} bytes, not {self.vector_bytes}"
            )

    def summed_hash(self, linear_hashes: Sequence[bytes]) -> bytes:
        """The linear hash of a sum, from those of what it sums. Raises MalformedMessage."""
        return pack_digest(add_digests(map(unpack_digest, linear_hashes)))

    def check_hash(self, total: bytes, linear_hash: bytes, count: int) -> tuple[bytes, ...]:
        """Check the sum of so many vectors, which is to have this linear hash.

        Returns what `linear_hashes_of_sum` does. Raises MalformedMessage or RuleBroken when it is
        not that sum.
        """
        found = self.linear_hashes_of_sum(total, count)
        if found[-1] != linear_hash:
            raise RuleBroken("a masked sum is not that of its contributions")
        return found

    def linear_hashes_of_sum(self, total: bytes, count: int) -> tuple[bytes, ...]:
        """The linear hash of a sum of so many vectors after each segment; the last is that of all.

        Raises MalformedMessage or RuleBroken when it is no such sum.
        """
        if len(total) != self.sum_bytes:
            raise MalformedMessage(
                f"a masked sum has the wrong size: {len(total)} bytes, not {self.sum_bytes}"
            )
        found: list[bytes] = []
        for segment, part in enumerate(self.cut_sum(total)):
            found.append(self.hash_sum_on(found[-1] if found else b"", segment, part, count))
        return tuple(found)

    def unmask(self, total: bytes, keys: tuple[IntVector, ...], count: int) -> IntVector | None:
        """The sum of `count` updates [length], from a checked sum of their vectors and their keys.

        None when the two do not belong together: a contributor shared another key than it masked
        with, and nothing of this sum is worth anything.
        """
        key_sum = transform_key(self.parameters, tuple(part.astype(np.uint32) for part in keys))
        found = np.empty(self.parameters.length, dtype=np.int64)
        for segment, part in enumerate(self.cut_sum(total)):
            sums = unpack_sum(self.parameters, segment, part, count)
            public = public_segment(self.parameters, self.context, segment)
            first = self._layout.start(segment)
            try:
                found[first : first + self._layout.values(segment)] = unmask_segment(
                    self.parameters, public, key_sum, sums, segment, count, reach=self._reach
                )
            except DecodingError:
                return None
        return found

    def _places(self, size_of: Callable[[int], int]) -> list[tuple[int, int]]:
        """Offset and size of each segment in the concatenation."""
        sizes = [size_of(segment) for segment in range(self._layout.segments)]
        return list(zip(accumulate([0, *sizes[:-1]]), sizes, strict=True))


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
