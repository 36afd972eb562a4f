import hashlib

import msgspec
import numpy as np
import pytest
import torch

from pnyx.errors import TrainingError
from pnyx.learning.programs import (
    Parameter,
    audit,
    initial_local,
    initial_model,
    mlp,
    read_local,
    read_model,
)
from pnyx.learning.programs.models import unflatten

DEMO = mlp((42, 64, 6))


def personal():
    """The demonstration's program with a last layer that stays at home."""
    first, second, *last = DEMO.parameters
    local = [msgspec.structs.replace(each, local=True) for each in last]
    return msgspec.structs.replace(DEMO, parameters=(first, second, *local))


def test_counts_of_parameters():
    assert audit(DEMO, 16).shared == DEMO.shared_count == 42 * 64 + 64 + 64 * 6 + 6
    assert (personal().shared_count, personal().local_count) == (43 * 64, 65 * 6)


@pytest.mark.parametrize("sizes", [(), (3,), (3, 0), (3, 5000), (3,) * 10])
def test_absurd_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match=r"layers|layer sizes"):
        mlp(sizes)


def test_ten_million_parameters_can_be_read_and_more_cannot():
    assert audit(mlp((4000, 2400, 160)), 8).shared > 9_900_000
    with pytest.raises(TrainingError, match="more than 10000000"):
        audit(mlp((4000, 2500, 100)), 8)


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


def test_parameters_begin_around_their_centre():
    ones = Parameter(name="scale", shape=(1000,), centre=1.0, spread=0.25)
    program = msgspec.structs.replace(DEMO, parameters=(ones,))
    drawn = read_model(program, initial_model(program, bytes(32)))
    assert 0.75 <= drawn.min() < 0.77
    assert 1.23 < drawn.max() <= 1.25


def test_local_parameters_are_drawn_apart():
    seed, program = bytes(range(32)), personal()
    model, local = initial_model(program, seed), initial_local(program, seed)
    assert len(read_model(program, model)) == 43 * 64
    assert len(read_local(program, local)) == 65 * 6
    assert model == initial_model(DEMO, seed)[: len(model)]
    assert local[:100] not in initial_model(DEMO, seed)


def test_seed_of_wrong_length_is_a_bug():
    with pytest.raises(ValueError, match="32 bytes"):
        initial_model(DEMO, b"short")


def test_views_share_memory_and_keep_local_numbers_last():
    program = personal()
    flat = torch.arange(float(program.shared_count + program.local_count))
    views = unflatten(program, flat)
    assert [tuple(view.shape) for view in views] == [(64, 42), (64,), (6, 64), (6,)]
    assert float(views[2][0, 0]) == program.shared_count
    first = msgspec.structs.replace(program, parameters=program.parameters[::-1])
    assert float(unflatten(first, flat)[0][0]) == program.shared_count
    for view in views:
        view.fill_(1.0)
    assert bool((flat == 1.0).all())


@pytest.mark.parametrize("reader", [read_model, read_local])
def test_numbers_of_wrong_size_or_not_finite_are_refused(reader):
    program = personal()
    count = program.shared_count if reader is read_model else program.local_count
    with pytest.raises(TrainingError, match=f"8 bytes where the program asks for {4 * count}"):
        reader(program, bytes(8))
    for value in (np.nan, np.inf, -np.inf):
        parameters = np.zeros(count, "<f4")
        parameters[17] = value
        with pytest.raises(TrainingError, match="NaN or infinite"):
            reader(program, parameters.tobytes())
