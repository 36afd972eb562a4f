"""Processes of a cluster play any script: other data, another study, other refusals.

Run as a script this file is the launcher, so that nodes are not forked from the tests' process.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

NODES, ROUNDS, REFUSING = 6, 2, 2
TIMEOUT_S = 150.0
COLUMNS = ("weight", "height")
FRUIT = ("apple", "melon")


class Weighing:
    """Everybody weighs twenty apples and melons."""

    purpose_term = "dpv:ResearchAndDevelopment"
    category = "fruit.weights"

    def __init__(self, folder: Path, nodes: int = NODES) -> None:
        self._folder = folder
        for node in range(nodes):
            rows = (f"{1 + i % 2 * 9 + i / 50},{node},{FRUIT[i % 2]}" for i in range(20))
            self._file(node).write_text("\n".join(["weight,height,fruit", *rows]))

    def _file(self, node: int) -> Path:
        return self._folder / f"{node}.csv"

    def owner_data(self, node: int) -> tuple[Path, Any]:
        from pnyx.vault.importers import parse_mapping

        columns: dict[str, object] = {name: {"type": "float"} for name in COLUMNS}
        columns["fruit"] = {"type": "text", "classes": [*FRUIT]}
        return self._file(node), parse_mapping({"category": self.category, "columns": columns})

    def refuses(self, node: int) -> bool:
        return node == REFUSING

    def study(self, network: bytes, proposer: bytes) -> tuple[bytes, bytes]:
        from pnyx.api import Study

        drawn = {"target": 4, "drawn": 5}
        made = Study(
            title="Fruit",
            purpose="Tell apples from melons.",
            purpose_term=self.purpose_term,
            category=self.category,
            columns=[*COLUMNS],
            label="fruit",
            cohort_min=3,
            join_window_s=3.0,
            model={"hidden": [16], "classes": 2},
            privacy={"noise_multiplier": 0.0},
            phases=[
                {"kind": "train", "rounds": ROUNDS, "masked": True, "value_bits": 14, **drawn},
                {"kind": "evaluate", "rounds": 1, **drawn},
            ],
        ).proposal(network, proposer)
        return made.manifest, made.model


def test_a_cluster_trains_on_the_data_of_its_script(tmp_path: Path) -> None:
    arguments = [sys.executable, __file__, str(tmp_path)]
    run = subprocess.run(arguments, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["finished"] == NODES
    assert found["skipped"] == 0
    *models, held_out = found["metrics"]
    assert held_out >= 3 * 5  # of three owners at least, some 30 % of twenty rows each
    assert max(models) >= 0.9 * held_out  # the demonstration's activities have six classes
    contributed = set(found["contributed"])
    assert REFUSING not in contributed
    assert len(contributed) >= 4


def play(root: Path) -> dict[str, Any]:
    from pnyx.demo.cluster import Cluster
    from pnyx.demo.watch import Watch
    from pnyx.learning.training import warm_up
    from pnyx.protocol.selection import assess

    (root / "files").mkdir()
    (root / "nodes").mkdir()
    cluster = Cluster(root / "nodes", NODES, Weighing(root / "files"), {})
    watch = Watch(cluster)
    warm_up()
    limit = time.monotonic() + TIMEOUT_S
    try:
        cluster.launch(assess(NODES, rounds=ROUNDS + 2).committee)
        while len(watch.finished) < NODES and time.monotonic() < limit:
            watch.poll()
            time.sleep(0.1)
    finally:
        cluster.stop()
    return {
        "finished": len(watch.finished),
        "skipped": sum(each.skipped for each in watch.rounds.values()),
        "metrics": watch.rounds[ROUNDS + 1].metrics,
        "contributed": sorted(watch.contributed),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(play(Path(sys.argv[1]))))
