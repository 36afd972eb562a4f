"""Nodes that come and go: sessions and absences, drawn for a whole run from one seed.

A node is up for a *session* and then away for an *absence*, for ever. Absences are exponential.
Sessions follow one of the distributions that measurements of peer-to-peer networks found (Stutzbach
and Rejaie, "Understanding churn in peer-to-peer networks", IMC 2006): exponential, Weibull (shape
below 1: many short ones), log-normal, or Pareto, each with the given mean. Every node has lived
through many sessions before the run begins, so a run begins in the middle of things.
"""

import math
from typing import Literal

import numpy as np

from pnyx.simulator.scenario import Crash

Sessions = Literal["none", "exponential", "weibull", "lognormal", "pareto"]
_CYCLES_BEFORE = 10  # mean sessions with their absences that pass before the run begins


def sessions_s(
    generator: np.random.Generator, kind: Sessions, mean_s: float, shape: float, count: int
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """[count] session lengths, seconds.

    shape: the Weibull's, the log-normal's σ, or the Pareto's exponent, which must be above 1 to
    have a mean; the exponential has none.
    """
    match kind:
        case "weibull":
            return mean_s / math.gamma(1 + 1 / shape) * generator.weibull(shape, count)
        case "lognormal":
            return generator.lognormal(math.log(mean_s) - shape**2 / 2, shape, count)
        case "pareto":
            return mean_s * (shape - 1) / shape * (1 + generator.pareto(shape, count))
        case _:
            return generator.exponential(mean_s, count)


def churn(
    seed: int,
    nodes: int,
    kind: Sessions,
    *,
    session_s: float,
    absence_s: float,
    shape: float,
    begins_s: float,
    ends_s: float,
) -> tuple[Crash, ...]:
    """Every departure of every node from `begins_s` to `ends_s`, with how long it stays away.

    Nodes that are away when this begins leave in its first instant.
    """
    if kind == "none":
        return ()
    generator = np.random.Generator(np.random.PCG64([seed, 0xC4]))
    crashes: list[Crash] = []
    for node in range(nodes):
        now = begins_s - _CYCLES_BEFORE * (session_s + absence_s)
        while now < ends_s:
            up, away = (
                float(sessions_s(generator, kind, session_s, shape, 1)[0]),
                float(generator.exponential(absence_s)),
            )
            left, back = now + up, now + up + away
            if back > begins_s and left < ends_s:
                at = max(left, begins_s)
                crashes.append(Crash(node=node, at_s=at, away_s=back - at))
            now = back
    return tuple(sorted(crashes, key=lambda crash: (crash.at_s, crash.node)))
