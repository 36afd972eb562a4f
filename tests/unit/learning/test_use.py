"""A model put to use: the classes it would name, on rows that it was not trained on."""

import numpy as np
import pytest

from pnyx.errors import TrainingError
from pnyx.learning.training import run_task

CLASSES = 3
WIDTH = 5


def rows(seed: int, count: int = 60) -> tuple[bytes, bytes, np.ndarray]:
    """Rows whose class is where their largest of the first three numbers stands."""
    features = np.random.default_rng(seed).normal(size=(count, WIDTH)).astype("<f4")
    labels = features[:, :CLASSES].argmax(axis=1)
    return features.tobytes(), labels.astype("<i8").tobytes(), labels


def used(training_task, **changes) -> np.ndarray:
    features, targets, _ = rows(1, 300)
    unseen, _, _ = rows(2)
    terms = {
        "kind": "use",
        "features": features,
        "targets": targets,
        "rows": 300,
        "unseen": unseen,
        "unseen_rows": 60,
        "fine_tune": True,
        **changes,
    }
    return np.frombuffer(run_task(training_task(**terms)).vector, "<i8")


def test_a_fine_tuned_model_names_classes_of_new_rows(training_task, hyperparameters) -> None:
    settings = hyperparameters(fine_tune_epochs=60, fine_tune_learning_rate=0.5)
    found = used(training_task, hyperparameters=settings)
    assert (found == rows(2)[2]).mean() > 0.8


def test_without_rows_of_ones_own_the_shared_model_serves(training_task) -> None:
    found = used(training_task, features=b"", targets=b"", rows=0)
    assert found.shape == (60,)
    assert set(found) <= set(range(CLASSES))


def test_no_rows_give_no_predictions(training_task) -> None:
    assert used(training_task, unseen=b"", unseen_rows=0).shape == (0,)


def test_rows_of_another_width_are_refused(training_task) -> None:
    with pytest.raises(TrainingError, match="do not match"):
        used(training_task, unseen_rows=59)
