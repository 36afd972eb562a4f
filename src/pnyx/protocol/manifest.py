"""A study as its proposer signs it, and what a node checks before it even looks closer.

The study id is the hash of the signed manifest's body, so that every message of the study is bound
to every word of it. Phases run in order; each is a number of rounds of one kind.
"""

from math import isfinite
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from pnyx.errors import RuleBroken, WrongContext
from pnyx.primitives import codec
from pnyx.primitives.envelope import ENVELOPE_OVERHEAD_BYTES
from pnyx.primitives.field import PRIMES
from pnyx.primitives.hashing import digest
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.encoding import SUM_MAX
from pnyx.protocol.aggregation.masked.parameters import SHARED_RINGS, ParameterSet
from pnyx.protocol.aggregation.masked.segments import whole_sum_bytes
from pnyx.protocol.aggregation.masked_verification.bounds import MaskedBounds, bounds_of
from pnyx.protocol.aggregation.payloads import payload_bytes_max
from pnyx.protocol.aggregation.robust import GROUPS_MAX, PLAIN_MEAN, Robust
from pnyx.protocol.aggregation.verification import released_bytes
from pnyx.protocol.large_messages import shown_bytes_max
from pnyx.protocol.messages import (
    DRAWN_MAX,
    PARTED_BYTES_MAX,
    SHARE_BYTES_MAX,
    Digest,
    NodeId,
    RoundNumber,
    Signed,
)
from pnyx.protocol.noise import (
    Noise,
    check_noise,
    noise_max,
    noise_norm_max,
    value_bits_needed,
)
from pnyx.protocol.params import PROTOCOL_VERSION, ProtocolParams
from pnyx.protocol.selection.security import CommitteeSize

MANIFEST_BYTES_MAX = 64 * 1024
QUERY_CHARACTERS_MAX = 8192
MODEL_VALUE_BYTES = 4  # of a parameter in a model, at least
METRICS_LENGTH_MAX = 1024  # entries of a sum that a record publishes
NO_MODEL = bytes(32)  # the name of no parcel
CLIP_PER_ENTRY_MAX = 16  # verified values hold an entry with a sixteenth of a clip at least
ShortText = Annotated[str, Meta(min_length=1, max_length=200)]
Text = Annotated[str, Meta(min_length=1, max_length=2000)]


class Range(msgspec.Struct, frozen=True, array_like=True):
    """Where the values of a column are expected to lie; those outside count as the nearer end."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (isfinite(self.low) and isfinite(self.high - self.low) and self.low < self.high):
            raise ValueError("a range goes from a lower to a higher finite number")


class VerifiedNorm(msgspec.Struct, frozen=True, array_like=True):
    """What is verified of masked updates, beside what their masks fix (experimental).

    norm_max: of an update, noise included, in integer units. colluding_max: contributors of one sum
    that may spend all of it on one entry without a sum that wraps.
    """

    norm_max: Annotated[int, Meta(ge=1, lt=2**26)]
    colluding_max: Annotated[int, Meta(ge=0, le=1024)]


class StudyPhase(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """A number of rounds of one kind.

    Every contribution is proven to lie within `bounds` before it counts. The last `metrics_length`
    entries of the sum are published in the record, the others feed the model rule. `clip` is the
    largest norm of an honest update before noise; `bounds.norm_max` covers clip plus noise.

    masked: how the update travels if not as shares to the committee. It comes before the counts in
    the sum, and its owner cuts entries that are too large. Nothing of it is proven, but for its
    norm where `verified` says so.

    groups: into how many the contributors of a round fall, each with a sum of its own; `cohort_min`
    is the floor of each, and the noise of each suffices by itself. robust: how their sums make a
    model.
    """

    kind: Literal["statistics", "train", "evaluate", "poll"]
    rounds: Annotated[int, Meta(ge=1, le=10_000)]
    bounds: Bounds
    metrics_length: Annotated[int, Meta(ge=0, le=METRICS_LENGTH_MAX)]
    cohort_min: Annotated[int, Meta(ge=2, le=4096)]  # a sum over one is that one
    target: Annotated[int, Meta(ge=1, le=4096)]  # contributors at which a round closes
    drawn: Annotated[int, Meta(ge=1, le=DRAWN_MAX)]  # contributors drawn, above the target
    deadline_s: Annotated[float, Meta(gt=0, le=7 * 86_400)]
    clip: Annotated[int, Meta(ge=0, lt=2**53)]
    noise: Noise
    masked: ParameterSet | None = None
    groups: Annotated[int, Meta(ge=1, le=GROUPS_MAX)] = 1
    robust: Robust = PLAIN_MEAN
    verified: VerifiedNorm | None = None

    @property
    def group_size_max(self) -> int:
        """Most contributors that one sum is over."""
        return -(-self.drawn // self.groups)

    @property
    def masked_bounds(self) -> MaskedBounds | None:
        """What a masked update is proven to keep; None where nothing is proven of it."""
        if self.masked is None or self.verified is None:
            return None
        return bounds_of(self.masked, self.verified.norm_max, self.verified.colluding_max)

    @property
    def masked_length(self) -> int:
        """Entries that travel masked."""
        return 0 if self.masked is None else self.masked.length

    @property
    def length(self) -> int:
        """Entries of the sum."""
        return self.masked_length + self.bounds.length

    @property
    def update_max(self) -> int:
        """The largest entry of an update that one contributor adds, its noise included."""
        if self.masked is None:
            return self.bounds.norm_max
        proven = self.masked_bounds
        if proven is not None:  # an entry may be as large as a whole update
            return 1 + proven.certified_max // proven.scale
        return self.masked.value_max

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
    initial_model: Digest  # names the parcel; zero where nothing is trained
    model_bytes: Annotated[int, Meta(ge=0, lt=2**40)]  # size of every model of the study
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
    check_model(manifest, params)
    check_updates(manifest)
    for phase in manifest.phases:
        if phase.kind == "statistics" and not manifest.ranges:
            raise RuleBroken("a statistics phase needs the range of every column")
        check_phase(phase, params)
    return manifest


def check_model(manifest: Manifest, params: ProtocolParams) -> None:
    """Refuse models that are too large, and a name without a model. Raises RuleBroken."""
    if manifest.model_bytes > params.model_bytes_max:
        raise RuleBroken(
            f"model_bytes is {manifest.model_bytes}, above {params.model_bytes_max}; "
            "ask for fewer parameters"
        )
    if (manifest.initial_model == NO_MODEL) != (manifest.model_bytes == 0):
        raise RuleBroken("a study names a model and its size, or neither")
    if manifest.model_bytes == 0 and any(phase.kind == "train" for phase in manifest.phases):
        raise RuleBroken("a study that trains needs a model to begin with")


def check_updates(manifest: Manifest) -> None:
    """Refuse masked updates of more values than the model has. Raises RuleBroken.

    Owners consent to a model of a size; what nodes keep, send and compute follows from the updates.
    """
    longest = max(phase.masked_length for phase in manifest.phases)
    if MODEL_VALUE_BYTES * longest > manifest.model_bytes:
        raise RuleBroken(
            f"updates of {longest} values are masked, for a model of {manifest.model_bytes} bytes"
        )


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
    check_noise(
        bounds,
        phase.clip,
        phase.noise,
        phase.cohort_min,
        phase.masked,
        verified=phase.verified is not None,
    )
    check_masking(phase)
    check_groups(phase)
    check_load(phase, params)
    check_contributors(phase.groups, phase.cohort_min, phase.target, phase.drawn)
    if phase.group_size_max * bounds.entry_max > SUM_MAX:
        raise RuleBroken("drawn x the largest entry exceeds the capacity of the two fields")


def check_contributors(groups: int, cohort_min: int, target: int, drawn: int) -> None:
    """Refuse rounds that could not close with their floors kept. Raises RuleBroken."""
    if not groups * cohort_min <= target <= drawn:
        raise RuleBroken(
            "a phase needs groups x cohort_min <= target <= drawn, and these are "
            f"{groups} x {cohort_min}, {target} and {drawn}"
        )


def check_groups(phase: StudyPhase) -> None:
    """Refuse groups that serve nothing, or too few of them for the rule."""
    if phase.groups > 1 and phase.kind != "train":
        raise RuleBroken("only a phase that trains adds up its contributors in groups")
    if phase.groups < phase.robust.groups_min:
        raise RuleBroken(
            f"to tolerate {phase.robust.tolerated} poisoned groups a phase needs "
            f"{phase.robust.groups_min} groups or more"
        )


def check_load(phase: StudyPhase, params: ProtocolParams) -> None:
    """Refuse masked updates that members have no memory for, or aggregators no room."""
    masked = phase.masked
    if masked is None:
        return
    values = phase.groups * masked.length
    if values > params.group_values_max:
        raise RuleBroken(
            f"sums of {phase.groups} groups have {values} values, above {params.group_values_max}; "
            "ask for fewer groups"
        )
    sums = phase.groups * (params.unvouched_sums_max + 1) * whole_sum_bytes(masked)
    room = phase.drawn * masked.bytes + sums
    if room > params.parcels_bytes_max:
        raise RuleBroken(
            f"the vectors of {phase.drawn} contributors and their sums take {room} bytes, above "
            f"the {params.parcels_bytes_max} that an aggregator holds; draw fewer"
        )


def check_masking(phase: StudyPhase) -> None:
    """Refuse a key of another size than the masks', and more contributors than sums can hold."""
    masked, bounds = phase.masked, phase.bounds
    _check_verified(phase)
    key = (0, 0) if masked is None else (masked.degree, len(masked.primes))
    if (bounds.key_length, bounds.key_fields) != key:
        raise RuleBroken(
            "a phase shares another key than its masks are made of: key_length and key_fields are "
            f"{bounds.key_length} and {bounds.key_fields}, not {key[0]} and {key[1]}"
        )
    if masked is None:
        return
    if phase.kind != "train":
        raise RuleBroken("only a phase that trains has updates to mask")
    if masked.primes != PRIMES[: len(masked.primes)]:
        raise RuleBroken(
            f"primes of masks are {masked.primes}, not the first of {PRIMES}, which the committee "
            "shares keys in"
        )
    if phase.group_size_max > masked.contributors_max:
        raise RuleBroken(
            f"{phase.group_size_max} contributors are drawn for one sum, and the masks of a phase "
            f"add up {masked.contributors_max} at most"
        )


def _check_verified(phase: StudyPhase) -> None:
    """Refuse a norm of masked updates that is not the one proven, or that noise goes beyond."""
    if phase.verified is not None and phase.masked is None:
        raise RuleBroken("only updates that travel masked are verified apart from the counts")
    try:
        bounds = phase.masked_bounds
    except ValueError as error:
        raise RuleBroken(f"masked updates cannot be verified: {error}") from error
    stated = 0 if bounds is None else bounds.norm_scaled
    if phase.bounds.masked_norm_max != stated:
        raise RuleBroken(
            "a phase proves another norm of masked updates than it states: masked_norm_max is "
            f"{phase.bounds.masked_norm_max}, not {stated}"
        )
    if bounds is None or phase.masked is None:
        return
    noise = noise_norm_max(phase.noise.update_width, bounds.length)
    if not 0 < phase.clip <= bounds.clip_max - noise:
        raise RuleBroken(
            f"a phase clips updates to {phase.clip} units and adds noise of {noise}, above the "
            f"{bounds.clip_max} that verified updates may have"
        )
    check_verified_values(phase, phase.masked, bounds)


def check_verified_values(phase: StudyPhase, masked: ParameterSet, bounds: MaskedBounds) -> None:
    """Refuse values of fewer bits than the verified norm leaves room for: owners cut to them.

    Values that hold a whole clip are as good. A norm that leaves next to no room is refused.
    """
    least = -(-phase.clip // CLIP_PER_ENTRY_MAX)
    few = f"values of {masked.value_bits} bits are too few: "
    noise = f"noise of up to {noise_max(phase.noise.update_width)}"
    needed = value_bits_needed(least, phase.noise)
    if masked.value_bits < needed:
        raise RuleBroken(
            f"{few}entries of up to {least}, a sixteenth of the clip, with {noise} need {needed}"
        )
    needed = value_bits_needed(phase.clip, phase.noise)
    if masked.value_bits >= needed:
        return
    bits = masked.value_bits + 1
    slot_bits = (masked.contributors_max * ((1 << bits) - 1)).bit_length()
    try:
        wider = replace(masked, value_bits=bits, slot_bits=slot_bits)
        bounds_of(wider, bounds.norm_max, bounds.colluding_max)
    except ValueError:  # so there is no room
        return
    raise RuleBroken(
        f"{few}entries of up to {phase.clip} with {noise} need {needed}, and the norm that is "
        f"verified leaves room for {bits} at least"
    )


def check_sizes(manifest: Manifest, size: CommitteeSize) -> None:
    """Refuse phases whose shares no message could carry to a committee of this size.

    Raises RuleBroken, which says what would help.
    """
    for number, phase in enumerate(manifest.phases):
        found = size_objection(phase, size)
        if found:
            raise RuleBroken(f"phases[{number}]: {found}")


def size_objection(phase: StudyPhase, size: CommitteeSize) -> str:
    """What of a phase no message could carry to such a committee, and what would help.

    '' where messages carry all of it. What would help is tried, against this check alone.
    """
    found = _too_long(phase.bounds, phase.groups, size)
    return f"{found}; {_shorter(phase, size)}" if found else ""


def _too_long(bounds: Bounds, groups: int, size: CommitteeSize) -> str:
    """What of a phase no message could carry; nothing, '', where all of it can be."""
    limit = SHARE_BYTES_MAX - ENVELOPE_OVERHEAD_BYTES
    length = payload_bytes_max(bounds, size)
    if length > limit:
        return f"a share takes {length} bytes, above {limit}"
    released = groups * released_bytes(bounds, size)
    together = shown_bytes_max(size, released)
    if released > SHARE_BYTES_MAX or together > PARTED_BYTES_MAX:
        return (
            f"{size.size} members release {released} bytes each, above {SHARE_BYTES_MAX}, or "
            f"{together} together, above {PARTED_BYTES_MAX}"
        )
    return ""


def _shorter(phase: StudyPhase, size: CommitteeSize) -> str:
    """What would help a phase whose shares are too long."""
    if phase.kind != "train":
        return "ask for fewer columns"
    if phase.masked is not None:
        return "ask for fewer groups"
    helping = ["ask for fewer parameters"]
    if phase.groups > 1 and not _too_long(phase.bounds, 1, size):
        helping.append("for fewer groups")
    if not _too_long(_if_masked(phase.bounds), phase.groups, size):
        helping.append("mask the updates: masked = true")
    return ", or ".join(helping)


def _if_masked(bounds: Bounds) -> Bounds:
    """The bounds of a phase that shares its updates, if it masked them: with the longest key."""
    ring = SHARED_RINGS[-1]
    return Bounds(
        max(1, bounds.counts),
        0,
        0,
        max(1, bounds.count_max),
        bounds.count_scale,
        bounds.noise_max,
        key_length=ring.degree,
        key_fields=len(ring.primes),
    )
