"""One masked round of a large model by real processes over TLS, and what it asks of each of them.

    python -m benchmarks.large_models [--hidden 4096 2400] [--nodes 6] [--rounds 1]

The processes are those of the demonstration. The model is a perceptron of two columns and six
classes, of some 10^7 parameters as stated above; rows are few, so training takes little. Beside
wall clock and CPU: peak memory of each node's own process, by the roles that it had; how much its
directory holds at most; and the longest that a node took to answer its owner, which is how long its
event loop was busy at a stretch (on a machine that others use, an upper bound).
"""

import argparse
import csv
import itertools
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import pnyx
from pnyx.demo.cluster import Cluster
from pnyx.demo.journal import FILE_NAME
from pnyx.demo.watch import Watch
from pnyx.errors import PnyxError
from pnyx.learning.training import warm_up
from pnyx.node.control import NodeStatus, Status, call
from pnyx.node.keystore import NodeLayout
from pnyx.node.proposal import read_proposal
from pnyx.primitives.ring import implementation
from pnyx.protocol.selection import assess
from pnyx.vault.importers import ImportMapping, parse_mapping

COLUMNS = ("a", "b")
CLASSES = 6
ROWS = 40
PURPOSE_TERM = "dpv:ResearchAndDevelopment"
STUDY = "study.toml"
_MB = 1 << 20


class Script:
    """What the nodes play: each owner has a few rows, and all take part."""

    purpose_term = PURPOSE_TERM
    category = "benchmark.rows"

    def __init__(self, folder: Path, nodes: int, rounds: int, hidden: list[int]) -> None:
        self._folder = folder
        columns: dict[str, Any] = {name: {"type": "float"} for name in COLUMNS}
        columns["kind"] = {"type": "text", "classes": [str(at) for at in range(CLASSES)]}
        self._mapping = parse_mapping({"category": self.category, "columns": columns})
        (folder / STUDY).write_bytes(msgspec.toml.encode(_study(nodes, rounds, hidden)))
        for node in range(nodes):
            self._write(node)

    def _write(self, node: int) -> None:
        draws = np.random.default_rng(node)
        with self._file(node).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*COLUMNS, "kind"])
            for row in range(ROWS):
                kind = row % CLASSES
                writer.writerow([kind + draws.random(), draws.random() - kind, kind])

    def _file(self, node: int) -> Path:
        return self._folder / f"owner-{node}.csv"

    def owner_data(self, node: int) -> tuple[Path, ImportMapping]:
        """The file of one owner."""
        return self._file(node), self._mapping

    def refuses(self, node: int) -> bool:  # noqa: ARG002  (as scripts have it)
        """Nobody does."""
        return False

    def study(self, network: bytes, proposer: bytes) -> tuple[bytes, bytes]:
        """Read the study file, as `pnyx study propose` does."""
        proposal = read_proposal(self._folder / STUDY, network, proposer)
        return proposal.manifest, proposal.model


def _study(nodes: int, rounds: int, hidden: list[int]) -> dict[str, Any]:
    train = {"kind": "train", "rounds": rounds, "masked": True}
    return {
        "title": "A large model",
        "purpose": "Measure what a round of a large model takes.",
        "purpose_term": PURPOSE_TERM,
        "category": Script.category,
        "columns": list(COLUMNS),
        "label": "kind",
        "cohort_min": 3,
        "join_window_s": 20.0,
        "model": {"hidden": hidden, "classes": CLASSES},
        "training": {
            "local_epochs": 1,
            "batch_size": 16,
            "learning_rate": 0.05,
            "clip_norm": 4.0,
        },
        "privacy": {"noise_multiplier": 0.0},
        "phases": [{**train, "target": nodes - 2, "drawn": nodes - 1, "deadline_s": 240.0}],
    }


class Stops(threading.Thread):
    """Asks every node for its status again and again; keeps the longest answer of each."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(daemon=True)
        self._cluster = cluster
        self.longest_s = [0.0] * cluster.nodes
        self.ended = threading.Event()

    def run(self) -> None:
        """Until `ended` is set."""
        for node in itertools.cycle(range(self._cluster.nodes)):
            if self.ended.wait(0.02):
                return
            started = time.monotonic()
            try:
                call(NodeLayout(self._cluster.directory(node)), Status(), NodeStatus)
            except PnyxError:
                continue  # it is not up yet
            self.longest_s[node] = max(self.longest_s[node], time.monotonic() - started)


class Run:
    """One run."""

    def __init__(self, folder: Path, nodes: int, rounds: int, hidden: list[int]) -> None:
        self._rounds = rounds
        self._committee = assess(nodes, rounds=rounds + 2).committee
        self._cluster = Cluster(folder, nodes, Script(folder, nodes, rounds, hidden), {})
        self._watch = Watch(self._cluster)
        self._stops = Stops(self._cluster)
        self._disk = [0] * nodes
        self._peak_mb = [0.0] * nodes

    def run(self, timeout_s: float) -> dict[str, Any]:
        """Run it to its end and return the figures. Raises PnyxError when it does not end."""
        warm_up()
        implementation()
        give_up = time.monotonic() + timeout_s
        try:
            self._cluster.launch(self._committee)
            self._stops.start()
            while len(self._watch.finished) < self._cluster.nodes:
                self._watch.poll()
                self._sample()
                if time.monotonic() > give_up:
                    raise PnyxError(f"The run has {len(self._watch.rounds)} rounds: too slow.")
                time.sleep(0.2)
            self._sample()
            proof = self._proof()
        finally:
            self._stops.ended.set()
            self._cluster.stop()
        return {**self._figures(), **proof}

    def _sample(self) -> None:
        for node, process in self._cluster.processes.items():
            if not self._cluster.alive(node):
                raise PnyxError(f"Node {node + 1} stopped{self._cluster.last_words(node)}")
            status = Path(f"/proc/{process}/status").read_text()
            peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
            self._peak_mb[node] = max(self._peak_mb[node], int(peak.split()[1]) / 1024)
            self._disk[node] = max(self._disk[node], _bytes_under(self._cluster.directory(node)))

    def _figures(self) -> dict[str, Any]:
        watch = self._watch
        rounds = [watch.rounds[number] for number in sorted(watch.rounds)]
        pairs = list(itertools.pairwise(rounds))
        return {
            "nodes": self._cluster.nodes,
            "committee": self._committee.size,
            "contributors": [each.contributors for each in rounds],
            "seconds_of_round_1": round(rounds[0].certified_at - min(watch.steps[1, "open"]), 1),
            "cpu_seconds_in_all": [round(each.cpu_total_s, 1) for each in rounds],
            "seconds_by_round": [round(b.certified_at - a.certified_at, 1) for a, b in pairs],
            "cpu_seconds_by_round": [round(b.cpu_total_s - a.cpu_total_s, 1) for a, b in pairs],
            "step_seconds": {name: round(each, 2) for name, each in watch.step_seconds().items()},
            "node_peak_mb": {
                f"node {node + 1}: {self._roles(node)}": round(peak)
                for node, peak in enumerate(self._peak_mb)
            },
            "node_disk_peak_mb": [round(each / _MB) for each in self._disk],
            "longest_answer_s": [round(each, 2) for each in self._stops.longest_s],
            "rejected": dict(watch.rejected),
            "blamed": sorted(rule for _, rule in watch.blamed),
        }

    def _roles(self, node: int) -> str:
        """What a node did in rounds that train."""
        lines = (self._cluster.directory(node) / FILE_NAME).read_text().splitlines()
        events = [json.loads(line) for line in lines]
        member = any(e["event"] == "step" and e["round"] > 0 for e in events)
        gave = any(e["event"] == "sent" for e in events)
        named = [word for word, so in (("member", member), ("contributor", gave)) if so]
        return ", ".join(named) or "neither"

    def _proof(self) -> dict[str, Any]:
        directory = self._cluster.directory(0)
        started = time.monotonic()
        node = pnyx.connect(directory)
        (study,) = node.studies()
        path = self._cluster.root / "study.bundle"
        node.study(study.study).save_bundle(path)
        verified = pnyx.verify(path, directory / "network.json")
        return {
            "proof_verified": verified.finished,
            "proof_bytes": path.stat().st_size,
            "parameters": len(verified.model) // 4,
            "proof_seconds": round(time.monotonic() - started, 1),
        }


def _bytes_under(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue  # it went meanwhile
    return total


def main() -> None:
    """Run it and print the figures as JSON."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, nargs="+", default=[4096, 2400])
    parser.add_argument("--nodes", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=1200.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pnyx-large-") as name:
        run = Run(Path(name), options.nodes, options.rounds, options.hidden)
        print(json.dumps(run.run(options.timeout), indent=2))


if __name__ == "__main__":
    main()
