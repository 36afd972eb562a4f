"""Answers travel in the response to what asked for them, and nothing that waits is forgotten."""

import asyncio

import pytest

from pnyx.node.postman import Postman, unpack

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
        postman = Postman(wire, lambda *_: None, lambda *_: None)
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
