"""A daemon trains a program with local parameters on what a query gives, and looks after them."""

import asyncio

import numpy as np
import pytest
from msgspec.structs import replace
from tests.unit.node.test_daemon_queries import QUERY, Driven, accept, start
from tests.unit.node.test_learning import COLLECTING, TERMS, hyperparameters, study

from pnyx.errors import ConsentError
from pnyx.learning import TrainingWorker, initial_model, mlp
from pnyx.learning.programs import encode_program, initial_local
from pnyx.node.learning import bounds_for, encode_hyperparameters, phase_for
from pnyx.node.trainer import Job, Trainer
from pnyx.protocol.events import TrainingFailed, TrainingFinished
from pnyx.protocol.models import model_name
from pnyx.vault import Vault
from pnyx.vault.collections import Column, SourceFile

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")

STUDY = b"s" * 32
LOCAL_COUNT = 3


def with_local_bias():
    """A perceptron of two features and three classes; the biases stay with their owner."""
    program = mlp((2, 3))
    weight, bias = program.parameters
    return replace(program, parameters=(weight, replace(bias, local=True)))


PROGRAM = with_local_bias()
SETTINGS = hyperparameters()
TRAINING = phase_for("train", bounds_for(PROGRAM, SETTINGS, "train"), **{**TERMS, "rounds": 2})
ASKED = study(
    query=QUERY,
    phases=[COLLECTING, TRAINING],
    program=encode_program(PROGRAM),
    hyperparameters=encode_hyperparameters(SETTINGS),
    model_bytes=4 * PROGRAM.shared_count,
)


class Training(Driven):
    """A driven daemon with a real worker; notes the tasks that it is given."""

    def __init__(self, vault: Vault, worker: TrainingWorker) -> None:
        super().__init__(vault)
        self.daemon.tasks._trainer = self
        self.worker = worker

    def submit(self, job: Job) -> None:
        self.jobs.append(job)
        self.daemon._spawn(self._run(job))

    async def _run(self, job: Job) -> None:
        done = asyncio.Event()

        def tell(outcome) -> None:
            job.done(outcome)
            done.set()

        Trainer(self.worker, self.noticed.append).submit(Job(job.task, tell))
        await done.wait()

    def train(self, round_number: int):
        """One round; the event that ends it."""
        model = initial_model(PROGRAM, bytes(32))
        self.parcels.write(model_name(model), 0, model)
        self.parcels.seal(model_name(model), len(model))
        self(replace(start(ASKED, round_number), model=model_name(model)))
        (event,) = self.heard
        self.heard.clear()
        return event

    @property
    def kept(self) -> bytes:
        return self.daemon.vault.locals.get(STUDY)


@pytest.fixture(scope="module")
def worker():
    worker = TrainingWorker()
    worker.start()
    yield worker
    worker.stop()


@pytest.fixture
def training(tmp_path, worker):
    with Vault.open(tmp_path / "vault", bytes(range(32))) as vault:
        columns = [Column(name, "float") for name in ("amount", "day", "secret")]
        columns.append(Column("kind", "int"))
        rows = [(float(n), 10.0 * (n % 4), -1.0, n % 3) for n in range(30)]
        vault.collections.add("c", columns, SourceFile("f", "csv", bytes(32), 1), rows, 0.0)
        driven = Training(vault, worker)
        accept(driven, ASKED)
        yield driven


def test_local_parameters_are_kept_given_to_the_next_round_and_never_sent(training):
    assert training.kept == b""
    first = training.train(2)
    assert isinstance(first, TrainingFinished), first
    assert len(first.vector) == TRAINING.bounds.length == PROGRAM.shared_count + 3
    after_first = training.kept
    assert len(after_first) == 4 * LOCAL_COUNT
    assert after_first != initial_local(PROGRAM, training.jobs[0].task.seed)
    second = training.train(3)
    assert isinstance(second, TrainingFinished), second
    given = [job.task.local for job in training.jobs]
    assert given == [b"", after_first]
    assert training.kept != after_first
    features = np.frombuffer(training.jobs[0].task.features, "<f4").reshape(-1, 2)
    assert features[:, 0].tolist() == [np.float32(n / 10) for n in range(30)]  # of the query
    assert {type(notice).__name__ for notice in training.noticed} == {
        "QueryConfined",
        "WorkerConfined",
    }


def test_local_parameters_are_forgotten_on_withdrawal_and_stay_so(training):
    training.train(2)
    assert training.kept
    outcome_of_a_round_under_way = training.jobs[0]

    async def withdraw() -> None:
        training.daemon.decisions.withdraw(STUDY)

    asyncio.run(withdraw())
    training.heard.clear()
    assert training.kept == b""
    failed = training.train(3)
    assert isinstance(failed, TrainingFailed)
    assert training.kept == b""
    # a task that was under way when consent was withdrawn leaves nothing either
    training.worker.connection.setblocking(True)
    outcome_of_a_round_under_way.done(training.worker.submit(outcome_of_a_round_under_way.task))
    (event,) = training.heard
    assert isinstance(event, TrainingFailed)
    assert training.kept == b""
    with pytest.raises(ConsentError):
        training.daemon.vault.keep_locals(STUDY, b"x" * 12, 1.0)
