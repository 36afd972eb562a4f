"""Whole networks through several epochs and censuses, in virtual time."""

from msgspec.structs import replace
from tests.support.epochs import LENGTH_S, EpochTown
from tests.support.town import manifest, phase

from pnyx.protocol.events import CensusLearnt
from pnyx.protocol.messages import Instance, Phase, Vote
from pnyx.protocol.params import ProtocolParams


def same_chain(town):
    beacons = [machine.epoch_beacons for machine in town.living()]
    assert all(found == beacons[0] for found in beacons)
    assert len(set(beacons[0].values())) == len(beacons[0])
    return beacons[0]


def test_epochs_follow_one_another():
    town = EpochTown()
    assert town.run(town.in_epoch(3), seconds=5 * LENGTH_S)
    assert 3 * LENGTH_S <= town.now < 4 * LENGTH_S
    assert sorted(same_chain(town)) == [0, 1, 2, 3]
    assert town.opened(0) == [0, 1, 2, 3]
    assert town.rules() == set()


def test_a_study_keeps_its_epoch_and_the_next_one_takes_the_new():
    town = EpochTown()
    town.run(town.in_epoch(0))
    phases = [phase(9, rounds=4, deadline_s=9.0, target=9, drawn=9)]
    old = town.propose(0, manifest(9, phases, join_window_s=19.0))
    town.run(town.in_epoch(1))
    assert not town.machines[0].studies[old].finished
    new = town.propose_now(1)
    assert town.run(lambda: town.finished(old)() and town.finished(new)(), seconds=120)
    machine = town.machines[4]
    assert [machine.studies[each].manifest.epoch for each in (old, new)] == [0, 1]
    first = machine.studies[new].plan_at(0, 1, town.params)
    assert first.epoch == 1
    assert first.committee == machine.epochs.chain.plan_at(2).committee
    assert sum(town.model(old)) == 4 * 9
    assert town.rules() == set()


def test_committees_and_places_change_with_the_epoch():
    town = EpochTown(count=12)
    town.run(town.in_epoch(2), seconds=4 * LENGTH_S)
    chain = town.machines[0].epochs.chain
    assert len({chain.plan_at(number).committee for number in (1, 2, 3)}) == 3


def test_who_was_away_catches_up():
    town = EpochTown()
    town.run(town.in_epoch(0))
    plan = town.machines[0].epochs.chain.plan
    away = next(i for i in range(9) if i not in plan.committee)
    town.crash(away)
    town.run(lambda: 3 in town.machines[(away + 1) % 9].epoch_beacons, seconds=90)
    town.restart(away)
    assert town.run(town.in_epoch(3), seconds=5.0)
    same_chain(town)


def test_everybody_is_killed_while_the_record_is_made():
    town = EpochTown()
    for moment in (0.01, 0.05, 0.09, 0.13, 0.17, 0.21, 0.25, 0.3):
        number = town.machines[0].epochs.chain.number
        town.run(town.in_epoch(number))
        begun = max(time for time, _, e in town.log if type(e).__name__ == "EpochOpened")
        town.run(seconds=begun + LENGTH_S + moment - town.now)
        for index in range(9):
            town.crash(index)
        town.run(seconds=1.0)
        for index in range(9):
            town.restart(index)
        assert town.run(town.in_epoch(number + 1), seconds=60)
    same_chain(town)
    assert town.blamed() == set()


def test_clocks_far_apart():
    """A member whose clock is behind follows f + 1 others."""
    town = EpochTown()
    town.run(town.in_epoch(0))
    for index in range(5):
        town.machines[index].epochs.clock._begun += 1000.0
    assert town.run(town.in_epoch(1), seconds=2 * LENGTH_S)


def test_a_census_succeeds_and_new_nodes_take_part():
    town = EpochTown(count=12, first=range(9))
    town.run(town.in_epoch(0))
    study = town.propose(0, manifest(12, [phase(12, rounds=3)], join_window_s=15.0))
    dropped = 8
    successor = town.publish([*range(8), 9, 10, 11])
    town.inject(1, 0, item(successor))
    for index in (9, 10, 11):
        town.join(index, successor)
    town.run(town.in_epoch(1), seconds=3 * LENGTH_S)
    living = town.living()
    assert all(machine.census.root == successor.root for machine in living)
    assert len(town.effects(CensusLearnt)) >= 8
    new = town.propose_now(9)
    town.crash(dropped)
    both = lambda: town.finished(study)() and town.finished(new)()  # noqa: E731
    assert town.run(both, seconds=200)
    assert sum(town.model(new)) >= 3
    chain = town.machines[11].epochs.chain
    assert chain.get(0).census.root == town.signed[0].root
    assert town.machines[0].studies[study].census.root == town.signed[0].root


def item(signed):
    from pnyx.primitives import codec
    from pnyx.protocol.messages import Items

    return Items((codec.encode(signed),))


def test_a_newcomer_verifies_the_chain_over_censuses_that_its_file_lacks():
    town = EpochTown(count=11, first=range(9))
    town.run(town.in_epoch(0))
    for number in (1, 2):
        town.inject(1, 0, item(town.publish([*range(9), 9])))
        town.run(town.in_epoch(number), seconds=3 * LENGTH_S)
    last = town.publish([*range(9), 9, 10])
    town.inject(1, 0, item(last))
    town.run(seconds=4.0)
    town.join(10, last)
    assert town.run(town.in_epoch(2), seconds=10.0)
    town.run(town.in_epoch(3), seconds=3 * LENGTH_S)
    assert town.machines[10].index >= 0
    same_chain(town)


def test_after_years_the_chain_is_longer_than_what_is_announced():
    params = replace(ProtocolParams(), gossip_announce_items_max=2)
    town = EpochTown(params=params, length_s=2.0)
    town.run(town.in_epoch(0))
    town.crash(8)
    assert town.run(lambda: 5 in town.machines[0].epoch_beacons, seconds=200)
    town.restart(8)
    assert town.run(town.in_epoch(5), seconds=10.0)


# --- committees that cannot make the record -----------------------------------------------------

PATIENCE_S = 20.0
IMPATIENT = replace(ProtocolParams(), attempt_timeout_s=PATIENCE_S)


def test_a_quorum_that_cannot_close_hands_over():
    """Listed members leave for good; those who come back have no listed key."""
    town = EpochTown(count=15, params=IMPATIENT)
    town.run(town.in_epoch(0))
    plan = town.machines[0].epochs.chain.plan
    late, gone = plan.committee[6], plan.committee[5]
    town.crash(late)
    keys = lambda: town.machines[plan.committee[0]].rounds.active[plan.context].member.keys  # noqa: E731
    town.run(seconds=LENGTH_S - 1)
    assert town.run(
        lambda: plan.context in town.machines[plan.committee[0]].rounds.active and keys(),
        seconds=60,
    )
    town.crash(gone)
    town.restart(late)
    assert town.run(town.in_epoch(1), seconds=200)
    assert handovers(town) == 1
    town.restart(gone)
    assert town.run(town.in_epoch(1), seconds=10)
    same_chain(town)


def handovers(town, number=1) -> int:
    """How often the record of an epoch was handed over."""
    ended = town.living()[0].epochs.chain.records[number].abort
    return 0 if ended is None else len(ended.decisions)


def test_below_a_quorum_the_record_is_handed_over_and_studies_go_on():
    town = EpochTown(count=24, params=IMPATIENT)
    town.run(town.in_epoch(0))
    plan = town.machines[0].epochs.chain.plan
    assert (plan.size.quorum, plan.size.handover_quorum) == (6, 3)
    study = town.propose(0, manifest(24, [phase(24, rounds=2, target=9, drawn=9)]))
    gone = plan.committee[:4]
    living = [i for i in range(24) if i not in gone]
    begun = lambda: all(  # noqa: E731
        study in town.machines[i].studies and town.machines[i].studies[study].records
        for i in living
    )
    assert town.run(begun, seconds=19)
    assert town.machines[living[0]].epochs.chain.number == 0
    for index in gone:
        town.crash(index)
    assert town.run(town.in_epoch(1), seconds=LENGTH_S + 20 * PATIENCE_S)
    assert handovers(town) == 1
    following = town.machines[living[0]].epochs.chain.plan_at(1, 2)
    assert not set(following.committee) & set(plan.committee)
    assert town.run(town.finished(study), seconds=200)
    for index in gone:
        town.restart(index)
    assert town.run(town.in_epoch(1), seconds=60)
    same_chain(town)
    # Who was away asks for models that others took the place of.
    assert town.rules() <= {"asks for a parcel that it may not read"}
    assert town.blamed() == set()


def test_one_committee_after_the_other_hands_over():
    """In a small town the draw begins again when everybody had a turn."""
    town = EpochTown(count=12, params=IMPATIENT)
    town.run(town.in_epoch(0))
    plan = town.machines[0].epochs.chain.plan
    gone = [*plan.committee[:4]]
    for index in gone:
        town.crash(index)
    assert town.run(town.in_epoch(1), seconds=LENGTH_S + 40 * PATIENCE_S)
    count = handovers(town)
    chain = town.living()[0].epochs.chain
    assert 1 <= count <= 7
    for attempt in range(1, count + 2):
        committee = chain.plan_at(1, attempt).committee
        enough = len(set(committee) - set(gone)) >= plan.size.quorum
        assert enough == (attempt == count + 1), "each that can make the record does"
    same_chain(town)


def test_with_too_few_members_the_epoch_waits_for_them():
    town = EpochTown(count=24, params=IMPATIENT)
    town.run(town.in_epoch(0))
    plan = town.machines[0].epochs.chain.plan
    for index in plan.committee[:5]:
        town.crash(index)
    town.run(seconds=20 * PATIENCE_S)
    assert all(machine.epochs.chain.number == 0 for machine in town.living())
    assert town.living()[0].epochs.chain.plan.attempt == 1
    town.restart(plan.committee[0])
    assert town.run(town.in_epoch(1), seconds=10 * PATIENCE_S)
    for index in plan.committee[1:5]:
        town.restart(index)
    assert town.run(town.in_epoch(1), seconds=60)
    same_chain(town)


def test_who_is_locked_on_a_list_and_who_gave_up_go_on_together():
    """Some have locked a list, others wait in vain: nobody has promised what blocks the rest."""
    town = EpochTown(count=24, params=IMPATIENT)
    town.run(town.in_epoch(0))
    plan = town.machines[0].epochs.chain.plan
    locked = set(plan.committee[:4])
    cut = [False]

    def wire(sender, receiver, message):
        if isinstance(message, Vote) and (message.instance, message.phase) == (
            Instance.CLOSE,
            Phase.LOCK,
        ):
            cut[0] = True
        return [] if cut[0] and ((sender in locked) != (receiver in locked)) else None

    town.wire = wire
    town.run(lambda: cut[0], seconds=2 * LENGTH_S)
    town.run(seconds=2 * PATIENCE_S)
    members = [town.machines[index].rounds.active[plan.context].member for index in plan.committee]
    assert any(member.patience.gave_up for member in members)
    assert any(member.agreements[Instance.CLOSE].highest for member in members)
    town.wire = None
    assert town.run(town.in_epoch(1), seconds=10 * PATIENCE_S)
    same_chain(town)


def test_everybody_is_killed_while_a_committee_hands_over():
    town = EpochTown(count=24, params=IMPATIENT)
    for moment in (0.0, 0.04, 0.08, 0.12):
        number = town.machines[0].epochs.chain.number
        town.run(town.in_epoch(number))
        kill_all_while_handing_over(town, moment)
        assert town.run(town.in_epoch(number + 1), seconds=60)
        assert handovers(town, number + 1) == 1
    same_chain(town)
    assert town.blamed() == set()


def kill_all_while_handing_over(town, after_s):
    """Less than a quorum is left of a committee; soon after one gives up all are killed."""
    plan = town.machines[0].epochs.chain.plan
    gone, left = plan.committee[:4], plan.committee[4:]
    for index in gone:
        town.crash(index)

    def given_up():
        rounds = [town.machines[index].rounds.active.get(plan.context) for index in left]
        return any(active is not None and active.member.patience.gave_up for active in rounds)

    assert town.run(given_up, seconds=LENGTH_S + 2 * PATIENCE_S)
    town.run(seconds=after_s)
    living = [index for index in range(24) if index not in gone]
    for index in living:
        town.crash(index)
    town.run(seconds=1.0)
    for index in living:
        town.restart(index)
    number = plan.round_number
    assert town.run(town.in_epoch(number), seconds=20 * PATIENCE_S)
    for index in gone:
        town.restart(index)
