"""Samplers: one stream however it is cut, exact ranges, plausible uniformity."""

import numpy as np
import pytest

from pnyx.primitives.field import PRIMES
from pnyx.primitives.sampling import Sampler

SEED = bytes(range(32))


def test_the_stream_does_not_depend_on_how_it_is_cut() -> None:
    whole = Sampler(SEED, "test").bytes(10_000)
    sampler = Sampler(SEED, "test")
    sizes = [0, 1, 3, 1020, 5, 2000, 1024, 1023, 1, 0, 2, 1025, 2048, 700]
    pieces = [sampler.bytes(size) for size in sizes]
    assert [len(piece) for piece in pieces] == sizes
    assert b"".join(pieces) == whole[: sum(sizes)]


def test_seed_and_domain_separate_streams() -> None:
    streams = {
        Sampler(SEED, "test").bytes(16),
        Sampler(SEED, "tes").bytes(16),
        Sampler(SEED, "test2").bytes(16),
        Sampler(bytes(32), "test").bytes(16),
    }
    assert len(streams) == 4


def test_field_elements_read_the_stream_word_by_word() -> None:
    modulus = 70_000  # about half of the 17-bit words are dropped
    words = np.frombuffer(Sampler(SEED, "test").bytes(40_000), dtype="<u4") & 0x1FFFF
    expected = words[words < modulus][:2000].astype(np.int64)
    sampler = Sampler(SEED, "test")
    first = sampler.field_elements(modulus, (40, 25))
    second = sampler.field_elements(modulus, 1000)
    assert first.dtype == np.int64
    assert first.shape == (40, 25)
    assert np.array_equal(np.concatenate([first.ravel(), second]), expected)


@pytest.mark.parametrize("modulus", [1, 2, 3, 256, 257, *PRIMES, 2**32 - 1, 2**32])
def test_field_elements_stay_below_the_modulus(modulus: int) -> None:
    values = Sampler(SEED, "test").field_elements(modulus, 4000)
    assert values.min() >= 0
    assert values.max() < modulus
    assert abs(values.mean() - (modulus - 1) / 2) <= 0.05 * modulus


def test_field_elements_of_an_empty_shape() -> None:
    assert Sampler(SEED, "test").field_elements(7, (3, 0)).shape == (3, 0)


def test_small_ranges_are_uniform() -> None:
    sampler = Sampler(SEED, "test")
    for bound in (2, 3, 5, 6, 7):
        draws = [sampler.below(bound) for _ in range(6000)]
        counts = np.bincount(draws, minlength=bound)
        assert len(counts) == bound
        expected = 6000 / bound
        assert ((counts - expected) ** 2 / expected).sum() < 30  # p < 1e-5 for 6 degrees
        values = np.bincount(sampler.field_elements(bound, 6000), minlength=bound)
        assert ((values - expected) ** 2 / expected).sum() < 30


def test_below_reaches_both_ends_and_large_bounds() -> None:
    sampler = Sampler(SEED, "test")
    assert {sampler.below(257) for _ in range(4000)} == set(range(257))
    assert max(sampler.below(2**200) for _ in range(50)) > 2**195
    before = Sampler(SEED, "x")
    assert before.below(1) == 0
    assert before.bytes(8) == Sampler(SEED, "x").bytes(8)


def test_samples_are_distinct_and_every_order_is_equally_likely() -> None:
    sampler = Sampler(SEED, "test")
    assert sorted(sampler.sample(36, 36)) == list(range(36))
    assert sampler.sample(10, 0) == []
    assert sampler.sample(0, 0) == []
    large = sampler.sample(10**9, 500)
    assert len(set(large)) == 500
    assert max(large) < 10**9
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(6000):
        chosen = tuple(sampler.sample(4, 2))
        counts[chosen] = counts.get(chosen, 0) + 1
    assert len(counts) == 12
    assert sum((count - 500) ** 2 / 500 for count in counts.values()) < 45  # p < 1e-5


def test_impossible_requests_are_bugs() -> None:
    sampler = Sampler(SEED, "test")
    with pytest.raises(ValueError, match="32 bytes"):
        Sampler(b"short", "test")
    with pytest.raises(ValueError, match="negative"):
        sampler.bytes(-1)
    for modulus in (0, 2**32 + 1):
        with pytest.raises(ValueError, match="modulus"):
            sampler.field_elements(modulus, 1)
    with pytest.raises(ValueError, match="at least 1"):
        sampler.below(0)
    for count in (-1, 4):
        with pytest.raises(ValueError, match="distinct"):
            sampler.sample(3, count)


def test_a_sampler_shows_no_secret() -> None:
    assert SEED.hex() not in repr(Sampler(SEED, "test"))
