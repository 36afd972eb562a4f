"""Whole masked vectors as the roles of a round handle them, chunk by chunk inside.

A vector, and a sum of vectors, travels as the concatenation of its packed chunks (`chunks`); the
parcel that carries it commits to every byte. Public polynomials and the key of the linear hash come
from the context of the attempt.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pnyx.errors import DecodingError, MalformedMessage
from pnyx.primitives.ring.linear_hash import Digest
from pnyx.protocol.aggregation.encoding import IntVector
from pnyx.protocol.aggregation.masked.checked_sum import (
    HashOfVector,
    SumCheck,
    pack_digest,
    unpack_digest,
)
from pnyx.protocol.aggregation.masked.chunks import (
    pack_chunk,
    pack_sum,
    sum_bytes,
    unpack_chunk,
    unpack_sum,
)
from pnyx.protocol.aggregation.masked.keys import MaskingKey, hash_vector
from pnyx.protocol.aggregation.masked.mask import (
    ChunkSum,
    mask_chunk,
    public_chunk,
    unmask_chunk,
)
from pnyx.protocol.aggregation.masked.parameters import ParameterSet, layout


class MaskedUpdate(NamedTuple):
    """What a contributor makes of an update. key: [n] elements of the field of each prime, secret.

    chunks: what the aggregators get. linear_hash: of all of it, as bytes.
    """

    chunks: tuple[bytes, ...]
    linear_hash: bytes
    key: tuple[IntVector, ...]

    def __repr__(self) -> str:
        return "MaskedUpdate(...)"


class VectorCode:
    """Masks, checks and unmasks the vectors of one attempt.

    context: names network, study, round and attempt; the same for every contributor.
    """

    def __init__(self, parameters: ParameterSet, context: bytes) -> None:
        self.parameters = parameters
        self._context = context
        self._layout = layout(parameters)

    @property
    def vector_bytes(self) -> int:
        """Size of a masked vector."""
        return self.parameters.bytes

    @property
    def sum_bytes(self) -> int:
        """Size of a sum of masked vectors."""
        return sum(sum_bytes(self.parameters, chunk) for chunk in range(self._layout.chunks))

    def mask(self, update: IntVector, seed: bytes, contributor_context: bytes) -> MaskedUpdate:
        """Mask an update [length] of values within `value_max`.

        seed: secret, fresh for this contribution. Repeating a call gives the same; any other update
        or context has secrets of its own. Raises ValueError when a value is out of range.
        """
        shape, parameters = self._layout, self.parameters
        pieces = [
            update[shape.start(chunk) : shape.start(chunk) + shape.values(chunk)]
            for chunk in range(shape.chunks)
        ]
        key = MaskingKey.derive(parameters, seed, contributor_context, hash_vector(pieces))
        hashed = HashOfVector(parameters, self._context)
        chunks = []
        for chunk, values in enumerate(pieces):
            public = public_chunk(parameters, self._context, chunk)
            residues = mask_chunk(parameters, public, key, chunk, values)
            hashed.add_chunk(chunk, residues)
            chunks.append(pack_chunk(parameters, chunk, residues))
        secret = tuple(part.astype(np.int64) for part in key.secret)
        return MaskedUpdate(tuple(chunks), pack_digest(hashed.value), secret)

    def read_linear_hash(self, data: bytes) -> Digest:
        """Parse a linear hash. Raises MalformedMessage."""
        return unpack_digest(data)

    def linear_hash(self, vector: bytes) -> bytes:
        """The linear hash of a masked vector. Raises MalformedMessage when it is none."""
        hashed = HashOfVector(self.parameters, self._context)
        for chunk, start, size in self._parts(self._layout.chunk_bytes):
            residues = unpack_chunk(self.parameters, chunk, vector[start : start + size])
            hashed.add_chunk(chunk, residues)
        return pack_digest(hashed.value)

    def check_sum(self, total: bytes, linear_hashes: Sequence[bytes]) -> None:
        """Check the sum of the vectors with these linear hashes.

        Raises MalformedMessage or RuleBroken when it is not that sum.
        """
        if len(total) != self.sum_bytes:
            raise MalformedMessage("a sum of masked vectors has the wrong size")
        claimed = dict(enumerate(map(unpack_digest, linear_hashes)))
        check = SumCheck(self.parameters, self._context, claimed)
        for chunk, start, size in self._parts(lambda chunk: sum_bytes(self.parameters, chunk)):
            part = total[start : start + size]
            check.add_chunk(chunk, unpack_sum(self.parameters, chunk, part, len(claimed)))
        check.finish()

    def unmask(self, total: bytes, keys: tuple[IntVector, ...], count: int) -> IntVector | None:
        """The sum of `count` updates [length], from a checked sum of their vectors and their keys.

        None when the two do not belong together: a contributor shared another key than it masked
        with, and nothing of this sum is worth anything.
        """
        key_sum = tuple(part.astype(np.uint32) for part in keys)
        found = np.empty(self.parameters.length, dtype=np.int64)
        for chunk, start, size in self._parts(lambda chunk: sum_bytes(self.parameters, chunk)):
            sums = unpack_sum(self.parameters, chunk, total[start : start + size], count)
            public = public_chunk(self.parameters, self._context, chunk)
            first = self._layout.start(chunk)
            try:
                found[first : first + self._layout.values(chunk)] = unmask_chunk(
                    self.parameters, public, key_sum, sums, chunk, count
                )
            except DecodingError:
                return None
        return found

    def _parts(self, size_of: Callable[[int], int]) -> Iterator[tuple[int, int, int]]:
        """Chunk, offset and size in the concatenation."""
        start = 0
        for chunk in range(self._layout.chunks):
            size = size_of(chunk)
            yield chunk, start, size
            start += size


def sum_vectors(parameters: ParameterSet, vectors: Sequence[Iterator[bytes]]) -> Iterator[bytes]:
    """Add up masked vectors, one chunk of each in memory at a time; yields packed sums.

    vectors: each in pieces of any size. Raises MalformedMessage when one is no masked vector.
    """
    shape = layout(parameters)
    readers = [_Reader(vector) for vector in vectors]
    for chunk in range(shape.chunks):
        size = shape.chunk_bytes(chunk)
        total = ChunkSum(parameters, chunk)
        for reader in readers:
            total.add(unpack_chunk(parameters, chunk, reader.read(size)))
        yield pack_sum(parameters, chunk, total.total())


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
