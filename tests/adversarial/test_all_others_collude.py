"""All contributors but one collude, and subtract what they gave from the published sum.

Attack A2: what is left is the victim's update, exactly, unless it carries noise. The victim adds
its own, whatever the others do, so that the colluders' guesses are hardly better than chance. A sum
without noise gives it away: that is what the threat model says of studies that switch noise off.
"""

import msgspec
import numpy as np
import pytest
from tests.support.town import Town, manifest, phase

from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.masked.parameters import SHARED_RINGS, choose
from pnyx.protocol.events import Persist, RecordDebit
from pnyx.protocol.manifest import StudyPhase
from pnyx.protocol.noise import NO_NOISE, Noise, choose_noise, update_width, value_bits_needed
from pnyx.protocol.study import read_body

LENGTH = 400
CLIP = 20  # of a vector of 400 signs
VICTIM_SEED = 7


def signs() -> np.ndarray:
    return np.where(np.random.default_rng(VICTIM_SEED).random(LENGTH) < 0.5, -1, 1)


def shared(multiplier: float) -> StudyPhase:
    """A phase whose updates are shared with the committee."""
    bounds, noise = Bounds(LENGTH, LENGTH, CLIP, 0), NO_NOISE
    if multiplier:
        chosen = choose_noise(bounds, CLIP, 1, multiplier, multiplier)
        bounds, noise = chosen.bounds, chosen.noise
    return phase(LENGTH, bounds=bounds, clip=CLIP, noise=noise, target=6)


def masked(multiplier: float) -> StudyPhase:
    """A phase whose updates travel masked, beside one count."""
    width = update_width(CLIP, 1, multiplier) if multiplier else 0
    bits = value_bits_needed(CLIP, Noise(update_width=width))
    masks = choose(LENGTH, bits, 8, rings=SHARED_RINGS)
    bounds = Bounds(1, 0, 0, 1, key_length=masks.degree, key_fields=len(masks.primes))
    noise = NO_NOISE
    if multiplier:
        chosen = choose_noise(bounds, CLIP, 1, multiplier, multiplier, masked=True)
        bounds, noise = chosen.bounds, chosen.noise
    return phase(LENGTH, bounds=bounds, clip=CLIP, noise=noise, target=6, masked=masks)


MODES = {"shared": shared, "masked": masked}


def published(multiplier: float, mode: str = "shared") -> tuple[np.ndarray, Town, bytes, int]:
    """What a round publishes whose contributors, one apart, contribute nothing."""
    asked = MODES[mode](multiplier)
    town = Town()
    study = town.propose(plan=manifest(asked.length, [asked]))
    victims = []

    def vector(index: int, round_number: int, length: int) -> np.ndarray:
        victims[:] = town.plan(study, index).contributors[:1]
        given = np.zeros(length, dtype=np.int64)
        if index in victims:
            given[:LENGTH] = signs()
        return given

    town.vector = vector
    assert town.run(town.finished(study))
    return np.array(town.model(study))[:LENGTH], town, study, victims[0]


def guessed_rightly(seen: np.ndarray) -> float:
    return float((np.sign(seen) == signs()).mean())


@pytest.mark.parametrize("mode", MODES)
def test_without_noise_everything_is_recovered(mode):
    seen, town, study, _ = published(0.0, mode)
    assert guessed_rightly(seen) == 1.0
    assert read_body(town.machines[0].studies[study].records[-1]).privacy_spent is None


@pytest.mark.parametrize(
    ("multiplier", "mode"), [(2.0, "shared"), (5.0, "shared"), (5.0, "masked")]
)
def test_with_noise_guesses_are_hardly_better_than_chance(multiplier, mode):
    """Six noises of which five are known to the colluders at most: here none is subtracted."""
    seen, town, study, _ = published(multiplier, mode)
    assert guessed_rightly(seen) < 0.6
    assert read_body(town.machines[0].studies[study].records[-1]).privacy_spent > 0


def given_by(town: Town) -> dict[int, np.ndarray]:
    """What each contributor stored to send, once, its noise included, read from its own disk."""
    stored = [
        (at, np.frombuffer(msgspec.msgpack.decode(effect.value)[1], "<i8"))
        for _, at, effect in town.log
        if isinstance(effect, Persist) and effect.key.endswith("/contribution")
    ]
    assert len(stored) == len(dict(stored))  # two draws for one vector would average out
    return dict(stored)


def test_noise_is_not_shared_by_two():
    """Five give nothing, so what they store is their noise: it tells nothing of another's."""
    _, town, _, victim = published(2.0)
    given = given_by(town)
    assert len(given) == 6
    noises = {at: vector - signs() if at == victim else vector for at, vector in given.items()}
    assert len({noise.tobytes() for noise in noises.values()}) == 6


def test_an_update_beyond_the_clip_is_withheld():
    """The bounds admit the noise, and so much more than the clip from which the cost follows."""
    chosen = choose_noise(Bounds(LENGTH, LENGTH, CLIP, 0), CLIP, 1, 5.0, 5.0)
    assert chosen.bounds.norm_max > 100 * CLIP
    asked = phase(LENGTH, bounds=chosen.bounds, clip=CLIP, noise=chosen.noise, target=6)
    town = Town()
    study = town.propose(plan=manifest(LENGTH, [asked]))
    careless = []

    def vector(index: int, round_number: int, length: int) -> np.ndarray:
        if not careless:
            careless.extend(town.plan(study).contributors[:1])
        return signs() * (2 if index in careless else 1)

    town.vector = vector
    assert town.run(town.finished(study))
    paid = {at for _, at, effect in town.log if isinstance(effect, RecordDebit)}
    assert careless
    assert not paid & set(careless)
    assert len(paid) >= asked.cohort_min
