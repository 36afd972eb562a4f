"""The rounds of `protected` without protection: the same parcels to the same aggregators.

A contributor's vector goes as one parcel to an aggregator, which pulls it; the other aggregators
pull it from there. Each aggregator adds up what it holds, every node pulls the sum from one of
them, and computes the next model, which it stores durably as nodes of a study do. Nobody signs,
shares, masks, proves or agrees on anything; TLS and the parcels' own checks are the transport's.
Everybody knows beforehand who contributes and who adds up, and waits for all of them: there is no
gossip, no record, no committee, and no round if one node is away.

`value_bits` is what a value travels in: 27, as a masked one, or 16, as a plain system may send it.
"""

import asyncio

import numpy as np

from benchmarks.side_by_side.network import Founded, folder, found, loop_factory, open_connections
from benchmarks.side_by_side.peer import Note, Peer
from benchmarks.side_by_side.work import Meter, Spent, Work, next_model
from pnyx.primitives.field import PRIMES
from pnyx.primitives.ring import LANES, implementation
from pnyx.primitives.ring.packing import pack_residues, packed_bytes, unpack_residues
from pnyx.protocol.aggregation.encoding import IntVector
from pnyx.protocol.selection import CommitteeSize
from pnyx.vault import RoundStore

MASKED_BITS, SHORT_BITS = 27, 16
AGGREGATORS = 3
_LIMIT_S = 900.0
_GROUP = 32 * LANES
_OFFSET = 1 << 11  # values of 12 bits as numbers from 0


class Form:
    """How vectors and sums travel."""

    def __init__(self, values: int, value_bits: int) -> None:
        self._values = values
        self._short = value_bits == SHORT_BITS
        self._padded = -(-values // _GROUP) * _GROUP
        packed = packed_bytes(self._padded, PRIMES[0])
        self.vector_bytes = 2 * values if self._short else packed
        self.sum_bytes = 4 * values

    def pack(self, vector: IntVector) -> bytes:
        """A vector as it is sent."""
        if self._short:
            return vector.astype("<i2").tobytes()
        padded = np.zeros(self._padded, dtype=np.uint32)
        padded[: self._values] = vector + _OFFSET
        return pack_residues(padded, PRIMES[0])

    def add(self, total: IntVector, data: bytes) -> None:
        """Add a vector as it came, in place."""
        if self._short:
            np.add(total, np.frombuffer(data, dtype="<i2"), out=total)
            return
        residues = unpack_residues(data, (self._padded,), PRIMES[0])
        np.add(total, residues[: self._values], out=total, casting="unsafe")

    def pack_sum(self, total: IntVector, count: int) -> bytes:
        """A sum as it is sent."""
        if not self._short:
            total = total - np.int32(count * _OFFSET)
        return total.astype("<i4", copy=False).tobytes()


class _Round:
    """What all nodes of this process know of the round that runs."""

    def __init__(self, nodes: int) -> None:
        self.left = nodes
        self.ended = asyncio.Event()

    def done(self) -> None:
        """A node has the next model."""
        self.left -= 1
        if not self.left:
            self.ended.set()


class _Node:
    """Contributor, perhaps aggregator, and reader of the sum."""

    def __init__(self, founded: Founded, number: int, work: Work, form: Form) -> None:
        self.peer = Peer(founded, number, self._on_note)
        self.model = bytes(4 * work.values)
        self._nodes = len(founded.members)
        self._work = work
        self._form = form
        member = founded.members[number]
        self._durable = RoundStore(member.layout.rounds, member.keys.rounds_key)
        self._durable.load()
        self._round: _Round
        self._held: list[bytes] = []
        self._known: set[bytes] = set()
        self._mine: list[bytes] = []

    def begin(self, current: _Round) -> None:
        """Forget the last round."""
        for name in self._mine:
            self.peer.forget(name)
        self._mine, self._held, self._known = [], [], set()
        self._round = current

    def contribute(self, vector: IntVector) -> None:
        """Offer this node's vector to its aggregator."""
        data = self._form.pack(vector)
        name = self.peer.keep(data, range(AGGREGATORS))
        self._mine.append(name)
        self.peer.tell(self.peer.number % AGGREGATORS, Note("offer", name, len(data)))

    def close(self) -> None:
        """Close what is open."""
        self._durable.close()

    def _on_note(self, sender: int, note: Note) -> None:
        match note.kind:
            case "offer":
                self._on_offer(sender, note)
            case "sum":
                self.peer.fetch(note.name, note.length, [sender], self._on_sum)
            case _:
                raise ValueError(f"no note is of kind {note.kind}")

    def _on_offer(self, sender: int, note: Note) -> None:
        if note.name in self._known:
            return
        self._known.add(note.name)
        self.peer.fetch(note.name, note.length, [sender], lambda name: self._hold(name, note))

    def _hold(self, name: bytes, note: Note) -> None:
        others = [at for at in range(AGGREGATORS) if at != self.peer.number]
        if name not in self._mine:
            self._mine.append(name)
        self.peer.grant(name, others)
        for other in others:
            self.peer.tell(other, Note("offer", name, note.length))
        self._held.append(name)
        if len(self._held) == self._work.contributors:
            task = asyncio.get_running_loop().create_task(self._sum())
            task.add_done_callback(lambda each: each.result())

    async def _sum(self) -> None:
        data = await asyncio.to_thread(self._added_up)
        readers = [at for at in range(self._nodes) if at % AGGREGATORS == self.peer.number]
        name = self.peer.keep(data, readers)
        self._mine.append(name)
        for reader in readers:
            self.peer.tell(reader, Note("sum", name, len(data)))

    def _added_up(self) -> bytes:
        total = np.zeros(self._work.values, dtype=np.int32)
        for name in self._held:
            self._form.add(total, self.peer.read(name))
        return self._form.pack_sum(total, len(self._held))

    def _on_sum(self, name: bytes) -> None:
        if name not in self._mine:
            self._mine.append(name)
        total = np.frombuffer(self.peer.read(name), dtype="<i4")
        self.model = next_model(self.model, total, self._work.contributors)
        self._durable.apply([("chain/model", self.model)], [])
        self._round.done()


async def _rounds(founded: Founded, work: Work, form: Form) -> Spent:
    nodes = [_Node(founded, at, work, form) for at in range(len(founded.members))]
    common = work.common()
    for node in nodes:
        await node.peer.start()
    try:
        async with asyncio.timeout(_LIMIT_S):
            await open_connections(founded, [node.peer.transport for node in nodes])
            before, meter = _sent(nodes), Meter()
            for _ in range(work.rounds):
                current = _Round(len(nodes))
                for node in nodes:
                    node.begin(current)
                for number in range(work.contributors):
                    nodes[number].contribute(common + number)
                await current.ended.wait()
        spent = meter.per_round(work.rounds, _sent(nodes) - before)
    finally:
        for node in nodes:
            await node.peer.stop()
            node.close()
    numbers = work.rounds * work.contributors * (work.contributors - 1) // 2
    for node in nodes:
        work.check(node.model, numbers)
    return spent


def _sent(nodes: list[_Node]) -> int:
    return sum(node.peer.transport.traffic.bytes_sent for node in nodes)


def run_plain(
    work: Work,
    nodes: int,
    committee: CommitteeSize,
    *,
    value_bits: int = MASKED_BITS,
    on_disk: bool = False,
) -> Spent:
    """Sum without protection on a new network of so many nodes; the mean of its rounds."""
    implementation()
    form = Form(work.values, value_bits)
    with folder(on_disk=on_disk) as root:
        founded = found(root, nodes, committee)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(_rounds(founded, work, form))
