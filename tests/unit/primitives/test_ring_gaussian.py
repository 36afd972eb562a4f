"""Errors follow the exact discrete Gaussian, whose table is computed anew here in integers."""

from bisect import bisect_right
from fractions import Fraction
from functools import lru_cache

import numpy as np
import pytest
from tests.support.ring import IMPLEMENTATIONS, use

from pnyx.primitives.ring import gaussian, gaussian_errors
from pnyx.primitives.sampling import Sampler

SEED = bytes(range(32))
SIGMAS = [0.3, 1.0, 3.18, 4.5, 9.0]
PRECISION = 1 << 300


@pytest.fixture(params=list(IMPLEMENTATIONS), autouse=True)
def implementation(request, monkeypatch):
    use(monkeypatch, request.param)


def exponential(exponent: Fraction) -> int:
    """exp(-exponent) in units of 1/PRECISION, by halving and the power series, in integers."""
    halvings = 12
    x = exponent / 2**halvings
    term, total, count = PRECISION, 0, 0
    while term:
        total += term
        count += 1
        term = -term * x.numerator // (x.denominator * count)
        if term == -1:  # floor division of a negative number never reaches zero
            break
    for _ in range(halvings):
        total = total * total // PRECISION
    return total


@lru_cache
def weights(sigma: float) -> dict[int, int]:
    """Unnormalised probabilities of every value within 16 sigma."""
    doubled = 2 * Fraction(sigma) ** 2
    end = int(16 * sigma) + 2
    return {k: exponential(Fraction(k * k) / doubled) for k in range(-end, end + 1)}


@lru_cache
def cumulative(sigma: float) -> dict[int, Fraction]:
    """P(X <= k)."""
    total = sum(weights(sigma).values())
    running, found = 0, {}
    for k, weight in weights(sigma).items():
        running += weight
        found[k] = Fraction(running, total)
    return found


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_table_holds_the_exact_probabilities(sigma: float) -> None:
    table = gaussian._table(sigma)
    exact = cumulative(sigma)
    assert len(table.cumulative) == 2 * table.largest
    for offset, entry in enumerate(table.cumulative):
        assert abs(entry - exact[offset - table.largest] * 2**128) < Fraction(501, 1000)
    assert list(table.cumulative) == sorted(table.cumulative)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_distance_to_the_exact_distribution_is_negligible(sigma: float) -> None:
    table = gaussian._table(sigma)
    ends = [0, *table.cumulative, 2**128]
    drawn = {k - table.largest: ends[k + 1] - ends[k] for k in range(len(ends) - 1)}
    total = sum(weights(sigma).values())
    distance = sum(
        abs(Fraction(drawn.get(k, 0), 2**128) - Fraction(weight, total))
        for k, weight in weights(sigma).items()
    )
    assert sum(drawn.values()) == 2**128
    assert distance / 2 < Fraction(1, 2**115)


def test_a_table_of_heads_alone_would_be_far_from_it() -> None:
    """What the tails are for: 16 bits give a distance that a million errors betray."""
    sigma = 4.5
    ends = [0, *(entry >> 112 for entry in gaussian._table(sigma).cumulative), 2**16]
    total = sum(weights(sigma).values())
    largest = gaussian._table(sigma).largest
    distance = sum(
        abs(Fraction(ends[k + 1] - ends[k], 2**16) - Fraction(weights(sigma)[k - largest], total))
        for k in range(len(ends) - 1)
    )
    assert distance > Fraction(1, 2**12)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_heads_decide_only_where_no_tail_can_matter(sigma: float) -> None:
    table = gaussian._table(sigma)
    undecided = 0
    for head in range(1 << 16):
        first, last = (bisect_right(table.cumulative, head << 112 | t) for t in (0, 2**112 - 1))
        if table.heads[head] == gaussian._UNDECIDED:
            undecided += 1
        else:
            assert first == last == int(table.heads[head]) + table.largest
    assert undecided <= 2 * table.largest


@pytest.mark.parametrize("sigma", [0.3, 4.5, 9.0])
def test_draws_are_those_of_the_long_table(sigma: float) -> None:
    """Every draw looked up with all of its 128 bits, beyond the end of the first chunk."""
    count = 70_000
    errors = gaussian_errors(SEED, sigma, count, "test")
    table = gaussian._table(sigma)
    heads = np.frombuffer(Sampler(SEED, "test/heads").bytes(2 * count), dtype="<u2")
    tails, expected, used = Sampler(SEED, "test/tails"), [], 0
    for head in heads.tolist():
        tail = 0
        if head in undecided_heads(sigma):
            tail = int.from_bytes(tails.bytes(14), "little")
            used += 1
        expected.append(bisect_right(table.cumulative, head << 112 | tail) - table.largest)
    assert errors.tolist() == expected
    assert used > 0


@lru_cache
def undecided_heads(sigma: float) -> frozenset[int]:
    return frozenset(entry >> 112 for entry in gaussian._table(sigma).cumulative)


class Script:
    """A sampler that gives what a test wrote."""

    streams: dict[str, bytes]

    def __init__(self, seed32: bytes, domain: str) -> None:
        self.rest = self.streams[domain]

    def bytes(self, count: int) -> bytes:
        piece, self.rest = self.rest[:count], self.rest[count:]
        assert len(piece) == count
        return piece


def test_draws_on_both_sides_of_a_boundary(monkeypatch) -> None:
    """One unit of 2^-128 below an entry and on it: only all bits tell them apart."""
    table = gaussian._table(4.5)
    draws = [0, 2**128 - 1]
    for entry in table.cumulative:
        draws += [draw for draw in (entry - 1, entry, entry + 1) if 0 <= draw < 2**128]
    expected = [bisect_right(table.cumulative, draw) - table.largest for draw in draws]
    assert len(set(expected)) > 110
    Script.streams = {
        "x/heads": b"".join((draw >> 112).to_bytes(2, "little") for draw in draws),
        "x/tails": b"".join(
            (draw & 2**112 - 1).to_bytes(14, "little")
            for draw in draws
            if draw >> 112 in undecided_heads(4.5)
        ),
    }
    monkeypatch.setattr(gaussian, "Sampler", Script)
    assert gaussian_errors(SEED, 4.5, len(draws), "x").tolist() == expected


@pytest.mark.parametrize("sigma", [1.0, 3.18, 4.5])
def test_a_million_errors_fit_the_exact_probabilities(sigma: float) -> None:
    count = 1_000_000
    errors = gaussian_errors(SEED, sigma, (1000, 1000), "fit")
    total = sum(weights(sigma).values())
    drawn = dict(zip(*np.unique(errors, return_counts=True), strict=True))
    chi_square, degrees, rare, rare_expected = 0.0, -1, count, float(count)
    for k, weight in weights(sigma).items():
        expected = float(Fraction(weight, total) * count)
        if expected >= 10:
            found = int(drawn.get(k, 0))
            chi_square += (found - expected) ** 2 / expected
            degrees, rare, rare_expected = degrees + 1, rare - found, rare_expected - expected
    chi_square += (rare - rare_expected) ** 2 / rare_expected
    assert degrees >= 6
    assert chi_square < degrees + 1 + 5 * (2 * degrees) ** 0.5 + 12  # p < 1e-6
    assert abs(errors.mean()) < 5 * sigma / 1000
    neighbours = float((errors.ravel()[1:].astype(int) * errors.ravel()[:-1]).mean())
    assert abs(neighbours) < 5 * sigma**2 / 1000


def test_shapes_seeds_and_domains() -> None:
    errors = gaussian_errors(SEED, 4.5, (3, 5, 7), "a")
    assert errors.dtype == np.int8
    assert errors.shape == (3, 5, 7)
    assert np.array_equal(gaussian_errors(SEED, 4.5, 105, "a"), errors.ravel())
    assert gaussian_errors(SEED, 4.5, 0, "a").shape == (0,)
    for seed, domain in ((SEED, "b"), (bytes(32), "a")):
        assert not np.array_equal(gaussian_errors(seed, 4.5, 105, domain), errors.ravel())


@pytest.mark.parametrize("sigma", [0.0, 0.29, -1.0, 9.1, float("nan"), float("inf")])
def test_widths_that_do_not_fit_are_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match="sigma"):
        gaussian_errors(SEED, sigma, 1, "a")
