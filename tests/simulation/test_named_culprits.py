"""Corrupt nodes that can be named are named by honest ones, for what they did; nobody else is."""

from functools import cache

from pnyx.protocol.aggregation.verdicts import Rule
from pnyx.protocol.events import ContributionsJudged, Effect, PeerBlamed
from pnyx.protocol.evidence.proofs import Offence
from pnyx.simulator import Scenario
from pnyx.simulator.population import SimulatedNode
from pnyx.simulator.simulation import Simulation

# A liar chooses its lie by the context of a round, so two rounds may show but one of them.
SEEDS = (7, 8, 9)


class Accusations(Simulation):
    """A run that keeps what honest nodes say of others."""

    def __init__(self, scenario: Scenario) -> None:
        self.blamed: dict[tuple[int, str], set[int]] = {}
        self.judged: list[ContributionsJudged] = []
        super().__init__(scenario)

    def observe(self, node: SimulatedNode, effect: Effect) -> None:
        super().observe(node, effect)
        if node.index in self.corrupt:
            return
        if isinstance(effect, PeerBlamed):
            accused = self.population.census.index_of(effect.peer)
            self.blamed.setdefault((accused, effect.rule), set()).add(node.index)
        if isinstance(effect, ContributionsJudged):
            self.judged.append(effect)


@cache
def accused(kind: str, node: int, seed: int = 7) -> Accusations:
    simulation = Accusations(Scenario(seed=seed, nodes=8, rounds=2, corrupt=((node, kind),)))
    outcome = simulation.run()
    assert len(outcome.records) == 3
    assert not any(body.skipped for body in outcome.records.values())
    assert all(index == node for index, _ in simulation.blamed), "an honest node is blamed"
    return simulation


def rules(kind: str) -> set[str]:
    """Rules for which at least two honest nodes, one more than may be corrupt, blame the node."""
    return {
        rule
        for node in range(8)
        for seed in SEEDS
        for (_, rule), who in accused(kind, node, seed).blamed.items()
        if len(who) >= 2
    }


def test_over_scale_is_named_by_its_proof() -> None:
    found = rules("over scale")
    assert Rule.RANGE in found
    for node in range(8):
        run = accused("over scale", node)
        rejected = {peer for judged in run.judged for peer in judged.rejected}
        assert rejected <= {run.nodes[node].node_id}
        contributed = any(judged.rejected for judged in run.judged)
        assert contributed == any(rule == Rule.RANGE for _, rule in run.blamed)


def test_liar_is_named_for_either_lie() -> None:
    assert rules("liar") == {Offence.WRONG_RELEASE, Offence.WRONG_ANSWER}


def test_leader_with_two_values_is_named() -> None:
    assert rules("equivocating leader") == {Offence.TWO_PROPOSALS}


def test_what_leaves_no_evidence_names_nobody() -> None:
    assert rules("withheld reveals") == set()
