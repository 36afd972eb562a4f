import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import torch

from pnyx.errors import TrainingError
from pnyx.learning.programs import (
    Operation,
    Parameter,
    Program,
    audit,
    initial_model,
    mlp,
    read_model,
)
from pnyx.learning.programs.interpreter import Interpreter
from pnyx.learning.programs.kernels import KERNELS
from pnyx.learning.programs.models import unflatten
from pnyx.learning.programs.operations import OPERATIONS

SEED = bytes(range(32))


def scored(*operations: Operation, parameters: tuple[Parameter, ...], width: int = 4) -> Program:
    """A regression: the last operation gives the prediction [batch], and the score as well."""
    last = 1 + len(parameters) + len(operations)
    program = Program(
        width=width,
        classes=0,
        parameters=parameters,
        operations=(*operations, Operation("mse_loss", (last, 1))),
        loss=last + 1,
        score=last,
    )
    audit(program, 16)
    return program


SCALE = Parameter(name="scale", shape=(4,))


def normalised() -> Program:
    return scored(
        Operation("mul.Tensor", (0, 2)),
        Operation("batch_norm", (3, None, None, 1e-5)),
        Operation("sum", (4, (1,), False)),
        Operation("sigmoid", (5,)),
        parameters=(SCALE,),
    )


def dropping() -> Program:
    return scored(
        Operation("mul.Tensor", (0, 2)),
        Operation("dropout", (3, 0.5)),
        Operation("mean", (4, (1,), False)),
        parameters=(SCALE,),
    )


def test_every_rule_has_its_kernel():
    assert KERNELS.keys() == OPERATIONS.keys()


def test_every_operation_is_in_the_specification():
    text = (Path(__file__).parents[4] / "docs" / "protocol.md").read_text()
    section = text[text.index("## 18. Programs") :]
    for name in OPERATIONS:
        assert f"`{name.partition('.')[0]}`" in section


def test_perceptron_agrees_with_numpy():
    program = mlp((3, 4, 2))
    flat = read_model(program, initial_model(program, SEED)).copy()
    w1, b1, w2, b2 = (part.numpy() for part in unflatten(program, torch.from_numpy(flat)))
    inputs = torch.linspace(-2, 2, 15).reshape(5, 3)
    hidden = (inputs.numpy() @ w1.T + b1).clip(0)
    right = (hidden @ w2.T + b2).argmax(1) == 0
    views = unflatten(program, torch.from_numpy(flat))
    score = Interpreter(program, SEED).score(views, inputs, torch.zeros(5, dtype=torch.int64))
    assert score.tolist() == right.astype(float).tolist()


def test_dropout_comes_from_the_seed_and_only_in_training():
    program, ones, targets = dropping(), torch.ones(16, 4), torch.zeros(16)
    scale = [torch.ones(4)]
    losses = [float(Interpreter(program, seed).loss(scale, ones, targets)) for seed in (SEED, SEED)]
    assert losses[0] == losses[1] != 1.0
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    interpreter = Interpreter(program, bytes(32))
    assert float(interpreter.loss(scale, ones, targets)) != losses[0]
    assert torch.equal(torch.rand(3), expected), "torch's own generator is left alone"
    assert interpreter.score(scale, ones, targets).tolist() == [1.0] * 16


def test_dropout_keeps_the_mean():
    program, ones = dropping(), torch.ones(4096, 4)
    loss = Interpreter(program, SEED).loss([torch.ones(4)], ones, torch.ones(4096))
    assert 0.2 < float(loss) < 0.3  # variance of a mean of four numbers, each 0 or 2


def test_evaluations_normalise_by_the_owners_own_examples():
    program, scale = normalised(), [torch.ones(4)]
    generator = torch.Generator().manual_seed(1)
    training = torch.randn(40, 4, generator=generator) * 3 + 5
    targets = torch.zeros(40)
    interpreter = Interpreter(program, SEED)
    interpreter.measure(scale, [(training, targets)])
    mean, variance = training.mean(0), training.var(0, correction=0)
    rows = torch.randn(7, 4, generator=generator)
    expected = ((rows - mean) / (variance + 1e-5).sqrt()).sum(1).sigmoid()
    whole = interpreter.score(scale, rows, torch.zeros(7))
    torch.testing.assert_close(whole, expected)
    alone = torch.cat([interpreter.score(scale, row[None], torch.zeros(1)) for row in rows])
    torch.testing.assert_close(alone, expected)


def test_statistics_are_measured_afresh():
    """Nothing of one model's statistics is left when the next is evaluated."""
    program, rows, targets = normalised(), torch.randn(8, 4), torch.zeros(8)
    interpreter = Interpreter(program, SEED)
    interpreter.measure([torch.full((4,), 100.0)], [(rows, targets)])
    for _ in range(2):
        interpreter.measure([torch.ones(4)], [(rows[:3], targets[:3]), (rows[3:], targets[3:])])
    fresh = Interpreter(program, SEED)
    fresh.measure([torch.ones(4)], [(rows[:3], targets[:3]), (rows[3:], targets[3:])])
    scores = [each.score([torch.ones(4)], rows, targets) for each in (interpreter, fresh)]
    assert torch.equal(*scores)


def test_training_normalises_a_batch_of_one():
    loss = Interpreter(normalised(), SEED).loss([torch.ones(4)], torch.randn(1, 4), torch.ones(1))
    assert bool(torch.isfinite(loss))


def test_scores_are_limited():
    program = scored(
        Operation("mul.Tensor", (0, 2)),
        Operation("select", (3, 1, 0)),
        parameters=(Parameter(name="scale", shape=(1,)),),
        width=1,
    )
    inputs = torch.tensor([[0.25], [7.0], [-3.0], [torch.nan], [torch.inf]])
    score = Interpreter(program, SEED).score([torch.ones(1)], inputs, torch.zeros(5))
    assert score.tolist() == [0.25, 1.0, 0.0, 0.0, 1.0]


LOOKUPS = {
    "embedding": Operation("embedding", (2, 4, None)),
    "index_select": Operation("index_select", (2, 0, 4)),
    "gather": Operation("gather", (5, 0, 4)),
}


@pytest.mark.parametrize("name", LOOKUPS)
@pytest.mark.parametrize("place", [3, -1, 2**40, 1e30, float("nan")])
def test_places_beyond_a_table_are_refused(name, place):
    """The data decides about them, so that no audit can; torch must never be asked."""
    program = scored(
        Operation("select", (0, 1, 0)),
        Operation("cast", (3, "int64")),
        Operation("select", (2, 1, 0)),
        LOOKUPS[name],
        *([] if name == "gather" else [Operation("sum", (6, (1,), False))]),
        Operation("mul.Scalar", (6 if name == "gather" else 7, 1.0)),
        parameters=(Parameter(name="rows", shape=(3, 2)),),
    )
    interpreter, rows = Interpreter(program, SEED), [torch.ones(3, 2)]
    good = torch.tensor([[0.0] * 4, [2.0] * 4])
    assert interpreter.score(rows, good, torch.zeros(2)).shape == (2,)
    with pytest.raises(TrainingError, match="outside 0 to 2"):
        interpreter.score(rows, torch.full((1, 4), float(place)), torch.zeros(1))


def test_only_what_leads_to_an_end_is_run():
    """A score costs no loss, and a loss no score."""
    program = mlp((3, 2))
    interpreter = Interpreter(program, SEED)
    assert [len(steps) for steps in (interpreter._to_loss, interpreter._to_score)] == [2, 4]


MEMORY = """
import sys
from pathlib import Path
import msgspec, torch
from pnyx.learning.programs import Program, audit
from pnyx.learning.programs.interpreter import Interpreter
torch.set_num_threads(1)
program = msgspec.json.decode(sys.stdin.buffer.read(), type=Program)
batch = int(sys.argv[1])
def step(rows):
    parameters = [torch.full(p.shape, 0.01).requires_grad_() for p in program.parameters]
    interpreter = Interpreter(program, bytes(32))
    targets = torch.zeros(rows, dtype=torch.int64 if program.classes else torch.float32)
    loss = interpreter.loss(parameters, torch.ones(rows, program.width), targets)
    torch.autograd.grad(loss, parameters)
def kibibytes(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
step(1)
before = kibibytes("VmRSS")
step(batch)
print(1024 * (kibibytes("VmHWM") - before))
"""


def wide(name: str) -> tuple[Program, int]:
    """Programs that take much memory, and a batch."""
    if name == "perceptron":
        return mlp((64, 2048, 2048, 10)), 2048
    table = Parameter(name="table", shape=(200_000, 16))
    return (
        scored(
            Operation("select", (0, 1, 0)),
            Operation("cast", (3, "int64")),
            Operation("embedding", (2, 4, None)),
            Operation("embedding", (2, 4, None)),
            Operation("mul.Tensor", (5, 6)),
            Operation("sum", (7, (1,), False)),
            parameters=(table,),
        ),
        1024,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux counts it")
@pytest.mark.parametrize("name", ["perceptron", "table"])
def test_memory_stays_below_the_estimate(name):
    program, batch = wide(name)
    child = subprocess.run(
        [sys.executable, "-c", MEMORY, str(batch)],
        input=msgspec.json.encode(program),
        capture_output=True,
        check=True,
    )
    used, estimate = int(child.stdout), audit(program, batch).memory_bytes
    assert 0.1 * estimate < used < estimate
