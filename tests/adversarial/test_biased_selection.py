"""R1: a coalition tries to get more of the work than its share. Nothing but the beacon decides."""

import pytest
from tests.support.regions import Ring

from pnyx.primitives.hashing import digest
from pnyx.protocol.selection import census, draw_contributors, select_census
from pnyx.protocol.selection.region.ring import CensusCache
from pnyx.protocol.selection.region.statements import ordered, point_of

STUDY = b"a study"
NODES, CORRUPTED, SIZE = 36, 4, 24
CHI_SQUARE_35 = 66.62  # 35 degrees of freedom, p = 1e-3


def beacon(number):
    return digest("test/beacon", number.to_bytes(8, "big"))


def chi_square(counts):
    expected = sum(counts) / len(counts)
    return sum((count - expected) ** 2 / expected for count in counts)


def first_actors(draws):
    counts = [0] * NODES
    for number in range(draws):
        counts[select_census(beacon(0), STUDY, number, "committee", 1, NODES)[0]] += 1
    return counts


def test_no_census_position_is_favoured():
    """The authority, or whoever enrols at a chosen place of the census, gains nothing by it."""
    assert chi_square(first_actors(100_000)) < CHI_SQUARE_35


def test_a_reduction_of_too_few_hash_bits_would_favour_low_positions(monkeypatch):
    """The attack behind the test above: one byte modulo 36 prefers the first four positions."""
    monkeypatch.setattr(census, "digest", lambda *parts: digest(*parts)[:1])
    assert chi_square(first_actors(30_000)) > CHI_SQUARE_35


@pytest.mark.parametrize("draws", [4_000, pytest.param(100_000, marks=pytest.mark.full)])
@pytest.mark.parametrize("place", ["first", "last", "spread"])
def test_a_coalition_gets_its_share_of_committees_and_no_more(place, draws):
    """Corrupted share of the seats within 3 sigma of C/N, wherever the coalition sits."""
    coalition = {
        "first": set(range(CORRUPTED)),
        "last": set(range(NODES - CORRUPTED, NODES)),
        "spread": set(range(0, NODES, NODES // CORRUPTED)),
    }[place]
    seats = sum(
        len(coalition.intersection(select_census(beacon(n), STUDY, n, "committee", SIZE, NODES)))
        for n in range(draws)
    )
    mean = SIZE * CORRUPTED / NODES
    variance = mean * (1 - CORRUPTED / NODES) * (NODES - SIZE) / (NODES - 1)
    assert abs(seats - draws * mean) < 3 * (draws * variance) ** 0.5


def test_nobody_holds_two_seats():
    """Counting a node twice would give a coalition two shares, votes and signatures for one."""
    for number in range(300):
        assert len(set(select_census(beacon(number), STUDY, 1, "committee", 30, NODES))) == 30


def test_joining_many_times_brings_no_second_contribution():
    """One person, one vote: repeated joins of a coalition do not crowd out the others."""
    ids = [digest("test/node", bytes([index])) for index in range(NODES)]
    flooded = ids + ids[:CORRUPTED] * 100
    assert draw_contributors(beacon(1), flooded, 16) == draw_contributors(beacon(1), ids, 16)


def test_a_coalition_cannot_surround_a_victim_among_contributors():
    """Its share of the drawn contributors stays within 3 sigma of C/N over many beacons."""
    ids = [digest("test/node", bytes([index])) for index in range(NODES)]
    coalition, draws, drawn = set(ids[:CORRUPTED]), 3000, 16
    seats = sum(
        len(coalition.intersection(draw_contributors(beacon(number), ids, drawn)))
        for number in range(draws)
    )
    mean = drawn * CORRUPTED / NODES
    variance = mean * (1 - CORRUPTED / NODES) * (NODES - drawn) / (NODES - 1)
    assert abs(seats - draws * mean) < 3 * (draws * variance) ** 0.5


# --- regions ------------------------------------------------------------------------------------

RING_NODES, RING_CORRUPTED, ACTORS, DRAWS_IN_AN_EPOCH = 200, 20, 12, 20


def drawn_by_regions(cache, share, value):
    """What the nodes of R1 and R2 make of uniform secrets; no coalition enters."""
    inside = cache.near(point_of(b"c" * 32, value), share, RING_NODES)
    return ordered(digest("test/order", value), [place.node_id for place in inside])[:ACTORS]


def seats_of_a_coalition(draws, share=0.2):
    ring = Ring(RING_NODES)
    coalition = frozenset(ring.ids[:: RING_NODES // RING_CORRUPTED])
    seats = []
    for epoch in range(draws // DRAWS_IN_AN_EPOCH):
        cache = CensusCache(ring.ids, [bytes(32)] * RING_NODES, beacon(10_000 + epoch))
        for number in range(DRAWS_IN_AN_EPOCH):
            value = beacon(epoch * DRAWS_IN_AN_EPOCH + number)
            actors = drawn_by_regions(cache, share, value)
            seats.append(sum(node in coalition for node in actors))
    return seats


@pytest.mark.parametrize("draws", [6_000, pytest.param(100_000, marks=pytest.mark.full)])
def test_a_coalition_gets_its_share_of_region_lists_and_no_more(draws):
    """Within 3 sigma of A·C/N; draws of an epoch share positions, so sigma is that of epochs."""
    seats = seats_of_a_coalition(draws)
    epochs = [
        sum(seats[at : at + DRAWS_IN_AN_EPOCH]) for at in range(0, len(seats), DRAWS_IN_AN_EPOCH)
    ]
    mean = ACTORS * RING_CORRUPTED / RING_NODES * DRAWS_IN_AN_EPOCH
    observed = sum(epochs) / len(epochs)
    variance = sum((each - observed) ** 2 for each in epochs) / (len(epochs) - 1)
    assert abs(observed - mean) < 3 * (variance / len(epochs)) ** 0.5


def test_positions_that_stay_would_let_a_coalition_settle():
    """Without epochs a coalition that stands together is drawn together, or not at all."""
    ring = Ring(RING_NODES)
    cache = CensusCache(ring.ids, [bytes(32)] * RING_NODES, beacon(0))
    settled = {p.node_id for p in cache.near(0, 1.0, RING_CORRUPTED)}
    seats = [
        sum(node in settled for node in drawn_by_regions(cache, 0.2, beacon(n))) for n in range(300)
    ]
    assert sum(count > ACTORS // 3 for count in seats) > 20
    spread = seats_of_a_coalition(300)
    assert sum(count > ACTORS // 3 for count in spread) < 10
