"""The linear hash of a sum is the sum of the hashes, and every segment goes into it once."""

import numpy as np
import pytest
from tests.support import masked
from tests.support.masked import CONTEXT, in_ring

from pnyx.errors import MalformedMessage
from pnyx.primitives.ring import LANES
from pnyx.primitives.ring.linear_hash import DIGEST_BYTES
from pnyx.protocol.aggregation.masked import checked_sum
from pnyx.protocol.aggregation.masked.checked_sum import (
    HashOfVector,
    add_digests,
    pack_digest,
    unpack_digest,
)
from pnyx.protocol.aggregation.masked.parameters import P0, RINGS, layout


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


@pytest.mark.parametrize("kept", [0, 1, 99])  # segments whose weights there is room for
@pytest.mark.parametrize("ring", RINGS[:2], ids=["P0", "P1"])
def test_a_checker_agrees_exactly_with_what_hashing_says(monkeypatch, ring, kept):
    parameters = in_ring(ring, 300_000, 11, 40)
    shape = layout(parameters)
    residues = shape.segment_blocks * parameters.degree * LANES
    bytes_max = kept * 12 * len(parameters.primes) * residues
    monkeypatch.setattr(checked_sum, "_WEIGHTS_BYTES_MAX", bytes_max)
    one, other = masked_by(parameters, 2)
    assert len(one) > 1, "several segments"
    checker = checked_sum.HashChecker(parameters, CONTEXT, bytes(range(32)))
    for vector in (one, other, one):
        assert checker.agrees(enumerate(vector), hash_of(parameters, vector))
    assert not checker.agrees(enumerate(one), hash_of(parameters, other))
    last = [[block.copy() for block in part] for part in other]
    last[-1][-1][-1, 0, 0] ^= 1
    assert checker.agrees(enumerate(last), hash_of(parameters, last))
    assert not checker.agrees(enumerate(last), hash_of(parameters, other))
