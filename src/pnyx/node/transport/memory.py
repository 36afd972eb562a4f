"""The transport inside one process, for tests: no sockets, no encryption, same behaviour.

A `MemoryNetwork` stands for the wire; transports of one network find each other by (host, port).
Peer ids are what the constructor says, since nobody here could lie. Bounds on frames, open
requests, serving and deadlines are those of the real one; what concerns only sockets (handshakes,
slow readers, back-off) has no counterpart. One contract suite runs over both.
"""

import asyncio

from pnyx.errors import TransportError
from pnyx.node.transport.base import (
    Handler,
    PeerListener,
    PeerPredicate,
    Traffic,
    TransportLimits,
    short,
)
from pnyx.node.transport.frames import HEADER_BYTES, Failure
from pnyx.node.transport.link import FAILURES
from pnyx.node.transport.serving import RequestServer

_FIRST_FREE_PORT = 49152


class MemoryNetwork:
    """Which transport listens where."""

    def __init__(self) -> None:
        self._listeners: dict[tuple[str, int], MemoryTransport] = {}

    def listen(self, transport: "MemoryTransport", host: str, port: int) -> int:
        """Claim a port, or a free one for 0. Raises TransportError when it is taken."""
        if port == 0:
            port = _FIRST_FREE_PORT
            while (host, port) in self._listeners:
                port += 1
        if (host, port) in self._listeners:
            raise TransportError(
                f"Port {port} is in use; end what uses it, or set another listen.port in pnyx.toml."
            )
        self._listeners[host, port] = transport
        return port

    def find(self, address: tuple[str, int]) -> "MemoryTransport | None":
        """Return whoever listens at an address."""
        return self._listeners.get(address)

    def release(self, host: str, port: int) -> None:
        """Give a port back."""
        del self._listeners[host, port]


class MemoryTransport:
    """One node's end of a MemoryNetwork."""

    def __init__(
        self,
        network: MemoryNetwork,
        node_id: bytes,
        *,
        host: str = "memory",
        port: int = 0,
        limits: TransportLimits | None = None,
        admit: PeerPredicate | None = None,
    ) -> None:
        self.limits = limits or TransportLimits()
        self.traffic = Traffic()
        self._network = network
        self._node_id = node_id
        self._host = host
        self._port = port
        self._admit = admit or (lambda _peer: True)
        self._addresses: dict[bytes, tuple[str, int]] = {}
        self._connected: dict[bytes, MemoryTransport] = {}
        self._pending: dict[bytes, set[asyncio.Future[bytes]]] = {}
        self._on_disconnect: PeerListener | None = None
        self._requests: RequestServer | None = None
        self._running = False

    @property
    def node_id(self) -> bytes:
        """This node's 32-byte id."""
        return self._node_id

    @property
    def port(self) -> int:
        """The port this node listens on."""
        return self._port

    @property
    def peers(self) -> tuple[bytes, ...]:
        """Peers to which a connection is open."""
        return tuple(self._connected)

    async def start(self, handler: Handler, on_disconnect: PeerListener | None = None) -> None:
        """Take the port. Raises TransportError when it is in use."""
        if self._running:
            raise ValueError("the transport has already been started")
        self._port = self._network.listen(self, self._host, self._port)
        self._requests = RequestServer(handler, self.limits, self.traffic)
        self._on_disconnect = on_disconnect
        self._running = True

    async def stop(self) -> None:
        """Leave the network."""
        if not self._running or self._requests is None:
            return
        self._running = False
        self._network.release(self._host, self._port)
        self._on_disconnect = None
        await self._requests.stop()
        for peer in list(self._connected):
            self.disconnect(peer)

    async def request(self, peer: bytes, payload: bytes) -> bytes:
        """Send a request and wait for its answer."""
        if not self._running:
            raise TransportError("The transport is not running; start the node first.")
        if peer == self.node_id:
            raise ValueError("a node does not send requests to itself")
        if len(payload) > self.limits.frame_bytes_max:
            raise TransportError(
                f"The message has {len(payload)} bytes, above the limit of "
                f"{self.limits.frame_bytes_max}; send less at a time."
            )
        other = self._connected.get(peer) or self._connect(peer)
        pending = self._pending.setdefault(peer, set())
        if len(pending) >= self.limits.requests_pending_max:
            raise TransportError(
                f"Peer {short(peer)} leaves {len(pending)} requests unanswered; "
                "wait before asking more."
            )
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        pending.add(future)
        try:
            async with asyncio.timeout(self.limits.request_s):
                other._receive(self, payload, future)
                return await future
        except TimeoutError as error:
            raise TransportError(
                f"Peer {short(peer)} did not answer within {self.limits.request_s:g} s."
            ) from error
        finally:
            pending.discard(future)

    def learn_address(self, peer: bytes, host: str, port: int) -> None:
        """Note where a peer listens."""
        self._addresses[peer] = (host, port)

    def disconnect(self, peer: bytes) -> None:
        """Drop the connection with a peer, on both sides."""
        other = self._connected.get(peer)
        if other is not None:
            other._lose(self.node_id)
            self._lose(peer)

    def _connect(self, peer: bytes) -> "MemoryTransport":
        address = self._addresses.get(peer)
        if address is None:
            raise TransportError(
                f"No address is known for peer {short(peer)}; wait for its node record."
            )
        if not self._admit(peer):
            raise TransportError(f"Peer {short(peer)} is not in the census or was revoked.")
        other = self._network.find(address)
        if other is None:
            raise TransportError(
                f"Peer {short(peer)} cannot be reached at {address[0]}:{address[1]} "
                "(connection refused); is it running?"
            )
        if other.node_id != peer:
            raise TransportError(
                f"Peer {short(peer)} is not there: node {short(other.node_id)} "
                "answers at its address."
            )
        if not other._admit(self.node_id):
            raise TransportError(f"Peer {short(peer)} does not admit this node.")
        self._connected[peer] = other
        other._connected[self.node_id] = self
        return other

    def _receive(
        self, asker: "MemoryTransport", payload: bytes, future: asyncio.Future[bytes]
    ) -> None:
        assert self._requests is not None  # connected, hence started
        peer = asker.node_id
        for end in (asker, self):
            end.traffic.bytes_sent += HEADER_BYTES
            end.traffic.bytes_received += HEADER_BYTES
        asker.traffic.bytes_sent += len(payload)
        self.traffic.bytes_received += len(payload)

        def answer(outcome: bytes | Failure) -> None:
            if future.done():
                return
            if isinstance(outcome, Failure):
                error = f"Peer {short(self.node_id)} {FAILURES[outcome]}."
                future.set_exception(TransportError(error))
                return
            self.traffic.bytes_sent += len(outcome)
            asker.traffic.bytes_received += len(outcome)
            future.set_result(outcome)

        self._requests.serve(peer, payload, answer)

    def _lose(self, peer: bytes) -> None:
        del self._connected[peer]
        error = f"Peer {short(peer)} closed the connection."
        for future in self._pending.pop(peer, ()):
            if not future.done():
                future.set_exception(TransportError(error))
        if self._on_disconnect is not None:
            asyncio.get_running_loop().call_soon(self._on_disconnect, peer)
