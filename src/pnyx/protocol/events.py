"""What enters and leaves the node's state machine.

The shell calls `machine.handle(event, now)` and carries out the returned effects *in order*:
a `Persist` must be durable before any effect after it is carried out. Slow work is an effect that
is answered later by an event.
"""

from collections.abc import Callable

import msgspec

from pnyx.protocol.aggregation.masked.parameters import ParameterSet
from pnyx.protocol.ports import IntVector


class PublishedSum(msgspec.Struct, frozen=True):
    """What a certified round published: sums over its contributors."""

    entries: tuple[int, ...]
    contributors: int


class Event(msgspec.Struct, frozen=True):
    """Base of everything that happens to a node."""


class MessageReceived(Event, frozen=True):
    """Bytes from a peer whose node id the transport has authenticated."""

    peer: bytes
    payload: bytes


class TimerExpired(Event, frozen=True):
    """The deadline announced by `next_deadline` has passed."""


class PeerUnreachable(Event, frozen=True):
    """A connection to the peer broke or could not be made. A hint: never a proof of absence."""

    peer: bytes


class PeerReachable(Event, frozen=True):
    """A connection to the peer was made."""

    peer: bytes


class ConsentGiven(Event, frozen=True):
    """The owner, or the owner's policy, accepts the study."""

    study: bytes


class ConsentDeclined(Event, frozen=True):
    """The owner refuses the study, or withdraws from it."""

    study: bytes


class StudyProposed(Event, frozen=True):
    """The owner proposes a study; `manifest` holds the encoded manifest, not yet signed."""

    manifest: bytes
    model: bytes


class ModelWanted(Event, frozen=True):
    """The owner asks for the model of a study that this node had no part in, now and later on."""

    study: bytes


class TrainingFinished(Event, frozen=True):
    """The worker's integer vector for one round, already clipped and quantised."""

    study: bytes
    round_number: int
    vector: IntVector
    attempt: int = 1


class TrainingFailed(Event, frozen=True):
    """The worker could not produce a usable vector; this node sits the round out."""

    study: bytes
    round_number: int
    reason: str
    attempt: int = 1


class RegionListed(Event, frozen=True):
    """What the overlay found in an interval of positions: live nodes, by their ids.

    The answer to `RegionWanted`. sparse: fewer than the density of the ring makes likely.
    """

    epoch: int
    start: int
    end: int
    nodes: tuple[bytes, ...]
    sparse: bool


class ParcelRead(Event, frozen=True):
    """The bytes of a parcel that a role of this round asked for."""

    context: bytes
    parcel: bytes
    data: bytes


class SummingFailed(Event, frozen=True):
    """Masked vectors were not added up: one is gone, or the store has no room for the sum."""

    context: bytes
    name: bytes


class VectorsSummed(Event, frozen=True):
    """The sum of masked vectors is sealed as a parcel.

    length: of the parcel in bytes. hashes: of its chunks. earlier: checkpoints of the sum but for
    the last.
    """

    context: bytes
    name: bytes
    length: int
    hashes: tuple[bytes, ...]
    earlier: tuple[bytes, ...]


class Computed(Event, frozen=True):
    """What came of long work."""

    context: bytes
    name: bytes
    result: object


class DebitRecorded(Event, frozen=True):
    """Consent was checked and the ledger entry is durable: bytes may leave now."""

    context: bytes


class DebitRefused(Event, frozen=True):
    """Consent is missing or the budget is spent: nothing may leave."""

    context: bytes
    reason: str


class ChunkSent(Event, frozen=True):
    """Answers SendChunk, once: the chunk left, or was given up; it waits for the peer no more."""

    peer: bytes
    parcel: bytes
    index: int


class Effect(msgspec.Struct, frozen=True):
    """Base of everything that a machine asks of its shell."""


class Send(Effect, frozen=True):
    """Deliver bytes to a peer, at most once; loss is tolerated."""

    peer: bytes
    payload: bytes


class LearnAddress(Effect, frozen=True):
    """A signed node record gives the peer's address."""

    peer: bytes
    host: str
    port: int


class Persist(Effect, frozen=True):
    """Store durably before the effects that follow."""

    key: str
    value: bytes


class Forget(Effect, frozen=True):
    """Erase every persisted key that starts with the prefix, secrets beyond recovery."""

    prefix: str


class StoreChunk(Effect, frozen=True):
    """Write a chunk of a parcel to its place in the parcel store; durable once it is sealed."""

    parcel: bytes
    index: int
    data: bytes


class SealParcel(Effect, frozen=True):
    """All chunks are stored: make the parcel durable before the effects that follow.

    length: of all chunks together, in bytes.
    """

    parcel: bytes
    length: int


class SendChunk(Effect, frozen=True):
    """Read a chunk of a sealed parcel when there is room to send it, and send it as a `Chunk`.

    Delivered at most once; answered by ChunkSent. length, root, proof: of that message.
    """

    peer: bytes
    parcel: bytes
    length: int
    index: int
    root: bytes
    proof: tuple[bytes, ...]


class ForgetParcel(Effect, frozen=True):
    """Remove a parcel, sealed or not, once everything before is durable."""

    parcel: bytes


class AskConsent(Effect, frozen=True):
    """A valid study is known; the shell answers ConsentGiven or ConsentDeclined, now or later."""

    study: bytes
    manifest: bytes


class StartTraining(Effect, frozen=True):
    """Compute this node's vector; answered by TrainingFinished or TrainingFailed.

    model: names the parcel that holds it; NO_MODEL where nothing is trained.
    """

    study: bytes
    round_number: int
    manifest: bytes
    model: bytes
    attempt: int = 1
    statistics: PublishedSum | None = None  # of the last statistics round, if there was one


class ReadParcel(Effect, frozen=True):
    """Read a parcel that is held; answered by ParcelRead."""

    context: bytes
    parcel: bytes


class SumVectors(Effect, frozen=True):
    """Add up masked vectors into a parcel, segment by segment.

    Answered by VectorsSummed or SummingFailed. name: of the set that is summed. parcels: held here,
    in the order of the set. linear_hash: that of the sum; one that has another has failed, for who
    tells of it is convicted.
    """

    context: bytes
    name: bytes
    parcels: tuple[bytes, ...]
    parameters: ParameterSet
    linear_hash: bytes


class Compute(Effect, frozen=True):
    """Carry out long work beside everything else; answered by Computed.

    work: depends on nothing but what it holds, and changes nothing; so it may run in a thread.
    name: says which it is, to who asked.
    """

    context: bytes
    name: bytes
    work: Callable[[], object]


class RecordDebit(Effect, frozen=True):
    """Check consent and debit the ledger, durably; answered by DebitRecorded or DebitRefused."""

    context: bytes
    study: bytes
    round_number: int
    attempt: int
    phase: str
    payload_bytes: int
    rho: float  # the privacy cost, see `privacy`


class RegionWanted(Effect, frozen=True):
    """List the live nodes of an interval of an epoch's ring; answered by `RegionListed`.

    One that ends where it starts is the whole ring. A node without overlay need not answer.
    """

    epoch: int
    start: int
    end: int


class Notice(Effect, frozen=True):
    """Base of what a person may want to know; no duty for the shell."""


class EpochOpened(Notice, frozen=True):
    """The network has a beacon for this epoch."""

    epoch: int
    beacon: bytes


class CensusLearnt(Notice, frozen=True):
    """A census of the authority's came; a later epoch may begin with it."""

    number: int
    root: bytes
    nodes: int


class AuthorityContradicted(Notice, frozen=True):
    """The authority signed two different censuses with this number; neither is taken up."""

    number: int


class StepReached(Notice, frozen=True):
    """This committee member reached a step of a round; serves progress and timing tables."""

    study: bytes
    round_number: int
    step: str


class ContributionSent(Notice, frozen=True):
    """This node's contribution left for the committee."""

    study: bytes
    round_number: int
    payload_bytes: int


class ContributionAcknowledged(Notice, frozen=True):
    """A quorum of members holds the contribution; the node may go offline."""

    study: bytes
    round_number: int
    attempt: int
    receipts: int


class ContributionCounted(Notice, frozen=True):
    """Certified: what is published of this attempt holds this node's contribution.

    record: 32-byte hash of the record that says so. Said again when the record is read again.
    """

    study: bytes
    round_number: int
    attempt: int
    record: bytes


class EnvelopesKept(Notice, frozen=True):
    """This aggregator keeps a contributor's envelopes for so many members that were away."""

    study: bytes
    round_number: int
    members: int


class AttemptAborted(Notice, frozen=True):
    """Verified: nothing of this attempt was or will be released; its cost is given back.

    certificate: 32-byte hash of what proves it: the abort, or the record of a skipped round. The
    machine says so before it asks for any debit of a later attempt, and says it again if in doubt.
    """

    study: bytes
    round_number: int
    attempt: int
    certificate: bytes


class NothingOpened(Notice, frozen=True):
    """Certified: this attempt ended below the floor, and opened nothing; its cost is given back.

    certificate: 32-byte hash of the record that says so. Said and repeated as `AttemptAborted` is.
    """

    study: bytes
    round_number: int
    attempt: int
    certificate: bytes


class DrawStalled(Notice, frozen=True):
    """An attempt at a round's actor list is over, and this node waited in vain for one node's part.

    role: `trigger`, which did not bring its region to a random value, or `setter`, of whose region
    no list came; this node was called by the first, or knows the value that imposed the second.
    Who is away stalls a draw as a liar does, so it convicts nobody.
    """

    study: bytes
    round_number: int
    attempt: int
    node: bytes
    role: str


class ContributionsJudged(Notice, frozen=True):
    """A committee's answers decided which contributions of the closed list count.

    Node ids of contributors. rejected: whose proof failed; `PeerBlamed` tells the rule. left_out:
    whose contribution too few members hold well, or whose answers decide nothing.
    """

    study: bytes
    round_number: int
    accepted: tuple[bytes, ...]
    rejected: tuple[bytes, ...]
    left_out: tuple[bytes, ...]


class RoundCertified(Notice, frozen=True):
    """A record was verified and accepted."""

    study: bytes
    round_number: int
    contributors: int
    metrics: tuple[int, ...]
    model_hash: bytes  # names the model that follows
    skipped: bool


class StudyFinished(Notice, frozen=True):
    """The last record of the study is in, and the model that it names is held."""

    study: bytes
    model_hash: bytes


class ParcelProgressed(Notice, frozen=True):
    """So many bytes of a parcel are stored here and verified; `stored == length` when it is whole.

    Told at the first chunk, and then about every eighth of the parcel.
    """

    parcel: bytes
    stored: int
    length: int


class MessageRejected(Notice, frozen=True):
    """A peer's message was dropped; `rule` says why."""

    peer: bytes
    rule: str


class PeerBlamed(Notice, frozen=True):
    """A peer broke a rule; `rule` names it.

    evidence: hash of what proves it to anybody; empty when this node has only seen it.
    """

    peer: bytes
    rule: str
    evidence: bytes = b""


class RequestRefused(Notice, frozen=True):
    """Something the owner asked for is refused, with the reason in one sentence."""

    reason: str
