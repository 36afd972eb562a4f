"""The chain of epochs: who makes which beacon, under which census, and when.

    record 0 (genesis committee) -> epoch 0 -> record 1 (committee of epoch 0) -> epoch 1 -> ...

Every record of the chain is that of a round without contributions. Record e opens epoch e: it holds
the epoch's beacon, and pins the census that the epoch uses. The committee of epoch e is drawn from
that beacon and census. It collects the joins of the studies that are proposed in the epoch, and
makes record e + 1 once the epoch has lasted `epoch_length_s`. What a study pins, epoch and census,
it keeps to its end; so studies go on while epochs come and go.

Time serves liveness only. A node counts an epoch from when it received its record, and takes part
in the next record when the length is over, or when f + 1 members of the committee already do: one
of them is honest, and its clock may be better. Nobody checks when a record was made. A committee
that cannot make it hands it over to the next nodes of its draw (`round.handover`).

A node that was away asks peers for the record that follows its newest, again and again, and
verifies each by the one before. So does a newcomer, from the genesis on.
"""

from collections.abc import Mapping

import msgspec

from pnyx.errors import RuleBroken
from pnyx.primitives import codec
from pnyx.protocol.censuses import Censuses
from pnyx.protocol.identity import Census, check_succession
from pnyx.protocol.manifest import NO_MODEL
from pnyx.protocol.messages import Handover, Record
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.ports import Crypto
from pnyx.protocol.round.handover import handed_over
from pnyx.protocol.round.plan import RoundPlan, epoch_chain_id
from pnyx.protocol.selection import select_census
from pnyx.protocol.study import genesis_plan, record_hash, verify_record

BEGUN = "chain/epoch-begun"
# A record that is due takes a few seconds; then whoever has not heard of it asks.
ASK_AFTER_S = 10.0
QUESTIONS = 3  # that a node asks when it may have been left behind


class Epoch(msgspec.Struct, frozen=True):
    """An epoch that has begun: its beacon, its census, and the record that proves both."""

    number: int
    beacon: bytes
    census: Census
    record: Record


def epoch_plan(epoch: Epoch) -> RoundPlan:
    """The round of the chain in which an epoch's committee makes the next epoch's beacon."""
    chain = epoch_chain_id(epoch.census.network)
    census = epoch.census
    return RoundPlan(
        census=census,
        study=chain,
        round_number=epoch.number + 1,
        epoch=epoch.number,
        previous_record=record_hash(epoch.record),
        model_hash=NO_MODEL,
        committee=select_census(
            epoch.beacon, chain, epoch.number, "committee", census.committee.size, len(census)
        ),
        beacon=epoch.beacon,
        drawn_as=(chain, epoch.number),
    )


def record_key(number: int) -> str:
    """Where the record that opens an epoch is stored."""
    return f"chain/epoch/{number}"


class EpochChain:
    """The chain as far as it was verified. Its records follow one another without a gap."""

    def __init__(self, censuses: Censuses, crypto: Crypto) -> None:
        self._censuses = censuses
        self._crypto = crypto
        self._epochs: list[Epoch] = []
        self._first = genesis_plan(censuses.genesis)  # first attempt at the record that follows
        self._attempts: dict[tuple[int, int], RoundPlan] = {}  # record, attempt -> a later attempt
        self.plan = self._first  # the attempt that is open
        self.missing: bytes | None = None  # root of a census that a record pins, not known here

    @property
    def newest(self) -> Epoch | None:
        """The epoch that the network is in, as far as this node knows."""
        return self._epochs[-1] if self._epochs else None

    @property
    def number(self) -> int:
        """The number of the newest epoch; 0, too, before its beacon."""
        return max(0, len(self._epochs) - 1)

    @property
    def census(self) -> Census:
        """The census in force."""
        return self._epochs[-1].census if self._epochs else self._censuses.genesis

    @property
    def beacons(self) -> dict[int, bytes]:
        """The beacon of every epoch so far."""
        return {epoch.number: epoch.beacon for epoch in self._epochs}

    @property
    def records(self) -> tuple[Record, ...]:
        """The records of the chain, from the genesis on."""
        return tuple(epoch.record for epoch in self._epochs)

    def get(self, number: int) -> Epoch | None:
        """An epoch that has begun."""
        return self._epochs[number] if number < len(self._epochs) else None

    def census_at(self, number: int) -> Census | None:
        """The census of an epoch; that of epoch 0 is known before its beacon."""
        if number == 0:
            return self._censuses.genesis
        epoch = self.get(number)
        return None if epoch is None else epoch.census

    def plan_at(self, number: int, attempt: int = 1) -> RoundPlan | None:
        """The plan of an attempt at a record; None if this node knows of none."""
        if attempt > 1:
            return self._attempts.get((number, attempt))
        if number == 0:
            return genesis_plan(self._censuses.genesis)
        before = self.get(number - 1)
        return None if before is None else epoch_plan(before)

    def hand_over(self, handover: Handover) -> RoundPlan:
        """Open the attempt that follows these handovers. Raises ProtocolError."""
        if len(handover.decisions) < self.plan.attempt:
            raise RuleBroken("this attempt at the epoch is not the newest")
        self.plan = self._attempt_after(handover)
        return self.plan

    def _attempt_after(self, handover: Handover) -> RoundPlan:
        following = handed_over(self._first, handover, self._crypto)
        for plan in following:
            self._attempts[plan.round_number, plan.attempt] = plan
        return following[-1]

    def plan_of(self, record: Record) -> RoundPlan:
        """The plan of the attempt that a record is of. Raises ProtocolError."""
        plan = self._first
        if isinstance(record.abort, Handover):
            plan = self._attempt_after(record.abort)
        elif record.abort is not None:
            raise RuleBroken("the record of an epoch is handed over, not aborted")
        if plan.attempt < self.plan.attempt:
            raise RuleBroken("a record is of an attempt that was handed over")
        return plan

    def accept(self, record: Record) -> Epoch | None:
        """Verify the next record and begin its epoch; None while the census is missing here.

        Raises ProtocolError.
        """
        body = verify_record(self.plan_of(record), record, self._crypto)
        census = self.plan.census
        if body.next_census is not None:
            known = self._censuses.get(body.next_census)
            if known is None:
                self.missing = body.next_census
                return None
            check_succession(self.plan.census, known)
            census = known
        self.missing = None
        epoch = Epoch(body.round_number, body.next_beacon, census, record)
        self._epochs.append(epoch)
        self.plan = self._first = epoch_plan(epoch)
        return epoch


class _Begun(msgspec.Struct, frozen=True, array_like=True):
    """When the newest epoch began here."""

    number: int
    unix_s: float


class EpochClock:
    """When the next record of the chain is due at this node, and when to ask peers for it.

    unix_offset_s: unix time less the caller's clock, so that the start of an epoch outlives a
    restart; a wall clock that is wrong makes an epoch longer or shorter, and breaks nothing.
    """

    def __init__(
        self,
        params: ProtocolParams,
        unix_offset_s: float,
        restored: Mapping[str, bytes],
        now: float,
    ) -> None:
        self._params = params
        self._offset_s = unix_offset_s
        stored = restored.get(BEGUN)
        self._stored = None if stored is None else codec.decode(stored, _Begun, bytes_max=64)
        self._begun: float | None = None  # on the caller's clock
        self._heard: set[int] = set()  # members that have begun the next record
        self._questions = 0  # that are still to be asked, whatever the time
        self._ask_at = now + ASK_AFTER_S

    def begin(self, epoch: Epoch, now: float) -> bytes | None:
        """An epoch begins, or is read back; return what to store under BEGUN if it begins now."""
        self._heard.clear()
        if self._stored is not None and self._stored.number == epoch.number:
            self._begun = min(now, self._stored.unix_s - self._offset_s)
            return None
        self._begun = now
        return codec.encode(_Begun(epoch.number, now + self._offset_s))

    @property
    def due(self) -> float | None:
        """When the epoch has lasted long enough, on the caller's clock."""
        return None if self._begun is None else self._begun + self._params.epoch_length_s

    def hear(self, plan: RoundPlan, sender: int) -> None:
        """A node said something in the next round."""
        if sender in plan.member_of:
            self._heard.add(sender)

    def is_due(self, plan: RoundPlan, now: float) -> bool:
        """Whether this node is to take part in the next record."""
        if self.due is None:
            return True  # the genesis waits for nothing
        return now >= self.due or len(self._heard) > plan.size.corrupt_max

    def fell_behind(self, now: float) -> None:
        """Peers may be further: ask a few of them, soon."""
        self._questions = QUESTIONS
        self._ask_at = now

    def asks(self, now: float) -> bool:
        """Whether to ask a peer now for what follows."""
        if now < self.next_question:
            return False
        self._questions = max(0, self._questions - 1)
        self._ask_at = now + self._params.gossip_interval_s
        return True

    @property
    def next_question(self) -> float:
        """When `asks` will say so next."""
        if self._questions or self.due is None:
            return self._ask_at
        return max(self._ask_at, self.due + ASK_AFTER_S)
