"""The inner loops of sketches, compiled by numba: one thread, no fast-math.

Compiling, caching and testing go as in `primitives.ring`: types are stated, so that nothing is
compiled after the import, and every function is compared with numpy's.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba import int32, int64, types, uint8, uint16, uint32
from numpy.typing import NDArray

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

if getattr(numba.config, "DISABLE_JIT", False):
    raise ImportError("numba is told by its settings not to compile")

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _array(item: Any, dimensions: int, *, readonly: bool = True) -> Any:
    return types.Array(item, dimensions, "C", readonly=readonly)


_CODES = _array(uint16, 2)
_ROW_CODES = _array(uint8, 2)
_VALUES = _array(int32, 1)


def _compiled(result: Any, *arguments: Any) -> Callable[[_Function], _Function]:
    """Compile for these types, through the cache where there is one."""

    def decorate(function: _Function) -> _Function:
        signature = result(*arguments)
        try:
            kernel = numba.njit(signature, cache=True)(function)
        except Exception:  # noqa: BLE001  a damaged cache raises anything; without it we see
            kernel = numba.njit(signature)(function)
        return cast(_Function, kernel)

    return decorate


@_compiled(int64, _VALUES)
def energy(values: Values) -> int:  # pragma: no cover
    """See `Kernels.energy`."""
    total = int64(0)
    largest, smallest = int32(0), int32(0)
    for i in range(len(values)):
        value = values[i]
        total += int64(value) * int64(value)
        largest, smallest = max(largest, value), min(smallest, value)
    return -1 if largest > SMALL_MAX or smallest < -SMALL_MAX else int(total)


@_compiled(types.void, _array(int32, 2, readonly=False), _CODES, _VALUES)
def fold_narrow(
    tables: NDArray[np.int32], codes: Codes, values: Values
) -> None:  # pragma: no cover
    """See `Kernels.fold_narrow`."""
    for at in range(TABLES):
        table, row = tables[at], codes[at]
        for i in range(len(values)):
            table[row[i] & (CODES - 1)] += values[i]


@_compiled(types.void, _array(int64, 2, readonly=False), _CODES, _VALUES)
def fold_wide(tables: NDArray[np.int64], codes: Codes, values: Values) -> None:  # pragma: no cover
    """See `Kernels.fold_wide`."""
    for at in range(TABLES):
        table, row = tables[at], codes[at]
        for i in range(len(values)):
            table[row[i] & (CODES - 1)] += values[i]


@_compiled(types.void, _array(uint32, 1, readonly=False), uint32)
def _reduce(values: Any, p: Any) -> None:  # pragma: no cover
    """Reduce sums of eight values below p: min(x, x - p) reduces x < 2p, as x - p wraps around."""
    for i in range(len(values)):
        value = values[i]
        value = min(value, uint32(value - uint32(p << 2)))
        value = min(value, uint32(value - uint32(p << 1)))
        values[i] = min(value, uint32(value - p))


@_compiled(types.void, _array(uint32, 2), _CODES, uint32, _array(uint32, 1, readonly=False))
def unfold(
    tables: NDArray[np.uint32], codes: Codes, modulus: int, out: NDArray[np.uint32]
) -> None:  # pragma: no cover
    """See `Kernels.unfold`."""
    p = uint32(modulus)
    out[:] = 0
    for at in range(TABLES):
        table, row = tables[at], codes[at]
        for i in range(len(out)):
            out[i] += table[row[i] & (CODES - 1)]
    _reduce(out, p)


@_compiled(types.void, _array(int64, 2, readonly=False), _ROW_CODES, _array(int64, 1))
def spread(
    rows: NDArray[np.int64], codes: RowCodes, buckets: NDArray[np.int64]
) -> None:  # pragma: no cover
    """See `Kernels.spread`."""
    for at in range(BLOCKS):
        sums, row = rows[at], codes[at]
        for i in range(len(buckets)):
            sums[row[i] & (ROW_CODES - 1)] += buckets[i]


@_compiled(types.void, _array(uint32, 2), _ROW_CODES, uint32, _array(uint32, 1, readonly=False))
def gather(
    rows: NDArray[np.uint32], codes: RowCodes, modulus: int, out: NDArray[np.uint32]
) -> None:  # pragma: no cover
    """See `Kernels.gather`."""
    out[:] = 0
    for at in range(BLOCKS):
        table, row = rows[at], codes[at]
        for i in range(len(out)):
            out[i] += table[row[i] & (ROW_CODES - 1)]
    _reduce(out, uint32(modulus))
