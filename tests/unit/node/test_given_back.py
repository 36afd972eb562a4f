"""A node gives the cost of an aborted attempt back, before the next one is debited."""

import math

import pytest

from pnyx.config import ConsentPolicy
from pnyx.node.decisions import Decisions
from pnyx.protocol.events import (
    AttemptAborted,
    ContributionCounted,
    DebitRecorded,
    DebitRefused,
    Event,
    NothingOpened,
    RecordDebit,
)
from pnyx.vault import Aborted, Counted, Debit, StudyRequest, Vault

STUDY = b"s" * 32


class Node:
    """The decisions of a node, whose answers are heard here."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault
        self.heard: list[Event] = []
        self.decisions = Decisions(vault, ConsentPolicy(), self.heard.append)


@pytest.fixture
def node(tmp_path):
    with Vault.open(tmp_path / "vault", bytes(range(32))) as vault:
        request = StudyRequest(
            study=STUDY,
            purpose="dpv:AcademicResearch",
            columns={"activity.windows": ("x", "label")},
            epsilon=math.inf,
            rounds=1,
        )
        vault.consents.record(request, accepted=True, decided_by="owner", now=0.0, expires=1e12)
        yield Node(vault)


def debit(node: Node, attempt: int) -> None:
    context = bytes([attempt]) * 32
    node.decisions.debit(RecordDebit(context, STUDY, 1, attempt, "train", 1000, math.inf))


def abort(node: Node, attempt: int) -> None:
    node.decisions.give_back(AttemptAborted(STUDY, 1, attempt, b"c" * 32))


def test_cost_is_given_back_once(node):
    debit(node, 1)
    abort(node, 1)
    abort(node, 1)  # said again after a restart
    spent = node.vault.ledger.spent(STUDY)
    assert (spent.rho, spent.contributions, spent.bytes_planned) == (0.0, 0, 1000)
    assert sum(isinstance(entry, Aborted) for entry in node.vault.ledger.entries()) == 1


def test_second_attempt_is_debited_within_the_same_round(node):
    debit(node, 1)
    abort(node, 1)
    debit(node, 2)
    assert [type(event) for event in node.heard] == [DebitRecorded, DebitRecorded]
    assert node.vault.ledger.spent(STUDY).contributions == 1
    debit(node, 2)
    assert isinstance(node.heard[-1], DebitRefused)


def test_attempt_that_this_node_did_not_contribute_to(node):
    abort(node, 1)
    assert node.vault.ledger.entries() == ()


def test_a_record_counts_a_contribution_once(node):
    counted = ContributionCounted(STUDY, 1, 1, b"r" * 32)
    node.decisions.count(counted)  # the debit is of another life of this node: nothing is noted
    debit(node, 1)
    for _ in range(2):
        node.decisions.count(counted)
    assert [type(entry) for entry in node.vault.ledger.entries()] == [Debit, Counted]
    assert node.vault.ledger.spent(STUDY).contributions == 1


def test_a_round_below_the_floor_costs_nothing(node):
    debit(node, 1)
    for _ in range(2):
        node.decisions.give_back(NothingOpened(STUDY, 1, 1, b"r" * 32))
    spent = node.vault.ledger.spent(STUDY)
    assert (spent.rho, spent.contributions, spent.bytes_planned) == (0.0, 0, 1000)
    assert sum(isinstance(entry, Aborted) for entry in node.vault.ledger.entries()) == 1
