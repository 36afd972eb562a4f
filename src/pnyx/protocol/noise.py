"""Noise that every contributor adds to its own contribution, and the bounds that cover it.

A contribution is proven to keep bounds, so they must cover its noise. The noise of a count is cut
at `REACH` widths, where it differs from a discrete Gaussian by 2^-75 at most. That of an update is
drawn anew until its norm is within the tail bound of Hsu, Kakade and Zhang (2012, theorem 1), which
fails with probability 2^-60. Together they add less than 2^-35 to the δ of a study, over ten
thousand rounds of a thousand contributors. What this costs and buys is in `privacy`.

The noise of an update is added to it before the proof. A count has its noise beside it, as an
integer of its own in units of 1/`count_scale` (`aggregation.bounds`), so that the rules that counts
keep stay exact.
"""

import math
from math import isqrt
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from pnyx.errors import RuleBroken
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.encoding import IntVector
from pnyx.protocol.aggregation.gaussian import REACH, WIDTH_MAX, discrete_gaussian
from pnyx.protocol.aggregation.masked.parameters import ParameterSet

WIDTH_MIN = 4  # below it a sum of discrete Gaussians strays from one; see `privacy`
_SCALED_WIDTH_MIN = 16  # counts are scaled until rounding a width up costs little
_SCALE_MAX = 1 << 31
_TAIL_NATS = 42  # e^-42 < 2^-60


class Noise(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Discrete Gaussian noise that every contributor adds to its own contribution.

    Widths are the σ of one contributor's noise, 0 for none: on each entry of the update, and on
    each count, there in units of 1/`Bounds.count_scale`. The stated privacy cost relies on the
    noise of `honest_min` accepted contributors only.
    """

    update_width: Annotated[int, Meta(ge=0, le=WIDTH_MAX)] = 0
    count_width: Annotated[int, Meta(ge=0, le=WIDTH_MAX)] = 0
    honest_min: Annotated[int, Meta(ge=1, le=4096)] = 1


NO_NOISE = Noise()


class Chosen(msgspec.Struct, frozen=True):
    """Noise, and bounds that cover it."""

    bounds: Bounds
    noise: Noise


def counts_norm_squared(bounds: Bounds) -> int:
    """The largest sum of squares of one owner's counts."""
    if bounds.ballot is not None:
        return bounds.ballot.chosen(bounds.counts)
    return bounds.counts * bounds.count_max**2


def noise_norm_max(width: int, length: int) -> int:
    """A bound on the norm of `length` discrete Gaussians that fails with probability 2^-60.

    σ√(d + 2√(dt) + 2t) for t = 42: discrete Gaussians are subgaussian with their own σ.
    """
    if not width or not length:
        return 0
    return isqrt(width**2 * (length + isqrt(4 * length * _TAIL_NATS) + 1 + 2 * _TAIL_NATS)) + 1


def noise_max(width: int) -> int:
    """The largest noise of a count."""
    return REACH * width


def value_bits_needed(entry_max: int, noise: Noise) -> int:
    """Bits of a masked value, its sign included, that hold an entry of an update with its noise."""
    return (entry_max + noise_max(noise.update_width)).bit_length() + 1


def check_value_bits(masked: ParameterSet, entry_max: int, noise: Noise) -> None:
    """Refuse masked values of fewer bits than entries and noise need. Raises RuleBroken."""
    needed = value_bits_needed(entry_max, noise)
    if masked.value_bits < needed:
        raise RuleBroken(
            f"values of {masked.value_bits} bits are too few: entries of up to {entry_max} with "
            f"noise of up to {noise_max(noise.update_width)} need {needed}"
        )


def check_noise(
    bounds: Bounds,
    clip: int,
    noise: Noise,
    cohort_min: int,
    masked: ParameterSet | None = None,
    *,
    verified: bool = False,
) -> None:
    """Refuse noise that its bounds do not cover, or that does not hide. Raises RuleBroken.

    Masked values must hold the noise and an entry with all of the norm `clip`. Not so where their
    norm is verified: there the values follow from the norm, and owners cut larger entries.
    """
    if masked is not None and bounds.bounded:
        raise RuleBroken("an update is shared with the committee or masked, not both")
    if noise.honest_min > cohort_min:
        raise RuleBroken("noise relies on more contributors than the floor ensures")
    for part, width, entries in (
        ("updates", noise.update_width, bounds.bounded if masked is None else masked.length),
        ("counts", noise.count_width, bounds.counts),
    ):
        if width and not (entries and width >= WIDTH_MIN):
            raise RuleBroken(f"noise on {part} has a width of at least {WIDTH_MIN}, or is none")
    if masked is not None:
        check_value_bits(masked, 1 if verified else max(1, clip), noise)
    elif clip + noise_norm_max(noise.update_width, bounds.bounded) > bounds.norm_max:
        raise RuleBroken("a phase clips updates, and adds noise, to more than the norm it admits")
    if bounds.noise_max != noise_max(noise.count_width):
        raise RuleBroken("the bounds of a phase admit other noise on counts than it adds")


def clipped(update: IntVector, clip: int) -> bool:
    """Whether an update [bounded] without noise moves the sum by no more than its cost assumes.

    The proven bounds cannot tell: they are looser by the noise, and admit many times the clip.
    """
    # Entries first: squares of larger ones could wrap.
    if not bool(((-clip <= update) & (update <= clip)).all()):
        return False
    return int(update @ update) <= clip**2


def noised(vector: IntVector, bounds: Bounds, noise: Noise, sampler: Sampler) -> IntVector:
    """What a contributor gives: its vector [length] with fresh noise, [given_length]."""
    given = vector.astype(np.int64, copy=True)
    if noise.update_width and bounds.bounded:
        given[: bounds.bounded] += _update_noise(noise.update_width, bounds.bounded, sampler)
    if noise.count_width:
        drawn = discrete_gaussian(sampler, noise.count_width, bounds.counts)
        given = np.concatenate([given, drawn])
    return given


def _update_noise(width: int, length: int, sampler: Sampler) -> IntVector:
    """Noise of an update [length], within `noise_norm_max`."""
    while True:
        drawn = discrete_gaussian(sampler, width, length)
        if int(drawn @ drawn) <= noise_norm_max(width, length) ** 2:
            return drawn


def noised_update(
    update: IntVector, masked: ParameterSet, noise: Noise, sampler: Sampler
) -> IntVector:
    """What a contributor masks: its update [length], cut to the masks' values, with fresh noise.

    Cut before the noise comes, so that none of it is lost: the noise of the others hides an owner.
    The noise is drawn anew until its norm is within the tail bound, as that of a shared update.
    """
    limit = masked.value_max - noise_max(noise.update_width)
    cut: IntVector = np.clip(update, -limit, limit)
    if not noise.update_width:
        return cut
    return cut + _update_noise(noise.update_width, len(update), sampler)


def update_width(clip: int, honest_min: int, multiplier: float) -> int:
    """Width of each contributor's noise on an update: together `multiplier` times the clip."""
    return max(WIDTH_MIN, math.ceil(multiplier * clip / math.sqrt(honest_min)))


def choose_noise(
    bounds: Bounds,
    clip: int,
    honest_min: int,
    multiplier: float,
    counts_multiplier: float,
    *,
    masked: bool = False,
) -> Chosen:
    """Noise for a phase: the sum of `honest_min` has `multiplier` times what one owner moves.

    bounds: those of clipped updates and of plain counts. clip: in integer units. masked: whether
    there is an update that travels masked, for which there are no bounds. Each of the two
    parts then costs at most ρ = 1/(2·multiplier²) a round. Raises ValueError when no bounds that
    can be proven cover it.
    """
    share = 1 / math.sqrt(honest_min)
    on_update = count_width = 0
    if bounds.bounded or masked:
        on_update = update_width(clip, honest_min, multiplier)
    scale = 1
    if bounds.counts:
        wanted = counts_multiplier * math.sqrt(counts_norm_squared(bounds)) * share
        while scale * wanted < _SCALED_WIDTH_MIN and scale < _SCALE_MAX:
            scale *= 2
        count_width = max(WIDTH_MIN, math.ceil(scale * wanted))
    if max(on_update, count_width) > WIDTH_MAX:
        raise ValueError("the noise is too wide to be drawn: ask for less noise, or smaller counts")
    noise = Noise(update_width=on_update, count_width=count_width, honest_min=honest_min)
    return Chosen(covering(bounds, clip, noise, scale), noise)


def covering(bounds: Bounds, clip: int, noise: Noise, count_scale: int) -> Bounds:
    """The bounds of a phase, widened by its noise. Raises ValueError beyond what can be proven."""
    return Bounds(
        bounds.length,
        bounds.bounded,
        clip + noise_norm_max(noise.update_width, bounds.bounded),
        bounds.count_max,
        count_scale,
        noise_max(noise.count_width),
        bounds.ballot,
        bounds.key_length,
        bounds.key_fields,
        bounds.masked_norm_max,
    )
