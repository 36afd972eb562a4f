"""The vault of one owner: data, consents, ledger and measurements behind one key."""

import math
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from pnyx.errors import ConsentError
from pnyx.vault.collections import Array, Collections
from pnyx.vault.consents import Consents
from pnyx.vault.database import Database
from pnyx.vault.ledger import Ledger
from pnyx.vault.measurements import Measurements


class Vault:
    """An open vault; use `Vault.open`, as a context manager or with `close`."""

    def __init__(self, database: Database, epsilon_total_max: float) -> None:
        self._database = database
        self.collections = Collections(database)
        self.consents = Consents(database)
        self.ledger = Ledger(database, self.consents, epsilon_total_max)
        self.measurements = Measurements(database)

    @classmethod
    def open(cls, directory: Path, key: bytes, *, epsilon_total_max: float = math.inf) -> "Vault":
        """Open the vault in a directory, or create an empty one, and check its histories.

        key: 32 secret bytes, from the keystore. epsilon_total_max: the owner's bound on the privacy
        cost of all studies together. Raises VaultError.
        """
        database = Database.open(directory, key)
        opened = False
        try:
            vault = cls(database, epsilon_total_max)
            opened = True
        finally:
            if not opened:
                database.close()
        return vault

    def read_for_study(
        self, study: bytes, category: str, names: Sequence[str], now: float
    ) -> dict[str, Array]:
        """Return columns for a study: only those consented to, while the consent holds.

        This is the way by which data reaches training. Raises ConsentError, or VaultError when the
        owner has no such data.
        """
        consent = self.consents.require(study, now)
        beyond = sorted(set(names) - set(consent.columns.get(category, ())))
        if beyond:
            raise ConsentError(
                f"Study {study.hex()} has no consent to read {', '.join(beyond)} of {category}."
            )
        return self.collections.columns(category, names)

    def close(self) -> None:
        """Close the vault; safe to call twice."""
        self._database.close()

    def __enter__(self) -> "Vault":
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()
