"""Whole studies whose contributors fall into groups: under mixed faults, shared and masked.

The checkers look at every group: that it has the floor, that the record names it, that the model
grows by what its unit vectors give under the study's rule. `test_random_scenarios` and
`test_masked_rounds` have the same faults in one group.
"""

import pytest
from msgspec.structs import replace
from tests.simulation.test_masked_rounds import KINDS

from pnyx.primitives.hashing import digest
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation import robust
from pnyx.protocol.round import outcome
from pnyx.protocol.round.plan import RoundPlan
from pnyx.simulator import (
    InvariantError,
    Outcome,
    Scenario,
    outlasting_scenario,
    random_scenario,
    run,
)

CHUNK, SEEDS, SEEDS_FULL = 20, 20, 1_000
MEAN = {"groups": 2, "cohort_min": 2}
ROBUST = {"groups": 3, "cohort_min": 2, "tolerated": 1}


def grouped(seed: int, *, masks: bool, robust: bool = False) -> Scenario:
    """The faults of a random scenario, in groups."""
    scenario = random_scenario(seed, short=not robust)
    draw = Sampler(digest("test/grouped", seed.to_bytes(8, "big")), "kinds")
    corrupt = tuple((node, KINDS[draw.below(len(KINDS))]) for node, _ in scenario.corrupt)
    if not masks:
        corrupt = scenario.corrupt
    return replace(scenario, masks=masks, corrupt=corrupt, **(ROBUST if robust else MEAN))


def survives(scenario: Scenario) -> Outcome:
    try:
        outcome = run(scenario)
    except (InvariantError, RuntimeError, ValueError) as error:
        pytest.fail(f"seed {scenario.seed}, corrupt {scenario.corrupt}: {error}")
    assert outcome.finished
    assert len(outcome.records) == outcome.scenario.rounds + 1
    return outcome


def opened(outcomes: list[Outcome]) -> list[int]:
    """How many groups each round of contributions opened."""
    return [
        len(body.sums) for each in outcomes for number, body in each.records.items() if number > 0
    ]


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("first", list(range(0, SEEDS, CHUNK)))
def test_short_runs_under_mixed_faults(first: int, masks: bool) -> None:
    seeds = range(first, first + CHUNK)
    groups = opened([survives(grouped(seed, masks=masks)) for seed in seeds])
    assert groups.count(2) > CHUNK / 3, "faults seldom take a whole group"
    assert set(groups) <= {0, 1, 2}


@pytest.mark.parametrize("masks", [False, True])
def test_runs_of_a_robust_rule_under_mixed_faults(masks: bool) -> None:
    groups = opened([survives(grouped(seed, masks=masks, robust=True)) for seed in range(8)])
    assert groups.count(3) >= 4
    assert set(groups) <= {0, 3}, "all three groups, or none"


@pytest.mark.full
@pytest.mark.parametrize("trimmed", [False, True])
@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("first", list(range(SEEDS, SEEDS_FULL, CHUNK)))
def test_runs_under_mixed_faults_full(first: int, masks: bool, trimmed: bool) -> None:
    for seed in range(first, first + CHUNK):
        survives(grouped(seed, masks=masks, robust=trimmed))


@pytest.mark.parametrize("masks", [False, True])
def test_attempts_that_end_unopened_leave_groups_as_they_are(masks: bool) -> None:
    """A second attempt has the groups of the first: the beacon stays, and with it who is where."""
    again = []
    for seed in range(5):
        scenario = replace(outlasting_scenario(seed), masks=masks, **MEAN)
        again.append(survives(scenario))
    assert any(body.attempt == 2 for each in again for body in each.records.values())


def everywhere(plan: RoundPlan, accepted) -> dict[int, tuple[int, ...]]:
    """Every group that has anybody, whatever the floor says."""
    groups: dict[int, list[int]] = {}
    for who in sorted(accepted):
        groups.setdefault(plan.group_of[who], []).append(who)
    return {group: tuple(groups[group]) for group in sorted(groups)}


def test_the_checkers_see_a_group_below_the_floor(monkeypatch) -> None:
    """What they would say if members opened whatever there is."""
    monkeypatch.setattr(RoundPlan, "opened", everywhere)
    with pytest.raises(InvariantError, match="opens a group below the floor"):
        list(map(run, (grouped(seed, masks=False) for seed in range(40))))


def test_the_checkers_see_another_rule(monkeypatch) -> None:
    """The model that follows from a plain mean is not the one of the study's rule."""
    monkeypatch.setattr(
        outcome, "combine", lambda updates, _: robust.combine(updates, robust.PLAIN_MEAN)
    )
    with pytest.raises(InvariantError, match="names another model than its sum gives"):
        list(map(run, (Scenario(seed=seed, nodes=10, **ROBUST) for seed in range(10))))
