"""Between the protocol and learning: how a manifest becomes training tasks and models.

The protocol sees vectors of integers; learning sees programs, models and rows. This module holds
the only place where the two meet, on the node's side of the vault.
"""

from collections.abc import Sequence
from math import isqrt
from typing import Literal

import msgspec
import numpy as np

from pnyx.errors import ConfigError, ConsentError, TrainingError
from pnyx.learning.features import ROWS_MIN
from pnyx.learning.programs import Program, audit, read_program
from pnyx.learning.programs.models import PARAMETER_DTYPE
from pnyx.learning.server_optimizer import apply_update
from pnyx.learning.statistics import (
    RESOLUTION,
    ColumnStatistics,
    column_statistics,
    owner_statistics,
    standardisation,
    statistics_length,
)
from pnyx.learning.task import Hyperparameters, TaskKind, TrainingTask
from pnyx.learning.update import EVALUATE_COUNTS, TRAIN_COUNTS, norm_max
from pnyx.node.queries import OwnerRows, check_outputs
from pnyx.primitives import codec
from pnyx.primitives.hashing import digest
from pnyx.protocol.aggregation.ballots import Ballot
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.masked.parameters import (
    SHARED_RINGS,
    ParameterSet,
    UnsafeParameters,
    choose,
)
from pnyx.protocol.aggregation.masked_verification.bounds import (
    MaskedBounds,
    choose_for,
    colluding_bound,
    masks_of,
)
from pnyx.protocol.aggregation.robust import PLAIN_MEAN, Robust
from pnyx.protocol.aggregation.verification import within
from pnyx.protocol.events import PublishedSum
from pnyx.protocol.manifest import MANIFEST_BYTES_MAX, Manifest, StudyPhase, VerifiedNorm
from pnyx.protocol.noise import (
    NO_NOISE,
    Chosen,
    choose_noise,
    covering,
    noise_max,
    noise_norm_max,
    update_width,
    value_bits_needed,
)
from pnyx.protocol.ports import IntVector
from pnyx.query.compile import read_query
from pnyx.vault import Array

COUNTS_BESIDE_AN_UPDATE = 2.0  # noise on the counts of a training round, relative to its update's


LEARNT = ("train", "evaluate")  # phases that take a training worker
PhaseKind = Literal["statistics", "train", "evaluate", "poll"]


class PrivacyTerms(msgspec.Struct, frozen=True):
    """Noise of every phase: its multiplier, and on how many honest contributors it relies."""

    multiplier: float
    honest_min: int


class Clipped(msgspec.Struct, frozen=True):
    """Bounds without noise of a phase whose update travels masked: the names are those of `Bounds`.

    Only the counts are proven as they stand here. The norm is not, so it may be larger than a
    shared update's.
    """

    length: int
    bounded: int
    norm_max: int
    count_max: int

    @property
    def counts(self) -> int:
        """Entries that are counts."""
        return self.length - self.bounded


Plain = Bounds | Clipped  # what a phase has without noise


class _Declared(msgspec.Struct, frozen=True):
    """A manifest's program and hyper-parameters, decoded."""

    program: Program
    hyperparameters: Hyperparameters


def encode_hyperparameters(hyperparameters: Hyperparameters) -> bytes:
    """Hyper-parameters as a manifest carries them."""
    return msgspec.json.encode(hyperparameters)


def read_manifest_body(body: bytes) -> Manifest:
    """Decode a manifest that the protocol has verified."""
    return codec.decode(body, Manifest, bytes_max=MANIFEST_BYTES_MAX)


def _declared(manifest: Manifest) -> _Declared:
    """Raises TrainingError when program or hyper-parameters cannot be read."""
    program = read_program(manifest.program)
    try:
        hyperparameters = msgspec.json.decode(manifest.hyperparameters, type=Hyperparameters)
    except (msgspec.DecodeError, ValueError) as error:
        raise TrainingError(f"The study's settings cannot be read: {error}.") from error
    return _Declared(program, hyperparameters)


def check_study(manifest: Manifest) -> None:
    """Audit query and program, and check that they fit phases and columns.

    Raises TrainingError or QueryError.
    """
    if manifest.query:
        check_outputs(read_query(manifest.query), manifest.columns, manifest.label)
    if any(phase.kind in LEARNT for phase in manifest.phases):
        declared = _declared(manifest)
        audit(declared.program, declared.hyperparameters.batch_size)
        if declared.program.width != len(manifest.columns):
            raise TrainingError("The study's program does not match the columns that it asks for.")
        if not manifest.label:
            raise TrainingError("The study names no column that holds the class.")
        if declared.hyperparameters.standardise == "study" and not _collects_first(manifest):
            raise TrainingError(
                "The study standardises by statistics that it does not collect before it learns."
            )
        if any(phase.kind == "poll" for phase in manifest.phases):
            raise TrainingError(
                "A poll reads one row of each owner, learning reads many: propose them as two "
                "studies."
            )
    if sum(phase.kind == "statistics" for phase in manifest.phases) > 1:
        raise TrainingError("A study has one statistics phase, of as many rounds as it needs.")
    _check_model(manifest)
    for phase in manifest.phases:
        try:
            plain = _plain_bounds(manifest, phase)
            carried = _carried(plain, phase.masked, phase.masked_bounds)
            covered = covering(carried, plain.norm_max, phase.noise, phase.bounds.count_scale)
        except ValueError as error:
            raise TrainingError(f"The study's vector cannot be proven: {error}.") from error
        fits = phase.masked is None or phase.masked.length == plain.bounded
        shown = published(phase.kind, plain)
        stated = phase.bounds, phase.clip, phase.metrics_length
        if not fits or stated != (covered, plain.norm_max, shown):
            raise TrainingError("The study's vector does not match its program.")


def _check_model(manifest: Manifest) -> None:
    """Refuse a model of another size than the program's. Raises TrainingError."""
    shared = 0
    if any(phase.kind in LEARNT for phase in manifest.phases):
        shared = _declared(manifest).program.shared_count
    if manifest.model_bytes != PARAMETER_DTYPE.itemsize * shared:
        raise TrainingError(
            f"The study's model has {manifest.model_bytes} bytes, where its program has {shared} "
            "shared parameters: decline it."
        )


def _collects_first(manifest: Manifest) -> bool:
    """Whether a statistics phase comes before all phases that learn."""
    kinds = [phase.kind for phase in manifest.phases if phase.kind != "poll"]
    return bool(manifest.ranges) and kinds[0] == "statistics"


def _plain_bounds(manifest: Manifest, phase: StudyPhase) -> Plain:
    """The bounds that a phase of this study has without noise. Raises TrainingError or ValueError.

    ValueError is for bounds that cannot be proven.
    """
    if phase.kind == "statistics":
        return statistics_bounds(len(manifest.columns))
    if phase.kind == "poll":
        return poll_bounds(len(manifest.columns), phase.bounds.count_max, phase.bounds.ballot)
    declared = _declared(manifest)
    if phase.kind == "train" and phase.masked is not None:
        return masked_bounds_for(declared.program, declared.hyperparameters)
    return bounds_for(declared.program, declared.hyperparameters, _kind(phase))


def _kind(phase: StudyPhase) -> TaskKind:
    return "train" if phase.kind == "train" else "evaluate"


def bounds_for(program: Program, hyperparameters: Hyperparameters, kind: TaskKind) -> Bounds:
    """What the committee verifies of a contribution without noise: norm and range of counts.

    Raises ValueError when it cannot be proven.
    """
    if kind == "evaluate":
        return Bounds(EVALUATE_COUNTS, 0, 0, hyperparameters.count_max)
    count = program.shared_count
    largest = norm_max(hyperparameters)
    return Bounds(count + TRAIN_COUNTS, count, largest, hyperparameters.count_max)


def masked_bounds_for(program: Program, hyperparameters: Hyperparameters) -> Clipped:
    """What a contribution keeps without noise whose update travels masked."""
    count = program.shared_count
    largest = norm_max(hyperparameters)
    return Clipped(count + TRAIN_COUNTS, count, largest, hyperparameters.count_max)


def _carried(
    plain: Plain, masked: ParameterSet | None, verified: MaskedBounds | None = None
) -> Bounds:
    """What the committee verifies, without noise. Raises TrainingError as `beside_masks`."""
    if masked is not None:
        return beside_masks(plain, masked, verified)
    assert isinstance(plain, Bounds), "an update that is shared has bounds that can be proven"
    return plain


def beside_masks(
    plain: Plain, masked: ParameterSet, verified: MaskedBounds | None = None
) -> Bounds:
    """What the committee verifies where the update travels masked: the counts; and holds, its key.

    verified: what else it verifies, of the masked update. Raises TrainingError when there is no
    update to mask.
    """
    if not plain.bounded:
        raise TrainingError("Only a phase that trains can mask its updates.")
    return Bounds(
        plain.counts,
        0,
        0,
        plain.count_max,
        key_length=masked.degree,
        key_fields=len(masked.primes),
        masked_norm_max=0 if verified is None else verified.norm_scaled,
    )


def choose_masks(
    plain: Plain, value_bits: int | None, contributors_max: int, privacy: PrivacyTerms | None
) -> ParameterSet:
    """Masks for updates of these bounds.

    value_bits: of each entry with its sign, or None for as many as clipped updates need; what noise
    needs comes on top. Raises TrainingError when these are too few, ValueError when no masks hold
    the sum.
    """
    needed = value_bits_needed(plain.norm_max, NO_NOISE)
    bits = needed if value_bits is None else value_bits
    if bits < needed:
        raise TrainingError(
            f"value_bits is {bits}, too few: training.clip_norm and training.fraction_bits allow "
            f"entries of up to {plain.norm_max}, which need {needed}."
        )
    if privacy is not None:
        width = update_width(plain.norm_max, privacy.honest_min, privacy.multiplier)
        bits = ((1 << (bits - 1)) + noise_max(width)).bit_length() + 1
    try:
        return choose(plain.bounded, bits, contributors_max, rings=SHARED_RINGS)
    except UnsafeParameters as error:  # it names a field that nobody stated
        raise ValueError(
            f"masked values would need {bits} bits, noise included, above the {error.limit} that "
            f"sums of {contributors_max} contributors have room for"
        ) from error


def choose_verified(
    plain: Plain, contributors_max: int, privacy: PrivacyTerms | None
) -> MaskedBounds:
    """What is verified of masked updates of these bounds, their noise included.

    Raises ValueError when no bounds hold it.
    """
    norm = plain.norm_max
    if privacy is not None:
        width = update_width(plain.norm_max, privacy.honest_min, privacy.multiplier)
        norm += noise_norm_max(width, plain.bounded)
    colluding = colluding_bound(contributors_max)
    try:
        return choose_for(norm, plain.bounded, contributors_max, colluding)
    except ConfigError as error:
        raise ValueError(str(error).rstrip(".")) from error


def statistics_bounds(columns: int) -> Bounds:
    """Bounds of a statistics phase: counts in steps of a scaled value."""
    return Bounds(statistics_length(columns), 0, 0, RESOLUTION)


def poll_bounds(columns: int, count_max: int, ballot: Ballot | None) -> Bounds:
    """Bounds of a poll: one count a column. Raises TrainingError when it is no such ballot."""
    try:
        return Bounds(columns, 0, 0, count_max, 1, 0, ballot)
    except ValueError as error:
        raise TrainingError(f"The poll cannot be taken: {error}.") from error


def published(kind: str, bounds: Plain) -> int:
    """How many entries of a phase's sum are published: all but an update."""
    return TRAIN_COUNTS if kind == "train" else bounds.length


def phase_for(
    kind: PhaseKind,
    plain: Plain,
    *,
    rounds: int,
    cohort_min: int,
    target: int,
    drawn: int,
    deadline_s: float,
    privacy: PrivacyTerms | None = None,
    masked: ParameterSet | None = None,
    groups: int = 1,
    robust: Robust = PLAIN_MEAN,
    verified: MaskedBounds | None = None,
) -> StudyPhase:
    """Build a phase from the bounds that it has without noise.

    masked: how its updates are masked, if they are; see `choose_masks`. groups, robust: see
    `StudyPhase`. verified: what is verified of masked updates, if anything, with masks of its own;
    see `choose_verified`.

    Raises ValueError when the noise cannot be covered by bounds that can be proven.
    """
    norm = None
    if verified is not None:
        masked = masks_of(verified)
        norm = VerifiedNorm(verified.norm_max, verified.colluding_max)
    carried = _carried(plain, masked, verified)
    chosen = Chosen(carried, NO_NOISE)
    if masked is not None:
        chosen = Chosen(covering(carried, plain.norm_max, NO_NOISE, 1), NO_NOISE)
    if privacy is not None:
        # what is trained matters more than the counts that come with it
        on_counts = privacy.multiplier * (COUNTS_BESIDE_AN_UPDATE if plain.bounded else 1)
        chosen = choose_noise(
            carried,
            plain.norm_max,
            privacy.honest_min,
            privacy.multiplier,
            on_counts,
            masked=masked is not None,
        )
    return StudyPhase(
        kind=kind,
        rounds=rounds,
        bounds=chosen.bounds,
        metrics_length=published(kind, plain),
        cohort_min=cohort_min,
        target=target,
        drawn=drawn,
        deadline_s=deadline_s,
        clip=plain.norm_max,
        noise=chosen.noise,
        masked=masked,
        groups=groups,
        robust=robust,
        verified=norm,
    )


def fraction_bits_of(manifest: Manifest) -> int | None:
    """Of the units of updates; None for a study that trains nothing. Raises TrainingError."""
    trains = any(phase.kind == "train" for phase in manifest.phases)
    return _declared(manifest).hyperparameters.fraction_bits if trains else None


def cut_share(phase: StudyPhase) -> float | None:
    """The share of its clip beyond which an owner cuts an entry of an update; None if none is cut.

    Only masked updates whose norm is verified are cut: see `choose_verified`.
    """
    if phase.masked is None or not phase.clip:
        return None
    limit = phase.masked.value_max - noise_max(phase.noise.update_width)
    # Owners clip to a norm shorter by √length/2, which rounding may add; a half comes on its own.
    rounding = isqrt(phase.masked.length - 1) + 1
    largest = (2 * phase.clip + 1 - rounding) // 2
    return limit / phase.clip if limit < largest else None


class LearningRule:
    """Implements `protocol.ports.ModelRule` with the study's own hyper-parameters."""

    def next_model(
        self, manifest: bytes, round_number: int, model: bytes, total: IntVector, count: int
    ) -> bytes | None:
        """The model after a round; None when the sum cannot come from valid contributions."""
        try:
            study = read_manifest_body(manifest)
            phase = study.phase_of(round_number)
            hyperparameters = _declared(study).hyperparameters
            return apply_update(model, total, count, hyperparameters, phase.update_max)
        except TrainingError:
            return None


def training_task(
    rows: OwnerRows,
    *,
    study: bytes,
    manifest_body: bytes,
    round_number: int,
    model: bytes,
    node_id: bytes,
    statistics: PublishedSum | None,
    local: bytes,
    seed: bytes,
) -> TrainingTask:
    """Describe one local step on the consented rows.

    statistics: of the study's last statistics round. local: the owner's own parameters, as the last
    step left them. seed: 32 fresh secret bytes. Raises ConsentError or TrainingError.
    """
    manifest = read_manifest_body(manifest_body)
    declared = _declared(manifest)
    targets = _encoded_targets(rows.labels, declared.program, manifest)
    return TrainingTask(
        kind=_kind(manifest.phase_of(round_number)),
        program=declared.program,
        hyperparameters=declared.hyperparameters,
        model=model,
        features=rows.features.astype("<f4").tobytes(),
        targets=targets,
        rows=len(rows.features),
        seed=seed,
        split_seed=digest("pnyx/split", study, node_id),
        standard=_standard(manifest, declared.hyperparameters, statistics),
        local=local if declared.program.local_count else b"",
    )


def _encoded_targets(labels: Array | None, program: Program, manifest: Manifest) -> bytes:
    """Labels as a task carries them. Raises ConsentError when they are not what is predicted."""
    if labels is None or labels.dtype.kind not in ("iu" if program.classes else "iuf"):
        wanted = "classes" if program.classes else "numbers"
        raise ConsentError(f"Column {manifest.label} holds no {wanted}; check its mapping.")
    return labels.astype("<i8" if program.classes else "<f4").tobytes()


def is_scored(manifest: Manifest) -> bool:
    """Whether a study predicts numbers, so that its figures are scores and not right answers."""
    try:
        return bool(manifest.program) and not read_program(manifest.program).classes
    except TrainingError:  # nodes follow any study; who takes part refuses this one
        return False


def using_task(
    rows: OwnerRows | None,
    unseen: OwnerRows,
    *,
    manifest: Manifest,
    model: bytes,
    statistics: PublishedSum | None,
    local: bytes,
    seed: bytes,
) -> TrainingTask:
    """Describe the use of a study's model on rows of its owner.

    rows: those with labels that the owner has, to fine-tune the model on. Raises TrainingError when
    the study has no model, ConsentError when its label does not hold what the model predicts.
    """
    if not any(phase.kind in LEARNT for phase in manifest.phases):
        raise TrainingError("This study trains no model: `pnyx study result` shows what it gives.")
    declared = _declared(manifest)
    rows = rows and _labelled(rows)
    fine_tune = rows is not None and rows.labels is not None and len(rows.features) >= ROWS_MIN
    known = rows if fine_tune and rows is not None else OwnerRows(unseen.features[:0], None)
    labels = np.zeros(0, dtype=np.int64) if known.labels is None else known.labels
    targets = _encoded_targets(labels, declared.program, manifest)
    return TrainingTask(
        kind="use",
        program=declared.program,
        hyperparameters=declared.hyperparameters,
        model=model,
        features=known.features.astype("<f4").tobytes(),
        targets=targets,
        rows=len(known.features),
        seed=seed,
        split_seed=seed,
        standard=_standard(manifest, declared.hyperparameters, statistics),
        local=local if declared.program.local_count else b"",
        unseen=unseen.features.astype("<f4").tobytes(),
        unseen_rows=len(unseen.features),
        fine_tune=fine_tune,
    )


def _labelled(rows: OwnerRows) -> OwnerRows:
    """Without rows whose number to predict is missing: those are what a model is used for."""
    if rows.labels is None or rows.labels.dtype.kind != "f":
        return rows
    known = np.isfinite(rows.labels)
    return OwnerRows(rows.features[known], rows.labels[known])


def _standard(
    manifest: Manifest, hyperparameters: Hyperparameters, statistics: PublishedSum | None
) -> bytes:
    """What the study standardises by; the owner's own statistics where it published none."""
    if hyperparameters.standardise != "study" or statistics is None:
        return b""
    found = published_statistics(manifest, statistics.entries)
    return standardisation(found).astype("<f8").tobytes()


def published_statistics(
    manifest: Manifest, entries: Sequence[int]
) -> tuple[ColumnStatistics, ...]:
    """Each column's mean and deviation, from the sums of a statistics round of this study.

    Empty when the sums are of another length: nodes that take no part follow any study.
    """
    if len(entries) != statistics_length(len(manifest.columns)):
        return ()
    phase = next(phase for phase in manifest.phases if phase.kind == "statistics")
    return column_statistics(
        entries,
        phase.bounds.count_scale,
        [each.low for each in manifest.ranges],
        [each.high for each in manifest.ranges],
    )


def counted_vector(rows: OwnerRows, *, manifest_body: bytes, round_number: int) -> IntVector:
    """What a statistics round or a poll counts of the consented rows: no model, no training.

    Raises TrainingError.
    """
    manifest = read_manifest_body(manifest_body)
    phase = manifest.phase_of(round_number)
    table = rows.features
    if not len(table):
        raise TrainingError(f"There are no rows of {manifest.category}: import some.")
    if phase.kind == "statistics":
        lows = np.array([each.low for each in manifest.ranges])
        highs = np.array([each.high for each in manifest.ranges])
        return owner_statistics(table, lows, highs)
    if len(table) != 1:
        raise TrainingError(
            f"A poll takes one answer; {manifest.category} holds {len(table)} rows: keep one."
        )
    answer = table[0]
    if not np.isfinite(answer).all() or (answer != np.rint(answer)).any():
        raise TrainingError("Answers to a poll are whole numbers, one a column: correct them.")
    vector: IntVector = answer.clip(-1, phase.bounds.count_max + 1).astype(np.int64)
    plain = poll_bounds(len(answer), phase.bounds.count_max, phase.bounds.ballot)
    if not within(vector, plain):
        raise TrainingError(
            "Your answer is no valid ballot for this poll: see its rule with `pnyx study list`."
        )
    return vector
