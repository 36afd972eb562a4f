"""The report of the demonstration's study, which knows what no single owner can know.

The launcher asks each honest node as its owner would, over the node's control socket, for the
accuracies that it measured and keeps at home; and one of them for the bundle, which is verified
like anybody's. The rest comes from the nodes' journals. Nothing of this passes between nodes.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from shlex import quote
from typing import Any, Literal

import msgspec

from pnyx.demo.cluster import Cluster
from pnyx.errors import PnyxError
from pnyx.node.bundle import read_bundle
from pnyx.node.clock import wall_clock
from pnyx.node.control import (
    Export,
    ExportedBundle,
    Result,
    Studies,
    StudyResult,
    StudySummary,
    call,
)
from pnyx.node.enrolment import verifying_crypto
from pnyx.node.keystore import NodeLayout
from pnyx.node.network import read_network
from pnyx.report import StudyReport, from_bundle, made_now
from pnyx.report.record import Corrupted, Cost, Culprit, Judged, Models, Owner, Staged

BUNDLE_NAME = "study.bundle"


class Asked(msgspec.Struct, frozen=True):
    """What the nodes told their owner: a bundle of the study, and each owner's accuracies."""

    bundle: bytes
    owners: tuple[Owner, ...]


def ask_nodes(cluster: Cluster, nodes: Iterable[int]) -> Asked:
    """Ask these running nodes. Raises PnyxError when none of them has the study's proof."""
    bundle, owners = b"", []
    for node in nodes:
        layout = NodeLayout(cluster.directory(node))
        try:
            (study,) = [each.study for each in call(layout, Studies(), list[StudySummary])]
            own = call(layout, Result(study), StudyResult).own
            bundle = bundle or call(layout, Export(study), ExportedBundle).content
        except PnyxError:
            continue  # it stopped meanwhile; the others know the same chain
        if own is not None:
            models = Models(own.alone, own.shared, own.personalised, own.held_out)
            owners.append(Owner(str(node + 1), models))
    if not bundle:
        raise PnyxError(
            "No node of the demonstration could be asked for its result; run it again with "
            "--keep DIR and look at the nodes' logs there."
        )
    return Asked(bundle, tuple(owners))


def demo_report(
    asked: Asked, network: Path, found: Mapping[str, Any], kept: Path | None
) -> StudyReport:
    """Join the verified bundle with what the launcher saw.

    network: the nodes' network file. found: of `summary.summarise`. kept: the directory that stays.
    Raises PnyxError.
    """
    crypto = verifying_crypto()
    known = read_network(network, crypto, now=wall_clock())
    base = from_bundle(read_bundle(asked.bundle), known, crypto, made_now(wall_clock()))
    culprits = msgspec.convert(found["culprits"], tuple[Culprit, ...])
    where = Path("DIR") if kept is None else kept
    again = f"pnyx demo --keep {quote(str(where))}"
    verify = (
        f"pnyx study verify {quote(str(where / BUNDLE_NAME))} "
        f"--network {quote(str(where / network.parent.name / network.name))}"
    )
    return msgspec.structs.replace(
        base,
        whose="all",
        owners=asked.owners,
        owners_note=(
            "In a demonstration one person owns all nodes and may ask each of them. Elsewhere "
            "these figures stay with their owners, and a report has the sums alone. Owners are "
            "numbered as in the data. Not here is who refused, whose node is corrupt, or whose "
            "node came back too late for the comparison."
        ),
        cost=_cost(found),
        cost_note="All nodes shared one machine, so times and memory are not those of one node.",
        culprits=culprits,
        judged=Judged(
            found["contributions_verified"],
            found["contributions_rejected"],
            found["contributions_left_out"],
        ),
        staged=Staged(
            killed=found["processes_killed"],
            refused=found["owners_refusing"],
            corrupted=_corrupted(found["corrupt"], culprits),
        ),
        troubles_note="",
        commands=(again, verify) if kept is None else (verify,),
        verify_note=(
            "This network lived for one demonstration, and its files are gone; the commands make "
            "another one that stays, and check it."
            if kept is None
            else "It needs neither node nor key: only bundle and network file, which are kept."
        ),
    )


def _cost(found: Mapping[str, Any]) -> Cost:
    return Cost(
        bytes_sent=found["bytes_sent_per_contributor_round"],
        seconds=found["seconds_per_round_median"],
        cpu_seconds=found["cpu_seconds_per_round_median"],
        memory_mb=found["memory_mb_peak"],
        steps=tuple(found["step_seconds_median"].items()),
    )


def _corrupted(
    corrupt: list[Mapping[str, Any]], culprits: tuple[Culprit, ...]
) -> tuple[Corrupted, ...]:
    proven = {each.node for each in culprits if each.evidence}
    named = {each.node for each in culprits}

    def outcome(each: Mapping[str, Any]) -> Literal["proven", "named", "tolerated", "no occasion"]:
        if each["node"] in proven:
            return "proven"
        if each["node"] in named:
            return "named"
        return "tolerated" if each["misbehaved"] else "no occasion"

    return tuple(
        Corrupted(
            str(each["number"]), each["node"], each["behaviour"], each["misbehaved"], outcome(each)
        )
        for each in corrupt
    )
