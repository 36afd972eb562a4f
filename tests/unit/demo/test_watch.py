"""What the launcher of a demonstration counts: CPU time, each second once; bytes, leaders' too."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pnyx.demo.journal import FILE_NAME
from pnyx.demo.watch import Watch

BURNT_S = 0.4
# A node whose worker works, tells, and is collected when the node is told so.
NODE = f"""
import os, sys, time
told, tell = os.pipe()
if (worker := os.fork()) == 0:
    while time.process_time() < {BURNT_S}:
        pass
    os.write(tell, b"w")
    time.sleep(600)
os.read(told, 1)
print("worked", flush=True)
sys.stdin.readline()
os.kill(worker, 9)
os.waitpid(worker, 0)
print("collected", flush=True)
sys.stdin.readline()
"""


def test_a_workers_time_counts_once_before_and_after_it_is_collected(tmp_path: Path) -> None:
    """Its nursery has it as well once it was collected."""
    with subprocess.Popen(
        [sys.executable, "-c", NODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as node:
        assert node.stdin is not None
        assert node.stdout is not None
        cluster = SimpleNamespace(processes={0: node.pid}, nodes=1, directory=lambda _: tmp_path)
        watch = Watch(cluster)
        assert node.stdout.readline() == "worked\n"
        working = watch.cpu_total_s()
        assert working > BURNT_S / 2, "the system cuts off hundredths"
        node.stdin.write("\n")
        node.stdin.flush()
        assert node.stdout.readline() == "collected\n"
        collected = watch.cpu_total_s()
        assert working <= collected < working + BURNT_S / 2
        cluster.processes.clear()
        assert watch.cpu_total_s() == collected, "a node that was killed had used it"


def test_bytes_of_a_round_are_those_of_all_nodes_and_so_of_leaders_as_well(tmp_path: Path) -> None:
    """A node that was restarted counts from zero: that round of it is left out."""
    totals = {0: [10, 12, 14], 1: [10, 12, 14], 2: [10, 30, 5]}
    for node, sent in totals.items():
        (tmp_path / str(node)).mkdir()
        lines = [
            {"event": "round", "round": number, "at": float(number), "bytes_sent": total}
            | {"contributors": 3, "metrics": [], "skipped": False}
            for number, total in enumerate(sent)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / str(node) / FILE_NAME).write_text(text)
    cluster = SimpleNamespace(processes={}, nodes=3, directory=lambda n: tmp_path / str(n))
    watch = Watch(cluster)
    watch.poll()
    assert watch.bytes_per_node_round() == pytest.approx((2 + 2 + 2 + 2 + 20) / 5)
