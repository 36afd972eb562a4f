"""From a `torch.nn.Module` to a program: `pnyx.export`, on the author's side.

torch.export traces the module with its loss and its score, once, in training mode, and without
looking at numbers; the graph that it gives is made functional, and each operation in it is written
as one or more of ours. What cannot be written is refused, with the line of the author's source
that asked for it. Then the program is audited as every node will do.

No node imports this module.
"""

import operator
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export import export as trace
from torch.export.exported_program import default_decompositions
from torch.export.graph_signature import InputKind
from torch.fx import Node

from pnyx.errors import TrainingError
from pnyx.learning.programs import lowering, lowering_layers
from pnyx.learning.programs.audit import BATCH_SIZE_MAX, audit
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
    PROGRAM_BYTES_MAX,
    Parameter,
    Program,
    encode_program,
)

Measure = Callable[[Tensor, Tensor], Tensor]  # of output and targets

KNOWN = (lowering, lowering_layers)  # entering themselves into LOWERINGS

_TORCH = str(Path(torch.__file__).parent)
_DROPPED = (
    aten._assert_tensor_metadata.default,
    aten._assert_async.msg,
    aten._assert_scalar.default,
)
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


class _Study(nn.Module):
    """What is traced: from features and targets to loss and score."""

    def __init__(self, module: nn.Module, loss: Measure, score: Measure) -> None:
        super().__init__()
        self.module, self.loss, self.score = module, loss, score

    def forward(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        output = self.module(inputs)
        return self.loss(output, targets), self.score(output, targets)


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
    if targets.dtype == torch.float32:
        classes = 0
        if score is None:
            raise TrainingError(
                "Real-numbered targets need a score: say how right a prediction is, from 0 to 1."
            )
    modes = [(each, each.training) for each in module.modules()]
    try:
        if classes is None:
            classes = _output_width(module.eval(), inputs)
        module.train()
        study = _Study(module, loss, score or is_right)
        traced = _trace(study, inputs, targets)
    finally:
        for each, training in modes:
            each.training = training
    return _Writer(traced, study).write(inputs.shape[1], classes, local)


def _checked_example(example: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    inputs, targets = example
    if inputs.dim() != 2 or inputs.dtype != torch.float32 or targets.shape != inputs.shape[:1]:
        raise TrainingError(
            "An example is a pair of float32 features [batch, width] and targets [batch]; "
            "a module reshapes its features itself."
        )
    if targets.dtype not in (torch.int64, torch.float32):
        raise TrainingError(f"Targets are int64 or float32, not {targets.dtype}: convert them.")
    if len(inputs) == 1:  # torch.export takes a batch of one for a constant
        return inputs.repeat(2, 1), targets.repeat(2)
    return inputs, targets


def _output_width(module: nn.Module, inputs: Tensor) -> int:
    with torch.no_grad():
        output = module(inputs)
    if not isinstance(output, Tensor) or output.dim() < 2:
        raise TrainingError("The output has no axis of classes: say how many there are.")
    return int(output.shape[1])


def _trace(study: _Study, inputs: Tensor, targets: Tensor) -> ExportedProgram:
    """A functional graph over operations that we know, where torch can express it by them."""
    batch = Dim("batch", min=2, max=BATCH_SIZE_MAX)
    table = {
        key: rule for key, rule in dict(default_decompositions()).items() if key not in LOWERINGS
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, about its own changes
        try:
            traced = trace(study, (inputs, targets), dynamic_shapes=({0: batch}, {0: batch}))
            _refuse_nesting(traced)
            functional: ExportedProgram = traced.run_decompositions(table)
            return functional
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            reason = str(error).strip().partition("\n")[0][:300]
            raise TrainingError(
                f"The module cannot be traced ({reason}): it may not decide by numbers in its "
                "data, and takes batches of any size, by x.shape[0] and not len(x)."
            ) from error


def _refuse_nesting(traced: ExportedProgram) -> None:
    """Refuse graphs within the graph: among them is `torch.no_grad`, which torch would forget."""
    for node in traced.graph.nodes:
        if isinstance(node.target, torch._ops.HigherOrderOperator):
            graphs = [each for each in node.all_input_nodes if each.op == "get_attr"]
            inner = [traced.graph_module.get_submodule(str(each.target)) for each in graphs]
            nodes = [each for graph in inner for each in graph.graph.nodes]
            first = next((each for each in nodes if each.stack_trace), node)
            raise TrainingError(
                f"Operation {node.target}, at {_source(first)}, cannot be part of a program; "
                "in the place of torch.no_grad, use detach()."
            )


class _Writer:
    """Turns one traced graph into a program."""

    def __init__(self, traced: ExportedProgram, study: _Study) -> None:
        self._graph = traced.graph
        self._signature = traced.graph_signature
        self._state = {**traced.state_dict, **traced.constants}
        self._trained = dict(study.module.named_parameters())
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
        loss, score = (self._argument(builder, each) for each in self._ends())
        program = pruned(
            Program(
                width=width,
                classes=classes,
                parameters=_described(self._parameters, local),
                operations=tuple(builder.operations),
                loss=loss.number,
                score=score.number,
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

    def _read_placeholders(self) -> None:
        placeholders = [node for node in self._graph.nodes if node.op == "placeholder"]
        inputs = 0
        for node, spec in zip(placeholders, self._signature.input_specs, strict=True):
            fake = node.meta["val"]
            if spec.kind == InputKind.USER_INPUT:
                self._values[node] = Value(inputs, shape_of(fake), fake.dtype)
                inputs += 1
            elif spec.kind == InputKind.PARAMETER:
                name = str(spec.target).removeprefix("module.")
                tensor = self._trained[name]
                if not tensor.requires_grad:
                    raise TrainingError(
                        f"Parameter {name} is not trained; make it a buffer of at most "
                        f"{ELEMENTS_MAX} numbers, or train it."
                    )
                number = 2 + len(self._parameters)
                self._values[node] = Value(number, shape_of(fake), fake.dtype)
                self._parameters.append((name, tensor))
            else:
                self._values[node] = self._state[str(spec.target)]

    def _ends(self) -> list[Node]:
        """Loss and score; what else the graph returns are buffers that it would change."""
        output = next(node for node in self._graph.nodes if node.op == "output")
        return list(output.args[0])[-2:]

    def _needed(self) -> set[Node]:
        found, waiting = set(self._ends()), self._ends()
        while waiting:
            for source in waiting.pop().all_input_nodes:
                if source not in found:
                    found.add(source)
                    waiting.append(source)
        return found

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
        if all(isinstance(each, Tensor | int) for each in sources) and is_fixed(result):
            arguments = torch.fx.map_arg((node.args, node.kwargs), lambda each: self._values[each])
            compute = cast(Callable[..., Any], target)  # an operation of torch, as every such node
            self._values[node] = compute(*arguments[0], **arguments[1])
            return
        try:
            self._values[node] = self._lowered(builder, node)
        except Unsupported as reason:
            raise TrainingError(
                f"Operation {_name(target)}, at {_source(node)}, {reason}."
            ) from reason
        except (TypeError, AttributeError) as error:
            raise TrainingError(
                f"Operation {_name(target)}, at {_source(node)}, is used in a way that a program "
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


def _name(target: Any) -> str:
    return str(target).removeprefix("aten.").removesuffix(".default")


def _source(node: Node) -> str:
    """The innermost line outside torch that led to an operation."""
    frames = [line for line in (node.stack_trace or "").splitlines() if line.startswith("  File")]
    own = [line for line in frames if _TORCH not in line] or frames
    if not own:
        return "an unknown line"
    _, file, rest = own[-1].split('"', 2)
    return f"{file}, line {rest.split('line ')[1].split(',')[0]}"


def _described(parameters: list[tuple[str, Tensor]], local: Sequence[str]) -> tuple[Parameter, ...]:
    """Parameters with the mean and the range of a uniform draw like their present numbers."""
    unused = set(local)
    found = []
    for name, tensor in parameters:
        marks = {mark for mark in local if name == mark or name.startswith(f"{mark}.")}
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
        raise TrainingError(f"No parameter is called {min(unused)}, nor begins with it and a dot.")
    return tuple(found)
