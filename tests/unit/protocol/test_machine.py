"""The node's machine: what it makes of events, and what it drops."""

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.town import NETWORK, AddRule, Town, manifest, phase, real

from pnyx.errors import WrongContext
from pnyx.primitives import codec
from pnyx.primitives.signature import QuorumCertificate
from pnyx.protocol import round_keeper
from pnyx.protocol.events import (
    Computed,
    ConsentDeclined,
    ConsentGiven,
    DebitRecorded,
    DebitRefused,
    EpochOpened,
    Event,
    LearnAddress,
    MessageReceived,
    MessageRejected,
    PeerReachable,
    PeerUnreachable,
    RequestRefused,
    RoundCertified,
    Send,
    StartTraining,
    StudyFinished,
    StudyProposed,
    TimerExpired,
    TrainingFailed,
    TrainingFinished,
)
from pnyx.protocol.gossip import item_id
from pnyx.protocol.identity import sign_body
from pnyx.protocol.machine import NodeMachine
from pnyx.protocol.manifest import study_id
from pnyx.protocol.messages import (
    Announce,
    ChunkRequest,
    Contribution,
    Decision,
    Instance,
    Items,
    Join,
    MemberInput,
    Message,
    NodeRecord,
    Pull,
    Receipt,
    Record,
    Relay,
    Request,
    RoundKey,
    SealedShare,
    Signed,
    Step,
    Vote,
)
from pnyx.protocol.noise import Noise
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round.active import ActiveRound
from pnyx.protocol.round_keeper import _StudyView
from pnyx.protocol.study import genesis_plan


def ready(**terms) -> tuple[Town, bytes]:
    """A town whose study is finished."""
    town = Town(**terms)
    study = town.propose()
    assert town.run(town.finished(study))
    return town, study


def item(town: Town, signer: int, body) -> bytes:
    return codec.encode(
        sign_body(town.cryptos[signer], NETWORK, town.census.node_ids[signer], body)
    )


def rejected(effects) -> list[str]:
    return [effect.rule for effect in effects if isinstance(effect, MessageRejected)]


@pytest.mark.parametrize("make", [None, real])
def test_a_study_from_proposal_to_model(make):
    town, study = ready(**({"make": make} if make else {}))
    model = town.model(study)
    assert sum(model) == len(town.certified()[0:1]) * town.certified()[0].contributors
    assert max(model) == 1
    assert all(town.model(study, index) == model for index in range(town.count))
    assert town.rules() == set()
    assert town.blamed() == set()
    assert len(town.effects(StudyFinished)) == town.count
    assert len(town.effects(EpochOpened)) == town.count
    assert len(town.effects(LearnAddress, 0)) == town.count - 1


def test_metrics_are_published_and_evaluation_changes_no_model():
    town = Town()
    plan = manifest(9, [phase(9, metrics_length=4, kind="evaluate"), phase(9)])
    study = town.propose(plan=plan)
    assert town.run(town.finished(study))
    first, second = town.certified()
    assert len(first.metrics) == 4
    assert sum(first.metrics) <= first.contributors
    assert second.metrics == ()
    assert sum(town.model(study)) == second.contributors


def test_a_node_must_be_in_the_census():
    town = Town()
    with pytest.raises(ValueError, match="not in the census"):
        NodeMachine(
            node_id=bytes(32),
            census=town.census,
            crypto=town.cryptos[0],
            rule=AddRule(),
            params=ProtocolParams(),
            seed=bytes(32),
            serve=True,
            address=None,
            address_sequence=0,
            contacts=(),
            restored={},
            now=0.0,
        )


def test_an_unknown_event_is_a_bug():
    with pytest.raises(TypeError, match="unknown event"):
        Town().handle(0, Event())


@pytest.mark.parametrize(
    ("payload", "rule"),
    [
        (b"", "Cannot decode"),
        (b"\x00" * 50, "Cannot decode"),
        (b"\xdd\xff\xff\xff\xff" + bytes(20), "Cannot decode"),
        (b"\x91" * 5000, "Cannot decode"),
        (bytes(8 * 1024 * 1024 + 1), "exceeds the limit"),
    ],
)
def test_malformed_bytes_are_dropped_and_noted(payload, rule):
    town = Town()
    town.run(seconds=0.1)
    effects = town.inject(1, 0, payload)
    assert [type(effect) for effect in effects] == [MessageRejected]
    assert rule in effects[0].rule


def test_a_peer_outside_the_census():
    town = Town()
    effects = town.handle(0, MessageReceived(b"x" * 32, codec.encode(Announce(()))))
    assert any("not in the census" in rule for rule in rejected(effects))


def test_early_messages_are_kept_within_bounds():
    params = ProtocolParams(early_messages_max=5, early_bytes_max=1000)
    town = Town(params=params)
    town.run(seconds=0.1)
    machine = town.machines[0]
    for at in range(20):
        town.inject(1, 0, Pull(at.to_bytes(32, "big"), Step.OPEN))
    assert len(machine.rounds.early) == 5
    big = Relay(b"e" * 32, Signed(b"n" * 32, bytes(600), bytes(64)), ())
    for _ in range(3):
        town.inject(1, 0, big)
    assert machine.rounds.early.size <= 1000
    assert len(machine.rounds.early) == 1


def test_early_messages_are_taken_when_the_round_opens():
    """Without any retransmission a node that opens a round last still takes part."""
    town = Town(params=ProtocolParams(retransmit_s=1000.0))
    study = town.propose()
    town.run(until=town.in_round(study, 1))
    assert town.run(town.finished(study))
    assert town.certified()[0].contributors >= 5


def test_a_finished_round_answers_with_its_record():
    town, study = ready()
    context = next(iter(town.machines[0].rounds.finished))
    effects = town.inject(1, 0, Pull(context, Step.OPEN))
    (answer,) = [effect for effect in effects if isinstance(effect, Send)]
    assert answer.peer == town.census.node_ids[1]
    assert len(codec.decode(answer.payload, Items, bytes_max=10**6).items) == 1
    vote = town.sent(Vote)[0]
    assert town.inject(1, 0, replace(vote, context=context)) == []
    town.machines[0].rounds.finished[context] = bytes(32)
    assert town.inject(1, 0, Pull(context, Step.OPEN)) == []
    assert study in town.machines[0].studies


def test_finished_rounds_are_remembered_within_bounds(monkeypatch):
    town = Town()
    study = town.propose(plan=manifest(9, [phase(9, rounds=3)]))
    monkeypatch.setattr(round_keeper, "_FINISHED_MAX", 2)
    assert town.run(town.finished(study))
    assert len(town.machines[0].rounds.finished) <= 3


def test_who_refuses_sends_no_join_and_no_contribution():
    town, study = ready(consents=lambda index: index != 4)
    assert town.effects(StartTraining, 4) == []
    assert town.sent(Contribution, 4) == town.sent(Relay, 4) == []
    assert 4 not in town.machines[0].joined(study)
    assert town.model(study)[4] == 0


def test_a_node_that_does_not_serve_sends_no_committee_message():
    town, study = ready(serving=lambda index: index != 2)
    kinds = (MemberInput, Vote)
    assert not any(town.sent(kind, 2) for kind in kinds)
    assert town.sent(MemberInput, 3)
    assert study in town.machines[2].studies


def test_a_refused_debit_sends_nothing():
    town, study = ready(debits=lambda index: index != 4)
    assert town.sent(Contribution, 4) == []
    assert town.model(study)[4] == 0


def test_a_failed_training_sits_the_round_out():
    town = Town()
    study = town.propose()
    town.run(lambda: bool(town.effects(StartTraining)))
    victim = next(at for _, at, e in town.log if isinstance(e, StartTraining))
    town.handle(victim, TrainingFailed(study, 1, "no rows"))
    assert town.run(town.finished(study))
    assert town.model(study)[victim] == 0


def test_answers_to_nothing_are_ignored():
    town, study = ready()
    vector = np.zeros(9, dtype=np.int64)
    for event in (
        TrainingFinished(b"x" * 32, 1, vector),
        TrainingFinished(study, 9, vector),
        DebitRecorded(b"x" * 32),
        DebitRefused(b"x" * 32, ""),
        PeerUnreachable(town.census.node_ids[1]),
        PeerReachable(town.census.node_ids[1]),
    ):
        assert town.handle(0, event) == []


def test_training_for_a_round_without_contributing():
    town = Town(consents=lambda index: index != 0)
    study = town.propose(1)
    town.run(town.in_round(study, 1))
    assert town.handle(0, TrainingFinished(study, 1, np.zeros(9, dtype=np.int64))) == []
    assert town.handle(0, DebitRecorded(town.plan(study).context)) == []


def test_consent_for_an_unknown_study():
    town = Town()
    effects = town.handle(0, ConsentGiven(b"x" * 32))
    assert RequestRefused("this study is not known here") in effects


@pytest.mark.parametrize("stage", ["asked", "trained", "debiting"])
def test_consent_withdrawn_within_the_round_stops_sending(stage):
    """C1: the withdrawal takes effect before the next byte is sent."""
    town = Town()
    study = town.propose()
    town.run(town.in_round(study, 1))
    victim = town.plan(study).contributors[0]
    if stage != "asked":
        town.handle(victim, TrainingFinished(study, 1, np.ones(9, dtype=np.int64)))
    if stage == "debiting":
        town.debits = lambda index: index != victim
    town.handle(victim, ConsentDeclined(study))
    town.handle(victim, DebitRecorded(town.plan(study).context))
    assert town.run(town.finished(study))
    assert town.sent(Contribution, victim) == []
    assert victim not in town.machines[0].joined(study)
    assert town.model(study)[victim] == 0


def test_consent_given_late_and_twice():
    town = Town(consents=lambda index: index != 4)
    study = town.propose(plan=manifest(9, join_window_s=4.0))
    town.run(seconds=2.0)
    town.handle(4, ConsentGiven(study))
    town.handle(4, ConsentGiven(study))
    assert town.run(town.finished(study))
    assert 4 in town.machines[0].joined(study)


def test_a_proposal_that_contradicts_itself():
    town = Town()
    town.run(seconds=0.1)
    own = {"proposer": town.machines[0].node_id}
    body = codec.encode(manifest(9, **own))
    for event, reason in (
        (StudyProposed(body, b"another model"), "another initial model"),
        (StudyProposed(b"junk", b""), "Cannot decode"),
        (StudyProposed(codec.encode(manifest(9)), bytes(72)), "another node"),
        (
            StudyProposed(
                codec.encode(manifest(9, [phase(9, noise=Noise(update_width=3))], **own)), bytes(72)
            ),
            "noise on updates",
        ),
    ):
        (effect,) = town.handle(0, event)
        assert reason in effect.reason


def test_a_proposer_has_a_quota():
    town = Town(params=ProtocolParams(manifests_per_proposer_max=2))
    town.run(seconds=0.1)
    for at in range(3):
        proposer = town.machines[0].node_id
        body = codec.encode(manifest(9, nonce=bytes((at,)) * 32, proposer=proposer))
        effects = town.handle(0, StudyProposed(body, bytes(72)))
    assert [e.reason for e in effects if isinstance(e, RequestRefused)] == [
        "this proposer has too many studies already"
    ]


def test_a_study_signed_by_another_than_its_proposer():
    """Nobody passes for the author of a manifest, or takes it up before its author does."""
    town = Town()
    town.run(seconds=0.1)
    plan = manifest(9, proposer=town.census.node_ids[1])
    effects = town.inject(3, 0, Items((item(town, 2, plan),)))
    assert any("another node than its proposer" in each for each in rejected(effects))
    assert town.machines[0].studies == {}
    town.inject(3, 0, Items((item(town, 1, plan),)))
    state = town.machines[0].studies[study_id(codec.encode(plan))]
    assert state.signed.signer == town.census.node_ids[1]


def test_items_that_are_refused():
    town = Town()
    town.run(seconds=0.1)
    foreign = manifest(9, network=b"x" * 32)
    forged = codec.encode(
        Signed(town.census.node_ids[1], codec.encode(Join(NETWORK, b"s" * 32, 0, True)), bytes(64))
    )
    for bad, rule in (
        (b"junk", "Cannot decode"),
        (forged, "bad signature"),
        (item(town, 1, foreign), "another network"),
        (item(town, 1, RoundKey(b"c" * 32, 0, b"k" * 32, bytes(32), bytes(32))), "Cannot decode"),
    ):
        effects = town.inject(2, 0, Items((bad,)))
        assert any(rule in each for each in rejected(effects)), rule
        assert rejected(town.inject(2, 0, Items((bad,)))) == [], "refused once and for all"


def test_the_highest_sequence_number_counts():
    town = Town()
    town.run(seconds=0.1)
    machine = town.machines[0]
    for sequence, port in ((5, 50), (4, 40), (5, 51), (6, 60)):
        record = NodeRecord(NETWORK, sequence, "h", port)
        town.inject(2, 0, Items((item(town, 1, record),)))
    assert [e.port for e in town.effects(LearnAddress, 0) if e.peer == town.census.node_ids[1]][
        -2:
    ] == [50, 60]
    for sequence, joined in ((1, True), (0, False), (1, False), (2, False)):
        town.inject(2, 0, Items((item(town, 1, Join(NETWORK, b"s" * 32, sequence, joined)),)))
    assert machine.rounds.joins.of(b"s" * 32, town.census.node_ids[1]) == Join(
        NETWORK, b"s" * 32, 2, False
    )


def test_a_join_from_outside_the_census():
    """Reached only through a restored store of another census."""
    town = Town()
    town.run(seconds=0.1)
    join = Join(NETWORK, b"s" * 32, 0, True)
    with pytest.raises(WrongContext, match="outside the census"):
        town.machines[0].study_keeper.on_join(
            Signed(b"x" * 32, codec.encode(join), bytes(64)), join
        )


def test_records_of_the_past_and_of_the_future():
    town, study = ready()
    machine = town.machines[0]
    state = machine.studies[study]
    certificate = state.records[1].certificate
    other = replace(
        certificate, signers=certificate.signers[::-1], signatures=certificate.signatures[::-1]
    )
    past = codec.encode(replace(state.records[1], certificate=other))
    town.inject(2, 0, Items((past,)))
    assert town.inject(2, 0, Announce((item_id(past),))) == [], "not asked for again"
    fresh = Town()
    fresh.propose()
    fresh.run(lambda: study in fresh.machines[0].studies)
    for record in state.records:
        fresh.inject(2, 0, Items((codec.encode(record),)))
    assert fresh.rules() <= {"a record does not continue this chain"}
    lonely = Town()
    lonely.run(seconds=0.1)
    assert lonely.inject(2, 0, Items((codec.encode(state.records[0]),))) == []


def test_a_second_epoch_record_changes_nothing():
    town, _ = ready()
    machine = town.machines[0]
    beacon = machine.epoch_beacons[0]
    record = codec.decode(town.stored[0]["chain/epoch/0"], Record, bytes_max=10**6)
    less = replace(record, joins=(1,))
    assert rejected(town.inject(2, 0, Items((codec.encode(less),)))) == []
    assert machine.epoch_beacons[0] == beacon


def test_a_restart_takes_up_the_chain():
    town = Town()
    study = town.propose(plan=manifest(9, [phase(9, rounds=3)]))
    assert town.run(lambda: len(town.certified(3)) == 1)
    town.crash(3)
    assert town.run(lambda: len(town.certified(0)) >= 2)
    before = dict(town.stored[3])
    town.restart(3)
    assert town.run(town.finished(study))
    assert town.model(study, 3) == town.model(study, 0)
    assert before.keys() >= {"chain/epoch/0"}
    assert town.blamed() == set()


def test_a_restart_signs_nothing_in_rounds_that_are_over():
    town = Town()
    study = town.propose(plan=manifest(9, [phase(9, rounds=2)]))
    assert town.run(town.finished(study))
    town.crash(3)
    town.restart(3)
    before = len(town.sent(MemberInput, 3))
    town.run(seconds=1.0)
    assert len(town.sent(MemberInput, 3)) == before
    assert town.model(study, 3) == town.model(study, 0)


def test_a_node_that_was_away_asks_for_the_model():
    town = Town()
    town.crash(8)
    study = town.propose(plan=manifest(9, [phase(9, rounds=2)]))
    assert town.run(town.finished(study), seconds=3000.0)  # where it is drawn, attempts fail
    town.restart(8)
    assert town.run(town.finished(study))
    assert town.sent(ChunkRequest, 8)
    assert town.model(study, 8) == town.model(study, 0)


def test_a_round_without_a_study_has_no_model():
    town = Town()
    view = _StudyView(town.machines[0].rounds, genesis_plan(town.census), None)
    assert view.joined() == ()
    assert not view.holds_model()
    with pytest.raises(ValueError, match="only in a study"):
        view.next_model(b"", np.zeros(1, dtype=np.int64), 1)
    assert len(genesis_plan(town.census).committee) == 7


def test_what_was_computed_for_a_round_that_is_over_is_dropped():
    town, _ = ready()
    assert town.handle(0, Computed(bytes(32), b"x" * 32, None)) == []


def test_the_machine_names_its_next_deadline():
    town = Town()
    town.handle(0, TimerExpired())
    first = town.machines[0].next_deadline()
    assert 0 < first <= ProtocolParams().gossip_interval_s
    assert town.effects(RoundCertified) == []


def test_a_node_without_an_address_publishes_none():
    town = Town()
    town.machines[0]._address = None
    effects = town.handle(0, TimerExpired())
    assert not any(
        isinstance(codec.decode(e.payload, Message, bytes_max=10**6), Announce)
        for e in effects
        if isinstance(e, Send)
    )


def test_a_restart_of_one_that_refused_and_has_no_model():
    town = Town(consents=lambda index: index != 3)
    study = town.propose()
    assert town.run(town.finished(study))
    town.crash(3)
    for key in [k for k in town.stored[3] if k.endswith("/model")]:
        del town.stored[3][key]
    town.restart(3)
    assert town.run(town.finished(study))
    assert town.sent(Request, 3)


def test_early_messages_of_another_round_stay():
    town = Town()
    town.run(seconds=0.1)
    town.inject(1, 0, Pull(b"e" * 32, Step.OPEN))
    study = town.propose()
    assert town.run(town.finished(study))
    assert len(town.machines[0].rounds.early) >= 1


def test_what_is_known_already_is_no_news():
    town, study = ready()
    machine = town.machines[0]
    signed = machine.studies[study].signed
    machine._on_public(signed)
    assert len(machine.studies) == 1
    assert machine.studies[study].signed is signed


def test_a_record_of_a_later_round_waits():
    town, study = ready()
    late = Town()
    late.propose()
    late.run(lambda: study in late.machines[0].studies)
    record = codec.encode(town.machines[0].studies[study].records[1])
    assert late.inject(2, 0, Items((record,))) == []
    assert late.machines[0].studies[study].records == []


def test_an_active_round_without_roles_ignores_everything():
    town = Town(serving=lambda index: False)
    town.run(seconds=0.1)
    plan = genesis_plan(town.census)
    active = ActiveRound(plan, None, None, None)
    header = Signed(town.census.node_ids[1], b"", bytes(64))
    for message in (
        Relay(plan.context, header, ()),
        Receipt(plan.context, 0, bytes(32), bytes(64)),
        Contribution(plan.context, header, SealedShare(0, b"", ())),
        Decision(plan.context, Instance.OPEN, 0, b"", QuorumCertificate((), ())),
        Pull(plan.context, Step.OPEN),
    ):
        active.handle(1, message, 0.0)
    active.on_computed(b"x" * 32, None, 0.0)
    assert active.next_deadline() is None


def test_consent_for_a_round_that_is_not_open_here():
    town = Town()
    study = town.propose()
    town.run(town.in_round(study, 1))
    town.machines[0].rounds.active.clear()
    assert town.handle(0, ConsentGiven(study)) == []
