"""Who is drawn for nothing any more: a pure consequence of what a round's committee fixed.

Nodes hold different evidence at different times, so what a node holds must not change what it
selects. A culprit is left out only once a record of the study says so, and a record lists it when
f + 1 close votes name it (one of them honest, with evidence in hand), or when the round's own
values convict it: two headers on the closed list, or answers that break a bound or a sharing.
"""

from collections.abc import Iterable
from itertools import pairwise

from pnyx.errors import RuleBroken
from pnyx.protocol.aggregation.direct import Judgement
from pnyx.protocol.messages import Indices
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.round.values import ClosedList


def excluded_max(plan: RoundPlan) -> int:
    """As many as leave a whole committee to be drawn."""
    return len(plan.census) - plan.size.size


def excluded_after(plan: RoundPlan, closed: ClosedList, judgement: Judgement | None) -> Indices:
    """Census indices excluded after a round, ascending; once excluded is excluded for the study.

    Where not all fit, the lowest go first: the order does not matter, but must be everybody's.
    """
    fresh = {*closed.culprits, *closed.equivocators, *_convicted(judgement)} - set(plan.excluded)
    room = excluded_max(plan) - len(plan.excluded)
    return tuple(sorted((*plan.excluded, *sorted(fresh)[: max(0, room)])))


def _convicted(judgement: Judgement | None) -> Iterable[int]:
    if judgement is None:
        return ()
    return (who for who, rule in judgement.rejected.items() if rule is not None and rule.convicts)


def check_excluded(plan: RoundPlan, excluded: Indices) -> None:
    """What anyone can check of a record's exclusions. Raises RuleBroken."""
    if any(a >= b for a, b in pairwise(excluded)):
        raise RuleBroken("a record's exclusions are out of order")
    if excluded and excluded[-1] >= len(plan.census):
        raise RuleBroken("a record excludes a node outside the census")
    if not set(plan.excluded) <= set(excluded):
        raise RuleBroken("a record takes an exclusion back")
    if len(excluded) > excluded_max(plan):
        raise RuleBroken("a record excludes so many that no committee is left")
