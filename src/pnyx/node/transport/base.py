"""The transport port: `request(peer, bytes) -> bytes` between certified nodes.

A transport guarantees four things and nothing else:

1. The peer id given to the handler is authentic: it comes from the peer's verified certificate.
2. A request is answered once or raises TransportError. It is never repeated by the transport: an
   error after sending leaves open whether the peer acted, and the protocol above is made for that.
3. Both nodes of a pair share one connection, whoever opened it; its loss is reported once.
4. Everything a peer can make us hold, wait for or do is bounded by a `TransportLimits`.

Confidentiality and authenticity towards third parties hold for the TLS implementation only.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from pnyx.errors import ConfigError

Handler = Callable[[bytes, bytes], Awaitable[bytes] | bytes]
"""Answers (peer id, request). A PnyxError refuses the request; another error counts as a bug."""

PeerListener = Callable[[bytes], None]
"""Told the id of a peer whose last connection was lost."""

PeerPredicate = Callable[[bytes], bool]
"""Says whether a certified node is welcome now: in the census and not revoked."""


class TransportLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on what peers may make this node do."""

    # The protocol's largest message (8 MiB) and room for the envelope of whoever batches them.
    frame_bytes_max: int = 8 * 1024 * 1024 + 64 * 1024
    # A process usually has 1,024 file descriptors; half of them for peers leaves room.
    connections_max: int = 512
    # Many honest nodes may share an address (a provider, a demo); an IPv6 /64 counts as one.
    connections_per_address_max: int = 256
    # Two after simultaneous dials, two more while earlier ones finish.
    connections_per_peer_max: int = 4
    # Not yet authenticated; beyond these the oldest is closed, so that the honest, who need
    # milliseconds, get through a flood of idle connections.
    handshakes_max: int = 128
    handshakes_per_address_max: int = 64
    # Unanswered requests, towards one peer and from one peer.
    requests_pending_max: int = 256
    requests_served_max: int = 256
    # Bodies of requests being served, for one peer and in all.
    served_bytes_per_peer_max: int = 64 * 1024 * 1024
    served_bytes_max: int = 256 * 1024 * 1024
    # Waiting to be sent on one connection; a peer that asks and never reads ends here.
    outgoing_bytes_max: int = 64 * 1024 * 1024

    # Names of peers being looked up at a time, each in a thread; a look-up may take half a minute.
    lookups_max: int = 16

    connect_s: float = 5.0
    handshake_s: float = 10.0
    # From the first byte of a frame to its last; also how long a peer may refuse to read.
    frame_s: float = 60.0
    request_s: float = 60.0
    idle_s: float = 600.0
    close_s: float = 2.0
    # A dead peer is not dialled again at once; requests in between fail immediately.
    backoff_min_s: float = 0.05
    backoff_max_s: float = 2.0

    def __post_init__(self) -> None:
        """Refuse limits that nothing could satisfy. Raises ConfigError."""
        for name in self.__struct_fields__:
            if getattr(self, name) <= 0:
                raise ConfigError(f"Transport limit {name} must be above zero.")
        if self.frame_bytes_max >= 2**31:
            raise ConfigError("Transport limit frame_bytes_max must be below 2^31.")

    @property
    def sweep_s(self) -> float:
        """Interval at which deadlines are checked: a quarter of the shortest, at most 1 s."""
        shortest = min(self.handshake_s, self.frame_s, self.request_s, self.idle_s, self.close_s)
        return min(1.0, shortest / 4)


class Traffic:
    """Counters since start; bytes are those on the wire, TLS and framing included."""

    __slots__ = ("bytes_received", "bytes_sent", "connections_refused", "handshakes", "requests")

    def __init__(self) -> None:
        self.bytes_sent = 0
        self.bytes_received = 0
        self.handshakes = 0
        self.requests = 0
        self.connections_refused = 0


class Transport(Protocol):
    """Authenticated requests between nodes."""

    traffic: Traffic

    @property
    def node_id(self) -> bytes:
        """This node's 32-byte id."""
        ...

    @property
    def port(self) -> int:
        """The port on which peers reach this node, once started."""
        ...

    @property
    def peers(self) -> tuple[bytes, ...]:
        """Peers to which a connection is open."""
        ...

    async def start(self, handler: Handler, on_disconnect: PeerListener | None = None) -> None:
        """Accept peers; `handler` answers their requests.

        Raises TransportError when the port cannot be opened.
        """
        ...

    async def stop(self) -> None:
        """Close every connection; requests still waiting raise TransportError."""
        ...

    async def request(self, peer: bytes, payload: bytes) -> bytes:
        """Send a request and wait for its answer, connecting first where needed.

        Raises TransportError, at once where the peer is unknown, refuses the connection, or just
        did so.
        """
        ...

    def learn_address(self, peer: bytes, host: str, port: int) -> None:
        """Note where a peer listens; replaces what was known."""
        ...

    def disconnect(self, peer: bytes) -> None:
        """Drop a peer's connections at once, for instance on its revocation."""
        ...


def short(peer: bytes) -> str:
    """First digits of a node id, as messages to people show it."""
    return peer.hex()[:12]
