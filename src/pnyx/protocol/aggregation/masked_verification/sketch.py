"""The sketch: a random integer matrix P with 256 rows, expanded from a commitment.

Entry j of a vector goes, with a sign of its own, into one bucket of each of 8 tables of 4,096
(CountSketch: Charikar, Chen and Farach-Colton 2002). Every bucket of every table goes, with a sign
of its own, into one row of each of 8 blocks of 32 rows. So every column of P has up to 64 entries,
and E (P·z)_i² = ‖z‖²/4 for every z.

What is hashed, and how often, is what makes it sound modulo p, where the rows of P·z are read:

- every bucket is one hash of *one* entry: dense ±1 rows take ((p - 1)/2, (p - 1)/2) to 0 or ±1,
  and a table that is rotated from entry to entry takes (p - 1)/2 in every entry to something short;
- 8 tables, each bucket in 8 blocks: a vector with one entry vanishes with probability 2^-139. With
  few entries in a column one draw in 2^50 forgets that entry, which a cheat would find.

tests/adversarial/test_masked_sketch_is_defeated.py runs these attacks on such sketches, and on this
one.

Vectors travel in chunks of 32,768 entries, which is one block of polynomials, and so does P: every
chunk of it has a stream of its own, 16 bits for each table and entry, and can be expanded alone.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pnyx.primitives.field import PrimeField
from pnyx.primitives.hashing import digest
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation.bounds import ROWS
from pnyx.protocol.aggregation.encoding import FIELDS, IntVector
from pnyx.protocol.aggregation.masked.parameters import ParameterSet
from pnyx.protocol.aggregation.masked_verification._choice import kernels
from pnyx.protocol.aggregation.masked_verification._kernels import (
    BLOCK_ROWS,
    BLOCKS,
    BUCKETS,
    CODES,
    ROW_CODES,
    TABLES,
    Codes,
    Values,
)
from pnyx.protocol.aggregation.masked_verification.bounds import BLOCK, MODULUS, MaskedBounds

ENTRY_MAX = 1 << 27

_CODE_BYTES = 2
_NARROW_MAX = 1 << 62  # entries times ‖z‖²: any sum of them is below 2^31 then (Cauchy-Schwarz)


class Sketch:
    """P, expanded from 32 bytes."""

    __slots__ = ("_rows", "_seed")

    def __init__(self, commitment: bytes) -> None:
        self._seed = commitment
        stream = Sampler(commitment, "pnyx/sketch/rows").bytes(BLOCKS * TABLES * BUCKETS)
        self._rows = np.frombuffer(stream, dtype=np.uint8).reshape(BLOCKS, TABLES * BUCKETS)

    def codes(self, chunk: int) -> Codes:
        """Expand the buckets and signs of one chunk of entries: [TABLES, BLOCK]."""
        seed = digest("pnyx/sketch/chunk", self._seed, chunk.to_bytes(4, "big"))
        stream = Sampler(seed, "pnyx/sketch/codes").bytes(_CODE_BYTES * TABLES * BLOCK)
        return np.frombuffer(stream, dtype="<u2").reshape(TABLES, BLOCK)

    def apply(self, chunks: Iterable[NDArray[np.integer]], first: int = 0) -> IntVector:
        """Return P·z [256] over the integers.

        chunks: of z in order, 32,768 entries each of absolute value at most 2^27, in any shape.
        first: the number of the first one; what is before it counts as zero.
        """
        sums = _Buckets()
        for index, chunk in enumerate(chunks, first):
            sums.add(self.codes(index), _entries(chunk))
        return self._spread(sums.total())

    def apply_both(
        self,
        hidden: Iterable[NDArray[np.integer]],
        vector: Iterable[NDArray[np.integer]],
        every: int,
    ) -> tuple[IntVector, list[IntVector]]:
        """Return P·z, and P·y after every so many chunks and at the end; P is expanded once.

        hidden, vector: z and y, as many chunks of each, as `apply` takes them.
        """
        of_hidden, of_vector, stops = _Buckets(), _Buckets(), []
        for index, (below, above) in enumerate(zip(hidden, vector, strict=True)):
            if index and index % every == 0:
                stops.append(self._spread(of_vector.total()))
            codes = self.codes(index)
            of_hidden.add(codes, _entries(below))
            of_vector.add(codes, _entries(above))
        return self._spread(of_hidden.total()), [*stops, self._spread(of_vector.total())]

    def _spread(self, tables: NDArray[np.int64]) -> IntVector:
        """Add up buckets, of both signs [TABLES, CODES], to rows [256]."""
        buckets = (tables[:, :BUCKETS] - tables[:, BUCKETS:]).reshape(-1)
        rows = np.zeros((BLOCKS, ROW_CODES), dtype=np.int64)
        kernels().spread(rows, self._rows, buckets)
        return (rows[:, :BLOCK_ROWS] - rows[:, BLOCK_ROWS:]).reshape(-1)

    def transpose(self, weights: IntVector, field: PrimeField) -> "Transposed":
        """Prepare weights·P modulo the field's prime, for weights [n, 256] in the field."""
        by_block = weights.reshape(-1, BLOCKS, BLOCK_ROWS)
        signed = np.concatenate([by_block, field.negate(by_block)], axis=2).astype(np.uint32)
        buckets = np.empty((len(weights), TABLES * BUCKETS), dtype=np.uint32)
        for rows, row in zip(signed, buckets, strict=True):
            kernels().gather(rows, self._rows, field.modulus, row)
        by_table = buckets.reshape(-1, TABLES, BUCKETS)
        negated = np.where(by_table, np.uint32(field.modulus) - by_table, by_table)
        return Transposed(self, np.concatenate([by_table, negated], axis=2), field.modulus)


def _entries(chunk: NDArray[np.integer]) -> NDArray[np.integer]:
    """One chunk as a row. Raises ValueError when it has another size."""
    if chunk.size != BLOCK:
        raise ValueError(f"a chunk has {BLOCK} entries")
    return np.ascontiguousarray(chunk).reshape(-1)


class Transposed:
    """weights·P modulo a prime, chunk by chunk. tables: [n, TABLES, CODES], both signs."""

    __slots__ = ("_modulus", "_sketch", "_tables")

    def __init__(self, sketch: Sketch, tables: NDArray[np.uint32], modulus: int) -> None:
        self._sketch, self._tables, self._modulus = sketch, tables, modulus

    def chunk(self, index: int) -> NDArray[np.uint32]:
        """Return the columns of one chunk of entries: [n, BLOCK], reduced."""
        codes = self._sketch.codes(index)
        out = np.empty((len(self._tables), BLOCK), dtype=np.uint32)
        for table, row in zip(self._tables, out, strict=True):
            kernels().unfold(table, codes, self._modulus, row)
        return out


class _Buckets:
    """The buckets of one vector while chunks come in; sums that provably fit take 32 bits."""

    __slots__ = ("_chunks", "_energy", "_narrow", "_wide")

    def __init__(self) -> None:
        self._wide = np.zeros((TABLES, CODES), dtype=np.int64)
        self._narrow = np.zeros((TABLES, CODES), dtype=np.int32)
        self._chunks, self._energy = 0, 0  # of what is in the narrow ones, its ‖z‖²

    def add(self, codes: Codes, chunk: NDArray[np.integer]) -> None:
        """Add a chunk. Raises ValueError when an entry is too large."""
        unsigned = chunk.dtype == np.uint32  # from 2^31 on it looks negative, and far too large
        values: Values = chunk.view(np.int32) if unsigned else chunk.astype(np.int32, copy=False)
        energy = kernels().energy(values)
        if 0 <= energy < _NARROW_MAX // BLOCK:
            if (self._chunks + 1) * (self._energy + energy) >= _NARROW_MAX // BLOCK:
                self.total()
            self._chunks, self._energy = self._chunks + 1, self._energy + energy
            kernels().fold_narrow(self._narrow, codes, values)
        elif int(values.max()) <= ENTRY_MAX and int(values.min()) >= -ENTRY_MAX:
            kernels().fold_wide(self._wide, codes, values)
        else:
            raise ValueError("an entry is too large for a sketch")

    def total(self) -> NDArray[np.int64]:
        """The sums so far [TABLES, CODES]."""
        if self._chunks:
            self._wide += self._narrow
            self._narrow[:] = 0
            self._chunks, self._energy = 0, 0
        return self._wide


def masked_sketch(
    sketched: bytes, vector: Sequence[NDArray[np.uint32]], bounds: MaskedBounds, offset: int = 0
) -> IntVector:
    """P·y [256] modulo p₁, for the P of a commitment: what a contributor states.

    vector: the residues of y block by block; those beyond what is sent do not count. offset: what
    every entry that is sent carries beside z, as values are made positive before masking.
    """
    if len(vector) != bounds.blocks:
        raise ValueError("expected the blocks of the bounds")
    return FIELDS[0].reduce(Sketch(sketched).apply(without_offset(vector, bounds, offset)))


def offset_of(masks: ParameterSet) -> int:
    """What every entry that is sent carries beside z, for a vector that these masks made."""
    return (masks.offset << masks.shift) % masks.modulus


def stated_sketch(
    masks: ParameterSet, bounds: MaskedBounds, sketched: bytes, vector: Sequence[NDArray[np.uint32]]
) -> bytes:
    """P·y as a header states it, for a vector that these masks made; as `masked_sketch`."""
    return FIELDS[0].pack(masked_sketch(sketched, vector, bounds, offset_of(masks)))


def sketch_on(
    masks: ParameterSet,
    bounds: MaskedBounds,
    sketched: bytes,
    before: bytes,
    part: Sequence[NDArray[np.uint32]],
    first: int,
) -> bytes:
    """P·y after some blocks more, as a header states it.

    before: P·y of the blocks before; empty where there are none. part: blocks of y from number
    `first` on. Raises MalformedMessage when `before` is no sketch.
    """
    field = FIELDS[0]
    chunks = without_offset(part, bounds, offset_of(masks), first)
    added = field.reduce(Sketch(sketched).apply(chunks, first))
    if before:
        added = field.reduce(added + field.unpack(before, ROWS))
    return field.pack(added)


def without_offset(
    vector: Sequence[NDArray[np.uint32]], bounds: MaskedBounds, offset: int, first: int = 0
) -> Iterator[NDArray[np.uint32]]:
    """The residues of y less an offset, block by block from number `first` on.

    Zero where nothing is sent.
    """
    shift = np.uint32((MODULUS - offset) % MODULUS)
    for index, block in enumerate(vector, first):
        sent = bounds.sent(index)
        if sent == BLOCK and not shift:
            yield block
            continue
        values = block.reshape(-1) + shift  # below 2·p₁: x - p₁ wraps around where x < p₁
        values = np.minimum(values, values - np.uint32(MODULUS))
        values[sent:] = 0
        yield values
