"""Simulated nodes: the real machine, a disk, an owner, and a process that can be killed.

The shell here does what the real one does: it carries out effects in order, answers slow ones
later, and forgets everything but the disk when its process dies. A kill may fall between any two
effects of one list, which is where a real process dies: what was persisted before stays, what
would have been sent after never was.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

import msgspec
import numpy as np

from pnyx.errors import ProtocolError
from pnyx.primitives.hashing import digest
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.masked.checkpoints import checkpoint
from pnyx.protocol.aggregation.masked.parameters import SHARED_RINGS, ParameterSet, choose
from pnyx.protocol.aggregation.masked_verification.bounds import choose as choose_verified
from pnyx.protocol.aggregation.masked_verification.bounds import masks_of
from pnyx.protocol.chunks import chunk_message
from pnyx.protocol.events import (
    AskConsent,
    ChunkSent,
    Compute,
    Computed,
    ConsentDeclined,
    ConsentGiven,
    DebitRecorded,
    DebitRefused,
    Effect,
    Event,
    Forget,
    ForgetParcel,
    ParcelRead,
    Persist,
    ReadParcel,
    RecordDebit,
    SealParcel,
    Send,
    SendChunk,
    StartTraining,
    StoreChunk,
    SummingFailed,
    SumVectors,
    TimerExpired,
    TrainingFailed,
    TrainingFinished,
)
from pnyx.protocol.evidence.docket import VerifyEvidence
from pnyx.protocol.identity import (
    Census,
    CensusEntry,
    make_census,
    network_id,
    node_id,
    verify_census,
)
from pnyx.protocol.machine import NodeMachine
from pnyx.protocol.manifest import VerifiedNorm
from pnyx.protocol.messages import PARTED_BYTES_MAX
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.parcels import held_parcels
from pnyx.protocol.ports import Crypto, IntVector, Records
from pnyx.protocol.selection import CommitteeSize, choose_committee
from pnyx.protocol.vector_sums import (
    check_summed,
    linear_hashes_of,
    store_sum,
    summed_chunks,
)
from pnyx.simulator.parcel_store import MemoryParcelStore
from pnyx.simulator.scheduler import Scheduler

CryptoFactory = Callable[[bytes], Crypto]
_CENSUS_SECONDS = 30 * 86_400


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """What a person's node is told to do."""

    consents: bool = True
    withdraws_s: float | None = None
    training_s: float = 0.1
    training_fails: bool = False
    rounds_paid_max: int = 1_000_000  # debits that the budget allows


class Clock(msgspec.Struct, frozen=True):
    """A node's own clock: what it shows at true time t is ahead_s + rate * t, in seconds."""

    ahead_s: float = 0.0
    rate: float = 1.0

    def shows(self, time_s: float) -> float:
        """The reading at a true time."""
        return self.ahead_s + self.rate * time_s

    def time_of(self, reading_s: float) -> float:
        """A true time at which the clock shows no less than this."""
        if self == RIGHT:
            return reading_s
        return (reading_s - self.ahead_s) / self.rate + _CLOCK_TICK_S


_CLOCK_TICK_S = 1e-9  # above the rounding of an hour in seconds
RIGHT = Clock()


UNIT_NORM_MAX = 2
_VALUE_BITS = 3  # hold an entry with all of that norm
MODEL_DTYPE = np.dtype("<i4")


class UnitVectors:
    """The oracle of every run: node i contributes its unit vector, once for model and metrics.

    So the published metrics of a round are exactly the set of nodes that were counted, and a 2
    anywhere means that somebody was counted twice. The model adds up the rounds; what a longer
    vector holds between the two is zero and part of the model.

    slots: unit vectors there are; where they are fewer than nodes, node i shares that of i modulo
    slots, and the metrics are how many of each slot were counted. length: of the whole vector, at
    least 2 * slots. masks: whether the model's part travels masked; the metrics are counts then,
    each of one bit. verified: whether the norm of that part is proven. poisoners: nodes that
    contribute the negative to the model.
    """

    def __init__(
        self,
        slots: int,
        length: int,
        *,
        masks: bool = False,
        verified: bool = False,
        contributors_max: int = 0,
        poisoners: Collection[int] = (),
    ) -> None:
        self.slots = slots
        self.length = max(length, 2 * slots)
        self.poisoners = frozenset(poisoners)
        most, model = contributors_max or slots, self.length - slots
        self.verified = choose_verified(model, most, most // 3) if verified else None
        self.masked: ParameterSet | None = None
        if self.verified is not None:
            self.masked = masks_of(self.verified)
        elif masks:
            self.masked = choose(model, _VALUE_BITS, most, rings=SHARED_RINGS)

    @property
    def bounds(self) -> Bounds:
        """A unit vector for the model and one for the metrics: norm √2, within 2."""
        if self.masked is None:
            return Bounds(self.length, self.length, UNIT_NORM_MAX, 0)
        return Bounds(
            self.slots,
            0,
            0,
            1,
            key_length=self.masked.degree,
            key_fields=len(self.masked.primes),
            masked_norm_max=0 if self.verified is None else self.verified.norm_scaled,
        )

    @property
    def verified_norm(self) -> VerifiedNorm | None:
        """What a phase says of the norm of masked updates."""
        if self.verified is None:
            return None
        return VerifiedNorm(self.verified.norm_max, self.verified.colluding_max)

    @property
    def initial_model(self) -> bytes:
        """Zeros."""
        return bytes(MODEL_DTYPE.itemsize * (self.length - self.slots))

    def vector(self, node: int) -> IntVector:
        """[length]: the node's unit vector, for the model and then for the metrics."""
        slot = node % self.slots
        vector = np.zeros(self.length, dtype=np.int64)
        vector[slot] = -1 if node in self.poisoners else 1
        vector[self.length - self.slots + slot] = 1
        return vector

    def total(self, counted: Iterable[int]) -> tuple[IntVector, IntVector]:
        """[slots], [slots]: what these nodes add to the model, and their metrics."""
        model, metrics = np.zeros((2, self.slots), dtype=np.int64)
        for node in counted:
            model[node % self.slots] += -1 if node in self.poisoners else 1
            metrics[node % self.slots] += 1
        return model, metrics

    def next_model(
        self, manifest: bytes, round_number: int, model: bytes, total: IntVector, count: int
    ) -> bytes | None:
        """The previous model plus the sum; implements `protocol.ports.ModelRule`."""
        del manifest, round_number, count
        before = np.frombuffer(model, dtype=MODEL_DTYPE)
        return (before + total[: self.length - self.slots]).astype(MODEL_DTYPE).tobytes()


class Adversary(Protocol):
    """What makes a node corrupt; see `adversary`."""

    def receive(self, event: Event, now: float) -> Event | None:
        """Change what the honest machine hears; None keeps it from hearing."""
        ...

    def emit(self, effects: list[Effect], now: float) -> list[Effect]:
        """Change what the honest machine does."""
        ...


class World(Protocol):
    """What a simulated node needs of the simulation around it."""

    scheduler: Scheduler
    records: Records
    verify_evidence: VerifyEvidence

    def carry(self, sender: "SimulatedNode", receiver: bytes, payload: bytes) -> None:
        """Hand a message to the network."""
        ...

    def observe(self, node: "SimulatedNode", effect: Effect) -> None:
        """See an effect that was carried out."""
        ...

    def crashed(self, node: "SimulatedNode") -> None:
        """See a node die."""
        ...


class SimulatedNode:
    """A machine with its disk and owner, up or down."""

    def __init__(
        self,
        world: World,
        census: Census,
        contacts: frozenset[bytes],
        index: int,
        crypto: Crypto,
        rule: UnitVectors,
        owner: Owner,
        params: ProtocolParams,
        seed: bytes,
        clock: Clock = RIGHT,
        *,
        addresses: bool = True,
    ) -> None:
        self.index = index
        self.node_id = census.node_ids[index]
        self.owner = owner
        self.crypto = crypto
        self.disk: dict[str, bytes] = {}
        self.parcels = MemoryParcelStore()
        self.ledger: set[bytes] = set()
        self.consents: set[bytes] = set()
        self.machine: NodeMachine | None = None
        self.adversary: Adversary | None = None
        self.effects_done = 0
        self.kill_after: int | None = None  # dies once so many effects are done, all lives together
        self.starts = 0
        self._world = world
        self._census = census
        self._contacts = contacts
        self._rule = rule
        self._params = params
        self._seed = seed
        self._clock = clock
        self._address = (f"node-{index}.example", 7001) if addresses else None

    @property
    def _now(self) -> float:
        return self._clock.shows(self._world.scheduler.now)

    @property
    def up(self) -> bool:
        """Whether the process runs."""
        return self.machine is not None

    def start(self) -> None:
        """Start the process, with fresh secrets and what the disk holds."""
        if self.machine is not None:
            return
        if self.parcels.retain(held_parcels(self.disk)):
            raise RuntimeError(f"node {self.index} holds a parcel that was never sealed")
        self.starts += 1
        start = self.starts.to_bytes(4, "big")
        self.machine = NodeMachine(
            node_id=self.node_id,
            census=self._census,
            crypto=self.crypto,
            rule=self._rule,
            params=self._params,
            seed=digest("pnyx/simulator/start", self._seed, self.node_id, start),
            serve=True,
            address=self._address,
            address_sequence=self.starts,
            contacts=self._contacts,
            restored=self.disk,
            now=self._now,
            records=self._world.records,
            verify_evidence=self._world.verify_evidence,
        )
        self.handle(TimerExpired())

    def speak_whole(self) -> None:
        """Say nothing in parts, from its start on: what is whole can be altered on its way out."""
        self._params = msgspec.structs.replace(self._params, parted_bytes_min=PARTED_BYTES_MAX)

    def crash(self) -> None:
        """Kill the process: everything but disk, ledger and the owner's decisions is gone."""
        if self.machine is not None:
            self.machine = None
            self._world.scheduler.disarm(self.index)
            self._world.crashed(self)

    def decide(self, study: bytes, *, given: bool) -> None:
        """The owner accepts or refuses; what it said outlives the process."""
        (self.consents.add if given else self.consents.discard)(study)
        self.handle(ConsentGiven(study) if given else ConsentDeclined(study))

    def handle(self, event: Event) -> None:
        """Let the machine process an event, and do what it asks."""
        machine, now = self.machine, self._now
        if machine is None:
            return
        heard = event if self.adversary is None else self.adversary.receive(event, now)
        if heard is not None:
            effects = machine.handle(heard, now)
            if self.adversary is not None:
                effects = self.adversary.emit(effects, now)
            for effect in effects:
                if self.effects_done == self.kill_after:
                    self.kill_after = None
                    self.crash()
                    return
                self.effects_done += 1
                self._carry_out(effect)
        deadline = machine.next_deadline()
        if deadline is not None:
            if deadline <= now and isinstance(event, TimerExpired):
                raise RuntimeError(f"node {self.index} asks to be woken at once, again and again")
            self._world.scheduler.arm(self.index, self._clock.time_of(deadline), self._wake)

    def _wake(self) -> None:
        machine, scheduler = self.machine, self._world.scheduler
        deadline = machine.next_deadline() if machine is not None else None
        if deadline is None:
            return
        if deadline <= self._now:
            self.handle(TimerExpired())
        else:
            scheduler.arm(self.index, self._clock.time_of(deadline), self._wake)

    def _carry_out(self, effect: Effect) -> None:
        self._world.observe(self, effect)
        match effect:
            case Send():
                self._world.carry(self, effect.peer, effect.payload)
            case Persist():
                self.disk[effect.key] = effect.value
            case Forget():
                for key in [key for key in self.disk if key.startswith(effect.prefix)]:
                    del self.disk[key]
            case StoreChunk() | SealParcel() | ForgetParcel() | SendChunk():
                self._carry_out_parcel(effect)
            case AskConsent():
                self._later(0.01, self._answer, effect.study)
            case StartTraining():
                self._later(self.owner.training_s, self._trained, effect)
            case RecordDebit():
                self._debit(effect)
            case ReadParcel():
                self._later(0.001, self._read, effect)
            case SumVectors():
                self._later(0.005, self._sum, effect)
            case Compute():
                self._later(0.005, self._compute, effect)
            case _:
                pass  # notices oblige nobody

    def _carry_out_parcel(self, effect: StoreChunk | SealParcel | ForgetParcel | SendChunk) -> None:
        match effect:
            case StoreChunk():
                self.parcels.write(effect.parcel, effect.index, effect.data)
            case SealParcel():
                self.parcels.seal(effect.parcel, effect.length)
            case ForgetParcel():
                self.parcels.remove(effect.parcel)
            case SendChunk():
                data = self.parcels.read(effect.parcel, effect.index)
                message = None if data is None else chunk_message(effect, data)
                if message is not None:
                    self._world.carry(self, effect.peer, message)
                sent = ChunkSent(effect.peer, effect.parcel, effect.index)
                self._later(0.0, self.handle, sent)

    def _read(self, effect: ReadParcel) -> None:
        if self.parcels.read(effect.parcel, 0) is not None:  # else its round has ended meanwhile
            data = b"".join(self.parcels.chunks(effect.parcel))
            self.handle(ParcelRead(effect.context, effect.parcel, data))

    def _compute(self, effect: Compute) -> None:
        self.handle(Computed(effect.context, effect.name, effect.work()))

    def _sum(self, effect: SumVectors) -> None:
        if all(self.parcels.read(parcel, 0) is not None for parcel in effect.parcels):
            chunks = summed_chunks(self.parcels, effect)
            earlier = self._signed(effect, chunks)
            if earlier is not None:
                self.handle(store_sum(self.parcels, effect, chunks, earlier))
                return
        self.handle(SummingFailed(effect.context, effect.name))

    def _signed(self, effect: SumVectors, chunks: list[bytes]) -> tuple[bytes, ...] | None:
        """The earlier checkpoints of a sum that the node would sign; who is corrupt signs any."""
        try:
            if self.adversary is not None:
                return tuple(map(checkpoint, linear_hashes_of(effect, chunks)[:-1]))
            return check_summed(effect, chunks)
        except ProtocolError:
            return None

    def _later(self, delay_s: float, action: Callable[..., None], *args: object) -> None:
        """Answer a slow effect, unless the process dies first."""
        life, scheduler = self.starts, self._world.scheduler

        def answer() -> None:
            if self.up and self.starts == life:
                action(*args)

        scheduler.call_at(scheduler.now + delay_s, answer)

    def _answer(self, study: bytes) -> None:
        withdrawn = self.owner.withdraws_s
        away = withdrawn is not None and self._world.scheduler.now >= withdrawn
        self.decide(study, given=self.owner.consents and not away)

    def _trained(self, task: StartTraining) -> None:
        if self.owner.training_fails:
            self.handle(TrainingFailed(task.study, task.round_number, "scripted", task.attempt))
        else:
            vector = self._rule.vector(self.index)
            self.handle(TrainingFinished(task.study, task.round_number, vector, task.attempt))

    def _debit(self, effect: RecordDebit) -> None:
        """Check consent and budget and write the ledger, durably, before answering."""
        fresh = effect.context not in self.ledger  # a second debit is refused, as by the vault
        if (
            effect.study in self.consents
            and fresh
            and len(self.ledger) < self.owner.rounds_paid_max
        ):
            self.ledger.add(effect.context)
            self._later(0.002, self.handle, DebitRecorded(effect.context))
        else:
            self._later(0.002, self.handle, DebitRefused(effect.context, "scripted"))


class Population:
    """A network of `owners` under one simulated authority; nodes are numbered as in the census."""

    def __init__(
        self,
        world: World,
        owners: Mapping[int, Owner],
        params: ProtocolParams,
        seed: bytes,
        crypto: CryptoFactory,
        rule: UnitVectors,
        committee: CommitteeSize | None = None,
        clocks: Mapping[int, Clock] | None = None,
        *,
        addresses: bool = True,
    ) -> None:
        wrong = clocks or {}
        authority = crypto(digest("pnyx/simulator/authority", seed))
        self.network = network_id(authority.public_key, "simulated")
        cryptos = {
            node_id(made.public_key, bytes(16)): made
            for made in (
                crypto(digest("pnyx/simulator/key", seed, number.to_bytes(4, "big")))
                for number in range(len(owners))
            )
        }
        signed = make_census(
            authority.sign,
            network=self.network,
            number=0,
            previous=bytes(32),
            entries=[CensusEntry(each, made.public_key) for each, made in cryptos.items()],
            committee=committee or choose_committee(len(owners)),
            issued_at=0,
            valid_until=_CENSUS_SECONDS,
        )
        self.census = verify_census(
            signed,
            network=self.network,
            authority_key=authority.public_key,
            crypto=authority,
            now=0,
        )
        self.rule = rule
        contacts = frozenset(self.census.node_ids)
        self.nodes = tuple(
            SimulatedNode(
                world,
                self.census,
                contacts,
                index,
                cryptos[each],
                self.rule,
                owners[index],
                params,
                seed,
                wrong.get(index, RIGHT),
                addresses=addresses,
            )
            for index, each in enumerate(self.census.node_ids)
        )
