"""From a `torch.nn.Module` to a program: `pnyx.export`, on the author's side.

The module runs once as it is (see `rehearsal`). Then torch traces it (see `tracing`) with its loss
and its score, once, in training mode, and without looking at numbers; the graph that it gives is
made functional, and each operation in it is written as one or more of ours. What cannot be written
is refused, with the line of the author's source that asked for it. Then the program is audited as
every node will do.

No node imports this module.
"""

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec
from torch.fx import Node

from pnyx.errors import TrainingError
from pnyx.learning.programs import lowering, lowering_layers
from pnyx.learning.programs.audit import audit
from pnyx.learning.programs.builder import (
    LOWERINGS,
    Batch,
    Builder,
    Unsupported,
    Value,
    aten,
    is_fixed,
    pruned,
    shape_of,
    size_of,
)
from pnyx.learning.programs.format import (
    ELEMENTS_MAX,
    NAME_PATTERN,
    PROGRAM_BYTES_MAX,
    Parameter,
    Program,
    encode_program,
)
from pnyx.learning.programs.rehearsal import Measure, rehearse
from pnyx.learning.programs.tracing import Study, source_of, trace_study

KNOWN = (lowering, lowering_layers)  # entering themselves into LOWERINGS

_DROPPED = (
    aten._assert_tensor_metadata.default,
    aten._assert_async.msg,
    aten._assert_scalar.default,
)
_UNINITIALISED = (aten.empty.memory_format, aten.empty_permuted.default)
_STATISTICS: dict[Any, tuple[int, ...]] = {
    aten._native_batch_norm_legit_functional.default: (3, 4)
}  # arguments never read
_THIRD_ROOT = 3.0**0.5  # a uniform distribution reaches √3 deviations to each side


class Exported(msgspec.Struct, frozen=True):
    """A program and the weights that its module had. program: JSON. weights: safetensors."""

    program: bytes
    weights: bytes

    def save(self, path: Path | str) -> None:
        """Write `path`.json and `path`.safetensors."""
        stem = Path(path)
        stem.with_name(f"{stem.name}.json").write_bytes(self.program)
        stem.with_name(f"{stem.name}.safetensors").write_bytes(self.weights)


def is_right(output: Tensor, targets: Tensor) -> Tensor:
    """The score of a classification: 1 where the class with the largest output is the target."""
    return (output.argmax(dim=1) == targets).to(torch.float32)


def export(
    module: nn.Module,
    loss: Measure,
    example: tuple[Tensor, Tensor],
    *,
    score: Measure | None = None,
    classes: int | None = None,
    local: Sequence[str] = (),
) -> Exported:
    """Write a module and its loss as a program that nodes can audit and train.

    module: from features [batch, width] float32. loss: a scalar, of the module's output and the
    targets. example: features and targets [batch], of int64 or float32. score: how right each
    prediction is, [batch] between 0 and 1; for int64 targets, unless given, whether the largest
    output is that of the target. classes: targets lie below; unless given, the last size of the
    output. local: names of parameters, or of submodules, that stay with their owner.

    Raises TrainingError, naming the operation and the line that cannot be part of a program.
    """
    inputs, targets = _checked_example(example)
    real = targets.dtype == torch.float32
    if real and score is None:
        raise TrainingError(
            "Real-numbered targets need a score: say how right a prediction is, from 0 to 1."
        )
    modes = [(each, each.training) for each in module.modules()]
    try:
        module.train()
        output = rehearse(module, loss, score or is_right, inputs, targets)
        predicts = real and _is_one_number(output, len(inputs))
        study = Study(module, loss, score or is_right, predicts=predicts)
        traced = trace_study(study, inputs, targets)
    finally:
        for each, training in modes:
            each.training = training
    if real:
        classes = 0
    elif classes is None:
        classes = _output_width(output)
    return _Writer(traced, study).write(inputs.shape[1], classes, local)


def _checked_example(example: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    parts = example if isinstance(example, tuple | list) else ()
    if len(parts) != 2 or not all(isinstance(each, Tensor) for each in parts):
        raise TrainingError("An example is a pair of tensors: features, and targets.")
    inputs, targets = parts
    if inputs.dim() != 2 or inputs.dtype != torch.float32 or targets.shape != inputs.shape[:1]:
        raise TrainingError(
            "An example is a pair of float32 features [batch, width] and targets [batch]; "
            "a module reshapes its features itself."
        )
    if not inputs.numel():
        raise TrainingError("The example is empty: give a few rows.")
    if targets.dtype not in (torch.int64, torch.float32):
        raise TrainingError(f"Targets are int64 or float32, not {targets.dtype}: convert them.")
    if len(inputs) == 1:  # torch.export takes a batch of one for a constant
        return inputs.repeat(2, 1), targets.repeat(2)
    return inputs, targets


def _output_width(output: object) -> int:
    if not isinstance(output, Tensor) or output.dim() < 2:
        raise TrainingError("The output has no axis of classes: say how many there are.")
    return int(output.shape[1])


def _is_one_number(output: object, examples: int) -> bool:
    """Whether a module gives one number for each example: what it predicts."""
    return (
        isinstance(output, Tensor)
        and output.dtype == torch.float32
        and output.shape in ((examples,), (examples, 1))
    )


class _Writer:
    """Turns one traced graph into a program."""

    def __init__(self, traced: ExportedProgram, study: Study) -> None:
        self._graph = traced.graph
        self._signature = traced.graph_signature
        self._state = {**traced.state_dict, **traced.constants}
        # A parameter may have several names, and is one parameter under all of them.
        self._trained = dict(study.module.named_parameters(remove_duplicate=False))
        self._predicts = study.predicts
        self._values: dict[Node, Any] = {}  # Value, Tensor for a constant, or a tuple of them
        self._written: dict[Node, Value] = {}  # constants that became values
        self._parameters: list[tuple[str, Tensor]] = []

    def write(self, width: int, classes: int, local: Sequence[str]) -> Exported:
        """The program and its weights."""
        self._read_placeholders()
        builder = Builder(2 + len(self._parameters))
        needed = self._needed()
        for node in self._graph.nodes:
            if node in needed and node.op == "call_function":
                self._enter(builder, node)
        loss, score, *prediction = (self._argument(builder, each) for each in self._ends())
        program = pruned(
            Program(
                width=width,
                classes=classes,
                parameters=self._described(local),
                operations=tuple(builder.operations),
                loss=loss.number,
                score=score.number,
                prediction=prediction[0].number if prediction else None,
            )
        )
        encoded = encode_program(program)
        if len(encoded) > PROGRAM_BYTES_MAX:
            raise TrainingError(
                f"The program takes {len(encoded)} bytes, above {PROGRAM_BYTES_MAX}: "
                "ask for fewer layers, or for smaller constants."
            )
        audit(program, 2)
        weights = {name: tensor.detach().contiguous() for name, tensor in self._parameters}
        return Exported(encoded, save(weights))

    def _inputs(self) -> Iterator[tuple[Node, InputSpec]]:
        placeholders = [node for node in self._graph.nodes if node.op == "placeholder"]
        return zip(placeholders, self._signature.input_specs, strict=True)

    def _read_placeholders(self) -> None:
        inputs = 0
        for node, spec in self._inputs():
            fake = node.meta["val"]
            if spec.kind == InputKind.USER_INPUT:
                self._values[node] = Value(inputs, shape_of(fake), fake.dtype)
                inputs += 1
            elif spec.kind == InputKind.PARAMETER:
                self._values[node] = self._parameter(str(spec.target), fake)
            else:
                self._values[node] = self._state[str(spec.target)]

    def _parameter(self, target: str, fake: Tensor) -> Value:
        """The value of a parameter, which is one under all of its names."""
        tensor = self._trained[target.removeprefix("module.")]
        for number, (_, known) in enumerate(self._parameters, 2):
            if known is tensor:
                return Value(number, shape_of(fake), fake.dtype)
        name = self._names(tensor)[0]
        if not tensor.requires_grad:
            raise TrainingError(
                f"Parameter {name} is not trained; make it a buffer of at most "
                f"{ELEMENTS_MAX} numbers, or train it."
            )
        if not re.fullmatch(NAME_PATTERN, name):
            raise TrainingError(
                f"Parameter {name} cannot keep its name in a program: use letters, digits, "
                "underscores and dots, 100 at most."
            )
        self._parameters.append((name, tensor))
        return Value(1 + len(self._parameters), shape_of(fake), fake.dtype)

    def _names(self, tensor: Tensor) -> list[str]:
        return [name for name, each in self._trained.items() if each is tensor]

    def _ends(self) -> list[Node]:
        """Loss, score, and what is predicted; else the graph returns buffers that it changes."""
        output = next(node for node in self._graph.nodes if node.op == "output")
        return list(output.args[0])[-3 if self._predicts else -2 :]

    def _needed(self) -> set[Node]:
        """What the ends depend on. Refuses a buffer among them that the module would change."""
        found, waiting = set(self._ends()), self._ends()
        while waiting:
            node = waiting.pop()
            unread = {node.args[place] for place in _STATISTICS.get(node.target, ())}
            for source in node.all_input_nodes:
                if source not in unread and source not in found:
                    found.add(source)
                    waiting.append(source)
        self._refuse_changing(found)
        return found

    def _refuse_changing(self, needed: set[Node]) -> None:
        """Refuse buffers that are read and changed: a program keeps nothing between batches."""
        changing = set(self._signature.buffers_to_mutate.values())
        for node, spec in self._inputs():
            if node in needed and spec.target in changing:
                raise TrainingError(
                    f"Buffer {str(spec.target).removeprefix('module.')} changes from batch to "
                    "batch, and loss or score depend on it: a program keeps nothing between "
                    "batches."
                )

    def _enter(self, builder: Builder, node: Node) -> None:
        """Write one operation of the graph."""
        target, result = node.target, node.meta.get("val")
        if isinstance(result, torch.SymInt | int):
            self._values[node] = size_of(result)
            return
        if target is operator.getitem:
            source, index = cast(tuple[Node, int], node.args)
            self._values[node] = self._values[source][index]
            return
        if target in _DROPPED:
            return
        sources = [self._values.get(each) for each in node.all_input_nodes]
        known = all(isinstance(each, Tensor | int) for each in sources) and is_fixed(result)
        if known and not _is_undetermined(target):
            arguments = torch.fx.map_arg((node.args, node.kwargs), lambda each: self._values[each])
            compute = cast(Callable[..., Any], target)  # an operation of torch, as every such node
            self._values[node] = compute(*arguments[0], **arguments[1])
            return
        try:
            self._values[node] = self._lowered(builder, node)
        except Unsupported as reason:
            raise TrainingError(
                f"Operation {_name(target)}, at {source_of(node)}, {reason}."
            ) from reason
        except (TypeError, AttributeError) as error:
            raise TrainingError(
                f"Operation {_name(target)}, at {source_of(node)}, is used in a way that a program "
                "cannot express."
            ) from error

    def _lowered(self, builder: Builder, node: Node) -> Any:
        lowering = LOWERINGS.get(node.target)
        if lowering is None:
            raise Unsupported("cannot be part of a program")
        result = node.meta["val"]
        first = result[0] if isinstance(result, tuple | list) else result
        builder.result_shape, builder.result_dtype = shape_of(first), first.dtype
        unread = _STATISTICS.get(node.target, ())
        arguments = [
            None if place in unread else self._argument(builder, each)
            for place, each in enumerate(node.args)
        ]
        if any(isinstance(each, Batch) for each in arguments) and node.target != aten.slice.Tensor:
            raise Unsupported("computes with the size of the batch; take a mean instead")
        named = {key: self._argument(builder, each) for key, each in node.kwargs.items()}
        return lowering(builder, *arguments, **named)

    def _argument(self, builder: Builder, argument: Any) -> Any:
        """An argument of the graph, with nodes replaced by what they stand for."""
        if isinstance(argument, list | tuple):
            return [self._argument(builder, each) for each in argument]
        if not isinstance(argument, Node):
            return argument
        value = self._values[argument]
        if not isinstance(value, Tensor):
            return value
        if argument not in self._written:
            if value.numel() > ELEMENTS_MAX:
                raise Unsupported(f"uses a constant of over {ELEMENTS_MAX} numbers")
            self._written[argument] = builder.constant(value)
        return self._written[argument]

    def _described(self, local: Sequence[str]) -> tuple[Parameter, ...]:
        """Parameters with the mean and the range of a uniform draw like their present numbers."""
        unused = set(local)
        found = []
        for name, tensor in self._parameters:
            names = self._names(tensor)
            marks = {mark for mark in local if any(_is_within(each, mark) for each in names)}
            unused -= marks
            numbers = tensor.detach().double()
            found.append(
                Parameter(
                    name=name,
                    shape=tuple(tensor.shape),
                    centre=round(float(numbers.mean()), 6),
                    spread=round(_THIRD_ROOT * float(numbers.std(correction=0)), 6),
                    local=bool(marks),
                )
            )
        if unused:
            raise TrainingError(
                f"No parameter is called {min(unused)}, nor begins with it and a dot."
            )
        return tuple(found)


def _is_undetermined(target: Any) -> bool:
    """Whether an operation gives other numbers each time, which must not become constants."""
    return target in _UNINITIALISED or torch.Tag.nondeterministic_seeded in target.tags


def _is_within(name: str, mark: str) -> bool:
    return name == mark or name.startswith(f"{mark}.")


def _name(target: Any) -> str:
    return str(target).removeprefix("aten.").removesuffix(".default")
