"""An owner withdraws while its masked vector is on its way: nothing more of it leaves (C1).

Members get no share of its key any more, so the vector tells nobody anything; but the owner's word
is that nothing leaves, and not that nothing of use does. Aggregators pull vectors, so a node that
only stopped saying things would go on handing it out. Nor does it help to name the same vector as
one's own, which another contributor can do that pulls it as an aggregator.
"""

import pytest
from msgspec.structs import replace
from tests.support.masked_round import AGGREGATORS, fetches, masked_committee, parcel_of
from tests.support.town import NETWORK, Town, masked_manifest

from pnyx.primitives import codec
from pnyx.protocol.events import (
    Compute,
    ConsentDeclined,
    Effect,
    ReadParcel,
    Send,
    SendChunk,
)
from pnyx.protocol.identity import sign_body
from pnyx.protocol.messages import (
    ChunkRequest,
    Contribution,
    ContributionHeader,
    Message,
    VectorOffer,
    VectorReceipt,
)
from pnyx.protocol.round.aggregator import Aggregator


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


def is_read(effect: Effect, parcel: bytes) -> bool:
    return isinstance(effect, ReadParcel) and effect.parcel == parcel


def is_checked(effect: Effect, parcel: bytes) -> bool:
    return isinstance(effect, Compute) and effect.name == b"vector" + parcel


@pytest.mark.parametrize("reached", [is_read, is_checked])
def test_another_contributor_names_the_vector_too(reached):
    """The owner's node is an aggregator, and checks the vector for both when she withdraws."""
    town = Town()
    study = town.propose(plan=masked_manifest(9))
    town.run(town.in_round(study, 1))
    plan = town.plan(study)
    owner = next(index for index in plan.contributors if index in plan.aggregators)
    liar = next(index for index in plan.contributors if index not in plan.aggregators)
    mine = town.machines[owner].rounds.active[plan.context]

    def wire(sender: int, receiver: int, message: Message) -> list[Message] | None:
        own = isinstance(message, Contribution | VectorOffer) and sender == liar
        return [] if own or (sender == owner and isinstance(message, VectorOffer)) else None

    town.wire = wire
    assert town.run(lambda: mine.contributor._offer is not None)
    offer = mine.contributor._offer
    header = codec.decode(offer.header.body, ContributionHeader, bytes_max=10**6)
    parcel = header.masked.parcel
    copy = sign_body(
        town.cryptos[liar], NETWORK, town.census.node_ids[liar], replace(header, contributor=liar)
    )
    town.inject(liar, owner, replace(offer, header=copy))
    assert town.run(lambda: any(reached(effect, parcel) for _, _, effect in town.log))
    town.handle(owner, ConsentDeclined(study))
    at_s = town.now
    assert town.run(town.finished(study))
    others = set(plan.contributors) - {owner, liar}
    assert {index for index in range(9) if town.model(study)[index]} == others
    assert mine.aggregator._sealed == others, "the vectors of the others were checked and held"
    left = [
        effect
        for at, index, effect in town.log
        if index == owner and at >= at_s and isinstance(effect, SendChunk)
    ]
    assert parcel not in {effect.parcel for effect in left}


def test_withdrawn_after_a_restart():
    """The node was killed while its vector was pulled, and its owner says no when it is back."""
    town = Town()
    study = town.propose(plan=masked_manifest(9))
    town.run(town.in_round(study, 1))
    plan = town.plan(study)
    owner = next(index for index in plan.contributors if index not in plan.aggregators)
    contributor = town.machines[owner].rounds.active[plan.context].contributor
    assert town.run(lambda: contributor._offer is not None)
    header = codec.decode(contributor._offer.header.body, ContributionHeader, bytes_max=10**6)
    parcel = header.masked.parcel
    town.crash(owner)
    town.consents = lambda index: index != owner
    town.restart(owner)
    town.handle(owner, ConsentDeclined(study))
    for aggregator in plan.aggregators:
        effects = town.inject(aggregator, owner, ChunkRequest(parcel, (0,)))
        assert [effect for effect in effects if isinstance(effect, SendChunk)] == []
    assert town.parcels[owner].read(parcel, 0) is None
    assert town.run(town.finished(study))
    assert town.model(study)[owner] == 0


@pytest.mark.parametrize("namer", ["its contributor", "another contributor"])
def test_an_aggregator_offers_the_withdrawn_vector(namer):
    """It was pulled before the owner withdrew. Her node is an aggregator, too: it takes none back.

    Nor under another's name, who can copy it as an aggregator that pulled it.
    """
    committee, me, other = masked_committee(), *AGGREGATORS[:2]
    services, outbox = committee.services(me)
    made = Aggregator(services, me, committee.code, lambda _: False)
    parcel = parcel_of(committee.vector(2))
    offer = committee.offer(2)
    if namer == "another contributor":
        named = replace(committee.reader.header(committee.header(3)).masked, parcel=parcel)
        offer = committee.offer(3, header=committee.header(3, masked=named))
    made.forget(parcel)
    for sender in (other, other, AGGREGATORS[2]):
        made.handle(sender, offer, 0.0)
    assert fetches(outbox) == []
    assert outbox.effects == outbox.sent == []
    made.handle(other, committee.offer(4), 0.0)
    assert [name for name, *_ in fetches(outbox)] == [parcel_of(committee.vector(4))]
    left, outbox = committee.services(me)
    Aggregator(left, me, committee.code, lambda _: False).handle(other, offer, 0.0)
    assert [name for name, *_ in fetches(outbox)] == [parcel], "as long as nobody withdrew"
