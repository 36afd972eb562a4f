"""Vectors that other sketches do not see, and that this one does.

Each weak sketch stands in for `Sketch` everywhere, so the whole contribution is made and judged
with it: thousands of times the bound is accepted. The honest sketch rejects the same vectors.
"""

import numpy as np
import pytest
from tests.support.masked_forger import MaskedForger, digits_of

from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation.bounds import ROWS
from pnyx.protocol.aggregation.masked_verification import key_weights, sketch
from pnyx.protocol.aggregation.masked_verification._kernels import BUCKETS, TABLES
from pnyx.protocol.aggregation.masked_verification.bounds import BLOCK, MODULUS, MaskedBounds
from pnyx.protocol.aggregation.masked_verification.sketch import Sketch
from pnyx.protocol.selection import committee_size

SIZE = committee_size(7, 1, 2)
BOUNDS = MaskedBounds(BLOCK, 4096, 1024, 24, 6, 512)
HALF = (MODULUS - 1) // 2
TRIALS = 20


class MatrixSketch:
    """A sketch of one chunk as a matrix [256, BLOCK]; subclasses say which."""

    def __init__(self, commitment: bytes) -> None:
        self.matrix = self.expand(Sampler(commitment, "weak sketch"))

    def apply(self, chunks) -> np.ndarray:
        (chunk,) = chunks
        values = np.asarray(chunk).reshape(-1).astype(np.float64)  # sums below 2^53
        return np.rint(self.matrix @ values).astype(np.int64)

    def transpose(self, weights, field) -> "MatrixSketch":
        high, low = np.divmod(weights, 1 << 14)  # limbs: products add up below 2^53
        parts = [(limb.astype(np.float64) @ self.matrix).astype(np.int64) for limb in (high, low)]
        self.columns = field.reduce((field.reduce(parts[0]) << 14) + parts[1]).astype(np.uint32)
        return self

    def chunk(self, index: int) -> np.ndarray:
        assert index == 0
        return self.columns


class DenseSigns(MatrixSketch):
    """Every row is a sum of all entries with random signs."""

    def expand(self, sampler) -> np.ndarray:
        bits = np.unpackbits(np.frombuffer(sampler.bytes(ROWS * BLOCK // 8), np.uint8))
        return (2.0 * bits - 1).reshape(ROWS, BLOCK)


class FewPerColumn(MatrixSketch):
    """Two entries in a column, of size 5 so that norms come out about as they should."""

    def expand(self, sampler) -> np.ndarray:
        matrix = np.zeros((ROWS, BLOCK))
        for _ in range(2):
            rows = np.frombuffer(sampler.bytes(BLOCK), np.uint8)
            signs = np.frombuffer(sampler.bytes(BLOCK), np.uint8) & 1
            np.add.at(matrix, (rows, np.arange(BLOCK)), 5 - 10.0 * signs)
        return matrix


class Rotated(Sketch):
    """Tables are filled in order, from a random place on and with one sign, 4,096 at a time."""

    def codes(self, chunk: int) -> np.ndarray:
        sampler = Sampler(self._seed, f"rotations {chunk}")
        shape = (TABLES, BLOCK // BUCKETS, 1)
        starts = sampler.field_elements(BUCKETS, shape)
        signs = sampler.field_elements(2, shape)
        places = (np.arange(BUCKETS) + starts) % BUCKETS
        return (places + BUCKETS * signs).reshape(TABLES, BLOCK).astype(np.uint16)


def use(monkeypatch, weak) -> None:
    for module in (key_weights, sketch):
        monkeypatch.setattr(module, "Sketch", weak)


def dense(trial: int) -> np.ndarray:
    """(p - 1)/2 twice: with any signs 0 or ±(p - 1), which is ∓1."""
    z = np.zeros(BLOCK, dtype=np.int32)
    z[[trial, 7 * trial + 1000]] = HALF
    return z.reshape(1, -1, 32)


def rotating(trial: int) -> np.ndarray:
    """(p - 1)/2 everywhere: an even number of them in every bucket of a rotated table."""
    return np.full((1, BLOCK // 32, 32), HALF if trial % 2 else -HALF, dtype=np.int32)


def accepted(make, trials: int) -> list[bool]:
    found = []
    for trial in range(trials):
        z = make(trial)
        assert np.linalg.norm(z.astype(np.float64)) > 20 * BOUNDS.norm_scaled
        forger = MaskedForger(
            BOUNDS, SIZE, z, seed=trial, digits=lambda sketch: digits_of(sketch, BOUNDS)
        )
        found.append(forger.judged(trial.to_bytes(32, "big")).accepted)
    return found


@pytest.mark.parametrize(("make", "weak"), [(dense, DenseSigns), (rotating, Rotated)])
def test_vectors_made_for_weak_sketches(make, weak, monkeypatch):
    assert not any(accepted(make, TRIALS))
    use(monkeypatch, weak)
    assert all(accepted(make, 5))


@pytest.mark.full
@pytest.mark.parametrize(
    ("make", "weak", "trials"), [(dense, DenseSigns, 100), (rotating, Rotated, 100)]
)
def test_vectors_made_for_weak_sketches_many_times(make, weak, trials, monkeypatch):
    assert not any(accepted(make, 4000))
    use(monkeypatch, weak)
    assert all(accepted(make, trials))


def test_one_entry_vanishes_from_a_sketch_with_few_entries_in_a_column(monkeypatch):
    """A cheat draws salts until its entry is gone: about 512 here, 2^139 for the honest sketch."""
    z = np.zeros((1, BLOCK // 32, 32), dtype=np.int32)
    z.reshape(-1)[1234] = MODULUS // 3
    for trial in range(100):
        sketch = Sketch(trial.to_bytes(32, "big")).apply(z) // (MODULUS // 3)
        assert sketch @ sketch > 64 / 2.2**2
    assert not MaskedForger(BOUNDS, SIZE, z).judged(bytes(32)).accepted
    use(monkeypatch, FewPerColumn)
    forger = MaskedForger(BOUNDS, SIZE, z, grind=lambda sketch: not sketch.any())
    assert forger.judged(bytes(32)).accepted
