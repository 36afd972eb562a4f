"""What the ring stores: records of nodes, and notes, each at the first nodes behind its key.

An item proves itself. A *record* stands under a hash of its node's id and is signed by that node;
of two, the one with the higher sequence number counts. A *note* stands under the hash of its
content. So a holder can withhold an item or show an old one, and forge none; whoever asks several
holders gets the newest one that any of them has.

Who holds: the first `replication` nodes at or behind the key. A node keeps an item somewhat longer
than it must, so that nothing is dropped each time a node joins. Repair is by offers: a holder tells
one neighbour at a time what it holds that the neighbour should hold, and the neighbour asks for
what it lacks.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import islice

import msgspec

from pnyx.errors import MalformedMessage, RuleBroken, WrongContext
from pnyx.primitives import codec
from pnyx.primitives.hashing import digest
from pnyx.protocol.messages import NodeRecord, Signed
from pnyx.protocol.overlay.messages import BODY_BYTES_MAX, HeldItem, Note
from pnyx.protocol.overlay.params import OverlayParams
from pnyx.protocol.overlay.records import Check, record_key


class StoredItem(msgspec.Struct, frozen=True):
    """A verified item."""

    key: bytes
    sequence: int
    signed: Signed
    content: bytes | None  # of a note

    @property
    def bytes_held(self) -> int:
        """Room that the item takes."""
        return len(self.signed.body) + 96


def note_key(content: bytes) -> bytes:
    """Under which key the ring stores a note."""
    return digest("pnyx/overlay/note", content)


def read_item(signed: Signed, network: bytes, check: Check) -> StoredItem:
    """Verify an item. Raises ProtocolError."""
    body = codec.decode(signed.body, NodeRecord | Note, bytes_max=BODY_BYTES_MAX)
    if body.network != network:
        raise WrongContext("an item belongs to another network")
    check(signed)
    if isinstance(body, Note):
        return StoredItem(note_key(body.content), body.sequence, signed, body.content)
    return StoredItem(record_key(signed.signer), body.sequence, signed, None)


class Storage:
    """Items that one node holds for the ring."""

    def __init__(self, network: bytes, check: Check, params: OverlayParams) -> None:
        self._network = network
        self._check = check
        self._params = params
        self._items: OrderedDict[bytes, StoredItem] = OrderedDict()
        self._bytes = 0
        self._notes: dict[bytes, int] = {}  # of each signer

    def __len__(self) -> int:
        return len(self._items)

    @property
    def keys(self) -> tuple[bytes, ...]:
        """Keys of all items held."""
        return tuple(self._items)

    def get(self, key: bytes) -> StoredItem | None:
        """The item held under a key."""
        return self._items.get(key)

    def put(self, signed: Signed, responsible: Callable[[bytes], bool]) -> StoredItem:
        """Take an item, unless a newer one is held; return the one that is held then.

        Whether this node is responsible is looked at before the signature. Raises ProtocolError.
        """
        key = self._key_of(signed)
        held = self._items.get(key)
        if held is not None and held.signed == signed:
            return held
        if not responsible(key):
            raise RuleBroken("asks to store what other nodes hold")
        item = read_item(signed, self._network, self._check)
        if held is not None and held.sequence >= item.sequence:
            return held
        if held is not None and item.content is not None:
            return held  # of a note only the first signer counts: the content is the same
        self._make_room(item, held)
        self._items[key] = item
        self._bytes += item.bytes_held
        if item.content is not None:
            self._notes[signed.signer] = self._notes.get(signed.signer, 0) + 1
        return item

    def _key_of(self, signed: Signed) -> bytes:
        body = codec.decode(signed.body, NodeRecord | Note, bytes_max=BODY_BYTES_MAX)
        return note_key(body.content) if isinstance(body, Note) else record_key(signed.signer)

    def _make_room(self, item: StoredItem, held: StoredItem | None) -> None:
        """Replace what is held. Raises RuleBroken when there is no room, or the signer's is used.

        Nothing that is held makes room for something new: a flood would push out what others rely
        upon. Notes fill one half at most: whoever writes them chooses where they are held, so some
        hundreds of colluders could else keep the records of a place from being stored.
        """
        signer = item.signed.signer
        full = self._notes.get(signer, 0) >= self._params.notes_per_signer_max
        if item.content is not None and full:
            raise RuleBroken("its signer stores too many notes already")
        share = 1 if item.content is None else 2
        kept, kept_bytes = (0, 0) if held is None else (1, held.bytes_held)
        count, room = self._params.items_max // share, self._params.items_bytes_max // share
        if len(self._items) - kept >= count or self._bytes - kept_bytes + item.bytes_held > room:
            raise RuleBroken("this node has no room for more items")
        if held is not None:
            self.drop(held.key)

    def drop(self, key: bytes) -> None:
        """Hold an item no longer."""
        item = self._items.pop(key)
        self._bytes -= item.bytes_held
        if item.content is not None:
            left = self._notes[item.signed.signer] - 1
            if left:
                self._notes[item.signed.signer] = left
            else:
                del self._notes[item.signed.signer]

    def missing(
        self, offered: tuple[HeldItem, ...], responsible: Callable[[bytes], bool]
    ) -> list[bytes]:
        """Keys of the offered items that this node should hold and does not, or not as new."""
        keys = []
        for offer in offered:
            held = self._items.get(offer.key)
            newer = held is None or (held.content is None and held.sequence < offer.sequence)
            if newer and responsible(offer.key):
                keys.append(offer.key)
        return keys

    def first(self, count: int) -> list[bytes]:
        """The keys whose turn it is."""
        return list(islice(self._items, count))

    def rotate(self, count: int) -> None:
        """Those keys have had their turn."""
        for key in self.first(count):
            self._items.move_to_end(key)

    def offers(self, keys: Iterable[bytes]) -> tuple[HeldItem, ...]:
        """What is held under these keys, as an offer."""
        return tuple(HeldItem(key, self._items[key].sequence) for key in keys)


def content_of(item: StoredItem, key: bytes) -> bytes:
    """Content of a note that was asked for by its key. Raises MalformedMessage if it is none."""
    if item.content is None or item.key != key:
        raise MalformedMessage("an item is not the note that was asked for")
    return item.content
