"""CSV files: UTF-8, comma-separated, quoted as in RFC 4180, first record the column names."""

import csv
import io
from collections.abc import Generator, Iterator, Sequence

from pnyx.errors import DataImportError
from pnyx.vault.collections import Value
from pnyx.vault.importers.mapping import ImportLimits, ImportMapping
from pnyx.vault.importers.rows import RowReader


def read_csv(
    file: io.BufferedReader, name: str, mapping: ImportMapping, limits: ImportLimits
) -> Generator[tuple[Value, ...], None, None]:
    """Yield the typed rows of a CSV file, lazily. Raises DataImportError."""
    # A byte order mark, which spreadsheets write, is skipped; anything else must be valid UTF-8.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    records = _records(text, name)
    try:
        _, header = next(records, (1, []))
        if not header:
            raise DataImportError(f"{name} is empty; its first line must name the columns.")
        reader = RowReader(name, "line", mapping, header, limits)
        yield from reader.read(_of_equal_length(records, len(header), name))
    finally:
        text.detach()


def _records(text: io.TextIOWrapper, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each record with the number of the line on which it starts; skip empty lines."""
    reader = csv.reader(text, strict=True)
    line = 0
    while True:
        start = line + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except UnicodeDecodeError as error:
            raise DataImportError(
                f"{name}, at or after line {start}: not valid UTF-8; save the file as UTF-8."
            ) from error
        except csv.Error as error:
            raise DataImportError(f"{name}, line {start}: not valid CSV: {error}.") from error
        line = reader.line_num
        if record:
            yield start, record


def _of_equal_length(
    records: Iterator[tuple[int, list[str]]], fields: int, name: str
) -> Iterator[tuple[int, Sequence[object]]]:
    for line, record in records:
        if len(record) != fields:
            raise DataImportError(
                f"{name}, line {line}: {len(record)} fields, but the first line names {fields}; "
                "check its commas and quotes."
            )
        yield line, record
