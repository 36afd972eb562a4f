"""T2: clocks an hour off, slow or fast. Logical rounds and monotonic time-outs bear it.

Nothing is released early: the checker demands a lock certificate and a debit for every byte. A
slow clock delays its own time-outs only. No rule compares a clock with another one, so there is no
defence to remove here; that an early release is seen shows in `test_checkers`.
"""

import pytest

from pnyx.simulator import Clock, Scenario, run

HOUR_S = 3600.0
RUNS = [8, pytest.param(200, marks=pytest.mark.full)]


def skewed(seed: int, nodes: int = 6) -> Scenario:
    """Every node has another clock: up to an hour ahead or behind, up to 10 % slow or fast."""
    clocks = tuple(
        (node, Clock(HOUR_S * ((node + seed) % 3 - 1), 0.9 + 0.2 * ((node * 5 + seed) % 7) / 6))
        for node in range(nodes)
    )
    return Scenario(seed=seed, nodes=nodes, rounds=2, clocks=clocks)


@pytest.mark.parametrize("runs", RUNS)
def test_clocks_an_hour_off_release_nothing_early(runs: int) -> None:
    for seed in range(runs):
        outcome = run(skewed(seed))
        assert len(outcome.records) == 3
        assert not any(body.skipped for body in outcome.records.values() if body.round_number)
        assert outcome.ended_s < 20.0


def test_a_clock_tells_the_time_at_which_it_shows_a_reading() -> None:
    for clock in (Clock(), Clock(HOUR_S, 0.9), Clock(-HOUR_S, 1.1)):
        for reading in (0.1, 7.3, 1234.5):
            assert clock.shows(clock.time_of(reading)) >= reading
            assert clock.time_of(clock.shows(reading)) == pytest.approx(reading, abs=1e-6)
