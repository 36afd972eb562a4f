"""How large a region of the ring may be, and how many of its nodes must sign.

Region selection (SEP2P, EDBT 2019) believes k_r nodes of one region. Positions are hashes, so the
number of corrupted nodes in a region of size r (a share of the ring) is binomial: r must be small
enough that k_r of them practically never meet there, and k_r large enough that an honest trigger
still finds k_r legitimate nodes (any nodes of the network) in so small a region.

Two readings of "practically never":

- **per region** (`network_wide=False`): P[k_r of the C corrupted in this one region] <= alpha, as
  in SEP2P. Over a whole network some trigger is then lucky, and stays so: at N = 10⁷ with 1 %
  corrupted, about three owners whose own vote counts could forge proofs for ever;
- **network wide**: alpha is shared among the regions around all C corrupted triggers of an epoch,
  and a trigger never counts among its own signers. One k_r holds for a network, since choosing the
  luckiest of several would multiply alpha again.
"""

from collections.abc import Iterable

import msgspec

from pnyx.errors import ConfigError
from pnyx.protocol.selection.tails import binomial_lower, binomial_upper

SIGNERS_MAX = 512
TOO_SPARSE_MAX = 1e-3  # triggers that find too few nodes and must be relocated
_RELATIVE_PRECISION = 1e-12


class RegionSize(msgspec.Struct, frozen=True, kw_only=True):
    """A number of signers with the largest region in which they can be believed."""

    signers: int  # k_r
    region_size: float  # r, a share of the ring, 1.0 for all of it
    expected_nodes: float  # legitimate nodes in such a region, on average
    sparse_probability: float  # that a region around a trigger holds fewer than `signers`


def region_size(
    nodes: int, corrupted: int, signers: int, alpha: float, *, network_wide: bool = True
) -> RegionSize:
    """Return the largest region that `signers` corrupted nodes share with probability <= alpha."""
    if signers < 1 or not 0 <= corrupted <= nodes or not 0 < alpha < 1:
        raise ConfigError(
            "A region needs at least one signer, at most as many corrupted nodes as there are "
            "nodes, and an alpha between 0 and 1."
        )
    others = max(0, corrupted - 1) if network_wide else corrupted
    size = _largest_region(others, signers, alpha / max(1, corrupted) if network_wide else alpha)
    return RegionSize(
        signers=signers,
        region_size=size,
        expected_nodes=nodes * size,
        sparse_probability=binomial_lower(nodes - 1, size, signers - 1),
    )


def smallest_signers(
    nodes: int,
    corrupted: int,
    alpha: float,
    *,
    network_wide: bool = True,
    too_sparse_max: float = TOO_SPARSE_MAX,
) -> RegionSize:
    """Return the fewest signers that an honest trigger finds around it nearly always.

    Raises ConfigError when so many nodes are corrupted that no number serves.
    """
    for signers in range(2, min(nodes, SIGNERS_MAX + 1)):
        sized = region_size(nodes, corrupted, signers, alpha, network_wide=network_wide)
        if sized.sparse_probability <= too_sparse_max:
            return sized
    raise ConfigError(
        f"No region of up to {SIGNERS_MAX} signers is safe with {corrupted} corrupted nodes among "
        f"{nodes}: use census selection, or accept a larger alpha."
    )


def region_table(
    nodes: int,
    corrupted: int,
    alpha: float,
    signers: Iterable[int],
    *,
    network_wide: bool = True,
) -> tuple[RegionSize, ...]:
    """Return SEP2P's k-table: the region that each number of signers allows."""
    return tuple(
        region_size(nodes, corrupted, count, alpha, network_wide=network_wide) for count in signers
    )


def _largest_region(corrupted: int, signers: int, alpha: float) -> float:
    """Bisect the largest r with P[Bin(corrupted, r) >= signers] <= alpha, rounded downwards."""
    if signers > corrupted:
        return 1.0
    low, high = 0.0, 1.0  # low is safe, high is not
    while high - low > _RELATIVE_PRECISION * high:
        middle = (low + high) / 2
        if binomial_upper(corrupted, middle, signers) <= alpha:
            low = middle
        else:
            high = middle
    return low
