"""What a study trains, from the [model] table of its file.

Either a perceptron, by the widths of its hidden layers, or a program that `pnyx.export` wrote, in a
file beside the study's. The initial model is drawn from the study's nonce, unless the table names
weights; those of local parameters in it are passed over, since every owner draws its own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from pnyx.config import FILE_NAME
from pnyx.errors import ConfigError, TrainingError
from pnyx.learning.programs import Program, audit, initial_model, mlp, read_program
from pnyx.learning.programs.builtin import LAYERS_MAX
from pnyx.learning.programs.format import PARAMETERS_MAX, PROGRAM_BYTES_MAX, WIDTH_MAX
from pnyx.learning.programs.models import PARAMETER_DTYPE, read_model
from pnyx.node.enrolment import read_file

HIDDEN = (64,)
WEIGHTS_BYTES_MAX = 4 * PARAMETERS_MAX + (1 << 20)  # float32, and names

_Width = Annotated[int, Meta(ge=1, le=WIDTH_MAX)]
_File = Annotated[str, Meta(min_length=1, max_length=1000, pattern=FILE_NAME)]


class ModelTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Layers between the columns and the classes, or files: a program, and weights to begin with.

    hidden: widths of layers, one of 64 unless stated.
    """

    hidden: Annotated[tuple[_Width, ...], Meta(max_length=LAYERS_MAX - 1)] | None = None
    classes: Annotated[int, Meta(ge=2, le=WIDTH_MAX)] | None = None
    program: _File | None = None
    weights: _File | None = None


def read_study_program(
    table: ModelTable, columns: int, batch_size: int, folder: Path, source: str
) -> Program:
    """The program that a table describes; files are relative to `folder`. Raises ConfigError."""
    if table.program is not None:
        if table.hidden is not None or table.classes is not None:
            raise ConfigError(
                f"{source}: model.program states the whole model; leave out hidden and classes."
            )
        return _exported(folder / table.program, columns, batch_size)
    if table.weights is not None:
        raise ConfigError(f"{source}: model.weights needs model.program; leave it out.")
    if table.classes is None:
        raise ConfigError(f"{source}: model.classes is missing; or name a file in model.program.")
    try:
        return mlp((columns, *(HIDDEN if table.hidden is None else table.hidden), table.classes))
    except ValueError as error:
        raise ConfigError(f"{source}: model.hidden is out of range: {error}.") from error


def _exported(path: Path, columns: int, batch_size: int) -> Program:
    try:
        program = read_program(read_file(path, PROGRAM_BYTES_MAX, "The program"))
        audit(program, batch_size)
    except TrainingError as error:
        raise ConfigError(f"{path}: {error}") from error
    if program.width != columns:
        raise ConfigError(
            f"{path} takes {program.width} columns, and the study names {columns}: make them agree."
        )
    return program


def read_initial_model(program: Program, table: ModelTable, folder: Path, seed: bytes) -> bytes:
    """The weights that a table names, or those drawn from 32 public bytes. Raises ConfigError."""
    if table.weights is None:
        return initial_model(program, seed)
    path = folder / table.weights
    try:
        arrays = load(read_file(path, WEIGHTS_BYTES_MAX, "The file of weights"))
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{path} is no safetensors file of weights: {error}.") from error
    try:
        model = b"".join(_shared(program, arrays))
        read_model(program, model)
    except (TrainingError, ValueError) as error:
        raise ConfigError(f"{path} does not fit the program: {str(error).rstrip('.')}.") from error
    return model


def _shared(program: Program, arrays: Mapping[str, NDArray[np.generic]]) -> list[bytes]:
    """The arrays of shared parameters as a model holds them. Raises ValueError."""
    wanted = {each.name: each for each in program.parameters}
    if wrong := sorted(wanted.keys() ^ arrays.keys()):
        raise ValueError(f"one of them lacks {wrong[0]}")
    parts = []
    for name, parameter in wanted.items():
        array = arrays[name]
        if array.shape != parameter.shape or array.dtype != np.float32:
            raise ValueError(f"{name} is {array.dtype} of shape {array.shape}")
        if not parameter.local:
            parts.append(array.astype(PARAMETER_DTYPE).tobytes())
    return parts
