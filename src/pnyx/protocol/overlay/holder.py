"""Storing and finding items on a ring, and keeping them at their holders while nodes come and go.

    put    look the key's place up, hand the item to each of its nodes, count who has it
    get    look the key's place up, ask each of its nodes, take the newest item that verifies
    repair offer a neighbour at a time what it should hold; it asks for what it lacks

An item is believed for its signature or its hash, never for who sent it. A look-up names the
holders; nobody can name others in their stead.
"""

from collections.abc import Callable
from contextlib import suppress

from pnyx.errors import ProtocolError, RuleBroken
from pnyx.protocol.messages import Signed
from pnyx.protocol.overlay.asking import Questions
from pnyx.protocol.overlay.messages import (
    HOLDINGS_MAX,
    ITEMS_PER_MESSAGE_MAX,
    Holdings,
    ItemReply,
    ItemRequest,
    StoreItems,
    StoreReply,
)
from pnyx.protocol.overlay.positions import key_position
from pnyx.protocol.overlay.ring import Host, Ring
from pnyx.protocol.overlay.search import Place, SearchResult
from pnyx.protocol.overlay.storage import Storage, StoredItem, read_item

StorageMessage = StoreItems | StoreReply | ItemRequest | ItemReply | Holdings
REPAIRED_AT_A_TIME = HOLDINGS_MAX
Got = Callable[[StoredItem | None], None]


class _Tally:
    """Waits for the answers of several nodes. `told` is called once, when the last one is in."""

    def __init__(self, waiting: int, told: Callable[[], None]) -> None:
        self._waiting = waiting
        self._told = told

    def count(self) -> None:
        self._waiting -= 1
        if self._waiting == 0:
            self._told()


class Holder:
    """The storage of one node on one ring."""

    def __init__(self, host: Host, ring: Ring, storage: Storage) -> None:
        self._host = host
        self._ring = ring
        self._storage = storage
        self._params = host.params
        self._next_repair = host.now + host.params.repair_s
        self._repair_turn = 0
        self._hasty = 0  # repairs that are made fast
        self._changes = ring.table.changes
        bounds_s = host.params.ask_timeout_s, host.params.ask_timeout_s_max
        self._stores: Questions[int] = Questions(host.sampler, *bounds_s)
        self._items: Questions[list[StoredItem]] = Questions(host.sampler, *bounds_s)

    def next_deadline(self) -> float:
        """When `tick` is due."""
        dues = (self._stores.next_deadline(), self._items.next_deadline())
        return min([self._next_repair, *(due for due in dues if due is not None)])

    def tick(self) -> None:
        """Give up what was not answered, and offer a neighbour what it should hold."""
        now = self._host.now
        self._stores.expire(now)
        self._items.expire(now)
        side = self._params.replication
        if self._changes != self._ring.table.changes and self._ring.joined:
            self._changes = self._ring.table.changes
            self._hasty = 2 * side
            self._next_repair = min(self._next_repair, now + self._params.hasty_repair_s)
        if now >= self._next_repair:
            hasty, self._hasty = self._hasty > 0, max(0, self._hasty - 1)
            wait = self._params.hasty_repair_s if hasty else self._params.repair_s
            # Spread, or all holders of an item would offer it at one time.
            self._next_repair = now + wait * (0.5 + self._host.sampler.below(1024) / 1024)
            self._repair()

    def on_unreachable(self, peer: bytes) -> None:
        """Something could not be delivered to this peer."""
        self._stores.give_up(peer)
        self._items.give_up(peer)

    # --- who holds ------------------------------------------------------------------------------

    def _keeps(self, key: bytes) -> bool:
        """Whether this node may hold a key: it is one of the first nodes, or nearly."""
        count = self._params.replication + self._params.holders_slack
        return self._host.node_id in self._ring.table.holders(key_position(key), count)

    def _holds(self, node_id: bytes, key: bytes) -> bool:
        return node_id in self._ring.table.holders(key_position(key), self._params.replication)

    # --- putting and getting --------------------------------------------------------------------

    def put(self, signed: Signed, key: bytes, done: Callable[[int], None]) -> None:
        """Hand an item to its holders; `done` is told how many have it."""
        place = Place(key_position(key), self._params.replication)
        self._ring.seek(place, lambda found: self._hand_out(signed, found, done))

    def _hand_out(self, signed: Signed, found: SearchResult, done: Callable[[int], None]) -> None:
        held: list[int] = []
        tally = _Tally(len(found.nodes) + 1, lambda: done(sum(held)))
        for record in found.nodes:
            if record.node_id == self._host.node_id:
                self._storage.put(signed, lambda _: True)
                held.append(1)
                tally.count()
                continue

            def counted(answer: int | None) -> None:
                held.append(answer or 0)
                tally.count()

            nonce = self._stores.put(record.node_id, b"", self._host.now, counted)
            self._host.send(record.node_id, StoreItems(self._ring.id, nonce, (signed,)))
        tally.count()

    def get(self, key: bytes, done: Got) -> None:
        """Ask the holders of a key; `done` is told the newest valid item, or None."""
        place = Place(key_position(key), self._params.replication)
        self._ring.seek(place, lambda found: self._collect(key, found, done))

    def _collect(self, key: bytes, found: SearchResult, done: Got) -> None:
        own = self._storage.get(key)
        items = [] if own is None else [own]

        def settle() -> None:
            done(max(items, key=lambda item: item.sequence, default=None))

        tally = _Tally(len(found.nodes) + 1, settle)
        for record in found.nodes:
            if record.node_id == self._host.node_id:
                tally.count()
                continue

            def taken(answer: list[StoredItem] | None) -> None:
                items.extend(answer or [])
                tally.count()

            self._ask(record.node_id, (key,), taken)
        tally.count()

    def _ask(
        self,
        peer: bytes,
        keys: tuple[bytes, ...],
        done: Callable[[list[StoredItem] | None], None],
    ) -> None:
        nonce = self._items.put(peer, b"".join(keys), self._host.now, done)
        self._host.send(peer, ItemRequest(self._ring.id, nonce, keys))

    # --- repair ---------------------------------------------------------------------------------

    def _repair(self) -> None:
        """Offer the next neighbour what it should hold; drop what others hold by now."""
        side = self._params.replication
        table = self._ring.table
        near = [*table.successors(side), *table.predecessors(side)]
        if near and self._ring.joined:
            self._repair_turn = (self._repair_turn + 1) % len(near)
            peer = near[self._repair_turn].node_id
            keys = self._storage.first(REPAIRED_AT_A_TIME)
            held = self._storage.offers(key for key in keys if self._holds(peer, key))
            if held:
                self._host.send(peer, Holdings(self._ring.id, held))
            if self._repair_turn == 0:  # every neighbour was offered these
                self._storage.rotate(REPAIRED_AT_A_TIME)
            for key in keys:
                if not self._hasty and not self._keeps(key):
                    self._storage.drop(key)

    def _on_offer(self, peer: bytes, message: Holdings) -> None:
        missing = self._storage.missing(message.held, self._keeps)
        for at in range(0, len(missing), ITEMS_PER_MESSAGE_MAX):
            keys = tuple(missing[at : at + ITEMS_PER_MESSAGE_MAX])
            self._ask(peer, keys, self._take_over)

    def _take_over(self, items: list[StoredItem] | None) -> None:
        for item in items or []:
            with suppress(RuleBroken):  # no room for one is no reason to refuse the others
                self._storage.put(item.signed, self._keeps)

    # --- messages -------------------------------------------------------------------------------

    def handle(self, peer: bytes, message: StorageMessage) -> None:
        """Process a message about items. Raises ProtocolError."""
        match message:
            case StoreItems():
                self._host.allowance.spend(peer, self._host.now)
                self._on_store(peer, message)
            case StoreReply():
                question = self._stores.take(peer, message.nonce, self._host.now)
                if question is not None:
                    question.done(min(1, message.held))
            case ItemRequest():
                self._host.allowance.spend(peer, self._host.now)
                found = [self._storage.get(key) for key in dict.fromkeys(message.keys)]
                items = tuple(item.signed for item in found if item is not None)
                self._host.send(peer, ItemReply(self._ring.id, message.nonce, items))
            case ItemReply():
                self._on_items(peer, message)
            case _:
                self._host.allowance.spend(peer, self._host.now)
                self._on_offer(peer, message)

    def _on_store(self, peer: bytes, message: StoreItems) -> None:
        """Take what verifies and belongs here; say how much, also when some of it does not."""
        held = 0
        fault: ProtocolError | None = None
        for signed in message.items:
            try:
                self._storage.put(signed, self._keeps)
                held += 1
            except ProtocolError as error:
                fault = error
        self._host.send(peer, StoreReply(self._ring.id, message.nonce, held))
        if fault is not None:
            raise fault

    def _on_items(self, peer: bytes, message: ItemReply) -> None:
        question = self._items.take(peer, message.nonce, self._host.now)
        if question is None:
            return
        asked, width = question.key, 32
        keys = {asked[at : at + width] for at in range(0, len(asked), width)}
        try:
            items = [self._read(signed) for signed in message.items]
            if not {item.key for item in items} <= keys or len(items) > len(keys):
                raise RuleBroken("sends items that it was not asked for")
        except ProtocolError:
            question.done(None)
            raise
        question.done(items)

    def _read(self, signed: Signed) -> StoredItem:
        return read_item(signed, self._host.network, self._host.reader.check)
