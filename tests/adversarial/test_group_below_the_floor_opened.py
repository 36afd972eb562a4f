"""The sum of a group below the floor is never opened, however many the others have (THREATS A4).

The floor is counted in every group. Over the whole round it would be met here, and the sum of the
small group would be one owner's update.
"""

import pytest
from tests.support.grouped import (
    ROBUST,
    TWO,
    grouped_town,
    members_of,
    record_of,
    releases,
    silence,
    sums_released,
)
from tests.support.records import record
from tests.support.town import people

from pnyx.errors import RuleBroken
from pnyx.protocol.messages import GroupSum
from pnyx.protocol.round.groups import check_sums
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.study import verify_record


def lonely_round(terms=TWO):
    """A round in which only one contributor of the last group is there."""
    town, study = grouped_town(terms)
    plan = town.plan(study)
    silence(town, plan, set(members_of(plan, terms["groups"] - 1)[1:]))
    return town, study, plan


def test_group_below_the_floor():
    town, study, plan = lonely_round()
    assert town.run(town.finished(study))
    body, _ = record_of(town, study)
    assert body.accepted == tuple(sorted(members_of(plan, 0)))
    assert [each.group for each in body.sums] == [0]
    lonely = members_of(plan, 1)[0]
    model = town.model(study)
    assert model[lonely] == 0
    assert sum(model) == len(body.accepted)
    given = releases(town, plan.context)
    assert given
    assert {sums_released(plan, each) for each in given} == {1.0}, "one sum's share leaves a member"


def test_all_groups_below_the_floor_skip_the_round():
    town, study = grouped_town()
    plan = town.plan(study)
    silence(town, plan, {*members_of(plan, 0)[1:], *members_of(plan, 1)[1:]})
    assert town.run(town.finished(study))
    assert record_of(town, study)[0].skipped
    assert {sums_released(plan, each) for each in releases(town, plan.context)} == {0.0}


def test_too_few_groups_for_the_rule_skip_the_round():
    """Two of three groups cannot tell which of them is poisoned, so nothing is opened for it."""
    town, study, plan = lonely_round(ROBUST)
    assert town.run(town.finished(study))
    assert record_of(town, study)[0].skipped
    assert {sums_released(plan, each) for each in releases(town, plan.context)} == {0.0}
    assert sum(town.model(study)) == 0


def anywhere(plan: RoundPlan, accepted) -> dict[int, tuple[int, ...]]:
    """As if the floor were counted over the whole round."""
    groups: dict[int, list[int]] = {}
    for who in sorted(accepted):
        groups.setdefault(plan.group_of[who], []).append(who)
    return {group: tuple(groups[group]) for group in sorted(groups)}


def test_the_floor_of_each_group_is_the_defence(monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(RoundPlan, "opened", anywhere)
        town, study, plan = lonely_round()
        assert town.run(town.finished(study))
        body, forged = record_of(town, study)
        lonely = members_of(plan, 1)[0]
        assert town.model(study)[lonely] == 1, "the attack: this sum is one owner's update"
        assert len(body.sums) == 2
    with pytest.raises(RuleBroken, match="other groups"):
        verify_record(plan, forged, town.cryptos[0])


def lonely_set():
    """All of the first group, and one of the second."""
    town, study = grouped_town()
    plan = town.plan(study)
    return town, plan, tuple(sorted((*members_of(plan, 0), members_of(plan, 1)[0])))


@pytest.mark.parametrize("named", [(0,), (0, 1)])
def test_no_record_counts_a_group_below_the_floor(named):
    town, plan, accepted = lonely_set()
    sums = tuple(GroupSum(group, bytes(32)) for group in named)
    forged = record(people(town.count, town.size), plan, accepted=accepted, sums=sums)
    with pytest.raises(RuleBroken, match="group"):
        verify_record(plan, forged, town.cryptos[0])


def test_the_check_of_groups_is_the_defence_against_such_records(monkeypatch):
    monkeypatch.setattr("pnyx.protocol.study.check_sums", lambda *_: None)
    town, plan, accepted = lonely_set()
    sums = (GroupSum(0, bytes(32)), GroupSum(1, bytes(32)))
    forged = record(people(town.count, town.size), plan, accepted=accepted, sums=sums)
    assert verify_record(plan, forged, town.cryptos[0]).accepted == accepted, "the attack"
    with pytest.raises(RuleBroken):
        check_sums(plan, verify_record(plan, forged, town.cryptos[0]))
