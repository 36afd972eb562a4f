"""Where a report comes from: a bundle, verified anew, and what a node tells its own owner.

Everything that certified records tell is read from the verified bundle, never from a summary.
"""

import math
import subprocess
from pathlib import Path

import msgspec

import pnyx
from pnyx.learning.update import EVALUATE_COUNTS, TRAIN_COUNTS
from pnyx.node.answers import phase_summary
from pnyx.node.bundle import Bundle, VerifiedStudy, verify_bundle
from pnyx.node.control import ColumnSummary, LedgerLine, StudyResult
from pnyx.node.learning import is_scored, published_statistics
from pnyx.node.network import Network
from pnyx.protocol.messages import RecordBody
from pnyx.protocol.ports import Crypto
from pnyx.protocol.privacy import COST_UNIT, DELTA, epsilon, study_rho
from pnyx.protocol.round.groups import NO_SUM
from pnyx.protocol.selection import assess
from pnyx.report.record import (
    Culprit,
    Exclusion,
    Group,
    Made,
    Models,
    Owner,
    Poll,
    Round,
    Sent,
    StudyReport,
    Suspected,
)

_GIT_TIMEOUT_S = 5.0


def made_now(now: float) -> Made:
    """Name this program and its commit, where it runs from a source tree; now: unix seconds."""
    root = Path(pnyx.__file__).resolve().parents[2]
    return Made(pnyx.__version__, _revision(root) if (root / ".git").exists() else "", now)


def _revision(root: Path) -> str:
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],  # noqa: S607  (user's git)
            cwd=root,
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip()


def from_bundle(bundle: Bundle, network: Network, crypto: Crypto, made: Made) -> StudyReport:
    """Verify a bundle and report what it proves. Raises ProtocolError when it proves nothing."""
    study = verify_bundle(bundle, network.first, crypto, network.authority_key)
    manifest, opened = study.manifest, [body for body in study.rounds if body.round_number > 0]
    spent = study.rounds[-1].privacy_spent if study.rounds else 0
    ids = network.census.node_ids
    return StudyReport(
        made=made,
        whose="none",
        network=network.name,
        nodes=len(ids),
        study=study.study.hex(),
        title=manifest.title,
        purpose=manifest.purpose,
        purpose_term=manifest.purpose_term,
        category=manifest.category,
        columns=manifest.columns,
        label=manifest.label,
        scored=is_scored(manifest),
        proposer=study.proposer.hex(),
        phases=tuple(phase_summary(phase) for phase in manifest.phases),
        rounds_planned=manifest.rounds,
        joined=len(bundle.records[-1].joins) if bundle.records else 0,
        rounds=tuple(
            _round(study, body, owners)
            for body, owners in zip(study.rounds, study.owners, strict=True)
            if body.round_number > 0
        ),
        finished=study.finished,
        models=_models(study, opened),
        models_noisy=any(phase.noise.count_width > 0 for phase in manifest.phases),
        model_hash=study.model_hash.hex(),
        owners_note=(
            "How good a model is for one owner is known to nobody but this owner: only sums of "
            "counts over all of them leave their machines."
        ),
        statistics=_statistics(study, opened),
        polls=_polls(study, opened),
        cost_note="Certified records carry no times and no sizes, so this report states none.",
        assessment=assess(len(ids), rounds=manifest.rounds + 1, committee=network.census.committee),
        epsilon_spent=None if spent is None else epsilon(spent / COST_UNIT),
        epsilon_planned=_finite(epsilon(study_rho(manifest))),
        delta=DELTA,
        exclusions=_exclusions(opened, ids),
        suspected=tuple(
            Suspected(each.node.hex(), each.spoiled, each.troubled, each.chance_of_any)
            for each in study.suspicions
            if each.stands_out
        ),
        troubles_note=(
            "Which contributions failed their test, and on what evidence nodes were excluded, is "
            "known to the nodes, and is not part of a bundle."
        ),
        commands=(
            f"pnyx study result {study.study.hex()[:8]} --bundle study.bundle",
            "pnyx study verify study.bundle --network network.json",
        ),
        verify_note=(
            "The first command runs at any node of the network. The second needs neither node nor "
            "key: only this bundle, and the network file that the authority hands out."
        ),
    )


def with_own(report: StudyReport, result: StudyResult, ledger: list[LedgerLine]) -> StudyReport:
    """Add what a node tells its own owner: own accuracies, what left, who was convicted.

    ledger: of all studies.
    """
    lines = [line for line in ledger if line.study == report.study]
    own = result.own
    return msgspec.structs.replace(
        report,
        whose="none" if own is None else "own",
        owners=()
        if own is None
        else (Owner("you", Models(own.alone, own.shared, own.personalised, own.held_out)),),
        owners_note=(
            "How good the models are for each of the other owners is known to nobody but them: "
            "only sums of counts over all owners leave their machines."
        ),
        cost_note=(
            "How long the steps took is not recorded; the bytes are those of your own "
            "contributions, by your ledger."
        ),
        sent=Sent(
            contributions=len(lines),
            bytes_planned=sum(line.bytes_planned for line in lines),
            aborted=sum(line.state == "aborted" for line in lines),
        ),
        culprits=tuple(
            Culprit(each.node, each.rule, each.evidence, 1) for each in result.convicted
        ),
        troubles_note=(
            "Your node lists whom it holds evidence against, in any study of the network. What it "
            "did not see and nobody proved is not here."
        ),
    )


def _round(study: VerifiedStudy, body: RecordBody, owners: dict[int, int]) -> Round:
    phase = study.manifest.phase_of(body.round_number)
    kind = phase.kind
    counts = body.metrics
    measured = kind == "train" and len(counts) == TRAIN_COUNTS and counts[1] > 0
    return Round(
        number=body.round_number,
        kind=kind,
        contributors=len(body.accepted),
        accuracy=counts[0] / counts[1] if measured else None,
        skipped=body.skipped,
        attempt=body.attempt,
        groups=tuple(
            Group(each.group + 1, owners[each.group], each.sum == NO_SUM) for each in body.sums
        ),
        groups_drawn=phase.groups,
    )


def _last(study: VerifiedStudy, opened: list[RecordBody], kind: str) -> RecordBody | None:
    """The last round of a kind that published something."""
    manifest = study.manifest
    found = [body for body in opened if body.metrics]
    return next(
        (body for body in reversed(found) if manifest.phase_of(body.round_number).kind == kind),
        None,
    )


def _models(study: VerifiedStudy, opened: list[RecordBody]) -> Models | None:
    body = _last(study, opened, "evaluate")
    if body is None or len(body.metrics) != EVALUATE_COUNTS or body.metrics[-1] <= 0:
        return None
    alone, shared, personalised, held_out = body.metrics
    scale = study.manifest.phase_of(body.round_number).bounds.count_scale
    return Models(
        alone / held_out, shared / held_out, personalised / held_out, round(held_out / scale)
    )


def _statistics(study: VerifiedStudy, opened: list[RecordBody]) -> tuple[ColumnSummary, ...]:
    body = _last(study, opened, "statistics")
    if body is None:
        return ()
    found = published_statistics(study.manifest, body.metrics)
    return tuple(
        ColumnSummary(name, each.owners, each.mean, each.deviation)
        for name, each in zip(study.manifest.columns, found, strict=False)  # all, or none
    )


def _polls(study: VerifiedStudy, opened: list[RecordBody]) -> tuple[Poll, ...]:
    found = []
    for body in opened:
        phase = study.manifest.phase_of(body.round_number)
        if phase.kind == "poll" and len(body.metrics) == len(study.manifest.columns):
            sums = [count / phase.bounds.count_scale for count in body.metrics]
            ballot = "" if phase.bounds.ballot is None else phase.bounds.ballot.kind
            named = tuple(zip(study.manifest.columns, sums, strict=True))
            found.append(Poll(body.round_number, len(body.accepted), ballot, named))
    return tuple(found)


def _exclusions(opened: list[RecordBody], ids: tuple[bytes, ...]) -> tuple[Exclusion, ...]:
    since: dict[int, int] = {}
    for body in opened:
        for index in body.excluded:
            since.setdefault(index, body.round_number)
    return tuple(Exclusion(ids[index].hex(), number) for index, number in since.items())


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
