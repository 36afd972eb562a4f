"""One parcel on its way to this node: what is missing, who is asked for it, and since when.

    add_sources -> ask for chunk 0 -> learn_length -> take, ask, take, take, ask ... -> complete

The first chunk proves the parcel's length, which its name fixes; until then nothing else is asked
for. One source is asked at a time, for a window of chunks, and for more when half of the window has
come, so a source sends no faster than this node stores. A chunk that does not come in time is asked
for again: of the same source if anything else came from it meanwhile, of the next one if not. A
source that lies is never asked again. What was asked for may come late, and counts; what was never
asked for does not.

A source that answers just in time could keep the fetch for ever. So each has a *slice* of
`parcel_turn_s`, counted while the fetch has its turn; then the next one is tried, with what has
come. Once all were tried the fastest goes on, for a few slices and for as long as it is faster than
the others were; then all are tried again, in slices of twice the length, for slow lines. Who
brought as much in a slice as is still missing keeps the fetch: to gain a slice it has to bring half
of the rest. How fast a source was in its last slice is remembered for a while: later fetches begin
with those of whom nothing is remembered, and then with the fastest.

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
from math import inf
from typing import NamedTuple

from pnyx.protocol.chunks import chunk_count
from pnyx.protocol.params import ProtocolParams

_SLICES_KEPT = 4  # slices of the fastest source, before the others are tried again
_SLICE_GROWTH_MAX = 16  # a slice has at most so many turns
_REMEMBERED_TURNS = 64  # for so many turns a slice is remembered


class Slice(NamedTuple):
    """How many chunks a second a source sent in a slice, and until when that is remembered."""

    rate: float
    until: float


class Fetch:
    """The book-keeping of one parcel that is being pulled.

    away: whether a peer seems out of reach. slices: the last slice of each peer that did not send a
    whole parcel in its first one; all fetches of a node share it.
    """

    def __init__(
        self,
        params: ProtocolParams,
        away: Callable[[bytes], bool],
        slices: dict[bytes, Slice] | None = None,
    ) -> None:
        self.length: int | None = None  # bytes, once a chunk has proven it
        self.hashes: dict[int, bytes] = {}  # of the chunks that are stored, by index
        self.silences = 0  # how often a source was given up since a chunk came
        self._window_max = params.parcel_window_chunks
        self._window = 1
        self._timeout_s = params.parcel_request_timeout_s
        self._timeout_s_max = params.parcel_request_timeout_s_max
        self._patience_s = self._timeout_s
        self._turn_s = params.parcel_turn_s
        self._slice_s = params.parcel_turn_s
        self._away = away
        self._slices = {} if slices is None else slices
        self._sources: deque[bytes] = deque()  # the first one is asked
        self._liars: set[bytes] = set()
        self._unasked = {0}
        self._asked_at: dict[int, float] = {}  # chunks that are awaited from the first source
        # Everything that was asked of a peer and has not come: when, or None if more than once.
        self._asked: dict[bytes, dict[int, float | None]] = {}
        self._heard_at = -inf  # from the first source
        # The slice of the first source: since when it runs, if it does, its time before that, and
        # the chunks that came in it.
        self._since: float | None = None
        self._used_s = 0.0
        self._came = 0
        self._kept = 0  # slices that it had as the fastest
        self._rates: dict[bytes, float] = {}  # chunks a second, of the sources that were tried

    @property
    def source(self) -> bytes | None:
        """Who is asked now; None when there is nobody left to ask."""
        return self._sources[0] if self._sources else None

    @property
    def complete(self) -> bool:
        """Whether every chunk is stored."""
        return self.length is not None and len(self.hashes) == self.count

    @property
    def stalled(self) -> bool:
        """Whether since the last chunk came there were as many silences as there are sources."""
        return self.silences >= max(1, len(self._sources))

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

    def restart(self) -> None:
        """Begin again with the first chunk: what had come is not stored any more."""
        self.length = None
        self.hashes.clear()
        self._unasked = {0}
        self._asked_at.clear()
        self._asked.clear()
        self._window = 1
        self._begin_slice(None)

    def add_sources(self, sources: Iterable[bytes]) -> None:
        """Learn of peers that hold the parcel; the first ones known are asked first."""
        for peer in sources:
            if peer not in self._liars and peer not in self._sources:
                self._sources.append(peer)

    def ask(self, now: float) -> tuple[int, ...]:
        """Chunks to ask of `source` now: the lowest that are missing, up to the window."""
        if self._since is None and self._sources:
            self._since = now
        if not self._unasked or 2 * len(self._asked_at) > self._window:
            return ()
        before = self.source
        if not self._asked:  # the first request: later a slow one may be all that is left
            self._sources = deque(sorted(self._sources, key=self._expected_rate, reverse=True))
        if not self._asked_at:
            self._skip_who_is_away()
        source = self.source
        if source is None:
            return ()
        if source != before:
            self._begin_slice(now)
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
            self._came += index not in self.hashes
            if asked_at is not None:
                self._adapt(now - asked_at)
        if index in self.hashes:
            return False
        self.silences = 0
        self.hashes[index] = chunk_hash
        self._unasked.discard(index)
        self._asked_at.pop(index, None)
        return True

    def exclude(self, peer: bytes) -> None:
        """Never ask this peer again: it lied."""
        if peer == self.source:
            self._await_nothing()
            self._begin_slice(None)
        self._rates.pop(peer, None)
        self._liars.add(peer)
        self._asked.pop(peer, None)
        if peer in self._sources:
            self._sources.remove(peer)

    def leave(self, peer: bytes) -> None:
        """Turn to another source if this one, which cannot be reached, is being asked."""
        if peer == self.source:
            self._rates.pop(peer, None)  # it has not been tried: it may be back soon
            self._turn_to_another()
            self._begin_slice(None)

    def pause(self, now: float) -> None:
        """The fetch has lost its turn, until it asks again."""
        if self._since is not None:
            self._used_s += now - self._since
            self._since = None
            if self._allowed_s() <= self._used_s:
                self._end_slice(now)

    def tick(self, now: float) -> bool:
        """Ask again for what is overdue. Returns whether the source is given up for another turn.

        Time comes from the caller's clock, in seconds.
        """
        overdue = [i for i, at in self._asked_at.items() if now >= at + self._patience_s]
        if overdue and all(self._asked_at[index] >= self._heard_at for index in overdue):
            self.silences += 1
            self._patience_s = min(2 * self._patience_s, self._timeout_s_max)
            self._end_slice(now, silent=True)
            return True
        for index in overdue:
            del self._asked_at[index]
        self._unasked.update(overdue)
        if self._since is not None and now >= self._since + self._allowed_s() - self._used_s:
            self._end_slice(now)
        return False

    def next_deadline(self) -> float | None:
        """When the oldest request is overdue, or the slice of the source ends."""
        if not self._asked_at:
            return None
        overdue = min(self._asked_at.values()) + self._patience_s
        if self._since is None:
            return overdue
        return min(overdue, self._since + self._allowed_s() - self._used_s)

    def _adapt(self, took_s: float) -> None:
        """Fit window and patience to how long a chunk took."""
        if 2 * took_s <= self._timeout_s:
            self._window = min(self._window + 1, self._window_max)
        elif took_s > self._timeout_s:
            self._window = max(self._window - 1, 1)
        self._patience_s = min(max(3 * took_s, self._timeout_s), self._timeout_s_max)

    def _allowed_s(self) -> float:
        """How long the source may go on; for ever where there is no other."""
        return self._slice_s if len(self._sources) > 1 else inf

    def _begin_slice(self, since: float | None) -> None:
        self._since, self._used_s, self._came = since, 0.0, 0

    def _end_slice(self, now: float, *, silent: bool = False) -> None:
        """Let the source go on if it did well, or another one try."""
        assert self.source is not None, "who has nobody to ask waits for nothing"
        came, used_s = self._came, self._used_s
        if self._since is not None:
            used_s += now - self._since
        rate = self._rates[self.source] = came / used_s if used_s else 0.0
        if not silent:
            self._slices[self.source] = Slice(rate, now + _REMEMBERED_TURNS * self._turn_s)
        self._begin_slice(None if self._since is None else now)
        near = [peer for peer in self._sources if peer == self.source or not self._away(peer)]
        if not silent and (len(near) == 1 or came >= self._missing()):
            return
        if all(peer in self._rates for peer in near):
            best = max(self._rates[peer] for peer in near)
            if not silent and best == rate > 0 and self._kept < _SLICES_KEPT:
                self._kept += 1
                return
            if best == rate:  # it has had its slices, or nobody sent anything
                self._rates = {self.source: rate}
                if not silent:
                    self._slice_s = min(2 * self._slice_s, _SLICE_GROWTH_MAX * self._turn_s)
        self._turn_to_another()

    def _missing(self) -> float:
        return inf if self.length is None else self.count - len(self.hashes)

    def _turn_to_another(self) -> None:
        """Go to a source within reach that was not tried, or else to the fastest of the others.

        Reach is a hint only: with none within it, any other one will do.
        """
        self._await_nothing()
        source, *others = self._sources
        near = [peer for peer in others if not self._away(peer)]
        if not near and self._away(source):
            near = others
        if near:
            chosen = max(near, key=lambda peer: self._rates.get(peer, inf))
            self._sources.rotate(-self._sources.index(chosen))
            self._kept = 0

    def _expected_rate(self, peer: bytes) -> float:
        remembered = self._slices.get(peer)
        return inf if remembered is None else remembered.rate

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
