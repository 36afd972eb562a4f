"""What the audit infers is what torch computes, for programs that nobody wrote.

Programs of every kind are altered in one argument at random. Most are refused. Of those that pass,
every value must have the shape and type that the audit inferred, for batches of other sizes than
the one it was asked about.
"""

import msgspec
import numpy as np
import pytest
import torch
from tests.support.modules import cases, exported

from pnyx.errors import TrainingError
from pnyx.learning.programs import Operation, Program, read_program
from pnyx.learning.programs.audit import _Audit
from pnyx.learning.programs.interpreter import Interpreter
from pnyx.learning.programs.kernels import DTYPES
from pnyx.learning.programs.sizes import at

BATCH = 8
TRIALS = 600


@pytest.fixture(scope="module")
def programs():
    return [read_program(exported(name)[1].program) for name in cases()]


def one_of(draw: np.random.Generator, options):
    return options[int(draw.integers(len(options)))]


def altered(program: Program, draw: np.random.Generator) -> Program:
    """One argument of one operation replaced by another number, or by one of its kind."""
    operations = list(program.operations)
    place = int(draw.integers(len(operations)))
    arguments = list(operations[place].arguments)
    which = int(draw.integers(len(arguments)))
    arguments[which] = other(arguments[which], draw)
    operations[place] = Operation(operations[place].name, tuple(arguments))
    return msgspec.structs.replace(program, operations=tuple(operations))


def other(argument, draw: np.random.Generator):
    if isinstance(argument, tuple) and argument:
        changed = list(argument)
        change = one_of(draw, ["one", "longer", "shorter", "swap"])
        if change == "one":
            at_place = int(draw.integers(len(changed)))
            changed[at_place] = other(changed[at_place], draw)
        elif change == "longer":
            changed.append(one_of(draw, changed))
        elif change == "shorter":
            changed.pop()
        else:
            draw.shuffle(changed)
        return tuple(changed)
    if isinstance(argument, bool):
        return not argument
    if isinstance(argument, int):
        return one_of(
            draw, [argument + 1, argument - 1, -argument, 0, 1, 2, 3, int(draw.integers(40))]
        )
    if isinstance(argument, float):
        return one_of(draw, [0.0, 0.5, -1.0, argument / 2])
    if isinstance(argument, str):
        return one_of(draw, ["float32", "int64", "bool", "inf", "-inf"])
    return one_of(draw, [None, int(draw.integers(20))])


def compare(program: Program, audit: _Audit, batch: int) -> None:
    """Run every operation, and hold each value against its inferred type."""
    interpreter = Interpreter(program, bytes(32))
    interpreter._mode.batch = batch
    steps, size = interpreter._bind(program)
    targets = torch.zeros(batch, dtype=torch.int64 if program.classes else torch.float32)
    parameters = [torch.rand(each.shape) for each in program.parameters]
    values = [torch.rand(batch, program.width), targets, *parameters]
    values += [None] * (size - len(values))
    interpreter._mode.training = True
    for function, operands, results in steps:
        found = function(*[values[number] for number in operands])
        for number, value in zip(results, found if len(results) > 1 else [found], strict=True):
            values[number] = value
            inferred = audit.values[number]
            assert tuple(value.shape) == tuple(at(each, batch) for each in inferred.shape)
            assert value.dtype == DTYPES[inferred.dtype]


# What data decides: places beyond a table, probabilities beyond 0 to 1.
BY_DATA = ("outside 0 to", "is out of bounds", "between 0 and 1")


def broken(program: Program, audit: _Audit, batch: int) -> str:
    """Why torch refuses what the audit accepted; empty if it does not, or because of the data."""
    try:
        compare(program, audit, batch)
    except (TrainingError, RuntimeError, IndexError) as error:
        return "" if any(each in str(error) for each in BY_DATA) else str(error)
    return ""


def test_inferred_types_are_those_that_torch_computes(programs):
    draw, accepted = np.random.default_rng(11), 0
    for trial in range(TRIALS):
        program = altered(programs[trial % len(programs)], draw)
        audit = _Audit(program, BATCH)
        try:
            audit.run()
        except TrainingError:
            continue
        accepted += 1
        for batch in (1, 3, BATCH):
            assert not broken(program, audit, batch), program
    assert accepted > TRIALS / 10
