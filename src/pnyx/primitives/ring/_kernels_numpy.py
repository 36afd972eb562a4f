"""The inner loops of ring arithmetic in plain numpy: the fallback, 20 times slower in transforms.

One block at a time, so that temporaries stay in the cache. Values are uint64 and fully reduced
after every step; min(x, x - p) reduces x < 2p, because x - p wraps around to a huge number where
x < p.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pnyx.primitives.ring._kernels import LANES, LIMB_BITS, WORD_BITS, Block, Words

_Wide = NDArray[np.uint64]

_SHIFT = np.uint64(WORD_BITS)
_LOW = np.uint64((1 << WORD_BITS) - 1)
_HALF, _LIMB = np.uint64(LIMB_BITS // 2), np.uint64(LIMB_BITS)
_HALF_MASK = np.uint64((1 << LIMB_BITS // 2) - 1)
_LIMB_MASK = np.uint64((1 << LIMB_BITS) - 1)
_CHUNK = 1 << 15  # values: what fits the cache beside its temporaries


def forward(blocks: Block, roots: Words, shoup: Words, modulus: int) -> None:
    """See `Kernels.forward`."""
    for block in blocks:
        block[:] = _forward(block.astype(np.uint64), roots, shoup, modulus)


def forward_one(values: Words, roots: Words, shoup: Words, modulus: int) -> None:
    """See `Kernels.forward_one`."""
    lanes = np.repeat(values.astype(np.uint64)[:, np.newaxis], LANES, axis=1)
    values[:] = _forward(lanes, roots, shoup, modulus)[:, 0]


def inverse(
    blocks: Block, roots: Words, shoup: Words, modulus: int, scale: int, scale_shoup: int
) -> None:
    """See `Kernels.inverse`."""
    for block in blocks:
        values = _inverse(block.astype(np.uint64), roots, shoup, modulus)
        block[:] = _times(values, np.uint32(scale), np.uint32(scale_shoup), modulus)


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
    for block, masked in zip(public, out, strict=True):
        product = _times(block, key[:, np.newaxis], key_shoup[:, np.newaxis], modulus)
        masked[:] = _inverse(product, roots, shoup, modulus)


def multiply(a: Words, b: Words, modulus: int, out: Words) -> None:
    """See `Kernels.multiply`."""
    for part in _chunks(len(a)):
        out[part] = a[part].astype(np.uint64) * b[part] % np.uint64(modulus)


def add_into(total: Words, block: Words, modulus: int) -> None:
    """See `Kernels.add_into`."""
    for part in _chunks(len(total)):
        sums = total[part]
        sums += block[part]
        np.minimum(sums, sums - np.uint32(modulus), out=sums)


def add_signed_into(total: Words, values: NDArray[np.int64], factor: int, modulus: int) -> None:
    """See `Kernels.add_signed_into`."""
    for part in _chunks(len(total)):
        sums = values[part] * factor + total[part]
        total[part] = sums - sums // modulus * modulus


def add_combination_into(
    total: Words, values: NDArray[np.int64], factors: NDArray[np.int64], modulus: int
) -> None:
    """See `Kernels.add_combination_into`."""
    for part in _chunks(len(total)):
        sums = values[0, part] * factors[0]
        for row, factor in zip(values[1:, part], factors[1:], strict=True):
            sums += row * factor
        rest = sums - sums // modulus * modulus + total[part]
        total[part] = np.minimum(rest.view(np.uint64), (rest - modulus).view(np.uint64))


def add_errors_into(total: Words, errors: NDArray[np.int8], modulus: int) -> None:
    """See `Kernels.add_errors_into`."""
    add_signed_into(total, errors.astype(np.int64), 1, modulus)


def subtract(a: Words, b: Words, modulus: int, out: Words) -> None:
    """See `Kernels.subtract`."""
    for part in _chunks(len(a)):
        difference = a[part] - b[part]
        np.minimum(difference, difference + np.uint32(modulus), out=out[part])


def pack(rows: Block, bits: int, words: Block) -> int:
    """See `Kernels.pack`."""
    words[:] = 0
    for row in range(WORD_BITS):
        word, shift = divmod(bits * row, WORD_BITS)
        values = rows[:, row]
        words[:, word] |= values << np.uint32(shift)
        if shift + bits > WORD_BITS:
            words[:, word + 1] |= values >> np.uint32(WORD_BITS - shift)
    return int(rows.max(initial=0))


def unpack(words: Block, bits: int, rows: Block) -> int:
    """See `Kernels.unpack`."""
    low = np.uint32((1 << bits) - 1)
    for row in range(WORD_BITS):
        word, shift = divmod(bits * row, WORD_BITS)
        values = words[:, word] >> np.uint32(shift)
        if shift + bits > WORD_BITS:
            values |= words[:, word + 1] << np.uint32(WORD_BITS - shift)
        np.bitwise_and(values, low, out=rows[:, row])
    return int(rows.max(initial=0))


def accept(words: Words, mask: int, modulus: int, out: Words) -> int:
    """See `Kernels.accept`."""
    cut = words & np.uint32(mask)
    accepted = cut[cut < modulus]
    out[: len(accepted)] = accepted
    return len(accepted)


def extract(
    low: _Wide,
    high: _Wide,
    limb_bits: int,
    shift: int,
    bits: int,
    less: int,
    out: NDArray[np.int64],
) -> int:
    """See `Kernels.extract`."""
    low, high = low[: len(out)], high[: len(out)]
    if shift < limb_bits:
        found = low >> np.uint64(shift)
        if len(high):
            found |= high << np.uint64(limb_bits - shift)
    else:
        found = high >> np.uint64(shift - limb_bits) if len(high) else np.zeros_like(low)
    found &= np.uint64((1 << bits) - 1)
    np.subtract(found.view(np.int64), less, out=out)
    return int(found.max(initial=0))


def look_up(places: NDArray[np.uint16], table: NDArray[np.int8], out: NDArray[np.int8]) -> None:
    """See `Kernels.look_up`."""
    np.take(table, places, out=out)


def hash_into(
    residues: Block,
    key: Block,
    roots: Words,
    shoup: Words,
    modulus: int,
    sums: NDArray[np.uint64],
) -> None:
    """See `Kernels.hash_into`."""
    p = np.uint64(modulus)
    for block, factors in zip(residues, key, strict=True):
        products = _forward(block.astype(np.uint64), roots, shoup, modulus) * factors
        low, high = (products & _LOW).sum(axis=1), (products >> _SHIFT).sum(axis=1)
        sums += low + (high % p << _SHIFT)
        sums %= p


def compose(
    residues: NDArray[np.int64],
    weights: NDArray[np.int64],
    moduli: NDArray[np.int64],
    added: int,
    low: NDArray[np.uint64],
    high: NDArray[np.uint64],
) -> None:
    """See `Kernels.compose`."""
    for part in _chunks(len(low)):
        digits: list[NDArray[np.int64]] = []
        for row, (given, modulus) in enumerate(zip(residues, moduli, strict=True)):
            total = (given[part] + added) * weights[row, row]
            for digit, weight in zip(digits, weights[row], strict=False):
                total += digit * weight
            digits.append(total % modulus)
        pairs = [
            pair[0] + pair[1] * moduli[at] if len(pair) > 1 else pair[0]
            for at in range(0, len(digits), 2)
            if (pair := digits[at : at + 2])
        ]
        low[part] = pairs[0]
        if len(pairs) > 1:
            factor, above = np.uint64(moduli[0] * moduli[1]), pairs[1].astype(np.uint64)
            factor_low, factor_high = factor & _HALF_MASK, factor >> _HALF
            above_low, above_high = above & _HALF_MASK, above >> _HALF
            middle = above_high * factor_low + above_low * factor_high
            lower = low[part] + above_low * factor_low + ((middle & _HALF_MASK) << _HALF)
            high[part] = above_high * factor_high + (middle >> _HALF) + (lower >> _LIMB)
            low[part] = lower & _LIMB_MASK


def dot(values: Words, weights: Words, modulus: int) -> int:
    """See `Kernels.dot`."""
    low = high = 0
    for part in _chunks(len(values)):
        products = values[part].astype(np.uint64) * weights[part]
        low += int((products & _LOW).sum())
        high += int((products >> _SHIFT).sum())
    return (low + (high << WORD_BITS)) % modulus


def _forward(values: _Wide, roots: Words, shoup: Words, modulus: int) -> _Wide:
    p = np.uint64(modulus)
    parts, span = 1, len(values) // 2
    while span:
        pairs = values.reshape(parts, 2, span, LANES)
        left, right = pairs[:, 0], pairs[:, 1]
        window = slice(parts, 2 * parts)
        product = _times(right, _column(roots[window]), _column(shoup[window]), modulus)
        right[:] = _reduced(left + (p - product), p)
        left[:] = _reduced(left + product, p)
        parts, span = 2 * parts, span // 2
    return values


def _inverse(values: _Wide, roots: Words, shoup: Words, modulus: int) -> _Wide:
    """Undo `_forward` but for the factor n."""
    p = np.uint64(modulus)
    parts, span = len(values) // 2, 1
    while parts:
        pairs = values.reshape(parts, 2, span, LANES)
        left, right = pairs[:, 0], pairs[:, 1]
        difference = left + (p - right)
        left[:] = _reduced(left + right, p)
        window = slice(parts, 2 * parts)
        right[:] = _times(difference, _column(roots[window]), _column(shoup[window]), modulus)
        parts, span = parts // 2, 2 * span
    return values


def _chunks(count: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, count, _CHUNK))


def _column(table: Words) -> Words:
    return table[:, np.newaxis, np.newaxis]


def _times(
    values: NDArray[np.integer], factor: Words | np.uint32, shoup: Words | np.uint32, modulus: int
) -> _Wide:
    """Shoup multiplication: values below 2^32, results below p."""
    p = np.uint64(modulus)
    wide = values.astype(np.uint64, copy=False)
    quotient = wide * shoup
    quotient >>= _SHIFT
    quotient *= p
    return _reduced(wide * factor - quotient, p)


def _reduced(values: _Wide, p: np.uint64) -> _Wide:
    return np.asarray(np.minimum(values, values - p))
