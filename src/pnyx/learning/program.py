"""The model that a study trains: a multilayer perceptron under a fixed interpreter.

A program says *which* function is trained; it travels in the manifest as data, never as code. This
first format declares only the layer sizes; the interpreter is `forward`: affine layers with ReLU in
between, logits at the end. A format with exported operations can take its place, since the rest of
`learning` only asks for `parameter_count`, `input_width`, `output_width`, `unflatten`, `forward`.

Parameters travel as one flat vector of little-endian float32: for each layer its weights
[inputs, outputs] in row-major order, then its bias [outputs].

Only `forward` computes with torch, and it does so through the tensors it is given: importing this
module is cheap.
"""

from __future__ import annotations

import hashlib
import math
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from pnyx.errors import TrainingError

if TYPE_CHECKING:
    from torch import Tensor

LAYERS_MAX = 8
WIDTH_MAX = 4096
PARAMETERS_MAX = 1 << 22  # 16 MiB of float32: what one worker accepts to train
PARAMETER_DTYPE = np.dtype("<f4")
SEED_BYTES = 32

_INITIAL_MODEL_DOMAIN = b"pnyx/learning/initial-model/1"


class MlpProgram(msgspec.Struct, frozen=True, array_like=True, tag="mlp"):
    """A multilayer perceptron; sizes: input width, hidden widths, number of classes.

    Raises ValueError when built with sizes that a node would not train (inside a decoder, msgspec
    turns that into its ValidationError).
    """

    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 2 <= len(self.sizes) <= LAYERS_MAX + 1:
            raise ValueError(f"a program has 1 to {LAYERS_MAX} layers, not {len(self.sizes) - 1}")
        if not all(1 <= size <= WIDTH_MAX for size in self.sizes):
            raise ValueError(f"layer sizes lie between 1 and {WIDTH_MAX}, not {self.sizes}")
        if self.parameter_count > PARAMETERS_MAX:
            raise ValueError(f"{self.parameter_count} parameters exceed {PARAMETERS_MAX}")

    @property
    def input_width(self) -> int:
        """Number of features of one example."""
        return self.sizes[0]

    @property
    def output_width(self) -> int:
        """Number of classes."""
        return self.sizes[-1]

    @property
    def parameter_count(self) -> int:
        """Length of the flat parameter vector."""
        return sum((inputs + 1) * outputs for inputs, outputs in pairwise(self.sizes))


def unflatten(program: MlpProgram, flat: Tensor) -> list[Tensor]:
    """Cut a flat parameter tensor into views: weights, bias of each layer in turn.

    flat: [parameter_count]; returns [inputs, outputs] and [outputs] tensors that share its memory.
    """
    views: list[Tensor] = []
    start = 0
    for inputs, outputs in pairwise(program.sizes):
        end = start + inputs * outputs
        views.append(flat[start:end].view(inputs, outputs))
        views.append(flat[end : end + outputs])
        start = end + outputs
    return views


def forward(parameters: list[Tensor], inputs: Tensor) -> Tensor:
    """Logits of the network. inputs: [examples, input_width]; returns [examples, output_width]."""
    activation = inputs
    last = len(parameters) - 2
    for layer in range(0, len(parameters), 2):
        activation = parameters[layer + 1].addmm(activation, parameters[layer])
        if layer != last:
            activation = activation.relu()
    return activation


def initial_model(program: MlpProgram, seed: bytes) -> bytes:
    """Draw initial parameters, the same bytes on every machine.

    Weights and biases are uniform in ±1/√inputs, as torch initialises linear layers. Every node
    recomputes them from the public seed, so only exactly rounded operations are used: 24 bits of
    SHAKE-256 per parameter, then IEEE products.
    """
    if len(seed) != SEED_BYTES:
        raise ValueError(f"a seed has {SEED_BYTES} bytes, not {len(seed)}")
    shake = hashlib.shake_256(_INITIAL_MODEL_DOMAIN + seed)
    words = np.frombuffer(shake.digest(4 * program.parameter_count), "<u4")
    uniform = (words >> np.uint32(8)).astype(np.float64) * 2.0**-23 - 1.0  # in [-1, 1)
    bounds = np.concatenate(
        [
            np.full((inputs + 1) * outputs, 1.0 / math.sqrt(inputs))
            for inputs, outputs in pairwise(program.sizes)
        ]
    )
    model: bytes = (uniform * bounds).astype(PARAMETER_DTYPE).tobytes()
    return model


def read_model(program: MlpProgram, model: bytes) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """View model bytes as parameters [parameter_count], refusing a wrong size or NaN and Inf."""
    expected = PARAMETER_DTYPE.itemsize * program.parameter_count
    if len(model) != expected:
        raise TrainingError(
            f"The model has {len(model)} bytes where its program asks for {expected}: "
            "fetch the model of this round again."
        )
    parameters = np.frombuffer(model, PARAMETER_DTYPE)
    if not np.isfinite(parameters).all():
        raise TrainingError("The model holds NaN or infinite parameters: refuse this round.")
    return parameters
