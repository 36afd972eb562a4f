"""Whole groups of masked contributions, for tests: contributors, an aggregator, a summed key."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from pnyx.primitives.field import PrimeField
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation.masked.keys import KeySum, MaskingKey, hash_vector
from pnyx.protocol.aggregation.masked.mask import (
    ChunkSum,
    Residues,
    Sums,
    mask_chunk,
    public_chunk,
    unmask_chunk,
)
from pnyx.protocol.aggregation.masked.parameters import (
    NOISE_WIDTH,
    ParameterSet,
    SafeRing,
    _fullest,
    layout,
)

CONTEXT = b"network, study, round, attempt, group"


def in_ring(ring: SafeRing, length: int, value_bits: int, contributors_max: int) -> ParameterSet:
    """The set of one ring, whether or not `choose` would take it."""
    found = _fullest(ring, length, value_bits, contributors_max, NOISE_WIDTH)
    assert found is not None
    return found


def draw(parameters: ParameterSet, count: int, seed: int = 1) -> np.ndarray:
    """Uniform vectors [count, length] over the whole range of values."""
    sampler = Sampler(seed.to_bytes(32, "big"), "test/vectors")
    bound = 1 << parameters.value_bits
    return sampler.field_elements(bound, (count, parameters.length)) - parameters.offset


def pieces(parameters: ParameterSet, vector: np.ndarray) -> list[np.ndarray]:
    """The values of each chunk."""
    shape = layout(parameters)
    starts = [shape.start(chunk) for chunk in range(shape.chunks)]
    return [vector[start : start + shape.values(chunk)] for chunk, start in enumerate(starts)]


def key_of(parameters: ParameterSet, who: int, vector: np.ndarray) -> MaskingKey:
    """The key of contributor `who` for this vector."""
    context = CONTEXT + who.to_bytes(4, "big")
    seed = who.to_bytes(32, "big")
    return MaskingKey.derive(parameters, seed, context, hash_vector(pieces(parameters, vector)))


@lru_cache(maxsize=4)
def public(parameters: ParameterSet, context: bytes = CONTEXT) -> tuple[Residues, ...]:
    """The public polynomials of all chunks."""
    return tuple(
        public_chunk(parameters, context, chunk) for chunk in range(layout(parameters).chunks)
    )


def mask(parameters: ParameterSet, key: MaskingKey, vector: np.ndarray) -> list[Residues]:
    """All chunks of a masked vector."""
    return [
        mask_chunk(parameters, public(parameters)[chunk], key, chunk, values)
        for chunk, values in enumerate(pieces(parameters, vector))
    ]


def add(parameters: ParameterSet, masked: Sequence[Sequence[Residues]]) -> list[Sums]:
    """The integer sums of all chunks."""
    totals = []
    for chunk in range(layout(parameters).chunks):
        total = ChunkSum(parameters, chunk)
        for contribution in masked:
            total.add(contribution[chunk])
        totals.append(total.total())
    return totals


def add_keys(parameters: ParameterSet, keys: Sequence[KeySum]) -> KeySum:
    """The sum of keys in the clear."""
    return tuple(
        PrimeField(prime)
        .reduce(np.sum([key[at].astype(np.int64) for key in keys], axis=0))
        .astype(np.uint32)
        for at, prime in enumerate(parameters.primes)
    )


def unmask(
    parameters: ParameterSet, key_sum: KeySum, sums: Sequence[Sums], count: int
) -> np.ndarray:
    """The decoded sum [length]."""
    return np.concatenate(
        [
            unmask_chunk(parameters, public(parameters)[chunk], key_sum, each, chunk, count)
            for chunk, each in enumerate(sums)
        ]
    )


def sum_of(parameters: ParameterSet, vectors: np.ndarray) -> np.ndarray:
    """Mask, add and unmask vectors [count, length]."""
    keys = [key_of(parameters, who, vector) for who, vector in enumerate(vectors)]
    masked = [mask(parameters, key, vector) for key, vector in zip(keys, vectors, strict=True)]
    key_sum = add_keys(parameters, [key.secret for key in keys])
    return unmask(parameters, key_sum, add(parameters, masked), len(vectors))
