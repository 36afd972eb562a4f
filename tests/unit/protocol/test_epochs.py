import pytest
from msgspec.structs import replace
from tests.support.aborts import abort_of, handover_of
from tests.support.epochs import AUTHORITY, LENGTH_S, EpochTown
from tests.support.records import record
from tests.support.town import manifest, people

from pnyx.errors import RuleBroken
from pnyx.primitives import codec
from pnyx.protocol.censuses import Censuses, fork_of
from pnyx.protocol.epochs import ASK_AFTER_S, BEGUN, QUESTIONS, EpochChain, EpochClock
from pnyx.protocol.events import ConsentGiven, RequestRefused
from pnyx.protocol.gossip import item_id
from pnyx.protocol.identity import sign_body
from pnyx.protocol.messages import (
    Announce,
    Evidence,
    Instance,
    Items,
    NodeRecord,
    Pull,
    RoundKey,
    Step,
    TwoBodies,
    ViewChange,
)
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round.active import ActiveRound
from pnyx.protocol.study import genesis_plan

FOLK = people(9, EpochTown().size)
PARAMS = replace(ProtocolParams(), epoch_length_s=LENGTH_S)


def chain() -> EpochChain:
    return EpochChain(Censuses(FOLK.census, AUTHORITY.public_key, AUTHORITY), AUTHORITY)


def begun(count: int) -> EpochChain:
    made = chain()
    for _ in range(count):
        made.accept(record(FOLK, made.plan))
    return made


def test_plans_of_the_chain():
    made = begun(2)
    assert made.number == 1
    assert made.plan_at(0) == genesis_plan(FOLK.census)
    assert made.plan_at(2) == made.plan
    assert made.plan_at(3) is None
    assert made.plan_at(2, 2) is None
    assert made.census_at(0) is made.census_at(1) is FOLK.census
    assert made.census_at(2) is None
    assert made.plan.epoch == 1
    assert made.plan.round_number == 2


def test_an_attempt_that_was_handed_over():
    made = begun(1)
    first = made.plan
    handover = handover_of(FOLK, first)
    again = made.hand_over(handover)
    assert (again.attempt, again.round_number) == (2, 1)
    assert made.plan_at(1, 2) == again
    assert made.plan_at(1, 3) is None
    with pytest.raises(RuleBroken, match="not the newest"):
        made.hand_over(handover)
    with pytest.raises(RuleBroken, match="was handed over"):
        made.accept(record(FOLK, first))
    third = made.hand_over(handover_of(FOLK, first, again))
    assert third.attempt == 3
    with pytest.raises(RuleBroken, match="was handed over"):
        made.accept(record(FOLK, again))
    assert made.accept(record(FOLK, third)).number == 1


def test_attempts_are_learnt_from_the_record_of_the_last():
    made, other = begun(1), begun(1)
    again = other.hand_over(handover_of(FOLK, other.plan))
    third = other.hand_over(handover_of(FOLK, made.plan, again))
    assert made.accept(record(FOLK, third)).number == 1
    assert made.plan_at(1, 2) == again
    assert made.plan_at(1, 3) == third


def test_the_record_of_an_epoch_is_not_aborted():
    made = begun(1)
    aborted = replace(record(FOLK, made.plan), abort=abort_of(FOLK, made.plan))
    with pytest.raises(RuleBroken, match="not aborted"):
        made.accept(aborted)


def test_the_genesis_is_not_handed_over():
    made = chain()
    with pytest.raises(RuleBroken, match="to nobody"):
        made.hand_over(handover_of(FOLK, made.plan))


def test_a_census_that_is_not_known_yet():
    made = begun(1)
    following = record(FOLK, made.plan, next_census=b"r" * 32)
    assert made.accept(following) is None
    assert made.missing == b"r" * 32
    assert made.number == 0


def clock(restored=None, offset=0.0, now=0.0) -> EpochClock:
    return EpochClock(PARAMS, offset, restored or {}, now)


def test_when_an_epoch_is_over():
    made, timed = begun(1), clock()
    assert timed.due is None
    assert timed.is_due(made.plan, 0.0)
    stored = timed.begin(made.newest, 5.0)
    assert timed.due == 5.0 + LENGTH_S
    assert not timed.is_due(made.plan, timed.due - 1)
    assert timed.is_due(made.plan, timed.due)
    again = clock({BEGUN: stored}, offset=100.0, now=0.0)
    assert again.begin(made.newest, 0.0) is None
    assert again.due == 5.0 - 100.0 + LENGTH_S
    ahead = clock({BEGUN: stored}, offset=-100.0, now=0.0)
    ahead.begin(made.newest, 3.0)
    assert ahead.due == 3.0 + LENGTH_S, "a clock put back makes no epoch longer"
    assert again.begin(begun(2).newest, 7.0) is not None


def test_f_plus_one_early_members_are_followed():
    made, timed = begun(1), clock()
    timed.begin(made.newest, 0.0)
    outsider = next(i for i in range(9) if i not in made.plan.committee)
    members = made.plan.committee[:2]
    for sender in (outsider, members[0], members[0]):
        timed.hear(made.plan, sender)
        assert not timed.is_due(made.plan, 1.0)
    timed.hear(made.plan, members[1])
    assert timed.is_due(made.plan, 1.0)


def test_when_a_peer_is_asked():
    made, timed = begun(1), clock(now=0.0)
    assert timed.next_question == ASK_AFTER_S
    timed.begin(made.newest, 0.0)
    assert timed.next_question == LENGTH_S + ASK_AFTER_S
    assert not timed.asks(LENGTH_S)
    timed.fell_behind(3.0)
    asked = [timed.asks(3.0 + PARAMS.gossip_interval_s * turn) for turn in range(QUESTIONS + 1)]
    assert asked == [True] * QUESTIONS + [False]


# --- in the machine -----------------------------------------------------------------------------


def in_epoch(number: int, **terms) -> EpochTown:
    town = EpochTown(**terms)
    assert town.run(town.in_epoch(number), seconds=(number + 1) * LENGTH_S)
    return town


def item(content) -> Items:
    return Items((codec.encode(content),))


def test_records_of_past_and_future():
    town = in_epoch(0)
    made = EpochChain(Censuses(town.genesis, b"", AUTHORITY), AUTHORITY)
    made.accept(town.machines[0].epoch_record)
    records = []
    for _ in range(2):
        records.append(record(FOLK, made.plan))
        made.accept(records[-1])
    machine = town.machines[0]
    town.inject(1, 0, item(records[1]))
    assert machine.epochs.clock.next_question == town.now
    assert machine.epochs.chain.number == 0
    town.inject(1, 0, item(records[0]))
    town.inject(1, 0, item(records[1]))
    assert machine.epochs.chain.number == 2
    town.inject(1, 0, item(record(FOLK, genesis_plan(FOLK.census), metrics=(1,))))
    assert machine.epochs.chain.number == 2
    assert town.rules() == set()


def test_handovers_of_past_and_future_and_over_a_restart():
    town = in_epoch(0)
    machine = town.machines[0]
    plan = machine.epochs.chain.plan
    handover = handover_of(FOLK, plan)
    for number in (0, 3):
        town.inject(1, 0, item(replace(handover, round_number=number)))
        assert machine.epochs.chain.plan == plan
    for _ in range(2):
        town.inject(1, 0, item(handover))
    again = machine.epochs.chain.plan
    assert again.attempt == 2
    town.inject(1, 0, item(handover_of(FOLK, plan, again)))
    third = machine.epochs.chain.plan
    assert third.attempt == 3
    for before in (plan, again):
        sent = town.inject(1, 0, Pull(before.context, Step.OPEN))
        assert len(sent) == 1, "who still asks about an attempt hears what ended it"
    town.crash(0)
    town.restart(0)
    town.run(seconds=0.001)
    machine = town.machines[0]
    assert machine.epochs.chain.plan == third
    town.inject(1, 0, item(record(FOLK, third)))
    assert machine.epochs.chain.number == 1
    assert not any(name.startswith("chain/epoch-handover") for name in town.stored[0])
    town.inject(1, 0, item(handover))
    for before in (plan, again, third):
        sent = town.inject(1, 0, Pull(before.context, Step.OPEN))
        assert len(sent) == 1, "and then the record"
    assert town.rules() == set()


def test_a_handover_goes_with_the_record_that_carries_it_with_other_signatures():
    town = in_epoch(0)
    machine = town.machines[0]
    plan = machine.epochs.chain.plan
    few = plan.size.handover_quorum
    held, other = (handover_of(FOLK, plan, signers=range(at, few + at)) for at in (0, 1))
    town.inject(1, 0, item(held))
    assert item_id(codec.encode(held)) in machine._gossip
    following = begun(0)
    following.accept(machine.epoch_record)
    town.inject(1, 0, item(record(FOLK, following.hand_over(other))))
    assert machine.epochs.chain.number == 1
    assert item_id(codec.encode(held)) not in machine._gossip


def test_who_missed_handovers_learns_of_them_from_the_record():
    town = in_epoch(0)
    chain_ = town.machines[0].epochs.chain
    other = EpochChain(Censuses(town.genesis, b"", AUTHORITY), AUTHORITY)
    other.accept(town.machines[0].epoch_record)
    again = other.hand_over(handover_of(FOLK, other.plan))
    town.inject(1, 0, item(record(FOLK, again)))
    assert chain_.number == 1


def test_a_question_about_what_has_not_ended_is_not_kept():
    town = in_epoch(0)
    machine = town.machines[0]
    assert town.inject(1, 0, Pull(machine.epochs.chain.plan.context, Step.DONE)) == []
    assert not machine.rounds.early


def test_a_large_census_is_not_gossiped():
    town = in_epoch(0)
    successor = town.publish(range(9))
    machine = town.machines[0]
    machine.epochs._params = replace(town.params, item_bytes_max=100)
    machine.epochs.on_census(successor, town.now)
    assert machine.epochs.item_of(successor.root) is None
    assert machine.epochs.censuses.get(successor.root) is not None


def test_a_census_is_told_to_who_asks():
    town = in_epoch(0)
    successor = town.publish(range(9))
    town.inject(1, 0, item(successor))
    assert len(town.inject(2, 0, Pull(successor.root, Step.DONE))) == 1
    town.inject(1, 0, item(successor))
    assert town.machines[0].epochs.latest.root == successor.root


def test_a_pinned_census_is_fetched():
    town = in_epoch(0)
    successor = town.publish(range(9))
    plan = town.machines[0].epochs.chain.plan
    pinned = record(FOLK, plan, next_census=successor.root)
    town.inject(1, 0, item(pinned))
    machine = town.machines[0]
    assert machine.epochs.chain.missing == successor.root
    for index in range(1, 9):
        town.machines[index].epochs.on_census(successor, town.now)
        town.machines[index].epochs.on_record(pinned, bytes(32), town.now)
    assert town.run(lambda: machine.epochs.chain.number == 1, seconds=3.0)
    assert machine.census.root == successor.root


def test_evidence_follows_a_node_into_the_next_census():
    town = in_epoch(0)
    plan = genesis_plan(town.genesis)
    culprit = plan.committee[0]
    node = town.census.node_ids[culprit]
    keys = [
        sign_body(
            town.cryptos[culprit],
            town.census.network,
            node,
            RoundKey(plan.context, 0, bytes((at,)) * 32, bytes(32), bytes(32)),
        )
        for at in (1, 2)
    ]
    evidence = Evidence(plan.study, 0, 1, culprit, TwoBodies(*keys))
    members = [index for index in range(9) if index != (culprit + 1) % 9]
    town.publish(members)
    for index in range(9):
        town.inject((index + 1) % 9, index, item(evidence))
        town.inject((index + 1) % 9, index, item(town.signed[1]))
    dropped = (culprit + 1) % 9
    town.run(lambda: 1 in town.machines[culprit].epoch_beacons, seconds=2 * LENGTH_S)
    machine = town.machines[(culprit + 2) % 9]
    assert machine.census.root == town.signed[1].root
    place = machine.census.index_of(node)
    assert machine.dockets.culprits(machine.census, b"s" * 32) == (place,)
    assert machine.dockets.convicts(machine.census, place, b"s" * 32)
    assert not machine.dockets.convicts(machine.census, (place + 1) % 8, b"s" * 32)
    assert machine.convicted == {node: True}
    assert [each.node for each in machine.convictions] == [node]
    assert machine.rounds.away_in(machine.census, b"s" * 32)(place)
    assert machine.dockets.of(machine.census).prefix.startswith("chain/evidence-")
    assert town.census.node_ids[dropped] not in machine.census


def test_who_is_not_in_a_study_takes_no_part():
    town = in_epoch(0, count=10, first=range(9))
    study = town.propose()
    town.run(lambda: study in town.machines[1].studies, seconds=5.0)
    successor = town.publish(range(10))
    for index in range(9):
        town.inject((index + 1) % 9, index, item(successor))
    town.join(9, successor)
    assert town.run(town.in_epoch(1), seconds=2 * LENGTH_S)
    assert town.run(town.finished(study), seconds=60)
    town.handle(9, ConsentGiven(study))
    assert any("enrolled after" in e.reason for e in town.effects(RequestRefused, 9))
    state = town.machines[0].studies[study]
    plan = state.plan_at(1, 1, town.params)
    town.machines[0].rounds.active[plan.context] = ActiveRound(plan, None, None, None)
    town.inject(9, 0, ViewChange(plan.context, 0, Step.OPEN, Instance.OPEN, None))
    assert "the peer is not in the census of this round" in town.rules()


def test_a_study_of_another_epoch_is_not_proposed():
    town = in_epoch(1)
    study = town.propose(0, manifest(9, epoch=0))
    ahead = town.propose(0, manifest(9, epoch=2))
    town.run(seconds=2.0)
    assert not {study, ahead} & set(town.machines[0].studies)
    assert len(town.effects(RequestRefused, 0)) == 2


def test_a_study_of_an_epoch_to_come_waits_to_be_told_again():
    town = in_epoch(0)
    asked = replace(manifest(9, epoch=1), proposer=town.census.node_ids[2])
    signed = sign_body(town.cryptos[2], town.census.network, town.census.node_ids[2], asked)
    town.inject(2, 0, item(signed))
    assert not town.machines[0].studies
    town.run(lambda: 1 in town.machines[0].epoch_beacons, seconds=2 * LENGTH_S)
    town.inject(2, 0, item(signed))
    assert len(town.machines[0].studies) == 1


def test_studies_that_come_too_late_are_kept_within_bounds():
    town = in_epoch(2)
    for at in range(66):
        asked = replace(manifest(9, nonce=bytes([at]) * 32), proposer=town.census.node_ids[2])
        signed = sign_body(town.cryptos[2], town.census.network, town.census.node_ids[2], asked)
        town.inject(2, 0, item(signed))
    assert len(town.machines[0].study_keeper._stale) == 64
    assert not town.machines[0].studies


def test_addresses_of_who_left_are_forgotten():
    town = in_epoch(0)
    successor = town.publish(range(8))
    for index in range(9):
        town.inject((index + 1) % 9, index, item(successor))
    town.run(lambda: 1 in town.machines[0].epoch_beacons, seconds=2 * LENGTH_S)
    left = town.census.node_ids[8]
    address = sign_body(
        town.cryptos[8], town.census.network, left, NodeRecord(town.census.network, 9, "h", 1)
    )
    town.inject(1, 0, item(address))
    assert "the address is of a node that left the census" in town.rules()
    assert left not in town.machines[0]._peers()
    assert town.machines[8].index == -1 or 1 not in town.machines[8].epoch_beacons


def test_what_nobody_enrolled_signs_or_joins():
    town = in_epoch(0)
    stranger = replace(
        sign_body(
            town.cryptos[1],
            town.census.network,
            b"x" * 32,
            NodeRecord(town.census.network, 9, "h", 1),
        )
    )
    town.inject(1, 0, item(stranger))
    assert any("is not in the census" in rule for rule in town.rules())
    assert town.machines[0].joined(b"s" * 32) == ()


def test_a_fork_that_is_known_is_not_asked_for_again():
    town = in_epoch(0)
    one, two = (town.sign(members, 1, town.signed[0].root) for members in (range(8), range(9)))
    town.inject(1, 0, item(fork_of(one, two)))
    other = fork_of(two, town.sign(range(7), 1, town.signed[0].root))
    town.inject(1, 0, item(other))
    asked = town.inject(1, 0, Announce((item_id(codec.encode(other)),)))
    assert asked == []
    assert list(town.machines[0].epochs.censuses.forks) == [1]
