"""From the phases that a proposer states to those of a manifest.

Tables are checked first, with the names of their keys. Phases are then built with a rounding of
updates, and every check of the protocol counts: where a finer one does not serve, a coarser may.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from pnyx.errors import ConfigError, RuleBroken, TrainingError
from pnyx.learning.programs import Program
from pnyx.learning.statistics import statistics_length
from pnyx.learning.task import Hyperparameters
from pnyx.learning.update import norm_max
from pnyx.node.learning import (
    Clipped,
    Plain,
    PrivacyTerms,
    bounds_for,
    choose_masks,
    choose_verified,
    masked_bounds_for,
    phase_for,
    poll_bounds,
    statistics_bounds,
)
from pnyx.node.study_file import (
    PLAIN_MEAN,
    SHARED_MAX,
    BallotTable,
    PhaseTable,
    StudyFile,
    count_max_of,
    floor_of,
    honest_min_of,
    masks_updates,
)
from pnyx.protocol.aggregation.ballots import Ballot
from pnyx.protocol.aggregation.masked.parameters import CONTRIBUTORS_MAX, CONTRIBUTORS_MIN
from pnyx.protocol.aggregation.robust import Robust
from pnyx.protocol.manifest import (
    METRICS_LENGTH_MAX,
    StudyPhase,
    check_contributors,
    check_phase,
    size_objection,
)
from pnyx.protocol.params import DEFAULT_PARAMS
from pnyx.protocol.selection.security import CommitteeSize, choose_committee

NETWORK_SIZES = (10, 30, 100, 1_000, 10_000)  # nodes: committees grow no more in larger ones
FINEST_BITS = 11  # what is chosen unless stated: 1/2048 of a unit is far below any noise


def check_phase_table(study: StudyFile, phase: PhaseTable, length: int, where: str) -> None:
    """Refuse what no rounding of updates mends. length: values of one. Raises ConfigError."""
    if phase.kind == "train":
        _check_masking_keys(phase, length, where)
    else:
        _check_training_keys(phase, where)
        _check_published(study, phase, where)
    _check_robust(phase, where)
    _check_ballot(phase, where)
    floor = floor_of(study, phase)
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
    masks = masks_updates(phase, length)
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
    if not masks and length > SHARED_MAX:
        raise ConfigError(
            f"{where}.masked is false, and an update has {length} values, where {SHARED_MAX} are "
            "shared with the committee at most; leave it out, or take a smaller model."
        )


def _check_training_keys(phase: PhaseTable, where: str) -> None:
    """Refuse keys that only a phase that trains has. Raises ConfigError."""
    for name, asked in (
        ("masked", phase.masked),
        ("verified", phase.verified),
        ("value_bits", phase.value_bits),
        ("groups", phase.groups > 1),
        ("robust", phase.robust != PLAIN_MEAN),
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


def roundings(study: StudyFile, program: Program | None) -> Sequence[Hyperparameters | None]:
    """Hyper-parameters with the stated rounding, or with all that may be chosen, the finest first.

    Those too coarse for the clip are left out, perhaps all. [None] where nothing is learnt.
    """
    if program is None:
        return [None]
    stated = study.training.fraction_bits
    rounded = [
        Hyperparameters(
            **msgspec.structs.asdict(study.training)
            | {"fraction_bits": bits, "count_max": count_max_of(study)}
        )
        for bits in (range(FINEST_BITS, -1, -1) if stated is None else (stated,))
    ]
    # Coarser ones would leave nothing of an update: see `learning.update.quantise`.
    return [each for each in rounded if norm_max(each) > 0.5 * math.sqrt(program.shared_count)]


def build_phase(
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
        cohort_min=floor_of(study, phase),
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
    _check_carried(built)
    return built


def _check_carried(phase: StudyPhase) -> None:
    """Refuse a phase that no usual committee could carry. Raises RuleBroken."""
    found = [size_objection(phase, usual_committee(n)) for n in networks_for(phase.target)]
    if all(found):
        raise RuleBroken(found[-1])


def networks_for(target: int) -> list[int]:
    """Sizes of networks, of those looked at, that have as many nodes as a round contributors."""
    return [nodes for nodes in NETWORK_SIZES if nodes >= target]


@lru_cache(maxsize=len(NETWORK_SIZES))
def usual_committee(nodes: int) -> CommitteeSize:
    """The committee of a network that is planned as is usual."""
    return choose_committee(nodes)


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
    if masks_updates(phase, program.shared_count):
        return masked_bounds_for(program, hyperparameters)
    return bounds_for(program, hyperparameters, "train" if phase.kind == "train" else "evaluate")


def _privacy(study: StudyFile, phase: PhaseTable) -> PrivacyTerms | None:
    multiplier = study.privacy.noise_multiplier
    return PrivacyTerms(multiplier, honest_min_of(study, phase)) if multiplier else None


def objection(
    study: StudyFile, phase: PhaseTable, program: Program | None, rounded: Hyperparameters | None
) -> Exception | None:
    """Why a phase cannot be with this rounding; None if it can."""
    try:
        build_phase(study, phase, program, rounded)
    except (RuleBroken, TrainingError, ValueError) as error:
        return error
    return None
