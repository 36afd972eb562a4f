"""Tails against exact fractions, and against scipy where it is installed."""

from fractions import Fraction
from math import comb

import pytest

from pnyx.protocol.selection.tails import (
    at_least_once,
    binomial_lower,
    binomial_upper,
    head_count,
    hypergeometric_upper,
)


def exact_hypergeometric(population, marked, draws, at_least):
    ways = sum(
        comb(marked, count) * comb(population - marked, draws - count)
        for count in range(max(0, at_least), min(marked, draws) + 1)
    )
    return Fraction(ways, comb(population, draws))


def exact_binomial(trials, chance, at_least):
    chance = Fraction(chance)
    return sum(
        comb(trials, count) * chance**count * (1 - chance) ** (trials - count)
        for count in range(max(0, at_least), trials + 1)
    )


def test_the_hypergeometric_tail_is_exact_on_every_small_case():
    for population in range(9):
        for marked in range(population + 1):
            for draws in range(population + 1):
                for at_least in range(-1, population + 2):
                    exact = exact_hypergeometric(population, marked, draws, at_least)
                    assert hypergeometric_upper(population, marked, draws, at_least) == float(exact)


def test_all_five_corrupted_nodes_of_36_in_a_committee_of_24():
    assert hypergeometric_upper(36, 5, 24, 5) == comb(31, 19) / comb(36, 24)
    assert hypergeometric_upper(36, 5, 24, 5) == pytest.approx(0.1127, abs=5e-5)
    assert hypergeometric_upper(36, 4, 24, 5) == 0


@pytest.mark.parametrize("chance", [0.001, 0.05, 0.1, 0.5, 0.93])
@pytest.mark.parametrize("trials", [1, 2, 7, 40])
def test_the_binomial_tails_agree_with_exact_fractions(trials, chance):
    for threshold in range(-1, trials + 2):
        exact = exact_binomial(trials, chance, threshold)
        assert binomial_upper(trials, chance, threshold) == pytest.approx(float(exact), rel=1e-11)
        below = 1 - exact_binomial(trials, chance, threshold + 1)
        assert binomial_lower(trials, chance, threshold) == pytest.approx(float(below), rel=1e-11)


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_certain_outcomes(chance):
    for threshold in range(-1, 5):
        outcome = int(3 * chance)
        assert binomial_upper(3, chance, threshold) == float(outcome >= threshold)
        assert binomial_lower(3, chance, threshold) == float(outcome <= threshold)


def test_large_populations_agree_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    for population, share, draws in [(10**6, 0.05, 110), (10**5, 0.1, 231), (10**4, 0.2, 512)]:
        marked = int(population * share)
        for extra in (0, 5, 20, 60):
            at_least = int(draws * share) + extra
            expected = stats.hypergeom.sf(at_least - 1, population, marked, draws)
            actual = hypergeometric_upper(population, marked, draws, at_least)
            assert actual == pytest.approx(expected, rel=1e-8)
    for trials, chance in [(10**7, 2e-6), (10**6, 0.01), (5 * 10**5, 0.9)]:
        for offset in (-300, -10, 0, 10, 300):
            threshold = max(0, int(trials * chance) + offset)
            upper, lower = (
                stats.binom.sf(threshold - 1, trials, chance),
                stats.binom.cdf(threshold, trials, chance),
            )
            assert binomial_upper(trials, chance, threshold) == pytest.approx(upper, rel=1e-7)
            assert binomial_lower(trials, chance, threshold) == pytest.approx(lower, rel=1e-7)


def test_at_least_once_keeps_tiny_probabilities():
    assert at_least_once(1e-20, 40) == pytest.approx(4e-19)
    assert at_least_once(0.25, 2) == pytest.approx(0.4375)
    assert (at_least_once(0.0, 9), at_least_once(1.0, 9), at_least_once(1.0, 0)) == (0, 1, 0)


def test_head_counts_read_decimals_as_typed():
    assert head_count(0.07, 100) == 7  # 0.07 * 100 is 7.000000000000001 in binary
    assert [head_count(0.05, nodes) for nodes in (1, 20, 36, 41, 10**6)] == [1, 1, 2, 3, 50_000]
    assert (head_count(0, 36), head_count(1e-7, 10)) == (0, 1)


@pytest.mark.parametrize("arguments", [(5, 6, 1, 1), (5, 1, 6, 1), (5, -1, 1, 1)])
def test_impossible_draws_are_a_bug(arguments):
    with pytest.raises(ValueError, match="between 0 and the population"):
        hypergeometric_upper(*arguments)


@pytest.mark.parametrize("arguments", [(-1, 0.5, 0), (3, 1.5, 1), (3, -0.1, 1)])
def test_impossible_trials_are_a_bug(arguments):
    with pytest.raises(ValueError, match="between 0 and 1"):
        binomial_upper(*arguments)
