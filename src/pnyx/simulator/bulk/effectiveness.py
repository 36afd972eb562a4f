"""How effective selection is: corrupted actors among those selected, against the ideal A·C/N.

No selection can do better than the ideal, in which actors are drawn uniformly from all nodes. What
exceeds it is what a coalition gained by lying where it could.

By region a node's chance depends on how dense the ring is around it, until the next epoch draws the
positions anew; so selections are spread over `epochs`, and the mean over them is what is compared.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from pnyx.errors import ConfigError
from pnyx.protocol.selection.security import ALPHA
from pnyx.protocol.selection.tails import head_count
from pnyx.simulator.bulk.draws import RegionDraws, draw_census, draw_region
from pnyx.simulator.bulk.ring import POSITIONS, Indices, Ring
from pnyx.simulator.bulk.sizing import RegionRule, region_rule, sized
from pnyx.simulator.experiment import Progress

_STEP = 5_000  # selections between two reports of progress

Nodes = Annotated[int, Meta(ge=100, le=10_000_000, description="nodes of the network")]
Share = Annotated[float, Meta(ge=0.0, le=0.5, description="corrupted share of the nodes")]
Actors = Annotated[int, Meta(ge=1, le=512, description="actors of a selection")]
Alpha = Annotated[
    float, Meta(gt=0.0, lt=1.0, description="chance of a forged random value or list, alpha")
]


def check_actors(actors: int, nodes: int) -> None:
    """Refuse to select more nodes than there are. Raises ConfigError."""
    if actors > nodes:
        raise ConfigError(
            f"actors must be a whole number from 1 to nodes, which is {nodes}, not {actors}."
        )


def check_epochs(epochs: int, selections: int) -> None:
    """Refuse epochs in which nothing is selected. Raises ConfigError."""
    if epochs > selections:
        raise ConfigError(
            f"epochs must be a whole number from 1 to selections, which is {selections}, not "
            f"{epochs}."
        )


class SelectionParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A network, and how often it selects."""

    nodes: Nodes = 1_000_000
    corrupted_share: Share = 0.05
    back_end: Annotated[
        Literal["census", "region"], Meta(description="how actors are selected")
    ] = "census"
    actors: Actors = 32
    selections: Annotated[int, Meta(ge=1, le=10_000_000, description="selections made")] = 100_000
    epochs: Annotated[
        int, Meta(ge=1, le=10_000, description="times that positions and coalition are drawn")
    ] = 10
    alpha: Alpha = ALPHA

    def __post_init__(self) -> None:
        check_actors(self.actors, self.nodes)
        check_epochs(self.epochs, self.selections)


class SelectionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What many selections of one network came to."""

    back_end: Annotated[str, Meta(description="census or region")]
    nodes: Annotated[int, Meta(description="nodes of the network")]
    corrupted: Annotated[int, Meta(description="nodes of the coalition")]
    actors: Annotated[int, Meta(description="actors of a selection")]
    selections: Annotated[int, Meta(description="selections made")]
    epochs: Annotated[int, Meta(description="times that positions and coalition were drawn")]
    signers: Annotated[int, Meta(description="signers of a region, k_r; 0 for the census")]
    corrupted_actors: Annotated[float, Meta(description="corrupted actors of a selection, mean")]
    ideal: Annotated[float, Meta(description="corrupted actors of a uniform draw, A·C/N")]
    standard_error: Annotated[float, Meta(description="of the mean of corrupted actors")]
    deviation: Annotated[float, Meta(description="standard deviation of corrupted actors")]
    ideal_deviation: Annotated[float, Meta(description="that of a uniform draw (hypergeometric)")]
    corrupted_max: Annotated[int, Meta(description="corrupted actors of the worst selection")]
    forged_values: Annotated[int, Meta(description="selections with a random value forged in R1")]
    forged_lists: Annotated[int, Meta(description="selections with an actor list forged in R2")]
    relocated: Annotated[int, Meta(description="selections whose point had to move")]
    failed: Annotated[int, Meta(description="selections that found too few nodes")]


def run(parameters: SelectionParameters, seed: int, progress: Progress) -> list[SelectionRecord]:
    """Select many times, in networks drawn from the seed."""
    generator = np.random.Generator(np.random.PCG64([seed, 1]))
    corrupted = head_count(parameters.corrupted_share, parameters.nodes)
    size = sized(parameters.nodes, corrupted, parameters.alpha) if _by_regions(parameters) else None
    tally = _Tally()
    ring, epoch = Ring.drawn(parameters.nodes, corrupted, generator), 0
    for batch, of_epoch, done in _batches(parameters.selections, parameters.epochs):
        if of_epoch != epoch:
            ring, epoch = Ring.drawn(parameters.nodes, corrupted, generator), of_epoch
        if size is None:
            beacons = [generator.bytes(32) for _ in range(batch)]
            drawn = draw_census(beacons, b"study", 1, "actor", parameters.actors, parameters.nodes)
            tally.found.append(ring.corrupted[drawn].sum(axis=1))
        else:
            rule = region_rule(parameters.nodes, size, parameters.actors)
            tally.add(_by_region(ring, rule, batch, generator))
        progress(done)
    return [_record(parameters, corrupted, size.signers if size else 0, tally)]


class _Tally:
    """What is kept of each batch of selections."""

    def __init__(self) -> None:
        self.found: list[Indices] = []
        self.values = self.lists = self.relocated = self.failed = 0

    def add(self, draws: RegionDraws) -> None:
        """Keep what came of selections by region."""
        worked = draws.actors[:, 0] >= 0
        self.found.append(draws.corrupted[worked])
        self.values += int(draws.value_forged.sum())
        self.lists += int(draws.list_forged.sum())
        self.relocated += int((draws.relocations > 0).sum())
        self.failed += int((~worked).sum())


def _by_regions(parameters: SelectionParameters) -> bool:
    return parameters.back_end == "region"


def _by_region(
    ring: Ring, rule: RegionRule, batch: int, generator: np.random.Generator
) -> RegionDraws:
    triggers = generator.integers(0, len(ring), batch)
    points, orders = generator.integers(0, POSITIONS, (2, batch), dtype=np.uint64)
    return draw_region(ring, rule, triggers, points, orders)


def _record(
    parameters: SelectionParameters, corrupted: int, signers: int, tally: _Tally
) -> SelectionRecord:
    found = np.concatenate(tally.found)
    share = corrupted / parameters.nodes
    left = (parameters.nodes - parameters.actors) / max(1, parameters.nodes - 1)
    return SelectionRecord(
        back_end=parameters.back_end,
        nodes=parameters.nodes,
        corrupted=corrupted,
        actors=parameters.actors,
        selections=parameters.selections,
        epochs=parameters.epochs,
        signers=signers,
        corrupted_actors=float(found.mean()) if len(found) else 0.0,
        ideal=parameters.actors * share,
        standard_error=float(found.std() / max(1, len(found)) ** 0.5) if len(found) else 0.0,
        deviation=float(found.std()) if len(found) else 0.0,
        ideal_deviation=(parameters.actors * share * (1 - share) * left) ** 0.5,
        corrupted_max=int(found.max(initial=0)),
        forged_values=tally.values,
        forged_lists=tally.lists,
        relocated=tally.relocated,
        failed=tally.failed,
    )


def _batches(total: int, epochs: int) -> Iterator[tuple[int, int, float]]:
    """Yield the size of each batch, its epoch, and the share that is done after it."""
    done = 0
    for epoch in range(epochs):
        end = total * (epoch + 1) // epochs
        while done < end:
            size = min(_STEP, end - done)
            done += size
            yield size, epoch, done / total
