"""The same study by real processes over TLS: updates travel masked, and a tenth of them is killed.

The processes are those of the demonstration (`pnyx.demo.cluster`); what they say of themselves is
read from their journals. Afterwards one node is asked for the study's proof, as its owner would.
"""

import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import msgspec

import pnyx
from benchmarks.deep.study import Cohort, DeepScript
from pnyx.demo.cluster import Cluster
from pnyx.demo.journal import FILE_NAME
from pnyx.demo.watch import RoundFigures, Watch
from pnyx.errors import PnyxError
from pnyx.learning.training import warm_up
from pnyx.primitives.ring import implementation
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.selection import assess

BEFORE_TRAINING = 0  # the round that collects joins
AWAY_ROUNDS = 3
AWAY_SECONDS_MAX = 30.0
MEMORY_EVERY_S = 10.0
POLL_S = 0.1
LAST_NODES_S = 20.0


class Options(msgspec.Struct, frozen=True):
    """How a run goes. kill: share of the nodes that are killed after a quarter of the rounds."""

    kill: float
    seed: int
    timeout_s: float


class Protected:
    """One run."""

    def __init__(
        self, folder: Path, script: DeepScript, size: Cohort, rounds: int, options: Options
    ) -> None:
        self._rounds = rounds
        self._size = size
        self._options = options
        self._committee = assess(size.nodes, rounds=rounds + 2).committee
        sampler = Sampler(options.seed.to_bytes(32, "big"), "pnyx/benchmarks/victims")
        self._victims = sampler.sample(size.nodes, round(options.kill * size.nodes))
        self._cluster = Cluster(folder, size.nodes, script, {})
        self._watch = Watch(self._cluster)
        self._killed_at = 0.0
        self._killed_in = 0
        self._restarted = False

    def run(self) -> dict[str, Any]:
        """Run it and return the figures. Raises PnyxError when it does not end."""
        warm_up()
        implementation()  # and the ring loops, before the nodes are forked
        started = time.monotonic()
        try:
            self._cluster.launch(self._committee)
            self._follow(started + self._options.timeout_s)
            proof = self._proof()
            traffic = self._traffic()
        finally:
            self._cluster.stop()
        duration = time.monotonic() - started
        return {**self._figures(), **traffic, **proof, "seconds_in_all": round(duration, 1)}

    # --- watching -------------------------------------------------------------------------------

    def _follow(self, give_up: float) -> None:
        next_memory, last_finish = 0.0, float("inf")
        nodes = self._size.nodes
        while len(self._watch.finished) < nodes and time.monotonic() < last_finish + LAST_NODES_S:
            now = time.monotonic()
            self._watch.poll()
            if self._watch.finished:
                last_finish = min(last_finish, now)
            if now > next_memory:
                self._watch.sample_memory()
                next_memory = time.monotonic() + MEMORY_EVERY_S
            self._kill_and_restart(now)
            self._check_alive()
            if now > give_up:
                raise PnyxError(f"The run has {len(self._watch.rounds)} rounds, and was too slow.")
            time.sleep(POLL_S)

    def _kill_and_restart(self, now: float) -> None:
        reached = max(self._watch.rounds, default=0) - BEFORE_TRAINING
        if self._victims and not self._killed_at and reached >= max(1, self._rounds // 4):
            for node in self._victims:
                self._cluster.kill(node)
            self._killed_at, self._killed_in = now, reached + 1
        elif self._killed_at and not self._restarted:
            back = reached + 1 >= self._killed_in + AWAY_ROUNDS
            if back or now > self._killed_at + AWAY_SECONDS_MAX:
                for node in self._victims:
                    self._cluster.restart(node)
                self._restarted = True

    def _check_alive(self) -> None:
        for node in range(self._size.nodes):
            away = node in self._victims and self._killed_at and not self._restarted
            if not away and not self._cluster.alive(node):
                raise PnyxError(f"Node {node + 1} stopped{self._cluster.last_words(node)}")

    # --- what is found --------------------------------------------------------------------------

    def _training(self) -> list[RoundFigures]:
        last = BEFORE_TRAINING + self._rounds
        rounds = self._watch.rounds
        return [rounds[n] for n in sorted(rounds) if BEFORE_TRAINING < n <= last]

    def _figures(self) -> dict[str, Any]:
        watch, training = self._watch, self._training()
        evaluation = watch.rounds.get(BEFORE_TRAINING + self._rounds + 1)
        counts = evaluation.metrics if evaluation and evaluation.metrics else [0, 0, 0, 0]
        seconds = [b.certified_at - a.certified_at for a, b in itertools.pairwise(training)]
        cpu = [
            after.cpu_total_s - before.cpu_total_s
            for before, after in itertools.pairwise(training)
            if before.cpu_total_s and after.cpu_total_s
        ]
        return {
            "nodes": self._size.nodes,
            "committee": self._committee.size,
            "rounds": self._rounds,
            "rounds_completed": sum(not each.skipped for each in training),
            "killed": len(self._victims),
            "killed_in_round": self._killed_in,
            "finished": len(watch.finished),
            "contributors": [each.contributors for each in training],
            "evaluated_by": evaluation.contributors if evaluation else 0,
            "accuracy_alone": _share(counts[0], counts[3]),
            "accuracy_shared": _share(counts[1], counts[3]),
            "accuracy_personalised": _share(counts[2], counts[3]),
            "held_out": counts[3],
            "accuracy_by_round": [_share(*each.metrics[:2]) for each in training if each.metrics],
            "seconds_per_round": _round(median(seconds)),
            "seconds_by_round": [_round(each) for each in seconds],
            "cpu_seconds_per_round": _round(median(cpu)),
            "memory_mb": round(watch.memory_mb_peak),
            "step_seconds": {name: _round(each) for name, each in watch.step_seconds().items()},
            "rejected": dict(watch.rejected),
            "blamed": sorted(rule for _, rule in watch.blamed),
        }

    def _traffic(self) -> dict[str, Any]:
        """Bytes on the wire between two records, TLS included: of contributors, and of others."""
        contributed: list[int] = []
        others: list[int] = []
        for node in range(self._size.nodes):
            for number, sent, gave in _sent_by_round(self._cluster.directory(node) / FILE_NAME):
                if BEFORE_TRAINING + 1 < number <= BEFORE_TRAINING + self._rounds:
                    (contributed if gave else others).append(sent)
        return {
            "bytes_per_contributor_round": round(median(contributed)) if contributed else None,
            "bytes_per_contributor_round_mean": round(mean(contributed)) if contributed else None,
            "bytes_per_other_round": round(median(others)) if others else None,
        }

    def _proof(self) -> dict[str, Any]:
        """Ask the first node that finished for the study's bundle, and verify it."""
        directory = self._cluster.directory(min(self._watch.finished))
        started = time.monotonic()
        node = pnyx.connect(directory)
        (study,) = node.studies()
        path = self._cluster.root / "study.bundle"
        node.study(study.study).save_bundle(path)
        verified = pnyx.verify(path, directory / "network.json")
        return {
            "proof_verified": verified.finished,
            "proof_bytes": path.stat().st_size,
            "model_bytes": len(verified.model),
            "proof_seconds": _round(time.monotonic() - started),
        }


def _sent_by_round(path: Path) -> Sequence[tuple[int, int, bool]]:
    """Of one node: round, bytes sent since the record before, and whether it contributed.

    A node that was restarted in between has sent an unknown number, and is left out there.
    """
    found, gave = [], False
    before: tuple[int, int] | None = None
    for line in map(json.loads, path.read_text().splitlines()):
        match line["event"]:
            case "started":
                before = None
            case "sent":
                gave = True
            case "round":
                if before is not None and line["round"] == before[0] + 1:
                    found.append((line["round"], line["bytes_sent"] - before[1], gave))
                before, gave = (line["round"], line["bytes_sent"]), False
    return found


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _round(value: float) -> float:
    return round(value, 3)
