"""A node that cannot keep its promises durable says nothing more."""

import asyncio

import pytest

from pnyx.errors import PnyxError, VaultError
from pnyx.node.daemon import Daemon
from pnyx.node.postman import Postman
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
