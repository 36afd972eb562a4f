"""The linear hash of a sum is the sum of the hashes, and every segment goes into it once."""

import numpy as np
import pytest
from tests.support import masked
from tests.support.masked import CONTEXT, in_ring

from pnyx.errors import MalformedMessage
from pnyx.primitives.ring.linear_hash import DIGEST_BYTES
from pnyx.protocol.aggregation.masked.checked_sum import (
    HashOfVector,
    add_digests,
    pack_digest,
    unpack_digest,
)
from pnyx.protocol.aggregation.masked.parameters import P0, RINGS


def hash_of(parameters, integers):
    gathered = HashOfVector(parameters, CONTEXT)
    for segment, part in enumerate(integers):
        gathered.add_segment(segment, part)
    return gathered.value


def masked_by(parameters, count):
    vectors = masked.draw(parameters, count)
    return [
        masked.mask(parameters, masked.key_of(parameters, who, vector), vector)
        for who, vector in enumerate(vectors)
    ]


@pytest.mark.parametrize("ring", RINGS, ids=["P0", "P1", "P2"])
def test_the_hash_of_a_sum_is_the_sum_of_the_hashes(ring):
    parameters = in_ring(ring, 40_000, 11, 40)
    contributions = masked_by(parameters, 2)
    digests = [hash_of(parameters, each) for each in contributions]
    sums = masked.add(parameters, [contributions[who % 2] for who in range(40)])
    assert np.array_equal(hash_of(parameters, sums), add_digests(digests * 20))


def test_segments_are_hashed_once_each_in_any_order():
    parameters = in_ring(P0, 300_000, 12, 24)
    [residues] = masked_by(parameters, 1)
    assert len(residues) == 2
    gathered = HashOfVector(parameters, CONTEXT)
    gathered.add_segment(1, residues[1])
    for segment in (1, 2, -1):
        with pytest.raises(ValueError, match="hashed once"):
            gathered.add_segment(segment, residues[0])
    gathered.add_segment(0, residues[0])
    assert np.array_equal(gathered.value, hash_of(parameters, residues))


def test_a_digest_travels_and_a_malformed_one_does_not():
    parameters = in_ring(P0, 1000, 12, 24)
    digest = hash_of(parameters, masked_by(parameters, 1)[0])
    data = pack_digest(digest)
    assert len(data) == DIGEST_BYTES
    assert np.array_equal(unpack_digest(data), digest)
    for wrong in (b"", data[:-1], data + b"\0"):
        with pytest.raises(MalformedMessage, match="bytes"):
            unpack_digest(wrong)
    with pytest.raises(MalformedMessage, match="prime"):
        unpack_digest(b"\xff" * DIGEST_BYTES)
