"""How many nodes of a region must take part in a draw, and how large regions are.

One rule holds for a network, so that nobody chooses among several. With k_r signers in a region of
share r, the chance that *any* corrupt node has k_r other corrupt nodes in the region around it is
at most alpha in an epoch (`region_sizes`). As long as there is no such node:

- k_r signatures from the region around a node that signed the draw itself are not all corrupt, so
  one of them is of an honest node, which signs only what it checked;
- among the *legitimate* nodes of a draw, at most 4·k_r nearest to the centre and in the region, at
  most k_r - 1 are corrupt. Secrets shared among them with degree k_r - 1 stay hidden until the
  honest ones open them, and 2·k_r - 1 holders of a share open them whoever withholds. Of fewer,
  in a sparse region, enough may be corrupt to hide what these come to, and so end an attempt;
- two quorums of ⌈(n + k_r)/2⌉ of the n legitimate nodes share k_r of them, so an honest one, which
  takes part in one call of a draw only: nobody makes two values and shows the better one.
"""

from functools import lru_cache

import msgspec

from pnyx.protocol.selection.region_sizes import TOO_SPARSE_MAX, smallest_signers
from pnyx.protocol.selection.security import ALPHA
from pnyx.protocol.selection.tails import binomial_lower, head_count

PLANNED_SHARE = 0.05  # corrupted nodes that regions are sized for, at least
ATTEMPTS_MAX = 16
_LEGITIMATE_PER_SIGNER = 4
_SMALL_NETWORK = 4  # networks below so many times the actors have everybody as candidates
_BISECTIONS = 40


class RegionRule(msgspec.Struct, frozen=True, kw_only=True):
    """The rule of a network: k_r, the size of R1 and R2, and the people that it was made for."""

    nodes: int
    signers: int
    region_share: float

    @property
    def legitimate_max(self) -> int:
        """Most nodes that take part in a draw, the nearest to its centre."""
        return _LEGITIMATE_PER_SIGNER * self.signers

    @property
    def corrupt_max(self) -> int:
        """Corrupt nodes among the legitimate ones; the degree of their secrets."""
        return self.signers - 1

    @property
    def holders_wanted(self) -> int:
        """Holders of a share that open a secret whoever withholds."""
        return 2 * self.signers - 1

    def quorum(self, legitimate: int) -> int:
        """How many of the legitimate nodes must take part in a call."""
        return (legitimate + self.signers + 1) // 2

    def candidate_share(self, count: int) -> float:
        """The share of the ring (R3) that holds so many candidates, nearly always."""
        return _candidate_share(self.nodes, count)


@lru_cache(maxsize=64)
def region_rule(nodes: int, corrupt_max: int, alpha: float = ALPHA) -> RegionRule:
    """The rule of a network whose committees tolerate `corrupt_max` corrupt members.

    A small network tolerates more corrupt members than a twentieth of it: regions then do, too.
    Raises ConfigError when no rule holds.
    """
    corrupted = max(head_count(PLANNED_SHARE, nodes), corrupt_max)
    sized = smallest_signers(nodes, corrupted, alpha)
    return RegionRule(nodes=nodes, signers=sized.signers, region_share=sized.region_size)


@lru_cache(maxsize=64)
def _candidate_share(nodes: int, count: int) -> float:
    if count * _SMALL_NETWORK >= nodes:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        enough = binomial_lower(nodes, middle, count - 1) <= TOO_SPARSE_MAX
        low, high = (low, middle) if enough else (middle, high)
    return high
