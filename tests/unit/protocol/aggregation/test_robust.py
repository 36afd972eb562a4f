"""Nearest-neighbour mixing and a trimmed mean, against byzfl and against their definition.

`tests/vectors/robust.json` holds what byzfl 0.0.11 gives (`robust_byzfl.py` writes it): its package
asks for torchvision, seaborn and matplotlib, so it is not installed beside ours. `by_definition` is
written from the papers.
"""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pnyx.protocol.aggregation.robust import (
    FRACTION_BITS,
    GROUPS_MAX,
    PLAIN_MEAN,
    UPDATE_MAX,
    Combined,
    GroupUpdate,
    Robust,
    combine,
    neighbours,
    squared_distances,
)

RECORDED = json.loads((Path(__file__).parents[3] / "vectors" / "robust.json").read_text())


def value(combined: Combined) -> list[Fraction]:
    return [Fraction(entry, combined.divisor) for entry in combined.total.tolist()]


def groups(rows, contributors=1) -> list[GroupUpdate]:
    return [GroupUpdate(np.array(row, dtype=np.int64) * contributors, contributors) for row in rows]


def by_definition(rows: list[list[Fraction]], tolerated: int) -> list[Fraction]:
    """Algorithm 2 of Allouah et al. 2023, then the trimmed mean, over the rationals."""
    count, kept = len(rows), len(rows) - tolerated
    mixed = []
    for row in rows:
        far = [sum((a - b) ** 2 for a, b in zip(row, other, strict=True)) for other in rows]
        near = sorted(range(count), key=lambda other: far[other])[:kept]
        mixed.append([sum(rows[i][at] for i in near) / kept for at in range(len(row))])
    columns = [sorted(column)[tolerated : count - tolerated] for column in zip(*mixed, strict=True)]
    return [sum(column) / len(column) for column in columns]


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: str(case["tolerated"]))
def test_byzfl_gives_the_same(case):
    found = combine(groups(case["vectors"]), Robust("trimmed", case["tolerated"]))
    assert np.allclose(np.array(value(found), dtype=float), case["result"], rtol=1e-12, atol=1e-9)


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_the_definition_gives_the_same_exactly(data):
    tolerated = data.draw(st.integers(1, 3))
    count = data.draw(st.integers(2 * tolerated + 1, 9))
    length = data.draw(st.integers(1, 6))
    row = st.lists(st.integers(-(10**6), 10**6), min_size=length, max_size=length)
    rows = data.draw(st.lists(row, min_size=count, max_size=count))
    exact = [[Fraction(entry) for entry in row] for row in rows]
    far = squared_distances(np.array(rows))
    if any(len(set(each)) < count for each in far):
        return  # equally near ones: whose mixture it is then is ours to say
    found = combine(groups(rows, data.draw(st.integers(1, 200))), Robust("trimmed", tolerated))
    assert value(found) == by_definition(exact, tolerated)


def test_means_of_groups_are_rounded_to_the_grid_and_count_alike():
    """Groups of three and of four: the means are ⅓ and ¼, on a grid of 1/256."""
    rows = [
        GroupUpdate(np.array([1]), 3),
        GroupUpdate(np.array([1]), 4),
        GroupUpdate(np.array([-1]), 3),
    ]
    found = combine(rows, Robust("trimmed", 1))
    third, quarter = Fraction(85, 256), Fraction(1, 4)
    assert value(found) == [(third + quarter) / 2]
    halves = [GroupUpdate(np.array([sign]), 512) for sign in (1, 1, -1)]
    assert value(combine(halves, Robust("trimmed", 1))) == [Fraction(1, 256)], "halves go up"


def test_a_plain_mean_weighs_contributors_alike():
    found = combine(
        [GroupUpdate(np.array([6, 0]), 3), GroupUpdate(np.array([4, 1]), 1)], PLAIN_MEAN
    )
    assert (found.total.tolist(), found.divisor) == ([10, 1], 4)


def test_the_largest_entries_stay_exact():
    """As many groups and contributors as there can be, with entries as large as masks hold."""
    signs = np.where(np.arange(GROUPS_MAX) % 2, -1, 1)
    rows = [[int(sign) * UPDATE_MAX, UPDATE_MAX, -UPDATE_MAX] for sign in signs]
    found = combine(groups(rows, 256), Robust("trimmed", (GROUPS_MAX - 1) // 2))
    assert int(np.abs(found.total).max()) < 2**53
    assert value(found)[1:] == [UPDATE_MAX, -UPDATE_MAX]
    means = np.array([[UPDATE_MAX << FRACTION_BITS] * 3, [-UPDATE_MAX << FRACTION_BITS] * 3])
    assert squared_distances(means)[0][1] == 3 * (UPDATE_MAX << FRACTION_BITS + 1) ** 2


def test_distances_are_exact_over_many_blocks():
    generator = np.random.default_rng(5)
    rows = generator.integers(-(2**39), 2**39, size=(3, 150_001))
    plain = [row.tolist() for row in rows]
    found = squared_distances(rows)
    for one in range(3):
        for other in range(3):
            pairs = zip(plain[one], plain[other], strict=True)
            assert found[one][other] == sum((a - b) ** 2 for a, b in pairs)


def test_a_group_is_nearest_to_itself_and_then_the_first_is():
    ties = [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 5], [0, 0, 5, 0]]
    assert neighbours(ties, 2) == [(0, 1), (0, 1), (0, 2), (0, 3)]
    assert neighbours(ties, 1) == [(0,), (1,), (2,), (3,)]


def test_the_order_of_honest_groups_means_nothing():
    generator = np.random.default_rng(6)
    rows = generator.integers(-1000, 1000, size=(7, 20))
    found = combine(groups(rows), Robust("trimmed", 2))
    again = combine(groups(rows[[3, 1, 6, 0, 2, 5, 4]]), Robust("trimmed", 2))
    assert (found.total == again.total).all()


def test_as_many_groups_as_are_tolerated_bend_nothing_far():
    """Whatever two of seven groups say, the result stays among the honest ones."""
    generator = np.random.default_rng(7)
    honest = generator.integers(-100, 100, size=(5, 30))
    for poison in (10**6, -(10**6), 4_000):
        rows = [[poison] * 30, *honest.tolist(), [-poison] * 30]
        found = np.array(value(combine(groups(rows), Robust("trimmed", 2))), dtype=float)
        assert (np.abs(found) <= 110).all()
        mean = np.array(
            value(combine(groups([[poison] * 30, *honest.tolist()]), PLAIN_MEAN)), float
        )
        assert (np.abs(mean) > 50).all(), "the attack"


def test_too_few_groups_are_a_mistake_of_the_caller():
    with pytest.raises(AssertionError):
        combine(groups([[1], [2]]), Robust("trimmed", 1))


@pytest.mark.parametrize(("rule", "tolerated"), [("mean", 1), ("trimmed", 0)])
def test_rules_that_contradict_themselves(rule, tolerated):
    with pytest.raises(ValueError, match="tolerates"):
        Robust(rule, tolerated)
