"""What a verified masked contribution must satisfy, and the inequalities behind it.

A contributor masks z = Δm + e: an update m of integers with ‖m‖₂ <= norm_max, in steps of
Δ = `scale`, and the errors e of ring-LWE. Write W = Δ·norm_max. The public y = a·s + z and the
shared key s *define* z, as integers below p/2, so neither the errors nor s need a proof of their
own. What is proven is a statement on a sketch of z:

    u = P·z modulo p = D·a + b,   Σa² <= T,   Σb² <= T,   a, b integers      (D: `digit`)

where P (`sketch`) has 256 rows, each with E (P·z)_i² = ‖z‖²/4. An honest u has ‖u‖ close to
8·‖z‖ <= 8W. With D² = 1.6·W both T = 40·W: (8W/D)² for a, and 25·D² for b, whose entries are
almost uniform in [-D/2, D/2] (mean of Σb²: 21.3·D², three standard deviations: 3.6·D²).

**Nothing wraps.** The digits are the first entries of X in `aggregation.bounds`, in the place of an
update, with counts and all other bits behind them: X is short and the same in both fields, and sums
of squares hold over the integers, if p₁·p₂ exceeds what is said there: for W up to 2^22.19, with
room for `COUNT_BITS_MAX` bits. Then ‖D·a + b‖ <= 8W + 5D·1.0001 < p/2, so that D·a + b is the
centred P·z modulo p, whoever made it.

**The norm that is certified.** For a fixed z the squared norm ‖P·z‖² is close to a multiple of χ²
with 256 degrees of freedom: relative deviation 0.083 (one entry) to 0.088 (many). P is drawn after
y and s are committed to, but a cheat may commit anew as often as it computes hashes. A vector with
one entry is the most favourable to it that is known, and there the distribution is exact (the test
recomputes it): at 2.2·W it passes a draw with probability 2^-86, so 2^40 hashes, each good for 2^6
candidates (`aggregation.bounds`: sets of members that may hold different X), leave 2^-40. For
vectors with many entries of one size χ² gives 1.76 instead of 2.2. That no z does better, the sums
being modulo p, is *conjectured*: tests/adversarial tries what is known to defeat other sketches.

**Honest contributors are never rejected**: over a threshold they draw another salt, hence another
P. A vector of norm W·share passes a draw with probability `passing_probability`: 0.99 at 0.9, where
updates should be clipped (`clip_max`), 0.5 at 1.

**Sums must not wrap either.** One coordinate of a contribution that passed may be 2.2·W, and sums
are taken modulo p, centred. `colluding_max` contributors that spend all on one coordinate, and
honest ones that keep `entry_max` in each, stay below p/2; with W = 2^22, eight that collude pass
it. Rounding to integers adds noise of norm √(length/6) to an update: where that is more than a
quarter of norm_max the units are too coarse, and `choose` refuses.

A phase states these bounds as masks (`masked.ParameterSet`: length, Δ, entries, contributors) and
two numbers more, norm_max and colluding_max; `bounds_of` and `masks_of` translate.
"""

from functools import lru_cache
from math import exp, isqrt, lgamma, log, log2, sqrt
from typing import Annotated

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from pnyx.errors import ConfigError
from pnyx.primitives.field import PRIMES
from pnyx.primitives.ring import LANES
from pnyx.protocol.aggregation.bounds import (
    COUNT_SLACK,
    ROWS,
    Bounds,
    RangeStep,
    digit_base,
    digit_squares,
)
from pnyx.protocol.aggregation.masked.parameters import (
    CONTRIBUTORS_MAX,
    CONTRIBUTORS_MIN,
    NOISE_WIDTH,
    P0,
    ParameterSet,
)
from pnyx.protocol.selection.tails import binomial_upper

MODULUS = PRIMES[0]
RING_DEGREE = 1024
BLOCK = RING_DEGREE * LANES  # entries of one block of polynomials
GROUP = 1024  # a masked vector is sent in whole groups of entries
ERROR_WIDTH = NOISE_WIDTH  # σ of the errors: see the masked mode
LENGTH_MAX = 1 << 24
COUNT_BITS_MAX = 1 << 16  # bits that are proven along, those of counts and their noise

CERTIFIED_TENTHS = 22  # the norm certified is at most 2.2 times norm_max
HASHES_LOG2 = 40  # commitments that a cheat tries
CHEATING_LOG2 = -40  # chance of a cheat that is left after all of them

ROUNDING_ERROR_MAX = 0.25
_ENTRY_SHARE = 8  # honest entries up to an eighth of the norm
_CLIP_TENTHS = 9
_WRONG_SUM_LOG2 = -64  # chance that errors of a whole sum move some entry to the next integer
_ERROR_SQUARED_TIMES_4 = 81  # σ²
_ERROR_SHARE = 16  # errors take at most this part of the bound

_Value = Annotated[int, Meta(ge=1, lt=2**26)]


class MaskedBounds(msgspec.Struct, frozen=True, array_like=True):
    """The bounds of the verified masked contributions of a phase; see the module docstring.

    length: entries of the update. norm_max: of its L2 norm, in integer units. scale: Δ.
    contributors_max: of one sum. colluding_max: those of them that may spend everything on one
    coordinate. entry_max: largest entry of an honest update. Bounds that cannot be proven, or whose
    sums could wrap, raise ValueError, which decoders report as a malformed message.
    """

    length: Annotated[int, Meta(ge=1, le=LENGTH_MAX)]
    norm_max: _Value
    scale: _Value
    contributors_max: Annotated[int, Meta(ge=CONTRIBUTORS_MIN, le=CONTRIBUTORS_MAX)]
    colluding_max: Annotated[int, Meta(ge=0, le=CONTRIBUTORS_MAX)]
    entry_max: _Value

    def __post_init__(self) -> None:
        if self.colluding_max > self.contributors_max or self.entry_max > self.norm_max:
            raise ValueError("colluding_max is part of contributors_max, entry_max of norm_max")
        named = f"norm_max is {self.norm_max}"
        if self.norm_scaled >= MODULUS:
            most = (MODULUS - 1) // self.scale
            raise ValueError(f"{named}, too large for the ring, which holds {most}")
        errors = 2 * noise_sum_max(self.length, self.contributors_max)
        if self.scale <= errors:
            raise ValueError(f"scale is {self.scale}: errors of the sum would show up to {errors}")
        errors_squared = _ERROR_SQUARED_TIMES_4 * self.coefficients // 4
        if _ERROR_SHARE**2 * errors_squared > self.norm_scaled**2:
            least = isqrt(_ERROR_SHARE**2 * errors_squared) // self.scale + 1
            raise ValueError(f"{named}: errors alone would use it up below {least}")
        if _proven_max(self.norm_scaled) >= PRIMES[0] * PRIMES[1]:
            most = _largest_provable() // self.scale
            raise ValueError(f"{named}, too large to be proven: choose coarser units, up to {most}")
        if self.largest_sum > MODULUS // 2:
            raise ValueError(
                f"{named}: sums of {self.contributors_max} contributors would reach "
                f"{self.largest_sum} and wrap beyond {MODULUS // 2}; choose coarser units"
            )

    @property
    def norm_scaled(self) -> int:
        """W, the bound on the norm of a masked vector z."""
        return self.scale * self.norm_max

    @property
    def clip_max(self) -> int:
        """The norm to which updates should be clipped, so that nearly every first sketch passes."""
        return _CLIP_TENTHS * self.norm_max // 10

    @property
    def certified_max(self) -> int:
        """The norm of z that an accepted contribution has at most, grinding included."""
        return CERTIFIED_TENTHS * self.norm_scaled // 10 + 1

    @property
    def coefficients(self) -> int:
        """Entries of y that are sent, the first ones in the order of the blocks: z is 0 beyond."""
        return -(-self.length // GROUP) * GROUP

    @property
    def blocks(self) -> int:
        """Blocks of polynomials that carry the vector."""
        return -(-self.length // BLOCK)

    def sent(self, block: int) -> int:
        """Entries of a block that are sent."""
        return min(BLOCK, self.coefficients - block * BLOCK)

    @property
    def digit(self) -> int:
        """D, the base of the two digits of an entry of the sketch."""
        return digit_base(self.norm_scaled)

    @property
    def thresholds(self) -> tuple[int, int]:
        """The largest Σa² and Σb²."""
        upper, lower = digit_squares(self.norm_scaled)
        return upper.threshold, lower.threshold

    @property
    def alone(self) -> Bounds:
        """What is proven of a contribution that carries no counts beside its masked update."""
        return Bounds(
            0, 0, 0, 0, key_length=RING_DEGREE, key_fields=1, masked_norm_max=self.norm_scaled
        )

    @property
    def largest_sum(self) -> int:
        """The largest coordinate of a sum of masked vectors, in absolute value."""
        honest = self.contributors_max - self.colluding_max
        noise = noise_sum_max(self.length, self.contributors_max)
        return (
            self.colluding_max * self.certified_max + honest * self.scale * self.entry_max + noise
        )

    @property
    def rounding_error(self) -> float:
        """Norm of the error of rounding one update to integers, relative to norm_max."""
        return sqrt(self.length / 6) / self.norm_max


def _proven_max(norm_scaled: int) -> int:
    """What sums over X can come to at most, whoever made it: must stay below p₁·p₂."""
    thresholds = [each.threshold for each in digit_squares(norm_scaled)]
    step = RangeStep(sum(thresholds) + COUNT_BITS_MAX)
    return step.proven_squared_max + COUNT_SLACK * step.published_max + max(thresholds)


def bounds_of(masks: ParameterSet, norm_max: int, colluding_max: int) -> MaskedBounds:
    """The bounds that a phase states. Raises ValueError where they cannot be kept."""
    if (masks.degree, masks.primes, masks.slots) != (P0.degree, P0.primes, 1):
        raise ValueError("a masked update is verified in the smallest ring, a value a coefficient")
    if masks.noise_width != ERROR_WIDTH:  # else errors of a sum could be beyond `noise_sum_max`
        raise ValueError(f"errors of a verified update have width {ERROR_WIDTH}")
    return MaskedBounds(
        length=masks.length,
        norm_max=norm_max,
        scale=1 << masks.shift,
        contributors_max=masks.contributors_max,
        colluding_max=colluding_max,
        entry_max=masks.value_max,
    )


def masks_of(bounds: MaskedBounds) -> ParameterSet:
    """The masks of updates within these bounds, in which value_max is at most entry_max.

    Raises UnsafeParameters when there are none.
    """
    value_bits = (bounds.entry_max + 1).bit_length()
    slot_max = bounds.contributors_max * ((1 << value_bits) - 1)
    return ParameterSet(
        degree=P0.degree,
        primes=P0.primes,
        length=bounds.length,
        value_bits=value_bits,
        contributors_max=bounds.contributors_max,
        slots=1,
        slot_bits=slot_max.bit_length(),
        shift=bounds.scale.bit_length() - 1,
    )


def noise_sum_max(length: int, contributors: int) -> int:
    """A bound on every entry of the summed errors, but for a chance of 2^-64 over a whole sum.

    Sums of n discrete Gaussians of parameter σ are subgaussian with σ²n (Canonne, Kamath and
    Steinke 2020, fact 18): an entry exceeds t with probability 2·exp(-t²/2σ²n). In integers, with
    7/10 for log 2, as everybody must find the same bounds valid.
    """
    entries_log2 = (-(-length // GROUP) * GROUP).bit_length()
    doublings = 1 - _WRONG_SUM_LOG2 + entries_log2
    return isqrt(2 * contributors * doublings * 7 * _ERROR_SQUARED_TIMES_4 // 40) + 1


def choose(length: int, contributors: int, colluding: int) -> MaskedBounds:
    """The finest bounds for updates of this length and groups of this size, which have masks.

    Raises ConfigError where they would be too coarse: rounding would add more than a quarter.
    """
    few_enough = CONTRIBUTORS_MIN <= contributors <= CONTRIBUTORS_MAX
    if not (1 <= length <= LENGTH_MAX and few_enough):
        raise ConfigError(
            f"Masked contributions carry 1 to {LENGTH_MAX} values of {CONTRIBUTORS_MIN} to "
            f"{CONTRIBUTORS_MAX} contributors."
        )
    if not 0 <= colluding <= contributors:
        raise ConfigError("At most all contributors of a group can collude.")
    noise = noise_sum_max(length, contributors)
    scale = 1 << (2 * noise).bit_length()
    # 2.2·W for each that colludes and W/8 for each honest one, in eightieths of W
    eightieths = 8 * CERTIFIED_TENTHS * colluding + 80 // _ENTRY_SHARE * (contributors - colluding)
    room = MODULUS // 2 - noise - contributors
    norm_max = min(80 * room // eightieths, _largest_provable()) // scale
    error = sqrt(length / 6) / norm_max if norm_max else float("inf")
    if error > ROUNDING_ERROR_MAX:
        raise ConfigError(
            f"{length:,} values of {contributors} contributors, of whom {colluding} may collude, "
            f"leave a norm bound of {norm_max} units: rounding alone would add {error:.0%}. Use "
            "smaller groups, fewer values, or masked contributions that are not verified."
        )
    # As large as masks' values are, which have 2^j - 1 for their largest.
    entry_bits = max(1, (norm_max // _ENTRY_SHARE + 1).bit_length() - 1)
    entry_max = (1 << entry_bits) - 1
    return MaskedBounds(length, norm_max, scale, contributors, colluding, entry_max)


def choose_for(norm: int, length: int, contributors: int, colluding: int) -> MaskedBounds:
    """The tightest bounds for updates of at most this norm, noise included, in integer units.

    What `choose` would leave of room beyond the norm goes to the largest entry. Raises ConfigError
    where the norm cannot be verified, or rounding would add more than a quarter of it.
    """
    finest = choose(length, contributors, colluding)
    norm_max = max(1, -(-10 * norm // _CLIP_TENTHS))
    if norm_max > finest.norm_max:
        raise ConfigError(
            f"A norm of {norm:,} units cannot be verified of {length:,} masked values of "
            f"{contributors} contributors: at most {finest.clip_max:,} can. Use coarser units."
        )
    error = sqrt(length / 6) / norm_max
    if error > ROUNDING_ERROR_MAX:
        raise ConfigError(
            f"Rounding alone would add {error:.0%} to a norm of {norm:,} units over {length:,} "
            "values. Use finer units, or a larger norm."
        )
    chosen = replace(finest, norm_max=norm_max, entry_max=1)
    entry_max = 3
    while entry_max <= norm_max:
        try:
            larger = replace(chosen, entry_max=entry_max)
            masks_of(larger)
        except ValueError:
            break
        chosen, entry_max = larger, 2 * entry_max + 1
    return chosen


def colluding_bound(contributors: int, corrupted: float = 0.05, chance: float = 1e-6) -> int:
    """Contributors of one sum that are corrupt at most, but for a chance of one in a million.

    corrupted: their share of the network. Drawing without replacement makes more less likely.
    """
    return next(
        count
        for count in range(contributors + 1)
        if binomial_upper(contributors, corrupted, count + 1) <= chance
    )


@lru_cache(maxsize=1)
def _largest_provable() -> int:
    """The largest W whose range step does not wrap."""
    low, high = 1, MODULUS
    while high - low > 1:
        middle = (low + high) // 2
        fits = _proven_max(middle) < PRIMES[0] * PRIMES[1]
        low, high = (middle, high) if fits else (low, middle)
    return low


def passing_probability(share: float) -> float:
    """Chance that the first sketch of a vector of norm share·W passes: P[χ² of 256 <= 256/share²].

    Exact for even degrees of freedom (Abramowitz and Stegun, 26.4.21); χ² itself is a model.
    """
    half = ROWS / (2 * share**2)
    terms = (exp(-half + i * log(half) - lgamma(i + 1)) for i in range(ROWS // 2))
    return 1 - sum(terms)


def many_entries_log2(factor: float) -> float:
    """log₂ of the chance that a vector of many equal entries and norm factor·W passes one draw.

    Chernoff's bound for χ² with 256 degrees of freedom: P[χ² <= 256·x] <= (x·e^(1-x))^128.
    """
    x = 1 / factor**2
    return ROWS / 2 * (log2(x) + (1 - x) / log(2))
