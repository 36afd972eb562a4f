"""The vault of one owner: its data, and all that is kept about them, behind one key."""

import math
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from pnyx.errors import ConsentError
from pnyx.vault.collections import Array, Collections
from pnyx.vault.consents import Consents
from pnyx.vault.database import Database
from pnyx.vault.ledger import Ledger
from pnyx.vault.locals import Locals
from pnyx.vault.measurements import Measurements


class Vault:
    """An open vault; use `Vault.open`, as a context manager or with `close`."""

    def __init__(self, database: Database, epsilon_total_max: float) -> None:
        self._database = database
        self.collections = Collections(database)
        self.consents = Consents(database)
        self.ledger = Ledger(database, self.consents, epsilon_total_max)
        self.measurements = Measurements(database)
        self.locals = Locals(database)
        for study in self.locals.studies():  # a crash may have come between the two
            self.forget_unless_accepted(study)

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

    def withdraw(self, study: bytes, now: float) -> None:
        """Withdraw an acceptance, durably, and erase what the study trained here."""
        self.consents.withdraw(study, now)
        self.forget_unless_accepted(study)

    def keep_locals(self, study: bytes, parameters: bytes, now: float) -> None:
        """Keep the local parameters that a task left. Raises ConsentError after a withdrawal."""
        self.consents.require(study, now)
        self.locals.put(study, parameters)

    def forget_unless_accepted(self, study: bytes) -> None:
        """Erase what a study trained here, durably, unless its acceptance still counts."""
        if not self.locals.get(study):
            return
        consent = self.consents.get(study)
        if consent is None or consent.decision != "accepted":
            self.locals.erase(study)

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
