import hashlib
import subprocess
import sys

import numpy as np
import pytest

from pnyx.errors import TrainingError
from pnyx.learning import apply_update, initial_model, mlp

PROGRAM = mlp((42, 64, 6))
MODEL = initial_model(PROGRAM, bytes(range(32)))
LENGTH = PROGRAM.shared_count + 3

LIMIT = 4096  # norm 2, in steps of 2^-11


def total_of(values) -> np.ndarray:
    total = np.zeros(LENGTH, dtype=np.int64)
    total[: len(values)] = values
    return total


def test_next_model_is_the_same_bytes_everywhere(hyperparameters):
    total = (np.arange(LENGTH, dtype=np.int64) * 7919) % 8191 - 4095
    following = apply_update(MODEL, total, 24, hyperparameters(server_learning_rate=1.5), LIMIT)
    assert hashlib.sha256(following).hexdigest() == (
        "140067f3fd9fc1bf67f8a6490553b253575d20a585b17a0711b95e1f2750de0e"
    )


def test_next_model_is_the_exactly_rounded_formula(hyperparameters):
    values = [1, -1, 4096 * 3, 17]
    following = np.frombuffer(
        apply_update(MODEL, total_of(values), 3, hyperparameters(server_learning_rate=0.7), LIMIT),
        "<f4",
    )
    before = np.frombuffer(MODEL, "<f4")
    step = 0.7 / (3 * 2048.0)
    for position, value in enumerate(values):
        assert following[position] == np.float32(float(before[position]) + value * step)
    np.testing.assert_array_equal(following[4:], before[4:])


def test_counts_do_not_move_the_model(hyperparameters):
    total = np.zeros(LENGTH, dtype=np.int64)
    total[-3:] = [10, 20, 30]
    assert apply_update(MODEL, total, 2, hyperparameters(), LIMIT) == MODEL


@pytest.mark.parametrize("value", [4096 * 2 + 1, -(4096 * 2) - 1, -(2**63)])
def test_sum_beyond_what_contributors_can_reach_is_refused(hyperparameters, value):
    with pytest.raises(TrainingError, match="exceeds"):
        apply_update(MODEL, total_of([value]), 2, hyperparameters(), LIMIT)


@pytest.mark.parametrize("count", [0, -1, 1 << 21])
def test_absurd_count_is_refused(hyperparameters, count):
    with pytest.raises(TrainingError, match="contributors"):
        apply_update(MODEL, total_of([]), count, hyperparameters(), LIMIT)


def test_sum_of_wrong_shape_or_type_is_refused(hyperparameters):
    with pytest.raises(TrainingError, match="refuse this round"):
        apply_update(MODEL, np.zeros(LENGTH - 3, dtype=np.int64), 2, hyperparameters(), LIMIT)
    with pytest.raises(TrainingError, match="refuse this round"):
        apply_update(MODEL, np.zeros(LENGTH), 2, hyperparameters(), LIMIT)


def test_model_leaving_float32_is_refused(hyperparameters):
    model = np.full(PROGRAM.shared_count, 3.4028235e38, "<f4").tobytes()
    total = total_of([4096] * 5)
    settings = hyperparameters(clip_norm=1024.0, fraction_bits=2, server_learning_rate=100.0)
    apply_update(model, total, 2, settings, LIMIT)  # such a step is lost in rounding
    model = np.full(PROGRAM.shared_count, np.nan, "<f4").tobytes()
    with pytest.raises(TrainingError, match="not be finite"):
        apply_update(model, total, 2, settings, LIMIT)


def test_an_actor_needs_no_torch():
    code = (
        "import sys, pnyx.learning, pnyx.learning.server_optimizer;sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
