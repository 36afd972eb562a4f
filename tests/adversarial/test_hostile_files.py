"""D3, D1: whatever a file to import holds, it is imported, or refused in a sentence, at small cost.

CSV and Parquet files are altered as `tests/support/hostile_files.py` says. None may raise anything
but a refusal, take 50 ms of CPU, or leave anything behind when it is refused; what resident memory
grows by, over all of them and in any one, is bounded. Files made to become gigabytes are refused.
Files are short here, and so is the limit on their rows: how long a long file takes is its length.
"""

import io
from collections import Counter
from pathlib import Path
from time import thread_time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.hostile_files import hostile_csv, hostile_parquet, valid_parquet
from tests.support.weakened import weaken
from tests.transport_kit import resident_bytes

from pnyx.errors import DataImportError
from pnyx.vault import Vault
from pnyx.vault.importers import (
    ImportLimits,
    csv_file,
    import_file,
    parquet_file,
    parquet_pages,
    parse_mapping,
)

KEY = bytes(range(32))
LIMITS = ImportLimits(rows_max=1000)
MAPPING = parse_mapping(
    {
        "category": "c",
        "columns": {
            "a": {"type": "float"},
            "b": {"type": "text"},
            "c": {"type": "int"},
            "d": {"type": "text", "classes": ["yes", "no"]},
        },
    }
)
SLOW_S = 0.05  # of CPU, for a small file
SMALL_BYTES_MAX = 500_000
FILES_IN_A_VAULT = 2_000  # then another begins, since what was imported makes a vault larger
GROWTH_BYTES_MAX = 64 * 1024 * 1024  # of resident memory, over all files
IN_ONE_FILE_BYTES_MAX = 96 * 1024 * 1024  # at any time: a page, decompressed, and some more
REFUSAL_CHARACTERS_MAX = 500
COUNTS = [150, pytest.param(1_000_000, marks=pytest.mark.full)]


def files(kind: str, seed: int, count: int):
    """Seeded hostile files; a Parquet file serves twenty times, for it takes longer to be made."""
    generator = np.random.Generator(np.random.PCG64([seed, kind == "csv"]))
    if kind == "csv":
        for _ in range(count):
            yield hostile_csv(generator)
        return
    one = other = valid_parquet(generator)
    for at in range(count):
        if at % 20 == 0:
            one, other = other, valid_parquet(generator)
        yield hostile_parquet(one, other, generator)


def import_or_refuse(vault: Vault, path: Path, limits: ImportLimits) -> tuple[str, float]:
    """The refusal of a file, empty where it is imported, and the seconds of CPU that it took."""
    started = thread_time()
    try:
        import_file(vault.collections, path, MAPPING, 0.0, limits)
    except DataImportError as error:
        return str(error), thread_time() - started
    return "", thread_time() - started


def peak_bytes() -> int:
    """The most memory that was in use since `forget_peak`."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def fate_of(vault: Vault, path: Path, limits: ImportLimits = LIMITS) -> str:
    """The refusal of a file, empty where it is imported; checks all that the module promises."""
    before = vault.collections.list()
    forget_peak()
    held = resident_bytes()
    refusal, spent_s = import_or_refuse(vault, path, limits)
    assert peak_bytes() - held < IN_ONE_FILE_BYTES_MAX
    if refusal:
        assert refusal.startswith(path.name)
        assert "\n" not in refusal
        assert len(refusal) < REFUSAL_CHARACTERS_MAX
        assert vault.collections.list() == before
    if path.stat().st_size < SMALL_BYTES_MAX:  # to hash a larger one takes long by itself
        # Twice more, if need be: libraries are loaded, and garbage collected, at their own time.
        again_s = (import_or_refuse(vault, path, limits)[1] for _ in range(2))
        assert spent_s < SLOW_S or min(again_s) < SLOW_S
    return refusal


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_hostile_files(tmp_path, kind, count):
    fates: Counter[bool] = Counter()
    settled = 0
    for seed, first in enumerate(range(0, count, FILES_IN_A_VAULT)):
        path = tmp_path / f"f.{kind}"
        with Vault.open(tmp_path / str(seed), KEY) as vault:
            for content in files(kind, seed, min(FILES_IN_A_VAULT, count - first)):
                path.write_bytes(content)
                fates[bool(fate_of(vault, path))] += 1
                settled = settled or resident_bytes()
    assert resident_bytes() - settled < GROWTH_BYTES_MAX
    assert min(fates[False], fates[True]) > count // 50, "both happen often"


@pytest.fixture
def vault(tmp_path):
    with Vault.open(tmp_path / "vault", KEY) as opened:
        yield opened


def table(texts: pa.Array) -> pa.Table:
    """A table that the mapping accepts but for its texts."""
    count = len(texts)
    numbers = pa.array(np.zeros(count))
    whole = pa.array(np.zeros(count, np.int64))
    return pa.table({"a": numbers, "b": texts, "c": whole, "d": pa.array(["yes"] * count)})


def parquet(texts: pa.Array, **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table(texts), sink, compression="zstd", **options)
    return sink.getvalue()


def one_text_in_every_row() -> bytes:
    """Four gigabytes in two kilobytes: 4,000 rows name one text of a megabyte."""
    indices = pa.array(np.zeros(4000, np.int32))
    return parquet(pa.DictionaryArray.from_arrays(indices, ["x" * 1_000_000]))


def nested(depth: int) -> pa.Array:
    array = pa.array([1])
    for _ in range(depth):
        array = pa.StructArray.from_arrays([array], ["b"])
    return array


def under_a_false_name() -> bytes:
    """A large page, in a chunk whose metadata says that it is of a column that nobody reads."""
    content = parquet(pa.array(["x" * 70_000_000]), use_dictionary=False)
    path = b"\x19\x18\x01b"  # in Thrift: a list of one text, "b"
    assert content.count(path) == 1
    return content.replace(path, path[:-1] + b"q")


def nested_under_the_same_name() -> bytes:
    """A list whose numbers pyarrow would read, too, for the column of another."""
    sink = io.BytesIO()
    one = table(pa.array(["x"])).append_column("e", pa.array([[1] * 1000]))
    pq.write_table(one.append_column("e.list.element", pa.array(["x"])), sink)
    return sink.getvalue()


def long_footer() -> bytes:
    sink = io.BytesIO()
    one = table(pa.array(["x"])).replace_schema_metadata({"k": "x" * 3_000_000})
    pq.write_table(one, sink)
    return sink.getvalue()


BOMBS = {
    "one-text-in-every-row": ("parquet", one_text_in_every_row, "has a text of 1000000 bytes"),
    "large-page": (
        "parquet",
        lambda: parquet(pa.array(["x" * 70_000_000]), use_dictionary=False),
        "has a page of 70000",
    ),
    "large-page-under-a-false-name": ("parquet", under_a_false_name, "has a page of 70000"),
    "text-that-repeats-the-last": (
        "parquet",
        lambda: parquet(
            pa.array(["x" * 4000] * 1000),
            use_dictionary=False,
            column_encoding={"b": "DELTA_BYTE_ARRAY"},
        ),
        "has text in a delta encoding",
    ),
    "lists": ("parquet", lambda: parquet(pa.array([[1] * 1_000_000])), "column b: holds 'list"),
    "nested": ("parquet", lambda: parquet(nested(90)), "column b: holds 'struct"),
    "nested-too-deeply": ("parquet", lambda: parquet(nested(900)), "too deeply nested"),
    "long-footer": ("parquet", long_footer, "describes its columns in"),
    "one-line": ("csv", lambda: b"a,b,c,d\n" + b"," * 40_000_000, "more than 1048576 characters"),
    "one-record": (
        "csv",
        lambda: b"a,b,c,d\n" + b'"ab\n",' * 5_000_000,
        "more than 1048576 characters",
    ),
    "quote-never-closed": ("csv", lambda: b'a,b,c,d\n1,"' + b"x\n" * 9_000_000, "field larger"),
}


def test_a_name_for_what_is_nested_and_what_is_not_is_refused(tmp_path, vault):
    path = tmp_path / "f.parquet"
    path.write_bytes(nested_under_the_same_name())
    asked = parse_mapping({"category": "c", "columns": {"e.list.element": {"type": "text"}}})
    with pytest.raises(DataImportError, match="twice"):
        import_file(vault.collections, path, asked, 0.0)


@pytest.mark.parametrize("bomb", list(BOMBS))
def test_bomb(tmp_path, vault, bomb):
    kind, made, refusal = BOMBS[bomb]
    path = tmp_path / f"f.{kind}"
    path.write_bytes(made())
    assert refusal in fate_of(vault, path, ImportLimits())


def test_the_length_of_a_text_is_looked_at_before_rows_repeat_it(tmp_path, vault, monkeypatch):
    """Otherwise memory is spent, here a quarter of a gigabyte, before the first row is refused."""
    indices = pa.array(np.zeros(250, np.int32))
    path = tmp_path / "f.parquet"
    path.write_bytes(parquet(pa.DictionaryArray.from_arrays(indices, ["x" * 1_000_000])))
    weaken(monkeypatch, parquet_file, ("longest > bytes_max", "longest < 0"))
    with pytest.raises(AssertionError):
        fate_of(vault, path)


@pytest.mark.parametrize(
    ("bomb", "module", "defence"),
    [
        ("large-page", parquet_pages, ("uncompressed > PAGE_BYTES_MAX", "uncompressed < 0")),
        ("text-that-repeats-the-last", parquet_pages, ("data.get(encoding) in", "() in")),
        ("lists", parquet_file, ("not (types.is_primitive(kind)", "not (kind")),
        ("one-line", csv_file, ("if self._left < 0", "if False")),
        ("one-record", csv_file, ("if self._left < 0", "if False")),
    ],
)
def test_each_limit_is_the_defence(tmp_path, vault, monkeypatch, bomb, module, defence):
    kind, made, refusal = BOMBS[bomb]
    path = tmp_path / f"f.{kind}"
    path.write_bytes(made())
    weaken(monkeypatch, module, defence)
    assert refusal not in import_or_refuse(vault, path, ImportLimits())[0]


def test_a_date_that_python_does_not_have_would_be_an_exception(tmp_path, vault, monkeypatch):
    path = tmp_path / "f.parquet"
    path.write_bytes(parquet(pa.array([2**62, 2**62 + 1], pa.timestamp("ns"))))
    assert "date or time that cannot be read" in fate_of(vault, path)
    weaken(monkeypatch, parquet_file, ("(ValueError, OverflowError)", "ZeroDivisionError"))
    with pytest.raises((ValueError, OverflowError)):
        fate_of(vault, path)
