"""Virtual time: what happens next, in an order that depends on nothing but the seed.

Entries are ordered by (time, sequence number), so that two entries of one instant happen in the
order in which they were asked for, on every machine. Time jumps from one entry to the next;
waiting costs nothing.

Each node has one timer. Arming it for a later time than it is armed for does nothing: when it
fires, the node looks again at what it is waiting for. That saves most of the queue's work.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any


class Scheduler:
    """A queue of actions in virtual time; `now` is in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.executed = 0
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = 0
        self._armed: dict[int, float] = {}

    def call_at(self, time: float, action: Callable[..., None], *args: Any) -> None:
        """Carry out `action(*args)` at this time, at once if it has passed."""
        self._sequence += 1
        heappush(self._queue, (max(time, self.now), self._sequence, action, args))

    def arm(self, owner: int, time: float, wake: Callable[[], None]) -> None:
        """Wake the owner of a timer no later than at this time."""
        armed = self._armed.get(owner)
        if armed is None or time < armed:
            self._armed[owner] = max(time, self.now)
            self.call_at(time, self._fire, owner, self._armed[owner], wake)

    def disarm(self, owner: int) -> None:
        """Forget the owner's timer."""
        self._armed.pop(owner, None)

    def _fire(self, owner: int, time: float, wake: Callable[[], None]) -> None:
        if self._armed.get(owner) == time:
            del self._armed[owner]
            wake()

    def run(self, until: float, done: Callable[[], bool]) -> bool:
        """Advance to `until`, or to the first entry after which `done()`; tell whether it was."""
        queue = self._queue
        while queue and queue[0][0] <= until:
            self.now, _, action, args = heappop(queue)
            self.executed += 1
            action(*args)
            if done():
                return True
        self.now = max(self.now, until)
        return False
