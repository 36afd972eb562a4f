"""Many overlay nodes under virtual time: joins, churn, loss, colluders, and a judge of look-ups.

The nodes are the machines that real nodes run, with ideal cryptography. `Ringtown` holds them; some
are corrupt (`overlay_adversary`). The judge knows who is really up:

    correct   every honest node that stood in the place, since before the question and until the
              answer, is in it; nobody is in it who was not there; and it is as long as was asked
    forged    an answer names a node that nobody certified, or a record that is not its node's

A corrupt node that is silent towards whoever asks may be missing: nobody can tell it from a dead
one.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from pnyx.errors import InvalidCertificate, InvalidSignature
from pnyx.primitives.hashing import digest
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.events import (
    Effect,
    Event,
    MessageReceived,
    MessageRejected,
    PeerUnreachable,
    Persist,
    Send,
    TimerExpired,
)
from pnyx.protocol.identity import node_id, signing_input
from pnyx.protocol.messages import Signed
from pnyx.protocol.overlay.events import (
    Enumerate,
    EpochBegan,
    GetItem,
    ItemFound,
    ItemPut,
    LookUp,
    NodeOmitted,
    NodesFound,
    PutNote,
    RingJoined,
)
from pnyx.protocol.overlay.machine import OverlayMachine
from pnyx.protocol.overlay.params import DEFAULT_OVERLAY, OverlayParams
from pnyx.protocol.overlay.positions import key_position, position_of, within
from pnyx.protocol.overlay.records import KnownRecord, RecordReader
from pnyx.simulator.crypto import IdealCrypto
from pnyx.simulator.network import Link, Network
from pnyx.simulator.scheduler import Scheduler

SETTLED_S = 10.0  # after joining, before a node must be in every answer

MachineFactory = Callable[..., OverlayMachine]
Meddler = Callable[["RingNodeProcess", Effect], list[Effect]]
"""What a corrupt node does to an effect of the honest machine inside it."""


class RingNodeProcess:
    """One node of the town: its machine while it is up, and what it stored."""

    def __init__(self, town: "Ringtown", index: int) -> None:
        seed = digest("pnyx/simulator/ring-node", town.seed, index.to_bytes(4, "big"))
        self.town = town
        self.index = index
        self.crypto = IdealCrypto(seed)
        self.node_id = node_id(self.crypto.public_key, seed[:16])
        self.seed = seed
        self.machine: OverlayMachine | None = None
        self.disk: dict[str, bytes] = {}
        self.starts = 0
        self.started_at = float("inf")
        self.joined_at = float("inf")
        self.stopped_at = -float("inf")
        self.meddler: Meddler | None = None
        self.deaf: Callable[[bytes, bytes], bool] = lambda _peer, _payload: False

    @property
    def up(self) -> bool:
        """Whether its process runs."""
        return self.machine is not None

    @property
    def corrupt(self) -> bool:
        """Whether it belongs to the coalition."""
        return self.index in self.town.corrupt

    def start(self, contacts: Iterable[bytes]) -> None:
        """Start the process; contacts: ids whose address it knows."""
        town, now = self.town, self.town.scheduler.now
        self.starts += 1
        self.started_at = now
        self.machine = town.factory(
            node_id=self.node_id,
            network=town.network_id,
            crypto=self.crypto,
            check=town.check,
            address=(_host(self.index), 7400),
            address_sequence=self.starts,
            contacts=list(contacts),
            restored=self.disk,
            params=town.params,
            seed=digest("pnyx/simulator/ring-start", self.seed, bytes([self.starts % 256])),
            now=now,
            reader=town.reader,
        )
        self.handle(EpochBegan(town.epoch, town.beacon))

    def stop(self) -> None:
        """Kill the process; nobody is told."""
        self.machine = None
        self.started_at = self.joined_at = float("inf")
        self.stopped_at = self.town.scheduler.now
        self.town.scheduler.disarm(self.index)

    def handle(self, event: Event) -> None:
        """Let the machine process an event, and carry out what it asks."""
        if self.machine is None:
            return
        if isinstance(event, MessageReceived) and self.deaf(event.peer, event.payload):
            return
        for effect in self.machine.handle(event, self.town.scheduler.now):
            for changed in [effect] if self.meddler is None else self.meddler(self, effect):
                self.town.carry_out(self, changed)
        due = self.machine.next_deadline()
        if due is not None:
            self.town.scheduler.arm(self.index, due, self.wake)

    def wake(self) -> None:
        """A timer fired."""
        if self.machine is None:
            return
        due = self.machine.next_deadline()
        if due is not None and due > self.town.scheduler.now:
            self.town.scheduler.arm(self.index, due, self.wake)
        else:
            self.handle(TimerExpired())


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the judge says of one answer."""

    correct: bool
    forged: int
    missing: int
    found: int
    asks: int
    steps: int
    waves: int
    sparse: bool
    latency_s: float


class _Question(msgspec.Struct, frozen=True):
    start: int
    end: int | None
    count: int
    at: float
    asker: int


class Ringtown:
    """A network of overlay nodes. Everything that happens follows from the seed."""

    def __init__(
        self,
        nodes: int,
        *,
        seed: int,
        params: OverlayParams = DEFAULT_OVERLAY,
        link: Link | None = None,
        corrupt: Iterable[int] = (),
        factory: MachineFactory = OverlayMachine,
    ) -> None:
        self.seed = digest("pnyx/simulator/ringtown", seed.to_bytes(8, "big"))
        self.params = params
        self.factory = factory
        self.scheduler = Scheduler()
        self.network = Network(link or Link(), (), (), seed)
        self.network_id = digest("pnyx/simulator/ring-network", self.seed)
        self.epoch = 0
        self.beacon = digest("pnyx/simulator/ring-beacon", self.seed)
        self.sampler = Sampler(self.seed, "ringtown")
        self.corrupt = frozenset(corrupt)
        self.reader = RecordReader(self.network_id, self.check, 8 * nodes + 1024)
        self.nodes = [RingNodeProcess(self, index) for index in range(nodes)]
        self.by_id = {node.node_id: node for node in self.nodes}
        self.verdicts: list[Verdict] = []
        self.put: dict[int, ItemPut] = {}
        self.found: dict[int, ItemFound] = {}
        self.rules: dict[str, int] = {}
        self.omissions: list[NodeOmitted] = []
        self._questions: dict[int, _Question] = {}
        self._tickets = 0

    def check(self, signed: Signed) -> None:
        """Whether a signed body is a certified node's own."""
        node = self.by_id.get(signed.signer)
        if node is None:
            raise InvalidCertificate("not one of the town's nodes")
        message = signing_input(self.network_id, signed.body)
        if not node.crypto.verify(node.crypto.public_key, message, signed.signature):
            raise InvalidSignature("bad signature")

    # --- starting -------------------------------------------------------------------------------

    def start_by_joining(self, every_s: float = 0.2) -> None:
        """Start one node, then the others one after the other, each knowing only the first."""
        first = self.nodes[0]
        first.start([])
        assert first.machine is not None
        for node in self.nodes[1:]:
            self.scheduler.call_at(node.index * every_s, node.start, [first.node_id])

    def start_converged(self) -> None:
        """Start all nodes at their places, with the tables of a ring that has run for long."""
        for node in self.nodes:
            node.start([])
        ordered = sorted(self.nodes, key=lambda each: position_of(each.node_id, self.beacon))
        positions = [position_of(each.node_id, self.beacon) for each in ordered]
        for at, node in enumerate(ordered):
            machine = node.machine
            assert machine is not None
            ring = machine.ring
            assert ring is not None
            side = self.params.neighbours_per_side
            near = [ordered[(at + step) % len(ordered)] for step in range(-side, side + 1)]
            self._introduce(node, near)
            for target in ring.table.finger_targets():
                first = _first_at(positions, target)
                width = self.params.finger_width
                self._introduce(node, [ordered[(first + i) % len(ordered)] for i in range(width)])
            ring.joined = True
            node.joined_at = self.scheduler.now - SETTLED_S

    def _introduce(self, node: RingNodeProcess, others: Iterable[RingNodeProcess]) -> None:
        assert node.machine is not None
        ring = node.machine.ring
        assert ring is not None
        for other in others:
            if other is not node and other.machine is not None:
                node.machine.book.take(other.machine.record.signed)
                # As if heard at different times: upkeep is spread out.
                heard = self.scheduler.now - self.sampler.below(60)
                ring.table.hear(other.machine.record, heard)

    # --- the world ------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        self.scheduler.run(self.scheduler.now + seconds, lambda: False)

    def carry_out(self, node: RingNodeProcess, effect: Effect) -> None:
        """Do what a machine asks."""
        match effect:
            case Send():
                self._carry(node, effect.peer, effect.payload)
            case Persist():
                node.disk[effect.key] = effect.value
            case NodesFound():
                self._judge(node, effect)
            case ItemPut():
                self.put[effect.ticket] = effect
            case ItemFound():
                self.found[effect.ticket] = effect
            case RingJoined():
                node.joined_at = self.scheduler.now
            case MessageRejected():
                self.rules[effect.rule] = self.rules.get(effect.rule, 0) + 1
            case NodeOmitted():
                self.omissions.append(effect)
            case _:
                pass

    def _carry(self, sender: RingNodeProcess, receiver: bytes, payload: bytes) -> None:
        target, now = self.by_id.get(receiver), self.scheduler.now
        if target is None:
            return
        for time in self.network.arrivals(sender.index, target.index, len(payload), now):
            self.scheduler.call_at(time, self._deliver, sender, target, payload)

    def _deliver(self, sender: RingNodeProcess, target: RingNodeProcess, payload: bytes) -> None:
        if target.up:
            target.handle(MessageReceived(sender.node_id, payload))
        elif sender.up and self.network.hinted():
            sender.handle(PeerUnreachable(target.node_id))

    def begin_epoch(self, epoch: int, over_s: float) -> None:
        """Draw new places; nodes learn the beacon within so many seconds, each in its time."""
        self.epoch = epoch
        self.beacon = digest("pnyx/simulator/ring-beacon", self.seed, bytes([epoch]))
        event = EpochBegan(epoch, self.beacon)
        for node in self.live():
            wait = over_s * self.sampler.below(1000) / 1000
            self.scheduler.call_at(self.scheduler.now + wait, node.handle, event)

    def live(self) -> list[RingNodeProcess]:
        """Nodes that are up."""
        return [node for node in self.nodes if node.up]

    def honest(self) -> list[RingNodeProcess]:
        """Honest nodes that are up and have joined."""
        return [
            node for node in self.nodes if node.up and not node.corrupt and node.joined_at < 1e18
        ]

    def kill_some(self, share: float) -> list[RingNodeProcess]:
        """A share of the live nodes goes at once, silently, the first node among them."""
        live = self.live()
        chosen = self.sampler.sample(len(live), round(share * len(live)))
        gone = [live[at] for at in chosen]
        for node in gone:
            node.stop()
        return gone

    # --- questions ------------------------------------------------------------------------------

    def _ticket(self) -> int:
        self._tickets += 1
        return self._tickets

    def look_up(self, asker: RingNodeProcess, key: bytes, count: int = 8) -> int:
        """Have a node look a key up; the verdict comes when it has."""
        ticket = self._ticket()
        asked = _Question(key_position(key), None, count, self.scheduler.now, asker.index)
        self._questions[ticket] = asked
        asker.handle(LookUp(ticket, key, count))
        return ticket

    def enumerate(self, asker: RingNodeProcess, start: int, end: int) -> int:
        """Have a node find all nodes of an interval."""
        ticket = self._ticket()
        self._questions[ticket] = _Question(start, end, 0, self.scheduler.now, asker.index)
        asker.handle(Enumerate(ticket, start, end))
        return ticket

    def put_note(self, asker: RingNodeProcess, content: bytes) -> int:
        """Have a node store a note."""
        ticket = self._ticket()
        asker.handle(PutNote(ticket, content))
        return ticket

    def get_item(self, asker: RingNodeProcess, key: bytes) -> int:
        """Have a node get an item."""
        ticket = self._ticket()
        asker.handle(GetItem(ticket, key))
        return ticket

    @property
    def unanswered(self) -> int:
        """Look-ups and enumerations under way."""
        return len(self._questions)

    def _judge(self, node: RingNodeProcess, found: NodesFound) -> None:
        asked = self._questions.pop(found.ticket, None)
        if asked is None or node.corrupt:
            return
        named = {record.node_id for record in found.nodes}
        missing = self._missing(asked, found.nodes, named)
        forged = sum(not self._genuine(record, asked) for record in found.nodes)
        there = all(self._was_up(record, asked) for record in found.nodes)
        enough = asked.end is not None or len(named) >= min(asked.count, len(self.honest()))
        self.verdicts.append(
            Verdict(
                correct=not missing and not forged and there and enough,
                forged=forged,
                missing=missing,
                found=len(named),
                asks=found.asks,
                steps=found.steps,
                waves=found.waves,
                sparse=found.sparse,
                latency_s=self.scheduler.now - asked.at,
            )
        )

    def _missing(self, asked: _Question, nodes: tuple[KnownRecord, ...], named: set[bytes]) -> int:
        """Honest nodes that the answer should have and has not."""
        end = asked.end
        if end is None:
            if not nodes:
                return asked.count
            end = position_of(nodes[-1].node_id, self.beacon) + 1
        since = asked.at - SETTLED_S
        return sum(
            node.joined_at <= since
            and node.node_id not in named
            and within(position_of(node.node_id, self.beacon), asked.start, end)
            for node in self.honest()
        )

    def _genuine(self, record: KnownRecord, asked: _Question) -> bool:
        """Whether a record is its node's own, and not one from before an earlier restart."""
        node = self.by_id.get(record.node_id)
        if node is None or record.sequence > node.starts:
            return False
        stale = record.sequence < node.starts and node.started_at < asked.at - SETTLED_S
        return not stale and record.host == _host(node.index)

    def _was_up(self, record: KnownRecord, asked: _Question) -> bool:
        """Whether its node was there at some time between question and answer."""
        node = self.by_id.get(record.node_id)
        return node is not None and (node.up or node.stopped_at >= asked.at)

    # --- checkers -------------------------------------------------------------------------------

    def ring_faults(self) -> list[str]:
        """Honest nodes that miss an honest neighbour ahead, or take a dead one for a neighbour."""
        ordered = sorted(self.live(), key=lambda each: position_of(each.node_id, self.beacon))
        side = min(self.params.replication, (len(ordered) - 1) // 2)
        faults: list[str] = []
        for at, node in enumerate(ordered):
            if node.corrupt or node.machine is None or node.machine.ring is None:
                continue
            true = [ordered[(at + 1 + step) % len(ordered)] for step in range(side)]
            table = node.machine.ring.table
            known = {each.node_id for each in table.successors(self.params.neighbours_per_side)}
            missed = [each.index for each in true if not each.corrupt and each.node_id not in known]
            dead = [self.by_id[each].index for each in known if not self.by_id[each].up]
            if missed or dead:
                faults.append(f"node {node.index} misses {missed}, knows the dead {dead}")
        return faults

    def settle(self, within_s: float) -> float:
        """Run until the ring has no faults; tell how long. ValueError if that takes longer."""
        began = self.scheduler.now
        while faults := self.ring_faults():
            if self.scheduler.now >= began + within_s:
                raise ValueError(f"the ring is not in order after {within_s:g} s: {faults[:4]}")
            self.run(2.0)
        return self.scheduler.now - began

    def summary(self) -> Mapping[str, Any]:
        """Figures of all verdicts so far."""
        count = max(1, len(self.verdicts))
        latencies = sorted(verdict.latency_s for verdict in self.verdicts) or [0.0]
        return {
            "look_ups": len(self.verdicts),
            "correct": sum(verdict.correct for verdict in self.verdicts) / count,
            "forged": sum(verdict.forged for verdict in self.verdicts),
            "asks_mean": sum(verdict.asks for verdict in self.verdicts) / count,
            "steps_mean": sum(verdict.steps for verdict in self.verdicts) / count,
            "second_waves": sum(verdict.waves > 1 for verdict in self.verdicts) / count,
            "latency_s_median": latencies[len(latencies) // 2],
            "latency_s_p95": latencies[int(len(latencies) * 0.95)],
        }


def _host(index: int) -> str:
    return f"10.{index >> 16}.{index >> 8 & 255}.{index & 255}"


def _first_at(positions: list[int], target: int) -> int:
    """Index of the first position at or behind a target."""
    return bisect_left(positions, target) % len(positions)
