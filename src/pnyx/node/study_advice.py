"""Why no rounding of updates serves a study, and what its proposer may set instead.

What the core says of a phase is for any caller. A proposer is told its keys, and only settings that
serve: each key is tried by itself with other values, the nearest first.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from pnyx.learning.programs import Program
from pnyx.learning.task import CLIP_NORM_MAX, FRACTION_BITS_MAX, Hyperparameters
from pnyx.node.learning import LEARNT
from pnyx.node.study_file import (
    RATE_MIN,
    VALUE_BITS_MAX,
    PhaseTable,
    StudyFile,
    count_max_of,
    floor_of,
    honest_min_of,
)
from pnyx.node.study_phases import FINEST_BITS, objection, roundings
from pnyx.protocol.aggregation.masked.parameters import CONTRIBUTORS_MAX
from pnyx.protocol.aggregation.robust import GROUPS_MAX

# How objections end that advise what may help: a proposer is told what does, by its keys.
_GENERAL_ADVICE = re.compile(r"[:;.] (?:ask|choose|draw|Use)\b")


def refusal(
    study: StudyFile, program: Program | None, tried: Sequence[Hyperparameters | None]
) -> str:
    """Why none of the roundings tried serves all phases, and what to change."""
    if not tried:
        assert program is not None, "without a program nothing is rounded"
        first = next(at for at, phase in enumerate(study.phases) if phase.kind in LEARNT)
        return _too_coarse(study, program) + _advice(study, program, first)
    taken = []
    for at, phase in enumerate(study.phases):
        objections = [objection(study, phase, program, each) for each in tried]
        bits = [each.fraction_bits for each in tried if each is not None]
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
        all(objection(study, phase, program, each) is None for phase in study.phases[: at + 1])
        for each in roundings(study, program)
    )


def _changes(study: StudyFile, at: int) -> Iterator[list[tuple[str, StudyFile]]]:
    """Other settings of each key that may matter to a phase, from the nearest to the farthest.

    Each in words, with the study that has it. Noise is made less, and never switched off.
    """
    phase, training, privacy = study.phases[at], study.training, study.privacy
    honest, floor = honest_min_of(study, phase), min(floor_of(study, each) for each in study.phases)
    finest = FINEST_BITS if training.fraction_bits is None else training.fraction_bits
    whole_sum = {phase.groups * CONTRIBUTORS_MAX} & set(range(phase.target, phase.drawn))
    keys: dict[str, dict[str, Iterable[float]]] = {
        "training": {
            "fraction_bits": sorted(range(FRACTION_BITS_MAX + 1), key=lambda b: abs(b - finest)),
            "clip_norm": (*_lower(training.clip_norm, RATE_MIN), *_higher(training.clip_norm)),
        },
        "privacy": {
            "noise_multiplier": _lower(privacy.noise_multiplier),
            "honest_min": _steps(honest, max(honest, floor)),
            "count_max": _halved(count_max_of(study)),
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
