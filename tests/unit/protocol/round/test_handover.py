"""Who makes the record of an epoch when its committee cannot: plans, certificates, patience."""

import pytest
from msgspec.structs import replace
from tests.support.aborts import abort_of, handover_of
from tests.support.epochs import AUTHORITY
from tests.support.records import record
from tests.support.town import SMALL, manifest, people

from pnyx.errors import MalformedMessage, ProtocolError, RuleBroken
from pnyx.primitives import codec
from pnyx.protocol.censuses import Censuses
from pnyx.protocol.epochs import EpochChain
from pnyx.protocol.messages import HANDOVERS_MAX, Handover, Instance, Step
from pnyx.protocol.round.attempts import may_give_up, second_attempt
from pnyx.protocol.round.handover import handed_over
from pnyx.protocol.round.plan import HANDOVER
from pnyx.protocol.selection import choose_committee, select_census
from pnyx.protocol.study import genesis_plan, joining_plan


def epoch_1(nodes: int):
    """The people of a network, and the first attempt at the record that follows epoch 0."""
    folk = people(nodes, SMALL)
    made = EpochChain(Censuses(folk.census, AUTHORITY.public_key, AUTHORITY), AUTHORITY)
    made.accept(record(folk, made.plan))
    return folk, made.plan


FOLK, PLAN = epoch_1(60)


def attempts(folk, plan):
    """All attempts at a record, each handed over but the last."""
    made = [plan]
    while made[-1].hands_over:
        made.append(handed_over(plan, handover_of(folk, *made), AUTHORITY)[-1])
    return made


def test_attempts_are_bounded_and_the_last_one_waits():
    made = attempts(FOLK, PLAN)
    assert [plan.attempt for plan in made] == list(range(1, HANDOVERS_MAX + 2))
    assert len({plan.context for plan in made}) == len(made)
    assert all(plan.abortable and not plan.last for plan in made[:-1])
    assert made[-1].last
    assert not made[-1].abortable
    assert all(plan.followers_min == SMALL.handover_quorum for plan in made[:-1])
    assert made[-1].followers_min == SMALL.quorum
    one_more = handover_of(FOLK, *made)
    encoded = codec.encode(one_more)
    with pytest.raises(MalformedMessage):
        codec.decode(encoded, Handover, bytes_max=10**6)
    with pytest.raises(RuleBroken, match="to nobody"):
        handed_over(PLAN, one_more, AUTHORITY)


def test_each_committee_follows_in_the_draw_of_the_first():
    made = attempts(FOLK, PLAN)
    drawn = select_census(PLAN.beacon, *PLAN.drawn_as, "committee", 56, 60)
    for at, plan in enumerate(made):
        assert plan.committee == drawn[at * 7 : at * 7 + 7]
    assert (made[3].previous_record, made[3].round_number) == (PLAN.previous_record, 1)


def test_where_all_had_a_turn_the_draw_begins_again():
    folk, plan = epoch_1(9)
    everybody = select_census(plan.beacon, *plan.drawn_as, "committee", 9, 9)
    for at, each in enumerate(attempts(folk, plan)):
        assert each.committee == tuple((everybody * 20)[at * 7 : at * 7 + 7])
        assert len(set(each.committee)) == 7


@pytest.mark.parametrize(
    "changes",
    [
        {"value": b"a closed list"},
        {"instance": Instance.ACCEPT},
        {"context": b"x" * 32},
        {"view": 3},
    ],
)
def test_a_decision_on_something_else_hands_nothing_over(changes):
    with pytest.raises(ProtocolError):
        handed_over(PLAN, handover_of(FOLK, PLAN, **changes), AUTHORITY)


def test_a_handover_of_another_round_or_of_too_few():
    good = handover_of(FOLK, PLAN)
    for bad in (replace(good, study=b"s" * 32), replace(good, round_number=2)):
        with pytest.raises(RuleBroken, match="another round"):
            handed_over(PLAN, bad, AUTHORITY)
    with pytest.raises(ProtocolError):
        handed_over(PLAN, handover_of(FOLK, PLAN, signers=(0, 1)), AUTHORITY)
    with pytest.raises(ProtocolError):
        handed_over(PLAN, handover_of(FOLK, PLAN, signers=(0, 1, 1)), AUTHORITY)
    second = handed_over(PLAN, good, AUTHORITY)[-1]
    with pytest.raises(RuleBroken, match="something else"):
        handed_over(PLAN, handover_of(FOLK, second), AUTHORITY)


def test_who_hands_over_and_who_aborts():
    """Studies abort, epochs hand over, and the genesis does neither."""
    joining = joining_plan(FOLK.census, b"s" * 32, manifest(5), b"e" * 32)
    assert joining.abortable
    assert not joining.hands_over
    genesis = genesis_plan(FOLK.census)
    assert not genesis.abortable
    assert genesis.last
    for plan in (PLAN, genesis):
        with pytest.raises(RuleBroken):
            second_attempt(plan, abort_of(FOLK, plan), AUTHORITY)
    with pytest.raises(RuleBroken, match="to nobody"):
        handed_over(joining, handover_of(FOLK, joining), AUTHORITY)


def test_where_a_member_gives_up():
    joining = joining_plan(FOLK.census, b"s" * 32, manifest(5), b"e" * 32)
    assert may_give_up(PLAN, Step.OPEN)
    assert not may_give_up(joining, Step.OPEN)
    assert may_give_up(joining, Step.CLOSE)
    for step in (Step.RELEASE, Step.CERTIFY):
        assert not may_give_up(PLAN, step), "what is fixed is finished"
    assert not any(may_give_up(genesis_plan(FOLK.census), step) for step in Step)


@pytest.mark.parametrize("nodes", [6, 9, 12, 36, 100, 1_000, 10_000, 10**6])
def test_a_handover_and_a_quorum_share_an_honest_member(nodes):
    size = choose_committee(nodes)
    few = size.handover_quorum
    assert few + size.quorum - size.size == size.corrupt_max + 1
    assert size.corrupt_max < few <= size.quorum, "f alone are too few, a quorum is enough"


def test_the_value_is_none_that_a_committee_could_close_with():
    with pytest.raises(MalformedMessage):
        codec.decode(HANDOVER, object, bytes_max=100)
