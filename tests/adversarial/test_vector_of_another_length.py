"""A contributor's header names a parcel of another length than vectors have (THREATS A8, A9).

No aggregator can add up such a parcel, and a long one fits no evidence. But the name that the
contributor signed is a hash of length and root, and the first chunk that it sends tells both. So
every node is shown what one aggregator saw, in less than 3 KB. Whoever gave a receipt for that
header all the same is convicted with it. A name that nobody sends a chunk of convicts nobody.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache

import pytest
from msgspec.structs import replace
from tests.support.masked_runs import Watched, drawn, masked_study, opened
from tests.support.weakened import weaken

from pnyx.primitives import codec
from pnyx.primitives.hashing import merkle_commit
from pnyx.protocol import machine
from pnyx.protocol.chunks import chunk_count, chunk_hash, parcel_name
from pnyx.protocol.events import Effect, PeerBlamed, Persist, Send
from pnyx.protocol.evidence.docket import PREFIX
from pnyx.protocol.evidence.proofs import Offence
from pnyx.protocol.messages import CHUNK_BYTES, Chunk, ChunkRequest, VectorReceipt
from pnyx.protocol.round import aggregator
from pnyx.simulator import Scenario
from pnyx.simulator.adversary import Hands, read
from pnyx.simulator.masquerade import MaskedForger
from pnyx.simulator.population import SimulatedNode
from pnyx.simulator.scenario import Crash

STUDIES = {
    "masked": masked_study(limit_s=60.0),
    "verified": masked_study(verified=True, limit_s=60.0),
}
LONGEST = 2**16 * CHUNK_BYTES  # 8 GiB

Offer = Callable[[Hands, int | None], MaskedForger]


def resized(resize: Callable[[bytes], bytes]) -> Offer:
    """Offers what it makes of its vector, with the linear hash of the vector."""

    def offer(hands: Hands, wanted: int | None) -> MaskedForger:
        return MaskedForger(
            hands,
            pretend=lambda _, made: made._replace(segments=(resize(b"".join(made.segments)),)),
            wanted=wanted,
        )

    return offer


@lru_cache(maxsize=4)
def alike(length: int, data: bytes) -> Chunk:
    """The first chunk of a parcel whose chunks are all alike: its maker hashes one of them."""
    root, proofs = merkle_commit([chunk_hash(data)] * max(1, chunk_count(length)))
    return Chunk(parcel_name(length, root), length, 0, root, data, proofs[0])


class Invented(MaskedForger):
    """Offers a parcel that it has the first chunk of."""

    def __init__(self, hands: Hands, wanted: int | None, chunk: Chunk) -> None:
        super().__init__(hands, wanted=wanted)
        self._chunk = chunk

    def _keep(self, vector: bytes) -> bytes:
        self._served[self._chunk.parcel] = ()
        return self._chunk.parcel

    def _chunks(self, peer: bytes, request: ChunkRequest) -> Iterator[Send]:
        yield Send(peer, codec.encode(self._chunk))


def invented(length: int, data: bytes) -> Offer:
    return lambda hands, wanted: Invented(hands, wanted, alike(length, data))


OFFERS: dict[str, Offer] = {
    "one byte": resized(lambda vector: vector[:1]),
    "a byte less": resized(lambda vector: vector[:-1]),
    "a byte more": resized(lambda vector: vector + bytes(1)),
    "a chunk more": resized(lambda vector: vector + bytes(CHUNK_BYTES)),
    "8 GiB": invented(LONGEST, bytes(CHUNK_BYTES)),
}
NO_PARCELS = {
    "no byte": invented(0, b""),
    "8 GiB and a byte": invented(LONGEST + 1, bytes(CHUNK_BYTES)),
}


def outside(study: Scenario) -> list[int]:
    """Nodes but the proposer that are no members; all may be aggregators."""
    return [index for index in range(1, study.nodes) if index not in drawn(study).member_of]


def liar_of(study: Scenario) -> int:
    """A contributor that is as little else as may be."""
    plan = drawn(study)
    able = [index for index in outside(study) if index in plan.contributors]
    return min(able, key=lambda index: index in plan.aggregators)


class Receipts(Watched):
    """Notes who gives the liar a receipt, when it is first accused, and how long evidence is."""

    def __init__(self, scenario: Scenario, liar: int) -> None:
        self.liar = liar
        self.given: set[int] = set()
        self.accused_at = 0.0
        self.longest = 0
        super().__init__(scenario)

    def observe(self, node: SimulatedNode, effect: Effect) -> None:
        super().observe(node, effect)
        liar = self.nodes[self.liar].node_id
        match effect:
            case Send(peer=peer) if peer == liar and isinstance(
                read(effect.payload), VectorReceipt
            ):
                self.given.add(node.index)
            case PeerBlamed(peer=peer) if peer == liar:
                self.accused_at = self.accused_at or self.scheduler.now
            case Persist() if effect.key.startswith(PREFIX):
                self.longest = max(self.longest, len(effect.value))
            case _:
                pass


def attacked(
    study: Scenario, offer: Offer, *vouchers: int, wanted: int | None = None, **terms
) -> Receipts:
    """A round in which one contributor offers something, and some aggregators vouch for it."""
    liar = liar_of(study)
    chosen = replace(study, corrupt=tuple((who, "empty receipts") for who in vouchers), **terms)
    simulation = Receipts(chosen, liar)
    node = simulation.nodes[liar]
    node.adversary = offer(simulation._hands(node, bytes(32)), wanted)
    simulation.corrupt = simulation.checker._corrupt = frozenset({liar, *vouchers})
    return simulation


def held_by_all(simulation: Watched) -> set[int]:
    """Against whom every honest node holds evidence; each holds the same."""
    held = [
        frozenset(node.machine.docket.standing)
        for node in simulation.nodes
        if node.index not in simulation.corrupt
    ]
    assert len(set(held)) == 1
    assert all(all(node.machine.docket.standing.values()) for node in simulation.nodes)
    return set(held[0])


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("kind", STUDIES)
def test_vector_of_another_length(kind: str, offer: str) -> None:
    simulation = attacked(STUDIES[kind], OFFERS[offer])
    outcome = simulation.run()  # checks that the model is that of the sum of who was accepted
    assert opened(outcome)
    assert simulation.liar not in outcome.records[1].accepted
    assert held_by_all(simulation) == simulation.culprits() == {simulation.liar}
    assert simulation.rules_of(simulation.liar) == {Offence.FALSE_VECTOR.value}
    assert simulation.given == set()
    assert 0 < simulation.longest < 3000


@pytest.mark.parametrize("offer", NO_PARCELS)
def test_a_name_of_no_parcel_comes_to_nothing(offer: str) -> None:
    """No message carries a chunk of it, so it is like a name that nobody knows anything of."""
    simulation = attacked(STUDIES["masked"], NO_PARCELS[offer])
    outcome = simulation.run()
    assert opened(outcome)
    assert simulation.liar not in outcome.records[1].accepted
    assert held_by_all(simulation) == simulation.culprits() == simulation.given == set()


def test_a_length_that_only_aggregators_see_would_convict_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accused = "self._services.accuse(who, FalseVectorLength(header, shape.length, shape.root))"
    weaken(monkeypatch, aggregator, (accused, "pass"))
    simulation = attacked(STUDIES["masked"], OFFERS["a byte less"])
    assert opened(simulation.run())
    assert held_by_all(simulation) == set()


# --- an aggregator vouches ------------------------------------------------------------------------


def vouched(kind: str, offer: str) -> tuple[Receipts, int]:
    """The contributor shows members the one receipt that it has."""
    study = STUDIES[kind]
    able = [index for index in outside(study) if index in drawn(study).aggregators]
    friend = next(index for index in able if index != liar_of(study))
    simulation = attacked(study, OFFERS[offer], friend, wanted=1)
    assert opened(simulation.run())
    assert simulation.given == {friend}
    return simulation, friend


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("kind", STUDIES)
def test_vouched_for_a_vector_of_another_length(kind: str, offer: str) -> None:
    simulation, friend = vouched(kind, offer)
    assert held_by_all(simulation) == simulation.culprits() == {simulation.liar, friend}
    assert simulation.rules_of(friend) == {Offence.FALSE_RECEIPT.value}
    assert simulation.longest < 3000


def test_members_that_hear_nothing_of_lengths_would_convict_no_aggregator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = "isinstance(evidence.proof, AnyFalseVector)"
    weaken(monkeypatch, machine, (told, "False"))
    simulation, _ = vouched("masked", "a byte less")
    assert held_by_all(simulation) == {simulation.liar}


# --- aggregators are killed -----------------------------------------------------------------------


@lru_cache(maxsize=1)
def accused_at() -> float:
    simulation = attacked(STUDIES["masked"], OFFERS["a byte less"])
    simulation.run()
    return simulation.accused_at


@pytest.mark.parametrize("before_s", [0.3, 0.05, 0.0, -0.02])
@pytest.mark.parametrize("place", range(3))
def test_a_restarted_aggregator_gives_no_receipt(place: int, before_s: float) -> None:
    """Whenever it was killed: no honest aggregator vouches, and so none is ever convicted."""
    study = STUDIES["masked"]
    killed = drawn(study).aggregators[place]
    crash = Crash(node=killed, at_s=accused_at() - before_s, away_s=0.5)
    simulation = attacked(study, OFFERS["a byte less"], crashes=(crash,), lingers_s=5.0)
    assert opened(simulation.run())
    assert simulation.given == set()
    assert held_by_all(simulation) == {simulation.liar}
