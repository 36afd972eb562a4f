"""Ports of demonstration nodes: nobody else's before they listen."""

import errno
import socket
from pathlib import Path

import pytest

from pnyx.demo import ports
from pnyx.demo.ports import hold_port
from pnyx.errors import PnyxError


def is_free(address: tuple[str, int]) -> bool:
    """Whether somebody who shares no port is given this one."""
    with socket.socket() as other:
        try:
            other.bind(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        return True


def test_a_held_port_is_nobody_elses_before_while_and_after_a_node_listens() -> None:
    with hold_port() as held:
        address = held.getsockname()
        assert not is_free(address)
        for _ in range(2):  # killed, and back
            with socket.create_server(address), socket.create_connection(address):
                assert not is_free(address)
            assert not is_free(address)
    with socket.create_server(address):
        pass


def test_no_two_nodes_are_given_one_port() -> None:
    held = [hold_port() for _ in range(100)]
    assert len({each.getsockname() for each in held}) == 100
    for each in held:
        each.close()


def test_no_outgoing_connection_is_given_a_held_port() -> None:
    for _ in range(50):
        with hold_port() as held:
            assert 10_000 <= held.getsockname()[1] < ports._outgoing_from()


@pytest.mark.parametrize("text", [None, "", "many few"])
def test_a_system_that_names_no_range_has_the_usual_one(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "range"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(ports, "_RANGE_FILE", path)
    with hold_port() as held:
        assert 10_000 <= held.getsockname()[1] < 32_768


def test_without_a_free_port_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with hold_port() as taken:
        only = taken.getsockname()[1]
        monkeypatch.setattr("secrets.randbelow", lambda _above: only - 10_000)
        with pytest.raises(PnyxError, match="No free port from 10000 to"):
            hold_port()
