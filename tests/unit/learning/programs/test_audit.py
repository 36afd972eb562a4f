"""What a program costs, by hand."""

import pytest

from pnyx.errors import TrainingError
from pnyx.learning.programs import Operation, Parameter, Program, audit, mlp
from pnyx.learning.programs.audit import PARAMETER_BYTES, TOUCHED_WORK


def looking_up(rows: int) -> Program:
    """One row of a table for each example, and its mean."""
    return Program(
        width=1,
        classes=0,
        parameters=(Parameter(name="table", shape=(rows, 2)),),
        operations=(
            Operation("select", (0, 1, 0)),
            Operation("cast", (3, "int64")),
            Operation("embedding", (2, 4, None)),
            Operation("mean", (5, (1,), False)),
            Operation("mse_loss", (6, 1)),
        ),
        loss=7,
        score=6,
    )


def test_a_small_program_costs_what_a_hand_adds_up():
    cost = audit(looking_up(100), 10)
    results = 4 * 10 + 8 * 10 + 4 * 20 + 4 * 10 + 4  # each kept, with a gradient as large
    scratch = 2 * 40  # of the loss
    largest = 800 + 80  # gradients that the look-up writes at once: the table's, and its result
    assert cost.memory_bytes == 200 * PARAMETER_BYTES + 2 * results + scratch + largest
    forwards = 10 + 10 + 20 + 20 + 10 * 32
    touched = (10 + 10) + (10 + 10) + (200 + 10 + 20) + (20 + 10) + (10 + 10 + 1)
    assert cost.work == 3 * forwards + TOUCHED_WORK * touched
    assert (cost.shared, cost.local, cost.operations) == (200, 0, 5)


def test_a_gradient_of_a_table_costs_its_whole_size():
    small, large = audit(looking_up(100), 10), audit(looking_up(1100), 10)
    assert large.memory_bytes - small.memory_bytes == 2000 * (PARAMETER_BYTES + 4)
    assert large.work - small.work == TOUCHED_WORK * 2000


def test_cost_grows_with_the_batch():
    one, two, three = (audit(mlp((42, 64, 6)), batch).work for batch in (1, 2, 3))
    assert three - two == two - one > 6 * 42 * 64


@pytest.mark.parametrize("batch", [0, 4097])
def test_a_batch_out_of_range_is_a_bug(batch):
    with pytest.raises(ValueError, match="1 to 4096"):
        audit(mlp((2, 2)), batch)


def test_the_sentence_says_what_is_wrong():
    program = looking_up(10)
    operations = (*program.operations[:2], Operation("embedding", (2, 0, None)))
    changed = Program(
        width=1, classes=0, parameters=program.parameters, operations=operations, loss=5, score=5
    )
    with pytest.raises(TrainingError) as caught:
        audit(changed, 4)
    assert str(caught.value) == (
        "The study's program is refused: operation 2 (embedding) takes a matrix and int64 places."
    )
