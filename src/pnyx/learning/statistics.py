"""A statistics round: counts, means and variances of columns with declared ranges.

What an owner contributes are counts, so that the committee verifies their range and noise can hide
one owner. Per owner: the number of its rows, and for each column whether it has a value there, the
mean of its values and the mean of their squares, both scaled to [0, 1] within the declared range
and in steps of 1/`RESOLUTION`. Values outside a range count as its end; missing ones are left out.

Every owner weighs the same, however many rows it has: one owner moves no entry by more than
`RESOLUTION`, and a person with much data does not decide the scale of everybody's model.

    rows | has a value | mean | mean of squares     the last three for each column in turn
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

RESOLUTION = 1 << 12
PER_COLUMN = 3

_DEVIATION_MIN = 1e-6


class ColumnStatistics(msgspec.Struct, frozen=True):
    """One column over all owners that have it: mean and standard deviation in its own unit.

    None when nobody has a value, or noise leaves nothing to divide by.
    """

    owners: float
    mean: float | None
    deviation: float | None


def statistics_length(columns: int) -> int:
    """Entries of a contribution."""
    return 1 + PER_COLUMN * columns


def owner_statistics(
    table: NDArray[np.float64], lows: NDArray[np.float64], highs: NDArray[np.float64]
) -> NDArray[np.int64]:
    """One owner's contribution.

    table: [rows, columns], NaN where missing. lows, highs: [columns].
    """
    scaled = ((table - lows) / (highs - lows)).clip(0.0, 1.0)
    present = ~np.isnan(scaled)
    values = np.maximum(present.sum(axis=0), 1)
    means = np.nansum(scaled, axis=0) / values
    squares = np.nansum(scaled**2, axis=0) / values
    parts = np.stack([present.any(axis=0), means, squares], axis=1)  # [columns, 3]
    entries = np.rint(parts.reshape(-1) * RESOLUTION).astype(np.int64)
    return np.concatenate([[min(len(table), RESOLUTION)], entries])


def column_statistics(
    total: Sequence[int], scale: int, lows: Sequence[float], highs: Sequence[float]
) -> tuple[ColumnStatistics, ...]:
    """Read a published sum [statistics_length], in units of 1/scale."""
    unit = RESOLUTION * scale
    found = []
    for column, (low, high) in enumerate(zip(lows, highs, strict=True)):
        start = 1 + PER_COLUMN * column
        owners, mean, square = (entry / unit for entry in total[start : start + PER_COLUMN])
        if owners * unit < 1:
            found.append(ColumnStatistics(0.0, None, None))
            continue
        centre = mean / owners
        spread = max(square / owners - centre**2, 0.0) ** 0.5
        width = high - low
        found.append(ColumnStatistics(owners, low + width * centre, width * spread))
    return tuple(found)


def standardisation(found: Sequence[ColumnStatistics]) -> NDArray[np.float64]:
    """Means and deviations [2, columns] to standardise rows by; columns without any stay as are."""
    means = [0.0 if column.mean is None else column.mean for column in found]
    deviations = [
        1.0 if column.deviation is None or column.deviation < _DEVIATION_MIN else column.deviation
        for column in found
    ]
    return np.array([means, deviations])
