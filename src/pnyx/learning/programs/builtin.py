"""Programs that need no author: what a study file describes by a few numbers."""

import math
from collections.abc import Sequence
from itertools import pairwise

from pnyx.learning.programs.format import WIDTH_MAX, Operation, Parameter, Program

LAYERS_MAX = 8


def mlp(sizes: Sequence[int]) -> Program:
    """A multilayer perceptron with ReLU; sizes: input width, hidden widths, number of classes.

    Weights [outputs, inputs] and biases begin uniform in ±1/√inputs, as torch initialises linear
    layers. Raises ValueError for sizes that no study file may ask for.
    """
    if not 2 <= len(sizes) <= LAYERS_MAX + 1:
        raise ValueError(f"a perceptron has 1 to {LAYERS_MAX} layers, not {len(sizes) - 1}")
    if not all(1 <= size <= WIDTH_MAX for size in sizes):
        raise ValueError(f"layer sizes lie between 1 and {WIDTH_MAX}, not {tuple(sizes)}")
    parameters: list[Parameter] = []
    for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
        spread = 1.0 / math.sqrt(inputs)
        for name, shape in (("weight", (outputs, inputs)), ("bias", (outputs,))):
            parameters.append(Parameter(name=f"{layer}.{name}", shape=shape, spread=spread))
    value = first = 2 + len(parameters)
    operations = [Operation("linear", (0, 2, 3))]
    for layer in range(1, len(sizes) - 1):
        operations.append(Operation("relu", (value,)))
        operations.append(Operation("linear", (value + 1, 2 + 2 * layer, 3 + 2 * layer)))
        value += 2
    operations += [
        Operation("cross_entropy", (value, 1, None, -100, 0.0)),
        Operation("argmax", (value, 1, False)),
        Operation("eq.Tensor", (value + 2, 1)),
        Operation("cast", (value + 3, "float32")),
    ]
    assert first + len(operations) == value + 5
    return Program(
        width=sizes[0],
        classes=sizes[-1],
        parameters=tuple(parameters),
        operations=tuple(operations),
        loss=value + 1,
        score=value + 4,
    )
