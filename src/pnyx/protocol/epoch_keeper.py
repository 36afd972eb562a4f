"""What a node does about epochs and censuses: hears of them, stores them, passes them on.

The chain itself is in `epochs`, the censuses are in `censuses`; this part connects them with gossip
and with the rounds of the machine. Everything that it takes up is durable before anybody is told.

    census item  -> verified, stored, passed on; at the next record its committee votes for it
    fork         -> two censuses of one number: stored, passed on, told to the owner
    chain record -> verified by the one before, stored, passed on; its epoch begins
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from pnyx.errors import InvalidCertificate
from pnyx.primitives import codec
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.censuses import Censuses, CensusFork
from pnyx.protocol.epochs import BEGUN, Epoch, EpochChain, EpochClock, record_key
from pnyx.protocol.events import (
    AuthorityContradicted,
    CensusLearnt,
    Effect,
    EpochOpened,
    Forget,
    Persist,
)
from pnyx.protocol.gossip import Gossip, item_id
from pnyx.protocol.identity import CENSUS_BYTES_MAX, Census, CensusBody, SignedCensus
from pnyx.protocol.messages import Handover, Items, Pull, Record, RoundMessage, Signed, Step
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.ports import Crypto, Records
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.study import read_body

_CENSUS = "chain/census/"
_FORK = "chain/census-fork/"


def _handover_key(plan: RoundPlan) -> str:
    """Where handovers are stored until the record is in, which carries them."""
    return f"chain/epoch-handover/{plan.round_number}"


class EpochHost(Protocol):
    """What the machine does for its epochs."""

    def emit(self, effect: Effect) -> None:
        """Ask the shell for something."""
        ...

    def send(self, peer: bytes, message: Pull | Items) -> None:
        """Send a message to a peer."""
        ...

    def is_open(self, plan: RoundPlan) -> bool:
        """Whether this node takes part in a round of the chain."""
        ...

    def open_round(self, plan: RoundPlan) -> None:
        """Take part in a round of the chain."""
        ...

    def end_round(self, plan: RoundPlan, name: bytes) -> None:
        """A round of the chain is over: the item with this name tells how it ended."""
        ...

    def begin_epoch(self, epoch: Epoch) -> None:
        """An epoch has begun: studies may have waited for it."""
        ...


class EpochKeeper:
    """Epochs and censuses of one node; driven like a machine.

    genesis: the census of the network's first committee. censuses: all that the shell knows, as
    they were signed, encoded. restored: what earlier `Persist` effects stored. records: how
    items of gossip are written.
    """

    def __init__(
        self,
        *,
        node_id: bytes,
        genesis: Census,
        authority_key: bytes,
        censuses: Iterable[bytes],
        crypto: Crypto,
        params: ProtocolParams,
        sampler: Sampler,
        unix_offset_s: float,
        restored: Mapping[str, bytes],
        host: EpochHost,
        gossip: Gossip,
        peers: Callable[[], Sequence[bytes]],
        now: float,
        records: Records,
    ) -> None:
        self.node_id = node_id
        self._records = records
        self.censuses = Censuses(genesis, authority_key, crypto)
        self.chain = EpochChain(self.censuses, crypto)
        self.clock = EpochClock(params, unix_offset_s, restored, now)
        self._params = params
        self._crypto = crypto
        self._sampler = sampler
        self._offset_s = unix_offset_s
        self._host = host
        self._gossip = gossip
        self._peers = peers
        self._items: dict[bytes, bytes] = {}  # context of a record's round, or root -> item's name
        self._restore_censuses(censuses, restored)
        self.latest = self._find_latest()  # the last census that is known to follow

    def _restore_censuses(self, given: Iterable[bytes], restored: Mapping[str, bytes]) -> None:
        stored = [restored[name] for name in sorted(restored) if name.startswith(_CENSUS)]
        for item in (*given, *stored):
            self.censuses.take(codec.decode(item, SignedCensus, bytes_max=CENSUS_BYTES_MAX))
        for name in sorted(restored):
            if name.startswith(_FORK):
                self.censuses.convict(codec.decode(restored[name], CensusFork, bytes_max=16_384))

    def start(self, restored: Mapping[str, bytes], now: float) -> None:
        """Take up what was stored, and go on from there."""
        for signed in self.censuses.all_signed():
            self._keep_census(signed)
        for fork in self.censuses.forks.values():
            self._tell_fork(fork)
        while (stored := restored.get(record_key(self.chain.plan.round_number))) is not None:
            record = codec.decode(stored, Record, bytes_max=self._params.item_bytes_max)
            self._take_up(record, now)
        given = restored.get(_handover_key(self.chain.plan))
        if given is not None:
            bytes_max = self._params.item_bytes_max
            self.chain.hand_over(codec.decode(given, Handover, bytes_max=bytes_max))
            self._gossip.add(given)
        newest = self.chain.newest
        if newest is not None:
            self._host.emit(EpochOpened(newest.number, newest.beacon))
            self.clock.fell_behind(now)
        plan = self.chain.plan
        if any(name.startswith(f"{plan.scope}/") for name in restored):
            self._host.open_round(plan)
        self.make_epoch(now)

    # --- what others ask ------------------------------------------------------------------------

    @property
    def census(self) -> Census:
        """The census in force."""
        return self.chain.census

    def admits(self, node: bytes) -> bool:
        """Whether a node may speak: it is in the census in force, or in a later one."""
        current = self.census
        if node in current:  # nearly everybody that is asked about, several times a message
            return True
        number = current.body.number
        return any(census.body.number >= number and node in census for census in self.censuses)

    def has_left(self, node: bytes) -> bool:
        """Whether the last census that is known lists a node no more."""
        return node not in self.latest

    def check(self, signed: Signed) -> None:
        """Verify what a node of any census signed. Raises ProtocolError."""
        census = self.censuses.listing(signed.signer)
        if census is None:
            raise InvalidCertificate(f"node {signed.signer.hex()[:12]} is not in the census")
        census.check(self._crypto, signed)

    def check_in_force(self, signed: Signed) -> None:
        """Verify what a node of the census in force signed. Raises ProtocolError.

        Or this node itself, whose census may not be in force yet.
        """
        if signed.signer == self.node_id:
            self.check(signed)
        else:
            self.census.check(self._crypto, signed)

    def expired(self, now: float) -> bool:
        """Whether the authority was silent for too long: then no new study opens."""
        return self.expired_at(now + self._offset_s)

    def expired_at(self, unix_s: float) -> bool:
        """Whether the last census that is known is beyond its time, so that revocations are not."""
        return unix_s >= self.latest.body.valid_until

    def item_of(self, name: bytes) -> bytes | None:
        """The record that ended a round of the chain, by its context; or a census, by its root."""
        held = self._items.get(name)
        return None if held is None else self._gossip.get(held)

    # --- time -----------------------------------------------------------------------------------

    def next_deadline(self) -> float:
        """When `tick` has something to do."""
        times = [self.clock.next_question]
        if self.clock.due is not None and not self._host.is_open(self.chain.plan):
            times.append(self.clock.due)
        return min(times)

    def tick(self, now: float) -> None:
        """Make the next record when it is due; ask a peer for it when it is late."""
        self.make_epoch(now)
        peers = self._peers()
        if peers and self.clock.asks(now):
            self._ask(peers[self._sampler.below(len(peers))])

    def _ask(self, peer: bytes) -> None:
        wanted = self.chain.missing or self.chain.plan.context
        self._host.send(peer, Pull(wanted, Step.DONE))

    def make_epoch(self, now: float) -> None:
        """Take part in the next record of the chain once that is due."""
        plan = self.chain.plan
        if not self._host.is_open(plan) and self.clock.is_due(plan, now):
            self._host.open_round(plan)

    def hear(self, sender: bytes, message: RoundMessage, now: float) -> None:
        """A message of a round that this node has not opened: perhaps of the next record."""
        plan = self.chain.plan
        index = plan.census.index_of(sender)
        if message.context == plan.context and index is not None:
            self.clock.hear(plan, index)
            self.make_epoch(now)

    # --- what comes in --------------------------------------------------------------------------

    def on_record(self, record: Record, peer: bytes, now: float) -> None:
        """Take up a record of the chain. Raises ProtocolError."""
        number = read_body(record).round_number
        if number < self.chain.plan.round_number:
            self._gossip.refuse(self._records.encode(record))
        elif number > self.chain.plan.round_number:
            self.clock.fell_behind(now)
        elif self._take_up(record, now):
            newest = self.chain.newest
            assert newest is not None, "a record was just taken up"
            self._host.emit(EpochOpened(newest.number, newest.beacon))
            if peer != self.node_id:
                self.clock.fell_behind(now)
            self.make_epoch(now)
        else:
            self.clock.fell_behind(now)

    def _take_up(self, record: Record, now: float) -> bool:
        opened, epoch = self.chain.plan, self.chain.accept(record)
        if epoch is None:
            return False
        plan = self.chain.plan_at(epoch.number, read_body(record).attempt)
        assert plan is not None, "the record was just verified by it"
        encoded = self._records.encode(record)
        self._host.emit(Persist(record_key(epoch.number), encoded))
        begun = self.clock.begin(epoch, now)
        if begun is not None:
            self._host.emit(Persist(BEGUN, begun))
        members = frozenset(plan.census.node_ids[index] for index in plan.committee)
        name = self._items[plan.context] = self._gossip.add(encoded, informed=members)
        self.latest = self._find_latest()
        if record.abort is not None:
            self._host.emit(Forget(_handover_key(plan)))
        self._withdraw_handover(opened)
        self._end_attempts(plan, name)
        self._host.begin_epoch(epoch)
        return True

    def on_handover(self, handover: Handover) -> None:
        """Attempts at a record were handed over: open the next. Raises ProtocolError."""
        opened, item = self.chain.plan, self._records.encode(handover)
        if handover.round_number > opened.round_number:
            return  # of a future that a record must open
        past = handover.round_number < opened.round_number
        if past or len(handover.decisions) < opened.attempt:
            self._gossip.refuse(item)
            return
        following = self.chain.hand_over(handover)
        self._host.emit(Persist(_handover_key(opened), item))
        self._withdraw_handover(opened)
        before_it = self.chain.plan_at(following.round_number, following.attempt - 1)
        assert before_it is not None, "it was just handed over"
        self._end_attempts(before_it, self._gossip.add(item))
        self._host.open_round(following)

    def _withdraw_handover(self, opened: RoundPlan) -> None:
        """Tell no more what opened this attempt: the record tells, or a longer handover."""
        if opened.abort is not None:
            self._gossip.drop((item_id(self._records.encode(opened.abort)),))

    def _end_attempts(self, last: RoundPlan, name: bytes) -> None:
        """All attempts at a record up to this one are over: the item tells how."""
        for attempt in range(1, last.attempt + 1):
            over = self.chain.plan_at(last.round_number, attempt)
            assert over is not None, "attempts follow one another"
            self._host.end_round(over, name)

    def on_census(self, signed: SignedCensus, now: float) -> None:
        """Take up a census. Raises ProtocolError."""
        forks = len(self.censuses.forks)
        found = self.censuses.take(signed, self.chain.missing)
        if found is not None:
            self._keep_census(signed)
            self._host.emit(CensusLearnt(found.body.number, found.root, len(found)))
            if found.root == self.chain.missing:
                self.chain.missing = None
                self.clock.fell_behind(now)
        if len(self.censuses.forks) > forks:
            number = codec.decode(signed.body, CensusBody, bytes_max=4096).number
            self._tell_fork(self.censuses.forks[number])
        if found is None:
            self._gossip.refuse(self._records.encode(signed))
        self.latest = self._find_latest()

    def on_fork(self, fork: CensusFork) -> None:
        """Take up evidence against the authority. Raises ProtocolError."""
        if not self.censuses.convict(fork):
            self._gossip.refuse(self._records.encode(fork))
            return
        self.latest = self._find_latest()
        self._tell_fork(fork)

    def _tell_fork(self, fork: CensusFork) -> None:
        item, number = self._records.encode(fork), fork.number
        self._host.emit(Persist(f"{_FORK}{number:010d}", item))
        self._gossip.add(item)
        self._host.emit(AuthorityContradicted(number))

    def _keep_census(self, signed: SignedCensus) -> None:
        """Store a census and pass it on; one too large to be an item travels by file only."""
        item, root = self._records.encode(signed), signed.root
        self._host.emit(Persist(f"{_CENSUS}{root.hex()}", item))
        if len(item) <= self._params.item_bytes_max:
            self._items[root] = self._gossip.add(item)

    def _find_latest(self) -> Census:
        census = self.chain.census
        return [census, *self.censuses.line(census)][-1]
