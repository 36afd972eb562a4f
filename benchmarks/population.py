"""How long selections in bulk take: 10⁵ of 32 actors among 10⁷ nodes, by each back-end.

Each in a process of its own, which reports its largest memory. The figures of docs/evaluation.md
come from `scenarios/`.
"""

import resource
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import msgspec

from pnyx.simulator.experiment import read_parameters, silent
from pnyx.simulator.experiments import EXPERIMENTS


def _timed(back_end: str) -> dict[str, Any]:
    settings = {
        "back_end": back_end,
        "nodes": 10_000_000,
        "corrupted_share": 0.01,
        "selections": 100_000,
        "epochs": 1,
    }
    experiment = EXPERIMENTS["selection"]
    parameters = read_parameters(experiment.parameters, settings)
    started = time.process_time()
    [found] = experiment.run(parameters, 1, silent)
    return {
        "cpu_s": time.process_time() - started,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        **msgspec.structs.asdict(found),
    }


def run() -> dict[str, Any]:
    """Time each back-end in a fresh process."""
    found = {}
    for back_end in ("census", "region"):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found[back_end] = pool.submit(_timed, back_end).result()
    return found
