"""Attack: corrupted neighbours make a random value of their own and sign it as one region's.

Whoever forges one chooses, until positions are drawn anew, where actors are drawn. Over whole
networks, with alpha = 5 %, forgers are as rare as alpha says; each repair of SEP2P's rule that is
taken away lets more networks be captured.
"""

import numpy as np
import pytest

from pnyx.simulator.baselines.repairs import RULES, can_forge, table
from pnyx.simulator.bulk.ring import Ring

NODES, CORRUPTED, ALPHA, NETWORKS = 2_000, 100, 0.05, 400


def captured(rule_name: str) -> float:
    """Share of networks in which somebody can forge."""
    [rule] = [rule for rule in RULES if rule.name == rule_name]
    sizes = table(rule, NODES, CORRUPTED, ALPHA)
    generator = np.random.default_rng(2)
    rings = (Ring.drawn(NODES, CORRUPTED, generator) for _ in range(NETWORKS))
    return float(np.mean([can_forge(ring, rule, sizes).any() for ring in rings]))


def test_nobody_forges_beyond_alpha() -> None:
    assert captured("repaired") <= ALPHA


@pytest.mark.parametrize(
    ("without", "at_least"),
    [("per_region", 0.7), ("trigger_counts", 0.08), ("any_signers", 0.06), ("sep2p", 0.95)],
)
def test_each_repair_is_needed(without: str, at_least: float) -> None:
    assert captured(without) >= at_least
