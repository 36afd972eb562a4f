"""From rows of results to the points of a figure, with confidence intervals.

Rows of one run are not independent: they are averaged first, and the spread is that between runs.
Means get Student's interval, shares of yes and no Wilson's (1927), which stays within [0, 1] and
does not vanish where all agree. Both are of 95 %.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

import msgspec

from pnyx.simulator.runner.figure import Figure

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
    """One point. low, high: its interval; equal to y where one run gives none."""

    x: Any
    y: float
    low: float
    high: float
    runs: int


class Line(msgspec.Struct, frozen=True):
    """The points of one series."""

    name: str
    marks: tuple[Mark, ...]


def lines(rows: Iterable[Row], figure: Figure) -> tuple[Line, ...]:
    """Sum up what a figure shows; a row without a value of x or y is left out.

    rows: each with "point" and "repetition", which together name its run.
    """
    found: dict[Any, dict[Any, dict[Any, list[Any]]]] = {}
    for row in rows:
        x, y = row[figure.x], row[figure.y]
        if x is None or y is None or any(row[k] != v for k, v in figure.where.items()):
            continue
        series = row[figure.series] if figure.series else ""
        runs = found.setdefault(series, {}).setdefault(x, {})
        runs.setdefault((row["point"], row["repetition"]), []).append(y)
    return tuple(
        Line(
            f"{figure.series} = {_worded(series)}" if figure.series else "",
            tuple(_mark(x, list(runs.values())) for x, runs in _ordered(by_x)),
        )
        for series, by_x in _ordered(found)
    )


def _worded(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _ordered(table: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """Numbers by size, everything else as it came."""
    if all(isinstance(key, int | float) for key in table):
        return sorted(table.items())
    return list(table.items())


def _mark(x: Any, runs: Sequence[Sequence[Any]]) -> Mark:
    means = [fmean(map(float, values)) for values in runs]
    mean = fmean(means)
    shares = all(isinstance(value, bool) for values in runs for value in values)
    if shares and all(len(values) == 1 for values in runs):
        low, high = wilson(sum(values[0] for values in runs), len(runs))
    else:
        reach = student(means)
        low, high = mean - reach, mean + reach
    if shares:
        low, high = max(low, 0.0), min(high, 1.0)
    return Mark(x, mean, low, high, len(runs))


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
