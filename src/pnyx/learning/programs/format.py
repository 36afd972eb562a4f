"""A program: which function a study trains, as data that can be checked before anything runs.

A program is a list of operations over numbered values. It holds no code, no name that is looked up
anywhere but in a table of known operations (`operations.OPERATIONS`), and no sizes to compute.

Values are numbered in the order in which they come to exist:

    0           inputs   [batch, width] float32: the columns of the study
    1           targets  [batch]: int64 classes, or float32 when there are none
    2, 3, …     the parameters, float32
    then        the results of each operation in turn; a few operations have two

Arguments of an operation stand in the order of its signature; whether a number refers to a value
is known from there. In sizes a negative number −k stands for k times the batch size. Infinite
numbers are written "inf" and "-inf".

A program travels as canonical JSON: bytes that do not encode back to themselves are refused, and
with them repeated keys, spaces, and numbers written in two ways.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pnyx.errors import TrainingError

PROGRAM_BYTES_MAX = 32 * 1024
OPERATIONS_MAX = 2048
ARGUMENTS_MAX = 16
ELEMENTS_MAX = 4096  # of one list in a program
PARAMETERS_MAX = 10_000_000  # numbers in all: 40 MB of float32
TENSORS_MAX = 512  # parameters by name
DIMENSION_MAX = 1 << 24
RANK_MAX = 8
WIDTH_MAX = 4096  # features of one example, and classes
SPREAD_MAX = 1e3

NAME_PATTERN = r"\A[A-Za-z0-9_.]{1,100}\Z"
Name = Annotated[str, Meta(pattern=NAME_PATTERN)]
Integer = Annotated[int, Meta(ge=-(2**53), le=2**53)]
Infinity = Literal["inf", "-inf"]
Word = Annotated[str, Meta(max_length=24)]
Elements = Annotated[tuple[Integer | float | Infinity, ...], Meta(max_length=ELEMENTS_MAX)]
Argument = Integer | float | bool | Word | None | Elements
ValueNumber = Annotated[int, Meta(ge=0, lt=2 + TENSORS_MAX + 2 * OPERATIONS_MAX)]
Size = Annotated[int, Meta(ge=1, le=DIMENSION_MAX)]
Initial = Annotated[float, Meta(ge=-SPREAD_MAX, le=SPREAD_MAX)]


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An array that training changes; drawn uniformly from centre ± spread where it begins.

    local: it stays with its owner, and each owner has another.
    """

    name: Name
    shape: Annotated[tuple[Size, ...], Meta(max_length=RANK_MAX)]
    centre: Initial = 0.0
    spread: Annotated[float, Meta(ge=0, le=SPREAD_MAX)] = 0.0
    local: bool = False

    def __post_init__(self) -> None:
        # An int given for a float would encode differently and break canonical encoding.
        msgspec.structs.force_setattr(self, "centre", float(self.centre))
        msgspec.structs.force_setattr(self, "spread", float(self.spread))

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        product = 1
        for each in self.shape:
            product *= each
        return product


class Operation(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One step: a name of `operations.OPERATIONS` and what it is applied to."""

    name: Word
    arguments: Annotated[tuple[Argument, ...], Meta(max_length=ARGUMENTS_MAX)]


class Program(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """What is trained. Only `audit` tells whether it can be run; until then it is mere data.

    width: features of one example. classes: targets lie in 0…classes−1; 0 when they are real
    numbers. loss: number of a scalar value, which training makes small. score: number of a value
    [batch] that tells how right each prediction is, between 0 and 1. prediction: of a value [batch]
    that predicts real-numbered targets, where there is one number for each example; it is for
    owners who use the model, and depends on no target.
    """

    width: Annotated[int, Meta(ge=1, le=WIDTH_MAX)]
    classes: Annotated[int, Meta(ge=0, le=WIDTH_MAX)]
    parameters: Annotated[tuple[Parameter, ...], Meta(min_length=1, max_length=TENSORS_MAX)]
    operations: Annotated[tuple[Operation, ...], Meta(min_length=1, max_length=OPERATIONS_MAX)]
    loss: ValueNumber
    score: ValueNumber
    prediction: ValueNumber | None = None

    @property
    def shared_count(self) -> int:
        """Length of the shared model: numbers in parameters that are not local."""
        return sum(each.size for each in self.parameters if not each.local)

    @property
    def local_count(self) -> int:
        """Numbers in local parameters."""
        return sum(each.size for each in self.parameters if each.local)


_DECODER = msgspec.json.Decoder(Program)


def encode_program(program: Program) -> bytes:
    """A program as manifests and files carry it."""
    return msgspec.json.encode(program)


def read_program(data: bytes) -> Program:
    """Decode a program, still unaudited. Raises TrainingError."""
    if len(data) > PROGRAM_BYTES_MAX:
        raise TrainingError(
            f"The program has {len(data)} bytes, above {PROGRAM_BYTES_MAX}: ask for a smaller one."
        )
    try:
        program = _DECODER.decode(data)
        canonical = encode_program(program)
    except (msgspec.MsgspecError, ValueError) as error:
        raise TrainingError(f"The program cannot be read ({error}): refuse it.") from error
    if canonical != data:
        raise TrainingError("The program is not written in the one canonical way: refuse it.")
    return program
