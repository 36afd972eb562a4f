"""Whole networks with corrupt nodes: these are convicted and excluded, honest ones never are.

Every run also checks, after every effect, that no honest node holds evidence against another, and
that no record excludes one.
"""

from functools import cache

import pytest

from pnyx.protocol.events import Effect, PeerBlamed
from pnyx.protocol.evidence.proofs import Offence
from pnyx.simulator import Scenario, random_scenario, run
from pnyx.simulator.population import SimulatedNode
from pnyx.simulator.simulation import Outcome, Simulation

NODES, ROUNDS = 10, 3
CORRUPT = 4
SEEDS = range(
    1, 10
)  # a dealer counts in one round of three, and a liar chooses its lie by the round


class Convictions(Simulation):
    """A run that keeps who holds evidence of what."""

    def __init__(self, scenario: Scenario) -> None:
        self.told: set[str] = set()
        self.proven: dict[str, set[int]] = {}
        super().__init__(scenario)

    def observe(self, node: SimulatedNode, effect: Effect) -> None:
        super().observe(node, effect)
        if not isinstance(effect, PeerBlamed):
            return
        self.told.add(effect.rule)  # also what adds nothing to what is kept
        if effect.evidence:
            self.proven.setdefault(effect.rule, set()).add(node.index)


@cache
def judged(kind: str, seed: int = 1) -> tuple[Convictions, Outcome]:
    scenario = Scenario(seed=seed, nodes=NODES, rounds=ROUNDS, corrupt=((CORRUPT, kind),))
    simulation = Convictions(scenario)
    outcome = simulation.run()
    assert outcome.finished
    assert not any(body.skipped for body in outcome.records.values())
    return simulation, outcome


def offences(kind: str) -> set[str]:
    return {rule for seed in SEEDS for rule in judged(kind, seed)[0].told}


EXPECTED = {
    "liar": {Offence.WRONG_ANSWER, Offence.WRONG_RELEASE},
    "two headers": {Offence.TWO_CONTRIBUTIONS},
    "bad share": {Offence.WRONG_SHARE, Offence.RANGE},
    "over scale": {Offence.RANGE},
    "off polynomial": {Offence.SHARING},
    "false dealer": {Offence.BAD_DEALING},
    "equivocating leader": {Offence.TWO_PROPOSALS},
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_culprit_is_blamed_for_what_it_did(kind):
    assert offences(kind) >= EXPECTED[kind]


@pytest.mark.parametrize("kind", EXPECTED)
def test_evidence_reaches_everybody_and_ends_in_an_exclusion(kind):
    """Also those that took no part in the round, before the study ends."""
    runs = [judged(kind, seed) for seed in SEEDS]
    assert any(CORRUPT in outcome.records[ROUNDS].excluded for _, outcome in runs)
    for simulation, outcome in runs:
        for who in simulation.proven.values():
            assert len(who) >= NODES - 1
        for number in range(1, ROUNDS + 1):
            before = outcome.records[number - 1].excluded
            assert set(before) <= set(outcome.records[number].excluded) <= {CORRUPT}
            assert not set(before).intersection(outcome.records[number].accepted)


@pytest.mark.parametrize("kind", ["perjurer", "withheld reveals", "garbage"])
def test_what_proves_nothing_excludes_nobody(kind):
    for seed in range(1, 5):
        simulation, outcome = judged(kind, seed)
        assert simulation.proven == {}
        assert all(body.excluded == () for body in outcome.records.values())


def test_false_evidence_is_refused():
    rules = {rule for seed in range(1, 5) for rule in judged("perjurer", seed)[1].rules}
    assert "two bodies do not contradict each other" in rules


def innocent(first: int, count: int) -> None:
    for seed in range(first, first + count):
        assert run(random_scenario(seed, short=True)).finished


def test_no_evidence_against_honest_nodes():
    innocent(50_000, 60)


@pytest.mark.full
@pytest.mark.parametrize("first", range(0, 10_000, 500))
def test_no_evidence_against_honest_nodes_in_ten_thousand_rounds(first):
    innocent(60_000 + first, 500)
