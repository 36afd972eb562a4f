"""The ledger of everything that leaves this node, and the budget it is paid from.

A contribution is debited *before* its first byte is sent: `debit` checks that the consent holds,
that the privacy budget and the number of rounds allow it, and that this very attempt was not
debited before; then it appends one entry, durable when the call returns. A crash at any point can
therefore waste budget, and never overspend it.

    debit ──▶ sent ──▶ acknowledged (a quorum holds it) ──▶ counted (a published sum has it)
                  └──▶ aborted (a certificate proves that nothing was or will be opened)

A record may count a contribution before the receipts of a quorum are back: it is counted at once.

An abort certificate, or the record of a round below the floor, gives the privacy cost back, since
nobody can ever read the contribution; a missing answer does not. Costs are in ρ (zero-concentrated
differential privacy) and add up, per study and for the owner; budgets are in the ε that such a sum
amounts to (`protocol.privacy`).
The entries form a hash chain, like the consents.
"""

import math

import msgspec

from pnyx.errors import ConsentError
from pnyx.primitives.hashing import HASH_BYTES
from pnyx.protocol.privacy import epsilon
from pnyx.vault.chain import HashChain
from pnyx.vault.consents import Consents
from pnyx.vault.database import Database

# Costs are not exact in binary: n equal debits may exceed n times the cost by an ulp.
_ROUNDING = 1e-9

AttemptId = tuple[bytes, int, int]  # study, round, attempt


class Debit(msgspec.Struct, frozen=True, array_like=True, tag="debit", kw_only=True):
    """One contribution that may leave: `bytes_planned` of it, at a privacy cost of `rho`."""

    study: bytes
    round_number: int
    attempt: int
    phase: str
    bytes_planned: int
    rho: float
    at: float


class Acknowledged(msgspec.Struct, frozen=True, array_like=True, tag="acknowledged", kw_only=True):
    """A quorum of the committee signed receipts for the contribution."""

    study: bytes
    round_number: int
    attempt: int
    receipts: int
    at: float


class Counted(msgspec.Struct, frozen=True, array_like=True, tag="counted", kw_only=True):
    """The published sum holds the contribution; `record` is the hash of the round's record."""

    study: bytes
    round_number: int
    attempt: int
    record: bytes
    at: float


class Aborted(msgspec.Struct, frozen=True, array_like=True, tag="aborted", kw_only=True):
    """The attempt ended unopened; `certificate` is the hash of the abort certificate."""

    study: bytes
    round_number: int
    attempt: int
    certificate: bytes
    at: float


Closing = Acknowledged | Counted | Aborted
Entry = Debit | Closing
# Who shows both an abort and a record of one attempt breaks the protocol: the cost stands then.
_WEIGHT: dict[type[Closing], int] = {Acknowledged: 1, Aborted: 2, Counted: 3}


class Spending(msgspec.Struct, frozen=True, kw_only=True):
    """What was debited: sums over contributions that were not certified as aborted.

    `bytes_planned` counts aborted ones too, since they did leave.
    """

    rho: float
    rounds: int
    contributions: int
    bytes_planned: int

    @property
    def epsilon(self) -> float:
        """The ε of all of it together, at the δ of `protocol.privacy`."""
        return epsilon(self.rho)


class Ledger:
    """Everything that left this node; use through `Vault.ledger`."""

    def __init__(
        self, database: Database, consents: Consents, epsilon_total_max: float = math.inf
    ) -> None:
        self._database = database
        self._consents = consents
        self._epsilon_total_max = epsilon_total_max
        self._entries: list[Entry] = []
        self._debits: dict[AttemptId, Debit] = {}
        self._closed: dict[AttemptId, Closing] = {}
        self._chain = HashChain(database, "ledger", Entry, self._added)

    def debit(
        self,
        study: bytes,
        round_number: int,
        attempt: int,
        *,
        phase: str,
        bytes_planned: int,
        rho: float,
        now: float,
    ) -> Debit:
        """Check consent and budget, and record durably that a contribution may leave now.

        Raises ConsentError, having changed nothing, when it may not.
        """
        if not rho >= 0 or bytes_planned < 0 or round_number < 0 or attempt < 0:
            raise ValueError("costs, sizes and numbers of a debit are at least 0")
        entry = Debit(
            study=study,
            round_number=round_number,
            attempt=attempt,
            phase=phase,
            bytes_planned=bytes_planned,
            rho=rho,
            at=now,
        )
        with self._database.lock:
            self._check_first_time(study, round_number, attempt)
            self._check_budget(entry, now)
            self._chain.append(entry)
        return entry

    def acknowledge(
        self, study: bytes, round_number: int, attempt: int, *, receipts: int, now: float
    ) -> None:
        """Record that a quorum holds the contribution; repeating it changes nothing."""
        entry = Acknowledged(
            study=study, round_number=round_number, attempt=attempt, receipts=receipts, at=now
        )
        self._close(entry, (study, round_number, attempt))

    def count(
        self, study: bytes, round_number: int, attempt: int, *, record: bytes, now: float
    ) -> None:
        """Record that a *verified* record counts the contribution; repeating changes nothing."""
        if len(record) != HASH_BYTES:
            raise ValueError("a record is named by its 32-byte hash")
        entry = Counted(
            study=study, round_number=round_number, attempt=attempt, record=record, at=now
        )
        self._close(entry, (study, round_number, attempt))

    def abort(
        self, study: bytes, round_number: int, attempt: int, *, certificate: bytes, now: float
    ) -> None:
        """Record a *verified* abort certificate, by its hash; gives the privacy cost back."""
        if len(certificate) != HASH_BYTES:
            raise ValueError("an abort certificate is named by its 32-byte hash")
        entry = Aborted(
            study=study, round_number=round_number, attempt=attempt, certificate=certificate, at=now
        )
        self._close(entry, (study, round_number, attempt))

    def spent(self, study: bytes | None = None) -> Spending:
        """Add up what was debited, for one study or for all."""
        with self._database.lock:
            debits = [d for d in self._debits.values() if study is None or d.study == study]
            counted = [d for d in debits if not self._was_aborted(d)]
        return Spending(
            rho=math.fsum(d.rho for d in counted),
            rounds=len({(d.study, d.round_number) for d in counted}),
            contributions=len(counted),
            bytes_planned=sum(d.bytes_planned for d in debits),
        )

    def debited(self, study: bytes, round_number: int, attempt: int) -> Debit | None:
        """Return the debit of an attempt, if there is one: a restarted node asks before it acts."""
        with self._database.lock:
            return self._debits.get((study, round_number, attempt))

    def entries(self) -> tuple[Entry, ...]:
        """Return every entry, oldest first."""
        with self._database.lock:
            return tuple(self._entries)

    def verify_chain(self) -> None:
        """Check the ledger on disk. Raises VaultError when it was altered."""
        self._chain.verify()

    def _check_first_time(self, study: bytes, round_number: int, attempt: int) -> None:
        if (study, round_number, attempt) in self._debits:
            raise ConsentError(
                f"Attempt {attempt} of round {round_number} of study {study.hex()} was debited "
                "before; a contribution leaves once."
            )

    def _check_budget(self, entry: Debit, now: float) -> None:
        consent = self._consents.require(entry.study, now)
        name = entry.study.hex()
        cost = epsilon(self.spent(entry.study).rho + entry.rho)
        if cost > consent.epsilon_max * (1 + _ROUNDING):
            raise ConsentError(
                f"Study {name} would cost epsilon {cost:.4g}, above the "
                f"{consent.epsilon_max:.4g} consented to; ask the owner for a new consent."
            )
        if self._rounds_with(entry) > consent.rounds_max:
            raise ConsentError(
                f"Study {name} would take a round beyond the {consent.rounds_max} consented to; "
                "ask the owner for a new consent."
            )
        total = epsilon(self.spent().rho + entry.rho)
        if total > self._epsilon_total_max * (1 + _ROUNDING):
            raise ConsentError(
                f"All studies together would cost epsilon {total:.4g}, above the owner's limit of "
                f"{self._epsilon_total_max:.4g}; raise limits.epsilon_total_max or stop here."
            )

    def _rounds_with(self, entry: Debit) -> int:
        """Count the study's rounds, aborted ones too: each cost the owner time and traffic."""
        rounds = {d.round_number for d in self._debits.values() if d.study == entry.study}
        return len(rounds | {entry.round_number})

    def _close(self, entry: Closing, attempt: AttemptId) -> None:
        with self._database.lock:
            if attempt not in self._debits:
                raise ConsentError(
                    f"Attempt {attempt[2]} of round {attempt[1]} of study {attempt[0].hex()} was "
                    "never debited; nothing can be recorded about it."
                )
            earlier = self._closed.get(attempt)
            if earlier is None or _WEIGHT[type(entry)] > _WEIGHT[type(earlier)]:
                self._chain.append(entry)

    def _was_aborted(self, debit: Debit) -> bool:
        attempt = (debit.study, debit.round_number, debit.attempt)
        return isinstance(self._closed.get(attempt), Aborted)

    def _added(self, entry: Entry) -> None:
        self._entries.append(entry)
        attempt = (entry.study, entry.round_number, entry.attempt)
        match entry:
            case Debit():
                self._debits[attempt] = entry
            case Acknowledged() | Counted() | Aborted():
                self._closed[attempt] = entry
