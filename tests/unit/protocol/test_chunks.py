"""A parcel's name fixes its length and every byte; a chunk proves its place, and nothing else."""

import pytest
from msgspec.structs import replace
from tests.support.parcels import content, cut

from pnyx.primitives import codec
from pnyx.primitives.hashing import digest, merkle_proofs, merkle_root
from pnyx.protocol import chunks
from pnyx.protocol.chunks import (
    chunk_message,
    chunks_of,
    describe,
    proven_hash,
    what_is_wrong,
)
from pnyx.protocol.events import SendChunk
from pnyx.protocol.messages import CHUNK_BYTES, Chunk

PEER = b"p" * 32


@pytest.mark.parametrize(
    ("length", "sizes"),
    [
        (1, [1]),
        (CHUNK_BYTES - 1, [CHUNK_BYTES - 1]),
        (CHUNK_BYTES, [CHUNK_BYTES]),
        (CHUNK_BYTES + 1, [CHUNK_BYTES, 1]),
        (3 * CHUNK_BYTES, [CHUNK_BYTES] * 3),
    ],
)
def test_bytes_are_cut_into_full_chunks_and_a_rest(length, sizes):
    cut_up = list(chunks_of(bytes(length)))
    assert [len(chunk) for chunk in cut_up] == sizes
    assert chunks.chunk_count(length) == len(sizes)
    assert [chunks.chunk_length(length, at) for at in range(len(sizes))] == sizes
    assert describe(cut_up).length == length


def test_views_of_numbers_are_cut_by_bytes():
    view = memoryview(bytes(2 * CHUNK_BYTES)).cast("Q")
    assert [len(chunk) for chunk in chunks_of(view)] == [CHUNK_BYTES, CHUNK_BYTES]


def test_the_name_is_the_documented_hash():
    data = content(3)
    leaves = [digest("pnyx/parcel/chunk", chunk) for chunk in cut(data)]
    sizes = len(data).to_bytes(8, "big"), (128 * 1024).to_bytes(4, "big")
    parcel = describe(cut(data))
    assert parcel.root == merkle_root(leaves)
    assert parcel.name == digest("pnyx/parcel", *sizes, parcel.root)
    assert parcel.hashes == tuple(leaves)


def test_every_byte_and_the_length_are_in_the_name():
    data = content(2)
    names = {describe(chunks_of(each)).name for each in (data, data[:-1], data + b"\0", data[1:])}
    assert len(names) == 4


@pytest.mark.parametrize(
    "wrong",
    [[], [b""], [b"a", b"b"], [bytes(CHUNK_BYTES + 1)], [bytes(CHUNK_BYTES), b""]],
    ids=["none", "empty", "two rests", "too long", "empty rest"],
)
def test_what_is_no_parcel_is_a_bug_of_the_caller(wrong):
    with pytest.raises(ValueError, match="a parcel"):
        describe(wrong)


def chunk(index: int, count: int = 5) -> Chunk:
    data = cut(content(count))
    parcel = describe(data)
    proof = merkle_proofs(parcel.hashes)[index]
    return Chunk(parcel.name, parcel.length, index, parcel.root, data[index], proof)


@pytest.mark.parametrize("index", range(5))
def test_a_chunk_proves_its_place(index):
    honest = chunk(index)
    assert proven_hash(honest) == chunks.chunk_hash(honest.data)
    for elsewhere in range(6):
        if elsewhere != index:
            assert proven_hash(replace(honest, index=elsewhere)) is None


def test_a_chunk_with_another_root_or_length_is_of_another_parcel():
    honest = chunk(1)
    assert proven_hash(replace(honest, length=honest.length - 1)) is None
    assert proven_hash(replace(honest, root=bytes(32))) is None


def test_what_a_stored_chunk_must_be_to_be_sent():
    honest = chunk(1)
    terms = (PEER, honest.parcel, honest.length, honest.index, honest.root, honest.proof)
    assert chunk_message(SendChunk(*terms), honest.data) == codec.encode(honest)
    for damaged in (b"", honest.data[:-1], honest.data + b"x", b"x" + honest.data[1:]):
        assert chunk_message(SendChunk(*terms), damaged) is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"data": b"x" * 999}, "data of chunk 2 has 999 bytes, not 1000"),
        ({"data": b"x" * 1001}, "data of chunk 2 has 1001 bytes, not 1000"),
        ({"index": 1}, f"data of chunk 1 has 1000 bytes, not {CHUNK_BYTES}"),
        ({"data": b"x" * 1000}, "proof does not lead from chunk 2 to the root"),
        ({"length": 999}, "length 999 and root do not make its name"),
        ({"root": bytes(32)}, "and root do not make its name"),
    ],
)
def test_what_is_wrong_with_a_chunk_is_said_with_field_and_limit(change, told):
    """Truncated, too long, of another place, altered, of another parcel."""
    parts = [bytes(CHUNK_BYTES), bytes(CHUNK_BYTES), bytes(1000)]
    parcel = describe(parts)
    proof = merkle_proofs(parcel.hashes)[2]
    right = Chunk(parcel.name, parcel.length, 2, parcel.root, parts[2], proof)
    assert proven_hash(right) is not None
    wrong = replace(right, **change)
    assert proven_hash(wrong) is None
    assert told in what_is_wrong(wrong)
