"""A model of real numbers, put to use by an owner who knows some of them."""

import numpy as np
from msgspec.structs import replace
from tests.unit.node.test_learning import PROGRAM, personal, study

from pnyx.learning.programs import encode_program
from pnyx.node.learning import using_task
from pnyx.node.queries import OwnerRows
from pnyx.node.using import _numbers


def test_rows_without_a_number_are_predicted_and_not_trained_on() -> None:
    program = replace(personal(), prediction=5)
    asked = study(program=encode_program(program), columns=("x", "kind"), label="y")
    labels = np.array([1.0, np.nan, 3.0, np.nan, 5.0, 6.0, 7.0])
    rows = OwnerRows(np.arange(14.0).reshape(7, 2), labels)
    task = using_task(
        rows, rows, manifest=asked, model=bytes(4 * PROGRAM.parameters[0].size), statistics=None,
        local=b"", seed=bytes(32),
    )  # fmt: skip
    assert np.frombuffer(task.targets, "<f4").tolist() == [1.0, 3.0, 5.0, 6.0, 7.0]
    assert np.frombuffer(task.features, "<f4").reshape(-1, 2)[:, 0].tolist() == [0, 4, 8, 10, 12]
    assert (task.rows, task.unseen_rows, task.fine_tune) == (5, 7, True)


def test_predicted_numbers_are_compared_with_the_labels_that_there_are() -> None:
    numbers = np.array([1.0, 2.0, 5.0], dtype=np.float32)
    found = _numbers("c", numbers, np.array([2.0, np.nan, 5.0]), True)
    assert (found.numbers, found.mean_difference, found.right) == ((1.0, 2.0, 5.0), 0.5, None)
    assert _numbers("c", numbers, np.array([0, 2, 4]), True).mean_difference == 2 / 3
    for labels in (None, np.array([np.nan] * 3), np.array(["a", "b", "c"])):
        assert _numbers("c", numbers, labels, False).mean_difference is None
