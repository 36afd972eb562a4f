"""A ring of nodes that draw actors, with a clock moved by hand and a network that can be spoilt."""

from collections.abc import Callable, Collection
from heapq import heappop, heappush

import msgspec
from tests.support.town import ideal

from pnyx.errors import ProtocolError
from pnyx.primitives import codec
from pnyx.primitives.hashing import digest
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.selection.region.draws import DrawHost, DrawTimes, RegionDraws, Stalled
from pnyx.protocol.selection.region.messages import (
    ActorProof,
    Draw,
    Region,
    RegionMessage,
    Witnessed,
)
from pnyx.protocol.selection.region.ring import CensusCache, position_of
from pnyx.protocol.selection.region.rule import region_rule
from pnyx.protocol.selection.region.selector import RegionSelector
from pnyx.protocol.selection.region.statements import (
    actors_statement,
    call_statement,
    draw_context,
    ordered,
    point_of,
)

NETWORK, STUDY, ROOT = (digest("test/region", bytes([n])) for n in range(3))
EPOCH_BEACON = digest("test/region/epoch")
TIMES = DrawTimes(attempt_s=10.0, attempt_growth=1.25, grace_s=0.5, retransmit_s=1.0)
LATENCY_S = 0.01


def beacon_of(number: int) -> bytes:
    return digest("test/region/beacon", number.to_bytes(8, "big"))


class Ring:
    """Nodes, their certified keys, and where they stand; the secrets are the test's."""

    def __init__(self, nodes: int, *, corrupt_max: int = 1, make=ideal, rule=None, tag=b"") -> None:
        people = sorted(
            (digest("test/region/node", tag, n.to_bytes(4, "big")), n) for n in range(nodes)
        )
        self.ids = [node for node, _ in people]
        self.crypto = {node: make(digest("test/region/secret", node)) for node in self.ids}
        keys = [self.crypto[node].public_key for node in self.ids]
        self.cache = CensusCache(self.ids, keys, EPOCH_BEACON)
        self.rule = rule or region_rule(nodes, corrupt_max)
        self.verify = self.crypto[self.ids[0]].verify
        self.finished: dict[Draw, object] = {}
        self.selector = RegionSelector(
            network=NETWORK,
            epoch=0,
            census_root=ROOT,
            cache=self.cache,
            rule=self.rule,
            verify=self.verify,
            finished=self.finished.get,
        )

    def position(self, node: bytes) -> int:
        return position_of(node, EPOCH_BEACON)

    def nodes_around(self, node: bytes) -> list[bytes]:
        """The legitimate nodes of a call by this one."""
        near = self.cache.near(
            self.position(node), self.rule.region_share, self.rule.legitimate_max + 1
        )
        return [p.node_id for p in near if p.node_id != node][: self.rule.legitimate_max]


def listed(selector, draw: Draw, keys, value: bytes = b"v" * 32, **changes) -> ActorProof:
    """A valid list for a draw, made by whoever holds all keys (node id -> crypto)."""
    cache, rule, context = selector.cache, selector.rule, draw_context(draw)
    point = point_of(context, value)
    setter = changes.pop("setter", None) or cache.owner(point).node_id
    order = changes.pop("order", b"o" * 32)
    inside = cache.near(point, rule.candidate_share(draw.count), 1 << 20)
    actors = tuple(ordered(order, [p.node_id for p in inside])[: draw.count])
    actors = changes.pop("actors", actors)
    centre = cache.find(setter).position
    near = cache.near(centre, rule.region_share, rule.legitimate_max)
    around = [p.node_id for p in near if p.node_id != setter][: rule.signers]
    around = changes.pop("signers", sorted(around))
    made = actors_statement(context, value, setter, order, actors)
    call = keys[setter].sign(call_statement(context, Region.LIST, setter, value))
    witnesses = tuple(Witnessed(node, keys[node].sign(made)) for node in around)
    proof = ActorProof(draw, value, setter, call, order, actors, witnesses)
    return msgspec.structs.replace(proof, **changes)


Spoil = Callable[[bytes, bytes, RegionMessage], list[tuple[bytes, RegionMessage]]]


class Exchange:
    """Everybody's draws for one list, and the messages on their way.

    seen: whom a node has heard of, None for everybody. absent: node ids that neither send nor
    receive. spoil: (sender, receiver, message) -> what is delivered instead, as pairs of receiver
    and message.
    """

    def __init__(
        self,
        ring: Ring,
        count: int,
        *,
        beacon: bytes = beacon_of(0),
        absent: frozenset[bytes] = frozenset(),
        spoil: Spoil | None = None,
        only: frozenset[bytes] | None = None,
        seed: int = 0,
        lost: float = 0.0,
        wanted: Draw | None = None,
        times: DrawTimes = TIMES,
        seen: Callable[[bytes], Collection[bytes] | None] = lambda node: None,
    ) -> None:
        self.ring, self.now, self.lists, self.offences = ring, 0.0, {}, []
        self.stalled: dict[bytes, list[Stalled]] = {}  # by who tells it
        self.refused: list[str] = []
        self.entered: dict[bytes, set[str]] = {}
        self.messages = self.bytes = 0
        self._times, self._seen = times, seen
        self._absent, self._spoil, self._lost = absent, spoil, lost
        self._chance = Sampler(digest("test/region/chance", seed.to_bytes(4, "big")), "loss")
        self._queue: list = []
        self._sent = 0
        self.wanted = wanted or ring.selector.draw(beacon, STUDY, 1, "actors", count, 1)
        self.draws = {}
        for node in sorted(only or ring.ids):
            if node not in absent:
                self.draws[node] = self.start(node, seed)

    def start(self, node: bytes, seed: int) -> RegionDraws:
        entered = self.entered.setdefault(node, set())
        host = DrawHost(
            node_id=node,
            crypto=self.ring.crypto[node],
            sampler=Sampler(digest("test/region/seed", node, seed.to_bytes(4, "big")), "draws"),
            times=self._times,
            send=lambda peer, message: self.post(node, peer, message),
            persist=entered.add,
            entered=dict.fromkeys(entered, b"1"),
            seen=lambda epoch, centre, share, now: self._seen(node),
            on_offence=lambda _name, offence: self.offences.append(offence),
            on_stalled=lambda _name, each: self.stalled.setdefault(node, []).append(each),
        )
        draws = RegionDraws(host)
        draws.want("list", self.ring.selector, self.wanted, self.listed(node), self.now)
        return draws

    def listed(self, node: bytes):
        def keep(proof) -> None:
            self.ring.selector.check_list(proof)
            self.lists.setdefault(proof.draw.attempt, {})[node] = proof
            self.ring.finished.setdefault(proof.draw, proof)

        return keep

    def post(self, sender: bytes, receiver: bytes, message: RegionMessage) -> None:
        pairs = [(receiver, message)]
        if self._spoil is not None:
            pairs = self._spoil(sender, receiver, message)
        for to, what in pairs:
            encoded = codec.encode(what)
            self.messages += 1
            self.bytes += len(encoded)
            if self._lost and self._chance.below(1000) < 1000 * self._lost:
                continue
            self._sent += 1
            heappush(self._queue, (self.now + LATENCY_S, self._sent, sender, to, encoded))

    def run(self, until_s: float = 60.0, *, first: bool = True):
        """Run until a list is there (or none comes); return the first one."""
        while self.now < until_s:
            if first and self.lists:
                break
            times = [t for d in self.draws.values() if (t := d.next_deadline()) is not None]
            times += [self._queue[0][0]] if self._queue else []
            if not times or min(times) > until_s:
                break
            self.now = max(self.now, min(times))
            self._deliver()
            for draws in list(self.draws.values()):
                draws.tick(self.now)
        attempts = sorted(self.lists)
        return next(iter(self.lists[attempts[0]].values())) if attempts else None

    def _deliver(self) -> None:
        while self._queue and self._queue[0][0] <= self.now:
            _, _, sender, receiver, encoded = heappop(self._queue)
            if receiver not in self.draws or sender in self._absent:
                continue
            message = codec.decode(encoded, RegionMessage, bytes_max=1 << 22)
            try:
                self.draws[receiver].handle(sender, message, self.now)
            except ProtocolError as error:
                self.refused.append(str(error))
