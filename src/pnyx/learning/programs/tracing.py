"""torch.export, as `export` needs it: a graph of operations that each know their line of source."""

import io
import logging
import re
import sysconfig
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export import export as trace
from torch.export.exported_program import default_decompositions
from torch.fx import Node
from torch.fx.proxy import TracerBase

from pnyx.errors import TrainingError
from pnyx.learning.programs.audit import BATCH_SIZE_MAX
from pnyx.learning.programs.builder import LOWERINGS
from pnyx.learning.programs.rehearsal import MISTAKES, Measure, first_line

_TORCH = str(Path(torch.__file__).parent)
_LIBRARIES = tuple(sysconfig.get_path(each) for each in ("stdlib", "purelib", "platlib"))


class Study(nn.Module):
    """What is traced: from features and targets to loss and score, and to predictions if asked."""

    def __init__(self, module: nn.Module, loss: Measure, score: Measure, *, predicts: bool) -> None:
        super().__init__()
        self.module, self.loss, self.score, self.predicts = module, loss, score, predicts

    def forward(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        """Loss and score, and predictions [batch] if asked."""
        output = self.module(inputs)
        measured = self.loss(output, targets), self.score(output, targets)
        return (*measured, output.flatten()) if self.predicts else measured


def trace_study(study: Study, inputs: Tensor, targets: Tensor) -> ExportedProgram:
    """A functional graph over operations that we know, where torch can express it by them."""
    batch = Dim("batch", min=2, max=BATCH_SIZE_MAX)
    table = {
        key: rule for key, rule in dict(default_decompositions()).items() if key not in LOWERINGS
    }
    with warnings.catch_warnings(), _quiet(), _whole_stacks():
        warnings.simplefilter("ignore")  # torch's, about its own changes
        try:
            traced = trace(study, (inputs, targets), dynamic_shapes=({0: batch}, {0: batch}))
            _refuse_nesting(traced)
            functional: ExportedProgram = traced.run_decompositions(table)
            return functional
        except MISTAKES as error:
            raise TrainingError(
                f"The module cannot be traced ({first_line(error)}): it may not decide by numbers "
                "in its data, and takes batches of any size, by x.shape[0] and not len(x)."
            ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch from writing pages about a trace that fails: one sentence will say why."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


@contextmanager
def _whole_stacks() -> Iterator[None]:
    """Let torch keep the lines of functions that a forward calls, and not its own line only."""
    usual = TracerBase._filter_traceback_frames

    def within_study(tracer: TracerBase, stack: traceback.StackSummary) -> traceback.StackSummary:
        places = [place for place, frame in enumerate(stack) if frame.filename == __file__]
        found = stack[places[-1] + 1 :] if places else []
        return traceback.StackSummary.from_list(found or usual(tracer, stack))

    # Torch has no setting for this, so its method is replaced for a while.
    TracerBase._filter_traceback_frames = (  # type: ignore[method-assign]  # see above
        within_study  # type: ignore[assignment]  # mypy reads it as a function, and not as a method
    )
    try:
        yield
    finally:
        TracerBase._filter_traceback_frames = usual  # type: ignore[method-assign]  # put back


def _refuse_nesting(traced: ExportedProgram) -> None:
    """Refuse graphs within the graph: among them is `torch.no_grad`, which torch would forget."""
    for node in traced.graph.nodes:
        if isinstance(node.target, torch._ops.HigherOrderOperator):
            graphs = [each for each in node.all_input_nodes if each.op == "get_attr"]
            inner = [traced.graph_module.get_submodule(str(each.target)) for each in graphs]
            nodes = [each for graph in inner for each in graph.graph.nodes]
            first = next((each for each in nodes if each.stack_trace), node)
            raise TrainingError(
                f"Operation {node.target}, at {source_of(first)}, cannot be part of a program; "
                "in the place of torch.no_grad, use detach()."
            )


def source_of(node: Node) -> str:
    """The innermost line that led to an operation: of the author's, else of a library, or torch."""
    frames = re.findall(r'^ *File "(.+)", line (\d+)', node.stack_trace or "", re.MULTILINE)
    outside = [frame for frame in frames if not frame[0].startswith(_TORCH)]
    own = [frame for frame in outside if not frame[0].startswith(_LIBRARIES)]
    for file, line in (own or outside or frames)[-1:]:
        return f"{file}, line {line}"
    return "an unknown line"
