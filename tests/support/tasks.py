"""Small training tasks on synthetic rows."""

import msgspec
import numpy as np

from pnyx.learning import Hyperparameters, TrainingTask, initial_model, mlp

SEED = bytes(range(32))


def make_hyperparameters(**overrides) -> Hyperparameters:
    base = Hyperparameters(
        local_epochs=2,
        batch_size=8,
        learning_rate=0.1,
        clip_norm=2.0,
        fraction_bits=11,
        fine_tune_epochs=2,
        fine_tune_learning_rate=0.1,
        alone_epochs=20,
        alone_learning_rate=0.3,
    )
    return msgspec.structs.replace(base, **overrides)


def make_task(rows: int = 60, **overrides) -> TrainingTask:
    """Three classes that the first two of five features tell apart; some values are missing."""
    generator = np.random.default_rng(7)
    labels = np.arange(rows) % 3
    features = generator.normal(size=(rows, 5))
    features[:, 0] += 4.0 * (labels == 1)
    features[:, 1] += 4.0 * (labels == 2)
    features[::11, 4] = np.nan
    program = mlp((5, 8, 3))
    task = TrainingTask(
        kind="train",
        program=program,
        hyperparameters=make_hyperparameters(),
        model=initial_model(program, SEED),
        features=features.astype("<f4").tobytes(),
        targets=labels.astype("<i8").tobytes(),
        rows=rows,
        seed=SEED,
    )
    return msgspec.structs.replace(task, **overrides)
