"""What the nodes of a region send each other, and what they make together.

Everything carries the hash of the draw (`context`) and the region it is for, so a message of one
draw means nothing in another. Sizes are bounded: at most `MEMBERS_MAX` nodes take part.

    caller -> node    Call, Roll, Offer, Choice, Locked
    node -> caller    Presence, Deal, Receipt, Lock
    node -> nodes     Reveal, Witness
"""

from enum import IntEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from pnyx.primitives.signature import QuorumCertificate
from pnyx.protocol.messages import Digest, NodeId, OpenedShare, PublicKey, RoundNumber, Signature

MEMBERS_MAX = 1024
ACTORS_MAX = 4096
CANDIDATES_MAX = 8192
ACTOR_PROOF_BYTES_MAX = 512 * 1024

Place = Annotated[int, Meta(ge=0, lt=MEMBERS_MAX)]  # a place on the roll
Places = Annotated[tuple[Place, ...], Meta(max_length=MEMBERS_MAX)]
NodeIds = Annotated[tuple[NodeId, ...], Meta(max_length=CANDIDATES_MAX)]
SealedShare = Annotated[bytes, Meta(max_length=1024)]


class Region(IntEnum):
    """Which of the two regions of a draw."""

    VALUE = 0  # R1, around the trigger: makes the random value
    LIST = 1  # R2, around the setter: makes the actor list


class Draw(msgspec.Struct, frozen=True, array_like=True, tag=140, kw_only=True):
    """What actors are drawn for, and which attempt it is; everything that a list is bound to."""

    network: Digest
    epoch: RoundNumber
    census_root: Digest
    study: Digest
    round_number: RoundNumber
    attempt: Annotated[int, Meta(ge=1, le=64)]
    role: Annotated[str, Meta(min_length=1, max_length=32)]
    count: Annotated[int, Meta(ge=1, le=ACTORS_MAX)]
    beacon: Digest
    expires: RoundNumber  # the last epoch in which the list counts


class Witnessed(msgspec.Struct, frozen=True, array_like=True):
    """A node of the region signed what the region made."""

    node: NodeId
    signature: Signature


Witnesses = Annotated[tuple[Witnessed, ...], Meta(max_length=MEMBERS_MAX)]


class RandomProof(msgspec.Struct, frozen=True, array_like=True, tag=141):
    """The random value of R1: the trigger called for it, k_r others of its region made it."""

    draw: Draw
    trigger: NodeId
    call: Signature
    value: Digest
    witnesses: Witnesses


class ActorProof(msgspec.Struct, frozen=True, array_like=True, tag=142):
    """The verifiable actor list: the setter called for it, k_r others of its region made it."""

    draw: Draw
    value: Digest  # of R1; its point imposes the setter
    setter: NodeId
    call: Signature
    order: Digest  # the setter's randomness
    actors: Annotated[tuple[NodeId, ...], Meta(max_length=ACTORS_MAX)]
    witnesses: Witnesses


class _Message(msgspec.Struct, frozen=True, array_like=True):
    """Common to all: which draw, and which of its regions."""

    context: Digest
    region: Region


class Call(_Message, frozen=True, array_like=True, tag=143):
    """The trigger or setter calls the legitimate nodes around it.

    before: R1's random value, in a call for R2. candidates: those of R3 that the caller knows.
    """

    draw: Draw
    caller: NodeId
    before: RandomProof | None
    candidates: NodeIds
    signature: Signature


class Presence(_Message, frozen=True, array_like=True, tag=144):
    """A node takes part, in this call only; it adds the candidates that the caller left out."""

    node: NodeId
    key: PublicKey
    additions: NodeIds
    signature: Signature


class Roll(_Message, frozen=True, array_like=True, tag=145):
    """Who takes part, in the order that numbers them."""

    presences: Annotated[tuple[Presence, ...], Meta(max_length=MEMBERS_MAX)]
    signature: Signature


class Dealt(msgspec.Struct, frozen=True, array_like=True):
    """A node's commitment to its shared secret."""

    dealer: Place
    root: Digest
    signature: Signature


class Deal(_Message, frozen=True, array_like=True, tag=146):
    """A node's shared secret, a sealed share for everybody on the roll."""

    dealt: Dealt
    sealed: Annotated[tuple[SealedShare, ...], Meta(max_length=MEMBERS_MAX)]


class Offer(_Message, frozen=True, array_like=True, tag=147):
    """The commitments at hand, with the receiver's share of each."""

    dealings: Annotated[tuple[Dealt, ...], Meta(max_length=MEMBERS_MAX)]
    sealed: Annotated[tuple[SealedShare, ...], Meta(max_length=MEMBERS_MAX)]


class Receipt(_Message, frozen=True, array_like=True, tag=148):
    """Of which offered secrets a node holds a valid share."""

    member: Place
    held: Places
    signature: Signature


class Choice(_Message, frozen=True, array_like=True, tag=149):
    """Which secrets count: those of which enough nodes hold a share."""

    dealers: Places
    receipts: Annotated[tuple[Receipt, ...], Meta(max_length=MEMBERS_MAX)]


class Lock(_Message, frozen=True, array_like=True, tag=150):
    """A node fixes the choice, the only one that it ever will for this region of the draw."""

    member: Place
    signature: Signature


class Locked(_Message, frozen=True, array_like=True, tag=151):
    """A quorum fixed the choice: now, and only now, secrets are opened."""

    locks: QuorumCertificate


class Reveal(_Message, frozen=True, array_like=True, tag=152):
    """A node's shares of the chosen secrets, to everybody on the roll."""

    member: Place
    locks: QuorumCertificate
    openings: Annotated[tuple[OpenedShare, ...], Meta(max_length=MEMBERS_MAX)]


class Witness(_Message, frozen=True, array_like=True, tag=153):
    """A node's signature on what the region made, to everybody on the roll."""

    member: Place
    signature: Signature


class Continue(msgspec.Struct, frozen=True, array_like=True, tag=154):
    """The random value of a draw, for the setter: from the trigger or any node of R1."""

    context: Digest
    proof: RandomProof


RegionMessage = (
    Call
    | Presence
    | Roll
    | Deal
    | Offer
    | Receipt
    | Choice
    | Lock
    | Locked
    | Reveal
    | Witness
    | Continue
)
