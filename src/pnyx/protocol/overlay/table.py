"""The nodes that one node knows on the ring: neighbours on both sides, fingers, and a cache.

All are verified records at computed positions. What differs is what this node has seen itself:

    hearsay   somebody named it, or it asked something; used as a next step, told to nobody
    heard     it has answered this node; told to others while that is fresh
    away      it has not answered several times; used and told no more, asked now and then

Nobody's word makes a node heard or away, and an away node returns by asking, or with a newer
record, and is hearsay then. So the dead do not live on in what nodes tell each other.

*Neighbours* are the nearest known nodes on each side. *Fingers* are the first nodes behind the
targets at 1/2, 1/4, 1/8 ... of the ring ahead: a place that the ring imposes, which colluders fill
in proportion to their number only. The *cache* is whatever else was heard of lately, bounded.
"""

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterator
from math import inf

from pnyx.protocol.overlay.params import OverlayParams
from pnyx.protocol.overlay.positions import RING_SIZE, forward, position_of, ring_share
from pnyx.protocol.overlay.records import KnownRecord

_NO_LISTING = bytes(32)
_CACHE_SLACK = 64  # nodes beyond the cache's size before it is pruned


class RingNode:
    """A node of the ring, as this node sees it. heard_at: -inf for hearsay."""

    __slots__ = ("failures", "heard_at", "listing", "mentioned_at", "position", "record")

    def __init__(self, record: KnownRecord, position: int, now: float) -> None:
        self.record = record
        self.position = position
        self.heard_at = -inf
        self.mentioned_at = now
        self.failures = 0
        self.listing = _NO_LISTING  # hash of what it last told about this node's own place

    @property
    def node_id(self) -> bytes:
        """The node's id."""
        return self.record.node_id


class NodeTable:
    """Nodes known to the node `own_id`, on the ring of one beacon. It is never in it itself."""

    def __init__(self, own_id: bytes, beacon: bytes, params: OverlayParams) -> None:
        self.own_id = own_id
        self.beacon = beacon
        self.position = position_of(own_id, beacon)
        self.changes = 0  # grows when a node appears or goes within the neighbours
        self._params = params
        self._order: list[int] = []
        self._at: dict[int, RingNode] = {}
        self._by_id: dict[bytes, RingNode] = {}
        self._away: OrderedDict[bytes, RingNode] = OrderedDict()
        self._widest: tuple[int, int] | None = None  # reach of the neighbours, behind and ahead

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[RingNode]:
        """All nodes that are not away, by position."""
        return (self._at[position] for position in self._order)

    def get(self, node_id: bytes) -> RingNode | None:
        """A node that is known and not away."""
        return self._by_id.get(node_id)

    # --- what happens to nodes ------------------------------------------------------------------

    def learn(self, record: KnownRecord, now: float) -> RingNode | None:
        """Take note of a record; None when its node is this one, or away as far as is known."""
        node = self._by_id.get(record.node_id)
        if node is not None:
            node.mentioned_at = now
            if record.sequence > node.record.sequence:
                node.record = record
            return node
        away = self._away.get(record.node_id)
        if record.node_id == self.own_id or (
            away is not None and away.record.sequence >= record.sequence
        ):
            return None
        self._away.pop(record.node_id, None)
        node = RingNode(record, position_of(record.node_id, self.beacon), now)
        self._insert(node)
        if len(self._order) > self._params.cache_max + _CACHE_SLACK:
            self._prune(now)
        return self._by_id.get(record.node_id)

    def greet(self, record: KnownRecord, now: float) -> RingNode | None:
        """A node has asked this one something. Returns it if it should be asked back: a neighbour
        that has not answered yet.

        Asking keeps a node fresh that answers, too. One that only asks stays hearsay: whoever asks
        and never answers is of no use to anybody.
        """
        away = self._away.get(record.node_id)
        if away is not None and away.record.sequence >= record.sequence:
            del self._away[record.node_id]
            away.heard_at, away.failures = -inf, self._params.failures_max - 1
            self._insert(away)
        node = self.learn(record, now)
        if node is None:
            return None
        if node.heard_at > -inf and not node.failures:
            node.heard_at = now
            return None
        return node if self._is_neighbour(node.position) else None

    def hear(self, record: KnownRecord, now: float) -> RingNode | None:
        """A node has answered this one: it is here, whatever was believed."""
        away = self._away.pop(record.node_id, None)
        if away is not None:
            self._insert(away)
        node = self.learn(record, now)
        if node is not None:
            node.heard_at = now
            node.failures = 0
        return node

    def fail(self, node_id: bytes, now: float) -> None:
        """A node did not answer."""
        node = self._by_id.get(node_id)
        if node is None:
            return
        node.failures += 1
        if node.failures >= self._params.failures_max:
            self.remove(node_id)
            self._away[node_id] = node
            node.mentioned_at = now
            if len(self._away) > self._params.away_max:
                self._away.popitem(last=False)

    def remove(self, node_id: bytes) -> None:
        """Forget a node that is not away."""
        node = self._by_id.pop(node_id, None)
        if node is None:
            return
        del self._order[bisect_left(self._order, node.position)]
        del self._at[node.position]
        if self._is_neighbour(node.position):
            self._changed()
            for other in self:
                other.listing = _NO_LISTING  # what they told has to be told again

    def away_to_retry(self, now: float) -> RingNode | None:
        """An away node that was not asked for the longest, put at the end of the queue."""
        if not self._away:
            return None
        node_id, node = next(iter(self._away.items()))
        self._away.move_to_end(node_id)
        node.mentioned_at = now
        return node

    @property
    def away(self) -> tuple[RingNode, ...]:
        """Nodes that are away, as far as they are remembered."""
        return tuple(self._away.values())

    def _insert(self, node: RingNode) -> None:
        insort(self._order, node.position)
        self._at[node.position] = node
        self._by_id[node.node_id] = node
        if self._is_neighbour(node.position):
            self._changed()

    def _changed(self) -> None:
        self.changes += 1
        self._widest = None

    def _is_neighbour(self, position: int) -> bool:
        """Whether a position lies within the reach of the neighbours on its side."""
        behind, ahead = self._reach()
        return forward(position, self.position) <= behind or forward(self.position, position) <= (
            ahead
        )

    def _reach(self) -> tuple[int, int]:
        if self._widest is None:
            count = self._params.neighbours_per_side
            before, after = self.predecessors(count), self.successors(count)
            self._widest = (
                forward(before[-1].position, self.position) if len(before) == count else RING_SIZE,
                forward(self.position, after[-1].position) if len(after) == count else RING_SIZE,
            )
        return self._widest

    def _prune(self, now: float) -> None:
        """Bring the cache to its size: neighbours and fingers stay, and what was mentioned last."""
        kept = {node.node_id for node in self.neighbours()}
        for target in self.finger_targets():
            kept.update(node.node_id for node in self.ahead(target, self._params.finger_width))
        rest = sorted(
            (node for node in self if node.node_id not in kept),
            key=lambda node: (node.mentioned_at, node.position),
            reverse=True,
        )
        room = max(0, self._params.cache_max - len(kept))
        oldest = now - self._params.cache_age_s
        for at, node in enumerate(rest):
            if at >= room or node.mentioned_at < oldest:
                self.remove(node.node_id)

    # --- what is known of the ring --------------------------------------------------------------

    def ahead(self, position: int, count: int) -> list[RingNode]:
        """The first nodes at or behind a position, going forward."""
        start, total = bisect_left(self._order, position), len(self._order)
        return [self._at[self._order[(start + i) % total]] for i in range(min(count, total))]

    def behind(self, position: int, count: int) -> list[RingNode]:
        """The last nodes before a position, nearest first."""
        start, total = bisect_left(self._order, position), len(self._order)
        return [self._at[self._order[(start - 1 - i) % total]] for i in range(min(count, total))]

    def successors(self, count: int) -> list[RingNode]:
        """The nearest nodes ahead of this one."""
        return self.ahead(self.position, count)

    def predecessors(self, count: int) -> list[RingNode]:
        """The nearest nodes behind this one, nearest first."""
        return self.behind(self.position, count)

    def neighbours(self) -> list[RingNode]:
        """The nearest nodes of both sides, nearest first, each once."""
        count = self._params.neighbours_per_side
        pairs = zip(self.successors(count), self.predecessors(count), strict=True)
        return list({node.node_id: node for pair in pairs for node in pair}.values())

    def between(self, start: int, end: int) -> list[RingNode]:
        """All known nodes of an interval, in its order."""
        found = self.ahead(start, len(self._order))
        if start == end:
            return found
        length = forward(start, end)
        return [node for node in found if forward(start, node.position) < length]

    def fresh_around(
        self, position: int, per_side: int, now: float, without: bytes = b""
    ) -> tuple[list[RingNode], list[RingNode]]:
        """Nodes before a position and from it on that this node may tell of: heard of late.

        Together they name no node twice, however small the ring. without: a node to leave out.
        """
        since = now - self._params.fresh_s
        before: list[RingNode] = []
        after: list[RingNode] = []
        total, start = len(self._order), bisect_left(self._order, position)
        back, on = start - 1, start
        for _ in range(total):
            if len(before) == len(after) == per_side:
                break
            # Alternately, so that a small ring is shared fairly.
            forwards = len(after) < per_side and (
                len(after) <= len(before) or len(before) == per_side
            )
            at = on if forwards else back
            node = self._at[self._order[at % total]]
            if forwards:
                on += 1
            else:
                back -= 1
            if node.heard_at >= since and not node.failures and node.node_id != without:
                (after if forwards else before).append(node)
        return before, after

    def backbone(self) -> list[RingNode]:
        """Nodes at places that the ring imposes: neighbours and fingers, each once."""
        nodes = {node.node_id: node for node in self.neighbours()}
        for target in self.finger_targets():
            for node in self.ahead(target, self._params.finger_width):
                nodes[node.node_id] = node
        return list(nodes.values())

    def holders(self, key: int, count: int) -> list[bytes]:
        """Ids of the first `count` nodes at or behind a key, this one among them."""
        found = [(forward(key, node.position), node.node_id) for node in self.ahead(key, count)]
        found.append((forward(key, self.position), self.own_id))
        return [node_id for _, node_id in sorted(found)[:count]]

    def gap(self) -> float | None:
        """Mean distance between neighbours that were heard, as a share of the ring; None for few.

        Nobody can crowd a place: positions are imposed. Silent nodes make it larger than it is.
        """
        count = self._params.neighbours_per_side
        ahead = [node for node in self.successors(count) if node.heard_at > -inf]
        behind = [node for node in self.predecessors(count) if node.heard_at > -inf]
        if min(len(ahead), len(behind)) < count // 2:
            return None
        span = forward(behind[-1].position, self.position) + forward(
            self.position, ahead[-1].position
        )
        return span / RING_SIZE / (len(ahead) + len(behind))

    def size_estimate(self) -> float:
        """How many nodes the ring seems to have, this one included."""
        gap = self.gap()
        return float(len(self._order) + 1) if gap is None else max(1.0, 1.0 / gap)

    def finger_targets(self) -> list[int]:
        """Positions whose first nodes are worth knowing: 1/2, 1/4 ... ahead, beyond neighbours."""
        ahead = self._reach()[1]
        targets, distance = [], RING_SIZE // 2
        while distance > ahead and ring_share(distance) > 0.0:
            targets.append((self.position + distance) % RING_SIZE)
            distance //= 2
        return targets
