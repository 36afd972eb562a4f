"""Files to import, altered in ways that a fuzzer of bytes alone would hardly find.

A CSV file is altered as text and as bytes. A Parquet file is a fresh one each time, of other
encodings, types and pages, altered in its footer, its page headers or its content: since most
flipped bytes of compressed content fail at once, some files are not compressed.
"""

import io
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tests.support.mutation import mutated

Generator = np.random.Generator
_ROWS = 24

HUGE = [
    "9" * 5000, "1e400", "-1e-400", "NaN", "inf", "0x10", "1_0", str(2**63), str(-(2**63)), "٣",
    "9" * 300, "1e308", "-0", " 1 ", "1,1", "\N{FULLWIDTH DIGIT ONE}",
]  # fmt: skip
ODD_TEXTS = [
    "", "\0", "\ufeff", "\u202e", "é" * 5000, '"', '""', '"\n', "\r", "\r\n", "\n\n", "\x1a",
    "=1+1", "\U0010ffff", "\u2028", "a" * 140_000, ",", "," * 5000, '"x"y',
]  # fmt: skip
ENCODINGS = ["utf-16", "utf-32", "utf-7", "utf-8-sig", "cp037", "latin-1", "utf-16-be"]


def _csv_text(generator: Generator) -> str:
    rows = [
        [str(at / 3), f"text {at % 5}", str(at * 7), ["yes", "no"][at % 2]] for at in range(_ROWS)
    ]
    rows.insert(0, ["a", "b", "c", "d"])
    for _ in range(int(generator.integers(0, 3))):
        row = rows[int(generator.integers(len(rows)))]
        at = int(generator.integers(len(row)))
        match int(generator.integers(6)):
            case 0:
                row[at] = HUGE[int(generator.integers(len(HUGE)))]
            case 1:
                row[at] = ODD_TEXTS[int(generator.integers(len(ODD_TEXTS)))]
            case 2:
                row[at] = '"' + row[at]  # never closed
            case 3:
                row.append(row[at])  # in the first row: a column twice
            case 4:
                row[at] = row[at - 1]
            case _:
                del row[at]
                row.append("")
    return "\n".join(",".join(row) for row in rows) + "\n"


def hostile_csv(generator: Generator) -> bytes:
    """One CSV file: its cells altered, or its bytes, or both."""
    text = _csv_text(generator)
    content = text.encode()
    match int(generator.integers(5)):
        case 0:
            encoding = ENCODINGS[int(generator.integers(len(ENCODINGS)))]
            content = text.encode(encoding, errors="replace")
        case 1 | 2:
            content = mutated(content, generator)
        case 3:
            content = _spliced(content, _csv_text(generator).encode(), generator)
        case _:
            pass
    return content


def _spliced(one: bytes, other: bytes, generator: Generator) -> bytes:
    cut = int(generator.integers(len(one) + 1))
    return one[:cut] + other[int(generator.integers(len(other) + 1)) :]


_OTHERS: list[Callable[[], pa.Array]] = [  # in place of a column that should be numbers or text
    lambda: pa.array([[[[1]]]] * _ROWS),
    lambda: pa.array([{"b": {"b": at}} for at in range(_ROWS)]),
    lambda: pa.array([b"\xff\0" * 9] * _ROWS),
    lambda: pa.array([2**62 + at for at in range(_ROWS)], pa.timestamp("ns")),
    lambda: pa.array([2**30] * _ROWS, pa.int32()).cast(pa.date32()),
    lambda: pa.array([2**62] * _ROWS, pa.timestamp("ms")),
    lambda: pa.array([True] * _ROWS),
    lambda: pa.array([float("nan"), float("inf")] * (_ROWS // 2)),
    lambda: pa.array([None] * _ROWS),
    lambda: pa.array(range(_ROWS), pa.decimal128(38, 2)),
    lambda: pa.array([2**64 - 1] * _ROWS, pa.uint64()),
    lambda: pa.array(["x" * 20_000] * _ROWS),
    lambda: pa.array(["a", None] * (_ROWS // 2)).dictionary_encode(),
    lambda: pa.array([b"x" * 8] * _ROWS, pa.binary(8)),
]


def valid_parquet(generator: Generator) -> bytes:
    """One valid Parquet file, of random settings; one column in three is of another type."""
    columns: list[pa.Array] = [
        pa.array(np.arange(_ROWS) / 3),
        pa.array([f"text {at % 5}" for at in range(_ROWS)]),
        pa.array(np.arange(_ROWS) * 7),
        pa.array(["yes", "no"] * (_ROWS // 2)),
    ]
    names = ["a", "b", "c", "d"]
    if generator.integers(3) == 0:
        other = _OTHERS[int(generator.integers(len(_OTHERS)))]
        columns[int(generator.integers(4))] = other()
    if generator.integers(10) == 0:
        names[int(generator.integers(4))] = names[int(generator.integers(4))]
    sink = io.BytesIO()
    pq.write_table(
        pa.table(columns, names=names),
        sink,
        compression=["none", "none", "snappy", "zstd", "gzip", "lz4"][int(generator.integers(6))],
        use_dictionary=bool(generator.integers(2)),
        data_page_version=["1.0", "2.0"][int(generator.integers(2))],
        row_group_size=int(generator.integers(5, 40)),
        write_page_checksum=bool(generator.integers(4) == 0),
        write_statistics=bool(generator.integers(2)),
        store_schema=bool(generator.integers(2)),
    )
    return sink.getvalue()


def hostile_parquet(content: bytes, other: bytes, generator: Generator) -> bytes:
    """One altered Parquet file: anywhere, in the footer, in the first pages, or spliced."""
    footer = int.from_bytes(content[-8:-4], "little") + 8
    match int(generator.integers(6)):
        case 0:
            return mutated(content, generator)
        case 1 | 2:
            tail = bytearray(content[-footer:])
            for _ in range(int(generator.integers(1, 4))):
                tail[int(generator.integers(len(tail)))] = int(generator.integers(256))
            return content[:-footer] + bytes(tail)
        case 3:
            head = bytearray(content[: min(len(content), 120)])
            for _ in range(int(generator.integers(1, 4))):
                head[int(generator.integers(4, len(head)))] = int(generator.integers(256))
            return bytes(head) + content[len(head) :]
        case 4:
            return _with_huge_number(content, generator)
        case _:
            if generator.integers(2):
                return _spliced(content, other, generator)
            return content[:-footer] + other[-(int.from_bytes(other[-8:-4], "little") + 8) :]


def _with_huge_number(content: bytes, generator: Generator) -> bytes:
    """A claim of up to 2^31 - 1, as Thrift writes it, in place of as many bytes."""
    claim = bytes([0xFE, 0xFF, 0xFF, 0xFF, 0x0F])[: int(generator.integers(1, 6))]
    claim = claim[:-1] + bytes([claim[-1] & 0x7F])
    at = int(generator.integers(4, len(content)))
    return content[:at] + claim + content[at + len(claim) :]
