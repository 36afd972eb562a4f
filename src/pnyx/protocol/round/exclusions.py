"""Who is drawn for nothing any more: a pure consequence of what a round's committee fixed.

Nodes hold different evidence at different times, so what a node holds must not change what it
selects. A culprit is left out only once a record of the study says so, and a record lists it when
f + 1 close votes name it (one of them honest, with evidence in hand), or when the round's own
values convict it: two headers on the closed list, or answers that break a bound or a sharing. After
an abort the words of those that gave up name culprits in place of close votes.

**The cap.** f + 1 corrupt members of one committee can have honest nodes excluded, and whoever is
left is drawn more often: without a cap they would shrink a study onto a committee of their choice.
So an eighth of the network is excluded at most. That is two and a half times the 5 % of corrupt
nodes that committees are planned for, and raises the share of corrupt ones among the rest by
about a seventh. In tiny networks half of those that a committee leaves are the fewer.
"""

from collections import Counter
from collections.abc import Collection
from itertools import pairwise

from pnyx.errors import RuleBroken
from pnyx.primitives import codec
from pnyx.protocol.aggregation.direct import Judgement
from pnyx.protocol.messages import CULPRITS_MAX, GiveUp, Indices
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.round.values import VALUE_BYTES_MAX, AbortValue, ClosedList

_SHARE = 8  # the cap is the network divided by this


def excluded_max(plan: RoundPlan) -> int:
    """How many a study excludes at most."""
    nodes = len(plan.census)
    return min((nodes - plan.size.size) // 2, -(-nodes // _SHARE))


def to_name(plan: RoundPlan, culprits: Indices) -> Indices:
    """Whom a member names in its close vote, or when it gives up; ascending.

    culprits: those whose proof assumes nothing come first, and so they get what room is left.
    """
    room = min(excluded_max(plan) - len(plan.excluded), CULPRITS_MAX)
    fresh = [index for index in culprits if index not in plan.excluded]
    return tuple(sorted(fresh[: max(0, room)]))


def excluded_after(plan: RoundPlan, closed: ClosedList, judgement: Judgement | None) -> Indices:
    """Census indices excluded after a round, ascending; once excluded is excluded for the study.

    Where not all fit, two headers go first, then whom votes name, then whom the answers convict; of
    each the lowest. The order must be everybody's.
    """
    return _exclude(plan, closed.equivocators, closed.culprits, _convicted(judgement))


def excluded_after_abort(plan: RoundPlan, aborted: bytes) -> Indices:
    """Census indices excluded after a round whose last attempt was aborted, ascending.

    aborted: the decided `AbortValue`. f + 1 of those that gave up name whom they exclude.
    """
    value = codec.decode(aborted, AbortValue, bytes_max=VALUE_BYTES_MAX)
    words = [codec.decode(w.body, GiveUp, bytes_max=VALUE_BYTES_MAX) for w in value.give_ups]
    counts = Counter(index for word in words for index in set(word.culprits))
    enough, nodes = plan.size.corrupt_max + 1, len(plan.census)
    return _exclude(plan, [i for i, count in counts.items() if count >= enough and i < nodes])


def _exclude(plan: RoundPlan, *culprits: Collection[int]) -> Indices:
    """Add as many as there is room for to those excluded before; groups in order of preference."""
    room = excluded_max(plan) - len(plan.excluded)
    ordered = dict.fromkeys(index for group in culprits for index in sorted(group))
    fresh = [index for index in ordered if index not in plan.excluded]
    return tuple(sorted((*plan.excluded, *fresh[: max(0, room)])))


def _convicted(judgement: Judgement | None) -> list[int]:
    if judgement is None:
        return []
    return [who for who, rule in judgement.rejected.items() if rule is not None and rule.convicts]


def check_excluded(plan: RoundPlan, excluded: Indices) -> None:
    """What anyone can check of a record's exclusions. Raises RuleBroken."""
    if any(a >= b for a, b in pairwise(excluded)):
        raise RuleBroken("a record's exclusions are out of order")
    if excluded and excluded[-1] >= len(plan.census):
        raise RuleBroken("a record excludes a node outside the census")
    if not set(plan.excluded) <= set(excluded):
        raise RuleBroken("a record takes an exclusion back")
    if len(excluded) > excluded_max(plan):
        raise RuleBroken("a record excludes more nodes than a study may")
