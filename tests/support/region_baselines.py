"""Region selection with a repair taken away: what a coalition then gains. For tests only."""

import numpy as np


def bias(
    generator: np.random.Generator, share: float, actors: int, withheld: int, trials: int
) -> float:
    """Corrupted actors over the ideal A·C/N when a coalition chooses among 2^withheld values.

    Plain commit-reveal, in a network so large that actors are drawn independently.
    """
    drawn = generator.binomial(actors, share, (trials, 1 << withheld)).max(axis=1)
    return float(drawn.mean() / (actors * share))


def forgers(positions: np.ndarray, share: float, needed: int) -> int:
    """Corrupted nodes that have `needed` other corrupted nodes in the region around them.

    positions: of the coalition on a ring of length 1. needed: k_r; one less where the trigger is
    one of its own signers.
    """
    if share >= 1.0:
        return len(positions) if len(positions) > needed else 0
    ring = np.sort(positions)
    around = np.concatenate([ring - 1.0, ring, ring + 1.0])
    low = np.searchsorted(around, ring - share / 2, side="left")
    high = np.searchsorted(around, ring + share / 2, side="right")
    return int(np.count_nonzero(high - low - 1 >= needed))
