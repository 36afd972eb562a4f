"""A member's payload: its shares of a contribution as bytes, whichever kind the contribution is.

    direct, masked       salt (16) | columns of p₁ | columns of p₂ | key columns     4-byte words
    masked, verified     the same, or for the first f members a seed (32); then a Merkle proof

The first f members' shares are all random (`primitives.sharing`), so a seed stands for them. The
proof, of the hashes that its place asks for, shows that the key's shares are those that C1
fixed (`masked_verification.commitments`): its leaf is the seed, or salt | key columns. It is a part
of what the header commits to, so who deals a payload with another key, or with another proof, dealt
one that cannot be read, and is convicted by its payload alone.
"""

from pnyx.errors import MalformedMessage
from pnyx.primitives.hashing import merkle_proof_hashes, verify_merkle_proof
from pnyx.primitives.sampling import SEED_BYTES, Sampler
from pnyx.protocol.aggregation import verification
from pnyx.protocol.aggregation.bounds import Bounds, Layout, layout
from pnyx.protocol.aggregation.coefficients import Claim
from pnyx.protocol.aggregation.encoding import FIELDS
from pnyx.protocol.aggregation.verification import (
    ELEMENT_BYTES,
    SALT_BYTES,
    FieldShares,
    pack_payload,
)
from pnyx.protocol.selection.security import CommitteeSize

_HASH_BYTES = 32


def payload_bytes(bounds: Bounds, size: CommitteeSize, member: int) -> int:
    """Size of a member's payload."""
    if not bounds.masked_norm_max:
        return verification.payload_bytes(bounds, size)
    return _body_bytes(bounds, size, member) + _proof_bytes(size, member)


def payload_bytes_max(bounds: Bounds, size: CommitteeSize) -> int:
    """Size of the largest payload."""
    return max(payload_bytes(bounds, size, member) for member in range(size.size))


def seeded(bounds: Bounds, size: CommitteeSize, member: int) -> bool:
    """Whether a seed stands for a member's shares."""
    return bool(bounds.masked_norm_max) and member < size.corrupt_max


def read_share(
    payload: bytes, member: int, claim: Claim, bounds: Bounds, size: CommitteeSize
) -> FieldShares:
    """Parse a member's payload: [columns, then the key's] of each field.

    Raises MalformedMessage on a wrong size or element, or on another key than C1 fixed.
    """
    if not bounds.masked_norm_max:
        return verification.read_payload(payload, bounds, size)
    if len(payload) != payload_bytes(bounds, size, member):
        raise MalformedMessage("a share has the wrong size for this study's vector")
    end = _body_bytes(bounds, size, member)
    body, rest = payload[:end], payload[end:]
    proof = [rest[at : at + _HASH_BYTES] for at in range(0, len(rest), _HASH_BYTES)]
    leaf = key_leaf(body, bounds, size, member)
    if not verify_merkle_proof(claim.key_root, leaf, member, size.size, proof):
        raise MalformedMessage("a share of a key is not the one that the sketch was made for")
    if seeded(bounds, size, member):
        return expand(body, layout(bounds, size))
    return verification.read_payload(body, bounds, size)


def key_leaf(body: bytes, bounds: Bounds, size: CommitteeSize, member: int) -> bytes:
    """What fixes a member's key shares, of a payload with or without its proof."""
    end = _body_bytes(bounds, size, member)
    if seeded(bounds, size, member):
        return body[:end]
    return body[:SALT_BYTES] + body[end - ELEMENT_BYTES * sum(layout(bounds, size).keys) : end]


def expand(seed: bytes, plan: Layout) -> FieldShares:
    """The shares that a seed stands for: in each field the columns, then the key's."""
    stream = Sampler(seed, "pnyx/masked-verification/share")
    return tuple(
        stream.field_elements(field.modulus, plan.columns + keys)
        for field, keys in zip(FIELDS, plan.keys, strict=True)
    )


class Opener:
    """What it takes, beside a share that was read, to write its payload again."""

    __slots__ = ("_head", "_tail")

    def __init__(self, payload: bytes, bounds: Bounds, size: CommitteeSize, member: int) -> None:
        end = len(payload)
        if bounds.masked_norm_max:
            end = _body_bytes(bounds, size, member)
        self._head = payload[: SEED_BYTES if seeded(bounds, size, member) else SALT_BYTES]
        self._tail = payload[end:]

    def payload(self, share: FieldShares, bounds: Bounds, size: CommitteeSize) -> bytes:
        """The payload that `read_share` parsed."""
        if len(self._head) == SEED_BYTES:
            return self._head + self._tail
        return pack_payload(self._head, share, bounds, size) + self._tail


def _body_bytes(bounds: Bounds, size: CommitteeSize, member: int) -> int:
    """Size of a payload without its proof."""
    if seeded(bounds, size, member):
        return SEED_BYTES
    return verification.payload_bytes(bounds, size)


def _proof_bytes(size: CommitteeSize, member: int) -> int:
    return _HASH_BYTES * merkle_proof_hashes(member, size.size)
