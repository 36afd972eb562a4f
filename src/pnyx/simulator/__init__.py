"""The node's own machines under virtual time.

- `scheduler` orders what happens; `network` decides the fate of messages.
- `population` holds the simulated nodes: real machine, disk, owner, a process that can be killed.
- `adversary` wraps corrupt nodes; `invariants` checks what must hold; `crypto` is the ideal one.
- `scenario` draws a run from a seed, `simulation` drives it: `python -m pnyx.simulator SEED`.
- `experiments` measure: selection in networks too large for machines (`bulk`), published systems
  (`baselines`), our rounds on their network (`rounds`, `live_rounds`).
"""

from pnyx.simulator.crypto import IdealCrypto
from pnyx.simulator.invariants import InvariantError
from pnyx.simulator.network import Cut, Link, Partition
from pnyx.simulator.population import Clock, Owner
from pnyx.simulator.scenario import Crash, Scenario, outlasting_scenario, random_scenario
from pnyx.simulator.simulation import Outcome, Simulation, run

__all__ = [
    "Clock",
    "Crash",
    "Cut",
    "IdealCrypto",
    "InvariantError",
    "Link",
    "Outcome",
    "Owner",
    "Partition",
    "Scenario",
    "Simulation",
    "outlasting_scenario",
    "random_scenario",
    "run",
]
