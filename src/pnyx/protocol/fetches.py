"""One parcel on its way to this node: what is missing, who is asked for it, and since when.

    add_sources -> ask for chunk 0 -> learn_length -> take, ask, take, take, ask ... -> complete

The first chunk proves the parcel's length, which its name fixes; until then nothing else is asked
for. One source is asked at a time, for a window of chunks, and for more when half of the window has
come, so a source sends no faster than this node stores. A chunk that does not come in time is asked
for again: of the same source if anything else came from it meanwhile, of the next one if not. A
source that lies is never asked again. What was asked for may come late, and counts; what was never
asked for does not.

Window and patience follow the line, lest a slow one be buried under repetitions. The window begins
with one chunk. It grows while chunks come in half of the allowed time, and shrinks when they take
longer than all of it. Patience is three times what the last chunk took, within bounds, and doubles
with every silence. A chunk that was asked for twice says nothing about time (Karn and Partridge,
SIGCOMM 1987).

Nothing here looks at bytes or at proofs: `parcels` does, before it calls `learn_length` or `take`.
"""

from collections import deque
from collections.abc import Callable, Iterable
from heapq import nsmallest

from pnyx.protocol.chunks import chunk_count
from pnyx.protocol.params import ProtocolParams


class Fetch:
    """The book-keeping of one parcel that is being pulled."""

    def __init__(self, params: ProtocolParams, away: Callable[[bytes], bool]) -> None:
        self.length: int | None = None  # bytes, once a chunk has proven it
        self.hashes: dict[int, bytes] = {}  # of the chunks that are stored, by index
        self._window_max = params.parcel_window_chunks
        self._window = 1
        self._timeout_s = params.parcel_request_timeout_s
        self._timeout_s_max = params.parcel_request_timeout_s_max
        self._patience_s = self._timeout_s
        self._away = away
        self._sources: deque[bytes] = deque()  # the first one is asked
        self._liars: set[bytes] = set()
        self._unasked = {0}
        self._asked_at: dict[int, float] = {}  # chunks that are awaited from the first source
        # Everything that was asked of a peer and has not come: when, or None if more than once.
        self._asked: dict[bytes, dict[int, float | None]] = {}
        self._heard_at = float("-inf")  # from the first source

    @property
    def source(self) -> bytes | None:
        """Who is asked now; None when there is nobody left to ask."""
        return self._sources[0] if self._sources else None

    @property
    def complete(self) -> bool:
        """Whether every chunk is stored."""
        return self.length is not None and len(self.hashes) == self.count

    @property
    def count(self) -> int:
        """How many chunks there are; ValueError before the length is known."""
        if self.length is None:
            raise ValueError("the length of the parcel is not known yet")
        return chunk_count(self.length)

    def learn_length(self, length: int) -> None:
        """A chunk proved how long the parcel is."""
        self.length = length
        self._unasked = set(range(1, self.count))

    def add_sources(self, sources: Iterable[bytes]) -> None:
        """Learn of peers that hold the parcel; the first ones known are asked first."""
        for peer in sources:
            if peer not in self._liars and peer not in self._sources:
                self._sources.append(peer)

    def ask(self, now: float) -> tuple[int, ...]:
        """Chunks to ask of `source` now: the lowest that are missing, up to the window."""
        if not self._unasked or 2 * len(self._asked_at) > self._window:
            return ()
        if not self._asked_at:
            self._skip_who_is_away()
        source = self.source
        if source is None:
            return ()
        indices = nsmallest(self._window - len(self._asked_at), self._unasked)
        self._unasked.difference_update(indices)
        self._asked_at.update(dict.fromkeys(indices, now))
        asked = self._asked.setdefault(source, {})
        asked.update({index: None if index in asked else now for index in indices})
        return tuple(indices)

    def expects(self, peer: bytes, index: int) -> bool:
        """Whether the peer was asked for this chunk, and has not answered yet."""
        return index in self._asked.get(peer, ())

    def take(self, peer: bytes, index: int, chunk_hash: bytes, now: float) -> bool:
        """Note a verified chunk that was expected. Returns whether it was still missing."""
        asked_at = self._asked[peer].pop(index)
        if peer == self.source:
            self._heard_at = now
            if asked_at is not None:
                self._adapt(now - asked_at)
        if index in self.hashes:
            return False
        self.hashes[index] = chunk_hash
        self._unasked.discard(index)
        self._asked_at.pop(index, None)
        return True

    def exclude(self, peer: bytes) -> None:
        """Never ask this peer again: it lied."""
        if peer == self.source:
            self._await_nothing()
        self._liars.add(peer)
        self._asked.pop(peer, None)
        if peer in self._sources:
            self._sources.remove(peer)

    def leave(self, peer: bytes) -> None:
        """Turn to another source if this one, which cannot be reached, is being asked."""
        if peer == self.source:
            self._rotate()

    def tick(self, now: float) -> bool:
        """Ask again for what is overdue. Returns whether the source is given up for another turn.

        Time comes from the caller's clock, in seconds.
        """
        overdue = [i for i, at in self._asked_at.items() if now >= at + self._patience_s]
        if not overdue:
            return False
        if all(self._asked_at[index] >= self._heard_at for index in overdue):
            self._patience_s = min(2 * self._patience_s, self._timeout_s_max)
            self._rotate()
            return True
        for index in overdue:
            del self._asked_at[index]
        self._unasked.update(overdue)
        return False

    def next_deadline(self) -> float | None:
        """When the oldest request is overdue."""
        return min(self._asked_at.values()) + self._patience_s if self._asked_at else None

    def _adapt(self, took_s: float) -> None:
        """Fit window and patience to how long a chunk took."""
        if 2 * took_s <= self._timeout_s:
            self._window = min(self._window + 1, self._window_max)
        elif took_s > self._timeout_s:
            self._window = max(self._window - 1, 1)
        self._patience_s = min(max(3 * took_s, self._timeout_s), self._timeout_s_max)

    def _rotate(self) -> None:
        self._await_nothing()
        self._sources.rotate(-1)
        self._skip_who_is_away()

    def _await_nothing(self) -> None:
        self._unasked.update(self._asked_at)
        self._asked_at.clear()
        self._window = 1

    def _skip_who_is_away(self) -> None:
        """Go to the next source within reach; a hint only, so with none in reach, stay."""
        for _ in range(len(self._sources)):
            if not self._away(self._sources[0]):
                return
            self._sources.rotate(-1)
