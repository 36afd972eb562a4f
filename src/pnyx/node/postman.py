"""Delivery of the machine's messages: gathered per peer, one request in flight to each.

While a request to a peer is under way, further messages for it gather and leave together. While a
peer's own request is being answered they wait for the response: an answer that went as a request of
its own would cost both sides as much again. A message that cannot be delivered is lost, which the
protocol tolerates, and the machine is told that the peer is away.

What waits for one peer is bounded in bytes. Beyond that, further messages for it are dropped until
it takes some: a message may always be lost, for its sender repeats it, or its receiver asks again.
So is a message that no peer would take for its size.

A *deferred* message is one that is large and lies on the disk. It waits as a note of a few bytes
and is read when it leaves: however much a peer has asked for, one batch of it is in memory. How
many may wait is for whoever posts them to bound (`protocol.parcels`).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from pnyx.errors import MalformedMessage, TransportError
from pnyx.node.transport.base import Transport
from pnyx.protocol.events import Notice
from pnyx.protocol.params import DEFAULT_PARAMS

_LENGTH_BYTES = 4
_BATCH_BYTES_MAX = 4 * 1024 * 1024
_BATCH_MESSAGES_MAX = 4096
# Four batches: as much as gossip answers with at a time. An empty queue takes any one message.
_WAITING_BYTES_MAX = 16 * 1024 * 1024
_DRAIN_STEP_S = 0.01


def pack(messages: list[bytes]) -> bytes:
    """Several messages as one body: each with its length in front."""
    parts: list[bytes] = []
    for message in messages:
        parts.append(len(message).to_bytes(_LENGTH_BYTES, "big"))
        parts.append(message)
    return b"".join(parts)


def unpack(body: bytes) -> list[bytes]:
    """Cut a body into its messages. Raises MalformedMessage."""
    messages: list[bytes] = []
    at = 0
    while at < len(body):
        start = at + _LENGTH_BYTES
        end = start + int.from_bytes(body[at:start], "big")
        if start > len(body) or end > len(body):
            raise MalformedMessage("a batch of messages is cut short")
        if start == end or len(messages) == _BATCH_MESSAGES_MAX:
            raise MalformedMessage("a batch holds an empty message, or too many")
        messages.append(body[start:end])
        at = end
    return messages


class Deferred(Protocol):
    """A message that is read when it leaves; it is either read or dropped, once."""

    @property
    def bytes_max(self) -> int:
        """Size of the message, or a little more."""
        ...

    def read(self) -> bytes | None:
        """The message; None when there is nothing to send any more."""
        ...

    def drop(self) -> None:
        """The message will not leave."""
        ...


class MessagesDropped(Notice, frozen=True):
    """A message for a peer was dropped, with `waiting_bytes` before it, and further ones may be."""

    peer: bytes
    message_bytes: int
    waiting_bytes: int


class _Queue:
    """What waits for one peer."""

    __slots__ = ("full", "held_bytes", "messages")

    def __init__(self) -> None:
        self.messages: deque[bytes | Deferred] = deque()
        self.held_bytes = 0  # of those in memory
        self.full = False  # something was dropped, and nothing was taken since


class Postman:
    """Outgoing messages of one node.

    message_bytes_max: what every peer refuses to take more of. observe: told of what is dropped,
    once for a peer until it takes something.
    """

    def __init__(
        self,
        transport: Transport,
        on_message: Callable[[bytes, bytes], None],
        on_reachable: Callable[[bytes, bool], None],
        observe: Callable[[Notice], None],
        message_bytes_max: int = DEFAULT_PARAMS.message_bytes_max,
    ) -> None:
        self._transport = transport
        self._on_message = on_message
        self._on_reachable = on_reachable
        self._waiting: dict[bytes, _Queue] = {}
        self._observe = observe
        self._message_bytes_max = message_bytes_max
        self._silent = False
        self._running: dict[bytes, asyncio.Task[None]] = {}
        self._wake: dict[bytes, asyncio.Handle] = {}
        self._answering: dict[bytes, int] = {}  # peer -> its requests that are being answered

    def post(self, peer: bytes, message: bytes | Deferred) -> None:
        """Queue a message, if there is room; it leaves with the next turn of the event loop."""
        if self._silent:
            return
        queue = self._waiting.get(peer, _Queue())
        if isinstance(message, bytes):
            size = len(message)
            beyond = queue.messages and queue.held_bytes + size > _WAITING_BYTES_MAX
            if beyond or size > self._message_bytes_max:
                if not queue.full:
                    self._observe(MessagesDropped(peer, size, queue.held_bytes))
                queue.full = True
                return
            queue.held_bytes += size
        queue.messages.append(message)
        self._waiting[peer] = queue
        if peer not in self._answering:
            self._wake_for(peer)

    def _wake_for(self, peer: bytes) -> None:
        if peer not in self._running and peer not in self._wake:
            self._wake[peer] = asyncio.get_running_loop().call_soon(self._start, peer)

    @contextmanager
    def answering(self, peer: bytes) -> Iterator[None]:
        """While a request of a peer is handled: what is posted to it waits for `collect`.

        Whatever is left at the end, as after an error, leaves by itself.
        """
        self._answering[peer] = self._answering.get(peer, 0) + 1
        try:
            yield
        finally:
            self._answering[peer] -= 1
            if not self._answering[peer]:
                del self._answering[peer]
                if peer in self._waiting and not self._silent:
                    self._wake_for(peer)

    def collect(self, peer: bytes) -> bytes:
        """Take what waits for a peer, as the response to its request."""
        return pack(self._take(peer)) if peer in self._waiting else b""

    def silence(self) -> None:
        """Drop everything that waits, and take nothing more."""
        self._silent = True
        self._waiting.clear()

    async def drain(self, within_s: float) -> None:
        """Let what waits be sent, for at most so long."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + within_s
        while (self._running or self._wake) and not self._silent and loop.time() < ends:
            await asyncio.sleep(_DRAIN_STEP_S)

    async def stop(self) -> None:
        """Drop everything that waits."""
        self.silence()
        for handle in self._wake.values():
            handle.cancel()
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _take(self, peer: bytes) -> list[bytes]:
        """What goes into the next batch, read."""
        queue = self._waiting[peer]
        queue.full = False
        size = 0
        taken: list[bytes | Deferred] = []
        while queue.messages and len(taken) < _BATCH_MESSAGES_MAX:
            message = queue.messages[0]
            held = len(message) if isinstance(message, bytes) else 0
            size += _LENGTH_BYTES + (held if isinstance(message, bytes) else message.bytes_max)
            if size > _BATCH_BYTES_MAX and taken:
                break
            taken.append(queue.messages.popleft())
            queue.held_bytes -= held
        if not queue.messages:
            del self._waiting[peer]
        read = (m if isinstance(m, bytes) else m.read() for m in taken)
        return [message for message in read if message is not None]

    def _drop(self, peer: bytes) -> None:
        queue = self._waiting.pop(peer, None)
        for message in queue.messages if queue is not None else ():
            if not isinstance(message, bytes):
                message.drop()

    def _start(self, peer: bytes) -> None:
        self._wake.pop(peer, None)
        if peer in self._waiting and peer not in self._running:
            self._running[peer] = asyncio.get_running_loop().create_task(self._deliver(peer))

    async def _deliver(self, peer: bytes) -> None:
        try:
            while peer in self._waiting:
                batch = self._take(peer)
                if not batch:
                    continue
                answer = await self._transport.request(peer, pack(batch))
                self._on_reachable(peer, True)
                for message in unpack(answer):
                    self._on_message(peer, message)
        except (TransportError, MalformedMessage):
            self._drop(peer)
            self._on_reachable(peer, False)
        finally:
            self._running.pop(peer, None)
        if peer in self._waiting:
            self._start(peer)
