"""A contributor names another one's masked vector as its own, after seeing the closed list (A10).

With the other one's linear hash it would be a copy, whose key it does not know: it spoils what it
is summed with, like any contributor that shares a wrong key (`test_spoiled_masked_sum`). With
another hash it is a lie that every aggregator sees. But an aggregator must not throw away what it
was shown then: it is the vector of somebody honest, who has its receipts and may have left.
"""

import pytest
from msgspec.structs import replace
from tests.support.masked_runs import Watched, drawn, masked_study, opened

from pnyx.primitives import codec
from pnyx.protocol.events import Effect, MessageReceived, Send
from pnyx.protocol.evidence.proofs import Offence
from pnyx.protocol.messages import (
    ContributionHeader,
    Instance,
    MaskedVector,
    Proposal,
    RoundMessage,
    Signed,
    VectorOffer,
)
from pnyx.protocol.round.aggregator import Aggregator
from pnyx.protocol.round.values import CloseValue
from pnyx.simulator import InvariantError
from pnyx.simulator.adversary import Hands, Wrapper, read

PLAN = drawn(masked_study())
THIEF = next(
    index
    for index in PLAN.contributors
    if index in PLAN.committee[1:] and index not in PLAN.aggregators and index > 0
)
RULE = Offence.FALSE_VECTOR.value


class Thief(Wrapper):
    """Keeps its contribution back until it knows the others'; then names one of their vectors."""

    def __init__(self, hands: Hands) -> None:
        super().__init__(hear=self._listen)
        self._hands = hands
        self._mine: VectorOffer | None = None
        self._pending: list[Effect] = []
        self.victim = -1

    def _listen(self, event: MessageReceived, message: RoundMessage) -> bool:
        closes = isinstance(message, Proposal) and message.instance is Instance.CLOSE
        if closes and isinstance(message, Proposal) and self._mine is not None and self.victim < 0:
            headers = codec.decode(message.value, CloseValue, bytes_max=10**7).headers
            self._steal(self._mine, headers[0])
        return True

    def _steal(self, mine: VectorOffer, theirs: Signed) -> None:
        own, their = (
            codec.decode(signed.body, ContributionHeader, bytes_max=10**6)
            for signed in (mine.header, theirs)
        )
        self.victim = their.contributor
        stolen = MaskedVector(their.masked.parcel, own.masked.commitment)
        header = self._hands.sign(replace(own, masked=stolen))
        offer = codec.encode(replace(mine, header=header))
        for index in self._hands.aggregators(mine.context):
            self._pending.append(Send(self._hands.census.node_ids[index], offer))

    def emit(self, effects: list[Effect], now: float) -> list[Effect]:
        del now
        said: list[Effect] = []
        for effect in effects:
            message = read(effect.payload) if isinstance(effect, Send) else None
            if isinstance(message, VectorOffer) and message.header.signer == self._hands.node_id:
                self._mine = message
            else:
                said.append(effect)
        pending, self._pending = self._pending, []
        return said + pending


def attacked() -> tuple[Watched, Thief]:
    simulation = Watched(masked_study(limit_s=60.0))
    node = simulation.nodes[THIEF]
    thief = Thief(simulation._hands(node, bytes(32)))
    simulation.corrupt, node.adversary = frozenset({THIEF}), thief
    simulation.checker._corrupt = simulation.corrupt
    return simulation, thief


def test_copied_masked_vector():
    simulation, thief = attacked()
    outcome = simulation.run()
    assert opened(outcome)
    assert thief.victim in outcome.records[1].accepted
    assert THIEF not in outcome.records[1].accepted
    assert simulation.culprits() == {THIEF}
    assert simulation.rules_of(THIEF) == {RULE}


def test_an_aggregator_that_forgets_wrong_vectors_would_lose_right_ones(monkeypatch):
    take = Aggregator._take

    def or_forget(aggregator: Aggregator, who: int, parcel: bytes, false) -> None:
        take(aggregator, who, parcel, false)
        if false is not None:
            aggregator._services.forget_parcel(parcel)

    monkeypatch.setattr(Aggregator, "_take", or_forget)
    simulation, thief = attacked()
    with pytest.raises(InvariantError, match="has not ended"):
        simulation.run()
    assert thief.victim >= 0
