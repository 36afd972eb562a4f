"""What the owner of an overlay asks of it, and what it tells.

Requests carry a ticket of the caller's choice; the answer names it. Everything else that enters and
leaves is as in `pnyx.protocol.events`.
"""

from pnyx.protocol.events import Event, Notice
from pnyx.protocol.messages import Signed
from pnyx.protocol.overlay.records import KnownRecord


class EpochBegan(Event, frozen=True):
    """The epoch has this beacon: take a place on its ring."""

    epoch: int
    beacon: bytes


class PeerKnown(Event, frozen=True):
    """The shell knows where this peer is: one more to join by."""

    peer: bytes


class RecordLearnt(Event, frozen=True):
    """A node record came from elsewhere, such as gossip; it is verified here."""

    signed: Signed


class LookUp(Event, frozen=True):
    """Find the first live nodes at or behind a key of 32 bytes."""

    ticket: int
    key: bytes
    count: int


class Enumerate(Event, frozen=True):
    """Find all live nodes from `start` up to `end`, or of the whole ring if these are equal."""

    ticket: int
    start: int
    end: int


class PutNote(Event, frozen=True):
    """Store content in the ring, under its hash."""

    ticket: int
    content: bytes


class GetItem(Event, frozen=True):
    """Get what the ring stores under a key."""

    ticket: int
    key: bytes


class Leave(Event, frozen=True):
    """The node is about to stop: say goodbye."""


class RingJoined(Notice, frozen=True):
    """This node stands in the ring of an epoch, between neighbours that answered it."""

    epoch: int
    known: int


class NodesFound(Notice, frozen=True):
    """Answer to LookUp and Enumerate: certified nodes that answered, in the order of the ring.

    sparse: fewer than the density of the ring makes likely, after every wave of paths. asks, steps,
    waves: what it took. An empty answer says that this node is in no ring.
    """

    ticket: int
    nodes: tuple[KnownRecord, ...]
    sparse: bool
    asks: int
    steps: int
    waves: int


class ItemPut(Notice, frozen=True):
    """Answer to PutNote: under which key, and how many holders have it."""

    ticket: int
    key: bytes
    holders: int


class ItemFound(Notice, frozen=True):
    """Answer to GetItem: the newest valid item that a holder has shown, if any has."""

    ticket: int
    key: bytes
    item: Signed | None
    content: bytes | None


class NodeOmitted(Notice, frozen=True):
    """A node told of its surroundings, and left out a live one in their midst.

    answer: its signed words. They name its author to anybody; they prove no ill will, for it may
    not have known the other.
    """

    node_id: bytes
    omitted: bytes
    answer: Signed
