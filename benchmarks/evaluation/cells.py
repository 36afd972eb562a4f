"""Rows of a scenario's results, what benchmarks found, and how numbers are shown.

`a ± b` is a mean with its 95 % interval (Student's, over all independent runs of the row), `k of n
(a to b %)` a share with Wilson's. Where all values are alike, nothing follows the mean.
"""

import json
import math
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow.parquet as pq

from benchmarks.__main__ import OUTPUT
from pnyx.simulator.runner.statistics import student, wilson

FOLDER = Path("evaluation")  # where `make evaluation` puts a folder for each scenario

Row = dict[str, Any]
Line = Sequence[object]


@cache
def _read(path: Path) -> list[Row]:
    return list(pq.read_table(path).to_pylist())


def rows_of(scenario: str, **where: object) -> list[Row]:
    """Records of a scenario with these values."""
    rows = _read(FOLDER / scenario / "results.parquet")
    return [row for row in rows if all(row[key] == value for key, value in where.items())]


def found_by(benchmark: str) -> Any:
    """What a benchmark measured, as it returned it."""
    return json.loads((OUTPUT / f"{benchmark}.json").read_text())[benchmark]


def values(rows: Iterable[Row], column: str, scale: float = 1.0) -> list[float]:
    """A column's values, but for those that are missing."""
    return [scale * row[column] for row in rows if row[column] is not None]


def mean(found: Sequence[float], digits: int = 2) -> str:
    """Mean with its interval; digits: decimals where there is no spread."""
    if not found:
        return "–"
    reach = student(found)
    if not reach > 1e-9 * abs(fmean(found)):
        return f"{fmean(found):,.{digits}f}"
    shown = -math.floor(math.log10(reach))
    shown = max(0, shown + (round(reach * 10**shown) == 1))
    return f"{fmean(found):,.{shown}f} ± {reach:,.{shown}f}"


def percent(found: Sequence[float], digits: int = 1) -> str:
    """Mean of shares, in per cent."""
    return mean([100 * each for each in found], digits)


def share(done: Sequence[bool]) -> str:
    """So many of so many, with the interval."""
    low, high = wilson(sum(done), len(done))
    return f"{sum(done)} of {len(done)} ({100 * low:.0f} to {100 * high:.0f} %)"


def power(nodes: int) -> str:
    """10⁴ and the like."""
    return "10" + "⁰¹²³⁴⁵⁶⁷"[round(math.log10(nodes))]


def rare(value: float) -> str:
    """A probability or an expected number, of one digit where it is small."""
    if value == 0 or value >= 0.01:
        return f"{value:.2g}" if value < 100 else f"{value:,.0f}"
    exponent = math.floor(math.log10(value))
    exponent += round(value / 10**exponent) == 10
    raised = "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(-exponent))
    return f"{value / 10**exponent:.0f} · 10⁻{raised}"


def kinds(rows: Iterable[Row], *columns: str) -> list[tuple[Any, ...]]:
    """The different values of these columns, as they came."""
    return list(dict.fromkeys(tuple(row[column] for column in columns) for row in rows))


def markdown(lines: Iterable[Line]) -> str:
    """A table; its first line is the head."""
    head, *body = [[str(cell) for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, ["---"] * len(head), *body])
