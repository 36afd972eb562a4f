"""The numbers of a program's parameters: drawn, read, and cut into arrays.

A model is one flat vector of little-endian float32: the shared parameters in the order of the
program, each in row-major order. Local parameters make a second such vector. In training a node
joins both: the shared numbers first, then its own.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from pnyx.errors import TrainingError
from pnyx.learning.programs.format import Program

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

PARAMETER_DTYPE = np.dtype("<f4")
SEED_BYTES = 32

_SHARED_DOMAIN = b"pnyx/learning/initial-model/1"
_LOCAL_DOMAIN = b"pnyx/learning/initial-local/1"


def initial_model(program: Program, seed: bytes) -> bytes:
    """Draw the shared parameters, the same bytes on every machine.

    Every node recomputes them from the public seed, so only exactly rounded operations are used: 24
    bits of SHAKE-256 per parameter, then IEEE products and sums.
    """
    return _draw(program, seed, _SHARED_DOMAIN, local=False)


def initial_local(program: Program, seed: bytes) -> bytes:
    """Draw an owner's local parameters from 32 bytes of its own."""
    return _draw(program, seed, _LOCAL_DOMAIN, local=True)


def _draw(program: Program, seed: bytes, domain: bytes, *, local: bool) -> bytes:
    if len(seed) != SEED_BYTES:
        raise ValueError(f"a seed has {SEED_BYTES} bytes, not {len(seed)}")
    count = program.local_count if local else program.shared_count
    words = np.frombuffer(hashlib.shake_256(domain + seed).digest(4 * count), "<u4")
    numbers = (words >> np.uint32(8)).astype(np.float64)
    numbers *= 2.0**-23
    numbers -= 1.0  # in [-1, 1)
    start = 0
    for parameter in program.parameters:
        if parameter.local == local:
            part = numbers[start : start + parameter.size]
            part *= parameter.spread
            part += parameter.centre
            start += parameter.size
    drawn: bytes = numbers.astype(PARAMETER_DTYPE).tobytes()
    return drawn


def read_model(program: Program, model: bytes) -> NDArray[np.float32]:
    """View a model as parameters [shared_count], refusing a wrong size or NaN and Inf."""
    return _read(model, program.shared_count, "The model", "fetch the model of this round again")


def read_local(program: Program, local: bytes) -> NDArray[np.float32]:
    """View an owner's local parameters [local_count], refusing a wrong size or NaN and Inf."""
    remedy = "erase what is kept of this study by withdrawing from it"
    return _read(local, program.local_count, "What is kept of the local parameters", remedy)


def _read(numbers: bytes, count: int, what: str, remedy: str) -> NDArray[np.float32]:
    expected = PARAMETER_DTYPE.itemsize * count
    if len(numbers) != expected:
        raise TrainingError(
            f"{what} has {len(numbers)} bytes where the program asks for {expected}: {remedy}."
        )
    parameters = np.frombuffer(numbers, PARAMETER_DTYPE)
    if not np.isfinite(parameters).all():
        raise TrainingError(f"{what} holds NaN or infinite parameters: refuse this round.")
    return parameters


def unflatten(program: Program, flat: Tensor) -> list[Tensor]:
    """Cut shared and local numbers [shared_count + local_count] into views, one a parameter.

    The views share memory with `flat`, and stand in the order of the program.
    """
    starts = {False: 0, True: program.shared_count}
    views: list[Tensor] = []
    for parameter in program.parameters:
        start = starts[parameter.local]
        starts[parameter.local] = end = start + parameter.size
        views.append(flat[start:end].view(parameter.shape))
    return views
