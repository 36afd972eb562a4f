"""Who a record excludes, and what anyone can check of it."""

import pytest
from tests.support.committee import Committee

from pnyx.errors import RuleBroken
from pnyx.protocol.aggregation.direct import Judgement
from pnyx.protocol.aggregation.verdicts import Rule
from pnyx.protocol.round.exclusions import check_excluded, excluded_after, excluded_max
from pnyx.protocol.round.values import ClosedList


def closed(culprits=(), equivocators=()) -> ClosedList:
    return ClosedList({}, tuple(equivocators), (), tuple(culprits), {}, {})


def judged(**rejected) -> Judgement:
    return Judgement((), (), {int(who[1:]): rule for who, rule in rejected.items()}, {})


@pytest.fixture
def plan():
    fresh = Committee()
    return fresh.plan


def test_nobody_by_default(plan):
    assert excluded_after(plan, closed(), None) == ()


def test_named_culprits_equivocators_and_contributions_beyond_their_bounds(plan):
    assert excluded_after(plan, closed((4,), (1,)), None) == (1, 4)
    rules = {"n6": Rule.BOUND, "n2": Rule.RANGE, "n3": Rule.UNDECIDED, "n5": None}
    assert excluded_after(plan, closed(), judged(**rules)) == (2, 6)
    assert excluded_after(plan, closed(), judged(n4=Rule.SHARING)) == (4,)


def test_exclusions_stay(plan):
    plan.excluded = (3,)
    assert excluded_after(plan, closed(), None) == (3,)
    assert excluded_after(plan, closed((1, 3)), None) == (1, 3)


def test_a_committee_remains(plan):
    assert excluded_max(plan) == 2
    assert excluded_after(plan, closed((8, 1, 4)), None) == (1, 4)
    plan.excluded = (7, 8)
    assert excluded_after(plan, closed((1,)), None) == (7, 8)


@pytest.mark.parametrize(
    ("excluded", "rule"),
    [
        ((4, 3), "out of order"),
        ((3, 3), "out of order"),
        ((3, 9), "outside the census"),
        ((4,), "takes an exclusion back"),
        ((2, 3, 4), "no committee is left"),
    ],
)
def test_exclusions_that_cannot_be(plan, excluded, rule):
    plan.excluded = (3,)
    check_excluded(plan, (3,))
    check_excluded(plan, (3, 8))
    with pytest.raises(RuleBroken, match=rule):
        check_excluded(plan, excluded)
