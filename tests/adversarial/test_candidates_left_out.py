"""R1, I3: a corrupt setter leaves honest candidates out of its call, so that its friends are drawn.

Caches differ from node to node, so a list cannot be refused for what its setter does not know. But
every node of the region adds what it knows, and the list is made of the union, the same for all:
the setter's omission changes nothing. Liars can name only nodes that are certified and stand in
R3, and a listing that is too sparse to be true is not believed.
"""

from functools import cache

import pytest
from msgspec.structs import replace
from tests.support.regions import EPOCH_BEACON, Exchange, Ring, beacon_of

from pnyx.primitives.sampling import Sampler
from pnyx.protocol.events import RegionListed
from pnyx.protocol.node_cache import LiveNodes
from pnyx.protocol.selection.region.caller import Caller
from pnyx.protocol.selection.region.messages import Call, Presence, Region
from pnyx.protocol.selection.region.signer import Signer
from pnyx.protocol.selection.region.statements import ordered

RING = Ring(60, corrupt_max=4)
COUNT = 20  # of 60: the whole ring holds candidates
VICTIMS = frozenset(RING.ids[::4])


def corrupt_setter(monkeypatch, names) -> None:
    """Whoever becomes setter calls with other candidates than it knows: names(candidates)."""
    make = Caller._make_call

    def corrupt(caller):
        call = make(caller)
        return replace(call, candidates=names(call.candidates)) if call.before else call

    monkeypatch.setattr(Caller, "_make_call", corrupt)


def left_out(candidates):
    """Nobody of a quarter of the network."""
    return tuple(node for node in candidates if node not in VICTIMS)


@cache
def heard_by(node: bytes) -> frozenset[bytes]:
    """What this node's cache holds: nine of ten nodes, others than its neighbour's."""
    sampler = Sampler(node, "cache")
    return frozenset(each for each in RING.ids if sampler.below(10))


def test_left_out_candidates_are_drawn_all_the_same(monkeypatch):
    corrupt_setter(monkeypatch, left_out)
    exchange = Exchange(RING, COUNT, seen=heard_by)
    proof = exchange.run(first=False, until_s=5.0)
    assert len({each.actors for each in exchange.lists[1].values()}) == 1
    assert VICTIMS.intersection(proof.actors)
    assert list(proof.actors) == ordered(proof.order, RING.ids)[:COUNT]


def test_unless_the_region_adds_what_it_knows_the_setter_leaves_out_whom_it_likes(monkeypatch):
    corrupt_setter(monkeypatch, left_out)
    monkeypatch.setattr(Signer, "_additions", lambda signer, call: ())
    proof = Exchange(RING, COUNT, seen=heard_by).run()
    assert not VICTIMS.intersection(proof.actors)


def test_nodes_whose_caches_differ_come_to_one_list():
    for number in range(3):
        exchange = Exchange(RING, COUNT, seen=heard_by, beacon=beacon_of(number), lost=0.05)
        exchange.run(first=False, until_s=9.0)
        made = [{each.actors for each in lists.values()} for lists in exchange.lists.values()]
        assert made
        assert all(len(each) == 1 for each in made)


def test_liars_cannot_name_nodes_that_have_no_certificate(monkeypatch):
    """Nor does a node that is named twice count twice."""
    strangers = tuple(bytes([n]) * 32 for n in range(40))
    corrupt_setter(monkeypatch, lambda known: (*strangers, *known[:3] * 20))
    proof = Exchange(RING, COUNT, seen=heard_by).run()
    assert list(proof.actors) == ordered(proof.order, RING.ids)[:COUNT]


def test_nodes_that_nobody_has_heard_of_are_not_drawn_before_others():
    gone = frozenset(RING.ids[::3])
    proof = Exchange(RING, COUNT, seen=lambda node: heard_by(node) - gone).run()
    living = [node for node in RING.ids if node not in gone]
    assert list(proof.actors) == ordered(proof.order, living)[:COUNT]


def test_where_too_few_are_heard_of_the_certified_fill_the_list():
    """So caches that hold too little stop no draw."""
    some = frozenset(RING.ids[:5])
    proof = Exchange(RING, COUNT, seen=lambda node: some).run()
    rest = [node for node in RING.ids if node not in some]
    filled = [*some, *ordered(proof.order, rest)[: COUNT - 5]]
    assert list(proof.actors) == ordered(proof.order, filled)


# --- listings of an eclipsed overlay -------------------------------------------------------------


@pytest.mark.parametrize("sparse", [False, True])
def test_a_listing_too_sparse_to_be_true_is_not_believed(sparse):
    """Liars around a node name only each other: the place is emptier than it can be."""
    cache = LiveNodes(RING.ids[0], refresh_s=10.0, keep_s=100.0)
    cache.enter(0, EPOCH_BEACON)
    wanted = cache.want(RING.rule, COUNT, 0.0)
    friends = tuple(RING.ids[:3])
    cache.take(RegionListed(0, wanted.start, wanted.end, friends, sparse), 0.0)
    known = cache.known(RING.position(RING.ids[0]), 0.1, 0.0)
    assert known is None if sparse else set(known) == set(friends)


def test_who_is_shut_out_of_the_overlay_leaves_nobody_out():
    """A setter without a listing names everybody who is certified; so do the nodes it calls."""
    said = []

    def watch(sender, receiver, message):
        if isinstance(message, Call | Presence) and message.region is Region.LIST:
            said.append(message)
        return [(receiver, message)]

    Exchange(RING, COUNT, spoil=watch).run()
    calls = [each for each in said if isinstance(each, Call)]
    assert {len(call.candidates) for call in calls} == {60}
    assert all(each.additions == () for each in said if isinstance(each, Presence))
