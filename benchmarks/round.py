"""A round of the demonstration: where its time, CPU and bytes go.

`pnyx demo` runs as a user runs it; a second run puts every node's machine on one virtual clock with
real signatures and envelopes, which separates the protocol's own CPU from sockets and processes,
and counts messages and bytes by step.
"""

import json
import subprocess
import sys
from typing import Any

NODES = 36
ROUNDS = 8


def _demo() -> dict[str, Any]:
    command = [sys.executable, "-m", "pnyx.cli", "demo", "--json", "--kill", "0"]
    command += ["--nodes", str(NODES), "--rounds", str(ROUNDS), "--seed", "1"]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return found


def run() -> dict[str, Any]:
    """The demonstration's figures."""
    return {"demo": _demo()}
