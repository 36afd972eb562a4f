"""Who takes part: the network, its censuses, and signatures bound to it.

The *authority* signs one certificate per person and, now and then, a *census*: the sorted list of
enrolled and not revoked nodes, Merkle-committed, naming its predecessor. A node id is the hash of
the node's public key and of a nonce that the authority drew, so that nobody can grind keys for a
position. Everything a node signs is bound to the network's id.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import islice, pairwise
from typing import Annotated, overload

import msgspec
from msgspec import Meta

from pnyx.errors import InvalidCertificate, InvalidSignature, WrongContext
from pnyx.primitives import codec
from pnyx.primitives.hashing import digest, merkle_root
from pnyx.protocol.messages import Digest, NodeId, PublicKey, Signature, Signed
from pnyx.protocol.params import PROTOCOL_VERSION
from pnyx.protocol.ports import Crypto
from pnyx.protocol.selection.census import genesis_committee
from pnyx.protocol.selection.security import CommitteeSize

CENSUS_BYTES_MAX = 128 * 1024 * 1024
UnixSeconds = Annotated[int, Meta(ge=0, lt=2**40)]


def node_id(public_key: bytes, enrolment_nonce: bytes) -> bytes:
    """Derive a node id; the nonce is the authority's, so positions cannot be ground."""
    return digest("pnyx/node-id", public_key, enrolment_nonce)


def network_id(authority_key: bytes, name: str) -> bytes:
    """Name a network by its authority and its name."""
    return digest("pnyx/network", authority_key, name.encode())


def signing_input(network: bytes, body: bytes) -> bytes:
    """Bytes that are signed for a body: bound to the network and the protocol's version."""
    return b"pnyx/%d/" % PROTOCOL_VERSION + network + body


def sign_body(crypto: Crypto, network: bytes, signer: bytes, body: msgspec.Struct) -> Signed:
    """Encode and sign a body with the node's long-term key."""
    encoded = codec.encode(body)
    return Signed(signer, encoded, crypto.sign(signing_input(network, encoded)))


class CensusEntry(msgspec.Struct, frozen=True, array_like=True):
    """One enrolled person's node."""

    node_id: NodeId
    public_key: PublicKey


class CensusBody(msgspec.Struct, frozen=True, array_like=True, tag=80, kw_only=True):
    """What the authority signs; sizes follow from the planning figures by `selection.security`."""

    network: Digest
    number: Annotated[int, Meta(ge=0, lt=2**31)]
    previous: Digest  # hash of the previous census body; zero for the first
    nodes_root: Digest
    node_count: Annotated[int, Meta(ge=1, le=2**31)]
    committee: CommitteeSize
    issued_at: UnixSeconds
    valid_until: UnixSeconds


class SignedCensus(msgspec.Struct, frozen=True, array_like=True, tag=81):
    """A census as it travels and is stored."""

    body: Annotated[bytes, Meta(max_length=4096)]
    signature: Signature
    entries: tuple[CensusEntry, ...]

    @property
    def root(self) -> bytes:
        """Names the census: the hash of its signed body."""
        return digest("pnyx/census", self.body)


class Census:
    """A verified census: ordered nodes, found by index or by id.

    `root` is the hash of the signed body; studies pin it.
    """

    def __init__(self, body: CensusBody, root: bytes, entries: Sequence[CensusEntry]) -> None:
        self.body = body
        self.root = root
        self.network = body.network
        self.committee = body.committee
        self.node_ids = tuple(entry.node_id for entry in entries)
        self.public_keys = tuple(entry.public_key for entry in entries)

    def __len__(self) -> int:
        return len(self.node_ids)

    def __contains__(self, node: bytes) -> bool:
        return self.index_of(node) is not None

    @cached_property
    def genesis(self) -> tuple[bytes, ...]:
        """Node ids of the first committee: one hash of every id, so it is drawn once."""
        return genesis_committee(self.root, self.node_ids, self.committee.size)

    def index_of(self, node: bytes) -> int | None:
        """Position of a node in the sorted census; None when it is not enrolled."""
        at = bisect_left(self.node_ids, node)
        return at if at < len(self.node_ids) and self.node_ids[at] == node else None

    def check(self, crypto: Crypto, signed: Signed) -> int:
        """Verify a signed body against its signer's key; return the signer's index.

        Raises InvalidCertificate when the signer is not in the census, InvalidSignature otherwise.
        """
        index = self.index_of(signed.signer)
        if index is None:
            raise InvalidCertificate(f"node {signed.signer.hex()[:12]} is not in the census")
        statement = signing_input(self.network, signed.body)
        if not crypto.verify(self.public_keys[index], statement, signed.signature):
            raise InvalidSignature(f"bad signature of node {signed.signer.hex()[:12]}")
        return index


class Others(Sequence[bytes]):
    """All nodes of a census but one, in order; holds nothing of its own."""

    __slots__ = ("_node_ids", "_without")

    def __init__(self, node_ids: tuple[bytes, ...], without: int) -> None:
        self._node_ids = node_ids
        self._without = without

    def __len__(self) -> int:
        return len(self._node_ids) - 1

    def __iter__(self) -> Iterator[bytes]:
        yield from islice(self._node_ids, self._without)
        yield from islice(self._node_ids, self._without + 1, None)

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[bytes, ...]: ...
    def __getitem__(self, at: int | slice) -> bytes | tuple[bytes, ...]:
        if isinstance(at, slice):
            return tuple(self)[at]
        if not 0 <= at < len(self):
            raise IndexError(at)
        return self._node_ids[at if at < self._without else at + 1]


def census_leaves(entries: Sequence[CensusEntry]) -> list[bytes]:
    """Merkle leaves of a census."""
    return [entry.node_id + entry.public_key for entry in entries]


def make_census(
    sign: Callable[[bytes], bytes],
    *,
    network: bytes,
    number: int,
    previous: bytes,
    entries: Sequence[CensusEntry],
    committee: CommitteeSize,
    issued_at: int,
    valid_until: int,
) -> SignedCensus:
    """Sort, commit and sign a census; `sign` signs with the authority's key."""
    ordered = tuple(sorted(entries, key=lambda entry: entry.node_id))
    body = codec.encode(
        CensusBody(
            network=network,
            number=number,
            previous=previous,
            nodes_root=merkle_root(census_leaves(ordered)),
            node_count=len(ordered),
            committee=committee,
            issued_at=issued_at,
            valid_until=valid_until,
        )
    )
    return SignedCensus(body, sign(signing_input(network, body)), ordered)


def verify_census(
    signed: SignedCensus, *, network: bytes, authority_key: bytes, crypto: Crypto, now: int
) -> Census:
    """Check a census against the authority's key and its own commitment.

    now: unix seconds. Raises WrongContext, InvalidSignature or InvalidCertificate.
    """
    body = codec.decode(signed.body, CensusBody, bytes_max=4096)
    if body.network != network:
        raise WrongContext("this census belongs to another network")
    if not crypto.verify(authority_key, signing_input(network, signed.body), signed.signature):
        raise InvalidSignature("the census is not signed by this network's authority")
    if now >= body.valid_until:
        raise InvalidCertificate("the census has expired; fetch a newer one from the authority")
    ids = [entry.node_id for entry in signed.entries]
    if len(ids) != body.node_count or any(a >= b for a, b in pairwise(ids)):
        raise InvalidCertificate("the census lists nodes out of order, twice, or in wrong number")
    if merkle_root(census_leaves(signed.entries)) != body.nodes_root:
        raise InvalidCertificate("the census does not match its signed root")
    if body.committee.size > body.node_count:
        raise InvalidCertificate("the census asks for a committee larger than the network")
    return Census(body, signed.root, signed.entries)


def check_succession(current: Census, following: Census) -> None:
    """Censuses form an append-only chain: the next names the current one.

    Raises InvalidCertificate; two different censuses of one number are evidence against the
    authority.
    """
    if following.body.number == current.body.number and following.root != current.root:
        raise InvalidCertificate("the authority signed two censuses with one number")
    if following.body.number != current.body.number + 1 or following.body.previous != current.root:
        raise InvalidCertificate("this census does not follow the one that is in force")
