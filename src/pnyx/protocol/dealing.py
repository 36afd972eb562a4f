"""Secrets that their holders can open without the one who dealt them.

A dealer draws a secret, shares it among `size` holders with degree `corrupt_max` (that many of them
learn nothing) and commits to the Merkle root of all salted shares. Any `corrupt_max` + 1 hash-valid
shares open it, so that withholding changes nothing. Whoever opens recomputes all shares and the
root: a dealer that committed to something else than a polynomial counts as zero, whichever shares
were used, and its opened shares are evidence. Committees make beacons of such secrets (`beacon`),
and the nodes of a region its random value (`selection.region`).
"""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Protocol

import msgspec
import numpy as np

from pnyx.errors import MalformedMessage
from pnyx.primitives.field import PRIMES, PrimeField, Vector
from pnyx.primitives.hashing import digests, merkle_commit, merkle_root, verify_merkle_proof
from pnyx.primitives.sampling import Sampler
from pnyx.primitives.sharing import PackedSharing, interpolate_all
from pnyx.protocol.messages import OpenedShare

SECRET_ELEMENTS = 10  # ten 27-bit elements: 270 bits
SHARE_BYTES = 4 * SECRET_ELEMENTS
SALT_BYTES = 16
FIELD = PrimeField(PRIMES[0])
NO_SECRET = bytes(SHARE_BYTES)


class Holders(Protocol):
    """Among how many a secret is shared, and how many of them learn nothing of it."""

    @property
    def size(self) -> int:
        """Holders of a share."""
        ...

    @property
    def corrupt_max(self) -> int:
        """Degree of the polynomials: one holder more opens the secret."""
        ...


def _sharing(size: Holders) -> PackedSharing:
    return PackedSharing(FIELD, size.size, size.corrupt_max, 1)


def _salted(secret: bytes, rows: Vector) -> list[tuple[bytes, bytes]]:
    """Every member's packed share and its salt, from all shares [k, SECRET_ELEMENTS].

    Salts follow from the secret, so that whoever opens it can recompute the commitment.
    """
    members = (member.to_bytes(4, "big") for member in range(len(rows)))
    salts = digests("pnyx/beacon/salt", secret, members)
    packed = FIELD.pack(rows)
    return [
        (packed[SHARE_BYTES * at : SHARE_BYTES * (at + 1)], salt[:SALT_BYTES])
        for at, salt in enumerate(salts)
    ]


class DealtSecret(msgspec.Struct, frozen=True):
    """A dealer's commitment and what each member will hold."""

    root: bytes
    shares: tuple[OpenedShare, ...]

    def __repr__(self) -> str:
        return "DealtSecret(…)"


def deal(seed: bytes, dealer: int, size: Holders) -> DealtSecret:
    """Draw and share a secret from a fresh 32-byte seed."""
    sampler = Sampler(seed, "pnyx/beacon/dealing")
    secret = sampler.field_elements(FIELD.modulus, (1, SECRET_ELEMENTS))
    noise = sampler.field_elements(FIELD.modulus, (size.corrupt_max, SECRET_ELEMENTS))
    salted = _salted(FIELD.pack(secret[0]), _sharing(size).share(secret, noise))
    root, proofs = merkle_commit([row + salt for row, salt in salted])
    return DealtSecret(
        root,
        tuple(
            OpenedShare(dealer, row, salt, proof)
            for (row, salt), proof in zip(salted, proofs, strict=True)
        ),
    )


def share_matches(root: bytes, opened: OpenedShare, member: int, size: Holders) -> bool:
    """Whether a member's share is the one the dealer committed to."""
    return len(opened.share) == SHARE_BYTES and verify_merkle_proof(
        root, opened.share + opened.salt, member, size.size, opened.proof
    )


def recover(root: bytes, shares: Mapping[int, OpenedShare], size: Holders) -> bytes | None:
    """Open one dealer's secret from any f + 1 hash-valid shares (member -> share).

    Returns None with too few of them, and NO_SECRET when the dealer's commitment is not a
    polynomial of degree f.
    """
    needed = size.corrupt_max + 1
    matching = (m for m in sorted(shares) if share_matches(root, shares[m], m, size))
    members = tuple(islice(matching, needed))
    if len(members) < needed:
        return None
    try:
        rows = np.stack([FIELD.unpack(shares[m].share, SECRET_ELEMENTS) for m in members])
    except MalformedMessage:
        return NO_SECRET
    secret = FIELD.pack(_sharing(size).reconstruct(members, rows)[0])
    everyone = interpolate_all(FIELD, size.size, members, rows, size.corrupt_max)
    leaves = [row + salt for row, salt in _salted(secret, everyone)]
    return secret if merkle_root(leaves) == root else NO_SECRET


def recover_all(
    roots: Mapping[int, bytes],
    openings: Iterable[tuple[int, Iterable[OpenedShare]]],
    size: Holders,
) -> dict[int, bytes] | None:
    """Open every dealer's secret (dealer -> root) from members' openings; None while too few."""
    by_dealer: dict[int, dict[int, OpenedShare]] = {dealer: {} for dealer in roots}
    for member, shares in openings:
        for share in shares:
            if share.dealer in by_dealer:
                by_dealer[share.dealer][member] = share
    secrets: dict[int, bytes] = {}
    for dealer, root in roots.items():
        secret = recover(root, by_dealer[dealer], size)
        if secret is None:
            return None
        secrets[dealer] = secret
    return secrets
