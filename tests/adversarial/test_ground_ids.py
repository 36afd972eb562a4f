"""I1: Sybils and ground ids. A coalition makes ten keys for each node of the network.

An id is the hash of a key and of a nonce that the authority drew, and only certified ids are found.
So keys that were ground for a region are not there; and certified nodes that happened to be there
are somewhere else in the next epoch.
"""

import numpy as np
import pytest
from tests.support.regions import EPOCH_BEACON, Exchange, Ring, listed

from pnyx.errors import InvalidCertificate
from pnyx.primitives.hashing import digest
from pnyx.protocol.identity import node_id
from pnyx.protocol.selection.region import position_of
from pnyx.protocol.selection.region.ring import CensusCache, distance, reach
from pnyx.protocol.selection.region.statements import ordered

NODES, CORRUPTED, GROUND = 400, 20, 10
RING = Ring(NODES)
VICTIM = RING.ids[123]
CENTRE = position_of(VICTIM, EPOCH_BEACON)
REGION = 100 / NODES  # of a hundred nodes


def ground_keys(count):
    """Self-made ids that stand around the victim: nobody but the coalition drew their nonces."""
    ids = (node_id(digest("test/ground", n.to_bytes(4, "big")), bytes(16)) for n in range(count))
    return [
        each for each in ids if distance(position_of(each, EPOCH_BEACON), CENTRE) <= reach(REGION)
    ]


def test_ground_ids_are_not_found_nor_believed():
    ground = ground_keys(GROUND * NODES)
    around = RING.cache.near(CENTRE, REGION, NODES)
    assert len(ground) > 5 * len(around)  # they would be most of the region
    assert not any(RING.cache.find(each) for each in ground)
    draw = Exchange(RING, 20, only=frozenset({VICTIM})).wanted
    good = listed(RING.selector, draw, RING.crypto)
    keys = {**RING.crypto, **dict.fromkeys(ground, RING.crypto[VICTIM])}
    stuffed = sorted(ground)[: RING.rule.signers]
    with_one = (ground[0], *good.actors[1:])
    for forged in (
        listed(RING.selector, draw, keys, signers=stuffed),
        listed(RING.selector, draw, keys, actors=tuple(ordered(b"o" * 32, with_one))),
    ):
        with pytest.raises(InvalidCertificate):
            RING.selector.check_list(forged)


def test_keys_that_were_ground_before_they_are_enrolled_stand_where_the_nonce_puts_them():
    """Even for a beacon that is known: the authority draws the nonce when it gets the key."""

    def near(key, nonce):
        position = position_of(node_id(key, nonce), EPOCH_BEACON)
        return distance(position, CENTRE) <= reach(REGION)

    keys = [digest("test/ground", n.to_bytes(4, "big")) for n in range(GROUND * NODES)]
    ground = [key for key in keys if near(key, bytes(16))]
    share = np.mean([near(key, digest("test/nonce", key)[:16]) for key in ground])
    assert abs(share - REGION) < 3 * (REGION * (1 - REGION) / len(ground)) ** 0.5


def test_without_certificates_ten_keys_a_node_take_most_of_a_region():
    """The cache of a network that lets anybody in: the attack that is stopped above."""
    ids = sorted([*RING.ids, *ground_keys(GROUND * NODES)])
    open_cache = CensusCache(ids, [bytes(32)] * len(ids), EPOCH_BEACON)
    around = open_cache.near(CENTRE, REGION, 10 * NODES)
    taken = sum(place.node_id not in RING.crypto for place in around)
    assert taken / len(around) > 0.85


def epochs(count):
    return [digest("test/epoch", n.to_bytes(4, "big")) for n in range(count)]


def in_region(nodes, beacon):
    centre = position_of(VICTIM, beacon)
    return sum(distance(position_of(n, beacon), centre) <= reach(REGION) for n in nodes)


@pytest.mark.parametrize("count", [150, pytest.param(3_000, marks=pytest.mark.full)])
def test_a_coalitions_share_of_a_region_is_its_share_of_the_network(count):
    others = [node for node in RING.ids if node != VICTIM]
    coalition = others[:CORRUPTED]
    found = [in_region(coalition, beacon) for beacon in epochs(count)]
    deviation = (CORRUPTED * REGION * (1 - REGION) / count) ** 0.5
    assert abs(np.mean(found) - CORRUPTED * REGION) < 3 * deviation


def test_who_settled_around_a_victim_is_scattered_by_the_next_epoch():
    """The coalition is the nodes that stand next to the victim now; then they do not any more."""
    around = RING.cache.near(CENTRE, REGION, CORRUPTED + 1)
    settled = [place.node_id for place in around if place.node_id != VICTIM]
    assert in_region(settled, EPOCH_BEACON) == CORRUPTED
    later = [in_region(settled, beacon) for beacon in epochs(60)]
    assert np.mean(later) == pytest.approx(CORRUPTED * REGION, abs=1.0)
