"""What a training worker costs: from the fork to the result of its first step, confined or not.

The demonstration's perceptron is measured with and without the sandbox in turn, then with it a
program of each kind. Nurseries are forked before this process loads torch, as a node forks its own.
The aim is 150 ms with the sandbox, for the slowest too.
"""

import time
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from pnyx.learning import (
    Hyperparameters,
    Program,
    TrainingTask,
    TrainingWorker,
    child,
    initial_model,
    mlp,
)
from pnyx.sandbox import Confinement

SAMPLES = 40
AIM_MS = 150
ROWS = 64
PROGRAM = mlp((43, 64, 6))  # about the demonstration's model


def run() -> dict[str, object]:
    """Milliseconds; `bare` without the sandbox, `confined` with it, at the level reached."""
    bare, confined = TrainingWorker(), TrainingWorker()
    task = _task(PROGRAM)
    nothing = Confinement(landlock_version=0, system_calls=False, limits=False)
    with patch.object(child, "confine", lambda *_, **__: nothing):
        bare.start()  # its nursery keeps what is patched here
        bare.submit(task)
    confined.start()
    confined.submit(task)
    level = confined.confinement
    assert level is not None
    samples: dict[str, list[float]] = {"bare": [], "confined": []}
    try:
        for _ in range(SAMPLES):
            samples["bare"].append(_fork_to_result_ms(bare, task))
            samples["confined"].append(_fork_to_result_ms(confined, task))
        kinds = {name: _kind(confined, each) for name, each in _tasks_of_each_kind().items()}
    finally:
        bare.stop()
        confined.stop()
    return {
        "sandbox": level.describe(),
        "landlock_version": level.landlock_version,
        "samples": SAMPLES,
        "step_in_process_ms": _step_in_process_ms(task),
        "fork_to_first_result_ms": {name: _summary(found) for name, found in samples.items()},
        "confined_by_kind_ms": kinds,
        "slowest_kind": max(kinds, key=lambda name: kinds[name]["median"]),
        "aim_ms": AIM_MS,
    }


def _kind(worker: TrainingWorker, task: TrainingTask) -> dict[str, float]:
    return _summary([_fork_to_result_ms(worker, task) for _ in range(SAMPLES)])


def _tasks_of_each_kind() -> dict[str, TrainingTask]:
    """The modules of the tests, exported; imported late, for they load torch's exporter."""
    from tests.support.modules import cases

    from pnyx.learning.programs import read_program
    from pnyx.learning.programs.export import export

    return {
        name: _task(
            read_program(export(case.module, case.loss, case.batch(4), score=case.score).program),
            case.rows(ROWS).numpy().astype("<f4"),
        )
        for name, case in cases().items()
    }


def _fork_to_result_ms(worker: TrainingWorker, task: TrainingTask) -> float:
    """End the worker that waits, so that the fork is inside what is timed."""
    worker.failure()
    start = time.perf_counter()
    worker.start()
    worker.submit(task)
    return (time.perf_counter() - start) * 1000


def _task(program: Program, features: NDArray[np.float32] | None = None) -> TrainingTask:
    """One step of one mini-batch, on random numbers unless the program wants others."""
    if features is None:
        generator = np.random.default_rng(1)
        features = generator.normal(size=(ROWS, program.width)).astype("<f4")
    targets = np.arange(ROWS) % (program.classes or 5)
    return TrainingTask(
        kind="train",
        program=program,
        hyperparameters=Hyperparameters(
            local_epochs=1,
            batch_size=ROWS,
            learning_rate=0.1,
            clip_norm=1.0,
            fraction_bits=10,
            standardise="none",
            fine_tune_epochs=1,
            fine_tune_learning_rate=0.1,
            alone_epochs=1,
            alone_learning_rate=0.1,
        ),
        model=initial_model(program, bytes(32)),
        features=features.tobytes(),
        targets=targets.astype("<i8" if program.classes else "<f4").tobytes(),
        rows=ROWS,
        seed=bytes(32),
    )


def _step_in_process_ms(task: TrainingTask) -> float:
    from pnyx.learning.training import run_task, warm_up

    warm_up()
    samples = []
    for _ in range(SAMPLES):
        start = time.perf_counter()
        run_task(task)
        samples.append((time.perf_counter() - start) * 1000)
    return round(float(np.median(samples)), 2)


def _summary(samples: list[float]) -> dict[str, float]:
    return {
        "median": round(float(np.median(samples)), 1),
        "p95": round(float(np.percentile(samples, 95)), 1),
        "max": round(max(samples), 1),
    }
