"""Keys of masked contributions: drawn once, shared with the committee, summed, never opened singly.

A key s is uniform modulo each prime, so that a sum of keys tells nothing about one of them: all but
one could be any. (Short keys would make smaller shares, but their sum would be a hint on each.) It
masks one vector. Two different vectors under one key and context would give away their difference;
`MaskingKey.derive` binds the key to the vector, so that repeating a call gives the same
contribution and any other call an independent one.

**Open once.** Whoever knows the sums of the keys of a set A and of A without i knows the key of i,
and reads its vector. So members release their share of one sum, for the one set that is agreed.

The committee gets packed Shamir shares of degree D, in each prime field: coefficient c of the key
is in slot c // w, column c mod w, with w = ceil(n / packing) columns, zeros after the last one.
Member j's payload is a salt and its row of each field; the contributor commits to the Merkle root
of all payloads. A member's share of the sum is the sum of its shares.

`decode_keys` corrects wrong shares within the safe radius (`sharing`), and names their members.
Every column is checked, not a random combination of them: a combination known before the shares
are fixed could be met by a liar, one drawn from them be searched for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pnyx.errors import MalformedMessage
from pnyx.primitives.codec import encode
from pnyx.primitives.field import ELEMENT_BYTES, PrimeField, Vector
from pnyx.primitives.hashing import digest, merkle_root
from pnyx.primitives.sampling import Sampler
from pnyx.primitives.sharing import PackedSharing, is_codeword, locate_errors, safe_radius
from pnyx.protocol.aggregation.encoding import IntVector, slot_width, to_slots
from pnyx.protocol.aggregation.masked.parameters import ParameterSet, key_share_bytes
from pnyx.protocol.selection.security import CommitteeSize

SALT_BYTES = 16

KeySum = tuple[NDArray[np.uint32], ...]  # a key, or a sum of keys, modulo each prime: [n]
KeyShares = tuple[Vector, ...]  # one [width] row for each prime


@dataclass(frozen=True, slots=True, repr=False)
class MaskingKey:
    """The secrets of one contribution: key, seed of its errors, seed of its shares."""

    secret: KeySum
    errors_seed: bytes
    shares_seed: bytes

    @staticmethod
    def derive(
        parameters: ParameterSet, seed: bytes, context: bytes, vector_hash: bytes
    ) -> "MaskingKey":
        """Derive the secrets from a seed of 32 bytes, for one context and one vector.

        seed: secret, drawn for this contribution. context: names network, study, round, attempt,
        group and contributor. vector_hash: what `hash_vector` gives.
        """
        root = digest("pnyx/masked/seed", seed, context, encode(parameters), vector_hash)
        sampler = Sampler(root, "pnyx/masked/key")
        return MaskingKey(
            secret=tuple(
                sampler.field_elements(prime, parameters.degree).astype(np.uint32)
                for prime in parameters.primes
            ),
            errors_seed=digest("pnyx/masked/errors-seed", root),
            shares_seed=digest("pnyx/masked/shares-seed", root),
        )


def hash_vector(pieces: Sequence[IntVector]) -> bytes:
    """Hash a vector that is given in pieces, the chunks of its layout: 32 bytes."""
    hashes = [digest("pnyx/masked/values", piece.astype("<i8").tobytes()) for piece in pieces]
    return digest("pnyx/masked/vector", *hashes)


@lru_cache(maxsize=64)
def sharings(parameters: ParameterSet, size: CommitteeSize) -> tuple[PackedSharing, ...]:
    """The committee's packed Shamir sharing over each field."""
    return tuple(
        PackedSharing(PrimeField(prime), size.size, size.corrupt_max, size.packing)
        for prime in parameters.primes
    )


# --- the contributor ------------------------------------------------------------------------------


def share_key(parameters: ParameterSet, key: MaskingKey, size: CommitteeSize) -> tuple[bytes, ...]:
    """Share a key with the committee: one secret payload for each member."""
    sampler = Sampler(key.shares_seed, "pnyx/masked/shares")
    salts = sampler.bytes(SALT_BYTES * size.size)
    tables = []
    for sharing, secret in zip(sharings(parameters, size), key.secret, strict=True):
        slots = to_slots(secret.astype(np.int64), size.packing)
        noise = sampler.field_elements(sharing.field.modulus, (size.corrupt_max, slots.shape[1]))
        tables.append(sharing.share(slots, noise))
    return tuple(
        salts[member * SALT_BYTES : (member + 1) * SALT_BYTES]
        + _pack(parameters, tuple(table[member] for table in tables))
        for member in range(size.size)
    )


def shares_root(payloads: Sequence[bytes]) -> bytes:
    """Commit to all members' payloads; `hashing.merkle_proofs` opens one."""
    return merkle_root(payloads)


# --- a member -------------------------------------------------------------------------------------


def payload_bytes(parameters: ParameterSet, size: CommitteeSize) -> int:
    """Size of one member's payload."""
    return SALT_BYTES + key_share_bytes(parameters, size.packing)


def read_payload(parameters: ParameterSet, size: CommitteeSize, payload: bytes) -> KeyShares:
    """Parse a member's payload. Raises MalformedMessage on a wrong size or element."""
    if len(payload) != payload_bytes(parameters, size):
        raise MalformedMessage("a share of a key has the wrong size for these parameters")
    return read_released(parameters, size, payload[SALT_BYTES:])


def sum_key_shares(
    parameters: ParameterSet, size: CommitteeSize, shares: Sequence[KeyShares]
) -> bytes:
    """A member's share of the sum of the keys of one set. Give it once, for one set only."""
    if not 1 <= len(shares) <= parameters.contributors_max:
        raise ValueError(
            "a sum is one of at least one key, and of no more than the parameters hold"
        )
    width = slot_width(parameters.degree, size.packing)
    totals = []
    for at, prime in enumerate(parameters.primes):
        total = np.zeros(width, dtype=np.int64)
        for share in shares:
            total += share[at]
        totals.append(PrimeField(prime).reduce(total))
    return _pack(parameters, tuple(totals))


# --- anybody --------------------------------------------------------------------------------------


def read_released(parameters: ParameterSet, size: CommitteeSize, data: bytes) -> KeyShares:
    """Parse a released share of a sum of keys. Raises MalformedMessage."""
    width = slot_width(parameters.degree, size.packing)
    step = ELEMENT_BYTES * width
    if len(data) != step * len(parameters.primes):
        raise MalformedMessage("a released share of a key has the wrong size")
    return tuple(
        PrimeField(prime).unpack(data[at * step : (at + 1) * step], width)
        for at, prime in enumerate(parameters.primes)
    )


def decode_keys(
    parameters: ParameterSet, size: CommitteeSize, released: Mapping[int, KeyShares]
) -> tuple[KeySum, tuple[int, ...]]:
    """Decode the sum of the keys, and name the members whose released share is wrong.

    Raises DecodingError when too few shares are right for a sum that can be trusted.
    """
    members = tuple(sorted(released))
    radius = safe_radius(len(members), size.degree, size.corrupt_max)
    liars: set[int] = set()
    for at, prime in enumerate(parameters.primes):
        table = np.stack([released[member][at] for member in members])
        _name_liars(PrimeField(prime), size, members, table, radius, liars)
    honest = tuple(member for member in members if member not in liars)
    found = []
    for at, sharing in enumerate(sharings(parameters, size)):
        table = np.stack([released[member][at] for member in honest])
        slots = sharing.reconstruct(honest, table)
        found.append(slots.reshape(-1)[: parameters.degree].astype(np.uint32))
    return tuple(found), tuple(sorted(liars))


def _name_liars(
    field: PrimeField,
    size: CommitteeSize,
    members: tuple[int, ...],
    table: Vector,
    radius: int,
    liars: set[int],
) -> None:
    """Add to `liars` until the others' rows of a table [members, width] are of degree D.

    Raises DecodingError when that takes more than `radius` of them.
    """
    while True:
        rows = [row for row, member in enumerate(members) if member not in liars]
        honest = [members[row] for row in rows]
        kept = table[rows]
        off = np.flatnonzero(~is_codeword(field, honest, kept, size.degree))
        if not len(off):
            return
        left = radius - len(liars)
        wrong = locate_errors(field, honest, kept[:, off[0]], size.degree, left)
        liars.update(honest[position] for position in wrong)


def _pack(parameters: ParameterSet, shares: KeyShares) -> bytes:
    return b"".join(
        PrimeField(prime).pack(share)
        for prime, share in zip(parameters.primes, shares, strict=True)
    )
