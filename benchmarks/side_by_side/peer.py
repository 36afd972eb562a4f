"""One end of the transport as a daemon has it: TLS, a postman, parcels pulled chunk by chunk.

Messages that are no parcel's begin with a byte that no message of the protocol begins with, and
carry numbers and names: what the benchmarks have to say to each other is little.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import msgspec

from benchmarks.side_by_side.network import HOST, Founded, Member
from pnyx.errors import PnyxError, VaultError
from pnyx.node.parcel_sender import ParcelSender
from pnyx.node.parcel_store import FileParcelStore
from pnyx.node.postman import Postman, unpack
from pnyx.node.transport.tls import TlsTransport
from pnyx.primitives import codec
from pnyx.protocol.chunks import chunks_of
from pnyx.protocol.events import (
    ChunkSent,
    Effect,
    ForgetParcel,
    Notice,
    SealParcel,
    SendChunk,
    StoreChunk,
)
from pnyx.protocol.messages import Message
from pnyx.protocol.params import DEFAULT_PARAMS
from pnyx.protocol.parcels import Parcels

_OURS = b"B"  # 0x42; a message of the protocol begins with the 0x9* of an array


class Note(msgspec.Struct, frozen=True, array_like=True):
    """kind: what is said. name, length: of a parcel. numbers: whatever goes with it."""

    kind: str
    name: bytes = b""
    length: int = 0
    numbers: tuple[int, ...] = ()
    content: bytes = b""


class Peer:
    """Sends notes and parcels to other peers of a network, by their number in the census."""

    def __init__(self, founded: Founded, number: int, on_note: Callable[[int, Note], None]) -> None:
        self.number = number
        self._ids = [each.node_id for each in founded.members]
        self._numbers = {each: at for at, each in enumerate(self._ids)}
        self._on_note = on_note
        self._effects: list[Effect] = []
        member: Member = founded.members[number]
        self.transport = TlsTransport(founded.identity(member), host=HOST, port=member.port)
        for each in founded.members:
            if each.node_id != member.node_id:
                self.transport.learn_address(each.node_id, HOST, each.port)
        self.store = FileParcelStore(member.layout.parcels)
        self.store.retain({})
        self._postman = Postman(
            self.transport, self._on_message, lambda _peer, _reachable: None, _dropped
        )
        self._sender = ParcelSender(
            self.store, self._postman.post, self._on_sent, lambda _notice: None, _raise
        )
        self._parcels = Parcels(
            DEFAULT_PARAMS,
            member.node_id,
            lambda _peer: False,
            self._effects.append,
            lambda peer, message: self._postman.post(peer, codec.encode(message)),
            {},
        )

    async def start(self) -> None:
        """Listen."""
        await self.transport.start(self._serve)

    async def stop(self) -> None:
        """Close everything."""
        await self._postman.stop()
        await self.transport.stop()

    def tell(self, number: int, note: Note) -> None:
        """Send a note; to this peer itself without the network."""
        if number == self.number:
            self._on_note(number, note)
        else:
            self._postman.post(self._ids[number], _OURS + msgspec.msgpack.encode(note))

    def keep(self, content: bytes, readers: Iterable[int]) -> bytes:
        """Store a parcel for readers; returns its name."""
        name = self._parcels.keep(chunks_of(content), [self._ids[at] for at in readers])
        self._carry_out()
        return name

    def fetch(
        self, name: bytes, length: int, sources: Sequence[int], done: Callable[[bytes], None]
    ) -> None:
        """Pull a parcel, the first source first; `done` is told once it is stored."""
        loop = asyncio.get_running_loop()
        told = partial(loop.call_soon, done)
        self._parcels.fetch(name, length, [self._ids[at] for at in sources], told)
        self._carry_out()

    def grant(self, name: bytes, readers: Iterable[int]) -> None:
        """Let others pull what is held."""
        self._parcels.grant(name, [self._ids[at] for at in readers])
        self._carry_out()

    def read(self, name: bytes) -> bytes:
        """A parcel that is held."""
        return b"".join(self.store.chunks(name))

    def forget(self, name: bytes) -> None:
        """Remove a parcel."""
        self._parcels.forget(name)
        self._carry_out()

    def _serve(self, peer: bytes, body: bytes) -> bytes:
        for message in unpack(body):
            self._on_message(peer, message)
        return self._postman.collect(peer)

    def _on_message(self, peer: bytes, payload: bytes) -> None:
        if payload.startswith(_OURS):
            note = msgspec.msgpack.decode(payload[len(_OURS) :], type=Note)
            self._on_note(self._numbers[peer], note)
            return
        message = codec.decode(payload, Message, bytes_max=DEFAULT_PARAMS.message_bytes_max)
        self._parcels.handle(peer, message, time.monotonic())
        self._carry_out()

    def _on_sent(self, sent: ChunkSent) -> None:
        self._parcels.on_sent(sent.peer, sent.parcel, sent.index)

    def _carry_out(self) -> None:
        self._parcels.flush(time.monotonic())
        effects, self._effects[:] = list(self._effects), []
        for effect in effects:
            match effect:
                case StoreChunk():
                    self.store.write(effect.parcel, effect.index, effect.data)
                case SealParcel():
                    self.store.seal(effect.parcel, effect.length)
                case ForgetParcel():
                    self.store.remove(effect.parcel)
                case SendChunk():
                    self._sender.send(effect)


def _dropped(notice: Notice) -> None:
    raise PnyxError(f"A message was dropped: {notice}.")


def _raise(error: VaultError) -> None:
    raise PnyxError(str(error))
