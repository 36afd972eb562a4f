"""Append-only histories whose entries each carry the hash of all that went before.

    hash(0) = H(domain, chain name)          hash(n) = H(domain, hash(n - 1), n, body(n))

The last hash and the count are also kept apart, in the same transaction, so that an entry changed,
removed, inserted or cut off the end shows. A chain is read and checked once, when the vault opens;
since the vault belongs to one process, the copy in memory is then as good as the disk.

The chain protects against damage and careless edits, and makes a history that can be shown to
others. Whoever holds the vault key could rewrite it whole; the anchor limits going back in time.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from pnyx.errors import VaultError
from pnyx.primitives.hashing import digest
from pnyx.vault.database import Database

_DOMAIN = "pnyx/vault/chain"


T = TypeVar("T")


class HashChain(Generic[T]):
    """One named history. `added` is called with each entry, in order: first those on disk.

    kind: type of the entries, a record or a union of tagged ones.
    """

    def __init__(
        self, database: Database, name: str, kind: Any, added: Callable[[T], None]
    ) -> None:
        self._database = database
        self._name = name
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(kind)
        self._added = added
        self._entries, self._head = self._verified(added)

    def append(self, entry: T) -> T:
        """Add an entry, durably, and return it as it will be read back.

        Hold `database.lock` from the checks that the entry depends on until this call returns.
        """
        body = msgspec.msgpack.encode(entry)
        entry = self._decoder.decode(body)  # nothing is kept that could not be read again
        sequence = self._entries + 1
        head = _link(self._head, sequence, body)
        with self._database.transaction() as connection:
            _insert(connection, self._name, sequence, body, head)
        self._entries, self._head = sequence, head
        self._added(entry)
        return entry

    def verify(self) -> None:
        """Check the history on disk against its hashes and this process's memory of it."""
        with self._database.lock:
            if self._verified(lambda _entry: None) != (self._entries, self._head):
                raise self._damaged(self._entries)

    def _verified(self, added: Callable[[T], None]) -> tuple[int, bytes]:
        entries, head = 0, digest(_DOMAIN, self._name.encode())
        rows = self._database.query(
            "SELECT sequence, body, hash FROM chain_entries WHERE chain = ? ORDER BY sequence",
            (self._name,),
        )
        for sequence, body, stored in rows:
            entries += 1
            head = _link(head, entries, body)
            if sequence != entries or stored != head:
                raise self._damaged(entries)
            added(self._decoder.decode(body))
        stored_head = self._database.query(
            "SELECT entries, head FROM chain_heads WHERE chain = ?", (self._name,)
        )
        if stored_head != ([(entries, head)] if entries else []):
            raise self._damaged(entries)
        return entries, head

    def _damaged(self, entry: int) -> VaultError:
        return VaultError(
            f"The history of {self._name} in {self._database.directory} was altered at entry "
            f"{entry}; put back a backup of the vault, or start a new one."
        )


def _link(previous: bytes, sequence: int, body: bytes) -> bytes:
    return digest(_DOMAIN, previous, sequence.to_bytes(8, "big"), body)


def _insert(connection: Any, name: str, sequence: int, body: bytes, head: bytes) -> None:
    connection.execute(
        "INSERT INTO chain_heads (chain, entries, head) VALUES (?, ?, ?) "
        "ON CONFLICT (chain) DO UPDATE SET entries = excluded.entries, head = excluded.head",
        (name, sequence, head),
    )
    connection.execute(
        "INSERT INTO chain_entries (chain, sequence, body, hash) VALUES (?, ?, ?, ?)",
        (name, sequence, body, head),
    )
