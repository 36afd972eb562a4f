"""Nodes that only keep, pull and serve parcels, on a wire that a test can watch and change."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from msgspec.structs import replace

from pnyx.errors import RuleBroken
from pnyx.primitives import codec
from pnyx.protocol.chunks import Shape, chunk_message, parcel_name
from pnyx.protocol.events import (
    Effect,
    Forget,
    ForgetParcel,
    Persist,
    SealParcel,
    SendChunk,
    StoreChunk,
)
from pnyx.protocol.messages import CHUNK_BYTES, Chunk, ChunkRequest, ParcelMessage
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.parcels import Parcels, held_parcels
from pnyx.simulator.parcel_store import MemoryParcelStore

NODES = [bytes((at,)) * 32 for at in range(1, 7)]
OWNER, PULLER, OTHER, STRANGER = NODES[:4]


def content(count: int, rest: int = 1000, seed: int = 0) -> bytes:
    """Bytes of `count` chunks, the last one of `rest` bytes; no two chunks are equal."""
    size = (count - 1) * CHUNK_BYTES + rest
    words = np.empty((size // 8 + 1, 2), dtype=">u4")
    words[:, 0] = int.from_bytes(b"%04d" % seed, "big")
    words[:, 1] = np.arange(len(words))
    return words.tobytes()[:size]


@dataclass
class Node:
    """Parcels of one node with what a shell keeps for them; effects and messages pile up."""

    name: bytes
    params: ProtocolParams = field(default_factory=ProtocolParams)
    disk: dict[str, bytes] = field(default_factory=dict)
    store: MemoryParcelStore = field(default_factory=MemoryParcelStore)
    away: set[bytes] = field(default_factory=set)
    kind: type[Parcels] = Parcels

    def __post_init__(self) -> None:
        self.effects: list[Effect] = []
        self.sent: list[tuple[bytes, ParcelMessage]] = []
        self.done: list[bytes] = []
        self.failed: list[bytes] = []
        self.start()

    def start(self) -> None:
        """A new process, with what the disk holds."""
        assert self.store.retain(held_parcels(self.disk)) == frozenset()
        self.effects.clear()
        self.sent.clear()
        self.parcels = self.kind(
            self.params,
            self.name,
            lambda peer: peer in self.away,
            self.effects.append,
            lambda peer, message: self.sent.append((peer, message)),
            self.disk,
        )

    def fetch(self, name: bytes, length: int, sources: Iterable[bytes], **terms) -> None:
        """Pull a parcel, and note how it ends."""

        def failed(shape: Shape) -> None:
            assert parcel_name(shape.length, shape.root) == shape.name
            assert shape.length != length
            self.failed.append(shape.name)

        self.parcels.fetch(name, length, sources, self.done.append, failed=failed, **terms)

    def take(self) -> list[Effect]:
        """What the node has asked of its shell; carried out, but for SendChunk."""
        effects = list(self.effects)
        self.effects.clear()
        for effect in effects:
            match effect:
                case StoreChunk():
                    self.store.write(effect.parcel, effect.index, effect.data)
                case SealParcel():
                    self.store.seal(effect.parcel, effect.length)
                case ForgetParcel():
                    self.store.remove(effect.parcel)
                case Persist():
                    self.disk[effect.key] = effect.value
                case Forget():
                    for key in [k for k in self.disk if k.startswith(effect.prefix)]:
                        del self.disk[key]
        return effects

    def messages(self) -> list[tuple[bytes, ParcelMessage]]:
        """What it says, taken off the wire."""
        sent = list(self.sent)
        self.sent.clear()
        return sent

    def has(self, data: bytes, name: bytes) -> bool:
        """Whether the parcel is held, and is these bytes."""
        return name in self.parcels and b"".join(self.store.chunks(name)) == data


Wire = Callable[[bytes, bytes, ParcelMessage], Iterable[ParcelMessage] | None]


class Net:
    """Nodes and what passes between them, all at once.

    wire(sender, receiver, message) returns what arrives instead, or None for the message as it is.
    rules: which rules were broken, with the peer that broke them.
    """

    def __init__(self, *nodes: Node, wire: Wire = lambda *_: None) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.wire = wire
        self.now = 0.0
        self.log: list[tuple[bytes, Effect]] = []
        self.rules: list[tuple[bytes, str]] = []
        self.down: set[bytes] = set()

    def settle(self) -> None:
        """Until nobody says anything more at this time."""
        busy = True
        while busy:
            busy = False
            for node in self.nodes.values():
                node.parcels.flush(self.now)
                for effect in node.take():
                    self.log.append((node.name, effect))
                    if isinstance(effect, SendChunk):
                        busy = True
                        self._send_chunk(node, effect)
                for peer, message in node.messages():
                    busy = True
                    self.deliver(node.name, peer, message)

    def _send_chunk(self, node: Node, effect: SendChunk) -> None:
        data = node.store.read(effect.parcel, effect.index)
        message = None if data is None else chunk_message(effect, data)
        if message is not None:
            decoded = codec.decode(message, Chunk, bytes_max=2 * CHUNK_BYTES)
            self.deliver(node.name, effect.peer, decoded)
        node.parcels.on_sent(effect.peer, effect.parcel, effect.index)

    def deliver(self, sender: bytes, receiver: bytes, message: ParcelMessage) -> None:
        """Hand a message over, as the wire lets it through."""
        changed = self.wire(sender, receiver, message)
        node = self.nodes.get(receiver)
        if node is None or receiver in self.down or sender in self.down:
            return
        for each in (message,) if changed is None else changed:
            try:
                node.parcels.handle(sender, each, self.now)
            except RuleBroken as error:
                self.rules.append((sender, str(error)))

    def run(self, until: Callable[[], bool], seconds: float = 60.0) -> bool:
        """From deadline to deadline; returns whether the condition came true in time."""
        end = self.now + seconds
        self.settle()
        while not until():
            due = [t for n in self.nodes.values() if (t := n.parcels.next_deadline()) is not None]
            if not due or min(due) > end:
                return False
            assert min(due) > self.now, "a deadline that does not pass"
            self.now = min(due)
            for node in self.nodes.values():
                node.parcels.tick(self.now)
            self.settle()
        return True

    def of(self, kind: type, node: bytes | None = None) -> list:
        """Effects of one kind, of everybody or of one node."""
        return [e for name, e in self.log if isinstance(e, kind) and node in (None, name)]


def pair(count: int = 20, rest: int = 1000, **terms) -> tuple[Net, bytes, bytes]:
    """OWNER keeps a parcel for PULLER, which has begun to pull it: the net, name and bytes."""
    data = content(count, rest)
    owner, puller = Node(OWNER), Node(PULLER, **terms)
    name = owner.parcels.keep(cut(data), [PULLER])
    puller.fetch(name, len(data), [OWNER])
    return Net(owner, puller), name, data


def cut(data: bytes) -> list[bytes]:
    """The chunks of a parcel."""
    return [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]


def altered(chunk: Chunk, **changes) -> Chunk:
    """A chunk with other fields."""
    return replace(chunk, **changes)


def asked(messages: Iterable[tuple[bytes, ParcelMessage]]) -> list[tuple[bytes, tuple[int, ...]]]:
    """Whom chunk requests went to, and for what."""
    return [(peer, m.indices) for peer, m in messages if isinstance(m, ChunkRequest)]
