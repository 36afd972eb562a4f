"""From a scenario file to tables and a page.

- `scenario_file` reads and checks a scenario; `sweep` lists the runs that it asks for.
- `executors` carry them out: here, on all cores, or on a Ray cluster, with the same results.
- `folder` keeps what is done, so that an interrupted command goes on where it was.
- `figure` says what a figure may show, `provenance` what made a result.
- `statistics` sums up, `drawing` draws, `page` writes the report; `simulate` does it all.
"""

from pnyx.simulator.runner.executors import Executor, PoolExecutor, RayExecutor, SerialExecutor
from pnyx.simulator.runner.scenario_file import ScenarioFile, read_scenario
from pnyx.simulator.runner.simulate import Summary, simulate, trace

__all__ = [
    "Executor",
    "PoolExecutor",
    "RayExecutor",
    "ScenarioFile",
    "SerialExecutor",
    "Summary",
    "read_scenario",
    "simulate",
    "trace",
]
