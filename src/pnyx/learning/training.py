"""Local training, evaluation and personalisation.

`run_task` turns a `TrainingTask` into a `TrainingOutcome`, a pure function of the task on one
machine: the order of mini-batches, and what is dropped out, come from the task's seed, and torch
runs in one thread. (Two machines may differ in the last bits of a local update; nobody ever
recomputes another node's.)

Within a task, parameters are one flat vector: the shared ones, then the owner's local ones. Both
are trained together. Only the difference of the shared ones goes into the contribution.

Plain SGD is written out below: `torch.optim` would import torch's compiler, more than a second and
75 MB, for three lines of arithmetic.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pnyx.errors import TrainingError
from pnyx.learning.features import (
    Examples,
    made_ready,
    prepare,
    read_features,
    read_rows,
    read_standard,
)
from pnyx.learning.programs import (
    Program,
    audit,
    initial_local,
    initial_model,
    mlp,
    read_local,
    read_model,
)
from pnyx.learning.programs.interpreter import Interpreter
from pnyx.learning.programs.models import PARAMETER_DTYPE, SEED_BYTES, unflatten
from pnyx.learning.task import Hyperparameters, TaskKind, TrainingOutcome, TrainingTask
from pnyx.learning.update import (
    VECTOR_DTYPE,
    answer_bounds,
    check_contribution,
    limit_counts,
    norm_max,
    number_bits,
    quantise,
)

Parameters = NDArray[np.float32]  # flat, [shared_count + local_count]


def run_task(task: TrainingTask) -> TrainingOutcome:
    """Run one task on the owner's examples and return the contribution it gives.

    Raises TrainingError, with a sentence for the owner, when the program is none that a node runs,
    when the data or the model do not fit it, or when training leaves the range of numbers. Nothing
    is left to send in that case.
    """
    if len(task.seed) != SEED_BYTES or len(task.split_seed) != SEED_BYTES:
        raise TrainingError(f"A training task asks for seeds of {SEED_BYTES} bytes.")
    program, hyperparameters = task.program, task.hyperparameters
    audit(program, hyperparameters.batch_size)
    local = task.local or initial_local(program, task.seed)
    start = np.concatenate([read_model(program, task.model), read_local(program, local)])
    standard = read_standard(task.standard, program.width)
    if task.kind == "use":
        return _use(task, start, standard)
    table, targets = read_rows(
        task.features, task.targets, task.rows, program.width, program.classes
    )
    training, held_out = prepare(
        table, targets, task.split_seed, hyperparameters.standardise, standard
    )
    learner = Learner(program, hyperparameters, training, held_out, task.seed)
    if task.kind == "train":
        vector, trained, metrics = _contribute(learner, start)
        kept = trained[program.shared_count :].astype(PARAMETER_DTYPE).tobytes()
    else:
        vector, metrics = _evaluate(learner, start)
        kept = b""
    encoded = vector.astype(VECTOR_DTYPE).tobytes()
    check_contribution(encoded, answer_bounds(task))
    return TrainingOutcome(vector=encoded, metrics=metrics, local=kept)


def warm_up() -> None:
    """Bring torch to the state for forking: loaded, single-threaded, exercised.

    Call it once before forking nodes or workers. Both kinds of task run once on a few zeros, so
    that a fork has nothing left to import or to initialise. Single-threaded means torch here:
    numpy's BLAS starts threads at import unless OPENBLAS_NUM_THREADS is 1 by then, and pyarrow
    may start one for its allocator.
    """
    torch.set_num_threads(1)
    program = mlp((2, 2, 2))
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
    kinds: tuple[TaskKind, ...] = ("train", "evaluate")
    for kind in kinds:
        run_task(
            TrainingTask(
                kind=kind,
                program=program,
                hyperparameters=hyperparameters,
                model=initial_model(program, seed),
                features=bytes(4 * 2 * 8),
                targets=bytes(8 * 8),
                rows=8,
                seed=seed,
            )
        )


class Learner:
    """What one task trains and scores with: a program, an owner's examples, a seed."""

    def __init__(
        self,
        program: Program,
        hyperparameters: Hyperparameters,
        training: Examples,
        held_out: Examples,
        seed: bytes,
    ) -> None:
        self.program = program
        self.hyperparameters = hyperparameters
        self.training = training
        self.held_out = held_out
        self.seed = seed
        self._interpreter = Interpreter(program, seed)

    def train(self, start: Parameters, *, epochs: int, learning_rate: float) -> Parameters:
        """Minimise the loss by mini-batch SGD from `start`; returns new flat parameters.

        Raises TrainingError when a parameter becomes NaN or infinite.
        """
        trained = self.descend(start, epochs=epochs, learning_rate=learning_rate)
        if not np.isfinite(trained).all():
            raise TrainingError(
                "Training gave NaN or infinite parameters: nothing was sent; "
                "ask the proposer for a smaller learning rate."
            )
        return trained

    def descend(self, start: Parameters, *, epochs: int, learning_rate: float) -> Parameters:
        """What `train` computes, finite or not."""
        inputs = torch.from_numpy(self.training.features)
        targets = torch.from_numpy(self.training.targets)
        flat = torch.tensor(start)  # a copy: `start` may be a read-only view of the task
        parameters = unflatten(self.program, flat)
        for parameter in parameters:
            parameter.requires_grad_()
        velocities = [torch.zeros_like(parameter) for parameter in parameters]
        order = np.random.default_rng(int.from_bytes(self.seed, "big"))
        for _ in range(epochs):
            permutation = torch.from_numpy(order.permutation(len(targets)))
            for batch in torch.split(permutation, self.hyperparameters.batch_size):
                loss = self._interpreter.loss(parameters, inputs[batch], targets[batch])
                gradients = torch.autograd.grad(loss, parameters)
                descend(parameters, gradients, velocities, learning_rate, self.hyperparameters)
        return flat.numpy()

    def personalise(self, shared: Parameters) -> Parameters:
        """Fine-tune on the owner's examples; the result stays at home."""
        settings = self.hyperparameters
        return self.train(
            shared,
            epochs=settings.fine_tune_epochs,
            learning_rate=settings.fine_tune_learning_rate,
        )

    def score(self, parameters: Parameters) -> int:
        """Sum of scores on held-out rows, rounded: of a classifier, how many it gets right."""
        views = unflatten(self.program, torch.tensor(parameters))
        self._interpreter.measure(views, list(self._batches(self.training)))
        total = sum(
            float(self._interpreter.score(views, *batch).sum(dtype=torch.float64))
            for batch in self._batches(self.held_out)
        )
        return round(total)

    def predict(self, parameters: Parameters, inputs: NDArray[np.float32]) -> NDArray[np.int64]:
        """For each row the class, or the bits of the number, that is predicted: [rows].

        Raises TrainingError when the program says neither, or where a number is none.
        """
        classes = self.program.classes
        if not classes and self.program.prediction is None:
            raise TrainingError(
                "This study's model predicts neither a class nor one number for each row: "
                "`pnyx study result --model` writes it to a file for its author's program."
            )
        views = unflatten(self.program, torch.tensor(parameters))
        self._interpreter.measure(views, list(self._batches(self.training)))
        batches = torch.split(torch.from_numpy(inputs), self.hyperparameters.batch_size)
        if classes:
            named = [self._best_class(views, rows) for rows in batches]
            return torch.cat([torch.zeros(0, dtype=torch.int64), *named]).numpy()
        numbers = [self._interpreter.predict(views, rows) for rows in batches]
        found = torch.cat([torch.zeros(0), *numbers]).numpy()
        if not np.isfinite(found).all():
            raise TrainingError("The model predicts NaN or infinite numbers for some of the rows.")
        return number_bits(found)

    def _best_class(self, views: list[Tensor], rows: Tensor) -> Tensor:
        """The class with the highest score: [rows].

        Such a program tells how right a class is, not which one it would name: all are asked about.
        """
        scores = [
            self._interpreter.score(views, rows, torch.full((len(rows),), each))
            for each in range(self.program.classes)
        ]
        return torch.stack(scores).argmax(dim=0)

    def _batches(self, examples: Examples) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows in order, no more at once than the program was audited for."""
        size = self.hyperparameters.batch_size
        inputs = torch.split(torch.from_numpy(examples.features), size)
        return zip(inputs, torch.split(torch.from_numpy(examples.targets), size), strict=True)


def _contribute(
    learner: Learner, start: Parameters
) -> tuple[NDArray[np.int64], Parameters, dict[str, float]]:
    hyperparameters, shared_count = learner.hyperparameters, learner.program.shared_count
    held_out = len(learner.held_out.targets)
    correct = learner.score(start)
    trained = learner.train(
        start,
        epochs=hyperparameters.local_epochs,
        learning_rate=hyperparameters.learning_rate,
    )
    update = (trained.astype(np.float64) - start.astype(np.float64))[:shared_count]
    quantised = quantise(update, hyperparameters)
    rows = (correct, held_out, len(learner.training.targets))
    counts = limit_counts(rows, hyperparameters.count_max)
    norm = float(np.linalg.norm(update))
    metrics = {
        "held_out_accuracy": correct / held_out,
        "update_norm": norm,
        "clipped": float(norm * 2.0**hyperparameters.fraction_bits > norm_max(hyperparameters)),
    }
    return np.concatenate([quantised, counts]), trained, metrics


def _evaluate(learner: Learner, start: Parameters) -> tuple[NDArray[np.int64], dict[str, float]]:
    """Compare three models on the same held-out rows: the owner's own, the shared, the shared one
    fine-tuned at home. The last two have the owner's local parameters.
    """
    program, hyperparameters = learner.program, learner.hyperparameters
    fresh = initial_model(program, learner.seed) + initial_local(program, learner.seed)
    alone = learner.train(
        np.frombuffer(fresh, PARAMETER_DTYPE),
        epochs=hyperparameters.alone_epochs,
        learning_rate=hyperparameters.alone_learning_rate,
    )
    correct = [learner.score(each) for each in (alone, start, learner.personalise(start))]
    total = len(learner.held_out.targets)
    metrics = {
        "alone_accuracy": correct[0] / total,
        "shared_accuracy": correct[1] / total,
        "personalised_accuracy": correct[2] / total,
        "held_out": float(total),
    }
    return limit_counts((*correct, total), hyperparameters.count_max), metrics


def _use(
    task: TrainingTask, start: Parameters, standard: NDArray[np.float64] | None
) -> TrainingOutcome:
    """Predict classes or numbers for the owner's rows; nothing of this leaves."""
    program, hyperparameters = task.program, task.hyperparameters
    unseen = read_features(task.unseen, task.unseen_rows, program.width)
    if task.rows:
        table, targets = read_rows(
            task.features, task.targets, task.rows, program.width, program.classes
        )
    else:  # an owner without examples of its own: these rows say what is usual there
        nothing = np.zeros(len(unseen), dtype=np.int64)
        table, targets = unseen, nothing if program.classes else nothing.astype(np.float32)
    known, ready = made_ready(table, unseen, hyperparameters.standardise, standard)
    examples = Examples(known, targets.copy())  # torch wants memory that it may write
    learner = Learner(program, hyperparameters, examples, examples, task.seed)
    if task.fine_tune and task.rows:
        start = learner.personalise(start)
    vector = learner.predict(start, ready).astype(VECTOR_DTYPE).tobytes()
    check_contribution(vector, answer_bounds(task))
    return TrainingOutcome(vector=vector, metrics={})


def descend(
    parameters: list[Tensor],
    gradients: tuple[Tensor, ...],
    velocities: list[Tensor],
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
