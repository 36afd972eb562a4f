"""A program computes what its module computes."""

import msgspec
import pytest
import torch
from safetensors.torch import load
from tests.support.modules import cases, without_dropout

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
