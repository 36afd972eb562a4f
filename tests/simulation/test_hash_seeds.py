"""A seed replays a run in any process, whatever order sets of bytes have there.

Python hashes bytes anew in each process. A machine that lets the order of a set decide what it says
next would make runs that nobody can repeat.
"""

import os
import subprocess
import sys

SCENARIOS = """
from pnyx.simulator import Link, Scenario, run

HARD = {"rounds": 2, "link": Link(loss=0.15, duplication=0.1, reordering=True), "limit_s": 600.0}
for options in (
    {"selection": "region"},
    {"vector_length": 40, "masks": True, "verified": True, "corrupt": ((1, "withhold"),)},
    {"vector_length": 40, "masks": True, "groups": 2},
):
    print(run(Scenario(seed=1, nodes=9, **HARD, **options)).trace_hash)
"""


def traces(hash_seed: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", SCENARIOS],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_seed_replays_in_any_process() -> None:
    with traces(0) as first, traces(1) as second:
        said = [each.communicate(timeout=300)[0].split() for each in (first, second)]
    assert len(set(said[0])) == 3
    assert said[0] == said[1]
