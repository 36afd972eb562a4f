"""What noise costs: composition, conversion to epsilon, and the same figures everywhere."""

import math
from fractions import Fraction

import pytest
from tests.support.town import manifest, phase

from pnyx.protocol.aggregation.ballots import Ballot
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.noise import NO_NOISE, Noise, choose_noise
from pnyx.protocol.privacy import (
    COST_UNIT,
    DELTA,
    epsilon,
    phase_rho,
    rho_for,
    round_cost,
    spent_after,
    study_rho,
)


def hockey_stick_delta(mu: float, eps: float) -> float:
    """δ of one Gaussian mechanism with Δ/σ = mu (Balle and Wang 2018, theorem 8)."""

    def normal(x: float) -> float:
        return math.erfc(-x / math.sqrt(2)) / 2

    return normal(mu / 2 - eps / mu) - math.exp(eps) * normal(-mu / 2 - eps / mu)


@pytest.mark.parametrize(
    ("multiplier", "rounds", "expected"), [(5, 1, 0.90), (5, 10, 3.13), (20, 100, 2.42)]
)
def test_published_values(multiplier, rounds, expected):
    """Values of an accountant by another hand, for δ = 1e-6."""
    assert epsilon(rounds / (2 * multiplier**2), 1e-6) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("multiplier", [0.5, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("rounds", [1, 7, 100])
def test_never_below_the_true_epsilon(multiplier, rounds):
    """Gaussians compose exactly, so the true δ at our ε is known: it must not exceed ours."""
    mu = math.sqrt(rounds) / multiplier
    eps = epsilon(mu**2 / 2)
    assert hockey_stick_delta(mu, eps) <= DELTA
    assert hockey_stick_delta(mu, 0.75 * eps) > DELTA, "nor is it far above"


def test_no_cost_and_no_bound():
    assert epsilon(0.0) == 0.0
    assert epsilon(math.inf) == math.inf
    assert epsilon(1e-12) < 1e-4


def test_more_costs_more():
    costs = [epsilon(rho) for rho in (1e-6, 1e-3, 0.1, 1.0, 10.0, 100.0)]
    assert costs == sorted(costs)
    assert epsilon(0.1, 1e-9) > epsilon(0.1, 1e-6)


@pytest.mark.parametrize("wanted", [0.01, 0.5, 3.0, 40.0])
def test_the_cost_of_a_wanted_epsilon(wanted):
    assert epsilon(rho_for(wanted)) == pytest.approx(wanted, rel=1e-6)
    assert epsilon(rho_for(wanted)) <= wanted


UPDATE = Bounds(9, 9, 100, 0)
COUNTS = Bounds(4, 0, 0, 8, 2, 50)
BOTH = Bounds(9, 5, 100, 8, 2, 50)


@pytest.mark.parametrize(
    ("bounds", "noise", "cost"),
    [
        (UPDATE, Noise(update_width=5, honest_min=3), Fraction(10**2, 2 * 3 * 5**2)),
        (COUNTS, Noise(count_width=5, honest_min=3), Fraction(2**2 * 4 * 8**2, 2 * 3 * 5**2)),
        (
            BOTH,
            Noise(update_width=7, count_width=5, honest_min=2),
            Fraction(10**2, 2 * 2 * 7**2) + Fraction(2**2 * 4 * 8**2, 2 * 2 * 5**2),
        ),
        (UPDATE, NO_NOISE, None),
        (COUNTS, NO_NOISE, None),
        (BOTH, Noise(update_width=5), None),
        (BOTH, Noise(count_width=5), None),
    ],
)
def test_a_round_costs_what_one_owner_moves(bounds, noise, cost):
    asked = phase(bounds.length, bounds=bounds, clip=10, noise=noise)
    assert round_cost(asked) == cost
    assert phase_rho(asked) == (math.inf if cost is None else float(cost))


@pytest.mark.parametrize(
    ("ballot", "counts", "moved"),
    [
        (Ballot("choice", 3), 6, 2),
        (Ballot("approval", 4, 2), 8, 4),
        (Ballot("ranking", 4), 6, 6),
    ],
)
def test_a_ballot_moves_as_many_entries_as_it_may_choose(ballot, counts, moved):
    bounds = Bounds(counts, 0, 0, 1, 1, 50, ballot)
    asked = phase(counts, bounds=bounds, noise=Noise(count_width=5, honest_min=2))
    assert round_cost(asked) == Fraction(moved, 2 * 2 * 25)


def test_costs_add_up_over_rounds_and_phases():
    noise = Noise(update_width=5, honest_min=3)
    first = phase(9, bounds=UPDATE, clip=10, noise=noise, rounds=4)
    second = phase(4, bounds=COUNTS, noise=Noise(count_width=9, honest_min=2), rounds=2)
    study = manifest(9, [first, second])
    assert study_rho(study) == pytest.approx(4 * phase_rho(first) + 2 * phase_rho(second))
    assert study_rho(manifest(9, [first, phase(9)])) == math.inf
    spent = 0
    for each in (first, first, second):
        spent = spent_after(spent, each, opened=True)
    exact = 2 * round_cost(first) + round_cost(second)
    assert 0 <= spent - exact * COST_UNIT < 3, "rounded up, once a round"


def test_a_round_that_opens_nothing_costs_nothing():
    noisy = phase(9, bounds=UPDATE, clip=10, noise=Noise(update_width=5))
    assert spent_after(7, noisy, opened=False) == 7
    assert spent_after(7, None, opened=False) == 7
    assert spent_after(7, phase(9), opened=True) is None
    assert spent_after(None, noisy, opened=True) is None


@pytest.mark.parametrize("multiplier", [0.5, 2.0, 5.0])
def test_chosen_noise_costs_what_was_asked_for(multiplier):
    for bounds, clip in ((Bounds(9, 9, 400, 0), 400), (Bounds(4, 0, 0, 64), 0)):
        chosen = choose_noise(bounds, clip, 16, multiplier, multiplier)
        asked = phase(bounds.length, bounds=chosen.bounds, clip=clip, noise=chosen.noise)
        wanted = 1 / (2 * multiplier**2)
        assert 0.85 * wanted < phase_rho(asked) <= wanted
