"""A masked sum that anybody can check, without any single vector: a linear hash.

Beside the root of its chunks a contributor signs a ring-SIS hash of its residues (`primitives.ring.
LinearHash`). The hash of a sum of integers is the sum of the hashes, so whoever holds a sum, from
whatever aggregator, checks it in one pass against the hashes of the contributors that are said to
be in it: a sum that is not theirs, in a single coefficient, is a collision. That is believed to
take 2^`HASH_SECURITY_BITS` operations for sums below 2^35; two primes instead of three would leave
2^122 or less (`tests/independent/lattice.py`).

What is bound where:
- the key of the hash comes from the context of attempt and group, and has its own part for every
  block and prime: a hash from another context, or with blocks exchanged, does not add up;
- the signature covers the contributor's own context, the parameters, the root of the chunks, the
  hash, and the root of the key's shares: `Claim`. Nothing of it can be shown for another.

A contributor may sign a hash that is not of its vector: then no sum passes, and its group comes to
nothing. Aggregators hold the vector, so `check_claim` tells them before they add it; what they sign
about it, and who is believed, is up to the round. A contributor gains nothing else: whatever it
claims fixes one vector, up to a collision, before the challenge and the other keys are known.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pnyx.errors import InvalidSignature, RuleBroken
from pnyx.primitives.codec import encode
from pnyx.primitives.hashing import HASH_BYTES, digest
from pnyx.primitives.ring import LinearHash
from pnyx.primitives.ring.linear_hash import DIGEST_BYTES, HASH_DEGREE, HASH_PRIMES, Digest
from pnyx.primitives.signature import SigningKey, verify
from pnyx.protocol.aggregation.masked.mask import Residues, Sums, check_sums
from pnyx.protocol.aggregation.masked.parameters import ParameterSet, layout

HASH_SECURITY_BITS = 192  # against collisions among sums of at most 256 vectors, rounded down


_Hash = Annotated[bytes, Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)]


class Claim(msgspec.Struct, frozen=True, array_like=True):
    """What a contributor says of its masked vector: all that others rely on, 11.6 KB."""

    contributor: Annotated[int, Meta(ge=0, lt=2**32)]
    vector_root: _Hash  # of the chunks
    linear_hash: Annotated[bytes, Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]
    shares_root: _Hash  # of the payloads of the key


def claim_statement(context: bytes, parameters: ParameterSet, claim: Claim) -> bytes:
    """What is signed: 32 bytes that stand for a claim in one context.

    context: names network, study, round, attempt and group.
    """
    return digest("pnyx/masked/claim", context, encode(parameters), encode(claim))


def sign_claim(
    signing_key: SigningKey, context: bytes, parameters: ParameterSet, claim: Claim
) -> bytes:
    """Sign a claim for one context and parameter set."""
    return signing_key.sign(claim_statement(context, parameters, claim))


def open_claim(
    public_key: bytes, context: bytes, parameters: ParameterSet, claim: Claim, signature: bytes
) -> Digest:
    """Check a claim and return its linear hash.

    Raises InvalidSignature when this node did not sign it in this context, MalformedMessage when
    its hash cannot be read.
    """
    if not verify(public_key, claim_statement(context, parameters, claim), signature):
        raise InvalidSignature("a claim about a masked vector is not signed in this context")
    return LinearHash(bytes(32)).unpack(claim.linear_hash)


def unpack_digest(data: bytes) -> Digest:
    """Read a linear hash. Raises MalformedMessage."""
    return LinearHash(bytes(32)).unpack(data)


def pack_digest(value: Digest) -> bytes:
    """Write a linear hash for a claim: DIGEST_BYTES bytes."""
    return LinearHash(bytes(32)).pack(value)


class HashOfVector:
    """The linear hash of a vector, or of a sum of vectors, gathered chunk by chunk."""

    __slots__ = ("_chunks", "_hashes", "parameters", "value")

    def __init__(self, parameters: ParameterSet, context: bytes) -> None:
        self.parameters = parameters
        self.value: Digest = np.zeros((len(HASH_PRIMES), HASH_DEGREE), dtype=np.uint32)
        self._hashes = linear_hashes(parameters, context)
        self._chunks: set[int] = set()

    def add_chunk(self, chunk: int, integers: Residues | Sums) -> None:
        """Add a chunk's residues, or sums of them. Each chunk is given once, in any order."""
        first = chunk * layout(self.parameters).chunk_blocks
        if chunk in self._chunks or not 0 <= chunk < layout(self.parameters).chunks:
            raise ValueError("every chunk is hashed once")
        self._chunks.add(chunk)
        for at, hashed in enumerate(self._hashes):
            self.value = hashed.add(self.value, hashed.digest(integers[at], first))

    @property
    def complete(self) -> bool:
        """Whether every chunk was given."""
        return len(self._chunks) == layout(self.parameters).chunks


def linear_hashes(parameters: ParameterSet, context: bytes) -> tuple[LinearHash, ...]:
    """One hash for each prime, each with a key of its own, for one attempt and group."""
    return tuple(
        LinearHash(digest("pnyx/masked/hash", context, encode(parameters), bytes([at])))
        for at in range(len(parameters.primes))
    )


def check_claim(gathered: HashOfVector, claimed: Digest) -> None:
    """Compare a vector with its contributor's claim. Raises RuleBroken."""
    _compare(gathered, claimed, "a linear hash is not that of its masked vector")


class SumCheck:
    """Checks a sum of masked vectors, chunk by chunk, against what its contributors claimed."""

    __slots__ = ("_claimed", "_count", "_gathered")

    def __init__(
        self, parameters: ParameterSet, context: bytes, claimed: Mapping[int, Digest]
    ) -> None:
        """claimed: contributor -> hash that `open_claim` gave, for all who are in the sum."""
        self._gathered = HashOfVector(parameters, context)
        self._claimed, self._count = add_digests(claimed.values()), len(claimed)

    def add_chunk(self, chunk: int, sums: Sums) -> None:
        """Take in the sums of a chunk. Raises RuleBroken when they are out of range."""
        check_sums(self._gathered.parameters, sums, self._count)
        self._gathered.add_chunk(chunk, sums)

    def finish(self) -> None:
        """Raise RuleBroken unless all chunks together are the sum of what was claimed."""
        _compare(self._gathered, self._claimed, "a masked sum is not that of its contributions")


def add_digests(digests: Iterable[Digest]) -> Digest:
    """The hash of the sum of what these are hashes of."""
    total: NDArray[np.uint64] = np.zeros((len(HASH_PRIMES), HASH_DEGREE), dtype=np.uint64)
    for each in digests:
        total += each
    return (total % np.array(HASH_PRIMES, dtype=np.uint64)[:, np.newaxis]).astype(np.uint32)


def _compare(gathered: HashOfVector, claimed: Digest, failure: str) -> None:
    if not gathered.complete:
        raise RuleBroken("a masked vector is not complete: chunks are missing")
    if not np.array_equal(gathered.value, claimed):
        raise RuleBroken(failure)
