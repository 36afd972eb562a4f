"""How a member gets the sum of the masked vectors of the accepted set: from any aggregator.

It believes none of them. The sum of the linear hashes that contributors signed is the linear hash
of the sum, and of no other sum that anybody could find (`masked.checked_sum`).
"""

from collections.abc import Callable, Mapping
from functools import partial

from pnyx.errors import MalformedMessage, RuleBroken
from pnyx.protocol.aggregation.masked.vectors import VectorCode
from pnyx.protocol.events import PeerBlamed, ReadParcel
from pnyx.protocol.messages import HeldContribution, SumRequest, VectorSum
from pnyx.protocol.round.services import RoundServices
from pnyx.protocol.round.values import ClosedList, InputReader
from pnyx.protocol.round.vectors import Accepted, accepted_hash, linear_hash_name


class WantedSums:
    """One member's wish for the sum of every group that is opened."""

    def __init__(
        self,
        services: RoundServices,
        member: int,
        reader: InputReader,
        code: VectorCode,
        unreachable: Callable[[int], bool],
    ) -> None:
        self._context = services.plan.context
        self._make = partial(WantedSum, services, member, reader, code, unreachable)
        self._sums: dict[int, WantedSum] = {}  # by group

    def want(self, closed: ClosedList, groups: Mapping[int, tuple[int, ...]], now: float) -> None:
        """Ask for the sums over these groups of the accepted set."""
        for group, accepted in groups.items():
            self._sums[group] = self._make()
            self._sums[group].want(closed, accepted, now)

    @property
    def data(self) -> dict[int, bytes] | None:
        """Group -> its sum, once all are held and checked."""
        held = {group: wanted.data for group, wanted in self._sums.items()}
        found = {group: data for group, data in held.items() if data is not None}
        return found if len(found) == len(held) else None

    def next_deadline(self) -> float | None:
        """When to ask the next aggregator for one of them."""
        times = [wanted.next_deadline() for wanted in self._sums.values()]
        return min((time for time in times if time is not None), default=None)

    def tick(self, now: float) -> None:
        """Ask another aggregator for what the last one has not answered."""
        for wanted in self._sums.values():
            wanted.tick(now)

    def on_sum(self, sender: int, message: VectorSum) -> None:
        """Pull a sum of the group that it is for. Raises ProtocolError."""
        for wanted in self._sums.values():
            if message.accepted == wanted.name:
                wanted.on_sum(sender, message)
                return
        raise RuleBroken("an aggregator sums another set than was asked for")

    def on_read(self, parcel: bytes, data: bytes) -> bool:
        """Check a sum that has come whole; tell whether it was the last one."""
        read = [wanted.on_read(parcel, data) for wanted in self._sums.values()]
        return any(read) and self.data is not None


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
        self._reader = reader
        self._code = code
        self._unreachable = unreachable
        self._turn = member  # so that members do not all ask the same aggregator
        self._accepted: Accepted = ()
        self._linear_hashes: tuple[bytes, ...] = ()  # as committed to, in the order of the set
        self._parcels: dict[int, bytes] = {}  # aggregator -> the sum that it offered
        self._shown: tuple[bytes, ...] = ()  # the linear hashes themselves
        self._reading: set[bytes] = set()
        self._refused: set[int] = set()  # aggregators that offered a wrong sum
        self._ask_at: float | None = None
        self.name = b""  # of the set that is summed
        self.data: bytes | None = None

    def want(self, closed: ClosedList, accepted: tuple[int, ...], now: float) -> None:
        """Ask for the sum over the accepted set."""
        headers = [closed.headers[who] for who in accepted]
        self._accepted = tuple(
            HeldContribution(who, self._reader.name(header))
            for who, header in zip(accepted, headers, strict=True)
        )
        commitments = [self._reader.header(header).masked for header in headers]
        self._linear_hashes = tuple(each.linear_hash for each in commitments if each is not None)
        self.name = accepted_hash(self._plan.context, self._accepted)
        self._ask(now)

    def next_deadline(self) -> float | None:
        """When to ask the next aggregator."""
        return self._ask_at

    def tick(self, now: float) -> None:
        """Ask another aggregator if the last one has not answered."""
        if self._ask_at is not None and now >= self._ask_at:
            self._ask(now)

    def _ask(self, now: float) -> None:
        trusted = [a for a in self._plan.aggregators if a not in self._refused]
        willing = [a for a in trusted if not self._unreachable(a)] or trusted
        self._ask_at = now + self._services.params.retransmit_s
        if willing:
            index = willing[self._turn % len(willing)]
            self._turn += 1
            self._services.send(index, SumRequest(self._plan.context, self._accepted))

    def on_sum(self, sender: int, message: VectorSum) -> None:
        """Pull a sum whose linear hashes are those that were committed to. Raises ProtocolError.

        An aggregator offers one sum; another that offers the same one is another source of it.
        """
        if self._ask_at is None or self.data is not None:
            return
        if sender not in self._plan.aggregators or sender in self._refused:
            raise RuleBroken("a sum of masked vectors comes from a node that is no aggregator")
        if message.accepted != self.name:
            raise RuleBroken("an aggregator sums another set than was asked for")
        if sender in self._parcels:
            if message.parcel != self._parcels[sender]:
                raise RuleBroken("an aggregator shows two sums of one set")
            return
        named = tuple(linear_hash_name(self._plan.context, h) for h in message.linear_hashes)
        if named != self._linear_hashes:
            raise RuleBroken("an aggregator shows linear hashes that nobody committed to")
        self._parcels[sender] = message.parcel
        self._shown = message.linear_hashes
        self._services.fetch_parcel(
            message.parcel, self._code.sum_bytes, (sender,), self._read, self._refuse
        )

    def _read(self, parcel: bytes) -> None:
        """A sum has come whole, perhaps told by more than one: read it once."""
        if parcel not in self._reading:
            self._reading.add(parcel)
            self._services.emit(ReadParcel(self._plan.context, parcel))

    def _refuse(self, parcel: bytes) -> None:
        """Who offered a parcel that is not the sum is not asked again."""
        for sender, offered in self._parcels.items():
            if offered == parcel and sender not in self._refused:
                self._refused.add(sender)
                node = self._plan.census.node_ids[sender]
                self._services.emit(PeerBlamed(node, "added up masked vectors to a wrong sum"))

    def on_read(self, parcel: bytes, data: bytes) -> bool:
        """Check a sum that has come whole; tell whether it is the one."""
        if parcel not in self._reading or self.data is not None:
            return False
        try:
            self._code.check_sum(data, self._shown)
        except (MalformedMessage, RuleBroken):
            self._refuse(parcel)
            return False
        self.data, self._ask_at = data, None
        return True
