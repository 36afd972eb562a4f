"""From a local update to a contribution of bounded integers, and back to counts.

Sums under secure aggregation are sums of integers, so an update is clipped to an L2 norm and
rounded to a grid of step 2**-fraction_bits. What is guaranteed:

- the *integer* update never exceeds clip_norm · 2**fraction_bits in L2 norm, hence in any entry:
  the real-valued update is clipped a little lower, by the largest norm that rounding can add;
- every entry of a contribution lies within `contribution_bounds`, so that a caller can check
  before a round that no sum overflows its field.

Rounding is deterministic, to nearest. Stochastic rounding would remove a bias below one step, but
it adds variance, spends randomness, and makes a contribution impossible to recompute; at the
demo's step (2**-11, against updates of norm 1 to 2) the whole rounding error is under one percent
of an update.

NaN, infinities and entries out of bounds are refused here, before anything is protected or sent.
"""

from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from pnyx.errors import TrainingError
from pnyx.learning.programs import Program
from pnyx.learning.task import Hyperparameters, TaskKind, TrainingTask

TRAIN_COUNTS = 3  # correct, held-out, examples
EVALUATE_COUNTS = 4  # alone, shared, personalised correct, held-out
VECTOR_DTYPE = np.dtype("<i8")
NUMBER_BITS_MAX = 2**32 - 1  # a predicted number is the 32 bits of its float32


class ContributionBounds(NamedTuple):
    """What an honest contribution satisfies: its length, and |entry| <= max_abs per entry."""

    length: int
    max_abs: NDArray[np.int64]


class TrainTotals(msgspec.Struct, frozen=True):
    """Counts summed over the contributors of a round."""

    correct: int
    held_out: int
    examples: int


class EvaluateTotals(msgspec.Struct, frozen=True):
    """Correct predictions of the three models on the same held-out windows, summed over nodes."""

    alone_correct: int
    shared_correct: int
    personalised_correct: int
    held_out: int


def answer_bounds(task: TrainingTask) -> ContributionBounds:
    """Length of the vector that answers a task, and the largest absolute value of its entries."""
    if task.kind == "use":
        largest = task.program.classes - 1 if task.program.classes else NUMBER_BITS_MAX
        return ContributionBounds(
            task.unseen_rows, np.full(task.unseen_rows, largest, dtype=np.int64)
        )
    return contribution_bounds(task.program, task.hyperparameters, task.kind)


def number_bits(numbers: NDArray[np.float32]) -> NDArray[np.int64]:
    """Predicted numbers as a vector carries them."""
    return numbers.astype("<f4").view("<u4").astype(np.int64)


def numbers_of(vector: NDArray[np.int64]) -> NDArray[np.float32]:
    """The inverse of `number_bits`, for any vector of integers."""
    return (vector & NUMBER_BITS_MAX).astype("<u4").view("<f4")


def contribution_bounds(
    program: Program, hyperparameters: Hyperparameters, kind: TaskKind
) -> ContributionBounds:
    """Length of a contribution and the largest absolute value of each of its entries."""
    if kind == "evaluate":
        return ContributionBounds(
            EVALUATE_COUNTS,
            np.full(EVALUATE_COUNTS, hyperparameters.count_max, dtype=np.int64),
        )
    length = program.shared_count + TRAIN_COUNTS
    max_abs = np.full(length, hyperparameters.count_max, dtype=np.int64)
    max_abs[: program.shared_count] = norm_max(hyperparameters)
    return ContributionBounds(length, max_abs)


def norm_max(hyperparameters: Hyperparameters) -> int:
    """Largest L2 norm of an integer update, in steps of 2**-fraction_bits."""
    return int(hyperparameters.clip_norm * 2.0**hyperparameters.fraction_bits)


def limit_counts(counts: tuple[int, ...], count_max: int) -> NDArray[np.int64]:
    """Counts of one owner, in proportion, such that none exceeds count_max.

    What one owner can change is what noise must hide, so a study that adds noise lets each count
    for few rows.
    """
    largest = max(counts)
    if largest <= count_max:
        return np.array(counts, dtype=np.int64)
    return np.rint(np.array(counts) * (count_max / largest)).astype(np.int64)


def clip(update: NDArray[np.float64], norm: float) -> NDArray[np.float64]:
    """Scale an update down to an L2 norm; shorter ones are returned unchanged."""
    length = float(np.linalg.norm(update))
    return update if length <= norm else update * (norm / length)


def quantise(update: NDArray[np.float64], hyperparameters: Hyperparameters) -> NDArray[np.int64]:
    """Clip an update [shared_count] and round it to integers of L2 norm at most `norm_max`.

    Raises TrainingError when the update is not finite, or when the grid is too coarse for the norm.
    """
    if not np.isfinite(update).all():
        raise TrainingError(
            "Training gave NaN or infinite parameters: nothing was sent; "
            "ask the proposer for a smaller learning rate."
        )
    rounding_norm_max = 0.5 * float(np.sqrt(update.size))
    budget = norm_max(hyperparameters) - rounding_norm_max
    if budget <= 0:
        raise TrainingError(
            "The study rounds updates more coarsely than it clips them: nothing was sent; "
            "ask the proposer for more fraction_bits."
        )
    clipped = clip(update * 2.0**hyperparameters.fraction_bits, budget)
    quantised = np.rint(clipped).astype(np.int64)
    assert int(np.dot(quantised, quantised)) <= norm_max(hyperparameters) ** 2
    return quantised


def dequantise(
    integers: NDArray[np.int64], hyperparameters: Hyperparameters
) -> NDArray[np.float64]:
    """Real-valued update of an integer one (or of a sum of integer ones)."""
    return integers.astype(np.float64) * 2.0**-hyperparameters.fraction_bits


def check_contribution(vector: bytes, bounds: ContributionBounds) -> NDArray[np.int64]:
    """Read a contribution, refusing a wrong length or an entry out of bounds."""
    if len(vector) != VECTOR_DTYPE.itemsize * bounds.length:
        raise TrainingError(
            f"A contribution of {len(vector)} bytes does not fit this study "
            f"({VECTOR_DTYPE.itemsize * bounds.length} bytes): nothing was sent."
        )
    integers = np.frombuffer(vector, VECTOR_DTYPE).astype(np.int64, copy=False)
    # Two comparisons: |-2**63| is negative in int64 and would pass an absolute value.
    if (integers > bounds.max_abs).any() or (integers < -bounds.max_abs).any():
        raise TrainingError("A contribution exceeds the bounds of its study: nothing was sent.")
    return integers


def train_totals(total: NDArray[np.int64]) -> TrainTotals:
    """Counts at the end of a summed train contribution."""
    correct, held_out, examples = (int(value) for value in total[-TRAIN_COUNTS:])
    return TrainTotals(correct=correct, held_out=held_out, examples=examples)


def evaluate_totals(total: NDArray[np.int64]) -> EvaluateTotals:
    """Counts of a summed evaluate contribution [4]."""
    alone, shared, personalised, held_out = (int(value) for value in total)
    return EvaluateTotals(
        alone_correct=alone,
        shared_correct=shared,
        personalised_correct=personalised,
        held_out=held_out,
    )
