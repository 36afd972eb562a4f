"""From rows of results to the points of a figure, with confidence intervals.

Rows of one run are not independent: they are averaged first, and the spread is that between runs.
Means get Student's interval, shares of yes and no Wilson's (1927), which stays within [0, 1] and
does not vanish where all agree. Both are of 95 %. One run gives no interval.

A row without a value, or with one that is not finite, is in no mean; how many these are is counted.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

import msgspec

from pnyx.simulator.runner.figure import Figure, cell

Row = Mapping[str, Any]
_NORMAL = 1.959963985  # 97.5 % quantile
# 97.5 % quantiles of Student's t for 1 to 10 degrees of freedom; beyond, by expansion.
_STUDENT = (
    12.706205,
    4.302653,
    3.182446,
    2.776445,
    2.570582,
    2.446912,
    2.364624,
    2.306004,
    2.262157,
    2.228139,
)


class Mark(msgspec.Struct, frozen=True):
    """One point. low, high: its interval; equal to y where one run gives none.

    runs: those with a value, of `made`; without any, y and its interval are None.
    """

    x: Any
    y: float | None
    low: float | None
    high: float | None
    runs: int
    made: int


class Line(msgspec.Struct, frozen=True):
    """The points of one series."""

    name: str
    marks: tuple[Mark, ...]


class Summed(msgspec.Struct, frozen=True):
    """What a figure shows, and of how many rows."""

    lines: tuple[Line, ...]
    rows: int
    without_x: int
    without_y: int


class _Runs:
    """Values of x and y of one mark, by run."""

    def __init__(self) -> None:
        self.x: dict[Any, list[Any]] = {}
        self.y: dict[Any, list[Any]] = {}
        self.made: set[Any] = set()

    def add(self, run: Any, x: Any, y: Any) -> None:
        """Take a row's values; y: None where it has none."""
        self.made.add(run)
        self.x.setdefault(run, []).append(x)
        if y is not None:
            self.y.setdefault(run, []).append(y)


def sum_up(
    rows: Iterable[Row], figure: Figure, *, measured: bool = False, share: bool = False
) -> Summed:
    """Sum up what a figure shows.

    rows: each with "point" and "repetition", which together name its run. measured: whether x comes
    out of runs, so that there is one mark a point, at the mean x of its runs. share: whether y is a
    column of shares, whose intervals end at 0 and 1.
    """
    found: dict[Any, dict[Any, _Runs]] = {}
    wanted = [row for row in rows if all(row[k] == cell(v) for k, v in figure.where.items())]
    without_x = without_y = 0
    for row in wanted:
        x, y = _value(row[figure.x]), _value(row[figure.y])
        without_x += x is None
        without_y += y is None
        if x is None or (measured and y is None):
            continue
        series = row[figure.series] if figure.series else ""
        at = found.setdefault(series, {}).setdefault(row["point"] if measured else x, _Runs())
        at.add((row["point"], row["repetition"]), x, y)
    return Summed(
        tuple(
            Line(
                f"{figure.series} = {_worded(series)}" if figure.series else "",
                _marks(by_x, measured=measured, share=share),
            )
            for series, by_x in _ordered(found)
        ),
        len(wanted),
        without_x,
        without_y,
    )


def _value(value: Any) -> Any:
    """None where there is no value to average."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _marks(by_x: Mapping[Any, _Runs], *, measured: bool, share: bool) -> tuple[Mark, ...]:
    if not measured:
        return tuple(_mark(x, runs, share=share) for x, runs in _ordered(by_x))
    means = [(fmean(map(fmean, runs.x.values())), runs) for runs in by_x.values()]
    means.sort(key=lambda mean: mean[0])
    return tuple(_mark(x, runs, share=share) for x, runs in means)


def _worded(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _ordered(table: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """Numbers by size, everything else as it came."""
    if all(isinstance(key, int | float) for key in table):
        return sorted(table.items())
    return list(table.items())


def _mark(x: Any, found: _Runs, *, share: bool) -> Mark:
    runs, made = list(found.y.values()), len(found.made)
    if not runs:
        return Mark(x, None, None, None, 0, made)
    means = [fmean(map(float, values)) for values in runs]
    mean = fmean(means)
    yes_or_no = all(isinstance(value, bool) for values in runs for value in values)
    low = high = mean
    if len(runs) > 1 and yes_or_no and all(len(values) == 1 for values in runs):
        low, high = wilson(sum(values[0] for values in runs), len(runs))
    elif len(runs) > 1:
        reach = student(means)
        low, high = mean - reach, mean + reach
    if yes_or_no or share:
        low, high = max(low, min(mean, 0.0)), min(high, max(mean, 1.0))
    return Mark(x, mean, low, high, len(runs), made)


def student(values: Sequence[float]) -> float:
    """Half the width of the interval of a mean; 0 for a single value."""
    if len(values) < 2:
        return 0.0
    return student_quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))


def student_quantile(degrees: int) -> float:
    """97.5 % quantile of Student's t (Abramowitz and Stegun 26.7.5 above ten degrees)."""
    if degrees <= len(_STUDENT):
        return _STUDENT[degrees - 1]
    z = _NORMAL
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / degrees + second / degrees**2 + third / degrees**3


def wilson(successes: int, count: int) -> tuple[float, float]:
    """Interval of a share of `count` runs."""
    share, z2 = successes / count, _NORMAL**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    spread = math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    reach = _NORMAL * spread / (1 + z2 / count)
    return max(0.0, min(share, middle - reach)), min(1.0, max(share, middle + reach))
