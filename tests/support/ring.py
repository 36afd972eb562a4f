"""Polynomials in Python integers, and the two implementations of the loops of ring arithmetic."""

from collections.abc import Sequence
from types import ModuleType

import numpy as np

from pnyx.primitives.ring import LANES, Ring, _choice, _kernels_numba, _kernels_numpy

IMPLEMENTATIONS: dict[str, ModuleType] = {"numba": _kernels_numba, "numpy": _kernels_numpy}

MASK_PRIMES = (134176769, 134111233, 134012929, 133963777)
HASH_PRIMES = (1073707009, 1073698817, 1073692673)
LEAST_PRIME = 67109633  # little more than 2^26: nearly half of the 27-bit words are not below it


def use(monkeypatch, name: str) -> None:
    """Let every function of the package run on this implementation."""
    monkeypatch.setattr(_choice, "kernels", lambda: IMPLEMENTATIONS[name])


def schoolbook(a: Sequence[int], b: Sequence[int], modulus: int) -> list[int]:
    """The product modulo X^n + 1, by definition."""
    degree = len(a)
    product = [0] * degree
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            if i + j < degree:
                product[i + j] += x * y
            else:
                product[i + j - degree] -= x * y
    return [value % modulus for value in product]


def random_blocks(ring: Ring, blocks: int, seed: int = 1):
    """Uniform blocks with both extremes in them."""
    shape = (blocks, ring.degree, LANES)
    found = np.random.default_rng(seed).integers(0, ring.modulus, shape).astype(np.uint32)
    found[0, 0, :2] = 0, ring.modulus - 1
    found[-1, -1, -2:] = ring.modulus - 1, 0
    return found
