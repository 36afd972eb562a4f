"""What a simulated study is made of, and whether it can be: found out before any run.

`check` is asked for every point of a sweep and needs no torch; a table is read once for all points.
"""

import math
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pnyx.errors import ConfigError, TrainingError
from pnyx.learning import Hyperparameters, Program, mlp
from pnyx.learning.programs import read_program
from pnyx.learning.update import norm_max
from pnyx.protocol.aggregation.gaussian import WIDTH_MAX
from pnyx.protocol.aggregation.robust import GROUPS_MAX
from pnyx.simulator.experiment import many, whole_number
from pnyx.simulator.learning.owners import Owners, read_owners
from pnyx.simulator.learning.records import LearningParameters


class _Facts(NamedTuple):
    """What a study must know of its data."""

    owners: int
    width: int
    classes: int


def check(parameters: LearningParameters) -> None:
    """Refuse what does not fit the data, or cannot be computed. Raises ConfigError."""
    data = _facts(
        parameters.data,
        parameters.owner_column,
        parameters.label_column,
        parameters.ignored,
    )
    owners = parameters.owners or data.owners
    _check_groups(parameters, owners)
    _check_participations(parameters, owners)
    program = read_program_of(parameters, data.width, data.classes)
    norm = norm_max(hyperparameters(parameters))
    coarse = 0.5 * math.sqrt(program.shared_count)  # norm of the rounding alone
    if norm <= coarse:
        least = coarse / 2**parameters.fraction_bits
        raise ConfigError(
            f"clip_norm must be above {least:.3g}, the rounding of {program.shared_count:,} "
            f"parameters to {parameters.fraction_bits} binary digits, not "
            f"{parameters.clip_norm:g}; or raise fraction_bits."
        )
    # By chance a round may have as few contributors as it likes, so that 2/honest_share bounds how
    # many add noise for each that must suffice. A group may have one more than the smallest.
    crowd_max = 2 / parameters.honest_share + (parameters.groups > 1)
    drawn_max = WIDTH_MAX - math.sqrt(min(parameters.contributors, owners))
    most = drawn_max / (norm * math.sqrt(crowd_max))
    if parameters.noise_multiplier > most:
        raise ConfigError(
            f"noise_multiplier must be a number from 0 to {_below(most)} with fraction_bits "
            f"{parameters.fraction_bits} and clip_norm {parameters.clip_norm:g}, beyond which noise"
            f" is too wide to be drawn, not {parameters.noise_multiplier:g}."
        )


def _below(value: float) -> str:
    """The value, rounded down to three digits."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return f"{math.floor(value / unit) * unit:.3g}"


def _check_groups(parameters: LearningParameters, owners: int) -> None:
    contributors = min(parameters.contributors, owners)
    if parameters.groups > max(1, contributors // 2):
        raise ConfigError(
            f"groups must be {whole_number(1, min(GROUPS_MAX, max(1, contributors // 2)))}, which "
            f"leaves 2 owners or more of {many(contributors, 'contributors')} in each, not "
            f"{parameters.groups}."
        )


def _check_participations(parameters: LearningParameters, owners: int) -> None:
    even = parameters.even_participations(owners)
    if parameters.most_participations(owners) < even:
        raise ConfigError(
            f"participations_max must be 0, or {whole_number(even, 10_000)}, which lets "
            f"{many(owners, 'owners')} fill {many(parameters.rounds, 'rounds')} of "
            f"{many(min(parameters.contributors, owners), 'contributors')}, not "
            f"{parameters.participations_max:,}."
        )


@lru_cache(maxsize=8)
def _facts(data: str, owner_column: str, label_column: str, ignored: tuple[str, ...]) -> _Facts:
    owners = read_owners(
        Path(data),
        owner_column=owner_column,
        label_column=label_column,
        ignored=ignored,
        standardise="none",
        seed=b"",
    )
    return _Facts(len(owners.training), owners.width, owners.classes)


def read_data(parameters: LearningParameters, seed: bytes) -> Owners:
    """Read the owners of a study. Raises ConfigError."""
    return read_owners(
        Path(parameters.data),
        owner_column=parameters.owner_column,
        label_column=parameters.label_column,
        ignored=parameters.ignored,
        standardise=parameters.standardise,
        seed=seed,
    )


def read_program_of(parameters: LearningParameters, width: int, classes: int) -> Program:
    """Read the program of a study, or make its perceptron. Raises ConfigError."""
    if not parameters.program:
        return mlp((width, *parameters.hidden, classes))
    path = Path(parameters.program)
    try:
        program = read_program(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"program must name a program made by pnyx.export: {path} cannot be read: "
            f"{error.strerror}."
        ) from error
    except TrainingError as error:
        raise ConfigError(
            f"program must name a program made by pnyx.export, which {path} is not."
        ) from error
    if (program.width, program.classes) != (width, classes):
        raise ConfigError(
            f"program must be one for {width} columns and {classes} classes, as the data has, not "
            f"for {program.width} and {program.classes}, as {path}."
        )
    if program.local_count:
        raise ConfigError(
            f"program must have no local parameters, which simulated owners do not keep: {path} "
            f"has {program.local_count:,}."
        )
    return program


def hyperparameters(parameters: LearningParameters) -> Hyperparameters:
    """Return those of a study. Raises ConfigError."""
    try:
        return Hyperparameters(
            local_epochs=parameters.local_epochs,
            batch_size=parameters.batch_size,
            learning_rate=parameters.learning_rate,
            momentum=parameters.momentum,
            weight_decay=parameters.weight_decay,
            clip_norm=parameters.clip_norm,
            fraction_bits=parameters.fraction_bits,
            server_learning_rate=parameters.server_learning_rate,
            fine_tune_epochs=1,
            fine_tune_learning_rate=parameters.learning_rate,
            alone_epochs=1,
            alone_learning_rate=parameters.learning_rate,
        )
    except ValueError as error:
        raise ConfigError(f"{error}.") from error
