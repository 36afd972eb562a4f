"""Exact sampling of discrete Gaussians, and the rejection step that hides what they mask.

`discrete_gaussian` draws x with probability proportional to exp(-x²/2σ²): a uniform candidate in
[-10σ, 10σ] is kept when a 128-bit uniform number is below that value. Floating point decides
unless it could be wrong; then decimals of 60 digits do, so the outcome is the same on every
machine. The statistical distance from the true distribution is below 2^-75 per value, all of it
from the cut at 10σ; 256 values stay below 2^-67.

`hides` is the rejection step of Lyubashevsky (2012, "Lattice signatures without trapdoors",
theorem 4.6): v = w + g is published with probability min(1, exp((‖w‖² - 2⟨v, w⟩)/2σ²)/3). If
σ >= 11·‖w‖ then the published v has the distribution of g alone, within 2^-100, whatever w is.

Running time depends on rejected candidates only, but numpy and decimals are not constant-time.
"""

from decimal import Context, Decimal

import numpy as np
from numpy.typing import NDArray

from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation.encoding import IntVector

REACH = 10  # widths
WIDTH_MAX = 1 << 26  # so that squares of candidates stay below 2^59
REJECTION_FACTOR = 3  # exp(12/11 + 1/242) = 2.99

_CANDIDATES_PER_VALUE = 10  # one in eight is kept
_CANDIDATES_MAX = 1 << 13  # at a time, so that all of a step stays in the cache
_COIN_BYTES = 16
_COIN_RANGE = 1 << (8 * _COIN_BYTES)
_DOUBTFUL = 2.0**-40  # far above the error of a float64 exponential, about 2^-50
_EXACT = Context(prec=60)


def discrete_gaussian(sampler: Sampler, width: int, count: int) -> IntVector:
    """Draw `count` integers of mean zero and parameter σ = width, at most 2^26."""
    if not 1 <= width <= WIDTH_MAX:
        raise ValueError("the width of a discrete Gaussian must lie between 1 and 2**26")
    reach = REACH * width
    kept = np.empty(count, dtype=np.int64)
    filled = 0
    while filled < count:
        batch = min(_CANDIDATES_PER_VALUE * (count - filled) + 16, _CANDIDATES_MAX)
        candidates = sampler.field_elements(2 * reach + 1, batch) - reach
        coins = sampler.bytes(_COIN_BYTES * batch)
        accepted = candidates[below_exponential(coins, candidates * candidates, 2 * width * width)][
            : count - filled
        ]
        kept[filled : filled + len(accepted)] = accepted
        filled += len(accepted)
    return kept


def below_exponential(coins: bytes, numerators: IntVector, denominator: int) -> NDArray[np.bool_]:
    """Tell for each coin, a 128-bit fraction of 1, whether it is below exp(-numerator/denominator).

    numerators: [n], not negative. coins: 16 bytes each, little-endian.
    """
    words = np.frombuffer(coins, dtype="<u8").reshape(-1, 2)
    fractions = words[:, 1] / 2.0**64
    limits = np.exp(-(numerators / denominator))
    below = fractions < limits
    for at in np.flatnonzero(np.abs(fractions - limits) <= _DOUBTFUL):
        coin = int.from_bytes(coins[at * _COIN_BYTES : (at + 1) * _COIN_BYTES], "little")
        exponent = _EXACT.divide(Decimal(-int(numerators[at])), Decimal(denominator))
        below[at] = Decimal(coin) < _EXACT.multiply(_EXACT.exp(exponent), Decimal(_COIN_RANGE))
    return np.asarray(below)


def hides(sampler: Sampler, hidden: IntVector, masked: IntVector, width: int) -> bool:
    """Decide whether `masked` = hidden + Gaussian of this width may be published."""
    coin = int.from_bytes(sampler.bytes(_COIN_BYTES), "little")
    squares, product = int(hidden @ hidden), int(masked @ hidden)
    exponent = _EXACT.divide(Decimal(squares - 2 * product), Decimal(2 * width * width))
    limit = _EXACT.multiply(_EXACT.exp(exponent), Decimal(_COIN_RANGE))
    return _EXACT.multiply(Decimal(coin), Decimal(REJECTION_FACTOR)) < limit
