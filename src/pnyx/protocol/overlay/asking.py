"""Questions under way: each is answered once, in time, by whom it was put to, or not at all.

A question has a nonce that nobody else knows. An answer counts only if it comes from the peer that
was asked, carries the nonce, and comes before the deadline; everything else costs a look into a
table.

Patience grows with what answers take, late ones included: three times the median of the last ones,
between two bounds. With a fixed patience a network that is slow for a while takes everybody for
away, and is made slower by asking anew. The median is what peers say of whom less than half lie.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from heapq import heappop, heappush
from statistics import median
from typing import Generic, TypeVar

import msgspec

from pnyx.primitives.sampling import Sampler

NONCE_BYTES = 16
_PATIENCE = 3.0  # times what an answer takes
_DELAYS_KEPT = 15
_LATE_KEPT = 256  # questions given up, whose answers tell how long they took
T = TypeVar("T")


class Question(msgspec.Struct, Generic[T], frozen=True):
    """A question under way. done: told the answer, or None when there is none."""

    nonce: bytes
    peer: bytes
    key: bytes
    asked_at: float
    deadline: float
    done: Callable[[T | None], None]


class Questions(Generic[T]):
    """The questions of one kind that one node has put.

    timeout_s, timeout_s_max: between these is how long an answer is waited for.
    """

    def __init__(self, sampler: Sampler, timeout_s: float, timeout_s_max: float) -> None:
        self._sampler = sampler
        self._timeout_s, self._timeout_s_max = timeout_s, timeout_s_max
        self._patience_s = timeout_s
        self._delays: deque[float] = deque(maxlen=_DELAYS_KEPT)  # seconds that answers took
        self._late: OrderedDict[bytes, Question[T]] = OrderedDict()
        self._open: dict[bytes, Question[T]] = {}
        self._by_peer: dict[bytes, set[bytes]] = {}
        self._due: list[tuple[float, bytes]] = []

    def __len__(self) -> int:
        return len(self._open)

    def asks(self, peer: bytes) -> bool:
        """Whether a question to this peer is under way."""
        return peer in self._by_peer

    def put(self, peer: bytes, key: bytes, now: float, done: Callable[[T | None], None]) -> bytes:
        """Note a question; return its nonce."""
        nonce = self._sampler.bytes(NONCE_BYTES)
        question: Question[T] = Question(nonce, peer, key, now, now + self._patience_s, done)
        self._open[nonce] = question
        self._by_peer.setdefault(peer, set()).add(nonce)
        heappush(self._due, (question.deadline, nonce))
        return nonce

    def take(self, peer: bytes, nonce: bytes, now: float) -> Question[T] | None:
        """The question that a peer answers, closed; None when it was not asked that, or is late."""
        question = self._open.get(nonce)
        in_time = question is not None
        question = question or self._late.get(nonce)
        if question is None or question.peer != peer:
            return None
        self._adapt(now - question.asked_at)
        if not in_time:
            del self._late[nonce]
            return None
        self._close(question)
        return question

    def _adapt(self, delay_s: float) -> None:
        self._delays.append(delay_s)
        wanted = _PATIENCE * median(self._delays)
        self._patience_s = min(max(wanted, self._timeout_s), self._timeout_s_max)

    def _close(self, question: Question[T]) -> None:
        del self._open[question.nonce]
        nonces = self._by_peer[question.peer]
        nonces.discard(question.nonce)
        if not nonces:
            del self._by_peer[question.peer]

    def next_deadline(self) -> float | None:
        """When the next question expires."""
        while self._due and self._due[0][1] not in self._open:
            heappop(self._due)
        return self._due[0][0] if self._due else None

    def expire(self, now: float) -> None:
        """Give up what was not answered in time."""
        while (due := self.next_deadline()) is not None and due <= now:
            question = self._open[heappop(self._due)[1]]
            self._close(question)
            self._late[question.nonce] = question
            if len(self._late) > _LATE_KEPT:
                self._late.popitem(last=False)
            question.done(None)

    def give_up(self, peer: bytes) -> None:
        """A peer cannot be reached: nothing that it was asked will be answered."""
        for nonce in list(self._by_peer.get(peer, ())):
            question = self._open.get(nonce)
            if question is not None:
                self._close(question)
                question.done(None)
