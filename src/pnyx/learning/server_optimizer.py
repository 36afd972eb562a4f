"""The next shared model, computed by anyone from the last one and the decoded sum.

Every node must obtain the same bytes, since the committee signs their hash. So the sum stays in
integers until here, and what follows is element-wise IEEE arithmetic in a fixed order (numpy
ufuncs, each correctly rounded): no reduction, no BLAS, no torch. The mean update is applied with
a constant server learning rate; there is no server momentum, so the model bytes are the whole
state.
"""

import numpy as np
from numpy.typing import NDArray

from pnyx.errors import TrainingError
from pnyx.learning.programs.models import PARAMETER_DTYPE
from pnyx.learning.task import Hyperparameters
from pnyx.learning.update import TRAIN_COUNTS

COUNT_MAX = 1 << 20
_PART = 1 << 18  # parameters that are moved at a time


def apply_update(
    model: bytes,
    total: NDArray[np.int64],
    count: int,
    hyperparameters: Hyperparameters,
    norm_max: int,
) -> bytes:
    """Move the model by server_learning_rate times the mean update.

    model: flat float32 parameters. total: [shared_count + 3] int64, counts included: the sum of
    `count` train contributions, or as many times what a robust rule makes of those of groups.
    norm_max: of one contribution, its noise included. Returns the next model, float32
    little-endian.
    Raises TrainingError when the sum cannot come from `count` valid contributions, or when the next
    model is not finite.
    """
    if len(model) % PARAMETER_DTYPE.itemsize:
        raise TrainingError("The model is not a list of float32 parameters: refuse this round.")
    parameters = np.frombuffer(model, PARAMETER_DTYPE)
    if total.shape != (parameters.size + TRAIN_COUNTS,) or total.dtype != np.int64:
        raise TrainingError(
            f"The decoded sum has shape {total.shape} of {total.dtype} where the model asks for "
            f"{parameters.size + TRAIN_COUNTS} integers: refuse this round."
        )
    if not 1 <= count <= COUNT_MAX:
        raise TrainingError(f"A sum over {count} contributors gives no model: refuse this round.")
    step = hyperparameters.server_learning_rate / (count * 2.0**hyperparameters.fraction_bits)
    following = np.empty_like(parameters)
    for start in range(0, parameters.size, _PART):  # a large model needs little more memory so
        part = slice(start, min(start + _PART, parameters.size))
        following[part] = _moved(parameters[part], total[part], step, count * norm_max)
    return following.tobytes()


def _moved(
    parameters: NDArray[np.float32], update: NDArray[np.int64], step: float, limit: int
) -> NDArray[np.float32]:
    """Parameters moved by an update of at most `limit`. Raises TrainingError."""
    if (update > limit).any() or (update < -limit).any():
        raise TrainingError(
            "The decoded sum exceeds what its contributions can add up to: refuse this round."
        )
    moved = parameters.astype(np.float64) + update.astype(np.float64) * step
    # Only now to float32, and beyond its range to infinity, which the check below refuses.
    with np.errstate(over="ignore"):
        following = moved.astype(PARAMETER_DTYPE)
    if not np.isfinite(following).all():
        raise TrainingError("The next model would not be finite: refuse this round.")
    return following
