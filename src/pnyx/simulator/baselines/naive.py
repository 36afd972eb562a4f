"""Naive ways to select actors, which SEP2P (EDBT 2019) compares itself with, beside ours.

In all of them a random point is known that nobody bent; they differ in who is believed after that.

- `unverified_setter`: the node nearest to the point, the setter, names the actors and is believed.
  A corrupted one names the coalition;
- `any_of_region`: actor j is the node nearest to H(value, j), but a source accepts any node of a
  region in which m are expected, since it cannot know who is there. A corrupted setter names a
  corrupted node wherever a region holds one, and an honest one the nearest;
- `every_source_verifies`: the same, but every source looks up every point by itself, and accepts
  the nearest alone;
- `census`, `region`: ours.

What a selection costs each source and the network is counted by `bulk.costs`.
"""

from collections.abc import Callable
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from pnyx.errors import ConfigError
from pnyx.protocol.selection.security import ALPHA
from pnyx.protocol.selection.tails import head_count
from pnyx.simulator.bulk.draws import draw_region
from pnyx.simulator.bulk.effectiveness import (
    Actors,
    Alpha,
    Nodes,
    Share,
    check_actors,
    check_epochs,
)
from pnyx.simulator.bulk.ring import POSITIONS, Flags, Indices, Positions, Ring, width_of
from pnyx.simulator.bulk.sizing import region_rule, sized
from pnyx.simulator.experiment import SHARE, Progress

_STEP = 10_000


class NaiveParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A network, how often it selects, and how lenient a source is."""

    nodes: Nodes = 1_000_000
    corrupted_share: Share = 0.01
    actors: Actors = 32
    tolerance: Annotated[
        int, Meta(ge=1, le=10_000, description="nodes expected in the region that is accepted")
    ] = 16
    selections: Annotated[int, Meta(ge=1, le=10_000_000, description="selections made")] = 20_000
    epochs: Annotated[
        int, Meta(ge=1, le=10_000, description="times that positions and coalition are drawn")
    ] = 5
    alpha: Alpha = ALPHA

    def __post_init__(self) -> None:
        check_actors(self.actors, self.nodes)
        check_epochs(self.epochs, self.selections)
        if self.tolerance > self.nodes:
            raise ConfigError(
                f"tolerance must be a whole number from 1 to nodes, which is {self.nodes}, not "
                f"{self.tolerance}."
            )


class NaiveRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What selections by one strategy came to."""

    strategy: Annotated[str, Meta(description="who is believed")]
    nodes: Annotated[int, Meta(description="nodes of the network")]
    corrupted: Annotated[int, Meta(description="nodes of the coalition")]
    actors: Annotated[int, Meta(description="actors of a selection")]
    tolerance: Annotated[int, Meta(description="nodes expected in the region that is accepted, m")]
    corrupted_actors: Annotated[float, Meta(description="corrupted actors of a selection, mean")]
    standard_error: Annotated[float, Meta(description="of that mean")]
    ideal: Annotated[float, Meta(description="corrupted actors of a uniform draw, A·C/N")]
    excess: Annotated[float, Meta(description="corrupted actors over the ideal, ratio")]
    captured: Annotated[
        float, Meta(description="share of selections with no honest actor", extra=SHARE)
    ]
    selections: Annotated[int, Meta(description="selections made")]


class _Draws:
    """The randomness that all strategies share in one batch."""

    def __init__(self, ring: Ring, parameters: NaiveParameters, size: int, seed: list[int]) -> None:
        self.generator = np.random.Generator(np.random.PCG64(seed))
        self.points: Positions = self.generator.integers(
            0, POSITIONS, (size, parameters.actors), dtype=np.uint64
        )
        self.setters = ring.nearest(self.points[:, 0])
        self.lying: Flags = ring.corrupted[self.setters]


def run(parameters: NaiveParameters, seed: int, progress: Progress) -> list[NaiveRecord]:
    """Select many times by every strategy, from the same points."""
    corrupted = head_count(parameters.corrupted_share, parameters.nodes)
    found: dict[str, list[Indices]] = {strategy: [] for strategy in STRATEGIES}
    per_epoch = -(-parameters.selections // parameters.epochs)
    for epoch in range(parameters.epochs):
        generator = np.random.Generator(np.random.PCG64([seed, 5, epoch]))
        ring = Ring.drawn(parameters.nodes, corrupted, generator)
        for at in range(0, per_epoch, _STEP):
            draws = _Draws(ring, parameters, min(_STEP, per_epoch - at), [seed, 6, epoch, at])
            for strategy, select in STRATEGIES.items():
                found[strategy].append(select(ring, parameters, draws))
        progress((epoch + 1) / parameters.epochs)
    return [
        _record(parameters, corrupted, strategy, np.concatenate(parts))
        for strategy, parts in found.items()
    ]


def _unverified_setter(ring: Ring, parameters: NaiveParameters, draws: _Draws) -> Indices:
    corrupted = len(ring.corrupted_indices)
    honest = draws.generator.hypergeometric(
        corrupted, len(ring) - corrupted, parameters.actors, len(draws.setters)
    )
    return np.where(draws.lying, min(parameters.actors, corrupted), honest)


def _any_of_region(ring: Ring, parameters: NaiveParameters, draws: _Draws) -> Indices:
    width = width_of(parameters.tolerance / len(ring))
    first, count = ring.interval(draws.points.ravel(), width)
    reachable = (ring.corrupted_among(first, count) > 0).reshape(draws.points.shape)
    nearest = ring.corrupted[ring.nearest(draws.points.ravel())].reshape(draws.points.shape)
    named = np.where(draws.lying[:, None], reachable | nearest, nearest)
    return _count(named)


def _every_source_verifies(ring: Ring, _: NaiveParameters, draws: _Draws) -> Indices:
    return _count(ring.corrupted[ring.nearest(draws.points.ravel())].reshape(draws.points.shape))


def _census(ring: Ring, parameters: NaiveParameters, draws: _Draws) -> Indices:
    corrupted = len(ring.corrupted_indices)
    return draws.generator.hypergeometric(
        corrupted, len(ring) - corrupted, parameters.actors, len(draws.setters)
    )


def _region(ring: Ring, parameters: NaiveParameters, draws: _Draws) -> Indices:
    size = sized(parameters.nodes, len(ring.corrupted_indices), parameters.alpha)
    rule = region_rule(parameters.nodes, size, parameters.actors)
    triggers = draws.generator.integers(0, len(ring), len(draws.setters))
    orders = draws.generator.integers(0, POSITIONS, len(triggers), dtype=np.uint64)
    drawn = draw_region(ring, rule, triggers, draws.points[:, 0], orders)
    return drawn.corrupted[drawn.actors[:, 0] >= 0]


def _count(corrupted: Flags) -> Indices:
    """Corrupted actors of each selection, of flags [selections, actors]."""
    counted: Indices = corrupted.sum(axis=1, dtype=np.int64)
    return counted


STRATEGIES: dict[str, Callable[[Ring, NaiveParameters, _Draws], Indices]] = {
    "unverified_setter": _unverified_setter,
    "any_of_region": _any_of_region,
    "every_source_verifies": _every_source_verifies,
    "census": _census,
    "region": _region,
}


def _record(
    parameters: NaiveParameters, corrupted: int, strategy: str, found: Indices
) -> NaiveRecord:
    ideal = parameters.actors * corrupted / parameters.nodes
    return NaiveRecord(
        strategy=strategy,
        nodes=parameters.nodes,
        corrupted=corrupted,
        actors=parameters.actors,
        tolerance=parameters.tolerance if strategy == "any_of_region" else 0,
        corrupted_actors=float(found.mean()),
        standard_error=float(found.std() / len(found) ** 0.5),
        ideal=ideal,
        excess=float(found.mean() / ideal) if ideal else 1.0,
        captured=float((found == parameters.actors).mean()),
        selections=len(found),
    )
