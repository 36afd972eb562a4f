"""How the committee of an epoch hands the record of the next one over, though few of it are there.

A committee makes the record of the next epoch by itself, and with fewer than q of its members
nobody can. Then those that are left hand the record over: to the k nodes that follow in the draw
that made them a committee, all of them new (`handed_over`). There are `HANDOVERS_MAX` + 1 attempts,
each twice as patient as the one before, and the last one waits for its members.

A handover is a value of the agreement CLOSE, whose lists decide what becomes of a beacon. It is one
constant, and needs w = k + f - q + 1 echoes and as many locks, where a list needs q of each:

- w + q - k > f, so an honest member stands in every quorum of a list and in every one of the
  handover. By the rules of `agreement` one of them excludes the other for ever, in whatever views.
- Two quorums of the handover may have nobody in common. They hand over the same: the value does
  not say who was there, nor does the next committee depend on it.

So no two attempts at one record can both come to a record, below f + 1 corrupt members of a
committee, and nobody ever promises what it could not take back: members that gave up still vote. A
member echoes a handover only if it has given up itself; f corrupt ones need w - f = k - q + 1 that
are honest and have waited in vain. docs/adr/0040-handovers.md tells what else was considered, and
why fewer than w members cannot suffice.
"""

from pnyx.errors import RuleBroken
from pnyx.protocol.messages import Handover, Instance
from pnyx.protocol.ports import Crypto
from pnyx.protocol.round.plan import HANDOVER, RoundPlan, check_decided
from pnyx.protocol.selection import select_census


def handed_over(plan: RoundPlan, handover: Handover, crypto: Crypto) -> list[RoundPlan]:
    """The attempts that follow these handovers, in order. plan: the first. Raises ProtocolError."""
    attempts: list[RoundPlan] = []
    if (handover.study, handover.round_number) != (plan.study, plan.round_number):
        raise RuleBroken("a handover belongs to another round")
    for number, decision in enumerate(handover.decisions):
        if not plan.hands_over:
            raise RuleBroken("this attempt is handed over to nobody")
        if decision.value != HANDOVER:
            raise RuleBroken("a handover carries a decision on a list")
        check_decided(plan, decision, Instance.CLOSE, crypto, plan.size.handover_quorum)
        following = Handover(plan.study, plan.round_number, handover.decisions[: number + 1])
        plan = _following(plan, following)
        attempts.append(plan)
    return attempts


def _following(plan: RoundPlan, handover: Handover) -> RoundPlan:
    """The next attempt: k further nodes of the draw; where all have had a turn, from its start."""
    size, nodes = plan.size.size, len(plan.census)
    skipped = len(handover.decisions) * size
    drawn = select_census(
        plan.beacon, *plan.drawn_as, "committee", min(skipped + size, nodes), nodes
    )
    return RoundPlan(
        census=plan.census,
        study=plan.study,
        round_number=plan.round_number,
        epoch=plan.epoch,
        previous_record=plan.previous_record,
        model_hash=plan.model_hash,
        committee=tuple(drawn[(skipped + at) % nodes] for at in range(size)),
        beacon=plan.beacon,
        drawn_as=plan.drawn_as,
        abort=handover,
    )
