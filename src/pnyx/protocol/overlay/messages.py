"""Messages and signed bodies of the overlay, as bounded records.

Every message names its ring (`positions.ring_id`), so one of another epoch or network means
nothing. Answers are signed: who omitted a node can be shown its own words. They carry the nonce and
the id of whoever asked, so that none serves a second time. Positions are in no message.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from pnyx.protocol.messages import Digest, NodeId, Signed

NEIGHBOURS_MAX = 16
ITEMS_PER_MESSAGE_MAX = 32
HOLDINGS_MAX = 256
NOTE_BYTES_MAX = 16 * 1024
OVERLAY_MESSAGE_BYTES_MAX = 1024 * 1024
BODY_BYTES_MAX = 64 * 1024

Nonce = Annotated[bytes, Meta(min_length=16, max_length=16)]
Sequence = Annotated[int, Meta(ge=0, lt=2**62)]
Records = Annotated[tuple[Signed, ...], Meta(max_length=NEIGHBOURS_MAX)]
StoredItems = Annotated[tuple[Signed, ...], Meta(max_length=ITEMS_PER_MESSAGE_MAX)]


# --- bodies --------------------------------------------------------------------------------------


class Neighbourhood(msgspec.Struct, frozen=True, array_like=True, tag=92, kw_only=True):
    """Whom the signer has heard around a key, nearest first on each side, itself left out."""

    network: Digest
    ring: Digest
    nonce: Nonce
    asker: NodeId
    key: Digest
    unchanged: bool  # both lists are those that the asker has `seen`, and not repeated here
    before: Records
    after: Records  # at the key or behind it


class Departure(msgspec.Struct, frozen=True, array_like=True, tag=93):
    """The signer goes: its records up to this sequence number no longer hold."""

    network: Digest
    sequence: Sequence


class Note(msgspec.Struct, frozen=True, array_like=True, tag=94):
    """Content that the ring stores under its hash; the signer answers for the room it takes."""

    network: Digest
    sequence: Sequence
    content: Annotated[bytes, Meta(min_length=1, max_length=NOTE_BYTES_MAX)]


# --- messages ------------------------------------------------------------------------------------


class NeighbourRequest(msgspec.Struct, frozen=True, array_like=True, tag=112):
    """Whom do you know around this key?

    record: the asker's own, so that who is asked knows who is there. seen: hash of the lists that
    the asker last got from this node for this key, or zero.
    """

    ring: Digest
    nonce: Nonce
    key: Digest
    per_side: Annotated[int, Meta(ge=1, le=NEIGHBOURS_MAX)]
    seen: Digest
    record: Signed


class NeighbourReply(msgspec.Struct, frozen=True, array_like=True, tag=113):
    """A signed `Neighbourhood`, and the record of its signer."""

    ring: Digest
    nonce: Nonce
    answer: Signed
    record: Signed


class Departing(msgspec.Struct, frozen=True, array_like=True, tag=114):
    """A signed `Departure`, told to neighbours."""

    ring: Digest
    departure: Signed


class StoreItems(msgspec.Struct, frozen=True, array_like=True, tag=115):
    """Please keep these: signed `NodeRecord`s and `Note`s."""

    ring: Digest
    nonce: Nonce
    items: StoredItems


class StoreReply(msgspec.Struct, frozen=True, array_like=True, tag=116):
    """How many of the items are now held, or were already."""

    ring: Digest
    nonce: Nonce
    held: Annotated[int, Meta(ge=0, le=ITEMS_PER_MESSAGE_MAX)]


class ItemRequest(msgspec.Struct, frozen=True, array_like=True, tag=117):
    """What do you hold under these keys?"""

    ring: Digest
    nonce: Nonce
    keys: Annotated[tuple[Digest, ...], Meta(min_length=1, max_length=ITEMS_PER_MESSAGE_MAX)]


class ItemReply(msgspec.Struct, frozen=True, array_like=True, tag=118):
    """What is held under the keys that were asked for; they prove themselves."""

    ring: Digest
    nonce: Nonce
    items: StoredItems


class HeldItem(msgspec.Struct, frozen=True, array_like=True):
    """One item that somebody holds."""

    key: Digest
    sequence: Sequence


class Holdings(msgspec.Struct, frozen=True, array_like=True, tag=119):
    """What the sender holds that the receiver should hold, too; answered by an ItemRequest."""

    ring: Digest
    held: Annotated[tuple[HeldItem, ...], Meta(min_length=1, max_length=HOLDINGS_MAX)]


OverlayMessage = (
    NeighbourRequest
    | NeighbourReply
    | Departing
    | StoreItems
    | StoreReply
    | ItemRequest
    | ItemReply
    | Holdings
)

_TAG_FIRST, _TAG_LAST = 112, 119


def is_overlay_message(payload: bytes) -> bool:
    """Whether bytes from a peer are for the overlay, by their tag; nothing is checked yet."""
    return len(payload) > 1 and payload[0] >> 4 == 0x9 and _TAG_FIRST <= payload[1] <= _TAG_LAST
