"""A reader asks for chunks without end and takes none; strangers send chunks (THREATS D1, D2, D4).

A request of a hundred bytes asks for megabytes. What waits for one peer is bounded, waits on the
disk and not in memory, and takes nothing from other readers. What nobody asked for is not kept.
"""

import asyncio
from contextlib import suppress

import pytest
from msgspec.structs import replace
from tests.support.parcels import (
    OTHER,
    OWNER,
    PULLER,
    STRANGER,
    Node,
    content,
    cut,
)

from pnyx.errors import RuleBroken
from pnyx.node.parcel_sender import ParcelSender
from pnyx.node.postman import Postman
from pnyx.primitives import codec
from pnyx.primitives.hashing import merkle_proofs
from pnyx.protocol.chunks import describe
from pnyx.protocol.events import SendChunk, StoreChunk
from pnyx.protocol.messages import CHUNK_BYTES, Chunk, ChunkRequest, Message
from pnyx.protocol.params import DEFAULT_PARAMS, ProtocolParams

DATA = content(200)
PER_MESSAGE = 64
MEGABYTE = 2**20


def flooded(params: ProtocolParams = DEFAULT_PARAMS) -> tuple[Node, bytes, list[SendChunk]]:
    """A holder that is asked for all chunks again and again: it, the parcel, what it would send."""
    owner = Node(OWNER, params)
    name = owner.parcels.keep(cut(DATA), [PULLER, OTHER])
    owner.take()
    for _ in range(20):
        for first in range(0, 200, PER_MESSAGE):
            indices = tuple(range(first, min(200, first + PER_MESSAGE)))
            with suppress(RuleBroken):
                owner.parcels.handle(PULLER, ChunkRequest(name, indices), 0.0)
    return owner, name, [e for e in owner.take() if isinstance(e, SendChunk)]


def test_what_waits_for_one_peer_is_bounded_and_takes_nothing_from_others():
    owner, name, sends = flooded()
    assert len(sends) == DEFAULT_PARAMS.parcel_chunks_waiting_max == 64
    with pytest.raises(RuleBroken, match="more chunks than the"):
        owner.parcels.handle(PULLER, ChunkRequest(name, (199,)), 0.0)
    owner.parcels.handle(OTHER, ChunkRequest(name, (0, 1)), 0.0)
    assert len(owner.take()) == 2
    endless = replace(DEFAULT_PARAMS, parcel_chunks_waiting_max=10**9)
    assert len(flooded(endless)[2]) == 200, "the bound is the defence"


def test_one_chunk_asked_for_many_times_waits_once():
    owner = Node(OWNER)
    name = owner.parcels.keep(cut(DATA), [PULLER])
    owner.take()
    for _ in range(1000):
        owner.parcels.handle(PULLER, ChunkRequest(name, (7,) * PER_MESSAGE), 0.0)
    assert len(owner.take()) == 1


def read_again_and_again(params: ProtocolParams = DEFAULT_PARAMS, times: int = 20) -> int:
    """How many chunks of a parcel of 200 go to a reader that takes them, and asks anew at once."""
    owner, sent = Node(OWNER, params), 0
    name = owner.parcels.keep(cut(DATA), [PULLER, OTHER])
    owner.take()
    for at in [at for _ in range(times) for at in range(200)]:
        with suppress(RuleBroken):
            owner.parcels.handle(PULLER, ChunkRequest(name, (at,)), 0.0)
        sent += sum(isinstance(effect, SendChunk) for effect in owner.take())
        owner.parcels.on_sent(PULLER, name, at)
    owner.parcels.handle(OTHER, ChunkRequest(name, (0,)), 0.0)
    assert len(owner.take()) == 1, "others are served as before"
    owner.parcels.handle(PULLER, ChunkRequest(name, (0,)), 60.0)
    assert len(owner.take()) == 1, "and this one again after a while"
    return sent


def test_a_parcel_is_sent_to_one_reader_a_few_times():
    """A hundred bytes ask for eight megabytes of the line, and could do so for ever."""
    assert read_again_and_again() == DEFAULT_PARAMS.parcel_pulls_max * 200 == 1600
    endless = replace(DEFAULT_PARAMS, parcel_pulls_max=10**9)
    assert read_again_and_again(endless) == 4000, "the bound is the defence"


class Wire:
    """The link to a peer that takes the first batch and never says so."""

    def __init__(self) -> None:
        self.bytes_sent = 0

    async def request(self, peer, payload):
        self.bytes_sent += len(payload)
        await asyncio.Event().wait()


class Eager(ParcelSender):
    """Reads every chunk as soon as it is asked for."""

    def send(self, effect):
        self._post(effect.peer, self.read(effect))


def bytes_in_memory(kind: type[ParcelSender]) -> int:
    """Bytes of chunks that a node holds for a peer that asked for all it may, and takes nothing."""
    owner, _, sends = flooded()

    async def scene() -> int:
        wire = Wire()
        postman = Postman(wire, lambda *_: None, lambda *_: None, lambda _: None)
        sender = kind(owner.store, postman.post, lambda _: None, lambda _: None, lambda _: None)
        for effect in sends:
            sender.send(effect)
        await asyncio.sleep(0.01)
        waiting = postman._waiting[PULLER].held_bytes
        await postman.stop()
        return wire.bytes_sent + waiting

    return asyncio.run(scene())


def test_chunks_wait_on_the_disk():
    assert bytes_in_memory(ParcelSender) <= 4 * MEGABYTE
    assert bytes_in_memory(Eager) >= 8 * MEGABYTE, "reading late is the defence"


def test_no_request_asks_for_more_than_a_named_number():
    body = codec.encode(ChunkRequest(bytes(32), tuple(range(PER_MESSAGE + 1))))
    with pytest.raises(Exception, match="length <= 64"):
        codec.decode(body, Message, bytes_max=MEGABYTE)


# --- chunks that nobody asked for ---------------------------------------------------------------


def honest_chunks(data: bytes) -> list[Chunk]:
    parcel = describe(cut(data))
    proofs = merkle_proofs(parcel.hashes)
    return [
        Chunk(parcel.name, parcel.length, at, parcel.root, part, proofs[at])
        for at, part in enumerate(cut(data))
    ]


def push(puller: Node, sender: bytes, chunks: list[Chunk]) -> int:
    """How many chunks are stored when somebody sends them unasked."""
    for chunk in chunks:
        with pytest.raises(RuleBroken, match="was not asked for"):
            puller.parcels.handle(sender, chunk, 0.0)
    return len([e for e in puller.take() if isinstance(e, StoreChunk)])


def test_chunks_of_parcels_that_nobody_wants():
    puller = Node(PULLER)
    assert push(puller, STRANGER, honest_chunks(DATA)) == 0
    assert puller.store._parts == {}


def test_chunks_of_a_wanted_parcel_from_others_or_ahead_of_time():
    """A source sends no faster than it is asked; who is no source sends nothing."""
    puller = Node(PULLER)
    chunks = honest_chunks(DATA)
    puller.fetch(chunks[0].parcel, len(DATA), [OWNER])
    assert push(puller, STRANGER, chunks) == 0
    assert push(puller, OWNER, chunks) == 0, "before it is asked"
    puller.parcels.flush(0.0)
    assert push(puller, OWNER, chunks[1:]) == 0, "it was asked for the first one"
    puller.parcels.handle(OWNER, chunks[0], 0.0)
    puller.parcels.flush(0.0)
    puller.take()
    window = DEFAULT_PARAMS.parcel_window_chunks
    assert push(puller, OWNER, chunks[1 + window :]) == 0


def test_expecting_is_the_defence(monkeypatch):
    """Without it whoever is certified writes to this disk, as fast as the line lets it."""
    puller = Node(PULLER)
    chunks = honest_chunks(DATA)
    puller.fetch(chunks[0].parcel, len(DATA), [OWNER])
    fetch = puller.parcels._wanted[chunks[0].parcel].fetch

    def expects(peer, index):
        fetch._asked.setdefault(peer, {})[index] = None
        return True

    fetch.expects = expects
    for chunk in chunks[:100]:
        puller.parcels.handle(STRANGER, chunk, 0.0)
    assert len(puller.take()) > 100


def test_a_chunk_is_bounded():
    parcel = describe([b"x"])
    chunk = Chunk(parcel.name, 1, 0, parcel.root, bytes(CHUNK_BYTES + 1), ())
    with pytest.raises(Exception, match="length <= 131072"):
        codec.decode(codec.encode(chunk), Message, bytes_max=MEGABYTE)
