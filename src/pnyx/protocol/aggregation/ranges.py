"""The random projection R' of the range step: 256 rows of trits, 0 with probability 1/2.

R' is expanded from the commitment to a contribution: column j is bytes 64j to 64j + 63 of a key
stream, two bits per trit, first bit less second. It is never kept: the two products that are
needed are computed column by column. Every member combines rows for every contribution of a round,
so numba's loops do it where they can be imported, four times as fast as numpy's (ADR 24).
"""

from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation import _trits_numpy
from pnyx.protocol.aggregation.bounds import ROWS
from pnyx.protocol.aggregation.encoding import IntVector

ENTRY_MAX = (1 << 16) - 1
WEIGHT_MAX = (1 << 28) - 1

_COLUMN_BYTES = ROWS // 4

Columns = NDArray[np.uint8]  # [dimension, 64]


class Loops(Protocol):
    """What both implementations offer; they give the same numbers, and check nothing."""

    def project(self, columns: Columns, vector: IntVector, /) -> IntVector:
        """Return R'·vector [256], for entries within ±ENTRY_MAX."""

    def combine(self, columns: Columns, weights: IntVector, /) -> IntVector:
        """Return weights·R' [n, dimension], for weights [n, 256] in 0..WEIGHT_MAX."""


def project(commitment: bytes, vector: IntVector) -> IntVector:
    """Return R'·vector [256]; entries are at most `ENTRY_MAX` in absolute value."""
    if int(np.abs(vector).max()) > ENTRY_MAX:
        raise ValueError("an entry is too large for an exact projection")
    return _loops().project(_columns(commitment, len(vector)), vector)


def combine(commitment: bytes, weights: IntVector, dimension: int) -> IntVector:
    """Return weights·R' [n, dimension] over the integers, for weights [n, 256] in 0..WEIGHT_MAX."""
    if not 0 <= int(weights.min()) <= int(weights.max()) <= WEIGHT_MAX:
        raise ValueError("a weight is too large for an exact combination")
    return _loops().combine(_columns(commitment, dimension), weights)


def load_projections() -> None:
    """Load the loops, unless they are: before processes are forked that need them."""
    _loops()


def _columns(commitment: bytes, dimension: int) -> Columns:
    stream = Sampler(commitment, "pnyx/verify/projection").bytes(_COLUMN_BYTES * dimension)
    return np.frombuffer(stream, dtype=np.uint8).reshape(dimension, _COLUMN_BYTES)


@lru_cache(maxsize=1)
def _loops() -> Loops:
    """The compiled loops, imported at first use, or numpy's where numba cannot be imported."""
    try:
        from pnyx.protocol.aggregation import _trits_numba
    except ImportError:
        return _trits_numpy
    return _trits_numba
