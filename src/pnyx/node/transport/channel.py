"""One TLS connection: handshake, encryption, flow control, in bounded memory.

Why not asyncio's own TLS: it keeps a 256 KB read buffer for every connection (uvloop too, fixed in
C), which at a full mesh of 36 nodes is most of a node's memory, and it passes every record through
several objects. Here the TCP protocol drives `ssl.SSLObject` itself. Received bytes land in one
scratch buffer shared by all connections of a transport: an event loop fills it and hands it over
without a step in between. The same code runs on asyncio and uvloop.

    CONNECTED --handshake done, ALPN agreed--> ESTABLISHED --close()--> CLOSING --> lost
        └----------------- any failure, abort() ------------------------------------^

Bytes to send wait as plaintext, by reference, and are encrypted a piece at a time while the socket
takes them. OpenSSL's memory buffers never shrink, so what is fed to them is cut into pieces that
bound what an idle connection keeps; and a stranger that stays silent, or does not begin with a TLS
handshake, gets no TLS state at all.
"""

import asyncio
import socket
import ssl
from collections import deque
from contextlib import suppress
from typing import Protocol, cast

from pnyx.node.transport.base import Traffic
from pnyx.node.transport.identity import ALPN, explain

SCRATCH_BYTES = 256 * 1024

_RECORD_BYTES = 16 * 1024  # most plaintext that one TLS record holds
_HANDSHAKE_RECORD = 22  # first byte of any TLS connection
_PIECE_BYTES = 2 * _RECORD_BYTES
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}  # finds powered-off peers


class ChannelUser(Protocol):
    """Who is told what happens on a channel."""

    def connected(self, host: str) -> None:
        """TCP is up; `host` is the peer's address. The user may abort the channel."""
        ...

    def established(self, certificate: bytes) -> None:
        """TLS is up; the peer proved to own the key of this DER certificate."""
        ...

    def received(self, data: bytes) -> None:
        """Next bytes of the peer's stream."""
        ...

    def lost(self, reason: str) -> None:
        """The connection is gone; the reason ends a sentence about the peer."""
        ...


class TlsChannel(asyncio.BufferedProtocol):
    """A TLS stream over one TCP connection; see the module for its states."""

    __slots__ = (
        "_backlog",
        "_begun",
        "_context",
        "_flushing",
        "_incoming",
        "_loop",
        "_outgoing",
        "_reason",
        "_scratch",
        "_server_side",
        "_tls",
        "_traffic",
        "_transport",
        "_up",
        "_user",
        "backlog_bytes",
        "closing_since",
        "paused_since",
    )

    def __init__(
        self,
        context: ssl.SSLContext,
        user: ChannelUser,
        scratch: memoryview,
        traffic: Traffic,
        *,
        server_side: bool,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._user = user
        self._scratch = scratch
        self._traffic = traffic
        self._context = context
        self._server_side = server_side
        self._tls: ssl.SSLObject  # from _begin on, with its two buffers
        self._incoming: ssl.MemoryBIO
        self._outgoing: ssl.MemoryBIO
        self._begun = False
        self._transport: asyncio.Transport | None = None
        self._backlog: deque[bytes | memoryview] = deque()
        self._reason = ""
        self._up = False
        self._flushing = False  # a flush is scheduled
        self.backlog_bytes = 0
        self.paused_since: float | None = None  # loop time at which the socket took no more
        self.closing_since: float | None = None

    # ---- what the user calls

    def send(self, *parts: bytes | memoryview) -> None:
        """Queue bytes; those queued in one turn of the loop share records and system calls."""
        if self.closing_since is not None:
            return
        for part in parts:
            self._backlog.append(part)
            self.backlog_bytes += len(part)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def close(self, reason: str) -> None:
        """Send what is queued, then say goodbye in TLS and TCP."""
        if self.closing_since is not None:
            return
        self._reason = self._reason or reason
        self._flush()
        self.closing_since = self._loop.time()
        if not self._backlog:
            self._finish()

    def abort(self, reason: str) -> None:
        """Drop the connection now."""
        self._reason = self._reason or reason
        if self.closing_since is None:
            self.closing_since = self._loop.time()
        self._drop_backlog()
        if self._transport is not None:
            self._transport.abort()

    # ---- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the handshake on a new TCP connection."""
        self._transport = cast(asyncio.Transport, transport)
        if self.closing_since is not None:
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=2 * _PIECE_BYTES)
        _keep_alive(self._transport.get_extra_info("socket"))
        peername = self._transport.get_extra_info("peername")
        self._user.connected(str(peername[0]) if peername else "")
        if self.closing_since is None and not self._server_side:
            self._begin()
            self._handshake()

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Lend the shared scratch buffer; it is emptied before anybody else can use it."""
        return self._scratch

    def buffer_updated(self, nbytes: int) -> None:
        """Decrypt what was received, a record or so at a time."""
        self._traffic.bytes_received += nbytes
        if not self._begun:
            if self._scratch[0] != _HANDSHAKE_RECORD:
                self._fail("does not speak TLS")
                return
            self._begin()
        for start in range(0, nbytes, _RECORD_BYTES):
            self._incoming.write(self._scratch[start : min(start + _RECORD_BYTES, nbytes)])
            if not self._up:
                self._handshake()
            if self._up:
                self._read()
            if self.closing_since is not None:
                return

    def eof_received(self) -> None:
        """Let the transport close; a stream cut short only loses what was not framed whole."""
        self._reason = self._reason or "closed the connection"

    def pause_writing(self) -> None:
        """Stop encrypting: the socket is full."""
        self.paused_since = self._loop.time()

    def resume_writing(self) -> None:
        """Go on encrypting."""
        self.paused_since = None
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection and tell the user, once."""
        self._transport = None
        self.closing_since = self.closing_since or self._loop.time()
        self._drop_backlog()
        self._user.lost(self._reason or ("closed the connection" if exc is None else "vanished"))
        # The user refers to this channel: without the cycle both are freed at once, TLS state
        # included, and a flood of connections leaves nothing for the garbage collector.
        del self._user

    # ---- inside

    def _begin(self) -> None:
        """Set up TLS: for an accepted connection, only once the peer has begun to speak it."""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = self._context.wrap_bio(
            self._incoming, self._outgoing, server_side=self._server_side
        )
        self._begun = True

    def _handshake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._push()
            return
        except ssl.SSLError as error:
            self._push()  # the alert that tells the peer why
            self._fail(explain(error))
            return
        self._push()
        certificate = self._tls.getpeercert(binary_form=True)
        if certificate is None or self._tls.selected_alpn_protocol() != ALPN:
            self._fail(f"does not speak {ALPN}; one of the two nodes must be upgraded")
            return
        self._up = True
        self._traffic.handshakes += 1
        self._user.established(certificate)

    def _read(self) -> None:
        # Testing `pending` first spares an SSLWantReadError for nearly every read.
        while self._incoming.pending and self.closing_since is None:
            try:
                data = self._tls.read(_RECORD_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError as error:
                self._fail(explain(error))
                return
            if not data:
                self.close("closed the connection")
                return
            self._user.received(data)
        if self._outgoing.pending:
            self._push()  # answers to key updates

    def _flush(self) -> None:
        self._flushing = False
        if not self._up:
            return
        while self._backlog and self.paused_since is None:
            self._tls.write(self._next_piece())
            self._push()
        if self.closing_since is not None and not self._backlog:
            self._finish()

    def _next_piece(self) -> bytes | memoryview:
        first = self._backlog.popleft()
        if len(first) > _PIECE_BYTES:
            view = memoryview(first)
            self._backlog.appendleft(view[_PIECE_BYTES:])
            first = view[:_PIECE_BYTES]
        elif self._backlog:
            pieces, size = [first], len(first)
            while self._backlog and size + len(self._backlog[0]) <= _RECORD_BYTES:
                pieces.append(self._backlog.popleft())
                size += len(pieces[-1])
            first = b"".join(pieces)
        self.backlog_bytes -= len(first)
        return first

    def _push(self) -> None:
        data = self._outgoing.read()
        if data and self._transport is not None:
            self._traffic.bytes_sent += len(data)
            self._transport.write(data)

    def _finish(self) -> None:
        if self._transport is None:
            return
        if self._up:
            with suppress(ssl.SSLError):  # ours is written; the peer's need not be awaited
                self._tls.unwrap()
            self._push()
        self._transport.close()

    def _fail(self, reason: str) -> None:
        """Close after a failure of TLS itself: flush the alert, send nothing more."""
        self._reason = self._reason or reason
        self.closing_since = self._loop.time()
        self._drop_backlog()
        if self._transport is not None:
            self._transport.close()

    def _drop_backlog(self) -> None:
        self._backlog.clear()
        self.backlog_bytes = 0


def _keep_alive(connection: socket.socket | None) -> None:
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        option = getattr(socket, name, None)
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
