"""The inner loops of sketches: what they compute.

Arrays are C-contiguous and of the stated types; callers have checked shapes and sizes. A *code*
holds a bucket in its lower 12 bits and a sign in bit 12 (1: minus), a *row code* a row of its block
in the lower 5 bits and a sign in bit 5; higher bits mean nothing. Tables have one half for each
sign, so that the loops need no arithmetic on signs.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

TABLES = 8
BUCKETS = 1 << 12
CODES = 2 * BUCKETS
BLOCKS = 8  # of rows: each bucket has one row in every one
BLOCK_ROWS = 32
ROW_CODES = 2 * BLOCK_ROWS
SMALL_MAX = 1 << 23  # squares of a chunk of such values fit 64 bits

Codes = NDArray[np.uint16]  # [TABLES, n]
RowCodes = NDArray[np.uint8]  # [BLOCKS, n]
Values = NDArray[np.int32]  # [n]


class Kernels(Protocol):
    """What both implementations offer; they give the same numbers."""

    def energy(self, values: Values, /) -> int:
        """Return the sum of squares, or -1 if some value is not within ±SMALL_MAX."""

    def fold_narrow(self, tables: NDArray[np.int32], codes: Codes, values: Values, /) -> None:
        """Add every value to the place of its code in each of the tables [TABLES, CODES]."""

    def fold_wide(self, tables: NDArray[np.int64], codes: Codes, values: Values, /) -> None:
        """As `fold_narrow`, for sums that 32 bits might not hold."""

    def unfold(
        self, tables: NDArray[np.uint32], codes: Codes, modulus: int, out: NDArray[np.uint32], /
    ) -> None:
        """Write, for every column of codes, the sum of its places in the tables, reduced: [n].

        tables: [TABLES, CODES], reduced, the modulus below 2^28.
        """

    def spread(
        self, rows: NDArray[np.int64], codes: RowCodes, buckets: NDArray[np.int64], /
    ) -> None:
        """Add every bucket to the place of its code in each block of rows [BLOCKS, ROW_CODES]."""

    def gather(
        self, rows: NDArray[np.uint32], codes: RowCodes, modulus: int, out: NDArray[np.uint32], /
    ) -> None:
        """As `unfold`, from rows [BLOCKS, ROW_CODES]."""
