"""The inner loops of ring arithmetic, compiled by numba: one thread, no fast-math.

Importing this module compiles, or takes from numba's cache (beside this file, or in the user's
cache folder) what an earlier process compiled: half a second instead of seven. See
`primitives.compiled`.

Words are uint32 and wrap around; numba computes with 64 bits unless told otherwise, hence the many
casts. min(x, x - p) reduces x < 2p, because x - p wraps around to a huge number where x < p. Inside
a transform values stay below 4p, as in Harvey (2014), algorithms 2 and 3.

The loops over lanes have no branch, so that LLVM turns them into vector instructions. The two
butterflies are told the number of lanes; shorter loops must read it from the array, for LLVM would
unroll them before it looks for vectors, and then finds none (measured: 5 times slower).

Compiled code cannot be traced for coverage; every function is compared with numpy's in tests.
"""

from typing import Any, cast

import numpy as np
from numba import int64, types, uint32, uint64
from numpy.typing import NDArray

from pnyx.primitives.compiled import array, compiled
from pnyx.primitives.ring._kernels import LANES, LIMB_BITS, ROWS_MAX, WORD_BITS, Block, Words

_LOW = 0xFFFFFFFF
_TRIED = 128
_SIGNED_MAX = 1 << 62
_STRIP = 512
_HALF_LIMB = LIMB_BITS // 2


_READ_1, _WRITE_1 = array(uint32, 1), array(uint32, 1, readonly=False)
_READ_3, _WRITE_3 = array(uint32, 3), array(uint32, 3, readonly=False)
_READ_2, _WRITE_2 = array(uint32, 2), array(uint32, 2, readonly=False)
_WIDE = array(uint64, 1, readonly=False)
_THREE = cast(Any, types.UniTuple)(uint32, 3)


@compiled(uint32, uint32, uint32, uint32, uint32)
def _times(value: Any, factor: Any, shoup: Any, p: Any) -> Any:
    """Shoup multiplication: the result is below 2p."""
    quotient = uint32((uint64(value) * uint64(shoup)) >> uint64(WORD_BITS))
    return uint32(uint32(value * factor) - uint32(quotient * p))


@compiled(types.void, _WRITE_2, _READ_1, _READ_1, uint32)
def _forward(values: Any, roots: Any, shoup: Any, p: Any) -> None:
    """Transform [n, LANES] from values below p to values below 4p."""
    twice = uint32(p + p)
    parts, span = 1, len(values) // 2
    while span > 0:
        for part in range(parts):
            root, quotient = roots[parts + part], shoup[parts + part]
            first = 2 * part * span
            for row in range(first, first + span):
                for lane in range(LANES):
                    left = values[row, lane]
                    left = min(left, uint32(left - twice))
                    right = _times(values[row + span, lane], root, quotient, p)
                    values[row, lane] = uint32(left + right)
                    values[row + span, lane] = uint32(uint32(left + twice) - right)
        parts, span = 2 * parts, span // 2


@compiled(types.void, _WRITE_2, _READ_1, _READ_1, uint32)
def _inverse(values: Any, roots: Any, shoup: Any, p: Any) -> None:
    """Undo `_forward` but for the factor n, from and to values below 2p."""
    twice = uint32(p + p)
    parts, span = len(values) // 2, 1
    while parts > 0:
        for part in range(parts):
            root, quotient = roots[parts + part], shoup[parts + part]
            first = 2 * part * span
            for row in range(first, first + span):
                for lane in range(LANES):
                    left, right = values[row, lane], values[row + span, lane]
                    total = uint32(left + right)
                    values[row, lane] = min(total, uint32(total - twice))
                    difference = uint32(uint32(left + twice) - right)
                    values[row + span, lane] = _times(difference, root, quotient, p)
        parts, span = parts // 2, 2 * span


@compiled(types.void, _WRITE_3, _READ_1, _READ_1, uint32)
def forward(blocks: Block, roots: Words, shoup: Words, modulus: int) -> None:
    """See `Kernels.forward`."""
    p = uint32(modulus)
    twice = uint32(p + p)
    for index in range(len(blocks)):
        values = blocks[index]
        _forward(values, roots, shoup, p)
        for row in range(len(values)):
            for lane in range(values.shape[1]):
                value = values[row, lane]
                value = min(value, uint32(value - twice))
                values[row, lane] = min(value, uint32(value - p))


@compiled(types.void, _WRITE_1, _READ_1, _READ_1, uint32)
def forward_one(values: Words, roots: Words, shoup: Words, modulus: int) -> None:
    """See `Kernels.forward_one`. A key is alone: in a block 31 lanes of 32 would be for nothing."""
    p = uint32(modulus)
    twice = uint32(p + p)
    parts, span = 1, len(values) // 2
    while span > 0:
        for part in range(parts):
            root, quotient = roots[parts + part], shoup[parts + part]
            first = 2 * part * span
            for row in range(first, first + span):
                left = values[row]
                left = min(left, uint32(left - twice))
                right = _times(values[row + span], root, quotient, p)
                values[row] = uint32(left + right)
                values[row + span] = uint32(uint32(left + twice) - right)
        parts, span = 2 * parts, span // 2
    for row in range(len(values)):
        value = min(values[row], uint32(values[row] - twice))
        values[row] = min(value, uint32(value - p))


@compiled(types.void, _WRITE_3, _READ_1, _READ_1, uint32, uint32, uint32)
def inverse(
    blocks: Block, roots: Words, shoup: Words, modulus: int, scale: int, scale_shoup: int
) -> None:
    """See `Kernels.inverse`."""
    p = uint32(modulus)
    for index in range(len(blocks)):
        values = blocks[index]
        _inverse(values, roots, shoup, p)
        for row in range(len(values)):
            for lane in range(values.shape[1]):
                value = _times(values[row, lane], scale, scale_shoup, p)
                values[row, lane] = min(value, uint32(value - p))


@compiled(types.void, _READ_3, _READ_1, _READ_1, _READ_1, _READ_1, uint32, _WRITE_3)
def mask(
    public: Block,
    key: Words,
    key_shoup: Words,
    roots: Words,
    shoup: Words,
    modulus: int,
    out: Block,
) -> None:
    """See `Kernels.mask`."""
    p = uint32(modulus)
    for index in range(len(public)):
        block, values = public[index], out[index]
        for row in range(len(values)):
            factor, quotient = key[row], key_shoup[row]
            for lane in range(values.shape[1]):
                values[row, lane] = _times(block[row, lane], factor, quotient, p)
        _inverse(values, roots, shoup, p)
        for row in range(len(values)):
            for lane in range(values.shape[1]):
                value = values[row, lane]
                values[row, lane] = min(value, uint32(value - p))


@compiled(uint32, uint64, uint32, uint32, uint32, uint32)
def _reduced(value: Any, one: Any, upper: Any, upper_shoup: Any, p: Any) -> Any:
    """Reduce 64 bits, half by half; one and upper_shoup are w' of 1 and of upper = 2^32 mod p."""
    low, high = uint32(value), uint32(value >> uint64(WORD_BITS))
    twice = uint32(p + p)
    rest = uint32(_times(low, uint32(1), one, p) + _times(high, upper, upper_shoup, p))
    rest = min(rest, uint32(rest - twice))
    return min(rest, uint32(rest - p))


@compiled(_THREE, uint32)
def _halves(modulus: Any) -> Any:
    """Return what `_reduced` needs of a modulus."""
    wide, word = uint64(modulus), uint64(1) << uint64(WORD_BITS)
    upper = word % wide
    return uint32(word // wide), uint32(upper), uint32((upper << uint64(WORD_BITS)) // wide)


@compiled(types.void, _READ_1, _READ_1, uint32, _WRITE_1)
def multiply(a: Words, b: Words, modulus: int, out: Words) -> None:
    """See `Kernels.multiply`."""
    p = uint32(modulus)
    one, upper, upper_shoup = _halves(p)
    for i in range(len(out)):
        out[i] = _reduced(uint64(a[i]) * uint64(b[i]), one, upper, upper_shoup, p)


@compiled(types.void, _WRITE_1, _READ_1, uint32)
def add_into(total: Words, block: Words, modulus: int) -> None:
    """See `Kernels.add_into`."""
    p = uint32(modulus)
    for i in range(len(total)):
        value = uint32(total[i] + block[i])
        total[i] = min(value, uint32(value - p))


@compiled(types.void, _WRITE_1, array(int64, 1), int64, uint32)
def add_signed_into(total: Words, values: NDArray[np.int64], factor: int, modulus: int) -> None:
    """See `Kernels.add_signed_into`. A multiple of p makes the integers positive."""
    p = uint32(modulus)
    one, upper, upper_shoup = _halves(p)
    offset = (uint64(_SIGNED_MAX) // uint64(p) + uint64(1)) * uint64(p)
    for i in range(len(total)):
        value = uint64(values[i] * factor) + offset
        rest = uint32(_reduced(value, one, upper, upper_shoup, p) + total[i])
        total[i] = min(rest, uint32(rest - p))


@compiled(types.void, _WRITE_1, array(int64, 2), array(int64, 1), uint32)
def add_combination_into(
    total: Words, values: NDArray[np.int64], factors: NDArray[np.int64], modulus: int
) -> None:
    """See `Kernels.add_combination_into`. A strip of sums stays in the cache until all are in."""
    p = uint32(modulus)
    one, upper, upper_shoup = _halves(p)
    offset = (uint64(_SIGNED_MAX) // uint64(p) + uint64(1)) * uint64(p)
    sums = np.empty(_STRIP, dtype=np.uint64)
    for start in range(0, len(total), _STRIP):
        part = total[start : start + _STRIP]
        for i in range(len(part)):
            sums[i] = offset
        for row in range(len(factors)):
            factor, added = factors[row], values[row, start : start + _STRIP]
            for i in range(len(part)):
                sums[i] += uint64(added[i] * factor)
        for i in range(len(part)):
            rest = uint32(_reduced(sums[i], one, upper, upper_shoup, p) + part[i])
            part[i] = min(rest, uint32(rest - p))


@compiled(types.void, _WRITE_1, array(types.int8, 1), uint32)
def add_errors_into(total: Words, errors: NDArray[np.int8], modulus: int) -> None:
    """See `Kernels.add_errors_into`."""
    p = uint32(modulus)
    for i in range(len(total)):
        value = uint32(uint32(total[i] + p) + uint32(errors[i]))
        value = min(value, uint32(value - p))
        total[i] = min(value, uint32(value - p))


@compiled(types.void, _READ_1, _READ_1, uint32, _WRITE_1)
def subtract(a: Words, b: Words, modulus: int, out: Words) -> None:
    """See `Kernels.subtract`."""
    p = uint32(modulus)
    for i in range(len(out)):
        value = uint32(a[i] - b[i])
        out[i] = min(value, uint32(value + p))


@compiled(uint32, _READ_3, int64, _WRITE_3)
def pack(rows: Block, bits: int, words: Block) -> int:
    """See `Kernels.pack`."""
    largest = uint32(0)
    for group in range(len(rows)):
        values, packed = rows[group], words[group]
        for row in range(WORD_BITS):
            word, shift = (bits * row) // WORD_BITS, uint32((bits * row) % WORD_BITS)
            if shift == 0:
                packed[word, :] = 0
            if shift + bits > WORD_BITS:
                rest = uint32(WORD_BITS - shift)
                for lane in range(values.shape[1]):
                    value = values[row, lane]
                    largest = max(largest, value)
                    packed[word, lane] |= uint32(value << shift)
                    packed[word + 1, lane] = value >> rest
            else:
                for lane in range(values.shape[1]):
                    value = values[row, lane]
                    largest = max(largest, value)
                    packed[word, lane] |= uint32(value << shift)
    return int(largest)


@compiled(uint32, _READ_3, int64, _WRITE_3)
def unpack(words: Block, bits: int, rows: Block) -> int:
    """See `Kernels.unpack`."""
    low = uint32((1 << bits) - 1)
    largest = uint32(0)
    for group in range(len(rows)):
        values, packed = rows[group], words[group]
        for row in range(WORD_BITS):
            word, shift = (bits * row) // WORD_BITS, uint32((bits * row) % WORD_BITS)
            if shift + bits > WORD_BITS:
                rest = uint32(WORD_BITS - shift)
                for lane in range(values.shape[1]):
                    value = packed[word, lane] >> shift | uint32(packed[word + 1, lane] << rest)
                    value = uint32(value & low)
                    largest = max(largest, value)
                    values[row, lane] = value
            else:
                for lane in range(values.shape[1]):
                    value = uint32((packed[word, lane] >> shift) & low)
                    largest = max(largest, value)
                    values[row, lane] = value
    return int(largest)


@compiled(int64, _READ_1, uint32, uint32, _WRITE_1)
def accept(words: Words, mask: int, modulus: int, out: Words) -> int:
    """See `Kernels.accept`. Nearly all words pass, so many at a time are tried first."""
    filled = 0
    for start in range(0, len(words), _TRIED):
        tried = words[start : start + _TRIED]
        room = out[filled : filled + len(tried)]
        largest = uint32(0)
        for i in range(len(tried)):
            word = tried[i] & mask
            room[i] = word
            largest = max(largest, word)
        if largest < modulus:
            filled += len(tried)
        else:
            for i in range(len(tried)):
                word = tried[i] & mask
                if word < modulus:
                    out[filled] = word
                    filled += 1
    return filled


@compiled(types.void, _READ_2, _READ_2, _WIDE, _WIDE)
def _add_products(values: Any, key: Any, low: Any, high: Any) -> None:
    """Add products over lanes, in halves: values below 2^32 times keys below 2^30."""
    half = values.shape[1] // 2
    for row in range(len(values)):
        factors, lanes = key[row], values[row]
        lower, upper = uint64(0), uint64(0)
        for lane in range(half):
            other = lane + half
            two = uint64(factors[lane]) * uint64(lanes[lane])
            two += uint64(factors[other]) * uint64(lanes[other])
            lower += two & uint64(_LOW)
            upper += two >> uint64(WORD_BITS)
        low[row] += lower
        high[row] += upper


@compiled(types.void, _READ_3, _READ_3, _READ_1, _READ_1, uint32, _WIDE)
def hash_into(
    residues: Block, key: Block, roots: Words, shoup: Words, modulus: int, sums: NDArray[np.uint64]
) -> None:
    """See `Kernels.hash_into`."""
    p = uint64(modulus)
    low, high = np.zeros(len(sums), dtype=np.uint64), np.zeros(len(sums), dtype=np.uint64)
    values = np.empty((len(sums), residues.shape[2]), dtype=np.uint32)
    for index in range(len(residues)):
        block = residues[index]
        for row in range(len(values)):
            for lane in range(values.shape[1]):
                values[row, lane] = block[row, lane]
        _forward(values, roots, shoup, modulus)
        _add_products(values, key[index], low, high)
    for row in range(len(sums)):
        folded = low[row] % p + ((high[row] % p) << uint64(WORD_BITS)) + sums[row]
        sums[row] = folded % p


@compiled(types.void, array(uint32, 2), array(int64, 1), _WIDE, _WIDE)
def _limbs(digits: Any, moduli: Any, low: Any, high: Any) -> None:
    """Write d_0 + p_0·(d_1 + p_1·(d_2 + p_2·d_3)) in limbs; products are of 27 bits by 27."""
    rows, half_mask = len(moduli), uint32((1 << _HALF_LIMB) - 1)
    if rows == 1:
        for i in range(len(low)):
            low[i] = uint64(digits[0, i])
        return
    first = uint32(moduli[0])
    for i in range(len(low)):
        low[i] = uint64(digits[0, i]) + uint64(digits[1, i]) * uint64(first)
    if rows == 2:
        return
    factor = uint64(moduli[0]) * uint64(moduli[1])
    factor_low = uint32(factor & uint64(half_mask))
    factor_high = uint32(factor >> uint64(_HALF_LIMB))
    third = uint32(moduli[2]) if rows == ROWS_MAX else uint32(0)
    last = digits[rows - 1]
    for i in range(len(low)):
        upper = uint64(digits[2, i]) + uint64(last[i]) * uint64(third)
        upper_low, upper_high = (
            uint32(upper & uint64(half_mask)),
            uint32(upper >> uint64(_HALF_LIMB)),
        )
        middle = uint64(upper_high) * uint64(factor_low)
        middle += uint64(upper_low) * uint64(factor_high)
        lower = low[i] + uint64(upper_low) * uint64(factor_low)
        lower += (middle & uint64(half_mask)) << uint64(_HALF_LIMB)
        found = uint64(upper_high) * uint64(factor_high) + (middle >> uint64(_HALF_LIMB))
        high[i] = found + (lower >> uint64(LIMB_BITS))
        low[i] = lower & uint64((1 << LIMB_BITS) - 1)


@compiled(types.void, array(int64, 2), array(int64, 2), array(int64, 1), int64, _WIDE, _WIDE)
def compose(
    residues: NDArray[np.int64],
    weights: NDArray[np.int64],
    moduli: NDArray[np.int64],
    added: int,
    low: NDArray[np.uint64],
    high: NDArray[np.uint64],
) -> None:
    """See `Kernels.compose`. Digits of a strip stay in the cache until its numbers are written."""
    digits = np.empty((len(moduli), _STRIP), dtype=np.uint32)
    sums = np.empty(_STRIP, dtype=np.uint64)
    for start in range(0, len(low), _STRIP):
        end = min(start + _STRIP, len(low))
        count = end - start
        for row in range(len(moduli)):
            p = uint32(moduli[row])
            one, upper, upper_shoup = _halves(p)
            offset = (uint64(_SIGNED_MAX) // uint64(p) + uint64(1)) * uint64(p)
            given, weight = residues[row, start:end], weights[row, row]
            for i in range(count):
                sums[i] = uint64((given[i] + added) * weight) + offset
            for before in range(row):
                factor, known = uint32(weights[row, before]), digits[before]
                for i in range(count):
                    sums[i] += uint64(known[i]) * uint64(factor)
            found = digits[row]
            for i in range(count):
                found[i] = _reduced(sums[i], one, upper, upper_shoup, p)
        _limbs(digits, moduli, low[start:end], high[start:end])


@compiled(uint64, _READ_1, _READ_1, uint32)
def dot(values: Words, weights: Words, modulus: int) -> int:
    """See `Kernels.dot`. The halves of products below 2^62 are added up apart."""
    low, high, p = uint64(0), uint64(0), uint64(modulus)
    for i in range(len(values)):
        product = uint64(values[i]) * uint64(weights[i])
        low += product & uint64(_LOW)
        high += product >> uint64(WORD_BITS)
    return int((low % p + ((high % p) << uint64(WORD_BITS))) % p)


@compiled(
    uint64,
    array(uint64, 1),
    array(uint64, 1),
    int64,
    int64,
    int64,
    int64,
    array(int64, 1, readonly=False),
)
def extract(
    low: NDArray[np.uint64],
    high: NDArray[np.uint64],
    limb_bits: int,
    shift: int,
    bits: int,
    less: int,
    out: NDArray[np.int64],
) -> int:
    """See `Kernels.extract`. A number of one limb has nothing above it."""
    kept = (uint64(1) << uint64(bits)) - uint64(1)
    down, up, beyond = uint64(shift), uint64(limb_bits - shift), uint64(shift - limb_bits)
    largest = uint64(0)
    if shift < limb_bits and len(high) > 0:
        for i in range(len(out)):
            found = (low[i] >> down | high[i] << up) & kept
            largest = max(largest, found)
            out[i] = int64(found) - less
    elif shift < limb_bits:
        for i in range(len(out)):
            found = (low[i] >> down) & kept
            largest = max(largest, found)
            out[i] = int64(found) - less
    elif len(high) > 0:
        for i in range(len(out)):
            found = (high[i] >> beyond) & kept
            largest = max(largest, found)
            out[i] = int64(found) - less
    else:
        out[:] = -less
    return int(largest)


@compiled(
    types.void,
    array(types.uint16, 1),
    array(types.int8, 1),
    array(types.int8, 1, readonly=False),
)
def look_up(places: NDArray[np.uint16], table: NDArray[np.int8], out: NDArray[np.int8]) -> None:
    """See `Kernels.look_up`."""
    for i in range(len(out)):
        out[i] = table[places[i]]
