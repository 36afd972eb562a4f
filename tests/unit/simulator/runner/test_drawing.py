"""What a figure says in words: axes, series, origin."""

import re

import pytest

from pnyx.simulator.runner.drawing import draw, drawable
from pnyx.simulator.runner.figure import Figure
from pnyx.simulator.runner.statistics import Line, Mark

LABELS = {"n": "nodes of the network", "y": "seconds until the record"}


def _words(figure: Figure, xs: list[float], names: tuple[str, ...] = ("",)) -> list[str]:
    made = [Line(name, tuple(Mark(x, x / 3, x / 4, x / 2, 3, 3) for x in xs)) for name in names]
    return re.findall(r"<text[^>]*>([^<]*)</text>", draw(figure, made, LABELS, "Sizes · seed 7"))


def _figure(**settings: str) -> Figure:
    return Figure(title="Time", x="n", y="y", **settings)


def test_axes_title_and_origin_are_printed() -> None:
    words = _words(_figure(), [1, 2, 3])
    for said in (*LABELS.values(), "Time", "Sizes · seed 7"):
        assert said in words


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_no_label_is_a_formula(scale: str) -> None:
    words = _words(_figure(x_scale=scale, y_scale=scale), [0.0001, 0.02, 1, 300, 2e7])
    assert not [word for word in words if "$" in word or "\\" in word]


def test_a_logarithmic_axis_has_its_ticks_at_the_points() -> None:
    words = _words(_figure(x_scale="log"), [0.05, 100, 20_000, 10**7])
    assert words[:4] == ["0.05", "100", "2 · 10⁴", "10⁷"]


def test_measured_values_are_no_ticks() -> None:
    made = [Line("", tuple(Mark(x, 1.0, 1.0, 1.0, 2, 2) for x in (0.7123456, 31.2345)))]
    drawn = draw(_figure(x_scale="log"), made, LABELS, "", measured=True)
    assert "0.712346" not in drawn
    assert ">10<" in drawn


def test_a_logarithmic_axis_of_many_points_has_powers() -> None:
    words = _words(_figure(x_scale="log"), [10 ** (each / 4) for each in range(-8, 25)])
    assert {"0.01", "100", "10⁶"} <= set(words)
    assert len(words) < 33


def test_long_names_take_several_lines() -> None:
    names = ("repaired", "per region trigger counts")
    made = [Line("", tuple(Mark(name, 1.0, 1.0, 1.0, 2, 2) for name in names))]
    drawn = draw(_figure(), made, LABELS, "")
    assert "per region" in drawn
    assert "trigger counts" in drawn
    assert names[1] not in drawn


def test_large_numbers_are_written_by_their_power() -> None:
    words = _words(_figure(), [0, 3e7, 6e7])
    assert {"0", "2 · 10⁷"} <= set(words)
    assert not [word for word in words if "1e7" in word]


def test_the_legend_names_the_series_once() -> None:
    words = _words(_figure(series="per_source"), [1, 2], ("per_source = a_b", "per_source = c"))
    assert [word for word in words if word in {"per source", "a b", "c"}] == [
        "per source",
        "a b",
        "c",
    ]
    assert "per_source = c" not in words


def test_what_has_no_place_is_not_drawn() -> None:
    marks = [
        Mark(0, 1.0, 1.0, 1.0, 1, 1),
        Mark(1, 0.0, 0.0, 0.0, 1, 1),
        Mark(2, 3.0, 3.0, 3.0, 1, 1),
    ]
    lines = [Line("", (*marks, Mark(3, None, None, None, 0, 4)))]
    for scales, kept in (
        ({}, [0, 1, 2]),
        ({"x_scale": "log"}, [1, 2]),
        ({"y_scale": "log"}, [0, 2]),
    ):
        (line,) = drawable(_figure(**scales), lines)
        assert [mark.x for mark in line.marks] == kept
    none = [Line("", (marks[0],))]
    assert drawable(_figure(x_scale="log"), none) == ()


def test_letters_that_the_font_lacks_give_no_warning() -> None:
    """Warnings are errors here."""
    figure = Figure(title="选 𓀀", x="n", y="y")
    assert "选 𓀀" in _words(figure, [1, 2])
