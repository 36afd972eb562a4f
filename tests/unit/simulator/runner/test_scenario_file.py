"""Scenario files: what they mean, and a sentence for everything that they cannot mean."""

import datetime as dt
import math
import shutil
from pathlib import Path

import pytest
from tests.support.scenarios import SMALL, write_scenario

from pnyx.demo.activity import windows_path
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


def figured(**figure):
    """A scenario of six points with this figure."""
    plain = {"title": "f", "x": "nodes", "y": "latency_s", "series": "loss"}
    if "x" in figure:
        plain.pop("series")
    return {
        "sweep": {"nodes": [9, 10, 11], "loss": [0.0, 0.1]},
        "figures": [plain | figure],
    }


@pytest.mark.parametrize(
    "figure",
    [
        {},
        {"x": "loss", "where": {"nodes": 10}},
        {"x": "round", "where": {"nodes": 10, "loss": 0.1}},
        {"x": "mebibytes", "series": "loss"},
        {"x": "mebibytes", "where": {"loss": 0}},
        {"x": "nodes", "series": "loss", "x_scale": "log", "y_scale": "log"},
        {"y": "completed", "where": {"round": 1}},
    ],
)
def test_figures_that_mix_no_points(figure) -> None:
    assert check_scenario(PLAIN | figured(**figure)).figures


def test_what_follows_from_a_case_is_not_mixed() -> None:
    cases = [{"nodes": 9, "rounds": 1}, {"nodes": 10, "rounds": 2}]
    figure = {"title": "f", "x": "nodes", "y": "latency_s"}
    assert check_scenario(PLAIN | {"cases": cases, "figures": [figure]}).figures


def test_files_are_named_relative_to_the_scenario(tmp_path: Path) -> None:
    shutil.copy(windows_path(), tmp_path / "here.parquet")
    (tmp_path / "s.toml").write_text(
        """title = "t"\nmode = "learning"\n[settings]\ndata = "here.parquet"
        owner_column = "user"\nlabel_column = "activity"\nignored = ["window_id"]"""
    )
    scenario = read_scenario(tmp_path / "s.toml")
    assert scenario.parameters({}).data == str(tmp_path / "here.parquet")
    assert scenario.settings["data"] == "here.parquet", "no path of this machine is printed"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"data": "nowhere.parquet"}, "data must name a Parquet table: there is no file"),
        ({"owner_column": "who"}, "owner_column must name a column of"),
        ({"participations_max": 1}, "participations_max must be 0, or a whole number from 14"),
        ({"program": "nothing"}, "program must name a program made by pnyx.export"),
    ],
)
def test_studies_are_checked_before_anything_runs(settings, sentence) -> None:
    plain = {
        "data": str(windows_path()),
        "owner_column": "user",
        "label_column": "activity",
        "ignored": ["window_id"],
    }
    with pytest.raises(ConfigError) as refused:
        check_scenario({"title": "t", "mode": "learning", "settings": plain | settings})
    assert str(refused.value).startswith(sentence)


def test_an_empty_file_lacks_a_title() -> None:
    with pytest.raises(ConfigError, match=r"^title is missing: it must be a text of 1 to 300"):
        check_scenario({})
    with pytest.raises(
        ConfigError, match=r"^mode is missing: it must be one of caches, learning, l"
    ):
        check_scenario({"title": "t"})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"nodes": 4}, "There is no nodes in a scenario: choose from title, mode, "),
        ({"mode": "dream"}, "mode must be one of caches, learning, live, "),
        ({"seed": -1}, "seed must be a whole number from 0 to 9,007,199,254,740,992, not -1"),
        ({"repetitions": 0}, "repetitions must be a whole number from 1 to 100,000, not 0"),
        ({"repetitions": True}, "repetitions must be a whole number from 1"),
        (
            {"title": ""},
            "title must be a text of 1 to 300 characters without control characters, n",
        ),
        (
            {"title": 5},
            "title must be a text of 1 to 300 characters without control characters, not",
        ),
        ({"title": "a\x07"}, "title must be a text of 1 to 300 characters without control charac"),
        (
            {"description": ["x"]},
            "description must be a text of 0 to 10,000 characters, not ['x'].",
        ),
        ({"mode": 5}, "mode must be one of caches, learning, live, "),
        ({"settings": 5}, "settings must be a table, not 5."),
        ({"sweep": [1]}, "sweep must be a table, not [1]."),
        ({"cases": {"nodes": 9}}, "cases must be tables, each under [[cases]], not {'nodes': 9}."),
        ({"cases": [5]}, "cases must be tables, each under [[cases]], not [5]."),
        ({"figures": 5}, "figures must be tables, each under [[figures]], not 5."),
        ({"figures": ["x"]}, "figures must be tables, each under [[figures]], not ['x']."),
        ({"figures": [{"title": "f", "x": 1, "y": "round"}]}, "figures.x must be a text of 1 to 3"),
        (
            {"figures": [{"title": "f", "x": "round", "y": "round", "where": 1}]},
            "figures.where must be a table, not 1.",
        ),
        ({"settings": {"node": 4}}, "There is no setting node here"),
        ({"settings": {"nodes": 4}}, "nodes must be a whole number from 6"),
        ({"sweep": {"node": [4]}}, "There is no setting node here"),
        ({"sweep": {"nodes": 9}}, "nodes in [sweep] must be a list of values, or a range such"),
        ({"sweep": {"nodes": []}}, "nodes in [sweep] must be a list of values"),
        ({"sweep": {"nodes": [9, 9]}}, "nodes in [sweep] lists a value twice"),
        ({"sweep": {"nodes": [9, 4]}}, "nodes must be a whole number from 6"),
        ({"sweep": {"nodes": {"from": 1}}}, "nodes.to is missing: it must be a number from"),
        ({"sweep": {"nodes": [9, 9.0]}}, "nodes in [sweep] lists a value twice"),
        (
            {"cases": [{"loss": 0}, {"loss": 0.0}]},
            "[[cases]] and [sweep] give the same settings twice, loss = 0.0: leave one of them out",
        ),
        (
            {"sweep": {"loss": {"from": 0.1, "to": 0.1, "steps": 3}}},
            "loss.to must give other values than loss.from, 0.1, not 0.1; or set loss in [sett",
        ),
        ({"sweep": {"loss": [math.nan]}}, "loss must be a number from 0.0 to 1.0, not nan."),
        ({"sweep": {"loss": {"from": 0, "to": math.inf, "steps": 3}}}, "loss.to must be a number"),
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
        ({"figures": [{"title": "f", "x": "round"}]}, "figures.y is missing: it must be a text"),
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
        (figured(y="broken"), "y of the figure 'f' must be numbers, or true and false: one of att"),
        (figured(series="latency_s"), "series of the figure 'f' must be one of attempts, blamed,"),
        (figured(x="broken", x_scale="log"), "x_scale of the figure 'f' must be linear, as broken"),
        (
            figured(x="loss", x_scale="log", where={"nodes": 9}),
            "x_scale of the figure 'f' must be linear, as loss is not always a number above 0",
        ),
        (figured(where={"round": "1"}), "where.round of the figure 'f' must be a whole number, n"),
        (figured(where={"round": True}), "where.round of the figure 'f' must be a whole number, n"),
        (
            figured(where={"round": 77}),
            "where.round of the figure 'f' must be a whole number from 0",
        ),
        (
            figured(where={"completed": dt.date(2026, 1, 1)}),
            "where.completed of the figure 'f' must be true or false, not datetime.date(2026, 1,",
        ),
        (figured(where={"loss": 0.3}), "where.loss of the figure 'f' must be one of 0.0, 0.1, not"),
        (
            figured(x="loss"),
            "The figure 'f' would mix the values of nodes: make it x or series, or fix it, such as"
            " where = { nodes = 9 }.",
        ),
        (figured(x="round"), "The figure 'f' would mix the values of "),
        (figured(x="mebibytes"), "The figure 'f' would mix the values of "),
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
