"""The next update from the sums of groups: a mean, or a rule that few groups cannot bend.

Nearest-neighbour mixing and a trimmed mean (Allouah, Farhadkhani, Guerraoui, Gupta, Pinot and
Stephan 2023, "Fixing by mixing", algorithm 2; Yin, Chen, Ramchandran and Bartlett 2018). Of the
means of n groups, at most f of which hold a poisoner:

    mix    every mean is replaced by the mean of its n - f nearest, itself included
    trim   in every coordinate the f largest and the f smallest of the mixtures are left out

Mixing brings honest groups together where their data differ, and trimming leaves a coalition no
more than what looks like an honest group. What that tolerates is measured in docs/robustness.md.

**The same bytes everywhere.** A quorum signs the model that follows, so every member must compute
the same one. All is exact: group means are rounded once to the grid of `FRACTION_BITS`, and from
there on there are only integers, distances included. What is left is one division, by the
`divisor` that comes with the result.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pnyx.protocol.aggregation.encoding import IntVector

GROUPS_MAX = 32  # distances grow with its square: 496 pairs
FRACTION_BITS = 8  # of the mean of a group, below one step of an update
UPDATE_MAX = 1 << 31  # of an entry of one contribution: what masks hold, see `masked.parameters`
_LIMB_BITS = 20
_BLOCK = 1 << 16  # entries handled at a time: some megabytes for 32 groups


class Robust(msgspec.Struct, frozen=True, array_like=True):
    """How the sums of a round's groups become one update.

    tolerated: f, the groups that may be poisoned; 0 for a mean.
    """

    rule: Literal["mean", "trimmed"]
    tolerated: Annotated[int, Meta(ge=0, le=(GROUPS_MAX - 1) // 2)]

    def __post_init__(self) -> None:
        if (self.rule == "mean") != (self.tolerated == 0):
            raise ValueError(
                "a mean tolerates no poisoned group, and a trimmed mean tolerates one or more"
            )

    @property
    def groups_min(self) -> int:
        """Fewest groups from which an update follows: most of them honest."""
        return 2 * self.tolerated + 1


PLAIN_MEAN = Robust("mean", 0)


class GroupUpdate(NamedTuple):
    """The sum [length] of the updates of one group, and over how many contributors."""

    total: IntVector
    contributors: int


class Combined(NamedTuple):
    """An update [length] times `divisor`, exactly."""

    total: IntVector
    divisor: int


def combine(groups: Sequence[GroupUpdate], robust: Robust) -> Combined:
    """Make one update of those of several groups, which a contributor of any weighs alike.

    No entry of the result, divided, exceeds the largest of a contribution, which is `UPDATE_MAX` at
    most; all of it stays below 2^53. There must be as many groups as the rule needs.
    """
    assert len(groups) >= robust.groups_min, "fewer groups than the rule needs are not opened"
    if robust.rule == "mean":
        return Combined(
            np.sum([group.total for group in groups], axis=0, dtype=np.int64),
            sum(group.contributors for group in groups),
        )
    means = np.stack([_mean(group) for group in groups])  # [groups, length]
    kept = len(groups) - robust.tolerated
    near = neighbours(squared_distances(means), kept)
    total = np.empty(means.shape[1], dtype=np.int64)
    for start in range(0, means.shape[1], _BLOCK):
        block = means[:, start : start + _BLOCK]
        total[start : start + _BLOCK] = _trimmed_sum(_mixed(block, near), robust.tolerated)
    trimmed = len(groups) - 2 * robust.tolerated
    return Combined(total, kept * trimmed << FRACTION_BITS)


def _mean(group: GroupUpdate) -> IntVector:
    """The mean of a group on the grid, rounded to nearest, halves up."""
    doubled = (group.total << (FRACTION_BITS + 1)) + group.contributors
    return np.asarray(doubled // (2 * group.contributors), dtype=np.int64)


def squared_distances(means: IntVector) -> list[list[int]]:
    """Exact squares of the distances between the rows of means [groups, length].

    A difference d is at most 2^40 and is split, d = high·2^20 + low with 0 <= low < 2^20, so that
    no sum of products over a block comes near 2^63.
    """
    count, length = means.shape
    table = [[0] * count for _ in range(count)]
    for start in range(0, length, _BLOCK):
        block = means[:, start : start + _BLOCK]
        for one in range(count):
            for other in range(one):
                table[one][other] += _norm_squared(block[one] - block[other])
    for one in range(count):
        for other in range(one):
            table[other][one] = table[one][other]
    return table


def _norm_squared(vector: IntVector) -> int:
    high = vector >> _LIMB_BITS
    low = vector - (high << _LIMB_BITS)
    squares = int(np.dot(high, high)), int(np.dot(high, low)), int(np.dot(low, low))
    return (squares[0] << 2 * _LIMB_BITS) + (squares[1] << (_LIMB_BITS + 1)) + squares[2]


def neighbours(distances: Sequence[Sequence[int]], kept: int) -> list[tuple[int, ...]]:
    """For each row the `kept` nearest ones, itself among them; of equally near ones the first."""
    found = []
    for own, row in enumerate(distances):
        ranked = sorted((distance, other != own, other) for other, distance in enumerate(row))
        found.append(tuple(sorted(other for _, _, other in ranked[:kept])))
    return found


def _mixed(means: IntVector, near: Sequence[tuple[int, ...]]) -> IntVector:
    """Sums of the means [groups, length] that each row is mixed from."""
    return np.stack([means[list(rows)].sum(axis=0) for rows in near])


def _trimmed_sum(mixed: IntVector, trimmed: int) -> NDArray[np.int64]:
    """In each column the sum of what is left without so many of the largest and smallest."""
    ordered = np.sort(mixed, axis=0)
    return np.asarray(ordered[trimmed : len(mixed) - trimmed].sum(axis=0), dtype=np.int64)
