"""Short runs under mixed faults; every invariant is checked after every effect.

A failure names its seed: `python -m pnyx.simulator SEED` replays it and prints the trace.
"""

import pytest

from pnyx.simulator import InvariantError, random_scenario, run

SEEDS = 240
CHUNK = 10

# Seeds that once failed, and what was wrong.
REGRESSIONS = {
    0: "a member polled for a close vote that only new dealings could complete",
    36: "the open list held too few of the members that were to deal",
    62: "the same, under loss",
    95: "the same, after an equivocating leader",
    266: "the same, in round 0",
    321: "the same, in a second round",
    341: "the same, with a kill",
}


def survives(seed: int) -> None:
    try:
        outcome = run(random_scenario(seed))
    except (InvariantError, RuntimeError) as error:
        pytest.fail(f"python -m pnyx.simulator {seed}\n{error}")
    assert outcome.finished
    assert len(outcome.records) == outcome.scenario.rounds + 1


@pytest.mark.parametrize("first", list(range(0, SEEDS, CHUNK)))
def test_mixed_faults(first: int) -> None:
    for seed in range(first, first + CHUNK):
        survives(seed)


@pytest.mark.parametrize("seed", list(REGRESSIONS))
def test_regressions(seed: int) -> None:
    survives(seed)


@pytest.mark.full
@pytest.mark.parametrize("first", list(range(SEEDS, 10_000, 100)))
def test_mixed_faults_full(first: int) -> None:
    for seed in range(first, first + 100):
        survives(seed)


def test_same_seed_same_trace() -> None:
    for seed in (3, 17, 40):
        first, second = run(random_scenario(seed)), run(random_scenario(seed))
        assert first.trace_hash == second.trace_hash
        assert first == second
    assert run(random_scenario(3)).trace_hash != run(random_scenario(4)).trace_hash
