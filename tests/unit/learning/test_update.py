import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pnyx.errors import TrainingError
from pnyx.learning import contribution_bounds, evaluate_totals, mlp, train_totals
from pnyx.learning.update import check_contribution, clip, dequantise, norm_max, quantise

PROGRAM = mlp((5, 8, 3))


def test_quantise_round_trip(hyperparameters):
    update = np.random.default_rng(1).normal(size=500) * 0.01
    back = dequantise(quantise(update, hyperparameters()), hyperparameters())
    assert np.abs(back - update).max() <= 2.0**-12  # half a step


def test_clip_keeps_direction_and_short_updates():
    update = np.array([3.0, 4.0])
    np.testing.assert_allclose(clip(update, 1.0), [0.6, 0.8])
    assert clip(update, 5.0) is update


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1, 3000),
    scale=st.sampled_from([1e-6, 1e-3, 1.0, 1e6, 1e30]),
)
def test_integer_update_never_exceeds_the_norm(hyperparameters, seed, size, scale):
    update = np.random.default_rng(seed).standard_t(2, size=size) * scale
    quantised = quantise(update, hyperparameters())
    assert int(quantised @ quantised) <= norm_max(hyperparameters()) ** 2


def test_clipped_update_cannot_round_above_the_norm(hyperparameters):
    # Clipped to 128 steps over 7,200 entries, each would be 1.508 steps and round up to 2.
    coarse = hyperparameters(clip_norm=1.0, fraction_bits=7)
    quantised = quantise(np.full(7200, 1.0), coarse)
    assert int(quantised @ quantised) <= norm_max(coarse) ** 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_update_that_is_not_finite_is_refused(hyperparameters, value):
    with pytest.raises(TrainingError, match="nothing was sent"):
        quantise(np.array([0.0, value]), hyperparameters())


def test_grid_coarser_than_the_clip_is_refused(hyperparameters):
    with pytest.raises(TrainingError, match="fraction_bits"):
        quantise(np.zeros(1000), hyperparameters(clip_norm=1.0, fraction_bits=3))


def test_bounds_cover_every_entry(hyperparameters):
    bounds = contribution_bounds(PROGRAM, hyperparameters(), "train")
    assert bounds.length == len(bounds.max_abs) == PROGRAM.shared_count + 3
    assert set(bounds.max_abs[:-3]) == {4096}
    assert set(bounds.max_abs[-3:]) == {1 << 20}
    assert contribution_bounds(PROGRAM, hyperparameters(), "evaluate").length == 4


@pytest.mark.parametrize(
    ("position", "value"), [(0, 4097), (5, -4097), (3, -(2**63)), (-1, (1 << 20) + 1)]
)
def test_entry_out_of_bounds_is_refused(hyperparameters, position, value):
    bounds = contribution_bounds(PROGRAM, hyperparameters(), "train")
    vector = np.zeros(bounds.length, dtype="<i8")
    check_contribution(vector.tobytes(), bounds)
    vector[position] = value
    with pytest.raises(TrainingError, match="bounds"):
        check_contribution(vector.tobytes(), bounds)


def test_contribution_of_wrong_length_is_refused(hyperparameters):
    bounds = contribution_bounds(PROGRAM, hyperparameters(), "evaluate")
    with pytest.raises(TrainingError, match="nothing was sent"):
        check_contribution(bytes(40), bounds)


def test_totals_read_the_counts():
    train = train_totals(np.array([9, 9, 9, 5, 7, 20], dtype=np.int64))
    assert (train.correct, train.held_out, train.examples) == (5, 7, 20)
    evaluation = evaluate_totals(np.array([1, 2, 3, 4], dtype=np.int64))
    assert evaluation.alone_correct == 1
    assert evaluation.shared_correct == 2
    assert evaluation.personalised_correct == 3
    assert evaluation.held_out == 4
