"""D3, T1: whatever bytes a peer sends, the machine neither raises nor acts for it.

Random bytes, and every message of a whole study with bytes flipped, cut or fields replaced, are
given to machines in the middle of a round. Nothing but MessageRejected may name the sender, and
the round afterwards still ends with an exact sum. The full count also watches resident memory.
"""

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.town import Town, manifest
from tests.transport_kit import resident_bytes

from pnyx.primitives import codec
from pnyx.protocol.events import MessageRejected, Send
from pnyx.protocol.messages import Message


def corpus() -> dict[str, list[bytes]]:
    """A few valid payloads of every kind that a study sends."""
    town = Town()
    study = town.propose()
    town.crash(8)
    town.run(town.finished(study))
    found: dict[str, list[bytes]] = {}
    for effect in town.effects(Send):
        kind = type(codec.decode(effect.payload, Message, bytes_max=2**24)).__name__
        if len(found.setdefault(kind, [])) < 40:
            found[kind].append(effect.payload)
    return found


CORPUS = corpus()
ROUND_MESSAGES = [
    message
    for payloads in CORPUS.values()
    for message in (codec.decode(each, Message, bytes_max=2**24) for each in payloads)
    if hasattr(message, "context")
]


def middle(step: float) -> tuple[Town, bytes]:
    town = Town()
    study = town.propose()
    town.run(town.in_round(study, 1))
    town.run(seconds=step)
    return town, study


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
def test_random_bytes(payload):
    effects = TOWN.inject(1, 0, payload)
    assert all(isinstance(effect, MessageRejected | Send) for effect in effects)


TOWN, _ = middle(0.1)


COUNTS = [300, pytest.param(1_000_000, marks=pytest.mark.full)]
ROUND_OF_MESSAGES = 10_000  # then another study begins: a round hears no more than this
RSS_GROWTH_BYTES_MAX = 64 * 1024 * 1024


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", sorted(CORPUS))
def test_mutated_message(kind, count):
    generator = np.random.Generator(np.random.PCG64(len(kind)))
    town_bytes = 0
    for first in range(0, count, ROUND_OF_MESSAGES):
        town, study = middle(float(generator.uniform(0.0, 0.4)))
        for at in range(min(count - first, ROUND_OF_MESSAGES)):
            payload = CORPUS[kind][int(generator.integers(len(CORPUS[kind])))]
            receiver = int(generator.integers(town.count))
            town.inject((receiver + 1) % town.count, receiver, mutated(payload, generator))
            if at % 1_000 == 0:
                del town.log[:-1_000]  # the harness's own memory
        assert town.run(town.finished(study), seconds=120.0)
        assert sum(town.model(study)) == town.certified()[0].contributors
        assert max(town.model(study)) == 1
        grown = resident_bytes()
        town_bytes = town_bytes or grown
        assert grown - town_bytes < RSS_GROWTH_BYTES_MAX


def mutated(payload: bytes, generator: np.random.Generator) -> bytes:
    """One to three changes: a byte flipped, the end cut off, bytes put in."""
    changed = bytearray(payload)
    for _ in range(int(generator.integers(1, 4))):
        match int(generator.integers(3)):
            case 0 if changed:
                changed[int(generator.integers(len(changed)))] ^= int(generator.integers(1, 256))
            case 1 if changed:
                del changed[int(generator.integers(1, len(changed) + 1)) :]
            case _:
                at = int(generator.integers(len(changed) + 1))
                changed[at:at] = generator.bytes(int(generator.integers(1, 5)))
    return bytes(changed)


@pytest.mark.parametrize("kind", sorted(CORPUS))
def test_replayed_message(kind):
    """Valid messages of the same study, and of another that differs in one bit of its manifest."""
    town, study = middle(0.2)
    for at, payload in enumerate(CORPUS[kind]):
        receiver = at % town.count
        town.inject((receiver + 1) % town.count, receiver, payload)
    assert town.run(town.finished(study), seconds=120.0)
    assert sum(town.model(study)) == town.certified()[0].contributors
    assert max(town.model(study)) == 1


REPLAYS = [400, pytest.param(100_000, marks=pytest.mark.full)]


@pytest.mark.parametrize("count", REPLAYS)
def test_replayed_into_another_study(count):
    """Everything that one study said, given to the next one as it is and with its context."""
    generator = np.random.Generator(np.random.PCG64(1))
    for first in range(0, count, ROUND_OF_MESSAGES):
        town = Town()
        study = town.propose(plan=manifest(town.count, nonce=b"another study".ljust(32)))
        town.run(town.in_round(study, 1))
        context = town.plan(study).context
        for _ in range(min(count - first, ROUND_OF_MESSAGES)):
            message = ROUND_MESSAGES[int(generator.integers(len(ROUND_MESSAGES)))]
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
        assert town.blamed() == set()
