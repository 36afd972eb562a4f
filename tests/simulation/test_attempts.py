"""Attempts that cannot go on: abort, second attempt and skip, beyond what every run checks."""

from collections.abc import Callable

import pytest

from pnyx.protocol.events import AttemptAborted, Effect, Persist, StepReached
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round.attempts import without_outcome
from pnyx.protocol.round.plan import RoundPlan
from pnyx.simulator import (
    Crash,
    InvariantError,
    Outcome,
    Partition,
    Scenario,
    Simulation,
    outlasting_scenario,
    run,
)
from pnyx.simulator.population import SimulatedNode

PATIENCE_S = 15.0
PARAMS = ProtocolParams(attempt_timeout_s=PATIENCE_S)
# In this run every member has entered ACCEPT, and none has the accepted set.
DIVIDED = Scenario(
    seed=2,
    nodes=8,
    params=PARAMS,
    partitions=(Partition((0, 1, 2, 3), 5.1, 40.0),),
    limit_s=600.0,
)


WHOLE = Scenario(seed=5, nodes=8, rounds=2, params=PARAMS, limit_s=600.0)


class Directed(Simulation):
    """A run in which things happen when round 1 first comes to a step."""

    def __init__(self, scenario: Scenario, **acts: Callable[["Directed"], None]) -> None:
        self.acts = acts
        self.plans: dict[int, RoundPlan] = {}  # attempt -> plan of round 1
        self.aborts: dict[tuple[int, int], float] = {}  # node, attempt
        self.abort_stored: dict[int, int] = {}  # node -> its effects before
        super().__init__(scenario)

    def observe(self, node: SimulatedNode, effect: Effect) -> None:
        super().observe(node, effect)
        match effect:
            case StepReached(round_number=1):
                (state,) = node.machine.studies.values()
                if state.plan is not None and state.plan.round_number == 1:
                    self.plans.setdefault(state.plan.attempt, state.plan)
                again = "_2" if 2 in self.plans else ""
                act = self.acts.pop(effect.step + again, None)
                if act is not None:
                    act(self)
            case AttemptAborted():
                self.aborts[node.index, effect.attempt] = self.scheduler.now
            case Persist() if "/abort/" in effect.key:
                self.abort_stored[node.index] = node.effects_done

    def kill(self, members: list[int], away_s: float | None) -> None:
        """Kill these members of round 1's committee, as soon as this effect is done."""
        for member in members:
            node = self.nodes[self.plans[1].committee[member]]
            self.scheduler.call_at(self.scheduler.now, self._kill, node, away_s)


def aborted(outcome: Outcome) -> bool:
    return any(body.attempt > 1 for body in outcome.records.values())


def skipped(outcome: Outcome) -> bool:
    return any(without_outcome(body) for number, body in outcome.records.items() if number)


def survives(first: int, count: int) -> tuple[int, int]:
    """Run these seeds; returns how many had an abort, and how many a skip."""
    outcomes = []
    for seed in range(first, first + count):
        try:
            outcomes.append(run(outlasting_scenario(seed)))
        except (InvariantError, RuntimeError) as error:
            pytest.fail(f"python -m pnyx.simulator --outlasting {seed}\n{error}")
    assert all(o.finished and len(o.records) == o.scenario.rounds + 1 for o in outcomes)
    return sum(map(aborted, outcomes)), sum(map(skipped, outcomes))


def test_attempts_fail_in_a_good_share_of_seeds() -> None:
    aborts, skips = survives(0, 30)
    assert aborts >= 9, f"{aborts} of 30 runs aborted an attempt"
    assert skips >= 3, f"{skips} of 30 runs skipped a round"


def test_a_member_that_round_0_listed_leaves_for_good() -> None:
    """Its joins were listed by a bare quorum: the first attempt can never close."""
    outcome = run(outlasting_scenario(63))
    assert outcome.records[0].attempt == 2


def test_a_proposer_that_leaves_for_good_before_anybody_heard() -> None:
    """Cut off from all but one node, whose requests are lost, it takes its study along."""
    assert run(outlasting_scenario(2021)).finished


@pytest.mark.full
@pytest.mark.parametrize("first", list(range(30, 2_000, 50)))
def test_attempts_fail_full(first: int) -> None:
    survives(first, 50)


def leavers(run_: Directed) -> None:
    """Three of eight members are away while keys are published: five are listed, a quorum.

    It takes f + 1 leaders until so few will do.
    """
    run_.kill([5, 6], 40.0)
    run_.kill([7], None)


LEFT = Scenario(seed=0, nodes=11, params=PARAMS, limit_s=400.0)


def dropouts(scenario: Scenario) -> Directed:
    """A listed member leaves for good, so that too few of those listed are left."""
    return Directed(scenario, open=leavers, close=lambda run_: run_.kill([4], None))


def test_dropouts_between_open_and_close() -> None:
    """Others came back: with them there is a quorum, which closes nothing but can abort."""
    simulation = dropouts(LEFT)
    outcome = simulation.run()
    body = outcome.records[1]
    assert (body.attempt, body.skipped) == (2, False)
    assert len(body.accepted) >= LEFT.cohort_min  # the checker compares the sum
    first, second = simulation.plans[1], simulation.plans[2]
    changed = [m for m in range(8) if first.committee[m] != second.committee[m]]
    assert changed == [7]  # dead members with a key stay, and so do those that came back
    assert second.committee[7] not in first.committee


def test_dropouts_without_patience_never_end() -> None:
    never = ProtocolParams(attempt_timeout_s=1e6)
    with pytest.raises(InvariantError, match="has not ended"):
        dropouts(Scenario(seed=0, nodes=11, params=never, limit_s=200.0)).run()


def test_no_abort_once_a_set_is_accepted() -> None:
    """Members vanish between lock and release, for longer than anybody's patience."""
    vanish = lambda run_: run_.kill([2, 3, 4, 5], 4 * PATIENCE_S)  # noqa: E731
    simulation = Directed(WHOLE, release=vanish)
    outcome = simulation.run()
    assert outcome.ended_s > 4 * PATIENCE_S
    assert outcome.records[1].attempt == 1
    assert simulation.aborts == {}


def test_committee_below_its_quorum_suspends_the_study() -> None:
    """Three of six can neither go on nor abort, however long they wait."""
    vanish = lambda run_: run_.kill([3, 4, 5], 150.0)  # noqa: E731
    simulation = Directed(WHOLE, close=vanish)
    outcome = simulation.run()
    assert outcome.ended_s > 150.0
    assert all(at > 150.0 for at in simulation.aborts.values())


def test_second_abort_skips_the_round() -> None:
    """The model stays, nobody counts, joins carry over, and the next round completes.

    Half of the committee is away for longer than the other half's patience, twice. Those who gave
    up answer no more, so that those who return cannot go on without them.
    """

    def vanish(run_: Directed) -> None:
        run_.kill([3, 4, 5], 10.0 + 2 * PATIENCE_S)

    simulation = Directed(WHOLE, close=vanish, close_2=vanish)
    outcome = simulation.run()
    one, two = outcome.records[1], outcome.records[2]
    assert without_outcome(one)
    assert (one.attempt, one.skipped) == (2, True)
    assert one.model_hash != two.model_hash
    assert one.joins_root == outcome.records[0].joins_root
    assert len(two.accepted) >= WHOLE.cohort_min
    assert set(simulation.aborts) == {(n, a) for n in range(WHOLE.nodes) for a in (1, 2)}


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.full), 9])
def test_kill_at_every_effect_boundary_around_an_abort(step: int) -> None:
    """The checker compares what is signed, what is drawn afresh, and what is left on the disk."""
    undisturbed = Directed(DIVIDED)
    assert aborted(undisturbed.run())
    for node, stored in undisturbed.abort_stored.items():
        for after in range(stored - 10 + node % step, stored + 40, step):
            fields = {name: getattr(DIVIDED, name) for name in DIVIDED.__struct_fields__}
            crash = Crash(node=node, after_effects=after, away_s=0.7)
            outcome = run(Scenario(**{**fields, "crashes": (crash,)}))
            assert aborted(outcome), str(crash)
            assert outcome.records[1].accepted, str(crash)
