"""One aggregation by a tree of groups, event by event, under failures.

Trees of additive shares follow Mirval, Bouganim and Sandu Popa (SSDBM 2021, and later work of
theirs). Every contributor splits its vector into g additive shares, one for each member of its
*leaf group*; member p of a group adds up what member p of each child group sent, and sends the sum
to member p of the parent group. So the tree is g trees on top of each other, *planes*, and the
querier adds their g roots. The sum is right only if all planes added the same contributors. A sum
carries the set of those that it holds, here as the bits of an integer; the querier is done when all
planes sent one set.

**Time.** A node does one thing after the other; a message takes its size over the sender's
bandwidth and a latency. Receivers are not limited, as in the published model. That a node died is
noticed by its neighbours after a time-out, and a replacement takes part after another four
messages.

**When a node matters.** Until the node above it in its plane has passed on its sum.

**Strategies.** A contributor that dies before its shares are sent is dropped by its leaf group.
- `abort`: an aggregator that dies and matters ends the run without a result;
- `cut`: it is replaced while none of its children has sent, and later its group is cut off with all
  below it; the group above goes on without;
- `replace`: above the leaves it is always replaced, and its children send again; a leaf is handled
  as in `cut`, since contributors that have sent may have left;
- `eager`: every aggregator is replaced at any time, contributors stay and send again, and one that
  dies after sending is taken out again, by another version of every sum above it.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from pnyx.simulator.scheduler import Scheduler

Strategy = Literal["abort", "cut", "replace", "eager"]

_REPLACEMENT_MESSAGES = 4  # ask, confirm, and open two channels
_REPLACEMENT_CHECKS = 6  # signatures and certificates


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """The tree and the network under it. The defaults are the published ones."""

    group_size: int = 5
    fan_out: int = 8
    depth: int = 3  # levels of groups
    vector_bytes: int = 1 << 20
    latency_s: float = 0.033
    bytes_per_s: float = 6_000 * 1024.0
    timeout_s: float = 0.66
    add_s: float = 0.0512  # decrypt and add one vector
    share_s: float = 0.1024  # make and encrypt one share of a vector
    check_s: float = 0.01  # verify a signature
    backups: int = 45
    patience_s: float = 60.0  # after which the querier gives up

    @property
    def groups(self) -> int:
        """Groups of all levels."""
        return sum(self.fan_out**level for level in range(self.depth))

    @property
    def contributors(self) -> int:
        """Contributors of all leaf groups."""
        return int(self.fan_out**self.depth)

    @property
    def transfer_s(self) -> float:
        """Time that a sender's line is busy with one vector."""
        return self.vector_bytes / self.bytes_per_s


class TreeOutcome(NamedTuple):
    """What a run came to."""

    contributors: int  # in the sum
    ended_s: float
    vectors_sent: int
    work_s: float  # of all nodes
    deaths: int  # of nodes in the tree, until the end
    replaced: int
    cut: int  # groups that were cut off, those below not counted
    versions: int  # different sums that the querier was sent
    holders: tuple[tuple[int, ...], ...]  # of each leaf group, how many nodes held each share


class _Seat:
    """A place in a group, and who sits there."""

    __slots__ = (
        "busy_s",
        "dies_s",
        "group",
        "line_s",
        "mourned",
        "occupants",
        "plane",
        "received",
        "sent",
        "up",
    )

    def __init__(self, group: "_Group", plane: int, dies_s: float) -> None:
        self.group, self.plane, self.dies_s = group, plane, dies_s
        self.received: dict[int, int] = {}  # child -> set of contributors
        self.sent: int | None = None
        self.busy_s = self.line_s = 0.0
        self.occupants = 1
        self.up = True
        self.mourned = False  # somebody acts upon its death


class _Group:
    """A group of the tree. Its members know the same of their children, as they tell each other."""

    __slots__ = ("below", "children", "level", "number", "parent", "seats")

    def __init__(self, number: int, level: int, parent: "_Group | None") -> None:
        self.number, self.level, self.parent = number, level, parent
        self.children: set[int] = set()  # numbers of groups, or of contributors
        self.below: list[_Group] = []
        self.seats: list[_Seat] = []


class TreeRun:
    """A run in the making: `TreeRun(...).run()`."""

    def __init__(
        self, shape: Shape, strategy: Strategy, window_s: float, generator: np.random.Generator
    ) -> None:
        """window_s: nodes die at times uniform from 0 to this; 0 means that none dies."""
        self.shape, self.strategy = shape, strategy
        self._scheduler = Scheduler()
        self._deaths = self._draw(generator, window_s, shape.contributors)
        seats = self._draw(generator, window_s, shape.groups * shape.group_size)
        self._backups: list[float] = self._draw(generator, window_s, shape.backups).tolist()
        self._groups: dict[int, _Group] = {}
        self._leaves: list[_Group] = []
        self._root = self._grow(None, shape.depth, iter(seats.tolist()))
        self._sent_by: set[int] = set()  # contributors whose shares are on their way or there
        self._roots: dict[int, set[int]] = {}  # set of contributors -> planes that sent it
        self._querier_busy_s = 0.0
        self._vectors = self._replaced = self._cut = 0
        self._work_s = 0.0
        self._result: int | None = None

    def run(self) -> TreeOutcome:
        """Run until the querier has a result, or gives up."""
        shape, at = self.shape, self._scheduler.call_at
        for leaf in self._leaves:
            for contributor in list(leaf.children):
                at(2 * shape.latency_s, self._contribute, leaf, contributor)
        for seat in [seat for group in self._groups.values() for seat in group.seats]:
            self._await_death(seat)
        for leaf in self._leaves:
            for contributor in list(leaf.children):
                if self._deaths[contributor] < np.inf:
                    at(float(self._deaths[contributor]), self._contributor_died, leaf, contributor)
        self._scheduler.run(shape.patience_s, lambda: self._result is not None)
        ended = self._scheduler.now
        everybody = [seat.dies_s for group in self._groups.values() for seat in group.seats]
        return TreeOutcome(
            contributors=(self._result or 0).bit_count(),
            ended_s=ended,
            vectors_sent=self._vectors,
            work_s=self._work_s,
            deaths=sum(time < ended for time in everybody) + int((self._deaths < ended).sum()),
            replaced=self._replaced,
            cut=self._cut,
            versions=len(self._roots),
            holders=tuple(tuple(seat.occupants for seat in leaf.seats) for leaf in self._leaves),
        )

    # --- the tree -------------------------------------------------------------------------------

    @staticmethod
    def _draw(generator: np.random.Generator, window_s: float, count: int) -> NDArray[np.float64]:
        if window_s <= 0:
            return np.full(count, np.inf)
        return generator.uniform(0.0, window_s, count)

    def _grow(self, parent: _Group | None, level: int, deaths: Iterator[float]) -> _Group:
        group = _Group(len(self._groups), level, parent)
        self._groups[group.number] = group
        group.seats = [_Seat(group, plane, next(deaths)) for plane in range(self.shape.group_size)]
        if level == 1:
            first = len(self._leaves) * self.shape.fan_out
            group.children = set(range(first, first + self.shape.fan_out))
            self._leaves.append(group)
        else:
            group.below = [self._grow(group, level - 1, deaths) for _ in range(self.shape.fan_out)]
            group.children = {child.number for child in group.below}
        return group

    # --- contributors ---------------------------------------------------------------------------

    def _contribute(self, leaf: _Group, contributor: int) -> None:
        """Make the shares, then send all of them side by side."""
        shape, now = self.shape, self._scheduler.now
        made = now + shape.share_s * shape.group_size
        sent = made + shape.transfer_s * shape.group_size
        if self._deaths[contributor] < made:
            return
        self._work_s += shape.share_s * shape.group_size
        self._scheduler.call_at(made, self._sent_by.add, contributor)
        if self._deaths[contributor] < sent:
            return
        self._vectors += shape.group_size
        for seat in leaf.seats:
            self._arrive(sent + shape.latency_s, seat, contributor, 1 << contributor)

    def _contributor_died(self, leaf: _Group, contributor: int) -> None:
        """It is missed while its leaf group is not done, and in an eager tree later, too."""
        shape, waits = self.shape, any(seat.sent is None for seat in leaf.seats)
        if self.strategy in ("abort", "cut"):  # these send a sum once
            made = 2 * shape.latency_s + (shape.share_s + shape.transfer_s) * shape.group_size
            waits = float(self._deaths[contributor]) < made
        if waits or self.strategy == "eager":
            at = self._scheduler.now + shape.timeout_s
            self._scheduler.call_at(at, self._drop, leaf, contributor)

    # --- sums -----------------------------------------------------------------------------------

    def _arrive(self, at: float, seat: _Seat, child: int, held: int) -> None:
        self._scheduler.call_at(at, self._receive, seat, child, held)

    def _receive(self, seat: _Seat, child: int, held: int) -> None:
        """A vector arrived: it is added when its turn comes."""
        if not seat.up:
            self._miss(seat)
            return
        seat.busy_s = max(seat.busy_s, self._scheduler.now) + self.shape.add_s
        self._work_s += self.shape.add_s
        occupant = seat.occupants
        self._scheduler.call_at(seat.busy_s, self._added, seat, occupant, child, held)

    def _added(self, seat: _Seat, occupant: int, child: int, held: int) -> None:
        if seat.up and seat.occupants == occupant:
            seat.received[child] = held
            self._pass_on(seat)

    def _pass_on(self, seat: _Seat, *, again: bool = False) -> None:
        """Send the sum upwards if all children are in it and it is another one, or asked for."""
        group = seat.group
        if not seat.up or not group.children or not group.children <= seat.received.keys():
            return
        held = 0
        for child in group.children:
            held |= seat.received[child]
        if held == seat.sent and not again:
            return
        seat.sent = held
        seat.line_s = max(seat.line_s, self._scheduler.now) + self.shape.transfer_s
        self._scheduler.call_at(seat.line_s, self._sent, seat, seat.occupants, held)

    def _sent(self, seat: _Seat, occupant: int, held: int) -> None:
        """The last byte left, if who sends is still there."""
        if not seat.up or seat.occupants != occupant:
            return
        self._vectors += 1
        at = self._scheduler.now + self.shape.latency_s
        parent = seat.group.parent
        if parent is None:
            self._scheduler.call_at(at, self._reach_querier, seat.plane, held)
        else:
            self._arrive(at, parent.seats[seat.plane], seat.group.number, held)

    def _reach_querier(self, plane: int, held: int) -> None:
        now = self._scheduler.now
        self._querier_busy_s = max(self._querier_busy_s, now) + self.shape.add_s
        self._work_s += self.shape.add_s
        self._scheduler.call_at(self._querier_busy_s, self._open, plane, held)

    def _open(self, plane: int, held: int) -> None:
        planes = self._roots.setdefault(held, set())
        planes.add(plane)
        if len(planes) == self.shape.group_size:
            self._result = held

    # --- failures -------------------------------------------------------------------------------

    def _await_death(self, seat: _Seat) -> None:
        if seat.dies_s < np.inf:
            at = max(seat.dies_s, self._scheduler.now)
            self._scheduler.call_at(at, self._died, seat, seat.occupants)

    def _died(self, seat: _Seat, occupant: int) -> None:
        if not seat.up or seat.occupants != occupant:
            return
        seat.up = False
        if self._matters(seat) or self.strategy == "eager":
            self._mourn(seat)

    def _mourn(self, seat: _Seat) -> None:
        """Act upon a death, once the time-out has told of it."""
        seat.mourned = True
        shape, now = self.shape, self._scheduler.now
        noticed = now + shape.timeout_s
        if self.strategy == "abort":
            told = noticed + shape.latency_s * (shape.depth - seat.group.level + 1)
            self._scheduler.call_at(told, self._give_up)
            return
        ready = noticed + _REPLACEMENT_MESSAGES * shape.latency_s
        ready += _REPLACEMENT_CHECKS * shape.check_s
        if self._replaceable(seat) or not self._children_sent(seat):
            self._scheduler.call_at(ready, self._replace, seat)
        else:
            self._scheduler.call_at(noticed, self._cut_off, seat.group)

    def _matters(self, seat: _Seat) -> bool:
        parent = seat.group.parent
        if parent is None or parent.seats[seat.plane].sent is None:
            return True
        return seat.line_s > self._scheduler.now  # another version was on its way

    def _replaceable(self, seat: _Seat) -> bool:
        """Whether those below will send again."""
        return self.strategy == "eager" or (self.strategy == "replace" and seat.group.level > 1)

    def _children_sent(self, seat: _Seat) -> bool:
        """Whether any child that is still there has sent, or begun to."""
        group = seat.group
        if group.level == 1:
            return bool(group.children & self._sent_by)
        return any(
            child.seats[seat.plane].sent is not None
            for child in group.below
            if child.number in group.children
        )

    def _replace(self, seat: _Seat) -> None:
        """A backup takes the seat, and asks those below for what they have."""
        now = self._scheduler.now
        if not self._replaceable(seat) and self._children_sent(seat):
            self._cut_off(seat.group)  # too late: they sent to somebody who is gone
            return
        while self._backups and self._backups[-1] <= now:
            self._backups.pop()
        if not self._backups:
            self._cut_off(seat.group)
            return
        seat.dies_s, seat.up, seat.mourned = self._backups.pop(), True, False
        seat.occupants += 1
        seat.received, seat.sent, seat.busy_s, seat.line_s = {}, None, now, now
        self._replaced += 1
        self._await_death(seat)
        asked = now + self.shape.latency_s
        if seat.group.level == 1:
            for contributor in seat.group.children & self._sent_by:
                self._scheduler.call_at(asked, self._share_again, seat, contributor)
        else:
            for child in seat.group.below:
                if child.number in seat.group.children:
                    self._ask(child.seats[seat.plane], asked)

    def _ask(self, child: _Seat, asked: float) -> None:
        """Ask for a sum again; who sent it and died since is missed only now."""
        if child.up and child.sent is not None:
            self._scheduler.call_at(asked, self._asked_again, child)
        else:
            self._miss(child)

    def _miss(self, seat: _Seat) -> None:
        """Somebody needs a node that died when it no longer mattered."""
        if not seat.up and not seat.mourned:
            self._mourn(seat)

    def _asked_again(self, seat: _Seat) -> None:
        self._pass_on(seat, again=True)

    def _share_again(self, seat: _Seat, contributor: int) -> None:
        """A contributor sends one share again, to who took over its place."""
        sent = self._scheduler.now + self.shape.transfer_s
        if self._deaths[contributor] < sent or contributor not in seat.group.children:
            return
        self._vectors += 1
        self._arrive(sent + self.shape.latency_s, seat, contributor, 1 << contributor)

    def _drop(self, group: _Group, child: int) -> None:
        """Go on without a child."""
        if child not in group.children:
            return
        group.children.discard(child)
        if not group.children:
            self._cut_off(group)
            return
        for seat in group.seats:
            self._miss(seat)
            self._pass_on(seat)

    def _cut_off(self, group: _Group) -> None:
        """Stop a group and all below it; the group above goes on without."""
        if group.parent is None:
            self._scheduler.call_at(self._scheduler.now + self.shape.latency_s, self._give_up)
        elif group.number in group.parent.children:
            self._cut += 1
            _stop(group)
            at = self._scheduler.now + self.shape.latency_s
            self._scheduler.call_at(at, self._drop, group.parent, group.number)

    def _give_up(self) -> None:
        self._result = 0


def _stop(group: _Group) -> None:
    for seat in group.seats:
        seat.up = False
    for child in group.below:
        _stop(child)
