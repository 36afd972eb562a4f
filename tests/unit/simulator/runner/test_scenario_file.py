"""Scenario files: what they mean, and a sentence for everything that they cannot mean."""

from pathlib import Path

import pytest
from tests.support.scenarios import SMALL, write_scenario

from pnyx.errors import ConfigError
from pnyx.simulator.runner.scenario_file import SCENARIO_BYTES_MAX, check_scenario, read_scenario

PLAIN = {"title": "t", "mode": "live"}


def test_points_are_all_combinations() -> None:
    scenario = check_scenario(
        PLAIN
        | {
            "sweep": {
                "strategy": ["lie", "omit"],
                "nodes": {"from": 10, "to": 1000, "steps": 3, "scale": "log"},
            }
        }
    )
    points = list(scenario.points())
    assert points[:3] == [{"strategy": "lie", "nodes": n} for n in (10, 100, 1000)]
    assert len(points) == 6
    assert scenario.parameters(points[2]).nodes == 1000


def test_ranges_of_numbers() -> None:
    scenario = check_scenario(PLAIN | {"sweep": {"loss": {"from": 0, "to": 0.3, "steps": 4}}})
    assert [point["loss"] for point in scenario.points()] == [0.0, 0.1, 0.2, 0.3]
    scenario = check_scenario(PLAIN | {"sweep": {"rounds": {"from": 1, "to": 3, "steps": 9}}})
    assert [point["rounds"] for point in scenario.points()] == [1, 2, 3], "none twice"


def test_cases_are_settings_that_change_together() -> None:
    scenario = check_scenario(
        PLAIN
        | {
            "cases": [{"nodes": 10, "rounds": 3}, {"nodes": 20, "rounds": 1}],
            "sweep": {"loss": [0.0, 0.1]},
        }
    )
    assert scenario.varied == ("nodes", "rounds", "loss")
    assert list(scenario.points()) == [
        {"nodes": 10, "rounds": 3, "loss": 0.0},
        {"nodes": 10, "rounds": 3, "loss": 0.1},
        {"nodes": 20, "rounds": 1, "loss": 0.0},
        {"nodes": 20, "rounds": 1, "loss": 0.1},
    ]


def test_seeds_differ_by_repetition_and_scenario_seed_alone() -> None:
    one, other = check_scenario(PLAIN), check_scenario(PLAIN | {"seed": 2})
    seeds = {each.seed_of(number) for each in (one, other) for number in range(50)}
    assert len(seeds) == 100
    assert other.seed_of(0) == 2, "the first is the scenario's own"
    assert max(seeds) < 2**56


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"nodes": 4}, "There is no nodes in a scenario: choose from title, mode, "),
        ({"mode": "dream"}, "mode must be one of caches, learning, live, "),
        ({"seed": -1}, "seed must be a whole number from 0 to 9,007,199,254,740,992, not -1"),
        ({"repetitions": 0}, "repetitions must be a whole number from 1 to 100,000, not 0"),
        ({"repetitions": True}, "repetitions must be a whole number from 1"),
        ({"title": ""}, "The scenario is not understood: expected `str` of length >= 1"),
        ({"settings": {"node": 4}}, "There is no setting node here"),
        ({"settings": {"nodes": 4}}, "nodes must be a whole number from 6"),
        ({"sweep": {"node": [4]}}, "There is no setting node here"),
        ({"sweep": {"nodes": 9}}, "nodes in [sweep] must be a list of values, or a range such"),
        ({"sweep": {"nodes": []}}, "nodes in [sweep] must be a list of values"),
        ({"sweep": {"nodes": [9, 9]}}, "nodes in [sweep] lists a value twice"),
        ({"sweep": {"nodes": [9, 4]}}, "nodes must be a whole number from 6"),
        ({"sweep": {"nodes": {"from": 1}}}, "The scenario is not understood: object missing"),
        ({"sweep": {"nodes": {"until": 1}}}, "There is no nodes.until in a scenario: choose from"),
        (
            {"sweep": {"loss": {"from": 0, "to": 1, "steps": 2, "scale": "log"}}},
            "loss.from and loss.to must be above 0 where the scale is log",
        ),
        (
            {"sweep": {"loss": {"from": 0, "to": 1, "steps": 1}}},
            "loss.steps must be a whole number from 2 to 10,000, not 1",
        ),
        (
            {"sweep": {"loss": {"from": 0, "to": 1, "steps": 2, "scale": "x"}}},
            "loss.scale must be one of linear, log, not 'x'",
        ),
        (
            {"settings": {"nodes": 9}, "sweep": {"nodes": [9]}},
            "nodes stands in both [settings] and [sweep]",
        ),
        (
            {"cases": [{"nodes": 9}], "sweep": {"nodes": [9]}},
            "nodes stands in both [[cases]] and [sweep]",
        ),
        (
            {"cases": [{"nodes": 9}, {"nodes": 9, "rounds": 2}]},
            "rounds is missing in some of the [[cases]]: give it in each",
        ),
        (
            {"repetitions": 50_000, "sweep": {"nodes": [9, 10, 11]}},
            "This scenario asks for more than 100,000 runs",
        ),
        ({"figures": [{"title": "f", "x": "round"}]}, "The scenario is not understood: "),
        (
            {"figures": [{"title": "f", "x": "round", "y": "attempts", "y_scale": "cubic"}]},
            "figures.y_scale must be one of linear, log, not 'cubic'",
        ),
        (
            {"figures": [{"title": "f", "x": "round", "y": "attempts", "lines": "groups"}]},
            "There is no figures.lines in a scenario: choose from title, x, y, series, where",
        ),
        (
            {"figures": [{"title": "f", "x": "round", "y": "speed"}]},
            "y of the figure 'f' must be one of attempts, ",
        ),
        (
            {"figures": [{"title": "f", "x": "round", "y": "attempts", "where": {"z": 1}}]},
            "where.z of the figure 'f' must be one of",
        ),
        ({"sweep": {"nodes": [9], "corrupted": [4, 9]}}, "corrupted must be a whole number"),
    ],
)
def test_what_a_scenario_cannot_mean(changes, sentence) -> None:
    with pytest.raises(ConfigError) as refused:
        check_scenario(PLAIN | changes)
    assert str(refused.value).startswith(sentence)


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "scenario.toml"
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_scenario(path)
    for content, sentence in (
        (b"title = ", "is not TOML"),
        (b"\xff\xfe", "is not a text in UTF-8"),
        (b"#" * (SCENARIO_BYTES_MAX + 1), "is above 1024 KiB"),
    ):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=sentence):
            read_scenario(path)
    assert read_scenario(write_scenario(path, SMALL)).repetitions == 2
