"""What a node answers its owner, over the machine of a node that finished a study."""

import asyncio
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.town import Town, manifest, phase, real

from pnyx.errors import ConsentError, PnyxError
from pnyx.node.answers import Answers, ledger_lines
from pnyx.node.bundle import read_bundle
from pnyx.node.control import (
    NO_RING,
    ConvictedNode,
    Decide,
    Export,
    Ledger,
    OwnAccuracy,
    Propose,
    Result,
    StalledDraw,
    Status,
    Stop,
    Stopping,
    Studies,
)
from pnyx.node.trainer import TaskFailed
from pnyx.primitives import codec
from pnyx.protocol.events import DrawStalled, Event, Notice, RequestRefused, StudyProposed
from pnyx.protocol.evidence.docket import Conviction
from pnyx.protocol.evidence.proofs import Offence
from pnyx.protocol.models import model_name
from pnyx.sandbox import Confinement
from pnyx.vault import Measurement, StudyRequest, Vault

LENGTH = 9
NOW = 1000.0


@lru_cache
def town() -> Town:
    """Nine nodes that finished a study of two rounds."""
    found = Town(make=real)
    study = found.propose(plan=manifest(LENGTH, [phase(LENGTH, rounds=2)]))
    assert found.run(found.finished(study))
    return found


class FakeDaemon:
    """The daemon's surface over a machine that nobody drives any more."""

    def __init__(self, directory: Path, answers: Answers) -> None:
        self.machine = town().machines[0]
        self.node_id = self.machine.node_id
        self.ring = NO_RING
        self.network = SimpleNamespace(name="testers", census=self.machine.census)
        self.transport = SimpleNamespace(port=7400, peers=(b"p",))
        self.confinement = Confinement(landlock_version=0, system_calls=True, limits=True)
        self.vault = Vault.open(directory, b"k" * 32)
        self.decisions = self
        self.tasks = SimpleNamespace(troubles={})
        self.calls: list[Any] = []
        self._answers = answers

    def decide(self, study: bytes, manifest: bytes, *, accept: bool) -> None:
        assert self.machine.studies[study].signed.body == manifest
        self.calls.append((study, accept))

    def withdraw(self, study: bytes) -> None:
        self.calls.append((study, "withdraw"))

    def deliver(self, event: Event) -> None:
        self.calls.append(event)
        if isinstance(event, StudyProposed) and event.manifest == b"bad":
            self._answers.observe(RequestRefused("it is bad"))

    def model_of(self, name: bytes) -> bytes:
        return b"".join(town().parcels[0].chunks(name))

    async def settled(self) -> None:
        pass

    def stop(self) -> None:
        self.calls.append("stop")


class Asked:
    """Answers with their daemon, asked synchronously."""

    def __init__(self, directory: Path) -> None:
        self.noticed: list[Notice] = []
        self.answers = Answers(self.noticed.append)
        self.daemon = FakeDaemon(directory, self.answers)
        self.answers.attach(self.daemon)
        (self.study,) = self.daemon.machine.studies

    def __call__(self, request) -> Any:
        return asyncio.run(self.answers.answer(request))


@pytest.fixture
def ask(tmp_path):
    asked = Asked(tmp_path)
    yield asked
    asked.daemon.vault.close()


def consent(ask: Asked) -> None:
    request = StudyRequest(
        study=ask.study, purpose="x", columns={"c": ("a",)}, epsilon=float("inf"), rounds=2
    )
    ask.daemon.vault.consents.record(
        request, accepted=True, decided_by="owner", now=NOW, expires=2 * NOW
    )


def debit(ask: Asked, round_number: int) -> None:
    ask.daemon.vault.ledger.debit(
        ask.study,
        round_number,
        1,
        phase="train",
        bytes_planned=100,
        rho=float("inf"),
        now=NOW,
    )


def test_status_counts(ask, monkeypatch) -> None:
    (state,) = ask.daemon.machine.studies.values()
    assert state.finished
    assert ask(Status()).studies_asking == 0, "a finished study asks nobody any more"
    monkeypatch.setattr(state, "finished", False)
    status = ask(Status())
    assert (status.network, status.nodes_enrolled, status.port) == ("testers", 9, 7400)
    assert (status.studies, status.studies_asking, status.contributions_sent) == (1, 1, 0)
    assert status.beacon_known
    assert status.sandbox == "reduced: files and network are not barred by Landlock"
    assert status.confinement == ask.daemon.confinement
    consent(ask)
    debit(ask, 1)
    status = ask(Status())
    assert (status.studies_asking, status.contributions_sent) == (0, 1)


def test_study_is_summarised_with_the_owners_decision(ask) -> None:
    (summary,) = ask(Studies())
    assert (summary.decision, summary.decided_by) == ("asks", "nobody")
    assert (summary.rounds, summary.rounds_certified, summary.finished) == (2, 2, True)
    consent(ask)
    (summary,) = ask(Studies())
    assert (summary.decision, summary.decided_by) == ("accepted", "owner")


def test_owners_are_told_why_their_node_contributed_nothing(ask) -> None:
    assert ask(Result(ask.study.hex())).summary.trouble == ""
    ask.daemon.tasks.troubles[ask.study] = TaskFailed(ask.study, 2, "Training gave NaN.")
    assert ask(Result(ask.study.hex())).summary.trouble == "round 2: Training gave NaN."


@pytest.mark.parametrize(
    ("decision", "expected"), [("accept", True), ("decline", False), ("withdraw", "withdraw")]
)
def test_decision_reaches_the_daemon(ask, decision, expected) -> None:
    ask(Decide(ask.study.hex()[:6], decision))
    assert ask.daemon.calls == [(ask.study, expected)]


def test_unknown_study_is_named(ask) -> None:
    for request in (Decide("zz", "accept"), Result("zz"), Export("zz")):
        with pytest.raises(ConsentError, match="Study zz is not known"):
            ask(request)
    assert ask.daemon.calls == []


def test_no_digits_name_no_study(ask) -> None:
    """Not even where there is one study only: an empty variable of a script is a slip."""
    with pytest.raises(ConsentError, match="Name a study by the first digits"):
        ask(Decide("", "accept"))


def test_ambiguous_digits_are_refused(ask, monkeypatch) -> None:
    state = ask.daemon.machine.studies[ask.study]
    twins = {ask.study: state, ask.study[:-1] + b"\x00": state}
    monkeypatch.setattr(ask.daemon, "machine", SimpleNamespace(studies=twins))
    with pytest.raises(ConsentError, match="more digits"):
        ask(Result(ask.study.hex()[:6]))


def test_result_lists_certified_rounds(ask) -> None:
    result = ask(Result(ask.study.hex()))
    assert [r.round_number for r in result.rounds] == [1, 2]
    assert all(r.contributors >= 3 and r.kind == "train" for r in result.rounds)
    assert result.model == b"", "it was not asked for"
    asked = ask(Result(ask.study.hex(), model=True))
    assert model_name(asked.model).hex() == asked.model_hash


def test_result_has_what_the_owner_measured(ask) -> None:
    assert ask(Result(ask.study.hex())).own is None
    ask.daemon.vault.measurements.record(
        Measurement(
            study=ask.study,
            round_number=2,
            alone=0.9,
            shared=0.8,
            personalised=0.95,
            held_out=30,
            at=NOW,
        )
    )
    assert ask(Result(ask.study.hex())).own == OwnAccuracy(0.9, 0.8, 0.95, 30)


def test_result_names_who_is_convicted(ask, monkeypatch) -> None:
    assert ask(Result(ask.study.hex())).convicted == ()
    machine = ask.daemon.machine
    found = (Conviction(3, Offence.WRONG_SHARE, b"e" * 32, machine.census.node_ids[3]),)
    known = {"studies": machine.studies, "stalled": machine.stalled}
    monkeypatch.setattr(ask.daemon, "machine", SimpleNamespace(convictions=found, **known))
    assert ask(Result(ask.study.hex())).convicted == (
        ConvictedNode(machine.census.node_ids[3].hex(), Offence.WRONG_SHARE, (b"e" * 32).hex()),
    )


def test_result_names_who_stalled_a_draw(ask) -> None:
    assert ask(Result(ask.study.hex())).stalled == ()
    lists, node = ask.daemon.machine.actor_lists, b"\xab" * 32
    lists._stalled.extend(
        DrawStalled(study, 2, 1, node, "setter") for study in (b"other", ask.study)
    )
    assert ask(Result(ask.study.hex())).stalled == (StalledDraw(2, 1, node.hex(), "setter"),)


def test_exported_bundle_holds_the_chain(ask) -> None:
    bundle = read_bundle(ask(Export(ask.study.hex())).content)
    assert len(bundle.records) == 3


def test_nothing_is_exported_before_the_first_beacon(ask, monkeypatch) -> None:
    state = ask.daemon.machine.studies[ask.study]
    chain = SimpleNamespace(records=())
    epochs = SimpleNamespace(chain=chain)
    early = SimpleNamespace(studies={ask.study: state}, epochs=epochs)
    monkeypatch.setattr(ask.daemon, "machine", early)
    with pytest.raises(PnyxError, match="no certified round"):
        ask(Export(ask.study.hex()))


def test_refused_proposal_says_why(ask) -> None:
    with pytest.raises(PnyxError, match=r"cannot be proposed: it is bad\.$"):
        ask(Propose(b"bad", b""))
    assert ask.noticed == [RequestRefused("it is bad")]


def test_proposal_is_delivered_and_named(ask) -> None:
    body = ask.daemon.machine.studies[ask.study].signed.body
    assert ask(Propose(body, b"m")).study == ask.study.hex()
    assert ask.daemon.calls == [StudyProposed(body, b"m")]
    assert codec.encode(ask.daemon.machine.studies[ask.study].manifest) == body


def test_ledger_says_what_became_of_each_contribution(ask) -> None:
    consent(ask)
    ledger = ask.daemon.vault.ledger
    debit(ask, 1)
    debit(ask, 2)
    ledger.acknowledge(ask.study, 1, 1, receipts=6, now=NOW)
    assert [line.state for line in ask(Ledger())] == ["acknowledged", "debited"]
    ledger.count(ask.study, 1, 1, record=b"r" * 32, now=NOW)
    ledger.abort(ask.study, 2, 1, certificate=b"c" * 32, now=NOW)
    lines = ledger_lines(ask.daemon.vault)
    assert [line.state for line in lines] == ["counted", "aborted"]
    assert lines[0].epsilon is None


def test_stop_stops(ask) -> None:
    assert isinstance(ask(Stop()), Stopping)
    assert ask.daemon.calls == ["stop"]


def test_answers_need_a_daemon() -> None:
    with pytest.raises(RuntimeError):
        asyncio.run(Answers(print).answer(Status()))
