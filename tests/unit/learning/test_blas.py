"""numpy computes in one thread after a fork, whatever the environment came to say meanwhile."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

_THREADS_OF_A_CHILD = """
import os, sys
import numpy as np
from pnyx.learning.blas import keep_to_one_thread

matrix = np.ones((600, 600))
matrix @ matrix
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as a command of this process may do too late
if sys.argv[1] == "kept":
    keep_to_one_thread()
reading, writing = os.pipe()
if os.fork() == 0:
    matrix @ matrix
    os.write(writing, str(len(os.listdir("/proc/self/task"))).encode())
    os._exit(0)
print(os.read(reading, 9).decode())
"""


def threads(*arguments: str) -> int:
    """How many threads a child of a process with a pool of two has after a large product."""
    done = subprocess.run(
        [sys.executable, "-c", _THREADS_OF_A_CHILD, *arguments],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "2"},
        capture_output=True,
        check=True,
        timeout=60,
    )
    return int(done.stdout)


def test_one_thread_though_the_environment_said_so_too_late():
    assert threads("kept") == 1


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="OpenBLAS starts no more threads than cores")
def test_a_pool_otherwise():
    assert threads("left") > 1
