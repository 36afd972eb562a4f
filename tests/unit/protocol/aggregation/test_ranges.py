"""Products with R' are exact, and R' is what its definition says."""

import sys

import numpy as np
import pytest
from tests.support.forger import projection

from pnyx.protocol.aggregation import _trits_numba, _trits_numpy, ranges
from pnyx.protocol.aggregation.ranges import (
    ENTRY_MAX,
    WEIGHT_MAX,
    combine,
    load_projections,
    project,
)

COMMITMENT = b"c" * 32


@pytest.fixture(autouse=True, params=[_trits_numba, _trits_numpy], ids=["numba", "numpy"])
def loops(request, monkeypatch):
    """Both implementations, in turn."""
    monkeypatch.setattr(ranges, "_loops", lambda: request.param)


@pytest.mark.parametrize("dimension", [1, 255, 256, 257, 700])
def test_products_are_those_of_the_definition(dimension):
    generator = np.random.Generator(np.random.PCG64(dimension))
    matrix = projection(COMMITMENT, dimension)
    vector = generator.integers(-4096, 4097, dimension)
    assert project(COMMITMENT, vector).tolist() == (matrix @ vector).tolist()
    for rows in (1, 3, 4, 5, 9):
        weights = generator.integers(0, 2**27, (rows, 256))
        assert (combine(COMMITMENT, weights, dimension) == weights @ matrix).all()


def test_products_are_exact_at_the_limits():
    matrix = projection(COMMITMENT, 600)
    for row in (0, 255):
        vector = matrix[row] * ENTRY_MAX  # the largest sums that there can be
        assert project(COMMITMENT, vector).tolist() == (matrix @ vector).tolist()
    weights = np.full((2, 256), WEIGHT_MAX)
    assert (combine(COMMITMENT, weights, 600) == weights @ matrix).all()


def test_trits():
    matrix = projection(COMMITMENT, 2000)
    shares = [(matrix == trit).mean() for trit in (-1, 0, 1)]
    assert np.allclose(shares, [0.25, 0.5, 0.25], atol=0.005)
    assert not (projection(b"d" * 32, 2000) == matrix).all()


def test_entries_and_weights_beyond_exactness():
    with pytest.raises(ValueError, match="exact projection"):
        project(COMMITMENT, np.array([ENTRY_MAX + 1]))
    for weight in (-1, WEIGHT_MAX + 1):
        with pytest.raises(ValueError, match="exact combination"):
            combine(COMMITMENT, np.full((1, 256), weight), 3)


def test_numpy_serves_where_numba_cannot_be_imported(monkeypatch):
    monkeypatch.undo()
    ranges._loops.cache_clear()
    monkeypatch.setitem(sys.modules, _trits_numba.__name__, None)
    monkeypatch.delattr("pnyx.protocol.aggregation._trits_numba")
    load_projections()
    assert ranges._loops() is _trits_numpy
    ranges._loops.cache_clear()
    monkeypatch.undo()
    load_projections()
    assert ranges._loops() is _trits_numba
