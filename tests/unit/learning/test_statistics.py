"""A statistics round: what an owner contributes, and what its sum says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pnyx.learning.statistics import (
    RESOLUTION,
    ColumnStatistics,
    column_statistics,
    owner_statistics,
    standardisation,
    statistics_length,
)

LOWS, HIGHS = np.array([0.0, -10.0]), np.array([1.0, 30.0])


@given(
    st.lists(
        st.lists(st.tuples(st.floats(0, 1), st.floats(-10, 30)), min_size=1, max_size=5),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([1, 8]),
)
@settings(deadline=None)
def test_sums_say_the_mean_and_deviation_over_owners(owners, scale):
    """Every owner weighs the same; rounding costs a part in RESOLUTION."""
    tables = [np.array(rows) for rows in owners]
    total = scale * sum(owner_statistics(table, LOWS, HIGHS) for table in tables)
    found = column_statistics(total.tolist(), scale, LOWS, HIGHS)
    for column in range(2):
        width = HIGHS[column] - LOWS[column]
        means = [table[:, column].mean() for table in tables]
        squares = [((table[:, column] - LOWS[column]) ** 2).mean() for table in tables]
        mean = float(np.mean(means))
        variance = float(np.mean(squares)) - (mean - LOWS[column]) ** 2
        assert found[column].owners == len(owners)
        assert found[column].mean == pytest.approx(mean, abs=width / RESOLUTION)
        off = abs(found[column].deviation ** 2 - max(variance, 0.0))
        assert off <= 3 * width**2 / RESOLUTION


def test_an_owner_moves_no_entry_by_more_than_the_resolution():
    table = np.array([[5.0, 1e9]] * 10_000)
    given_ = owner_statistics(table, LOWS, HIGHS)
    assert given_.shape == (statistics_length(2),) == (7,)
    assert given_.tolist() == [RESOLUTION] * 7


def test_missing_values_are_left_out():
    table = np.array([[0.25, np.nan], [0.75, np.nan]])
    given_ = owner_statistics(table, LOWS, HIGHS)
    assert given_[0] == 2
    assert given_[4:].tolist() == [0, 0, 0]
    other = owner_statistics(np.array([[0.5, 10.0]]), LOWS, HIGHS)
    found = column_statistics((given_ + other).tolist(), 1, LOWS, HIGHS)
    assert found[1] == ColumnStatistics(1.0, 10.0, 0.0)
    assert found[0].mean == pytest.approx(0.5)


def test_a_column_that_nobody_has():
    found = column_statistics([0] * 7, 1, LOWS, HIGHS)
    assert found == (ColumnStatistics(0.0, None, None),) * 2
    assert standardisation(found).tolist() == [[0.0, 0.0], [1.0, 1.0]]


def test_rows_are_standardised_by_it():
    found = (ColumnStatistics(3.0, 0.5, 0.25), ColumnStatistics(3.0, 7.0, 0.0))
    assert standardisation(found).tolist() == [[0.5, 7.0], [0.25, 1.0]]
