"""A model is withheld, or another one is served in its place (THREATS A6, A7).

Corrupt nodes announce a model before anybody else and never send it, or a chunk now and then, just
in time; or they push out of memory who else announced it. Or they send chunks of another model, or
of the one that it replaced. Whoever needs the model gets it, from others, and nothing else is ever
taken for it. Each defence is taken away in turn, and its attack then succeeds.
"""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from msgspec.structs import replace
from tests.support.large_models import MODEL, NAME, NODES, OTHER, QUICK, holders, propose
from tests.support.parcels import NODES as PEERS
from tests.support.parcels import OWNER, STRANGER, Node
from tests.support.town import Town, manifest, phase
from tests.support.weakened import succeeds, weaken

from pnyx.primitives import codec
from pnyx.primitives.sampling import Sampler
from pnyx.protocol import fetches, models, parcels
from pnyx.protocol.chunks import chunk_hash, chunks_of, describe
from pnyx.protocol.events import MessageReceived, MessageRejected, PeerBlamed, TimerExpired
from pnyx.protocol.messages import Announce, Chunk, ChunkRequest
from pnyx.protocol.models import Models, model_name

OTHER_NODE = PEERS[4]
WITHHOLDING = frozenset((1, 2))


def silent(sender: int, receiver: int, message: object) -> list[object] | None:
    """Corrupt nodes send no chunk."""
    return [] if sender in WITHHOLDING and isinstance(message, Chunk) else None


def withheld(town: Town) -> bytes:
    """Corrupt nodes say to everybody that they hold the model, before it is even proposed."""
    town.wire = silent
    town.run(seconds=0.2)
    for liar in WITHHOLDING:
        for index in set(range(NODES)) - {liar}:
            town.inject(liar, index, Announce((), (NAME,)))
    return propose(town)


def test_withheld_by_those_who_announced_it_first():
    town = Town(params=QUICK)
    study = withheld(town)
    assert town.run(lambda: len(holders(town, study)) == NODES, seconds=60.0)
    asked = [m for index in range(NODES) for m in town.sent(ChunkRequest, index)]
    assert len(asked) > NODES, "some asked the liars first"
    assert town.run(town.finished(study))
    assert town.blamed() == set(), "to be silent is no proof"


def test_other_sources_are_the_defence(monkeypatch):
    """Whoever asks only those who announced the model first waits for ever."""
    monkeypatch.setattr(Models, "_sources", lambda self, state: self._hints[state.model_hash][:2])
    monkeypatch.setattr(parcels.Parcels, "add_sources", first_sources_only(parcels.Parcels))
    town = Town(params=QUICK)
    study = withheld(town)
    assert not town.run(lambda: len(holders(town, study)) > 3, seconds=60.0)


def first_sources_only(kind: type) -> Callable:
    """A puller that learns of no source after the first ones."""
    original = kind.add_sources

    def add_sources(self, name, sources):
        wanted = self._wanted.get(name)
        if wanted is not None and wanted.fetch.source is None:
            original(self, name, sources)

    return add_sources


def test_withheld_by_its_proposer_after_two_have_it():
    town = Town(params=QUICK)
    study = propose(town)
    assert town.run(lambda: len(holders(town, study)) >= 3)
    had = holders(town, study)
    town.wire = lambda sender, _, message: (
        [] if sender == 0 and isinstance(message, Chunk) else None
    )
    assert town.run(lambda: len(holders(town, study)) == NODES, seconds=60.0)
    assert len(had) < NODES
    assert town.run(town.finished(study))


def test_who_refuses_is_passed_over():
    """Nodes that do not hold the model yet, or any more, are asked, too."""
    town = Town(params=QUICK)
    town.run(seconds=0.2)
    for honest in (3, 4, 5):
        for index in set(range(NODES)) - {honest}:
            town.inject(honest, index, Announce((), (NAME,)))  # as if it had held it once
    study = propose(town)
    assert town.run(town.finished(study), seconds=60.0)
    rules = {e.rule for e in town.effects(MessageRejected)}
    assert rules == {"asks for a parcel that it may not read"}


# --- trickled -------------------------------------------------------------------------------------

TURN_S = 4.0
SHORT_TURNS = replace(QUICK, parcel_turn_s=TURN_S)


def trickled(seconds: float) -> set[int]:
    """Corrupt nodes announced the model first, and send each chunk just before patience ends.

    Returns who holds the model after some seconds.
    """
    town = Town(params=SHORT_TURNS)
    sent: dict[tuple[int, int], int] = {}

    def wire(sender: int, receiver: int, message: object) -> list[object] | None:
        if sender not in WITHHOLDING or not isinstance(message, Chunk):
            return None
        count = sent[sender, receiver] = sent.get((sender, receiver), 0) + 1
        late_s = min(0.9 * QUICK.parcel_request_timeout_s * 2.8 ** (count - 1), 55.0)
        event = MessageReceived(town.census.node_ids[sender], codec.encode(message))
        town.push(receiver, event, after=late_s)
        return []

    town.wire = wire
    town.run(seconds=0.2)
    for liar in WITHHOLDING:
        town.machines[liar].parcels.keep(chunks_of(MODEL), (parcels.EVERYBODY,))
        town.handle(liar, TimerExpired())
        for index in set(range(NODES)) - {liar}:
            town.inject(liar, index, Announce((), (NAME,)))
    study = propose(town)
    town.run(lambda: len(holders(town, study)) == NODES, seconds=seconds)
    return holders(town, study)


def attack_trickling_announcers() -> None:
    """Two of them, a turn each, and then somebody who sends the model."""
    assert trickled(2 * TURN_S + 2.0) == set(range(NODES))


def test_trickled_by_those_who_announced_it_first():
    attack_trickling_announcers()


def test_slices_are_the_defence_against_trickling(monkeypatch):
    weaken(
        monkeypatch,
        fetches,
        ("return self._slice_s if len(self._sources) > 1 else inf", "return inf"),
    )
    assert succeeds(attack_trickling_announcers)


# --- who is asked first ---------------------------------------------------------------------------


def listening(seed: int) -> Models:
    """The models of a node that hears announcements, and pulls nothing yet."""
    sampler = Sampler(seed.to_bytes(32, "big"), "test")
    nothing = lambda *_: None  # noqa: E731
    return Models(QUICK, sampler, Node(OWNER).parcels, None, list, nothing, nothing)


def sources_of(known: Models, makers: tuple[bytes, ...]) -> list[bytes]:
    return known._sources(SimpleNamespace(model_hash=NAME, model_makers=makers))


def attack_announced_early() -> None:
    """It knew the name before the record was made, and told everybody; makers are asked as soon."""
    makers, first = (b"m" * 32, b"n" * 32), 0
    for seed in range(100):
        known = listening(seed)
        known.on_announced(STRANGER, [NAME])
        sources = sources_of(known, makers)
        assert set(sources) == {STRANGER, *makers}
        assert STRANGER in sources[:2], "and announcers, lest makers serve everybody"
        first += sources[0] == STRANGER
    assert 30 <= first <= 70


def test_who_announced_a_model_early_is_not_asked_before_who_made_it():
    attack_announced_early()


def test_the_coin_is_the_defence(monkeypatch):
    weaken(
        monkeypatch,
        models,
        ("mixed = (pair[at] for at in self._sampler.sample(2, 2))", "mixed = pair"),
    )
    assert succeeds(attack_announced_early)


def attack_invented_names() -> None:
    known = listening(0)
    invented = [at.to_bytes(32, "big") for at in range(1, 1000)]
    known.on_announced(STRANGER, invented[:300])
    known.on_announced(OTHER_NODE, [NAME])
    known.on_announced(STRANGER, invented[300:])
    assert len(known._hints) == 256
    assert sources_of(known, ()) == [OTHER_NODE]
    assert invented[-1] in known._hints, "the oldest of those that one peer invented go first"


def test_invented_names_do_not_push_out_who_announced_a_model():
    attack_invented_names()


def test_counting_names_by_peer_is_the_defence(monkeypatch):
    by_peer = "min(names_of[peer] for peer in self._hints[name])"
    weaken(monkeypatch, models, (by_peer, "0"))
    assert succeeds(attack_invented_names)


# --- another model under the right name -----------------------------------------------------------


def altered(chunk: Chunk) -> Chunk:
    return replace(chunk, data=bytes((chunk.data[0] ^ 1,)) + chunk.data[1:])


def of_another_study(chunk: Chunk) -> Chunk:
    return replace(chunk, data=list(chunks_of(OTHER))[chunk.index])


def all_of_another_study(chunk: Chunk) -> Chunk:
    """With the root and proof of the other one, which fit each other."""
    other = describe(chunks_of(OTHER))
    proof = parcels.merkle_proofs(other.hashes)[chunk.index]
    data = list(chunks_of(OTHER))[chunk.index]
    return replace(chunk, root=other.root, data=data, proof=proof)


def serving(attack: Callable[[Chunk], Chunk]) -> tuple[Town, bytes]:
    """Two nodes get the model, and send another one to all others; the proposer is gone soon."""
    town = Town(params=QUICK)
    study = propose(town)

    def wire(sender: int, _: int, message: object) -> list[object] | None:
        lies = sender in WITHHOLDING and isinstance(message, Chunk) and message.parcel == NAME
        return [attack(message)] if lies else None

    town.wire = wire
    return town, study


@pytest.mark.parametrize("attack", [altered, of_another_study, all_of_another_study])
def test_wrong_model_under_the_right_name(attack):
    town, study = serving(attack)
    assert town.run(lambda: len(holders(town, study)) >= 4)
    for index in set(range(NODES)) - holders(town, study):
        for liar in WITHHOLDING:
            town.inject(liar, index, Announce((), (NAME,)))
    assert town.run(town.finished(study), seconds=60.0)
    assert all(town.model_bytes(study, index) == MODEL for index in range(NODES))
    assert town.blamed() <= WITHHOLDING
    told = town.effects(PeerBlamed)
    assert all(not each.evidence for each in told), "chunks are not signed"


def test_the_proof_of_each_chunk_is_the_defence(monkeypatch):
    """A puller that believes the name on a chunk keeps what it was sent."""
    true = [chunk_hash(each) for each in chunks_of(MODEL)]
    monkeypatch.setattr(parcels, "proven_hash", lambda chunk: true[chunk.index])
    town, study = serving(of_another_study)
    town.run(lambda: {1, 2} <= holders(town, study))
    town.crash(0)
    for index in range(3, NODES):
        for liar in WITHHOLDING:
            town.inject(liar, index, Announce((), (NAME,)))
    town.run(seconds=20.0)
    held = {index: town.model_bytes(study, index) for index in holders(town, study)}
    assert any(data != MODEL for data in held.values())


def test_model_of_another_round():
    """A source sends the model that the last round replaced."""
    town = Town(params=QUICK)
    study = town.propose(plan=manifest(NODES, [phase(NODES, rounds=2)]))
    old = bytes(8 * NODES)
    liars = WITHHOLDING

    def wire(sender: int, _: int, message: object) -> list[object] | None:
        lies = sender in liars and isinstance(message, Chunk)
        return [replace(message, data=old)] if lies and message.parcel != model_name(old) else None

    town.wire = wire
    assert town.run(town.finished(study), seconds=100.0)
    ended_with = {town.model_bytes(study, index) for index in range(NODES)}
    assert len(ended_with) == 1
    assert ended_with != {old}
    assert town.blamed() <= liars
