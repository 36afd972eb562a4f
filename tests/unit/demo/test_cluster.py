"""What the launcher has ready before it forks nodes."""

import subprocess
import sys

# A process of its own: another test may have loaded the loops into this one.
_FIRST_FORK = """
import sys
from pathlib import Path
from pnyx.demo.cluster import Cluster
from pnyx.demo.study import DemoScript

class Stopped(Cluster):
    def _fork(self, node, *, fresh):
        print("pnyx.primitives.ring._kernels_numba" in sys.modules)
        sys.exit()

Stopped(Path(), 6, DemoScript(6, 1, bytes(32)), {}).launch(None)
"""


def test_compiled_loops_are_loaded_before_the_first_fork() -> None:
    command = [sys.executable, "-c", _FIRST_FORK]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert said.stdout == "True\n"
