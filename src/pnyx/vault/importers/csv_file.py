"""CSV files: UTF-8, comma-separated, quoted as in RFC 4180, first record the column names."""

import csv
import io
from collections.abc import Generator, Iterator, Sequence

from pnyx.errors import DataImportError
from pnyx.vault.collections import Value
from pnyx.vault.importers.mapping import ImportLimits, ImportMapping
from pnyx.vault.importers.rows import RowReader

# A line is read whole before it is split, and each cell takes more than its text: without a bound,
# a file at the limit takes gigabytes. The widest file allowed has 256 characters left for a cell.
RECORD_CHARACTERS_MAX = 1024 * 1024


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


class _Lines:
    """The lines of a file, until those of one record are too long. Raises csv.Error."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._left = RECORD_CHARACTERS_MAX

    def begin_record(self) -> None:
        self._left = RECORD_CHARACTERS_MAX

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(self._left + 1):
            self._left -= len(line)
            if self._left < 0:
                raise csv.Error(f"a record of more than {RECORD_CHARACTERS_MAX} characters")
            yield line


def _records(text: io.TextIOWrapper, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each record with the number of the line on which it starts; skip empty lines."""
    lines = _Lines(text)
    reader = csv.reader(lines, strict=True)
    line = 0
    while True:
        start = line + 1
        lines.begin_record()
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
