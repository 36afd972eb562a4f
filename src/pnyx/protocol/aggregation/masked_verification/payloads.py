"""Shares of a verified masked contribution as bytes, and what binds them to the contribution.

Two commitments, one after the other, make the contribution speak once:

    C1 = H(context, root of the masked vector y, root of the key shares, salt)      fixes z, then P
    C2 = H(C1, root of all payloads)                                        fixes X and g, then R'

so P is drawn when the vector that it sketches can no longer be chosen, and R' when the digits can
not. Members check both roots: with the second alone a dealer could choose its key shares, and with
them z, after it has seen P. The roots are Merkle roots over the members, in order.

The first f members' shares are all random (see `primitives.sharing`), so their payload is a seed
that stands for them. The others' are a salt, the columns in the ring's field, and those in the
other (`Layout`).

    seeded   seed (32)
    full     salt (16) | key shares | other columns of p₁ | columns of p₂     4-byte words

The beginning of a payload, up to the end of the key shares, is the leaf under the first root.
"""

from collections.abc import Sequence

import msgspec

from pnyx.errors import MalformedMessage, RuleBroken
from pnyx.primitives.hashing import digest, verify_merkle_proof
from pnyx.primitives.sampling import SEED_BYTES, Sampler
from pnyx.protocol.aggregation.encoding import FIELDS, IntVector
from pnyx.protocol.aggregation.masked_verification.bounds import Layout, MaskedBounds, layout
from pnyx.protocol.aggregation.verification import ELEMENT_BYTES, SALT_BYTES, FieldShares
from pnyx.protocol.selection.security import CommitteeSize


class Binding(msgspec.Struct, frozen=True):
    """What a contributor signs of its contribution, beside the published vector v.

    vector_root: commitment to the masked vector y. key_root: to the key shares. salt: of the
    sketch. shares_root: Merkle root of all payloads.
    """

    vector_root: bytes
    key_root: bytes
    salt: bytes
    shares_root: bytes


class Claim(msgspec.Struct, frozen=True):
    """What a contributor claims: its number, C1 (`sketched`), C2 (`commitment`), and v."""

    contributor: int
    sketched: bytes
    commitment: bytes
    published: bytes


def sketch_commitment(context: bytes, vector_root: bytes, key_root: bytes, salt: bytes) -> bytes:
    """C1: binds the masked vector and the key shares to round, attempt and contributor."""
    return digest("pnyx/masked-verification/sketch", context, vector_root, key_root, salt)


def commitment(sketched: bytes, shares_root: bytes) -> bytes:
    """C2: binds everything that is shared to C1."""
    return digest("pnyx/masked-verification/commitment", sketched, shares_root)


def claim(contributor: int, context: bytes, binding: Binding, published: bytes) -> Claim:
    """What a signed binding and a published vector claim in a context."""
    sketched = sketch_commitment(context, binding.vector_root, binding.key_root, binding.salt)
    return Claim(contributor, sketched, commitment(sketched, binding.shares_root), published)


def payload_bytes(member: int, bounds: MaskedBounds, size: CommitteeSize) -> int:
    """Size of a member's payload."""
    if member < size.corrupt_max:
        return SEED_BYTES
    plan = layout(bounds, size)
    return SALT_BYTES + ELEMENT_BYTES * sum(plan.columns(at) for at in range(len(FIELDS)))


def read_payload(
    payload: bytes, member: int, bounds: MaskedBounds, size: CommitteeSize
) -> FieldShares:
    """Parse a member's payload into its columns in each field.

    Raises MalformedMessage on a wrong size or element.
    """
    if len(payload) != payload_bytes(member, bounds, size):
        raise MalformedMessage("a share has the wrong size for this study's vector")
    plan = layout(bounds, size)
    if member < size.corrupt_max:
        return expand(payload, plan)
    shares, start = [], SALT_BYTES
    for at, field in enumerate(FIELDS):
        stop = start + ELEMENT_BYTES * plan.columns(at)
        shares.append(field.unpack(payload[start:stop], plan.columns(at)))
        start = stop
    return tuple(shares)


def key_leaf(payload: bytes, member: int, plan: Layout, size: CommitteeSize) -> bytes:
    """The part of a payload that fixes a member's key shares."""
    if member < size.corrupt_max:
        return payload
    return payload[: SALT_BYTES + ELEMENT_BYTES * plan.key]


def check_key_shares(
    payload: bytes,
    member: int,
    proof: Sequence[bytes],
    binding: Binding,
    bounds: MaskedBounds,
    size: CommitteeSize,
) -> None:
    """Check that a payload's key shares are those that C1 fixed; raises RuleBroken."""
    leaf = key_leaf(payload, member, layout(bounds, size), size)
    if not verify_merkle_proof(binding.key_root, leaf, member, size.size, proof):
        raise RuleBroken("the key share is not the one that the sketch was made for")


def expand(seed: bytes, plan: Layout) -> FieldShares:
    """The shares that a seed stands for: the columns in each field, one field after the other."""
    stream = Sampler(seed, "pnyx/masked-verification/share")
    return tuple(
        stream.field_elements(field.modulus, plan.columns(at)) for at, field in enumerate(FIELDS)
    )


def key_shares(shares: FieldShares, plan: Layout) -> IntVector:
    """The columns of a share that are the key's: what members add up and release."""
    return shares[0][: plan.key]
