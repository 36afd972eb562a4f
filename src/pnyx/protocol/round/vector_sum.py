"""How a member gets sums of masked vectors, and passes on what it holds.

It believes nobody. The sum of the linear hashes that contributors signed is the linear hash of the
sum, and of no other sum that anybody could find (`masked.checked_sum`).

A member locks an accepted set only once it holds the sums, checked and durable. So q - f honest
members, or more, hold those of a set that is fixed, whatever aggregators do from then on: nobody
can keep them back once keys are released. Aggregators are asked first, then members that are said
to have locked the set, and once it is fixed everybody on the committee.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from msgspec.structs import replace

from pnyx.errors import InvalidSignature, ProtocolError, RuleBroken
from pnyx.primitives import codec
from pnyx.protocol.aggregation.masked.checkpoints import checkpoint, commit, name_earlier
from pnyx.protocol.aggregation.masked.vectors import VectorCode
from pnyx.protocol.chunks import Shape
from pnyx.protocol.events import Compute, ReadParcel
from pnyx.protocol.messages import (
    HeldContribution,
    MaskedVector,
    OpenedSegment,
    StatedHash,
    SumRequest,
    VectorSum,
    WrongSum,
    WrongSumLength,
)
from pnyx.protocol.round.false_segments import Trail, sum_walk
from pnyx.protocol.round.services import RoundServices
from pnyx.protocol.round.values import ClosedList, InputReader
from pnyx.protocol.round.vectors import Accepted, accepted_hash, commitment_to, sum_statement

Groups = Mapping[int, tuple[int, ...]]  # group -> who counts in its sum
Earlier = tuple[bytes, ...]  # checkpoints of a sum, but for the last

_STORED = "sum/"


class CheckedSum(NamedTuple):
    """What a parcel is to the set of this name.

    earlier: its checkpoints, if it is the sum; None if it is not. opened: then, by what was signed
    of the checkpoints, the segment that contradicts it.
    """

    name: bytes
    parcel: bytes
    data: bytes
    earlier: Earlier | None
    opened: dict[Earlier, OpenedSegment]


def told_sum(
    services: RoundServices,
    code: VectorCode,
    name: bytes,
    parcel: bytes,
    hashes: tuple[StatedHash, ...],
    earlier: Earlier,
) -> VectorSum:
    """What this node tells of a sum that it holds, signed.

    name: of the set. hashes: linear hashes, in order. earlier: checkpoints of the sum.
    """
    told = VectorSum(services.plan.context, name, parcel, hashes, earlier, bytes(64))
    statement = _statement(code, services.index, told)
    return replace(told, signature=services.crypto.sign(statement))


def _statement(code: VectorCode, teller: int, told: VectorSum) -> bytes:
    """What whoever tells of a sum signs. Raises MalformedMessage."""
    last = checkpoint(_summed_hash(code, told.linear_hashes))
    committed = commit(told.context, name_earlier(told.earlier), last)
    count = len(told.linear_hashes)
    return sum_statement(told.context, teller, told.accepted, count, told.parcel, committed)


def _summed_hash(code: VectorCode, stated: Iterable[StatedHash]) -> bytes:
    return code.summed_hash([each.linear_hash for each in stated])


def _check(
    code: VectorCode,
    name: bytes,
    parcel: bytes,
    data: bytes,
    stated: tuple[StatedHash, ...],
    told: frozenset[Earlier],
) -> CheckedSum:
    """Compare a sum with the linear hashes of what it is to sum. Pure.

    told: what was signed of its checkpoints.
    """
    wanted, count = _summed_hash(code, stated), len(stated)
    last = checkpoint(wanted)
    trail = Trail(sum_walk(code, count), data)
    *earlier, end = trail.checkpoints or (b"",)
    if len(trail.progress) == code.segments and end == last:
        return CheckedSum(name, parcel, data, tuple(earlier), {})
    segments = {each: trail.first_false((*each, last)) for each in told}
    opened = {each: segment for each, segment in segments.items() if segment is not None}
    return CheckedSum(name, parcel, data, None, opened)


class WantedSums:
    """One member's wishes: the sum of every group of each set that it may have to lock."""

    def __init__(
        self,
        services: RoundServices,
        member: int,
        reader: InputReader,
        code: VectorCode,
        unreachable: Callable[[int], bool],
    ) -> None:
        self._services = services
        self._context = services.plan.context
        self._reader = reader
        self._code = code
        self._make = partial(WantedSum, services, member, reader, code, unreachable)
        self._sums: dict[bytes, WantedSum] = {}  # by the name of the set
        self._told: dict[bytes, VectorSum] = {}  # what is told of sums that are held, by set
        self._restore()

    def _restore(self) -> None:
        """Take up sums that were held before a restart, those that the disk still has."""
        for slot, stored in sorted(self._services.restored.items()):
            if slot.startswith(_STORED):
                with suppress(ProtocolError):  # no room, or damaged: as if it had never come
                    told = codec.decode(stored, VectorSum, bytes_max=len(stored))
                    self._services.fetch_parcel(
                        told.parcel, self._code.sum_bytes, (), partial(self._take_up, told)
                    )

    def _take_up(self, told: VectorSum, parcel: bytes) -> None:
        del parcel
        self._told[told.accepted] = told

    def want(self, closed: ClosedList, groups: Groups, now: float) -> None:
        """Ask for the sums over these groups of a set, but for those that were asked for before."""
        for accepted in groups.values():
            name = accepted_hash(self._context, summed_set(self._reader, closed, accepted))
            if name not in self._sums:
                self._sums[name] = wanted = self._make()
                wanted.want(closed, accepted, now, self._told.get(name))

    def ask_too(self, closed: ClosedList, groups: Groups, holders: Iterable[int]) -> None:
        """Learn of nodes (census indices) that say they hold the sums of these groups."""
        for accepted in groups.values():
            wanted = self._sums.get(
                accepted_hash(self._context, summed_set(self._reader, closed, accepted))
            )
            if wanted is not None:
                wanted.ask_too(holders)

    def data(self, closed: ClosedList, groups: Groups) -> dict[int, bytes] | None:
        """Group -> its sum, once all are held and checked."""
        found: dict[int, bytes] = {}
        for group, accepted in groups.items():
            wanted = self._sums.get(
                accepted_hash(self._context, summed_set(self._reader, closed, accepted))
            )
            if wanted is None or wanted.data is None:
                return None
            found[group] = wanted.data
        return found

    def next_deadline(self) -> float | None:
        """When to ask the next source for one of them."""
        times = [wanted.next_deadline() for wanted in self._sums.values()]
        return min((time for time in times if time is not None), default=None)

    def tick(self, now: float) -> None:
        """Ask another source for what the last one has not answered."""
        for wanted in self._sums.values():
            wanted.tick(now)

    def on_sum(self, sender: int, message: VectorSum) -> None:
        """Pull a sum of the set that it is for. Raises ProtocolError."""
        wanted = self._sums.get(message.accepted)
        if wanted is None:
            raise RuleBroken("an aggregator sums another set than was asked for")
        wanted.on_sum(sender, message)

    def on_read(self, parcel: bytes, data: bytes) -> None:
        """Have a sum that has come whole checked."""
        for wanted in self._sums.values():
            wanted.on_read(parcel, data)

    def on_computed(self, result: object) -> bool:
        """Take a sum that was checked; tell whether it is one that is wanted.

        It is on record before anything that this member says next, its lock above all.
        """
        if not isinstance(result, CheckedSum) or not self._sums[result.name].on_checked(result):
            return False
        told = self._sums[result.name].told(result)
        if told.accepted not in self._told:
            self._told[told.accepted] = told
            self._services.persist(_STORED + told.accepted.hex(), codec.encode(told))
        return True

    def serve(self, sender: int, request: SumRequest) -> bool:
        """Tell another member of a sum that is held here; tells whether it is."""
        told = self._told.get(accepted_hash(self._context, request.accepted))
        if told is None or sender not in self._services.plan.member_of:
            return False
        self._services.grant_parcel(told.parcel, (sender,))
        self._services.send(sender, told)
        return True


class WantedSum:
    """One member's wish for one sum; `data` is set once it is held and checked."""

    def __init__(
        self,
        services: RoundServices,
        member: int,
        reader: InputReader,
        code: VectorCode,
        unreachable: Callable[[int], bool],
    ) -> None:
        self._services = services
        self._plan = services.plan
        self._own = services.plan.committee[member]
        self._reader = reader
        self._code = code
        self._unreachable = unreachable
        self._turn = member  # so that members do not all ask the same aggregator
        self._sources = list(services.plan.aggregators)
        self._asked: set[int] = set()
        self._accepted: Accepted = ()
        self._commitments: tuple[MaskedVector, ...] = ()  # of its headers, in the order of the set
        self._offers: dict[int, VectorSum] = {}  # by who offered a sum
        self._shown: tuple[StatedHash, ...] = ()  # the linear hashes that they commit to
        self._reading: set[bytes] = set()  # parcels that are being read
        self._computing: set[bytes] = set()  # that were read, and are being checked
        # Parcels that are not the sum; their shape, where that shows it.
        self._wrong: dict[bytes, Shape | None] = {}
        self._refused: set[int] = set()  # who offered one of them
        self._ask_at: float | None = None
        self.name = b""  # of the set that is summed
        self.data: bytes | None = None

    def want(
        self,
        closed: ClosedList,
        accepted: tuple[int, ...],
        now: float,
        known: VectorSum | None = None,
    ) -> None:
        """Ask for the sum over a set. known: what this node told others of it before a restart."""
        self._accepted = summed_set(self._reader, closed, accepted)
        commitments = [self._reader.header(closed.headers[who]).masked for who in accepted]
        self._commitments = tuple(each for each in commitments if each is not None)
        self.name = accepted_hash(self._plan.context, self._accepted)
        if known is None:
            self._ask(now)
            return
        self._shown = known.linear_hashes
        self._services.fetch_parcel(known.parcel, self._code.sum_bytes, (), self._read)

    def ask_too(self, holders: Iterable[int]) -> None:
        """Learn of nodes (census indices) that say they hold this sum."""
        known = dict.fromkeys([*self._sources, *holders])
        self._sources = [each for each in known if each != self._own or each in self._sources]

    def next_deadline(self) -> float | None:
        """When to ask the next source."""
        return self._ask_at

    def tick(self, now: float) -> None:
        """Ask another source if the last one has not answered."""
        if self._ask_at is not None and now >= self._ask_at:
            self._ask(now)

    def _ask(self, now: float) -> None:
        trusted = [each for each in self._sources if each not in self._refused]
        willing = [each for each in trusted if not self._unreachable(each)] or trusted
        self._ask_at = now + self._services.params.retransmit_s
        if willing:
            index = self._next_of(willing)
            self._asked.add(index)
            self._services.send(index, SumRequest(self._plan.context, self._accepted))

    def _next_of(self, willing: list[int]) -> int:
        """Who is asked now. A member that is an aggregator asks itself first.

        Nothing travels then. And another aggregator takes its request for one of an aggregator that
        lacks vectors, unless a member asked there for this set before: the leader, which knows the
        set first, would wait for `retransmit_s` in vain.
        """
        if self._own in willing and self._own not in self._asked:
            return self._own
        self._turn += 1
        return willing[(self._turn - 1) % len(willing)]

    def on_sum(self, sender: int, message: VectorSum) -> None:
        """Pull a sum whose linear hashes are those that were committed to. Raises ProtocolError.

        Whoever was asked offers one sum; another that offers the same one is a source of it, too.
        """
        if self._ask_at is None or self.data is not None:
            return
        asked = self._asked.union(self._plan.aggregators)
        if sender not in asked or sender in self._refused:
            raise RuleBroken("a sum of masked vectors comes from a node that is not asked for it")
        if message.accepted != self.name:
            raise RuleBroken("an aggregator sums another set than was asked for")
        if sender in self._offers:
            if message.parcel != self._offers[sender].parcel:
                raise RuleBroken("an aggregator shows two sums of one set")
            return
        if not self._are_committed_to(message.linear_hashes):
            raise RuleBroken("an aggregator shows linear hashes that nobody committed to")
        if len(message.earlier) != self._code.segments - 1:
            raise RuleBroken("a sum has another number of segments than there are checkpoints")
        self._check_signature(sender, message)
        self._offers[sender] = message
        if message.parcel in self._wrong:
            self._look_again(message.parcel, self._wrong[message.parcel])
            return
        self._shown = message.linear_hashes
        try:
            self._services.fetch_parcel(
                message.parcel, self._code.sum_bytes, (sender,), self._read, self._refuse_shape
            )
        except RuleBroken:  # no room now: what it offers is taken when it is asked again
            del self._offers[sender]
            raise

    def _are_committed_to(self, shown: tuple[StatedHash, ...]) -> bool:
        """Whether linear hashes are those of the headers of the set, in order."""
        if len(shown) != len(self._commitments):
            return False
        return all(
            commitment_to(self._plan.context, each, masked) == masked.commitment
            for each, masked in zip(shown, self._commitments, strict=True)
        )

    def _check_signature(self, sender: int, message: VectorSum) -> None:
        """Who tells of a wrong sum has signed that it is one. Raises InvalidSignature."""
        statement = _statement(self._code, sender, message)
        key = self._plan.census.public_keys[sender]
        if not self._services.crypto.verify(key, statement, message.signature):
            raise InvalidSignature("a sum of masked vectors is not signed by whoever tells of it")

    def _read(self, parcel: bytes) -> None:
        """A sum is here whole: look at it, once for all who tell of it meanwhile."""
        if parcel not in self._reading and parcel not in self._computing:
            self._reading.add(parcel)
            self._services.emit(ReadParcel(self._plan.context, parcel))

    def _refuse_shape(self, shape: Shape) -> None:
        """A parcel has another length than sums have: its shape convicts all who offered it."""
        self._wrong[shape.name] = shape
        for sender, offer in self._offering(shape.name).items():
            terms = offer.accepted, len(offer.linear_hashes), self._committed(offer)
            proof = WrongSumLength(*terms, shape.length, shape.root, offer.signature)
            self._refuse(sender, proof)

    def _look_again(self, parcel: bytes, shape: Shape | None) -> None:
        """Somebody offers a parcel that is known not to be the sum."""
        if shape is not None:
            self._refuse_shape(shape)
        else:
            self._read(parcel)  # the checkpoints that this one signed may be others

    def _refuse_checked(self, checked: CheckedSum) -> None:
        """A parcel is not the sum: a segment convicts whoever signed these checkpoints of it."""
        self._wrong[checked.parcel] = None
        for sender, offer in self._offering(checked.parcel).items():
            opened = checked.opened.get(offer.earlier)
            if opened is not None:
                stated = *offer.earlier, self._last(offer)
                terms = offer.accepted, len(offer.linear_hashes), stated
                self._refuse(sender, WrongSum(*terms, opened, offer.signature))
        if self._offering(checked.parcel):  # who came while it was looked at
            self._read(checked.parcel)

    def _offering(self, parcel: bytes) -> dict[int, VectorSum]:
        """Who offers a parcel, and was not refused yet."""
        offers = self._offers.items()
        return {s: o for s, o in offers if o.parcel == parcel and s not in self._refused}

    def _refuse(self, sender: int, proof: WrongSum | WrongSumLength) -> None:
        """Who offered what is not the sum is not asked again, and accused of it."""
        self._refused.add(sender)
        if sender != self._own:  # else its own memory failed; it has looked before it signed
            self._services.accuse(sender, proof)

    def _last(self, offer: VectorSum) -> bytes:
        return checkpoint(_summed_hash(self._code, offer.linear_hashes))

    def _committed(self, offer: VectorSum) -> bytes:
        return commit(self._plan.context, name_earlier(offer.earlier), self._last(offer))

    def on_read(self, parcel: bytes, data: bytes) -> None:
        """Have a sum that has come whole checked, beside everything else."""
        if parcel not in self._reading:
            return
        self._reading.discard(parcel)
        self._computing.add(parcel)
        told = frozenset(each.earlier for each in self._offering(parcel).values())
        work = partial(_check, self._code, self.name, parcel, data, self._shown, told)
        self._services.emit(Compute(self._plan.context, b"sum" + self.name + parcel, work))

    def on_checked(self, checked: "CheckedSum") -> bool:
        """Take what was checked; tell whether it is the sum."""
        self._computing.discard(checked.parcel)
        if checked.earlier is None:
            if self._ask_at is None and self.data is None:  # it was held, and is not what it was
                self._ask_at = 0.0  # ask anew
            self._refuse_checked(checked)
            return False
        if self.data is not None:
            return False
        self.data, self._ask_at = checked.data, None
        return True

    def told(self, checked: CheckedSum) -> VectorSum:
        """What this node tells others of the sum that it has checked."""
        assert checked.earlier is not None, "it is the sum"
        terms = self.name, checked.parcel, self._shown, checked.earlier
        return told_sum(self._services, self._code, *terms)


def summed_set(reader: InputReader, closed: ClosedList, accepted: Iterable[int]) -> Accepted:
    """The contributions of a closed list whose vectors are summed, by their headers."""
    return tuple(HeldContribution(who, reader.name(closed.headers[who])) for who in accepted)
