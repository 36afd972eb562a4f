"""What a running node answers its owner: the requests of `node.control`, carried out.

Every answer is computed inside the event loop from the daemon's own state, so it is consistent;
what it asks the machine to do is durable before it is given, and none waits for the network. Only
a preview and the use of a model take time: they run a query, or a model.
"""

import math
import os
from collections.abc import Sequence
from typing import assert_never

import msgspec

from pnyx.errors import ConsentError, PnyxError, QueryError
from pnyx.node.bundle import BUNDLE_BYTES_MAX, export_bundle
from pnyx.node.clock import wall_clock
from pnyx.node.control import (
    ColumnSummary,
    ConvictedNode,
    Decide,
    Export,
    ExportedBundle,
    Ledger,
    LedgerLine,
    NodeStatus,
    OwnAccuracy,
    PhaseSummary,
    Preview,
    Propose,
    Request,
    Result,
    RoundSummary,
    StalledDraw,
    Status,
    Stop,
    Stopping,
    Studies,
    StudyPreview,
    StudyResult,
    StudySummary,
    Use,
)
from pnyx.node.daemon import Daemon, Observer
from pnyx.node.learning import is_scored, published_statistics
from pnyx.node.queries import QueryLimits, columns_read, first_rows
from pnyx.node.using import use_model
from pnyx.protocol.events import ModelWanted, Notice, RequestRefused, StudyProposed
from pnyx.protocol.manifest import StudyPhase, study_id
from pnyx.protocol.privacy import epsilon, phase_rho, study_rho
from pnyx.protocol.study import StudyState, read_body
from pnyx.vault import Aborted, Acknowledged, Array, Counted, Debit, Vault

PREVIEW_ROWS = 10
PREVIEW_LIMITS = QueryLimits(wall_seconds_max=20.0)  # the owner waits for it


class Answers:
    """Answers for one daemon. It also listens to the daemon's notices, for refusals."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._daemon: Daemon | None = None
        self._refusals: list[str] = []
        self._reads: dict[bytes, tuple[str, ...]] = {}  # study -> what it reads, parsed once

    def observe(self, notice: Notice) -> None:
        """Pass a notice on; remember a refusal, which answers the request under way."""
        if isinstance(notice, RequestRefused):
            self._refusals.append(notice.reason)
        self._observer(notice)

    def attach(self, daemon: Daemon) -> None:
        """Name the daemon, which could not exist before its observer."""
        self._daemon = daemon

    @property
    def daemon(self) -> Daemon:
        """The daemon that is asked."""
        if self._daemon is None:
            raise RuntimeError("the node is not attached yet")
        return self._daemon

    async def answer(self, request: Request) -> object:
        """Carry out one request. Raises PnyxError."""
        match request:
            case Status():
                return self._status()
            case Studies():
                return [self._summary(state) for state in self.daemon.machine.studies.values()]
            case Decide():
                return await self._decide(request)
            case Preview():
                return await self._preview(self._find(request.study))
            case Use():
                return await use_model(self.daemon, self._wanted(request.study), request)
            case Propose():
                return await self._propose(request)
            case Result():
                return self._result(request)
            case Export():
                return self._export(self._wanted(request.study))
            case Ledger():
                return ledger_lines(self.daemon.vault)
            case Stop():
                self.daemon.stop()
                return Stopping(os.getpid())
        assert_never(request)

    def _status(self) -> NodeStatus:
        daemon = self.daemon
        machine = daemon.machine
        epochs, census = machine.epochs, machine.epochs.census
        found = daemon.confinement
        asking = [
            name
            for name, state in machine.studies.items()
            if not state.finished and daemon.vault.consents.get(name) is None
        ]
        return NodeStatus(
            node_id=daemon.node_id.hex(),
            process_id=os.getpid(),
            network=daemon.network.name,
            network_id=census.network,
            port=daemon.transport.port,
            nodes_enrolled=len(census),
            peers_connected=len(daemon.transport.peers),
            census_number=census.body.number,
            census_valid_until=census.body.valid_until,
            census_expired=epochs.expired_at(wall_clock()),
            contradicted=tuple(sorted(epochs.censuses.forks)),
            epoch=epochs.chain.number,
            beacon_known=epochs.chain.newest is not None,
            studies=len(machine.studies),
            studies_asking=len(asking),
            contributions_sent=daemon.vault.ledger.spent().contributions,
            convicted={node.hex(): proven for node, proven in machine.convicted.items()},
            ring=daemon.ring,
            sandbox=found.describe() if found is not None else "the worker is starting",
            confinement=found,
        )

    def _find(self, digits: str) -> StudyState:
        """The one study whose id starts with these digits."""
        if not digits:  # a slip in a script, and it would name the only study that there is
            raise ConsentError(
                "Name a study by the first digits of its id; `pnyx study list` shows them."
            )
        found = [s for name, s in self.daemon.machine.studies.items() if _starts(name, digits)]
        if not found:
            raise ConsentError(
                f"Study {digits} is not known here; `pnyx study list` shows those that are."
            )
        if len(found) > 1:
            raise ConsentError(f"Several studies begin with {digits}; give more digits.")
        return found[0]

    def _wanted(self, digits: str) -> StudyState:
        """A study whose model the owner asks for: from now on the node follows it."""
        state = self._find(digits)
        self.daemon.deliver(ModelWanted(state.study))
        return state

    def _model(self, state: StudyState) -> bytes:
        """The current model; empty when there is none, or it is not here yet."""
        return (self.daemon.model_of(state.model_hash) or b"") if state.holds_model else b""

    async def _decide(self, request: Decide) -> StudySummary:
        state = self._find(request.study)
        if request.decision == "withdraw":
            self.daemon.decisions.withdraw(state.study)
        else:
            accept = request.decision == "accept"
            self.daemon.decisions.decide(state.study, state.signed.body, accept=accept)
        await self.daemon.settled()
        return self._summary(state)

    async def _preview(self, state: StudyState) -> StudyPreview:
        """Nothing leaves, and no consent is needed: the owner looks at what is theirs."""
        manifest = state.manifest

        def read(names: Sequence[str]) -> dict[str, Array]:
            return self.daemon.vault.collections.columns(manifest.category, names)

        rows = await self.daemon.tasks.rows_for(manifest, read, PREVIEW_LIMITS)
        columns = (*manifest.columns, *filter(None, [manifest.label]))
        return StudyPreview(len(rows.features), columns, first_rows(rows, PREVIEW_ROWS))

    async def _propose(self, request: Propose) -> StudySummary:
        self._refusals.clear()
        self.daemon.deliver(StudyProposed(request.manifest, request.model))
        await self.daemon.settled()
        state = self.daemon.machine.studies.get(study_id(request.manifest))
        if state is None:
            reason = self._refusals[-1] if self._refusals else "the node gave no reason"
            raise PnyxError(f"The study cannot be proposed: {reason}.")
        return self._summary(state)

    def _summary(self, state: StudyState) -> StudySummary:
        manifest = state.manifest
        consent = self.daemon.vault.consents.get(state.study)
        return StudySummary(
            study=state.study.hex(),
            title=manifest.title,
            purpose=manifest.purpose,
            purpose_term=manifest.purpose_term,
            category=manifest.category,
            reads=self._columns_read(state),
            query=manifest.query,
            columns=manifest.columns,
            label=manifest.label,
            cohort_min=manifest.cohort_min,
            phases=tuple(phase_summary(phase) for phase in manifest.phases),
            epsilon=_finite(epsilon(study_rho(manifest))),
            proposer=state.signed.signer.hex(),
            rounds=manifest.rounds,
            rounds_certified=max(0, len(state.records) - 1),  # round 0 collects the joins
            finished=state.finished,
            decision="asks" if consent is None else consent.decision,
            decided_by="nobody" if consent is None else consent.decided_by,
            contributions=self.daemon.vault.ledger.spent(state.study).contributions,
            trouble=self._trouble(state),
            scored=is_scored(manifest),
        )

    def _trouble(self, state: StudyState) -> str:
        found = self.daemon.tasks.troubles.get(state.study)
        return "" if found is None else f"round {found.round_number}: {found.reason}"

    def _columns_read(self, state: StudyState) -> tuple[str, ...]:
        """Nothing, for a query that cannot be run here: accepting it says why."""
        if state.study not in self._reads:
            try:
                self._reads[state.study] = columns_read(state.manifest)
            except QueryError:
                self._reads[state.study] = ()
        return self._reads[state.study]

    def _result(self, request: Result) -> StudyResult:
        state = self._wanted(request.study) if request.model else self._find(request.study)
        rounds = [
            (read_body(record), state.manifest.phase_of(number))
            for number, record in enumerate(state.records[1:], 1)
        ]
        return StudyResult(
            summary=self._summary(state),
            rounds=tuple(
                RoundSummary(
                    body.round_number,
                    phase.kind,
                    len(body.accepted),
                    body.metrics,
                    body.skipped,
                    phase.bounds.count_scale,
                )
                for body, phase in rounds
            ),
            statistics=_statistics(state),
            own=_own(self.daemon.vault, state.study),
            convicted=self._convicted(),
            model_hash=state.model_hash.hex(),
            model=self._model(state) if request.model else b"",
            stalled=tuple(
                StalledDraw(each.round_number, each.attempt, each.node.hex(), each.role)
                for each in self.daemon.machine.stalled(state.study)
            ),
        )

    def _convicted(self) -> tuple[ConvictedNode, ...]:
        return tuple(
            ConvictedNode(each.node.hex(), each.offence.value, each.evidence.hex())
            for each in self.daemon.machine.convictions
        )

    def _export(self, state: StudyState) -> ExportedBundle:
        content = export_bundle(state, self.daemon.machine.epochs, self._model(state))
        if len(content) > BUNDLE_BYTES_MAX:
            raise PnyxError(
                f"The proof of this study has {len(content)} bytes, above {BUNDLE_BYTES_MAX}; "
                "this version cannot export it."
            )
        return ExportedBundle(content)


def phase_summary(phase: StudyPhase) -> PhaseSummary:
    """What a phase asks, and what it costs."""
    return PhaseSummary(
        kind=phase.kind,
        rounds=phase.rounds,
        cohort_min=phase.cohort_min,
        epsilon=_finite(epsilon(phase.rounds * phase_rho(phase))),
        ballot="" if phase.bounds.ballot is None else phase.bounds.ballot.kind,
        masked=phase.masked is not None,
        groups=phase.groups,
        tolerated=phase.robust.tolerated,
        verified=phase.verified is not None,
    )


def _statistics(state: StudyState) -> tuple[ColumnSummary, ...]:
    """Each column's statistics, once a statistics round published them."""
    if state.statistics is None:
        return ()
    found = published_statistics(state.manifest, state.statistics.entries)
    return tuple(
        ColumnSummary(name, each.owners, each.mean, each.deviation)
        for name, each in zip(state.manifest.columns, found, strict=False)  # all, or none
    )


def _own(vault: Vault, study: bytes) -> OwnAccuracy | None:
    found = vault.measurements.last(study)
    if found is None:
        return None
    return OwnAccuracy(found.alone, found.shared, found.personalised, found.held_out)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def ledger_lines(vault: Vault) -> list[LedgerLine]:
    """Everything that left, oldest first, each contribution with what became of it."""
    lines: dict[tuple[bytes, int, int], LedgerLine] = {}
    for entry in vault.ledger.entries():
        name = (entry.study, entry.round_number, entry.attempt)
        match entry:
            case Debit():
                lines[name] = LedgerLine(
                    study=entry.study.hex(),
                    round_number=entry.round_number,
                    attempt=entry.attempt,
                    phase=entry.phase,
                    bytes_planned=entry.bytes_planned,
                    epsilon=_finite(epsilon(entry.rho)),
                    at=entry.at,
                    state="debited",
                )
            case Acknowledged():
                lines[name] = msgspec.structs.replace(lines[name], state="acknowledged")
            case Counted():
                lines[name] = msgspec.structs.replace(lines[name], state="counted")
            case Aborted():
                lines[name] = msgspec.structs.replace(lines[name], state="aborted")
    return list(lines.values())


def _starts(study: bytes, digits: str) -> bool:
    return study.hex().startswith(digits)
