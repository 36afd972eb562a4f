"""One node's place on the ring of one epoch: asking, answering, joining, keeping in order.

A node joins through any known peer: it asks for the neighbourhood of its own place, looks that
place up as it would any other, and has thereby introduced itself to its neighbours, since every
question carries the record of who asks. It tells others only of nodes that it has heard itself
(`table`).

Whoever asks pays first: an answer costs one signature and is given within an allowance. What an
answer says is looked at in this order: was it asked for, is it signed by the peer that was asked,
is every record in it valid. An answer with one wrong record is dropped whole.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from math import inf
from typing import Protocol

from pnyx.errors import InvalidCertificate, ProtocolError, RuleBroken, WrongContext
from pnyx.primitives import codec
from pnyx.primitives.hashing import digest
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.allowance import Allowance
from pnyx.protocol.messages import Signed
from pnyx.protocol.overlay.asking import Question, Questions
from pnyx.protocol.overlay.messages import (
    BODY_BYTES_MAX,
    Departing,
    Neighbourhood,
    NeighbourReply,
    NeighbourRequest,
    OverlayMessage,
)
from pnyx.protocol.overlay.params import OverlayParams
from pnyx.protocol.overlay.positions import (
    forward,
    key_position,
    position_bytes,
    position_of,
    ring_id,
)
from pnyx.protocol.overlay.records import KnownRecord, RecordBook, RecordReader
from pnyx.protocol.overlay.search import Ask, Place, Search, SearchResult
from pnyx.protocol.overlay.table import NodeTable, RingNode
from pnyx.protocol.overlay.upkeep import Upkeep

_ZERO = bytes(32)
Answer = tuple[Signed, list[KnownRecord], list[KnownRecord]]
"""A signed answer with its verified records, before and after the key."""


class Host(Protocol):
    """What the rings of one node share, see `machine.OverlayMachine`."""

    @property
    def node_id(self) -> bytes:
        """This node's id."""
        ...

    @property
    def network(self) -> bytes:
        """The network's id."""
        ...

    @property
    def now(self) -> float:
        """The time of the event that is being processed."""
        ...

    @property
    def params(self) -> OverlayParams:
        """Bounds and durations."""
        ...

    @property
    def book(self) -> RecordBook:
        """Records of nodes."""
        ...

    @property
    def reader(self) -> RecordReader:
        """Verifies what nodes sign."""
        ...

    @property
    def sampler(self) -> Sampler:
        """Randomness of this node."""
        ...

    @property
    def allowance(self) -> Allowance:
        """What peers may still ask."""
        ...

    @property
    def record(self) -> KnownRecord:
        """This node's own record."""
        ...

    def sign(self, body: Neighbourhood) -> Signed:
        """Sign a body with the node's key."""
        ...

    def send(self, peer: bytes, message: OverlayMessage) -> None:
        """Send a message."""
        ...

    def on_joined(self, ring: "Ring") -> None:
        """The node has taken its place on a ring."""
        ...

    def on_omission(self, node_id: bytes, omitted: bytes, answer: Signed) -> None:
        """A node left out another one in an answer."""
        ...


class Ring:
    """This node on the ring of one beacon. contacts: peers to join by, the best ones first."""

    def __init__(self, host: Host, epoch: int, beacon: bytes, contacts: Iterable[bytes]) -> None:
        self.epoch = epoch
        self.id = ring_id(host.network, beacon)
        self.table = NodeTable(host.node_id, beacon, host.params)
        self.joined = False
        self._host = host
        self._params = host.params
        self._beacon = beacon
        self._contacts = [each for each in dict.fromkeys(contacts) if each != host.node_id]
        self._upkeep = Upkeep(self.table, host.params, host.now)
        self._questions: Questions[Answer] = Questions(
            host.sampler, host.params.ask_timeout_s, host.params.ask_timeout_s_max
        )
        self._searches = 0
        self._next_join = host.now
        self._joining = 0  # contacts that were asked and have not answered yet
        self._joining_search = False
        self._fingering = False  # one at a time: a slow network must not be asked more and more

    # --- time -----------------------------------------------------------------------------------

    def next_deadline(self) -> float:
        """When `tick` is due."""
        due = self._upkeep.next_deadline()
        asked = self._questions.next_deadline()
        return due if asked is None else min(due, asked)

    def tick(self) -> None:
        """Give up what was not answered, and keep the ring in order."""
        self._questions.expire(self._host.now)
        if not self._upkeep.is_due(self._host.now):
            return
        if not self.joined or not len(self.table):
            self._join()
            return
        for node in self._upkeep.to_ask(self._host.now):
            self._refresh(node)
        target = None if self._fingering else self._upkeep.next_finger(self._host.now)
        if target is not None:
            self._fingering = True
            self.seek(Place(target, self._params.finger_width), self._on_finger)

    def _on_finger(self, result: SearchResult) -> None:
        """The table has learnt what there was to learn; the next one may be looked up."""
        del result
        self._fingering = False

    # --- joining --------------------------------------------------------------------------------

    def meet(self, contacts: Iterable[bytes]) -> None:
        """Know more peers to join by."""
        known = set(self._contacts)
        fresh = [each for each in contacts if each not in known and each != self._host.node_id]
        self._contacts += fresh[: max(0, self._params.contacts_max - len(known))]

    def _join(self) -> None:
        """Ask a few nodes for the surroundings of this node's place: contacts, or whoever asked."""
        if self._host.now < self._next_join or self._joining or self._joining_search:
            return
        self._next_join = self._host.now + self._params.join_retry_s
        met = [node.node_id for node in (*self.table, *self.table.away)]
        known = list(dict.fromkeys([*self._contacts, *met]))
        for at in self._host.sampler.sample(
            len(known), min(len(known), self._params.join_contacts)
        ):
            if not self._questions.asks(known[at]):
                self._joining += 1
                self._put(
                    known[at], self.table.position, self._params.neighbours_per_side, self._greeted
                )

    def _greeted(self, answer: Answer | None) -> None:
        del answer
        self._joining -= 1
        if not self._joining and len(self.table) and not self._joining_search:
            self._joining_search = True
            place = Place(self.table.position, self._params.replication)
            self.seek(place, self._on_placed)

    def _on_placed(self, result: SearchResult) -> None:
        self._joining_search = False
        if len(result.nodes) and not self.joined:
            self.joined = True
            self._host.on_joined(self)

    # --- searching ------------------------------------------------------------------------------

    def seek(self, place: Place, done: Callable[[SearchResult], None]) -> None:
        """Search a place; `done` is told once, beyond `searches_max` that nothing was found."""
        if self._searches >= self._params.searches_max:
            done(SearchResult((), True, 0, 0, 0, ()))
            return
        self._searches += 1
        known = self.table.backbone()
        backbone = [node for node in known if node.heard_at > -inf] or known
        answers: dict[bytes, Signed] = {}

        def seeds(key: int) -> list[KnownRecord]:
            nearest = sorted(backbone, key=lambda node: forward(node.position, key) or 1 << 256)
            return [node.record for node in nearest]

        side = self._params.step_records_per_side
        search = Search(
            place,
            params=self._params,
            beacon=self._beacon,
            own_id=self._host.node_id,
            own=self._host.record if self.joined else None,
            seeds=seeds,
            nearby=[
                node.record
                for key in place.keys
                for node in (*self.table.behind(key, side), *self.table.ahead(key, side))
                if node.heard_at > -inf
            ],
            others=[node.record for node in backbone],
            gap=self.table.gap(),
            sampler=self._host.sampler,
        )
        self._drive(search, answers, done)

    def _drive(
        self, search: Search, answers: dict[bytes, Signed], done: Callable[[SearchResult], None]
    ) -> None:
        for ask in search.asks():
            told = partial(self._on_step, search, ask, answers, done)
            self._put(ask.record.node_id, ask.key, ask.per_side, told)
        result = search.result
        if result is not None:
            self._searches -= 1
            for omission in result.omissions:
                answer = answers[omission.node_id]
                self._host.on_omission(omission.node_id, omission.omitted, answer)
            done(result)

    def _on_step(
        self,
        search: Search,
        ask: Ask,
        answers: dict[bytes, Signed],
        done: Callable[[SearchResult], None],
        answer: Answer | None,
    ) -> None:
        node_id = ask.record.node_id
        if answer is None:
            search.silent(node_id)
        else:
            answers[node_id] = answer[0]
            search.answered(node_id, ask.key, answer[1], answer[2])
        self._drive(search, answers, done)

    # --- asking ---------------------------------------------------------------------------------

    def _refresh(self, node: RingNode) -> None:
        """Ask a neighbour for the surroundings of this node's own place."""
        if not self._questions.asks(node.node_id):
            count = self._params.neighbours_per_side
            self._put(node.node_id, self.table.position, count, _nobody, seen=node.listing)

    def _put(
        self,
        peer: bytes,
        key: int,
        per_side: int,
        done: Callable[[Answer | None], None],
        seen: bytes = _ZERO,
    ) -> None:
        def closed(answer: Answer | None) -> None:
            if answer is None:
                self.table.fail(peer, self._host.now)
            done(answer)

        name = position_bytes(key)
        nonce = self._questions.put(peer, name, self._host.now, closed)
        record = self._host.record.signed
        self._host.send(peer, NeighbourRequest(self.id, nonce, name, per_side, seen, record))

    def on_unreachable(self, peer: bytes) -> None:
        """Something could not be delivered to this peer: what it was asked is not answered.

        That is no more than one failure: a node that restarts is away for a moment.
        """
        if not self._questions.asks(peer):
            self.table.fail(peer, self._host.now)
        self._questions.give_up(peer)

    # --- messages -------------------------------------------------------------------------------

    def handle(self, peer: bytes, message: NeighbourRequest | NeighbourReply | Departing) -> None:
        """Process a message about neighbours. Raises ProtocolError."""
        match message:
            case NeighbourRequest():
                self._on_request(peer, message)
            case NeighbourReply():
                self._on_reply(peer, message)
            case _:
                self._host.allowance.spend(peer, self._host.now)
                self._host.book.take_departure(message.departure)
                self.table.remove(message.departure.signer)

    def _on_request(self, peer: bytes, message: NeighbourRequest) -> None:
        self._host.allowance.spend(peer, self._host.now)
        if message.record.signer != peer:
            raise RuleBroken("asks with the record of another node")
        record = self._host.book.take(message.record)
        if not self._host.book.has_departed(record):
            unheard = self.table.greet(record, self._host.now)
            if unheard is not None:
                self._refresh(unheard)
        key = key_position(message.key)
        before, after = self.table.fresh_around(key, message.per_side, self._host.now, without=peer)
        unchanged = message.seen != _ZERO and message.seen == _listing(before, after)
        answer = Neighbourhood(
            network=self._host.network,
            ring=self.id,
            nonce=message.nonce,
            asker=peer,
            key=message.key,
            unchanged=unchanged,
            before=() if unchanged else tuple(node.record.signed for node in before),
            after=() if unchanged else tuple(node.record.signed for node in after),
        )
        signed, own = self._host.sign(answer), self._host.record.signed
        self._host.send(peer, NeighbourReply(self.id, message.nonce, signed, own))

    def _on_reply(self, peer: bytes, message: NeighbourReply) -> None:
        question = self._questions.take(peer, message.nonce, self._host.now)
        if question is None:
            return
        try:
            answer = self._read_answer(question, message)
        except ProtocolError:
            question.done(None)
            raise
        question.done(answer)

    def _read_answer(self, question: Question[Answer], message: NeighbourReply) -> Answer:
        """Verify an answer and take in what it says. Raises ProtocolError."""
        signed, peer = message.answer, question.peer
        body = codec.decode(signed.body, Neighbourhood, bytes_max=BODY_BYTES_MAX)
        if (signed.signer, message.record.signer) != (peer, peer):
            raise RuleBroken("answers with the words of another node")
        bound = (body.network, body.ring, body.nonce, body.asker, body.key)
        if bound != (
            self._host.network,
            self.id,
            question.nonce,
            self._host.node_id,
            question.key,
        ):
            raise WrongContext("an answer is to another question")
        self._host.reader.check(signed)
        book, key = self._host.book, key_position(question.key)
        own = book.take(message.record)
        before = self._certified(body.before)
        after = self._certified(body.after)
        behind = [forward(self._position(each), key) for each in before]
        ahead = [forward(key, self._position(each)) for each in after]
        if behind != sorted(set(behind)) or ahead != sorted(set(ahead)):
            raise RuleBroken("names neighbours out of order, or twice")
        node = self._hear(own)
        for record in (*before, *after):
            if not book.has_departed(record):
                self.table.learn(record, self._host.now)
        if node is not None and key == self.table.position and not body.unchanged:
            node.listing = _listing_of(before, after)
        return signed, before, after

    def _certified(self, records: Iterable[Signed]) -> list[KnownRecord]:
        """Verified records; those of nodes that this one has no certificate of are left out.

        They may be of a newer census than this node has. Raises ProtocolError for any other fault.
        """
        found: list[KnownRecord] = []
        for signed in records:
            with suppress(InvalidCertificate):
                found.append(self._host.book.take(signed))
        return found

    def _position(self, record: KnownRecord) -> int:
        node = self.table.get(record.node_id)
        return position_of(record.node_id, self._beacon) if node is None else node.position

    def _hear(self, record: KnownRecord) -> RingNode | None:
        if self._host.book.has_departed(record):
            return None
        return self.table.hear(record, self._host.now)

    def depart(self, departure: Signed) -> None:
        """Say goodbye to the neighbours."""
        for node in self.table.neighbours():
            self._host.send(node.node_id, Departing(self.id, departure))


def _listing_of(before: Iterable[KnownRecord], after: Iterable[KnownRecord]) -> bytes:
    """Hash of two lists of records; only asker and asked compare it."""
    parts = [b"".join(each.signed.signature for each in side) for side in (before, after)]
    return digest("pnyx/overlay/listing", *parts)


def _listing(before: Iterable[RingNode], after: Iterable[RingNode]) -> bytes:
    return _listing_of((each.record for each in before), (each.record for each in after))


def _nobody(answer: Answer | None) -> None:
    """The table has learnt what there was to learn."""
    del answer
