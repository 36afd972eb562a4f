"""What leaders signed that they propose: whoever signs two values in one view is found out.

A leader that shows one value to some members and another to others opens no two sets: agreement.py
sees to that. But it costs everybody a view. So each proposal is signed, and every member passes the
signed hash that it learns first on to the next c = ⌊f/2⌋ + 1 members, in a ring. A ring in which
everybody has 2c > f neighbours holds together without any f members. So between two honest members
that were shown different values there are two honest neighbours that were, and one of them tells
the other: before the votes of that view are in, unless messages are lost.
"""

from pnyx.errors import InvalidSignature
from pnyx.protocol.agreement import proposal_statement
from pnyx.protocol.messages import Instance, ProposedHash, TwoProposals
from pnyx.protocol.ports import Crypto
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.round.services import RoundServices

_VIEWS_KEPT = 8  # before and after the current one


def check_proposed(proposed: ProposedHash, plan: RoundPlan, crypto: Crypto) -> None:
    """Verify that the leader of the view signed it. Raises InvalidSignature."""
    public_key = plan.public_keys[plan.leader(proposed.view)]
    statement = proposal_statement(
        plan.context, proposed.instance, proposed.view, proposed.value_hash
    )
    if not crypto.verify(public_key, statement, proposed.signature):
        raise InvalidSignature("a proposal is not signed by the leader of its view")


class Proposals:
    """The first proposal of each leader that one member of one attempt has heard of."""

    def __init__(self, services: RoundServices, member: int) -> None:
        self._services = services
        self._member = member
        self._first: dict[tuple[Instance, int], ProposedHash] = {}
        self._proven: set[tuple[Instance, int]] = set()

    def note(self, proposed: ProposedHash, current_view: int) -> None:
        """Take what a leader signed, from itself or from another member.

        Raises InvalidSignature.
        """
        slot = proposed.instance, proposed.view
        first = self._first.get(slot)
        if abs(proposed.view - current_view) > _VIEWS_KEPT or slot in self._proven:
            return
        if first is not None and first.value_hash == proposed.value_hash:
            return
        plan = self._services.plan
        check_proposed(proposed, plan, self._services.crypto)
        if first is None:
            self._keep(proposed, current_view)
            return
        self._proven.add(slot)
        one, other = sorted((first, proposed), key=lambda each: each.value_hash)
        self._services.accuse(plan.committee[plan.leader(proposed.view)], TwoProposals(one, other))

    def _keep(self, proposed: ProposedHash, current_view: int) -> None:
        self._first = {
            slot: kept
            for slot, kept in self._first.items()
            if abs(kept.view - current_view) <= _VIEWS_KEPT
        }
        self._first[proposed.instance, proposed.view] = proposed
        size = self._services.plan.size
        for further in range(1, size.corrupt_max // 2 + 2):
            self._services.send_member((self._member + further) % size.size, proposed)
