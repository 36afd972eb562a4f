"""What a selector promises, whichever back-end: imposed, complete, bound to all that it is for."""

from functools import lru_cache

import pytest
from msgspec.structs import replace
from tests.support.regions import STUDY, Exchange, Ring, beacon_of

from pnyx.errors import ProtocolError
from pnyx.protocol.selection import ActorList, CensusSelector

NODES, COUNT = 16, 9
DRAWN = (beacon_of(0), STUDY, 3, "committee", COUNT)
OTHERS = {
    "beacon": (beacon_of(1), STUDY, 3, "committee", COUNT),
    "study": (beacon_of(0), b"s" * 32, 3, "committee", COUNT),
    "round": (beacon_of(0), STUDY, 4, "committee", COUNT),
    "role": (beacon_of(0), STUDY, 3, "aggregator", COUNT),
    "count": (beacon_of(0), STUDY, 3, "committee", COUNT - 1),
}


@lru_cache
def by_census():
    return CensusSelector(NODES)


@lru_cache
def by_regions():
    """Nodes draw every list that the tests ask for."""
    ring = Ring(NODES)
    for drawn in (DRAWN, *OTHERS.values()):
        wanted = ring.selector.draw(*drawn, 1)
        assert Exchange(ring, 0, wanted=wanted).run() is not None
    return ring.selector


SELECTORS = pytest.mark.parametrize("make", [by_census, by_regions])


@SELECTORS
def test_as_many_distinct_nodes_as_asked_for(make):
    indices = make().select(*DRAWN).indices
    assert len(set(indices)) == len(indices) == COUNT
    assert set(indices) <= set(range(NODES))


@SELECTORS
def test_one_list_for_one_purpose_and_it_verifies(make):
    actors = make().select(*DRAWN)
    assert make().select(*DRAWN) == actors
    make().verify(actors, *DRAWN)


@SELECTORS
@pytest.mark.parametrize("other", OTHERS)
def test_a_list_counts_for_nothing_else(make, other):
    actors = make().select(*DRAWN)
    with pytest.raises(ProtocolError):
        make().verify(actors, *OTHERS[other])
    assert make().select(*OTHERS[other]).indices != actors.indices


@SELECTORS
def test_no_list_with_other_actors_verifies(make):
    actors = make().select(*DRAWN)
    first, second, *rest = actors.indices
    left = min(set(range(NODES)) - set(actors.indices))
    for indices in [(second, first, *rest), (left, second, *rest), (second, *rest), ()]:
        with pytest.raises(ProtocolError):
            make().verify(replace(actors, indices=indices), *DRAWN)


@SELECTORS
def test_a_proof_of_another_kind_is_refused(make):
    for proof in (b"x", b"\x00" * 100):
        with pytest.raises(ProtocolError):
            make().verify(ActorList(make().select(*DRAWN).indices, proof), *DRAWN)


@SELECTORS
def test_more_nodes_than_there_are_is_an_error_of_the_caller(make):
    with pytest.raises(ValueError, match="cannot draw"):
        make().select(beacon_of(0), STUDY, 3, "committee", NODES + 1)


def test_regions_select_nothing_before_they_drew():
    with pytest.raises(ProtocolError, match="no region has made"):
        by_regions().select(beacon_of(9), STUDY, 3, "committee", COUNT)
