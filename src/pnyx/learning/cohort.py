"""Many clients of one study trained in one process: what a simulation of learning runs.

Each client obtains what its own node would have computed from the same seed: the same batches in
the same order, the same steps, and parameters that differ by rounding alone. Small programs are
trained *together*: one step of many clients is one call (`torch.vmap` over the interpreter), for
an operation on a few thousand numbers costs less than calling it. Large programs, and those that
draw numbers or look at their data while they run, are trained one after the other, exactly as in a
node.

Clients are ordered by their number of rows. Those that take a full batch in the same step, and
those that end on a batch of one size, then stand side by side, so that a step works on slices of
one matrix of parameters, [clients, parameters], and never pads a batch: a loss may treat its batch
in any way.

Which way a program goes follows from the program and the batch size alone, never from a
measurement, so that the same seed gives the same numbers everywhere.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pnyx.errors import TrainingError
from pnyx.learning.features import Examples
from pnyx.learning.programs import Program, audit
from pnyx.learning.programs.interpreter import Interpreter
from pnyx.learning.programs.models import SEED_BYTES, unflatten
from pnyx.learning.task import Hyperparameters
from pnyx.learning.training import Learner, descend

# Drawing numbers, or looking at them: torch.vmap refuses, or would give all clients the same draw.
_ONE_BY_ONE = {"dropout", "attention", "gather", "index_select", "embedding", "gru", "lstm"}
# Measured by benchmarks/cohort.py: beyond, a step's arithmetic outweighs the calls that it takes,
# or the parameters of many clients no longer stay in the caches.
TOGETHER_WORK_MAX = 1 << 24  # operations on numbers, a step and client
TOGETHER_PARAMETERS_MAX = 1 << 16
_MATRIX_NUMBERS_MAX = 1 << 20  # parameters of the clients that train at once: they stay in caches
_TOGETHER_MAX = 1024  # clients at once

Parameters = NDArray[np.float32]


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """One simulated owner. training: rows as its node would prepare them. seed: 32 bytes, of one
    task. local: its own parameters [local_count].
    """

    training: Examples
    seed: bytes
    local: Parameters = msgspec.field(default_factory=lambda: np.zeros(0, dtype=np.float32))


class Cohort:
    """Trains clients of one study. Raises TrainingError for a program that no node runs."""

    def __init__(self, program: Program, hyperparameters: Hyperparameters) -> None:
        self._program = program
        self._hyperparameters = hyperparameters
        work = audit(program, hyperparameters.batch_size).work
        names = {operation.name for operation in program.operations}
        self._size = program.shared_count + program.local_count
        small = work <= TOGETHER_WORK_MAX and self._size <= TOGETHER_PARAMETERS_MAX
        self.together = small and names.isdisjoint(_ONE_BY_ONE)

    def train(
        self,
        shared: Parameters,
        clients: Sequence[Client],
        *,
        epochs: int,
        learning_rate: float,
    ) -> Iterator[tuple[list[int], Parameters]]:
        """Train every client from the shared parameters [shared_count] and its local ones.

        Yields, until all are done, positions in `clients` and their parameters after training,
        [positions, shared_count + local_count]; memory stays bounded whatever their number.
        Parameters of a client whose training left the range of numbers hold NaN or infinities, and
        the caller decides.
        """
        if any(len(each.seed) != SEED_BYTES for each in clients):
            raise TrainingError(f"A training task asks for seeds of {SEED_BYTES} bytes.")
        order = sorted(range(len(clients)), key=lambda at: len(clients[at].training.targets))
        for positions in _chunks(
            order, max(1, min(_TOGETHER_MAX, _MATRIX_NUMBERS_MAX // self._size))
        ):
            chosen = [clients[at] for at in positions]
            way = self._train_together if self.together else self._train_apart
            yield positions, way(shared, chosen, epochs, learning_rate)

    def score(self, parameters: Parameters, examples: Examples) -> float:
        """Sum of scores on rows: of a classifier, how many it gets right."""
        learner = Learner(
            self._program, self._hyperparameters, examples, examples, bytes(SEED_BYTES)
        )
        return learner.score(parameters)

    def _train_apart(
        self, shared: Parameters, clients: list[Client], epochs: int, learning_rate: float
    ) -> Parameters:
        trained = np.empty((len(clients), self._size), dtype=np.float32)
        for at, client in enumerate(clients):
            examples = client.training
            learner = Learner(self._program, self._hyperparameters, examples, examples, client.seed)
            start = np.concatenate([shared, client.local])
            trained[at] = learner.descend(start, epochs=epochs, learning_rate=learning_rate)
        return trained

    def _train_together(
        self, shared: Parameters, clients: list[Client], epochs: int, learning_rate: float
    ) -> Parameters:
        inputs = torch.from_numpy(np.concatenate([each.training.features for each in clients]))
        targets = torch.from_numpy(np.concatenate([each.training.targets for each in clients]))
        interpreter = Interpreter(self._program, bytes(SEED_BYTES))  # which draws nothing
        loss = torch.vmap(interpreter.loss)
        parameters = self._stack(shared, clients)
        velocities = [torch.zeros_like(each) for each in parameters]
        counts = [len(each.training.targets) for each in clients]
        orders = [np.random.default_rng(int.from_bytes(each.seed, "big")) for each in clients]
        for _ in range(epochs):
            order = _permuted(counts, orders)
            for first, last, batch in _steps(counts, self._hyperparameters.batch_size):
                index = torch.from_numpy(np.stack([each[batch] for each in order[first:last]]))
                some = [each[first:last].requires_grad_() for each in parameters]
                losses = loss(some, inputs[index], targets[index])
                # A client's loss depends on its own parameters alone: so does the sum's gradient.
                gradients = torch.autograd.grad(losses.sum(), some)
                moving = [each[first:last] for each in velocities]
                descend(some, gradients, moving, learning_rate, self._hyperparameters)
        return self._flatten(parameters)

    def _stack(self, shared: Parameters, clients: list[Client]) -> list[Tensor]:
        """What all clients start from: [clients, *shape] for each parameter of the program."""
        local = torch.from_numpy(np.stack([each.local for each in clients]))
        common = torch.tensor(shared).expand(len(clients), -1)
        both = torch.cat([common, local], dim=1) if local.shape[1] else common
        views = torch.vmap(partial(unflatten, self._program))(both)
        return [each.clone(memory_format=torch.contiguous_format) for each in views]

    def _flatten(self, parameters: list[Tensor]) -> Parameters:
        """The inverse of `_stack`: [clients, shared_count + local_count]."""
        order = sorted(range(len(parameters)), key=lambda at: self._program.parameters[at].local)
        return torch.cat([parameters[at].flatten(1) for at in order], dim=1).numpy()


def _permuted(counts: list[int], orders: list[np.random.Generator]) -> list[NDArray[np.int64]]:
    """Each client's rows in the order of this epoch, as rows of all clients' rows."""
    starts = np.concatenate([[0], np.cumsum(counts)])
    return [
        start + order.permutation(count)
        for start, count, order in zip(starts[:-1], counts, orders, strict=True)
    ]


def _steps(counts: list[int], batch_size: int) -> Iterator[tuple[int, int, slice]]:
    """The steps of one epoch for clients in ascending order of `counts`: (first, last, rows).

    In each, clients first to last - 1 train on the same slice of their rows, in the order of their
    own epoch. A client's steps come in its own order.
    """
    most = max(counts, default=0)
    for begin in range(0, most, batch_size):
        end = begin + batch_size
        for length, group in groupby(
            (at for at, count in enumerate(counts) if count > begin),
            key=lambda at: min(counts[at], end) - begin,
        ):
            members = list(group)
            yield members[0], members[-1] + 1, slice(begin, begin + length)


def _chunks(order: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(order), size):
        yield order[start : start + size]
