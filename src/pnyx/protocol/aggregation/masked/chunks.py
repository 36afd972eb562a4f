"""Chunks on the wire: packed residues under a Merkle root, and packed sums.

A masked vector travels in chunks of about a megabyte, `Layout` says which. A packed chunk holds its
residues modulo each prime, one prime after the other, 27 bits each (`primitives.ring.packing`):
equal residues have equal bytes. Under the root are the hashes of the chunks,

    leaf i = H("pnyx/masked/chunk", parameters, i (4 bytes), packed chunk)

so the leaves (32 bytes a chunk) can be sent first and every chunk be checked when it arrives, and
one chunk can be shown to anybody with its Merkle proof. The root also commits to their number.

A packed sum holds, for each prime, the sum modulo that prime, packed in the same way, and how often
the prime goes into the sum, a byte each: 35 bits in all, for what the linear hash is checked with.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pnyx.errors import MalformedMessage, RuleBroken
from pnyx.primitives.codec import encode
from pnyx.primitives.hashing import HASH_BYTES, digest, merkle_root, verify_merkle_proof
from pnyx.primitives.ring import LANES
from pnyx.primitives.ring.packing import pack_residues, unpack_residues
from pnyx.protocol.aggregation.masked.mask import Residues, Sums, check_sums
from pnyx.protocol.aggregation.masked.parameters import GROUP, GROUP_BYTES, ParameterSet, layout


def pack_chunk(parameters: ParameterSet, chunk: int, residues: Residues) -> bytes:
    """Write the residues of a chunk, as `mask_chunk` gives them."""
    sent = layout(parameters).chunk_coefficients(chunk)
    return b"".join(
        pack_residues(part.reshape(-1)[:sent], prime)
        for part, prime in zip(residues, parameters.primes, strict=True)
    )


def unpack_chunk(parameters: ParameterSet, chunk: int, data: bytes) -> Residues:
    """Read a chunk: [blocks, n, LANES] for each prime. Raises MalformedMessage."""
    shape = layout(parameters)
    if len(data) != shape.chunk_bytes(chunk):
        raise MalformedMessage(
            f"Chunk {chunk} takes {shape.chunk_bytes(chunk)} bytes, not {len(data)}."
        )
    step = len(data) // len(parameters.primes)
    return tuple(
        _unpack(parameters, chunk, data[at * step : (at + 1) * step], prime)
        for at, prime in enumerate(parameters.primes)
    )


def chunk_hash(parameters: ParameterSet, chunk: int, data: bytes) -> bytes:
    """The leaf of a packed chunk. Bound to its place, and to what its bytes mean."""
    return digest("pnyx/masked/chunk", encode(parameters), chunk.to_bytes(4, "big"), data)


def vector_root(leaves: Sequence[bytes]) -> bytes:
    """Commit to all chunks of a vector, in order."""
    return merkle_root(leaves)


def check_chunk(
    parameters: ParameterSet, root: bytes, chunk: int, data: bytes, proof: Sequence[bytes]
) -> Residues:
    """Read one chunk alone, with its Merkle proof.

    Raises MalformedMessage, or RuleBroken when it is not chunk number `chunk` under this root.
    """
    residues = unpack_chunk(parameters, chunk, data)
    leaf = chunk_hash(parameters, chunk, data)
    if not verify_merkle_proof(root, leaf, chunk, layout(parameters).chunks, proof):
        raise RuleBroken(f"chunk {chunk} is not the one that its contributor committed to")
    return residues


class ChunkReader:
    """Reads the chunks of one vector in order, and lets nothing else through.

    root: what the contributor signed. leaves: the hashes under it, from anybody. After an error the
    reader expects the same chunk as before: a good copy may still come.
    """

    __slots__ = ("_leaves", "expected", "parameters")

    def __init__(self, parameters: ParameterSet, root: bytes, leaves: Sequence[bytes]) -> None:
        if len(leaves) != layout(parameters).chunks or {len(x) for x in leaves} != {HASH_BYTES}:
            raise MalformedMessage("a list of chunk hashes has the wrong size for these parameters")
        if merkle_root(leaves) != root:
            raise RuleBroken("a list of chunk hashes is not the one under the signed root")
        self.parameters, self.expected = parameters, 0
        self._leaves = tuple(leaves)

    @property
    def complete(self) -> bool:
        """Whether every chunk was read."""
        return self.expected == len(self._leaves)

    def read(self, chunk: int, data: bytes) -> Residues:
        """Check and parse the next chunk.

        Raises RuleBroken when it is not the one expected (repeated, left out, out of order, beyond
        the last one) or not the one committed to, MalformedMessage when it cannot be parsed.
        """
        if self.complete or chunk != self.expected:
            wanted = "none" if self.complete else str(self.expected)
            raise RuleBroken(f"chunk {chunk} came where chunk {wanted} was expected")
        residues = unpack_chunk(self.parameters, chunk, data)
        if chunk_hash(self.parameters, chunk, data) != self._leaves[chunk]:
            raise RuleBroken(f"chunk {chunk} is not the one that its contributor committed to")
        self.expected += 1
        return residues


def sum_bytes(parameters: ParameterSet, chunk: int) -> int:
    """Size of a packed sum of a chunk."""
    groups = layout(parameters).chunk_coefficients(chunk) // GROUP
    return len(parameters.primes) * groups * (GROUP_BYTES + GROUP)


def pack_sum(parameters: ParameterSet, chunk: int, sums: Sums) -> bytes:
    """Write the integer sums of a chunk."""
    sent = layout(parameters).chunk_coefficients(chunk)
    parts = []
    for total, prime in zip(sums, parameters.primes, strict=True):
        quotients, rest = np.divmod(total.reshape(-1)[:sent], np.uint64(prime))
        parts.append(pack_residues(rest.astype(np.uint32), prime))
        parts.append(quotients.astype(np.uint8).tobytes())
    return b"".join(parts)


def unpack_sum(parameters: ParameterSet, chunk: int, data: bytes, count: int) -> Sums:
    """Read the sums of a chunk of `count` contributions.

    Raises MalformedMessage, or RuleBroken when they are larger than so many can make them.
    """
    if len(data) != sum_bytes(parameters, chunk):
        raise MalformedMessage(f"a sum of chunk {chunk} has the wrong size for these parameters")
    sent = layout(parameters).chunk_coefficients(chunk)
    step = len(data) // len(parameters.primes)
    sums = []
    for at, prime in enumerate(parameters.primes):
        part = data[at * step : (at + 1) * step]
        total = _unpack(parameters, chunk, part[: step - sent], prime).astype(np.uint64)
        quotients = np.frombuffer(part[step - sent :], dtype=np.uint8)
        total.reshape(-1)[:sent] += quotients * np.uint64(prime)
        sums.append(total)
    found = tuple(sums)
    check_sums(parameters, found, count)
    return found


def _unpack(parameters: ParameterSet, chunk: int, data: bytes, prime: int) -> NDArray[np.uint32]:
    """Residues of one prime as whole blocks, with zeros beyond what was sent."""
    shape = layout(parameters)
    sent = shape.chunk_coefficients(chunk)
    blocks = (shape.blocks(chunk), parameters.degree, LANES)
    if sent == blocks[0] * blocks[1] * blocks[2]:
        return unpack_residues(data, blocks, prime)
    whole = np.zeros(blocks, dtype=np.uint32)
    whole.reshape(-1)[:sent] = unpack_residues(data, (sent,), prime)
    return whole
