"""What the launcher of a demonstration counts: CPU time of nodes and workers, each second once."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

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
