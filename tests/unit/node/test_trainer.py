"""A node's queue of training tasks, over real workers in which something else runs."""

import asyncio
import time

import pytest
from tests.support.tasks import make_hyperparameters

from pnyx.errors import TrainingError
from pnyx.learning import (
    TrainingOutcome,
    TrainingTask,
    TrainingWorker,
    child,
    initial_model,
    mlp,
    worker,
)
from pnyx.node.trainer import Job, Trainer, WorkerConfined
from pnyx.sandbox import Confinement

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")

PROGRAM = mlp((2, 2, 2))
OUTCOME = TrainingOutcome(vector=bytes(8 * (PROGRAM.shared_count + 3)), metrics={})


def task(rows: int) -> TrainingTask:
    settings = make_hyperparameters()
    model = initial_model(PROGRAM, bytes(32))
    return TrainingTask("train", PROGRAM, settings, model, b"", b"", rows, bytes(32))


@pytest.fixture
def run(monkeypatch):
    """Run a conversation with a trainer; `train` stands in for training inside the worker."""

    def run(conversation, train=lambda task: OUTCOME, sandbox="best"):
        monkeypatch.setattr("pnyx.learning.training.warm_up", lambda: None)
        monkeypatch.setattr("pnyx.learning.training.run_task", train)
        notices = []
        trainers = TrainingWorker(sandbox)

        async def live():
            trainer = Trainer(trainers, notices.append)
            trainer.start()
            try:
                return await conversation(trainer)
            finally:
                await trainer.stop()

        found = asyncio.run(live())
        assert not trainers.running
        return found, notices

    return run


async def outcomes(trainer: Trainer, *tasks: TrainingTask) -> list[TrainingOutcome | TrainingError]:
    found = []
    done = asyncio.Event()

    def take(outcome) -> None:
        found.append(outcome)
        if len(found) == len(tasks):
            done.set()

    for each in tasks:
        trainer.submit(Job(each, take))
    await done.wait()
    return found


def test_confinement_is_known_before_any_task(run):
    async def wait(trainer):
        while trainer.confinement is None:
            await asyncio.sleep(0.01)
        return trainer.confinement

    confinement, notices = run(wait)
    assert notices == [WorkerConfined(confinement)]


def test_tasks_run_in_order_and_the_owner_is_told_once(run):
    found, notices = run(lambda trainer: outcomes(trainer, *[task(n) for n in (1, 2, 3)]))
    assert found == [OUTCOME] * 3
    assert len(notices) == 1


def test_dead_and_failing_workers_cost_one_task_each(run):
    def train(task):
        if task.rows == 1:
            raise SystemExit
        if task.rows == 2:
            raise TrainingError("for the owner")
        return OUTCOME

    found, _ = run(lambda trainer: outcomes(trainer, *[task(n) for n in (1, 2, 3)]), train)
    assert "exit status 1" in str(found[0])
    assert "for the owner" in str(found[1])
    assert found[2] == OUTCOME


def test_task_that_takes_too_long_costs_itself(run, monkeypatch):
    def train(task):
        while task.rows == 1:
            pass
        return OUTCOME

    monkeypatch.setattr(worker, "WALL_SECONDS_PER_TASK_MAX", 2)
    start = time.monotonic()
    found, _ = run(lambda trainer: outcomes(trainer, task(1), task(2)), train)
    assert "more than 2 seconds" in str(found[0])
    assert found[1] == OUTCOME
    assert time.monotonic() - start < 30


def test_required_sandbox_refuses_every_task_and_the_owner_is_warned(run, monkeypatch):
    reached = Confinement(landlock_version=0, system_calls=False, limits=True)
    monkeypatch.setattr(child, "confine", lambda *_, **__: reached)
    found, notices = run(lambda trainer: outcomes(trainer, task(1), task(2)), sandbox="require")
    for error in found:
        assert "system calls are not filtered" in str(error)
        assert 'node.sandbox = "best"' in str(error)
    assert notices == [WorkerConfined(reached)]


def test_stopping_forgets_what_waits(run):
    async def stop(trainer):
        trainer.submit(Job(task(1), lambda outcome: pytest.fail("it was stopped")))

    run(stop)
