"""Products with R' in numpy, which serve where numba cannot be imported.

They run as float32 matrix products and are exact. In `project` a block adds 256 entries below
2^16, in `combine` a column adds 256 half-weights below 2^14: all partial sums stay below 2^24, so
they are integers that float32 holds, in any order of summation.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pnyx.protocol.aggregation.bounds import ROWS

_TRITS_PER_BYTE = 4
_BLOCK_MAX = 256  # columns that stay in the cache
_BLOCK_WORK = 1 << 18  # multiplications: too few for BLAS to start threads
_LIMB_BITS = 14


def _trit_table() -> NDArray[np.complex128]:
    """Four trits for every byte, as one 16-byte element: numpy looks such elements up fastest."""
    pairs = np.arange(256)[:, np.newaxis] >> (2 * np.arange(_TRITS_PER_BYTE))
    trits = (pairs & 1) - ((pairs >> 1) & 1)
    table = np.ascontiguousarray(trits, dtype=np.float32).view(np.complex128).reshape(-1)
    table.setflags(write=False)
    return table


_TRITS = _trit_table()


def _blocks(
    columns: NDArray[np.uint8], right_sides: int
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Blocks [columns, 256] of the transpose of R', with the columns they cover."""
    step = min(_BLOCK_MAX, max(1, _BLOCK_WORK // (ROWS * right_sides)))
    for start in range(0, len(columns), step):
        some = slice(start, min(start + step, len(columns)))
        block = np.take(_TRITS, columns[some], mode="clip")
        yield some, block.view(np.float32).reshape(-1, ROWS)


def project(columns: NDArray[np.uint8], vector: NDArray[np.int64]) -> NDArray[np.int64]:
    """See `ranges.Loops.project`."""
    # A second, empty row makes it a matrix product, which BLAS does not spread over threads.
    rows = np.zeros((2, len(vector)), dtype=np.float32)
    rows[0] = vector
    total = np.zeros((2, ROWS), dtype=np.int64)
    for some, block in _blocks(columns, len(rows)):
        total += (rows[:, some] @ block).astype(np.int64)
    return np.asarray(total[0])


def combine(columns: NDArray[np.uint8], weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """See `ranges.Loops.combine`."""
    low = weights & ((1 << _LIMB_BITS) - 1)
    limbs = np.concatenate([weights >> _LIMB_BITS, low]).T.astype(np.float32)  # [256, 2n]
    sums = np.empty((len(columns), limbs.shape[1]), dtype=np.float32)
    for some, block in _blocks(columns, limbs.shape[1]):
        np.matmul(block, limbs, out=sums[some])
    exact = sums.T.astype(np.int64)  # [2n, dimension]
    return (exact[: len(weights)] << _LIMB_BITS) + exact[len(weights) :]
