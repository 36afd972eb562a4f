"""Processes of a few nodes train in groups, masked, with a robust rule; a report names both.

Run as a script this file is the launcher, so that nodes are not forked from the tests' process.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.integration.test_cluster_script import COLUMNS, Weighing

ROOT = Path(__file__).parents[2]
NODES, GROUPS, FLOOR = 9, 3, 2
TIMEOUT_S = 150.0


class InGroups(Weighing):
    """Everybody takes part, in three groups one of which may be poisoned."""

    def refuses(self, node: int) -> bool:
        del node
        return False

    def study(self, network: bytes, proposer: bytes) -> tuple[bytes, bytes]:
        from pnyx.api import Study

        made = Study(
            title="Fruit in groups",
            purpose="Tell apples from melons.",
            purpose_term=self.purpose_term,
            category=self.category,
            columns=[*COLUMNS],
            label="fruit",
            cohort_min=FLOOR,
            join_window_s=4.0,
            model={"hidden": [16], "classes": 2},
            privacy={"noise_multiplier": 0.0},
            phases=[
                {
                    "kind": "train",
                    "rounds": 1,
                    "target": NODES,
                    "drawn": NODES,
                    "masked": True,
                    "groups": GROUPS,
                    "robust": {"rule": "trimmed", "tolerated": 1},
                }
            ],
        ).proposal(network, proposer)
        return made.manifest, made.model


def test_a_grouped_study_over_processes(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "tests.integration.test_grouped_study", str(tmp_path)]
    run = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["finished"] == NODES
    (told,) = found["rounds"]
    assert not told["skipped"]
    assert told["groups_drawn"] == GROUPS
    assert [group["number"] for group in told["groups"]] == [1, 2, 3]
    assert all(group["owners"] >= FLOOR and not group["spoiled"] for group in told["groups"])
    assert sum(group["owners"] for group in told["groups"]) == told["contributors"]
    assert "3 of 3 groups opened" in found["page"]
    assert "by a trimmed mean of mixed neighbours, which bears 1 poisoned group" in found["page"]
    assert "nobody checked their size" in found["page"]


def play(root: Path) -> dict[str, Any]:
    import msgspec

    from pnyx.demo.cluster import Cluster
    from pnyx.demo.report import ask_nodes
    from pnyx.demo.watch import Watch
    from pnyx.learning.training import warm_up
    from pnyx.node.bundle import read_bundle
    from pnyx.node.clock import wall_clock
    from pnyx.node.enrolment import verifying_crypto
    from pnyx.node.network import read_network
    from pnyx.protocol.selection import assess
    from pnyx.report import from_bundle, made_now, render

    (root / "files").mkdir()
    (root / "nodes").mkdir()
    cluster = Cluster(root / "nodes", NODES, InGroups(root / "files", NODES), {})
    watch = Watch(cluster)
    warm_up()
    limit = time.monotonic() + TIMEOUT_S
    try:
        cluster.launch(assess(NODES, rounds=3).committee)
        while len(watch.finished) < NODES and time.monotonic() < limit:
            watch.poll()
            time.sleep(0.1)
        asked = ask_nodes(cluster, sorted(watch.finished))
    finally:
        cluster.stop()
    crypto = verifying_crypto()
    network = read_network(cluster.directory(0) / "network.json", crypto, now=wall_clock())
    report = from_bundle(read_bundle(asked.bundle), network, crypto, made_now(wall_clock()))
    return {
        "finished": len(watch.finished),
        "rounds": msgspec.to_builtins(report.rounds),
        "page": render(report),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(play(Path(sys.argv[1]))))
