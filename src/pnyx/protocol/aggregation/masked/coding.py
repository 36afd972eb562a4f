"""Values into residues and back: what a coefficient carries, and the exact decoding of a sum.

A coefficient is Δ·m + e, where m = Σ u_j·2^(slot_bits·j) holds one shifted value for each slot. It
is computed modulo each prime directly, m itself being too long for a machine word: slots are joined
to digits below 2^32, and each digit has a constant for each prime.

The way back is the mixed-radix form of Garner: with residues r_i, digits d_i < p_i such that the
number is d_0 + p_0·(d_1 + p_1·(d_2 + p_2·d_3)). Two such digits make a limb of 54 bits; shifts do
the rest. `decode` adds Δ/2 first: that is what centres the errors (`parameters` says why it is
exact).
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pnyx.errors import DecodingError
from pnyx.primitives.field import PrimeField
from pnyx.protocol.aggregation.encoding import IntVector
from pnyx.protocol.aggregation.masked.parameters import GROUP, RESIDUE_BITS, ParameterSet

_Unsigned = NDArray[np.uint64]

_DIGIT_BITS = 32  # so that products with a residue stay below 2^59
_LIMB_BITS = 2 * RESIDUE_BITS
_HALF_MASK = np.uint64((1 << RESIDUE_BITS) - 1)
_LIMB_MASK = np.uint64((1 << _LIMB_BITS) - 1)
_HALF, _LIMB = np.uint64(RESIDUE_BITS), np.uint64(_LIMB_BITS)


def shifted(parameters: ParameterSet, values: IntVector, within: slice) -> list[IntVector]:
    """Shift the values of some coefficients of a chunk: for each slot one array.

    values: all values of the chunk. within: the coefficients that are wanted. Padding stands for
    the value zero. Raises ValueError when a value is out of range.
    """
    coefficients = GROUP * -(-len(values) // (parameters.slots * GROUP))
    found = []
    for slot in range(parameters.slots):
        start, stop = slot * coefficients + within.start, slot * coefficients + within.stop
        given = values[start:stop]
        if len(given) < stop - start:
            given = np.concatenate([given, np.zeros(stop - start - len(given), dtype=np.int64)])
        lifted = given + parameters.offset
        if int(lifted.view(np.uint64).max()) > parameters.slot_value_max:
            raise ValueError(f"values must be signed integers of {parameters.value_bits} bits")
        found.append(lifted)
    return found


def digits(parameters: ParameterSet, slots: list[IntVector]) -> list[IntVector]:
    """Join the shifted values of the slots to fewer numbers below 2^32, see `factors`."""
    found = []
    for joined in _digits(parameters):
        digit = slots[joined.start]
        for at, slot in enumerate(joined[1:], 1):
            digit = digit | slots[slot] << (parameters.slot_bits * at)
        found.append(digit)
    return found


@lru_cache(maxsize=64)
def factors(parameters: ParameterSet) -> tuple[tuple[int, ...], ...]:
    """For each prime what `digits` are multiplied by to give Δ·m: Δ·2^(slot_bits·j) for slot j."""
    places = [parameters.shift + parameters.slot_bits * s.start for s in _digits(parameters)]
    return tuple(tuple(pow(2, place, prime) for place in places) for prime in parameters.primes)


def decode(
    parameters: ParameterSet, residues: Sequence[NDArray[np.uint32]], count: int
) -> IntVector:
    """Return the sums in the slots of unmasked coefficients: [slots, coefficients].

    residues: one [coefficients] array per prime. count: contributions that were added. Raises
    DecodingError when these are no sum of that many: key and masks do not belong together.
    """
    limbs = _limbs(parameters, _mixed_radix(parameters, residues))
    slot_mask = np.uint64((1 << parameters.slot_bits) - 1)
    sums = np.empty((parameters.slots, len(residues[0])), dtype=np.int64)
    for slot in range(parameters.slots):
        sums[slot] = _bits(limbs, parameters.shift + parameters.slot_bits * slot) & slot_mask
    used = parameters.shift + parameters.slot_bits * parameters.slots
    if _any_beyond(limbs, used) or int(sums.max()) > count * parameters.slot_value_max:
        raise DecodingError("A masked sum decodes to garbage: its keys are not those of its masks.")
    sums -= count * parameters.offset
    return sums


@lru_cache(maxsize=64)
def _digits(parameters: ParameterSet) -> tuple[range, ...]:
    """Which slots are joined to one digit: as many as stay below 2^32."""
    room = _DIGIT_BITS - parameters.value_bits
    each = 1 + room // parameters.slot_bits
    starts = range(0, parameters.slots, each)
    return tuple(range(start, min(start + each, parameters.slots)) for start in starts)


def _mixed_radix(
    parameters: ParameterSet, residues: Sequence[NDArray[np.uint32]]
) -> list[IntVector]:
    """Garner's digits of the residues plus Δ/2: one [coefficients] array per prime."""
    half = 1 << (parameters.shift - 1)
    found: list[IntVector] = []
    for prime, residue in zip(parameters.primes, residues, strict=True):
        field = PrimeField(prime)
        digit = residue.astype(np.int64)
        digit += half
        for other, known in zip(parameters.primes, found, strict=False):
            digit -= known
            digit = field.reduce(digit)
            digit *= pow(other, -1, prime)
        found.append(field.reduce(digit))
    return found


def _limbs(parameters: ParameterSet, digits: list[IntVector]) -> list[_Unsigned]:
    """The numbers in limbs of 54 bits, lowest first."""
    primes = parameters.primes
    pairs = [
        (digits[at] if at + 1 == len(digits) else digits[at] + primes[at] * digits[at + 1]).view(
            np.uint64
        )
        for at in range(0, len(digits), 2)
    ]
    if len(pairs) == 1:
        return pairs
    low, high = pairs  # the number is low + p_0·p_1·high
    factor = primes[0] * primes[1]
    factor_low, factor_high = factor & int(_HALF_MASK), factor >> RESIDUE_BITS
    high_low, high_high = high & _HALF_MASK, high >> _HALF
    middle = high_high * np.uint64(factor_low) + high_low * np.uint64(factor_high)
    bottom = low + high_low * np.uint64(factor_low) + ((middle & _HALF_MASK) << _HALF)
    top = high_high * np.uint64(factor_high) + (middle >> _HALF) + (bottom >> _LIMB)
    return [bottom & _LIMB_MASK, top]


def _bits(limbs: list[_Unsigned], shift: int) -> _Unsigned:
    """The numbers shifted right, at least the lowest 54 bits of that where there are as many."""
    if shift >= _LIMB_BITS:
        beyond = np.uint64(shift - _LIMB_BITS)
        return limbs[1] >> beyond if len(limbs) > 1 else np.zeros_like(limbs[0])
    low = limbs[0] >> np.uint64(shift)
    return low if len(limbs) == 1 else low | limbs[1] << np.uint64(_LIMB_BITS - shift)


def _any_beyond(limbs: list[_Unsigned], bits: int) -> bool:
    """Tell whether a number does not fit into so many bits."""
    if bits >= _LIMB_BITS:
        return bool(_bits(limbs, bits).any())
    return bool((limbs[0] >> np.uint64(bits)).any()) or any(bool(each.any()) for each in limbs[1:])
