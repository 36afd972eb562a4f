"""The overlay in a running node: the machine of `pnyx.protocol.overlay` under real time.

It runs beside the machine of the rounds and shares its transport: messages with a tag of the
overlay come here, and addresses that it learns go to the transport. What it persists is a list of
contacts, for the next start; nothing that it sends relies on it being durable.

`look_up`, `enumerate`, `put_note` and `get_item` are its questions as coroutines. Each is answered
in bounded time, for every question to a peer is.
"""

import asyncio
from collections.abc import Callable

from pnyx.node.control import NO_RING, RingStatus
from pnyx.protocol.events import (
    Effect,
    Event,
    LearnAddress,
    MessageRejected,
    Notice,
    Persist,
    RegionListed,
    RegionWanted,
    Send,
    TimerExpired,
)
from pnyx.protocol.overlay.events import (
    Enumerate,
    EpochBegan,
    GetItem,
    ItemFound,
    ItemPut,
    Leave,
    LookUp,
    NodesFound,
    PutNote,
    RingJoined,
)
from pnyx.protocol.overlay.machine import OverlayMachine
from pnyx.protocol.overlay.records import KnownRecord

Answer = NodesFound | ItemPut | ItemFound


class OverlayShell:
    """Drives one overlay machine inside a running event loop.

    post: sends bytes to a peer. learn_address: tells the transport. persist: stores durably. None
    of them raises.
    """

    def __init__(
        self,
        machine: OverlayMachine,
        *,
        post: Callable[[bytes, bytes], None],
        learn_address: Callable[[bytes, str, int], None],
        persist: Callable[[str, bytes], None],
        observer: Callable[[Notice], None],
    ) -> None:
        self.machine = machine
        self._post = post
        self._learn_address = learn_address
        self._persist = persist
        self._observer = observer
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.Handle | None = None  # uvloop's do not tell when they fire
        self._timer_at = 0.0
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._tickets = 0
        self._closed = False

    # --- life -----------------------------------------------------------------------------------

    def enter(self, epoch: int, beacon: bytes) -> None:
        """The network has this beacon: join the ring of its epoch."""
        self.deliver(EpochBegan(epoch, beacon))

    def deliver(self, event: Event) -> None:
        """Hand an event to the machine, and carry out what it asks."""
        if self._closed:
            return
        for effect in self.machine.handle(event, self._loop.time()):
            self._carry_out(effect)
        self._set_timer()

    def leave(self) -> None:
        """Say goodbye to the neighbours, and stop."""
        self.deliver(Leave())
        self.close()

    def close(self) -> None:
        """Stop; questions under way are cancelled."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for future in self._waiting.values():
            future.cancel()
        self._waiting.clear()

    def _set_timer(self) -> None:
        due = self.machine.next_deadline()
        if self._timer is not None:
            if due is not None and self._timer_at <= due and not self._timer.cancelled():
                return  # it looks again when it fires
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer, self._timer_at = self._loop.call_at(due, self._on_timer), due

    def _on_timer(self) -> None:
        self._timer = None
        due = self.machine.next_deadline()
        if due is not None and due <= self._loop.time():
            self.deliver(TimerExpired())
        else:
            self._set_timer()

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Send():
                self._post(effect.peer, effect.payload)
            case LearnAddress():
                self._learn_address(effect.peer, effect.host, effect.port)
            case Persist():
                self._persist(effect.key, effect.value)
            case NodesFound() | ItemPut() | ItemFound():
                future = self._waiting.pop(effect.ticket, None)
                if future is not None and not future.done():
                    future.set_result(effect)
            case MessageRejected() | RingJoined():
                self._observer(effect)
            case _:
                pass  # who left out whom is for whoever asks the machine

    # --- questions ------------------------------------------------------------------------------

    async def _ask(self, make: Callable[[int], Event]) -> Answer:
        self._tickets += 1
        ticket = self._tickets
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting[ticket] = future
        self.deliver(make(ticket))
        try:
            return await future
        finally:
            self._waiting.pop(ticket, None)

    async def look_up(self, key: bytes, count: int) -> tuple[KnownRecord, ...]:
        """The first live nodes at or behind a key."""
        found = await self._ask(lambda ticket: LookUp(ticket, key, count))
        assert isinstance(found, NodesFound)
        return found.nodes

    async def enumerate(self, start: int, end: int) -> tuple[KnownRecord, ...]:
        """All live nodes of an interval of positions."""
        return (await self._found(start, end)).nodes

    async def list_region(self, wanted: RegionWanted) -> RegionListed | None:
        """The live nodes of an interval of an epoch's ring; None if this node is not in it."""
        ring = self.machine.ring
        if ring is None or not ring.joined or ring.epoch != wanted.epoch:
            return None
        found = await self._found(wanted.start, wanted.end)
        ids = tuple(record.node_id for record in found.nodes)
        return RegionListed(wanted.epoch, wanted.start, wanted.end, ids, found.sparse)

    async def _found(self, start: int, end: int) -> NodesFound:
        found = await self._ask(lambda ticket: Enumerate(ticket, start, end))
        assert isinstance(found, NodesFound)
        return found

    async def put_note(self, content: bytes) -> ItemPut:
        """Store content in the ring under its hash."""
        put = await self._ask(lambda ticket: PutNote(ticket, content))
        assert isinstance(put, ItemPut)
        return put

    async def get_item(self, key: bytes) -> ItemFound:
        """What the ring stores under a key."""
        found = await self._ask(lambda ticket: GetItem(ticket, key))
        assert isinstance(found, ItemFound)
        return found

    # --- what the owner sees --------------------------------------------------------------------

    def status(self) -> RingStatus:
        """How this node stands in the ring."""
        ring = self.machine.ring
        if ring is None:
            return NO_RING
        side = self.machine.params.replication
        table = ring.table
        return RingStatus(
            joined=ring.joined,
            epoch=ring.epoch,
            successors=tuple(node.node_id.hex() for node in table.successors(side)),
            predecessors=tuple(node.node_id.hex() for node in table.predecessors(side)),
            nodes_known=len(table),
            nodes_estimated=round(table.size_estimate()),
            items_held=len(self.machine.storage),
        )
