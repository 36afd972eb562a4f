"""Small tasks on synthetic rows, shared by the tests of `pnyx.learning`."""

from collections.abc import Callable

import pytest
from tests.support.tasks import make_hyperparameters, make_task

from pnyx.learning import Hyperparameters, TrainingTask


@pytest.fixture(scope="session")
def hyperparameters() -> Callable[..., Hyperparameters]:
    return make_hyperparameters


@pytest.fixture(scope="session")
def training_task() -> Callable[..., TrainingTask]:
    return make_task
