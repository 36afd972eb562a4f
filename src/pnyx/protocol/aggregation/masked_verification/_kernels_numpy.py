"""The inner loops of sketches in plain numpy: the fallback, several times slower.

`bincount` adds float64 numbers: integers below 2^53 at all times, so the sums are exact. Buckets
are added in two limbs to keep it so.
"""

import numpy as np
from numpy.typing import NDArray

from pnyx.protocol.aggregation.masked_verification._kernels import (
    CODES,
    ROW_CODES,
    SMALL_MAX,
    Codes,
    RowCodes,
    Values,
)

_CODE_MASK = np.uint16(CODES - 1)
_ROW_MASK = np.uint8(ROW_CODES - 1)
_LIMB_BITS = 32


def energy(values: Values) -> int:
    """See `Kernels.energy`."""
    if int(values.max()) > SMALL_MAX or int(values.min()) < -SMALL_MAX:
        return -1
    wide = values.astype(np.int64)
    return int(wide @ wide)


def fold_narrow(tables: NDArray[np.int32], codes: Codes, values: Values) -> None:
    """See `Kernels.fold_narrow`."""
    for at, row in enumerate(codes):
        tables[at] += _folded(row, values).astype(np.int32)


def fold_wide(tables: NDArray[np.int64], codes: Codes, values: Values) -> None:
    """See `Kernels.fold_wide`."""
    for at, row in enumerate(codes):
        tables[at] += _folded(row, values).astype(np.int64)


def _folded(row: NDArray[np.uint16], values: Values) -> NDArray[np.float64]:
    sums = np.bincount(row & _CODE_MASK, weights=values, minlength=CODES)
    return np.asarray(sums, dtype=np.float64)


def unfold(tables: NDArray[np.uint32], codes: Codes, modulus: int, out: NDArray[np.uint32]) -> None:
    """See `Kernels.unfold`."""
    out[:] = 0
    for table, row in zip(tables, codes, strict=True):
        out += table[row & _CODE_MASK]
    out %= np.uint32(modulus)


def spread(rows: NDArray[np.int64], codes: RowCodes, buckets: NDArray[np.int64]) -> None:
    """See `Kernels.spread`."""
    high = buckets >> _LIMB_BITS
    low = buckets - (high << _LIMB_BITS)
    for at, row in enumerate(codes):
        places = row & _ROW_MASK
        for limb, shift in ((high, _LIMB_BITS), (low, 0)):
            sums = np.bincount(places, weights=limb, minlength=ROW_CODES)
            rows[at] += sums.astype(np.int64) << shift


def gather(
    rows: NDArray[np.uint32], codes: RowCodes, modulus: int, out: NDArray[np.uint32]
) -> None:
    """See `Kernels.gather`."""
    out[:] = 0
    for table, row in zip(rows, codes, strict=True):
        out += table[row & _ROW_MASK]
    out %= np.uint32(modulus)
