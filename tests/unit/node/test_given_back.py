"""The daemon gives the cost of an aborted attempt back, before the next one is debited."""

import math

import pytest

from pnyx.node.daemon import Daemon
from pnyx.protocol.events import AttemptAborted, DebitRecorded, DebitRefused, RecordDebit
from pnyx.vault import Aborted, StudyRequest, Vault

STUDY = b"s" * 32


@pytest.fixture
def daemon(tmp_path):
    with Vault.open(tmp_path / "vault", bytes(range(32))) as vault:
        request = StudyRequest(
            study=STUDY,
            purpose="dpv:AcademicResearch",
            columns={"activity.windows": ("x", "label")},
            epsilon=math.inf,
            rounds=1,
        )
        vault.consents.record(request, accepted=True, decided_by="owner", now=0.0, expires=1e12)
        made = Daemon.__new__(Daemon)
        made.vault = vault
        made.heard = []
        made.deliver = made.heard.append
        made._observer = lambda notice: None
        yield made


def debit(daemon, attempt: int) -> None:
    daemon._debit(RecordDebit(bytes([attempt]) * 32, STUDY, 1, attempt, "train", 1000, math.inf))


def abort(daemon, attempt: int) -> None:
    daemon._carry_out_one(AttemptAborted(STUDY, 1, attempt, b"c" * 32))


def test_cost_is_given_back_once(daemon):
    debit(daemon, 1)
    abort(daemon, 1)
    abort(daemon, 1)  # said again after a restart
    spent = daemon.vault.ledger.spent(STUDY)
    assert (spent.rho, spent.contributions, spent.bytes_planned) == (0.0, 0, 1000)
    assert sum(isinstance(entry, Aborted) for entry in daemon.vault.ledger.entries()) == 1


def test_second_attempt_is_debited_within_the_same_round(daemon):
    debit(daemon, 1)
    abort(daemon, 1)
    debit(daemon, 2)
    assert [type(event) for event in daemon.heard] == [DebitRecorded, DebitRecorded]
    assert daemon.vault.ledger.spent(STUDY).contributions == 1
    debit(daemon, 2)
    assert isinstance(daemon.heard[-1], DebitRefused)


def test_attempt_that_this_node_did_not_contribute_to(daemon):
    abort(daemon, 1)
    assert daemon.vault.ledger.entries() == ()
