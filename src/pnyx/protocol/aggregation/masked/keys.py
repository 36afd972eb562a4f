"""Keys of masked contributions: drawn once, shared with the committee, summed, never opened singly.

A key s is uniform modulo each prime, so that a sum of keys tells nothing about one of them: all but
one could be any. (Short keys would make smaller shares, but their sum would be a hint on each.) It
masks one vector. Two different vectors under one key and context would give away their difference;
`MaskingKey.derive` binds the key to the vector, so that repeating a call gives the same
contribution and any other call an independent one.

The committee gets the key as columns of the direct contribution (`verification.prove`), whose
degree test covers them, and releases its sum with that of the counts (`direct.decode_sum`).

**Open once.** Whoever knows the sums of the keys of a set A and of A without i knows the key of i,
and reads its vector. So members release their share of one sum, for the one set that is agreed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pnyx.primitives.codec import encode
from pnyx.primitives.hashing import digest
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation.encoding import IntVector
from pnyx.protocol.aggregation.masked.parameters import ParameterSet

KeySum = tuple[NDArray[np.uint32], ...]  # a key, or a sum of keys, modulo each prime: [n]


@dataclass(frozen=True, slots=True, repr=False)
class MaskingKey:
    """The secrets of one masked vector: key, and seed of its errors."""

    secret: KeySum
    errors_seed: bytes

    @staticmethod
    def derive(
        parameters: ParameterSet, seed: bytes, context: bytes, vector_hash: bytes
    ) -> "MaskingKey":
        """Derive the secrets from a seed of 32 bytes, for one context and one vector.

        seed: secret, drawn for this contribution. context: names network, study, round, attempt and
        contributor. vector_hash: what `hash_vector` gives.
        """
        root = digest("pnyx/masked/seed", seed, context, encode(parameters), vector_hash)
        sampler = Sampler(root, "pnyx/masked/key")
        return MaskingKey(
            secret=tuple(
                sampler.field_elements(prime, parameters.degree).astype(np.uint32)
                for prime in parameters.primes
            ),
            errors_seed=digest("pnyx/masked/errors-seed", root),
        )


def hash_vector(pieces: Sequence[IntVector]) -> bytes:
    """Hash a vector that is given in pieces, the segments of its layout: 32 bytes."""
    hashes = [digest("pnyx/masked/values", piece.astype("<i8").tobytes()) for piece in pieces]
    return digest("pnyx/masked/vector", *hashes)
