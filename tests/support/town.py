"""A few node machines on one table: virtual time, an inspectable wire, crashes and restarts.

Smaller than the simulator on purpose: it knows nothing of loss or latency tails, and lets a test
watch, alter, drop or forge every message between two nodes. Nodes are numbered by their place in
the census.
"""

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from msgspec.structs import replace

from pnyx.primitives import codec
from pnyx.primitives.signature import SigningKey
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.masked.parameters import SHARED_RINGS, choose
from pnyx.protocol.aggregation.masked_verification.bounds import choose as verified_bounds
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
    MessageReceived,
    MessageRejected,
    ParcelRead,
    PeerBlamed,
    Persist,
    ReadParcel,
    RecordDebit,
    RoundCertified,
    SealParcel,
    Send,
    SendChunk,
    StartTraining,
    StoreChunk,
    StudyProposed,
    SummingFailed,
    SumVectors,
    TimerExpired,
    TrainingFinished,
)
from pnyx.protocol.identity import (
    Census,
    CensusEntry,
    make_census,
    network_id,
    node_id,
    verify_census,
)
from pnyx.protocol.machine import AnyMessage, NodeMachine
from pnyx.protocol.manifest import Manifest, StudyPhase, VerifiedNorm
from pnyx.protocol.models import model_name
from pnyx.protocol.noise import NO_NOISE
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.parcels import held_parcels
from pnyx.protocol.ports import Crypto
from pnyx.protocol.selection import CommitteeSize, committee_size
from pnyx.protocol.vector_sums import check_summed, store_sum, summed_chunks
from pnyx.simulator.crypto import IdealCrypto
from pnyx.simulator.parcel_store import MemoryParcelStore

NETWORK = network_id(b"A" * 32, "test")
LATENCY_S = 0.02
SMALL = committee_size(7, 1, 2)  # k 7, f 1, l 2, D 2, q 6


def ideal(seed: bytes) -> Crypto:
    """Signatures and envelopes without arithmetic."""
    return IdealCrypto(seed)


def real(seed: bytes) -> Crypto:
    """Ed25519 and HPKE."""
    from pnyx.node.crypto import NodeCrypto

    return NodeCrypto(SigningKey(seed))


@dataclass
class People:
    """A census and the keys behind it, in census order."""

    census: Census
    cryptos: list[Crypto]
    seeds: list[bytes]


def people(count: int, size: CommitteeSize, make: Callable[[bytes], Crypto] = ideal) -> People:
    """Enrol `count` nodes with seeds 1, 2, ..."""
    made = []
    for at in range(1, count + 1):
        seed = at.to_bytes(32, "big")
        crypto = make(seed)
        made.append((node_id(crypto.public_key, bytes(16)), crypto, seed))
    made.sort(key=lambda each: each[0])
    authority = make(b"Z" * 32)
    signed = make_census(
        authority.sign,
        network=NETWORK,
        number=0,
        previous=bytes(32),
        entries=[CensusEntry(name, crypto.public_key) for name, crypto, _ in made],
        committee=size,
        issued_at=0,
        valid_until=10**9,
    )
    census = verify_census(
        signed, network=NETWORK, authority_key=authority.public_key, crypto=authority, now=1
    )
    return People(census, [crypto for _, crypto, _ in made], [seed for _, _, seed in made])


class AddRule:
    """A model that adds up the sums of its rounds: the entries say who was counted how often."""

    def next_model(self, manifest, round_number, model, total, count):
        return (np.frombuffer(model, "<i8") + total).astype("<i8").tobytes()


def unit(index: int, length: int) -> np.ndarray:
    """Contribution of one node: 1 in its own place, so that a 2 anywhere is double counting."""
    vector = np.zeros(length, dtype=np.int64)
    vector[index] = 1
    return vector


def phase(length: int, norm_max: int = 1, **terms) -> StudyPhase:
    """A training phase of unit vectors, or of vectors up to another norm."""
    return StudyPhase(
        **{
            "kind": "train",
            "rounds": 1,
            "bounds": Bounds(length, length, norm_max, 0),
            "metrics_length": 0,
            "target": 5,
            "drawn": 6,
            "deadline_s": 8.0,
            "cohort_min": 3,
            "clip": 0,
            "noise": NO_NOISE,
            **terms,
        }
    )


def masked_phase(length: int, value_bits: int = 2, **terms) -> StudyPhase:
    """A training phase whose unit vectors travel masked; one count of a bit is shared besides."""
    masks = choose(length, value_bits, 8, rings=SHARED_RINGS)
    bounds = Bounds(1, 0, 0, 1, key_length=masks.degree, key_fields=len(masks.primes))
    return phase(length, bounds=bounds, masked=masks, **terms)


def verified_phase(length: int, **terms) -> StudyPhase:
    """As `masked_phase`, with the norm of every masked update verified."""
    chosen = verified_bounds(length, 8, 2)
    masks = masks_of(chosen)
    bounds = Bounds(1, 0, 0, 1, 1, 0, None, masks.degree, 1, chosen.norm_scaled)
    norm = VerifiedNorm(chosen.norm_max, chosen.colluding_max)
    return phase(
        length, **{"bounds": bounds, "masked": masks, "verified": norm, "clip": 1, **terms}
    )


def masked_manifest(length: int, nonce: bytes = bytes(32), **terms) -> Manifest:
    """A study of masked rounds over vectors of `length` integers, and one count.

    terms: of its phase.
    """
    return manifest(length + 1, [masked_phase(length, **terms)], nonce=nonce)


def verified_manifest(length: int, nonce: bytes = bytes(32), **terms) -> Manifest:
    """As `masked_manifest`, with the norm of every masked update verified."""
    return manifest(length + 1, [verified_phase(length, **terms)], nonce=nonce)


def manifest(length: int, phases: Sequence[StudyPhase] | None = None, **terms) -> Manifest:
    """A study over vectors of `length` integers that starts from zeros."""
    return Manifest(
        **{
            "network": NETWORK,
            "proposer": bytes(32),
            "version": 1,
            "epoch": 0,
            "title": "t",
            "purpose": "p",
            "purpose_term": "x",
            "category": "c",
            "query": "",
            "columns": ("a",),
            "ranges": (),
            "label": "l",
            "program": b"",
            "hyperparameters": b"",
            "initial_model": model_name(bytes(8 * length)),
            "model_bytes": 8 * length,
            "phases": tuple(phases or (phase(length),)),
            "join_window_s": 2.0,
            "nonce": bytes(32),
            **terms,
        }
    )


Wire = Callable[[int, int, object], Iterable[object] | None]


@dataclass
class Town:
    """Machines, their durable stores, and the queue between them.

    wire(sender, receiver, message) returns the messages to deliver instead, or None for the
    message as it is. consents, debits: who says no. keeps: what a disk does not lose, by key.
    log: every effect with its time and node.
    """

    count: int = 9
    size: CommitteeSize = SMALL
    make: Callable[[bytes], Crypto] = ideal
    params: ProtocolParams = field(default_factory=ProtocolParams)
    serving: Callable[[int], bool] = lambda index: True
    consents: Callable[[int], bool] = lambda index: True
    debits: Callable[[int], bool] = lambda index: True
    keeps: Callable[[str], bool] = lambda key: True
    wire: Wire | None = None
    vector: Callable[[int, int, int], np.ndarray] = lambda index, round_number, length: unit(
        index, length
    )

    def __post_init__(self) -> None:
        folk = people(self.count, self.size, self.make)
        self.census, self.cryptos, self.seeds = folk.census, folk.cryptos, folk.seeds
        self.now = 0.0
        self.lengths: dict[bytes, int] = {}
        self.log: list[tuple[float, int, Effect]] = []
        self.stored: list[dict[str, bytes]] = [{} for _ in range(self.count)]
        self.parcels = [MemoryParcelStore() for _ in range(self.count)]
        self.starts = [0] * self.count
        self.alive = [True] * self.count
        self._queue: list[tuple[float, int, int, Event]] = []
        self._number = 0
        self._timers: list[float | None] = [None] * self.count
        self.machines = [self._machine(index) for index in range(self.count)]
        for index in range(self.count):
            self.push(index, TimerExpired(), after=0.001 * index)

    def _machine(self, index: int) -> NodeMachine:
        return self.start(NodeMachine, index, self.census)

    def start(self, kind: type[NodeMachine], index: int, census: Census, **terms) -> NodeMachine:
        """A process begins, with what its earlier lives have stored. terms: of its machine."""
        self.starts[index] += 1
        self.parcels[index].retain(held_parcels(self.stored[index]))
        return kind(
            node_id=self.census.node_ids[index],
            census=census,
            crypto=self.cryptos[index],
            rule=AddRule(),
            params=self.params,
            seed=index.to_bytes(16, "big") + self.starts[index].to_bytes(16, "big"),
            serve=self.serving(index),
            address=("h", 1000 + index),
            address_sequence=self.starts[index],
            contacts=self.census.node_ids,
            restored=dict(self.stored[index]),
            now=self.now,
            **terms,
        )

    # --- time -----------------------------------------------------------------------------------

    def push(self, index: int, event: Event, after: float = 0.0) -> None:
        """Hand an event to a node, later."""
        self._number += 1
        heapq.heappush(self._queue, (self.now + after, self._number, index, event))

    def run(self, until: Callable[[], bool] | None = None, seconds: float = 60.0) -> bool:
        """Go on until a condition holds (True), or the time is over or nothing is left (False)."""
        end = self.now + seconds
        while self._queue and self._queue[0][0] <= end:
            if until is not None and until():
                return True
            self.now, _, index, event = heapq.heappop(self._queue)
            if not self.alive[index]:
                continue
            if isinstance(event, TimerExpired):
                timer = self._timers[index]
                if timer is not None and self.now < timer - 1e-9:
                    continue
                self._timers[index] = None
            self.handle(index, event)
        return until is not None and until()

    def handle(self, index: int, event: Event) -> list[Effect]:
        """Give a node an event now, and carry out what it asks for."""
        effects = self.machines[index].handle(event, self.now)
        for effect in effects:
            self.log.append((self.now, index, effect))
            if not self.alive[index]:
                break  # the wire crashed it: what it had not done yet is not done
            self._carry_out(index, effect)
        deadline = self.machines[index].next_deadline()
        timer = self._timers[index]
        if self.alive[index] and (timer is None or deadline < timer - 1e-9):
            self._timers[index] = max(deadline, self.now + 1e-6)
            self.push(index, TimerExpired(), after=self._timers[index] - self.now)
        return effects

    def _carry_out(self, index: int, effect: Effect) -> None:
        match effect:
            case Send():
                receiver = self.census.index_of(effect.peer)
                assert receiver is not None
                self._deliver(index, receiver, effect.payload)
            case Persist() if self.keeps(effect.key):
                self.stored[index][effect.key] = effect.value
            case Forget():
                for key in [k for k in self.stored[index] if k.startswith(effect.prefix)]:
                    del self.stored[index][key]
            case AskConsent():
                answer = ConsentGiven if self.consents(index) else ConsentDeclined
                self.push(index, answer(effect.study))
            case StartTraining():
                vector = self.vector(index, effect.round_number, self.lengths[effect.study])
                self.push(
                    index,
                    TrainingFinished(effect.study, effect.round_number, vector, effect.attempt),
                    after=0.1,
                )
            case RecordDebit():
                answer = (
                    DebitRecorded(effect.context)
                    if self.debits(index)
                    else DebitRefused(effect.context, "no budget")
                )
                self.push(index, answer)
            case _:
                self._carry_out_parcel(index, effect)

    def _carry_out_parcel(self, index: int, effect: Effect) -> None:
        match effect:
            case StoreChunk():
                self.parcels[index].write(effect.parcel, effect.index, effect.data)
            case SealParcel():
                self.parcels[index].seal(effect.parcel, effect.length)
            case ForgetParcel():
                self.parcels[index].remove(effect.parcel)
            case SendChunk():
                self._send_chunk(index, effect)
            case ReadParcel() if self.parcels[index].read(effect.parcel, 0) is not None:
                data = b"".join(self.parcels[index].chunks(effect.parcel))
                self.push(index, ParcelRead(effect.context, effect.parcel, data))
            case Compute():
                computed = Computed(effect.context, effect.name, effect.work())
                self.push(index, computed, after=0.005)
            case SumVectors():
                self.push(index, self._sum(index, effect), after=0.005)

    def _sum(self, index: int, effect: SumVectors) -> Event:
        store = self.parcels[index]
        if any(store.read(parcel, 0) is None for parcel in effect.parcels):
            return SummingFailed(effect.context, effect.name)
        chunks = summed_chunks(store, effect)
        return store_sum(store, effect, chunks, check_summed(effect, chunks))

    def _send_chunk(self, index: int, effect: SendChunk) -> None:
        data = self.parcels[index].read(effect.parcel, effect.index)
        message = None if data is None else chunk_message(effect, data)
        receiver = self.census.index_of(effect.peer)
        if message is not None:
            self._deliver(index, receiver, message)
        self.push(index, ChunkSent(effect.peer, effect.parcel, effect.index))

    def _deliver(self, sender: int, receiver: int, payload: bytes) -> None:
        payloads: Iterable[bytes] = (payload,)
        if self.wire is not None:
            message = codec.decode(payload, AnyMessage, bytes_max=2**24)
            changed = self.wire(sender, receiver, message)
            if changed is not None:
                payloads = [codec.encode(each) for each in changed]
        for each in payloads:
            self.push(
                receiver, MessageReceived(self.census.node_ids[sender], each), after=LATENCY_S
            )

    # --- what tests do --------------------------------------------------------------------------

    def propose(self, proposer: int = 0, plan: Manifest | None = None) -> bytes:
        """Let a node propose a study; returns the study's id."""
        from pnyx.protocol.manifest import study_id

        asked = plan if plan is not None else manifest(self.count)
        asked = replace(asked, proposer=self.machines[proposer].node_id)
        body = codec.encode(asked)
        study = study_id(body)
        self.lengths[study] = asked.phases[0].length
        model = bytes(8 * self.lengths[study])
        self.push(proposer, StudyProposed(body, model), after=0.5)
        return study

    def inject(self, sender: int, receiver: int, message) -> list[Effect]:
        """Hand a message from an authenticated sender to a node now."""
        payload = message if isinstance(message, bytes) else codec.encode(message)
        return self.handle(receiver, MessageReceived(self.census.node_ids[sender], payload))

    def crash(self, index: int) -> None:
        """Kill a node: its memory is gone, its durable store stays."""
        self.alive[index] = False
        self._timers[index] = None

    def restart(self, index: int) -> None:
        """Start a killed node from its durable store."""
        self.alive[index] = True
        self.machines[index] = self._machine(index)
        self.push(index, TimerExpired())

    def finished(self, study: bytes) -> Callable[[], bool]:
        """Condition: every living node has the study's last record and model."""

        def all_finished() -> bool:
            states = [
                machine.studies.get(study)
                for machine, alive in zip(self.machines, self.alive, strict=True)
                if alive
            ]
            return all(
                state is not None and state.finished and state.holds_model for state in states
            )

        return all_finished

    def in_round(self, study: bytes, number: int) -> Callable[[], bool]:
        """Condition: every node has opened this round."""

        def reached() -> bool:
            states = [machine.studies.get(study) for machine in self.machines]
            return all(s is not None and s.plan and s.plan.round_number == number for s in states)

        return reached

    def plan(self, study: bytes, index: int = 0):
        """The open plan of a study as one node sees it."""
        found = self.machines[index].studies[study].plan
        assert found is not None
        return found

    def model_bytes(self, study: bytes, index: int = 0) -> bytes:
        """The model at one node, from its disk."""
        state = self.machines[index].studies[study]
        assert state.holds_model
        return b"".join(self.parcels[index].chunks(state.model_hash))

    def model(self, study: bytes, index: int = 0) -> list[int]:
        """The model at one node, as integers."""
        return np.frombuffer(self.model_bytes(study, index), "<i8").tolist()

    def effects(self, kind: type, index: int | None = None) -> list:
        """Effects of one kind, of one node or all."""
        return [e for _, at, e in self.log if isinstance(e, kind) and index in (None, at)]

    def rules(self) -> set[str]:
        """Every rule that a message was rejected for."""
        return {effect.rule for effect in self.effects(MessageRejected)}

    def blamed(self, ignoring: int | None = None) -> set[int | None]:
        """Census indices of the nodes that anybody, but for one node, blamed."""
        return {
            self.census.index_of(effect.peer)
            for _, at, effect in self.log
            if isinstance(effect, PeerBlamed) and at != ignoring
        }

    def certified(self, index: int = 0) -> list[RoundCertified]:
        """Rounds whose record one node accepted."""
        return self.effects(RoundCertified, index)

    def sent(self, kind: type, index: int | None = None) -> list:
        """Decoded messages of one kind that nodes sent."""
        found = []
        for effect in self.effects(Send, index):
            message = codec.decode(effect.payload, AnyMessage, bytes_max=2**24)
            if isinstance(message, kind):
                found.append(message)
        return found
