"""A simulated study, round by round.

In each round contributors are drawn among the owners that have participations left, as beacons
draw them; towards the end these may by chance be fewer than the study asks for. The sum of their
noise is drawn at once: the sum of n discrete Gaussians of width σ is one of width σ√n within the
distance that the accountant neglects anyway (`protocol.privacy`).

**Groups** are those of a round of the protocol, and their sums become one update by its rule
(`protocol.aggregation.robust`). The noise of each must suffice by itself. If by chance so few
contribute that fewer groups than the rule needs have anybody, the model stays.

What an owner has spent is counted as the ledger of its node counts it; the ε of a round is that of
the owner that took part most often so far.

**Attackers** are owners that control what they send. Within the proven norm `sign_flip` sends the
negative of an honest update, scaled up to the whole norm bound, and `label_flip` trains honestly on
labels that are moved by one class. `unbounded` is `sign_flip` at ten times the bound, entries cut
to what masks hold: nobody notices in a masked round whose updates are not `verified`. All send the
noise that honest ones send.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pnyx.errors import ConfigError, TrainingError
from pnyx.learning import apply_update, initial_model
from pnyx.learning.cohort import Client, Cohort
from pnyx.learning.features import Examples
from pnyx.learning.programs.models import PARAMETER_DTYPE, SEED_BYTES
from pnyx.learning.training import warm_up
from pnyx.learning.update import TRAIN_COUNTS, norm_max, quantise
from pnyx.primitives.hashing import digest
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation.gaussian import discrete_gaussian
from pnyx.protocol.aggregation.robust import GroupUpdate, combine
from pnyx.protocol.noise import NO_NOISE, noise_norm_max, update_width, value_bits_needed
from pnyx.protocol.privacy import epsilon
from pnyx.protocol.selection import contributor_groups
from pnyx.simulator.learning.inputs import (
    check,
    hyperparameters,
    read_data,
    read_program_of,
)
from pnyx.simulator.learning.records import LearningParameters, LearningRound

_OVERSHOOT = 10  # norm of an `unbounded` update, in bounds


def run_study(parameters: LearningParameters, seed: int) -> Iterator[LearningRound]:
    """Simulate a study; yields each round when it is over. The same seed gives the same rounds.

    Raises ConfigError for parameters that do not fit the data or each other.
    """
    check(parameters)
    warm_up()  # torch in one thread: a sweep has a process for every core
    study = _Study(parameters, seed)
    for number in range(1, parameters.rounds + 1):
        yield study.run_round(number)


class _Study:
    """What lasts from round to round."""

    def __init__(self, parameters: LearningParameters, seed: int) -> None:
        self._parameters = parameters
        self._seed = digest("pnyx/simulator/learning", seed.to_bytes(16, "big"))
        self._data = read_data(parameters, self._seed)
        self._owners = parameters.owners or len(self._data.training)
        self._contributors = min(parameters.contributors, self._owners)
        self._hyperparameters = hyperparameters(parameters)
        self._program = read_program_of(parameters, self._data.width, self._data.classes)
        self._model = initial_model(self._program, self._seed)
        self._cohort = Cohort(self._program, self._hyperparameters)
        self._taken = np.zeros(self._owners, dtype=np.int64)  # participations by owner
        drawn = self._generator("corrupted").random(self._owners)
        self._corrupted = np.argsort(drawn)[: round(parameters.corrupted * self._owners)]

    def run_round(self, number: int) -> LearningRound:
        """Draw, train, add up, move the model, score it."""
        drawn = self._draw(number)
        # The noise of every group must suffice, so of the smallest.
        smallest = len(drawn) // self._parameters.groups
        honest_min = max(1, math.floor(self._parameters.honest_share * smallest))
        width = self._width(honest_min)
        sums, clipped = self._sums(drawn, number)
        self._add_noise(sums, width, number)
        self._move(sums, width)
        self._taken[drawn] += 1
        most = int(self._taken.max())
        shared = np.frombuffer(self._model, PARAMETER_DTYPE)
        right = self._cohort.score(shared, self._data.held_out)
        return LearningRound(
            round=number,
            owners=self._owners,
            contributors=len(drawn),
            accuracy=right / len(self._data.held_out.targets),
            epsilon=epsilon(most * self._rho(width, honest_min)) if width else None,
            participations=most,
            clipped=clipped / len(drawn),
        )

    def _draw(self, number: int) -> NDArray[np.int64]:
        most = self._parameters.most_participations(self._owners)
        eligible = np.flatnonzero(self._taken < most)  # never none: see `inputs.check`
        generator = self._generator("contributors", number)
        return generator.choice(eligible, min(self._contributors, len(eligible)), replace=False)

    def _sums(self, drawn: NDArray[np.int64], number: int) -> tuple[list[GroupUpdate], int]:
        """Sums of the quantised updates of each group [shared_count], and how many were clipped.

        Groups that nobody is in are left out.
        """
        corrupted = np.isin(drawn, self._corrupted)
        clients = [
            self._client(int(owner), number, bool(bad))
            for owner, bad in zip(drawn, corrupted, strict=True)
        ]
        group_of = self._groups(drawn, number)
        shared = np.frombuffer(self._model, PARAMETER_DTYPE)
        totals = np.zeros((self._parameters.groups, len(shared)), dtype=np.int64)
        clipped = 0
        for positions, trained in self._cohort.train(
            shared,
            clients,
            epochs=self._parameters.local_epochs,
            learning_rate=self._parameters.learning_rate,
        ):
            updates = trained.astype(np.float64) - shared
            for at, update in zip(positions, updates, strict=True):
                norm = float(np.linalg.norm(update))
                clipped += norm > self._parameters.clip_norm
                sent = self._spoiled(update, norm) if corrupted[at] else self._quantised(update)
                totals[group_of[at]] += sent
        counts = np.bincount(group_of, minlength=len(totals))
        sums = [
            GroupUpdate(total, int(count))
            for total, count in zip(totals, counts, strict=True)
            if count
        ]
        return sums, clipped

    def _groups(self, drawn: NDArray[np.int64], number: int) -> NDArray[np.int64]:
        """The group of each that was drawn."""
        if self._parameters.groups == 1:  # no hashes of a million owners for it
            return np.zeros(len(drawn), dtype=np.int64)
        ids = [int(owner).to_bytes(8, "big") for owner in drawn]
        beacon = self._key("groups", number)
        return np.array(contributor_groups(beacon, ids, self._parameters.groups))

    def _add_noise(self, sums: list[GroupUpdate], width: int, number: int) -> None:
        """Add to each sum what its contributors add, each with this width."""
        if not width:
            return
        sampler = Sampler(self._key("noise", number), "pnyx/simulator/learning/noise")
        for each in sums:
            spread = round(width * math.sqrt(each.contributors))
            drawn = discrete_gaussian(sampler, spread, self._program.shared_count)
            np.add(each.total, drawn, out=each.total)

    def _move(self, sums: list[GroupUpdate], width: int) -> None:
        """Move the model by what the rule makes of the sums."""
        if len(sums) < self._parameters.robust.groups_min:
            return
        combined = combine(sums, self._parameters.robust)
        no_counts = np.zeros(TRAIN_COUNTS, dtype=np.int64)  # nobody reads them here
        total = np.concatenate([combined.total, no_counts])
        unbounded = self._parameters.attack == "unbounded"
        largest = self._masks_hold if unbounded else norm_max(self._hyperparameters)
        largest += noise_norm_max(width, self._program.shared_count)
        self._model = apply_update(
            self._model, total, combined.divisor, self._hyperparameters, largest
        )

    def _spoiled(self, update: NDArray[np.float64], norm: float) -> NDArray[np.int64]:
        """What a corrupted owner sends in the place of an update of this norm."""
        attack, bound = self._parameters.attack, self._parameters.clip_norm
        if attack == "label_flip":  # the labels that it trained on did it
            return self._quantised(update)
        flipped = self._quantised(update * (-bound / max(norm, 1e-12)))
        if attack == "sign_flip":
            return flipped
        return np.clip(_OVERSHOOT * flipped, -self._masks_hold, self._masks_hold)

    @property
    def _masks_hold(self) -> int:
        """The largest entry of a masked update, without its noise."""
        bits = value_bits_needed(norm_max(self._hyperparameters), NO_NOISE)
        return (1 << (bits - 1)) - 1

    def _quantised(self, update: NDArray[np.float64]) -> NDArray[np.int64]:
        """A node whose training left the range of numbers sends nothing."""
        try:
            return quantise(update, self._hyperparameters)
        except TrainingError as error:
            raise ConfigError(
                "Training left the range of numbers: lower learning_rate, which is "
                f"{self._parameters.learning_rate:g}."
            ) from error

    def _client(self, owner: int, number: int, bad: bool) -> Client:
        rows = self._generator("rows", owner)
        examples = self._data.of(owner, self._parameters.rows, rows)
        if bad and self._parameters.attack == "label_flip":
            moved = (examples.targets + 1) % self._data.classes
            examples = Examples(examples.features, moved)
        return Client(training=examples, seed=self._key("training", number, owner))

    def _width(self, honest_min: int) -> int:
        multiplier = self._parameters.noise_multiplier
        if not multiplier:
            return 0
        return update_width(norm_max(self._hyperparameters), honest_min, multiplier)

    def _rho(self, width: int, honest_min: int) -> float:
        """ρ of one participation; of the updates alone, for the counts here are nobody's."""
        return norm_max(self._hyperparameters) ** 2 / (2 * honest_min * width**2)

    def _key(self, purpose: str, *numbers: int) -> bytes:
        return digest(
            "pnyx/simulator/learning/key",
            self._seed,
            purpose.encode(),
            *[each.to_bytes(8, "big") for each in numbers],
        )[:SEED_BYTES]

    def _generator(self, purpose: str, *numbers: int) -> np.random.Generator:
        return np.random.default_rng(int.from_bytes(self._key(purpose, *numbers), "big"))
