"""The encrypted database under the vault.

One SQLCipher file, opened with a raw 256-bit key, by one process at a time. A transaction is
durable when its `with` block has ended: write-ahead log with `synchronous=FULL`, then the anchor
(see `anchor`). Each page carries an HMAC, so a flipped bit is refused when its page is read; a lost
transaction is refused when the vault is next opened.

Every failure that a person can act upon becomes one VaultError sentence. After an input/output
error it is unknown what reached the disk, so the database refuses all work until it is opened
again; after a full disk the transaction is undone and work can go on.

Calls may come from several threads; a lock lets one in at a time.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlcipher3.dbapi2 as sqlcipher

from pnyx.errors import VaultError
from pnyx.vault.anchor import Anchor
from pnyx.vault.files import create_private_file, describe, make_private_directory
from pnyx.vault.schema import MIGRATIONS, SCHEMA_VERSION

KEY_BYTES = 32
DATABASE_NAME = "vault.db"
ANCHOR_NAME = "vault.anchor"

_PRAGMAS = (
    "locking_mode = EXCLUSIVE",  # one process; also keeps the log's index off the disk
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    "temp_store = MEMORY",  # temporary tables would reach the disk unencrypted
    "secure_delete = ON",
    "trusted_schema = OFF",
)
_AFTER_DISK_ERROR = "has stopped after a disk error"
_PRIMARY_CODE = 0xFF  # extended result codes keep the primary code in the low byte


class Database:
    """An open vault database; use `Database.open`."""

    def __init__(self, directory: Path, connection: Any, anchor: Anchor) -> None:
        self.directory = directory
        self.lock = threading.RLock()
        self._connection = connection
        self._anchor = anchor
        self._unusable_because = ""

    @classmethod
    def open(cls, directory: Path, key: bytes) -> "Database":
        """Open the vault in a directory, creating it when there is none.

        key: 32 secret bytes. Raises VaultError when the vault is in use, damaged, made by a newer
        Pnyx, or when the key is another vault's.
        """
        if len(key) != KEY_BYTES:
            raise ValueError(f"a vault key has {KEY_BYTES} bytes, not {len(key)}")
        make_private_directory(directory)
        anchor = _prepare_files(directory, key)
        try:
            connection = sqlcipher.connect(
                str(directory / DATABASE_NAME),
                timeout=0,
                isolation_level=None,
                check_same_thread=False,
            )
        except sqlcipher.Error as error:
            anchor.close()
            raise _worded(error, directory) or error from error
        database = cls(directory, connection, anchor)
        try:
            version = database._configure(key)
            database._check_not_rolled_back(version)
            database._migrate(version)
        except VaultError:
            database.close()
            raise
        return database

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """Run the block as one durable transaction on the yielded connection, or not at all."""
        with self.lock:
            self._check_usable()
            with self._errors_worded():
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                    transactions = self._connection.execute(
                        "UPDATE state SET transactions = transactions + 1 RETURNING transactions"
                    ).fetchone()[0]
                    self._connection.execute("COMMIT")
                finally:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
            try:
                self._anchor.advance(transactions)
            except VaultError:
                self._unusable_because = _AFTER_DISK_ERROR
                raise

    def query(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run a SELECT and return all its rows."""
        with self.lock:
            self._check_usable()
            with self._errors_worded():
                rows: list[tuple[Any, ...]] = self._connection.execute(
                    statement, parameters
                ).fetchall()
                return rows

    def close(self) -> None:
        """Fold the write-ahead log into the database and release the lock; safe to call twice."""
        with self.lock:
            try:
                with self._errors_worded():
                    self._connection.close()
            finally:
                self._anchor.close()
                self._unusable_because = "is closed"

    def _configure(self, key: bytes) -> int:
        """Unlock the file and set it up; return its schema version, 0 when it is empty."""
        with self._errors_worded():
            # Without this the library prints its own words about damaged pages to stderr.
            self._connection.execute("PRAGMA cipher_log_level = NONE")
            self._connection.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
            version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
            if version > SCHEMA_VERSION:
                raise VaultError(
                    f"The vault in {self.directory} was written by a newer Pnyx (schema {version}, "
                    f"this one knows {SCHEMA_VERSION}); update Pnyx."
                )
            for pragma in _PRAGMAS:
                self._connection.execute(f"PRAGMA {pragma}").fetchall()
        return version

    def _migrate(self, version: int) -> None:
        for migration in MIGRATIONS[version:]:
            with self.transaction() as connection:
                for statement in migration.statements:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {migration.version}")

    def _check_not_rolled_back(self, version: int) -> None:
        transactions = self.query("SELECT transactions FROM state")[0][0] if version else 0
        if transactions < self._anchor.transactions:
            raise VaultError(
                f"The vault in {self.directory} is older than it was ({transactions} of "
                f"{self._anchor.transactions} transactions): its files are damaged or were put "
                "back from a copy, and spent budgets or withdrawn consents could be forgotten; "
                "put back all of its files together, or start a new vault."
            )
        if transactions > self._anchor.transactions:
            self._anchor.advance(transactions)

    def _check_usable(self) -> None:
        if self._unusable_because:
            raise VaultError(
                f"The vault in {self.directory} {self._unusable_because}; open it again."
            )

    @contextmanager
    def _errors_worded(self) -> Iterator[None]:
        try:
            yield
        except sqlcipher.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
            if code in (sqlcipher.SQLITE_IOERR, sqlcipher.SQLITE_CORRUPT):
                self._unusable_because = _AFTER_DISK_ERROR
            raise _worded(error, self.directory) or error from error


def _prepare_files(directory: Path, key: bytes) -> Anchor:
    """Create or open the anchor, then make sure that the database file exists with mode 0600."""
    anchor = Anchor(directory / ANCHOR_NAME, key)
    path = directory / DATABASE_NAME
    if not path.exists() and not (directory / ANCHOR_NAME).exists():
        anchor.create()
    else:
        anchor.open()
    exists = path.exists()
    if exists and (path.is_dir() or path.stat().st_size or not anchor.transactions):
        return anchor
    if anchor.transactions:
        anchor.close()
        raise VaultError(
            f"{path} is {'empty' if exists else 'missing'}; put it back together with "
            f"{ANCHOR_NAME}, or start a new vault and import the data again."
        )
    try:
        # SQLite gives its log the mode of the database, so creating this one is enough. It must be
        # closed before SQLite opens it: closing a descriptor later would drop SQLite's locks.
        os.close(create_private_file(path))
    except OSError as error:
        anchor.close()
        raise VaultError(
            f"{path} cannot be created: {describe(error)}; free some space or check your "
            "permissions, then try again."
        ) from error
    return anchor


def _worded(error: Any, directory: Path) -> VaultError | None:
    """Word a database error for its owner; None when it can only be a bug of ours."""
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
    match code:
        case sqlcipher.SQLITE_BUSY | sqlcipher.SQLITE_LOCKED:
            text = "is in use by another Pnyx process; stop that one first"
        case sqlcipher.SQLITE_NOTADB | sqlcipher.SQLITE_CORRUPT:
            text = "is damaged; put back a backup, or start a new vault and import the data again"
        case sqlcipher.SQLITE_FULL:
            text = "cannot grow because the disk is full; free some space and try again"
        case sqlcipher.SQLITE_READONLY | sqlcipher.SQLITE_CANTOPEN | sqlcipher.SQLITE_PERM:
            text = "cannot be written; check that you own its files and may write there"
        case sqlcipher.SQLITE_IOERR:
            text = "could not be read or written; check the disk, then open the vault again"
        case _:
            return None
    return VaultError(f"The vault in {directory} {text}.")
