"""Who a record excludes, and what anyone can check of it."""

from copy import copy

import pytest
from tests.support.aborts import abort_value
from tests.support.committee import Committee
from tests.support.town import SMALL, ideal, people

from pnyx.errors import RuleBroken
from pnyx.protocol.aggregation.direct import Judgement
from pnyx.protocol.aggregation.verdicts import Rule
from pnyx.protocol.round.exclusions import (
    check_excluded,
    excluded_after,
    excluded_after_abort,
    excluded_max,
    to_name,
)
from pnyx.protocol.round.values import ClosedList
from pnyx.protocol.selection import assess


def closed(culprits=(), equivocators=()) -> ClosedList:
    return ClosedList({}, tuple(equivocators), (), tuple(culprits), {}, {})


def judged(**rejected) -> Judgement:
    return Judgement((), (), {int(who[1:]): rule for who, rule in rejected.items()}, {})


def plan_of(nodes):
    """A committee of seven in a network of so many nodes."""
    return Committee(count=nodes, folk=people(nodes, SMALL, ideal)).plan


LARGER = plan_of(17)


@pytest.fixture
def plan():
    return copy(LARGER)


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


def test_no_more_than_an_eighth_of_the_network(plan):
    assert excluded_max(plan) == 3
    assert excluded_after(plan, closed((16, 8, 1, 4)), None) == (1, 4, 8)
    plan.excluded = (7, 8, 9)
    assert excluded_after(plan, closed((1,)), None) == (7, 8, 9)


@pytest.mark.parametrize(("nodes", "most"), [(7, 0), (8, 0), (9, 1), (10, 1), (11, 2), (40, 5)])
def test_far_more_than_a_committee_remain(nodes, most):
    """f + 1 corrupt members can have honest nodes excluded, but never most of them."""
    assert excluded_max(plan_of(nodes)) == most


@pytest.mark.parametrize(
    ("nodes", "most"),
    [
        *((nodes, most) for nodes, most in zip(range(6, 13), (0, 0, 1, 1, 2, 1, 2), strict=True)),
        *((16, 2), (17, 3), (24, 3), (40, 5), (100, 13), (1000, 125)),
    ],
)
def test_most_that_are_excluded_with_the_committee_of_a_network(plan, nodes, most):
    """README.md and docs/threat-model.md say so."""
    plan.size = assess(nodes).committee
    plan.census = people(nodes, plan.size, ideal).census
    assert excluded_max(plan) == most


def test_two_headers_go_before_named_culprits_and_these_before_the_judged(plan):
    plan.excluded = (3,)
    judgement = judged(n0=Rule.RANGE)
    assert excluded_after(plan, closed((1,), (9,)), judgement) == (1, 3, 9)
    assert excluded_after(plan, closed((1, 2), (9,)), judgement) == (1, 3, 9)
    assert excluded_after(plan, closed((1,)), judgement) == (0, 1, 3)


def test_a_member_names_whom_there_is_room_for_and_first_what_assumes_nothing(plan):
    assert to_name(plan, (8, 12, 1, 2)) == (1, 8, 12)
    plan.excluded = (12,)
    assert to_name(plan, (8, 12, 1, 2)) == (1, 8)
    plan.excluded = (7, 8, 9)
    assert to_name(plan, (1,)) == ()


def test_those_that_gave_up_name_culprits(plan):
    """f + 1 of them, one of whom is honest."""
    folk = people(17, SMALL, ideal)
    quorum = range(plan.size.quorum)
    named = {0: (4, 4, 9, 2**32 - 1), 1: (9, 2**32 - 1), 2: (5,)}
    value = abort_value(folk, plan, quorum, named)
    assert excluded_after_abort(plan, value) == (9,)
    plan.excluded = (3,)
    assert excluded_after_abort(plan, value) == (3, 9)
    everybody = dict.fromkeys(quorum, (1, 2, 4))
    assert excluded_after_abort(plan, abort_value(folk, plan, quorum, everybody)) == (1, 2, 3)


@pytest.mark.parametrize(
    ("excluded", "rule"),
    [
        ((4, 3), "out of order"),
        ((3, 3), "out of order"),
        ((3, 17), "outside the census"),
        ((4,), "takes an exclusion back"),
        ((2, 3, 4, 5), "more nodes than"),
    ],
)
def test_exclusions_that_cannot_be(plan, excluded, rule):
    plan.excluded = (3,)
    check_excluded(plan, (3,))
    check_excluded(plan, (3, 8))
    with pytest.raises(RuleBroken, match=rule):
        check_excluded(plan, excluded)
