"""The inner loops of sketches, compiled by numba: one thread, no fast-math.

Compiled and cached when this module is imported (`primitives.compiled`). Every function is compared
with numpy's in tests.
"""

from typing import Any

import numpy as np
from numba import int32, int64, types, uint8, uint16, uint32
from numpy.typing import NDArray

from pnyx.primitives.compiled import array, compiled
from pnyx.protocol.aggregation.masked_verification._kernels import (
    BLOCKS,
    CODES,
    ROW_CODES,
    SMALL_MAX,
    TABLES,
    Codes,
    RowCodes,
    Values,
)

_BESIDE = 4  # blocks whose sums do not wait for each other; a divisor of BLOCKS

_CODES = array(uint16, 2)
_ROW_CODES = array(uint8, 2)
_VALUES = array(int32, 1)


@compiled(int64, _VALUES)
def energy(values: Values) -> int:
    """See `Kernels.energy`."""
    total = int64(0)
    largest, smallest = int32(0), int32(0)
    for i in range(len(values)):
        value = values[i]
        total += int64(value) * int64(value)
        largest, smallest = max(largest, value), min(smallest, value)
    return -1 if largest > SMALL_MAX or smallest < -SMALL_MAX else int(total)


@compiled(types.void, array(int32, 2, readonly=False), _CODES, _VALUES)
def fold_narrow(tables: NDArray[np.int32], codes: Codes, values: Values) -> None:
    """See `Kernels.fold_narrow`."""
    for at in range(TABLES):
        table, row = tables[at], codes[at]
        for i in range(len(values)):
            table[row[i] & (CODES - 1)] += values[i]


@compiled(types.void, array(int64, 2, readonly=False), _CODES, _VALUES)
def fold_wide(tables: NDArray[np.int64], codes: Codes, values: Values) -> None:
    """See `Kernels.fold_wide`."""
    for at in range(TABLES):
        table, row = tables[at], codes[at]
        for i in range(len(values)):
            table[row[i] & (CODES - 1)] += values[i]


@compiled(types.void, array(uint32, 1, readonly=False), uint32)
def _reduce(values: Any, p: Any) -> None:
    """Reduce sums of eight values below p: min(x, x - p) reduces x < 2p, as x - p wraps around."""
    for i in range(len(values)):
        value = values[i]
        value = min(value, uint32(value - uint32(p << 2)))
        value = min(value, uint32(value - uint32(p << 1)))
        values[i] = min(value, uint32(value - p))


@compiled(types.void, array(uint32, 2), _CODES, uint32, array(uint32, 1, readonly=False))
def unfold(tables: NDArray[np.uint32], codes: Codes, modulus: int, out: NDArray[np.uint32]) -> None:
    """See `Kernels.unfold`."""
    p = uint32(modulus)
    out[:] = 0
    for at in range(TABLES):
        table, row = tables[at], codes[at]
        for i in range(len(out)):
            out[i] += table[row[i] & (CODES - 1)]
    _reduce(out, p)


@compiled(types.void, array(int64, 2, readonly=False), _ROW_CODES, array(int64, 1))
def spread(rows: NDArray[np.int64], codes: RowCodes, buckets: NDArray[np.int64]) -> None:
    """See `Kernels.spread`."""
    for first in range(0, BLOCKS, _BESIDE):
        for i in range(len(buckets)):
            bucket = buckets[i]
            for at in range(first, first + _BESIDE):
                rows[at, codes[at, i] & (ROW_CODES - 1)] += bucket


@compiled(types.void, array(uint32, 2), _ROW_CODES, uint32, array(uint32, 1, readonly=False))
def gather(
    rows: NDArray[np.uint32], codes: RowCodes, modulus: int, out: NDArray[np.uint32]
) -> None:
    """See `Kernels.gather`."""
    out[:] = 0
    for at in range(BLOCKS):
        table, row = rows[at], codes[at]
        for i in range(len(out)):
            out[i] += table[row[i] & (ROW_CODES - 1)]
    _reduce(out, uint32(modulus))
