"""Errors from a discrete Gaussian, exact to 128 bits.

The discrete Gaussian of parameter σ gives the integer k with probability proportional to
exp(-k²/(2σ²)). A table holds its cumulative probabilities, rounded to multiples of 2^-128, and a
draw of 128 uniform bits u falls on the number of entries that are at most u. Rounding moves
2·13σ entries by at most 2^-129 each, and what lies beyond 13σ has less than 2^-120: the statistical
distance to the exact distribution is below 2^-80 by far, also over 2^30 draws.

The upper 16 bits of u, its head, nearly always decide: one look-up in a table of 2^16 bytes. Where
a cumulative probability has the same head, the lower 112 bits are drawn too and compared with the
long table. So the result is that of the long table, always; how often this happens depends on the
values drawn, hence the running time does too, a little.

Heads are 2-byte little-endian words of the sampler "<domain>/heads", tails 14-byte ones of the
sampler "<domain>/tails", drawn in the order of the values that need them.
"""

from bisect import bisect_right
from decimal import Context, Decimal
from functools import lru_cache
from math import ceil, prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pnyx.primitives.ring import _choice
from pnyx.primitives.sampling import Sampler

SIGMA_MIN = 0.3  # below, nearly every error is zero
SIGMA_MAX = 9.0  # 13.5 of them still fit an int8

_BITS = 128
_HEAD_BITS = 16
_HEAD_BYTES, _TAIL_BYTES = 2, 14
_TAIL_SIGMAS = 13.5  # exp(-13.5²/2) < 2^-131
_DIGITS = 80
_UNDECIDED = -128
_CHUNK = 1 << 16  # draws at a time: bytes and table stay in the cache


class _Table(NamedTuple):
    largest: int  # values lie in [-largest, largest]
    cumulative: tuple[int, ...]  # P(X <= k)·2^128 for k = -largest, ..., largest - 1
    heads: NDArray[np.int8]  # value by head, or _UNDECIDED


def gaussian_errors(
    seed32: bytes, sigma: float, shape: int | tuple[int, ...], domain: str
) -> NDArray[np.int8]:
    """Draw an array of independent errors; the seed is secret, and serves once per domain."""
    if not SIGMA_MIN <= sigma <= SIGMA_MAX:
        raise ValueError(f"sigma must lie between {SIGMA_MIN} and {SIGMA_MAX}")
    table = _table(sigma)
    heads, tails = Sampler(seed32, f"{domain}/heads"), Sampler(seed32, f"{domain}/tails")
    errors = np.empty(prod(shape) if isinstance(shape, tuple) else shape, dtype=np.int8)
    for start in range(0, len(errors), _CHUNK):
        chunk = errors[start : start + _CHUNK]
        words = np.frombuffer(heads.bytes(_HEAD_BYTES * len(chunk)), dtype="<u2")
        _choice.kernels().look_up(words.astype(np.uint16, copy=False), table.heads, chunk)
        places = np.flatnonzero(chunk == _UNDECIDED)
        drawn = tails.bytes(_TAIL_BYTES * len(places))
        chunk[places] = _look_up(table, words[places].tolist(), drawn)
    return errors.reshape(shape)


def _look_up(table: _Table, heads: list[int], tails: bytes) -> list[int]:
    """Return the values of whole draws: how many entries are at most the draw."""
    values = []
    for index, head in enumerate(heads):
        tail = int.from_bytes(tails[_TAIL_BYTES * index : _TAIL_BYTES * (index + 1)], "little")
        draw = head << (_BITS - _HEAD_BITS) | tail
        values.append(bisect_right(table.cumulative, draw) - table.largest)
    return values


@lru_cache(maxsize=8)
def _table(sigma: float) -> _Table:
    largest = ceil(_TAIL_SIGMAS * sigma)
    cumulative = _cumulative(Decimal(sigma), largest)
    shift = _BITS - _HEAD_BITS
    heads = np.empty((1 << _HEAD_BITS) + 1, dtype=np.int8)  # the last, for entries of 1, is unread
    start = 0
    for offset, entry in enumerate(cumulative):
        boundary = entry >> shift
        heads[start:boundary] = offset - largest
        heads[boundary] = _UNDECIDED
        start = max(start, boundary + 1)
    heads[start:] = largest
    heads.flags.writeable = False
    return _Table(largest, cumulative, heads)


def _cumulative(sigma: Decimal, largest: int) -> tuple[int, ...]:
    """Return floor(P(X <= k)·2^128 + 1/2); `Decimal` rounds correctly on every machine."""
    context = Context(prec=_DIGITS)
    doubled = context.multiply(Decimal(2), context.multiply(sigma, sigma))
    weights = [
        context.exp(context.divide(Decimal(-k * k), doubled)) for k in range(-largest, largest + 1)
    ]
    total = Decimal(0)
    for weight in weights:
        total = context.add(total, weight)
    entries, running = [], Decimal(0)
    for weight in weights[:-1]:
        running = context.add(running, weight)
        scaled = context.multiply(context.divide(running, total), Decimal(1 << _BITS))
        entries.append(int(context.to_integral_value(scaled)))
    return tuple(entries)
