"""The real transport: TCP, TLS 1.3, one connection per pair of peers.

A peer's id is the one its certificate proves, never one it claims. A dialled peer must be the
expected one, an accepted peer must be admitted (census, revocation), both again at every sweep.

Whoever first has something to ask dials; the connection then serves both. When both dial at once
two links come up. Both nodes apply the same rule, that the link dialled by the node with the lower
id stays, and retire the other, on which everything already asked is still answered. A second link
from the same side means that the peer lost the first one: the newer stays. A link's loss is
reported when none is left and it was not retired by common consent.

What strangers can do is bounded by `admission`, what peers can by `serving` and `link`.
"""

import asyncio
import errno
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from pnyx.errors import InvalidCertificate, TransportError
from pnyx.node.certificates import verify_certificate
from pnyx.node.transport.admission import Admission
from pnyx.node.transport.base import (
    Handler,
    PeerListener,
    PeerPredicate,
    Traffic,
    TransportLimits,
    short,
)
from pnyx.node.transport.channel import SCRATCH_BYTES, TlsChannel
from pnyx.node.transport.dialling import Dialler
from pnyx.node.transport.frames import Refusal
from pnyx.node.transport.identity import TlsIdentity
from pnyx.node.transport.link import Link, State
from pnyx.node.transport.resolving import Resolver
from pnyx.node.transport.serving import Answer, RequestServer

_ACCEPT_BACKLOG = 256


def _unix_s() -> float:
    """Certificates are dated by the calendar, so this is the one use of the wall clock."""
    return time.time_ns() / 1e9


class TlsTransport:
    """Authenticated requests between nodes over TLS; see the module and `base.Transport`.

    port: 0 picks a free one. admit: consulted when a link opens and at every sweep.
    """

    def __init__(
        self,
        identity: TlsIdentity,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: TransportLimits | None = None,
        admit: PeerPredicate | None = None,
        wall_clock: Callable[[], float] = _unix_s,
    ) -> None:
        self.limits = limits or TransportLimits()
        self.traffic = Traffic()
        self._identity = identity
        self._host = host
        self._port = port
        self._admit = admit or (lambda _peer: True)
        self._wall_clock = wall_clock
        self._scratch = memoryview(bytearray(SCRATCH_BYTES))
        self._admission: Admission[Link] = Admission(self.limits)
        self._resolver = Resolver(self.limits.lookups_max)
        self._dialler = Dialler(self._connect, self.limits)
        self._links: set[Link] = set()  # all, from TCP connection to loss
        self._links_of: dict[bytes, list[Link]] = {}  # opened ones, oldest first
        self._current: dict[bytes, Link] = {}  # where new requests go
        self._on_disconnect: PeerListener = _ignore
        self._server: asyncio.Server | None = None
        self._requests: RequestServer | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Event | None = None  # set while stopping

    # ---- the port

    @property
    def node_id(self) -> bytes:
        """This node's 32-byte id."""
        return self._identity.node_id

    @property
    def port(self) -> int:
        """The port this node listens on."""
        return self._port

    @property
    def peers(self) -> tuple[bytes, ...]:
        """Peers to which a connection is open."""
        return tuple(self._current)

    async def start(self, handler: Handler, on_disconnect: PeerListener | None = None) -> None:
        """Listen and accept peers. Raises TransportError when the port cannot be opened."""
        if self._server is not None:
            raise ValueError("the transport has already been started")
        loop = asyncio.get_running_loop()
        self._requests = RequestServer(handler, self.limits, self.traffic)
        self._on_disconnect = on_disconnect or _ignore
        try:
            self._server = await loop.create_server(
                self._accept, self._host, self._port, backlog=_ACCEPT_BACKLOG
            )
        except OSError as error:
            raise TransportError(_why_not_listening(error, self._host, self._port)) from error
        self._port = self._server.sockets[0].getsockname()[1]
        self._sweeper = loop.call_later(self.limits.sweep_s, self._sweep)

    async def stop(self) -> None:
        """Close everything and wait for it; a transport is not started twice."""
        if self._server is None or self._requests is None or self._emptied is not None:
            return
        self._emptied = asyncio.Event()
        self._server.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self._dialler.stop()
        await self._requests.stop()
        for link in list(self._links):
            link.channel.close("was disconnected because this node stops")
        await self._wait_until_empty(self.limits.close_s)
        for link in list(self._links):
            link.channel.abort("did not close in time")
        await self._wait_until_empty(self.limits.close_s)
        await self._server.wait_closed()

    async def request(self, peer: bytes, payload: bytes) -> bytes:
        """Send a request and wait for its answer, connecting first where needed."""
        if self._server is None or self._emptied is not None:
            raise TransportError("The transport is not running; start the node first.")
        if peer == self.node_id:
            raise ValueError("a node does not send requests to itself")
        if len(payload) > self.limits.frame_bytes_max:
            raise TransportError(
                f"The message has {len(payload)} bytes, above the limit of "
                f"{self.limits.frame_bytes_max}; send less at a time."
            )
        link = self._current.get(peer)
        while link is None:
            if not self._admit(peer):
                raise TransportError(f"Peer {short(peer)} is not in the census or was revoked.")
            await self._dialler.reach(peer)
            link = self._current.get(peer)
        return await link.request(payload)

    def learn_address(self, peer: bytes, host: str, port: int) -> None:
        """Note where a peer listens."""
        self._dialler.learn(peer, host, port)

    def disconnect(self, peer: bytes) -> None:
        """Drop a peer's connections at once."""
        for link in list(self._links_of.get(peer, ())):
            link.channel.abort("was disconnected by this node")

    # ---- connecting

    def _accept(self) -> TlsChannel:
        link = Link(self, expected=None)
        link.channel = TlsChannel(
            self._identity.server_context, link, self._scratch, self.traffic, server_side=True
        )
        return link.channel

    async def _connect(self, peer: bytes, host: str, port: int) -> None:
        if not self._make_room(peer):
            raise TransportError("All connections of this node are busy; try again later.")
        link = Link(self, expected=peer)
        link.channel = channel = TlsChannel(
            self._identity.client_context, link, self._scratch, self.traffic, server_side=False
        )
        try:
            async with asyncio.timeout(self.limits.connect_s):
                addresses = await self._resolver.resolve(peer, host)
                await _connect_any(channel, addresses, port)
        except TimeoutError as error:
            raise TransportError(
                f"Peer {short(peer)} did not answer at {host}:{port} within "
                f"{self.limits.connect_s:g} s."
            ) from error
        except OSError as error:
            raise TransportError(
                f"Peer {short(peer)} cannot be reached at {host}:{port} "
                f"({_os_reason(error)}); is it running?"
            ) from error
        except ValueError as error:  # a resolver may raise it over a name; the name is the peer's
            raise TransportError(
                f"Peer {short(peer)} cannot be reached at {host!r}: that is no host name."
            ) from error
        if link.ready is not None:
            await link.ready

    # ---- what links report

    def link_connected(self, link: Link, host: str) -> None:
        """Count a connection; strangers beyond the caps make room for newer ones."""
        self._links.add(link)
        if self._emptied is not None:
            link.channel.abort("was disconnected because this node stops")
        elif not link.dialled:
            evicted = self._admission.arrive(link, host)
            if evicted is not None:
                self.traffic.connections_refused += 1
                self._admission.leave(evicted)
                evicted.channel.abort("was pushed out by newer connections")

    def identify(self, certificate: bytes) -> tuple[bytes, int]:
        """Peer id and expiry of a DER certificate; OpenSSL has checked it once already."""
        verified = verify_certificate(certificate, self._identity.authority, now=self._wall_clock())
        if verified.node_id == self.node_id:
            raise InvalidCertificate("Another node uses this node's certificate; revoke it.")
        return verified.node_id, verified.not_after

    def admit(self, link: Link) -> Refusal | None:
        """Judge an accepted peer: census first, then room."""
        refusal = None
        if not self._admit(link.peer):
            refusal = Refusal.NOT_ADMITTED
        elif not self._make_room(link.peer):
            refusal = Refusal.BUSY
        if refusal is not None:
            self.traffic.connections_refused += 1
        return refusal

    def link_opened(self, link: Link) -> None:
        """Choose which link to this peer carries new requests."""
        self._admission.authenticated(link)
        peer = link.peer
        self._links_of.setdefault(peer, []).append(link)
        other = self._current.get(peer)
        self._current[peer] = link
        if other is not None and other.usable:
            dialled_stays = self.node_id < peer
            if other.dialled != link.dialled and other.dialled == dialled_stays:
                self._current[peer] = other
                link.retire()
            else:
                other.retire()
        self._dialler.arrived(peer)

    def link_retired(self, link: Link) -> None:
        """Send new requests to another open link, if there is one."""
        if self._current.get(link.peer) is link:
            del self._current[link.peer]
            self._choose_open(link.peer)

    def link_closed(self, link: Link, *, was_open: bool) -> None:
        """Forget a link; report the peer's loss when it was the last."""
        self._links.discard(link)
        self._admission.leave(link)
        links = self._links_of.get(link.peer, [])
        if link in links:
            links.remove(link)
            if not links:
                del self._links_of[link.peer]
        if self._current.get(link.peer) is link:
            del self._current[link.peer]
            self._choose_open(link.peer)
        if self._emptied is not None:
            if not self._links:
                self._emptied.set()
        elif was_open and link.peer not in self._current:
            asyncio.get_running_loop().call_soon(self._on_disconnect, link.peer)

    def serve(self, peer: bytes, payload: bytes, answer: Answer) -> None:
        """Hand a peer's request to the handler."""
        assert self._requests is not None  # links exist only once started
        self._requests.serve(peer, payload, answer)

    # ---- inside

    def _choose_open(self, peer: bytes) -> None:
        for link in reversed(self._links_of.get(peer, ())):
            if link.state is State.OPEN and link.usable:
                self._current[peer] = link
                return

    def _make_room(self, peer: bytes) -> bool:
        """Keep within the caps per peer and in all, at the cost of the least useful link."""
        own = [one for one in self._links_of.get(peer, ()) if one.usable]
        if len(own) >= self.limits.connections_per_peer_max:
            own[0].channel.abort("was pushed out by its own newer connections")
        opened = [one for links in self._links_of.values() for one in links if one.usable]
        if len(opened) < self.limits.connections_max:
            return True
        idle = [one for one in opened if not one.busy]
        if idle:
            oldest = min(idle, key=lambda one: one.active_at)
            oldest.channel.abort("was the least used of too many connections")
        return bool(idle)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now, today = loop.time(), self._wall_clock()
        for link in list(self._links):
            link.sweep(now)
            if link.state in (State.OPEN, State.RETIRING):
                if today > link.expires_at:
                    link.channel.abort("holds a certificate that has expired")
                elif not self._admit(link.peer):
                    link.channel.abort("is no longer in the census")
        if self._requests is not None:
            self._requests.sweep(now)
        self._sweeper = loop.call_later(self.limits.sweep_s, self._sweep)

    async def _wait_until_empty(self, timeout_s: float) -> None:
        if self._links and self._emptied is not None:
            try:
                await asyncio.wait_for(self._emptied.wait(), timeout_s)
            except TimeoutError:
                return


async def _connect_any(channel: TlsChannel, addresses: list[str], port: int) -> None:
    """Connect to the first of these addresses that answers. Raises OSError of the last one."""
    loop = asyncio.get_running_loop()
    *others, last = addresses
    for address in others:
        with suppress(OSError):
            await loop.create_connection(lambda: channel, address, port)
            return
    await loop.create_connection(lambda: channel, last, port)


def _ignore(_peer: bytes) -> None:
    """Nobody wants to hear of lost peers."""


def _os_reason(error: OSError) -> str:
    # asyncio words its own errors at length; name resolution numbers them otherwise.
    if error.errno and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno).lower()
    return (error.strerror or str(error)).lower()


def _why_not_listening(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is in use; end what uses it, or set another listen.port in pnyx.toml."
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"Port {port} needs special rights; set a listen.port above 1023 in pnyx.toml."
    return (
        f"Cannot listen on {host}:{port} ({_os_reason(error)}); "
        "set another listen.host in pnyx.toml."
    )
