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
from pnyx.errors import ConfigError, ProtocolError, QueryError, RuleBroken, TrainingError
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
    Clipped,
    PhaseKind,
    Plain,
    PrivacyTerms,
    bounds_for,
    check_study,
    choose_masks,
    choose_verified,
    encode_hyperparameters,
    masked_bounds_for,
    phase_for,
    poll_bounds,
    statistics_bounds,
)
from pnyx.node.study_model import ModelTable, read_initial_model, read_study_program
from pnyx.primitives import codec
from pnyx.primitives.hashing import digest
from pnyx.protocol.aggregation.ballots import Ballot
from pnyx.protocol.aggregation.masked.parameters import CONTRIBUTORS_MAX, CONTRIBUTORS_MIN
from pnyx.protocol.aggregation.robust import GROUPS_MAX, PLAIN_MEAN, Robust
from pnyx.protocol.manifest import (
    MANIFEST_BYTES_MAX,
    QUERY_CHARACTERS_MAX,
    Manifest,
    Range,
    StudyPhase,
    check_masking,
    check_phase,
)
from pnyx.protocol.models import model_name
from pnyx.protocol.params import DEFAULT_PARAMS, PROTOCOL_VERSION
from pnyx.vault.collections import CATEGORY_PATTERN
from pnyx.vault.files import describe

STUDY_FILE_BYTES_MAX = 256 * 1024
NOISE_MULTIPLIER = 5.0  # epsilon of about 5 for twenty rounds: docs/adr/0016
COUNT_MAX_WITH_NOISE = 64
FINEST_BITS = 11  # what is chosen unless stated: 1/2048 of a unit is far below any noise
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
    value_bits: of each masked entry before noise, with its sign. groups: into how many a round's
    contributors fall; the floor and the noise are those of each. robust: what is made of their
    sums. verified (experimental): whether the committee verifies the norm of masked updates, which
    then travel masked; value_bits follow from that.
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
    for number, phase in enumerate(study.phases):
        length = 0 if program is None else program.shared_count
        _check_phase_table(phase, length, f"{source}: phases[{number}]")
    if program is not None:
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


def _masks(phase: PhaseTable, length: int) -> bool:
    """Whether updates of so many values travel masked."""
    if phase.kind != "train":
        return False
    if phase.masked is None:
        return phase.verified or length > _SHARED_MAX
    return phase.masked or phase.verified


def _group_size_max(phase: PhaseTable) -> int:
    """Most contributors that one sum is over."""
    return -(-phase.drawn // phase.groups)


def _check_phase_table(phase: PhaseTable, length: int, where: str) -> None:
    """Refuse what no rounding of updates mends. length: values of one. Raises ConfigError."""
    masks = _masks(phase, length)
    if phase.kind != "train":
        for name, asked in (("masked", phase.masked), ("verified", phase.verified)):
            if asked:
                raise ConfigError(
                    f"{where}.{name}: only a phase that trains can mask its updates, or have them "
                    "verified; leave it out."
                )
    if phase.verified and phase.masked is False:
        raise ConfigError(
            f"{where}.verified is about masked updates: what is shared is always verified; leave "
            "out verified, or masked = false."
        )
    if phase.verified and phase.value_bits is not None:
        raise ConfigError(
            f"{where}: value_bits of verified updates follow from the verified norm; leave it out."
        )
    if not masks and phase.value_bits is not None:
        mend = ", or set masked = true" if phase.kind == "train" else ""
        raise ConfigError(
            f"{where}: value_bits are those of masked updates, and nothing is masked here; leave "
            f"it out{mend}."
        )
    if phase.kind == "train" and not masks and length > _SHARED_MAX:
        raise ConfigError(
            f"{where}.masked is false, and an update has {length} values, where {_SHARED_MAX} are "
            "shared with the committee at most; leave it out, or take a smaller model."
        )
    size = _group_size_max(phase)
    if masks and size > CONTRIBUTORS_MAX:
        fewest = -(-phase.drawn // CONTRIBUTORS_MAX)
        raise ConfigError(
            f"{where}: drawn is {phase.drawn} and groups is {phase.groups}, so a masked sum would "
            f"be over {size} contributors, above {CONTRIBUTORS_MAX}; set groups = {fewest} or "
            f"more, or drawn = {phase.groups * CONTRIBUTORS_MAX} or less."
        )


def _robust(phase: PhaseTable, where: str) -> Robust:
    """Raises ConfigError."""
    rule, tolerated = phase.robust.rule, phase.robust.tolerated
    try:
        robust = Robust(rule, tolerated)
        if tolerated and 2 * tolerated >= phase.groups:
            raise ValueError(f"{phase.groups} groups tolerate fewer than half of them")
        return robust
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
    """Build a phase whose table was checked. Raises ConfigError."""
    robust = _robust(phase, where)
    try:
        return _built(study, phase, program, hyperparameters, robust)
    except (RuleBroken, TrainingError, ValueError) as error:
        raise ConfigError(f"{where}: {_reason(study, phase, program, error)}.") from error


def _built(
    study: StudyFile,
    phase: PhaseTable,
    program: Program | None,
    hyperparameters: Hyperparameters | None,
    robust: Robust,
) -> StudyPhase:
    """Build a phase, with masks that serve it. Raises RuleBroken, TrainingError or ValueError."""
    privacy = _privacy(study)
    plain = _plain_bounds(study, phase, program, hyperparameters)
    masked, verified = None, None
    most = max(CONTRIBUTORS_MIN, _group_size_max(phase))
    if phase.verified:
        verified = choose_verified(plain, most, privacy)
    elif isinstance(plain, Clipped):
        masked = choose_masks(plain, phase.value_bits, most, privacy)
    built = phase_for(
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
        verified=verified,
    )
    check_masking(built)
    return built


def _reason(
    study: StudyFile,
    phase: PhaseTable,
    program: Program | None,
    error: Exception,
    *,
    coarsest: bool = False,
) -> str:
    """Why a phase cannot be, and which keys would mend it. coarsest: no units are coarser."""
    said = str(error).rstrip(".")
    noisy, stated = bool(study.privacy.noise_multiplier), study.training.fraction_bits is not None
    if isinstance(error, TrainingError) and not phase.verified:  # it names its key
        return f"{said}, or lower training.fraction_bits" if stated and phase.value_bits else said
    if coarsest:
        for advice in (": choose coarser units", "; choose coarser units", ". Use coarser units"):
            said = said.replace(advice, "")
    if phase.verified:
        units = "set training.fraction_bits to another number, or leave it out"
        return f"{said}; {units}" if stated else said
    changes = ["privacy.noise_multiplier"] * noisy
    if phase.kind == "train":
        changes += ["training.fraction_bits"] * stated + ["training.clip_norm"] * (
            stated or coarsest
        )
        if noisy and not (program and _masks(phase, program.shared_count)):
            changes.append("the number of parameters")
    elif phase.kind != "statistics":
        changes.append("count_max" if phase.kind == "poll" else "privacy.count_max")
    return f"{said}; lower {' or '.join(changes)}" if changes else said


def _plain_bounds(
    study: StudyFile,
    phase: PhaseTable,
    program: Program | None,
    hyperparameters: Hyperparameters | None,
) -> Plain:
    """Bounds of a phase without noise. Raises TrainingError or ValueError."""
    if phase.kind == "poll":
        ballot = None
        if phase.ballot is not None:
            ballot = Ballot(phase.ballot.kind, phase.ballot.options, phase.ballot.chosen_max)
        return poll_bounds(len(study.columns), phase.count_max, ballot)
    if program is None or hyperparameters is None or phase.kind == "statistics":
        return statistics_bounds(len(study.columns))
    if _masks(phase, program.shared_count):
        return masked_bounds_for(program, hyperparameters)
    return bounds_for(program, hyperparameters, "train" if phase.kind == "train" else "evaluate")


def _privacy(study: StudyFile) -> PrivacyTerms | None:
    table = study.privacy
    if not table.noise_multiplier:
        return None
    honest_min = table.honest_min or max(1, study.cohort_min // 2)
    return PrivacyTerms(table.noise_multiplier, honest_min)


def _hyperparameters(study: StudyFile, program: Program, source: str) -> Hyperparameters:
    """With the stated rounding, or the finest with which every phase has its bounds.

    Raises ConfigError.
    """
    count_max = study.privacy.count_max
    if count_max is None:
        count_max = COUNT_MAX_WITH_NOISE if study.privacy.noise_multiplier else EXAMPLES_MAX
    stated = study.training.fraction_bits
    rounded = [
        Hyperparameters(
            **msgspec.structs.asdict(study.training)
            | {"fraction_bits": bits, "count_max": count_max}
        )
        for bits in (range(FINEST_BITS, -1, -1) if stated is None else (stated,))
    ]
    # Coarser ones would leave nothing of an update: see `learning.update.quantise`.
    fine = [each for each in rounded if norm_max(each) > 0.5 * math.sqrt(program.shared_count)]
    if not fine:
        said = _too_coarse(rounded[0], program, source, stated=stated is not None)
        raise ConfigError(said)
    if stated is not None:
        return fine[0]
    return _finest_that_serves(study, program, fine, source)


def _too_coarse(finest: Hyperparameters, program: Program, source: str, *, stated: bool) -> str:
    """What to say of a rounding that would leave nothing of an update."""
    clip, length = finest.clip_norm, program.shared_count
    bits = f"{finest.fraction_bits}" if stated else f"{FINEST_BITS} at most unless stated"
    found = (
        f"{source}: training.fraction_bits is {bits}, too coarse for training.clip_norm {clip:g} "
        f"over {length} parameters"
    )
    least = max(0, math.ceil(math.log2(0.5 * math.sqrt(length) / clip)))
    while int(clip * 2.0**least) <= 0.5 * math.sqrt(length):
        least += 1
    if least > FRACTION_BITS_MAX:
        return f"{found}; raise clip_norm."
    return f"{found}; set it to {least} or more, or raise clip_norm."


def _finest_that_serves(
    study: StudyFile, program: Program, rounded: list[Hyperparameters], source: str
) -> Hyperparameters:
    """The first with which every phase that trains has its bounds. Raises ConfigError."""
    trains = {at: phase for at, phase in enumerate(study.phases) if phase.kind == "train"}
    for each in rounded:
        if all(_objection(study, phase, program, each) is None for phase in trains.values()):
            return each
    serving = {
        at: [r.fraction_bits for r in rounded if _objection(study, phase, program, r) is None]
        for at, phase in trains.items()
    }
    for at, phase in trains.items():
        if not serving[at]:
            reason = _never(study, phase, program, rounded)
            raise ConfigError(f"{source}: phases[{at}]: {reason}.")
    taken = ", ".join(f"phases[{at}] takes {_span(bits)}" for at, bits in serving.items())
    raise ConfigError(
        f"{source}: no training.fraction_bits serves all phases that train: {taken}; change one of "
        "them, or make two studies."
    )


def _span(bits: list[int]) -> str:
    """Numbers that descend, as words: all of them, or the ends where none between is missing."""
    if len(bits) > 2 and bits[0] - bits[-1] == len(bits) - 1:
        return f"{bits[-1]} to {bits[0]}"
    return " or ".join(str(each) for each in reversed(bits))


def _never(
    study: StudyFile, phase: PhaseTable, program: Program, rounded: list[Hyperparameters]
) -> str:
    """Why no rounding serves a phase, by the one that comes nearest, and what to change."""
    if not phase.verified:  # the coarsest asks for the least
        error = _objection(study, phase, program, rounded[-1])
        assert error is not None
        return _reason(study, phase, program, error, coarsest=True)
    least, most = rounded[-1].fraction_bits, rounded[0].fraction_bits
    found = f"its norm cannot be verified with training.fraction_bits from {least} to {most}"
    floor = phase.cohort_min or study.cohort_min
    for groups in range(phase.groups + 1, min(GROUPS_MAX, phase.target // floor) + 1):
        parted = msgspec.structs.replace(phase, groups=groups)
        if any(_objection(study, parted, program, each) is None for each in rounded):
            return f"{found}; set groups = {groups} or more"
    noise = "privacy.noise_multiplier, " if study.privacy.noise_multiplier else ""
    return f"{found}; lower {noise}training.clip_norm or drawn, or leave out verified"


def _objection(
    study: StudyFile, phase: PhaseTable, program: Program, rounded: Hyperparameters
) -> Exception | None:
    """Why a phase that trains cannot be with this rounding; None if it can."""
    try:
        _built(study, phase, program, rounded, PLAIN_MEAN)
    except (RuleBroken, TrainingError, ValueError) as error:
        return error
    return None


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
# value_bits is what a masked entry takes before noise, which comes on top; unless stated, as many
# as clip_norm needs.
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
