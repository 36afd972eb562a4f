"""Nodes on a ring of 2^64 positions: who is in an interval, and how many of them are corrupted.

Positions are sorted once; every question is then two binary searches and a difference of prefix
sums, asked for many intervals at a time. An interval may cross zero. 10^7 nodes take 130 MB.
"""

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.uint64]
Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]

POSITIONS = 1 << 64


class Ring:
    """A network: sorted positions, and which of them belong to the coalition."""

    def __init__(self, positions: Positions, corrupted: Flags) -> None:
        """positions: [nodes] increasing. corrupted: [nodes], in the same order."""
        if len(positions) != len(corrupted) or len(positions) < 1:
            raise ValueError("a ring has nodes, and knows of each whether it is corrupted")
        self.positions, self.corrupted = positions, corrupted
        self.corrupted_indices: Indices = np.flatnonzero(corrupted)
        self._corrupted_before = np.zeros(len(positions) + 1, dtype=np.int32)
        np.cumsum(corrupted, out=self._corrupted_before[1:])

    @classmethod
    def drawn(cls, nodes: int, corrupted: int, generator: np.random.Generator) -> "Ring":
        """Draw positions uniformly, as hashes are, and the coalition among all nodes."""
        positions = generator.integers(0, POSITIONS, nodes, dtype=np.uint64)
        positions.sort()
        flags = np.zeros(nodes, dtype=np.bool_)
        flags[generator.choice(nodes, corrupted, replace=False, shuffle=False)] = True
        return cls(positions, flags)

    def __len__(self) -> int:
        return len(self.positions)

    def interval(self, centres: Positions, width: int) -> tuple[Indices, Indices]:
        """Return the first node of each interval of this width around a centre, and their number.

        Node i is in if (position - centre + width // 2) mod 2^64 < width.
        """
        lower = centres - np.uint64(width // 2)
        first = np.searchsorted(self.positions, lower, side="left")
        if width >= POSITIONS:
            return first, np.full(len(centres), len(self), dtype=np.int64)
        upper = lower + np.uint64(width)
        end = np.searchsorted(self.positions, upper, side="left")
        return first, np.where(upper < lower, end + len(self), end) - first

    def corrupted_among(self, first: Indices, count: Indices) -> Indices:
        """Count the corrupted among `count` nodes from `first` on, around the ring."""
        before, nodes = self._corrupted_before, len(self)
        end = first + count
        wrapped = (
            np.where(end > nodes, before[nodes], 0)
            + before[np.where(end > nodes, end - nodes, end)]
        )
        found: Indices = (wrapped - before[first]).astype(np.int64)
        return found

    def nearest(self, points: Positions) -> Indices:
        """Return the node closest to each point, the later one of two at the same distance."""
        nodes = len(self)
        after = np.searchsorted(self.positions, points, side="left") % nodes
        before = (after - 1) % nodes
        ahead = self.positions[after] - points  # modulo 2^64, as distances on a ring are
        behind = points - self.positions[before]
        closest: Indices = np.where(behind < ahead, before, after)
        return closest


def width_of(share: float) -> int:
    """Return how many positions a share of the ring is."""
    return min(POSITIONS, int(share * POSITIONS))
