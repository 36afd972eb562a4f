"""A node that cannot keep its promises durable says nothing more."""

import asyncio

import pytest
from tests.transport_kit import Town

from pnyx.errors import PnyxError, TransportError, VaultError
from pnyx.node.daemon import Daemon
from pnyx.node.postman import Postman
from pnyx.node.transport import TransportLimits
from pnyx.protocol.events import Persist, Send, TimerExpired

PEER = b"p" * 32


class Machine:
    """Persists its vote once; when asked again it repeats the vote."""

    def __init__(self) -> None:
        self.asked = 0

    def handle(self, event, now):
        self.asked += 1
        first = [Persist("round/x/1/1/slot", b"v")] if self.asked == 1 else []
        return [*first, Send(PEER, b"vote")]

    def next_deadline(self):
        return None


class FullDisk:
    def apply(self, puts, forgets):
        raise VaultError("The disk is full.")


class Wire:
    def __init__(self) -> None:
        self.sent = []

    async def request(self, peer, payload):
        self.sent.append(payload)
        return b""


async def live() -> tuple[Daemon, Wire, Machine]:
    daemon, wire, machine = Daemon.__new__(Daemon), Wire(), Machine()
    daemon._machine, daemon._rounds = machine, FullDisk()
    daemon._postman = Postman(wire, lambda *_: None, lambda *_: None, lambda _: None)
    daemon._pending, daemon._committed, daemon._failure = [], None, None
    daemon._timer, daemon._timer_at = None, float("inf")
    daemon._stopping = asyncio.Event()
    for _ in range(3):
        daemon.deliver(TimerExpired())
        await asyncio.sleep(0.01)
    with pytest.raises(PnyxError, match="start it again and repeat"):
        await daemon.settled()
    return daemon, wire, machine


def test_nothing_leaves_after_a_failed_flush() -> None:
    daemon, wire, machine = asyncio.run(live())
    assert isinstance(daemon._failure, VaultError)
    assert daemon._stopping.is_set()
    assert wire.sent == []
    assert machine.asked == 1


def served(tmp_path, replies) -> tuple[Exception | None, list[str]]:
    """What ends a node, if anything, whose handler gives each of these replies; what peers get."""

    async def live() -> tuple[Exception | None, list[str]]:
        daemon, town, got = Daemon.__new__(Daemon), Town(tmp_path), []
        daemon._failure, daemon._postman, daemon._stopping = None, None, asyncio.Event()
        asyncio.get_running_loop().set_exception_handler(daemon._on_loop_error)
        limits = TransportLimits(frame_bytes_max=1000)
        node, peer = town.transport(limits=limits), town.transport()
        await node.start(lambda _peer, payload: replies[payload[0]]())
        await peer.start(lambda _peer, _payload: b"")
        peer.learn_address(node.node_id, "127.0.0.1", node.port)
        for number in range(len(replies)):
            try:
                got.append(str(len(await peer.request(node.node_id, bytes([number])))))
            except TransportError as error:
                got.append(str(error))
        await peer.stop()
        await node.stop()
        return daemon._failure, got

    return asyncio.run(live())


def test_an_answer_too_large_for_a_frame_is_logged_and_ends_no_node(tmp_path, caplog):
    """Another node decides how much it asks for; an error of the handler is one of our own."""
    failure, got = served(tmp_path, [lambda: bytes(1001), lambda: bytes(1000)])
    assert failure is None
    assert "failed while answering" in got[0]
    assert got[1] == "1000"
    assert "an answer of 1001 bytes to peer" in caplog.text
    failure, _ = served(tmp_path, [lambda: 1 // 0])
    assert isinstance(failure, ZeroDivisionError)
