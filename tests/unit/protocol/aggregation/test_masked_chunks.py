"""Chunks on the wire: in order, complete, and the ones that were committed to; or a typed error."""

import numpy as np
import pytest
from tests.support import masked
from tests.support.masked import in_ring

from pnyx.errors import MalformedMessage, RuleBroken
from pnyx.primitives.hashing import merkle_proofs
from pnyx.protocol.aggregation.masked import chunks
from pnyx.protocol.aggregation.masked.parameters import GROUP_BYTES, P0, P1, RINGS, layout

NAMES = ["P0", "P1", "P2"]


def equal(left, right):
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def masked_vector(ring, extra=5, full=0):
    """Parameters, residues of all chunks, and the chunks packed."""
    one = layout(in_ring(ring, 1, 12, 24)).chunk_values
    parameters = in_ring(ring, full * one + extra, 12, 24)
    vector = masked.draw(parameters, 1)[0]
    residues = masked.mask(parameters, masked.key_of(parameters, 0, vector), vector)
    packed = [chunks.pack_chunk(parameters, at, each) for at, each in enumerate(residues)]
    return parameters, residues, packed


def leaves_of(parameters, packed):
    return [chunks.chunk_hash(parameters, at, data) for at, data in enumerate(packed)]


def reader_of(parameters, packed):
    leaves = leaves_of(parameters, packed)
    return chunks.ChunkReader(parameters, chunks.vector_root(leaves), leaves)


@pytest.mark.parametrize("ring", RINGS, ids=NAMES)
@pytest.mark.parametrize("extra", [1, 33_000, 80_000])
def test_a_chunk_comes_back_as_it_was(ring, extra):
    parameters, residues, packed = masked_vector(ring, extra)
    assert sum(map(len, packed)) == parameters.bytes
    reader = reader_of(parameters, packed)
    for at, data in enumerate(packed):
        assert not reader.complete
        assert equal(reader.read(at, data), residues[at])
        assert chunks.pack_chunk(parameters, at, residues[at]) == data
    assert reader.complete


@pytest.fixture(scope="module")
def sent():
    return masked_vector(P0, 5, full=2)


def test_what_is_out_of_order_is_refused_and_reading_goes_on(sent):
    parameters, _, packed = sent
    reader = reader_of(parameters, packed)
    for chunk in (1, 2, 3, -1):
        with pytest.raises(RuleBroken, match="where chunk 0 was expected"):
            reader.read(chunk, packed[chunk % 3])
    reader.read(0, packed[0])
    with pytest.raises(RuleBroken, match="chunk 0 came where chunk 1 was expected"):
        reader.read(0, packed[0])
    reader.read(1, packed[1])
    reader.read(2, packed[2])
    with pytest.raises(RuleBroken, match="chunk 2 came where chunk none was expected"):
        reader.read(2, packed[2])
    with pytest.raises(RuleBroken, match="chunk 3 came"):
        reader.read(3, packed[2])


def test_what_was_not_committed_to_is_refused(sent):
    parameters, _, packed = sent
    reader = reader_of(parameters, packed)
    altered = bytes([packed[0][0] ^ 1]) + packed[0][1:]
    with pytest.raises(RuleBroken, match="not the one that its contributor committed to"):
        reader.read(0, altered)
    with pytest.raises(RuleBroken, match="committed"):
        reader.read(0, packed[1])  # another chunk of the same vector, of the same size
    for damaged in (b"", packed[0][:-1], packed[0] + b"\0", packed[2]):
        with pytest.raises(MalformedMessage, match="bytes"):
            reader.read(0, damaged)
    reader.read(0, packed[0])


def test_residues_beyond_the_prime_are_malformed_though_committed_to(sent):
    parameters, _, packed = sent
    packed = [packed[0], packed[1], b"\xff" * len(packed[2])]
    reader = reader_of(parameters, packed)
    reader.read(0, packed[0])
    reader.read(1, packed[1])
    with pytest.raises(MalformedMessage, match="not below the prime"):
        reader.read(2, packed[2])
    assert not reader.complete


def test_a_list_of_leaves_must_be_the_one_under_the_root(sent):
    parameters, _, packed = sent
    leaves = leaves_of(parameters, packed)
    root = chunks.vector_root(leaves)
    for wrong in (leaves[:-1], [*leaves, leaves[0]], [], [*leaves[:2], leaves[2][:31]]):
        with pytest.raises(MalformedMessage, match="wrong size"):
            chunks.ChunkReader(parameters, root, wrong)
    for wrong in (leaves[::-1], [leaves[0], leaves[0], leaves[2]]):
        with pytest.raises(RuleBroken, match="signed root"):
            chunks.ChunkReader(parameters, root, wrong)


def test_one_chunk_can_be_checked_alone(sent):
    parameters, residues, packed = sent
    leaves = leaves_of(parameters, packed)
    root, proofs = chunks.vector_root(leaves), merkle_proofs(leaves)
    for at, data in enumerate(packed):
        assert equal(chunks.check_chunk(parameters, root, at, data, proofs[at]), residues[at])
    with pytest.raises(RuleBroken, match="committed"):
        chunks.check_chunk(parameters, root, 1, packed[0], proofs[0])
    with pytest.raises(RuleBroken, match="committed"):
        chunks.check_chunk(parameters, root, 0, packed[0], proofs[1])
    with pytest.raises(MalformedMessage):
        chunks.check_chunk(parameters, root, 0, packed[0][1:], proofs[0])


def test_a_leaf_is_that_of_one_place(sent):
    parameters, _, packed = sent
    assert len({chunks.chunk_hash(parameters, at, packed[0]) for at in range(3)}) == 3


def test_a_chunk_means_nothing_under_other_parameters(sent):
    """The same bytes would fit: what they stand for is in the hash."""
    parameters, _, packed = sent
    other = in_ring(P0, parameters.length, 11, 24)
    assert layout(other).chunk_bytes(0) == len(packed[0])
    leaves = leaves_of(parameters, packed)
    reader = chunks.ChunkReader(other, chunks.vector_root(leaves), leaves)
    with pytest.raises(RuleBroken, match="committed"):
        reader.read(0, packed[0])
    with pytest.raises(MalformedMessage, match="wrong size"):
        chunks.ChunkReader(in_ring(P1, 5, 12, 24), chunks.vector_root(leaves), leaves)


@pytest.mark.parametrize("ring", RINGS, ids=NAMES)
def test_sums_travel_in_35_bits(ring):
    parameters, residues, _ = masked_vector(ring, 40_000)
    [sums] = masked.add(parameters, [residues] * 20)
    data = chunks.pack_sum(parameters, 0, sums)
    groups = layout(parameters).chunk_coefficients(0) // 1024
    assert len(data) == len(parameters.primes) * groups * 1024 * 35 // 8
    assert equal(chunks.unpack_sum(parameters, 0, data, 20), sums)
    with pytest.raises(RuleBroken, match="larger than its contributions"):
        chunks.unpack_sum(parameters, 0, data, 5)
    for damaged in (data[:-1], data + b"\0", b""):
        with pytest.raises(MalformedMessage):
            chunks.unpack_sum(parameters, 0, damaged, 20)
    with pytest.raises(MalformedMessage, match="not below the prime"):
        chunks.unpack_sum(parameters, 0, b"\xff" * GROUP_BYTES + data[GROUP_BYTES:], 20)
