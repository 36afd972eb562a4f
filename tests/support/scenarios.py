"""Scenario files for tests: small networks that run in a second."""

from pathlib import Path

SMALL = """
title = "Eight nodes"
mode = "live"
seed = 3
repetitions = 2

[settings]
nodes = 8
signatures = "ideal"

[sweep]
loss = [0.0, 0.1]

[[figures]]
title = "Latency"
x = "loss"
y = "latency_s"
where = { round = 1 }

[[figures]]
title = "Results"
x = "loss"
y = "completed"
series = "round"
"""


def write_scenario(path: Path, text: str = SMALL) -> Path:
    """Write a scenario file."""
    path.write_text(text)
    return path
