"""Draws over the census: imposed, distinct, ordered, and bound to all of their inputs."""

from math import comb

import pytest

from pnyx.errors import RuleBroken
from pnyx.primitives.hashing import digest
from pnyx.protocol.selection import (
    ActorList,
    CensusSelector,
    Selector,
    contributor_groups,
    draw_contributors,
    genesis_committee,
    select_census,
    stand_ins,
    verify_selection,
)

BEACON, STUDY = bytes(range(32)), b"study" * 6
NODE_IDS = [digest("test/node", bytes([i])) for i in range(100)]


def test_the_draw_follows_the_formula():
    expected = []
    for draw in range(100):
        hashed = digest(
            "pnyx/selection/census",
            BEACON,
            STUDY,
            (7).to_bytes(8, "big"),
            b"committee",
            draw.to_bytes(8, "big"),
        )
        index = int.from_bytes(hashed, "big") % 36
        if index not in expected:
            expected.append(index)
    assert select_census(BEACON, STUDY, 7, "committee", 24, 36) == tuple(expected[:24])


def test_everyone_can_be_drawn_and_nobody_twice():
    drawn = select_census(BEACON, STUDY, 1, "committee", 36, 36)
    assert sorted(drawn) == list(range(36))
    assert select_census(BEACON, STUDY, 1, "committee", 0, 36) == ()


def test_stand_ins_continue_the_draw():
    drawn = select_census(BEACON, STUDY, 1, "committee", 30, 36)
    assert drawn[24:] == stand_ins(BEACON, STUDY, 1, "committee", 24, 6, 36)


def test_excluded_nodes_are_passed_over_without_disturbing_the_order():
    drawn = select_census(BEACON, STUDY, 1, "aggregator", 36, 36)
    exclude = frozenset(drawn[:5])
    assert select_census(BEACON, STUDY, 1, "aggregator", 31, 36, exclude) == drawn[5:]
    with pytest.raises(ValueError, match="32 distinct nodes from 31"):
        select_census(BEACON, STUDY, 1, "aggregator", 32, 36, exclude)
    # Indices beyond the census exclude nobody.
    assert len(select_census(BEACON, STUDY, 1, "aggregator", 3, 3, frozenset({9}))) == 3


@pytest.mark.parametrize("count", [-1, 37])
def test_a_draw_that_could_not_end_is_a_bug(count):
    with pytest.raises(ValueError, match="distinct nodes from 36"):
        select_census(BEACON, STUDY, 1, "committee", count, 36)


def test_every_input_changes_the_draw():
    base = select_census(BEACON, STUDY, 1, "committee", 12, 36)
    others = [
        select_census(bytes(32), STUDY, 1, "committee", 12, 36),
        select_census(BEACON, b"other", 1, "committee", 12, 36),
        select_census(BEACON, STUDY, 2, "committee", 12, 36),
        select_census(BEACON, STUDY, 1, "aggregator", 12, 36),
        select_census(BEACON, STUDY, 1, "committee", 12, 37),
    ]
    assert len({base, *others}) == 6


def test_the_selector_selects_and_verifies():
    selector: Selector = CensusSelector(36, exclude={3})
    actors = selector.select(BEACON, STUDY, 1, "committee", 24)
    assert actors == ActorList(select_census(BEACON, STUDY, 1, "committee", 24, 36, {3}))
    selector.verify(actors, BEACON, STUDY, 1, "committee", 24)
    with pytest.raises(RuleBroken, match="committee is not the one"):
        selector.verify(actors, BEACON, STUDY, 2, "committee", 24)
    with pytest.raises(RuleBroken, match="carries no proof"):
        selector.verify(ActorList(actors.indices, b"x"), BEACON, STUDY, 1, "committee", 24)
    verify_selection(actors.indices, BEACON, STUDY, 1, "committee", 24, 36, {3})


def test_contributors_are_the_lowest_hashes_each_once():
    drawn = draw_contributors(BEACON, NODE_IDS + NODE_IDS[:10], 24)
    ranked = sorted(NODE_IDS, key=lambda each: digest("pnyx/selection/contributor", BEACON, each))
    assert drawn == tuple(ranked[:24])
    assert draw_contributors(BEACON, reversed(NODE_IDS), 24) == drawn
    assert set(draw_contributors(BEACON, NODE_IDS, 1000)) == set(NODE_IDS)
    assert draw_contributors(bytes(32), NODE_IDS, 24) != drawn


def test_groups_are_even_and_independent_of_the_draw():
    ids = [digest("test/many", i.to_bytes(4, "big")) for i in range(4000)]
    drawn = draw_contributors(BEACON, ids, 2000)
    groups = contributor_groups(BEACON, drawn, 4)
    assert [groups.count(group) for group in range(4)] == [500] * 4
    first = [groups[:1000].count(group) for group in range(4)]  # of those drawn before the others
    assert sum((size - 250) ** 2 / 125 for size in first) < 16.27  # χ², 3 degrees, p = 1e-3
    assert contributor_groups(BEACON, drawn[::-1], 4) == groups[::-1]
    of_few = contributor_groups(BEACON, drawn[:7], 3)
    assert sorted(map(of_few.count, range(3))) == [2, 2, 3]
    with pytest.raises(ValueError, match="at least one group"):
        contributor_groups(BEACON, ids, 0)


def test_the_genesis_committee_follows_the_census_root():
    drawn = genesis_committee(BEACON, NODE_IDS, 24)
    assert drawn == genesis_committee(BEACON, list(reversed(NODE_IDS)), 24)
    assert drawn != genesis_committee(bytes(32), NODE_IDS, 24)
    assert drawn != draw_contributors(BEACON, NODE_IDS, 24)
    assert len(set(drawn)) == 24
    with pytest.raises(ValueError, match="needs as many distinct nodes"):
        genesis_committee(BEACON, NODE_IDS[:5] * 5, 6)


def test_corrupted_members_of_a_committee_are_hypergeometric():
    """Five corrupted nodes of 36: how many sit in 4,000 committees of 24."""
    counts = [0] * 6
    for round_number in range(4000):
        members = select_census(BEACON, STUDY, round_number, "committee", 24, 36)
        counts[sum(index < 5 for index in members)] += 1
    expected = [4000 * comb(5, x) * comb(31, 24 - x) / comb(36, 24) for x in range(6)]
    # χ² with 5 degrees of freedom, p = 1e-3.
    assert sum((c - e) ** 2 / e for c, e in zip(counts, expected, strict=True)) < 20.52
