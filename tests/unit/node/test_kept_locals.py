"""A node keeps what a task trained for its owner, and gives the protocol the rest."""

import numpy as np
import pytest
from tests.support.town import manifest
from tests.unit.node.test_measured import Node

from pnyx.config import ConsentPolicy
from pnyx.errors import TrainingError
from pnyx.learning.task import TrainingOutcome
from pnyx.node.decisions import Decisions
from pnyx.primitives import codec
from pnyx.protocol.events import ConsentDeclined, StartTraining, TrainingFailed, TrainingFinished
from pnyx.vault import StudyRequest, Vault

STUDY = b"s" * 32
MANIFEST = codec.encode(manifest(5))  # of one training round
STARTED = StartTraining(STUDY, 1, MANIFEST, b"model", attempt=1)
OUTCOME = TrainingOutcome(np.arange(5, dtype="<i8").tobytes(), {}, local=b"an owner's own")


@pytest.fixture
def node(tmp_path):
    with Vault.open(tmp_path / "vault", bytes(range(32))) as vault:
        request = StudyRequest(
            study=STUDY, purpose="p", columns={"c": ("x",)}, epsilon=1.0, rounds=9
        )
        vault.consents.record(request, accepted=True, decided_by="owner", now=0.0, expires=1e12)
        yield Node(vault)


def test_local_parameters_go_to_the_vault_and_nowhere_else(node):
    node.tasks._on_trained(STARTED, OUTCOME)
    assert node.vault.locals.get(STUDY) == b"an owner's own"
    (finished,) = node.heard
    assert isinstance(finished, TrainingFinished)
    assert finished.vector.tolist() == [0, 1, 2, 3, 4]


def test_a_task_without_any_leaves_what_was_kept(node):
    node.tasks._on_trained(STARTED, OUTCOME)
    node.tasks._on_trained(STARTED, TrainingOutcome(OUTCOME.vector, {}))
    assert node.vault.locals.get(STUDY) == b"an owner's own"


def test_a_task_that_ends_after_the_withdrawal_leaves_nothing(node):
    node.tasks._on_trained(STARTED, OUTCOME)
    Decisions(node.vault, ConsentPolicy(), node.heard.append).withdraw(STUDY)
    assert node.vault.locals.get(STUDY) == b""
    node.tasks._on_trained(STARTED, OUTCOME)
    assert node.vault.locals.get(STUDY) == b""
    kinds = [type(event) for event in node.heard]
    assert kinds == [TrainingFinished, ConsentDeclined, TrainingFailed]


def test_a_failed_task_says_why(node):
    node.tasks._on_trained(STARTED, TrainingError("It could not be."))
    (failed,) = node.heard
    assert isinstance(failed, TrainingFailed)
    assert "It could not be." in repr(failed)
    (told,) = node.noticed
    assert (told.round_number, told.reason) == (1, "It could not be.")
    assert node.tasks.troubles == {STUDY: told}
