"""Models of several chunks over a bad network, and nodes that are killed with half of one in hand.

The checkers compare what each node holds in the end with the sum of the rounds, byte for byte.
"""

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from pnyx.protocol.events import Effect, Persist, SealParcel, StoreChunk
from pnyx.protocol.messages import CHUNK_BYTES
from pnyx.simulator import Crash, Link, Outcome, Scenario, Simulation
from pnyx.simulator.population import SimulatedNode

LENGTH = 35_000  # entries of 4 bytes: two chunks
LARGE = Scenario(seed=11, nodes=6, rounds=1, vector_length=LENGTH, masks=True)


class Watched(Simulation):
    """A run that keeps what each node did, in order."""

    def __init__(self, scenario: Scenario) -> None:
        self.log: list[list[Effect]] = [[] for _ in range(scenario.nodes)]
        super().__init__(scenario)

    def observe(self, node: SimulatedNode, effect: Effect) -> None:
        self.log[node.index].append(effect)
        super().observe(node, effect)


def run(scenario: Scenario) -> Outcome:
    outcome = Simulation(scenario).run()
    assert outcome.finished
    assert len(outcome.records) == scenario.rounds + 1
    return outcome


@pytest.mark.parametrize("seed", [11])
def test_models_over_a_bad_network(seed: int) -> None:
    link = Link(latency_s=0.03, latency_tail_s=0.05, loss=0.1, duplication=0.1, reordering=True)
    outcome = run(replace(LARGE, seed=seed, link=link))
    assert not any(body.skipped for body in outcome.records.values())
    assert outcome.notices["StudyFinished"] >= LARGE.nodes


def moments(log: list[Effect]) -> Iterator[tuple[str, int]]:
    """(kind, effects done before it) of each effect that stores a model for its study."""
    models = {e.key.split("/")[-2] for e in log if isinstance(e, Persist) and _describes(e)}
    for at, effect in enumerate(log):
        match effect:
            case StoreChunk() | SealParcel() if effect.parcel.hex() in models:
                yield f"{type(effect).__name__}", at
            case Persist() if _describes(effect):
                yield "Persist", at
            case Persist() if "/record/" in effect.key:
                yield "record", at
            case _:
                continue


def _describes(effect: Persist) -> bool:
    return effect.key.startswith("chain/study/") and effect.key.endswith("/hashes")


def killed(node: int, after: int) -> None:
    crash = Crash(node=node, after_effects=after, away_s=0.7)
    outcome = run(replace(LARGE, crashes=(crash,)))
    assert outcome.kills == 1, f"{crash} never fell"


def times(node: int) -> dict[str, list[int]]:
    simulation = Watched(LARGE)
    simulation.run()
    found: dict[str, list[int]] = {}
    for kind, at in moments(simulation.log[node]):
        found.setdefault(kind, []).append(at)
    assert found.keys() == {"StoreChunk", "SealParcel", "Persist", "record"}
    assert len(found["StoreChunk"]) >= 2 * -(-4 * (LENGTH - 6) // CHUNK_BYTES), "two models"
    return found


def test_killed_while_a_model_is_pulled_and_stored() -> None:
    """Before the first, or after the last, of each kind of effect."""
    for each in times(4).values():
        for after in sorted({each[0], each[-1] + 1}):
            killed(4, after)


@pytest.mark.full
@pytest.mark.parametrize("node", range(LARGE.nodes))
def test_killed_around_every_effect_that_stores_a_model(node: int) -> None:
    for after in sorted({at + d for each in times(node).values() for at in each for d in (0, 1)}):
        killed(node, after)
