"""The anchor: how many transactions the vault has seen, kept beside the database.

SQLite drops the end of a damaged write-ahead log without a word, and a copied-back backup is a
perfectly valid older database. Either could bring back a spent budget or a withdrawn consent. So
each transaction counts in the database and, once committed, in this small file; a database that
has counted fewer transactions than its anchor is refused. Backups must leave this file out.

The file has two slots in separate sectors, written in turn: a write torn by a crash spoils one
slot, and the other is at most one transaction behind, which is safe because the database may be
ahead of the anchor but never behind. Slots carry a MAC under the vault key, which also tells a
wrong key from a damaged database.
"""

import hmac
import os
import struct
from pathlib import Path

from pnyx.errors import VaultError
from pnyx.primitives.hashing import digest
from pnyx.vault.files import create_private_file, describe, sync_directory, write_all

_SLOT_BYTES = 512
_MAC_BYTES = 32


class Anchor:
    """Durable transaction count of one vault."""

    def __init__(self, path: Path, key: bytes) -> None:
        self._path = path
        self._mac_key = digest("pnyx/vault/anchor", key)
        self._descriptor = -1
        self.transactions = 0
        """Transactions known to be committed."""

    def create(self) -> None:
        """Write a new anchor at zero, durably; it must not exist.

        It gets its name when it is whole: one without a valid slot would refuse the vault for ever.
        """
        draft = self._path.with_name(f"{self._path.name}.new")
        try:
            draft.unlink(missing_ok=True)  # of who was killed here
            self._descriptor = create_private_file(draft)
            os.ftruncate(self._descriptor, 2 * _SLOT_BYTES)
            self._write(0)
            os.fsync(self._descriptor)
            draft.rename(self._path)
            sync_directory(self._path.parent)
        except OSError as error:
            raise self._error(error) from error

    def open(self) -> None:
        """Read the newest valid slot; raises VaultError when there is none."""
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            data = os.pread(self._descriptor, 2 * _SLOT_BYTES + 1, 0)
        except FileNotFoundError as error:
            raise VaultError(
                f"{self._path} is missing, so the vault cannot be shown to be the newest one; "
                "put the file back, or start a new vault and import the data again."
            ) from error
        except OSError as error:
            raise self._error(error) from error
        slots = [data[start : start + _SLOT_BYTES] for start in (0, _SLOT_BYTES)]
        counts = [count for slot in slots if (count := self._read(slot)) is not None]
        if len(data) != 2 * _SLOT_BYTES or not counts:
            self.close()
            raise VaultError(
                f"The key does not fit the vault in {self._path.parent}, or {self._path.name} is "
                "damaged; check that key and vault belong to the same node."
            )
        self.transactions = max(counts)

    def advance(self, transactions: int) -> None:
        """Record durably that a transaction has been committed."""
        assert transactions >= self.transactions
        try:
            self._write(transactions)
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise self._error(error) from error
        self.transactions = transactions

    def close(self) -> None:
        """Close the file; further use is an error."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, transactions: int) -> None:
        count = struct.pack("<Q", transactions)
        slot = count + self._mac(count)
        write_all(self._descriptor, slot, (transactions % 2) * _SLOT_BYTES)

    def _read(self, slot: bytes) -> int | None:
        count, mac = slot[:8], slot[8 : 8 + _MAC_BYTES]
        if not hmac.compare_digest(mac, self._mac(count)):
            return None
        return int.from_bytes(count, "little")

    def _mac(self, count: bytes) -> bytes:
        return hmac.digest(self._mac_key, count, "sha256")

    def _error(self, error: OSError) -> VaultError:
        return VaultError(
            f"{self._path} cannot be written: {describe(error)}; free some space or check "
            "its permissions, then try again."
        )
