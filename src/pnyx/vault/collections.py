"""Typed collections of personal data, one per data category, with the provenance of every row.

A collection has named, typed columns, fixed by its first import. Its rows live in a table of their
own whose SQL columns are c0, c1, ... so that no name chosen by a person or a file reaches SQL.

Importing is one transaction, and repeatable. Each row is stored under a digest of its content and
of how many equal rows came before it *in the same import*; a digest that is already there adds
nothing. So importing a file twice, or two exports that overlap, adds each row once, while two
equal purchases in one export stay two.

Column types, and what `columns` returns for them:

    float  float64, nan where missing         text  str, "" where missing
    int    int64, never missing               text with classes: int64 index into the classes
"""

import csv
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pnyx.errors import DataImportError, VaultError
from pnyx.vault.database import Database
from pnyx.vault.files import create_private_file, describe

CATEGORY_PATTERN = r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*\Z"
COLUMNS_MAX = 1000
_INSERT_ROWS = 1000
_ROW_DIGEST_BYTES = 16

Value = float | int | str | None
ColumnType = Literal["float", "int", "text"]
Array = NDArray[np.float64] | NDArray[np.int64] | NDArray[np.str_]
_SQL_TYPES = {"float": "REAL", "int": "INTEGER", "text": "TEXT"}


class Column(msgspec.Struct, frozen=True, array_like=True):
    """One column of a collection; `classes` are the allowed texts of a label, in index order."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    type: ColumnType
    classes: tuple[str, ...] = ()

    @property
    def sql_type(self) -> str:
        """Type of the SQL column; labels are stored as their index."""
        return "INTEGER" if self.classes else _SQL_TYPES[self.type]


class SourceFile(msgspec.Struct, frozen=True):
    """Where rows come from: a file's name without its folder, its format, size and SHA-256."""

    name: str
    format: str
    digest: bytes
    file_bytes: int


class SourceSummary(msgspec.Struct, frozen=True):
    """Provenance of a part of a collection; `imported_at` in Unix seconds."""

    file: SourceFile
    rows_read: int
    rows_added: int
    imported_at: float


class ImportReport(msgspec.Struct, frozen=True):
    """Outcome of one import."""

    category: str
    rows_read: int
    rows_added: int


class CollectionSummary(msgspec.Struct, frozen=True):
    """What the vault holds of one data category, without any of its values."""

    category: str
    columns: tuple[Column, ...]
    rows: int
    sources: tuple[SourceSummary, ...]


class Collections:
    """All collections of one vault; use through `Vault.collections`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        category: str,
        columns: Sequence[Column],
        source: SourceFile,
        rows: Iterable[Sequence[Value]],
        now: float,
    ) -> ImportReport:
        """Add the rows that are not there yet, all or none.

        rows: values in the order of `columns`, already of their types, labels as class indices.
        An exception that `rows` raises undoes everything and passes through.
        """
        with self._database.transaction() as connection:
            collection = self._ensure(connection, category, tuple(columns))
            cursor = connection.execute(
                "INSERT INTO sources (collection, name, format, digest, file_bytes, rows_read, "
                "rows_added, imported_at) VALUES (?, ?, ?, ?, ?, 0, 0, ?)",
                (collection, source.name, source.format, source.digest, source.file_bytes, now),
            )
            source_id = cursor.lastrowid
            read, added = _insert_rows(connection, collection, source_id, len(columns), rows)
            if added:
                connection.execute(
                    "UPDATE sources SET rows_read = ?, rows_added = ? WHERE id = ?",
                    (read, added, source_id),
                )
            else:
                connection.execute("DELETE FROM sources WHERE id = ?", (source_id,))
        return ImportReport(category=category, rows_read=read, rows_added=added)

    def list(self) -> tuple[CollectionSummary, ...]:
        """Summarise every collection, by category."""
        rows = self._database.query("SELECT category FROM collections ORDER BY category")
        return tuple(self.show(category) for (category,) in rows)

    def show(self, category: str) -> CollectionSummary:
        """Summarise one collection: columns, number of rows, sources."""
        with self._database.lock:
            collection, columns = self._find(category)
            count = self._database.query(f"SELECT count(*) FROM records_{collection}")[0][0]  # noqa: S608  (our number)
            sources = self._database.query(
                "SELECT name, format, digest, file_bytes, rows_read, rows_added, imported_at "
                "FROM sources WHERE collection = ? ORDER BY id",
                (collection,),
            )
        return CollectionSummary(
            category=category,
            columns=columns,
            rows=count,
            sources=tuple(SourceSummary(SourceFile(*row[:4]), *row[4:]) for row in sources),
        )

    def columns(self, category: str, names: Sequence[str]) -> dict[str, Array]:
        """Return whole columns, in the order in which the rows were imported."""
        with self._database.lock:
            collection, known = self._find(category)
            places = _places(known, category, names)
            selected = ", ".join(f"c{place}" for place in places) or "NULL"
            rows = self._database.query(
                f"SELECT {selected} FROM records_{collection} ORDER BY row"  # noqa: S608  (our number)
            )
        return {
            name: _as_array(known[place], [row[position] for row in rows])
            for position, (name, place) in enumerate(zip(names, places, strict=True))
        }

    def export(self, category: str, path: Path) -> int:
        """Write a collection to a new CSV file that only the owner can read; return its rows."""
        with self._database.lock:
            collection, columns = self._find(category)
            rows = self._database.query(f"SELECT * FROM records_{collection} ORDER BY row")  # noqa: S608  (our number)
        try:
            descriptor = create_private_file(path)
        except FileExistsError as error:
            raise VaultError(f"{path} exists already; choose another name.") from error
        except OSError as error:
            raise VaultError(
                f"{path} cannot be created: {describe(error)}; choose a place where you may write."
            ) from error
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow([column.name for column in columns])
                for row in rows:
                    writer.writerow(_as_texts(columns, row[-len(columns) :]))
                file.flush()
                os.fsync(descriptor)
        except OSError as error:
            path.unlink()
            raise VaultError(
                f"{path} cannot be written: {describe(error)}; free some space, or choose another "
                "place."
            ) from error
        except KeyboardInterrupt:
            path.unlink()  # the rest of it would be missed by nobody who reads it
            raise
        return len(rows)

    def delete(self, category: str) -> int:
        """Remove a collection with its rows and provenance; return the number of rows."""
        with self._database.transaction() as connection:
            collection, _ = self._find(category)
            rows: int = connection.execute(
                f"SELECT count(*) FROM records_{collection}"  # noqa: S608  (our number)
            ).fetchone()[0]
            connection.execute(f"DROP TABLE records_{collection}")
            connection.execute("DELETE FROM collections WHERE id = ?", (collection,))
        return rows

    def _ensure(self, connection: Any, category: str, columns: tuple[Column, ...]) -> int:
        """Return the collection's number, creating it; its columns must be these."""
        encoded = msgspec.msgpack.encode(columns)
        found = self._database.query(
            "SELECT id, columns FROM collections WHERE category = ?", (category,)
        )
        if found:
            collection, stored = found[0]
            if stored != encoded:
                known = ", ".join(c.name for c in _decode_columns(stored))
                raise DataImportError(
                    f"The collection {category} has other columns or types ({known}); import with "
                    "the mapping used first, or delete the collection."
                )
            return int(collection)
        cursor = connection.execute(
            "INSERT INTO collections (category, columns) VALUES (?, ?)", (category, encoded)
        )
        fields = ", ".join(f"c{i} {column.sql_type}" for i, column in enumerate(columns))
        connection.execute(
            f"CREATE TABLE records_{cursor.lastrowid} (row INTEGER PRIMARY KEY, "
            f"digest BLOB NOT NULL UNIQUE, source INTEGER NOT NULL, {fields}) STRICT"
        )
        return int(cursor.lastrowid)

    def _find(self, category: str) -> tuple[int, tuple[Column, ...]]:
        found = self._database.query(
            "SELECT id, columns FROM collections WHERE category = ?", (category,)
        )
        if not found:
            raise VaultError(
                f"The vault holds no collection {category}; import a file into it first."
            )
        return found[0][0], _decode_columns(found[0][1])


def _insert_rows(
    connection: Any, collection: int, source: int, width: int, rows: Iterable[Sequence[Value]]
) -> tuple[int, int]:
    """Insert rows whose digest is new; return how many were read and how many added."""
    places = ", ".join("?" * (width + 2))
    names = ", ".join(f"c{i}" for i in range(width))
    statement = (
        f"INSERT OR IGNORE INTO records_{collection} (digest, source, {names}) VALUES ({places})"  # noqa: S608  (our number)
    )
    before = connection.total_changes
    read = 0
    batch: list[tuple[object, ...]] = []
    for digest, row in _with_digests(rows):
        read += 1
        batch.append((digest, source, *row))
        if len(batch) == _INSERT_ROWS:
            connection.executemany(statement, batch)
            batch.clear()
    connection.executemany(statement, batch)
    return read, connection.total_changes - before


def _with_digests(rows: Iterable[Sequence[Value]]) -> Iterator[tuple[bytes, Sequence[Value]]]:
    seen: Counter[bytes] = Counter()
    for row in rows:
        content = hashlib.sha256(msgspec.msgpack.encode(row)).digest()
        seen[content] += 1
        occurrence = seen[content].to_bytes(8, "big")
        yield hashlib.sha256(content + occurrence).digest()[:_ROW_DIGEST_BYTES], row


def _decode_columns(encoded: bytes) -> tuple[Column, ...]:
    return msgspec.msgpack.decode(encoded, type=tuple[Column, ...])


def _places(columns: tuple[Column, ...], category: str, names: Sequence[str]) -> list[int]:
    """Where the named columns stand. Raises VaultError; images have a thousand of them."""
    place_of = {column.name: place for place, column in enumerate(columns)}
    for name in names:
        if name not in place_of:
            known = ", ".join(place_of)
            raise VaultError(f"The collection {category} has no column {name}; it has {known}.")
    return [place_of[name] for name in names]


def _as_array(column: Column, values: list[Any]) -> Array:
    if column.type == "text" and not column.classes:
        return np.array([value or "" for value in values], dtype=np.str_)
    if column.type == "float":
        return np.array(values, dtype=np.float64)  # None becomes nan
    return np.array(values, dtype=np.int64)


def _as_texts(columns: tuple[Column, ...], row: Sequence[Any]) -> list[str]:
    texts = []
    for column, value in zip(columns, row, strict=True):
        if value is None:
            texts.append("")
        elif column.classes:
            texts.append(column.classes[value])
        else:
            texts.append(repr(value) if column.type == "float" else str(value))
    return texts
