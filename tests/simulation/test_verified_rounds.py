"""Whole studies whose masked updates are verified, under mixed faults and kills.

As `test_masked_rounds`, whose scenarios these are. A contributor that shares another key than it
masks with is among the corrupt nodes here: its round is opened all the same, and it is named.
"""

from functools import cache

import pytest
from msgspec.structs import replace
from tests.support.masked_runs import Watched, drawn, masked_study, opened

from pnyx.primitives import codec
from pnyx.primitives.hashing import digest
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.events import Effect, Persist, Send
from pnyx.protocol.messages import MemberBody, MemberInput, VerifyResponse
from pnyx.simulator import Crash, InvariantError, Scenario, random_scenario, run
from pnyx.simulator.adversary import read
from pnyx.simulator.behaviours import BEHAVIOURS, MASKED, VERIFIED

KINDS = sorted({*BEHAVIOURS, *MASKED, *VERIFIED})
SEEDS, SEEDS_FULL, CHUNK = 8, 1_008, 50
SMALL = masked_study(nodes=6, verified=True)


def with_proofs(scenario: Scenario) -> Scenario:
    """The same faults, and corrupt nodes of all kinds that there are in verified rounds."""
    draw = Sampler(digest("test/verified", scenario.seed.to_bytes(8, "big")), "kinds")
    corrupt = tuple((node, KINDS[draw.below(len(KINDS))]) for node, _ in scenario.corrupt)
    return replace(scenario, masks=True, verified=True, corrupt=corrupt)


def survives(scenario: Scenario) -> None:
    try:
        outcome = run(scenario)
    except (InvariantError, RuntimeError, ValueError) as error:
        pytest.fail(f"seed {scenario.seed}, corrupt {scenario.corrupt}: {error}")
    assert outcome.finished
    assert len(outcome.records) == outcome.scenario.rounds + 1


def test_short_runs_under_mixed_faults() -> None:
    for seed in range(SEEDS):
        survives(with_proofs(random_scenario(seed, short=True)))


@pytest.mark.full
@pytest.mark.parametrize("first", list(range(SEEDS, SEEDS_FULL, CHUNK)))
def test_short_runs_under_mixed_faults_full(first: int) -> None:
    for seed in range(first, first + CHUNK):
        survives(with_proofs(random_scenario(seed, short=True)))


@pytest.mark.full
def test_larger_networks_under_mixed_faults() -> None:
    for seed in range(100):
        survives(with_proofs(random_scenario(seed)))


@pytest.mark.parametrize("kind", ["liar", "wrong sum", "empty receipts", "unsent sum", "perjurer"])
def test_one_corrupt_node_that_contributes_nothing_wrong(kind: str) -> None:
    """Members and aggregators that lie change nothing, and no honest node is blamed."""
    plan = drawn(masked_study(verified=True))
    node = next(i for i in plan.committee if i > 0)
    simulation = Watched(masked_study(verified=True, corrupt=((node, kind),)))
    assert opened(simulation.run())
    assert simulation.culprits() <= {node}


@pytest.mark.parametrize("percent", [20, 50])
def test_who_leaves_once_acknowledged_counts(percent: int) -> None:
    """Dropouts after the receipts are in cost nothing: contributors speak once."""
    plan = drawn(masked_study(3, nodes=14, verified=True))
    pure = [i for i in plan.contributors if i not in plan.member_of]
    gone = pure[: max(1, len(plan.contributors) * percent // 100)]
    crashes = tuple(Crash(node=node, at_s=5.3, away_s=None) for node in gone)
    outcome = run(masked_study(3, nodes=14, verified=True, crashes=crashes))
    assert opened(outcome)


# --- kills ----------------------------------------------------------------------------------------


def answers_of(log: list[Effect]) -> set[bytes]:
    """The signed answers that a node gave, whatever it lived through."""
    found: set[bytes] = set()
    for effect in log:
        message = read(effect.payload) if isinstance(effect, Send) else None
        if isinstance(message, MemberInput):
            body = codec.decode(message.signed.body, MemberBody, bytes_max=10**7)
            if isinstance(body, VerifyResponse):
                found.add(message.signed.body + codec.encode(message.answers))
    return found


def killed(node: int, after_effects: int) -> None:
    crash = Crash(node=node, after_effects=after_effects, away_s=0.7)
    simulation = Watched(replace(SMALL, crashes=(crash,)))
    outcome = simulation.run()
    assert outcome.kills == 1, f"{crash} never fell"
    assert opened(outcome), f"{crash} had the round skipped"
    assert len(answers_of(simulation.log[node])) <= 1, f"{crash}: two answers of one member"
    assert simulation.culprits() == set()


@cache
def lives() -> list[list[Effect]]:
    simulation = Watched(SMALL)
    simulation.run()
    return simulation.log


def test_kill_around_the_answer_to_the_challenge() -> None:
    """Before and after the answer is durable, and before and after it leaves."""
    answering = [
        (node, at)
        for node, log in enumerate(lives())
        for at, effect in enumerate(log)
        if isinstance(effect, Persist) and effect.key.endswith("/response")
    ]
    assert len({node for node, _ in answering}) == len(answering) >= 2, "each once"
    for node, at in answering[:2]:
        for after in range(at - 1, at + 4):
            killed(node, after)


def test_kill_at_boundaries_spread_over_the_life_of_a_node() -> None:
    for node, log in enumerate(lives()):
        for after in range(1 + 5 * node, len(log) - 1, 307):
            killed(node, after)


@pytest.mark.full
@pytest.mark.parametrize("node", list(range(SMALL.nodes)))
def test_kill_at_every_effect_boundary(node: int) -> None:
    for after in range(len(lives()[node]) - 1):
        killed(node, after)
