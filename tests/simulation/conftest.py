"""Thousands of short runs: collecting cyclic garbage rarely saves a fifth of their time."""

import gc

import pytest

_ALLOCATIONS = 200_000


@pytest.fixture(autouse=True, scope="session")
def _rare_collections():
    before = gc.get_threshold()
    gc.set_threshold(_ALLOCATIONS, *before[1:])
    yield
    gc.set_threshold(*before)
