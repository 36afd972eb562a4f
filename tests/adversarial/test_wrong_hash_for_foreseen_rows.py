"""A contributor signs a linear hash that is not its vector's, made for the rows that are checked.

Aggregators compare what random rows make of vector and hash (`checked_sum.HashChecker`). Rows that
somebody foresees can be walked around: a difference of hashes that is orthogonal to them passes. So
every aggregator draws its own, from secret bytes.
"""

import numpy as np
from tests.support import masked
from tests.support.masked import CONTEXT, in_ring

from pnyx.primitives.ring.linear_hash import HASH_DEGREE, HASH_PRIMES
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation.masked.checked_sum import HashChecker, HashOfVector
from pnyx.protocol.aggregation.masked.parameters import P0

PARAMETERS = in_ring(P0, 2_000, 11, 4)
FORESEEN = bytes(32)


def vector_and_hash():
    vector = masked.draw(PARAMETERS, 1)[0]
    residues = masked.mask(PARAMETERS, masked.key_of(PARAMETERS, 0, vector), vector)
    hashed = HashOfVector(PARAMETERS, CONTEXT)
    for segment, part in enumerate(residues):
        hashed.add_segment(segment, part)
    return residues, hashed.value


def made_for(seed: bytes, right: np.ndarray) -> np.ndarray:
    """Another hash, different modulo every prime, that the rows of a seed do not tell from it."""
    sampler = Sampler(seed, "pnyx/masked/rows")
    wrong = right.copy()
    for part, prime in zip(wrong, HASH_PRIMES, strict=True):
        rows = sampler.field_elements(prime, HASH_DEGREE).tolist()
        part[0] = (int(part[0]) + rows[1]) % prime
        part[1] = (int(part[1]) - rows[0]) % prime
    assert (wrong != right).any(axis=1).all()
    return wrong


def test_wrong_hash_for_foreseen_rows():
    residues, right = vector_and_hash()
    wrong = made_for(FORESEEN, right)
    for secret in range(1, 50):
        checker = HashChecker(PARAMETERS, CONTEXT, bytes([secret]) * 32)
        assert checker.agrees(enumerate(residues), right)
        assert not checker.agrees(enumerate(residues), wrong)


def test_it_passes_where_rows_are_foreseen():
    residues, right = vector_and_hash()
    checker = HashChecker(PARAMETERS, CONTEXT, FORESEEN)
    assert checker.agrees(enumerate(residues), made_for(FORESEEN, right))
