"""Parquet files, read in bounded batches; pyarrow is loaded only when one is imported.

Only the columns that the mapping names are decompressed. Sizes are checked on the file's own
metadata first, then on the headers of the pages, since metadata may lie. Text is read as
dictionaries, and the length of each entry is checked before rows repeat it: otherwise a file of
756 bytes takes gigabytes.
"""

from collections.abc import Generator, Iterator, Sequence
from io import BufferedReader
from typing import Any

from pnyx.errors import DataImportError
from pnyx.vault.collections import Value
from pnyx.vault.importers.mapping import ImportLimits, ImportMapping
from pnyx.vault.importers.parquet_pages import check_pages, read_chunks
from pnyx.vault.importers.rows import RowReader

_BATCH_ROWS = 4096
_EXPANSION_MAX = 16  # decompressed bytes per permitted file byte: more is a decompression bomb
_UTF8_BYTES_MAX = 4  # of one character


def read_parquet(
    file: BufferedReader, name: str, mapping: ImportMapping, limits: ImportLimits
) -> Generator[tuple[Value, ...], None, None]:
    """Yield the typed rows of a Parquet file, lazily. Raises DataImportError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    chunks = read_chunks(file, name)
    expanded = sum(chunk.expanded for chunk in chunks)
    if expanded > _EXPANSION_MAX * limits.file_bytes_max:
        raise DataImportError(
            f"{name} holds {expanded} bytes once decompressed, above the limit; split it."
        )
    try:
        file.seek(0)
        metadata = pq.read_metadata(file)
        schema = metadata.schema.to_arrow_schema()
        header = list(schema.names)
        leaves = [metadata.schema.column(at).path for at in range(len(metadata.schema))]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _invalid(name, error) from error
    reader = RowReader(name, "row", mapping, header, limits)
    wanted = [column for column in header if column in mapping.columns or column in mapping.only]
    places = [wanted.index(column) if column in wanted else -1 for column in header]
    texts = _texts(name, schema, wanted)
    for column in wanted:
        if leaves.count(column) != 1:  # pyarrow would read what is nested under this name, too
            raise DataImportError(f"{name} has the column {column} twice; correct the file.")
    for chunk in chunks:
        if chunk.column < len(leaves) and leaves[chunk.column] in wanted:
            check_pages(file, name, chunk)
    try:
        parquet = pq.ParquetFile(
            file,
            metadata=metadata,
            read_dictionary=texts,
            pre_buffer=False,
            page_checksum_verification=True,
        )
        bytes_max = _UTF8_BYTES_MAX * limits.field_characters_max
        yield from reader.read(_rows(parquet, name, wanted, places, bytes_max))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _invalid(name, error) from error


def _texts(name: str, schema: Any, wanted: list[str]) -> list[str]:
    """Which columns hold text; a value of any of the columns has a bounded size."""
    from pyarrow import types

    texts = []
    for column in wanted:
        kind = schema.field(column).type
        if types.is_dictionary(kind):
            kind = kind.value_type
        if types.is_string(kind) or types.is_large_string(kind):
            texts.append(column)
        elif not (types.is_primitive(kind) or types.is_decimal(kind) or types.is_null(kind)):
            raise DataImportError(
                f"{name}, column {column}: holds {str(kind)[:40]!r}; it must hold numbers or text."
            )
    return texts


def _rows(
    parquet: Any, name: str, wanted: list[str], places: list[int], bytes_max: int
) -> Iterator[tuple[int, Sequence[object]]]:
    """Yield rows as wide as the file, with None in the columns that were not asked for.

    No threads: the node forks its workers, and a fork keeps only one.
    """
    number = 0
    for batch in parquet.iter_batches(_BATCH_ROWS, columns=wanted, use_threads=False):
        columns = [
            _cells(name, column, cells, bytes_max)
            for column, cells in zip(batch.schema.names, batch.columns, strict=True)
        ]
        for row in zip(*columns, strict=True):
            number += 1
            yield number, [row[place] if place >= 0 else None for place in places]


def _cells(name: str, column: str, cells: Any, bytes_max: int) -> list[object]:
    """The cells of one column of a batch, whose texts are looked at before rows repeat them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(cells.type):
        longest = pc.max(pc.binary_length(cells.dictionary)).as_py()
        if longest is not None and longest > bytes_max:
            raise DataImportError(
                f"{name}, column {column}: has a text of {longest} bytes; {bytes_max} are accepted."
            )
        cells = cells.dictionary_decode()
    try:
        found: list[object] = cells.to_pylist()
    except UnicodeDecodeError:
        raise
    except (ValueError, OverflowError) as error:  # a date that Python's calendar does not have
        raise DataImportError(
            f"{name}, column {column}: has a date or time that cannot be read; export it as text."
        ) from error
    return found


def _invalid(name: str, error: Exception) -> DataImportError:
    reason = str(error).splitlines()[0] if str(error) else "unknown reason"
    return DataImportError(
        f"{name} is not a valid Parquet file: {reason.rstrip('.')}; export it again."
    )
