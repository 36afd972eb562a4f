"""A study as its proposer writes it: one TOML file, turned into a manifest and an initial model.

Everything is checked here, with the name of the key and what is accepted, before the node sees
anything. The manifest carries a fresh nonce, so that proposing one file twice makes two studies;
the initial model follows from that nonce, unless the file names weights to begin with.
"""

import math
import secrets
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pnyx.config import parse_toml
from pnyx.errors import ConfigError, ProtocolError, QueryError, TrainingError
from pnyx.learning.programs import Program, encode_program
from pnyx.learning.programs.audit import BATCH_SIZE_MAX
from pnyx.learning.programs.format import PARAMETERS_MAX, WIDTH_MAX
from pnyx.learning.task import (
    CLIP_NORM_MAX,
    EPOCHS_MAX,
    EXAMPLES_MAX,
    FRACTION_BITS_MAX,
    LEARNING_RATE_MAX,
    Hyperparameters,
    Standard,
)
from pnyx.learning.update import TRAIN_COUNTS, norm_max
from pnyx.node.learning import (
    LEARNT,
    PhaseKind,
    PrivacyTerms,
    bounds_for,
    check_study,
    choose_masks,
    choose_verified,
    encode_hyperparameters,
    phase_for,
    poll_bounds,
    statistics_bounds,
)
from pnyx.node.study_model import ModelTable, read_initial_model, read_study_program
from pnyx.primitives import codec
from pnyx.primitives.hashing import digest
from pnyx.protocol.aggregation.ballots import Ballot
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.masked.parameters import CONTRIBUTORS_MIN, ParameterSet
from pnyx.protocol.aggregation.robust import GROUPS_MAX, Robust
from pnyx.protocol.manifest import (
    MANIFEST_BYTES_MAX,
    QUERY_CHARACTERS_MAX,
    Manifest,
    Range,
    StudyPhase,
    check_phase,
)
from pnyx.protocol.models import model_name
from pnyx.protocol.noise import choose_noise
from pnyx.protocol.params import DEFAULT_PARAMS, PROTOCOL_VERSION
from pnyx.vault.collections import CATEGORY_PATTERN
from pnyx.vault.files import describe

STUDY_FILE_BYTES_MAX = 256 * 1024
NOISE_MULTIPLIER = 5.0  # epsilon of about 5 for twenty rounds: docs/adr/0016
COUNT_MAX_WITH_NOISE = 64
FINEST_BITS = 11
_SHARED_MAX = DEFAULT_PARAMS.vector_length_max - TRAIN_COUNTS  # longer updates are masked
_RATE_MIN = 2.0**-20

_ShortText = Annotated[str, Meta(min_length=1, max_length=200)]
_Category = Annotated[str, Meta(max_length=200, pattern=CATEGORY_PATTERN)]
_Rate = Annotated[float, Meta(ge=_RATE_MIN, le=LEARNING_RATE_MAX)]
_Epochs = Annotated[int, Meta(ge=1, le=EPOCHS_MAX)]
_Contributors = Annotated[int, Meta(ge=1, le=4096)]
_Floor = Annotated[int, Meta(ge=2, le=4096)]  # a sum over one is that one
_RangePair = Annotated[tuple[float, ...], Meta(min_length=2, max_length=2)]
_Seconds = Annotated[float, Meta(ge=0.1, le=7 * 86_400)]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the file's tables."""


class TrainingTable(_Table, frozen=True, kw_only=True):
    """What every owner's worker does; see `learning.task.Hyperparameters`."""

    local_epochs: _Epochs = 3
    batch_size: Annotated[int, Meta(ge=1, le=BATCH_SIZE_MAX)] = 16
    learning_rate: _Rate = 0.3
    momentum: Annotated[float, Meta(ge=0, le=0.999)] = 0.0
    weight_decay: Annotated[float, Meta(ge=0, le=1)] = 0.0
    clip_norm: Annotated[float, Meta(ge=_RATE_MIN, le=CLIP_NORM_MAX)] = 2.0
    fraction_bits: Annotated[int, Meta(ge=0, le=FRACTION_BITS_MAX)] | None = None
    server_learning_rate: _Rate = 1.0
    fine_tune_epochs: _Epochs = 10
    fine_tune_learning_rate: _Rate = 0.2
    alone_epochs: _Epochs = 40
    alone_learning_rate: _Rate = 0.3
    standardise: Standard = "owner"


class PrivacyTable(_Table, frozen=True, kw_only=True):
    """Noise that every owner adds; see `protocol.privacy`.

    noise_multiplier: noise of the whole sum, relative to what one owner can move; 0 for none.
    honest_min: owners whose noise is relied upon, half of the floor unless stated. count_max: rows
    that one owner counts for in published counts.
    """

    noise_multiplier: Annotated[float, Meta(ge=0, le=1000)] = NOISE_MULTIPLIER
    honest_min: _Contributors | None = None
    count_max: Annotated[int, Meta(ge=1, le=EXAMPLES_MAX)] | None = None


class BallotTable(_Table, frozen=True, kw_only=True):
    """A rule for the answers of a poll; see `protocol.aggregation.ballots`."""

    kind: Literal["choice", "approval", "ranking"]
    options: Annotated[int, Meta(ge=2, le=4096)]
    chosen_max: Annotated[int, Meta(ge=0, le=4096)] = 0


class RobustTable(_Table, frozen=True, kw_only=True):
    """How the sums of groups make a model; see `protocol.aggregation.robust`.

    tolerated: groups that may hold somebody who poisons them.
    """

    rule: Literal["mean", "trimmed"]
    tolerated: Annotated[int, Meta(ge=0, le=(GROUPS_MAX - 1) // 2)] = 0


class PhaseTable(_Table, frozen=True, kw_only=True):
    """A number of rounds of one kind; a round closes at `target` or at its deadline.

    cohort_min: the phase's own floor, else the study's. Of a poll: count_max is the largest answer
    in a column, ballot the rule that answers keep. Of training: masked tells whether updates travel
    masked to aggregators; unless stated, those do that are too long to be shared with a committee.
    value_bits: of each masked entry, with its sign. groups: into how many a round's contributors
    fall; the floor and the noise are those of each. robust: what is made of their sums. verified
    (experimental): whether the committee verifies the norm of masked updates, which then travel
    masked; value_bits follow from that.
    """

    kind: PhaseKind
    rounds: Annotated[int, Meta(ge=1, le=10_000)]
    target: _Contributors
    drawn: _Contributors
    deadline_s: _Seconds = 30.0
    cohort_min: _Floor | None = None
    count_max: Annotated[int, Meta(ge=1, le=EXAMPLES_MAX)] = 1
    ballot: BallotTable | None = None
    masked: bool | None = None
    value_bits: Annotated[int, Meta(ge=2, le=24)] | None = None
    groups: Annotated[int, Meta(ge=1, le=GROUPS_MAX)] = 1
    robust: RobustTable = RobustTable(rule="mean")
    verified: bool = False


class StudyFile(_Table, frozen=True, kw_only=True):
    """All that a proposer states. With a query, columns and label are what it gives."""

    title: _ShortText
    purpose: Annotated[str, Meta(min_length=1, max_length=2000)]
    purpose_term: _ShortText
    category: _Category
    query: Annotated[str, Meta(max_length=QUERY_CHARACTERS_MAX)] = ""
    columns: Annotated[tuple[_ShortText, ...], Meta(min_length=1, max_length=WIDTH_MAX)]
    ranges: Annotated[dict[str, _RangePair], Meta(max_length=WIDTH_MAX)] = {}
    label: Annotated[str, Meta(max_length=200)] = ""
    cohort_min: _Floor
    join_window_s: _Seconds
    selection: Literal["census", "region"] = "census"
    model: ModelTable | None = None
    training: TrainingTable = TrainingTable()
    privacy: PrivacyTable = PrivacyTable()
    phases: Annotated[tuple[PhaseTable, ...], Meta(min_length=1, max_length=16)]


class Proposal(msgspec.Struct, frozen=True):
    """What a node is asked to propose: the encoded manifest and the initial model it names."""

    manifest: bytes
    model: bytes


def read_proposal(path: Path, network: bytes, proposer: bytes, epoch: int = 0) -> Proposal:
    """Read a study file and build its proposal by a node of a network. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(STUDY_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(
            f"The study file {path} cannot be read: {describe(error)}; check its path and "
            "permissions."
        ) from error
    if len(data) > STUDY_FILE_BYTES_MAX:
        raise ConfigError(f"{path} is larger than {STUDY_FILE_BYTES_MAX} bytes; shorten it.")
    study = parse_toml(data, StudyFile, str(path), ConfigError)
    return make_proposal(study, network, proposer, secrets.token_bytes(32), str(path), epoch)


def make_proposal(
    study: StudyFile,
    network: bytes,
    proposer: bytes,
    nonce: bytes,
    source: str,
    epoch: int = 0,
) -> Proposal:
    """Build the proposal of a checked file. Raises ConfigError.

    epoch: that the network is in. nonce: 32 fresh bytes. source: path of the file, for messages
    and to find those beside it.
    """
    _check_columns(study, source)
    learns = any(phase.kind in LEARNT for phase in study.phases)
    program, hyperparameters, model = None, None, b""
    if learns:
        program = _program(study, source)
        hyperparameters = _hyperparameters(study, program, source)
        assert study.model is not None
        seed = digest("pnyx/proposal/model", nonce)
        model = read_initial_model(program, study.model, Path(source).parent, seed)
    phases = tuple(
        _phase(study, phase, program, hyperparameters, f"{source}: phases[{number}]")
        for number, phase in enumerate(study.phases)
    )
    manifest = Manifest(
        network=network,
        proposer=proposer,
        version=PROTOCOL_VERSION,
        epoch=epoch,
        title=study.title,
        purpose=study.purpose,
        purpose_term=study.purpose_term,
        category=study.category,
        query=study.query,
        columns=study.columns,
        ranges=_ranges(study, source),
        label=study.label,
        program=b"" if program is None else encode_program(program),
        hyperparameters=(
            b"" if hyperparameters is None else encode_hyperparameters(hyperparameters)
        ),
        initial_model=model_name(model),
        model_bytes=len(model),
        phases=phases,
        join_window_s=float(study.join_window_s),
        nonce=nonce,
        selection=study.selection,
    )
    return Proposal(_encode_checked(manifest, source), model)


def _check_columns(study: StudyFile, source: str) -> None:
    if len(set(study.columns)) < len(study.columns) or study.label in study.columns:
        raise ConfigError(f"{source}: a column is named twice, or is the label as well.")


def _ranges(study: StudyFile, source: str) -> tuple[Range, ...]:
    """A range for each column, or none. Raises ConfigError."""
    if not study.ranges:
        return ()
    wrong = [name for name in study.ranges if name not in study.columns]
    wrong += [name for name in study.columns if name not in study.ranges]
    if wrong:
        raise ConfigError(f"{source}: ranges names every column and nothing else; see {wrong[0]}.")
    try:
        return tuple(Range(*map(float, study.ranges[name])) for name in study.columns)
    except ValueError as error:
        raise ConfigError(f"{source}: ranges: {error}.") from error


def _program(study: StudyFile, source: str) -> Program:
    if study.model is None or not study.label:
        raise ConfigError(
            f"{source}: a study that trains needs a [model] table, and a label: the column that "
            "holds what is to be predicted."
        )
    program = read_study_program(
        study.model, len(study.columns), study.training.batch_size, Path(source).parent, source
    )
    if program.shared_count > PARAMETERS_MAX:
        raise ConfigError(
            f"{source}: the model has {program.shared_count} parameters, above {PARAMETERS_MAX}; "
            "take fewer layers, or narrower ones."
        )
    return program


def _masks(phase: PhaseTable, plain: Bounds, privacy: PrivacyTerms | None) -> ParameterSet | None:
    """How a phase masks its updates, if it does. Raises ValueError or TrainingError."""
    if phase.kind != "train":
        if phase.masked or phase.verified:
            raise ValueError("only a phase that trains can mask its updates, or have them verified")
        return None
    if phase.verified:
        if phase.masked is False:
            raise ValueError("verified is about masked updates: what is shared is always verified")
        if phase.value_bits is not None:
            raise TrainingError(
                "value_bits of verified updates follow from the verified norm; leave it out."
            )
        return None  # they follow from what is verified
    masked = phase.masked
    if masked is None:
        masked = plain.length > DEFAULT_PARAMS.vector_length_max
    most = max(CONTRIBUTORS_MIN, -(-phase.drawn // phase.groups))
    return choose_masks(plain, phase.value_bits, most, privacy) if masked else None


def _robust(phase: PhaseTable, where: str) -> Robust:
    """Raises ConfigError."""
    rule, tolerated = phase.robust.rule, phase.robust.tolerated
    try:
        return Robust(rule, tolerated)
    except ValueError as error:
        most = (phase.groups - 1) // 2
        mend = f"tolerated = {'1' if most == 1 else f'1 to {most}'} for {phase.groups} groups"
        if not most:
            mend = "groups = 3 or more, and tolerated = 1 or more"
        if rule == "mean":
            mend = 'tolerated = 0, or rule = "trimmed"'
        raise ConfigError(
            f"{where}.robust.tolerated is {tolerated}: {error}; set {mend}."
        ) from error


def _phase(
    study: StudyFile,
    phase: PhaseTable,
    program: Program | None,
    hyperparameters: Hyperparameters | None,
    where: str,
) -> StudyPhase:
    privacy = _privacy(study)
    robust = _robust(phase, where)
    try:
        plain = _plain_bounds(study, phase, program, hyperparameters)
        masked = _masks(phase, plain, privacy)
        return phase_for(
            phase.kind,
            plain,
            rounds=phase.rounds,
            cohort_min=phase.cohort_min or study.cohort_min,
            target=phase.target,
            drawn=phase.drawn,
            deadline_s=phase.deadline_s,
            privacy=privacy,
            masked=masked,
            groups=phase.groups,
            robust=robust,
            verified=choose_verified(plain, -(-phase.drawn // phase.groups), privacy)
            if phase.verified
            else None,
        )
    except TrainingError as error:
        raise ConfigError(f"{where}: {error}") from error
    except ValueError as error:
        raise ConfigError(
            f"{where}: {error}; lower privacy.noise_multiplier, training.fraction_bits or the "
            "number of parameters."
        ) from error


def _plain_bounds(
    study: StudyFile,
    phase: PhaseTable,
    program: Program | None,
    hyperparameters: Hyperparameters | None,
) -> Bounds:
    """Bounds of a phase without noise. Raises TrainingError or ValueError."""
    if phase.kind == "poll":
        ballot = None
        if phase.ballot is not None:
            ballot = Ballot(phase.ballot.kind, phase.ballot.options, phase.ballot.chosen_max)
        return poll_bounds(len(study.columns), phase.count_max, ballot)
    if program is None or hyperparameters is None or phase.kind == "statistics":
        return statistics_bounds(len(study.columns))
    return bounds_for(program, hyperparameters, "train" if phase.kind == "train" else "evaluate")


def _privacy(study: StudyFile) -> PrivacyTerms | None:
    table = study.privacy
    if not table.noise_multiplier:
        return None
    honest_min = table.honest_min or max(1, study.cohort_min // 2)
    return PrivacyTerms(table.noise_multiplier, honest_min)


def _fraction_bits(study: StudyFile, program: Program) -> int:
    """The finest rounding whose clipped updates, with their noise, can still be proven."""
    if study.training.fraction_bits is not None:
        return study.training.fraction_bits
    return next((b for b in range(FINEST_BITS, 0, -1) if _provable(study, program, b)), 0)


def _provable(study: StudyFile, program: Program, bits: int) -> bool:
    """Whether clipped updates on this grid, with their noise, have bounds that can be proven."""
    privacy, length = _privacy(study), program.shared_count
    clip = int(study.training.clip_norm * 2.0**bits)
    trains = [phase for phase in study.phases if phase.kind == "train"]
    verified = [phase for phase in trains if phase.verified]
    try:
        if privacy is not None and length <= _SHARED_MAX and len(verified) < max(1, len(trains)):
            plain = Bounds(length, length, max(clip, 1), 0)
            choose_noise(plain, clip, privacy.honest_min, privacy.multiplier, 1.0)
        if any(clip >= 1 << (phase.value_bits - 1) for phase in trains if phase.value_bits):
            return False
        for phase in verified:
            choose_verified(Bounds(length, length, max(clip, 1), 0), phase.drawn, privacy)
    except ValueError:
        return False
    return True


def _hyperparameters(study: StudyFile, program: Program, source: str) -> Hyperparameters:
    count_max = study.privacy.count_max
    if count_max is None:
        count_max = COUNT_MAX_WITH_NOISE if study.privacy.noise_multiplier else EXAMPLES_MAX
    hyperparameters = Hyperparameters(
        **msgspec.structs.asdict(study.training)
        | {"fraction_bits": _fraction_bits(study, program), "count_max": count_max}
    )
    if norm_max(hyperparameters) <= 0.5 * math.sqrt(program.shared_count):
        raise ConfigError(
            f"{source}: training.fraction_bits is {hyperparameters.fraction_bits}, too coarse for "
            f"training.clip_norm {hyperparameters.clip_norm:g}; raise it, or ask for less noise."
        )
    return hyperparameters


def _encode_checked(manifest: Manifest, source: str) -> bytes:
    """Encode a manifest that other nodes will accept, or say what they would object to."""
    try:
        for number, phase in enumerate(manifest.phases):
            where = f"{source}: phases[{number}]"
            check_phase(phase, DEFAULT_PARAMS)
            if phase.kind == "statistics" and not manifest.ranges:
                raise TrainingError("a statistics phase needs ranges: [low, high] of each column")
        where = source
        check_study(manifest)
        encoded = codec.encode(manifest)
        codec.decode(encoded, Manifest, bytes_max=MANIFEST_BYTES_MAX)
    except (ProtocolError, QueryError, TrainingError) as error:
        raise ConfigError(f"{where}: {str(error).rstrip('.')}.") from error
    return encoded


def template(columns: tuple[str, ...], category: str, label: str, classes: int) -> str:
    """Return a commented study file to start from."""
    listed = "".join(f"    {msgspec.json.encode(name).decode()},\n" for name in columns)
    return _TEMPLATE.format(columns=listed, category=category, label=label, classes=classes)


_TEMPLATE = """\
# A study: what it is for, which data it asks for, and how it trains.
# Check it with `pnyx study check FILE`, propose it with `pnyx study propose FILE`.

title = "What are people doing?"
# Owners read this sentence before they decide.
purpose = "Recognise everyday activities from the accelerometer of a phone, for research."
# A term of the W3C Data Privacy Vocabulary; owners' policies match it.
purpose_term = "dpv:ResearchAndDevelopment"

# The data: a category of the vault, its numeric columns, and the column that holds the class (or
# the number to predict).
category = "{category}"
columns = [
{columns}]
label = "{label}"
# With a query, columns and label are what it gives, of the one table data (docs/queries.md):
#   query = "SELECT avg(x) AS mean_x, day AS label FROM data GROUP BY day"

# No sum over fewer owners is ever opened. 32 or more is advised.
cohort_min = 32
# How long owners may join before the first round, in seconds.
join_window_s = 600.0
# How rounds get their actors: "census" draws them from everybody, "region" lets neighbours draw.
selection = "census"

[model]
hidden = [64]        # widths of the hidden layers
classes = {classes}
# Any other model: program = "model.json" in the place of both, as `pnyx.export` writes it from a
# torch module, and weights = "model.safetensors" to begin with those weights.

[training]
local_epochs = 3
batch_size = 16
learning_rate = 0.3
weight_decay = 0.001
clip_norm = 2.0      # largest norm of one owner's update

[privacy]
# Noise of a whole sum, relative to what one owner can change. 5 costs an epsilon of about 5 in
# twenty rounds, and asks for about a thousand contributors. 0 switches noise off: then sums over
# tens of people can reveal something about one of them, and owners see that the cost has no bound.
noise_multiplier = 5.0

# A statistics phase before the others publishes means and deviations of the columns; it needs
#   [ranges]
#   "name of a column" = [low, high]
# for every column, and training may standardise by it: standardise = "study" under [training].
# A phase of kind "poll" adds up answers, one row an owner: count_max is the largest answer, and
#   [phases.ballot]
#   kind = "choice"     # or "approval" with chosen_max, or "ranking"
#   options = 3
# makes them a vote. A phase may have a cohort_min of its own.
# A phase that trains may add up its contributors in groups, so that those who poison some of them
# cannot bend the model (docs/robustness.md); each takes cohort_min owners and noise of its own:
#   groups = 8
#   robust = {{ rule = "trimmed", tolerated = 2 }}
# Updates too long for shares travel masked; masked = true or false decides otherwise. Nobody checks
# their size then, unless
#   verified = true     # EXPERIMENTAL: no outside cryptographer has reviewed it
# value_bits is what a masked entry takes; unless stated, as many as clip_norm and noise need.
#
# Phases run in order. In each round `drawn` owners are drawn among those who joined; the round
# closes when `target` of them have contributed, or after `deadline_s` seconds.
[[phases]]
kind = "train"
rounds = 20
target = 40
drawn = 50
deadline_s = 60.0

[[phases]]
kind = "evaluate"    # compares: trained alone, shared, shared and fine-tuned at home
rounds = 1
target = 40
drawn = 50
deadline_s = 60.0
"""
