import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from pnyx.errors import TrainingError
from pnyx.learning import (
    apply_update,
    contribution_bounds,
    evaluate_totals,
    initial_model,
    mlp,
    train_totals,
)
from pnyx.learning.features import Examples
from pnyx.learning.programs import read_model
from pnyx.learning.training import Learner, run_task, warm_up
from pnyx.learning.update import norm_max


@pytest.fixture(autouse=True)
def _one_thread():
    warm_up()


def vector_of(task) -> np.ndarray:
    return np.frombuffer(run_task(task).vector, "<i8").astype(np.int64)


def test_a_task_is_a_function_of_its_inputs(training_task):
    task = training_task()
    assert run_task(task) == run_task(task)
    other = msgspec.structs.replace(task, seed=bytes(32))
    assert run_task(other).vector != run_task(task).vector


def test_contribution_layout(training_task):
    task = training_task()
    vector = vector_of(task)
    bounds = contribution_bounds(task.program, task.hyperparameters, "train")
    assert len(vector) == bounds.length
    totals = train_totals(vector)
    assert totals.held_out == 18
    assert totals.examples == 42
    assert 0 <= totals.correct <= 18
    assert vector[:-3].any()


def test_counts_describe_the_received_model_not_the_trained_one(training_task):
    short = training_task()
    longer = msgspec.structs.replace(
        short, hyperparameters=msgspec.structs.replace(short.hyperparameters, local_epochs=50)
    )
    assert train_totals(vector_of(short)) == train_totals(vector_of(longer))


def test_rounds_learn(training_task):
    task = training_task()
    first = train_totals(vector_of(task)).correct
    for _ in range(15):
        model = apply_update(
            task.model, vector_of(task), 1, task.hyperparameters, norm_max(task.hyperparameters)
        )
        task = msgspec.structs.replace(task, model=model)
    last = train_totals(vector_of(task)).correct
    assert last > first
    assert last >= 16


def test_evaluation_compares_three_models(training_task):
    task = training_task(kind="evaluate")
    totals = evaluate_totals(vector_of(task))
    assert totals.held_out == 18
    assert totals.alone_correct >= 15
    assert totals.shared_correct == train_totals(vector_of(training_task())).correct
    assert totals.personalised_correct >= totals.shared_correct


def test_update_is_clipped(training_task, hyperparameters):
    settings = hyperparameters(local_epochs=30, learning_rate=0.5, clip_norm=0.5)
    task = training_task(hyperparameters=settings)
    outcome = run_task(task)
    assert outcome.metrics["clipped"] == 1.0
    assert outcome.metrics["update_norm"] > 0.5
    update = vector_of(task)[:-3]
    assert 0.95 * 1024 <= np.sqrt(update @ update) <= 1024


def test_diverging_training_sends_nothing(training_task, hyperparameters):
    settings = hyperparameters(learning_rate=100.0, momentum=0.9, weight_decay=1.0, local_epochs=40)
    with pytest.raises(TrainingError, match="nothing was sent"):
        run_task(training_task(hyperparameters=settings))


def test_diverging_personalisation_counts_for_nothing(training_task, hyperparameters):
    settings = hyperparameters(fine_tune_learning_rate=100.0, momentum=0.9, weight_decay=1.0)
    task = training_task(
        kind="evaluate", hyperparameters=msgspec.structs.replace(settings, fine_tune_epochs=40)
    )
    with pytest.raises(TrainingError, match="nothing was sent"):
        run_task(task)


@pytest.mark.parametrize("field", ["seed", "split_seed"])
def test_seeds_have_a_fixed_length(training_task, field):
    with pytest.raises(TrainingError, match="32 bytes"):
        run_task(training_task(**{field: b"short"}))


def test_model_of_another_program_is_refused(training_task):
    with pytest.raises(TrainingError, match="model"):
        run_task(training_task(model=bytes(4)))


def test_sgd_agrees_with_torch_optim(hyperparameters):
    program = mlp((3, 4, 2))
    start = read_model(program, initial_model(program, bytes(32)))
    generator = np.random.default_rng(0)
    features = generator.normal(size=(6, 3)).astype(np.float32)
    labels = generator.integers(0, 2, size=6)
    settings = hyperparameters(batch_size=6, momentum=0.9, weight_decay=0.01)
    examples = Examples(features, labels)
    learner = Learner(program, settings, examples, examples, bytes(32))
    trained = learner.train(start, epochs=5, learning_rate=0.2)
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    nn.utils.vector_to_parameters(torch.tensor(start), module.parameters())
    optimizer = torch.optim.SGD(module.parameters(), lr=0.2, momentum=0.9, weight_decay=0.01)
    for _ in range(5):
        optimizer.zero_grad()
        logits = module(torch.from_numpy(features))
        nn.functional.cross_entropy(logits, torch.from_numpy(labels)).backward()
        optimizer.step()
    expected = nn.utils.parameters_to_vector(module.parameters()).detach().numpy()
    np.testing.assert_allclose(trained, expected, rtol=1e-4, atol=1e-6)


def test_start_is_left_as_it_was(training_task):
    task = training_task()
    before = bytes(task.model)
    run_task(task)
    assert task.model == before
