"""From a vector of integers to field slots and back, exactly.

A vector of d integers becomes `packing` rows of ceil(d / packing) slots, each integer represented
modulo both primes, so that sums up to half the primes' product decode without loss.
"""

import numpy as np
from numpy.typing import NDArray

from pnyx.primitives.field import PRIMES, PrimeField, crt_centred

IntVector = NDArray[np.int64]
FIELDS = tuple(PrimeField(prime) for prime in PRIMES)
SUM_MAX = (PRIMES[0] * PRIMES[1] - 1) // 2


def slot_width(length: int, packing: int) -> int:
    """Field elements per member and field that carry a vector of this length."""
    return -(-length // packing)


def to_slots(vector: IntVector, packing: int) -> IntVector:
    """[length] integers to [packing, width], padded with zeros."""
    width = slot_width(len(vector), packing)
    slots = np.zeros(packing * width, dtype=np.int64)
    slots[: len(vector)] = vector
    return slots.reshape(packing, width)


def from_slots(residues: tuple[IntVector, ...], length: int) -> IntVector:
    """One [packing, width] array per field to the [length] centred integers they stand for."""
    return crt_centred([rows.reshape(-1)[:length] for rows in residues])
