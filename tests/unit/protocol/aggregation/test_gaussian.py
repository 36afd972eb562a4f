"""The discrete Gaussian is exact, and a rejection-sampled sum tells nothing of what it hides."""

from decimal import Decimal

import numpy as np
import pytest
from scipy import stats

from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation import gaussian
from pnyx.protocol.aggregation.gaussian import below_exponential, discrete_gaussian, hides


def draw(width: int, count: int, seed: int = 0) -> np.ndarray:
    return discrete_gaussian(Sampler(bytes([seed]) * 32, "gaussian"), width, count)


@pytest.mark.parametrize("width", [1, 2, 7])
def test_frequencies_are_those_of_the_distribution(width):
    count = 40_000
    values = draw(width, count)
    support = np.arange(-4 * width, 4 * width + 1)
    weights = np.exp(-(support**2) / (2 * width**2))
    total = np.exp(-(np.arange(-20 * width, 20 * width + 1) ** 2) / (2 * width**2)).sum()
    expected = count * weights / total
    observed = np.array([(values == x).sum() for x in support])
    keep = expected > 8
    observed = np.append(observed[keep], count - observed[keep].sum())
    expected = np.append(expected[keep], count - expected[keep].sum())
    assert stats.chisquare(observed, expected).pvalue > 1e-4


def test_a_wide_one_is_like_the_continuous_one():
    width = 827_121
    values = draw(width, 20_000)
    assert stats.kstest(values / width, "norm").pvalue > 1e-4


def test_same_seed_same_values():
    assert draw(1000, 300).tolist() == draw(1000, 300).tolist()
    assert draw(1000, 300).tolist() != draw(1000, 300, seed=1).tolist()


def test_floating_point_and_decimals_decide_alike(monkeypatch):
    """Each coin decided by float64 is decided the same way by 60 digits."""
    quick = draw(5000, 60)
    monkeypatch.setattr(gaussian, "_DOUBTFUL", 2.0)
    assert draw(5000, 60).tolist() == quick.tolist()


def test_coins_next_to_the_limit_are_decided_exactly():
    """Where float64 sees no difference, the last of 128 bits counts."""
    numerators, denominator = np.array([1, 1, 0, 0]), 3
    exact = gaussian._EXACT
    limit = exact.multiply(exact.exp(exact.divide(Decimal(-1), Decimal(3))), Decimal(2**128))
    below = int(limit)
    coins = [below, below + 1, 0, 2**128 - 1]
    data = b"".join(coin.to_bytes(16, "little") for coin in coins)
    assert below_exponential(data, numerators, denominator).tolist() == [True, False, True, True]


def exponential(numerator: int, denominator: int) -> int:
    """exp(-numerator/denominator) in units of 2^-256, by its series; hardly any of them wrong."""
    halvings = (numerator // denominator).bit_length() + 16
    power = (numerator << 256) // (denominator << halvings)
    total = term = 1 << 256
    place = 0
    while term:
        place += 1
        term = term * power // (place << 256)
        total += -term if place % 2 else term
    for _ in range(halvings):
        total = total * total >> 256
    return total


@pytest.mark.parametrize("width", [1, 3, 1100, 827_121, 2**26 - 1, 2**26])
def test_what_float64_decides_is_far_from_doubtful(width):
    """A coin at the very limit and the next one, at many places; and how wrong a float64 was there.

    Machines differ in their exponentials, so a thousand times what is seen here is doubtful, too.
    """
    generator = np.random.default_rng(width)
    candidates = np.concatenate(
        [generator.integers(0, 10 * width + 1, 300), generator.integers(0, 2 * width + 1, 1200)]
    )
    numerators, denominator = candidates * candidates, 2 * width * width
    numerators = numerators[numerators > 0]
    exact = [exponential(each, denominator) for each in numerators.tolist()]
    coins = [each >> 128 for each in exact]  # the largest below the limit, which is no fraction
    below = b"".join(coin.to_bytes(16, "little") for coin in coins)
    above = b"".join((coin + 1).to_bytes(16, "little") for coin in coins)
    assert below_exponential(below, numerators, denominator).all()
    assert not below_exponential(above, numerators, denominator).any()
    limits = np.exp(-(numerators / denominator)).tolist()
    fractions = (np.array([coin >> 64 for coin in coins], dtype="<u8") / 2.0**64).tolist()
    errors = [abs(int(limit * 2.0**256) - each) for limit, each in zip(limits, exact, strict=True)]
    apart = [abs(one - other) for one, other in zip(fractions, limits, strict=True)]
    worst = max(max(errors) / 2.0**256, *apart)
    assert 2.0**-60 < worst < gaussian._DOUBTFUL / 1024


@pytest.mark.parametrize("width", [0, 2**26 + 1])
def test_a_width_out_of_range(width):
    with pytest.raises(ValueError, match="width"):
        draw(width, 1)


def test_published_sums_are_distributed_as_the_mask():
    """v - w is shifted, v is not: the same distribution for two quite different w, and 1 in 3."""
    width, rows = 1100, 64
    sampler = Sampler(bytes(32), "rejection")
    published = {}
    for name, hidden in (("zero", np.zeros(rows)), ("long", np.full(rows, 12.5))):
        hidden = hidden.astype(np.int64)  # ‖hidden‖ <= 100 = width / 11
        kept, tries = [], 1500
        for _ in range(tries):
            masked = hidden + discrete_gaussian(sampler, width, rows)
            if hides(sampler, hidden, masked, width):
                kept.append(masked)
        assert 0.27 < len(kept) / tries < 0.40
        published[name] = np.array(kept)
    for values in published.values():  # the projection on the hidden direction gives nothing away
        along = values.sum(axis=1) / (width * np.sqrt(rows))
        assert stats.kstest(along, "norm").pvalue > 1e-4


@pytest.mark.parametrize(("coin", "published"), [(2**128 // 3, True), (2**128 // 3 + 1, False)])
def test_the_last_bit_of_the_coin_decides_what_is_published(coin, published):
    """Nothing is hidden, so one coin in three publishes: rounded products would let in more."""
    nothing = np.zeros(4, dtype=np.int64)

    class Coin(Sampler):
        def bytes(self, count):
            return coin.to_bytes(count, "little")

    assert hides(Coin(bytes(32), "coin"), nothing, nothing, 1100) is published


def test_without_rejection_the_shift_would_show():
    width, rows, hidden = 1100, 64, 12
    sampler = Sampler(bytes(32), "no rejection")
    masked = [hidden + discrete_gaussian(sampler, width, rows) for _ in range(3000)]
    along = np.array(masked).sum(axis=1) / (width * np.sqrt(rows))
    assert stats.kstest(along, "norm").pvalue < 1e-3
