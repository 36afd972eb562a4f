"""A program computes what its module computes."""

import subprocess
import sys

import msgspec
import pytest
import torch
from safetensors.torch import load
from tests.support import modules
from tests.support.modules import cases, without_dropout
from torch import nn

import pnyx
from pnyx.errors import TrainingError
from pnyx.learning.programs import Operation, read_program
from pnyx.learning.programs.builder import Builder, Unsupported, Value
from pnyx.learning.programs.export import export, is_right
from pnyx.learning.programs.interpreter import Interpreter


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


@pytest.fixture(scope="module", params=cases())
def exported(request):
    case, result = modules.exported(request.param)
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
        y = x * 2
    return x + y


def of_a_loss(output, targets):
    return torch.lgamma(output).mean()


def test_the_line_of_a_loss_is_found_and_torch_writes_nothing(capfd):
    example = (torch.randn(6, 4), torch.arange(6) % 3)
    line = of_a_loss.__code__.co_firstlineno + 1
    with pytest.raises(TrainingError, match=rf"lgamma, at \S+test_export.py, line {line}, cannot"):
        export(nn.Linear(4, 3), of_a_loss, example)
    capfd.readouterr()
    with pytest.raises(TrainingError, match="decide by numbers"):
        export(Line(lambda x: x if x.sum() > 0 else -x), nn.functional.cross_entropy, example)
    assert capfd.readouterr() == ("", "")


REFUSED = {
    "sort": (lambda x: x.sort(dim=1).values, "Operation sort"),
    "gamma function": (torch.lgamma, "Operation lgamma"),
    "random numbers": (lambda x: x + torch.rand_like(x), "Operation rand"),
    "a random constant": (lambda x: x + torch.randn(3), "Operation randn"),
    "a power of 0": (lambda x: 0.0**x, "not positive"),
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
    code = getattr(function, "__code__", Line.forward.__code__)  # torch.lgamma is no line of ours
    line = code.co_firstlineno + (code.co_name != "<lambda>")
    if name == "no gradient":
        line += 1
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
        "pair of tensors": (rows.numpy(), classes),
        "example is empty": (rows[:0], classes[:0]),
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


class Doubled(nn.Module):
    """One weight under two names, which torch traces as two."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.other.weight = self.one.weight

    def forward(self, x):
        return self.out(self.other(self.one(x)))


def test_a_weight_with_two_names_is_one_parameter():
    example = (torch.randn(6, 4), torch.arange(6) % 3)
    program = read_program(
        export(Doubled(), nn.functional.cross_entropy, example, local=["other"]).program
    )
    assert [each.name for each in program.parameters if each.local] == ["one.weight", "other.bias"]
    assert program.shared_count + program.local_count == 16 + 4 + 4 + 15


def test_a_name_that_no_program_can_hold_is_refused():
    module = nn.ModuleDict({"first-half": nn.Linear(4, 3)})
    module.forward = lambda x: module["first-half"](x)
    example = (torch.randn(6, 4), torch.arange(6) % 3)
    with pytest.raises(TrainingError, match=r"Parameter first-half\.weight cannot keep its name"):
        export(module, nn.functional.cross_entropy, example)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_windows_of_even_size_are_padded_as_torch_does():
    module = nn.Sequential(
        nn.Unflatten(1, (1, 3, 4)), nn.Conv2d(1, 2, (2, 4), padding="same"), nn.Flatten(),
        nn.Linear(24, 3),
    )  # fmt: skip
    inputs, targets = torch.randn(6, 12), torch.arange(6) % 3
    exported = export(module, nn.functional.cross_entropy, (inputs, targets))
    program = read_program(exported.program)
    parameters = [load(exported.weights)[each.name] for each in program.parameters]
    found = Interpreter(program, bytes(32)).loss(parameters, inputs, targets)
    torch.testing.assert_close(found, nn.functional.cross_entropy(module(inputs), targets).detach())


def test_a_number_is_never_taken_for_a_value():
    """`logit` begins with 1 - x, and 1 is the number of the targets among the values."""

    def loss(output, targets):
        return (output[:, 0].sigmoid().logit() - targets).square().mean()

    inputs, targets = torch.randn(6, 4), torch.randn(6)
    module = nn.Linear(4, 1)
    exported = export(module, loss, (inputs, targets), score=lambda o, t: o[:, 0].sigmoid())
    program = read_program(exported.program)
    parameters = [load(exported.weights)[each.name] for each in program.parameters]
    found = Interpreter(program, bytes(32)).loss(parameters, inputs, targets)
    torch.testing.assert_close(found, loss(module(inputs), targets).detach())
    builder = Builder(2)
    builder.result_shape = (3,)
    with pytest.raises(Unsupported, match="a number where a program takes an array"):
        builder.add("sub.Tensor", 1, Value(0, (3,), torch.float32))
    with pytest.raises(Unsupported, match="a number where a program takes an array"):
        builder.add("cat", [Value(0, (3,), torch.float32), 1], 0)


def test_a_model_of_one_real_number_says_what_it_predicts():
    inputs, targets = torch.randn(6, 4), torch.randn(6)

    def near(output, targets):
        return (1 - (output.flatten() - targets).abs()).clamp(0, 1)

    def loss(output, targets):
        return nn.functional.mse_loss(output.flatten(), targets)

    module = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 1))
    exported = export(module, loss, (inputs, targets), score=near)
    program = read_program(exported.program)
    parameters = [load(exported.weights)[each.name] for each in program.parameters]
    interpreter = Interpreter(program, bytes(32))
    interpreter.measure(parameters, [(inputs, targets)])
    torch.testing.assert_close(
        interpreter.predict(parameters, inputs), module(inputs).flatten().detach()
    )
    wide = export(
        nn.Linear(4, 2), lambda o, t: loss(o[:, 0], t), (inputs, targets),
        score=lambda o, t: near(o[:, 0], t),
    )  # fmt: skip
    assert read_program(wide.program).prediction is None
    assert b"prediction" not in wide.program


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
