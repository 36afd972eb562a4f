"""Domain-separated SHA-256, and Merkle trees over lists of byte strings.

`digest(domain, *parts)` hashes the domain and every part behind its length (8 bytes, big-endian),
so two different calls never hash the same bytes: digest("a", b"b", b"c") and digest("a", b"bc")
differ, and a digest made for one purpose is worth nothing for another.

Merkle trees have the shape of RFC 6962, section 2.1: a list splits at the largest power of two
below its length. Leaves, inner nodes and the root are hashed under different first bytes, so an
inner node never passes for a leaf (second pre-image). Unlike RFC 6962 the root also commits to
the number of leaves: without it a proof for (index, count) can be replayed under another pair.

    leaf = H(0x00 | bytes)    node = H(0x01 | left | right)    root = H(0x02 | count | top node)
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import sha256

HASH_BYTES = 32

_LENGTH_BYTES = 8
_DOMAINS_MAX = 1024
_LEAF, _NODE, _ROOT = b"\x00", b"\x01", b"\x02"


def digest(domain: str, *parts: bytes) -> bytes:
    """Hash parts under a domain: 32 bytes, injective in (domain, parts) up to collisions."""
    pieces = [_prefixed_domain(domain)]
    for part in parts:
        pieces.append(len(part).to_bytes(_LENGTH_BYTES, "big"))
        pieces.append(part)
    return sha256(b"".join(pieces)).digest()


def digests(domain: str, first: bytes, lasts: Iterable[bytes]) -> list[bytes]:
    """Return digest(domain, first, last) for every last; what they share is hashed once."""
    start = sha256(_prefixed_domain(domain) + len(first).to_bytes(_LENGTH_BYTES, "big") + first)
    found = []
    for last in lasts:
        state = start.copy()
        state.update(len(last).to_bytes(_LENGTH_BYTES, "big") + last)
        found.append(state.digest())
    return found


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Commit to a non-empty list of byte strings, their order and their number."""
    return _root(len(leaves), _levels(leaves)[-1][0])


def merkle_proofs(leaves: Sequence[bytes]) -> list[tuple[bytes, ...]]:
    """Return one proof per leaf: the siblings on its way to the top, lowest first."""
    return merkle_commit(leaves)[1]


def merkle_commit(leaves: Sequence[bytes]) -> tuple[bytes, list[tuple[bytes, ...]]]:
    """Root and proofs, from one tree."""
    levels = _levels(leaves)
    proofs = [_siblings(levels, index) for index in range(len(leaves))]
    return _root(len(leaves), levels[-1][0]), proofs


def verify_merkle_proof(
    root: bytes, leaf: bytes, index: int, count: int, proof: Sequence[bytes]
) -> bool:
    """Tell whether `leaf` is number `index` of the `count` leaves under `root`.

    Strict: the proof has exactly as many siblings as (index, count) asks for. (One that is not
    32 bytes long never verifies: every hashed node would have another length than the real one.)
    """
    if not 0 <= index < count or count >= 1 << (8 * _LENGTH_BYTES):
        return False
    node = sha256(_LEAF + leaf).digest()
    position, last = index, count - 1
    used = 0
    while last:
        if position & 1 or position < last:  # otherwise the node moves up without a sibling
            if used == len(proof):
                return False
            sibling = proof[used]
            used += 1
            node = _node(sibling, node) if position & 1 else _node(node, sibling)
        position >>= 1
        last >>= 1
    return used == len(proof) and _root(count, node) == root


def merkle_proof_hashes(index: int, count: int) -> int:
    """How many siblings the proof of leaf `index` of `count` has."""
    hashes, last = 0, count - 1
    while last:
        hashes += bool(index & 1 or index < last)
        index >>= 1
        last >>= 1
    return hashes


@lru_cache(maxsize=_DOMAINS_MAX)
def _prefixed_domain(domain: str) -> bytes:
    name = domain.encode()
    return len(name).to_bytes(_LENGTH_BYTES, "big") + name


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(_NODE + left + right).digest()


def _root(count: int, top: bytes) -> bytes:
    return sha256(_ROOT + count.to_bytes(_LENGTH_BYTES, "big") + top).digest()


def _levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Hash the tree bottom up; pairing neighbours gives exactly the shape of RFC 6962."""
    if not leaves:
        raise ValueError("a Merkle tree needs at least one leaf")
    levels = [[sha256(_LEAF + leaf).digest() for leaf in leaves]]
    while len(below := levels[-1]) > 1:
        above = [_node(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)]
        if len(below) & 1:
            above.append(below[-1])
        levels.append(above)
    return levels


def _siblings(levels: list[list[bytes]], index: int) -> tuple[bytes, ...]:
    siblings = []
    for level in levels[:-1]:
        if index ^ 1 < len(level):
            siblings.append(level[index ^ 1])
        index >>= 1
    return tuple(siblings)
