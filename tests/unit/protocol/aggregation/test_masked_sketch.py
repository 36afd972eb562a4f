"""The sketch is what its definition says, in both implementations, forwards and transposed."""

import sys
from itertools import permutations

import numpy as np
import pytest

from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation.encoding import FIELDS
from pnyx.protocol.aggregation.masked_verification import (
    _choice,
    _kernels_numba,
    _kernels_numpy,
    sketch,
)
from pnyx.protocol.aggregation.masked_verification._kernels import (
    BLOCKS,
    BUCKETS,
    CODES,
    ROW_CODES,
    SMALL_MAX,
    TABLES,
)
from pnyx.protocol.aggregation.masked_verification.bounds import BLOCK, MODULUS
from pnyx.protocol.aggregation.masked_verification.sketch import ENTRY_MAX, Sketch

COMMITMENT = b"c" * 32


def column(chunk: int, entry: int) -> np.ndarray:
    """One column of P [256], read from the streams bit by bit."""
    seed = sketch.digest("pnyx/sketch/chunk", COMMITMENT, chunk.to_bytes(4, "big"))
    codes = Sampler(seed, "pnyx/sketch/codes").bytes(2 * TABLES * BLOCK)
    rows = Sampler(COMMITMENT, "pnyx/sketch/rows").bytes(8 * TABLES * BUCKETS)
    found = np.zeros(256, dtype=np.int64)
    for table in range(TABLES):
        at = 2 * (table * BLOCK + entry)
        code = int.from_bytes(codes[at : at + 2], "little")
        bucket, sign = code % BUCKETS, -1 if code & BUCKETS else 1
        for block in range(8):
            byte = rows[(block * TABLES + table) * BUCKETS + bucket]
            found[block * 32 + byte % 32] += sign * (-1 if byte & 32 else 1)
    return found


@pytest.fixture(params=[_kernels_numba, _kernels_numpy], ids=["numba", "numpy"])
def implementation(request, monkeypatch):
    monkeypatch.setattr(sketch, "kernels", lambda: request.param)
    return request.param


def chunks(count: int, largest: int, seed: int = 1) -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(seed))
    return generator.integers(-largest, largest + 1, (count, BLOCK)).astype(np.int32)


def test_columns_are_those_of_the_definition(implementation):
    for chunk, entry in ((0, 0), (0, BLOCK - 1), (1, 4321), (2, 77)):
        values = np.zeros((3, BLOCK), dtype=np.int32)
        values[chunk, entry] = 5
        assert Sketch(COMMITMENT).apply(values).tolist() == (5 * column(chunk, entry)).tolist()


@pytest.mark.parametrize("largest", [1, 4000, SMALL_MAX, SMALL_MAX + 1, ENTRY_MAX])
def test_sketches_are_sums_of_columns(largest, implementation):
    """Exactly, for values of any size, whichever loops serve them."""
    values = np.zeros((2, BLOCK), dtype=np.int32)
    places = [(0, 3), (1, 3), (1, 30_000), (0, 9), (0, 5000)]
    amounts = [largest, -largest, largest, -largest, 1]
    wanted = np.zeros(256, dtype=np.int64)
    for (chunk, entry), amount in zip(places, amounts, strict=True):
        values[chunk, entry] = amount
        wanted += amount * column(chunk, entry)
    assert Sketch(COMMITMENT).apply(values).tolist() == wanted.tolist()


@pytest.mark.parametrize("largest", [100, 60_000, 1 << 22, ENTRY_MAX])
def test_both_implementations_agree(largest, monkeypatch):
    found = []
    for kernels in (_kernels_numba, _kernels_numpy):
        monkeypatch.setattr(sketch, "kernels", lambda kernels=kernels: kernels)
        found.append(Sketch(COMMITMENT).apply(chunks(3, largest)).tolist())
    assert found[0] == found[1]


def test_all_values_at_the_limit_are_exact(implementation):
    """Every entry as large as it may be: sums of 2^42 in a table, 2^47 in a row."""
    values = np.full((1, BLOCK), ENTRY_MAX, dtype=np.int32)
    ones = np.ones((1, BLOCK), dtype=np.int32)
    assert (Sketch(COMMITMENT).apply(values) == ENTRY_MAX * Sketch(COMMITMENT).apply(ones)).all()


def test_a_bucket_that_takes_everything_is_exact(implementation, monkeypatch):
    """No stream gives such codes, but nothing depends on that: sums of 2^38 in one bucket."""
    honest = Sketch(COMMITMENT)
    monkeypatch.setattr(Sketch, "codes", lambda *_: np.zeros((TABLES, BLOCK), dtype=np.uint16))
    ones = honest.apply(np.ones((1, BLOCK), dtype=np.int32))
    for value in (1 << 13, 1 << 16, SMALL_MAX, -SMALL_MAX, ENTRY_MAX):
        assert (honest.apply(np.full((1, BLOCK), value, dtype=np.int32)) == value * ones).all()


@pytest.mark.parametrize("kernels", [_kernels_numba, _kernels_numpy])
def test_rows_take_buckets_of_any_size(kernels):
    """Sums of buckets are exact as long as they fit 64 bits."""
    generator = np.random.Generator(np.random.PCG64(4))
    codes = generator.integers(0, 256, (BLOCKS, BLOCK), dtype=np.uint8)
    small = generator.integers(-100, 101, BLOCK)
    wanted = np.zeros((BLOCKS, ROW_CODES), dtype=np.int64)
    for block, row in zip(wanted, codes, strict=True):
        np.add.at(block, row % ROW_CODES, small)
    for factor in (1, -1, 1 << 40, -(1 << 40), 3**25):
        rows = np.ones((BLOCKS, ROW_CODES), dtype=np.int64)
        kernels.spread(rows, codes, small * factor)
        assert (rows - 1 == wanted * factor).all()


@pytest.mark.parametrize("field", FIELDS)
def test_transposed_is_the_transpose(field, implementation):
    generator = np.random.Generator(np.random.PCG64(3))
    weights = generator.integers(0, field.modulus, (3, 256))
    weights[2] = field.modulus - 1
    transposed = Sketch(COMMITMENT).transpose(weights, field)
    for chunk in (0, 2):
        found = transposed.chunk(chunk)
        assert found.dtype == np.uint32
        assert int(found.max()) < field.modulus
        for entry in (0, 17, BLOCK - 1):
            wanted = field.reduce(field.reduce(weights) @ column(chunk, entry))
            assert found[:, entry].tolist() == wanted.tolist()


def test_adjoint_over_whole_vectors(implementation):
    values = chunks(2, 1 << 26)
    weights = np.random.Generator(np.random.PCG64(5)).integers(0, MODULUS, (2, 256))
    applied = FIELDS[0].reduce(Sketch(COMMITMENT).apply(values))
    left = FIELDS[0].matmul(weights, applied[:, np.newaxis])[:, 0]
    transposed = Sketch(COMMITMENT).transpose(weights, FIELDS[0])
    right = np.zeros(2, dtype=np.int64)
    for chunk in range(2):
        rows = transposed.chunk(chunk).astype(np.int64)
        terms = FIELDS[0].reduce(rows * FIELDS[0].reduce(values[chunk].astype(np.int64)))
        right += terms.sum(axis=1)
    assert (left == right % MODULUS).all()


def test_loops_of_both_implementations_agree():
    generator = np.random.Generator(np.random.PCG64(2))
    codes = generator.integers(0, 1 << 16, (TABLES, BLOCK), dtype=np.uint16)
    values = chunks(1, 30_000)[0]
    for name, kind in (("fold_narrow", np.int32), ("fold_wide", np.int64)):
        tables = [np.ones((TABLES, CODES), dtype=kind) for _ in range(2)]
        for table, kernels in zip(tables, (_kernels_numba, _kernels_numpy), strict=True):
            getattr(kernels, name)(table, codes, values)
        assert (tables[0] == tables[1]).all()
    top = np.full((TABLES, CODES), MODULUS - 1, dtype=np.uint32)
    for table in (top, generator.integers(0, MODULUS, top.shape).astype(np.uint32)):
        outs = [np.ones(BLOCK, dtype=np.uint32) for _ in range(2)]
        for out, kernels in zip(outs, (_kernels_numba, _kernels_numpy), strict=True):
            kernels.unfold(table, codes, MODULUS, out)
        assert (outs[0] == outs[1]).all()
    rows = generator.integers(0, MODULUS, (BLOCKS, ROW_CODES)).astype(np.uint32)
    row_codes = generator.integers(0, 256, (BLOCKS, BLOCK), dtype=np.uint8)
    for table in (rows, np.full_like(rows, MODULUS - 1)):
        outs = [np.ones(BLOCK, dtype=np.uint32) for _ in range(2)]
        for out, kernels in zip(outs, (_kernels_numba, _kernels_numpy), strict=True):
            kernels.gather(table, row_codes, MODULUS, out)
        assert (outs[0] == outs[1]).all()
    for edge in (SMALL_MAX, -SMALL_MAX, SMALL_MAX + 1, -SMALL_MAX - 1):
        some = values.copy()
        some[77] = edge
        assert _kernels_numba.energy(some) == _kernels_numpy.energy(some)
        assert (_kernels_numpy.energy(some) == -1) == (abs(edge) > SMALL_MAX)


def test_numpy_serves_where_numba_cannot_be_imported(monkeypatch):
    _choice.kernels.cache_clear()
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, _kernels_numba.__name__)
    package = sys.modules[_kernels_numba.__package__]
    monkeypatch.delattr(package, "_kernels_numba")
    assert _choice.kernels() is _kernels_numpy
    _choice.kernels.cache_clear()
    monkeypatch.undo()
    assert _choice.kernels() is _kernels_numba


def test_many_chunks_in_one_bucket_are_exact(implementation, monkeypatch):
    """Each would fit 32 bits, all together would not: 12·2^28."""
    honest, value = Sketch(COMMITMENT), 1 << 13
    monkeypatch.setattr(Sketch, "codes", lambda *_: np.zeros((TABLES, BLOCK), dtype=np.uint16))
    ones = honest.apply(np.ones((12, BLOCK), dtype=np.int32))
    assert (honest.apply(np.full((12, BLOCK), value, dtype=np.int32)) == value * ones).all()
    assert ones.any()


def test_vectors_are_sketched_side_by_side(implementation):
    """As one by one: small values, residues of a masked vector, and both in turns."""
    small, residues = chunks(3, 4000), np.abs(chunks(3, ENTRY_MAX)).astype(np.uint32)
    mixed = [small[0], residues[1].astype(np.int32), small[2]]
    honest = Sketch(COMMITMENT)
    for hidden, vector in permutations((small, residues, mixed), 2):
        of_hidden, stops = honest.apply_both(hidden, vector, 3)
        assert of_hidden.tolist() == honest.apply(hidden).tolist()
        assert [each.tolist() for each in stops] == [honest.apply(vector).tolist()]
    with pytest.raises(ValueError, match="shorter"):
        honest.apply_both(small, residues[:2], 3)


@pytest.mark.parametrize(("every", "ends"), [(1, [1, 2, 3]), (2, [2, 3]), (3, [3]), (4, [3])])
def test_a_vector_is_sketched_part_by_part(implementation, every: int, ends: list[int]):
    """After every so many chunks, and at the end; and a part alone, wherever it begins."""
    honest, vector = Sketch(COMMITMENT), np.abs(chunks(3, ENTRY_MAX)).astype(np.uint32)
    _, stops = honest.apply_both(chunks(3, 4000), vector, every)
    assert [each.tolist() for each in stops] == [
        honest.apply(vector[:end]).tolist() for end in ends
    ]
    begins = [0, *ends[:-1]]
    parts = [honest.apply(vector[a:b], a) for a, b in zip(begins, ends, strict=True)]
    assert np.cumsum(parts, axis=0).tolist() == [each.tolist() for each in stops]


def test_chunks_of_another_size_and_values_too_large():
    with pytest.raises(ValueError, match="a chunk has"):
        Sketch(COMMITMENT).apply([np.zeros(BLOCK - 1, dtype=np.int32)])
    for value in (ENTRY_MAX + 1, -ENTRY_MAX - 1):
        values = np.zeros(BLOCK, dtype=np.int32)
        values[5] = value
        with pytest.raises(ValueError, match="too large"):
            Sketch(COMMITMENT).apply([values])
    with pytest.raises(ValueError, match="too large"):
        Sketch(COMMITMENT).apply([np.full(BLOCK, 1 << 31, dtype=np.uint32)])


def test_chunks_and_commitments_have_streams_of_their_own():
    honest = Sketch(COMMITMENT)
    assert (honest.codes(0) != honest.codes(1)).any()
    assert (honest.codes(0) != Sketch(b"d" * 32).codes(0)).any()
    assert (honest._rows != Sketch(b"d" * 32)._rows).any()
