"""The stream is one, however it is read; draws keep to their range."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pnyx.primitives.sampling import Sampler

seeds = st.binary(min_size=32, max_size=32)


@settings(deadline=None, max_examples=60)
@given(seeds, st.lists(st.integers(0, 3000), max_size=12))
def test_cutting_the_stream_changes_nothing(seed: bytes, sizes: list[int]) -> None:
    sampler = Sampler(seed, "test")
    pieces = b"".join(sampler.bytes(size) for size in sizes)
    assert pieces == Sampler(seed, "test").bytes(sum(sizes))


@settings(deadline=None, max_examples=60)
@given(seeds, st.integers(1, 2**32), st.lists(st.integers(0, 40), max_size=5))
def test_field_elements_in_pieces_are_those_of_one_draw(
    seed: bytes, modulus: int, sizes: list[int]
) -> None:
    sampler, whole = Sampler(seed, "test"), Sampler(seed, "test")
    pieces = [sampler.field_elements(modulus, size) for size in sizes]
    together = whole.field_elements(modulus, sum(sizes))
    assert np.array_equal(np.concatenate([*pieces, np.empty(0, dtype=np.int64)]), together)
    assert sampler.bytes(8) == whole.bytes(8)
    assert ((together >= 0) & (together < modulus)).all()


@settings(deadline=None, max_examples=60)
@given(seeds, st.integers(1, 2**300))
def test_below_keeps_its_bound(seed: bytes, bound: int) -> None:
    assert 0 <= Sampler(seed, "test").below(bound) < bound


@settings(deadline=None, max_examples=60)
@given(seeds, st.integers(0, 200), st.data())
def test_samples_are_distinct_members_of_the_population(
    seed: bytes, population: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, population))
    chosen = Sampler(seed, "test").sample(population, count)
    assert len(chosen) == len(set(chosen)) == count
    assert all(0 <= value < population for value in chosen)
    prefix = Sampler(seed, "test").sample(population, count // 2)
    assert chosen[: count // 2] == prefix
