"""Selections by the hundred thousand, by the rules of both back-ends.

**Census.** The protocol's own rule, draw by draw the same hash (`protocol.selection.census`), with
what a whole selection shares hashed once. Equal to `select_census`, actor by actor.

**Region** (SEP2P, EDBT 2019, as repaired; docs/evaluation.md says how). A selection has

- R1, around the trigger: k_r nodes other than the trigger make a random value together. One honest
  signer makes it uniform. The coalition chooses it if the trigger and k_r others there are
  corrupted;
- R2, around the point that the value gives: the setter, nearest to it, and k_r other signers. The
  coalition chooses the actors if the setter and k_r others there are corrupted;
- R3, around the same point: candidates, ordered by a keyed hash of their positions; the first
  `actors` of them act. A coalition that chose them chose corrupted ones, as many as R3 holds.

A point with too few signers or candidates moves to the next, which follows from it:
`RELOCATIONS_MAX` times, then the selection fails. A trigger with too few signers around it cannot
select at all.

The keyed hash is a mixing function of 64 bits and no cryptographic one: the coalition of a
simulation does not search for collisions, and any order that is independent of the positions is as
good.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pnyx.simulator.bulk.ring import Indices, Positions, Ring
from pnyx.simulator.bulk.sizing import RegionRule

RELOCATIONS_MAX = 3
_SELECTION = b"pnyx/selection/census"
_BATCH = 4096  # selections at a time; bounds the memory
_STEP = np.uint64(0x9E3779B97F4A7C15)
_LAST = np.uint64(2**64 - 1)


class _Hash(Protocol):
    def copy(self) -> Self: ...
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class RegionDraws(NamedTuple):
    """What came of many selections; every field has one entry for each."""

    actors: Indices  # [selections, actors], in order; -1 throughout where a selection failed
    corrupted: Indices  # corrupted among the actors, a coalition that may choose having chosen
    value_forged: NDArray[np.bool_]  # the trigger and its signers belong to the coalition
    list_forged: NDArray[np.bool_]  # the setter and its signers do
    relocations: Indices  # how often the point moved
    sparse_trigger: NDArray[np.bool_]  # too few signers around the trigger


def draw_census(
    beacons: Sequence[bytes], study: bytes, round_number: int, role: str, count: int, nodes: int
) -> Indices:
    """Return [beacons, count]: the actors that each beacon imposes, in order."""
    if not 0 <= count <= nodes:
        raise ValueError(f"cannot draw {count} distinct nodes from {nodes}")
    drawn = np.empty((len(beacons), count), dtype=np.int64)
    domain = sha256(_framed(_SELECTION))
    rest = _framed(study, round_number.to_bytes(8, "big"), role.encode()) + (8).to_bytes(8, "big")
    for row, beacon in enumerate(beacons):
        state = domain.copy()
        state.update(_framed(beacon) + rest)
        drawn[row] = _distinct(state, count, nodes)
    return drawn


def draw_region(
    ring: Ring, rule: RegionRule, triggers: Indices, points: Positions, orders: Positions
) -> RegionDraws:
    """Apply the rule to each trigger.

    triggers: [selections] nodes that start one. points: the random values that R1 makes when it is
    not forged. orders: the randomness that orders the candidates.
    """
    parts = [
        _draw_batch(
            ring,
            rule,
            triggers[start : start + _BATCH],
            points[start : start + _BATCH],
            orders[start : start + _BATCH],
        )
        for start in range(0, len(triggers), _BATCH)
    ]
    return RegionDraws(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def mixed(values: Positions) -> Positions:
    """Mix 64 bits so that every bit of the result depends on all of them (SplitMix64)."""
    mixing = values + _STEP
    mixing = (mixing ^ (mixing >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixing = (mixing ^ (mixing >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixing ^ (mixing >> np.uint64(31))


def others_around(ring: Ring, nodes: Indices, width: int) -> tuple[Indices, Indices]:
    """Return how many other nodes lie around each of these, and how many of them are corrupted."""
    first, count = ring.interval(ring.positions[nodes], width)
    return count - 1, ring.corrupted_among(first, count) - ring.corrupted[nodes]


def _draw_batch(
    ring: Ring, rule: RegionRule, triggers: Indices, points: Positions, orders: Positions
) -> RegionDraws:
    signers, corrupted_signers = others_around(ring, triggers, rule.region_width)
    sparse = signers < rule.signers
    value_forged = ring.corrupted[triggers] & (corrupted_signers >= rule.signers)
    points, relocations, settled = _settle(ring, rule, points)
    list_forged = _list_forged(ring, rule, points)
    actors = _ordered_candidates(ring, rule, points, orders)
    first, count = ring.interval(points, rule.candidates_width)
    honest = ring.corrupted[actors].sum(axis=1)
    chosen = np.minimum(rule.actors, ring.corrupted_among(first, count))
    corrupted = np.where(value_forged, rule.actors, np.where(list_forged, chosen, honest))
    failed = sparse | ~settled
    actors[failed] = -1
    return RegionDraws(
        actors,
        np.where(failed, 0, corrupted),
        value_forged & ~sparse,
        list_forged & ~failed,
        relocations,
        sparse,
    )


def _settle(
    ring: Ring, rule: RegionRule, points: Positions
) -> tuple[Positions, Indices, NDArray[np.bool_]]:
    """Move points on until their regions hold enough nodes: where to, how often, and whether."""
    points = points.copy()
    relocations = np.zeros(len(points), dtype=np.int64)
    sparse = _too_sparse(ring, rule, points)
    for _ in range(RELOCATIONS_MAX):
        moving = np.flatnonzero(sparse)
        if not len(moving):
            break
        points[moving] = mixed(points[moving])
        relocations[moving] += 1
        sparse[moving] = _too_sparse(ring, rule, points[moving])
    return points, relocations, ~sparse


def _too_sparse(ring: Ring, rule: RegionRule, points: Positions) -> NDArray[np.bool_]:
    _, signers = ring.interval(points, rule.region_width)
    _, candidates = ring.interval(points, rule.candidates_width)
    # The setter signs in another role, so one more is needed; it may lie outside.
    return (signers < rule.signers + 1) | (candidates < rule.actors)


def _list_forged(ring: Ring, rule: RegionRule, points: Positions) -> NDArray[np.bool_]:
    setters = ring.nearest(points)
    first, count = ring.interval(points, rule.region_width)
    others = ring.corrupted_among(first, count) - ring.corrupted[setters]
    forged: NDArray[np.bool_] = ring.corrupted[setters] & (others >= rule.signers)
    return forged


def _ordered_candidates(
    ring: Ring, rule: RegionRule, points: Positions, orders: Positions
) -> Indices:
    """Return [points, actors]: the candidates whose keyed hashes are lowest, lowest first.

    Where R3 holds fewer candidates than actors, nodes beyond it fill up; such points have failed.
    """
    first, count = ring.interval(points, rule.candidates_width)
    width = max(int(count.max()), rule.actors)
    offsets = np.arange(width)
    nodes = (first[:, None] + offsets) % len(ring)
    keys = mixed(orders[:, None] ^ ring.positions[nodes])
    keys[offsets >= count[:, None]] = _LAST
    lowest = np.argpartition(keys, rule.actors - 1, axis=1)[:, : rule.actors]
    ranks = np.argsort(np.take_along_axis(keys, lowest, axis=1), axis=1)
    chosen = np.take_along_axis(lowest, ranks, axis=1)
    actors: Indices = np.take_along_axis(nodes, chosen, axis=1)
    return actors


def _distinct(state: _Hash, count: int, nodes: int) -> list[int]:
    """The first `count` distinct values of H(shared ‖ draw) mod nodes."""
    found: dict[int, None] = {}
    draw = 0
    while len(found) < count:
        once = state.copy()
        once.update(draw.to_bytes(8, "big"))
        found[int.from_bytes(once.digest(), "big") % nodes] = None
        draw += 1
    return list(found)


def _framed(*parts: bytes) -> bytes:
    """The parts behind their lengths, as `primitives.hashing.digest` hashes them."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)
