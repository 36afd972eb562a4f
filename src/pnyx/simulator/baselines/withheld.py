"""What withheld reveals bring when nobody recovers them.

In plain commit-reveal whoever reveals last sees the value before it decides. A coalition with `a`
of the signers can leave out any of its reveals (the value is then made without them, or anew with
others), which is a free choice among 2^a values; it takes the one whose actors are the most
corrupted. With every secret shared among the signers and opened by the others there is one value,
whoever is silent.
"""

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from pnyx.protocol.selection.tails import head_count
from pnyx.simulator.bulk.effectiveness import Actors, Nodes, Share, check_actors
from pnyx.simulator.experiment import Progress

_BATCH = 1 << 20  # values that are looked at together


class WithheldParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A network, and up to how many reveals its coalition may withhold."""

    nodes: Nodes = 1_000_000
    corrupted_share: Share = 0.10
    actors: Actors = 8
    withheld_max: Annotated[
        int, Meta(ge=0, le=16, description="reveals that the coalition may withhold, at most")
    ] = 8
    trials: Annotated[int, Meta(ge=1, le=1_000_000, description="choices simulated")] = 10_000

    def __post_init__(self) -> None:
        check_actors(self.actors, self.nodes)


class WithheldRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Corrupted actors when a coalition chooses among values."""

    nodes: Annotated[int, Meta(description="nodes of the network")]
    corrupted: Annotated[int, Meta(description="nodes of the coalition")]
    actors: Annotated[int, Meta(description="actors of a selection")]
    withheld: Annotated[int, Meta(description="reveals that the coalition may withhold, a")]
    corrupted_actors: Annotated[
        float, Meta(description="corrupted actors, mean of the best choice")
    ]
    standard_error: Annotated[float, Meta(description="of that mean")]
    ideal: Annotated[float, Meta(description="corrupted actors of a uniform draw, A·C/N")]
    gain: Annotated[float, Meta(description="corrupted actors over the ideal, ratio")]
    trials: Annotated[int, Meta(description="choices simulated")]


def run(parameters: WithheldParameters, seed: int, progress: Progress) -> list[WithheldRecord]:
    """Let a coalition choose, with more and more reveals to withhold."""
    generator = np.random.Generator(np.random.PCG64([seed, 4]))
    corrupted = head_count(parameters.corrupted_share, parameters.nodes)
    records = []
    for withheld in range(parameters.withheld_max + 1):
        best = best_of(
            generator, parameters.nodes, corrupted, parameters.actors, withheld, parameters.trials
        )
        ideal = parameters.actors * corrupted / parameters.nodes
        records.append(
            WithheldRecord(
                nodes=parameters.nodes,
                corrupted=corrupted,
                actors=parameters.actors,
                withheld=withheld,
                corrupted_actors=float(best.mean()),
                standard_error=float(best.std() / parameters.trials**0.5),
                ideal=ideal,
                gain=float(best.mean() / ideal) if ideal else 1.0,
                trials=parameters.trials,
            )
        )
        progress((withheld + 1) / (parameters.withheld_max + 1), records)
    return records


def best_of(
    generator: np.random.Generator,
    nodes: int,
    corrupted: int,
    actors: int,
    withheld: int,
    trials: int,
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return [trials]: the most corrupted actors among 2^withheld uniform selections each."""
    choices = 1 << withheld
    step = max(1, _BATCH // choices)
    parts = [
        generator.hypergeometric(
            corrupted, nodes - corrupted, actors, (min(step, trials - at), choices)
        ).max(axis=1)
        for at in range(0, trials, step)
    ]
    return np.concatenate(parts)
