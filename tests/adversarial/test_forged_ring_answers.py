"""I3, T1: answers about neighbours that are forged, stale, replayed, or another node's.

One node of a small ring is asked and its answer is replaced on the way. Whoever asked believes
nothing of it; with the check taken away it does.
"""

import pytest
from tests.support.ringtown import PARAMS

from pnyx.primitives import codec
from pnyx.protocol.events import MessageReceived, Send, TimerExpired
from pnyx.protocol.identity import node_id, sign_body
from pnyx.protocol.messages import NodeRecord, Signed
from pnyx.protocol.overlay import asking, records
from pnyx.protocol.overlay.events import RecordLearnt
from pnyx.protocol.overlay.messages import (
    BODY_BYTES_MAX,
    Departing,
    Departure,
    Neighbourhood,
    NeighbourReply,
    NeighbourRequest,
    OverlayMessage,
)
from pnyx.protocol.overlay.positions import forward, key_position, position_of
from pnyx.simulator.crypto import IdealCrypto
from pnyx.simulator.overlay import Ringtown

BYTES_MAX = 2**20


def read(payload):
    return codec.decode(payload, OverlayMessage, bytes_max=BYTES_MAX)


class Scene:
    """Node 0 has asked node 1; `reply` is the true answer, on its way."""

    def __init__(self):
        self.town = Ringtown(6, seed=3, params=PARAMS)
        for node in self.town.nodes:
            node.start([])
        self.asker, self.asked, self.victim, self.helper = self.town.nodes[:4]
        # The asker knows only whom it asks; the others know each other.
        for node in self.town.nodes[1:]:
            self.town._introduce(node, self.town.nodes[1:])
        self.town._introduce(self.asker, [self.asked])
        self.ring = self.asker.machine.ring
        self.ring.joined = True
        self.request = self.question()
        self.reply = self.answer(self.request)

    def question(self):
        """Let time pass until the asker asks again."""
        for _ in range(50):
            self.town.scheduler.now += 20.0
            for effect in self.asker.machine.handle(TimerExpired(), self.town.scheduler.now):
                message = read(effect.payload) if isinstance(effect, Send) else None
                if isinstance(message, NeighbourRequest) and effect.peer == self.asked.node_id:
                    return message
        raise AssertionError("the asker never asks")

    def answer(self, request):
        for node in self.town.nodes[1:]:  # they are fresh to each other
            self.town._introduce(node, self.town.nodes[1:])
        received = MessageReceived(self.asker.node_id, codec.encode(request))
        effects = self.asked.machine.handle(received, self.town.scheduler.now)
        replies = [read(e.payload) for e in effects if isinstance(e, Send)]
        return next(each for each in replies if isinstance(each, NeighbourReply))

    @property
    def body(self):
        return codec.decode(self.reply.answer.body, Neighbourhood, bytes_max=BODY_BYTES_MAX)

    def sign(self, body, signer=None):
        signer = signer or self.asked
        return sign_body(signer.crypto, self.town.network_id, signer.node_id, body)

    def with_records(self, records):
        """The answer with these records, in their right order, signed by whom was asked."""
        key = key_position(self.body.key)
        at = {each: forward(key, self.place(each)) for each in records}
        after = tuple(sorted(records, key=at.__getitem__))
        body = self.altered(before=(), after=after)
        return NeighbourReply(self.reply.ring, self.reply.nonce, self.sign(body), self.reply.record)

    def altered(self, **fields):
        kept = {name: getattr(self.body, name) for name in Neighbourhood.__struct_fields__}
        return Neighbourhood(**{**kept, **fields})

    def replied(self, body=None, signer=None):
        signed = self.sign(body or self.body, signer)
        return NeighbourReply(self.reply.ring, self.reply.nonce, signed, self.reply.record)

    def place(self, signed):
        return position_of(signed.signer, self.town.beacon)

    def deliver(self, message, peer=None):
        """Hand a message to the asker; return the rules that it broke."""
        received = MessageReceived((peer or self.asked).node_id, codec.encode(message))
        effects = self.asker.machine.handle(received, self.town.scheduler.now)
        return [e.rule for e in effects if type(e).__name__ == "MessageRejected"]

    def knows(self, node):
        return self.ring.table.get(node.node_id if hasattr(node, "node_id") else node) is not None

    def record(self, node, host="10.6.6.6", sequence=9, signer=None):
        signer = signer or node
        body = NodeRecord(self.town.network_id, sequence, host, 666)
        signed = sign_body(signer.crypto, self.town.network_id, node.node_id, body)
        return Signed(node.node_id, signed.body, signed.signature)


@pytest.fixture
def scene():
    return Scene()


def test_true_answer_is_believed(scene):
    assert not scene.knows(scene.victim)
    assert scene.deliver(scene.reply) == []
    assert scene.knows(scene.victim)


def test_record_forged_for_another_node(scene, monkeypatch):
    """It would send whoever looks for the victim to an address of the liar's."""
    lie = scene.with_records([scene.record(scene.victim, signer=scene.asked)])
    assert scene.deliver(lie) == ["bad signature"]
    assert not scene.knows(scene.victim)
    weak = Scene()
    monkeypatch.setattr(weak.town.reader, "check", lambda signed: None)
    assert weak.deliver(lie_in(weak)) == []
    assert weak.ring.table.get(weak.victim.node_id).record.host == "10.6.6.6"


def lie_in(scene):
    return scene.with_records([scene.record(scene.victim, signer=scene.asked)])


def test_node_that_nobody_certified(scene, monkeypatch):
    """Ids can be ground at leisure without an authority: none of them is believed in."""
    crypto = IdealCrypto(b"s" * 32)

    class Sybil:
        node_id = node_id(crypto.public_key, bytes(16))

    Sybil.crypto = crypto
    assert scene.deliver(scene.with_records([scene.record(Sybil)])) == []
    assert not scene.knows(Sybil.node_id)
    weak = Scene()
    monkeypatch.setattr(weak.town.reader, "check", lambda signed: None)
    weak.deliver(weak.with_records([weak.record(Sybil)]))
    assert weak.knows(Sybil.node_id)


def test_stale_record(scene, monkeypatch):
    """An old address of the victim, rightly signed, does not replace the one that is known."""
    new, old = scene.record(scene.victim, "10.0.0.9", 9), scene.record(scene.victim, "10.6.6.6", 8)
    scene.asker.machine.handle(RecordLearnt(new), scene.town.scheduler.now)
    scene.deliver(scene.with_records([old]))
    assert scene.ring.table.get(scene.victim.node_id).record.host == "10.0.0.9"

    weak = Scene()
    monkeypatch.setattr(records.RecordReader, "_read", records.RecordReader.read, raising=False)
    monkeypatch.setattr(
        records.RecordReader, "read", lambda self, signed, known: self._read(signed, None)
    )
    weak.asker.machine.handle(RecordLearnt(new), weak.town.scheduler.now)
    weak.deliver(weak.with_records([old]))
    assert weak.asker.machine.book.get(weak.victim.node_id).host == "10.6.6.6"


def test_answer_of_another_node(scene):
    """A helper's words, or a helper's message, in the place of those of who was asked."""
    words = NeighbourReply(
        scene.reply.ring,
        scene.reply.nonce,
        scene.sign(scene.body, scene.helper),
        scene.reply.record,
    )
    assert scene.deliver(scene.reply, peer=scene.helper) == []
    assert not scene.knows(scene.victim), "the wrong peer"
    assert scene.deliver(words) == ["answers with the words of another node"]
    assert not scene.knows(scene.victim), "the wrong signer"


def test_altered_answer(scene, monkeypatch):
    """Somebody on the way changes signed words."""
    body = scene.altered(after=())
    altered = NeighbourReply(
        scene.reply.ring,
        scene.reply.nonce,
        Signed(scene.asked.node_id, codec.encode(body), scene.reply.answer.signature),
        scene.reply.record,
    )
    assert scene.deliver(altered) == ["bad signature"]
    weak = Scene()
    monkeypatch.setattr(weak.town.reader, "check", lambda signed: None)
    assert weak.deliver(altered) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"network": bytes(32)},
        {"ring": bytes(32)},
        {"nonce": bytes(16)},
        {"asker": bytes(32)},
        {"key": bytes(32)},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_answer_bound_to_another_question(scene, fields):
    assert scene.deliver(scene.replied(scene.altered(**fields))) == [
        "an answer is to another question"
    ]
    assert not scene.knows(scene.victim)


def test_answer_replayed(scene, monkeypatch):
    """An answer serves once: the same bytes again, after the victim left, bring nobody back."""
    assert scene.deliver(scene.reply) == []
    scene.ring.table.remove(scene.victim.node_id)
    assert scene.deliver(scene.reply) == []
    assert not scene.knows(scene.victim)
    monkeypatch.setattr(asking.Questions, "_close", lambda self, question: None)
    weak = Scene()
    weak.deliver(weak.reply)
    weak.ring.table.remove(weak.victim.node_id)
    weak.deliver(weak.reply)
    assert weak.knows(weak.victim)


def test_neighbours_named_twice_or_out_of_order(scene):
    body = scene.altered(before=(), after=tuple(reversed(scene.body.after + scene.body.before)))
    twice = scene.altered(before=(), after=scene.body.after[:1] * 2)
    assert scene.deliver(scene.replied(body)) == ["names neighbours out of order, or twice"]
    again = Scene()
    assert again.deliver(again.replied(twice)) == ["names neighbours out of order, or twice"]


def test_departure_in_another_nodes_name(scene):
    """Only a node itself says goodbye, and not with words from before it came back."""
    scene.deliver(scene.reply)
    sequence = scene.victim.machine.record.sequence
    forged = sign_body(
        scene.asked.crypto,
        scene.town.network_id,
        scene.victim.node_id,
        Departure(scene.town.network_id, sequence),
    )
    assert scene.deliver(Departing(scene.reply.ring, forged)) == ["bad signature"]
    foreign = scene.sign(Departure(bytes(32), sequence), scene.victim)
    assert scene.deliver(Departing(scene.reply.ring, foreign)) == [
        "a departure belongs to another network"
    ]
    old = scene.sign(Departure(scene.town.network_id, sequence - 1), scene.victim)
    assert scene.deliver(Departing(scene.reply.ring, old)) == [
        "a departure is of an older record than the one that is known"
    ]
    assert scene.knows(scene.victim)
    true = scene.sign(Departure(scene.town.network_id, sequence), scene.victim)
    assert scene.deliver(Departing(scene.reply.ring, true), peer=scene.helper) == []
    assert not scene.knows(scene.victim)
    scene.request = scene.question()
    scene.reply = scene.answer(scene.request)
    scene.deliver(scene.reply)
    assert not scene.knows(scene.victim), "nobody brings back who took its record back"


def test_node_that_asks_and_never_answers_is_told_to_nobody(scene):
    """It would fill neighbour lists with silence."""
    request = NeighbourRequest(
        scene.reply.ring,
        b"n" * 16,
        scene.request.key,
        16,
        bytes(32),
        scene.victim.machine.record.signed,
    )
    scene.deliver(request, peer=scene.victim)
    assert scene.knows(scene.victim)
    before, after = scene.ring.table.fresh_around(
        scene.ring.table.position, 16, scene.town.scheduler.now
    )
    assert scene.victim.node_id not in {each.node_id for each in (*before, *after)}


def test_asking_in_another_nodes_name(scene):
    request = NeighbourRequest(
        scene.reply.ring,
        b"n" * 16,
        scene.request.key,
        16,
        bytes(32),
        scene.victim.machine.record.signed,
    )
    assert scene.deliver(request, peer=scene.helper) == ["asks with the record of another node"]
    assert not scene.knows(scene.victim)
