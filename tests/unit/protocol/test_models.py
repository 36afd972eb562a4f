"""A node holds the models that it needs, pulls them of whoever has them, and drops old ones."""

import pytest
from msgspec.structs import replace
from tests.support.large_models import MODEL, NAME, NODES, QUICK, holders, propose, with_
from tests.support.town import NETWORK, Town, manifest, phase

from pnyx.primitives import codec
from pnyx.protocol.chunks import chunk_count, chunks_of, describe
from pnyx.protocol.events import (
    ForgetParcel,
    ModelWanted,
    RequestRefused,
    StartTraining,
    StudyFinished,
    StudyProposed,
    TimerExpired,
)
from pnyx.protocol.identity import sign_body
from pnyx.protocol.manifest import NO_MODEL, study_id
from pnyx.protocol.messages import Announce, Chunk, ChunkRequest, Items
from pnyx.protocol.models import model_name, model_scope
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.parcels import EVERYBODY


def test_a_model_is_named_as_the_parcel_that_it_travels_as():
    assert model_name(MODEL) == describe(chunks_of(MODEL)).name == NAME
    assert model_name(b"") == NO_MODEL
    assert model_name(b"\x00") != NO_MODEL


def test_everybody_who_takes_part_pulls_the_model():
    town = Town(params=QUICK)
    study = propose(town)
    assert town.run(town.finished(study))
    assert all(town.model_bytes(study, index) == MODEL for index in range(NODES))
    asked = [m for index in range(NODES) for m in town.sent(ChunkRequest, index)]
    assert not town.sent(ChunkRequest, 0), "its own"
    assert sum(len(m.indices) for m in asked) == (NODES - 1) * chunk_count(len(MODEL))
    assert len(town.effects(StudyFinished)) == NODES
    assert town.rules() == set()
    readers = town.stored[1][f"{model_scope(study)}/parcel/{NAME.hex()}/readers"]
    assert readers == EVERYBODY


def test_who_pulled_a_model_serves_it():
    """The proposer is gone as soon as one other node has the model."""
    town = Town(params=QUICK)
    study = propose(town)
    assert town.run(lambda: len(holders(town, study)) == 2)
    town.crash(0)
    assert town.run(lambda: len(holders(town, study)) == NODES - 1, seconds=120.0)


def test_a_node_without_a_part_pulls_nothing_until_it_is_asked_for():
    town = Town(params=QUICK, consents=lambda index: index != 3, serving=lambda index: index != 3)
    study = propose(town)
    town.run(town.in_round(study, 1))
    town.run(seconds=0.3)
    assert holders(town, study) >= set(range(NODES)) - {3}
    assert 3 not in holders(town, study)
    town.handle(3, ModelWanted(bytes(32)))  # of no study that is known
    town.handle(3, ModelWanted(study))
    assert town.run(lambda: 3 in holders(town, study))
    assert not town.machines[3].studies[study].finished
    assert town.run(town.finished(study))


def test_what_is_finished_is_pulled_while_there_is_room():
    params = with_(models_bytes_max=len(MODEL))
    town = Town(params=params, consents=lambda index: index != 3, serving=lambda index: index != 3)
    studies = [propose(town, nonce=bytes(31) + bytes((at,))) for at in range(2)]
    others = [index for index in range(NODES) if index != 3]

    def ended() -> bool:
        states = [town.machines[index].studies.get(study) for index in others for study in studies]
        return all(s is not None and s.finished and s.holds_model for s in states)

    assert town.run(ended)
    town.run(seconds=5.0)
    held = [study for study in studies if 3 in holders(town, study)]
    assert len(held) == 2, "the same parcel is kept for both"
    other = propose(town, model=MODEL[:-1], nonce=b"n" * 32)
    studies.append(other)
    assert town.run(ended)
    town.run(seconds=5.0)
    assert 3 not in holders(town, other)
    town.handle(3, ModelWanted(other))
    assert town.run(lambda: 3 in holders(town, other))


def test_a_model_that_another_replaced_goes():
    town = Town()
    study = town.propose(plan=manifest(NODES, [phase(NODES, rounds=2)]))
    assert town.run(town.finished(study))
    names = {town.machines[index].studies[study].model_hash for index in range(NODES)}
    assert len(names) == 1
    for index in range(NODES):
        scope = model_scope(study)
        assert town.machines[index].parcels.names(scope) == list(names)
        kept = {key for key in town.stored[index] if key.startswith(f"{scope}/parcel/")}
        assert kept == {
            f"{scope}/parcel/{n.hex()}/{p}" for n in names for p in ("hashes", "readers")
        }
        assert town.parcels[index].read(model_name(bytes(8 * NODES)), 0) is None
        assert town.machines[index]._gossip._models.keys() == names
    assert len({e.parcel for e in town.effects(ForgetParcel, 0)}) >= 2


def test_a_restart_has_its_model_and_no_other():
    town = Town()
    study = town.propose(plan=manifest(NODES, [phase(NODES, rounds=2)]))
    assert town.run(lambda: len(town.certified(2)) == 1)
    old = town.machines[2].parcels.names(model_scope(study))
    assert len(old) == 1
    left = {key: value for key, value in town.stored[2].items() if old[0].hex() in key}
    data = town.model_bytes(study, 2)
    assert town.run(town.finished(study))
    town.crash(2)
    # Its disk, as if it had been killed before it let go of the model in between.
    town.stored[2] |= left
    for index, chunk in enumerate(chunks_of(data)):
        town.parcels[2].write(old[0], index, chunk)
    town.parcels[2].seal(old[0], len(data))
    town.restart(2)
    town.run(seconds=0.1)
    assert town.machines[2].parcels.names(model_scope(study)) == [
        town.machines[2].studies[study].model_hash
    ]
    assert not any(old[0].hex() in key for key in town.stored[2])


def test_a_model_stays_for_the_study_that_still_has_it():
    """Two studies begin with the same model, and one of them has moved on."""
    town = Town()
    studies = [
        town.propose(plan=manifest(NODES, [phase(NODES)], nonce=bytes((at,)) * 32, **terms))
        for at, terms in enumerate(({}, {"join_window_s": 30.0}))
    ]
    first = model_name(bytes(8 * NODES))
    assert town.run(town.finished(studies[0]))
    assert town.machines[3].studies[studies[1]].model_hash == first
    assert town.machines[3].parcels.names(model_scope(studies[1])) == [first]
    assert first not in town.machines[3].parcels.names(model_scope(studies[0]))
    assert first in town.machines[3]._gossip._models
    assert town.run(town.finished(studies[1]))
    assert first not in town.machines[3].parcels
    assert first not in town.machines[3]._gossip._models


def test_no_room_for_a_model_now():
    params = with_(parcels_max=1)
    town = Town(params=params)
    town.run(seconds=0.2)
    town.machines[1].parcels.keep([b"something else"])
    town.handle(1, TimerExpired())
    study = propose(town)
    assert town.run(lambda: holders(town, study) >= {0, 2, 3})
    assert 1 not in holders(town, study)
    town.machines[1].parcels.forget(describe([b"something else"]).name)
    assert town.run(lambda: 1 in holders(town, study))


def test_a_proposer_without_room_is_told():
    town = Town(params=with_(parcel_bytes_max=1000))
    propose(town)
    town.run(seconds=1.0)
    (refused,) = town.effects(RequestRefused, 0)
    assert "this node takes 1 to 1000" in refused.reason
    assert town.machines[0].studies == {}


@pytest.mark.parametrize("changes", [{"model_bytes": len(MODEL) + 1}, {"initial_model": b"x" * 32}])
def test_a_proposal_of_another_model_is_refused(changes):
    town = Town()
    town.run(seconds=0.2)
    asked = manifest(NODES, initial_model=NAME, model_bytes=len(MODEL))
    asked = replace(asked, proposer=town.census.node_ids[0], **changes)
    town.handle(0, StudyProposed(codec.encode(asked), MODEL))
    (refused,) = town.effects(RequestRefused, 0)
    assert refused.reason == "the manifest names another initial model"


def test_a_manifest_with_another_size_than_its_model_never_trains():
    """The proposer has signed it, and serves the model; who pulls it learns the size."""
    town = Town(params=QUICK)
    town.run(seconds=0.2)
    proposer = town.census.node_ids[0]
    asked = manifest(NODES, proposer=proposer, initial_model=NAME, model_bytes=len(MODEL) + 1)
    study = study_id(codec.encode(asked))
    town.lengths[study] = NODES
    town.machines[0].models.keep(study, MODEL)
    signed = codec.encode(sign_body(town.cryptos[0], NETWORK, proposer, asked))
    for index in range(NODES):
        town.inject(1, index, Items((signed,)))
    town.run(seconds=20.0)
    assert not any(town.effects(StartTraining, index) for index in range(1, NODES))
    assert town.sent(ChunkRequest, 1)
    assert holders(town, study) == {0}
    assert all(not machine.models._bytes for machine in town.machines[1:])
    assert town.blamed() == set()


def test_strangers_are_asked_when_nobody_else_is_left():
    """All that announced the model or made it have lied; one more has it and was not heard."""
    town = Town(params=QUICK)
    study = propose(town)
    puller = 5

    def wire(sender, receiver, message):
        if receiver != puller:
            return None
        if isinstance(message, Announce):
            return [replace(message, models=())]
        if sender == 0 and isinstance(message, Chunk):
            return [replace(message, data=message.data[::-1])]
        return None

    town.wire = wire
    assert town.run(lambda: puller in holders(town, study), seconds=60.0)
    assert town.blamed() == {0}


def test_hints_are_bounded():
    town = Town(params=QUICK)
    town.run(seconds=0.2)
    models = town.machines[0].models
    for start in range(0, 2000, 1000):
        names = tuple((start + at).to_bytes(32, "big") for at in range(1000))
        assert town.inject(1, 0, Announce((), names)) == []
    assert len(models._hints) == 256
    for peer in range(1, 9):
        for again in range(3):
            models.on_announced(bytes((peer, again)) * 16, [NAME])
    assert len(models._hints[NAME]) == 16


def test_models_are_announced_with_what_is_fresh():
    town = Town(params=QUICK)
    study = propose(town)
    assert town.run(lambda: 4 in holders(town, study))
    told = [m for m in town.sent(Announce, 4) if NAME in m.models]
    assert told
    town.run(seconds=3 * QUICK.gossip_interval_s)
    assert len([m for m in town.sent(Announce, 4) if NAME in m.models]) > len(told), (
        "again, to others"
    )


def test_a_parcel_is_shared_only_by_who_holds_it():
    town = Town(params=ProtocolParams())
    with pytest.raises(ValueError, match="whoever holds it"):
        town.machines[0].parcels.share(NAME, ())
    assert town.machines[0].parcels.names("chain") == []
    town.machines[0].parcels.add_sources(NAME, [b"x" * 32])
    assert town.machines[0].parcels.next_deadline() is None
