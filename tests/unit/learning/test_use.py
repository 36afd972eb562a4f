"""A model put to use: the classes it would name, on rows that it was not trained on."""

import numpy as np
import pytest
from msgspec.structs import replace

from pnyx.errors import TrainingError
from pnyx.learning import initial_model
from pnyx.learning.programs import Operation, mlp
from pnyx.learning.training import run_task
from pnyx.learning.update import number_bits, numbers_of

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


def summing(**changes):
    """A linear model that predicts one number; its score is not asked for here."""
    operations = (
        Operation("linear", (0, 2, 3)),
        Operation("reshape", (4, (-1,))),
        Operation("mse_loss", (5, 1)),
    )
    terms = {"classes": 0, "operations": operations, "loss": 6, "score": 5, "prediction": 5}
    return replace(mlp((WIDTH, 1)), **{**terms, **changes})


def predicted(training_task, program, hyperparameters) -> np.ndarray:
    features, _, _ = rows(1, 300)
    sums = np.frombuffer(features, "<f4").reshape(-1, WIDTH).sum(axis=1)
    found = used(
        training_task,
        program=program,
        hyperparameters=hyperparameters(
            standardise="none", fine_tune_epochs=20, fine_tune_learning_rate=0.05
        ),
        model=initial_model(program, bytes(32)),
        targets=sums.astype("<f4").tobytes(),
    )
    return numbers_of(found)


def test_a_model_of_numbers_predicts_numbers(training_task, hyperparameters) -> None:
    found = predicted(training_task, summing(), hyperparameters)
    features, _, _ = rows(2)
    wanted = np.frombuffer(features, "<f4").reshape(-1, WIDTH).sum(axis=1)
    assert np.abs(found - wanted).max() < 0.05
    assert found.min() < -1 < 1 < found.max()


def test_a_model_without_a_prediction_says_so(training_task, hyperparameters) -> None:
    with pytest.raises(TrainingError, match="neither a class nor one number"):
        predicted(training_task, summing(prediction=None), hyperparameters)


def test_numbers_that_are_none_are_not_shown(training_task, hyperparameters) -> None:
    operations = (*summing().operations, Operation("mul.Scalar", (5, 1e30)),
                  Operation("exp", (7,)))  # fmt: skip
    with pytest.raises(TrainingError, match="NaN or infinite numbers"):
        predicted(training_task, summing(operations=operations, prediction=8), hyperparameters)


def test_numbers_survive_their_way_through_integers() -> None:
    numbers = np.array([0.0, -0.0, 1.5, -3e-39, 3.4e38, -np.inf], dtype=np.float32)
    bits = number_bits(numbers)
    assert bits.min() >= 0
    assert bits.max() < 2**32
    assert numbers_of(bits).tobytes() == numbers.tobytes()
    assert numbers_of(np.array([-1, 2**40], dtype=np.int64)).shape == (2,), "whoever sends them"
