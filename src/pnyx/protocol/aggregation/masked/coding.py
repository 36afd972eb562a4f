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
from math import prod

import numpy as np
from numpy.typing import NDArray

from pnyx.errors import DecodingError
from pnyx.primitives.ring import LANES, Ring
from pnyx.protocol.aggregation.encoding import IntVector
from pnyx.protocol.aggregation.masked.parameters import GROUP, RESIDUE_BITS, ParameterSet

_Unsigned = NDArray[np.uint64]

_DIGIT_BITS = 32  # so that products with a residue stay below 2^59
_LIMB_BITS = 2 * RESIDUE_BITS
_HALF_MASK = (1 << RESIDUE_BITS) - 1
_LIMB_MASK = (1 << _LIMB_BITS) - 1
_HALF, _LIMB = np.uint64(RESIDUE_BITS), np.uint64(_LIMB_BITS)


PIECE = GROUP * LANES  # coefficients that are handled at a time: [1, 1024, 32]


def shifted(parameters: ParameterSet, values: IntVector, within: slice) -> list[IntVector]:
    """Shift the values of some coefficients of a segment: for each slot one array.

    values: all values of the segment. within: the coefficients that are wanted. Padding stands for
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
    parameters: ParameterSet, residues: Sequence[IntVector], count: int, out: IntVector
) -> None:
    """Write the sums in the slots of unmasked coefficients: [slots, coefficients].

    residues: one array for each prime, as `PIECE` says, of integers below 2^35 in absolute value.
    count: contributions that were added. out: [slots, up to PIECE]. Raises DecodingError when these
    are no sum of that many: key and masks do not belong together.
    """
    limbs = _limbs(parameters, _mixed_radix(parameters, residues))
    slot_mask = np.uint64((1 << parameters.slot_bits) - 1)
    most = count * parameters.slot_value_max
    used = parameters.shift + parameters.slot_bits * parameters.slots
    within = not _any_beyond(limbs, used)
    for slot, row in enumerate(out):
        shift = parameters.shift + parameters.slot_bits * slot
        sums = _bits(limbs, shift) & slot_mask
        within = within and int(sums.max()) <= most
        np.subtract(sums[: len(row)].view(np.int64), count * parameters.offset, out=row)
    if not within:
        raise DecodingError("A masked sum decodes to garbage: its keys are not those of its masks.")


def decode_signed(
    parameters: ParameterSet, residues: IntVector, count: int, reach: int, out: IntVector
) -> None:
    """Write the sums of one prime's unmasked coefficients, each a signed value, centred modulo p.

    Whoever contributes may exceed value_max where only norms are verified; what stays below p/2 are
    sums. residues, count: as `decode` takes them. reach: the largest sum Δ·Σm + Σe in absolute
    value. out: [up to PIECE]. Raises DecodingError beyond it.
    """
    [prime], shift = parameters.primes, parameters.shift
    lifted = residues.reshape(-1)[: len(out)] - ((count * parameters.offset) << shift)
    sums = lifted % prime
    sums -= prime * (sums > prime // 2)
    if int(np.abs(sums).max()) > reach:
        raise DecodingError("A masked sum is larger than verified contributions can make it.")
    np.right_shift(sums + (1 << (shift - 1)), shift, out=out)


@lru_cache(maxsize=64)
def pieces(parameters: ParameterSet) -> tuple[Ring, ...]:
    """For each prime a ring of degree 1024: what adds residues, in pieces that fit a cache.

    Blocks of any of our degrees are blocks of this one, where no polynomials are multiplied.
    """
    return tuple(Ring(GROUP, prime) for prime in parameters.primes)


@lru_cache(maxsize=64)
def _digits(parameters: ParameterSet) -> tuple[range, ...]:
    """Which slots are joined to one digit: as many as stay below 2^32."""
    room = _DIGIT_BITS - parameters.value_bits
    each = 1 + room // parameters.slot_bits
    starts = range(0, parameters.slots, each)
    return tuple(range(start, min(start + each, parameters.slots)) for start in starts)


@lru_cache(maxsize=64)
def _radix_weights(primes: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """For each prime what digits and residue are multiplied by to give its digit.

    d_i = (r_i - d_0 - p_0·d_1 - p_0·p_1·d_2 - ...) / (p_0 ··· p_(i-1)) modulo p_i: the weights of
    d_0, ..., d_(i-1), then that of r_i.
    """
    weights = []
    for at, prime in enumerate(primes):
        places = [prod(primes[:below]) for below in range(at + 1)]
        scale = pow(places.pop(), -1, prime)
        weights.append((*(-place * scale % prime for place in places), scale))
    return tuple(weights)


def _mixed_radix(parameters: ParameterSet, residues: Sequence[IntVector]) -> list[IntVector]:
    """Garner's digits of the residues plus Δ/2: one [1, 1024, 32] array per prime."""
    half = 1 << (parameters.shift - 1)
    found: list[IntVector] = []
    all_weights = _radix_weights(parameters.primes)
    for ring, residue, weights in zip(pieces(parameters), residues, all_weights, strict=True):
        digit, lifted = ring.zeros(1), residue + half
        for known, weight in zip((*found, lifted), weights, strict=True):
            ring.add_signed_into(digit, known, weight)
        found.append(digit.astype(np.int64))
    return found


def _limbs(parameters: ParameterSet, digits: list[IntVector]) -> list[_Unsigned]:
    """The numbers in limbs of 54 bits, lowest first."""
    flat, primes = [digit.reshape(-1).view(np.uint64) for digit in digits], parameters.primes
    for at in range(1, len(flat), 2):
        flat[at] *= np.uint64(primes[at - 1])
        flat[at] += flat[at - 1]
    if len(flat) <= 2:
        return flat[-1:]
    low, high = flat[1], flat[3]  # the number is low + p_0·p_1·high
    factor = primes[0] * primes[1]
    factor_low, factor_high = np.uint64(factor & _HALF_MASK), np.uint64(factor >> RESIDUE_BITS)
    high_low, high_high = high & np.uint64(_HALF_MASK), high >> _HALF
    middle = high_high * factor_low
    middle += high_low * factor_high
    high_low *= factor_low
    low += high_low
    low += (middle & np.uint64(_HALF_MASK)) << _HALF
    middle >>= _HALF
    high_high *= factor_high
    high_high += middle
    high_high += low >> _LIMB
    low &= np.uint64(_LIMB_MASK)
    return [low, high_high]


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
