"""Sizes whose batch is not known yet, as plain integers.

A size is a polynomial in the batch size with small coefficients. It is kept as its value at BATCH,
a number so large that the coefficients are the digits in that base (Kronecker substitution). Sums,
products and divisions are then those of integers, and two sizes are equal exactly if they are
equal for every batch. So a shape that is checked once holds for every batch, the short last one of
an epoch included.

Nothing here can overflow: coefficients of what rules compute stay far below BATCH, because the
audit bounds every size, and the memory of every value, before the next rule sees it. A division
that leaves a remainder, or a difference such as batch − 1, shows as an absurd coefficient, and is
refused.
"""

from pnyx.learning.programs.format import DIMENSION_MAX, RANK_MAX

BATCH = 1 << 256

Shape = tuple[int, ...]


def at(size: int, batch: int) -> int:
    """The value of a size for a batch of this many examples."""
    value, power = 0, 1
    while size:
        size, digit = divmod(size, BATCH)
        value += digit * power
        power *= batch
    return value


def is_batch(size: int) -> bool:
    """Whether a size depends on the batch."""
    return size >= BATCH


def decode_sizes(sizes: Shape) -> Shape:
    """Sizes as a program writes them: −k for k times the batch."""
    return tuple(size if size > 0 else -size * BATCH for size in sizes)


def check_shape(shape: Shape) -> None:
    """Raise ValueError unless there are few sizes, each c or c · batch with a small c."""
    if len(shape) > RANK_MAX:
        raise ValueError(f"gives {len(shape)} dimensions, above {RANK_MAX}")
    for size in shape:
        times, constant = divmod(size, BATCH)
        if not (1 <= times + constant <= DIMENSION_MAX and (times == 0 or constant == 0)):
            raise ValueError("gives a size that is no small multiple of 1 or of the batch")


def broadcast(*shapes: Shape) -> Shape:
    """The shape that arrays of these shapes take together. Raises ValueError."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    result = []
    for sizes in zip(*padded, strict=True):
        larger = set(sizes) - {1}
        if len(larger) > 1:
            raise ValueError("joins arrays whose sizes do not fit together")
        result.append(larger.pop() if larger else 1)
    return tuple(result)
