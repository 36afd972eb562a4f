"""The owner's decisions about studies.

A study is known by its id, the hash of its signed manifest, so a decision covers every word of that
manifest and nothing else. Decisions are entries of an append-only hash chain; the last one about a
study counts:

    (none) ──record──▶ accepted | declined          accepted ──withdraw──▶ withdrawn
    any decision ──record, by the owner only──▶ accepted | declined

A policy may decide about a study that nobody has decided about, and never overturns the owner.
An acceptance holds until it expires or is withdrawn, for the columns it names and up to the
privacy cost and number of rounds it states. `ledger` enforces the last two.
"""

import math
from collections.abc import Mapping
from typing import Literal

import msgspec

from pnyx.config import Action, ConsentPolicy, ConsentRule
from pnyx.errors import ConsentError
from pnyx.primitives.hashing import HASH_BYTES
from pnyx.vault.chain import HashChain
from pnyx.vault.database import Database


class StudyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a study asks of this owner, as taken from its verified manifest.

    columns: data category -> the columns read from it. query: what is made of them before anything
    else, empty for nothing. epsilon and rounds: for the whole study; epsilon is infinite when the
    study adds no noise.
    """

    study: bytes
    purpose: str
    columns: dict[str, tuple[str, ...]]
    query: str = ""
    epsilon: float
    rounds: int


class Consent(msgspec.Struct, frozen=True, array_like=True, tag="consent", kw_only=True):
    """One entry of the history: a decision about a study and the terms it was taken on.

    Times are Unix seconds.
    """

    study: bytes
    purpose: str
    columns: dict[str, tuple[str, ...]]
    query: str
    epsilon_max: float
    rounds_max: int
    decision: Literal["accepted", "declined", "withdrawn"]
    decided_by: Literal["owner", "policy"]
    decided_at: float
    expires: float

    @property
    def categories(self) -> tuple[str, ...]:
        """Data categories that the study reads."""
        return tuple(self.columns)

    def holds(self, now: float) -> bool:
        """Tell whether data may be used under this consent."""
        return self.decision == "accepted" and now < self.expires


class Consents:
    """Every decision of one owner; use through `Vault.consents`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._history: list[Consent] = []
        self._current: dict[bytes, Consent] = {}
        self._chain = HashChain(database, "consents", Consent, self._added)

    def record(
        self,
        request: StudyRequest,
        *,
        accepted: bool,
        decided_by: Literal["owner", "policy"],
        now: float,
        expires: float,
    ) -> Consent:
        """Record a yes or no, durably. Raises ConsentError when a policy may not decide."""
        _check_request(request)
        if accepted and not expires > now:
            raise ConsentError("A consent must expire later than it is given; give a later date.")
        with self._database.lock:
            if decided_by == "policy" and request.study in self._current:
                raise ConsentError(
                    f"Study {request.study.hex()} was already decided about; only the owner can "
                    "change that decision."
                )
            consent = Consent(
                study=request.study,
                purpose=request.purpose,
                columns=request.columns,
                query=request.query,
                epsilon_max=request.epsilon,
                rounds_max=request.rounds,
                decision="accepted" if accepted else "declined",
                decided_by=decided_by,
                decided_at=now,
                expires=expires,
            )
            return self._chain.append(consent)

    def withdraw(self, study: bytes, now: float) -> Consent:
        """Withdraw an acceptance, durably: nothing is debited for the study from now on."""
        with self._database.lock:
            current = self._current.get(study)
            if current is None or current.decision != "accepted":
                raise ConsentError(
                    f"Study {study.hex()} has no acceptance to withdraw; "
                    "see `pnyx consent list` for your decisions."
                )
            withdrawn = msgspec.structs.replace(
                current, decision="withdrawn", decided_by="owner", decided_at=now
            )
            return self._chain.append(withdrawn)

    def get(self, study: bytes) -> Consent | None:
        """Return the decision that counts for a study, if there is one."""
        with self._database.lock:
            return self._current.get(study)

    def allowed(self, study: bytes, now: float) -> bool:
        """Tell whether the owner's data may be used for the study now."""
        consent = self.get(study)
        return consent is not None and consent.holds(now)

    def require(self, study: bytes, now: float) -> Consent:
        """Return the consent that holds for a study now, or raise ConsentError saying why none."""
        consent = self.get(study)
        name = study.hex()
        if consent is None:
            raise ConsentError(f"Study {name} has no consent; the owner has not decided about it.")
        if consent.decision != "accepted":
            raise ConsentError(f"Study {name} has no consent; it was {consent.decision}.")
        if not consent.holds(now):
            raise ConsentError(f"The consent for study {name} has expired; ask the owner again.")
        return consent

    def current(self) -> tuple[Consent, ...]:
        """Return the decision that counts for each study, oldest study first."""
        with self._database.lock:
            return tuple(self._current.values())

    def history(self) -> tuple[Consent, ...]:
        """Return every decision ever taken, oldest first."""
        with self._database.lock:
            return tuple(self._history)

    def verify_chain(self) -> None:
        """Check the history on disk. Raises VaultError when it was altered."""
        self._chain.verify()

    def _added(self, consent: Consent) -> None:
        self._history.append(consent)
        self._current[consent.study] = consent


def evaluate_policy(policy: ConsentPolicy, request: StudyRequest) -> Action:
    """Apply the owner's standing answers: the first rule that applies, otherwise the default.

    A rule that accepts applies only if it covers *all* that is asked; one that declines, or asks,
    applies as soon as it covers *some* of the data, or the cost exceeds the one it names. So a
    study never gains by asking for more.
    """
    for rule in policy.rules:
        if _applies(rule, request):
            return rule.action
    return policy.default


def _applies(rule: ConsentRule, request: StudyRequest) -> bool:
    if rule.purposes and request.purpose not in rule.purposes:
        return False
    asked = set(request.columns)
    if rule.action == "accept":
        covered = not rule.categories or asked <= set(rule.categories)
        return covered and request.epsilon <= rule.epsilon_max
    touched = not rule.categories or bool(asked & set(rule.categories))
    return touched and (rule.epsilon_max == math.inf or request.epsilon > rule.epsilon_max)


def _check_request(request: StudyRequest) -> None:
    """Refuse requests that no verified manifest can lead to: a bug of the caller."""
    if len(request.study) != HASH_BYTES:
        raise ValueError("a study id is a 32-byte hash")
    if not request.epsilon >= 0 or request.rounds < 1:
        raise ValueError("a study has a privacy cost of at least 0 and at least one round")
    if not _columns_named(request.columns):
        raise ValueError("a study names at least one column of each category it reads")


def _columns_named(columns: Mapping[str, tuple[str, ...]]) -> bool:
    return bool(columns) and all(columns.values())
