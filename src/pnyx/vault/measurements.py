"""What this owner measured at home: how well three models of a study do on its own held-out rows.

A study's evaluation adds such counts up over all owners; the owner's own part stays here, and never
leaves the node. The entries form a hash chain, like the consents.
"""

import msgspec

from pnyx.vault.chain import HashChain
from pnyx.vault.database import Database


class Measurement(msgspec.Struct, frozen=True, array_like=True, tag="measured", kw_only=True):
    """Shares, 0 to 1, of `held_out` rows on which each model is right, in one evaluation round.

    at: unix seconds.
    """

    study: bytes
    round_number: int
    alone: float
    shared: float
    personalised: float
    held_out: int
    at: float


class Measurements:
    """Every measurement of one owner; use through `Vault.measurements`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last: dict[bytes, Measurement] = {}
        self._chain = HashChain(database, "measurements", Measurement, self._added)

    def record(self, measurement: Measurement) -> None:
        """Keep a measurement, durably. Raises VaultError."""
        with self._database.lock:
            self._chain.append(measurement)

    def last(self, study: bytes) -> Measurement | None:
        """The latest measurement of a study; None before its evaluation."""
        with self._database.lock:
            return self._last.get(study)

    def _added(self, measurement: Measurement) -> None:
        self._last[measurement.study] = measurement
