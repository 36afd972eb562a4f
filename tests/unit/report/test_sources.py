"""A report says what a certified chain proves, and what the node adds for its owner."""

import subprocess
from functools import lru_cache
from pathlib import Path

import msgspec
import pytest
from tests.support.town import Town, manifest, phase, real, unit

from pnyx.errors import ProtocolError
from pnyx.learning.statistics import RESOLUTION
from pnyx.node.bundle import Bundle, make_bundle, read_bundle
from pnyx.node.control import ConvictedNode, LedgerLine, OwnAccuracy, StudyResult
from pnyx.node.learning import poll_bounds, statistics_bounds
from pnyx.node.network import Network
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.robust import Robust
from pnyx.protocol.manifest import Range
from pnyx.report import from_bundle, made_now, render, sources, with_own
from pnyx.report.record import Made, Models, Owner, Poll

LENGTH = 9
MADE = Made("0.1.0", "", 0.0)


def counting(kind: str, bounds: Bounds, **terms):
    terms = {"metrics_length": bounds.length, "target": 9, "drawn": 9, "cohort_min": 5, **terms}
    return phase(bounds.length, kind=kind, bounds=bounds, **terms)


@lru_cache
def certified(*phases) -> tuple[Town, Bundle]:
    """Nine nodes that finished a study of these phases, over two columns."""
    length = phases[0].bounds.length
    town = Town(make=real, vector=lambda index, *_: unit(index % length, length))
    ranges = (Range(0.0, 1.0), Range(0.0, 100.0))
    asked = manifest(length, list(phases), columns=("x", "y"), ranges=ranges)
    study = town.propose(plan=asked)
    assert town.run(town.finished(study))
    machine = town.machines[0]
    return town, read_bundle(
        make_bundle(machine.studies[study], machine.epoch_record, town.model_bytes(study))
    )


def report_of(town: Town, bundle: Bundle):
    census = town.machines[0].census
    network = Network("testers", census.network, b"", census, ())
    return from_bundle(bundle, network, town.cryptos[0], MADE)


def test_bundle_tells_rounds_terms_and_committee() -> None:
    town, bundle = certified(phase(LENGTH, rounds=2))
    found = report_of(town, bundle)
    assert (found.title, found.network, found.nodes, found.joined) == ("t", "testers", 9, 9)
    assert found.finished
    assert [each.number for each in found.rounds] == [1, 2]
    assert all(each.contributors >= 3 and not each.skipped for each in found.rounds)
    assert found.assessment.committee == town.machines[0].census.committee
    assert found.epsilon_spent is None
    assert (found.models, found.owners, found.sent, found.whose) == (None, (), None, "none")
    assert found.model_hash == town.machines[0].studies[bytes.fromhex(found.study)].model_hash.hex()


def test_groups_are_told_with_their_sizes() -> None:
    asked = phase(LENGTH, groups=3, cohort_min=2, target=9, drawn=9, robust=Robust("trimmed", 1))
    town, bundle = certified(asked)
    (round_,) = report_of(town, bundle).rounds
    assert round_.groups_drawn == 3
    assert [group.number for group in round_.groups] == [1, 2, 3]
    assert all(group.owners >= 2 and not group.spoiled for group in round_.groups)
    assert sum(group.owners for group in round_.groups) == round_.contributors


def test_report_of_a_chain_that_goes_on() -> None:
    town, bundle = certified(phase(LENGTH, rounds=2))
    early = msgspec.structs.replace(bundle, records=bundle.records[:1], model=b"")
    found = report_of(town, early)
    assert (found.rounds, found.finished, found.joined) == ((), False, 9)
    assert report_of(town, msgspec.structs.replace(early, records=())).joined == 0


def test_altered_bundle_gets_no_report() -> None:
    town, bundle = certified(phase(LENGTH, rounds=2))
    first, second, _ = bundle.records
    forged = msgspec.structs.replace(second, body=second.body[:-1] + b"\x01")
    with pytest.raises(ProtocolError):
        report_of(town, msgspec.structs.replace(bundle, records=(first, forged)))


def test_sums_of_a_poll_are_named() -> None:
    found = report_of(*certified(counting("poll", poll_bounds(2, 1, None))))
    (poll,) = found.polls
    assert [name for name, _ in poll.sums] == ["x", "y"]
    assert poll.owners == found.rounds[0].contributors
    assert poll == Poll(1, poll.owners, "", poll.sums)
    assert sum(count for _, count in poll.sums) == poll.owners, "each answered with one 1"


def test_statistics_are_those_published() -> None:
    found = report_of(*certified(counting("statistics", statistics_bounds(2))))
    assert [column.name for column in found.statistics] == ["x", "y"]
    first = found.statistics[0].owners * RESOLUTION  # who sent a 1 in its place: one or two
    assert first in (1, 2)


@pytest.mark.parametrize("kind", ["statistics", "poll"])
def test_sums_of_another_length_than_the_columns_are_left_out(kind) -> None:
    """Nodes that take no part follow, and report, whatever a proposer signs."""
    bounds = statistics_bounds(2) if kind == "statistics" else poll_bounds(2, 1, None)
    found = report_of(*certified(counting(kind, bounds, metrics_length=1)))
    assert (found.statistics, found.polls) == ((), ())
    assert render(found)


def counts(*metrics: int):
    """A body whose round published these counts."""
    town, bundle = certified(phase(LENGTH, rounds=2))
    found = sources.verify_bundle(bundle, town.machines[0].census, town.cryptos[0])
    evaluating = msgspec.structs.replace(
        found, manifest=manifest(LENGTH, [phase(LENGTH, kind="evaluate", rounds=2)])
    )
    return evaluating, [msgspec.structs.replace(found.rounds[1], metrics=metrics)]


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ((1, 2, 3, 4), Models(0.25, 0.5, 0.75, 4)),
        ((1, 2, 3, 0), None),
        ((1, 2, 3, -4), None),
        ((1, 2, 3), None),
        ((), None),
    ],
)
def test_three_models_are_compared_by_certified_counts(metrics, expected) -> None:
    assert sources._models(*counts(*metrics)) == expected


def result(own: OwnAccuracy | None) -> StudyResult:
    """What a node would answer; the report takes the rest from the bundle."""
    return StudyResult(
        summary=None,
        rounds=(),
        statistics=(),
        own=own,
        convicted=(ConvictedNode("ee" * 32, "lied", "12" * 32),),
        model_hash="",
        model=b"",
    )


def line(study: str, state: str) -> LedgerLine:
    return LedgerLine(
        study=study,
        round_number=1,
        attempt=1,
        phase="train",
        bytes_planned=100,
        epsilon=None,
        at=0.0,
        state=state,
    )


def test_node_adds_what_is_its_owners_own() -> None:
    base = report_of(*certified(phase(LENGTH, rounds=2)))
    ledger = [
        line(base.study, "acknowledged"),
        line(base.study, "aborted"),
        line("other", "debited"),
    ]
    found = with_own(base, result(OwnAccuracy(0.9, 0.8, 0.95, 30)), ledger)
    assert found.owners == (Owner("you", Models(0.9, 0.8, 0.95, 30)),)
    assert (found.sent.contributions, found.sent.bytes_planned, found.sent.aborted) == (2, 200, 1)
    assert [(each.node, each.rule) for each in found.culprits] == [("ee" * 32, "lied")]
    for said in ("90.0 %", "never left your node", "2 contributions to this study, 200 bytes"):
        assert said in render(found)


def test_owner_who_takes_no_part_has_no_accuracies() -> None:
    base = report_of(*certified(phase(LENGTH, rounds=2)))
    found = with_own(base, result(None), [])
    assert (found.owners, found.whose) == ((), "none")
    assert "Your node sent 0 contributions" in render(found)


def test_commit_is_named_in_a_source_tree_only(tmp_path, monkeypatch) -> None:
    assert made_now(5.0).at == 5.0
    assert sources._revision(tmp_path) == ""
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    who = ["-c", "user.name=n", "-c", "user.email=e"]
    commit = ["commit", "--quiet", "--allow-empty", "-m", "first"]
    subprocess.run(["git", "-C", tmp_path, *who, *commit], check=True)
    assert len(sources._revision(tmp_path)) == 12
    monkeypatch.setenv("PATH", "")
    assert sources._revision(Path(tmp_path)) == ""
