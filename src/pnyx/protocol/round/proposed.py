"""What leaders signed that they propose: whoever signs two values in one view is found out.

A leader that shows one value to some members and another to others opens no two sets: agreement.py
sees to that. But it may cost everybody a view. So each proposal is signed, and every member passes
the signed hash that it learns first on to the next c = ⌊(f + a)/2⌋ + 1 members, in a ring; a
committee is made for a honest members that are away beside f corrupt ones. A ring in which
everybody has 2c > f + a neighbours holds together without any f + a members. So between two honest
members that were shown different values there are two honest neighbours that were, and one of them
tells the other: within the time that one message takes from when both were shown theirs, unless
that message is lost.
"""

from pnyx.errors import InvalidSignature
from pnyx.protocol.agreement import proposal_statement, value_hash
from pnyx.protocol.messages import Instance, Proposal, ProposedHash, TwoProposals
from pnyx.protocol.ports import Crypto
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.round.services import RoundServices
from pnyx.protocol.selection.security import CommitteeSize

_VIEWS_KEPT = 8  # before and after the current one


def signed_hash(proposal: Proposal) -> ProposedHash:
    """What the leader signed of a proposal."""
    return ProposedHash(
        proposal.context,
        proposal.instance,
        proposal.view,
        value_hash(proposal.value),
        proposal.signature,
    )


def check_proposed(proposed: ProposedHash, plan: RoundPlan, crypto: Crypto) -> None:
    """Verify that the leader of the view signed it. Raises InvalidSignature."""
    public_key = plan.public_keys[plan.leader(proposed.view)]
    statement = proposal_statement(
        plan.context, proposed.instance, proposed.view, proposed.value_hash
    )
    if not crypto.verify(public_key, statement, proposed.signature):
        raise InvalidSignature("a proposal is not signed by the leader of its view")


def passed_on_to(size: CommitteeSize) -> int:
    """Return to how many members each passes on what it was shown."""
    return (size.corrupt_max + size.absent_max) // 2 + 1


class Proposals:
    """The first proposal of each leader that one member of one attempt has heard of."""

    def __init__(self, services: RoundServices, member: int) -> None:
        self._services = services
        self._member = member
        self._first: dict[tuple[Instance, int], ProposedHash] = {}
        self._proven: set[tuple[Instance, int]] = set()

    @staticmethod
    def within(view: int, current_view: int) -> bool:
        """Whether proposals of a view are kept."""
        return abs(view - current_view) <= _VIEWS_KEPT

    def note(self, proposed: ProposedHash, current_view: int) -> None:
        """Take what a leader signed, from itself or from another member.

        Raises InvalidSignature.
        """
        slot = proposed.instance, proposed.view
        if not self.within(proposed.view, current_view) or slot in self._proven:
            return
        first = self._first.get(slot)
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
            slot: kept for slot, kept in self._first.items() if self.within(kept.view, current_view)
        }
        self._first[proposed.instance, proposed.view] = proposed
        size = self._services.plan.size
        for further in range(1, passed_on_to(size) + 1):
            self._services.send_member((self._member + further) % size.size, proposed)
