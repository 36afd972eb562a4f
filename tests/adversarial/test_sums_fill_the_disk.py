"""Corrupt members ask for the sums of many sets: each is a parcel, larger than a vector.

An aggregator that made all of them would have no room for vectors, and in the end its store would
refuse to write, which stops a node. It makes few for members that may all be corrupt, none without
room, and one at a time; and where the store has no room after all, only the sum fails.
"""

import asyncio
from itertools import combinations

import pytest
from msgspec.structs import replace
from tests.support.masked_round import AGGREGATORS, fetches, masked_committee
from tests.support.town import Town, masked_manifest
from tests.support.weakened import weaken

from pnyx.errors import RuleBroken, VaultError
from pnyx.node import daemon as daemons
from pnyx.node.daemon import Daemon
from pnyx.node.parcel_store import FileParcelStore
from pnyx.primitives import codec
from pnyx.protocol.chunks import chunks_of, describe
from pnyx.protocol.events import (
    Compute,
    MessageReceived,
    Persist,
    SummingFailed,
    SumVectors,
    VectorsSummed,
)
from pnyx.protocol.messages import HeldContribution, SumRequest
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round import aggregator as aggregators
from pnyx.protocol.round.aggregator import Aggregator

C = masked_committee()
EVERYBODY = tuple(sorted(C.plan.contributors))
MEMBERS = [index for index in C.plan.committee if index not in AGGREGATORS]
F = C.plan.size.corrupt_max
CORRUPT, HONEST = MEMBERS[:F], MEMBERS[F:]
FEW = ProtocolParams().unvouched_sums_max
SUBSETS = [few for size in range(1, 5) for few in combinations(EVERYBODY, size)]


class Asked:
    """An aggregator that holds every vector, and a shell that adds up what it is asked to."""

    def __init__(self, restored=None) -> None:
        services, self.outbox = C.services(AGGREGATORS[0], restored)
        self.made = Aggregator(services, AGGREGATORS[0], C.code, lambda _: False)
        for who in EVERYBODY:
            self.made.handle(who, C.offer(who), 0.0)
            name, _, _, done, _ = fetches(self.outbox)[-1]
            done(name)
            self.made.on_read(name, C.vector(who))
            self.made.on_computed(self.outbox.of(Compute)[-1].work())
        self.sums: list[bytes] = []

    def ask(self, member: int, *contributors: int) -> None:
        """One request; all sums that are asked for are made before the next."""
        try:
            self.made.handle(member, C.request(*contributors), 0.0)
        except RuleBroken:
            return
        while len(asked := self.outbox.of(SumVectors)) > len(self.sums):
            assert len(asked) == len(self.sums) + 1, "one at a time"
            self.sums.append(asked[-1].name)
            self.made.on_summed(asked[-1].name, asked[-1].name, ())

    def flood(self, subsets) -> None:
        """Every corrupt member asks for all sets that it may."""
        subsets = iter(subsets)
        for member in CORRUPT:
            for _ in range(self.made._services.params.summed_sets_max):
                self.ask(member, *next(subsets))

    def kept(self) -> dict[str, bytes]:
        """What survives a kill, but for the vectors."""
        stored = [each for each in self.outbox.of(Persist) if "/vector/" not in each.key]
        return {each.key.rsplit("/1-1/", 1)[1]: each.value for each in stored}


def test_many_sets_of_few_members():
    asked = Asked()
    asked.flood(SUBSETS)
    assert len(asked.sums) == FEW
    for member in HONEST[:F]:
        asked.ask(member, *EVERYBODY)
        assert len(asked.sums) == FEW, "these could be the corrupt ones"
    asked.ask(HONEST[F], *EVERYBODY)
    assert asked.sums[FEW:] == [C.name_of(*EVERYBODY)]
    told = [
        to for to, each in asked.outbox.sent if each == C.told(*EVERYBODY, parcel=asked.sums[FEW])
    ]
    assert told == HONEST[: F + 1], "whoever waited is told"


def test_in_one_voice_they_get_no_more():
    """All of them name the same sets, which are as few as before."""
    asked = Asked()
    for few in SUBSETS[:4]:
        for member in CORRUPT:
            asked.ask(member, *few)
    assert len(asked.sums) == FEW


def test_nor_after_a_restart():
    before = Asked()
    before.flood(SUBSETS)
    asked = Asked(before.kept())
    asked.flood(SUBSETS[20:])
    assert asked.sums == [], "the room is taken by those that were made before"
    for member in HONEST[: F + 1]:
        asked.ask(member, *EVERYBODY)
    assert asked.sums[-1] == C.name_of(*EVERYBODY)


@pytest.mark.parametrize(
    ("attack", "defence", "without"),
    [
        (
            test_many_sets_of_few_members,
            "if unvouched >= self._services.params.unvouched_sums_max:",
            "if False:",
        ),
        (test_nor_after_a_restart, "if name.startswith(_HASTY):", "if False:"),
    ],
)
def test_each_is_a_defence(monkeypatch, attack, defence, without):
    weaken(monkeypatch, aggregators, (defence, without))
    with pytest.raises(AssertionError):
        attack()


# --- room -----------------------------------------------------------------------------------------


def sums_without_room(room: int) -> list[SumVectors]:
    """What the machine of an aggregator has added up when a member asks, with so much room left."""
    town = Town(count=12)
    study = town.propose(plan=masked_manifest(12))
    town.run(town.in_round(study, 1))
    plan = town.plan(study)
    index = plan.aggregators[0]
    made = town.machines[index]
    active = made.rounds.active[plan.context].aggregator
    assert town.run(lambda: bool(active._sealed))
    who = min(active._sealed)
    held = HeldContribution(who, active._reader.name(active._offers[who].header))
    taken = sum(each.parcel.length for each in made.parcels._held.values())
    taken += sum(each.room for each in made.parcels._wanted.values())
    made.parcels._params = replace(town.params, parcels_bytes_max=taken + room)
    member = next(i for i in plan.committee if i not in plan.aggregators)
    payload = codec.encode(SumRequest(plan.context, (held,)))
    effects = made.handle(MessageReceived(town.census.node_ids[member], payload), made.now)
    return [each for each in effects if isinstance(each, SumVectors)]


def test_without_room_nothing_is_added_up():
    assert sums_without_room(1024) == []
    assert len(sums_without_room(2**20)) == 1


def test_to_look_for_room_is_the_defence(monkeypatch):
    weaken(
        monkeypatch,
        aggregators,
        ("if not self._missing(accepted) and self._has_room():", "if not self._missing(accepted):"),
    )
    assert len(sums_without_room(1024)) == 1


def answered(path, bytes_max: int) -> list[object]:
    """What a daemon tells its machine of a sum, where its store takes so many bytes."""
    store = FileParcelStore(path, bytes_max)
    names = []
    for who in EVERYBODY[:2]:
        parcel = describe(chunks_of(C.vector(who)))
        for at, chunk in enumerate(chunks_of(C.vector(who))):
            store.write(parcel.name, at, chunk)
        store.seal(parcel.name, parcel.length)
        names.append(parcel.name)
    daemon = Daemon.__new__(Daemon)
    daemon._parcels, told = store, []
    daemon.deliver = told.append
    linear_hash = C.code.summed_hash([C.masked(who).linear_hash for who in EVERYBODY[:2]])
    effect = SumVectors(C.plan.context, bytes(32), tuple(names), C.code.parameters, linear_hash)
    asyncio.run(daemon._sum_vectors(effect))
    return told


def test_a_store_without_room_fails_the_sum_and_not_the_node(tmp_path):
    held = 2 * C.code.vector_bytes
    [told] = answered(tmp_path / "large", held + C.code.sum_bytes)
    assert isinstance(told, VectorsSummed)
    [told] = answered(tmp_path / "small", held + C.code.sum_bytes - 1)
    assert told == SummingFailed(C.plan.context, bytes(32))


def test_to_ask_the_store_is_the_defence(monkeypatch, tmp_path):
    weaken(
        monkeypatch, daemons, ("if self._parcels.has_room(sum(map(len, chunks))):", "if chunks:")
    )
    with pytest.raises(VaultError, match="would take more than"):
        answered(tmp_path, 2 * C.code.vector_bytes)
