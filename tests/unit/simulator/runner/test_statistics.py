"""Points of figures and their intervals, against scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from pnyx.simulator.runner.figure import Figure
from pnyx.simulator.runner.statistics import student, student_quantile, sum_up, wilson


@pytest.mark.parametrize("degrees", [*range(1, 13), 20, 30, 100, 1000])
def test_quantiles_of_student(degrees) -> None:
    assert student_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=2e-4)


def test_interval_of_a_mean() -> None:
    values = [1.0, 2.0, 4.0, 8.0]
    low, _ = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert np.mean(values) - student(values) == pytest.approx(low)
    assert student([3.0]) == 0.0


@pytest.mark.parametrize(("successes", "count"), [(0, 4), (4, 4), (3, 10), (97, 100)])
def test_interval_of_a_share(successes, count) -> None:
    expected = stats.binomtest(successes, count).proportion_ci(method="wilson")
    assert wilson(successes, count) == pytest.approx((expected.low, expected.high), abs=1e-8)


def row(point, repetition, **values):
    return {"point": point, "repetition": repetition, **values}


def only(found):
    """The only mark there is."""
    ((line),) = found.lines
    ((mark),) = line.marks
    return mark


def test_rows_of_one_run_are_one_value() -> None:
    rows = [row(0, r, x=1, y=y) for r, y in ((0, 1.0), (0, 3.0), (1, 6.0), (1, None))]
    mark = only(sum_up(rows, Figure(title="t", x="x", y="y")))
    assert (mark.y, mark.runs) == (4.0, 2), "the mean of 2 and 6"
    assert mark.low == pytest.approx(4.0 - 12.706205 * 2)


def test_lines_are_by_series_and_ordered() -> None:
    rows = [
        row(p, r, x=x, y=x > 1, s=s, w=w)
        for p, (x, s) in enumerate([(2, True), (1, True), (1, False), (10, False)])
        for r in range(3)
        for w in (0, 1)
    ]
    found = sum_up(rows, Figure(title="t", x="x", y="y", series="s", where={"w": 1})).lines
    assert [line.name for line in found] == ["s = no", "s = yes"]
    assert [mark.x for mark in found[0].marks] == [1, 10]
    assert [mark.y for mark in found[0].marks] == [0.0, 1.0]
    assert found[0].marks[1].low == pytest.approx(wilson(3, 3)[0])


def test_shares_stay_between_0_and_1() -> None:
    rows = [row(0, r, x=1, y=y) for r in range(2) for y in (r == 0, True)]
    mark = only(sum_up(rows, Figure(title="t", x="x", y="y")))
    assert (mark.low, mark.high) == (0.0, 1.0)


def test_means_of_a_column_of_shares_stay_between_0_and_1() -> None:
    rows = [row(0, r, x=1, y=y) for r, y in enumerate((0.99, 1.0, 0.9))]
    figure = Figure(title="t", x="x", y="y")
    assert only(sum_up(rows, figure)).high > 1
    mark = only(sum_up(rows, figure, share=True))
    assert mark.high == 1.0
    assert mark.low == only(sum_up(rows, figure)).low


@pytest.mark.parametrize("value", [True, 0.5])
def test_one_run_has_no_interval(value) -> None:
    mark = only(sum_up([row(0, 0, x=1, y=value)], Figure(title="t", x="x", y="y")))
    assert (mark.y, mark.low, mark.high) == (value, value, value)


def test_what_has_no_value_is_counted() -> None:
    values = {1: (1.0, None, 3.0), 2: (None, math.nan, math.inf)}
    rows = [row(x, r, x=x, y=y) for x, ys in values.items() for r, y in enumerate(ys)]
    found = sum_up(rows, Figure(title="t", x="x", y="y"))
    assert (found.rows, found.without_y, found.without_x) == (6, 4, 0)
    one, two = found.lines[0].marks
    assert (one.y, one.runs, one.made) == (2.0, 2, 3)
    assert (two.y, two.low, two.runs, two.made) == (None, None, 0, 3)


def test_a_measured_x_is_averaged_by_point() -> None:
    measured = {0: (0.3, 0.5), 1: (0.1, 0.2), 2: (None, None)}
    rows = [row(p, r, x=x, y=10 * p + r) for p, xs in measured.items() for r, x in enumerate(xs)]
    found = sum_up(rows, Figure(title="t", x="x", y="y"), measured=True)
    marks = [(mark.x, mark.y, mark.runs) for mark in found.lines[0].marks]
    assert marks == [(pytest.approx(0.15), 10.5, 2), (pytest.approx(0.4), 0.5, 2)]
    assert (found.rows, found.without_x) == (6, 2)
