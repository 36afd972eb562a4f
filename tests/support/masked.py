"""Masked vectors step by step, for tests: contributors, an aggregator, a summed key."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from pnyx.primitives.field import PrimeField
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation.masked.keys import KeySum, MaskingKey, hash_vector
from pnyx.protocol.aggregation.masked.mask import (
    Residues,
    SegmentSum,
    Sums,
    mask_segment,
    public_segment,
    transform_key,
    unmask_segment,
)
from pnyx.protocol.aggregation.masked.parameters import (
    NOISE_WIDTH,
    ParameterSet,
    SafeRing,
    _fullest,
    layout,
)
from pnyx.protocol.aggregation.masked.vectors import Blocks, VectorCode

CONTEXT = b"network, study, round, attempt"


def in_ring(ring: SafeRing, length: int, value_bits: int, contributors_max: int) -> ParameterSet:
    """The set of one ring, whether or not `choose` would take it."""
    found = _fullest(ring, length, value_bits, contributors_max, NOISE_WIDTH)
    assert found is not None
    return found


def draw(parameters: ParameterSet, count: int, seed: int = 1) -> np.ndarray:
    """Uniform vectors [count, length] over the whole range of values."""
    sampler = Sampler(seed.to_bytes(32, "big"), "test/vectors")
    bound = 2 * parameters.value_max + 1
    return sampler.field_elements(bound, (count, parameters.length)) - parameters.value_max


def pieces(parameters: ParameterSet, vector: np.ndarray) -> list[np.ndarray]:
    """The values of each segment."""
    shape = layout(parameters)
    starts = [shape.start(segment) for segment in range(shape.segments)]
    return [vector[start : start + shape.values(segment)] for segment, start in enumerate(starts)]


def key_of(parameters: ParameterSet, who: int, vector: np.ndarray) -> MaskingKey:
    """The key of contributor `who` for this vector."""
    context = CONTEXT + who.to_bytes(4, "big")
    seed = who.to_bytes(32, "big")
    return MaskingKey.derive(parameters, seed, context, hash_vector(pieces(parameters, vector)))


@lru_cache(maxsize=4)
def public(parameters: ParameterSet, context: bytes = CONTEXT) -> tuple[Residues, ...]:
    """The public polynomials of all segments."""
    return tuple(
        public_segment(parameters, context, segment)
        for segment in range(layout(parameters).segments)
    )


def mask(parameters: ParameterSet, key: MaskingKey, vector: np.ndarray) -> list[Residues]:
    """All segments of a masked vector."""
    secret = transform_key(parameters, key.secret)
    return [
        mask_segment(
            parameters, public(parameters)[segment], secret, key.errors_seed, segment, values
        )
        for segment, values in enumerate(pieces(parameters, vector))
    ]


def add(parameters: ParameterSet, masked: Sequence[Sequence[Residues]]) -> list[Sums]:
    """The integer sums of all segments."""
    totals = []
    for segment in range(layout(parameters).segments):
        total = SegmentSum(parameters, segment)
        for contribution in masked:
            total.add(contribution[segment])
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
    transformed = transform_key(parameters, key_sum)
    return np.concatenate(
        [
            unmask_segment(
                parameters, public(parameters)[segment], transformed, each, segment, count
            )
            for segment, each in enumerate(sums)
        ]
    )


def sum_of(parameters: ParameterSet, vectors: np.ndarray) -> np.ndarray:
    """Mask, add and unmask vectors [count, length]."""
    keys = [key_of(parameters, who, vector) for who, vector in enumerate(vectors)]
    masked = [mask(parameters, key, vector) for key, vector in zip(keys, vectors, strict=True)]
    key_sum = add_keys(parameters, [key.secret for key in keys])
    return unmask(parameters, key_sum, add(parameters, masked), len(vectors))


def check_sum(code: VectorCode, total: bytes, linear_hashes: Sequence[bytes]) -> None:
    """Check the sum of the vectors with these linear hashes, as members do.

    Raises MalformedMessage or RuleBroken when it is not that sum.
    """
    code.check_hash(total, code.summed_hash(linear_hashes), len(linear_hashes))


def blocks_of(code: VectorCode, vector: bytes) -> Blocks:
    """The residues of a masked vector, of one prime. Raises MalformedMessage."""
    parts = enumerate(code.cut(vector))
    return tuple(block for segment, part in parts for block in code.segment_blocks(segment, part))
