"""Many clients trained in one process: together, one after the other, and by hand-written vmap.

`ratio_to_handwritten` is the cohort's CPU over that of a round written by hand with `torch.func`
for this one perceptron and for clients with equal rows, in the same run; `gain` is that of training
together over a loop with the node's own code. Each figure is the median of interleaved runs.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from pnyx.learning import Hyperparameters, Program, initial_model, mlp
from pnyx.learning.cohort import Client, Cohort
from pnyx.learning.features import Examples
from pnyx.learning.programs import audit
from pnyx.learning.programs.models import PARAMETER_DTYPE

EPOCHS = 2
RATE = 0.05
MOMENTUM = 0.9
ROWS = 64
BATCH = 32
REPEATS = 7
SIZES = ((20, 16, 4), (42, 64, 6), (100, 128, 10), (200, 256, 10), (400, 400, 10))
PARAMETERS_TRAINED = 3_000_000  # of all clients of a measurement
_AT_ONCE = (64, 256, 1000)  # for the hand-written round, which takes its best


def _hyperparameters() -> Hyperparameters:
    return Hyperparameters(
        local_epochs=EPOCHS,
        batch_size=BATCH,
        learning_rate=RATE,
        momentum=MOMENTUM,
        clip_norm=1.0,
        fraction_bits=11,
        fine_tune_epochs=1,
        fine_tune_learning_rate=RATE,
        alone_epochs=1,
        alone_learning_rate=RATE,
    )


def _clients(program: Program, count: int) -> list[Client]:
    random = np.random.default_rng(1)
    return [
        Client(
            training=Examples(
                random.normal(size=(ROWS, program.width)).astype(np.float32),
                random.integers(0, program.classes, ROWS),
            ),
            seed=at.to_bytes(32, "big"),
        )
        for at in range(count)
    ]


def _by_hand(sizes: tuple[int, ...], clients: list[Client], at_once: int) -> None:
    """What a researcher would write for this model: equal rows, one call a step."""
    width, hidden, classes = sizes
    net = torch.nn.Sequential(
        torch.nn.Linear(width, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, classes)
    )

    def loss(parameters: Any, inputs: Any, targets: Any) -> Any:
        return functional.cross_entropy(functional_call(net, parameters, (inputs,)), targets)

    gradient = vmap(grad(loss))
    inputs = torch.from_numpy(np.stack([each.training.features for each in clients]))
    targets = torch.from_numpy(np.stack([each.training.targets for each in clients]))
    for start in range(0, len(clients), at_once):
        x, y = inputs[start : start + at_once], targets[start : start + at_once]
        parameters = {
            name: value.detach().expand(len(x), *value.shape).clone()
            for name, value in net.named_parameters()
        }
        velocities = {name: torch.zeros_like(value) for name, value in parameters.items()}
        for _ in range(EPOCHS):
            order = torch.stack([torch.randperm(ROWS) for _ in range(len(x))])
            for index in torch.split(order, BATCH, dim=1):
                chosen = torch.gather(x, 1, index[..., None].expand(-1, -1, width))
                gradients = gradient(parameters, chosen, torch.gather(y, 1, index))
                with torch.no_grad():
                    for name, velocity in velocities.items():
                        velocity.mul_(MOMENTUM).add_(gradients[name])
                        parameters[name].sub_(velocity, alpha=RATE)


def _measure(sizes: tuple[int, ...]) -> dict[str, Any]:
    program, settings = mlp(sizes), _hyperparameters()
    shared = np.frombuffer(initial_model(program, bytes(32)), PARAMETER_DTYPE)
    clients = _clients(program, max(16, min(1000, PARAMETERS_TRAINED // program.shared_count)))
    together, apart = Cohort(program, settings), Cohort(program, settings)
    chosen = together.together
    together.together, apart.together = True, False

    def train(cohort: Cohort) -> None:
        for _ in cohort.train(shared, clients, epochs=EPOCHS, learning_rate=RATE):
            pass

    ways: dict[str, Callable[[], None]] = {
        "together": lambda: train(together),
        "apart": lambda: train(apart),
        **{
            f"by hand, {size} at once": lambda size=size: _by_hand(sizes, clients, size)
            for size in _AT_ONCE
            if size <= max(len(clients), _AT_ONCE[0])
        },
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS + 1):  # the first warms up
        for name, run_once in ways.items():
            started = time.process_time()
            run_once()
            found[name].append(time.process_time() - started)
    medians = {name: statistics.median(times[1:]) for name, times in found.items()}
    by_hand = min(value for name, value in medians.items() if name.startswith("by hand"))
    ours = medians["together"] if chosen else medians["apart"]
    return {
        "sizes": sizes,
        "parameters": program.shared_count,
        "work_a_step": audit(program, BATCH).work,
        "clients": len(clients),
        "trained_together": chosen,
        "cpu_ms_a_client": {
            name: round(1000 * value / len(clients), 3) for name, value in medians.items()
        },
        "gain": round(medians["apart"] / medians["together"], 2),
        "ratio_to_handwritten": round(ours / by_hand, 2),
    }


def run() -> list[dict[str, Any]]:
    """One row for each size of perceptron."""
    torch.set_num_threads(1)
    return [_measure(sizes) for sizes in SIZES]
