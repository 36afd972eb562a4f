"""Studies whose rounds take actors from lists that regions draw, under every fault of the others.

The checkers run throughout, and every round must end. Nodes lie, die in the middle of a draw and
come back, links lose messages, networks fall apart and heal.
"""

import msgspec
import pytest

from pnyx.simulator import Crash, Scenario, run
from pnyx.simulator.scenario import outlasting_scenario, random_scenario


def by_regions(scenario: Scenario) -> Scenario:
    return msgspec.structs.replace(scenario, selection="region")


@pytest.mark.parametrize("seeds", [range(8), pytest.param(range(8, 400), marks=pytest.mark.full)])
def test_random_faults(seeds: range) -> None:
    for seed in seeds:
        outcome = run(by_regions(random_scenario(seed, short=seed % 2 == 0)))
        assert len(outcome.records) > 1


@pytest.mark.parametrize("seeds", [range(4), pytest.param(range(4, 100), marks=pytest.mark.full)])
def test_attempts_that_are_aborted(seeds: range) -> None:
    """Second attempts take stand-ins from the list, and after a skip it serves again."""
    for seed in seeds:
        run(by_regions(outlasting_scenario(seed)))


@pytest.mark.parametrize("after_effects", [150, 260, 400])
def test_nodes_killed_in_the_middle_of_a_draw(after_effects: int) -> None:
    crashes = tuple(Crash(node=n, after_effects=after_effects, away_s=1.0) for n in (1, 4, 7))
    outcome = run(Scenario(seed=2, rounds=2, selection="region", crashes=crashes))
    assert [bool(record.accepted) for record in outcome.records.values()] == [False, True, True]
