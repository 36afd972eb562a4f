"""Scenarios that come with the repository are understood; the manual knows every setting."""

import tomllib
from pathlib import Path

import msgspec
import pytest

from pnyx.simulator.experiments import EXPERIMENTS
from pnyx.simulator.live import LiveParameters, Strategy
from pnyx.simulator.runner import read_scenario
from pnyx.simulator.runner.figure import Figure
from pnyx.simulator.runner.scenario_file import Range, Written

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = sorted((ROOT / "scenarios").glob("*.toml"))
MANUAL = (ROOT / "docs" / "simulation.md").read_text()


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_it_is_understood_and_shows_figures(path: Path) -> None:
    scenario = read_scenario(path)
    assert scenario.figures
    assert scenario.description


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
