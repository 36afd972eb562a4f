"""A town whose nodes run the overlay beside the machine of the rounds, on the same wire."""

from tests.support.town import LATENCY_S, Town

from pnyx.protocol.events import (
    EpochOpened,
    Event,
    MessageReceived,
    RegionListed,
    RegionWanted,
    Send,
    TimerExpired,
)
from pnyx.protocol.overlay.events import Enumerate, EpochBegan, NodesFound
from pnyx.protocol.overlay.machine import OverlayMachine
from pnyx.protocol.overlay.messages import is_overlay_message
from pnyx.protocol.overlay.params import OverlayParams

PARAMS = OverlayParams(finger_first_s=600.0)


class RingTimer(Event, frozen=True):
    """A deadline of the overlay has passed."""


class RingedTown(Town):
    """Town with a ring. listed: what machines were told of it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rings: dict[int, OverlayMachine] = {}
        self.listed: list[tuple[int, RegionListed]] = []
        self._wanted: dict[int, RegionWanted] = {}
        self._armed: dict[int, float] = {}

    def handle(self, index, event):
        ours = isinstance(event, MessageReceived) and is_overlay_message(event.payload)
        if isinstance(event, RingTimer):
            self._armed.pop(index, None)
            return self._drive(index, TimerExpired())
        if ours:
            return self._drive(index, event)
        if isinstance(event, RegionListed):
            self.listed.append((index, event))
        return super().handle(index, event)

    def _carry_out(self, index, effect) -> None:
        match effect:
            case EpochOpened():
                self._join(index)
                self._drive(index, EpochBegan(effect.epoch, effect.beacon))
            case RegionWanted():
                ticket = len(self._wanted)
                self._wanted[ticket] = effect
                ring = self.rings[index].ring
                if ring is not None and ring.joined:
                    self._drive(index, Enumerate(ticket, effect.start, effect.end))
            case _:
                super()._carry_out(index, effect)

    def _join(self, index: int) -> None:
        """Start the overlay of a node; it knows the first living one."""
        first = next(at for at in range(self.count) if self.alive[at])
        self.rings[index] = OverlayMachine(
            node_id=self.census.node_ids[index],
            network=self.census.network,
            crypto=self.cryptos[index],
            check=lambda signed: self.census.check(self.cryptos[index], signed),
            address=("h", 1000 + index),
            address_sequence=1,
            contacts=[] if index == first else [self.census.node_ids[first]],
            restored={},
            params=PARAMS,
            seed=index.to_bytes(32, "big"),
            now=self.now,
        )

    def _drive(self, index, event):
        ring = self.rings.get(index)
        if ring is None:
            return []
        effects = ring.handle(event, self.now)
        for effect in effects:
            self._carry_out_ring(index, effect)
        due = ring.next_deadline()
        if due is not None and due < self._armed.get(index, float("inf")) - 1e-9:
            self._armed[index] = max(due, self.now + 1e-3)
            self.push(index, RingTimer(), after=self._armed[index] - self.now)
        return effects

    def _carry_out_ring(self, index, effect) -> None:
        match effect:
            case Send():
                receiver = self.census.index_of(effect.peer)
                event = MessageReceived(self.census.node_ids[index], effect.payload)
                self.push(receiver, event, after=LATENCY_S)
            case NodesFound():
                wanted = self._wanted[effect.ticket]
                ids = tuple(record.node_id for record in effect.nodes)
                span = wanted.epoch, wanted.start, wanted.end
                self.push(index, RegionListed(*span, ids, effect.sparse))
