"""R1: a coalition tries to get more of the work than its share. Nothing but the beacon decides."""

import pytest

from pnyx.primitives.hashing import digest
from pnyx.protocol.selection import census, draw_contributors, select_census

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
