"""One key for two vectors gives away their difference; so keys are derived from their vector.

After a restart, or asked twice, a contributor might mask another vector with the seed it stored.
The masks would cancel in the difference of the two, and what is left is Δ times the difference of
the vectors plus two small errors: everybody could read it, without any share of a key.
"""

import numpy as np
import pytest
from tests.support import masked
from tests.support.masked import in_ring

from pnyx.errors import DecodingError
from pnyx.protocol.aggregation.masked.keys import MaskingKey
from pnyx.protocol.aggregation.masked.parameters import RINGS

SEED = b"\x07" * 32


def cancelled(parameters, first, second):
    """The difference of two masked vectors, decoded as if it had no mask at all."""
    places = (parameters.shift + parameters.slot_bits * slot for slot in range(parameters.slots))
    one = sum(1 << place for place in places)  # no slot of a sum is below 1
    left = [
        tuple(
            ((x.astype(np.int64) - y.astype(np.int64) + one % prime) % prime).astype(np.uint64)
            for x, y, prime in zip(a, b, parameters.primes, strict=True)
        )
        for a, b in zip(first, second, strict=True)
    ]
    no_key = tuple(np.zeros(parameters.degree, dtype=np.uint32) for _ in parameters.primes)
    # as the difference of shifted values has no shift, one is given back
    return masked.unmask(parameters, no_key, left, 1) + parameters.offset - 1


@pytest.fixture(params=RINGS, ids=["P0", "P1", "P2"])
def vectors(request):
    """Two vectors; the second is nowhere larger, which makes their difference easy to read."""
    parameters = in_ring(request.param, 2000, 12, 24)
    first, change = masked.draw(parameters, 2)
    first = np.maximum(first, 0)
    return parameters, first, np.where(change > 0, 0, first)


def test_keys_of_two_vectors_do_not_cancel(vectors):
    parameters, first, second = vectors
    contributions = []
    for vector in (first, second):
        key = MaskingKey.derive(
            parameters, SEED, b"context", masked.hash_vector(masked.pieces(parameters, vector))
        )
        contributions.append(masked.mask(parameters, key, vector))
    with pytest.raises(DecodingError):
        cancelled(parameters, *contributions)


def test_a_key_that_ignores_its_vector_gives_the_difference_away(vectors):
    parameters, first, second = vectors
    key = MaskingKey.derive(parameters, SEED, b"context", bytes(32))  # whatever the vector
    other = MaskingKey(key.secret, b"\1" * 32)  # fresh errors do not help
    found = cancelled(
        parameters, masked.mask(parameters, key, first), masked.mask(parameters, other, second)
    )
    assert found.tolist() == (first - second).tolist()
