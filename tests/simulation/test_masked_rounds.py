"""Whole studies whose updates travel masked: under mixed faults, and under one fault at a time.

The checkers compare every sum, as in direct mode: masked unit vectors make the model, shared ones
the metrics, and both must name exactly the accepted set. `test_random_scenarios` has the same
faults without masks.
"""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from msgspec.structs import replace
from tests.support.masked_runs import Watched, drawn, masked_study, only_contributor, opened

from pnyx.primitives.hashing import digest
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.events import (
    ContributionAcknowledged,
    Effect,
    Persist,
    ReadParcel,
    SealParcel,
    Send,
    SendChunk,
    StepReached,
    StoreChunk,
    SumVectors,
)
from pnyx.protocol.messages import VectorOffer, VectorReceipt, VectorSum
from pnyx.simulator import (
    Crash,
    InvariantError,
    Owner,
    Scenario,
    outlasting_scenario,
    random_scenario,
    run,
)
from pnyx.simulator.adversary import read
from pnyx.simulator.behaviours import BEHAVIOURS, MASKED
from pnyx.simulator.population import SimulatedNode

# A contributor that shares another key than it masks with spoils its sum, which the checkers do not
# allow: `test_spoiled_masked_sum` looks at that.
KINDS = sorted({*BEHAVIOURS, *MASKED} - {"other key"})
FORGING = ("bad share", "off polynomial", "over scale", "two headers")
SHORT_SEEDS, SHORT_SEEDS_FULL, CHUNK = 200, 2_000, 50
STEPS_S = (4.05, 4.25, 4.4, 4.5, 4.6, 4.8, 5.2, 5.6)  # keys, vectors, shares, ..., sum, record


def with_masks(scenario: Scenario) -> Scenario:
    """The same faults, and corrupt nodes of all kinds that there are in masked rounds."""
    draw = Sampler(digest("test/masked", scenario.seed.to_bytes(8, "big")), "kinds")
    corrupt = tuple((node, KINDS[draw.below(len(KINDS))]) for node, _ in scenario.corrupt)
    return replace(scenario, masks=True, corrupt=corrupt)


def survives(scenario: Scenario) -> None:
    try:
        outcome = run(scenario)
    except (InvariantError, RuntimeError, ValueError) as error:
        pytest.fail(f"seed {scenario.seed}, corrupt {scenario.corrupt}: {error}")
    assert outcome.finished
    assert len(outcome.records) == outcome.scenario.rounds + 1


# --- mixed faults ---------------------------------------------------------------------------------


@pytest.mark.parametrize("first", list(range(0, SHORT_SEEDS, CHUNK)))
def test_short_runs_under_mixed_faults(first: int) -> None:
    for seed in range(first, first + CHUNK):
        survives(with_masks(random_scenario(seed, short=True)))


@pytest.mark.full
@pytest.mark.parametrize("first", list(range(SHORT_SEEDS, SHORT_SEEDS_FULL, CHUNK)))
def test_short_runs_under_mixed_faults_full(first: int) -> None:
    for seed in range(first, first + CHUNK):
        survives(with_masks(random_scenario(seed, short=True)))


@pytest.mark.parametrize("seeds", [2, pytest.param(200, marks=pytest.mark.full)])
def test_larger_networks_under_mixed_faults(seeds: int) -> None:
    for seed in range(seeds):
        survives(with_masks(random_scenario(seed)))


@pytest.mark.parametrize("seeds", [2, pytest.param(200, marks=pytest.mark.full)])
def test_attempts_that_faults_outlast(seeds: int) -> None:
    """Nothing of an aborted attempt is used in the second: the checkers compare what is drawn."""
    for seed in range(seeds):
        survives(with_masks(outlasting_scenario(seed)))


def test_every_kind_of_corrupt_node_is_drawn() -> None:
    scenarios = [with_masks(random_scenario(seed, short=True)) for seed in range(SHORT_SEEDS)]
    assert {kind for scenario in scenarios for _, kind in scenario.corrupt} == set(KINDS)


@pytest.mark.parametrize("kind", sorted({*FORGING, *MASKED} - {"other key"}))
def test_one_corrupt_node_of_each_kind(kind: str) -> None:
    """A contributor that is nothing else, or an aggregator, whichever matters."""
    plan = drawn(masked_study())
    contributes = kind in (*FORGING, "other hash")
    node = only_contributor(plan) if contributes else plan.aggregators[0]
    simulation = Watched(masked_study(corrupt=((node, kind),)))
    assert opened(simulation.run()), f"node {node}"
    assert simulation.culprits() <= {node}, "an honest node is blamed"


def test_same_seed_same_trace() -> None:
    scenario = with_masks(random_scenario(7, short=True))
    assert run(scenario).trace_hash == run(scenario).trace_hash


# --- dropouts and absences ------------------------------------------------------------------------


class Leaving(Watched):
    """A run in which nodes die for good as soon as their contribution is acknowledged."""

    def __init__(self, scenario: Scenario, leavers: frozenset[int]) -> None:
        self.leavers, self.left = leavers, set[int]()
        super().__init__(scenario)

    def observe(self, node: SimulatedNode, effect: Effect) -> None:
        super().observe(node, effect)
        if isinstance(effect, ContributionAcknowledged) and node.index in self.leavers:
            self.left.add(node.index)
            node.kill_after = node.effects_done + 1
            self._gone.add(node.index)


def test_who_leaves_after_its_receipts_counts_all_the_same() -> None:
    """The same record, bit by bit, whether everybody stays or every mere contributor leaves."""
    scenario = masked_study(5, nodes=14)  # both mere contributors are acknowledged
    plan = drawn(scenario)
    pure = [i for i in plan.contributors if i not in {*plan.member_of, *plan.aggregators}]
    undisturbed = run(scenario).records[1]
    for leavers in (pure[:1], pure):
        simulation = Leaving(scenario, frozenset(leavers))
        record = simulation.run().records[1]
        assert record == undisturbed
        assert len(simulation.left & set(record.accepted)) >= len(leavers) - 1
        assert simulation.left, "somebody leaves"


@pytest.mark.parametrize("percent", [0, 20, 30, 50])
def test_who_drops_out_before_is_not_in_the_sum_and_changes_nothing_else(percent: int) -> None:
    """Some fail to train, others die while they upload; the checkers compare the sum."""
    for seed in (1, 2):
        scenario = masked_study(seed, nodes=10)
        plan = drawn(scenario)
        out = plan.contributors[: len(plan.contributors) * percent // 100]
        owners = tuple((node, Owner(training_fails=True)) for node in out[::2])
        slow = tuple((node, Owner(training_s=200.0)) for node in out[1::2])
        outcome = run(replace(scenario, owners=owners + slow))
        assert opened(outcome)
        assert not set(outcome.records[1].accepted) & set(out)
        expected = [int(node in outcome.records[1].accepted) for node in range(scenario.nodes)]
        assert list(outcome.records[1].metrics) == expected


@pytest.mark.parametrize("runs", [3, pytest.param(500, marks=pytest.mark.full)])
def test_a_third_of_all_nodes_dies_in_the_middle(runs: int) -> None:
    for seed in range(runs):
        away = tuple((seed + 3 * each) % 10 for each in range(3))
        crashes = tuple(
            Crash(node=node, at_s=STEPS_S[(seed + node) % len(STEPS_S)], away_s=20.0)
            for node in away
        )
        assert len(run(masked_study(seed, nodes=10, crashes=crashes)).records) == 2


@pytest.mark.parametrize("at_s", STEPS_S[1::2])
def test_one_aggregator_leaves_for_good(at_s: float) -> None:
    """Most aggregators hold every vector that counts, so any one of them may go."""
    plan = drawn(masked_study())
    for node in plan.aggregators:
        crash = Crash(node=node, at_s=at_s, away_s=None)
        assert opened(run(masked_study(crashes=(crash,))))


@pytest.mark.parametrize("at_s", STEPS_S[1::2])
def test_two_aggregators_are_away_for_a_while(at_s: float) -> None:
    """While they are away the round may stand still; then its sum is opened."""
    plan = drawn(masked_study())
    crashes = tuple(Crash(node=node, at_s=at_s, away_s=6.0) for node in plan.aggregators[:2])
    assert opened(run(masked_study(crashes=crashes)))


def members_without_other_role(scenario: Scenario) -> list[int]:
    plan = drawn(scenario)
    return [index for index in plan.committee if index not in plan.aggregators]


@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize("at_s", STEPS_S[::2])
def test_the_planned_absences_of_a_committee_and_one_more(at_s: float, more: int) -> None:
    """More absences than are planned for, up to k - q, end in an opened sum, too."""
    scenario = masked_study(4, nodes=14)
    size = drawn(scenario).size
    assert size.absent_max + more <= size.size - size.quorum
    away = members_without_other_role(scenario)[: size.absent_max + more]
    crashes = tuple(Crash(node=node, at_s=at_s, away_s=None) for node in away)
    assert opened(run(replace(scenario, crashes=crashes)))


def test_beyond_the_quorum_a_round_waits_and_ends_when_they_are_back() -> None:
    """One member more than k - q is away, from the accepted set on: nothing is opened meanwhile."""
    scenario = masked_study(4, nodes=14)
    size = drawn(scenario).size
    away = members_without_other_role(scenario)[: size.size - size.quorum + 1]
    released_at = released_s(scenario)
    crashes = tuple(Crash(node=node, at_s=released_at, away_s=100.0) for node in away)
    outcome = run(replace(scenario, crashes=crashes))
    assert outcome.ended_s > 100.0
    assert opened(outcome)
    gone = tuple(replace(crash, away_s=None) for crash in crashes)
    with pytest.raises(InvariantError, match="has not ended"):
        run(replace(scenario, crashes=gone))


def released_s(scenario: Scenario) -> float:
    """When the first member comes to the step RELEASE of round 1."""
    simulation = Watched(scenario)

    def reached() -> bool:
        return any(
            isinstance(effect, StepReached) and (effect.round_number, effect.step) == (1, "release")
            for log in simulation.log
            for effect in log[-20:]
        )

    assert simulation.until(reached)
    return simulation.scheduler.now


# --- kills ----------------------------------------------------------------------------------------

SMALL = masked_study(nodes=6)


def killed(node: int, after_effects: int, away_s: float = 0.7) -> None:
    crash = Crash(node=node, after_effects=after_effects, away_s=away_s)
    outcome = run(replace(SMALL, crashes=(crash,)))
    assert outcome.kills == 1, f"{crash} never fell"
    assert opened(outcome), f"{crash} had the round skipped"


def effects_of(scenario: Scenario) -> list[list[Effect]]:
    simulation = Watched(scenario)
    simulation.run()
    return simulation.log


def test_kill_at_boundaries_spread_over_the_life_of_each_node() -> None:
    lives = [len(log) for log in effects_of(SMALL)]
    for node, life in enumerate(lives):
        for after in range(1 + 5 * node, life - 1, 131):
            killed(node, after)


@pytest.mark.full
@pytest.mark.parametrize("node", list(range(SMALL.nodes)))
def test_kill_at_every_effect_boundary(node: int) -> None:
    for after in range(len(effects_of(SMALL)[node]) - 1):
        killed(node, after)


def kind_of(effect: Effect) -> str | None:
    """What an effect has to do with masked vectors, if anything."""
    if isinstance(effect, StoreChunk | SealParcel | ReadParcel | SumVectors | SendChunk):
        return type(effect).__name__
    if isinstance(effect, Persist):
        parts = effect.key.split("/")
        if effect.key.endswith(("/hashes", "/readers", "/contribution", "/header")):
            return parts[-1]
        return "vector" if parts[-2] == "vector" else None
    message = read(effect.payload) if isinstance(effect, Send) else None
    watched = isinstance(message, VectorOffer | VectorReceipt | VectorSum)
    return type(message).__name__ if watched else None


def moments(log: list[Effect]) -> Iterator[tuple[str, int]]:
    """(kind, how many effects are done before it) of each effect about masked vectors.

    Models are parcels, too, and left out.
    """
    stored = [each.key.split("/") for each in log if isinstance(each, Persist)]
    models = {key[4] for key in stored if key[:2] == ["chain", "study"] and "parcel" in key}

    def of_model(effect: Effect) -> bool:
        if isinstance(effect, Persist):
            return not models.isdisjoint(effect.key.split("/"))
        return getattr(effect, "parcel", b"").hex() in models

    for at, effect in enumerate(log):
        kind = None if of_model(effect) else kind_of(effect)
        if kind is not None:
            yield kind, at


def test_kill_around_every_kind_of_effect_about_vectors() -> None:
    """Before the first and after the last of each: of a contributor, and of an aggregator."""
    logs = effects_of(SMALL)
    plan = drawn(SMALL)
    fell: set[str] = set()
    for node in [each for each in plan.aggregators if each in plan.contributors][:2]:
        times: dict[str, list[int]] = {}
        for kind, at in moments(logs[node]):
            times.setdefault(kind, []).append(at)
        for after in sorted({t for each in times.values() for t in (each[0], each[-1] + 1)}):
            killed(node, after)
        fell.update(times)
    assert fell == {
        *("contribution", "header", "StoreChunk", "SealParcel", "hashes", "readers", "SendChunk"),
        *("VectorOffer", "ReadParcel", "vector", "VectorReceipt", "SumVectors", "VectorSum"),
    }


def test_an_aggregator_is_killed_while_it_adds_up() -> None:
    """The sum is lost, and made again, or had from another; at once, or much later."""
    for node, log in enumerate(effects_of(SMALL)):
        for at, effect in enumerate(log):
            if isinstance(effect, SumVectors):
                for away_s in (0.1, 5.0):
                    killed(node, at + 1, away_s)


def test_all_aggregators_are_killed_while_they_add_up() -> None:
    """Nobody has the sum until they are back."""
    summing = {
        node: at + 1
        for node, log in enumerate(effects_of(SMALL))
        for at, effect in enumerate(log)
        if isinstance(effect, SumVectors)
    }
    assert len(summing) >= 2
    crashes = tuple(
        Crash(node=node, after_effects=after, away_s=3.0) for node, after in summing.items()
    )
    outcome = run(replace(SMALL, crashes=crashes))
    assert outcome.kills >= 2
    assert opened(outcome)


def test_nodes_that_forget_what_they_promised_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody dies at once and comes back with nothing of the round on its disk."""
    crash = SimulatedNode.crash

    def with_its_disk(node: SimulatedNode) -> None:
        crash(node)
        node.disk = {key: value for key, value in node.disk.items() if key.startswith("chain/")}

    def caught(at_s: float) -> bool:
        crashes = tuple(Crash(node=node, at_s=at_s) for node in range(SMALL.nodes))
        try:
            return not opened(run(replace(SMALL, crashes=crashes)))
        except InvariantError:
            return True

    assert not any(caught(at_s) for at_s in STEPS_S[3:6])
    monkeypatch.setattr(SimulatedNode, "crash", with_its_disk)
    assert any(caught(at_s) for at_s in STEPS_S[3:6])


def test_what_a_promise_needs_is_durable_before_it() -> None:
    """Stored, sealed, described, read, granted, counted as held; only then receipted."""
    # The first study in which somebody aggregates and does nothing else with vectors.
    studies = (masked_study(seed) for seed in range(1, 20))
    study, node = next(
        (study, index)
        for study in studies
        for index in drawn(study).aggregators
        if index not in drawn(study).contributors
    )
    order = ["StoreChunk", "SealParcel", "hashes", "ReadParcel", "readers", "vector"]
    first: dict[str, int] = {}
    for kind, at in moments(effects_of(study)[node]):
        first.setdefault(kind, at)
    assert all(first[a] < first[b] for a, b in pairwise([*order, "VectorReceipt"]))
