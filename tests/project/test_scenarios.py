"""Scenarios that come with the repository are understood; the manual knows every setting."""

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from pnyx.simulator.experiments import EXPERIMENTS
from pnyx.simulator.live import LiveParameters, Strategy
from pnyx.simulator.runner import SerialExecutor, read_scenario, simulate
from pnyx.simulator.runner.figure import Figure
from pnyx.simulator.runner.scenario_file import Range, Written, check_scenario

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = sorted((ROOT / "scenarios").glob("*.toml"))
MANUAL = (ROOT / "docs" / "simulation.md").read_text()


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_it_is_understood_and_shows_figures(path: Path) -> None:
    scenario = read_scenario(path)
    assert scenario.figures
    assert scenario.description


def small(table: dict[str, Any]) -> dict[str, Any]:
    """A scenario cut down to seconds: small networks, two repetitions, few points and rounds."""
    cut, defaults = SETTINGS[table["mode"]], DEFAULTS.get(table["mode"], {})
    wanted = [figure["where"] for figure in table["figures"]]

    def few(name: str, values: list[Any]) -> list[Any]:
        """Two values, and those that some figure asks for."""
        asked = [where[name] for where in wanted if name in where]
        return [value for at, value in enumerate(values) if at < 2 or value in asked]

    def changed(name: str, value: Any) -> Any:
        new = cut.get(name, value)
        return new(value) if callable(new) else new

    cases = [
        case
        for at, case in enumerate(table["cases"])
        if at < 2 or any(where.get(key) == case[key] for where in wanted for key in case)
    ]
    sweep = {name: few(name, values) for name, values in table["sweep"].items()}
    varied = {*sweep, *(key for case in cases for key in case)}
    shorter = {
        key: value
        for key, value in {**cut, **defaults}.items()
        if key not in varied | {"round"} and not callable(value)
    }
    settings = {key: changed(key, value) for key, value in table["settings"].items()}
    return table | {
        "repetitions": 2,
        "settings": shorter | settings,
        "cases": [{key: changed(key, value) for key, value in case.items()} for case in cases],
        "sweep": {name: [changed(name, each) for each in values] for name, values in sweep.items()},
        "figures": [
            figure | {"where": {key: changed(key, value) for key, value in figure["where"].items()}}
            for figure in table["figures"]
        ],
    }


def fewer(nodes: int) -> int:
    """A thousand nodes for each digit from the fourth on."""
    return 1_000 * (len(str(nodes)) - 3)


# What makes runs short, by mode: a value, or one that follows from that of the scenario, such that
# different ones stay different.
NETWORK = {"nodes": fewer, "networks": 2, "samples": 100}
SETTINGS: dict[str, dict[str, Any]] = {
    "live": {
        "nodes": lambda nodes: 8 + min(nodes, 120) // 12,
        "consenting": 1.0,
        "contributors": 0,
        "cohort_min": 3,
        "signatures": "ideal",
    },
    "selection": {"nodes": fewer, "selections": 50, "epochs": 2},
    "regions": NETWORK,
    "repairs": NETWORK,
    "withheld-reveals": {"withheld_max": 2, "trials": 50},
    "naive-selection": {"nodes": fewer, "selections": 50, "epochs": 2},
    "selection-cost": {"nodes": fewer},
    "caches": {"nodes": fewer, "caches": 20},
    "trees": {"fan_out": 3, "depth": 2, "runs": 2},
    "rounds": {"contributors": 40, "runs": 2, "values": 100},
    "live-rounds": {
        "nodes": lambda nodes: 6 + nodes // 12,
        "vector_length": lambda length: length if length < 200 else 100 + length // 20_000,
        "window_s": lambda window: 100 * window,  # who waits for a result waits for a minute
        "runs": 1,
    },
    "learning": {
        "rounds": 2,
        "round": 2,
        "owners": lambda owners: 10 * len(str(owners)),
        "contributors": 12,
    },
}
DEFAULTS = {"live-rounds": {"nodes": 9}}  # where a scenario leaves them out


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_it_runs_to_tables_and_page(path: Path, tmp_path: Path) -> None:
    table = {"cases": [], "sweep": {}, "settings": {}} | tomllib.loads(path.read_text())
    for figure in table["figures"]:
        figure.setdefault("where", {})
    scenario = check_scenario(small(table), path.parent)
    made = simulate(scenario, path.read_bytes(), tmp_path / "out", SerialExecutor(), lambda _: None)
    assert made.runs_done == 2 * len(list(scenario.points()))
    assert pq.read_table(tmp_path / "out" / "results.parquet").num_rows >= made.runs_done
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<svg") + page.count("There is nothing to show yet") == len(table["figures"])
    assert page.count("<svg")


def test_every_experiment_has_a_scenario() -> None:
    shown = {tomllib.loads(path.read_text())["mode"] for path in SCENARIOS}
    assert shown == set(EXPERIMENTS)


def test_the_manual_names_every_key_setting_and_strategy() -> None:
    kinds = (Written, Figure, Range, LiveParameters)
    keys = {field.encode_name for kind in kinds for field in msgspec.structs.fields(kind)}
    for name in [*keys, *EXPERIMENTS, *Strategy.__args__]:
        assert f"`{name}`" in MANUAL, name


def test_the_example_of_the_manual_is_understood(tmp_path: Path) -> None:
    example = MANUAL.split("```toml\n", 1)[1].split("```", 1)[0]
    path = tmp_path / "scenario.toml"
    path.write_text(example)
    assert read_scenario(path).mode == "live"
