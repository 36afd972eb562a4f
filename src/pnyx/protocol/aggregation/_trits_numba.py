"""Products with R', compiled by numba: four trits at once, by tables over the values of a byte.

Compiled and cached when this module is imported (`primitives.compiled`). Tests compare it with
numpy's.
"""

from typing import Any

import numpy as np
from numba import int32, int64, types, uint8, uint32
from numpy.typing import NDArray

from pnyx.primitives.compiled import array, compiled

_TRITS_PER_BYTE = 4
_BYTE = 256
_PAIRS = np.arange(_BYTE)[:, np.newaxis] >> (2 * np.arange(_TRITS_PER_BYTE))
_TRITS = (_PAIRS & 1) - ((_PAIRS >> 1) & 1)  # of every byte: [256, 4]
_PLACES = 8  # bytes of a column at a time; a column has 64
_LANES = 4  # combinations at a time: four sums fill a vector of 256 bits


@compiled(types.void, array(int32, 2), array(int32, 2, readonly=False))
def _tabulate(weights: Any, table: Any) -> None:
    """For every byte of a column and each of its values, the sums of its four weighted trits.

    weights: [rows, lanes], below 2^28, so that sums of four fit 32 bits. table: [bytes x 256,
    lanes].
    """
    for at in range(len(weights) // _TRITS_PER_BYTE):
        sums = table[_BYTE * at : _BYTE * (at + 1)]
        sums[0] = 0
        known = 1
        for trit in range(_TRITS_PER_BYTE):
            row = weights[_TRITS_PER_BYTE * at + trit]
            for value in range(known):
                for lane in range(_LANES):
                    less = sums[value, lane]
                    sums[known + value, lane] = less + row[lane]
                    sums[2 * known + value, lane] = less - row[lane]
                    sums[3 * known + value, lane] = less
            known *= 4


@compiled(types.void, array(uint8, 2), array(int32, 2), array(int64, 2, readonly=False))
def _look_up(columns: Any, table: Any, out: Any) -> None:
    """Add up, for every column, what the table says of its bytes: [columns, lanes].

    A few places of all columns before the next few: their part of the table, 32 KB, stays in the
    nearest cache.
    """
    out[:] = 0
    for start in range(0, columns.shape[1], _PLACES):
        part = table[_BYTE * start :]
        for at in range(len(columns)):
            digits = columns[at, start : start + _PLACES]
            a, b, c, d = out[at, 0], out[at, 1], out[at, 2], out[at, 3]
            for place in range(_PLACES):
                sums = part[uint32(digits[place]) + uint32(_BYTE * place)]
                a += sums[0]
                b += sums[1]
                c += sums[2]
                d += sums[3]
            out[at, 0], out[at, 1], out[at, 2], out[at, 3] = a, b, c, d


@compiled(types.void, array(uint8, 2), array(int64, 1), array(int64, 2, readonly=False))
def _sort(columns: Any, vector: Any, sums: Any) -> None:
    """Add every entry to the value of each byte of its column: sums [bytes, 256]."""
    for at in range(len(columns)):
        digits, entry = columns[at], vector[at]
        for place in range(len(digits)):
            sums[uint32(place), digits[place]] += entry


def project(columns: NDArray[np.uint8], vector: NDArray[np.int64]) -> NDArray[np.int64]:
    """See `ranges.Loops.project`."""
    sums = np.zeros((columns.shape[1], _BYTE), dtype=np.int64)
    _sort(columns, np.ascontiguousarray(vector), sums)
    return (sums @ _TRITS).reshape(-1)


def combine(columns: NDArray[np.uint8], weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """See `ranges.Loops.combine`."""
    assert columns.shape[1] % _PLACES == 0, "what is compiled does not look where arrays end"
    count = len(weights)
    found = np.empty((count, len(columns)), dtype=np.int64)
    table = np.empty((_BYTE * columns.shape[1], _LANES), dtype=np.int32)
    out = np.empty((len(columns), _LANES), dtype=np.int64)
    for start in range(0, count, _LANES):
        some = weights[start : start + _LANES]
        padded = np.zeros((weights.shape[1], _LANES), dtype=np.int32)
        padded[:, : len(some)] = some.T
        _tabulate(padded, table)
        _look_up(columns, table, out)
        found[start : start + len(some)] = out[:, : len(some)].T
    return found
