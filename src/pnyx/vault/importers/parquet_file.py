"""Parquet files, read in bounded batches; pyarrow is loaded only when one is imported.

Only the columns that the mapping names are decompressed. Sizes are checked on the file's own
metadata first, and again on the batches, since metadata may lie.
"""

from collections.abc import Generator, Iterator, Sequence
from io import BufferedReader
from typing import Any

from pnyx.errors import DataImportError
from pnyx.vault.collections import Value
from pnyx.vault.importers.mapping import ImportLimits, ImportMapping
from pnyx.vault.importers.rows import RowReader

_BATCH_ROWS = 4096
_EXPANSION_MAX = 16  # decompressed bytes per permitted file byte: more is a decompression bomb


def read_parquet(
    file: BufferedReader, name: str, mapping: ImportMapping, limits: ImportLimits
) -> Generator[tuple[Value, ...], None, None]:
    """Yield the typed rows of a Parquet file, lazily. Raises DataImportError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        parquet = pq.ParquetFile(file, pre_buffer=False, page_checksum_verification=True)
        metadata = parquet.metadata
        header = list(parquet.schema_arrow.names)
        groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
        expanded = sum(group.total_byte_size for group in groups)
    except (pa.ArrowException, OSError) as error:
        raise _invalid(name, error) from error
    if expanded > _EXPANSION_MAX * limits.file_bytes_max:
        raise DataImportError(
            f"{name} holds {expanded} bytes once decompressed, above the limit; split it."
        )
    reader = RowReader(name, "row", mapping, header, limits)
    wanted = [column for column in header if column in mapping.columns or column in mapping.only]
    places = [wanted.index(column) if column in wanted else -1 for column in header]
    try:
        yield from reader.read(_rows(parquet, wanted, places))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _invalid(name, error) from error


def _rows(
    parquet: Any, wanted: list[str], places: list[int]
) -> Iterator[tuple[int, Sequence[object]]]:
    """Yield rows as wide as the file, with None in the columns that were not asked for.

    No threads: the node forks its workers, and a fork keeps only one.
    """
    number = 0
    for batch in parquet.iter_batches(_BATCH_ROWS, columns=wanted, use_threads=False):
        columns = [column.to_pylist() for column in batch.columns]
        for row in zip(*columns, strict=True):
            number += 1
            yield number, [row[place] if place >= 0 else None for place in places]


def _invalid(name: str, error: Exception) -> DataImportError:
    reason = str(error).splitlines()[0] if str(error) else "unknown reason"
    return DataImportError(
        f"{name} is not a valid Parquet file: {reason.rstrip('.')}; export it again."
    )
