"""Local training, evaluation and personalisation: the only place that computes with torch.

`run_task` turns a `TrainingTask` into a `TrainingOutcome`, a pure function of the task on one
machine: the order of mini-batches comes from the task's seed, and torch runs in one thread. (Two
machines may differ in the last bits of a local update; nobody ever recomputes another node's.)

Plain SGD is written out below: `torch.optim` would import torch's compiler, more than a second and
75 MB, for three lines of arithmetic.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from pnyx.errors import TrainingError
from pnyx.learning.features import Examples, prepare, read_rows, read_standard
from pnyx.learning.program import (
    SEED_BYTES,
    MlpProgram,
    forward,
    initial_model,
    read_model,
    unflatten,
)
from pnyx.learning.task import Hyperparameters, TrainingOutcome, TrainingTask
from pnyx.learning.update import (
    VECTOR_DTYPE,
    check_contribution,
    contribution_bounds,
    limit_counts,
    norm_max,
    quantise,
)

Parameters = NDArray[np.float32]  # flat, [parameter_count]


def run_task(task: TrainingTask) -> TrainingOutcome:
    """Run one task on the owner's examples and return the contribution it gives.

    Raises TrainingError, with a sentence for the owner, when the data or the model do not fit the
    program, or when training leaves the range of numbers. Nothing is left to send in that case.
    """
    if len(task.seed) != SEED_BYTES or len(task.split_seed) != SEED_BYTES:
        raise TrainingError(f"A training task asks for seeds of {SEED_BYTES} bytes.")
    program = task.program
    shared = read_model(program, task.model)
    table, labels = read_rows(
        task.features, task.labels, task.rows, program.input_width, program.output_width
    )
    standard = read_standard(task.standard, program.input_width)
    training, held_out = prepare(table, labels, task.split_seed, standard)
    if task.kind == "train":
        vector, metrics = _contribute(task, shared, training, held_out)
    else:
        vector, metrics = _evaluate(task, shared, training, held_out)
    encoded = vector.astype(VECTOR_DTYPE).tobytes()
    check_contribution(encoded, contribution_bounds(program, task.hyperparameters, task.kind))
    return TrainingOutcome(vector=encoded, metrics=metrics)


def warm_up() -> None:
    """Bring torch to the state for forking: loaded, single-threaded, exercised.

    Call it once before forking nodes or workers. Both kinds of task run once on a few zeros, so
    that a fork has nothing left to import or to initialise. Single-threaded means torch here:
    numpy's BLAS starts threads at import unless OPENBLAS_NUM_THREADS is 1 by then, and pyarrow
    may start one for its allocator.
    """
    torch.set_num_threads(1)
    program = MlpProgram((2, 2, 2))
    hyperparameters = Hyperparameters(
        local_epochs=1,
        batch_size=2,
        learning_rate=0.1,
        clip_norm=1.0,
        fraction_bits=10,
        fine_tune_epochs=1,
        fine_tune_learning_rate=0.1,
        alone_epochs=1,
        alone_learning_rate=0.1,
    )
    seed = bytes(SEED_BYTES)
    task = TrainingTask(
        kind="train",
        program=program,
        hyperparameters=hyperparameters,
        model=initial_model(program, seed),
        features=bytes(4 * 2 * 8),
        labels=bytes(8 * 8),
        rows=8,
        seed=seed,
    )
    run_task(task)
    run_task(
        TrainingTask(
            kind="evaluate",
            program=task.program,
            hyperparameters=task.hyperparameters,
            model=task.model,
            features=task.features,
            labels=task.labels,
            rows=task.rows,
            seed=seed,
        )
    )


def _contribute(
    task: TrainingTask, shared: Parameters, training: Examples, held_out: Examples
) -> tuple[NDArray[np.int64], dict[str, float]]:
    hyperparameters = task.hyperparameters
    correct = _count_correct(task.program, shared, held_out)
    trained = train(
        task.program,
        shared,
        training,
        hyperparameters,
        epochs=hyperparameters.local_epochs,
        learning_rate=hyperparameters.learning_rate,
        seed=task.seed,
    )
    update = trained.astype(np.float64) - shared.astype(np.float64)
    quantised = quantise(update, hyperparameters)
    rows = (correct, len(held_out.labels), len(training.labels))
    counts = limit_counts(rows, hyperparameters.count_max)
    norm = float(np.linalg.norm(update))
    metrics = {
        "held_out_accuracy": correct / len(held_out.labels),
        "update_norm": norm,
        "clipped": float(norm * 2.0**hyperparameters.fraction_bits > norm_max(hyperparameters)),
    }
    return np.concatenate([quantised, counts]), metrics


def _evaluate(
    task: TrainingTask, shared: Parameters, training: Examples, held_out: Examples
) -> tuple[NDArray[np.int64], dict[str, float]]:
    """Compare three models on the same held-out rows: the owner's own, the shared, the shared one
    fine-tuned at home.
    """
    program, hyperparameters = task.program, task.hyperparameters
    alone = train(
        program,
        read_model(program, initial_model(program, task.seed)),
        training,
        hyperparameters,
        epochs=hyperparameters.alone_epochs,
        learning_rate=hyperparameters.alone_learning_rate,
        seed=task.seed,
    )
    personalised = personalise(program, shared, training, hyperparameters, seed=task.seed)
    correct = [
        _count_correct(program, parameters, held_out)
        for parameters in (alone, shared, personalised)
    ]
    total = len(held_out.labels)
    metrics = {
        "alone_accuracy": correct[0] / total,
        "shared_accuracy": correct[1] / total,
        "personalised_accuracy": correct[2] / total,
        "held_out": float(total),
    }
    return limit_counts((*correct, total), hyperparameters.count_max), metrics


def personalise(
    program: MlpProgram,
    shared: Parameters,
    training: Examples,
    hyperparameters: Hyperparameters,
    *,
    seed: bytes,
) -> Parameters:
    """Fine-tune the shared model on the owner's examples; the result stays at home."""
    return train(
        program,
        shared,
        training,
        hyperparameters,
        epochs=hyperparameters.fine_tune_epochs,
        learning_rate=hyperparameters.fine_tune_learning_rate,
        seed=seed,
    )


def train(
    program: MlpProgram,
    start: Parameters,
    examples: Examples,
    hyperparameters: Hyperparameters,
    *,
    epochs: int,
    learning_rate: float,
    seed: bytes,
) -> Parameters:
    """Minimise the cross-entropy by mini-batch SGD from `start`; returns new flat parameters.

    Raises TrainingError when a parameter becomes NaN or infinite.
    """
    inputs = torch.from_numpy(examples.features)
    labels = torch.from_numpy(examples.labels)
    flat = torch.tensor(start)  # a copy: `start` may be a read-only view of the task
    parameters = unflatten(program, flat)
    for parameter in parameters:
        parameter.requires_grad_()
    velocities = [torch.zeros_like(parameter) for parameter in parameters]
    order = np.random.default_rng(int.from_bytes(seed, "big"))
    for _ in range(epochs):
        permutation = torch.from_numpy(order.permutation(len(examples.labels)))
        for batch in torch.split(permutation, hyperparameters.batch_size):
            loss = cross_entropy(forward(parameters, inputs[batch]), labels[batch])
            gradients = torch.autograd.grad(loss, parameters)
            _descend(parameters, gradients, velocities, learning_rate, hyperparameters)
    if not bool(torch.isfinite(flat).all()):
        raise TrainingError(
            "Training gave NaN or infinite parameters: nothing was sent; "
            "ask the proposer for a smaller learning rate."
        )
    return flat.numpy()


def _descend(
    parameters: list[torch.Tensor],
    gradients: tuple[torch.Tensor, ...],
    velocities: list[torch.Tensor],
    learning_rate: float,
    hyperparameters: Hyperparameters,
) -> None:
    """One step of SGD in place, with weight decay and momentum as in `torch.optim.SGD`."""
    with torch.no_grad():
        for parameter, gradient, velocity in zip(parameters, gradients, velocities, strict=True):
            direction = gradient
            if hyperparameters.weight_decay:
                direction = direction.add(parameter, alpha=hyperparameters.weight_decay)
            if hyperparameters.momentum:
                direction = velocity.mul_(hyperparameters.momentum).add_(direction)
            parameter.sub_(direction, alpha=learning_rate)


def _count_correct(program: MlpProgram, parameters: Parameters, examples: Examples) -> int:
    with torch.no_grad():
        views = unflatten(program, torch.tensor(parameters))
        predicted = forward(views, torch.from_numpy(examples.features)).argmax(dim=1)
        return int((predicted == torch.from_numpy(examples.labels)).sum())
