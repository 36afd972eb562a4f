"""Calling the node's handler for peers' requests, within bounds.

Each request runs in its own task, so a slow answer delays nobody and an error stays inside. A
peer's requests are counted, by number and by bytes, and refused as busy beyond the limits. A
PnyxError of the handler refuses the request; the peer learns no more than that. Any other exception
is a bug: it goes to the event loop's exception handler, and the peer learns of an internal failure.
An answer too large for a frame is not sent and reported there too, but without an exception, as
nothing that should end a node: what a peer asks for decides how much there is to answer.
"""

import asyncio
from collections.abc import Callable

from pnyx.errors import PnyxError
from pnyx.node.transport.base import Handler, Traffic, TransportLimits, short
from pnyx.node.transport.frames import Failure

Answer = Callable[[bytes | Failure], None]
"""Told the answer to one request, or why there is none."""


class RequestServer:
    """Runs a handler for requests of peers."""

    def __init__(self, handler: Handler, limits: TransportLimits, traffic: Traffic) -> None:
        self._loop = asyncio.get_running_loop()
        self._handler = handler
        self._limits = limits
        self._traffic = traffic
        self._deadlines: dict[asyncio.Task[bytes], float] = {}  # in order of arrival
        self._load: dict[bytes, tuple[int, int]] = {}  # requests and bytes being served, by peer
        self._bytes = 0

    def serve(self, peer: bytes, payload: bytes, answer: Answer) -> None:
        """Start serving a request; `answer` is called once, later or at once when too busy."""
        requests, held = self._load.get(peer, (0, 0))
        size = len(payload)
        if (
            requests >= self._limits.requests_served_max
            or held + size > self._limits.served_bytes_per_peer_max
            or self._bytes + size > self._limits.served_bytes_max
        ):
            answer(Failure.BUSY)
            return
        self._load[peer] = (requests + 1, held + size)
        self._bytes += size
        self._traffic.requests += 1
        task = self._loop.create_task(self._call(peer, payload))
        self._deadlines[task] = self._loop.time() + self._limits.request_s

        def finished(done: asyncio.Task[bytes]) -> None:
            self._release(done, peer, size)
            answer(self._outcome(done, peer))

        task.add_done_callback(finished)

    def sweep(self, now: float) -> None:
        """Cancel requests whose askers have given up by now."""
        for task, deadline in self._deadlines.items():
            if deadline > now:
                break
            task.cancel()

    async def stop(self) -> None:
        """Cancel everything in progress and wait for it."""
        tasks = list(self._deadlines)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _call(self, peer: bytes, payload: bytes) -> bytes:
        result = self._handler(peer, payload)
        return result if isinstance(result, bytes) else await result

    def _release(self, task: asyncio.Task[bytes], peer: bytes, size: int) -> None:
        del self._deadlines[task]
        requests, held = self._load[peer]
        if requests == 1:
            del self._load[peer]
        else:
            self._load[peer] = (requests - 1, held - size)
        self._bytes -= size

    def _outcome(self, task: asyncio.Task[bytes], peer: bytes) -> bytes | Failure:
        if task.cancelled():
            return Failure.BUSY
        error = task.exception()
        if error is None:
            reply = task.result()
            if len(reply) <= self._limits.frame_bytes_max:
                return reply
            self._loop.call_exception_handler(
                {
                    "message": f"an answer of {len(reply)} bytes to peer {short(peer)} exceeds the "
                    f"frame limit of {self._limits.frame_bytes_max} and was not sent"
                }
            )
        elif isinstance(error, PnyxError):
            return Failure.REFUSED
        else:
            self._loop.call_exception_handler(
                {
                    "message": f"handling a request of peer {short(peer)} failed",
                    "exception": error,
                    "task": task,
                }
            )
        return Failure.INTERNAL
