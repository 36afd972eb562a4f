"""Whole tasks with programs of every kind: they learn, and local parameters stay at home."""

import msgspec
import numpy as np
import pytest
import torch
from tests.support.modules import CLASSES, Case, cases
from torch import nn
from torch.nn import functional

from pnyx.errors import TrainingError
from pnyx.learning import apply_update, contribution_bounds, evaluate_totals, train_totals
from pnyx.learning.programs import initial_local, initial_model, read_program
from pnyx.learning.programs.export import export
from pnyx.learning.task import TrainingTask
from pnyx.learning.training import run_task, warm_up
from pnyx.learning.update import norm_max

SEED = bytes(range(32))


@pytest.fixture(autouse=True)
def _one_thread():
    warm_up()


def task_of(case: Case, hyperparameters, rows: int = 40, local=(), **settings) -> TrainingTask:
    torch.manual_seed(3)
    inputs, targets = case.batch(rows)
    exported = export(case.module, case.loss, (inputs, targets), score=case.score, local=local)
    program = read_program(exported.program)
    settings = {"standardise": "none", "batch_size": 7, **settings}
    return TrainingTask(
        kind="train",
        program=program,
        hyperparameters=hyperparameters(**settings),
        model=initial_model(program, SEED),
        features=inputs.numpy().astype("<f4").tobytes(),
        targets=targets.numpy().tobytes(),
        rows=rows,
        seed=SEED,
    )


@pytest.mark.parametrize("name", ["images", "sequences", "transformer", "perceptron"])
def test_a_task_is_a_function_of_its_inputs(hyperparameters, name):
    task = task_of(cases()[name], hyperparameters)
    outcome = run_task(task)
    assert run_task(task) == outcome
    assert outcome.local == b""
    bounds = contribution_bounds(task.program, task.hyperparameters, "train")
    assert len(outcome.vector) == 8 * bounds.length
    evaluation = msgspec.structs.replace(task, kind="evaluate")
    totals = evaluate_totals(np.frombuffer(run_task(evaluation).vector, "<i8"))
    assert totals.held_out == train_totals(np.frombuffer(outcome.vector, "<i8")).held_out == 12


class Ratings(nn.Module):
    """What an owner thinks of twelve things, by factors of both."""

    def __init__(self) -> None:
        super().__init__()
        self.owner = nn.Parameter(torch.randn(3))
        self.things = nn.Embedding(12, 3)

    def forward(self, x):
        return self.things(x[:, 0].long()) @ self.owner.unsqueeze(1)


def ratings(taste: float) -> tuple[bytes, bytes]:
    """Rows of one owner: things 0 to 11 three times over; what it likes, another dislikes."""
    things = np.arange(36, dtype="<f4") % 12
    return things.tobytes(), (taste * np.sin(things)).astype("<f4").tobytes()


def near(output, targets):
    return (1 - (output[:, 0] - targets).abs()).clamp(0, 1)


@pytest.fixture
def two_owners(hyperparameters):
    case = Case(Ratings(), lambda rows: torch.zeros(rows, 1), score=near)

    def loss(output, targets):
        return functional.mse_loss(output[:, 0], targets)

    task = task_of(
        case._replace(loss=loss), hyperparameters, 36, ["owner"],
        learning_rate=0.1, local_epochs=10, clip_norm=8.0,
    )  # fmt: skip
    found = []
    for owner, taste in enumerate((2.0, -2.0)):
        features, targets = ratings(taste)
        found.append(
            msgspec.structs.replace(
                task, features=features, targets=targets, seed=bytes([owner]) * 32,
                split_seed=bytes([owner]) * 32,
            )
        )  # fmt: skip
    return found


def rounds(tasks, count: int):
    """Train together; each owner keeps its local parameters from one round to the next."""
    settings = tasks[0].hyperparameters
    for _ in range(count):
        outcomes = [run_task(task) for task in tasks]
        total = sum(np.frombuffer(each.vector, "<i8").astype(np.int64) for each in outcomes)
        model = apply_update(tasks[0].model, total, 2, settings, norm_max(settings))
        tasks = [
            msgspec.structs.replace(task, model=model, local=outcome.local)
            for task, outcome in zip(tasks, outcomes, strict=True)
        ]
    return tasks


def test_owners_of_opposite_taste_learn_together_by_factors_of_their_own(two_owners):
    tasks = rounds(two_owners, 12)
    evaluations = [run_task(msgspec.structs.replace(task, kind="evaluate")) for task in tasks]
    totals = [evaluate_totals(np.frombuffer(each.vector, "<i8")) for each in evaluations]
    assert all(each.shared_correct >= 0.8 * each.held_out for each in totals)
    assert all(each.local == b"" for each in evaluations), "an evaluation changes nothing"
    swapped = msgspec.structs.replace(tasks[0], kind="evaluate", local=tasks[1].local)
    assert evaluate_totals(np.frombuffer(run_task(swapped).vector, "<i8")).shared_correct < 5


def test_local_parameters_are_not_in_the_contribution(two_owners):
    task = two_owners[0]
    outcome = run_task(task)
    assert (task.program.shared_count, task.program.local_count) == (36, 3)
    assert len(outcome.vector) == 8 * (36 + 3)
    assert len(outcome.local) == 4 * 3
    kept = np.frombuffer(outcome.local, "<f4")
    started = np.frombuffer(initial_local(task.program, task.seed), "<f4")
    moved = np.rint((kept - started) * 2.0**11).astype(np.int64)
    assert np.abs(moved).min() > 0, "they were trained"
    assert not set(moved.tolist()) & set(np.frombuffer(outcome.vector, "<i8")[:36].tolist())


def test_local_parameters_of_another_size_are_refused(two_owners):
    with pytest.raises(TrainingError, match="local parameters has 4 bytes"):
        run_task(msgspec.structs.replace(two_owners[0], local=bytes(4)))


def test_the_worker_audits_what_it_is_given(two_owners):
    task = two_owners[0]
    program = msgspec.structs.replace(task.program, loss=0)
    with pytest.raises(TrainingError, match="refused"):
        run_task(msgspec.structs.replace(task, program=program))


def test_missing_numbers_to_predict_are_refused(two_owners):
    targets = np.full(36, np.nan, "<f4").tobytes()
    with pytest.raises(TrainingError, match="missing, infinite or absurdly large"):
        run_task(msgspec.structs.replace(two_owners[0], targets=targets))


def test_unstandardised_columns_keep_their_numbers(two_owners):
    """Numbers of things are no measurements: standardised, thing 11 could not be looked up."""
    settings = msgspec.structs.replace(two_owners[0].hyperparameters, standardise="owner")
    with pytest.raises(TrainingError, match="outside 0 to 11"):
        run_task(msgspec.structs.replace(two_owners[0], hyperparameters=settings))


def test_classes_follow_the_output():
    case = cases()["perceptron"]
    assert read_program(export(case.module, case.loss, case.batch(4)).program).classes == CLASSES
