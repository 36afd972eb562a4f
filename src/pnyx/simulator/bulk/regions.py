"""How many nodes regions hold, beside what the exact tails predict.

An honest trigger must find k_r others around it; a coalition must not. Both are counted in whole
networks: the first around a sample of nodes, the second around every corrupted one.
"""

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from pnyx.protocol.selection.security import ALPHA
from pnyx.protocol.selection.tails import head_count
from pnyx.simulator.bulk.draws import others_around
from pnyx.simulator.bulk.effectiveness import Alpha, Nodes, Share
from pnyx.simulator.bulk.ring import Ring, width_of
from pnyx.simulator.bulk.sizing import sized
from pnyx.simulator.experiment import SHARE, Progress


class RegionParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A network, how often it is drawn, and around how many nodes each is looked at."""

    nodes: Nodes = 1_000_000
    corrupted_share: Share = 0.05
    alpha: Alpha = ALPHA
    networks: Annotated[int, Meta(ge=1, le=1_000, description="networks drawn")] = 5
    samples: Annotated[
        int, Meta(ge=1, le=10_000_000, description="nodes whose regions are looked at")
    ] = 100_000


class RegionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Occupancy of the regions in one kind of network."""

    nodes: Annotated[int, Meta(description="nodes of the network")]
    corrupted: Annotated[int, Meta(description="nodes of the coalition")]
    signers: Annotated[int, Meta(description="signers that are asked for, k_r")]
    region_size: Annotated[
        float, Meta(description="share of the ring that a region is", extra=SHARE)
    ]
    expected: Annotated[float, Meta(description="nodes expected in a region")]
    occupancy: Annotated[float, Meta(description="other nodes in a region, mean")]
    occupancy_deviation: Annotated[float, Meta(description="their standard deviation")]
    occupancy_min: Annotated[int, Meta(description="their least")]
    occupancy_max: Annotated[int, Meta(description="their most")]
    sparse: Annotated[
        float, Meta(description="share of regions with fewer than k_r others", extra=SHARE)
    ]
    sparse_predicted: Annotated[
        float, Meta(description="the same by the binomial tail", extra=SHARE)
    ]
    corrupted_max: Annotated[
        int, Meta(description="most corrupted others around any corrupted node of any network")
    ]
    networks: Annotated[int, Meta(description="networks drawn")]


def run(parameters: RegionParameters, seed: int, progress: Progress) -> list[RegionRecord]:
    """Draw networks and look into their regions."""
    generator = np.random.Generator(np.random.PCG64([seed, 2]))
    corrupted = head_count(parameters.corrupted_share, parameters.nodes)
    size = sized(parameters.nodes, corrupted, parameters.alpha)
    width, found, worst = width_of(size.region_size), [], 0
    for network in range(parameters.networks):
        ring = Ring.drawn(parameters.nodes, corrupted, generator)
        samples = generator.integers(0, parameters.nodes, parameters.samples)
        found.append(others_around(ring, samples, width)[0])
        _, accomplices = others_around(ring, ring.corrupted_indices, width)
        worst = max(worst, int(accomplices.max(initial=0)))
        progress((network + 1) / parameters.networks)
    others = np.concatenate(found)
    return [
        RegionRecord(
            nodes=parameters.nodes,
            corrupted=corrupted,
            signers=size.signers,
            region_size=size.region_size,
            expected=size.expected_nodes,
            occupancy=float(others.mean()),
            occupancy_deviation=float(others.std()),
            occupancy_min=int(others.min()),
            occupancy_max=int(others.max()),
            sparse=float((others < size.signers).mean()),
            sparse_predicted=size.sparse_probability,
            corrupted_max=worst,
            networks=parameters.networks,
        )
    ]
