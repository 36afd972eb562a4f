"""A program that took over the training worker tries to send what it saw (THREATS P1)."""

import array
import os
import socket

import pytest
from tests.support.confined import (
    MACHINE,
    attempt,
    filtered,
    landlocked,
    needs_filter,
    raw,
    resists,
    weakened,
)

from pnyx.sandbox import landlock, training_profile

pytestmark = [
    needs_filter,
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
]


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()


def connect(kind: int, address: tuple[str, int]) -> str:
    with socket.socket(socket.AF_INET, kind) as sender:
        sender.connect(address)
        return "connected"


def test_connects(listening):
    resists(lambda: connect(socket.SOCK_STREAM, listening), "socket", "connect", "close")
    resists(lambda: connect(socket.SOCK_DGRAM, listening), "socket", "connect", "close")
    assert attempt(lambda: connect(socket.SOCK_STREAM, listening)).killed_by == "SIGSYS"
    resists(lambda: raw("socket", socket.AF_INET6, socket.SOCK_DGRAM, 0), "socket")
    resists(lambda: raw("socket", socket.AF_NETLINK, socket.SOCK_RAW, 0), "socket")


def test_listens():
    def bind() -> str:
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            return "bound"

    resists(bind, "socket", "bind", "close")


def test_talks_to_local_services(tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def talk() -> str:
            with socket.socket(socket.AF_UNIX) as caller:
                caller.connect(path)
                return "connected"

        resists(talk, "socket", "connect", "close")
    resists(lambda: raw("socketpair", socket.AF_UNIX, 1, 0, bytes(8)), "socketpair")


def test_passes_or_takes_descriptors_over_its_channel():
    """The channel carries bytes only: no descriptor gets in or out with them."""

    pair = socket.socketpair()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))]
    try:
        resists(lambda: pair[0].sendmsg([b"x"], rights), "sendmsg")

        def send_on_channel(channel: int) -> None:
            filtered(channel)
            socket.socket(fileno=channel).sendmsg([b"x"], rights)

        assert attempt(lambda: None, send_on_channel).killed_by == "SIGSYS"
        # Nor does anything go out on another socket than the channel.
        assert attempt(lambda: pair[0].send(b"x")).killed_by == "SIGSYS"
        assert attempt(lambda: pair[0].send(b"x"), filtered).killed_by == "SIGSYS"
        assert attempt(lambda: pair[0].send(b"x"), weakened("sendto")).succeeded
    finally:
        for end in pair:
            end.close()


def test_channel_itself_is_open():
    """What the other tests deny is not denied by breaking the worker."""
    profile = training_profile(7)
    assert {"sendto", "recvfrom"} < profile.allowed.keys()
    assert attempt(lambda: os.getpid()).succeeded


@pytest.mark.skipif(
    MACHINE is None or landlock.version(MACHINE) < 6, reason="Landlock here knows no network"
)
def test_hole_in_the_filter_reaches_nobody(listening):
    """Landlock alone bars TCP, abstract sockets and signals; UDP is the filter's affair."""
    name = b"\0pnyx-test-%d" % os.getpid()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()

        def talk() -> None:
            with socket.socket(socket.AF_UNIX) as caller:
                caller.connect(name)

        assert attempt(lambda: connect(socket.SOCK_STREAM, listening), landlocked).error == "EACCES"
        assert attempt(talk, landlocked).error == "EPERM"
    parent = os.getpid()
    assert attempt(lambda: os.kill(parent, 0), landlocked).error == "EPERM"
