"""Runs under mixed faults; every invariant is checked after every effect.

A failure names its seed: `python -m pnyx.simulator [--short] SEED` replays it and prints the trace.
Short runs are many; the larger networks of the others have committees that tolerate more.
"""

import pytest

from pnyx.simulator import InvariantError, random_scenario, run
from pnyx.simulator.behaviours import (
    BEHAVIOURS,
)

SHORT_SEEDS, SHORT_CHUNK = 2_000, 50
SEEDS, CHUNK = 60, 10
FULL_CHUNK = 100
SEEDS_FULL = 10_000

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
SHORT_REGRESSIONS = {1418: "the simulator waited for a study whose proposer died before it sent it"}


def survives(seed: int, *, short: bool = False) -> None:
    try:
        outcome = run(random_scenario(seed, short=short))
    except (InvariantError, RuntimeError) as error:
        pytest.fail(f"python -m pnyx.simulator {'--short ' if short else ''}{seed}\n{error}")
    assert outcome.finished
    assert len(outcome.records) == outcome.scenario.rounds + 1


@pytest.mark.parametrize("first", list(range(0, SHORT_SEEDS, SHORT_CHUNK)))
def test_short_runs_under_mixed_faults(first: int) -> None:
    for seed in range(first, first + SHORT_CHUNK):
        survives(seed, short=True)


@pytest.mark.parametrize("first", list(range(0, SEEDS, CHUNK)))
def test_mixed_faults(first: int) -> None:
    for seed in range(first, first + CHUNK):
        survives(seed)


@pytest.mark.parametrize("seed", list(REGRESSIONS))
def test_regressions(seed: int) -> None:
    survives(seed)


@pytest.mark.parametrize("seed", list(SHORT_REGRESSIONS))
def test_short_regressions(seed: int) -> None:
    survives(seed, short=True)


@pytest.mark.full
@pytest.mark.parametrize("first", list(range(SEEDS, SEEDS_FULL, FULL_CHUNK)))
def test_mixed_faults_full(first: int) -> None:
    for seed in range(first, min(first + FULL_CHUNK, SEEDS_FULL)):
        survives(seed)


def test_short_runs_show_every_fault() -> None:
    """The counts of the first thousand seeds: no fault is left out by a slip of the generator."""
    drawn = [random_scenario(seed, short=True) for seed in range(1_000)]
    kinds = {kind for scenario in drawn for _, kind in scenario.corrupt}
    assert kinds == set(BEHAVIOURS)
    shown = {
        "loss": sum(each.link.loss > 0 for each in drawn),
        "copies": sum(each.link.duplication > 0 for each in drawn),
        "reordering": sum(each.link.reordering for each in drawn),
        "late copies": sum(each.link.late > 0 for each in drawn),
        "partitions": sum(bool(each.partitions) for each in drawn),
        "cuts": sum(bool(each.cuts) for each in drawn),
        "kills": sum(bool(each.crashes) for each in drawn),
        "clocks": sum(bool(each.clocks) for each in drawn),
        "several at once": sum(bool(each.corrupt and each.crashes) for each in drawn),
    }
    assert min(shown.values()) > 100, shown


def test_same_seed_same_trace() -> None:
    for seed in (3, 17, 40):
        first, second = run(random_scenario(seed)), run(random_scenario(seed))
        assert first.trace_hash == second.trace_hash
        assert first == second
    assert run(random_scenario(3)).trace_hash != run(random_scenario(4)).trace_hash
