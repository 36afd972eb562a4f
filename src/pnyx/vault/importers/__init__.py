"""Importers turn files that an owner exported elsewhere into rows of typed collections.

`import_file` is the one way in. The file is opened once, bounded, hashed for its provenance, then
read row by row inside one transaction of the vault: at the first problem nothing is imported, and
the error names the file, the line or row, and the column.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Generator
from contextlib import closing
from io import BufferedReader
from pathlib import Path

from pnyx.errors import DataImportError
from pnyx.vault.collections import Collections, ImportReport, SourceFile, Value
from pnyx.vault.files import describe
from pnyx.vault.importers.csv_file import read_csv
from pnyx.vault.importers.mapping import (
    ColumnMapping,
    ImportLimits,
    ImportMapping,
    parse_mapping,
    read_mapping,
)
from pnyx.vault.importers.parquet_file import read_parquet

__all__ = [
    "ColumnMapping",
    "ImportLimits",
    "ImportMapping",
    "import_file",
    "parse_mapping",
    "read_mapping",
]

_Rows = Generator[tuple[Value, ...], None, None]
_Reader = Callable[[BufferedReader, str, ImportMapping, ImportLimits], _Rows]
_READERS: dict[str, tuple[str, _Reader]] = {
    ".csv": ("csv", read_csv),
    ".parquet": ("parquet", read_parquet),
}


def import_file(
    collections: Collections,
    path: Path,
    mapping: ImportMapping,
    now: float,
    limits: ImportLimits | None = None,
) -> ImportReport:
    """Import a CSV or Parquet file into the collection its mapping names, all or nothing.

    now: Unix seconds, kept as the time of import. Raises DataImportError, or another VaultError
    when the vault itself cannot take the rows.
    """
    limits = limits or ImportLimits()
    if path.suffix.lower() not in _READERS:
        raise DataImportError(
            f"{path.name} is neither .csv nor .parquet; export it as one of these first."
        )
    format_name, reader = _READERS[path.suffix.lower()]
    try:
        with _opened(path) as file:
            source = _provenance(file, path.name, format_name, limits)
            # Closed before the file, even when Ctrl-C ends the import between two rows.
            with closing(reader(file, path.name, mapping, limits)) as rows:
                columns = mapping.target_columns()
                return collections.add(mapping.category, columns, source, rows, now)
    except OSError as error:
        raise DataImportError(
            f"{path} cannot be read: {describe(error)}; check its path and permissions."
        ) from error


def _opened(path: Path) -> BufferedReader:
    # Without O_NONBLOCK, opening a named pipe would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DataImportError(f"{path} is not a file; name a .csv or .parquet file.")
    return os.fdopen(descriptor, "rb")


def _provenance(
    file: BufferedReader, name: str, format_name: str, limits: ImportLimits
) -> SourceFile:
    size = os.fstat(file.fileno()).st_size
    if size > limits.file_bytes_max:
        raise DataImportError(
            f"{name} has {size} bytes, above the limit of {limits.file_bytes_max}; split it, or "
            "raise limits.import_file_mb_max."
        )
    digest = hashlib.file_digest(file, "sha256").digest()
    file.seek(0)
    return SourceFile(name=name, format=format_name, digest=digest, file_bytes=size)
