"""Collects the operations of a program while a traced graph is read; on the author's side only.

`LOWERINGS` will have an entry for each operation of torch that can be expressed (see `lowering`).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import msgspec
import torch
from torch import Tensor

from pnyx.errors import TrainingError
from pnyx.learning.programs.audit import value_numbers
from pnyx.learning.programs.format import Argument, Elements, Operation, Program
from pnyx.learning.programs.operations import OPERATIONS, RESULTS, TENSOR_KINDS

aten = torch.ops.aten
DTYPE_NAMES = {torch.float32: "float32", torch.int64: "int64", torch.bool: "bool"}


class Unsupported(Exception):
    """Why an operation cannot be part of a program; completes a sentence that begins with it."""


class Batch(NamedTuple):
    """A size that is a multiple of the batch."""

    times: int


Size = int | Batch


class Value(NamedTuple):
    """A value of the program: its number, shape and type."""

    number: int
    shape: tuple[Size, ...]
    dtype: torch.dtype


def size_of(size: int | torch.SymInt) -> Size:
    """A size of the graph as a number, or as a multiple of the batch."""
    if isinstance(size, int):
        return size
    expression = size.node.expr
    if expression.is_Integer:
        return int(expression)
    symbols = list(expression.free_symbols)
    factor = expression / symbols[0]
    if len(symbols) != 1 or not factor.is_Integer:
        raise TrainingError(
            f"A size of {expression} depends on the batch in a way that a program cannot express."
        )
    return Batch(int(factor))


def shape_of(tensor: Tensor) -> tuple[Size, ...]:
    """The shape of a tensor of the graph."""
    return tuple(map(size_of, tensor.shape))


def is_fixed(result: Any) -> bool:
    """Whether a result has the same size for every batch."""
    parts = result if isinstance(result, tuple | list) else [result]
    return all(isinstance(size, int) for part in parts for size in part.shape)


class Builder:
    """Collects the operations of a program."""

    def __init__(self, first: int) -> None:
        self.operations: list[Operation] = []
        self._next = first
        self.result_shape: tuple[Size, ...] = ()  # of the aten operation at hand
        self.result_dtype = torch.float32

    def add(self, name: str, *arguments: Any, shape: Sequence[Size] | None = None,
            dtype: torch.dtype | None = None) -> Value:  # fmt: skip
        """Append an operation; its result has the shape and type of the one at hand, or those.

        Raises Unsupported for a number in the place of a value, which it would be taken for.
        """
        for kind, argument in zip(OPERATIONS[name].kinds, arguments, strict=False):
            parts = argument if kind == "tensors" else [argument]
            if kind in TENSOR_KINDS and not all(isinstance(p, Value | None) for p in parts):
                raise Unsupported("takes a number where a program takes an array")
        self.operations.append(Operation(name, tuple(map(_written, arguments))))
        number, self._next = self._next, self._next + 1
        return Value(
            number,
            self.result_shape if shape is None else tuple(shape),
            self.result_dtype if dtype is None else dtype,
        )

    def add_several(self, name: str, *arguments: Any, others: Sequence[Size]) -> tuple[Value, ...]:
        """Append an operation with several results, of this shape but for the first."""
        first = self.add(name, *arguments)
        end = first.number + RESULTS[name]
        numbers, self._next = range(self._next, end), end
        return first, *(Value(number, tuple(others), first.dtype) for number in numbers)

    def constant(self, tensor: torch.Tensor) -> Value:
        """A small tensor, written into the program; one number everywhere becomes `full`."""
        dtype = DTYPE_NAMES.get(tensor.dtype)
        if dtype is None:
            raise Unsupported(f"makes a constant of type {tensor.dtype}")
        flat = tensor.flatten().tolist()
        shape = tuple(tensor.shape)
        if any(isinstance(each, float) and math.isnan(each) for each in flat):
            raise Unsupported("makes a constant with NaN")
        numbers = [int(each) if dtype == "bool" else each for each in flat]
        if len(set(numbers)) == 1:
            return self.add("full", shape, numbers[0], dtype, shape=shape, dtype=tensor.dtype)
        return self.add("constant", shape, tuple(numbers), dtype, shape=shape, dtype=tensor.dtype)


def _written(argument: Any) -> Argument:
    """An argument as a program writes it."""
    match argument:
        case Value():
            return argument.number
        case Batch():
            return -argument.times
        case torch.dtype():
            if argument not in DTYPE_NAMES:
                raise Unsupported(f"makes numbers of type {argument}")
            return DTYPE_NAMES[argument]
        case [*parts]:
            # The audit that follows refuses a list of anything but numbers.
            return cast(Elements, tuple(map(_written, parts)))
        case float() if math.isinf(argument):
            return "inf" if argument > 0 else "-inf"
    result: Argument = argument
    return result


Lowering = Callable[..., Any]
L = TypeVar("L", bound=Lowering)
LOWERINGS: dict[Any, Lowering] = {}


def lower(*overloads: Any) -> Callable[[L], L]:
    """Enter a lowering into the table, under operations of torch."""

    def enter(function: L) -> L:
        for overload in overloads:
            LOWERINGS[overload] = function
        return function

    return enter


def as_float(builder: Builder, x: Value) -> Value:
    """A value converted to float32 where it is not."""
    if x.dtype == torch.float32:
        return x
    return builder.add("cast", x, torch.float32, shape=x.shape, dtype=torch.float32)


def pruned(program: Program) -> Program:
    """Leave out operations that neither loss, score nor prediction depends on, and number again."""
    starts, number = [], 2 + len(program.parameters)
    for operation in program.operations:
        starts.append(number)
        number += RESULTS.get(operation.name, 1)
    needed = {program.loss, program.score}
    if program.prediction is not None:
        needed.add(program.prediction)
    kept: list[tuple[Operation, int, int]] = []
    ends = [*starts[1:], number]
    for operation, start, end in zip(program.operations[::-1], starts[::-1], ends[::-1],
                                     strict=True):  # fmt: skip
        if not needed.isdisjoint(range(start, end)):
            needed.update(value_numbers(OPERATIONS[operation.name].kinds, operation.arguments))
            kept.append((operation, start, end))
    renumbered = {number: number for number in range(2 + len(program.parameters))}
    for _, start, end in reversed(kept):
        for number in range(start, end):
            renumbered[number] = len(renumbered)
    return msgspec.structs.replace(
        program,
        operations=tuple(_renumbered(each, renumbered) for each, _, _ in reversed(kept)),
        loss=renumbered[program.loss],
        score=renumbered[program.score],
        prediction=None if program.prediction is None else renumbered[program.prediction],
    )


def _renumbered(operation: Operation, numbers: dict[int, int]) -> Operation:
    arguments: list[Argument] = []
    kinds = OPERATIONS[operation.name].kinds
    for kind, argument in zip(kinds, operation.arguments, strict=True):
        values = [numbers[each] for each in value_numbers((kind,), (argument,))]
        if kind == "tensors":
            arguments.append(tuple(values))
        else:
            arguments.append(values[0] if values else argument)
    return Operation(operation.name, tuple(arguments))
