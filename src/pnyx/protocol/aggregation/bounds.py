"""What a verified contribution must satisfy, how its shares are laid out, and why nothing wraps.

A contribution is a vector of integers: `bounded` entries of an update u with ‖u‖₂ <= norm_max,
then counts, each in 0..count_max, which may have to be a valid ballot together (`ballots`), then,
with `noise_max`, one integer in -noise_max..noise_max for each count. All guarantees are exact, not
up to a factor. Counts and noise travel as bits, which the members recombine by themselves, so no
share of any other value exists; the weights of `bit_weights` have the subset sums 0..limit and no
others. What is summed is count_scale·count + noise: noise is apart from what it hides, so that
hiding a ballot does not loosen the rules that it keeps.

The slots of one contribution, per field, in columns of `packing` slots:

    update | slack of T - Σu² | count bits | noise bits | ballot slack | mask g | blinds | key
    `------------------ X, short integers -----------------------´

Count and noise bits come one block per weight; blinds are those of V, L and Q. The key, in masked
mode (`masked`), consists of uniform elements of the first `key_fields` fields: nothing bounds it,
so it only has to lie on polynomials of degree D, which V tests together with X and g.

**A masked update that is verified** (`masked_verification`, experimental) is not among the columns.
In its place are the upper and lower digits of a sketch of it, 256 each, with a threshold and slack
bits of their own; L ties them to the masked vector by the key. Nothing else differs.

**Why nothing wraps.** Let M = p₁p₂ ≈ 2^54, σ the width of the mask and b = 6σ the largest entry
of v that is accepted. X and g are fixed in both fields before R' (256 rows of independent trits,
0 with probability 1/2) is drawn, and v = R'X + g holds modulo M with max|v| <= b. Then

1. each |X_j mod M| <= 2b, but for probability 2^-256: if X_j is larger, then whatever the other
   trits of a row are, at most one of {0} and {-1, 1} brings it into [-b, b]. So X is short, and
   the *same integers* in both fields;
2. R'X cannot wrap: dimension x 2b <= 2^24 x 2^25.5 < M/2;
3. ‖X‖² <= 32b², but for probability 2^-128: a row S of R'X has s² = E S² = ‖X‖²/2, E S³ = 0 and
   E S⁴ <= 3s⁴, so Z = (S + g)² has (E Z)²/E Z² >= 1/3 for every g, and the Paley-Zygmund
   inequality gives P[Z > s²/16] >= (15/16)²/3. With s² > 16b², a row lies within b with
   probability at most 0.7070, and all 256 do with at most 2^-128.04;
4. Σ(β² - β) over the bits lies in 0..32b² + √32·2^12·b < M, so being 0 modulo M it is 0, and
   each term, never negative, is 0: bits are bits;
5. Σu² + slack - T then lies in -T..32b² < M, so it is 0: Σu² <= T = norm_max²;
6. a ballot's equation over bits stays below 2^24 in absolute value, far from either prime, so it
   holds over the integers too. Its random weight is its own: equations cannot cancel each other.
   Bits need no weight each, because the terms of 4 are never negative.

Numbers for norm_max = 4096 with three counts up to 2^20: σ = 827,121 (2^19.7), b = 2^22.2,
32b² = 2^49.5 against M = 2^54.0. The largest norm_max that passes the inequality is about 19,500;
a larger one is refused. Since v is a hash-dependent proof, each of the probabilities above is per
hash evaluation of whoever cheats (Fiat-Shamir, random-oracle model).

**What the challenge leaves to chance.** Shares are committed to before the challenge is known, but
not yet delivered: until the accepted set is fixed, a dealer chooses who holds them and leaders, who
answers. So a false contribution has a try for every set of honest members that can decide alone;
`cheating_log2` counts them all, and `repetitions` keeps the sum below 2^-40. For a committee of 24
with f = 4, l = 2 and four absences, two repetitions would leave 2^-37.1, and three leave 2^-64.1;
committees of up to 20 take two, 110 members with f = 21, l = 4 five.

The X of 1 to 6 is what such a set of s honest members holds, so there may be several. Two of them
agree in D members at most; with 2s > k - f and s > 2D there are at most s (Johnson's bound on codes
of constant weight, 1962), which takes less than ten bits off 2^-128.
"""

from functools import cached_property, lru_cache
from math import comb, isqrt, log2
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from pnyx.primitives.field import PRIMES
from pnyx.protocol.aggregation.ballots import Ballot, bit_weights
from pnyx.protocol.aggregation.encoding import SUM_MAX, slot_width
from pnyx.protocol.selection.security import CommitteeSize

ROWS = 256  # of R', and entries of the published vector v
REPETITIONS_MIN = 2
SOUNDNESS_BITS = 40
CHECKS = 3  # V, L and Q, in this order

# Rejection sampling with σ >= 11·‖R'X‖ costs a factor 3 and leaves a distance of 2^-100
# (Lyubashevsky 2012, theorem 4.6). ‖R'X‖² <= 337·‖X‖² but for 2^-122 (Chernoff: the moments of a
# row are at most those of a Gaussian; the constant is that of Gentry, Halevi and Lyubashevsky
# 2021), so R' is practically never redrawn for X's sake, and seeing R' tells nothing of X.
_MASK_RATIO = 11
_PROJECTION_SQUARED = 337
_PUBLISHED_WIDTHS = 6  # b = 6σ: an honest v exceeds it once in two million tries, and is redrawn
_NORM_PER_BOUND_SQUARED = 32
_DIMENSION_MAX = 1 << 24
COUNT_SLACK = 6 * isqrt(_DIMENSION_MAX)  # Σ|β| <= √dimension·√32·b

_Length = Annotated[int, Meta(ge=0, le=1_000_000)]
_Value = Annotated[int, Meta(ge=0, lt=2**53)]


class RangeStep(msgspec.Struct, frozen=True, dict=True):
    """Sizes of a range step, which follow from the longest X that an honest contributor has.

    longest: the largest ‖X‖² of an honest contributor.
    """

    longest: int

    @cached_property
    def mask_width(self) -> int:
        """σ of the discrete Gaussian that hides R'X."""
        return isqrt(_MASK_RATIO**2 * _PROJECTION_SQUARED * self.longest) + 1

    @property
    def projection_squared_max(self) -> int:
        """The largest ‖R'X‖² that a mask of this width hides."""
        return self.mask_width**2 // _MASK_RATIO**2

    @property
    def published_max(self) -> int:
        """b, the largest entry of a published vector, in absolute value."""
        return _PUBLISHED_WIDTHS * self.mask_width

    @property
    def proven_squared_max(self) -> int:
        """What the range step proves ‖X‖² to be at most, whoever the contributor is."""
        return _NORM_PER_BOUND_SQUARED * self.published_max**2


class Squares(NamedTuple):
    """Entries of X whose sum of squares is proven to be at most `threshold`."""

    entries: int
    threshold: int


def digit_base(norm: int) -> int:
    """D, the base of the two digits of an entry of a sketch u of a vector of norm at most `norm`.

    D² = 1.6·W makes the thresholds of both digits equal.
    """
    return isqrt(8 * norm // 5)


@lru_cache(maxsize=64)
def digit_squares(norm: int) -> tuple[Squares, Squares]:
    """What upper and lower digits keep, for a norm W: (8W/D)², rounded up, and 25·D²."""
    squared = digit_base(norm) ** 2
    return Squares(ROWS, -(-64 * norm**2 // squared)), Squares(ROWS, 25 * squared)


class Bounds(msgspec.Struct, frozen=True, array_like=True, dict=True):
    """The bounds that every contribution of a phase is proven to satisfy.

    length: entries of the sum, of which the first `bounded` are the update, the others counts.
    count_scale: counts are added up in units of 1/count_scale. noise_max: with noise, every count
    comes with an integer of at most this absolute value, in those units, which is added to it.
    ballot: the rule that the counts keep together. key_length, key_fields: elements of the key that
    is shared along, in each of the first so many fields. masked_norm_max: W, the norm that a masked
    update is proven to have at most, nearly (`masked_verification.bounds`); 0 where it is not.
    Bounds that cannot be proven raise ValueError, which decoders report as a malformed message.
    What is asked for with every contribution is worked out once, and kept beside the fields.
    """

    length: _Length
    bounded: _Length
    norm_max: _Value
    count_max: _Value
    count_scale: Annotated[int, Meta(ge=1, lt=2**32)] = 1
    noise_max: _Value = 0
    ballot: Ballot | None = None
    key_length: Annotated[int, Meta(ge=0, le=8192)] = 0
    key_fields: Annotated[int, Meta(ge=0, le=2)] = 0
    masked_norm_max: Annotated[int, Meta(ge=0, lt=2**27)] = 0

    def __post_init__(self) -> None:
        least = 0 if self.masked_norm_max else 1
        if not 0 <= self.bounded <= self.length or self.length < least:
            raise ValueError("a vector has at least one entry, and its update is a part of it")
        if self.bounded and self.norm_max < 1:
            raise ValueError("norm_max must be at least 1")
        if self.counts and not 1 <= self.count_max <= SUM_MAX:
            raise ValueError("count_max must be at least 1, and fit into the two fields")
        if not self.counts and (self.count_scale != 1 or self.noise_max):
            raise ValueError("scale and noise are those of counts, and there are none")
        if self.entry_max > SUM_MAX:
            raise ValueError("a scaled count with its noise must fit into the two fields")
        if bool(self.key_length) != bool(self.key_fields):
            raise ValueError("a key has a length and the fields that it lies in, or is none")
        if self.ballot is not None and not (self.count_max == 1 and self.ballot.fits(self.counts)):
            raise ValueError("the counts cannot be a ballot of this kind")
        if self.masked_norm_max and (self.bounded or self.ballot or not self.key_length):
            raise ValueError(
                "what is verified of a masked update goes with its key, not with another"
            )
        step = self.range_step
        threshold = max((each.threshold for each in self.squares), default=0)
        largest = step.proven_squared_max + COUNT_SLACK * step.published_max + threshold
        if largest >= PRIMES[0] * PRIMES[1]:
            raise ValueError("norm_max is too large to be proven: choose coarser units")

    @property
    def counts(self) -> int:
        """Entries that are counts."""
        return self.length - self.bounded

    @property
    def given_length(self) -> int:
        """Entries of the vector that a contributor gives: update, counts, noise of the counts."""
        return self.length + (self.counts if self.noise_max else 0)

    @property
    def entry_max(self) -> int:
        """The largest entry that a contribution adds to the sum, in absolute value."""
        count = self.count_scale * self.count_max + self.noise_max
        return max(self.norm_max if self.bounded else 0, count if self.counts else 0)

    @property
    def bits(self) -> int:
        """Entries of X that are bits, padding aside."""
        each = self.count_max.bit_length() + (2 * self.noise_max).bit_length()
        slack = sum(square.threshold.bit_length() for square in self.squares)
        return slack + self.counts * each + self.ballot_slack

    @property
    def ballot_slack(self) -> int:
        """Slack bits of the ballot."""
        return 0 if self.ballot is None else self.ballot.slack_bits(self.counts)

    @property
    def norm_squared(self) -> int:
        """T, the largest sum of squares of an update."""
        return self.norm_max**2 if self.bounded else 0

    @property
    def squares(self) -> tuple[Squares, ...]:
        """The first entries of X: an update, or the digits of a sketch; () for counts alone."""
        if self.masked_norm_max:
            return digit_squares(self.masked_norm_max)
        return (Squares(self.bounded, self.norm_squared),) if self.bounded else ()

    @cached_property
    def range_step(self) -> RangeStep:
        """Widths of the range step: X has at most this norm when it is honest."""
        return RangeStep(sum(each.threshold for each in self.squares) + self.bits)

    @property
    def mask_width(self) -> int:
        """σ of the discrete Gaussian that hides R'X."""
        return self.range_step.mask_width

    @property
    def projection_squared_max(self) -> int:
        """The largest ‖R'X‖² that a mask of this width hides."""
        return self.range_step.projection_squared_max

    @property
    def published_max(self) -> int:
        """b, the largest entry of a published vector, in absolute value."""
        return self.range_step.published_max


class Layout(msgspec.Struct, frozen=True, dict=True):
    """Columns of one contribution's shares, in one field (the order is in the module docstring)."""

    packing: int
    update: int
    digits: int  # of a sketch: as many upper as lower ones
    slack: int
    count_bits: int  # blocks of `counts` columns
    counts: int
    noise_bits: int  # likewise
    ballot: int
    mask: int
    repetitions: int
    keys: tuple[int, ...]  # columns of the key, by field

    @cached_property
    def short(self) -> int:
        """Columns of X, which the range step proves to be short integers."""
        return self.ballot_start + self.ballot

    @property
    def squared(self) -> tuple[int, ...]:
        """Columns of each part of X whose squares are summed, from the first column on."""
        return (self.digits, self.digits) if self.digits else (self.update,) * bool(self.update)

    @property
    def slack_start(self) -> int:
        """First column of the slack bits of all sums of squares."""
        return self.update + 2 * self.digits

    @property
    def counts_start(self) -> int:
        """First column of the count bits."""
        return self.slack_start + self.slack

    @property
    def noise_start(self) -> int:
        """First column of the noise bits."""
        return self.counts_start + self.count_bits * self.counts

    @property
    def ballot_start(self) -> int:
        """First column of the ballot's slack bits."""
        return self.noise_start + self.noise_bits * self.counts

    @cached_property
    def data(self) -> int:
        """Columns of X and the mask: all that must be of the sharing's degree."""
        return self.short + self.mask

    @cached_property
    def columns(self) -> int:
        """Columns in each field; those of the key come after them."""
        return self.data + CHECKS * self.repetitions

    @property
    def dimension(self) -> int:
        """Entries of X, padding included, slot after slot."""
        return self.packing * self.short

    @property
    def summed(self) -> int:
        """Columns of a share of the sum: the update, then the recombined counts."""
        return self.update + self.counts


@lru_cache(maxsize=64)
def layout(bounds: Bounds, size: CommitteeSize) -> Layout:
    """Lay out a contribution; raises ValueError when it is too long to be proven."""
    packing = size.packing
    plan = Layout(
        packing=packing,
        update=slot_width(bounds.bounded, packing),
        digits=slot_width(ROWS, packing) if bounds.masked_norm_max else 0,
        slack=slot_width(sum(len(bit_weights(e.threshold)) for e in bounds.squares), packing),
        count_bits=bounds.count_max.bit_length() if bounds.counts else 0,
        counts=slot_width(bounds.counts, packing),
        noise_bits=(2 * bounds.noise_max).bit_length(),
        ballot=slot_width(bounds.ballot_slack, packing),
        mask=slot_width(ROWS, packing),
        repetitions=repetitions(size),
        keys=tuple(
            slot_width(bounds.key_length, packing) if at < bounds.key_fields else 0
            for at in range(len(PRIMES))
        ),
    )
    if plan.dimension > _DIMENSION_MAX:
        raise ValueError("a contribution has too many entries and bits to be proven")
    return plan


def deciding_honest(size: CommitteeSize) -> int:
    """Honest members, at least, on whose answers an accepted contribution rests.

    The pool that adds it up is at least a quorum, none of it off a polynomial, f of it corrupt;
    and a decoded polynomial of degree 2D passes through 2D + 1 honest members (`verdicts`).
    """
    return max(2 * size.degree + 1, size.quorum - size.corrupt_max)


def steered_sets(size: CommitteeSize) -> int:
    """Sets of honest members among which dealer, leaders and liars may choose after the challenge.

    Count every corrupt member among some f; the k - f others are honest. Whoever answers, an
    accepted contribution's polynomials pass through s = `deciding_honest` of these at least. A
    larger set contains one of exactly s through which they pass too, so sets of s are all there is
    to count. Fewer corrupt members do not make more sets: f others may be set aside all the same.
    """
    return comb(size.size - size.corrupt_max, deciding_honest(size))


def cheating_log2(size: CommitteeSize, count: int) -> float:
    """log₂ of the chance that a false contribution passes `count` repetitions on some set.

    For one set of honest members the shares are fixed before the challenge, and more than 2D of
    them fix every polynomial, whatever liars answer. If they are false, then one test at least
    fails identically, in one field: V, where a column is of no degree D; or L or Q, where an
    equation, blinds included, is false or a blind is of no degree. Passing all tests means passing
    that one, in every repetition, for which a coefficient, uniform over p values at least, has to
    hit one of them: p^-count, p the smaller prime. The sets add up (union bound).
    """
    return log2(steered_sets(size)) - count * log2(min(PRIMES))


@lru_cache(maxsize=64)
def repetitions(size: CommitteeSize) -> int:
    """How often every test is repeated, so that cheating succeeds at most once in 2^40."""
    count = REPETITIONS_MIN
    while cheating_log2(size, count) > -SOUNDNESS_BITS:
        count += 1
    return count
