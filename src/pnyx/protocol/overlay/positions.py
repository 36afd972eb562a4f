"""The ring: where nodes and keys stand in an epoch, and which way is forward.

A position is an integer modulo 2^256. That of a node is a hash of its id and of the epoch's beacon:
computed by whoever needs it, claimed by nobody, and drawn anew with every beacon, so that no
coalition settles around a victim or a key. Keys are hashes already and keep their place. *Forward*
is the direction of growing positions; an interval runs forward from its start, which belongs to it,
to its end, which does not.
"""

from functools import lru_cache

from pnyx.primitives.hashing import digest

RING_BITS = 256
RING_SIZE = 1 << RING_BITS
_MASK = RING_SIZE - 1
_REMEMBERED_MAX = 1 << 16  # positions; answers name the same nodes again and again


@lru_cache(maxsize=_REMEMBERED_MAX)
def position_of(node_id: bytes, beacon: bytes) -> int:
    """Where a node stands in the epoch that has this beacon."""
    return int.from_bytes(digest("pnyx/position", node_id, beacon), "big")


def ring_id(network: bytes, beacon: bytes) -> bytes:
    """Name the ring of an epoch: messages of another one mean nothing in it."""
    return digest("pnyx/ring", network, beacon)


def key_position(key: bytes) -> int:
    """Where a 32-byte hash stands, in every epoch."""
    return int.from_bytes(key, "big")


def position_bytes(position: int) -> bytes:
    """A position as 32 bytes, big-endian."""
    return position.to_bytes(RING_BITS // 8, "big")


def forward(start: int, end: int) -> int:
    """How far `end` lies ahead of `start`, in [0, RING_SIZE)."""
    return (end - start) & _MASK


def within(position: int, start: int, end: int) -> bool:
    """Whether a position lies in [start, end); an interval that ends where it starts is the ring.

    The whole ring is what callers mean by it: an empty interval is never asked for.
    """
    return start == end or forward(start, position) < forward(start, end)


def interval_around(centre: int, share: float) -> tuple[int, int]:
    """Start and end of the interval that is a share of the ring, in (0, 1], around a centre."""
    if not 0.0 < share <= 1.0:
        raise ValueError("an interval is a share of the ring above 0 and at most 1")
    half = int(share * (1 << 52)) << (RING_BITS - 53)
    return (centre - half) & _MASK, (centre + half) & _MASK


def ring_share(distance: int) -> float:
    """A distance as a share of the ring, in [0, 1)."""
    return float(distance >> (RING_BITS - 53)) / float(1 << 53)
