"""The daemon keeps what an evaluation measured; other rounds measure nothing for the owner."""

import pytest
from tests.support.town import manifest, phase

from pnyx.errors import VaultError
from pnyx.learning.task import TrainingOutcome
from pnyx.node.daemon import Daemon
from pnyx.primitives import codec
from pnyx.protocol.events import StartTraining, TrainingFinished
from pnyx.vault import Vault

STUDY = b"s" * 32
METRICS = {
    "alone_accuracy": 0.9,
    "shared_accuracy": 0.8,
    "personalised_accuracy": 0.95,
    "held_out": 30.0,
}
STUDY_OF_TWO = codec.encode(manifest(3, [phase(3), phase(3, kind="evaluate")]))


@pytest.fixture
def daemon(tmp_path):
    with Vault.open(tmp_path / "vault", bytes(range(32))) as vault:
        made = Daemon.__new__(Daemon)
        made.vault = vault
        made.heard, made.failures = [], []
        made.deliver = made.heard.append
        made._fail = made.failures.append
        yield made


def trained(daemon, round_number: int) -> None:
    asked = StartTraining(STUDY, round_number, STUDY_OF_TWO, b"")
    daemon._on_trained(asked, TrainingOutcome(vector=bytes(24), metrics=METRICS))


def test_evaluation_is_kept_for_the_owner(daemon) -> None:
    trained(daemon, 2)
    found = daemon.vault.measurements.last(STUDY)
    assert (found.alone, found.shared, found.personalised) == (0.9, 0.8, 0.95)
    assert (found.round_number, found.held_out) == (2, 30)
    assert [type(event) for event in daemon.heard] == [TrainingFinished]


def test_training_measures_nothing(daemon) -> None:
    trained(daemon, 1)
    assert daemon.vault.measurements.last(STUDY) is None
    assert [type(event) for event in daemon.heard] == [TrainingFinished]


def test_node_that_cannot_keep_it_stops(daemon, monkeypatch) -> None:
    def full(_measurement) -> None:
        raise VaultError("The disk is full.")

    monkeypatch.setattr(daemon.vault.measurements, "record", full)
    trained(daemon, 2)
    assert [str(failure) for failure in daemon.failures] == ["The disk is full."]
    assert daemon.heard == []
