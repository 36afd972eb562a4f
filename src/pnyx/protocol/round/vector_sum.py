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

from pnyx.errors import InvalidSignature, MalformedMessage, ProtocolError, RuleBroken
from pnyx.primitives import codec
from pnyx.protocol.aggregation.masked.vectors import VectorCode
from pnyx.protocol.chunks import Shape
from pnyx.protocol.events import Compute, PeerBlamed, ReadParcel
from pnyx.protocol.messages import (
    HeldContribution,
    SumRequest,
    VectorSum,
    WrongSum,
    WrongSumLength,
)
from pnyx.protocol.round.services import RoundServices
from pnyx.protocol.round.values import ClosedList, InputReader
from pnyx.protocol.round.vectors import Accepted, accepted_hash, linear_hash_name, sum_statement

Groups = Mapping[int, tuple[int, ...]]  # group -> who counts in its sum

_STORED = "sum/"
_BESIDE_SUM = 32 * 1024  # bytes of evidence of a wrong sum, without the sum


class CheckedSum(NamedTuple):
    """Whether a parcel is the sum over the set of this name."""

    name: bytes
    parcel: bytes
    data: bytes
    right: bool


def told_sum(
    services: RoundServices, code: VectorCode, name: bytes, parcel: bytes, hashes: tuple[bytes, ...]
) -> VectorSum:
    """What this node tells of a sum that it holds, signed.

    name: of the set. hashes: linear hashes, in order.
    """
    context = services.plan.context
    statement = sum_statement(
        context, services.index, name, len(hashes), parcel, code.summed_hash(hashes)
    )
    return VectorSum(context, name, parcel, hashes, services.crypto.sign(statement))


def _check(
    code: VectorCode, name: bytes, parcel: bytes, data: bytes, linear_hashes: tuple[bytes, ...]
) -> CheckedSum:
    """Compare a sum with the linear hashes of what it is to sum. Pure."""
    try:
        code.check_sum(data, linear_hashes)
    except (MalformedMessage, RuleBroken):
        return CheckedSum(name, parcel, data, right=False)
    return CheckedSum(name, parcel, data, right=True)


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
        told = self._sums[result.name].told(result.parcel)
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
        self._linear_hashes: tuple[bytes, ...] = ()  # as committed to, in the order of the set
        self._offers: dict[int, VectorSum] = {}  # by who offered a sum
        self._shown: tuple[bytes, ...] = ()  # the linear hashes themselves
        self._reading: set[bytes] = set()
        # Parcels that are not the sum, and what shows it: their shape, or what they hold. Nothing
        # does where that is too long for evidence.
        self._wrong: dict[bytes, bytes | Shape | None] = {}
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
        self._linear_hashes = tuple(each.linear_hash for each in commitments if each is not None)
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
        named = tuple(linear_hash_name(self._plan.context, h) for h in message.linear_hashes)
        if named != self._linear_hashes:
            raise RuleBroken("an aggregator shows linear hashes that nobody committed to")
        self._check_signature(sender, message)
        self._offers[sender] = message
        if message.parcel in self._wrong:
            self._refuse(message.parcel, self._wrong[message.parcel])
            return
        self._shown = message.linear_hashes
        try:
            self._services.fetch_parcel(
                message.parcel, self._code.sum_bytes, (sender,), self._read, self._refuse_shape
            )
        except RuleBroken:  # no room now: what it offers is taken when it is asked again
            del self._offers[sender]
            raise

    def _check_signature(self, sender: int, message: VectorSum) -> None:
        """Who tells of a wrong sum has signed that it is one. Raises InvalidSignature."""
        linear_hash = self._code.summed_hash(message.linear_hashes)
        count = len(message.linear_hashes)
        statement = sum_statement(
            message.context, sender, message.accepted, count, message.parcel, linear_hash
        )
        key = self._plan.census.public_keys[sender]
        if not self._services.crypto.verify(key, statement, message.signature):
            raise InvalidSignature("a sum of masked vectors is not signed by whoever tells of it")

    def _read(self, parcel: bytes) -> None:
        """A sum has come whole, perhaps told by more than one: read it once."""
        if parcel not in self._reading:
            self._reading.add(parcel)
            self._services.emit(ReadParcel(self._plan.context, parcel))

    def _refuse_shape(self, shape: Shape) -> None:
        """A parcel has another length than sums have."""
        self._refuse(shape.name, shape)

    def _refuse(self, parcel: bytes, shown: bytes | Shape | None) -> None:
        """Who offered a parcel that is not the sum is not asked again, and accused of it.

        shown: its shape, or what it holds; None where that is too long for evidence. Then who
        offered it is blamed, and nobody else can be shown it.
        """
        self._wrong[parcel] = shown
        for sender, offer in self._offers.items():
            if offer.parcel != parcel or sender in self._refused:
                continue
            self._refused.add(sender)
            if sender == self._own:
                continue  # its own memory failed; it has looked before it signed
            if shown is None:
                node = self._plan.census.node_ids[sender]
                self._services.emit(PeerBlamed(node, "added up masked vectors to a wrong sum"))
                continue
            self._services.accuse(sender, self._proof(offer, shown))

    def _proof(self, offer: VectorSum, shown: bytes | Shape) -> WrongSum | WrongSumLength:
        """What convicts whoever signed that a parcel is the sum, by what shows that it is none."""
        count, signature = len(offer.linear_hashes), offer.signature
        told = offer.accepted, count, self._code.summed_hash(offer.linear_hashes)
        if isinstance(shown, Shape):
            return WrongSumLength(*told, shown.length, shown.root, signature)
        return WrongSum(*told, shown, signature)

    def on_read(self, parcel: bytes, data: bytes) -> None:
        """Have a sum that has come whole checked, beside everything else."""
        if parcel not in self._reading or self.data is not None:
            return
        work = partial(_check, self._code, self.name, parcel, data, self._shown)
        self._services.emit(Compute(self._plan.context, b"sum" + self.name + parcel, work))

    def on_checked(self, checked: "CheckedSum") -> bool:
        """Take what was checked; tell whether it is the sum."""
        if self.data is not None:
            return False
        if not checked.right:
            if self._ask_at is None:  # it was held, and is not what it was: ask anew
                self._ask_at = 0.0
            most = self._services.params.two_bodies_bytes_max - _BESIDE_SUM
            fits = len(checked.data) == self._code.sum_bytes <= most
            self._refuse(checked.parcel, checked.data if fits else None)
            return False
        self.data, self._ask_at = checked.data, None
        return True

    def told(self, parcel: bytes) -> VectorSum:
        """What this node tells others of the sum that it has checked."""
        return told_sum(self._services, self._code, self.name, parcel, self._shown)


def summed_set(reader: InputReader, closed: ClosedList, accepted: Iterable[int]) -> Accepted:
    """The contributions of a closed list whose vectors are summed, by their headers."""
    return tuple(HeldContribution(who, reader.name(closed.headers[who])) for who in accepted)
