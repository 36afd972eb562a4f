"""Nobody is in the sums of two groups, and no two sums differ by one owner (THREATS A3).

Groups of one round are sums of one accepted set. If they overlapped, or could be chosen, their
difference could be one owner's update. They cannot: who is in which follows from the beacon alone,
every member adds up by it, and no message names a group.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.support.grouped import (
    decoded,
    grouped_town,
    growth,
    let_lie,
    members_of,
    record_of,
    releases,
    sums_of,
)
from tests.support.masked_round import AGGREGATORS, MaskedCommittee, fetches

from pnyx.errors import RuleBroken
from pnyx.primitives.hashing import digest
from pnyx.protocol.events import Compute, SumVectors
from pnyx.protocol.messages import Release
from pnyx.protocol.round.aggregator import Aggregator
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.round.state import MemberState
from pnyx.protocol.selection import contributor_groups

# Groups of four and four, of which one may leave.
MOVABLE = {"groups": 2, "cohort_min": 3, "target": 8, "drawn": 8}
IDS = [digest("test/groups", bytes((at,))) for at in range(60)]


@given(st.binary(min_size=32, max_size=32), st.integers(1, 32), st.integers(1, 60))
@settings(deadline=None, max_examples=80)
def test_groups_are_a_partition_that_nobody_chooses(beacon, groups, count):
    drawn = IDS[:count]
    imposed = dict(zip(drawn, contributor_groups(beacon, drawn, groups), strict=True))
    sizes = [list(imposed.values()).count(group) for group in range(groups)]
    assert sum(sizes) == count
    assert max(sizes) - min(sizes) <= 1
    again = dict(zip(drawn[::-1], contributor_groups(beacon, drawn[::-1], groups), strict=True))
    assert again == imposed, "the order in which somebody lists them means nothing"


def test_every_contributor_counts_once():
    town, study = grouped_town()
    assert town.run(town.finished(study))
    body, _ = record_of(town, study)
    assert [each.group for each in body.sums] == [0, 1]
    assert max(town.model(study)) == 1
    assert sum(town.model(study)) == len(body.accepted)


def overlapping(plan: RoundPlan, accepted) -> dict[int, tuple[int, ...]]:
    """As if a victim's group were opened with it, and with all others once more without."""
    everybody = tuple(sorted(accepted))
    return {0: everybody, 1: everybody[1:]}


def test_groups_that_overlap_would_open_one_owner(monkeypatch):
    """The partition is the defence: the two sums would differ by exactly one owner's vector."""
    monkeypatch.setattr(RoundPlan, "opened", overlapping)
    town, study = grouped_town()
    plan = town.plan(study)
    assert not town.run(town.finished(study), seconds=30.0)
    assert town.certified() == [], "verify_record is the second line: nobody counts twice"
    whole, without = decoded(plan, releases(town, plan.context))
    difference = (whole - without).tolist()
    assert sorted(difference) == [0] * 8 + [1], "the attack"
    assert difference[min(plan.contributors)] == 1


# --- a member that claims another group for a contributor, or another place for a sum ------------

LIAR = 1


def swapped(body):
    """Its share of each group's sum in the other group's place."""
    half = len(body.shares) // 2
    return replace(body, shares=body.shares[half:] + body.shares[:half])


def one_for_both(body):
    return replace(body, shares=body.shares[: len(body.shares) // 2] * 2)


def one_only(body):
    return replace(body, shares=body.shares[: len(body.shares) // 2])


@pytest.mark.parametrize("change", [swapped, one_for_both, one_only])
def test_wrong_group_claimed(change):
    town, study = grouped_town()
    plan = town.plan(study)
    liar = let_lie(town, plan, lambda body: change(body) if isinstance(body, Release) else body)
    assert town.run(town.finished(study))
    body, _ = record_of(town, study)
    assert town.model(study) == growth(plan, body.accepted)
    assert town.blamed() == {liar}, "a share of another sum than its place's convicts"


HONEST = MemberState.groups.fget
assert HONEST is not None


def moving(members):
    """These members count the first contributor of the first group in the second one."""

    def groups(state):
        found = HONEST(state)
        if state.member not in members or len(found) < 2:
            return found
        return {0: found[0][1:], 1: tuple(sorted((found[0][0], *found[1])))}

    return property(groups)


def test_a_member_that_moves_a_contributor_to_another_group_is_named(monkeypatch):
    monkeypatch.setattr(MemberState, "groups", moving({LIAR}))
    town, study = grouped_town(MOVABLE)
    plan = town.plan(study)
    assert town.run(town.finished(study))
    body, _ = record_of(town, study)
    assert town.model(study) == growth(plan, body.accepted)
    assert town.blamed(ignoring=plan.committee[LIAR]) == {plan.committee[LIAR]}


def test_a_quorum_could_move_contributors(monkeypatch):
    """So the quorum is the defence: nothing else tells that the sums are of other groups."""
    monkeypatch.setattr(MemberState, "groups", moving(set(range(7))))
    town, study = grouped_town(MOVABLE)
    plan = town.plan(study)
    assert town.run(town.finished(study))
    body, _ = record_of(town, study)
    assert body.sums != sums_of(plan, body), "the attack: it names sums of other groups"


# --- a set of several groups, asked of an aggregator ----------------------------------------------


def asked(terms):
    """An aggregator that holds all vectors of a masked round, asked for a set across groups."""
    c = MaskedCommittee(**terms)
    services, outbox = c.services(AGGREGATORS[0])
    made = Aggregator(services, AGGREGATORS[0], c.code, lambda _: False)
    for who in c.plan.contributors:
        made.handle(who, c.offer(who), 0.0)
        name, _, _, done, _ = fetches(outbox)[-1]
        done(name)
        made.on_read(name, c.vector(who))
        made.on_computed(outbox.of(Compute)[-1].work())
    return c, made, outbox


def test_a_sum_over_two_groups_is_not_added_up():
    c, made, outbox = asked({"groups": 2, "cohort_min": 2})
    first, second = members_of(c.plan, 0), members_of(c.plan, 1)
    with pytest.raises(RuleBroken, match="several groups"):
        made.handle(1, c.request(*sorted((*first, second[0]))), 0.0)
    for group in (first, second):
        made.handle(1, c.request(*sorted(group)), 0.0)
        made.on_summed(outbox.of(SumVectors)[-1].name, bytes(32), ())  # one sum at a time
    assert len(outbox.of(SumVectors)) == 2
    with pytest.raises(RuleBroken, match="several groups"):
        made.handle(1, c.request(*sorted((first[0], *second))), 0.0)
    assert len(outbox.of(SumVectors)) == 2, "a parcel and a pass over the vectors for each group"


def test_in_one_group_the_same_set_is_added_up():
    """The groups are the defence."""
    c, made, outbox = asked({})
    made.handle(1, c.request(*sorted(c.plan.contributors)[:4]), 0.0)
    assert len(outbox.of(SumVectors)) == 1
