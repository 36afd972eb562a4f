"""A proposer sets a trap in the model, and all contributors but the victim collude (THREATS A2).

The trap is that of Fowl et al. (2022, "Robbing the Fed"): all neurons of the first layer measure
the same direction, each with another threshold, so that the update of two neighbours differs by the
one example that lies between. The program is an ordinary one and passes the audit; the victim's
update is what `learning` makes of its examples under that model, and a whole round adds it to
nothing but the colluders' zeros. Without noise its examples are in the sum, number by number.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from tests.support.town import Town, manifest, phase

from pnyx.learning.programs import mlp
from pnyx.learning.task import Hyperparameters, TrainingTask
from pnyx.learning.training import run_task
from pnyx.learning.update import norm_max
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.noise import NO_NOISE, choose_noise

WIDTH, BINS, EXAMPLES = 40, 24, 12
PROGRAM = mlp((WIDTH, BINS, 2))
LENGTH = PROGRAM.shared_count
SETTINGS = Hyperparameters(
    local_epochs=1,
    batch_size=64,
    learning_rate=0.1,
    clip_norm=1.0,
    fraction_bits=8,
    standardise="none",
    fine_tune_epochs=1,
    fine_tune_learning_rate=0.1,
    alone_epochs=1,
    alone_learning_rate=0.1,
)
REBUILT = 0.99  # correlation with an example from which it counts as rebuilt
Floats = np.ndarray


class Trap(NamedTuple):
    """A model, and how its author reads examples off an update."""

    direction: Floats  # [width]
    thresholds: Floats  # [bins], ascending

    @property
    def model(self) -> bytes:
        """All neurons weigh alike in what follows, and each example's class seems unlikely.

        So every example moves all neurons that it excites by the same multiple of itself.
        """
        first = np.tile(self.direction, (BINS, 1))
        second = np.stack([np.full(BINS, -1.0), np.full(BINS, 1.0)])
        parts = (first, -self.thresholds, second, np.array([-20.0, 20.0]))
        return np.concatenate([part.ravel() for part in parts]).astype("<f4").tobytes()

    def read(self, update: Floats) -> Floats:
        """One guess for each bin: [bins, width]."""
        weights = update[: WIDTH * BINS].reshape(BINS, WIDTH)
        biases = update[WIDTH * BINS :][:BINS]
        more = np.vstack([weights[1:], np.zeros(WIDTH)])
        above = np.append(biases[1:], 0.0)
        by = (biases - above)[:, np.newaxis]
        return np.where(by == 0, 0.0, (weights - more) / np.where(by == 0, 1.0, by))


def trap() -> Trap:
    direction = np.full(WIDTH, WIDTH**-0.5)
    # the author knows how the measure of an example is distributed, and no example
    drawn = np.random.default_rng(5).choice([-1.0, 1.0], (100_000, WIDTH)) @ direction
    return Trap(direction, np.quantile(drawn, (np.arange(BINS) + 0.5) / BINS) + 1e-3)


@cache
def examples() -> Floats:
    """What the victim's owner has: rows of signs, one label."""
    return np.random.default_rng(11).choice([-1.0, 1.0], (EXAMPLES, WIDTH))


@cache
def victims_vector() -> np.ndarray:
    """What the victim contributes, before its noise: [LENGTH]."""
    task = TrainingTask(
        kind="train",
        program=PROGRAM,
        hyperparameters=SETTINGS,
        model=trap().model,
        features=examples().astype("<f4").tobytes(),
        targets=np.zeros(EXAMPLES, "<i8").tobytes(),
        rows=EXAMPLES,
        seed=bytes(32),
    )
    return np.frombuffer(run_task(task).vector, "<i8")[:LENGTH]


def published(multiplier: float) -> np.ndarray:
    """The sum of a round whose contributors, one apart, contribute nothing: [LENGTH]."""
    clip = norm_max(SETTINGS)
    bounds, noise = Bounds(LENGTH, LENGTH, clip, 0), NO_NOISE
    if multiplier:
        chosen = choose_noise(bounds, clip, 1, multiplier, multiplier)
        bounds, noise = chosen.bounds, chosen.noise
    town = Town()
    asked = phase(LENGTH, bounds=bounds, clip=clip, noise=noise, target=6)
    study = town.propose(plan=manifest(LENGTH, [asked]))

    def vector(index: int, round_number: int, length: int) -> np.ndarray:
        victim = index == town.plan(study, index).contributors[0]
        return victims_vector() if victim else np.zeros(length, dtype=np.int64)

    town.vector = vector
    assert town.run(town.finished(study))
    return np.array(town.model(study))


def rebuilt(guesses: Floats) -> int:
    """How many of the victim's examples some guess is."""
    spread = guesses.std(axis=1) > 0
    if not spread.any():
        return 0
    closeness = np.corrcoef(examples(), guesses[spread])[:EXAMPLES, EXAMPLES:]
    return int((closeness.max(axis=1) > REBUILT).sum())


def signs_right(guesses: Floats) -> float:
    """Share of signs that are right in the bins where the trap caught an example."""
    caught = trap().read(victims_vector().astype(float))
    closeness = np.corrcoef(examples(), caught + 1e-12 * np.arange(WIDTH))[:EXAMPLES, EXAMPLES:]
    pairs = np.argwhere(closeness > REBUILT)
    assert len(pairs) >= 4
    right = [np.sign(guesses[at]) == np.sign(examples()[row]) for row, at in pairs]
    return float(np.mean(right))


def test_without_noise_the_trap_gives_examples_away():
    guesses = trap().read(published(0.0).astype(float))
    assert rebuilt(guesses) >= 4
    assert signs_right(guesses) == 1.0


@pytest.mark.parametrize("multiplier", [0.5, 1.0])
def test_with_noise_the_trap_tells_no_more_than_chance(multiplier):
    guesses = trap().read(published(multiplier).astype(float))
    assert rebuilt(guesses) == 0
    assert signs_right(guesses) < 0.6
