"""A study as its proposer signs it, and what a node checks before it even looks closer.

The study id is the hash of the signed manifest's body, so that every message of the study is bound
to every word of it. Phases run in order; each is a number of rounds of one kind.
"""

from math import isfinite
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pnyx.errors import RuleBroken, WrongContext
from pnyx.primitives import codec
from pnyx.primitives.envelope import ENVELOPE_OVERHEAD_BYTES
from pnyx.primitives.field import PRIMES
from pnyx.primitives.hashing import digest
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.encoding import SUM_MAX
from pnyx.protocol.aggregation.masked.parameters import ParameterSet
from pnyx.protocol.aggregation.verification import payload_bytes
from pnyx.protocol.messages import SHARE_BYTES_MAX, Digest, NodeId, RoundNumber, Signed
from pnyx.protocol.noise import Noise, check_noise
from pnyx.protocol.params import PROTOCOL_VERSION, ProtocolParams
from pnyx.protocol.selection.security import CommitteeSize

MANIFEST_BYTES_MAX = 64 * 1024
QUERY_CHARACTERS_MAX = 8192
ShortText = Annotated[str, Meta(min_length=1, max_length=200)]
Text = Annotated[str, Meta(min_length=1, max_length=2000)]


class Range(msgspec.Struct, frozen=True, array_like=True):
    """Where the values of a column are expected to lie; those outside count as the nearer end."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (isfinite(self.low) and isfinite(self.high - self.low) and self.low < self.high):
            raise ValueError("a range goes from a lower to a higher finite number")


class StudyPhase(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """A number of rounds of one kind.

    Every contribution is proven to lie within `bounds` before it counts. The last `metrics_length`
    entries of the sum are published in the record, the others feed the model rule. `clip` is the
    largest norm of an honest update before noise; `bounds.norm_max` covers clip plus noise.

    masked: how the update travels if not as shares to the committee. It comes before the counts in
    the sum, nothing of it is proven, and its owner cuts entries that are too large.
    """

    kind: Literal["statistics", "train", "evaluate", "poll"]
    rounds: Annotated[int, Meta(ge=1, le=10_000)]
    bounds: Bounds
    metrics_length: Annotated[int, Meta(ge=0, le=1024)]
    cohort_min: Annotated[int, Meta(ge=2, le=4096)]  # a sum over one is that one
    target: Annotated[int, Meta(ge=1, le=4096)]  # contributors at which a round closes
    drawn: Annotated[int, Meta(ge=1, le=4096)]  # contributors drawn, above the target
    deadline_s: Annotated[float, Meta(gt=0, le=7 * 86_400)]
    clip: Annotated[int, Meta(ge=0, lt=2**53)]
    noise: Noise
    masked: ParameterSet | None = None

    @property
    def masked_length(self) -> int:
        """Entries that travel masked."""
        return 0 if self.masked is None else self.masked.length

    @property
    def length(self) -> int:
        """Entries of the sum."""
        return self.masked_length + self.bounds.length

    @property
    def update_length(self) -> int:
        """Entries of the sum that are an update, which come first."""
        return self.masked_length + self.bounds.bounded


class Manifest(msgspec.Struct, frozen=True, array_like=True, tag=90, kw_only=True):
    """Everything that an owner consents to, and that a node needs to take part.

    Columns and label are those of the collection, or what `query` makes of it where there is one.
    Whether a query may be run is for nodes to check: here it is bounded text.
    """

    network: Digest
    proposer: NodeId  # whoever copies a manifest cannot pass for its author
    version: Annotated[int, Meta(ge=1, lt=2**16)]
    epoch: RoundNumber  # its committee collects the joins
    title: ShortText
    purpose: Text
    purpose_term: ShortText  # W3C Data Privacy Vocabulary
    category: ShortText
    query: Annotated[str, Meta(max_length=QUERY_CHARACTERS_MAX)]  # a SELECT; empty: plain columns
    columns: Annotated[tuple[ShortText, ...], Meta(min_length=1, max_length=4096)]
    ranges: Annotated[tuple[Range, ...], Meta(max_length=4096)]  # of all columns, or none
    label: Annotated[str, Meta(max_length=200)]  # empty when nothing is classified
    program: Annotated[bytes, Meta(max_length=32 * 1024)]
    hyperparameters: Annotated[bytes, Meta(max_length=8 * 1024)]
    initial_model: Digest
    phases: Annotated[tuple[StudyPhase, ...], Meta(min_length=1, max_length=16)]
    join_window_s: Annotated[float, Meta(gt=0, le=7 * 86_400)]
    nonce: Digest
    selection: Literal["census", "region"] = "census"  # how rounds get their actors

    @property
    def rounds(self) -> int:
        """Rounds that take contributions; they are numbered from 1."""
        return sum(phase.rounds for phase in self.phases)

    @property
    def cohort_min(self) -> int:
        """The smallest floor of any phase."""
        return min(phase.cohort_min for phase in self.phases)

    def phase_of(self, round_number: int) -> StudyPhase:
        """The phase of a round numbered from 1."""
        last = 0
        for phase in self.phases:
            last += phase.rounds
            if round_number <= last:
                return phase
        raise ValueError(f"round {round_number} is beyond the study's {last}")


def study_id(manifest_body: bytes) -> bytes:
    """Name a study by every byte of its manifest."""
    return digest("pnyx/study", manifest_body)


def read_manifest(signed: Signed, network: bytes, params: ProtocolParams) -> Manifest:
    """Decode and check a manifest; its signature is the caller's to check.

    Raises MalformedMessage, WrongContext or RuleBroken, each saying which rule.
    """
    manifest = codec.decode(signed.body, Manifest, bytes_max=MANIFEST_BYTES_MAX)
    if manifest.network != network:
        raise WrongContext("this study belongs to another network")
    if manifest.version != PROTOCOL_VERSION:
        raise WrongContext(f"this study needs protocol version {manifest.version}")
    if manifest.proposer != signed.signer:
        raise RuleBroken("a study is signed by another node than its proposer")
    if manifest.ranges and len(manifest.ranges) != len(manifest.columns):
        raise RuleBroken("a study states the range of every column, or of none")
    for phase in manifest.phases:
        if phase.kind == "statistics" and not manifest.ranges:
            raise RuleBroken("a statistics phase needs the range of every column")
        check_phase(phase, params)
    return manifest


def check_phase(phase: StudyPhase, params: ProtocolParams) -> None:
    """Refuse phases that could overflow, never close, or promise less than the floor."""
    bounds = phase.bounds
    if bounds.length > params.vector_length_max:
        raise RuleBroken(
            f"a vector of {bounds.length} entries is above {params.vector_length_max}; "
            "direct aggregation carries small vectors only"
        )
    if phase.metrics_length > bounds.length:
        raise RuleBroken("metrics_length is above the length of the vector")
    check_noise(bounds, phase.clip, phase.noise, phase.cohort_min, phase.masked)
    check_masking(phase)
    if not phase.cohort_min <= phase.target <= phase.drawn:
        raise RuleBroken("a phase needs cohort_min <= target <= drawn")
    if phase.drawn * bounds.entry_max > SUM_MAX:
        raise RuleBroken("drawn x the largest entry exceeds the capacity of the two fields")


def check_masking(phase: StudyPhase) -> None:
    """Refuse a key of another size than the masks', and more contributors than sums can hold."""
    masked, bounds = phase.masked, phase.bounds
    key = (0, 0) if masked is None else (masked.degree, len(masked.primes))
    if (bounds.key_length, bounds.key_fields) != key:
        raise RuleBroken("a phase shares another key than its masks are made of")
    if masked is None:
        return
    if masked.primes != PRIMES[: len(masked.primes)]:
        raise RuleBroken("masks are modulo the primes that the committee shares keys in")
    if phase.drawn > masked.contributors_max:
        raise RuleBroken(
            f"{phase.drawn} contributors are drawn, and the masks of a phase add up "
            f"{masked.contributors_max} at most"
        )


def check_sizes(manifest: Manifest, size: CommitteeSize) -> None:
    """Refuse phases whose shares no message could carry to a committee of this size."""
    limit = SHARE_BYTES_MAX - ENVELOPE_OVERHEAD_BYTES
    for phase in manifest.phases:
        length = payload_bytes(phase.bounds, size)
        if length > limit:
            raise RuleBroken(
                f"a share of a phase takes {length} bytes, above {limit}; ask for fewer columns"
            )
