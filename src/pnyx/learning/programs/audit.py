"""What a node checks of a program before it runs or allocates anything.

The audit walks through the operations once. It knows of every value its type, and adds up work and
memory, in integers; no array is made. What passes cannot do more than compute floats within the
stated bounds: names come from one table, references point backwards, every size is bounded before
it enters the next rule, and nothing is changed in place.

Estimates are on the safe side and for one batch in training: every result stays until the end and
takes a gradient of its size, every argument of an operation may take a gradient at once, and the
backward pass works twice as much as the forward pass.
"""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, NamedTuple, get_args

from pnyx.errors import TrainingError
from pnyx.learning.programs import neural, pointwise, shaping
from pnyx.learning.programs.format import (
    DIMENSION_MAX,
    PARAMETERS_MAX,
    Argument,
    Operation,
    Program,
)
from pnyx.learning.programs.operations import (
    OPERATIONS,
    Dtype,
    Kind,
    Outcome,
    TensorType,
    is_integer,
)
from pnyx.learning.programs.sizes import BATCH, at, check_shape, decode_sizes

MEMORY_BYTES_MAX = 1 << 30
WORK_MAX = 1 << 36  # operations on numbers for one batch, forwards and backwards
BATCH_SIZE_MAX = 4096
TOUCHED_WORK = 8  # of reading or writing a number, backwards too
TARGETS = 1  # number of the value that holds them
PARAMETER_BYTES = 24  # the model, its copy, gradient, velocity, and the update in float64

RULES = (neural, pointwise, shaping)  # entering themselves into OPERATIONS
INFINITIES = {"inf": float("inf"), "-inf": float("-inf")}


class Cost(NamedTuple):
    """What a program asks for.

    shared, local: numbers in parameters. operations: how many. memory_bytes, work: an upper
    estimate for one training step at the largest batch; work in operations on numbers.
    """

    shared: int
    local: int
    operations: int
    memory_bytes: int
    work: int


def audit(program: Program, batch_size_max: int) -> Cost:
    """Check that a program can be run within bounds for batches of up to so many examples.

    Raises TrainingError, with one sentence that names what is wrong.
    """
    if not 1 <= batch_size_max <= BATCH_SIZE_MAX:
        raise ValueError(f"a batch has 1 to {BATCH_SIZE_MAX} examples, not {batch_size_max}")
    return _Audit(program, batch_size_max).run()


class _Audit:
    """The state of one walk."""

    def __init__(self, program: Program, batch: int) -> None:
        self.program = program
        self.batch = batch
        self.values: list[TensorType] = []
        self.sources: list[tuple[int, ...]] = []  # of each value: those that it comes from
        self.memory = 0
        self.transient = 0
        self.work = 0

    def run(self) -> Cost:
        program = self.program
        self._enter_parameters()
        for number, operation in enumerate(program.operations):
            try:
                self._enter(operation)
            except ValueError as error:
                raise TrainingError(
                    f"The study's program is refused: operation {number} ({operation.name}) "
                    f"{error}."
                ) from error
        self._check_ends()
        return Cost(
            program.shared_count,
            program.local_count,
            len(program.operations),
            self.memory + self.transient,
            self.work,
        )

    def _enter_parameters(self) -> None:
        """Inputs, targets and parameters."""
        program = self.program
        total = 0
        for parameter in program.parameters:
            total += prod(parameter.shape)
            if total > PARAMETERS_MAX:
                raise _refused(f"it has more than {PARAMETERS_MAX} parameters")
        if len({each.name for each in program.parameters}) < len(program.parameters):
            raise _refused("two of its parameters have one name")
        if not program.shared_count:
            raise _refused("all of its parameters are local, so there is nothing to learn together")
        targets: Dtype = "int64" if program.classes else "float32"
        self._add(TensorType((BATCH, program.width), "float32"), ())
        self._add(TensorType((BATCH,), targets), ())
        for parameter in program.parameters:
            self._add(TensorType(parameter.shape, "float32", gradient=True), ())
        self.memory += PARAMETER_BYTES * total

    def _enter(self, operation: Operation) -> None:
        """One operation. Raises ValueError."""
        entry = OPERATIONS.get(operation.name)
        if entry is None:
            raise ValueError("is not one that this version of Pnyx knows")
        if len(operation.arguments) != len(entry.kinds):
            raise ValueError(f"takes {len(entry.kinds)} arguments, not {len(operation.arguments)}")
        arguments = [
            self._resolve(kind, argument)
            for kind, argument in zip(entry.kinds, operation.arguments, strict=True)
        ]
        outcome = entry.rule(*arguments)
        for result in outcome.results:
            check_shape(result.shape)
        operands = tuple(value_numbers(entry.kinds, operation.arguments))
        self._charge(outcome, [self.values[each] for each in operands])
        for result in outcome.results:
            self._add(result, operands)

    def _resolve(self, kind: Kind, argument: Argument) -> Any:
        """An argument as its rule takes it; values as their types."""
        if kind == "tensor":
            return self._value(argument)
        if kind == "tensors":
            if not isinstance(argument, tuple) or not argument:
                raise ValueError("takes a list of values")
            return tuple(self._value(each) for each in argument)
        if kind == "tensor?":
            return None if argument is None else self._value(argument)
        return constant_argument(kind, argument)

    def _value(self, argument: object) -> TensorType:
        if is_integer(argument) and 0 <= argument < len(self.values):
            return self.values[argument]
        raise ValueError("refers to a value that does not exist before it")

    def _charge(self, outcome: Outcome, operands: Sequence[TensorType]) -> None:
        """Count memory and work, and refuse as soon as they are too much."""
        results = sum(result.bytes for result in outcome.results)
        gradients = sum(operand.bytes for operand in operands if operand.gradient)
        touched = sum(each.number for each in (*operands, *outcome.results))
        self.memory += at(2 * results + outcome.scratch, self.batch)
        self.transient = max(self.transient, at(results + gradients, self.batch))
        self.work += at(3 * outcome.work + TOUCHED_WORK * touched, self.batch)
        if self.memory + self.transient > MEMORY_BYTES_MAX:
            raise ValueError(f"brings the memory of one batch above {MEMORY_BYTES_MAX} bytes")
        if self.work > WORK_MAX:
            raise ValueError(f"brings the work of one batch above {WORK_MAX} operations")

    def _add(self, value: TensorType, sources: tuple[int, ...]) -> None:
        self.values.append(value)
        self.sources.append(sources)

    def _check_ends(self) -> None:
        """The ends are what they should be, and every parameter has a part in the loss."""
        program = self.program
        ends = [program.loss, program.score]
        ends += [] if program.prediction is None else [program.prediction]
        if max(ends) >= len(self.values):
            raise _refused("its loss, its score or its prediction is a value that does not exist")
        if self.values[program.loss] != TensorType((), "float32", gradient=True):
            raise _refused("its loss is not one float32 number that depends on the parameters")
        for end, name in zip(ends[1:], ("score", "prediction"), strict=False):
            if (self.values[end].shape, self.values[end].dtype) != ((BATCH,), "float32"):
                raise _refused(f"its {name} is not one float32 number for each example")
        if program.prediction is not None:
            self._check_prediction(program.prediction)
        reached = self._sources_of(program.loss, gradients_only=True)
        for number, parameter in enumerate(program.parameters):
            if number + 2 not in reached:
                raise _refused(f"its parameter {parameter.name} has no part in the loss")

    def _check_prediction(self, prediction: int) -> None:
        if self.program.classes:
            raise _refused("it has classes and a prediction, and classes need none")
        if TARGETS in self._sources_of(prediction, gradients_only=False):
            raise _refused("its prediction depends on the targets")

    def _sources_of(self, end: int, *, gradients_only: bool) -> set[int]:
        """The values that one comes from; gradients_only: those that its gradient comes to."""
        found, waiting = {end}, [end]
        while waiting:
            for source in self.sources[waiting.pop()]:
                if source not in found and (self.values[source].gradient or not gradients_only):
                    found.add(source)
                    waiting.append(source)
        return found


def _refused(reason: str) -> TrainingError:
    return TrainingError(f"The study's program is refused: {reason}.")


def value_numbers(kinds: Sequence[Kind], arguments: Sequence[Argument]) -> Iterator[int]:
    """The values that an audited operation reads, in order; absent ones are left out."""
    for kind, argument in zip(kinds, arguments, strict=True):
        if kind == "tensors" and isinstance(argument, tuple):
            yield from filter(is_integer, argument)
        elif kind in ("tensor", "tensor?") and is_integer(argument):
            yield argument


def constant_argument(kind: Kind, argument: Argument) -> Any:
    """An argument that is no value, as rules and kernels take it. Raises ValueError."""
    if kind.endswith("?") and argument is None:
        return None
    match kind:
        case "scalar" | "scalar?":
            return _number(argument)
        case "int" | "int?" if _is_small(argument):
            return argument
        case "bool" if isinstance(argument, bool):
            return argument
        case "dtype" if argument in get_args(Dtype):
            return argument
        case "elements" if isinstance(argument, tuple):
            return tuple(map(_number, argument))
        case "ints" | "sizes" if isinstance(argument, tuple) and all(map(_is_small, argument)):
            numbers = tuple(filter(is_integer, argument))
            return decode_sizes(numbers) if kind == "sizes" else numbers
    raise ValueError(f"takes another argument than {str(argument)[:40]!r} ({kind.rstrip('?')})")


def _is_small(argument: object) -> bool:
    return is_integer(argument) and abs(argument) <= DIMENSION_MAX


def _number(argument: object) -> float:
    if isinstance(argument, str) and argument in INFINITIES:
        return INFINITIES[argument]
    if isinstance(argument, int | float) and not isinstance(argument, bool):
        return argument
    raise ValueError(f"takes a number, not {str(argument)[:40]!r}")
