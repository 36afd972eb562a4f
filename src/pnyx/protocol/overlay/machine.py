"""The overlay of one node: rings by epoch, records, storage. Events in, effects out.

    EpochBegan -> joins the ring of that epoch -> RingJoined
    LookUp, Enumerate, PutNote, GetItem -> NodesFound, ItemPut, ItemFound, by ticket
    a newer record of any node -> LearnAddress for the transport

The ring of the last epoch is answered for `overlap_s` more, while others have not moved yet. What a
node stored there it puts at its new place once it has joined: the first two holders do.

Contacts are persisted, so that a node that was away returns by any node it knew. What it stores for
the ring is not: its neighbours offer it again.

It holds no round, study or census; whether a signer is certified is the caller's `check`.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

import msgspec

from pnyx.errors import ProtocolError
from pnyx.primitives import codec
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.allowance import Allowance
from pnyx.protocol.events import (
    Effect,
    Event,
    LearnAddress,
    MessageReceived,
    MessageRejected,
    PeerReachable,
    PeerUnreachable,
    Persist,
    Send,
    TimerExpired,
)
from pnyx.protocol.identity import sign_body
from pnyx.protocol.messages import NodeRecord, Signed
from pnyx.protocol.overlay.events import (
    Enumerate,
    EpochBegan,
    GetItem,
    ItemFound,
    ItemPut,
    Leave,
    LookUp,
    NodeOmitted,
    NodesFound,
    PeerKnown,
    PutNote,
    RecordLearnt,
    RingJoined,
)
from pnyx.protocol.overlay.holder import Holder
from pnyx.protocol.overlay.messages import (
    OVERLAY_MESSAGE_BYTES_MAX,
    Departing,
    Departure,
    Neighbourhood,
    NeighbourReply,
    NeighbourRequest,
    Note,
    OverlayMessage,
)
from pnyx.protocol.overlay.params import OverlayParams
from pnyx.protocol.overlay.positions import key_position
from pnyx.protocol.overlay.records import Check, KnownRecord, RecordBook, RecordReader, record_key
from pnyx.protocol.overlay.ring import Ring
from pnyx.protocol.overlay.search import Place, SearchResult
from pnyx.protocol.overlay.storage import Storage, StoredItem, note_key
from pnyx.protocol.ports import Crypto

CONTACTS_KEY = "chain/overlay/contacts"
_CONTACTS_BYTES_MAX = 256 * 1024
_FIRST_HOLDERS = 2  # of the old ring, who put an item at its new place
_MOVED_AT_A_TIME = 4


class StoredContacts(msgspec.Struct, frozen=True, array_like=True):
    """Records of nodes to return by."""

    records: tuple[Signed, ...]


class _Place:
    """This node on one ring, with what it does for others' items there."""

    def __init__(self, ring: Ring, holder: Holder) -> None:
        self.ring = ring
        self.holder = holder
        self.ends_at = float("inf")


class OverlayMachine:
    """One node of the overlay. Drive it with `handle`; wake it at `next_deadline`.

    check: raises ProtocolError unless a signed body is a certified node's own. reader: shared by
    the nodes of a simulation. contacts: ids of peers whose address the shell knows. restored: what
    earlier `Persist` effects stored. seed: 32 fresh bytes for every start.
    """

    def __init__(
        self,
        *,
        node_id: bytes,
        network: bytes,
        crypto: Crypto,
        check: Check,
        address: tuple[str, int],
        address_sequence: int,
        contacts: Iterable[bytes],
        restored: Mapping[str, bytes],
        params: OverlayParams,
        seed: bytes,
        now: float,
        reader: RecordReader | None = None,
    ) -> None:
        self.node_id = node_id
        self.network = network
        self.params = params
        self.sampler = Sampler(seed, "pnyx/overlay")
        self.reader = reader or RecordReader(network, check, params.records_max)
        self.book = RecordBook(self.reader, params.records_max, self._on_newer)
        self.allowance = Allowance(
            params.requests_burst, params.requests_per_s, params.peers_counted_max
        )
        self.storage = Storage(network, check, params)
        self._crypto = crypto
        self._effects: list[Effect] = []
        self._places: list[_Place] = []  # the newest ring first
        self._contacts = list(contacts)
        self.now = now
        self._next_store = now + params.contacts_store_s
        self._next_publish = float("inf")
        self._stored: tuple[bytes, ...] = ()
        self._wanted: dict[bytes, float] = {}
        self._wanting = False
        self._next_wanted = now
        self._moving: deque[StoredItem] = deque()
        body = NodeRecord(network, address_sequence, *address)
        self.record = self.book.take(sign_body(crypto, network, node_id, body))
        self._restore(restored)

    def _restore(self, restored: Mapping[str, bytes]) -> None:
        stored = restored.get(CONTACTS_KEY)
        if stored is None:
            return
        for signed in codec.decode(stored, StoredContacts, bytes_max=_CONTACTS_BYTES_MAX).records:
            with suppress(ProtocolError):  # whoever lost its certificate meanwhile is no contact
                self._contacts.append(self.book.take(signed).node_id)

    # --- the shell's side -----------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Process one event; return what the shell must do, in order."""
        self.now = now
        match event:
            case MessageReceived():
                self._guard(event.peer, lambda: self._on_message(event.peer, event.payload))
            case TimerExpired():
                self._on_timer()
            case PeerUnreachable():
                self._on_unreachable(event.peer)
            case PeerReachable():
                pass  # what it says tells more
            case EpochBegan():
                self._enter(event.epoch, event.beacon)
            case PeerKnown():
                self._meet(event.peer)
            case RecordLearnt():
                self._guard(event.signed.signer, lambda: self._learn(event.signed))
            case LookUp() | Enumerate() | PutNote() | GetItem():
                self._on_request(event)
            case Leave():
                self._leave()
            case _:
                raise TypeError(f"unknown event {type(event).__name__}")
        effects, self._effects = self._effects, []
        return effects

    def next_deadline(self) -> float | None:
        """When TimerExpired is due, on the caller's clock; None while there is no ring."""
        times = [
            due
            for place in self._places
            for due in (place.ring.next_deadline(), place.holder.next_deadline(), place.ends_at)
        ]
        return min([*times, self._next_store, self._next_publish]) if times else None

    def _guard(self, peer: bytes, act: Callable[[], None]) -> None:
        """Carry out what a peer caused; a broken rule costs it the message."""
        try:
            act()
        except ProtocolError as error:
            self._effects.append(MessageRejected(peer, str(error)))

    # --- what the owner sees --------------------------------------------------------------------

    @property
    def ring(self) -> Ring | None:
        """Where questions go: the newest ring that this node has joined, or else is joining."""
        joined = [place.ring for place in self._places if place.ring.joined]
        return joined[0] if joined else (self._places[0].ring if self._places else None)

    def nodes_between(self, start: int, end: int) -> tuple[KnownRecord, ...]:
        """Nodes of an interval that this node knows and has heard, without asking anybody.

        A view, for who draws candidates from caches; `Enumerate` finds all.
        """
        ring = self.ring
        known = [] if ring is None else ring.table.between(start, end)
        return tuple(node.record for node in known if node.heard_at > float("-inf"))

    # --- what rings ask of their host -----------------------------------------------------------

    def sign(self, body: Neighbourhood | Departure | Note) -> Signed:
        """Sign a body with the node's key."""
        return sign_body(self._crypto, self.network, self.node_id, body)

    def send(self, peer: bytes, message: OverlayMessage) -> None:
        """Send a message."""
        self._effects.append(Send(peer, codec.encode(message)))

    def on_joined(self, ring: Ring) -> None:
        """Tell the owner, and put at its place what belongs elsewhere now."""
        self._effects.append(RingJoined(ring.epoch, len(ring.table)))
        if ring is self._places[0].ring:
            self._publish()
            self._move_items()

    def on_omission(self, node_id: bytes, omitted: bytes, answer: Signed) -> None:
        """Tell the owner that a node left out another one."""
        self._effects.append(NodeOmitted(node_id, omitted, answer))

    def _on_newer(self, record: KnownRecord) -> None:
        if record.node_id != self.node_id:
            self._effects.append(LearnAddress(record.node_id, record.host, record.port))

    # --- time -----------------------------------------------------------------------------------

    def _on_timer(self) -> None:
        self._places = [place for place in self._places if place.ends_at > self.now]
        for place in self._places:
            place.ring.tick()
            place.holder.tick()
        if self.now >= self._next_store:
            self._next_store = self.now + self.params.contacts_store_s
            self._store_contacts()
        if self.now >= self._next_publish:
            self._publish()
        for _ in range(min(_MOVED_AT_A_TIME, len(self._moving))):
            item = self._moving.popleft()
            self._places[0].holder.put(item.signed, item.key, lambda _: None)

    def _enter(self, epoch: int, beacon: bytes) -> None:
        """Take a place on the ring of a new epoch; the old one is answered a while longer."""
        if self._places and self._places[0].ring.epoch >= epoch:
            return
        contacts = [*self._contacts]
        for place in self._places:
            contacts = [*(node.node_id for node in place.ring.table), *contacts]
            place.ends_at = min(place.ends_at, self.now + self.params.overlap_s)
        ring = Ring(self, epoch, beacon, contacts)
        holder = Holder(self, ring, self.storage)
        self._places = [_Place(ring, holder), *self._places[:1]]
        ring.tick()

    def _publish(self) -> None:
        """Put this node's own record where others look for it."""
        self._next_publish = self.now + self.params.republish_s
        holder = self._places[0].holder
        holder.put(self.record.signed, record_key(self.node_id), lambda _: None)

    def _move_items(self) -> None:
        """At the start of an epoch the first holders of the last one hand their items over."""
        for old in self._places[1:2]:
            for key in self.storage.keys:
                first = old.ring.table.holders(key_position(key), _FIRST_HOLDERS)
                item = self.storage.get(key)
                if item is not None and self.node_id in first:
                    self._moving.append(item)

    def _store_contacts(self) -> None:
        """Persist whom to return by: what was heard last comes first."""
        ring = self.ring
        if ring is None or not ring.joined:
            return
        heard = sorted(ring.table, key=lambda node: (-node.heard_at, node.position))
        kept = [node.record.signed for node in heard[: self.params.stored_contacts_max]]
        names = tuple(sorted(signed.signature for signed in kept))
        if kept and names != self._stored:
            self._stored = names
            self._effects.append(Persist(CONTACTS_KEY, codec.encode(StoredContacts(tuple(kept)))))

    # --- messages -------------------------------------------------------------------------------

    def _on_message(self, peer: bytes, payload: bytes) -> None:
        message = codec.decode(payload, OverlayMessage, bytes_max=OVERLAY_MESSAGE_BYTES_MAX)
        place = next((each for each in self._places if each.ring.id == message.ring), None)
        if place is None:
            return  # of an epoch that this node is not in yet, or no more
        if isinstance(message, NeighbourRequest | NeighbourReply | Departing):
            place.ring.handle(peer, message)
        else:
            place.holder.handle(peer, message)

    def _learn(self, signed: Signed) -> None:
        """A record from elsewhere; the node is hearsay on the ring, and a contact."""
        record = self.book.take(signed)
        if record.node_id == self.node_id:
            return
        self._meet(record.node_id)
        for place in self._places:
            if not self.book.has_departed(record):
                place.ring.table.learn(record, self.now)

    def _meet(self, peer: bytes) -> None:
        """Know one more peer to join by."""
        for place in self._places:
            place.ring.meet((peer,))
        if len(self._contacts) < self.params.contacts_max and peer not in self._contacts:
            self._contacts.append(peer)

    def _on_unreachable(self, peer: bytes) -> None:
        """Give up on what the peer was asked; it may have moved, so look its record up."""
        for place in self._places:
            place.ring.on_unreachable(peer)
            place.holder.on_unreachable(peer)
        ring = self.ring
        record = self.book.get(peer)
        if record is not None and self.book.has_departed(record):
            return  # it has said that it goes
        if ring is None or not ring.joined or self.now < self._wanted.get(peer, 0.0):
            return
        if self._wanting or self.now < self._next_wanted:
            return
        self._wanting, self._next_wanted = True, self.now + self.params.wanted_every_s
        self._wanted.pop(peer, None)
        self._wanted[peer] = self.now + self.params.wanted_retry_s
        if len(self._wanted) > self.params.wanted_max:
            del self._wanted[next(iter(self._wanted))]
        self._holder_of(ring).get(record_key(peer), self._take_record)

    def _take_record(self, item: StoredItem | None) -> None:
        self._wanting = False
        if item is None or item.content is not None:
            return
        self._guard(item.signed.signer, lambda: self._learn(item.signed))
        newest = self.book.get(item.signed.signer)
        if newest is not None:  # said again: the shell may have heard of an older one meanwhile
            self._on_newer(newest)

    # --- the owner's requests -------------------------------------------------------------------

    def _holder_of(self, ring: Ring) -> Holder:
        return next(place.holder for place in self._places if place.ring is ring)

    def _seek(self, place: Place, ticket: int) -> None:
        ring = self.ring
        if ring is None:
            self._effects.append(NodesFound(ticket, (), True, 0, 0, 0))
            return

        def told(found: SearchResult) -> None:
            self._effects.append(
                NodesFound(ticket, found.nodes, found.sparse, found.asks, found.steps, found.waves)
            )

        ring.seek(place, told)

    def _on_request(self, event: LookUp | Enumerate | PutNote | GetItem) -> None:
        match event:
            case LookUp():
                place = Place(key_position(event.key), max(1, event.count))
                self._seek(place, event.ticket)
            case Enumerate():
                self._seek(Place(event.start, 0, event.end), event.ticket)
            case PutNote():
                self._put_note(event)
            case _:
                self._get(event)

    def _put_note(self, event: PutNote) -> None:
        key, ring = note_key(event.content), self.ring
        signed = self.sign(Note(self.network, 0, event.content))

        def told(holders: int) -> None:
            self._effects.append(ItemPut(event.ticket, key, holders))

        if ring is None:
            told(0)
        else:
            self._holder_of(ring).put(signed, key, told)

    def _get(self, event: GetItem) -> None:
        ring = self.ring

        def told(item: StoredItem | None) -> None:
            signed, content = (None, None) if item is None else (item.signed, item.content)
            self._effects.append(ItemFound(event.ticket, event.key, signed, content))

        if ring is None:
            told(None)
        else:
            self._holder_of(ring).get(event.key, told)

    def _leave(self) -> None:
        departure = self.sign(Departure(self.network, self.record.sequence))
        for place in self._places:
            place.ring.depart(departure)
