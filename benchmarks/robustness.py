"""What each rule tolerates, by attack and by how owners differ: `python -m benchmarks robustness`.

Every figure is the accuracy of the shared model on held-out windows after twenty rounds of all 36
owners (see `poisoning`), as mean and sample deviation over five seeds. A seed draws the deal, the
split, the poisoners and the initial model, alike for every defence and attack. `docs/robustness.md`
reads the table.

Noise is counted beside it: how much larger the noise of the next model is than that of one sum over
all, when the noise of every group suffices by itself, for the same cost to each owner.
"""

import sys
from collections.abc import Sequence
from math import sqrt
from statistics import mean, stdev
from typing import Any

import numpy as np

from benchmarks.poisoning import (
    ATTACKS,
    LENGTH,
    OWNERS,
    ROUNDS,
    SPREADS,
    Defence,
    Spread,
    study,
)
from pnyx.protocol.aggregation.robust import FRACTION_BITS, GroupUpdate, Robust, combine

SEEDS = tuple(range(1, 6))
POISONERS = {"10 %": 4, "20 %": 7}
# Groups, and how many of them a study that expects 10 % or 20 % of poisoners tolerates.
GROUPS = {36: (4, 7), 12: (4, 5), 6: (2, 2)}


def defences(place: int) -> dict[str, Defence]:
    """Defences by name; place: 0 where 10 % are expected, 1 for 20 %."""
    found = {"mean under the bound": Defence()}
    for groups, tolerated in GROUPS.items():
        name = f"{groups} groups of {OWNERS // groups}"
        found[name] = Defence(groups, Robust("trimmed", tolerated[place]))
    return found


def _figure(
    spread: Spread, attack: str | None, poisoners: int, defence: Defence, seeds: Sequence[int]
) -> dict[str, float]:
    found = [study(seed, spread, attack, poisoners, defence) for seed in seeds]
    return {
        "accuracy": round(mean(found), 4),
        "deviation": round(stdev(found), 4) if len(found) > 1 else 0.0,
    }


def accuracies(spread: Spread, seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """attack -> share of poisoners -> defence -> accuracy, for one way in which owners differ."""
    table: dict[str, Any] = {}
    table["none"] = {
        "0 %": {
            name: _figure(spread, None, 0, defence, seeds) for name, defence in defences(0).items()
        }
    }
    for attack in ATTACKS:
        print(f"  {spread}: {attack}", file=sys.stderr, flush=True)
        table[attack] = {
            share: {
                name: _figure(spread, attack, count, defence, seeds)
                for name, defence in defences(place).items()
            }
            for place, (share, count) in enumerate(POISONERS.items())
        }
    # As in masked rounds, where nothing of an update is verified.
    table["x10, no bound"] = {
        share: {
            name.removesuffix(" under the bound"): _figure(
                spread, "x10", count, defence._replace(bounded=False), seeds
            )
            for name, defence in defences(max(place, 0)).items()
        }
        for place, (share, count) in enumerate({"one": 1, **POISONERS}.items(), -1)
    }
    return table


def noise_factor(groups: int, robust: Robust) -> float:
    """Noise of the next model in such groups, over that of one sum, at the same cost to an owner.

    A group has a `groups`-th of the contributors whose noise is relied upon, so each adds √groups
    times as much.
    """
    generator = np.random.default_rng(groups)
    width = 4096.0
    each = width * sqrt(groups)
    size = OWNERS // groups
    sums = [
        GroupUpdate(np.rint(generator.normal(0, each * sqrt(size), LENGTH)).astype(np.int64), size)
        for _ in range(groups)
    ]
    found = combine(sums, robust)
    return float(np.std(found.total / found.divisor) / (width / sqrt(OWNERS)))


def run() -> dict[str, Any]:
    """All figures."""
    return {
        "owners": OWNERS,
        "rounds": ROUNDS,
        "seeds": list(SEEDS),
        "fraction_bits": FRACTION_BITS,
        "poisoners": POISONERS,
        "accuracy": {spread: accuracies(spread) for spread in SPREADS},
        "noise_factor": {
            name: {
                share: round(noise_factor(defence.groups, defence.robust), 2)
                for share, defence in (
                    (share, defences(place)[name]) for place, share in enumerate(POISONERS)
                )
            }
            for name in defences(0)
        },
    }
