"""What a training worker costs: from the fork to the result of its first step, confined or not.

Both kinds are measured in turn, from one warmed process. The aim is 150 ms with the sandbox.
"""

import time
from collections.abc import Callable
from unittest.mock import patch

import numpy as np

from pnyx.learning import (
    Hyperparameters,
    TrainingTask,
    TrainingWorker,
    child,
    initial_model,
    mlp,
)
from pnyx.learning.training import run_task, warm_up
from pnyx.sandbox import Confinement

SAMPLES = 40
AIM_MS = 150
ROWS = 64
PROGRAM = mlp((43, 64, 6))  # about the demonstration's model


def run() -> dict[str, object]:
    """Milliseconds; `bare` without the sandbox, `confined` with it, at the level reached."""
    warm_up()
    bare, confined = TrainingWorker(), TrainingWorker()
    nothing = Confinement(landlock_version=0, system_calls=False, limits=False)
    with patch.object(child, "confine", lambda *_, **__: nothing):
        bare.start()  # its nursery keeps what is patched here
        bare.submit(_task())
    confined.start()
    confined.submit(_task())
    level = confined.confinement
    assert level is not None
    samples: dict[str, list[float]] = {"bare": [], "confined": []}
    try:
        for _ in range(SAMPLES):
            samples["bare"].append(_fork_to_result_ms(bare))
            samples["confined"].append(_fork_to_result_ms(confined))
    finally:
        bare.stop()
        confined.stop()
    return {
        "sandbox": level.describe(),
        "landlock_version": level.landlock_version,
        "samples": SAMPLES,
        "step_in_process_ms": _median_ms(lambda: run_task(_task())),
        "fork_to_first_result_ms": {name: _summary(found) for name, found in samples.items()},
        "aim_ms": AIM_MS,
    }


def _fork_to_result_ms(worker: TrainingWorker) -> float:
    """End the worker that waits, so that the fork is inside what is timed."""
    task = _task()
    worker.failure()
    start = time.perf_counter()
    worker.start()
    worker.submit(task)
    return (time.perf_counter() - start) * 1000


def _task() -> TrainingTask:
    """One step of one mini-batch."""
    generator = np.random.default_rng(1)
    return TrainingTask(
        kind="train",
        program=PROGRAM,
        hyperparameters=Hyperparameters(
            local_epochs=1,
            batch_size=ROWS,
            learning_rate=0.1,
            clip_norm=1.0,
            fraction_bits=10,
            fine_tune_epochs=1,
            fine_tune_learning_rate=0.1,
            alone_epochs=1,
            alone_learning_rate=0.1,
        ),
        model=initial_model(PROGRAM, bytes(32)),
        features=generator.normal(size=(ROWS, PROGRAM.input_width)).astype("<f4").tobytes(),
        labels=(np.arange(ROWS) % PROGRAM.output_width).astype("<i8").tobytes(),
        rows=ROWS,
        seed=bytes(32),
    )


def _median_ms(act: Callable[[], object]) -> float:
    samples = []
    for _ in range(SAMPLES):
        start = time.perf_counter()
        act()
        samples.append((time.perf_counter() - start) * 1000)
    return round(float(np.median(samples)), 2)


def _summary(samples: list[float]) -> dict[str, float]:
    return {
        "median": round(float(np.median(samples)), 1),
        "p95": round(float(np.percentile(samples, 95)), 1),
        "max": round(max(samples), 1),
    }
