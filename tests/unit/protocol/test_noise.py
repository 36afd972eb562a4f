"""Noise that contributors add: its distribution, and that the bounds cover it."""

import numpy as np
import pytest

from pnyx.errors import RuleBroken
from pnyx.primitives.sampling import Sampler
from pnyx.protocol import noise as noise_module
from pnyx.protocol.aggregation.ballots import Ballot
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.masked.parameters import SHARED_RINGS, choose
from pnyx.protocol.aggregation.masked.vectors import VectorCode
from pnyx.protocol.aggregation.verification import within
from pnyx.protocol.noise import (
    WIDTH_MIN,
    Noise,
    check_noise,
    choose_noise,
    clipped,
    noise_max,
    noise_norm_max,
    noised,
    noised_update,
)


def sampler(seed: int = 0) -> Sampler:
    return Sampler(seed.to_bytes(32, "big"), "test")


def test_without_noise_nothing_changes():
    vector = np.arange(5)
    given = noised(vector, Bounds(5, 5, 9, 0), Noise(), sampler())
    assert given.tolist() == vector.tolist()
    assert given is not vector


def test_noise_is_in_updates_and_beside_counts():
    chosen = choose_noise(Bounds(7, 4, 20, 3), 20, 4, 2.0, 2.0)
    vector = np.array([10, -10, 5, 0, 3, 0, 1])
    given = noised(vector, chosen.bounds, chosen.noise, sampler())
    assert given.shape == (chosen.bounds.given_length,) == (10,)
    assert given[4:7].tolist() == [3, 0, 1], "counts stay what they are"
    assert within(given, chosen.bounds)
    again = noised(vector, chosen.bounds, chosen.noise, sampler(1))
    assert again.tolist() != given.tolist()


@pytest.mark.parametrize(("width", "length"), [(4, 1), (60, 3142), (640, 387), (9, 20_000)])
def test_the_norm_of_noise_stays_within_its_bound(width, length):
    """Far within: the bound fails once in 2^60."""
    limit = noise_norm_max(width, length)
    bounds = Bounds(length, length, 1, 0) if limit > 19_000 else Bounds(length, length, limit, 0)
    for seed in range(20):
        drawn = noised(
            np.zeros(length, dtype=np.int64), bounds, Noise(update_width=width), sampler(seed)
        )
        norm = float(np.linalg.norm(drawn.astype(float)))
        assert norm <= limit
        assert length < 100 or 0.8 * width * length**0.5 < norm < 1.2 * width * length**0.5
    assert noise_norm_max(0, length) == noise_norm_max(width, 0) == 0


def test_noise_beyond_its_bound_is_drawn_again(monkeypatch):
    draws = iter([np.array([1000, 0]), np.array([5, -5])])
    monkeypatch.setattr(noise_module, "discrete_gaussian", lambda *_: next(draws))
    bounds = Bounds(2, 2, 100, 0)
    given = noised(np.array([1, 1]), bounds, Noise(update_width=4), sampler())
    assert given.tolist() == [6, -4]


def test_the_variance_is_the_stated_one():
    chosen = choose_noise(Bounds(4000, 3000, 300, 1), 300, 9, 1.0, 3.0)
    given = noised(np.zeros(4000, dtype=np.int64), chosen.bounds, chosen.noise, sampler())
    update, counts = given[:3000], given[4000:]
    assert update.std() == pytest.approx(chosen.noise.update_width, rel=0.05)
    assert counts.std() == pytest.approx(chosen.noise.count_width, rel=0.1)
    assert np.abs(counts).max() <= noise_max(chosen.noise.count_width) == chosen.bounds.noise_max


def test_small_counts_are_scaled_until_noise_can_be_drawn_well():
    votes = Bounds(6, 0, 0, 1, 1, 0, Ballot("choice", 3))
    chosen = choose_noise(votes, 0, 32, 1.0, 1.0)
    assert chosen.bounds.count_scale > 1
    assert chosen.noise.count_width >= 16
    assert chosen.bounds.ballot == votes.ballot
    check_noise(chosen.bounds, 0, chosen.noise, 32)


def test_noise_that_no_bounds_can_cover():
    with pytest.raises(ValueError, match="norm_max is too large"):
        choose_noise(Bounds(3142, 3142, 4096, 0), 4096, 24, 1.0, 1.0)
    with pytest.raises(ValueError, match="too wide to be drawn"):
        choose_noise(Bounds(4, 0, 0, 2**20), 0, 1, 1000.0, 1000.0)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"noise": Noise(update_width=WIDTH_MIN - 1, count_width=4)}, "noise on updates"),
        ({"noise": Noise(update_width=4, count_width=WIDTH_MIN - 1)}, "noise on counts"),
        ({"noise": Noise(update_width=5, count_width=4)}, "clips updates, and adds noise"),
        ({"clip": 11}, "clips updates, and adds noise"),
        ({"noise": Noise(update_width=4, count_width=5)}, "other noise on counts"),
        ({"noise": Noise(update_width=4, count_width=4, honest_min=4)}, "the floor ensures"),
        ({"bounds": Bounds(4, 4, 60, 0)}, "noise on counts"),
        ({"bounds": Bounds(4, 0, 0, 9, 1, 40)}, "noise on updates"),
    ],
)
def test_noise_that_its_bounds_do_not_cover(changes, rule):
    terms = {
        "bounds": Bounds(9, 6, 10 + noise_norm_max(4, 6), 9, 2, 40),
        "clip": 10,
        "noise": Noise(update_width=4, count_width=4, honest_min=3),
        "cohort_min": 3,
    }
    check_noise(**terms)
    with pytest.raises(RuleBroken, match=rule):
        check_noise(**{**terms, **changes})


@pytest.mark.parametrize(
    ("update", "kept"),
    [([3, -4], True), ([5, 0], True), ([4, 4], False), ([0, 6], False), ([-(2**63), 0], False)],
)
def test_what_is_within_the_clip(update, kept):
    assert clipped(np.array(update, dtype=np.int64), 5) is kept


# --- masked updates -------------------------------------------------------------------------------

WIDTH = 4  # cut at 40


@pytest.mark.parametrize(
    ("noise", "bits"), [(Noise(), 2), (Noise(update_width=WIDTH), 7), (Noise(update_width=13), 9)]
)
def test_masks_of_verified_updates_hold_noise_and_one_unit(noise, bits):
    """Their entries are cut to what noise leaves, and that must be something."""
    for held, enough in ((bits, True), (bits - 1, False)):
        masks = choose(9, held, 8, rings=SHARED_RINGS)
        terms = Bounds(1, 0, 0, 1, key_length=masks.degree, key_fields=1), 10**6, noise, 3, masks
        if enough:
            check_noise(*terms, verified=True)
            continue
        with pytest.raises(RuleBroken, match=f"values of {held} bits are too few: .* need {bits}"):
            check_noise(*terms, verified=True)


def test_masks_hold_one_unit_where_the_clip_is_none():
    masks = choose(9, 1, 8, rings=SHARED_RINGS)
    bounds = Bounds(1, 0, 0, 1, key_length=masks.degree, key_fields=len(masks.primes))
    with pytest.raises(RuleBroken, match=r"values of 1 bits are too few: entries of up to 1 .* 2$"):
        check_noise(bounds, 0, Noise(), 3, masks)


def test_entries_are_cut_so_that_their_noise_still_fits(monkeypatch):
    """The largest noise there is, on entries far beyond the masks: the largest values there are."""
    masks = choose(100, 7, 8, rings=SHARED_RINGS)
    drawn = np.array([40, -40] + [0] * 98)
    assert noise_max(WIDTH) == 40
    assert masks.value_max == 63
    monkeypatch.setattr(noise_module, "discrete_gaussian", lambda *_: drawn)
    update = np.array([10**6, -(10**6), 24, -24, 23, -23] + [0] * 94)
    given = noised_update(update, masks, Noise(update_width=WIDTH), sampler())
    assert given[:6].tolist() == [63, -63, 23, -23, 23, -23]
    VectorCode(masks, b"context").mask(given, bytes(32), b"own")  # nothing is out of range
    assert noised_update(update, masks, Noise(), sampler())[:3].tolist() == [63, -63, 24]
