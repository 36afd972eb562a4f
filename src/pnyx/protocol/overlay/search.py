"""Finding the live nodes of a place on the ring although some of the nodes that are asked lie.

A *look-up* finds the first `count` nodes at or behind a key, an *enumeration* all nodes of an
interval. Both go through three phases, and over:

    PATHS     Disjoint paths walk towards the key. Each goes on only by what it was told itself, and
              no node serves two paths, so a liar spoils one of them.
    CLOSURE   Everything that was told is put together. Every node of the place, and a few on each
              side of it, is asked itself; whoever they name there is asked too, until nobody new is
              named. Who answers is live. A node is missed only if everybody who stands near it, and
              was asked, leaves it out: one honest neighbour that was reached is enough.
    CHECK     Liars can leave nodes out and cannot make any up, since positions are imposed: a place
              without the honest ones is several times emptier than this node's own surroundings.
              Then another wave of paths starts from other nodes.

What comes out is certified (records verify), live (each answered a nonce with a signature), and as
complete as one honest neighbour on one of the paths makes it. Disjoint paths are those of Baumgart
and Mies, S/Kademlia (2007); the density test follows Castro et al. (OSDI 2002), section 5.1.

A `Search` sends nothing: `asks` tells whom to ask what, `answered` and `silent` take the outcome.
"""

from collections.abc import Callable, Iterable
from enum import Enum, auto

import msgspec

from pnyx.primitives.sampling import Sampler
from pnyx.protocol.overlay.params import OverlayParams
from pnyx.protocol.overlay.positions import RING_SIZE, forward, position_of, within
from pnyx.protocol.overlay.records import KnownRecord


class Place(msgspec.Struct, frozen=True):
    """What is sought: the first `count` nodes from `start` on, or with `end` all before it."""

    start: int
    count: int
    end: int | None = None

    @property
    def keys(self) -> tuple[int, ...]:
        """Where paths lead: to both ends of an interval."""
        return (self.start,) if self.end is None else (self.start, self.end)


class Ask(msgspec.Struct, frozen=True):
    """A question that the search wants to be put to a node."""

    record: KnownRecord
    key: int
    per_side: int


class Omission(msgspec.Struct, frozen=True):
    """A node told of its surroundings and left out a live node in the midst of them."""

    node_id: bytes
    omitted: bytes


class SearchResult(msgspec.Struct, frozen=True):
    """What a search found, in the order of the ring.

    sparse: the place still looks emptier than it should, after every wave. asks: questions that
    were put; steps: of the longest path; waves: of paths.
    """

    nodes: tuple[KnownRecord, ...]
    sparse: bool
    asks: int
    steps: int
    waves: int
    omissions: tuple[Omission, ...]


class _State(Enum):
    NEW = auto()
    ASKED = auto()
    LIVE = auto()
    SILENT = auto()


class _Candidate:
    """A node that was named. `surroundings`: its lists, once it has told of the place itself."""

    __slots__ = ("ahead", "position", "record", "state", "surroundings", "tries")

    def __init__(self, record: KnownRecord, position: int, start: int) -> None:
        self.record = record
        self.position = position
        self.ahead = forward(start, position)  # of where the place begins
        self.state = _State.NEW
        self.tries = 0
        self.surroundings: frozenset[bytes] | None = None


class _Path:
    """One of the disjoint paths towards a key."""

    def __init__(self, key: int, known: Iterable[bytes]) -> None:
        self.key = key
        self.known = dict.fromkeys(known)
        self.nearest = RING_SIZE  # how far before the key the nearest node that answered stands
        self.waiting: bytes | None = None
        self.steps = 0
        self.over = False


Seeds = Callable[[int], list[KnownRecord]]
"""Nodes to start from towards a position, the best ones first."""


class Search:
    """One look-up or enumeration. `result` is set once it is over.

    seeds: where the first wave starts. others: any nodes known, for later waves. own: this node's
    record if it is on the ring. gap: mean distance of this node's neighbours, if known.
    """

    def __init__(
        self,
        place: Place,
        *,
        params: OverlayParams,
        beacon: bytes,
        own_id: bytes,
        own: KnownRecord | None,
        seeds: Seeds,
        nearby: Iterable[KnownRecord],
        others: Iterable[KnownRecord],
        gap: float | None,
        sampler: Sampler,
    ) -> None:
        self.place = place
        self.result: SearchResult | None = None
        self._params = params
        self._beacon = beacon
        self._own_id = own_id
        self._gap = gap
        self._sampler = sampler
        self._seeds = seeds
        self._others = [record for record in others if record.node_id != own_id]
        self._candidates: dict[bytes, _Candidate] = {}
        self._paths: list[_Path] = []
        self._waiting: set[bytes] = set()  # asked by the closure
        self._asks = 0
        self._steps = 0
        self._wave = 0
        if own is not None:
            self._add(own).state = _State.LIVE
        for record in nearby:
            self._add(record)
        self._start_wave()

    # --- the outside ----------------------------------------------------------------------------

    def asks(self) -> list[Ask]:
        """Whom to ask now; sets `result` when there is nothing left to ask or to wait for."""
        wanted: list[Ask] = []
        while self.result is None:
            if self._walk(wanted):
                break
            if self._close(wanted):
                break
            self._conclude()
        return wanted

    def answered(
        self, node_id: bytes, key: int, before: list[KnownRecord], after: list[KnownRecord]
    ) -> None:
        """A node has answered, signed and in time; its records are verified."""
        candidate = self._candidates[node_id]
        candidate.state = _State.LIVE
        told = [*before, *after]
        for record in told:
            self._add(record)
        if not self._needs_own_view or key == candidate.position:
            candidate.surroundings = frozenset(record.node_id for record in told)
        self._waiting.discard(node_id)
        for path in self._paths:
            if path.waiting == node_id:
                path.waiting = None
                path.nearest = _before(candidate.position, path.key)
                path.known.update(dict.fromkeys(record.node_id for record in told))

    def silent(self, node_id: bytes) -> None:
        """A node has not answered in time, or with a lie."""
        candidate = self._candidates[node_id]
        if candidate.tries >= self._params.tries:
            candidate.state = _State.SILENT
        elif candidate.state is _State.ASKED:
            candidate.state = _State.NEW
        self._waiting.discard(node_id)
        for path in self._paths:
            if path.waiting == node_id:
                path.waiting = None
                path.known.pop(node_id)

    # --- paths ----------------------------------------------------------------------------------

    def _start_wave(self) -> None:
        """Start new paths: first from the best nodes known, later from anywhere on the ring."""
        self._wave += 1
        count = self._params.paths
        for key in self.place.keys:
            if self._wave == 1:
                starts = self._seeds(key)
            else:
                order = self._sampler.sample(len(self._others), len(self._others))
                starts = [self._others[at] for at in order]
            fresh = [each for each in starts if self._is_new(each.node_id)][: count * count]
            for record in fresh:
                self._add(record)
            paths = min(count, len(fresh))
            self._paths += [
                _Path(key, [each.node_id for each in fresh[at::paths]]) for at in range(paths)
            ]

    def _is_new(self, node_id: bytes) -> bool:
        candidate = self._candidates.get(node_id)
        if node_id == self._own_id:
            return False
        return candidate is None or candidate.state is _State.NEW

    def _walk(self, wanted: list[Ask]) -> bool:
        """Let every path that waits for nothing ask on; whether some path is not over."""
        for path in self._paths:
            if path.over or path.waiting is not None:
                continue
            candidate = self._next_step(path)
            if candidate is None or self._asks >= self._asks_max:
                path.over = True
                self._steps = max(self._steps, path.steps)
                continue
            path.waiting = candidate.record.node_id
            path.steps += 1
            wanted.append(self._ask(candidate, path.key, self._records_per_step))
        return any(not path.over for path in self._paths)

    def _next_step(self, path: _Path) -> _Candidate | None:
        """The node nearest before the key that this path was told of and nobody has asked."""
        if path.steps >= self._params.path_steps_max:
            return None
        best, best_distance = None, path.nearest
        for node_id in path.known:
            candidate = self._candidates[node_id]
            if candidate.state is not _State.NEW or candidate.tries:
                continue
            distance = _before(candidate.position, path.key)
            if distance < best_distance:
                best, best_distance = candidate, distance
        return best

    # --- closure --------------------------------------------------------------------------------

    @property
    def _needs_own_view(self) -> bool:
        """Where one answer cannot hold the place, every node is asked for its own surroundings."""
        reach = self.place.count + self._params.margin
        return self.place.end is not None or reach > self._params.neighbours_per_side

    @property
    def _records_per_step(self) -> int:
        """Of a path; its last answer is to hold all of a look-up's place."""
        reach = self.place.count + self._params.margin
        most = self._params.neighbours_per_side
        return min(most, max(self._params.step_records_per_side, reach))

    @property
    def _asks_max(self) -> int:
        params = self._params
        return params.asks_max if self.place.end is None else params.enumeration_asks_max

    def _close(self, wanted: list[Ask]) -> bool:
        """Ask everybody of the place who has not told of it yet; whether there is somebody."""
        room = self._params.parallel_asks - len(self._waiting)
        for candidate in self._unsettled():
            if room <= 0 or self._asks >= self._asks_max:
                break
            if candidate.record.node_id in self._waiting:
                continue
            key = candidate.position if self._needs_own_view else self.place.start
            self._waiting.add(candidate.record.node_id)
            wanted.append(self._ask(candidate, key, self._params.neighbours_per_side))
            room -= 1
        return bool(self._waiting)

    def _unsettled(self) -> list[_Candidate]:
        own_id = self._own_id
        return [
            each
            for each in self._place_nodes()
            if each.surroundings is None and each.record.node_id != own_id
        ]

    def _place_nodes(self) -> list[_Candidate]:
        """The place as far as it is known, and a few nodes on each side; the silent left out."""
        place, margin = self.place, self._params.margin
        there = [each for each in self._candidates.values() if each.state is not _State.SILENT]
        there.sort(key=lambda each: each.ahead)
        if place.end is None:
            inside = there[: place.count]
            outside = there[place.count :][-margin:]
            return outside + inside
        inside = [each for each in there if within(each.position, place.start, place.end)]
        outside = there[len(inside) :]
        beyond = outside[:margin]
        return outside[margin:][-margin:] + inside + beyond

    # --- check ----------------------------------------------------------------------------------

    def _conclude(self) -> None:
        """Finish, or start another wave if the place is emptier than it should be."""
        place = self._place_nodes()
        sparse = self._is_sparse(place)
        if sparse and self._wave < self._params.waves_max and self._asks < self._asks_max:
            self._start_wave()
            if any(not path.over for path in self._paths):
                return
        self.result = SearchResult(
            nodes=tuple(self._found(place)),
            sparse=sparse,
            asks=self._asks,
            steps=self._steps,
            waves=self._wave,
            omissions=tuple(self._omissions(place)),
        )

    def _found(self, place: list[_Candidate]) -> list[KnownRecord]:
        """The live nodes of the place itself."""
        live = [each for each in place if each.state is _State.LIVE]
        live.sort(key=lambda each: each.ahead)
        if self.place.end is None:
            return [each.record for each in live[: self.place.count]]
        return [
            each.record for each in live if within(each.position, self.place.start, self.place.end)
        ]

    def _is_sparse(self, place: list[_Candidate]) -> bool:
        live = [each for each in place if each.state is _State.LIVE]
        if not live:
            return True
        if self._gap is None:
            return False
        span = forward(live[0].position, live[-1].position) / RING_SIZE
        return span > self._params.sparse_factor * len(live) * self._gap

    def _omissions(self, place: list[_Candidate]) -> list[Omission]:
        """Who left out a live node that stands between two others which it named.

        Only what stands within half a list of whoever tells is held against it: that is where it
        ought to know everybody.
        """
        live = [each for each in place if each.state is _State.LIVE]
        reach = self._params.neighbours_per_side // 2
        found: list[Omission] = []
        for at, teller in enumerate(live):
            if teller.surroundings is None:
                continue
            for other in live[max(0, at - reach) : at + reach + 1]:
                known = other is teller or other.record.node_id == self._own_id
                if not known and other.record.node_id not in teller.surroundings:
                    found.append(Omission(teller.record.node_id, other.record.node_id))
        return found

    # --- both -----------------------------------------------------------------------------------

    def _add(self, record: KnownRecord) -> _Candidate:
        candidate = self._candidates.get(record.node_id)
        if candidate is None:
            position = position_of(record.node_id, self._beacon)
            candidate = self._candidates[record.node_id] = _Candidate(
                record, position, self.place.start
            )
            if record.node_id == self._own_id:
                candidate.state = _State.LIVE
        elif record.sequence > candidate.record.sequence:
            candidate.record = record
            if candidate.state is _State.SILENT:  # it may be back, elsewhere
                candidate.state, candidate.tries = _State.NEW, 0
        return candidate

    def _ask(self, candidate: _Candidate, key: int, per_side: int) -> Ask:
        if candidate.state is not _State.LIVE:
            candidate.state = _State.ASKED
        candidate.tries += 1
        self._asks += 1
        return Ask(candidate.record, key, per_side)


def _before(position: int, key: int) -> int:
    """How far before a key a position stands; one at the key itself is a whole turn before it."""
    return forward(position, key) - 1 if position != key else RING_SIZE - 1
