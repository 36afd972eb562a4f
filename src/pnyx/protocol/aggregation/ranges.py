"""The random projection R' of the range step: 256 rows of trits, 0 with probability 1/2.

R' is expanded from the commitment to a contribution: column j is bytes 64j to 64j + 63 of a key
stream, two bits per trit, first bit less second. It is never kept: the two products that are
needed are computed over blocks of columns that stay in the cache.

In numpy products run as float32 matrix products and are exact. In `project` a block adds 256
entries below 2^16, in `combine_trits` a column adds 256 half-weights below 2^14: all partial sums
stay below 2^24, so they are integers that float32 holds, in any order of summation. Every member
combines rows for every contribution of a round, so numba's loop does that where it is (ADR 24).
"""

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation.bounds import ROWS
from pnyx.protocol.aggregation.encoding import IntVector

ENTRY_MAX = (1 << 16) - 1
WEIGHT_MAX = (1 << 28) - 1

_TRITS_PER_BYTE = 4
_COLUMN_BYTES = ROWS // _TRITS_PER_BYTE
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


def _columns(commitment: bytes, dimension: int) -> NDArray[np.uint8]:
    """The columns of R' as bytes: [dimension, 64]."""
    stream = Sampler(commitment, "pnyx/verify/projection").bytes(_COLUMN_BYTES * dimension)
    return np.frombuffer(stream, dtype=np.uint8).reshape(dimension, _COLUMN_BYTES)


def _blocks(
    columns: NDArray[np.uint8], right_sides: int
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Blocks [columns, 256] of the transpose of R', with the columns they cover."""
    step = min(_BLOCK_MAX, max(1, _BLOCK_WORK // (ROWS * right_sides)))
    for start in range(0, len(columns), step):
        some = slice(start, min(start + step, len(columns)))
        block = np.take(_TRITS, columns[some], mode="clip")
        yield some, block.view(np.float32).reshape(-1, ROWS)


def project(commitment: bytes, vector: IntVector) -> IntVector:
    """Return R'·vector [256]; entries are at most `ENTRY_MAX` in absolute value."""
    if int(np.abs(vector).max()) > ENTRY_MAX:
        raise ValueError("an entry is too large for an exact projection")
    # A second, empty row makes it a matrix product, which BLAS does not spread over threads.
    rows = np.zeros((2, len(vector)), dtype=np.float32)
    rows[0] = vector
    total = np.zeros((2, ROWS), dtype=np.int64)
    for some, block in _blocks(_columns(commitment, len(vector)), len(rows)):
        total += (rows[:, some] @ block).astype(np.int64)
    return np.asarray(total[0])


def combine(commitment: bytes, weights: IntVector, dimension: int) -> IntVector:
    """Return weights·R' [n, dimension] over the integers, for weights [n, 256] in 0..WEIGHT_MAX."""
    if not 0 <= int(weights.min()) <= int(weights.max()) <= WEIGHT_MAX:
        raise ValueError("a weight is too large for an exact combination")
    return _combination()(_columns(commitment, dimension), weights)


def combine_trits(columns: NDArray[np.uint8], weights: IntVector) -> IntVector:
    """Return weights·R' [n, dimension] for columns of R' [dimension, 64], in numpy."""
    low = weights & ((1 << _LIMB_BITS) - 1)
    limbs = np.concatenate([weights >> _LIMB_BITS, low]).T.astype(np.float32)  # [256, 2n]
    sums = np.empty((len(columns), limbs.shape[1]), dtype=np.float32)
    for some, block in _blocks(columns, limbs.shape[1]):
        np.matmul(block, limbs, out=sums[some])
    exact = sums.T.astype(np.int64)  # [2n, dimension]
    return (exact[: len(weights)] << _LIMB_BITS) + exact[len(weights) :]


@lru_cache(maxsize=1)
def _combination() -> Callable[[NDArray[np.uint8], IntVector], IntVector]:
    """The compiled loop, imported at first use; numpy's where numba cannot be imported."""
    try:
        from pnyx.protocol.aggregation import _trits_numba
    except ImportError:
        return combine_trits
    return _trits_numba.combine_trits


def load_combination() -> None:
    """Load the loop, unless it is: before processes are forked that need it."""
    _combination()
