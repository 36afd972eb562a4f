"""A program computes what its module computes."""

import subprocess
import sys

import msgspec
import pytest
import torch
from safetensors.torch import load
from tests.support.modules import cases, without_dropout
from torch import nn

import pnyx
from pnyx.errors import TrainingError
from pnyx.learning.programs import Operation, read_program
from pnyx.learning.programs.export import export, is_right
from pnyx.learning.programs.interpreter import Interpreter

CASES = cases()


def without_drops(program):
    """The same program, with nothing dropped."""
    operations = []
    for each in program.operations:
        arguments = list(each.arguments)
        if each.name == "dropout":
            arguments[1] = 0.0
        if each.name == "attention":
            arguments[4] = 0.0
        operations.append(Operation(each.name, tuple(arguments)))
    return msgspec.structs.replace(program, operations=tuple(operations))


@pytest.fixture(scope="module", params=CASES)
def exported(request):
    case = CASES[request.param]
    result = export(case.module, case.loss, case.batch(4), score=case.score)
    program = read_program(result.program)
    weights = load(result.weights)
    parameters = [weights[each.name].requires_grad_() for each in program.parameters]
    return case, program, parameters


def test_program_gives_loss_gradients_and_score_of_its_module(exported):
    case, program, parameters = exported
    module = without_dropout(case.module)
    named = dict(module.named_parameters())
    normalised = any(each.name == "batch_norm" for each in program.operations)
    for examples in (4, 7) if normalised else (1, 7):  # few examples have a variance near 0
        inputs, targets = case.batch(examples)
        output = module(inputs)
        loss = case.loss(output, targets)
        wanted = torch.autograd.grad(loss, [named[each.name] for each in program.parameters])
        interpreter = Interpreter(without_drops(program), bytes(32))
        found = interpreter.loss(parameters, inputs, targets)
        torch.testing.assert_close(found, loss)
        gradients = torch.autograd.grad(found, parameters)
        torch.testing.assert_close(gradients, wanted, rtol=1e-4, atol=1e-4)
        interpreter.measure(parameters, [(inputs, targets)])
        score = (case.score or is_right)(output, targets)
        torch.testing.assert_close(interpreter.score(parameters, inputs, targets), score)


class Line(nn.Module):
    """Applies a function to what a linear layer gives."""

    def __init__(self, function) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.function = function

    def forward(self, x):
        return self.function(self.layer(x))


def forgets(x):
    with torch.no_grad():
        return x * 2 + x


REFUSED = {
    "sort": (lambda x: x.sort(dim=1).values, "Operation sort"),
    "gamma function": (torch.lgamma, "Operation lgamma"),
    "random numbers": (lambda x: x + torch.rand_like(x), "Operation rand"),
    "double precision": (lambda x: x.double().float(), "makes numbers of type torch.float64"),
    "part of the batch": (lambda x: x[:2].mean() + x, "takes a part of the batch"),
    "number of rows": (lambda x: x * x.shape[0], "take a mean instead"),
    "no gradient": (forgets, "use detach"),
    "a large constant": (lambda x: (x @ torch.arange(15_000.0).view(3, -1))[:, :3], "over 4096"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_written_is_refused_with_its_line(name):
    function, reason = REFUSED[name]
    example = (torch.randn(6, 4), torch.arange(6) % 3)
    with pytest.raises(TrainingError) as caught:
        export(Line(function), nn.functional.cross_entropy, example)
    line = Line.forward.__code__.co_firstlineno + 1
    assert reason in str(caught.value)
    assert f"test_export.py, line {line}" in str(caught.value)


UNTRACEABLE = {
    "decides by data": lambda x: x if x.sum() > 0 else -x,
    "length as a number": lambda x: x + torch.zeros(len(x), 1),
    "other batches": lambda x: x.view(2, 9).view(-1, 3),
}


@pytest.mark.parametrize("name", UNTRACEABLE)
def test_modules_that_decide_by_data_or_batch(name):
    example = (torch.randn(6, 4), torch.arange(6) % 3)
    with pytest.raises(TrainingError, match="cannot be traced"):
        export(Line(UNTRACEABLE[name]), nn.functional.cross_entropy, example)


def test_mistakes_in_calling_are_named():
    module, entropy = nn.Linear(4, 3), nn.functional.cross_entropy
    rows, classes = torch.randn(6, 4), torch.arange(6) % 3
    calls = {
        "Real-numbered targets need a score": (rows, classes.float()),
        "float32 features": (rows.double(), classes),
        "features \\[batch, width\\]": (rows[0], classes),
        "int64 or float32, not torch.int32": (rows, classes.int()),
    }
    for expected, example in calls.items():
        with pytest.raises(TrainingError, match=expected):
            export(module, entropy, example)
    with pytest.raises(TrainingError, match="No parameter is called head"):
        export(module, entropy, (rows, classes), local=["head"])
    with pytest.raises(TrainingError, match="all of its parameters are local"):
        export(module, entropy, (rows, classes), local=["weight", "bias"])
    module.bias.requires_grad_(False)
    with pytest.raises(TrainingError, match="Parameter bias is not trained"):
        export(module, entropy, (rows, classes))


def test_local_parameters_are_marked_by_name_or_by_submodule():
    module = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    example = (torch.randn(1, 4), torch.tensor([2]))
    exported = export(module, nn.functional.cross_entropy, example, local=["2", "0.bias"])
    program = read_program(exported.program)
    assert {each.name for each in program.parameters if each.local} == {
        "0.bias", "2.weight", "2.bias",
    }  # fmt: skip
    assert (program.shared_count, program.local_count) == (20, 5 + 15 + 3)


def test_parameters_are_drawn_as_the_module_was():
    module = nn.Sequential(nn.Linear(100, 50), nn.LayerNorm(50), nn.Linear(50, 3))
    example = (torch.randn(4, 100), torch.arange(4) % 3)
    exported = export(module, nn.functional.cross_entropy, example)
    first, _, scale, *_ = read_program(exported.program).parameters
    assert first.spread == pytest.approx(0.1, rel=0.03)
    assert abs(first.centre) < 0.01
    assert (scale.centre, scale.spread) == (1.0, 0.0)


def test_the_module_is_left_as_it_was(tmp_path):
    module = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 3))
    module.eval()
    module[2].train()
    before = {name: each.clone() for name, each in module.state_dict().items()}
    example = (torch.randn(4, 4), torch.arange(4) % 3)
    exported = pnyx.export(module, nn.functional.cross_entropy, example)
    assert [each.training for each in module] == [False, False, True, False]
    assert all(torch.equal(each, before[name]) for name, each in module.state_dict().items())
    exported.save(tmp_path / "model.one")
    assert (tmp_path / "model.one.json").read_bytes() == exported.program
    assert (tmp_path / "model.one.safetensors").read_bytes() == exported.weights


def test_export_is_loaded_when_asked_for():
    heavy = "{'torch', 'numpy', 'safetensors'}"
    script = f"import sys, pnyx; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
    node = "'pnyx.learning.programs.export' in sys.modules or 'torch._dynamo' in sys.modules"
    script = f"import sys, pnyx.learning.training as t; t.warm_up(); sys.exit({node})"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'import_'"):
        _ = pnyx.import_
