import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pnyx.errors import DataImportError
from pnyx.vault import Vault
from pnyx.vault.importers import ImportLimits, import_file, parse_mapping, read_mapping

MAPPING = {
    "category": "activity.windows",
    "columns": {
        "X": {"name": "x", "type": "float", "missing": ["", "?"]},
        "n": {"type": "int"},
        "who": {"type": "text"},
        "activity": {"name": "label", "type": "text", "classes": ["Jogging", "Walking"]},
    },
}
HEADER = "X,n,who,activity,unused\n"


@pytest.fixture
def vault(tmp_path):
    with Vault.open(tmp_path / "vault", bytes(32)) as opened:
        yield opened


def load(vault, path, mapping=MAPPING, **limits):
    return import_file(vault.collections, path, parse_mapping(mapping), 5.0, ImportLimits(**limits))


def csv_file(tmp_path, text, name="data.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_csv_file_is_imported(tmp_path, vault):
    path = csv_file(tmp_path, "\ufeff" + HEADER + '1.5,2,"é, o",Walking,z\n\n?,-3,,Jogging,\n')
    report = load(vault, path)
    assert (report.category, report.rows_read, report.rows_added) == ("activity.windows", 2, 2)
    read = vault.collections.columns("activity.windows", ["x", "n", "who", "label"])
    np.testing.assert_array_equal(read["x"], [1.5, np.nan])
    assert read["n"].tolist() == [2, -3]
    assert read["who"].tolist() == ["é, o", ""]
    assert read["label"].tolist() == [1, 0]
    assert load(vault, path).rows_added == 0
    (source,) = vault.collections.show("activity.windows").sources
    assert (source.file.name, source.file.format) == ("data.csv", "csv")
    assert source.file.file_bytes == path.stat().st_size


def test_csv_and_parquet_give_the_same_rows(tmp_path, vault):
    path = csv_file(tmp_path, HEADER + "1.5,2,a,Walking,z\n?,-3,b,Jogging,\n")
    table = pa.table(
        {
            "activity": ["Walking", "Jogging"],
            "X": [1.5, None],
            "n": [2, -3],
            "unused": [[1], [2]],
            "who": ["a", "b"],
        }
    )
    pq.write_table(table, tmp_path / "data.parquet")
    assert load(vault, path).rows_added == 2
    assert load(vault, tmp_path / "data.parquet").rows_added == 0


def test_only_the_owners_rows_are_kept(tmp_path, vault):
    path = csv_file(tmp_path, HEADER + "1,1,ann,Walking,z\n2,2,bob,Walking,z\n3,3,ann,Walking,z\n")
    assert load(vault, path, MAPPING | {"only": {"who": "ann"}}).rows_read == 2
    table = pa.table({"X": [1.0, 2.0], "n": [1, 2], "who": ["a", "b"], "activity": ["Walking"] * 2})
    pq.write_table(table, tmp_path / "data.parquet")
    assert load(vault, tmp_path / "data.parquet", MAPPING | {"only": {"n": "2"}}).rows_read == 1


BAD_CSV = [
    (
        "1,2,a,Walking,z\n1,2,a,Running,z\n",
        "data.csv, line 3, column activity: .*'Running'.*one of",
    ),
    ("1,2,a,,z\n", "line 2, column activity: the value is missing"),
    ("one,2,a,Walking,z\n", "line 2, column X: the value is 'one'; it must be a number"),
    ("nan,2,a,Walking,z\n", "line 2, column X: .* must be finite"),
    ("1e999,2,a,Walking,z\n", "line 2, column X: .* must be finite"),
    ("1,2.5,a,Walking,z\n", "line 2, column n: .* whole number"),
    ("1,,a,Walking,z\n", "line 2, column n: the value is missing"),
    ("1,99999999999999999999,a,Walking,z\n", "line 2, column n: .* 64 bits"),
    ("1,2,a,Walking\n", "line 2: 4 fields, but the first line names 5"),
    ('1,2,"a\nb",Walking,z\n1,2,a,Walking\n', "line 4: 4 fields"),
    ('1,2,"a,Walking,z\n', "line 2: not valid CSV"),
    ('1,2,"a"x,Walking,z\n', "line 2: not valid CSV"),
    ("1,2,a\0b,Walking,z\n", "line 2.*NUL"),
    (b"1,2,\xff,Walking,z\n", "not valid UTF-8; save the file as UTF-8"),
    ("1,2," + "a" * 5000 + ",Walking,z\n", "line 2, column who: the value has 5000 characters"),
    ("1,2," + "a" * 200_000 + ",Walking,z\n", "line 2: not valid CSV: field larger"),
]


@pytest.mark.parametrize(("body", "message"), BAD_CSV)
def test_a_bad_csv_file_imports_nothing(tmp_path, vault, body, message):
    good = "1,2,good,Walking,z\n"
    body = body if isinstance(body, bytes) else body.encode()
    with pytest.raises(DataImportError, match=message):
        load(vault, csv_file(tmp_path, HEADER.encode() + body + good.encode()))
    assert vault.collections.list() == ()


def test_the_header_must_hold_the_mapped_columns_once(tmp_path, vault):
    with pytest.raises(DataImportError, match="is empty; its first line must name the columns"):
        load(vault, csv_file(tmp_path, ""))
    with pytest.raises(DataImportError, match="has the column X nowhere"):
        load(vault, csv_file(tmp_path, "n,who,activity\n"))
    with pytest.raises(DataImportError, match="has the column X twice"):
        load(vault, csv_file(tmp_path, "X,X,n,who,activity\n"))


def test_bounds_are_enforced(tmp_path, vault):
    path = csv_file(tmp_path, HEADER + "1,2,a,Walking,z\n" * 3)
    with pytest.raises(DataImportError, match="more than 2 rows; split it"):
        load(vault, path, rows_max=2)
    with pytest.raises(DataImportError, match="has 5 columns; at most 4"):
        load(vault, path, columns_max=4)
    with pytest.raises(DataImportError, match=f"has {path.stat().st_size} bytes, above the limit"):
        load(vault, path, file_bytes_max=10)
    assert vault.collections.list() == ()


def test_only_readable_files_of_known_formats(tmp_path, vault):
    with pytest.raises(DataImportError, match=r"neither \.csv nor \.parquet"):
        load(vault, Path("data.xlsx"))
    with pytest.raises(DataImportError, match="cannot be read: no such file"):
        load(vault, tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataImportError, match="is not a file"):
        load(vault, tmp_path / "folder.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataImportError, match="is not a file"):
        load(vault, tmp_path / "pipe.csv")


@pytest.mark.parametrize("damage", ["garbage", "truncated", "flipped"])
def test_a_damaged_parquet_file_imports_nothing(tmp_path, vault, damage):
    path = tmp_path / "data.parquet"
    rows = 2000
    table = pa.table(
        {
            "X": np.arange(rows) / 7,
            "n": np.arange(rows),
            "who": [str(i) for i in range(rows)],
            "activity": ["Walking"] * rows,
        }
    )
    pq.write_table(table, path, write_page_checksum=True)
    content = bytearray(path.read_bytes())
    if damage == "garbage":
        content = bytearray(b"PAR1" + b"x" * 100)
    elif damage == "truncated":
        del content[-100:]
    else:
        content[200:260] = bytes(60)
    path.write_bytes(content)
    with pytest.raises(DataImportError, match=r"data\.parquet"):
        load(vault, path)
    assert vault.collections.list() == ()


def test_a_decompression_bomb_is_refused(tmp_path, vault):
    path = tmp_path / "bomb.parquet"
    table = pa.table({"X": np.zeros(2_000_000)})
    pq.write_table(table, path, compression="zstd", use_dictionary=False)
    with pytest.raises(DataImportError, match="once decompressed, above the limit"):
        load(vault, path, file_bytes_max=100_000)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("X", [[1.0]], "column X: holds .* must hold numbers or text"),
        ("X", ["a"], "row 1, column X: .* must be a number"),
        ("X", [True], "must be a number"),
        ("n", [None], "row 1, column n: the value is missing"),
        ("n", [1.5], "whole number"),
        ("n", [True], "whole number"),
        ("who", [3], "must be text"),
        ("activity", [1], "one of Jogging, Walking"),
    ],
)
def test_wrong_types_in_parquet_are_named(tmp_path, vault, column, values, message):
    cells = {"X": [1.0], "n": [1], "who": ["a"], "activity": ["Walking"]} | {column: values}
    pq.write_table(pa.table(cells), tmp_path / "data.parquet")
    with pytest.raises(DataImportError, match=message):
        load(vault, tmp_path / "data.parquet")


def test_nan_and_whole_floats_in_parquet(tmp_path, vault):
    cells = {"X": [float("nan")], "n": [3.0], "who": ["a"], "activity": ["Walking"]}
    pq.write_table(pa.table(cells), tmp_path / "data.parquet")
    assert load(vault, tmp_path / "data.parquet").rows_added == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"category": "Bad Name"}, "category is 'Bad Name'; it must be a text .* that matches"),
        ({"columns": {}}, "columns has 0 entries"),
        ({"columns": {"a": {"type": "date"}}}, "columns.a.type is 'date'; it must be one of"),
        ({"columns": {"a": {}}}, "columns.a.type is missing"),
        ({"columns": {"a": {"type": "int", "kind": 1}}}, "columns.a.kind is not a setting"),
        ({"columns": {"a": {"type": "int", "classes": ["u"]}}}, "its type must be text"),
        ({"columns": {"a": {"type": "text", "classes": ["u", "u"]}}}, "lists a class twice"),
        (
            {"columns": {"a": {"type": "int"}, "b": {"type": "int", "name": "a"}}},
            "'a' is empty or used twice",
        ),
        ({"colums": 3}, "colums is not a setting; did you mean columns"),
    ],
)
def test_a_bad_mapping_is_explained(change, message):
    with pytest.raises(DataImportError, match=message):
        parse_mapping({**MAPPING, **change})


def test_a_mapping_file(tmp_path):
    path = tmp_path / "mapping.toml"
    path.write_text('category = "a.b"\n[columns.x]\ntype = "float"\n')
    assert read_mapping(path) == parse_mapping(
        {"category": "a.b", "columns": {"x": {"type": "float"}}}
    )
    path.write_text("category = ")
    with pytest.raises(DataImportError, match=r"mapping\.toml is not valid TOML"):
        read_mapping(path)
    path.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(DataImportError, match="is larger than"):
        read_mapping(path)
    with pytest.raises(DataImportError, match="cannot be read"):
        read_mapping(tmp_path / "none.toml")
