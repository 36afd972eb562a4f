"""The owner's line, with a server in a thread and real sockets."""

import asyncio
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from pnyx.errors import ConfigError, ConsentError, PnyxError
from pnyx.node import control
from pnyx.node.control import (
    ControlServer,
    Decide,
    Propose,
    Request,
    Result,
    Status,
    Stop,
    Stopping,
    call,
)
from pnyx.node.keystore import NodeLayout
from pnyx.protocol.manifest import MANIFEST_BYTES_MAX
from pnyx.protocol.params import DEFAULT_PARAMS


@pytest.fixture
def layout(tmp_path: Path) -> NodeLayout:
    return NodeLayout(tmp_path)


async def answer(request: Request) -> object:
    match request:
        case Stop():
            return Stopping(1)
        case Propose():
            return [len(request.manifest), len(request.model)]
        case Decide():
            raise ConsentError("No such study here; look again.")
        case Result():
            return {"wrong": "kind"}
    raise AssertionError("not asked here")


@contextmanager
def serving(layout: NodeLayout) -> Iterator[Path]:
    """Run a server until the block ends; yields the socket's path."""
    started, ended = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def live() -> None:
        server = ControlServer(layout, answer)
        await server.start()
        started.set()
        await ended.wait()
        await server.stop()
        while len(asyncio.all_tasks()) > 1:  # callers that are being let go
            await asyncio.sleep(0.01)

    thread = threading.Thread(target=lambda: loop.run_until_complete(live()))
    thread.start()
    try:
        assert started.wait(5)
        yield layout.root / control.SOCKET_NAME
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


def speak(path: Path, line: bytes) -> bytes:
    """Send raw bytes; return all that comes back."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        connection.sendall(line)
        received = b""
        while part := connection.recv(65536):
            received += part
    return received


def test_request_is_answered_with_its_kind(layout) -> None:
    with serving(layout):
        assert call(layout, Stop(), Stopping) == Stopping(1)


def test_refusal_carries_the_nodes_sentence(layout) -> None:
    with serving(layout), pytest.raises(PnyxError, match=r"^No such study here; look again\.$"):
        call(layout, Decide("4f", "accept"), Stopping)


def test_answer_of_another_kind_is_refused(layout) -> None:
    with serving(layout), pytest.raises(PnyxError, match="incomplete"):
        call(layout, Result("4f"), Stopping)


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"nonsense\n",
        b"\xff\xfe\n",
        b'{"verb": "format"}\n',
        b'{"verb": "stop", "extra": 1}\n',
        b'{"verb": "consent", "study": "4f", "decision": "sell"}\n',
        b'{"verb": "consent", "study": "' + b"4" * 65 + b'", "decision": "accept"}\n',
    ],
)
def test_malformed_requests_are_refused_and_the_server_lives(layout, line) -> None:
    with serving(layout) as path:
        reply = msgspec.json.decode(speak(path, line))
        assert reply["ok"] is False
        assert "does not understand" in reply["error"]
        assert call(layout, Stop(), Stopping) == Stopping(1)


def test_the_largest_study_can_be_proposed(layout) -> None:
    largest = MANIFEST_BYTES_MAX, DEFAULT_PARAMS.item_bytes_max
    with serving(layout):
        assert call(layout, Propose(*map(bytes, largest)), list[int]) == [*largest]


def test_oversized_request_is_refused(layout, monkeypatch) -> None:
    monkeypatch.setattr(control, "REQUEST_BYTES_MAX", 1000)
    with serving(layout) as path:
        reply = msgspec.json.decode(speak(path, b"x" * 1500 + b"\n"))
        assert "too large" in reply["error"]


def test_silent_callers_are_dropped(layout, monkeypatch) -> None:
    monkeypatch.setattr(control, "CALL_TIMEOUT_S", 0.1)
    with serving(layout) as path:
        assert speak(path, b"") == b""
        assert speak(path, b'{"verb": "st') == b""


def test_callers_of_other_users_get_nothing(layout, monkeypatch) -> None:
    with serving(layout) as path:
        monkeypatch.setattr(control.os, "geteuid", lambda: -1)
        try:
            received = speak(path, b'{"verb": "stop"}\n')
        except ConnectionError:  # closed before it was read
            received = b""
        assert received == b""


def test_socket_is_private_and_removed(layout) -> None:
    with serving(layout) as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


def test_socket_of_a_killed_node_is_replaced(layout) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(layout.root / control.SOCKET_NAME))
    with pytest.raises(ConfigError, match="not running"):
        call(layout, Status(), Stopping)
    with serving(layout):
        assert call(layout, Stop(), Stopping) == Stopping(1)


def test_absent_node_is_named(layout) -> None:
    with pytest.raises(ConfigError, match=f"pnyx node run --dir {layout.root}"):
        call(layout, Status(), Stopping)


def test_deep_directories_work(tmp_path) -> None:
    layout = NodeLayout(tmp_path / ("d" * 100))
    layout.make()
    with serving(layout) as path:
        assert call(layout, Stop(), Stopping) == Stopping(1)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()
    with pytest.raises(ConfigError, match="not running"):
        call(layout, Stop(), Stopping)


def test_long_paths_are_refused_in_words_where_they_cannot_work(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(control.sys, "platform", "darwin")
    with pytest.raises(ConfigError, match="too long"):
        call(NodeLayout(tmp_path / ("d" * 100)), Status(), Stopping)


def test_node_that_does_not_answer_is_named(layout) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(layout.root / control.SOCKET_NAME))
        deaf.listen()
        with pytest.raises(PnyxError, match="did not answer"):
            call(layout, Status(), Stopping, timeout_s=0.1)


def test_endless_answers_are_refused(layout, monkeypatch) -> None:
    monkeypatch.setattr(control, "ANSWER_BYTES_MAX", 3)
    with serving(layout), pytest.raises(PnyxError, match="too large"):
        call(layout, Stop(), Stopping)
