"""Sends chunks of parcels: each is read from the disk when its batch leaves, checked, and told.

A SendChunk that waits costs a few bytes. A stored chunk that no longer has its hash is not sent:
the peer would take the node for a liar. It asks another source.
"""

from collections.abc import Callable

import msgspec

from pnyx.errors import VaultError
from pnyx.node.postman import Deferred
from pnyx.protocol.chunks import chunk_length, chunk_message
from pnyx.protocol.events import ChunkSent, Notice, SendChunk
from pnyx.protocol.ports import ParcelStore

_AROUND_DATA_BYTES = 1024  # names, proof and framing of a chunk


class ParcelDamaged(Notice, frozen=True):
    """A chunk on this node's disk is not what it was: somebody or something has changed it."""

    parcel: bytes
    index: int


class ParcelSender:
    """Turns SendChunk effects into messages that are read late.

    post: takes a deferred message for a peer. answer: takes the event that each effect is owed.
    observe: takes notices. fail: told why the store cannot go on.
    """

    def __init__(
        self,
        store: ParcelStore,
        post: Callable[[bytes, Deferred], None],
        answer: Callable[[ChunkSent], None],
        observe: Callable[[Notice], None],
        fail: Callable[[VaultError], None],
    ) -> None:
        self._store = store
        self._post = post
        self._answer = answer
        self._observe = observe
        self._fail = fail

    def send(self, effect: SendChunk) -> None:
        """Queue a chunk for its peer."""
        size = chunk_length(effect.length, effect.index) + _AROUND_DATA_BYTES
        self._post(effect.peer, _DeferredChunk(size, effect, self))

    def settle(self, effect: SendChunk) -> None:
        """The chunk waits no more, sent or not."""
        self._answer(ChunkSent(effect.peer, effect.parcel, effect.index))

    def read(self, effect: SendChunk) -> bytes | None:
        """The message with the chunk; None when it cannot be sent."""
        try:
            data = self._store.read(effect.parcel, effect.index)
        except VaultError as error:
            self._fail(error)
            return None
        if data is None:
            return None  # forgotten since
        message = chunk_message(effect, data)
        if message is None:
            self._observe(ParcelDamaged(effect.parcel, effect.index))
        return message


class _DeferredChunk(msgspec.Struct, frozen=True):
    """One chunk that waits for a place in a batch; implements `postman.Deferred`."""

    bytes_max: int
    effect: SendChunk
    sender: ParcelSender

    def read(self) -> bytes | None:
        """The message, now."""
        self.sender.settle(self.effect)
        return self.sender.read(self.effect)

    def drop(self) -> None:
        """The peer cannot be reached."""
        self.sender.settle(self.effect)
