"""Aggregators vouch for a sketch that is not that of the masked vector (THREATS A8, A9).

The committee never sees a masked vector. That P·y is what a header states it believes because two
thirds of the aggregators gave receipts. One corrupt aggregator that vouches for anything helps a
corrupt contributor to nothing: members take no share without the others' receipts, honest
aggregators convict the contributor by the vector itself, and members who were shown the receipt
then convict the aggregator.
"""

import pytest
from msgspec.structs import replace
from tests.support.masked_runs import Watched, drawn, masked_study, opened

from pnyx.primitives import codec
from pnyx.protocol.events import Effect, MessageReceived, Send
from pnyx.protocol.evidence.proofs import Offence
from pnyx.protocol.messages import (
    Instance,
    Phase,
    RoundMessage,
    VectorOffer,
    VectorReceipt,
    Vote,
)
from pnyx.protocol.round import vectors
from pnyx.protocol.round.values import header_hash
from pnyx.protocol.round.vectors import receipts_wanted, vector_statement
from pnyx.simulator import InvariantError
from pnyx.simulator.adversary import Hands, Wrapper, read
from pnyx.simulator.overreach import false_sketch

HONEST = masked_study(verified=True)
PLAN = drawn(HONEST)
OUTSIDE = [i for i in range(1, HONEST.nodes) if i not in PLAN.member_of]
LIAR = next(i for i in OUTSIDE if i in PLAN.contributors)
VOUCHER = next(i for i in OUTSIDE if i != LIAR)


class Voucher(Wrapper):
    """An aggregator that gives a receipt for whatever one contributor offers, at once."""

    def __init__(self, hands: Hands, friend: bytes) -> None:
        super().__init__(hear=self._listen)
        self._hands, self._friend = hands, friend
        self._pending: list[Effect] = []

    def _listen(self, event: MessageReceived, message: RoundMessage) -> bool:
        if not isinstance(message, VectorOffer) or message.header.signer != self._friend:
            return True
        name, index = header_hash(message.header), self._hands.index
        signature = self._hands.crypto.sign(vector_statement(message.context, index, name))
        receipt = VectorReceipt(message.context, index, name, signature)
        self._pending.append(Send(self._friend, codec.encode(receipt)))
        return False

    def emit(self, effects: list[Effect], now: float) -> list[Effect]:
        del now
        pending, self._pending = self._pending, []
        return effects + pending


class OffersTo:
    """The same contributor, which shows its vector to nobody but its friend."""

    def __init__(self, liar: Wrapper, friend: bytes) -> None:
        self.receive = liar.receive
        self._liar, self._friend = liar, friend

    def emit(self, effects: list[Effect], now: float) -> list[Effect]:
        return [each for each in self._liar.emit(effects, now) if self._leaves(each)]

    def _leaves(self, effect: Effect) -> bool:
        offered = isinstance(effect, Send) and isinstance(read(effect.payload), VectorOffer)
        return not offered or effect.peer == self._friend


def attacked() -> Watched:
    """The contributor shows members the one receipt that it has."""
    assert VOUCHER in PLAN.aggregators
    simulation = Watched(replace(HONEST, limit_s=60.0))
    liar, voucher = simulation.nodes[LIAR], simulation.nodes[VOUCHER]
    simulation.corrupt = simulation.checker._corrupt = frozenset({LIAR, VOUCHER})
    liar.adversary = false_sketch(simulation._hands(liar, bytes(32)), wanted=1)
    voucher.adversary = Voucher(simulation._hands(voucher, bytes(32)), liar.node_id)
    return simulation


def test_wrong_sketch_vouched_for():
    simulation = attacked()
    outcome = simulation.run()
    assert opened(outcome)
    assert LIAR not in outcome.records[1].accepted
    assert simulation.culprits() == {LIAR, VOUCHER}
    rule = "a contribution comes before enough aggregators hold its masked vector"
    assert simulation.rules_of(LIAR) == {Offence.FALSE_VECTOR.value, rule}
    assert simulation.rules_of(VOUCHER) == {Offence.FALSE_RECEIPT.value}
    assert outcome.rules[rule] >= len(PLAN.committee)


def test_the_number_of_receipts_is_the_defence(monkeypatch):
    """On one aggregator's word a set with it is echoed: the honest ones add up no such vector."""
    monkeypatch.setattr(vectors, "receipts_wanted", lambda _: 1)
    simulation = attacked()
    liar, friend = simulation.nodes[LIAR], simulation.nodes[VOUCHER].node_id
    liar.adversary = OffersTo(liar.adversary, friend)
    with pytest.raises(InvariantError, match="has not ended"):
        simulation.run()
    echoed = {
        message.value_hash
        for node, log in enumerate(simulation.log)
        for effect in log
        if isinstance(effect, Send) and node not in simulation.corrupt
        if isinstance(message := read(effect.payload), Vote)
        if (message.instance, message.phase) == (Instance.ACCEPT, Phase.ECHO)
    }
    assert len(echoed) == 1, "and no verdict tells"


def test_two_thirds_of_twelve_are_wanted():
    assert receipts_wanted(PLAN) == 6
    assert len(PLAN.aggregators) == HONEST.nodes
