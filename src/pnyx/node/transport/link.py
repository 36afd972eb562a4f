"""Requests and replies, both ways, over one channel to one certified peer.

    HANDSHAKE --certificate good--> (dialled) GREETING --WELCOME--> OPEN
                                    (accepted) sends WELCOME -----> OPEN
    OPEN --GOODBYE sent or received--> RETIRING --drained--> CLOSED
    any --abort, violation, loss--> CLOSED

TLS 1.3 lets a dialler finish before the other side has checked its certificate, so a dialled link
opens only with the peer's WELCOME.

*Retiring* ends a link without losing a request: after GOODBYE a side asks nothing more but still
answers. Once both have said it, and neither waits for or owes an answer, the link closes. It serves
idle links and the loser of two simultaneous dials (see `tls`). A peer that does not play along is
cut off when the request deadline has passed.

A link keeps its own deadlines; the transport calls `sweep` a few times per deadline, which costs
less than a timer per request.
"""

import asyncio
from enum import Enum
from functools import partial
from typing import Protocol

from pnyx.errors import InvalidCertificate, MalformedMessage, TransportError
from pnyx.node.transport.base import TransportLimits, short
from pnyx.node.transport.channel import TlsChannel
from pnyx.node.transport.frames import (
    HEADER_BYTES,
    REQUEST_ID_MAX,
    Failure,
    Frame,
    FrameDecoder,
    Kind,
    Refusal,
    header,
)
from pnyx.node.transport.serving import Answer

_FIRST_RECORD_BODY_BYTES = 16 * 1024 - HEADER_BYTES  # header and body's start share one record

# By their number on the wire; a peer may send one that this version does not know.
_REFUSALS: dict[int, str] = {
    Refusal.NOT_ADMITTED: "does not admit this node; is it in the current census?",
    Refusal.CERTIFICATE: "refused our certificate; ask this network's authority for one",
    Refusal.BUSY: "has no free connection at the moment",
    Refusal.PROTOCOL: "does not speak our protocol's version",
}
FAILURES: dict[int, str] = {
    Failure.REFUSED: "refused the request",
    Failure.BUSY: "is too busy to answer",
    Failure.INTERNAL: "failed while answering",
}


class State(Enum):
    """Where a link stands; see the module."""

    HANDSHAKE = "handshake"
    GREETING = "greeting"
    OPEN = "open"
    RETIRING = "retiring"
    CLOSED = "closed"


class LinkOwner(Protocol):
    """What a link asks of its transport."""

    limits: TransportLimits

    def link_connected(self, link: "Link", host: str) -> None:
        """TCP is up on an accepted or dialled link."""
        ...

    def identify(self, certificate: bytes) -> tuple[bytes, int]:
        """Peer id and expiry of a certificate; raises InvalidCertificate."""
        ...

    def admit(self, link: "Link") -> Refusal | None:
        """Judge an accepted and identified peer."""
        ...

    def link_opened(self, link: "Link") -> None:
        """Requests can flow."""
        ...

    def link_retired(self, link: "Link") -> None:
        """No new requests may be put on this link."""
        ...

    def link_closed(self, link: "Link", *, was_open: bool) -> None:
        """The link is gone."""
        ...

    def serve(self, peer: bytes, payload: bytes, answer: Answer) -> None:
        """Answer a peer's request."""
        ...


class Link:
    """One connection to one peer, whoever dialled it."""

    def __init__(self, owner: LinkOwner, *, expected: bytes | None) -> None:
        self._owner = owner
        self._limits = owner.limits
        self._loop = asyncio.get_running_loop()
        self._decoder = FrameDecoder(owner.limits.frame_bytes_max)
        self._pending: dict[int, tuple[asyncio.Future[bytes], float]] = {}  # by age
        self._request_id = 0
        self._served = 0
        self._goodbye_received = False
        self._since = self._loop.time()  # of the present state
        self._frame_since: float | None = None
        self._expected = expected
        self.channel: TlsChannel  # set by the transport right after construction
        self.state = State.HANDSHAKE
        self.peer = b"" if expected is None else expected
        self.expires_at = 0  # unix seconds, of the peer's certificate
        self.active_at = self._since
        self.ready = self._loop.create_future() if expected is not None else None

    @property
    def dialled(self) -> bool:
        """True where this node opened the connection."""
        return self._expected is not None

    @property
    def usable(self) -> bool:
        """False once the connection is closing, whoever began it."""
        return self.channel.closing_since is None

    @property
    def busy(self) -> bool:
        """True while a request of either side is unanswered."""
        return bool(self._pending or self._served)

    # ---- what the transport calls

    async def request(self, payload: bytes) -> bytes:
        """Send a request on an open link and wait for its answer."""
        if len(self._pending) >= self._limits.requests_pending_max:
            raise TransportError(
                f"Peer {short(self.peer)} leaves {len(self._pending)} requests unanswered; "
                "wait before asking more."
            )
        if self.channel.backlog_bytes + len(payload) > self._limits.outgoing_bytes_max:
            raise TransportError(
                f"Peer {short(self.peer)} takes data too slowly; wait before sending more."
            )
        self._request_id = self._request_id % REQUEST_ID_MAX + 1
        request_id = self._request_id
        future: asyncio.Future[bytes] = self._loop.create_future()
        self._pending[request_id] = (future, self._loop.time() + self._limits.request_s)
        self._send(Kind.REQUEST, request_id, payload)
        try:
            return await future
        finally:
            self._pending.pop(request_id, None)
            self._close_if_drained()

    def retire(self) -> None:
        """Ask nothing more on this link; it closes once both sides are done."""
        if self.state is not State.OPEN:
            return
        self._enter(State.RETIRING)
        self._send(Kind.GOODBYE, 0, b"")
        self._owner.link_retired(self)
        self._close_if_drained()

    def sweep(self, now: float) -> None:
        """Enforce every deadline of this link."""
        limits, age = self._limits, now - self._since
        channel = self.channel
        if channel.closing_since is not None:
            if now - channel.closing_since > limits.close_s:
                channel.abort("did not close in time")
            return
        if self.state in (State.HANDSHAKE, State.GREETING):
            if age > limits.handshake_s:
                channel.abort(f"did not finish the handshake within {limits.handshake_s:g} s")
            return
        self._expire_requests(now)
        if channel.paused_since is not None and now - channel.paused_since > limits.frame_s:
            channel.abort(f"read nothing for {limits.frame_s:g} s")
        elif self._frame_since is not None and now - self._frame_since > limits.frame_s:
            channel.abort(f"did not finish a message within {limits.frame_s:g} s")
        elif self.state is State.RETIRING:
            if age > limits.request_s:
                channel.abort("did not close a retired connection in time")
        elif not self.busy and now - self.active_at > limits.idle_s:
            self.retire()

    # ---- what the channel calls

    def connected(self, host: str) -> None:
        """Let the transport count the connection before any work is done for it."""
        self._owner.link_connected(self, host)

    def established(self, certificate: bytes) -> None:
        """Take the peer's id from its certificate, and greet or wait for its greeting."""
        try:
            peer, self.expires_at = self._owner.identify(certificate)
        except InvalidCertificate as error:
            self._refuse(Refusal.CERTIFICATE, f"showed a bad certificate: {error}")
            return
        if self._expected is not None:
            if peer != self._expected:
                self.channel.abort(f"is not there: node {short(peer)} answers at its address")
            else:
                self._enter(State.GREETING)
            return
        self.peer = peer
        refusal = self._owner.admit(self)
        if refusal is not None:
            self._refuse(refusal, "was refused")
            return
        self._send(Kind.WELCOME, 0, b"")
        self._open()

    def received(self, data: bytes) -> None:
        """Cut the stream into frames and act on each."""
        now = self.active_at = self._loop.time()
        try:
            frames = self._decoder.feed(data)
        except MalformedMessage as error:
            self.channel.abort(f"sent rubbish: {error}")
            return
        if not self._decoder.inside_frame:
            self._frame_since = None
        elif frames or self._frame_since is None:
            self._frame_since = now
        for frame in frames:
            self._take(frame)
            if self.channel.closing_since is not None:
                return

    def lost(self, reason: str) -> None:
        """Fail whatever waited on this link, and tell the transport."""
        was_open = self.state is State.OPEN or (
            self.state is State.RETIRING and not self._goodbye_received
        )
        self._enter(State.CLOSED)
        error = f"Peer {short(self.peer)} {reason}."
        for future, _ in self._pending.values():
            if not future.done():
                future.set_exception(TransportError(error))
        if self.ready is not None and not self.ready.done():
            self.ready.set_exception(TransportError(error))
            self.ready.exception()  # whoever dialled may have given up: not worth a warning
        self._owner.link_closed(self, was_open=was_open)

    # ---- inside

    def _take(self, frame: Frame) -> None:
        if self.state is State.GREETING:
            self._take_greeting(frame)
        elif frame.kind is Kind.REPLY or frame.kind is Kind.FAILED:
            self._take_answer(frame)
        elif frame.kind is Kind.REQUEST and not self._goodbye_received:
            self._served += 1
            self._owner.serve(self.peer, frame.body, partial(self._answer, frame.request_id))
        elif frame.kind is Kind.GOODBYE and not self._goodbye_received:
            self._goodbye_received = True
            self.retire()
            self._close_if_drained()
        else:
            self.channel.abort(f"sent {frame.kind.name} where it has no place")

    def _take_greeting(self, frame: Frame) -> None:
        if frame.kind is Kind.WELCOME:
            self._open()
        elif frame.kind is Kind.REFUSED:
            self.channel.abort(_REFUSALS.get(_code(frame), "refused the connection"))
        else:
            self.channel.abort(f"sent {frame.kind.name} before its greeting")

    def _take_answer(self, frame: Frame) -> None:
        # An unknown id belongs to a request that was cancelled or gave up: late, not wrong.
        future, _ = self._pending.get(frame.request_id, (None, 0.0))
        if future is None or future.done():
            return
        if frame.kind is Kind.REPLY:
            future.set_result(frame.body)
            return
        reason = FAILURES.get(_code(frame), "gave no answer")
        future.set_exception(TransportError(f"Peer {short(self.peer)} {reason}."))

    def _answer(self, request_id: int, outcome: bytes | Failure) -> None:
        self._served -= 1
        if self.state is State.CLOSED or self.channel.closing_since is not None:
            return
        if isinstance(outcome, Failure):
            self._send(Kind.FAILED, request_id, bytes([outcome]))
        else:
            self._send(Kind.REPLY, request_id, outcome)
        if self.channel.backlog_bytes > self._limits.outgoing_bytes_max:
            self.channel.abort("asks but does not read the answers")
        self._close_if_drained()

    def _send(self, kind: Kind, request_id: int, body: bytes) -> None:
        start = header(kind, request_id, len(body))
        if len(body) <= _FIRST_RECORD_BODY_BYTES:
            self.channel.send(start + body)
        else:
            view = memoryview(body)
            self.channel.send(
                start + view[:_FIRST_RECORD_BODY_BYTES], view[_FIRST_RECORD_BODY_BYTES:]
            )

    def _open(self) -> None:
        self._enter(State.OPEN)
        self._owner.link_opened(self)
        if self.ready is not None and not self.ready.done():
            self.ready.set_result(None)

    def _refuse(self, refusal: Refusal, reason: str) -> None:
        if not self.dialled:
            self._send(Kind.REFUSED, 0, bytes([refusal]))
        self.channel.close(reason)

    def _close_if_drained(self) -> None:
        if self.state is State.RETIRING and self._goodbye_received and not self.busy:
            self.channel.close("closed the connection")

    def _expire_requests(self, now: float) -> None:
        for future, deadline in self._pending.values():
            if deadline > now:
                break
            if not future.done():
                future.set_exception(
                    TransportError(
                        f"Peer {short(self.peer)} did not answer within "
                        f"{self._limits.request_s:g} s."
                    )
                )

    def _enter(self, state: State) -> None:
        self.state = state
        self._since = self._loop.time()


def _code(frame: Frame) -> int:
    return frame.body[0] if len(frame.body) == 1 else 0
