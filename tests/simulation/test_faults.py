"""One fault at a time: what must come of it, beyond the invariants that every run checks."""

import pytest

from pnyx.primitives import codec
from pnyx.protocol.aggregation import verdicts
from pnyx.protocol.aggregation.verdicts import Rule, Verdict
from pnyx.protocol.events import Effect, Send
from pnyx.protocol.messages import Contribution
from pnyx.simulator import (
    Crash,
    Cut,
    InvariantError,
    Link,
    Outcome,
    Owner,
    Partition,
    Scenario,
    Simulation,
    run,
)
from pnyx.simulator.adversary import read
from pnyx.simulator.behaviours import BEHAVIOURS
from pnyx.simulator.population import SimulatedNode

SMALL = Scenario(seed=5, nodes=8)


def complete(outcome: Outcome) -> bool:
    """Whether every round was opened, none skipped."""
    rounds = [body for number, body in outcome.records.items() if number > 0]
    return len(rounds) == outcome.scenario.rounds and not any(body.skipped for body in rounds)


def with_(**changes: object) -> Scenario:
    fields = {name: getattr(SMALL, name) for name in SMALL.__struct_fields__}
    return Scenario(**{**fields, **changes})


def test_no_fault_takes_no_longer_than_the_steps() -> None:
    outcome = run(SMALL)
    assert complete(outcome)
    assert outcome.rules == {}
    assert outcome.ended_s < SMALL.proposed_s + SMALL.join_window_s + 3.0


def test_kill_at_every_effect_boundary() -> None:
    """Each node in turn dies between two effects, at boundaries spread over its whole life."""
    for node in range(SMALL.nodes):
        killed = killed_after(node, range(1 + 5 * node, 300, 37))
        assert killed >= 5, f"node {node} lived on"


def killed_after(node: int, boundaries: range) -> int:
    """Kill a node after so many effects, until it does not live as long; tell how often it died."""
    killed = 0
    for after in boundaries:
        crash = Crash(node=node, after_effects=after, away_s=0.7)
        outcome = run(with_(crashes=(crash,)))
        if not outcome.kills:
            break
        assert complete(outcome), f"{crash} had the round skipped"
        killed += 1
    return killed


@pytest.mark.full
@pytest.mark.parametrize("node", list(range(SMALL.nodes)))
def test_kill_at_every_effect_boundary_full(node: int) -> None:
    assert 200 < killed_after(node, range(1_000)) < 1_000, "to the end of its life"


def test_proposer_killed_while_proposing() -> None:
    """Between manifest and model, too: a study never starts without its model."""
    for after in range(50, 110, 2):
        crash = Crash(node=0, after_effects=after, away_s=0.5)
        assert complete(run(with_(crashes=(crash,)))), str(crash)


def test_power_failure_of_everybody() -> None:
    """Everybody dies at once, also between the first release and the record."""
    for step in range(24):
        at_s = 4.4 + 0.05 * step
        crashes = tuple(Crash(node=node, at_s=at_s) for node in range(SMALL.nodes))
        outcome = run(with_(crashes=crashes))
        assert complete(outcome), f"after {at_s}"


def test_absent_for_good() -> None:
    for node in range(SMALL.nodes):
        outcome = run(with_(crashes=(Crash(node=node, at_s=2.0, away_s=None),)))
        assert complete(outcome)
        assert node not in outcome.records[1].accepted


def test_partition_heals() -> None:
    for at_s in (0.0, 2.0, 4.2, 4.6):
        halves = Partition(tuple(range(4)), at_s, 40.0)
        outcome = run(with_(partitions=(halves,)))
        assert len(outcome.records) == 2  # skipped, if the deadline fell into the partition
        assert outcome.ended_s < 40.0 + 3 * SMALL.params.view_timeout_s_max


def test_minority_that_raced_through_views_is_caught_up() -> None:
    scenario = with_(
        partitions=(Partition((0, 1), 4.3, 1000.0),),
        crashes=(Crash(node=7, at_s=4.2, away_s=995.0),),
        limit_s=1200.0,
    )
    assert run(scenario).ended_s < 1000.0 + 3 * SMALL.params.view_timeout_s_max


def test_one_way_cuts() -> None:
    cuts = tuple(Cut(sender, (sender + 1) % 8, 1.0, 30.0) for sender in range(8))
    assert complete(run(with_(cuts=cuts)))


def test_twenty_percent_loss() -> None:
    for seed in range(6):
        outcome = run(with_(seed=seed, link=Link(loss=0.2, hint=0.5), rounds=2))
        assert len(outcome.records) == 3
        assert outcome.ended_s < 120


def test_late_and_duplicate_messages() -> None:
    link = Link(latency_tail_s=0.4, duplication=0.5, reordering=True)
    for seed in range(4):
        outcome = run(with_(seed=seed, link=link, rounds=2))
        assert len(outcome.records) == 3
        assert max(max(body.metrics, default=0) for body in outcome.records.values()) <= 1


def test_withheld_reveal_does_not_bias() -> None:
    """The beacon of round 1 is the same, whoever keeps its openings back."""
    honest = run(SMALL).records[0].next_beacon
    for node in range(1, SMALL.nodes):  # node 0 proposes: another proposer makes another study
        outcome = run(with_(corrupt=((node, "withheld reveals"),)))
        assert outcome.records[0].next_beacon == honest
        assert complete(outcome)


def test_equivocating_leader_cannot_open_two_sets() -> None:
    """The checker counts lock certificates and released sets; the round still completes."""
    for node in range(SMALL.nodes):
        for seed in range(3):
            assert complete(run(with_(seed=seed, corrupt=((node, "equivocating leader"),))))


@pytest.mark.parametrize("kind", list(BEHAVIOURS))
def test_one_corrupt_node_of_each_kind(kind: str) -> None:
    for node in range(SMALL.nodes):
        outcome = run(with_(corrupt=((node, kind),)))
        assert complete(outcome), f"node {node}"


def test_contributor_that_shows_two_headers_is_excluded_and_blamed() -> None:
    outcomes = [run(with_(corrupt=((node, "two headers"),))) for node in range(SMALL.nodes)]
    shown = [o for o in outcomes if "showed two different contributions" in o.rules]
    assert len(shown) >= 3  # the others were not drawn
    for outcome in shown:
        assert outcome.scenario.corrupt[0][0] not in outcome.records[1].accepted


def test_shares_off_the_polynomial_are_rejected() -> None:
    for node in range(SMALL.nodes):
        outcome = run(with_(corrupt=((node, "off polynomial"),)))
        assert node not in outcome.records[1].accepted


def test_over_scale_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verification rejects it; the checker compares every entry of the sum."""
    named = []
    for node in range(SMALL.nodes):
        outcome = run(with_(corrupt=((node, "over scale"),)))
        assert complete(outcome)
        assert node not in outcome.records[1].accepted
        rejected = outcome.rules.get(Rule.RANGE, 0) + outcome.rules.get(Rule.BOUND, 0)
        if rejected:
            named.append(node)
    assert len(named) >= 2  # others were not drawn, or showed their honest contribution as well
    monkeypatch.setattr(verdicts, "_verdict", lambda holds, off: Verdict(accepted=True, off=off))
    with pytest.raises(InvariantError, match=r"names another model|sums to"):
        run(with_(corrupt=((named[0], "over scale"),)))


def test_restart_never_signs_twice() -> None:
    """One node is killed again and again in every step; the checker compares what it signs."""
    for node in range(SMALL.nodes):
        times = (1.5, 3.0, 4.35, 4.5, 4.65, 4.8, 5.0)
        crashes = tuple(Crash(node=node, at_s=at_s, away_s=0.1) for at_s in times)
        outcome = run(with_(crashes=crashes, rounds=2))
        assert outcome.kills >= 5


class Recorded(Simulation):
    """A run that keeps every message sent."""

    def __init__(self, scenario: Scenario) -> None:
        self.sent: list[tuple[float, int, bytes]] = []
        super().__init__(scenario)

    def observe(self, node: SimulatedNode, effect: Effect) -> None:
        if isinstance(effect, Send):
            self.sent.append((self.scheduler.now, node.index, effect.payload))
        super().observe(node, effect)

    def contributions(self, node: int) -> list[tuple[float, Contribution]]:
        """What a node sent of its own data, and when."""
        own = self.nodes[node].node_id
        found = []
        for time, sender, payload in self.sent:
            message = read(payload)
            if sender == node and isinstance(message, Contribution):
                assert codec.encode(message) == payload
                if message.header.signer == own:
                    found.append((time, message))
        return found


def test_replay_across_rounds_and_studies() -> None:
    foreign = 0
    for node in range(SMALL.nodes):
        outcome = run(with_(studies=2, rounds=2, corrupt=((node, "replaying"),)))
        assert complete(outcome)
        foreign += outcome.rules.get("a signed input belongs to another round", 0)
    assert foreign > 0  # it was tried, and refused


def test_refusing_owner_sends_nothing() -> None:
    for node in range(3):
        simulation = Recorded(with_(owners=((node, Owner(consents=False)),), rounds=2))
        outcome = simulation.run()
        assert complete(outcome)
        assert simulation.contributions(node) == []
        assert simulation.nodes[node].ledger == set()
        assert not any(key.startswith("chain/join/") for key in simulation.nodes[node].disk)
        assert all(node not in body.accepted for body in outcome.records.values())


def test_withdrawal_takes_effect_before_the_next_message() -> None:
    """The owner withdraws at some moment of the round; nothing leaves from then on."""
    undisturbed = Recorded(with_(rounds=2))
    undisturbed.run()
    owner, first = next(
        (node, sent[0][0])
        for node in range(SMALL.nodes)
        if (sent := undisturbed.contributions(node))
    )
    left = []
    for step in range(12):
        withdraws_s = first - 0.55 + 0.1 * step
        simulation = Recorded(with_(owners=((owner, Owner(withdraws_s=withdraws_s)),), rounds=2))
        simulation.run()
        times = [time for time, _ in simulation.contributions(owner)]
        assert all(time < withdraws_s for time in times)
        left.append(bool(times))
    assert True in left
    assert False in left  # both before and after its contribution


def test_two_studies_that_start_from_one_model() -> None:
    outcome = run(with_(studies=2, rounds=2))
    assert complete(outcome)
    assert outcome.ended_s < SMALL.deadline_s  # nobody waits in vain for a model that was dropped


def test_budget_spent_or_training_failed_leaves_the_others_alone() -> None:
    owners = ((0, Owner(training_fails=True)), (1, Owner(rounds_paid_max=1)))
    outcome = run(with_(owners=owners, rounds=3, deadline_s=4.0))
    assert complete(outcome)
    assert all(0 not in body.accepted for body in outcome.records.values())
    assert sum(1 in body.accepted for body in outcome.records.values()) <= 1
