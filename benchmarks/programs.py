"""Training steps by the interpreter beside those of the torch modules that programs came from.

For each kind of module: milliseconds of one step (loss and gradients of a batch of 16), by torch
alone and by the interpreter, taken in turns in one process on one thread; their ratio; the size of
the program; and how long its audit takes. The modules are small, so what is compared is overhead.
Dropout is on in both. The median of single steps counts.
"""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from safetensors.torch import load
from tests.support.modules import Case, cases
from torch import nn

from pnyx.learning.programs import audit, read_program
from pnyx.learning.programs.export import export
from pnyx.learning.programs.interpreter import Interpreter

BATCH = 16
REPEATS = 400


def timed(action: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    action()
    return 1e3 * (time.perf_counter() - start)


def measure(case: Case) -> dict[str, float]:
    """Figures of one module."""
    inputs, targets = case.batch(BATCH)
    exported = export(case.module, case.loss, (inputs, targets), score=case.score)
    program = read_program(exported.program)
    weights = load(exported.weights)
    parameters = [weights[each.name].requires_grad_() for each in program.parameters]
    own = list(case.module.train().parameters())
    interpreter = Interpreter(program, bytes(32))

    def eager() -> object:
        return torch.autograd.grad(case.loss(case.module(inputs), targets), own)

    def interpreted() -> object:
        return torch.autograd.grad(interpreter.loss(parameters, inputs, targets), parameters)

    for _ in range(REPEATS // 10):
        eager(), interpreted()
    pairs = [(timed(eager), timed(interpreted)) for _ in range(REPEATS)]
    eager_ms, interpreted_ms = (median(column) for column in zip(*pairs, strict=True))
    return {
        "eager_ms": round(eager_ms, 4),
        "interpreted_ms": round(interpreted_ms, 4),
        "ratio": round(interpreted_ms / eager_ms, 3),
        "operations": len(program.operations),
        "program_bytes": len(exported.program),
        "audit_ms": round(median(timed(lambda: audit(program, BATCH)) for _ in range(20)), 3),
    }


def run() -> dict[str, Any]:
    """Measure every kind of module, and the demonstration's."""
    torch.set_num_threads(1)
    demonstration = nn.Sequential(nn.Linear(42, 64), nn.ReLU(), nn.Linear(64, 6))
    found = {"demonstration": Case(demonstration, lambda rows: torch.randn(rows, 42)), **cases()}
    return {"batch": BATCH, "modules": {name: measure(case) for name, case in found.items()}}
