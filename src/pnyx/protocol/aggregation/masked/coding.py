"""Values into residues and back: what a coefficient carries, and the exact decoding of a sum.

A coefficient is Δ·m + e, where m = Σ u_j·2^(slot_bits·j) holds one shifted value for each slot. It
is computed modulo each prime directly, m itself being too long for a machine word: each slot has a
constant for each prime, and one reduction serves all slots.

The way back is the mixed-radix form of Garner: with residues r_i, digits d_i < p_i such that the
number is d_0 + p_0·(d_1 + p_1·(d_2 + p_2·d_3)). Two such digits make a limb of 54 bits; shifts do
the rest. `decode` adds Δ/2 first: that is what centres the errors (`parameters` says why it is
exact).
"""

from functools import lru_cache
from math import prod

import numpy as np
from numpy.typing import NDArray

from pnyx.errors import DecodingError
from pnyx.primitives.ring import LANES, LIMB_BITS, Ring, compose, extract
from pnyx.protocol.aggregation.encoding import IntVector
from pnyx.protocol.aggregation.masked.parameters import GROUP, ParameterSet

_Unsigned = NDArray[np.uint64]


PIECE = GROUP * LANES  # coefficients that are handled at a time: [1, 1024, 32]


def shifted(parameters: ParameterSet, values: IntVector, within: slice) -> IntVector:
    """Shift the values of some coefficients of a segment: [slots, 1, 1024, 32].

    values: all values of the segment. within: the coefficients that are wanted, up to `PIECE`.
    Padding stands for the value zero. Raises ValueError when a value is beyond `value_max`: shifted
    ones are at least 1.
    """
    coefficients = GROUP * -(-len(values) // (parameters.slots * GROUP))
    size = within.stop - within.start
    lifted = np.empty((parameters.slots, PIECE), dtype=np.int64)
    for slot, row in enumerate(lifted):
        start = slot * coefficients + within.start
        given = values[start : start + size]
        np.add(given, parameters.offset, out=row[: len(given)])
        row[len(given) :] = parameters.offset
    if int(lifted.min()) < 1 or int(lifted.max()) > parameters.slot_value_max:
        raise ValueError(
            f"values must be signed integers of {parameters.value_bits} bits, and not the least one"
        )
    return lifted.reshape(parameters.slots, 1, GROUP, LANES)


@lru_cache(maxsize=64)
def factors(parameters: ParameterSet) -> tuple[NDArray[np.int64], ...]:
    """For each prime what shifted values are multiplied by to give Δ·m: Δ·2^(slot_bits·j), [slots].

    The products of all slots stay below 2^62 together: values below 2^32 leave room for three slots
    in 108 bits, shorter ones for more in proportion.
    """
    places = [parameters.shift + parameters.slot_bits * slot for slot in range(parameters.slots)]
    return tuple(
        np.array([pow(2, place, prime) for place in places]) for prime in parameters.primes
    )


def decode(parameters: ParameterSet, residues: IntVector, count: int, out: IntVector) -> None:
    """Write the sums in the slots of unmasked coefficients: [slots, coefficients].

    residues: [primes, at least as many as out], integers below 2^35 in absolute value. count:
    contributions that were added. out: [slots, coefficients]. Raises DecodingError when these
    are no sum of that many: key and masks do not belong together, or somebody masked what is no
    value. Each value is at least 1 when it is shifted, so a slot below `count` is no sum either;
    whoever makes a model of it would refuse it, with nothing in the record that says so.
    """
    half = 1 << (parameters.shift - 1)
    low, high = compose(residues, *_radix_weights(parameters.primes), half)
    most = count * parameters.slot_value_max
    used = parameters.shift + parameters.slot_bits * parameters.slots
    within = not _any_beyond(low, high, used)
    less = count * parameters.offset
    for slot, row in enumerate(out):
        shift = parameters.shift + parameters.slot_bits * slot
        largest = extract(low, high, LIMB_BITS, shift, parameters.slot_bits, less, row)
        within = within and largest <= most and int(row.min()) >= count - less
    if not within:
        raise DecodingError("A masked sum decodes to garbage: its keys are not those of its masks.")


def decode_signed(
    parameters: ParameterSet, residues: IntVector, count: int, reach: int, out: IntVector
) -> None:
    """Write the sums of one prime's unmasked coefficients, each a signed value, centred modulo p.

    Whoever contributes may exceed value_max where only norms are verified; what stays below p/2 are
    sums. residues, count: as `decode` takes them, of the one prime. reach: the largest sum
    Δ·Σm + Σe in absolute value. out: [coefficients]. Raises DecodingError beyond it.
    """
    [prime], shift = parameters.primes, parameters.shift
    lifted = residues[: len(out)] - ((count * parameters.offset) << shift)
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
def _radix_weights(primes: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What digits and residues are multiplied by to give digits [primes, primes], and the primes.

    d_i = (r_i - d_0 - p_0·d_1 - p_0·p_1·d_2 - ...) / (p_0 ··· p_(i-1)) modulo p_i: the weights of
    d_0, ..., d_(i-1), then that of r_i.
    """
    weights = np.zeros((len(primes), len(primes)), dtype=np.int64)
    for at, prime in enumerate(primes):
        places = [prod(primes[:below]) for below in range(at + 1)]
        scale = pow(places.pop(), -1, prime)
        weights[at, : at + 1] = [*(-place * scale % prime for place in places), scale]
    return weights, np.array(primes, dtype=np.int64)


def _any_beyond(low: _Unsigned, high: _Unsigned, bits: int) -> bool:
    """Tell whether a number does not fit into so many bits."""
    if bits < LIMB_BITS:
        return int(low.max()) >> bits > 0 or bool(high.any())
    return len(high) > 0 and int(high.max()) >> (bits - LIMB_BITS) > 0
