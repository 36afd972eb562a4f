"""All contributors but one collude, and subtract what they gave from the published sum.

Attack A2: what is left is the victim's update, exactly, unless it carries noise. The victim adds
its own, whatever the others do, so that the colluders' guesses are hardly better than chance. A sum
without noise gives it away: that is what the threat model says of studies that switch noise off.
"""

import numpy as np
import pytest
from tests.support.town import Town, manifest, phase

from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.events import Persist
from pnyx.protocol.noise import NO_NOISE, choose_noise
from pnyx.protocol.study import read_body

LENGTH = 400
CLIP = 20  # of a vector of 400 signs
VICTIM_SEED = 7


def signs() -> np.ndarray:
    return np.where(np.random.default_rng(VICTIM_SEED).random(LENGTH) < 0.5, -1, 1)


def published(multiplier: float) -> tuple[np.ndarray, Town, bytes, int]:
    """What a round publishes whose contributors, one apart, contribute nothing."""
    bounds, noise = Bounds(LENGTH, LENGTH, CLIP, 0), NO_NOISE
    if multiplier:
        chosen = choose_noise(bounds, CLIP, 1, multiplier, multiplier)
        bounds, noise = chosen.bounds, chosen.noise
    asked = phase(LENGTH, bounds=bounds, clip=CLIP, noise=noise, target=6)
    town = Town()
    study = town.propose(plan=manifest(LENGTH, [asked]))
    victims = []

    def vector(index: int, round_number: int, length: int) -> np.ndarray:
        victims[:] = town.plan(study).contributors[:1]
        return signs() if index in victims else np.zeros(length, dtype=np.int64)

    town.vector = vector
    assert town.run(town.finished(study))
    state = town.machines[0].studies[study]
    return np.frombuffer(state.model, "<i8"), town, study, victims[0]


def guessed_rightly(seen: np.ndarray) -> float:
    return float((np.sign(seen) == signs()).mean())


def test_without_noise_everything_is_recovered():
    seen, town, study, _ = published(0.0)
    assert guessed_rightly(seen) == 1.0
    assert read_body(town.machines[0].studies[study].records[-1]).privacy_spent is None


@pytest.mark.parametrize("multiplier", [2.0, 5.0])
def test_with_noise_guesses_are_hardly_better_than_chance(multiplier):
    """Six noises of which five are known to the colluders at most: here none is subtracted."""
    seen, town, study, _ = published(multiplier)
    assert guessed_rightly(seen) < 0.6
    assert read_body(town.machines[0].studies[study].records[-1]).privacy_spent > 0


def test_noise_is_neither_drawn_again_for_the_same_contribution_nor_shared_by_two():
    """A restart sends the stored bytes: two draws of noise for one vector would average out."""
    _, town, _, victim = published(2.0)
    stored = [
        effect.value
        for _, at, effect in town.log
        if at == victim and isinstance(effect, Persist) and effect.key.endswith("/contribution")
    ]
    assert len(stored) == 1
    others = {
        effect.value
        for _, at, effect in town.log
        if isinstance(effect, Persist) and effect.key.endswith("/contribution")
    }
    assert len(others) == 6
