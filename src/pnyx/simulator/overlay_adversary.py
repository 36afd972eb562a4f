"""Corrupt nodes of the ring, which work together.

Inside each runs an honest machine, so it stands in the ring and is known. What it says is another
matter:

    silent    answers no question of an honest node, and asks its own
    liar      names, around whatever it is asked for, the nearest nodes of the coalition only
    omitter   leaves out half of the honest nodes, the same half in all the coalition
    thief     acknowledges what it is to store and has nothing when asked; lies as a liar does
    mixed     one of these, by its number

The coalition knows all of its members at any time, and signs what it says: lies are authentic.
"""

from collections.abc import Callable, Iterable

from pnyx.primitives import codec
from pnyx.primitives.hashing import digest
from pnyx.protocol.events import Effect, Send
from pnyx.protocol.identity import sign_body
from pnyx.protocol.messages import Signed
from pnyx.protocol.overlay.messages import (
    BODY_BYTES_MAX,
    OVERLAY_MESSAGE_BYTES_MAX,
    HeldItem,
    Holdings,
    ItemReply,
    ItemRequest,
    Neighbourhood,
    NeighbourReply,
    NeighbourRequest,
    OverlayMessage,
    StoreItems,
    is_overlay_message,
)
from pnyx.protocol.overlay.positions import forward, key_position, position_of
from pnyx.simulator.overlay import RingNodeProcess, Ringtown

KINDS = ("silent", "liar", "omitter", "thief")


class RingCoalition:
    """All corrupt nodes of a town, and what they say."""

    def __init__(self, town: Ringtown, kind: str) -> None:
        self.town = town
        self.members = [town.nodes[index] for index in sorted(town.corrupt)]
        self._ids = {node.node_id for node in self.members}
        self._placed: tuple[bytes, list[tuple[int, RingNodeProcess]]] | None = None
        for number, node in enumerate(self.members):
            chosen = KINDS[number % len(KINDS)] if kind == "mixed" else kind
            behave: dict[str, Callable[[RingNodeProcess], None]] = {
                "silent": self._be_silent,
                "liar": self._lie,
                "omitter": self._omit,
                "thief": self._steal,
            }
            behave[chosen](node)

    def _be_silent(self, node: RingNodeProcess) -> None:
        node.deaf = self._is_question

    def _is_question(self, peer: bytes, payload: bytes) -> bool:
        if peer in self._ids or not is_overlay_message(payload):
            return False
        return isinstance(_read(payload), NeighbourRequest | ItemRequest | StoreItems | Holdings)

    def _lie(self, node: RingNodeProcess) -> None:
        node.meddler = lambda process, effect: self._answer(process, effect, self._own_only)

    def _omit(self, node: RingNodeProcess) -> None:
        node.meddler = lambda process, effect: self._answer(process, effect, self._halved)

    def _steal(self, node: RingNodeProcess) -> None:
        def act(process: RingNodeProcess, effect: Effect) -> list[Effect]:
            if isinstance(effect, Send) and is_overlay_message(effect.payload):
                message = _read(effect.payload)
                if isinstance(message, ItemReply):
                    empty = ItemReply(message.ring, message.nonce, ())
                    return [Send(effect.peer, codec.encode(empty))]
                if isinstance(message, Holdings):
                    boast = Holdings(message.ring, (HeldItem(digest("x"), 2**61),))
                    return [Send(effect.peer, codec.encode(boast))]
            return self._answer(process, effect, self._own_only)

        node.meddler = act

    def _answer(
        self,
        node: RingNodeProcess,
        effect: Effect,
        alter: Callable[[Neighbourhood], Neighbourhood],
    ) -> list[Effect]:
        """Alter and sign anew what is told to honest nodes."""
        if not isinstance(effect, Send) or effect.peer in self._ids:
            return [effect]
        message = _read(effect.payload) if is_overlay_message(effect.payload) else None
        if not isinstance(message, NeighbourReply):
            return [effect]
        body = codec.decode(message.answer.body, Neighbourhood, bytes_max=BODY_BYTES_MAX)
        signed = sign_body(node.crypto, self.town.network_id, node.node_id, alter(body))
        lie = NeighbourReply(message.ring, message.nonce, signed, message.record)
        return [Send(effect.peer, codec.encode(lie))]

    def _own_only(self, body: Neighbourhood) -> Neighbourhood:
        """The coalition's nearest nodes around the key, in order."""
        beacon = self.town.beacon
        if self._placed is None or self._placed[0] != beacon:
            placed = [(position_of(node.node_id, beacon), node) for node in self.members]
            self._placed = beacon, placed
        key, asker = key_position(body.key), body.asker
        there = [(at, node) for at, node in self._placed[1] if node.up and node.node_id != asker]
        after = sorted(there, key=lambda each: forward(key, each[0]))[:8]
        named = {node.node_id for _, node in after}
        left = [each for each in there if each[1].node_id not in named]
        before = sorted(left, key=lambda each: forward(each[0], key))[:8]
        return _with(body, _records(before), _records(after))

    def _halved(self, body: Neighbourhood) -> Neighbourhood:
        """What an honest node says, without half of the honest ones."""
        return _with(body, self._thinned(body.before), self._thinned(body.after))

    def _thinned(self, records: Iterable[Signed]) -> list[Signed]:
        return [
            each
            for each in records
            if each.signer in self._ids or digest("omitted", each.signer)[0] & 1
        ]


def _read(payload: bytes) -> OverlayMessage:
    message: OverlayMessage = codec.decode(
        payload, OverlayMessage, bytes_max=OVERLAY_MESSAGE_BYTES_MAX
    )
    return message


def _records(placed: Iterable[tuple[int, RingNodeProcess]]) -> list[Signed]:
    return [node.machine.record.signed for _, node in placed if node.machine is not None]


def _with(body: Neighbourhood, before: list[Signed], after: list[Signed]) -> Neighbourhood:
    return Neighbourhood(
        network=body.network,
        ring=body.ring,
        nonce=body.nonce,
        asker=body.asker,
        key=body.key,
        unchanged=False,
        before=tuple(before),
        after=tuple(after),
    )
