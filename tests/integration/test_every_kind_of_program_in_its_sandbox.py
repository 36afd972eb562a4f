"""Programs of every kind train and evaluate in a confined worker as they do without confinement.

The workers' parent is a process of its own, in which nothing was loaded before the nursery was
forked: here, exporting the modules has imported and initialised what a nursery must have by itself.
"""

import subprocess
import sys

import msgspec
import pytest
from tests.support.modules import cases, exported

from pnyx.learning import Hyperparameters, TrainingOutcome, TrainingTask, initial_model
from pnyx.learning.programs import read_program
from pnyx.learning.training import run_task, warm_up

ROWS = 40
CASES = cases()
KINDS = ("train", "evaluate")
SETTINGS = Hyperparameters(
    local_epochs=1,
    batch_size=16,
    learning_rate=0.01,
    momentum=0.9,
    weight_decay=0.01,
    clip_norm=1.0,
    fraction_bits=10,
    standardise="none",
    fine_tune_epochs=1,
    fine_tune_learning_rate=0.01,
    alone_epochs=1,
    alone_learning_rate=0.01,
)

WORKING = """
import sys
import msgspec
from pnyx.errors import TrainingError
from pnyx.learning import TrainingTask, TrainingWorker

worker = TrainingWorker()
worker.start()
worker.process_id
assert "torch" not in sys.modules
outcomes = {}
tasks = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=dict[str, TrainingTask])
for name, task in tasks.items():
    try:
        outcomes[name] = worker.submit(task)
    except TrainingError as error:
        outcomes[name] = str(error)
        if not worker.running:
            worker.start()
worker.stop()
confinement = worker.confinement
sys.stdout.buffer.write(msgspec.msgpack.encode((outcomes, confinement.system_calls)))
"""


@pytest.fixture(scope="module")
def tasks():
    warm_up()  # one thread, as in the worker: else sums differ in their last bits
    made = {}
    for name in CASES:
        case, result = exported(name)
        program = read_program(result.program)
        features, targets = case.batch(ROWS)
        for kind in KINDS:
            made[f"{name} {kind}"] = TrainingTask(
                kind=kind,
                program=program,
                hyperparameters=SETTINGS,
                model=initial_model(program, bytes(32)),
                features=features.numpy().astype("<f4").tobytes(),
                targets=targets.numpy().astype("<i8" if program.classes else "<f4").tobytes(),
                rows=ROWS,
                seed=bytes(32),
            )
    return made


@pytest.fixture(scope="module")
def confined(tasks):
    done = subprocess.run(
        [sys.executable, "-c", WORKING],
        input=msgspec.msgpack.encode(tasks),
        stdout=subprocess.PIPE,
        check=True,
        timeout=120,
    )
    outcomes, filtered = msgspec.msgpack.decode(
        done.stdout, type=tuple[dict[str, TrainingOutcome | str], bool]
    )
    assert filtered == (sys.platform == "linux")
    return outcomes


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_confined_worker_gives_what_the_task_gives(name, kind, tasks, confined):
    assert confined[f"{name} {kind}"] == run_task(tasks[f"{name} {kind}"])
