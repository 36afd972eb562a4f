"""D3, T1: whatever bytes a peer sends, the machine neither raises nor acts for it.

Random bytes, and every message of a whole study with bytes flipped, cut or fields replaced, are
given to machines in the middle of a round. Nothing but MessageRejected may name the sender, and
the round afterwards still ends with an exact sum.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.town import Town

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


@pytest.mark.parametrize("kind", sorted(CORPUS))
def test_mutated_message(kind):
    generator = np.random.Generator(np.random.PCG64(len(kind)))
    town, study = middle(float(generator.uniform(0.0, 0.4)))
    for _ in range(40):
        payload = bytearray(CORPUS[kind][int(generator.integers(len(CORPUS[kind])))])
        for _ in range(int(generator.integers(1, 4))):
            match int(generator.integers(3)):
                case 0:
                    payload[int(generator.integers(len(payload)))] ^= int(
                        generator.integers(1, 256)
                    )
                case 1:
                    del payload[int(generator.integers(1, len(payload) + 1)) :]
                case _:
                    at = int(generator.integers(len(payload) + 1))
                    payload[at:at] = generator.bytes(int(generator.integers(1, 5)))
            if not payload:
                payload = bytearray(b"\x90")
        receiver = int(generator.integers(town.count))
        sender = (receiver + 1) % town.count
        town.inject(sender, receiver, bytes(payload))
    assert town.run(town.finished(study), seconds=120.0)
    assert sum(town.model(study)) == town.certified()[0].contributors
    assert max(town.model(study)) == 1


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
