import hashlib

import numpy as np
import pytest
import torch

from pnyx.errors import TrainingError
from pnyx.learning.program import MlpProgram, forward, initial_model, read_model, unflatten

DEMO = MlpProgram((42, 64, 6))


def test_parameter_count():
    assert DEMO.parameter_count == 42 * 64 + 64 + 64 * 6 + 6


@pytest.mark.parametrize("sizes", [(), (3,), (3, 0), (3, 5000), (3,) * 10, (4000, 4000, 2)])
def test_absurd_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match=r"layers|layer sizes|parameters"):
        MlpProgram(sizes)


def test_initial_model_is_the_same_everywhere():
    model = initial_model(DEMO, bytes(range(32)))
    assert hashlib.sha256(model).hexdigest() == (
        "aa072f46b72f75c688c35b0f1e01be390ac589975429b9f825063d11b8ec5ed7"
    )
    assert initial_model(DEMO, bytes(32)) != model


def test_initial_model_lies_within_its_bounds():
    parameters = read_model(DEMO, initial_model(DEMO, bytes(32)))
    first, second = parameters[: 43 * 64], parameters[43 * 64 :]
    assert np.abs(first).max() <= 42**-0.5
    assert np.abs(first).max() > 0.95 * 42**-0.5
    assert np.abs(second).max() <= 64**-0.5
    assert abs(float(first.mean())) < 0.01


def test_seed_of_wrong_length_is_a_bug():
    with pytest.raises(ValueError, match="32 bytes"):
        initial_model(DEMO, b"short")


def test_forward_agrees_with_numpy():
    program = MlpProgram((3, 4, 2, 2))
    flat = read_model(program, initial_model(program, bytes(32))).copy()
    w1, b1, w2, b2, w3, b3 = (part.numpy() for part in unflatten(program, torch.from_numpy(flat)))
    inputs = np.linspace(-2, 2, 15, dtype=np.float32).reshape(5, 3)
    hidden = np.maximum(np.maximum(inputs @ w1 + b1, 0) @ w2 + b2, 0)
    logits = forward(unflatten(program, torch.from_numpy(flat)), torch.from_numpy(inputs))
    np.testing.assert_allclose(logits.numpy(), hidden @ w3 + b3, rtol=1e-5, atol=1e-6)


def test_unflatten_shares_memory():
    flat = torch.zeros(DEMO.parameter_count)
    for view in unflatten(DEMO, flat):
        view.fill_(1.0)
    assert bool((flat == 1.0).all())


def test_model_of_wrong_size_is_refused():
    with pytest.raises(TrainingError, match="fetch the model"):
        read_model(DEMO, bytes(8))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_model_that_is_not_finite_is_refused(value):
    parameters = np.zeros(DEMO.parameter_count, "<f4")
    parameters[17] = value
    with pytest.raises(TrainingError, match="NaN or infinite"):
        read_model(DEMO, parameters.tobytes())
