"""Answers travel in the response to what asked for them, and nothing that waits is forgotten."""

import asyncio

import pytest

from pnyx.node.postman import MessagesDropped, Postman, unpack

PEER, OTHER = b"p" * 32, b"o" * 32


class Wire:
    """A transport that notes requests and answers with nothing."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, list[bytes]]] = []

    async def request(self, peer, payload):
        self.sent.append((peer, unpack(payload)))
        return b""


def run(scene) -> Wire:
    async def main() -> Wire:
        wire = Wire()
        postman = Postman(wire, lambda *_: None, lambda *_: None, lambda _: None)
        await scene(postman)
        await turns()
        await postman.stop()
        return wire

    return asyncio.run(main())


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_an_answer_waits_for_the_response_and_others_do_not():
    async def scene(postman: Postman) -> None:
        with postman.answering(PEER):
            postman.post(PEER, b"answer")
            postman.post(OTHER, b"news")
            await turns()
            assert unpack(postman.collect(PEER)) == [b"answer"]

    assert run(scene).sent == [(OTHER, [b"news"])]


def test_what_no_response_took_leaves_by_itself():
    async def scene(postman: Postman) -> None:
        def fail() -> None:
            with postman.answering(PEER):
                postman.post(PEER, b"answer")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()

    assert run(scene).sent == [(PEER, [b"answer"])]


def test_it_waits_for_the_last_of_several_requests():
    async def scene(postman: Postman) -> None:
        with postman.answering(PEER):
            with postman.answering(PEER):
                postman.post(PEER, b"one")
            await turns()
            assert unpack(postman.collect(PEER)) == [b"one"]
            postman.post(PEER, b"two")
            await turns()
        await turns()
        postman.post(PEER, b"three")

    assert run(scene).sent == [(PEER, [b"two"]), (PEER, [b"three"])]


def test_a_silent_one_does_not_wake_after_a_request():
    async def scene(postman: Postman) -> None:
        with postman.answering(PEER):
            postman.post(PEER, b"answer")
            postman.silence()

    assert run(scene).sent == []


# --- what waits is bounded ----------------------------------------------------------------------

MEGABYTE = 2**20


class Later:
    """A deferred message that lies on the disk."""

    bytes_max = MEGABYTE

    def __init__(self) -> None:
        self.dropped = False

    def read(self) -> bytes:
        return bytes(MEGABYTE)

    def drop(self) -> None:
        self.dropped = True


class Silent(Wire):
    """It takes the first batch of each peer, and then nothing."""

    async def request(self, peer, payload):
        await super().request(peer, payload)
        await asyncio.Event().wait()
        return b""


def test_what_waits_for_a_peer_is_bounded_and_others_are_served():
    noted = []

    async def main() -> Silent:
        wire = Silent()
        postman = Postman(wire, lambda *_: None, lambda *_: None, noted.append)
        for _ in range(3):
            postman.post(PEER, bytes(2 * MEGABYTE))
        await turns()  # the first batch is under way: two of them
        for _ in range(100):
            postman.post(PEER, bytes(2 * MEGABYTE))
        assert postman._waiting[PEER].held_bytes == 16 * MEGABYTE
        postman.post(OTHER, b"news")
        await turns()
        postman._take(PEER)
        for _ in range(100):
            postman.post(PEER, bytes(2 * MEGABYTE))
        assert postman._waiting[PEER].held_bytes == 16 * MEGABYTE
        await postman.stop()
        return wire

    assert [peer for peer, _ in asyncio.run(main()).sent] == [PEER, OTHER]
    full = MessagesDropped(PEER, 2 * MEGABYTE, 16 * MEGABYTE)
    assert noted == [full, full], "told once each time that there is no room"


def test_deferred_messages_take_no_room_and_are_dropped_in_the_end():
    async def main() -> tuple[list, list]:
        wire = Silent()
        postman = Postman(wire, lambda *_: None, lambda *_: None, noted.append)
        later = [Later() for _ in range(40)]
        for each in later:
            postman.post(PEER, each)
        postman.post(PEER, b"x")
        assert postman._waiting[PEER].held_bytes == 1
        await turns()
        ((_, batch),) = wire.sent
        postman._drop(PEER)
        await postman.stop()
        return batch, [each.dropped for each in later]

    noted = []
    batch, dropped = asyncio.run(main())
    assert [len(message) for message in batch] == [MEGABYTE] * 3
    assert dropped == [False] * 3 + [True] * 37
    assert noted == []


def test_a_message_that_no_peer_would_take_is_not_sent():
    noted = []

    async def main() -> Wire:
        wire = Wire()
        postman = Postman(wire, lambda *_: None, lambda *_: None, noted.append, 1000)
        postman.post(PEER, bytes(1001))
        postman.post(PEER, bytes(1000))
        await turns()
        await postman.stop()
        return wire

    assert asyncio.run(main()).sent == [(PEER, [bytes(1000)])]
    assert noted == [MessagesDropped(PEER, 1001, 0)]
