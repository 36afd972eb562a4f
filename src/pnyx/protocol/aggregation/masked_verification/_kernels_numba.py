"""The inner loops of sketches, compiled by numba: one thread, exact integers, no fast math."""

import numba
import numpy as np
from numpy.typing import NDArray

from pnyx.protocol.aggregation.masked_verification._kernels import CODES, TABLES, Codes, Values

_LIMIT = 1 << 23


@numba.njit(cache=True)
def energy(values: Values) -> int:
    """See `Kernels.energy`."""
    total = np.int64(0)
    largest = np.int32(0)
    smallest = np.int32(0)
    for value in values:
        total += np.int64(value) * np.int64(value)
        largest = max(largest, value)
        smallest = min(smallest, value)
    if largest > _LIMIT or smallest < -_LIMIT:
        return -1
    return total


@numba.njit(cache=True)
def fold_narrow(tables: NDArray[np.int32], codes: Codes, values: Values) -> None:
    """See `Kernels.fold_narrow`."""
    for at in range(TABLES):
        table = tables[at]
        row = codes[at]
        for index in range(values.size):
            table[row[index] & (CODES - 1)] += values[index]


@numba.njit(cache=True)
def fold_wide(tables: NDArray[np.int64], codes: Codes, values: Values) -> None:
    """See `Kernels.fold_wide`."""
    for at in range(TABLES):
        table = tables[at]
        row = codes[at]
        for index in range(values.size):
            table[row[index] & (CODES - 1)] += values[index]


@numba.njit(cache=True)
def unfold(tables: NDArray[np.uint32], codes: Codes, modulus: int, out: NDArray[np.uint32]) -> None:
    """See `Kernels.unfold`."""
    p = np.uint32(modulus)
    out[:] = 0
    for at in range(TABLES):
        table = tables[at]
        row = codes[at]
        for index in range(out.size):
            out[index] += table[row[index] & (CODES - 1)]
    for index in range(out.size):  # TABLES values below p: three conditional subtractions
        x = out[index]
        x = min(x, np.uint32(x - 4 * p))
        x = min(x, np.uint32(x - 2 * p))
        out[index] = min(x, np.uint32(x - p))
