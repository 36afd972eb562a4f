"""An owner withdraws while its masked vector is on its way: nothing more of it leaves (C1).

Members get no share of its key any more, so the vector tells nobody anything; but the owner's word
is that nothing leaves, and not that nothing of use does. Aggregators pull vectors, so a node that
only stopped saying things would go on handing it out.
"""

from tests.support.town import Town, masked_manifest

from pnyx.primitives import codec
from pnyx.protocol.events import ConsentDeclined, Send, SendChunk
from pnyx.protocol.messages import (
    Contribution,
    ContributionHeader,
    Message,
    VectorOffer,
    VectorReceipt,
)


class Withdrawal:
    """An owner withdraws as soon as its node sends, or is sent, a message of some kind."""

    def __init__(self, after: type) -> None:
        self.town, self.at_s, self.parcel = Town(), 0.0, b""
        self.study = self.town.propose(plan=masked_manifest(9))
        self.town.run(self.town.in_round(self.study, 1))
        plan = self.town.plan(self.study)
        self.owner = next(i for i in plan.contributors if i not in plan.aggregators)
        self._after = after
        self.town.wire = self._wire
        assert self.town.run(lambda: self.at_s > 0)

    def _wire(self, sender: int, receiver: int, message: Message) -> None:
        if isinstance(message, VectorOffer) and sender == self.owner:
            header = codec.decode(message.header.body, ContributionHeader, bytes_max=10**6)
            self.parcel = header.masked.parcel
        mine = self.owner in (sender, receiver) and isinstance(message, self._after)
        if mine and not self.at_s:
            self.at_s = self.town.now
            self.town.push(self.owner, ConsentDeclined(self.study))

    def later(self) -> list[str]:
        """What of the contribution left the node after its owner withdrew."""
        found = []
        for at_s, index, effect in self.town.log:
            if index != self.owner or at_s <= self.at_s:
                continue
            if isinstance(effect, SendChunk) and effect.parcel == self.parcel:
                found.append("chunk")
            if isinstance(effect, Send):
                message = codec.decode(effect.payload, Message, bytes_max=2**24)
                name = self.town.census.node_ids[self.owner]
                if (
                    isinstance(message, Contribution | VectorOffer)
                    and message.header.signer == name
                ):
                    found.append(type(message).__name__)
        return found


def test_masked_vector_after_withdrawal():
    withdrawal = Withdrawal(VectorOffer)
    assert withdrawal.town.run(withdrawal.town.finished(withdrawal.study))
    assert withdrawal.later() == []


def test_no_share_leaves_after_the_withdrawal():
    withdrawal = Withdrawal(VectorReceipt)
    town = withdrawal.town
    assert town.run(town.finished(withdrawal.study))
    assert not {"Contribution", "VectorOffer"} & set(withdrawal.later())
    assert town.model(withdrawal.study)[withdrawal.owner] == 0
    assert sum(town.model(withdrawal.study)) == town.certified()[0].contributors
