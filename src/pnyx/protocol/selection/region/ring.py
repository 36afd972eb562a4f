"""Where nodes stand on the ring of an epoch, and what a node knows of them.

A position is a hash of the node's id and of the epoch's beacon: nobody chooses it, and a coalition
that has settled around somebody is scattered by the next epoch. A *cache* is what region selection
asks of whoever knows nodes: those around a point, and the one that owns a point. The census
answers for everybody; an overlay answers for the neighbourhood that it keeps.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from copy import copy
from typing import NamedTuple, Protocol

from pnyx.primitives.hashing import HASH_BYTES, digest

RING = 1 << (8 * HASH_BYTES)


class Place(NamedTuple):
    """A certified node and where it stands; `number` is its index in the census."""

    position: int
    number: int
    node_id: bytes
    public_key: bytes


class NodeCache(Protocol):
    """The certified nodes that a node knows, by their positions."""

    def near(self, centre: int, share: float, count_max: int) -> tuple[Place, ...]:
        """The nodes within a share of the ring around a point, nearest first, so many at most."""
        ...

    def owner(self, point: int) -> Place:
        """The first node at or after a point: who acts for it."""
        ...

    def find(self, node_id: bytes) -> Place | None:
        """A node by its id; None for one that is not known and certified."""
        ...

    def without(self, excluded: Collection[int]) -> "NodeCache":
        """The same nodes but for those with these census indices."""
        ...


def position_of(node_id: bytes, epoch_beacon: bytes) -> int:
    """Where a node stands in the epoch of this beacon."""
    return int.from_bytes(digest("pnyx/position", node_id, epoch_beacon), "big")


def distance(first: int, second: int) -> int:
    """How far apart two points are, the shorter way round."""
    ahead = (first - second) % RING
    return min(ahead, RING - ahead)


def reach(share: float) -> int:
    """The largest distance from the centre within a region of this share of the ring.

    Half of the region's width, from the float's exact value, rounded down.
    """
    numerator, denominator = share.as_integer_ratio()
    return RING * numerator // (2 * denominator)


class CensusCache:
    """A cache that knows everybody; building it hashes every id once an epoch."""

    def __init__(
        self, node_ids: Sequence[bytes], public_keys: Sequence[bytes], epoch_beacon: bytes
    ) -> None:
        self._node_ids = node_ids
        self._public_keys = public_keys
        placed = sorted((position_of(node, epoch_beacon), at) for at, node in enumerate(node_ids))
        self._positions = [position for position, _ in placed]
        self._indices = [index for _, index in placed]
        self._rank = [0] * len(placed)
        for rank, (_, index) in enumerate(placed):
            self._rank[index] = rank
        self._excluded: frozenset[int] = frozenset()

    def without(self, excluded: Collection[int]) -> "CensusCache":
        """The same nodes but for those with these census indices; nothing is hashed anew."""
        rest = copy(self)
        rest._excluded = frozenset(excluded)
        return rest

    def near(self, centre: int, share: float, count_max: int) -> tuple[Place, ...]:
        """The nodes within a share of the ring around a point, nearest first, so many at most."""
        furthest = reach(share)
        found: list[Place] = []
        for rank in self._outwards(centre):
            far = distance(self._positions[rank], centre) > furthest
            if far or len(found) == count_max:
                break
            if self._indices[rank] not in self._excluded:
                found.append(self._place(rank))
        return tuple(found)

    def owner(self, point: int) -> Place:
        """The first node at or after a point."""
        count = len(self._positions)
        rank = bisect_left(self._positions, point) % count
        while self._indices[rank] in self._excluded:
            rank = (rank + 1) % count
        return self._place(rank)

    def find(self, node_id: bytes) -> Place | None:
        """A node by its id, which the census sorts."""
        at = bisect_left(self._node_ids, node_id)
        if at == len(self._node_ids) or self._node_ids[at] != node_id or at in self._excluded:
            return None
        return self._place(self._rank[at])

    def _place(self, rank: int) -> Place:
        index = self._indices[rank]
        return Place(self._positions[rank], index, self._node_ids[index], self._public_keys[index])

    def _outwards(self, centre: int) -> Iterator[int]:
        """Ranks by distance from a point: of the next ones on both sides always the nearer."""
        count = len(self._positions)
        after = bisect_left(self._positions, centre)
        before = after - 1
        for _ in range(count):
            right, left = after % count, before % count
            ahead = distance(self._positions[right], centre)
            behind = distance(self._positions[left], centre)
            if ahead <= behind:
                after += 1
                yield right
            else:
                before -= 1
                yield left
