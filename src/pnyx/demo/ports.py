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
    """A socket bound to a free port of 127.0.0.1, which a node of this user may listen on.

    Until the socket is closed the port goes to nobody who does not ask to share it, as servers do:
    not between this probe and the node that listens, nor while a killed node is away. It is drawn
    from below those that the system gives to outgoing connections.

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
            # Only now: whoever asks to share before it binds gets what others hold.
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            return held
    raise PnyxError(
        f"No free port from {_LOWEST} to {above - 1}; end other programs and try again."
    )


def _outgoing_from() -> int:
    try:
        return int(_RANGE_FILE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _OUTGOING_FROM
