"""Selections in bulk are those of the slow rules, one by one."""

import numpy as np
import pytest

from pnyx.protocol.selection import select_census, verify_selection
from pnyx.simulator.bulk.draws import (
    RELOCATIONS_MAX,
    draw_census,
    draw_region,
    mixed,
    others_around,
)
from pnyx.simulator.bulk.ring import POSITIONS, Ring, width_of
from pnyx.simulator.bulk.sizing import RegionRule, candidates_share, region_rule, sized


def small_ring(nodes: int, corrupted: int, seed: int) -> Ring:
    return Ring.drawn(nodes, corrupted, np.random.default_rng(seed))


# --- the slow rules -------------------------------------------------------------------------------


def inside(position: int, centre: int, width: int) -> bool:
    return (position - centre + width // 2) % POSITIONS < width


def slow_mixed(value: int) -> int:
    mask = POSITIONS - 1
    value = (value + 0x9E3779B97F4A7C15) & mask
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
    return value ^ (value >> 31)


def around(positions: list[int], centre: int, width: int) -> list[int]:
    return [i for i, position in enumerate(positions) if inside(position, centre, width)]


def slow_selection(ring: Ring, rule: RegionRule, trigger: int, point: int, order: int):
    """Actors, corrupted among them, forged value, forged list, relocations, sparse trigger."""
    positions = [int(position) for position in ring.positions]
    bad = [bool(flag) for flag in ring.corrupted]
    first = [i for i in around(positions, positions[trigger], rule.region_width) if i != trigger]
    sparse = len(first) < rule.signers
    value_forged = bad[trigger] and sum(bad[i] for i in first) >= rule.signers
    moves = 0
    while True:
        second = around(positions, point, rule.region_width)
        candidates = around(positions, point, rule.candidates_width)
        settled = len(second) > rule.signers and len(candidates) >= rule.actors
        if settled or moves == RELOCATIONS_MAX:
            break
        point, moves = slow_mixed(point), moves + 1
    if sparse or not settled:
        return (-1,) * rule.actors, 0, value_forged and not sparse, False, moves, sparse
    setter = min(
        range(len(positions)),
        key=lambda i: (
            min((positions[i] - point) % POSITIONS, (point - positions[i]) % POSITIONS),
            (positions[i] - point) % POSITIONS,
        ),
    )
    accomplices = sum(bad[i] for i in second if i != setter)
    list_forged = bad[setter] and accomplices >= rule.signers
    actors = sorted(candidates, key=lambda i: slow_mixed(order ^ positions[i]))[: rule.actors]
    corrupted = sum(bad[i] for i in actors)
    if list_forged:
        corrupted = min(rule.actors, sum(bad[i] for i in candidates))
    if value_forged:
        corrupted = rule.actors
    return tuple(actors), corrupted, value_forged, list_forged, moves, sparse


# --- against the fast ones ------------------------------------------------------------------------


@pytest.mark.parametrize(("nodes", "count"), [(1, 1), (7, 7), (50, 20), (1_000_003, 32)])
def test_census_draws_are_the_protocols(nodes: int, count: int) -> None:
    generator = np.random.default_rng(nodes)
    beacons = [generator.bytes(32) for _ in range(40)]
    drawn = draw_census(beacons, b"a study", 9, "committee", count, nodes)
    for beacon, row in zip(beacons, drawn.tolist(), strict=True):
        assert tuple(row) == select_census(beacon, b"a study", 9, "committee", count, nodes)
        verify_selection(tuple(row), beacon, b"a study", 9, "committee", count, nodes)


def test_more_actors_than_nodes_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot draw 8 distinct"):
        draw_census([bytes(32)], b"", 1, "actor", 8, 7)
    with pytest.raises(ValueError, match="fewer nodes than actors"):
        candidates_share(7, 8)


@pytest.mark.parametrize(
    ("nodes", "corrupted", "signers", "region", "candidates", "actors"),
    [
        (60, 20, 2, 0.08, 0.20, 6),  # proofs are forged, points move, selections fail
        (300, 30, 3, 0.03, 0.12, 16),
        (40, 10, 4, 1.0, 1.0, 10),  # regions are the whole ring
        (25, 12, 2, 0.5, 0.9, 8),
    ],
)
def test_region_draws_are_those_of_the_slow_rule(
    nodes: int, corrupted: int, signers: int, region: float, candidates: float, actors: int
) -> None:
    rule = RegionRule(
        signers=signers,
        region_width=width_of(region),
        candidates_width=width_of(candidates),
        actors=actors,
    )
    ring = small_ring(nodes, corrupted, nodes)
    generator = np.random.default_rng(1)
    triggers = generator.integers(0, nodes, 150)
    points, orders = generator.integers(0, POSITIONS, (2, 150), dtype=np.uint64)
    points[:4] = [0, 1, POSITIONS - 1, int(ring.positions[0])]  # intervals across zero
    draws = draw_region(ring, rule, triggers, points, orders)
    for at in range(150):
        expected = slow_selection(ring, rule, int(triggers[at]), int(points[at]), int(orders[at]))
        found = (
            tuple(draws.actors[at].tolist()),
            int(draws.corrupted[at]),
            bool(draws.value_forged[at]),
            bool(draws.list_forged[at]),
            int(draws.relocations[at]),
            bool(draws.sparse_trigger[at]),
        )
        assert found == expected
    if nodes == 60:  # so that nothing above passes because it never happens
        assert draws.value_forged.any()
        assert draws.list_forged.any()
        assert (draws.relocations > 0).any()
        assert (draws.actors[:, 0] < 0).any()


def test_intervals_and_neighbours_around_the_ring() -> None:
    ring = small_ring(50, 15, 3)
    positions = [int(position) for position in ring.positions]
    centres = np.array([0, 5, POSITIONS - 3, POSITIONS // 2, *positions[:20]], dtype=np.uint64)
    for width in (0, 1, 2, width_of(0.01), width_of(0.5), POSITIONS - 1, POSITIONS):
        first, count = ring.interval(centres, width)
        bad = ring.corrupted_among(first, count)
        for at, centre in enumerate(centres.tolist()):
            there = around(positions, centre, width)
            assert count[at] == len(there)
            assert {(first[at] + i) % 50 for i in range(count[at])} == set(there)
            assert bad[at] == sum(ring.corrupted[there])
    nearest = ring.nearest(centres)
    for at, centre in enumerate(centres.tolist()):
        distances = [min((p - centre) % POSITIONS, (centre - p) % POSITIONS) for p in positions]
        assert distances[nearest[at]] == min(distances)


def test_a_trigger_is_not_among_the_others() -> None:
    ring = small_ring(20, 20, 1)
    others, corrupted = others_around(ring, np.arange(20), POSITIONS)
    assert set(others.tolist()) == set(corrupted.tolist()) == {19}


def test_the_mix_is_the_published_one() -> None:
    # First outputs of SplitMix64 seeded with 0, as its author lists them.
    steps = np.array([0, 0x9E3779B97F4A7C15], dtype=np.uint64)
    assert mixed(steps).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


def test_rules_follow_the_table_of_regions() -> None:
    size = sized(1_000_000, 10_000, 1e-6)
    rule = region_rule(1_000_000, size, 32)
    assert rule.signers == size.signers == 8
    assert rule.region_width / POSITIONS == pytest.approx(size.region_size)
    # Some forty candidates or more: thirty-two nearly always.
    assert 45 < rule.candidates_width / POSITIONS * 1_000_000 < 60
