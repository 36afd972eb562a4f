"""The launcher's view of a running demonstration: what the nodes wrote, and what it costs."""

import itertools
import os
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from pnyx.demo.cluster import Cluster
from pnyx.demo.culprits import Judged
from pnyx.demo.journal import EventReader

_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class RoundFigures(msgspec.Struct, kw_only=True):
    """What is known of one certified round."""

    number: int
    certified_at: float  # seconds, monotonic; first node
    cpu_total_s: float  # all processes since their start, sampled when half the nodes had it
    contributors: int
    metrics: list[int]
    skipped: bool


class Watch:
    """Collects every node's events and samples the processes."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._readers = [EventReader(cluster.directory(n)) for n in range(cluster.nodes)]
        self.rounds: dict[int, RoundFigures] = {}
        self.seen: Counter[int] = Counter()  # round -> nodes that have its record
        self.finished: set[int] = set()
        self.joined_at: float | None = None
        self.epoch_at: float | None = None
        self.steps: dict[tuple[int, str], list[float]] = {}
        # (node id, rule) -> who says so -> hash of its evidence
        self.blamed: dict[tuple[str, str], dict[int, str]] = {}
        self.judged: dict[int, dict[int, Judged]] = {}  # round -> node -> what it says
        self.misbehaved: Counter[int] = Counter()  # corrupt node -> how often it acted
        self.rejected: Counter[str] = Counter()
        self.bytes_sent: dict[int, list[tuple[int, int]]] = {}  # node -> (round, total sent)
        self.node_ids: dict[int, str] = {}
        self.contributed: Counter[int] = Counter()  # node -> contributions sent
        self.memory_mb_peak = 0.0
        self._cpu_gone: float = 0.0  # of nodes whose processes were killed
        self._cpu_now: dict[int, float] = {}  # node's process -> CPU seconds, its workers included

    def poll(self) -> None:
        """Read what is new."""
        for node, reader in enumerate(self._readers):
            for line in reader.read():
                self._take(node, line)

    def _take(self, node: int, line: dict[str, Any]) -> None:
        match line["event"]:
            case "started":
                self.node_ids[node] = line["node_id"]
            case "epoch":
                self.epoch_at = min(self.epoch_at or line["at"], line["at"])
            case "step":
                self.steps.setdefault((line["round"], line["step"]), []).append(line["at"])
            case "sent":
                self.contributed[node] += 1
            case "blamed":
                said = self.blamed.setdefault((line["peer"], line["rule"]), {})
                said[node] = line["evidence"] or said.get(node, "")
            case "judged":
                accepted, left_out = len(line["accepted"]), len(line["left_out"])
                judged = Judged(accepted, frozenset(line["rejected"]), left_out)
                self.judged.setdefault(line["round"], {})[node] = judged
            case "misbehaved":
                self.misbehaved[node] += 1
            case "finished":
                self.finished.add(node)
                if node not in self._cluster.corrupt:
                    self.rejected.update(line["rejected"])
            case "round":
                self._take_round(node, line)
            case _:
                return

    def _take_round(self, node: int, line: dict[str, Any]) -> None:
        number = line["round"]
        self.seen[number] += 1
        self.bytes_sent.setdefault(node, []).append((number, line["bytes_sent"]))
        known = self.rounds.get(number)
        if known is None:
            known = RoundFigures(
                number=number,
                certified_at=line["at"],
                cpu_total_s=0.0,
                contributors=line["contributors"],
                metrics=line["metrics"],
                skipped=line["skipped"],
            )
            self.rounds[number] = known
        known.certified_at = min(known.certified_at, line["at"])
        if known.cpu_total_s == 0.0 and 2 * self.seen[number] >= self._cluster.nodes:
            known.cpu_total_s = self.cpu_total_s()

    # --- processes ------------------------------------------------------------------------------

    def cpu_total_s(self) -> float:
        """CPU seconds of all nodes and their workers so far, those that ended included.

        Counted node by node: what a worker used is its own while it lives, and its nursery's once
        it was collected. Whoever counts processes one by one counts it twice.
        """
        current = {
            process: sum(map(_cpu_s, _with_descendants(process)))
            for process in self._cluster.processes.values()
        }
        self._cpu_gone += sum(s for p, s in self._cpu_now.items() if p not in current)
        self._cpu_now = current
        return self._cpu_gone + sum(current.values())

    def sample_memory(self) -> None:
        """Note the peak of what all processes together hold, shared pages counted once."""
        nodes = self._cluster.processes.values()
        found = [process for node in nodes for process in _with_descendants(node)]
        total = sum(map(_memory_kb, [*found, os.getpid()]))
        self.memory_mb_peak = max(self.memory_mb_peak, total / 1024)

    # --- figures --------------------------------------------------------------------------------

    def seconds_per_round(self) -> list[float]:
        """Time between the records of consecutive rounds."""
        times = [self.rounds[number].certified_at for number in sorted(self.rounds)]
        return [b - a for a, b in itertools.pairwise(times)]

    def cpu_per_round(self) -> list[float]:
        """CPU seconds of all nodes together between consecutive records."""
        totals = [self.rounds[number].cpu_total_s for number in sorted(self.rounds)]
        return [b - a for a, b in itertools.pairwise(totals) if a and b]

    def bytes_per_node_round(self) -> float:
        """Mean over nodes and rounds of bytes sent between two records, TLS included.

        Not the median: it leaves out what leaders send, and rises when others take that over.
        """
        differences = [
            after - before
            for sent in self.bytes_sent.values()
            for (first, before), (second, after) in itertools.pairwise(sent)
            if second == first + 1 and after > before
        ]
        return statistics.fmean(differences) if differences else 0.0

    def step_seconds(self) -> dict[str, float]:
        """Median seconds that a round spends in each step, from the median member's entries."""
        order = ["open", "close", "challenge", "accept", "release", "certify", "done"]
        spent: dict[str, list[float]] = {}
        for number in self.rounds:
            entered = {
                step: statistics.median(self.steps[number, step])
                for step in order
                if (number, step) in self.steps
            }
            for step, following in itertools.pairwise(order):
                if step in entered:
                    end = entered.get(following, self.rounds[number].certified_at)
                    spent.setdefault(step, []).append(end - entered[step])
        return {step: statistics.median(values) for step, values in spent.items()}


def _children(process: int) -> list[int]:
    try:
        listed = Path(f"/proc/{process}/task/{process}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in listed.split()]


def _with_descendants(process: int) -> list[int]:
    """A node, its nursery, and the worker of this."""
    found = [process]
    for each in found:  # grows while it is walked
        found += _children(each)
    return found


def _cpu_s(process: int) -> float:
    """CPU seconds of a process, and of children that ended and were collected; 0 once it is gone.

    A worker that its nursery collects between two readings counts in neither of them: a
    hundredth of a second now and then, where counting it in both would last.
    """
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _CLOCK_TICKS


def _memory_kb(process: int) -> int:
    """Proportional set size: shared pages are divided among those that share them.

    0 for a confined worker unless root asks: nobody else may look into it.
    """
    try:
        rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(row.split()[1]) for row in rollup.splitlines() if row.startswith("Pss:")), 0)
