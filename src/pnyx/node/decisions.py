"""What the owner allows: consent to studies, and the ledger of what left.

Whatever the machine asks is answered by an event: a consent holds or it does not, a debit is
recorded or it is refused. Nothing leaves the node without both.
"""

from collections.abc import Callable
from typing import Literal

from pnyx.config import ConsentPolicy
from pnyx.errors import ConsentError, PnyxError, QueryError, TrainingError, VaultError
from pnyx.node.clock import wall_clock
from pnyx.node.learning import check_study, read_manifest_body
from pnyx.node.queries import columns_read
from pnyx.protocol.events import (
    AskConsent,
    AttemptAborted,
    ConsentDeclined,
    ConsentGiven,
    ContributionAcknowledged,
    ContributionCounted,
    DebitRecorded,
    DebitRefused,
    Event,
    NothingOpened,
    RecordDebit,
)
from pnyx.protocol.privacy import epsilon, study_rho
from pnyx.vault import StudyRequest, Vault, evaluate_policy

CONSENT_SECONDS = 365 * 86_400.0


def study_request(study: bytes, manifest_body: bytes) -> StudyRequest:
    """What a study asks of the owner, in the vault's terms. Raises QueryError."""
    manifest = read_manifest_body(manifest_body)
    return StudyRequest(
        study=study,
        purpose=manifest.purpose_term,
        columns={manifest.category: columns_read(manifest)},
        query=manifest.query,
        epsilon=epsilon(study_rho(manifest)),
        rounds=manifest.rounds,
    )


class Decisions:
    """The owner's decisions, by policy or in person.

    deliver: takes the events that answer the machine.
    """

    def __init__(
        self, vault: Vault, policy: ConsentPolicy, deliver: Callable[[Event], None]
    ) -> None:
        self._vault = vault
        self._policy = policy
        self._deliver = deliver

    # --- consent --------------------------------------------------------------------------------

    def ask(self, effect: AskConsent) -> None:
        """Apply the owner's decision or policy; leave the rest to the owner.

        No policy accepts what this vault has no data for: the node would take a seat in rounds that
        it could only leave empty.
        """
        consent = self._vault.consents.get(effect.study)
        now = wall_clock()
        if consent is not None:
            holds = consent.holds(now)
            self._deliver(ConsentGiven(effect.study) if holds else ConsentDeclined(effect.study))
            return
        try:
            request = study_request(effect.study, effect.manifest)
            action = evaluate_policy(self._policy, request)
            if action == "decline" or (action == "accept" and self._has_data_for(request)):
                self._decide(request, effect.manifest, accept=action == "accept", by="policy")
        except (ConsentError, QueryError):
            return  # no study that cannot be run here: `decide` tells the owner why

    def _has_data_for(self, request: StudyRequest) -> bool:
        """Whether the vault has rows of every column that a study asks for."""
        try:
            found = {c: self._vault.collections.show(c) for c in request.columns}
        except VaultError:
            return False
        return all(
            summary.rows and {column.name for column in summary.columns}.issuperset(asked)
            for summary, asked in zip(found.values(), request.columns.values(), strict=True)
        )

    def decide(self, study: bytes, manifest: bytes, *, accept: bool) -> None:
        """Record the owner's answer to a study that asks. Raises ConsentError or QueryError."""
        self._decide(study_request(study, manifest), manifest, accept=accept, by="owner")

    def _decide(
        self,
        request: StudyRequest,
        manifest_body: bytes,
        *,
        accept: bool,
        by: Literal["owner", "policy"],
    ) -> None:
        if accept:
            try:
                check_study(read_manifest_body(manifest_body))
            except TrainingError as error:
                raise ConsentError(str(error)) from error
        now = wall_clock()
        self._vault.consents.record(
            request, accepted=accept, decided_by=by, now=now, expires=now + CONSENT_SECONDS
        )
        study = request.study
        self._vault.forget_unless_accepted(study)
        self._deliver(ConsentGiven(study) if accept else ConsentDeclined(study))

    def withdraw(self, study: bytes) -> None:
        """Withdraw a consent: it holds for nothing that is sent from now on."""
        self._vault.withdraw(study, wall_clock())
        self._deliver(ConsentDeclined(study))

    # --- the ledger -----------------------------------------------------------------------------

    def acknowledge(self, effect: ContributionAcknowledged) -> None:
        """Note that the committee has a contribution. Raises VaultError."""
        self._vault.ledger.acknowledge(
            effect.study,
            effect.round_number,
            effect.attempt,
            receipts=effect.receipts,
            now=wall_clock(),
        )

    def count(self, effect: ContributionCounted) -> None:
        """Note that a published sum holds a contribution of this node. Raises VaultError."""
        ledger, attempt = self._vault.ledger, (effect.study, effect.round_number, effect.attempt)
        if ledger.debited(*attempt) is not None:
            ledger.count(*attempt, record=effect.record, now=wall_clock())

    def give_back(self, effect: AttemptAborted | NothingOpened) -> None:
        """Nobody can ever read what left in an attempt that opened nothing: it costs no privacy."""
        ledger, attempt = self._vault.ledger, (effect.study, effect.round_number, effect.attempt)
        if ledger.debited(*attempt) is not None:
            ledger.abort(*attempt, certificate=effect.certificate, now=wall_clock())

    def debit(self, effect: RecordDebit) -> None:
        """Record what a contribution costs, or refuse it: only then may a byte leave."""
        try:
            self._vault.ledger.debit(
                effect.study,
                effect.round_number,
                effect.attempt,
                phase=effect.phase,
                bytes_planned=effect.payload_bytes,
                rho=effect.rho,
                now=wall_clock(),
            )
        except PnyxError as error:
            self._deliver(DebitRefused(effect.context, str(error)))
            return
        self._deliver(DebitRecorded(effect.context))
