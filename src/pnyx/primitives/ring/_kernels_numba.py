"""The inner loops of ring arithmetic, compiled by numba: one thread, no fast-math.

Importing this module compiles, or takes from numba's cache (beside this file, or in the user's
cache folder) what an earlier process compiled: 0.1 s instead of several. Where neither folder can
be written, or the cache is damaged, the loops are compiled in memory. All types are stated, so
nothing is compiled later, in a process that may have been confined since.

Words are uint32 and wrap around; numba computes with 64 bits unless told otherwise, hence the many
casts. min(x, x - p) reduces x < 2p, because x - p wraps around to a huge number where x < p. Inside
a transform values stay below 4p, as in Harvey (2014), algorithms 2 and 3. The loops over lanes have
a constant number of steps and no branch, so that LLVM turns them into vector instructions.

Compiled code cannot be traced for coverage; every function is compared with numpy's in tests.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba import float64, int64, types, uint32, uint64
from numpy.typing import NDArray

from pnyx.primitives.ring._kernels import LANES, WORD_BITS, Block, Words

if getattr(numba.config, "DISABLE_JIT", False):
    raise ImportError("numba is told by its settings not to compile")

_Function = TypeVar("_Function", bound=Callable[..., Any])

_LOW = 0xFFFFFFFF


def _array(item: Any, dimensions: int, *, readonly: bool = True) -> Any:
    return types.Array(item, dimensions, "C", readonly=readonly)


_READ_1, _WRITE_1 = _array(uint32, 1), _array(uint32, 1, readonly=False)
_READ_3, _WRITE_3 = _array(uint32, 3), _array(uint32, 3, readonly=False)
_WRITE_2 = _array(uint32, 2, readonly=False)
_WIDE = _array(uint64, 1, readonly=False)


def _compiled(result: Any, *arguments: Any) -> Callable[[_Function], _Function]:
    """Compile for these types, through the cache where there is one."""

    def decorate(function: _Function) -> _Function:
        signature = result(*arguments)
        try:
            kernel = numba.njit(signature, cache=True)(function)
        except (OSError, RuntimeError, EOFError, ValueError):
            kernel = numba.njit(signature)(function)
        return cast(_Function, kernel)

    return decorate


@_compiled(uint32, uint32, uint32, uint32, uint32)
def _times(value: Any, factor: Any, shoup: Any, p: Any) -> Any:  # pragma: no cover
    """Shoup multiplication: the result is below 2p."""
    quotient = uint32((uint64(value) * uint64(shoup)) >> uint64(WORD_BITS))
    return uint32(uint32(value * factor) - uint32(quotient * p))


@_compiled(types.void, _WRITE_2, _READ_1, _READ_1, uint32)
def _forward(values: Any, roots: Any, shoup: Any, p: Any) -> None:  # pragma: no cover
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


@_compiled(types.void, _WRITE_2, _READ_1, _READ_1, uint32)
def _inverse(values: Any, roots: Any, shoup: Any, p: Any) -> None:  # pragma: no cover
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


@_compiled(types.void, _WRITE_3, _READ_1, _READ_1, uint32)
def forward(blocks: Block, roots: Words, shoup: Words, modulus: int) -> None:  # pragma: no cover
    """See `Kernels.forward`."""
    p = uint32(modulus)
    twice = uint32(p + p)
    for index in range(len(blocks)):
        values = blocks[index]
        _forward(values, roots, shoup, p)
        for row in range(len(values)):
            for lane in range(LANES):
                value = values[row, lane]
                value = min(value, uint32(value - twice))
                values[row, lane] = min(value, uint32(value - p))


@_compiled(types.void, _WRITE_3, _READ_1, _READ_1, uint32, uint32, uint32)
def inverse(
    blocks: Block, roots: Words, shoup: Words, modulus: int, scale: int, scale_shoup: int
) -> None:  # pragma: no cover
    """See `Kernels.inverse`."""
    p = uint32(modulus)
    for index in range(len(blocks)):
        values = blocks[index]
        _inverse(values, roots, shoup, p)
        for row in range(len(values)):
            for lane in range(LANES):
                value = _times(values[row, lane], scale, scale_shoup, p)
                values[row, lane] = min(value, uint32(value - p))


@_compiled(types.void, _READ_3, _READ_1, _READ_1, _READ_1, _READ_1, uint32, _WRITE_3)
def mask(
    public: Block,
    key: Words,
    key_shoup: Words,
    roots: Words,
    shoup: Words,
    modulus: int,
    out: Block,
) -> None:  # pragma: no cover
    """See `Kernels.mask`."""
    p = uint32(modulus)
    for index in range(len(public)):
        block, values = public[index], out[index]
        for row in range(len(values)):
            factor, quotient = key[row], key_shoup[row]
            for lane in range(LANES):
                values[row, lane] = _times(block[row, lane], factor, quotient, p)
        _inverse(values, roots, shoup, p)
        for row in range(len(values)):
            for lane in range(LANES):
                value = values[row, lane]
                values[row, lane] = min(value, uint32(value - p))


@_compiled(types.void, _READ_1, _READ_1, uint32, _WRITE_1)
def multiply(a: Words, b: Words, modulus: int, out: Words) -> None:  # pragma: no cover
    """See `Kernels.multiply`.

    The quotient in floating point is off by at most one, as is easily corrected.
    """
    reciprocal = 1.0 / float64(modulus)
    p = int64(modulus)
    for i in range(len(a)):
        quotient = int64(float64(a[i]) * float64(b[i]) * reciprocal)
        rest = int64(a[i]) * int64(b[i]) - quotient * p
        rest += p if rest < 0 else 0
        rest -= p if rest >= p else 0
        out[i] = uint32(rest)


@_compiled(types.void, _WRITE_1, _READ_1, uint32)
def add_into(total: Words, block: Words, modulus: int) -> None:  # pragma: no cover
    """See `Kernels.add_into`."""
    p = uint32(modulus)
    for i in range(len(total)):
        value = uint32(total[i] + block[i])
        total[i] = min(value, uint32(value - p))


@_compiled(types.void, _WRITE_1, _array(int64, 1), int64, uint32)
def add_signed_into(
    total: Words, values: NDArray[np.int64], factor: int, modulus: int
) -> None:  # pragma: no cover
    """See `Kernels.add_signed_into`.

    The quotient is below 2^36, so its relative error of 2^-51 in floating point moves its floor by
    one at most.
    """
    reciprocal = 1.0 / float64(modulus)
    p = int64(modulus)
    for i in range(len(total)):
        value = values[i] * factor
        quotient = int64(np.floor(float64(value) * reciprocal))
        rest = value - quotient * p + int64(total[i])
        rest += p if rest < 0 else 0
        rest -= p if rest >= p else 0
        rest -= p if rest >= p else 0
        total[i] = uint32(rest)


@_compiled(types.void, _WRITE_1, _array(types.int8, 1), uint32)
def add_errors_into(
    total: Words, errors: NDArray[np.int8], modulus: int
) -> None:  # pragma: no cover
    """See `Kernels.add_errors_into`."""
    p = uint32(modulus)
    for i in range(len(total)):
        value = uint32(uint32(total[i] + p) + uint32(errors[i]))
        value = min(value, uint32(value - p))
        total[i] = min(value, uint32(value - p))


@_compiled(types.void, _READ_1, _READ_1, uint32, _WRITE_1)
def subtract(a: Words, b: Words, modulus: int, out: Words) -> None:  # pragma: no cover
    """See `Kernels.subtract`."""
    p = uint32(modulus)
    for i in range(len(out)):
        value = uint32(a[i] - b[i])
        out[i] = min(value, uint32(value + p))


@_compiled(types.void, _READ_3, int64, _WRITE_3)
def pack(rows: Block, bits: int, words: Words) -> None:  # pragma: no cover
    """See `Kernels.pack`."""
    for group in range(len(rows)):
        values, packed = rows[group], words[group]
        for row in range(WORD_BITS):
            word, shift = (bits * row) // WORD_BITS, uint32((bits * row) % WORD_BITS)
            if shift == 0:
                for lane in range(LANES):
                    packed[word, lane] = values[row, lane]
            else:
                for lane in range(LANES):
                    packed[word, lane] |= uint32(values[row, lane] << shift)
            if shift + bits > WORD_BITS:
                for lane in range(LANES):
                    packed[word + 1, lane] = values[row, lane] >> uint32(WORD_BITS - shift)


@_compiled(uint32, _READ_3, int64, _WRITE_3)
def unpack(words: Words, bits: int, rows: Block) -> int:  # pragma: no cover
    """See `Kernels.unpack`."""
    low = uint32((1 << bits) - 1)
    largest = uint32(0)
    for group in range(len(rows)):
        values, packed = rows[group], words[group]
        for row in range(WORD_BITS):
            word, shift = (bits * row) // WORD_BITS, uint32((bits * row) % WORD_BITS)
            if shift + bits > WORD_BITS:
                rest = uint32(WORD_BITS - shift)
                for lane in range(LANES):
                    value = packed[word, lane] >> shift
                    value |= uint32(packed[word + 1, lane] << rest)
                    values[row, lane] = value & low
            else:
                for lane in range(LANES):
                    values[row, lane] = (packed[word, lane] >> shift) & low
            for lane in range(LANES):
                largest = max(largest, values[row, lane])
    return int(largest)


@_compiled(int64, _READ_1, int64, int64, uint32, uint32, _WRITE_1, int64)
def _accept_some(
    words: Any, start: Any, stop: Any, mask: Any, modulus: Any, out: Any, filled: Any
) -> Any:  # pragma: no cover
    for i in range(start, stop):
        word = words[i] & mask
        if word < modulus:
            out[filled] = word
            filled += 1
    return filled


@_compiled(int64, _READ_1, uint32, uint32, _WRITE_1)
def accept(words: Words, mask: int, modulus: int, out: Words) -> int:  # pragma: no cover
    """See `Kernels.accept`. Nearly all words pass, so 32 at a time are tried first."""
    filled = 0
    whole = len(words) - len(words) % LANES
    for start in range(0, whole, LANES):
        largest = uint32(0)
        for lane in range(LANES):
            word = words[start + lane] & mask
            out[filled + lane] = word
            largest = max(largest, word)
        if largest < modulus:
            filled += LANES
        else:
            filled = _accept_some(words, start, start + LANES, mask, modulus, out, filled)
    return _accept_some(words, whole, len(words), mask, modulus, out, filled)


@_compiled(types.void, _READ_3, _READ_3, _READ_1, _READ_1, uint32, _WIDE)
def hash_into(
    residues: Block, key: Block, roots: Words, shoup: Words, modulus: int, sums: NDArray[np.uint64]
) -> None:  # pragma: no cover
    """See `Kernels.hash_into`.

    Transforms stay below 4p < 2^32 and keys below 2^30: four products fit 64 bits.
    """
    p = uint64(modulus)
    quarter = LANES // 4
    low, high = np.zeros(len(sums), dtype=np.uint64), np.zeros(len(sums), dtype=np.uint64)
    values = np.empty((len(sums), LANES), dtype=np.uint32)
    for index in range(len(residues)):
        values[:] = residues[index]
        _forward(values, roots, shoup, modulus)
        for row in range(len(sums)):
            factors, lanes = key[index, row], values[row]
            lower, upper = uint64(0), uint64(0)
            for lane in range(quarter):
                four = uint64(0)
                for part in range(4):
                    place = part * quarter + lane
                    four += uint64(factors[place]) * uint64(lanes[place])
                lower += four & uint64(_LOW)
                upper += four >> uint64(WORD_BITS)
            low[row] += lower
            high[row] += upper
    for row in range(len(sums)):
        folded = low[row] % p + ((high[row] % p) << uint64(WORD_BITS)) + sums[row]
        sums[row] = folded % p


@_compiled(
    types.void,
    _array(types.uint16, 1),
    _array(types.int8, 1),
    _array(types.int8, 1, readonly=False),
)
def look_up(
    places: NDArray[np.uint16], table: NDArray[np.int8], out: NDArray[np.int8]
) -> None:  # pragma: no cover
    """See `Kernels.look_up`."""
    for i in range(len(out)):
        out[i] = table[places[i]]
