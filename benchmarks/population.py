"""The figures of docs/evaluation.md: selection in bulk, baselines, trees, and our own rounds.

Every table is an experiment of `pnyx.simulator.experiments` over a grid of parameters, with one
seed; the rows are also written as Parquet under `bench-out/population`. `speed` times 10⁵
selections of 32 actors among 10⁷ nodes, in a process of its own that reports its largest memory.
"""

import resource
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec

from pnyx.simulator.experiment import read_parameters, silent
from pnyx.simulator.experiments import EXPERIMENTS
from pnyx.simulator.tables import write_table

SEED = 1
FOLDER = Path("bench-out") / "population"
NODES = (10_000, 100_000, 1_000_000, 10_000_000)
SHARES = (0.0001, 0.001, 0.01, 0.05, 0.2)
WINDOWS_S = (0, 400, 200, 100)

Settings = Mapping[str, Any]


def _selection() -> Iterator[Settings]:
    for back_end, nodes, share in product(("census", "region"), NODES, SHARES):
        epochs = 2 if nodes > 1_000_000 else 50
        yield {
            "back_end": back_end,
            "nodes": nodes,
            "corrupted_share": share,
            "selections": 20_000,
            "epochs": epochs,
        }


def _networks() -> Iterator[Settings]:
    for nodes, share in product(NODES, SHARES):
        networks = {10_000: 100, 100_000: 20, 1_000_000: 5}.get(nodes, 1)
        yield {"nodes": nodes, "corrupted_share": share, "networks": networks}


def _repairs() -> Iterator[Settings]:
    for settings in _networks():
        if settings["corrupted_share"] < SHARES[-1]:  # beyond, tables have a hundred rows
            yield settings


def _naive() -> Iterator[Settings]:
    for share in SHARES[2:]:
        yield {"nodes": 1_000_000, "corrupted_share": share}


def _costs() -> Iterator[Settings]:
    for nodes, share in product(NODES, SHARES[2:4]):
        yield {"nodes": nodes, "corrupted_share": share}


def _caches() -> Iterator[Settings]:
    for sessions, (session, absence), refresh in product(
        ("exponential", "weibull"), ((72_000, 14_400), (14_400, 3_600), (3_600, 3_600)), (60, 600)
    ):
        yield {
            "sessions": sessions,
            "session_s": session,
            "absence_s": absence,
            "refresh_s": refresh,
        }


def _trees() -> Iterator[Settings]:
    for strategy, window_s in product(("abort", "cut", "replace", "eager"), WINDOWS_S):
        yield {"strategy": strategy, "window_s": window_s, "runs": 100}
    yield {"strategy": "eager", "window_s": 400, "runs": 100, "device": "measured"}


def _rounds() -> Iterator[Settings]:
    modes = (("direct", 20_000), ("masked", 262_144))
    for (mode, values), groups, device, window_s in product(
        modes, (2, 16), ("published", "measured"), (*WINDOWS_S, 6_400)
    ):
        yield {
            "mode": mode,
            "values": values,
            "groups": groups,
            "device": device,
            "window_s": window_s,
            "runs": 100,
        }
    # As exposed as the trees: groups of five, one corrupted node in twenty.
    yield {"groups": 16, "device": "measured", "rounds": 1, "alpha": 2e-5, "runs": 100}


def _live() -> Iterator[Settings]:
    for masked, length in ((False, 100), (True, 20_000)):
        for window_s in (0, 400, 100, 30):
            yield {
                "masked": masked,
                "vector_length": length,
                "window_s": window_s,
                "runs": 1 if not window_s else 3,
            }


GRIDS = {
    "selection": _selection,
    "regions": _networks,
    "repairs": _repairs,
    "withheld-reveals": lambda: iter(({"actors": 8}, {"actors": 32})),
    "naive-selection": _naive,
    "selection-cost": _costs,
    "caches": _caches,
    "trees": _trees,
    "rounds": _rounds,
    "live-rounds": _live,
}


def table(name: str) -> list[dict[str, Any]]:
    """Run an experiment over its grid, and write its table."""
    experiment = EXPERIMENTS[name]
    grid, started = list(GRIDS[name]()), time.monotonic()
    records: list[msgspec.Struct] = []
    for settings in grid:
        parameters = read_parameters(experiment.parameters, settings)
        records.extend(experiment.run(parameters, SEED, silent))
    FOLDER.mkdir(parents=True, exist_ok=True)
    origin = {"experiment": name, "parameters": grid, "seed": SEED}
    write_table(FOLDER / f"{name}.parquet", records, origin)
    print(f"  {name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return [msgspec.structs.asdict(record) for record in records]


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
    [found] = experiment.run(parameters, SEED, silent)
    return {
        "cpu_s": time.process_time() - started,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        **msgspec.structs.asdict(found),
    }


def speed() -> dict[str, Any]:
    """Time each back-end in a fresh process."""
    found = {}
    for back_end in ("census", "region"):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found[back_end] = pool.submit(_timed, back_end).result()
    return found


def run() -> dict[str, Any]:
    """All figures."""
    return {"speed": speed(), **{name: table(name) for name in GRIDS}}
