"""Ports for nodes that share one machine: free when drawn, and still free when a node listens."""

import errno
import secrets
import socket
from pathlib import Path

from pnyx.errors import PnyxError

_LOWEST = 10_000  # below are the ports of services
_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_OUTGOING_FROM = 32_768  # where a system says nothing: Linux's own default, below IANA's 49,152
_TRIES = 1_000


def hold_port() -> socket.socket:
    """A socket bound to a free port of 127.0.0.1: nobody else gets it until the socket is closed.

    The port is drawn from below those that the system gives to outgoing connections. One of these
    may be taken by any connection of any program between a probe that found it free and the node
    that listens on it, or while a killed node is away.

    Raises PnyxError if no port is free.
    """
    above = max(_outgoing_from(), _LOWEST + _TRIES)
    for _ in range(_TRIES):
        held = socket.socket()
        try:
            held.bind(("127.0.0.1", _LOWEST + secrets.randbelow(above - _LOWEST)))
        except OSError as error:
            held.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return held
    raise PnyxError(
        f"No free port from {_LOWEST} to {above - 1}; end other programs and try again."
    )


def _outgoing_from() -> int:
    try:
        return int(_RANGE_FILE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _OUTGOING_FROM
