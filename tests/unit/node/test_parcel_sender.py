"""A chunk is read when its batch leaves, checked, and answered for once, whatever becomes of it."""

import asyncio

import pytest
from tests.support.parcels import content, cut

from pnyx.errors import TransportError, VaultError
from pnyx.node.parcel_sender import ParcelDamaged, ParcelSender
from pnyx.node.postman import Postman, unpack
from pnyx.primitives import codec
from pnyx.primitives.hashing import merkle_proofs
from pnyx.protocol.chunks import describe
from pnyx.protocol.events import ChunkSent, SendChunk
from pnyx.protocol.messages import Chunk

PEER = b"p" * 32
DATA = content(80, 100)
CUT = cut(DATA)
PARCEL = describe(CUT)
PROOFS = merkle_proofs(PARCEL.hashes)


def effect(index: int) -> SendChunk:
    return SendChunk(PEER, PARCEL.name, PARCEL.length, index, PARCEL.root, PROOFS[index])


class Store:
    def __init__(self) -> None:
        self.reads = 0
        self.answer = lambda index: CUT[index]

    def read(self, parcel, index):
        self.reads += 1
        return self.answer(index)


class Wire:
    """A transport whose requests are answered one by one, or fail."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.open = asyncio.Event()
        self.fails = False

    async def request(self, peer, payload):
        self.bodies.append(payload)
        await self.open.wait()
        if self.fails:
            raise TransportError("gone")
        return b""


class Post:
    def __init__(self) -> None:
        self.store, self.wire = Store(), Wire()
        self.sent: list[ChunkSent] = []
        self.notices: list = []
        self.failures: list = []
        self.postman = Postman(self.wire, lambda *_: None, lambda *_: None, lambda _: None)
        self.sender = ParcelSender(
            self.store,
            self.postman.post,
            self.sent.append,
            self.notices.append,
            self.failures.append,
        )

    async def turn(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


def chunks(body: bytes) -> list[int]:
    return [codec.decode(each, Chunk, bytes_max=2**20).index for each in unpack(body)]


def run(scene) -> None:
    async def main() -> None:
        post = Post()
        await scene(post)
        await post.postman.stop()

    asyncio.run(main())


def test_only_the_batch_that_leaves_is_in_memory():
    async def scene(post: Post) -> None:
        for index in range(80):
            post.sender.send(effect(index))
        assert post.store.reads == 0
        await post.turn()
        assert len(post.wire.bodies) == 1
        first = post.store.reads
        assert 20 < first < 32, "four megabytes"
        assert len(post.sent) == first
        post.wire.open.set()
        await post.turn()
        assert [at for body in post.wire.bodies for at in chunks(body)] == list(range(80))
        assert all(len(body) <= 4 * 1024 * 1024 for body in post.wire.bodies)
        assert post.sent == [ChunkSent(PEER, PARCEL.name, at) for at in range(80)]

    run(scene)


def test_a_peer_that_asks_gets_chunks_in_the_answer():
    async def scene(post: Post) -> None:
        post.sender.send(effect(3))
        assert chunks(post.postman.collect(PEER)) == [3]
        assert post.postman.collect(PEER) == b""

    run(scene)


def test_what_cannot_be_delivered_waits_no_more():
    async def scene(post: Post) -> None:
        for index in range(60):
            post.sender.send(effect(index))
        post.wire.fails = True
        post.wire.open.set()
        await post.turn()
        assert len(post.wire.bodies) == 1
        assert {each.index for each in post.sent} == set(range(60))
        assert len(post.sent) == 60, "each answered once"

    run(scene)


@pytest.mark.parametrize("answer", [None, b"", CUT[3][:-1], CUT[4]])
def test_what_is_gone_or_damaged_is_not_sent(answer):
    async def scene(post: Post) -> None:
        post.store.answer = lambda _: answer
        post.sender.send(effect(3))
        await post.turn()
        assert post.wire.bodies == []
        assert post.sent == [ChunkSent(PEER, PARCEL.name, 3)]
        damaged = [] if answer is None else [ParcelDamaged(PARCEL.name, 3)]
        assert post.notices == damaged
        assert post.failures == []

    run(scene)


def test_a_disk_that_cannot_be_read_ends_the_node():
    async def scene(post: Post) -> None:
        def fail(_):
            raise VaultError("broken")

        post.store.answer = fail
        post.sender.send(effect(3))
        await post.turn()
        assert post.wire.bodies == []
        assert [str(each) for each in post.failures] == ["broken"]

    run(scene)
