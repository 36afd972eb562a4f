"""Local parameters: what a study trains at this owner and never shares.

One value for each study, replaced after every training task and read before the next. They can
tell much about the owner's data, so they are erased when the owner withdraws from the study.
"""

from pnyx.vault.database import Database


class Locals:
    """Local parameters of one owner, by study; use through `Vault.locals`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, study: bytes) -> bytes:
        """Return what the last task of a study left; empty before the first."""
        rows = self._database.query("SELECT parameters FROM locals WHERE study = ?", (study,))
        return bytes(rows[0][0]) if rows else b""

    def studies(self) -> tuple[bytes, ...]:
        """Return the studies of which something is kept."""
        return tuple(bytes(row[0]) for row in self._database.query("SELECT study FROM locals"))

    def put(self, study: bytes, parameters: bytes) -> None:
        """Keep what a task left, durably, in the place of what was there."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO locals (study, parameters) VALUES (?, ?) "
                "ON CONFLICT (study) DO UPDATE SET parameters = excluded.parameters",
                (study, parameters),
            )

    def erase(self, study: bytes) -> None:
        """Forget what is kept of a study, durably; the database overwrites what it deletes."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM locals WHERE study = ?", (study,))
