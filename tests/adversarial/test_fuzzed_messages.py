"""D3, T1: whatever bytes a peer sends, the machine neither raises nor acts for it.

Random bytes are given to machines in the middle of a round. Every message of a whole study arrives
first with bytes flipped, cut or put in, said by a corrupt member; and everything that was said in a
study is said again in another. The corrupt member also asks for values and for parts, and shows
values that nobody asked for. Nobody else may be blamed, and the round still ends with an exact sum.
Studies whose updates are masked have `test_fuzzed_masked_messages.py`.
The full count also watches resident memory.
"""

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.fuzzing import (
    COPIES_IN_A_STUDY,
    RSS_GROWTH_BYTES_MAX,
    SLOW_S,
    Mutations,
    Study,
    all_heard,
    corpus,
    first_actors,
    read,
    rules_met,
    settled_growth,
    troubled_study,
)
from tests.support.town import Town, manifest
from tests.transport_kit import resident_bytes

from pnyx.errors import ProtocolError
from pnyx.primitives.hashing import digest
from pnyx.protocol import chunks
from pnyx.protocol.events import MessageRejected, Send
from pnyx.protocol.machine import AnyMessage, NodeMachine
from pnyx.protocol.messages import Contribution, Receipt, RoundMessage
from pnyx.protocol.round import holdings
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.selection.region import RegionMessage
from pnyx.simulator.crypto import IdealCrypto

# One in which the liar's answers are among those that decide, so that they are disputed.
PLAN = manifest(Town().count, nonce=bytes([2]) * 32)
DIRECT = Study(PLAN, first_actors(PLAN)[0], parcels=True)
DRAWN = manifest(Town().count, selection="region")
BY_REGIONS = Study(DRAWN, first_actors(DRAWN)[0])
OF_DRAWS = tuple(each.__name__ for each in RegionMessage.__args__)
ABOUT_VECTORS = {"SumRequest", "VectorOffer", "VectorReceipt", "VectorSum"}


CORPUS = corpus(DIRECT)
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
    assert set(CORPUS) == kinds - ABOUT_VECTORS


COUNTS = [300, pytest.param(1_000_000, marks=pytest.mark.full)]


def study_of(kind: str) -> Study:
    """Where messages of a kind are said."""
    return BY_REGIONS if kind in OF_DRAWS else DIRECT


def mutations_of(kind: str, copies: int, seed: int) -> Mutations:
    """Alter messages of a kind, where they are said."""
    return Mutations(kind, study_of(kind), len(CORPUS[kind]), copies, seed)


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
        mutations = mutations_of(kind, copies, seed)
        all_heard(mutations)
        assert mutations.slowest_s < SLOW_S
        sizes.append(resident_bytes())
    assert settled_growth(sizes) < RSS_GROWTH_BYTES_MAX


REACHED = {  # a rule that only the handler of a kind knows
    "Chunk": "which it was not asked for or has sent already",
    "ChunkRequest": "asks for a parcel that it may not read",
}


@pytest.mark.parametrize("kind", list(REACHED))
def test_altered_messages_about_parcels_reach_their_handlers(kind):
    assert any(REACHED[kind] in rule for rule in rules_met(mutations_of(kind, 400, 1), DIRECT))


def test_a_machine_that_is_not_guarded_would_stop(monkeypatch):
    monkeypatch.setattr(NodeMachine, "guard", lambda machine, peer, act: act())
    with pytest.raises(ProtocolError):
        troubled_study(mutations_of("Pull", 10, 0), DIRECT)


def test_a_machine_that_believes_any_signature_would_act(monkeypatch):
    monkeypatch.setattr(IdealCrypto, "verify", lambda *_: True)
    with pytest.raises(AssertionError):
        troubled_study(mutations_of("MemberInput", 300, 0), DIRECT)


def test_a_machine_that_believes_any_chunk_would_store_other_bytes(monkeypatch):
    monkeypatch.setattr(chunks, "verify_merkle_proof", lambda *_: True)
    with pytest.raises(AssertionError):
        troubled_study(mutations_of("Chunk", 300, 0), DIRECT)


def receipts_for_altered_shares() -> int:
    """How often a member receipts a share that does not verify, at the first sight of it."""
    mutations = mutations_of("Contribution", 2_000, 0)
    seen: set[tuple[int, bytes]] = set()
    found = 0

    def first_ones(town: Town, sender: int, receiver: int, message: AnyMessage) -> None:
        nonlocal found
        if isinstance(message, Contribution) and (receiver, message.header.signer) not in seen:
            seen.add((receiver, message.header.signer))
            before = len(town.log)
            mutations(town, sender, receiver, message)
            sent = [each for _, _, each in town.log[before:] if isinstance(each, Send)]
            found += sum(isinstance(read(each.payload), Receipt) for each in sent)

    troubled_study(first_ones, DIRECT)
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
        replayed_into_another_study(in_rounds(corpus(DIRECT)), REPLAYS[0], 0)
