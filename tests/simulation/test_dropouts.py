"""A7: any set of nodes drops out at any step; the sum is exact, or the round is cleanly skipped.

They come back much later, as in a long outage. The checkers compare every sum. The last test
removes the defence: what was promised before the outage is forgotten.
"""

from itertools import combinations

import pytest

from pnyx.protocol.round.contributor import Contributor
from pnyx.simulator import Crash, InvariantError, Scenario, run
from pnyx.simulator.population import SimulatedNode

NODES = 6
STEPS_S = (2.0, 4.05, 4.15, 4.25, 4.35, 4.45, 4.6, 4.8)  # joins, keys, shares, ..., record
SUBSETS = [subset for size in range(1, NODES + 1) for subset in combinations(range(NODES), size)]


def dropped(subset: tuple[int, ...], at_s: float, away_s: float = 30.0) -> bool:
    """Whether the round was opened all the same; raises if a sum is wrong or nothing ends."""
    crashes = tuple(Crash(node=node, at_s=at_s, away_s=away_s) for node in subset)
    outcome = run(Scenario(seed=1, nodes=NODES, crashes=crashes))
    return bool(outcome.records[1].accepted)


def test_some_subsets_at_some_steps() -> None:
    """Every subset once, each at another step than its neighbours."""
    opened = [dropped(subset, STEPS_S[at % len(STEPS_S)]) for at, subset in enumerate(SUBSETS)]
    assert any(opened)


@pytest.mark.full
@pytest.mark.parametrize("at_s", STEPS_S)
def test_every_subset_at_every_step(at_s: float) -> None:
    for subset in SUBSETS:
        dropped(subset, at_s)


def test_owners_are_told_what_counts_though_no_receipt_comes(monkeypatch) -> None:
    """The checkers want each told of its contribution; a ledger would say *debited* for ever."""
    monkeypatch.setattr(Contributor, "_on_receipt", lambda contributor, message: None)
    assert run(Scenario(seed=1, nodes=NODES)).records[1].accepted


@pytest.mark.parametrize("runs", [6, pytest.param(1_000, marks=pytest.mark.full)])
def test_three_of_ten_contributors_drop_out(runs: int) -> None:
    for seed in range(runs):
        away = tuple((seed + 3 * each) % 10 for each in range(3))
        crashes = tuple(
            Crash(node=node, at_s=STEPS_S[(seed + node) % len(STEPS_S)], away_s=20.0)
            for node in away
        )
        outcome = run(Scenario(seed=seed, nodes=10, crashes=crashes))
        assert len(outcome.records) == 2
        assert max(outcome.records[1].metrics, default=0) <= 1


def test_nodes_that_forget_what_they_promised_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    crash = SimulatedNode.crash

    def with_its_disk(node: SimulatedNode) -> None:
        crash(node)
        node.disk = {key: value for key, value in node.disk.items() if key.startswith("chain/")}

    def caught(at_s: float) -> bool:
        try:
            dropped(tuple(range(NODES)), at_s, away_s=1.0)
        except InvariantError:
            return True
        return False

    monkeypatch.setattr(SimulatedNode, "crash", with_its_disk)
    assert any(caught(at_s) for at_s in STEPS_S)
