"""A node keeps what an evaluation measured; other rounds measure nothing for the owner."""

from types import SimpleNamespace

import pytest
from tests.support.town import manifest, phase

from pnyx.errors import VaultError
from pnyx.learning.task import TrainingOutcome
from pnyx.node.study_tasks import StudyTasks
from pnyx.node.trainer import Job
from pnyx.primitives import codec
from pnyx.protocol.events import Event, Notice, StartTraining, TrainingFinished
from pnyx.vault import Vault

STUDY = b"s" * 32
METRICS = {
    "alone_accuracy": 0.9,
    "shared_accuracy": 0.8,
    "personalised_accuracy": 0.95,
    "held_out": 30.0,
}
STUDY_OF_TWO = codec.encode(manifest(3, [phase(3), phase(3, kind="evaluate")]))


class Node:
    """The tasks of a node, whose outcomes it is given here."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault
        self.heard: list[Event] = []
        self.failures: list[Exception] = []
        self.noticed: list[Notice] = []
        self.jobs: list[Job] = []
        self.tasks = StudyTasks(
            node_id=bytes(32),
            vault=vault,
            trainer=SimpleNamespace(submit=self.jobs.append),
            sandbox="best",
            model_of=lambda _: b"",
            deliver=self.heard.append,
            observer=self.noticed.append,
            fail=self.failures.append,
        )


@pytest.fixture
def node(tmp_path):
    with Vault.open(tmp_path / "vault", bytes(range(32))) as vault:
        yield Node(vault)


def trained(node: Node, round_number: int) -> None:
    asked = StartTraining(STUDY, round_number, STUDY_OF_TWO, b"")
    node.tasks._on_trained(asked, TrainingOutcome(vector=bytes(24), metrics=METRICS))


def test_evaluation_is_kept_for_the_owner(node) -> None:
    trained(node, 2)
    found = node.vault.measurements.last(STUDY)
    assert (found.alone, found.shared, found.personalised) == (0.9, 0.8, 0.95)
    assert (found.round_number, found.held_out) == (2, 30)
    assert [type(event) for event in node.heard] == [TrainingFinished]


def test_training_measures_nothing(node) -> None:
    trained(node, 1)
    assert node.vault.measurements.last(STUDY) is None
    assert [type(event) for event in node.heard] == [TrainingFinished]


def test_node_that_cannot_keep_it_stops(node, monkeypatch) -> None:
    def full(_measurement) -> None:
        raise VaultError("The disk is full.")

    monkeypatch.setattr(node.vault.measurements, "record", full)
    trained(node, 2)
    assert [str(failure) for failure in node.failures] == ["The disk is full."]
    assert node.heard == []
