"""Tables of the vault, as a list of migrations that are applied in order and never edited.

`records_<id>` tables, one per collection, are created by `collections` since their columns are
the owner's. `state` counts transactions (see `anchor`); the two chain tables hold append-only,
hash-chained histories (see `chain`).
"""

import msgspec


class Migration(msgspec.Struct, frozen=True):
    """One step from a schema version to the next."""

    version: int
    name: str
    statements: tuple[str, ...]


MIGRATIONS = (
    Migration(
        version=1,
        name="collections, consents and ledger",
        statements=(
            """CREATE TABLE state (
                id INTEGER PRIMARY KEY CHECK (id = 1),
                transactions INTEGER NOT NULL
            ) STRICT""",
            "INSERT INTO state (id, transactions) VALUES (1, 0)",
            """CREATE TABLE chain_heads (
                chain TEXT PRIMARY KEY,
                entries INTEGER NOT NULL,
                head BLOB NOT NULL
            ) STRICT, WITHOUT ROWID""",
            """CREATE TABLE chain_entries (
                chain TEXT NOT NULL REFERENCES chain_heads (chain),
                sequence INTEGER NOT NULL,
                body BLOB NOT NULL,
                hash BLOB NOT NULL,
                PRIMARY KEY (chain, sequence)
            ) STRICT, WITHOUT ROWID""",
            """CREATE TABLE collections (
                id INTEGER PRIMARY KEY,
                category TEXT NOT NULL UNIQUE,
                columns BLOB NOT NULL
            ) STRICT""",
            """CREATE TABLE sources (
                id INTEGER PRIMARY KEY,
                collection INTEGER NOT NULL REFERENCES collections (id) ON DELETE CASCADE,
                name TEXT NOT NULL,
                format TEXT NOT NULL,
                digest BLOB NOT NULL,
                file_bytes INTEGER NOT NULL,
                rows_read INTEGER NOT NULL,
                rows_added INTEGER NOT NULL,
                imported_at REAL NOT NULL
            ) STRICT""",
        ),
    ),
    Migration(
        version=2,
        name="local parameters",
        statements=(
            """CREATE TABLE locals (
                study BLOB PRIMARY KEY,
                parameters BLOB NOT NULL
            ) STRICT, WITHOUT ROWID""",
        ),
    ),
)

SCHEMA_VERSION = MIGRATIONS[-1].version
