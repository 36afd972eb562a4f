"""Links between simulated nodes: when a message arrives, whether, and how often.

Every draw comes from one seeded stream, in the order of the messages, so a run replays exactly.
A message leaves when the sender's uplink is free, takes its transmission time and a latency (a
floor and an exponential tail), and may be lost or arrive twice. Without `reordering` the messages
of one pair arrive in the order in which they were sent. Partitions and one-way cuts drop what
would cross them while they last; they heal by themselves.
"""

from collections.abc import Iterable
from math import log

import msgspec
import numpy as np

_BLOCK = 4096
_ARRIVALS_MAX = 250_000


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """How good every link is."""

    latency_s: float = 0.02  # floor
    latency_tail_s: float = 0.01  # mean of the exponential part
    bytes_per_s: float = 12.5e6  # of a node's uplink
    loss: float = 0.0
    duplication: float = 0.0
    reordering: bool = False
    hint: float = 1.0  # chance that a sender is told that its peer cannot be reached
    hint_delay_s: float = 0.2
    late: float = 0.0  # chance that a further copy arrives `late_s` after the first
    late_s: float = 0.0


class Partition(msgspec.Struct, frozen=True):
    """From `starts_s` to `ends_s` nothing passes between `side` and the other nodes."""

    side: tuple[int, ...]
    starts_s: float
    ends_s: float


class Cut(msgspec.Struct, frozen=True):
    """From `starts_s` to `ends_s` nothing passes from `sender` to `receiver`; replies do."""

    sender: int
    receiver: int
    starts_s: float
    ends_s: float


class Network:
    """Fates of messages between nodes, which are numbered."""

    def __init__(
        self, link: Link, partitions: Iterable[Partition], cuts: Iterable[Cut], seed: int
    ) -> None:
        self.link = link
        self._partitions = tuple((frozenset(p.side), p.starts_s, p.ends_s) for p in partitions)
        self._cuts = {(c.sender, c.receiver): (c.starts_s, c.ends_s) for c in cuts}
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._uniforms: list[float] = []
        self._free_at: dict[int, float] = {}
        self._arrived: dict[tuple[int, int], float] = {}
        self._forgets_at = _ARRIVALS_MAX  # entries at which what is past is forgotten
        self.bytes_sent = 0
        self.messages = 0

    def uniform(self) -> float:
        """The next number of the stream, in [0, 1)."""
        if not self._uniforms:
            self._uniforms = self._generator.random(_BLOCK).tolist()
        return self._uniforms.pop()

    def severed(self, sender: int, receiver: int, now: float) -> bool:
        """Whether a partition or a cut keeps a message from passing."""
        for side, starts, ends in self._partitions:
            if starts <= now < ends and (sender in side) != (receiver in side):
                return True
        cut = self._cuts.get((sender, receiver))
        return cut is not None and cut[0] <= now < cut[1]

    def arrivals(self, sender: int, receiver: int, size: int, now: float) -> tuple[float, ...]:
        """When each copy of a message of `size` bytes arrives; none of a lost one does."""
        self.messages += 1
        self.bytes_sent += size
        link = self.link
        leaves = max(now, self._free_at.get(sender, 0.0)) + size / link.bytes_per_s
        self._free_at[sender] = leaves
        if (self._partitions or self._cuts) and self.severed(sender, receiver, now):
            return ()
        if link.loss and self.uniform() < link.loss:
            return ()
        arrivals: tuple[float, ...] = (self._arrival(sender, receiver, leaves, now),)
        if link.duplication and self.uniform() < link.duplication:
            arrivals += (self._arrival(sender, receiver, leaves, now),)
        if link.late and self.uniform() < link.late:
            arrivals += (arrivals[0] + link.late_s,)
        return arrivals

    def _arrival(self, sender: int, receiver: int, leaves: float, now: float) -> float:
        link = self.link
        time = leaves + link.latency_s - link.latency_tail_s * log(1.0 - self.uniform())
        if link.reordering:
            return time
        pair = sender, receiver
        time = max(time, self._arrived.get(pair, 0.0))
        self._arrived[pair] = time
        if len(self._arrived) >= self._forgets_at:
            self._forget(now)
        return time

    def _forget(self, now: float) -> None:
        """Drop arrivals of the past: nothing that is sent from now on could overtake them."""
        self._arrived = {pair: time for pair, time in self._arrived.items() if time > now}
        self._forgets_at = max(_ARRIVALS_MAX, 2 * len(self._arrived))

    def hinted(self) -> bool:
        """Whether the sender of a message that cannot arrive is told so."""
        return self.uniform() < self.link.hint
