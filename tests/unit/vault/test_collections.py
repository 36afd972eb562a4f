import stat

import numpy as np
import pytest

from pnyx.errors import DataImportError, VaultError
from pnyx.vault import Vault
from pnyx.vault.collections import Column, SourceFile

COLUMNS = (
    Column("x", "float"),
    Column("steps", "int"),
    Column("note", "text"),
    Column("label", "text", ("Jogging", "Walking")),
)
SOURCE = SourceFile("export.csv", "csv", b"d" * 32, 123)
ROWS = [(1.5, 3, "a", 1), (None, -4, None, 0), (1.5, 3, "a", 1)]


def add(vault, rows=ROWS, columns=COLUMNS, now=7.0):
    return vault.collections.add("activity", columns, SOURCE, rows, now)


def test_columns_come_back_typed_and_in_order(tmp_path, vault, key):
    add(vault)
    vault.close()
    with Vault.open(tmp_path / "vault", key) as again:
        read = again.collections.columns("activity", ["label", "x", "steps", "note"])
    assert list(read) == ["label", "x", "steps", "note"]
    np.testing.assert_array_equal(read["x"], np.array([1.5, np.nan, 1.5]))
    np.testing.assert_array_equal(read["steps"], np.array([3, -4, 3]))
    np.testing.assert_array_equal(read["label"], np.array([1, 0, 1]))
    assert list(read["note"]) == ["a", "", "a"]
    assert (read["x"].dtype, read["steps"].dtype, read["label"].dtype) == (
        np.dtype("float64"),
        np.dtype("int64"),
        np.dtype("int64"),
    )


def test_importing_twice_adds_nothing(vault):
    assert (add(vault).rows_read, add(vault).rows_added) == (3, 0)
    summary = vault.collections.show("activity")
    assert summary.rows == 3
    assert [source.imported_at for source in summary.sources] == [7.0]


def test_overlapping_exports_add_what_is_new(vault):
    add(vault)
    report = add(vault, [*ROWS, (1.5, 3, "a", 1), (9.0, 9, "z", 0)], now=8.0)
    assert (report.rows_read, report.rows_added) == (5, 2)
    sources = vault.collections.show("activity").sources
    assert [(s.rows_read, s.rows_added, s.imported_at) for s in sources] == [
        (3, 3, 7.0),
        (5, 2, 8.0),
    ]
    assert sources[0].file == SOURCE


def test_many_rows_go_in_batches(vault):
    report = add(vault, [(float(i), i, str(i), 0) for i in range(2500)])
    assert report.rows_added == 2500
    assert vault.collections.columns("activity", ["steps"])["steps"].tolist() == list(range(2500))


def test_a_failing_source_adds_nothing(vault):
    def rows():
        yield from ROWS
        raise DataImportError("line 4 is bad.")

    with pytest.raises(DataImportError, match="line 4"):
        add(vault, rows())
    assert vault.collections.list() == ()


def test_other_columns_are_refused(vault):
    add(vault)
    with pytest.raises(DataImportError, match=r"other columns or types \(x, steps, note, label\)"):
        add(vault, columns=COLUMNS[:3], rows=[(1.0, 1, "b")])


def test_unknown_names_are_refused(vault):
    add(vault)
    with pytest.raises(VaultError, match="no collection bank; import a file"):
        vault.collections.show("bank")
    with pytest.raises(VaultError, match="no column y; it has x, steps, note, label"):
        vault.collections.columns("activity", ["y"])


def test_hostile_names_never_reach_sql(vault):
    column = Column('"; DROP TABLE sources; --', "text")
    vault.collections.add("odd", [column], SOURCE, [("v",)], 0.0)
    assert list(vault.collections.columns("odd", [column.name])[column.name]) == ["v"]
    assert vault.collections.list()[0].rows == 1


def test_export_writes_a_private_csv(tmp_path, vault):
    add(vault, [(1.5, 3, "a, b", 1), (None, -4, None, 0)])
    assert vault.collections.export("activity", tmp_path / "out.csv") == 2
    assert (tmp_path / "out.csv").read_bytes() == (
        b'x,steps,note,label\r\n1.5,3,"a, b",Walking\r\n,-4,,Jogging\r\n'
    )
    assert stat.S_IMODE((tmp_path / "out.csv").stat().st_mode) == 0o600
    with pytest.raises(VaultError, match="exists already; choose another name"):
        vault.collections.export("activity", tmp_path / "out.csv")
    with pytest.raises(VaultError, match="cannot be created: no such file or directory"):
        vault.collections.export("activity", tmp_path / "none" / "out.csv")


def test_a_failed_export_leaves_no_file(tmp_path, vault, monkeypatch):
    add(vault)

    def fail(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pnyx.vault.collections.os.fsync", fail)
    with pytest.raises(VaultError, match="cannot be written: no space left on device"):
        vault.collections.export("activity", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_delete_removes_rows_and_provenance(vault):
    add(vault)
    assert vault.collections.delete("activity") == 3
    assert vault.collections.list() == ()
    assert vault._database.query("SELECT count(*) FROM sources") == [(0,)]
    with pytest.raises(VaultError, match="no collection activity"):
        vault.collections.delete("activity")
    assert add(vault).rows_added == 3
