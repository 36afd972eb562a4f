"""What a parcel is: bytes cut into chunks, and a name that fixes every one of them.

    chunk hash = H("pnyx/parcel/chunk", bytes)
    root       = Merkle root over the chunk hashes (see `primitives.hashing`)
    name       = H("pnyx/parcel", length, chunk size, root)

All chunks have `CHUNK_BYTES` but the last, which has 1 to `CHUNK_BYTES`. The length is in the name,
so every chunk's own length is known before it is asked for. A proof shows one chunk at one place
alone; nothing is believed before its proof verifies.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from pnyx.primitives import codec
from pnyx.primitives.hashing import digest, merkle_root, verify_merkle_proof
from pnyx.protocol.events import SendChunk
from pnyx.protocol.messages import CHUNK_BYTES, Chunk


class Parcel(msgspec.Struct, frozen=True):
    """What describes a parcel: length in bytes, and the hashes of its chunks under their root."""

    name: bytes
    length: int
    root: bytes
    hashes: tuple[bytes, ...]


class Shape(NamedTuple):
    """What a parcel's name is a hash of: it shows anybody how long the parcel is."""

    name: bytes
    length: int
    root: bytes


def chunk_count(length: int) -> int:
    """How many chunks a parcel of so many bytes has."""
    return -(-length // CHUNK_BYTES)


def chunk_length(length: int, index: int) -> int:
    """Bytes of one chunk of a parcel of `length` bytes."""
    return min(CHUNK_BYTES, length - index * CHUNK_BYTES)


def chunks_of(content: bytes | memoryview) -> Iterator[bytes]:
    """Cut bytes into the chunks of a parcel."""
    view = memoryview(content).cast("B")
    for start in range(0, len(view), CHUNK_BYTES):
        yield bytes(view[start : start + CHUNK_BYTES])


def chunk_hash(data: bytes) -> bytes:
    """The leaf of one chunk."""
    return digest("pnyx/parcel/chunk", data)


def parcel_of(length: int, hashes: Sequence[bytes]) -> Parcel:
    """The parcel of so many bytes whose chunks have these hashes."""
    root = merkle_root(hashes)
    return Parcel(parcel_name(length, root), length, root, tuple(hashes))


def parcel_name(length: int, root: bytes) -> bytes:
    """Name of the parcel of so many bytes with this Merkle root."""
    sizes = length.to_bytes(8, "big"), CHUNK_BYTES.to_bytes(4, "big")
    return digest("pnyx/parcel", *sizes, root)


def describe(chunks: Iterable[bytes]) -> Parcel:
    """Describe a parcel from its chunks, each looked at once.

    Raises ValueError unless all chunks have CHUNK_BYTES but the last, which has at least one byte.
    """
    hashes: list[bytes] = []
    length = 0
    for chunk in chunks:
        if length % CHUNK_BYTES or not 0 < len(chunk) <= CHUNK_BYTES:
            raise ValueError("a parcel is cut into full chunks and one rest")
        hashes.append(chunk_hash(chunk))
        length += len(chunk)
    if not hashes:
        raise ValueError("a parcel has at least one byte")
    return parcel_of(length, hashes)


def proven_hash(chunk: Chunk) -> bytes | None:
    """The hash of a chunk that belongs to the parcel which it names; None if it does not."""
    if chunk.parcel != parcel_name(chunk.length, chunk.root):
        return None
    if len(chunk.data) != chunk_length(chunk.length, chunk.index):
        return None
    leaf, count = chunk_hash(chunk.data), chunk_count(chunk.length)
    if not verify_merkle_proof(chunk.root, leaf, chunk.index, count, chunk.proof):
        return None
    return leaf


def what_is_wrong(chunk: Chunk) -> str:
    """Say why a chunk without a proven hash is not of the parcel that it names."""
    if chunk.parcel != parcel_name(chunk.length, chunk.root):
        return f"length {chunk.length} and root do not make its name"
    wanted = chunk_length(chunk.length, chunk.index)
    if len(chunk.data) != wanted:
        return f"data of chunk {chunk.index} has {len(chunk.data)} bytes, not {wanted}"
    return f"proof does not lead from chunk {chunk.index} to the root"


def chunk_message(effect: SendChunk, data: bytes) -> bytes | None:
    """The encoded `Chunk` that a SendChunk asks for; None when the stored bytes are damaged.

    A shell that sent them as they are would have its node blamed for a lie.
    """
    chunk = Chunk(effect.parcel, effect.length, effect.index, effect.root, data, effect.proof)
    return codec.encode(chunk) if proven_hash(chunk) is not None else None
