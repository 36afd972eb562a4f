"""Reaching peers: their addresses, one dial at a time per peer, back-off after failures.

A dead peer costs one attempt per back-off interval, which doubles up to a bound; requests in
between fail at once with the last reason. Every peer is dialled by a task of its own, so none
waits for another. Whoever waits is served by whichever link opens first, dialled or accepted: a
sign of life also ends the back-off.
"""

import asyncio
from collections.abc import Awaitable, Callable

from pnyx.errors import TransportError
from pnyx.node.transport.base import TransportLimits, short

Connect = Callable[[bytes, str, int], Awaitable[None]]
"""Open a link to (peer, host, port) and return once it is open; raises TransportError."""


class _Pause:
    """After failed attempts: when to try again, and why the last one failed."""

    __slots__ = ("delay_s", "reason", "until")

    def __init__(self, until: float, delay_s: float, reason: str) -> None:
        self.until = until
        self.delay_s = delay_s
        self.reason = reason


class Dialler:
    """Opens links on demand."""

    def __init__(self, connect: Connect, limits: TransportLimits) -> None:
        self._connect = connect
        self._limits = limits
        self._addresses: dict[bytes, tuple[str, int]] = {}
        self._pauses: dict[bytes, _Pause] = {}
        self._dials: dict[bytes, asyncio.Task[None]] = {}
        self._waiting: dict[bytes, list[asyncio.Future[None]]] = {}

    def learn(self, peer: bytes, host: str, port: int) -> None:
        """Note an address; a new one is worth an immediate attempt."""
        if self._addresses.get(peer) != (host, port):
            self._addresses[peer] = (host, port)
            self._pauses.pop(peer, None)

    async def reach(self, peer: bytes) -> None:
        """Return once a link to the peer is open. Raises TransportError."""
        loop = asyncio.get_running_loop()
        if peer not in self._dials:
            address = self._addresses.get(peer)
            if address is None:
                raise TransportError(
                    f"No address is known for peer {short(peer)}; wait for its node record."
                )
            pause = self._pauses.get(peer)
            if pause is not None and loop.time() < pause.until:
                raise TransportError(pause.reason)
            self._dials[peer] = loop.create_task(self._dial(peer, *address))
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiting.setdefault(peer, []).append(waiter)
        await waiter

    def arrived(self, peer: bytes) -> None:
        """A link to the peer is open: serve everybody who waits for one."""
        self._pauses.pop(peer, None)
        for waiter in self._waiting.pop(peer, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def stop(self) -> None:
        """Cancel all attempts; those who wait get a TransportError."""
        for peer in list(self._waiting):
            self._fail(peer, "This node is stopping.")
        dials = list(self._dials.values())
        for dial in dials:
            dial.cancel()
        await asyncio.gather(*dials, return_exceptions=True)

    async def _dial(self, peer: bytes, host: str, port: int) -> None:
        reason = f"Connecting to peer {short(peer)} was given up."
        try:
            await self._connect(peer, host, port)
            # For those who came after the link had opened, and been lost again, within one turn.
            reason = f"Peer {short(peer)} closed the connection."
        except TransportError as error:
            reason = str(error)
            self._back_off(peer, reason)
        finally:  # whatever happened: nobody waits for an attempt that is over
            del self._dials[peer]
            self._fail(peer, reason)

    def _back_off(self, peer: bytes, reason: str) -> None:
        limits, last = self._limits, self._pauses.get(peer)
        delay_s = limits.backoff_min_s if last is None else last.delay_s * 2
        delay_s = min(delay_s, limits.backoff_max_s)
        until = asyncio.get_running_loop().time() + delay_s
        self._pauses[peer] = _Pause(until, delay_s, reason)

    def _fail(self, peer: bytes, reason: str) -> None:
        for waiter in self._waiting.pop(peer, ()):
            if not waiter.done():
                waiter.set_exception(TransportError(reason))
