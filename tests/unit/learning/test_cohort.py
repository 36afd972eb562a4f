"""Many clients trained at once obtain what each would have computed alone."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pnyx.errors import TrainingError
from pnyx.learning import Hyperparameters, Program, mlp
from pnyx.learning.cohort import TOGETHER_PARAMETERS_MAX, Client, Cohort
from pnyx.learning.features import Examples
from pnyx.learning.programs import initial_local, initial_model, read_program
from pnyx.learning.programs.export import export
from pnyx.learning.programs.models import PARAMETER_DTYPE
from pnyx.learning.training import Learner, warm_up

EPOCHS = 2
RATE = 0.05


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    warm_up()


def _hyperparameters(batch_size: int, momentum: float = 0.9) -> Hyperparameters:
    return Hyperparameters(
        local_epochs=EPOCHS,
        batch_size=batch_size,
        learning_rate=RATE,
        momentum=momentum,
        weight_decay=0.01,
        clip_norm=1.0,
        fraction_bits=11,
        fine_tune_epochs=1,
        fine_tune_learning_rate=0.1,
        alone_epochs=1,
        alone_learning_rate=0.1,
    )


def _clients(program: Program, rows: list[int]) -> list[Client]:
    random = np.random.default_rng(7)
    found = []
    for at, count in enumerate(rows):
        features = random.normal(size=(count, program.width)).astype(np.float32)
        targets = random.integers(0, program.classes, count)
        seed = at.to_bytes(32, "big")
        local = np.frombuffer(initial_local(program, seed), PARAMETER_DTYPE)
        found.append(Client(training=Examples(features, targets), seed=seed, local=local))
    return found


def _alone(
    program: Program, settings: Hyperparameters, shared: NDArray[np.float32], client: Client
) -> NDArray[np.float32]:
    learner = Learner(program, settings, client.training, client.training, client.seed)
    start = np.concatenate([shared, client.local])
    return learner.train(start, epochs=EPOCHS, learning_rate=RATE)


@cache
def _exported(kind: Callable[[], nn.Module], local: tuple[str, ...] = ()) -> Program:
    """A module's program: seconds of export, so only for the tests that use it."""
    module = kind()
    example = (torch.randn(2, 12), torch.zeros(2, dtype=torch.int64))
    made = export(module, functional.cross_entropy, example, local=local, classes=4)
    return read_program(made.program)


class _Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 8)
        self.batch = nn.BatchNorm1d(8)
        self.layer = nn.LayerNorm(8)
        self.last = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.layer(functional.gelu(self.batch(self.first(x)))))
        return out


class _Convolved(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, 3, 3)
        self.last = nn.Linear(15, 4)

    def forward(self, x: Tensor) -> Tensor:
        held = functional.max_pool1d(torch.relu(self.first(x.unsqueeze(1))), 2)
        out: Tensor = self.last(held.flatten(1))
        return out


class _Personal(nn.Module):
    """A head that stays with its owner stands before the shared parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 4)
        self.body = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x) + self.head(x)
        return out


def _dropping() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 8), nn.Dropout(0.5), nn.Linear(8, 4))


PROGRAMS: dict[str, tuple[Callable[[], Program], bool]] = {
    "perceptron": (lambda: mlp((12, 9, 4)), True),
    "normalised": (lambda: _exported(_Normed), True),
    "convolved": (lambda: _exported(_Convolved), True),
    "personal": (lambda: _exported(_Personal, ("head",)), True),
    "dropping out": (lambda: _exported(_dropping), False),
    "large": (lambda: mlp((12, TOGETHER_PARAMETERS_MAX // 16, 4)), False),
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("rows", [[10], [8, 8, 8], [5, 18, 8, 23, 16, 18, 2, 24, 40]])
def test_each_client_obtains_what_it_would_alone(name: str, rows: list[int]) -> None:
    make, together = PROGRAMS[name]
    program = make()
    settings = _hyperparameters(8)
    shared = np.frombuffer(initial_model(program, bytes(32)), PARAMETER_DTYPE)
    clients = _clients(program, rows)
    cohort = Cohort(program, settings)
    assert cohort.together == together
    seen = []
    for positions, trained in cohort.train(shared, clients, epochs=EPOCHS, learning_rate=RATE):
        for at, found in zip(positions, trained, strict=True):
            seen.append(at)
            expected = _alone(program, settings, shared, clients[at])
            # A batch of one row has no variance: its normalisation magnifies what rounding left.
            assert np.allclose(found, expected, atol=1e-4 if name == "normalised" else 1e-6)
            assert not np.allclose(found, np.concatenate([shared, clients[at].local]), atol=1e-3)
    assert sorted(seen) == list(range(len(rows)))


def test_more_clients_than_train_at_once() -> None:
    program, settings = mlp((3, 4, 2)), _hyperparameters(4, momentum=0.0)
    shared = np.frombuffer(initial_model(program, bytes(32)), PARAMETER_DTYPE)
    clients = _clients(program, [4 + at % 7 for at in range(1100)])
    chunks = list(Cohort(program, settings).train(shared, clients, epochs=1, learning_rate=RATE))
    assert len(chunks) == 2
    again = list(Cohort(program, settings).train(shared, clients, epochs=1, learning_rate=RATE))
    for (positions, trained), (others, repeated) in zip(chunks, again, strict=True):
        assert positions == others
        assert trained.tobytes() == repeated.tobytes()


def test_what_left_the_range_of_numbers_is_handed_over() -> None:
    program, settings = mlp((3, 4, 2)), _hyperparameters(4)
    shared = np.full(program.shared_count, 1e30, dtype=np.float32)
    clients = _clients(program, [8, 8])
    ((_, trained),) = Cohort(program, settings).train(
        shared, clients, epochs=EPOCHS, learning_rate=100.0
    )
    assert not np.isfinite(trained).all()


def test_scores_are_counts_of_right_answers() -> None:
    program, settings = mlp((3, 4, 2)), _hyperparameters(4)
    shared = np.frombuffer(initial_model(program, bytes(32)), PARAMETER_DTYPE)
    (client,) = _clients(program, [20])
    cohort = Cohort(program, settings)
    learner = Learner(program, settings, client.training, client.training, bytes(32))
    assert cohort.score(shared, client.training) == learner.score(shared)


def test_short_seeds_are_refused() -> None:
    program = mlp((3, 4, 2))
    (client,) = _clients(program, [8])
    short = Client(training=client.training, seed=b"short")
    shared = np.zeros(program.shared_count, dtype=np.float32)
    with pytest.raises(TrainingError, match="seeds of 32 bytes"):
        next(Cohort(program, _hyperparameters(4)).train(shared, [short], epochs=1, learning_rate=1))
