"""Roles of a round keep, pull and grant parcels through their services, until the round is over."""

from tests.support.parcels import content, cut
from tests.support.town import Town

from pnyx.errors import RuleBroken
from pnyx.protocol.chunks import describe
from pnyx.protocol.events import (
    ChunkSent,
    MessageRejected,
    PeerReachable,
    PeerUnreachable,
    SendChunk,
    TimerExpired,
)
from pnyx.protocol.messages import ChunkRequest
from pnyx.protocol.models import model_scope
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round.services import RoundServices

DATA = content(20)
NAME = describe(cut(DATA)).name


def in_round(**terms) -> tuple[Town, bytes]:
    town = Town(**terms)
    study = town.propose()
    assert town.run(town.in_round(study, 1))
    return town, study


def services(town: Town, study: bytes, index: int) -> RoundServices:
    """What a role of round 1 at this node would be given."""
    return town.machines[index].rounds.services(town.plan(study, index))


def wake(town: Town, *indices: int) -> None:
    for index in indices:
        town.handle(index, TimerExpired())


def holds(town: Town, index: int) -> bool:
    held = NAME in town.machines[index].parcels
    assert not held or b"".join(town.parcels[index].chunks(NAME)) == DATA
    return held


def test_a_parcel_goes_from_role_to_role_and_ends_with_the_round():
    town, study = in_round()
    one, other, third = (services(town, study, index) for index in range(3))
    ended: list[tuple[int, bytes]] = []
    assert one.keep_parcel(cut(DATA)) == NAME
    one.grant_parcel(NAME, (1,))
    other.fetch_parcel(NAME, len(DATA), (0,), lambda name: ended.append((1, name)))
    other.grant_parcel(NAME, (2,))
    wake(town, 0, 1)
    assert town.run(lambda: bool(ended))
    third.fetch_parcel(NAME, len(DATA), (1,), lambda name: ended.append((2, name)))
    wake(town, 2)
    assert town.run(lambda: len(ended) == 2)
    assert ended == [(1, NAME), (2, NAME)]
    assert all(holds(town, index) for index in range(3))
    scope = town.plan(study).scope
    assert any(key.startswith(f"{scope}/parcel/") for key in town.stored[2])
    assert town.run(town.finished(study))
    for index in range(3):
        assert not holds(town, index)
        assert town.parcels[index].read(NAME, 0) is None
        kept = {key.split("/parcel/")[0] for key in town.stored[index] if "/parcel/" in key}
        assert kept <= {model_scope(study)}


def test_a_round_that_ended_while_the_node_was_away_takes_its_parcels_along():
    town, study = in_round()
    services(town, study, 0).keep_parcel(cut(DATA), (1,))
    wake(town, 0)
    town.crash(0)
    assert town.run(town.finished(study))
    assert town.parcels[0].read(NAME, 0) is not None
    town.restart(0)
    assert town.run(town.finished(study))
    assert town.parcels[0].read(NAME, 0) is None


def test_a_role_that_comes_back_finds_its_parcel_and_can_let_it_go():
    town, study = in_round()
    services(town, study, 0).keep_parcel(cut(DATA), (1,))
    wake(town, 0)
    town.crash(0)
    town.restart(0)
    wake(town, 0)
    back = services(town, study, 0)
    told: list[bytes] = []
    back.fetch_parcel(NAME, len(DATA), (), told.append)
    assert told == [NAME]
    back.forget_parcel(NAME)
    wake(town, 0)
    assert town.parcels[0].read(NAME, 0) is None


def test_a_length_that_is_wrong_is_told_to_the_role_that_named_it():
    town, study = in_round()
    services(town, study, 0).keep_parcel(cut(DATA), (1,))
    failed: list[bytes] = []
    fetching = services(town, study, 1)
    fetching.fetch_parcel(NAME, 1, (0,), lambda _: None, failed.append)
    fetching.fetch_parcel(NAME, 2, (0,), lambda _: None)
    wake(town, 0, 1)
    assert town.run(lambda: bool(failed))
    assert town.blamed() == set()


def test_a_rule_that_a_role_finds_broken_is_not_laid_to_the_source():
    town, study = in_round()
    services(town, study, 0).keep_parcel(cut(DATA), (1,))

    def tell(_: bytes) -> None:
        raise RuleBroken("the role does not like it")

    services(town, study, 1).fetch_parcel(NAME, len(DATA), (0,), tell)
    wake(town, 0, 1)
    assert town.run(lambda: holds(town, 1))
    ids = town.census.node_ids
    assert MessageRejected(ids[1], "the role does not like it") in town.effects(MessageRejected, 1)
    assert town.run(town.finished(study)), "and the machine goes on"


def test_the_machine_wakes_for_a_chunk_that_does_not_come():
    params = ProtocolParams(gossip_interval_s=1000.0)
    town = Town(params=params)
    town.run(seconds=30.0)
    machine = town.machines[1]
    quiet = machine.next_deadline()
    machine.parcels.fetch(NAME, len(DATA), [town.census.node_ids[0]], lambda _: None)
    wake(town, 1)
    assert machine.next_deadline() == town.now + params.parcel_request_timeout_s < quiet


def test_who_is_away_is_not_asked_and_who_comes_back_is():
    town = Town()
    town.run(seconds=1.0)
    ids = town.census.node_ids
    for index in (0, 2):
        town.machines[index].parcels.keep(cut(DATA), ids)
        wake(town, index)
    town.crash(0)
    town.handle(1, PeerUnreachable(ids[0]))
    done: list[bytes] = []
    town.machines[1].parcels.fetch(NAME, len(DATA), [ids[0], ids[2]], done.append)
    began = town.now
    wake(town, 1)
    assert town.run(lambda: bool(done))
    assert town.now - began < 2.0
    town.machines[1].parcels.forget(NAME)
    town.machines[1].parcels.fetch(NAME, len(DATA), [ids[0]], done.append)
    town.restart(0)
    town.handle(1, PeerReachable(ids[0]))
    assert town.run(lambda: len(done) == 2, seconds=10.0)


def test_a_chunk_that_was_sent_makes_room_for_the_next():
    town = Town(params=ProtocolParams(parcel_chunks_waiting_max=1))
    town.run(seconds=1.0)
    ids = town.census.node_ids
    town.machines[0].parcels.keep(cut(DATA), [ids[1]])
    wake(town, 0)

    def sends(index: int) -> int:
        effects = town.inject(1, 0, ChunkRequest(NAME, (index,)))
        return sum(isinstance(effect, SendChunk) for effect in effects)

    assert [sends(0), sends(1)] == [1, 0]
    town.handle(0, ChunkSent(ids[1], NAME, 0))
    assert sends(1) == 1
