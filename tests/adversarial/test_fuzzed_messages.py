"""D3, T1: whatever bytes a peer sends, the machine neither raises nor acts for it.

Random bytes are given to machines in the middle of a round. Every message of a whole study arrives
first with bytes flipped, cut or put in, said by a corrupt member; and everything that was said in a
study is said again in another. The corrupt member also asks for values and for parts, and shows
values that nobody asked for. Nobody else may be blamed, and the round still ends with an exact sum.
Messages about masked vectors come from a masked study, where the corrupt member aggregates as well.
The full count also watches resident memory.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.evidence import flipped
from tests.support.mutation import mutated
from tests.support.parcels import content, cut
from tests.support.town import Town, manifest, masked_manifest
from tests.transport_kit import resident_bytes

from pnyx.errors import ProtocolError
from pnyx.primitives import codec
from pnyx.primitives.hashing import digest
from pnyx.protocol import chunks
from pnyx.protocol.chunks import describe
from pnyx.protocol.events import MessageRejected, Send, TimerExpired
from pnyx.protocol.identity import sign_body
from pnyx.protocol.machine import AnyMessage, NodeMachine
from pnyx.protocol.manifest import Manifest
from pnyx.protocol.messages import (
    Contribution,
    MemberInput,
    Part,
    PartsRequest,
    Receipt,
    RoundBody,
    RoundMessage,
    ShownValue,
    ValueRequest,
    VerifyResponse,
    Vote,
)
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round import holdings
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.selection.region import RegionMessage
from pnyx.simulator.crypto import IdealCrypto

BYTES_MAX = 2**24
PARTED = ProtocolParams(parted_bytes_min=3072)  # closed lists and answers go in parts


class Study(NamedTuple):
    """A study in which one node lies, which leads its first view undisturbed."""

    plan: Manifest
    liar: int


def first_actors(plan: Manifest) -> tuple[int, tuple[int, ...]]:
    """Who leads the first view of round 1 of a study, and who aggregates."""
    town = Town()
    study = town.propose(plan=plan)
    town.run(town.in_round(study, 1))
    return town.plan(study).committee[0], town.plan(study).aggregators


def masked_study() -> Study:
    """One whose first leader is an aggregator: what it says about vectors is looked at."""
    for nonce in range(32):
        plan = masked_manifest(Town().count, nonce=bytes([nonce]) * 32)
        leader, aggregators = first_actors(plan)
        if leader in aggregators:
            return Study(plan, leader)
    raise AssertionError("a third of all leaders aggregate")


# One in which the liar's answers are among those that decide, so that they are disputed.
PLAN = manifest(Town().count, nonce=bytes([2]) * 32)
DIRECT = Study(PLAN, first_actors(PLAN)[0])
MASKED = masked_study()
LIAR = DIRECT.liar
DRAWN = manifest(Town().count, selection="region")
BY_REGIONS = Study(DRAWN, first_actors(DRAWN)[0])
OF_DRAWS = tuple(each.__name__ for each in RegionMessage.__args__)
ABOUT_VECTORS = ("SumRequest", "VectorOffer", "VectorReceipt", "VectorSum")
Meddle = Callable[[Town, int, AnyMessage], None]


def read(payload: bytes) -> AnyMessage:
    return codec.decode(payload, AnyMessage, bytes_max=BYTES_MAX)


PULLERS = [index for index in range(6) if index != LIAR][:4]
PARCELS = [content(1, 200), content(2, 200)]


def pull_parcels(town: Town) -> Callable[[], bool]:
    """The liar and an honest node hold two parcels, others pull them; tells whether all have them.

    Half of them ask the liar first. Only one pulls the large parcel, which takes long to alter.
    """
    ids = town.census.node_ids
    holders = [LIAR, max(index for index in range(town.count) if index != LIAR)]
    for index in holders:
        for data in PARCELS:
            town.machines[index].parcels.keep(cut(data), ids)
        town.handle(index, TimerExpired())
    pulled = [(index, PARCELS[0]) for index in PULLERS] + [(PULLERS[0], PARCELS[1])]
    for at, (index, data) in enumerate(pulled):
        sources = [ids[each] for each in (holders[at % 2], holders[1 - at % 2])]
        name = describe(cut(data)).name
        town.machines[index].parcels.fetch(name, len(data), sources, lambda _: None)
        town.handle(index, TimerExpired())

    def arrived() -> bool:
        return all(
            b"".join(town.parcels[index].chunks(describe(cut(data)).name)) == data
            for index, data in pulled
        )

    return arrived


def troubled_study(meddle: Meddle, asked: Study = DIRECT, seconds: float = 200.0) -> int:
    """A study, and parcels, in which every kind of message is sent; returns who leads its view 0.

    That leader is away for 5 s, and the liar answers wrong. meddle(town, receiver, message) is
    called before a message is handed to the network. What it adds may change the draw: only
    undisturbed is the liar the leader as well.
    """
    town, liar = Town(params=PARTED), asked.liar
    root = bytes(32)

    def wire(sender, receiver, message):
        nonlocal root
        meddle(town, receiver, message)
        if isinstance(message, Part):
            root = message.root
        if sender == liar and isinstance(message, Vote):
            context, instance = message.context, message.instance
            others = (
                PartsRequest(context, root, (0,)),
                ValueRequest(context, instance, message.value_hash),
                ShownValue(context, instance, b"a value"),
            )
            for each in others:
                meddle(town, receiver, each)
            return [message, *others]
        if sender == liar and isinstance(message, MemberInput):
            body = codec.decode(message.signed.body, RoundBody, bytes_max=BYTES_MAX)
            if isinstance(body, VerifyResponse) and body.values:
                wrong = msgspec.structs.replace(body, values=flipped(body.values))
                name, crypto = town.census.node_ids[liar], town.cryptos[liar]
                signed = sign_body(crypto, town.census.network, name, wrong)
                return [msgspec.structs.replace(message, signed=signed)]
        return None

    town.wire = wire
    study = town.propose(plan=asked.plan)
    arrived = pull_parcels(town) if asked is DIRECT else lambda: True
    town.run(town.in_round(study, 1))
    leader = town.plan(study).committee[0]
    town.run(seconds=0.11)
    town.crash(leader)
    town.run(seconds=5.0)
    town.restart(leader)
    assert town.run(town.finished(study), seconds)
    (certified,) = town.certified(0)
    assert sum(town.model(study)) == certified.contributors
    assert max(town.model(study)) == 1
    assert arrived(), "a parcel is missing, or has other bytes"
    assert town.blamed() <= {liar}, "an honest node is blamed"
    return leader


def corpus(asked: Study = DIRECT) -> dict[str, list[bytes]]:
    """Valid payloads of every kind, as honest nodes hear them."""
    found: dict[str, list[bytes]] = {}

    def note(town: Town, receiver: int, message: AnyMessage) -> None:
        if receiver != asked.liar and town.alive[receiver]:
            found.setdefault(type(message).__name__, []).append(codec.encode(message))

    assert troubled_study(note, asked) == asked.liar
    return found


CORPUS = corpus()
CORPUS |= {kind: said for kind, said in corpus(MASKED).items() if kind in ABOUT_VECTORS}
CORPUS |= {kind: said for kind, said in corpus(BY_REGIONS).items() if kind in OF_DRAWS}


def middle(step: float) -> tuple[Town, bytes]:
    town = Town()
    study = town.propose()
    town.run(town.in_round(study, 1))
    town.run(seconds=step)
    return town, study


TOWN, _ = middle(0.1)


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
def test_random_bytes(payload):
    effects = TOWN.inject(1, 0, payload)
    assert all(isinstance(effect, MessageRejected | Send) for effect in effects)


def test_every_kind_of_message_is_attacked():
    kinds = {each.__name__ for each in AnyMessage.__args__}
    assert set(CORPUS) == kinds


COUNTS = [300, pytest.param(1_000_000, marks=pytest.mark.full)]
COPIES_IN_A_STUDY = 10_000  # then another study begins
SETTLED_STUDIES = 20
RSS_GROWTH_BYTES_MAX = 64 * 1024 * 1024


def study_of(kind: str) -> Study:
    """Where messages of a kind are said."""
    if kind in OF_DRAWS:
        return BY_REGIONS
    return MASKED if kind in ABOUT_VECTORS else DIRECT


class Mutations:
    """Every message of a kind, altered a few times and said by the liar, arrives first."""

    def __init__(self, kind: str, copies: int, seed: int) -> None:
        self.kind = kind
        self.study = study_of(kind)
        self.copies_each = -(-copies // len(CORPUS[kind]))
        self.left = copies
        self.generator = np.random.Generator(np.random.PCG64(seed))
        self.busy = False

    def __call__(self, town: Town, receiver: int, message: AnyMessage) -> None:
        if self.busy or type(message).__name__ != self.kind:
            return
        if receiver == self.study.liar or not town.alive[receiver]:
            return
        self.busy = True  # what an altered message brings about is not altered again
        payload = codec.encode(message)
        for _ in range(min(self.left, self.copies_each)):
            self.left -= 1
            changed = mutated(payload, self.generator)
            if changed != payload:
                town.inject(self.study.liar, receiver, changed)
        self.busy = False


def settled_growth(sizes: list[int]) -> int:
    """How far the least of the last studies lies above that of the first, the very first aside.

    Within a study memory goes up and down; the first one fills caches.
    """
    if len(sizes) <= 2 * SETTLED_STUDIES:
        return 0
    return min(sizes[-SETTLED_STUDIES:]) - min(sizes[1:SETTLED_STUDIES])


def test_a_leak_of_a_hundred_bytes_a_message_would_be_seen():
    swinging = [500_000_000 + 90_000_000 * (study % 3) for study in range(100)]
    assert settled_growth(swinging) == 0
    leaking = [size + 100 * COPIES_IN_A_STUDY * at for at, size in enumerate(swinging)]
    assert settled_growth(leaking) > RSS_GROWTH_BYTES_MAX


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", sorted(CORPUS))
def test_mutated_message(kind, count):
    sizes = []
    for seed, first in enumerate(range(0, count, COPIES_IN_A_STUDY)):
        copies = min(count - first, COPIES_IN_A_STUDY)
        mutations = Mutations(kind, copies, seed)
        troubled_study(mutations, mutations.study)
        assert mutations.left < copies // 2
        sizes.append(resident_bytes())
    assert settled_growth(sizes) < RSS_GROWTH_BYTES_MAX


REACHED = {  # a rule that only the handler of a kind knows
    "Chunk": "sends a chunk that it was not asked for",
    "ChunkRequest": "asks for a parcel that it may not read",
    "SumRequest": "a sum is asked for out of order, or over nodes that were not drawn",
    "VectorOffer": "a linear hash is not the one that its contributor committed to",
    "VectorReceipt": "the receipt for a masked vector does not verify",
    "VectorSum": "an aggregator shows linear hashes that nobody committed to",
}


@pytest.mark.parametrize("kind", list(REACHED))
def test_altered_messages_about_vectors_reach_their_handlers(kind):
    rules: set[str] = set()
    mutations = Mutations(kind, 2_000 if kind == "SumRequest" else 400, 1)

    def meddle(town: Town, receiver: int, message: AnyMessage) -> None:
        before = len(town.log)
        mutations(town, receiver, message)
        said = (effect for _, _, effect in town.log[before:])
        rules.update(each.rule for each in said if isinstance(each, MessageRejected))

    troubled_study(meddle, mutations.study)
    assert REACHED[kind] in rules


def test_a_machine_that_is_not_guarded_would_stop(monkeypatch):
    monkeypatch.setattr(NodeMachine, "guard", lambda machine, peer, act: act())
    with pytest.raises(ProtocolError):
        troubled_study(Mutations("Pull", 10, 0))


def test_a_machine_that_believes_any_signature_would_act(monkeypatch):
    monkeypatch.setattr(IdealCrypto, "verify", lambda *_: True)
    with pytest.raises(AssertionError):
        troubled_study(Mutations("MemberInput", 300, 0))


def test_a_machine_that_believes_any_chunk_would_store_other_bytes(monkeypatch):
    monkeypatch.setattr(chunks, "verify_merkle_proof", lambda *_: True)
    with pytest.raises(AssertionError):
        troubled_study(Mutations("Chunk", 300, 0))


def receipts_for_altered_shares() -> int:
    """How often a member receipts a share that does not verify, at the first sight of it."""
    mutations = Mutations("Contribution", 2_000, 0)
    seen: set[tuple[int, bytes]] = set()
    found = 0

    def first_ones(town: Town, receiver: int, message: AnyMessage) -> None:
        nonlocal found
        if isinstance(message, Contribution) and (receiver, message.header.signer) not in seen:
            seen.add((receiver, message.header.signer))
            before = len(town.log)
            mutations(town, receiver, message)
            sent = [each for _, _, each in town.log[before:] if isinstance(each, Send)]
            found += sum(isinstance(read(each.payload), Receipt) for each in sent)

    troubled_study(first_ones)
    assert len(seen) > 30
    return found


def test_altered_share_gets_no_receipt(monkeypatch):
    assert receipts_for_altered_shares() == 0
    monkeypatch.setattr(holdings, "verify_merkle_proof", lambda *_: True)
    assert receipts_for_altered_shares() > 0, "the commitment is the defence"


@pytest.mark.parametrize("step", [0.05, 0.1, 0.15, 0.25, 0.35, 0.45])
def test_replayed_message(step):
    """In each step of a round all that was said so far is said again, by others."""
    town, study = middle(step)
    said = [(sender, e.payload) for _, sender, e in town.log if isinstance(e, Send)]
    for at, (sender, payload) in enumerate(said):
        teller = (sender + 1 + at % (town.count - 1)) % town.count
        town.inject(teller, (teller + 1 + at // 8 % 8) % town.count, payload)
    assert town.run(town.finished(study), seconds=120.0)
    assert sum(town.model(study)) == town.certified()[0].contributors
    assert max(town.model(study)) == 1
    assert town.blamed() == set(), "an honest node is blamed"


REPLAYS = [400, pytest.param(100_000, marks=pytest.mark.full)]


def replayed_into_another_study(said: list[RoundMessage], count: int, seed: int) -> None:
    """Say again what one study said, as it was and with the next one's context."""
    generator = np.random.Generator(np.random.PCG64(seed))
    town = Town()
    study = town.propose(plan=manifest(town.count, nonce=b"another study".ljust(32)))
    town.run(town.in_round(study, 1))
    context = town.plan(study).context
    for _ in range(count):
        message = said[int(generator.integers(len(said)))]
        if generator.integers(2):
            message = msgspec.structs.replace(message, context=context)
        receiver = int(generator.integers(town.count))
        sender = int(generator.integers(town.count))
        if sender != receiver:
            town.inject(sender, receiver, message)
    assert town.run(town.finished(study), seconds=300.0)
    (certified,) = town.certified(0)
    assert sum(town.model(study)) == certified.contributors
    assert max(town.model(study)) <= 1
    assert town.blamed() == set(), "an honest node is blamed"


def in_rounds(said: dict[str, list[bytes]]) -> list[RoundMessage]:
    messages = (read(each) for payloads in said.values() for each in payloads)
    return [message for message in messages if isinstance(message, RoundMessage)]


@pytest.mark.parametrize("count", REPLAYS)
def test_replayed_into_another_study(count):
    said = in_rounds(CORPUS)
    for seed, first in enumerate(range(0, count, COPIES_IN_A_STUDY)):
        replayed_into_another_study(said, min(count - first, COPIES_IN_A_STUDY), seed)


def test_a_context_that_does_not_name_the_study_would_let_words_pass(monkeypatch):
    """Under one context what honest nodes said in two studies contradicts itself."""

    def place(plan: RoundPlan) -> bytes:
        collects_joins = plan.join_window_s > 0  # unlike the first beacon of the epoch
        return digest("test", bytes((plan.round_number, plan.attempt, collects_joins)))

    monkeypatch.setattr(RoundPlan, "context", property(place))
    with pytest.raises(AssertionError):
        replayed_into_another_study(in_rounds(corpus()), REPLAYS[0], 0)
