"""What the owner keeps: data, decisions, the ledger, and the protocol's durable state.

`Vault` holds everything under one key in one encrypted database; `RoundStore` keeps what a round
needs to survive a crash, in files outside backups whose keys are destroyed when a round ends.
Times are arguments, in Unix seconds. Importers are in `pnyx.vault.importers`.
"""

from pnyx.vault.collections import Array, CollectionSummary, Column, ImportReport
from pnyx.vault.consents import Consent, StudyRequest, evaluate_policy
from pnyx.vault.ledger import Aborted, Acknowledged, Counted, Debit, Spending
from pnyx.vault.measurements import Measurement
from pnyx.vault.rounds import RoundStore
from pnyx.vault.vault import Vault

__all__ = [
    "Aborted",
    "Acknowledged",
    "Array",
    "CollectionSummary",
    "Column",
    "Consent",
    "Counted",
    "Debit",
    "ImportReport",
    "Measurement",
    "RoundStore",
    "Spending",
    "StudyRequest",
    "Vault",
    "evaluate_policy",
]
