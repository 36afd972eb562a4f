"""The yardstick: the same training in one process, with plain sums and no protocol.

Tasks, hyper-parameters, program and rows are those that nodes derive from the manifest;
contributors are drawn uniformly, as many as a round waits for. Entries are cut as masks would cut
them only where one asks what that costs.
"""

import hashlib
import time
from collections.abc import Iterable, Sequence
from functools import reduce
from statistics import mean, median, stdev

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.deep.owners import Owner
from benchmarks.deep.study import Cohort, DeepScript
from pnyx.learning.server_optimizer import apply_update
from pnyx.learning.task import TrainingTask
from pnyx.learning.training import run_task
from pnyx.learning.update import norm_max
from pnyx.node.learning import read_manifest_body, training_task
from pnyx.node.queries import OwnerRows
from pnyx.protocol.manifest import Manifest


class Plain(msgspec.Struct, frozen=True):
    """What one seed gave. Accuracies are pooled over held-out rows."""

    seed: int
    alone: float
    shared: float
    personalised: float
    held_out: int
    by_round: list[float]  # of the model before each round, at its contributors
    clipped: float  # share of updates that were too long
    beyond_masks: float  # share of entries that masks would have cut
    train_cpu_s: float  # median of a task
    evaluate_cpu_s: float


class _Run:
    """One seed's run."""

    def __init__(
        self, seed: int, script: DeepScript, owners: Sequence[Owner], *, cut: bool
    ) -> None:
        self.seed = seed
        self.cut = cut
        self.owners = owners
        proposal = script.seeded(self.secret("model"))
        self.body = proposal.manifest
        self.manifest: Manifest = read_manifest_body(self.body)
        self.model = proposal.model
        self.cpu: dict[str, list[float]] = {}
        self.clipped: list[float] = []
        self.beyond: list[float] = []

    def secret(self, *parts: object) -> bytes:
        """32 bytes bound to this run and to `parts`."""
        return hashlib.sha256(repr((self.seed, *parts)).encode()).digest()

    def task(self, owner: int, round_number: int) -> TrainingTask:
        """What the node of this owner would hand to its worker."""
        found = self.owners[owner]
        return training_task(
            OwnerRows(found.rows.astype(np.float64), found.targets),
            study=self.secret("study"),
            manifest_body=self.body,
            round_number=round_number,
            model=self.model,
            node_id=self.secret("node", owner),
            statistics=None,
            local=b"",
            seed=self.secret("order", owner, round_number),
        )

    def sum_of(self, drawn: Iterable[int], round_number: int) -> NDArray[np.int64]:
        """The plain sum of their contributions [length]."""
        contributions = (self.contribute(int(owner), round_number) for owner in drawn)
        return reduce(np.add, contributions)

    def contribute(self, owner: int, round_number: int) -> NDArray[np.int64]:
        """One contribution [length]."""
        task = self.task(owner, round_number)
        before = time.process_time()
        outcome = run_task(task)
        self.cpu.setdefault(task.kind, []).append(time.process_time() - before)
        vector = np.frombuffer(outcome.vector, "<i8").astype(np.int64)
        masks = self.manifest.phase_of(round_number).masked
        if masks is not None:
            self.clipped.append(outcome.metrics["clipped"])
            update = vector[: masks.length]
            self.beyond.append(float((np.abs(update) > masks.value_max).mean()))
            if self.cut:
                np.clip(update, -masks.value_max, masks.value_max, out=update)
        return vector


def simulate(seed: int, script: DeepScript, size: Cohort, *, cut: bool = False) -> Plain:
    """Train for the rounds of the study, then evaluate at every owner.

    cut: whether entries are cut to what masks carry, without noise.
    """
    owners = script.population.owners[: size.nodes]
    run = _Run(seed, script, owners, cut=cut)
    task = run.task(0, 1)
    generator = np.random.default_rng(seed)
    rounds, by_round = run.manifest.phases[0].rounds, []
    for number in range(1, rounds + 1):
        drawn = generator.permutation(len(owners))[: size.target]
        total = run.sum_of(drawn, number)
        settings = task.hyperparameters
        run.model = apply_update(run.model, total, len(drawn), settings, norm_max(settings))
        by_round.append(float(total[-3] / total[-2]))
    counts = run.sum_of(range(len(owners)), rounds + 1)
    alone, shared, personalised, held_out = (int(count) for count in counts)
    return Plain(
        seed=seed,
        alone=alone / held_out,
        shared=shared / held_out,
        personalised=personalised / held_out,
        held_out=held_out,
        by_round=[round(each, 4) for each in by_round],
        clipped=mean(run.clipped),
        beyond_masks=mean(run.beyond),
        train_cpu_s=median(run.cpu["train"]),
        evaluate_cpu_s=median(run.cpu["evaluate"]),
    )


def spread(results: Sequence[Plain]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation over seeds of each accuracy."""
    found = {}
    for name in ("alone", "shared", "personalised"):
        values = [getattr(each, name) for each in results]
        deviation = stdev(values) if len(values) > 1 else 0.0
        found[name] = {"mean": round(mean(values), 4), "stdev": round(deviation, 4)}
    return found
