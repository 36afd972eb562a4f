"""A study as its proposer writes it: one TOML file, turned into a manifest and an initial model.

Everything is checked here, with the name of the key and what is accepted, before the node sees
anything. The manifest carries a fresh nonce, so that proposing one file twice makes two studies;
the initial model follows from that nonce, unless the file names weights to begin with.
"""

import math
import re
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pnyx.config import parse_toml
from pnyx.errors import ConfigError, ProtocolError, QueryError, RuleBroken, TrainingError
from pnyx.learning.programs import Program, encode_program
from pnyx.learning.programs.audit import BATCH_SIZE_MAX
from pnyx.learning.programs.format import PARAMETERS_MAX, WIDTH_MAX
from pnyx.learning.statistics import statistics_length
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
from pnyx.protocol.aggregation.robust import GROUPS_MAX, Robust
from pnyx.protocol.manifest import (
    MANIFEST_BYTES_MAX,
    METRICS_LENGTH_MAX,
    QUERY_CHARACTERS_MAX,
    Manifest,
    Range,
    StudyPhase,
    check_contributors,
    check_phase,
    check_sizes,
)
from pnyx.protocol.models import model_name
from pnyx.protocol.params import DEFAULT_PARAMS, PROTOCOL_VERSION
from pnyx.protocol.selection.security import choose_committee
from pnyx.vault.collections import CATEGORY_PATTERN
from pnyx.vault.files import describe

STUDY_FILE_BYTES_MAX = 256 * 1024
NOISE_MULTIPLIER = 5.0  # epsilon of about 5 for twenty rounds: docs/adr/0016
COUNT_MAX_WITH_NOISE = 64
VALUE_BITS_MAX = 24
FINEST_BITS = 11  # what is chosen unless stated: 1/2048 of a unit is far below any noise
NETWORK_SIZES = (10, 30, 100, 1_000, 10_000)  # nodes: committees grow no more in larger ones
_SHARED_MAX = DEFAULT_PARAMS.vector_length_max - TRAIN_COUNTS  # longer updates are masked
_RATE_MIN = 2.0**-20
# How objections end that advise what may help: a proposer is told what does, by its keys.
_GENERAL_ADVICE = re.compile(r"[:;.] (?:ask|choose|draw|Use)\b")

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
    honest_min: owners whose noise is relied upon, half of a phase's floor unless stated. count_max:
    rows that one owner counts for in published counts.
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


_PLAIN_MEAN = RobustTable(rule="mean")


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
    value_bits: Annotated[int, Meta(ge=2, le=VALUE_BITS_MAX)] | None = None
    groups: Annotated[int, Meta(ge=1, le=GROUPS_MAX)] = 1
    robust: RobustTable = _PLAIN_MEAN
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
    program, model = None, b""
    if any(phase.kind in LEARNT for phase in study.phases):
        program = _program(study, source)
    for number, phase in enumerate(study.phases):
        length = 0 if program is None else program.shared_count
        _check_phase_table(study, phase, length, f"{source}: phases[{number}]")
    hyperparameters, phases = _rounded_phases(study, program, source)
    if program is not None:
        assert study.model is not None
        seed = digest("pnyx/proposal/model", nonce)
        model = read_initial_model(program, study.model, Path(source).parent, seed)
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


def _floor(study: StudyFile, phase: PhaseTable) -> int:
    """Fewest contributors over whom a sum of a phase is opened."""
    return phase.cohort_min or study.cohort_min


def _masks(phase: PhaseTable, length: int) -> bool:
    """Whether updates of so many values travel masked."""
    if phase.kind != "train":
        return False
    if phase.masked is None:
        return phase.verified or length > _SHARED_MAX
    return phase.masked or phase.verified


def _check_phase_table(study: StudyFile, phase: PhaseTable, length: int, where: str) -> None:
    """Refuse what no rounding of updates mends. length: values of one. Raises ConfigError."""
    if phase.kind == "train":
        _check_masking_keys(phase, length, where)
    else:
        _check_training_keys(phase, where)
        _check_published(study, phase, where)
    _check_robust(phase, where)
    _check_ballot(phase, where)
    floor = _floor(study, phase)
    honest_min = study.privacy.honest_min
    if study.privacy.noise_multiplier and honest_min is not None and honest_min > floor:
        raise ConfigError(
            f"{where}: privacy.honest_min is {honest_min}, and cohort_min ensures {floor} "
            "contributors of a sum; lower it, or leave it out."
        )
    try:
        check_contributors(phase.groups, floor, phase.target, phase.drawn)
    except RuleBroken as error:
        raise ConfigError(f"{where}: {error}.") from error


def _check_masking_keys(phase: PhaseTable, length: int, where: str) -> None:
    """Refuse keys of a phase that trains which contradict each other. Raises ConfigError."""
    masks = _masks(phase, length)
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
        raise ConfigError(
            f"{where}: value_bits are those of masked updates, and nothing is masked here; leave "
            "it out, or set masked = true."
        )
    if not masks and length > _SHARED_MAX:
        raise ConfigError(
            f"{where}.masked is false, and an update has {length} values, where {_SHARED_MAX} are "
            "shared with the committee at most; leave it out, or take a smaller model."
        )


def _check_training_keys(phase: PhaseTable, where: str) -> None:
    """Refuse keys that only a phase that trains has. Raises ConfigError."""
    for name, asked in (
        ("masked", phase.masked),
        ("verified", phase.verified),
        ("value_bits", phase.value_bits),
        ("groups", phase.groups > 1),
        ("robust", phase.robust != _PLAIN_MEAN),
    ):
        if asked:
            raise ConfigError(
                f"{where}.{name}: only a phase that trains has updates that can be masked, "
                "verified or added up in groups; leave it out."
            )


def _check_published(study: StudyFile, phase: PhaseTable, where: str) -> None:
    """Refuse statistics without ranges, and more sums than are published. Raises ConfigError."""
    if phase.kind == "statistics" and not study.ranges:
        raise ConfigError(f"{where}: a statistics phase needs ranges: [low, high] of each column.")
    columns = len(study.columns)
    sums = {"statistics": statistics_length(columns), "poll": columns}.get(phase.kind, 0)
    if sums > METRICS_LENGTH_MAX:
        raise ConfigError(
            f"{where}: of the study's {columns} columns a {phase.kind} phase would publish {sums} "
            f"sums, above {METRICS_LENGTH_MAX}; name fewer columns."
        )


def _check_robust(phase: PhaseTable, where: str) -> None:
    """Raises ConfigError."""
    rule, tolerated = phase.robust.rule, phase.robust.tolerated
    try:
        Robust(rule, tolerated)
        if tolerated and 2 * tolerated >= phase.groups:
            raise ValueError(f"{phase.groups} groups tolerate fewer than half of them")
    except ValueError as error:
        most = (phase.groups - 1) // 2
        mend = f"tolerated = {'1' if most == 1 else f'1 to {most}'} for {phase.groups} groups"
        if not most:
            mend = 'groups = 3 or more, and tolerated = 1 or more, or rule = "mean", tolerated = 0'
        if rule == "mean":
            mend = 'tolerated = 0, or rule = "trimmed"'
        raise ConfigError(
            f"{where}.robust.tolerated is {tolerated}: {error}; set {mend}."
        ) from error


def _ballot(table: BallotTable) -> Ballot:
    """Raises ValueError."""
    return Ballot(table.kind, table.options, table.chosen_max)


def _check_ballot(phase: PhaseTable, where: str) -> None:
    """Raises ConfigError."""
    if phase.ballot is None:
        return
    try:
        _ballot(phase.ballot)
    except ValueError as error:
        kind, options, chosen = phase.ballot.kind, phase.ballot.options, phase.ballot.chosen_max
        ranked = kind == "ranking" and not chosen
        key = f"options is {options}" if ranked else f"chosen_max is {chosen}"
        raise ConfigError(f"{where}.ballot.{key}: {error}.") from error
    if phase.kind == "poll" and phase.count_max > 1:
        raise ConfigError(
            f"{where}.count_max is {phase.count_max}: the answers of a ballot are 0 or 1; leave it "
            "out."
        )


def _rounded_phases(
    study: StudyFile, program: Program | None, source: str
) -> tuple[Hyperparameters | None, tuple[StudyPhase, ...]]:
    """The phases, with the stated rounding of updates or the finest that serves all of them.

    Raises ConfigError.
    """
    roundings = _roundings(study, program)
    for rounded in roundings:
        if all(_objection(study, phase, program, rounded) is None for phase in study.phases):
            built = (_built(study, phase, program, rounded) for phase in study.phases)
            return rounded, tuple(built)
    raise ConfigError(f"{source}: {_refusal(study, program, roundings)}.")


def _roundings(study: StudyFile, program: Program | None) -> Sequence[Hyperparameters | None]:
    """Hyper-parameters with the stated rounding, or with all that may be chosen, the finest first.

    Those too coarse for the clip are left out, perhaps all. [None] where nothing is learnt.
    """
    if program is None:
        return [None]
    stated = study.training.fraction_bits
    rounded = [
        Hyperparameters(
            **msgspec.structs.asdict(study.training)
            | {"fraction_bits": bits, "count_max": _count_max(study)}
        )
        for bits in (range(FINEST_BITS, -1, -1) if stated is None else (stated,))
    ]
    # Coarser ones would leave nothing of an update: see `learning.update.quantise`.
    return [each for each in rounded if norm_max(each) > 0.5 * math.sqrt(program.shared_count)]


def _count_max(study: StudyFile) -> int:
    """Rows that one owner counts for in published counts."""
    if study.privacy.count_max is not None:
        return study.privacy.count_max
    return COUNT_MAX_WITH_NOISE if study.privacy.noise_multiplier else EXAMPLES_MAX


def _built(
    study: StudyFile,
    phase: PhaseTable,
    program: Program | None,
    hyperparameters: Hyperparameters | None,
) -> StudyPhase:
    """Build a phase whose table was checked, with masks that serve it.

    Raises RuleBroken, TrainingError or ValueError.
    """
    privacy = _privacy(study, phase)
    plain = _plain_bounds(study, phase, program, hyperparameters)
    masked, verified = None, None
    if isinstance(plain, Clipped):
        size = -(-phase.drawn // phase.groups)
        if size > CONTRIBUTORS_MAX:
            raise TrainingError(
                f"drawn is {phase.drawn} and groups is {phase.groups}, so a masked sum would be "
                f"over {size} contributors, above {CONTRIBUTORS_MAX}"
            )
        most = max(CONTRIBUTORS_MIN, size)
        if phase.verified:
            verified = choose_verified(plain, most, privacy)
        else:
            masked = choose_masks(plain, phase.value_bits, most, privacy)
    built = phase_for(
        phase.kind,
        plain,
        rounds=phase.rounds,
        cohort_min=_floor(study, phase),
        target=phase.target,
        drawn=phase.drawn,
        deadline_s=phase.deadline_s,
        privacy=privacy,
        masked=masked,
        groups=phase.groups,
        robust=Robust(phase.robust.rule, phase.robust.tolerated),
        verified=verified,
    )
    check_phase(built, DEFAULT_PARAMS)
    return built


def _plain_bounds(
    study: StudyFile,
    phase: PhaseTable,
    program: Program | None,
    hyperparameters: Hyperparameters | None,
) -> Plain:
    """Bounds of a phase without noise. Raises TrainingError or ValueError."""
    if phase.kind == "poll":
        ballot = None if phase.ballot is None else _ballot(phase.ballot)
        return poll_bounds(len(study.columns), phase.count_max, ballot)
    if program is None or hyperparameters is None or phase.kind == "statistics":
        return statistics_bounds(len(study.columns))
    if _masks(phase, program.shared_count):
        return masked_bounds_for(program, hyperparameters)
    return bounds_for(program, hyperparameters, "train" if phase.kind == "train" else "evaluate")


def _privacy(study: StudyFile, phase: PhaseTable) -> PrivacyTerms | None:
    multiplier = study.privacy.noise_multiplier
    return PrivacyTerms(multiplier, _honest_min(study, phase)) if multiplier else None


def _honest_min(study: StudyFile, phase: PhaseTable) -> int:
    return study.privacy.honest_min or _floor(study, phase) // 2


def _objection(
    study: StudyFile, phase: PhaseTable, program: Program | None, rounded: Hyperparameters | None
) -> Exception | None:
    """Why a phase cannot be with this rounding; None if it can."""
    try:
        _built(study, phase, program, rounded)
    except (RuleBroken, TrainingError, ValueError) as error:
        return error
    return None


def _refusal(
    study: StudyFile, program: Program | None, roundings: Sequence[Hyperparameters | None]
) -> str:
    """Why no rounding serves all phases, and what to change."""
    if not roundings:
        assert program is not None, "without a program nothing is rounded"
        first = next(at for at, phase in enumerate(study.phases) if phase.kind in LEARNT)
        return _too_coarse(study, program) + _advice(study, program, first)
    taken = []
    for at, phase in enumerate(study.phases):
        objections = [_objection(study, phase, program, each) for each in roundings]
        bits = [each.fraction_bits for each in roundings if each is not None]
        if None not in objections:
            reason = _reason(phase, bits, [str(each) for each in objections])
            return f"phases[{at}]: {reason}{_advice(study, program, at)}"
        if phase.kind == "train":
            serving = [str(b) for b, each in zip(bits, objections, strict=True) if each is None]
            taken.append(f"phases[{at}] takes {', '.join(reversed(serving))}")
    return (
        f"no training.fraction_bits serves all phases that train: {'; '.join(taken)}; change one "
        "of them, or make two studies"
    )


def _too_coarse(study: StudyFile, program: Program) -> str:
    """What to say of roundings that would leave nothing of an update."""
    stated = study.training.fraction_bits
    bits = f"{FINEST_BITS} at most unless stated" if stated is None else f"{stated}"
    return (
        f"training.fraction_bits is {bits}, too coarse for training.clip_norm "
        f"{study.training.clip_norm:g} over {program.shared_count} parameters"
    )


def _reason(phase: PhaseTable, bits: list[int], objections: list[str]) -> str:
    """Why no rounding serves a phase. objections: to each, the finest first."""
    said, times = Counter(objections).most_common(1)[0]
    if not phase.verified:
        said = objections[-1]  # the coarsest asks for the least
    elif times == 1 < len(bits):  # some are too fine for the norm, and others too coarse
        ends = f"{bits[-1]} to {bits[0]}"
        return f"its norm cannot be verified with training.fraction_bits from {ends}"
    return _GENERAL_ADVICE.split(said.rstrip("."))[0]


def _advice(study: StudyFile, program: Program | None, at: int) -> str:
    """What to set for a phase to be, as was tried: of each key the nearest setting that serves."""
    found = (
        next((words for words, changed in tried if _serves(changed, program, at)), "")
        for tried in _changes(study, at)
    )
    if helping := [words for words in found if words]:
        return f"; set {', or '.join(helping)}"
    if study.phases[at].kind == "train":
        return "; no single key mends it: change several, or take fewer parameters"
    return ""


def _serves(study: StudyFile, program: Program | None, at: int) -> bool:
    """Whether some rounding serves a phase and all before it."""
    return any(
        all(_objection(study, phase, program, each) is None for phase in study.phases[: at + 1])
        for each in _roundings(study, program)
    )


def _changes(study: StudyFile, at: int) -> Iterator[list[tuple[str, StudyFile]]]:
    """Other settings of each key that may matter to a phase, from the nearest to the farthest.

    Each in words, with the study that has it. Noise is made less, and never switched off.
    """
    phase, training, privacy = study.phases[at], study.training, study.privacy
    honest, floor = _honest_min(study, phase), min(_floor(study, each) for each in study.phases)
    finest = FINEST_BITS if training.fraction_bits is None else training.fraction_bits
    whole_sum = {phase.groups * CONTRIBUTORS_MAX} & set(range(phase.target, phase.drawn))
    keys: dict[str, dict[str, Iterable[float]]] = {
        "training": {
            "fraction_bits": sorted(range(FRACTION_BITS_MAX + 1), key=lambda b: abs(b - finest)),
            "clip_norm": (*_lower(training.clip_norm, _RATE_MIN), *_higher(training.clip_norm)),
        },
        "privacy": {
            "noise_multiplier": _lower(privacy.noise_multiplier),
            "honest_min": _steps(honest, max(honest, floor)),
            "count_max": _halved(_count_max(study)),
        },
        f"phases[{at}]": {
            "groups": (*range(phase.groups + 1, GROUPS_MAX + 1), *range(phase.groups - 1, 0, -1)),
            "drawn": sorted({*_steps(phase.drawn, phase.target), *whole_sum}, reverse=True),
            "masked": (True,),
            "value_bits": range((phase.value_bits or VALUE_BITS_MAX) + 1, VALUE_BITS_MAX + 1),
            "count_max": _halved(phase.count_max),
            "verified": (False,),
        },
    }
    for table, settings in keys.items():
        for key, values in settings.items():
            yield [
                (
                    f"{table}.{key} = {msgspec.json.encode(value).decode()}",
                    _changed(study, table, at, {key: value}),
                )
                for value in values
            ]


def _changed(study: StudyFile, table: str, at: int, keys: dict[str, float]) -> StudyFile:
    """The study with other settings of one of its tables, or of a phase."""
    if table in ("training", "privacy"):
        changed = msgspec.structs.replace(getattr(study, table), **keys)
        return msgspec.structs.replace(study, **{table: changed})
    phases = list(study.phases)
    phases[at] = msgspec.structs.replace(phases[at], **keys)
    return msgspec.structs.replace(study, phases=tuple(phases))


def _steps(start: int, end: int) -> list[int]:
    """Up to sixteen numbers after `start`, the last one `end`."""
    numbers = (start + (end - start) * part // 16 for part in range(1, 17))
    return [number for number in dict.fromkeys(numbers) if number != start]


def _halved(number: int) -> list[int]:
    return [number >> places for places in range(1, number.bit_length())]


def _lower(number: float, least: float = 0) -> list[float]:
    """Halves, down to a 64th: what is lower yet would be another study."""
    halves = (_three_digits(number / 2**places) for places in range(1, 7))
    return [half for half in halves if half > least]


def _higher(clip_norm: float) -> list[float]:
    """Doubles of a norm, as large as may be."""
    doublings = range(1, int(math.log2(CLIP_NORM_MAX / clip_norm)) + 1)
    return [_three_digits(clip_norm * 2**places) for places in doublings]


def _three_digits(number: float) -> float:
    return float(f"{number:.3g}")


def _encode_checked(manifest: Manifest, source: str) -> bytes:
    """Encode a manifest that other nodes will accept, or say what they would object to."""
    try:
        check_study(manifest)
        encoded = codec.encode(manifest)
        codec.decode(encoded, Manifest, bytes_max=MANIFEST_BYTES_MAX)
        unfit = unfit_networks(manifest)
        if len(unfit) == len(_networks(manifest)):
            raise RuleBroken(unfit[NETWORK_SIZES[-1]])
    except (ProtocolError, QueryError, TrainingError) as error:
        raise ConfigError(f"{source}: {str(error).rstrip('.')}.") from error
    return encoded


def unfit_networks(manifest: Manifest) -> dict[int, str]:
    """Why committees could not carry a study, by the nodes of networks that draw such committees.

    Networks of a few sizes are looked at, planned as is usual; others may have other committees.
    """
    objections = {}
    for nodes in _networks(manifest):
        try:
            check_sizes(manifest, choose_committee(nodes))
        except RuleBroken as error:
            objections[nodes] = str(error)
    return objections


def _networks(manifest: Manifest) -> list[int]:
    """Sizes of networks, of those looked at, that have as many nodes as rounds contributors."""
    target = max(phase.target for phase in manifest.phases)
    return [nodes for nodes in NETWORK_SIZES if nodes >= target]


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
