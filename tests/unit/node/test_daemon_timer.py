"""What has arrived counts before what has not: a node that wakes up late hears before it asks."""

import asyncio
import threading
from pathlib import Path

import pytest
from tests.transport_kit import Town

from pnyx.node.daemon import Daemon
from pnyx.node.postman import Postman, pack
from pnyx.node.transport.tls import TlsTransport
from pnyx.protocol.events import MessageReceived, TimerExpired

DUE_S = 0.02


class Machine:
    """Notes what it hears, and has one deadline."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.due: float | None = None

    def handle(self, event, now):
        self.heard.append(event)
        return []

    def next_deadline(self):
        return None if any(isinstance(each, TimerExpired) for each in self.heard) else self.due


def bare_daemon(transport: TlsTransport, machine: Machine) -> Daemon:
    daemon = Daemon.__new__(Daemon)
    daemon._machine, daemon._overlay, daemon._away, daemon._tasks = machine, None, set(), set()
    daemon._postman = Postman(transport, daemon._on_message, daemon._on_delivered, lambda _: None)
    daemon._pending, daemon._committed, daemon._failure = [], None, None
    daemon._timer, daemon._timer_at = None, float("inf")
    return daemon


class Asker:
    """A peer in a thread and loop of its own: it sends while the node's loop stands still."""

    def __init__(self, town: Town, node: bytes, port: int) -> None:
        self._town, self._node, self._port = town, node, port
        self.connected, self.go, self.written = (threading.Event() for _ in range(3))
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()))

    async def _live(self) -> None:
        transport = self._town.transport()
        await transport.start(lambda *_: b"", lambda _: None)
        transport.learn_address(self._node, "127.0.0.1", self._port)
        await transport.request(self._node, b"")
        before = transport.traffic.bytes_sent
        self.connected.set()
        await asyncio.to_thread(self.go.wait, 20)
        asked = asyncio.create_task(transport.request(self._node, pack([b"a share"])))
        while transport.traffic.bytes_sent == before:
            await asyncio.sleep(0)
        self.written.set()
        await asked
        await transport.stop()

    def start(self) -> None:
        self._thread.start()

    def send_while_nothing_else_runs(self) -> None:
        self.go.set()
        assert self.written.wait(20)

    async def join(self) -> None:
        await asyncio.to_thread(self._thread.join, 20)
        assert not self._thread.is_alive()


async def wake_up_late(town: Town) -> list[type]:
    """What a machine hears, in order, when message and deadline came while its loop stood still."""
    transport, machine = town.transport(), Machine()
    daemon = bare_daemon(transport, machine)
    await transport.start(daemon._serve, lambda _: None)
    asker = Asker(town, transport.node_id, transport.port)
    asker.start()
    assert await asyncio.to_thread(asker.connected.wait, 20)
    loop = asyncio.get_running_loop()
    machine.due = loop.time() + DUE_S
    loop.call_at(machine.due, asker.send_while_nothing_else_runs)
    daemon._set_timer()  # due with the call above, and behind it: no socket is read in between
    while len(machine.heard) < 2:
        await asyncio.sleep(0.01)
    await asker.join()
    await transport.stop()
    return [type(event) for event in machine.heard]


@pytest.mark.parametrize("which", ["asyncio", "uvloop"])
def test_a_message_that_has_arrived_is_heard_before_a_deadline_that_has_passed(
    tmp_path: Path, which: str
) -> None:
    loops = pytest.importorskip("uvloop") if which == "uvloop" else asyncio
    with asyncio.Runner(loop_factory=loops.new_event_loop) as runner:
        heard = runner.run(wake_up_late(Town(tmp_path)))
    assert heard == [MessageReceived, TimerExpired]
