"""How a leader's large messages reach a committee: in parts, that members relay to each other.

What a leader sends to all of k members leaves its line k times. The list of answers of 60 members
has 370 KB: four seconds at 6 MB/s, while the other lines are idle. So a message above
`parted_bytes_min` is cut into parts under a Merkle root, each with a class of members. The leader
sends a part to its class, and one of them relays it to the members of the other classes. Everybody
gets every part once, and hears of the message from the leader.

    leader -> class of a part: that Part, one of them to relay it     relay -> others: that Part
    who lacks parts -> leader, or another member: PartsRequest        -> the missing Parts

A message costs as many sendings as there are members and parts, each with its own record on a
connection, its proof and its wake-up. So parts are as large as a line carries to everybody in a
moment (`part_line_bytes`), and small only where the committee is large.

- The leader of the current view names the root, by a part that it sends itself, and a whole counts
  as said by it. Parts that others relayed before wait, a few of each sender.
- A part that is not under the root is refused, whoever sends it. So a relay can only be silent, and
  then the part is asked for after `part_timeout_s`; the parts of members that are known to be away
  the leader sends to everybody.
- A leader that names no root, or another one to everybody, gains nothing: what it says are
  proposals and the like, that prove themselves.
- What one member makes another send is bounded: roots of a leader, parts to relay, and how often a
  part is sent to one member.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property

import msgspec

from pnyx.errors import MalformedMessage, RuleBroken, WrongContext
from pnyx.primitives import codec
from pnyx.primitives.hashing import merkle_proofs, merkle_root, verify_merkle_proof
from pnyx.protocol.large_messages import parted_bytes_max
from pnyx.protocol.messages import (
    PART_BYTES_MAX,
    ChallengeReveal,
    CloseNow,
    Part,
    PartsRequest,
    Proposal,
    ReleaseBundle,
)
from pnyx.protocol.round.services import RoundServices
from pnyx.protocol.round.values import ascending

Parted = Proposal | ReleaseBundle | ChallengeReveal | CloseNow
_PART_BYTES_MIN = 4 * 1024  # below, proof and framing would be a tenth
_WHOLES_MAX = 2  # that a member holds for others, or gathers
_ROOTS_MAX = 8  # of one leader in one view: three proposals, and what else it says to all
_EARLY_MAX = 4  # parts of one sender that wait for the leader to name their root
_REPEATS_MAX = 8  # times that a part is sent to one member; as often one asks for a whole
_RELAYS_MAX = 3  # times its fair share of the parts that a member relays: others may be away


def part_bytes(length: int, members: int, line_bytes: int) -> int:
    """Bytes of every part but the last, of a message for so many other members.

    line_bytes: what relaying one part may take of a line, `ProtocolParams.part_line_bytes`.
    """
    least = max(line_bytes // members, _PART_BYTES_MIN)
    return min(max(-(-length // members), least), PART_BYTES_MAX)


def class_of(member: int, leader: int, members: int, parts: int) -> int:
    """Which parts a member gets from the leader itself: those of this number, modulo the classes.

    There are as many classes as parts, if there are so many other members, and none is empty.
    """
    return (member - (member > leader)) % min(members, parts)


def cut(payload: bytes, members: int, line_bytes: int) -> list[bytes]:
    """Cut a message into its parts, for so many other members; see `part_bytes`."""
    step = part_bytes(len(payload), members, line_bytes)
    return [payload[start : start + step] for start in range(0, len(payload), step)]


class _Whole:
    """A message with all its parts, to be sent to whoever lacks some."""

    def __init__(self, context: bytes, root: bytes, parts: Sequence[bytes]) -> None:
        self._context = context
        self.root = root
        self._parts = parts
        self._sent: Counter[tuple[int, int]] = Counter()  # (member, part)

    @classmethod
    def of(cls, context: bytes, payload: bytes, members: int, line_bytes: int) -> "_Whole":
        """Cut a message for so many other members."""
        parts = cut(payload, members, line_bytes)
        return cls(context, merkle_root(parts), parts)

    @cached_property
    def _proofs(self) -> list[tuple[bytes, ...]]:
        return merkle_proofs(self._parts)

    @property
    def count(self) -> int:
        """How many parts it has."""
        return len(self._parts)

    @property
    def payload(self) -> bytes:
        """The message."""
        return b"".join(self._parts)

    def part(self, number: int, *, relay: bool = False) -> Part:
        """One of its parts."""
        length = sum(map(len, self._parts))
        data, proof = self._parts[number], self._proofs[number]
        return Part(self._context, self.root, length, number, data, proof, relay)

    def may_repeat(self, member: int, number: int) -> bool:
        """Tell whether a member may have a part that it asks for; it has it a few times at most."""
        if number >= self.count or self._sent[member, number] >= _REPEATS_MAX:
            return False
        self._sent[member, number] += 1
        return True


class _Gathering:
    """A message of which a member has some parts."""

    def __init__(
        self,
        first: Part,
        leader: int,
        members: int,
        step: int,
        patience_s: float,
        now: float,
    ) -> None:
        """members: others than the leader. step: bytes of a part."""
        self.leader = leader
        self._root, self._length = first.root, first.length
        self._step, self._members = step, members
        self._count = -(-first.length // step)
        self._parts: dict[int, bytes] = {}
        self._to_relay = _RELAYS_MAX * -(-self._count // members)
        self._patience_s = patience_s
        self.asked = 0
        self.ask_at = now + patience_s

    def add(self, part: Part, now: float) -> bool:
        """Keep a part; tell whether it is new. Raises RuleBroken for one that is another's."""
        rest = self._length - part.number * self._step
        fits = part.length == self._length and len(part.data) == min(self._step, rest)
        if not fits or not verify_merkle_proof(
            self._root, part.data, part.number, self._count, part.proof
        ):
            raise RuleBroken("a part does not belong to the message that it names")
        if part.number in self._parts:
            return False
        self._parts[part.number] = part.data
        self.ask_at = now + self._patience_s
        return True

    def relays(self, part: Part, sender: int) -> bool:
        """Tell whether to relay a new part: the leader says so, and not too often."""
        if not part.relay or sender != self.leader or not self._to_relay:
            return False
        self._to_relay -= 1
        return True

    def misses(self, member: int, number: int) -> bool:
        """Whether a member, not the leader, does not get a part from the leader itself."""
        own = class_of(member, self.leader, self._members, self._count)
        return number % min(self._members, self._count) != own

    def ask(self, now: float) -> tuple[int, ...]:
        """Return what is missing, and be twice as patient from now on."""
        self.asked += 1
        self._patience_s *= 2
        self.ask_at = now + self._patience_s
        return tuple(number for number in range(self._count) if number not in self._parts)

    @property
    def parts(self) -> list[bytes] | None:
        """All parts in order, once none is missing."""
        if len(self._parts) < self._count:
            return None
        return [self._parts[number] for number in range(self._count)]


class Parts:
    """One member's share in spreading the large messages of its leaders, itself included."""

    def __init__(
        self, services: RoundServices, member: int, unreachable: Callable[[int], bool]
    ) -> None:
        """unreachable: census index -> whether the node seems to be away; a hint."""
        self._services = services
        self._plan = services.plan
        self._member = member
        self._unreachable = unreachable
        self._others = [m for m in range(len(services.plan.committee)) if m != member]
        self._bytes_max = parted_bytes_max(self._plan.size, self._plan.released_bytes_max)
        self._wholes: OrderedDict[bytes, _Whole] = OrderedDict()
        self._gathering: OrderedDict[bytes, _Gathering] = OrderedDict()
        self._early: dict[int, list[Part]] = {}
        self._roots: dict[tuple[int, int], set[bytes]] = {}  # (view, leader) -> what it named

    def next_deadline(self) -> float | None:
        """When to ask for parts."""
        return min((gathering.ask_at for gathering in self._gathering.values()), default=None)

    def tick(self, now: float) -> None:
        """Ask for parts that do not come: the leader and, by turns, another member."""
        for root, gathering in list(self._gathering.items()):
            if now < gathering.ask_at:
                continue
            if gathering.asked == _REPEATS_MAX:
                del self._gathering[root]
                continue
            other = self._others[self._services.sampler.below(len(self._others))]
            asked = other if gathering.asked % 2 else gathering.leader
            request = PartsRequest(self._plan.context, root, gathering.ask(now))
            self._services.send_member(asked, request)

    # --- the leader -----------------------------------------------------------------------------

    def spread(self, message: Parted) -> None:
        """Send a message to every member, this one included; in parts if it is large."""
        whole = self._whole_of(message)
        if whole is None:
            self._services.send_members(message)
            return
        self._services.send_member(self._member, message)
        there = [m for m in self._others if not self._unreachable(self._plan.committee[m])]
        if _RELAYS_MAX * len(there) <= len(self._others):
            there = []  # hardly anybody would relay: then everybody gets everything
        relays = self._relays(whole.count, there)
        for number in range(whole.count):
            receivers = self._class(number, whole.count) if there else self._others
            part = whole.part(number)
            if there:
                self._services.send_member(relays[number], whole.part(number, relay=True))
            for member in receivers:
                if member != relays.get(number):
                    self._services.send_member(member, part)

    def _class(self, number: int, count: int) -> list[int]:
        """The members that get a part, of so many, from this leader itself."""
        others, mine = len(self._others), number % min(len(self._others), count)
        return [m for m in self._others if class_of(m, self._member, others, count) == mine]

    def _relays(self, count: int, there: list[int]) -> dict[int, int]:
        """Part -> who relays it: who is there of its class; then others, the least busy first."""
        found: dict[int, int] = {}
        busy = Counter(dict.fromkeys(there, 0))
        away: list[int] = []
        for number in range(count):
            near = [member for member in self._class(number, count) if member in busy]
            if not near:
                away.append(number)
                continue
            found[number] = near[0]
            busy[near[0]] += 1
        for number in away if there else ():
            found[number] = min(there, key=busy.__getitem__)
            busy[found[number]] += 1
        return found

    def repeat(self, member: int, message: Parted) -> None:
        """Send what was spread to one member again; of what is large, a part to name it: the last.

        That is the shortest. On slow lines members are reminded of what is under way to them.
        """
        whole = self._whole_of(message)
        if whole is None:
            self._services.send_member(member, message)
        else:
            self._services.send_member(member, whole.part(whole.count - 1))

    def _whole_of(self, message: Parted) -> _Whole | None:
        """A message as parts; None if it goes as it is."""
        payload = codec.encode(message)
        if not self._services.params.parted_bytes_min < len(payload) <= self._bytes_max:
            return None
        line_bytes = self._services.params.part_line_bytes
        return self._hold(_Whole.of(self._plan.context, payload, len(self._others), line_bytes))

    def _hold(self, whole: _Whole) -> _Whole:
        known = self._wholes.pop(whole.root, whole)
        self._wholes[known.root] = known
        if len(self._wholes) > _WHOLES_MAX:
            self._wholes.popitem(last=False)
        return known

    # --- members --------------------------------------------------------------------------------

    def on_request(self, sender: int, request: PartsRequest) -> None:
        """Send a member the parts that it lacks, if they are here. Raises RuleBroken."""
        if not ascending(request.numbers):
            raise RuleBroken("a member asks for a part twice, or out of order")
        whole = self._wholes.get(request.root)
        if whole is not None:
            for number in request.numbers:
                if whole.may_repeat(sender, number):
                    self._services.send_member(sender, whole.part(number))

    def on_part(self, sender: int, part: Part, view: int, now: float) -> tuple[int, Parted] | None:
        """Keep a part, and relay it if need be; return the message that it completes, and whose.

        view: this member's. What the leader names again is returned again. Raises ProtocolError.
        """
        leader = self._plan.leader(view)
        whole = self._wholes.get(part.root)
        if whole is not None:
            again = sender == leader and not part.relay
            return (leader, self._read(whole)) if again else None
        gathering = self._gathering.get(part.root)
        if gathering is None:
            if sender != leader:
                self._keep_early(sender, part)
                return None
            gathering = self._begin(part, leader, view, now)
        if gathering.add(part, now) and gathering.relays(part, sender):
            self._relay(part, gathering)
        self._take_early(part.root, gathering, now)
        parts = gathering.parts
        if parts is None:
            return None
        del self._gathering[part.root]
        whole = self._hold(_Whole(self._plan.context, part.root, parts))
        return gathering.leader, self._read(whole)

    def _begin(self, part: Part, leader: int, view: int, now: float) -> _Gathering:
        if part.length > self._bytes_max:
            raise MalformedMessage("a leader's message is longer than any of this committee is")
        named = self._roots.setdefault((view, leader), set())
        if part.root not in named and len(named) == _ROOTS_MAX:
            raise RuleBroken("a leader says more than it has to")
        named.add(part.root)
        params, others = self._services.params, len(self._others)
        step = part_bytes(part.length, others, params.part_line_bytes)
        gathering = _Gathering(part, leader, others, step, params.part_timeout_s, now)
        self._gathering[part.root] = gathering
        if len(self._gathering) > _WHOLES_MAX:
            self._gathering.popitem(last=False)
        return gathering

    def _relay(self, part: Part, gathering: _Gathering) -> None:
        relayed = msgspec.structs.replace(part, relay=False)
        for member in self._others:
            if member != gathering.leader and gathering.misses(member, part.number):
                self._services.send_member(member, relayed)

    def _keep_early(self, sender: int, part: Part) -> None:
        kept = self._early.setdefault(sender, [])
        kept.append(part)
        del kept[:-_EARLY_MAX]

    def _take_early(self, root: bytes, gathering: _Gathering, now: float) -> None:
        for kept in self._early.values():
            for part in [part for part in kept if part.root == root]:
                kept.remove(part)
                with suppress(RuleBroken):
                    gathering.add(part, now)

    def _read(self, whole: _Whole) -> Parted:
        message: Parted = codec.decode(whole.payload, Parted, bytes_max=self._bytes_max)
        if message.context != self._plan.context:
            raise WrongContext("a message in parts belongs to another round")
        return message
