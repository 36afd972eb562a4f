"""How wide the regions of region selection are, in positions of the ring.

R1 and R2, in which k_r nodes sign, come from `protocol.selection.region_sizes`. R3, from which
actors are drawn, need not be small: a forged list takes k_r corrupted signers, whatever R3 is. It
must hold enough candidates: it is the smallest in which fewer than the actors wanted are found at
one point in a thousand (`TOO_SPARSE_MAX`), which then moves to the next.
"""

from functools import lru_cache

import msgspec

from pnyx.protocol.selection.region_sizes import TOO_SPARSE_MAX, RegionSize, smallest_signers
from pnyx.protocol.selection.tails import binomial_lower
from pnyx.simulator.bulk.ring import POSITIONS, width_of

_STEPS = 60


class RegionRule(msgspec.Struct, frozen=True, kw_only=True):
    """What region selection needs to know of a network."""

    signers: int  # k_r
    region_width: int  # of R1 and R2, in positions
    candidates_width: int  # of R3
    actors: int


def region_rule(nodes: int, size: RegionSize, actors: int) -> RegionRule:
    """Return the rule for a network of `nodes` with this size of region."""
    region = width_of(size.region_size)
    return RegionRule(
        signers=size.signers,
        region_width=region,
        candidates_width=max(region, width_of(candidates_share(nodes, actors))),
        actors=actors,
    )


@lru_cache(maxsize=256)
def sized(nodes: int, corrupted: int, alpha: float, network_wide: bool = True) -> RegionSize:
    """`smallest_signers`, which takes a while for large networks, computed once."""
    return smallest_signers(nodes, corrupted, alpha, network_wide=network_wide)


@lru_cache(maxsize=256)
def candidates_share(nodes: int, actors: int) -> float:
    """Return the smallest share of the ring that nearly always holds enough candidates."""
    if actors > nodes:
        raise ValueError("there are fewer nodes than actors")
    low, high = actors / nodes / 2, 1.0  # low is too small, high is not, unless it is everything
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if binomial_lower(nodes, middle, actors - 1) > TOO_SPARSE_MAX:
            low = middle
        else:
            high = middle
    assert width_of(high) <= POSITIONS
    return high
