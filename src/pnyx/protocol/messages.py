"""Every message and signed body of the protocol, as bounded records.

A *body* is what somebody signs; `Signed` carries its exact bytes, so that a signature is always
checked over the bytes as received. The other records travel between two authenticated peers and
carry their own proof (certificates, Merkle proofs) where a third party must believe them.

Every record of a round carries its `context`, the hash of (network, study, round, attempt, epoch,
census, previous record): a message of one round means nothing in another. docs/protocol.md lists
each message with the step it belongs to and what its checks prevent.
"""

from enum import IntEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pnyx.hosts import HOST_CHARACTERS_MAX, HOST_WORDS, is_host
from pnyx.primitives.signature import QuorumCertificate

Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
NodeId = Annotated[bytes, Meta(min_length=32, max_length=32)]
PublicKey = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
Salt = Annotated[bytes, Meta(min_length=16, max_length=16)]
Index = Annotated[int, Meta(ge=0, lt=2**32)]
Member = Annotated[int, Meta(ge=0, lt=1024)]
View = Annotated[int, Meta(ge=0, lt=2**31)]
RoundNumber = Annotated[int, Meta(ge=0, lt=2**31)]
MerkleProof = Annotated[tuple[Digest, ...], Meta(max_length=16)]
Indices = Annotated[tuple[Index, ...], Meta(max_length=1_000_000)]
Members = Annotated[tuple[Member, ...], Meta(max_length=1024)]
# Contributors that a round draws at most, see `manifest`: nothing that a round says names more.
DRAWN_MAX = 4096
Contributors = Annotated[tuple[Index, ...], Meta(max_length=DRAWN_MAX)]
SHARE_BYTES_MAX = 512 * 1024
SharePayload = Annotated[bytes, Meta(max_length=SHARE_BYTES_MAX)]
# What a parcel is cut into: small enough that a few of them are nothing in memory, large enough
# that proof and framing are under half a percent.
CHUNK_BYTES = 128 * 1024
CHUNKS_PER_REQUEST_MAX = 64
ChunkIndex = Annotated[int, Meta(ge=0, lt=2**16)]
ParcelLength = Annotated[int, Meta(ge=1, le=2**33)]  # 2^16 chunks
# Large messages of a leader travel in parts; see `round.parts`.
PARTED_BYTES_MAX = 32 * 1024 * 1024
PART_BYTES_MAX = 64 * 1024
PARTS_MAX = 1024
PartNumber = Annotated[int, Meta(ge=0, lt=PARTS_MAX)]
# Culprits that one word of giving up names: those of 1024 members fit one value.
CULPRITS_MAX = 512
HANDOVERS_MAX = 7  # of the record of one epoch; patience doubles, so the last begins after 10 hours
Attempt = Annotated[int, Meta(ge=1, le=HANDOVERS_MAX + 1)]


class Step(IntEnum):
    """How far a committee has come in a round; each step ends with something everybody keeps."""

    OPEN = 0  # ends with the open certificate: the list of round keys
    CLOSE = 1  # contributions arrive; ends with the certified closed list
    CHALLENGE = 2  # ends with the challenge beacon
    ACCEPT = 3  # ends with the certified accepted set
    RELEASE = 4  # ends with a bundle of released shares
    CERTIFY = 5  # ends with the round record
    DONE = 6


class Instance(IntEnum):
    """What a committee agrees on, in two phases each."""

    OPEN = 0
    CLOSE = 1
    ACCEPT = 2


class Phase(IntEnum):
    """The two votes of one agreement."""

    ECHO = 0
    LOCK = 1


class Signed(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A body's exact bytes with its signer and signature."""

    signer: NodeId
    body: Annotated[bytes, Meta(max_length=4 * 1024 * 1024)]
    signature: Signature


# --- bodies that a committee member signs --------------------------------------------------------


class RoundKey(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """A member is present: its encryption key for this attempt and its dealings' commitments."""

    context: Digest
    member: Member
    encryption_key: PublicKey
    next_dealing: Digest  # zero when this member is not a dealer
    challenge_dealing: Digest


class HeldContribution(msgspec.Struct, frozen=True, array_like=True):
    """One contribution that a member holds, named by the hash of its signed header."""

    contributor: Index
    header_hash: Digest


class CloseVote(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """What a member holds when it stops giving receipts."""

    context: Digest
    member: Member
    held: Annotated[tuple[HeldContribution, ...], Meta(max_length=DRAWN_MAX)]
    joined: Indices  # census indices of the owners whose join it knows
    next_dealers: Members  # dealers of whom it holds a valid share
    challenge_dealers: Members
    culprits: Indices  # census indices of the nodes against which it holds evidence
    # On the chain of epochs: root of the census that follows the one in force, if it knows one.
    next_census: Digest | None = None


class VerifyResponse(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """A member's commitment to its answers to the challenge.

    answers: Merkle root over them, each with the hash of the header that it answers for; zero when
    there are none. So a single answer can be shown to others without the rest.
    """

    context: Digest
    member: Member
    challenge: Digest
    answers: Digest


class Answers(msgspec.Struct, frozen=True, array_like=True):
    """What a member answers: check values for each contribution that it holds."""

    held: Contributors  # those of the closed list whose share it holds, ascending
    values: SharePayload  # packed answers, see aggregation.verification


class Answered(msgspec.Struct, frozen=True, array_like=True):
    """A signed `VerifyResponse` with the answers that it commits to."""

    signed: Signed
    answers: Answers


class OpenedShare(msgspec.Struct, frozen=True, array_like=True):
    """One member's share of one dealer's beacon secret, with its proof against the commitment."""

    dealer: Member
    share: Annotated[bytes, Meta(max_length=64)]
    salt: Salt
    proof: MerkleProof


OpenedShares = Annotated[tuple[OpenedShare, ...], Meta(max_length=1024)]


class Release(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """A member's share of the sum over the accepted set, and of the next beacon's secrets."""

    context: Digest
    member: Member
    accepted: Digest  # hash of the accepted value whose lock certificate it has seen
    shares: SharePayload  # empty when this member cannot add up the accepted set
    openings: OpenedShares


class GroupSum(msgspec.Struct, frozen=True, array_like=True):
    """The sum over one group of contributors, by its hash; zero if it came to nothing."""

    group: Annotated[int, Meta(ge=0, lt=32)]  # below `robust.GROUPS_MAX`
    sum: Digest


class RecordBody(msgspec.Struct, frozen=True, array_like=True, tag=14, kw_only=True):
    """What a round established; a quorum of its committee signs it."""

    network: Digest
    study: Digest
    round_number: RoundNumber
    attempt: Attempt
    epoch: RoundNumber
    census_root: Digest
    previous_record: Digest
    context: Digest
    open_value: Digest
    closed_value: Digest
    accepted_value: Digest
    accepted: Indices  # census indices of the contributors that count, ascending
    skipped: bool  # fewer than the floor: nothing was opened, the model is unchanged
    model_hash: Digest
    metrics: Annotated[
        tuple[Annotated[int, Meta(ge=-(2**62), lt=2**62)], ...], Meta(max_length=1024)
    ]
    joins_root: Digest
    next_beacon: Digest
    # What the study has cost each owner so far, see `privacy`; None once a sum had no noise.
    privacy_spent: Annotated[int, Meta(ge=0, lt=2**62)] | None
    excluded: Indices  # census indices that no later round of the study draws, ascending
    # The groups that were opened, ascending; contributors of the others do not count.
    sums: Annotated[tuple[GroupSum, ...], Meta(max_length=32)]
    # On the chain of epochs: root of the census of the epoch that begins, where it is a new one.
    next_census: Digest | None = None


class GiveUp(msgspec.Struct, frozen=True, array_like=True, tag=15):
    """A member saw no progress for long: it gives no more receipts or answers in this attempt."""

    context: Digest
    member: Member
    # Census indices of nodes against which it holds evidence.
    culprits: Annotated[tuple[Index, ...], Meta(max_length=CULPRITS_MAX)]


# --- bodies signed by other roles ---------------------------------------------------------------


class SketchProof(msgspec.Struct, frozen=True, array_like=True):
    """What lets a committee verify a masked update (experimental): see `masked_verification`."""

    key_root: Digest  # Merkle root of the members' key shares
    salt: Salt  # with it, key_root and the vector's name, the sketch is drawn
    sketch: Annotated[bytes, Meta(max_length=1024)]  # P·y, which aggregators check


class MaskedVector(msgspec.Struct, frozen=True, array_like=True):
    """A contributor's commitment to its masked vector, see `aggregation.masked`."""

    parcel: Digest  # names its bytes
    commitment: Digest  # to its checkpoints, the last of which is after all of it
    proof: SketchProof | None = None  # where masked updates are verified


class ContributionHeader(msgspec.Struct, frozen=True, array_like=True, tag=20):
    """A contributor's commitment to the shares of all members."""

    context: Digest
    contributor: Index
    open_value: Digest  # the list of round keys that the shares were sealed to
    model_hash: Digest  # the model it trained from: a split view of models shows here
    shares_root: Digest
    published: Annotated[bytes, Meta(max_length=1024)]  # v, which vouches for short shares
    masked: MaskedVector | None = None  # in masked mode, where the shares are those of its key


class Join(msgspec.Struct, frozen=True, array_like=True, tag=21):
    """An owner lends its data to a study, until it says otherwise with a higher number."""

    network: Digest
    study: Digest
    sequence: Index
    joined: bool


class NodeRecord(msgspec.Struct, frozen=True, array_like=True, tag=22):
    """Where a node can be reached; the highest sequence number counts.

    A record of anything but a host can neither be made nor decoded, by whatever way it comes: it
    would be dialled.
    """

    network: Digest
    sequence: Annotated[int, Meta(ge=0, lt=2**62)]
    host: Annotated[str, Meta(max_length=HOST_CHARACTERS_MAX)]
    port: Annotated[int, Meta(ge=1, le=65535)]

    def __post_init__(self) -> None:
        """Raises ValueError, which decoding turns into MalformedMessage."""
        if not is_host(self.host):
            raise ValueError(f"the host of a node record must be {HOST_WORDS}")


# --- gossip -------------------------------------------------------------------------------------

ItemIds = Annotated[tuple[Digest, ...], Meta(max_length=4096)]


class Announce(msgspec.Struct, frozen=True, array_like=True, tag=30):
    """The sender holds these items, and these models, which are pulled as parcels."""

    items: ItemIds
    models: ItemIds = ()


class Request(msgspec.Struct, frozen=True, array_like=True, tag=31):
    """The sender would like these items."""

    items: ItemIds


class Items(msgspec.Struct, frozen=True, array_like=True, tag=32):
    """Encoded gossip items."""

    items: Annotated[
        tuple[Annotated[bytes, Meta(max_length=4 * 1024 * 1024)], ...], Meta(max_length=1024)
    ]


# --- between a committee's members --------------------------------------------------------------

Value = Annotated[bytes, Meta(max_length=4 * 1024 * 1024)]


class MemberInput(msgspec.Struct, frozen=True, array_like=True, tag=50):
    """A member's signed body for its leader.

    attachments: headers of a close vote that it was asked for. answers: those of a response.
    """

    context: Digest
    signed: Signed
    attachments: Annotated[tuple[Signed, ...], Meta(max_length=DRAWN_MAX)] = ()
    answers: Answers | None = None


class Dealing(msgspec.Struct, frozen=True, array_like=True, tag=51):
    """A dealer's sealed shares of its two beacon secrets for one member."""

    context: Digest
    dealer: Member
    sealed: Annotated[bytes, Meta(max_length=8192)]


class DealingShares(msgspec.Struct, frozen=True, array_like=True, tag=52):
    """Plaintext of a dealing."""

    following: OpenedShare
    challenge: OpenedShare


class Opening(msgspec.Struct, frozen=True, array_like=True, tag=53):
    """A member's shares of the challenge secrets, once the closed list is locked."""

    context: Digest
    member: Member
    openings: OpenedShares


class ChallengeReveal(msgspec.Struct, frozen=True, array_like=True, tag=54):
    """Openings from which anyone recovers the challenge beacon."""

    context: Digest
    openings: Annotated[tuple[Opening, ...], Meta(max_length=1024)]


class ReleaseBundle(msgspec.Struct, frozen=True, array_like=True, tag=55):
    """Released shares from which anyone decodes the sum and the next beacon."""

    context: Digest
    releases: Annotated[tuple[Signed, ...], Meta(max_length=1024)]


class RecordVote(msgspec.Struct, frozen=True, array_like=True, tag=56):
    """A member's signature on the record body that it computed itself."""

    context: Digest
    member: Member
    body_hash: Digest
    signature: Signature


class EchoProof(msgspec.Struct, frozen=True, array_like=True):
    """A quorum echoed this value in this view."""

    view: View
    value_hash: Digest
    certificate: QuorumCertificate


class Proposal(msgspec.Struct, frozen=True, array_like=True, tag=57):
    """The leader of a view proposes a value, with an older echo certificate if it has one.

    signature: over the value's hash, as in a `ProposedHash`.
    """

    context: Digest
    instance: Instance
    view: View
    value: Value
    proof: EchoProof | None
    signature: Signature


class ProposedHash(msgspec.Struct, frozen=True, array_like=True, tag=69):
    """What the leader of a view signed that it proposes: members show it to each other."""

    context: Digest
    instance: Instance
    view: View
    value_hash: Digest
    signature: Signature


class Vote(msgspec.Struct, frozen=True, array_like=True, tag=58):
    """A member's echo or lock signature, for the leader of the view."""

    context: Digest
    instance: Instance
    phase: Phase
    view: View
    member: Member
    value_hash: Digest
    signature: Signature


class Certificate(msgspec.Struct, frozen=True, array_like=True, tag=59):
    """A quorum of echoes (members then lock) or of locks (the value is fixed)."""

    context: Digest
    instance: Instance
    phase: Phase
    view: View
    value_hash: Digest
    certificate: QuorumCertificate


class Decision(msgspec.Struct, frozen=True, array_like=True, tag=60):
    """A fixed value with its lock certificate; for instance OPEN this is the open certificate."""

    context: Digest
    instance: Instance
    view: View
    value: Value
    certificate: QuorumCertificate


class AbortCertificate(msgspec.Struct, frozen=True, array_like=True, tag=42):
    """The first attempt of a round ended unopened, and nothing of it can ever be released.

    opened: who had a round key. aborted: the agreement on the accepted set fixed an abort instead.
    """

    study: Digest
    round_number: RoundNumber
    opened: Decision
    aborted: Decision


class Handover(msgspec.Struct, frozen=True, array_like=True, tag=44):
    """Attempts at the record of an epoch that were handed over, from the first on; see `handover`.

    decisions: of each attempt the agreement on its list fixed that there is none.
    """

    study: Digest
    round_number: RoundNumber
    decisions: Annotated[tuple[Decision, ...], Meta(min_length=1, max_length=HANDOVERS_MAX)]


class Record(msgspec.Struct, frozen=True, array_like=True, tag=41):
    """A record's body, the list of joins it commits to, and the committee's quorum.

    abort: why the record is one of a later attempt, so that anyone can derive that attempt's plan.
    actors: the list that regions drew for the next round, in a study that selects so.
    """

    body: Annotated[bytes, Meta(max_length=4 * 1024 * 1024)]
    joins: Indices
    certificate: QuorumCertificate
    abort: AbortCertificate | Handover | None = None
    actors: Annotated[bytes, Meta(max_length=512 * 1024)] = b""


# --- evidence -----------------------------------------------------------------------------------


class OpenedPayload(msgspec.Struct, frozen=True, array_like=True):
    """One member's share of a contribution in the clear, with its proof under the header."""

    member: Member
    payload: SharePayload
    proof: MerkleProof


class OpenedAnswer(msgspec.Struct, frozen=True, array_like=True):
    """One member's answer for one contribution, with its proof under the signed response."""

    response: Signed
    values: Annotated[bytes, Meta(max_length=1024)]
    place: Annotated[int, Meta(ge=0, lt=DRAWN_MAX)]
    count: Annotated[int, Meta(ge=1, le=DRAWN_MAX)]  # of the contributions that it answers for
    proof: MerkleProof


class TwoBodies(msgspec.Struct, frozen=True, array_like=True, tag=120):
    """Two bodies by one signer for one slot, of which an honest node signs one."""

    first: Signed
    second: Signed


class WrongAnswer(msgspec.Struct, frozen=True, array_like=True, tag=121):
    """A member's answer, and the share that it contradicts."""

    header: Signed
    opened: OpenedPayload
    answer: OpenedAnswer


class WrongShare(msgspec.Struct, frozen=True, array_like=True, tag=122):
    """A committed share that cannot be read, or (with the answers) lies off the polynomials."""

    header: Signed
    opened: OpenedPayload
    answers: Annotated[tuple[OpenedAnswer, ...], Meta(max_length=1024)]


class BadContribution(msgspec.Struct, frozen=True, array_like=True, tag=123):
    """A contribution whose answers show that it breaks its bounds, or shares no vector."""

    rule: Literal["range", "bound", "sharing", "link"]
    header: Signed
    answers: Annotated[tuple[OpenedAnswer, ...], Meta(max_length=1024)]


class WrongRelease(msgspec.Struct, frozen=True, array_like=True, tag=124):
    """Signed shares of one sum, enough to tell that the culprit's is none."""

    releases: Annotated[tuple[Signed, ...], Meta(max_length=1024)]


class BadDealing(msgspec.Struct, frozen=True, array_like=True, tag=125):
    """A dealer's commitment and f + 1 members' shares under it, which recompute to another one."""

    key: Signed
    challenge: bool  # which of the two dealings
    members: Members
    shares: OpenedShares


class VectorReceipt(msgspec.Struct, frozen=True, array_like=True, tag=76):
    """An aggregator durably holds the masked vector of a contribution, and checked its header."""

    context: Digest
    aggregator: Index  # census index
    header_hash: Digest
    signature: Signature


LinearHashBytes = Annotated[bytes, Meta(max_length=16 * 1024)]
# Of a vector of 2^24 values there are 128 at most, one after each segment.
SEGMENTS_MAX = 128
EarlierCheckpoints = Annotated[tuple[Digest, ...], Meta(max_length=SEGMENTS_MAX - 1)]
Checkpoints = Annotated[tuple[Digest, ...], Meta(min_length=1, max_length=SEGMENTS_MAX)]
SketchBytes = Annotated[bytes, Meta(max_length=1024)]
ChunkBytes = Annotated[bytes, Meta(min_length=1, max_length=CHUNK_BYTES)]


class OpenedSegment(msgspec.Struct, frozen=True, array_like=True):
    """One segment of a masked vector, or of a sum, as its parcel has it.

    linear_hash, sketch: of all segments before it, empty for the first; sketch where one is stated.
    root: of the parcel. chunks: all of the parcel's chunks that hold a byte of the segment.
    """

    segment: Annotated[int, Meta(ge=0, lt=SEGMENTS_MAX)]
    linear_hash: LinearHashBytes
    sketch: SketchBytes
    root: Digest
    chunks: Annotated[tuple[ChunkBytes, ...], Meta(min_length=1, max_length=16)]
    proofs: Annotated[tuple[MerkleProof, ...], Meta(min_length=1, max_length=16)]


class FalseVector(msgspec.Struct, frozen=True, array_like=True, tag=126):
    """A segment of a masked vector, and the header that says of it what is not so.

    checkpoints: those that the header commits to.
    """

    header: Signed
    checkpoints: Checkpoints
    opened: OpenedSegment


class FalseVectorLength(msgspec.Struct, frozen=True, array_like=True, tag=132):
    """What the name of a vector is a hash of, and the header with that name: none is so long.

    length, root: of the parcel.
    """

    header: Signed
    length: ParcelLength
    root: Digest


AnyFalseVector = FalseVector | FalseVectorLength


class FalseReceipt(msgspec.Struct, frozen=True, array_like=True, tag=127):
    """A receipt of an aggregator, who vouched for such a header."""

    false: AnyFalseVector
    receipt: VectorReceipt


class Word(msgspec.Struct, frozen=True, array_like=True):
    """What somebody signed in one region of a draw, by the parts that its statement hashes."""

    parts: Annotated[tuple[Digest, ...], Meta(min_length=1, max_length=4)]
    signature: Signature


class TwoWords(msgspec.Struct, frozen=True, array_like=True, tag=128):
    """Two different words of a node in one region of one attempt at the next round's actors."""

    kind: Literal["call", "roll", "random", "actors"]
    draw_attempt: Annotated[int, Meta(ge=1, le=64)]
    region: Annotated[int, Meta(ge=0, le=1)]
    first: Word
    second: Word


class WrongSum(msgspec.Struct, frozen=True, array_like=True, tag=130):
    """A segment of what the culprit signed to be a sum, and is none, by what it signed of it.

    checkpoints: those that it signed. The signature is that of a `VectorSum`, which names the
    parcel.
    """

    accepted: Digest
    count: Annotated[int, Meta(ge=1, le=DRAWN_MAX)]
    checkpoints: Checkpoints
    opened: OpenedSegment
    signature: Signature


class WrongSumLength(msgspec.Struct, frozen=True, array_like=True, tag=131):
    """What the name of a sum is a hash of, by a node that signed it: no sum is so long.

    committed: what it signed of all checkpoints. length, root: of the parcel. The signature is
    that of a `VectorSum`, over that parcel's name.
    """

    accepted: Digest
    count: Annotated[int, Meta(ge=1, le=DRAWN_MAX)]
    committed: Digest
    length: ParcelLength
    root: Digest
    signature: Signature


class TwoProposals(msgspec.Struct, frozen=True, array_like=True, tag=129):
    """Two different values that the leader of a view proposed in one agreement."""

    first: ProposedHash
    second: ProposedHash


Proof = (
    TwoBodies
    | WrongAnswer
    | WrongShare
    | BadContribution
    | WrongRelease
    | BadDealing
    | FalseVector
    | FalseVectorLength
    | FalseReceipt
    | TwoWords
    | TwoProposals
    | WrongSum
    | WrongSumLength
)


class Evidence(msgspec.Struct, frozen=True, array_like=True, tag=43):
    """What convinces whoever knows the plan of one attempt that the culprit broke a rule."""

    study: Digest
    round_number: RoundNumber
    attempt: Attempt
    culprit: Index  # census index
    proof: Proof


GossipItem = Signed | Record | AbortCertificate | Handover | Evidence


class ViewChange(msgspec.Struct, frozen=True, array_like=True, tag=61):
    """A member gives up on the leader of an earlier view."""

    context: Digest
    view: View
    step: Step
    instance: Instance
    proof: EchoProof | None  # the highest echo certificate that it knows, for the new leader


class ValueRequest(msgspec.Struct, frozen=True, array_like=True, tag=64):
    """A leader asks for the value of an echo certificate that it was shown."""

    context: Digest
    instance: Instance
    value_hash: Digest


class ShownValue(msgspec.Struct, frozen=True, array_like=True, tag=65):
    """A value that a leader asked for by its hash."""

    context: Digest
    instance: Instance
    value: Value


class Part(msgspec.Struct, frozen=True, array_like=True, tag=66):
    """One part of a large message of a leader; its proof shows it to be that, and no other."""

    context: Digest
    root: Digest  # Merkle root over the parts
    length: Annotated[int, Meta(ge=1, le=PARTED_BYTES_MAX)]  # of the whole
    number: PartNumber
    data: Annotated[bytes, Meta(min_length=1, max_length=PART_BYTES_MAX)]
    proof: MerkleProof
    relay: bool  # whether the receiver sends it on to the other members


class PartsRequest(msgspec.Struct, frozen=True, array_like=True, tag=67):
    """A member asks for parts that it lacks, ascending."""

    context: Digest
    root: Digest
    numbers: Annotated[tuple[PartNumber, ...], Meta(min_length=1, max_length=PARTS_MAX)]


class HeadersRequest(msgspec.Struct, frozen=True, array_like=True, tag=68):
    """A leader asks a member for headers that its close vote names, and the leader lacks.

    names: their hashes, ascending.
    """

    context: Digest
    names: Annotated[tuple[Digest, ...], Meta(min_length=1, max_length=DRAWN_MAX)]


class Pull(msgspec.Struct, frozen=True, array_like=True, tag=62):
    """The sender has come to `step` and asks for what ends it."""

    context: Digest
    step: Step


class CloseNow(msgspec.Struct, frozen=True, array_like=True, tag=63):
    """f + 1 close votes, or f + 1 members that gave up: at least one honest member has stopped."""

    context: Digest
    votes: Annotated[tuple[Signed, ...], Meta(max_length=1024)]


# --- contributions ------------------------------------------------------------------------------


class SealedShare(msgspec.Struct, frozen=True, array_like=True):
    """One member's sealed share with the proof that the header commits to it."""

    member: Member
    sealed: SharePayload
    proof: MerkleProof


class Contribution(msgspec.Struct, frozen=True, array_like=True, tag=70):
    """A contributor's header with one member's share.

    receipts: in masked mode, those of the aggregators that hold the masked vector.
    """

    context: Digest
    header: Signed
    share: SealedShare
    receipts: Annotated[tuple[VectorReceipt, ...], Meta(max_length=16)] = ()


class Receipt(msgspec.Struct, frozen=True, array_like=True, tag=71):
    """A member durably holds a valid share of the contribution."""

    context: Digest
    member: Member
    header_hash: Digest
    signature: Signature


class Relay(msgspec.Struct, frozen=True, array_like=True, tag=72):
    """Envelopes for members that gave no receipt, for an aggregator to keep."""

    context: Digest
    header: Signed
    shares: Annotated[tuple[SealedShare, ...], Meta(max_length=1024)]
    receipts: Annotated[tuple[VectorReceipt, ...], Meta(max_length=16)] = ()


class ShareRequest(msgspec.Struct, frozen=True, array_like=True, tag=73):
    """A member asks an aggregator for its envelopes from these contributors, ascending."""

    context: Digest
    contributors: Annotated[tuple[Index, ...], Meta(min_length=1, max_length=DRAWN_MAX)]


class VectorOffer(msgspec.Struct, frozen=True, array_like=True, tag=75):
    """The sender holds the masked vector of a contribution, for an aggregator to pull.

    earlier: its checkpoints but for the last, which follows from linear hash and header.
    """

    context: Digest
    header: Signed
    linear_hash: LinearHashBytes
    earlier: EarlierCheckpoints


class SumRequest(msgspec.Struct, frozen=True, array_like=True, tag=77):
    """A member asks an aggregator for the sum of these contributions' masked vectors."""

    context: Digest
    accepted: Annotated[tuple[HeldContribution, ...], Meta(max_length=DRAWN_MAX)]


class StatedHash(msgspec.Struct, frozen=True, array_like=True):
    """The linear hash of a masked vector, and the name of the earlier checkpoints in its header."""

    linear_hash: LinearHashBytes
    earlier: Digest


class VectorSum(msgspec.Struct, frozen=True, array_like=True, tag=78):
    """An aggregator has the sum that was asked for; the linear hashes, in order, check it.

    earlier: checkpoints of the sum but for the last, which follows from the linear hashes.
    signature: over set, number of hashes, parcel and all checkpoints (`round.vectors`).
    """

    context: Digest
    accepted: Digest  # hash of the list that it is the sum of
    parcel: Digest
    linear_hashes: Annotated[tuple[StatedHash, ...], Meta(max_length=DRAWN_MAX)]
    earlier: EarlierCheckpoints
    signature: Signature


class Dispute(msgspec.Struct, frozen=True, array_like=True, tag=74):
    """A member shows a contributor the answers that its contribution was judged by.

    closed: all contributions of the closed list, so that the contributor can tell which header a
    member answered for.
    """

    context: Digest
    accepted: Decision
    closed: Annotated[tuple[HeldContribution, ...], Meta(max_length=DRAWN_MAX)]


# --- parcels ------------------------------------------------------------------------------------


class ChunkRequest(msgspec.Struct, frozen=True, array_like=True, tag=35):
    """The sender would like these chunks of a parcel that it was granted."""

    parcel: Digest
    indices: Annotated[
        tuple[ChunkIndex, ...], Meta(min_length=1, max_length=CHUNKS_PER_REQUEST_MAX)
    ]


class Chunk(msgspec.Struct, frozen=True, array_like=True, tag=36):
    """One chunk, with the proof that it is the one of this place in the parcel of this name.

    length, root: bytes of the whole parcel, and the Merkle root over the hashes of its chunks. The
    name is a hash of both.
    """

    parcel: Digest
    length: ParcelLength
    index: ChunkIndex
    root: Digest
    data: Annotated[bytes, Meta(min_length=1, max_length=CHUNK_BYTES)]
    proof: MerkleProof


RoundMessage = (
    MemberInput
    | Dealing
    | Opening
    | ChallengeReveal
    | ReleaseBundle
    | RecordVote
    | Proposal
    | ProposedHash
    | Vote
    | Certificate
    | Decision
    | ViewChange
    | Pull
    | CloseNow
    | ValueRequest
    | ShownValue
    | Part
    | PartsRequest
    | HeadersRequest
    | Contribution
    | Receipt
    | Relay
    | ShareRequest
    | Dispute
    | VectorOffer
    | VectorReceipt
    | SumRequest
    | VectorSum
)
GossipMessage = Announce | Request | Items
ParcelMessage = ChunkRequest | Chunk
Message = GossipMessage | RoundMessage | ParcelMessage
MemberBody = RoundKey | CloseVote | VerifyResponse | Release | GiveUp
RoundBody = MemberBody | ContributionHeader
