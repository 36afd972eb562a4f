"""The roles that one node plays in one attempt of one round, and what they tell each other."""

from pnyx.errors import RuleBroken
from pnyx.protocol.messages import (
    Contribution,
    Decision,
    Dispute,
    Instance,
    Receipt,
    Relay,
    RoundMessage,
    ShareRequest,
    SumRequest,
    VectorOffer,
    VectorReceipt,
)
from pnyx.protocol.round.aggregator import Aggregator
from pnyx.protocol.round.committee import CommitteeMember
from pnyx.protocol.round.contributor import Contributor
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.round.relay import EnvelopeRelay


class ActiveRound:
    """What one node is in one plan: committee member, contributor, relay, aggregator, or none."""

    def __init__(
        self,
        plan: RoundPlan,
        member: CommitteeMember | None,
        contributor: Contributor | None,
        relay: EnvelopeRelay | None,
        aggregator: Aggregator | None = None,
    ) -> None:
        self.plan = plan
        self.member = member
        self.contributor = contributor
        self.relay = relay
        self.aggregator = aggregator

    def handle(self, sender: int, message: RoundMessage, now: float) -> None:
        """Route a message to the role it is for. Raises ProtocolError."""
        match message:
            case Relay() | ShareRequest():
                if self.relay is not None:
                    self.relay.handle(sender, message)
            case SumRequest() if self.member is not None and self.member.serve_sum(sender, message):
                pass  # it holds what it is asked for
            case VectorOffer() | SumRequest():
                if self.aggregator is not None:
                    self.aggregator.handle(sender, message, now)
            case Receipt() | Dispute() | VectorReceipt():
                self._tell_contributor(sender, message, now)
            case Decision() if self.member is None:
                self._tell_contributor(sender, message, now)
            case Contribution() if self.member is None:
                return
            case _:
                if self.member is not None:
                    self.member.handle(sender, message, now)
        self._share_open_certificate(now)

    def _tell_contributor(self, sender: int, message: RoundMessage, now: float) -> None:
        if isinstance(message, Dispute) and sender not in self.plan.member_of:
            raise RuleBroken("a dispute comes from outside the committee")
        if self.contributor is not None:
            self.contributor.handle(message, now)

    def _share_open_certificate(self, now: float) -> None:
        """A member that contributes need not be told twice, nor verify everything again."""
        if self.member is not None and self.contributor is not None:
            decision = self.member.agreements[Instance.OPEN].decision
            if decision is not None:
                self.contributor.take_open(decision.value, self.member.keys, now)

    def on_parcel(self, parcel: bytes, data: bytes, now: float) -> None:
        """Hand a parcel's bytes to whichever role asked for them."""
        if self.aggregator is not None:
            self.aggregator.on_read(parcel, data)
        if self.member is not None:
            self.member.on_parcel(parcel, data, now)

    def withhold(self, own: int, vector: bytes | None = None) -> None:
        """Send nothing (more) of this node's contribution, nor what its relay keeps of it.

        own: this node's census index. vector: the parcel of its masked vector, where an earlier
        life made one and this one contributes nothing.
        """
        if self.contributor is not None:
            vector = self.contributor.withdraw()
        if self.relay is not None:
            self.relay.forget(own)
        if self.aggregator is not None and vector is not None:
            self.aggregator.forget(vector)

    def on_computed(self, name: bytes, result: object, now: float) -> None:
        """Hand what came of long work to the role that asked for it."""
        if self.contributor is not None:
            self.contributor.on_computed(name, result, now)
        if self.aggregator is not None:
            self.aggregator.on_computed(result)
        if self.member is not None:
            self.member.on_computed(name, result, now)

    def tick(self, now: float) -> None:
        """Let every role do what time asks for."""
        if self.member is not None:
            self.member.tick(now)
        if self.contributor is not None:
            self.contributor.tick(now)
        self._share_open_certificate(now)

    def next_deadline(self) -> float | None:
        """The earliest deadline of any role."""
        times = [
            role.next_deadline() for role in (self.member, self.contributor) if role is not None
        ]
        return min((time for time in times if time is not None), default=None)
