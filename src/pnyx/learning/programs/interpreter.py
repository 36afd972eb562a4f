"""Runs an audited program under autograd.

A program becomes flat lists of steps, one that leads to its loss, one to its score, and one to its
prediction if it has one: each step is a function and the numbers of the values that it takes. So
one pass costs little more than the functions themselves.

**Batch normalisation.** Training normalises by the batch. Evaluations normalise by statistics of
the owner's own training rows under the present parameters, which `measure` collects: there are no
running statistics to average, to clip, to hide by noise, or to carry between rounds.

**Randomness** of dropout comes from the seed alone.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pnyx.learning.programs.audit import constant_argument, value_numbers
from pnyx.learning.programs.format import Operation, Program
from pnyx.learning.programs.kernels import KERNELS, Function, Mode
from pnyx.learning.programs.operations import OPERATIONS, RESULTS, TENSOR_KINDS, Kind

Step = tuple[Function, tuple[int, ...], range]  # function, numbers of its tensors, of its results


class Interpreter:
    """One program, ready to run; call `audit` first. seed: of dropout, for one task."""

    def __init__(self, program: Program, seed: bytes) -> None:
        self._mode = Mode(int.from_bytes(seed[:8], "big") >> 1)
        self._first = 2 + len(program.parameters)
        self._ends = (program.loss, program.score)
        steps, self._size = self._bind(program)
        self._predicted = program.prediction
        self._to_loss = _leading_to({program.loss}, steps)
        self._to_score = _leading_to({program.score}, steps)
        predicted = set() if program.prediction is None else {program.prediction}
        self._to_prediction = _leading_to(predicted, steps)
        self._to_measure = _leading_to({program.score, *predicted}, steps)
        self._measures = any(each.name == "batch_norm" for each in program.operations)

    def _bind(self, program: Program) -> tuple[list[Step], int]:
        """Make the kernels; absent tensors read a place that stays empty."""
        bound: list[tuple[Operation, int]] = []
        number = self._first
        for operation in program.operations:
            bound.append((operation, number))
            number += RESULTS.get(operation.name, 1)
        steps = []
        for operation, result in bound:
            kinds = OPERATIONS[operation.name].kinds
            constants = [
                constant_argument(kind, argument)
                for kind, argument in zip(kinds, operation.arguments, strict=True)
                if kind not in TENSOR_KINDS
            ]
            function = KERNELS[operation.name](self._mode, *constants)
            results = range(result, result + RESULTS.get(operation.name, 1))
            steps.append((function, _operands(kinds, operation, number), results))
        return steps, number + 1

    def loss(self, parameters: Sequence[Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of a batch in training mode: a scalar to differentiate."""
        self._mode.training = True
        return self._run(self._to_loss, self._ends[0], parameters, inputs, targets)

    def score(self, parameters: Sequence[Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        """How right each prediction of a batch is: [batch] in [0, 1], where NaN counts as 0."""
        self._mode.training = False
        with torch.no_grad():
            score = self._run(self._to_score, self._ends[1], parameters, inputs, targets)
            return torch.nan_to_num(score, nan=0.0).clamp(0.0, 1.0)

    def predict(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        """The prediction for a batch: [batch]. Of a program that has one only."""
        assert self._predicted is not None
        self._mode.training = False
        with torch.no_grad():
            targets = torch.zeros(len(inputs))  # an audited program does not read them here
            return self._run(self._to_prediction, self._predicted, parameters, inputs, targets)

    def measure(
        self, parameters: Sequence[Tensor], batches: Sequence[tuple[Tensor, Tensor]]
    ) -> None:
        """Collect afresh the statistics by which scores and predictions will normalise."""
        if not self._measures:
            return
        self._mode.training, self._mode.measuring, self._mode.measured = False, True, {}
        with torch.no_grad():
            for inputs, targets in batches:
                self._run(self._to_measure, self._ends[1], parameters, inputs, targets)
        self._mode.measuring = False

    def _run(
        self,
        steps: list[Step],
        end: int,
        parameters: Sequence[Tensor],
        inputs: Tensor,
        targets: Tensor,
    ) -> Tensor:
        self._mode.batch = len(inputs)
        values: list[Any] = [None] * self._size
        values[0], values[1] = inputs, targets
        values[2 : self._first] = parameters
        for function, operands, results in steps:
            found = function(*[values[number] for number in operands])
            if len(results) == 1:
                values[results.start] = found
            else:
                values[results.start : results.stop] = found
        end_value: Tensor = values[end]
        return end_value


def _operands(kinds: Sequence[Kind], operation: Operation, empty: int) -> tuple[int, ...]:
    """Numbers of the tensors that a kernel takes; `empty` for those that are absent."""
    found: list[int] = []
    for kind, argument in zip(kinds, operation.arguments, strict=True):
        if kind == "tensor?" and argument is None:
            found.append(empty)
        elif kind in TENSOR_KINDS:
            found += value_numbers((kind,), (argument,))
    return tuple(found)


def _leading_to(ends: set[int], steps: list[Step]) -> list[Step]:
    """The steps that some values depend on, in order."""
    needed, kept = set(ends), []
    for step in reversed(steps):
        _, operands, results = step
        if not needed.isdisjoint(results):
            needed.update(operands)
            kept.append(step)
    return kept[::-1]
