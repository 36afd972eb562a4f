"""Importing adds each row once, and hostile files end in a sentence."""

import tempfile
from collections import Counter
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings

from pnyx.errors import DataImportError
from pnyx.vault import Vault
from pnyx.vault.collections import Column, SourceFile
from pnyx.vault.importers import import_file, parse_mapping

KEY = bytes(range(32))
COLUMNS = (Column("n", "int"), Column("t", "text"))
SOURCE = SourceFile("f", "csv", bytes(32), 1)
MAPPING = parse_mapping(
    {"category": "c", "columns": {"a": {"type": "float"}, "b": {"type": "text"}}}
)
rows = st.tuples(st.integers(0, 2), st.sampled_from(["a", "b", None]))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(rows, max_size=6), min_size=1, max_size=4))
def test_overlapping_exports_keep_the_greatest_multiplicity(exports):
    with tempfile.TemporaryDirectory() as folder, Vault.open(Path(folder), KEY) as vault:
        expected = Counter()
        for export in exports:
            before = expected.total()
            expected |= Counter(export)
            report = vault.collections.add("c", COLUMNS, SOURCE, export, 0.0)
            assert report.rows_added == expected.total() - before
        read = vault.collections.columns("c", ["n", "t"])
        stored = Counter(zip(read["n"].tolist(), read["t"].tolist(), strict=True))
        assert stored == Counter({(n, t or ""): count for (n, t), count in expected.items()})


def import_or_refuse(name, content):
    refusal = None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        with Vault.open(Path(folder, "vault"), KEY) as vault:
            try:
                import_file(vault.collections, path, MAPPING, 0.0)
            except DataImportError as error:
                refusal = str(error)
            if refusal is not None:
                assert refusal.startswith(name)
                assert "\n" not in refusal
                assert vault.collections.list() == ()


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text('ab,"\n\r01.é\0', max_size=80).map(str.encode)))
def test_any_csv_bytes_are_imported_or_refused(content):
    import_or_refuse("f.csv", b"a,b\n" + content)


def parquet_bytes():
    sink = pa.BufferOutputStream()
    table = pa.table({"a": np.arange(50) / 3, "b": [str(i % 7) for i in range(50)]})
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


GOOD_PARQUET = parquet_bytes()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, len(GOOD_PARQUET) - 1),
    st.binary(min_size=1, max_size=8),
    st.integers(0, len(GOOD_PARQUET)),
)
def test_any_damaged_parquet_is_imported_or_refused(position, patch, length):
    content = GOOD_PARQUET[:position] + patch + GOOD_PARQUET[position + len(patch) :]
    import_or_refuse("f.parquet", content)
    import_or_refuse("f.parquet", content[:length])
