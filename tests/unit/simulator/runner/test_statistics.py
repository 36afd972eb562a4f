"""Points of figures and their intervals, against scipy."""

import numpy as np
import pytest
from scipy import stats

from pnyx.simulator.runner.figure import Figure
from pnyx.simulator.runner.statistics import lines, student, student_quantile, wilson


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


def test_rows_of_one_run_are_one_value() -> None:
    rows = [row(0, r, x=1, y=y) for r, y in ((0, 1.0), (0, 3.0), (1, 6.0), (1, None))]
    ((line),) = lines(rows, Figure(title="t", x="x", y="y"))
    ((mark),) = line.marks
    assert (mark.y, mark.runs) == (4.0, 2), "the mean of 2 and 6"
    assert mark.low == pytest.approx(4.0 - 12.706205 * 2)


def test_lines_are_by_series_and_ordered() -> None:
    rows = [
        row(p, r, x=x, y=x > 1, s=s, w=w)
        for p, (x, s) in enumerate([(2, True), (1, True), (1, False), (10, False)])
        for r in range(3)
        for w in (0, 1)
    ]
    found = lines(rows, Figure(title="t", x="x", y="y", series="s", where={"w": 1}))
    assert [line.name for line in found] == ["s = no", "s = yes"]
    assert [mark.x for mark in found[0].marks] == [1, 10]
    assert [mark.y for mark in found[0].marks] == [0.0, 1.0]
    assert found[0].marks[1].low == pytest.approx(wilson(3, 3)[0])


def test_shares_stay_between_0_and_1() -> None:
    rows = [row(0, r, x=1, y=y) for r in range(2) for y in (r == 0, True)]
    ((line),) = lines(rows, Figure(title="t", x="x", y="y"))
    ((mark),) = line.marks
    assert (mark.low, mark.high) == (0.0, 1.0)
