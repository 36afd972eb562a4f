"""SEP2P's region selection, and what each repair of it brings against forged random values.

A corrupted node that finds k_r corrupted others around it (k_r - 1, where it counts itself) makes
whatever random value it likes, for ever, until positions are drawn anew. SEP2P bounds the chance of
this *in one region*; there are as many regions as corrupted nodes. Rules, each with one repair
taken away from ours, and with several:

- `repaired`: alpha is shared among all regions, the trigger never counts, one k_r per network;
- `per_region`: alpha bounds the chance in one region;
- `trigger_counts`: the trigger is one of the k_r, while regions are sized as if it were not;
- `any_signers`: the trigger takes any row of the k-table, each row sized for alpha, instead of the
  one k_r of the network. SEP2P takes the smallest that finds enough nodes; who checks cannot know;
- `per_region_trigger_counts`: the first two taken away together, one k_r kept;
- `sep2p`: all three taken away.

Networks are drawn and every corrupted node is looked at, so what is counted is what a coalition
that knows all positions would find. Where it is too rare to be counted, the exact tail says how
rare.
"""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta

from pnyx.protocol.selection.region_sizes import RegionSize, region_size
from pnyx.protocol.selection.security import ALPHA
from pnyx.protocol.selection.tails import binomial_upper, head_count
from pnyx.simulator.bulk.draws import others_around
from pnyx.simulator.bulk.effectiveness import Alpha, Nodes, Share
from pnyx.simulator.bulk.ring import Flags, Indices, Ring, width_of
from pnyx.simulator.bulk.sizing import sized
from pnyx.simulator.experiment import SHARE, Progress

_SIGNERS_MIN = 2


class Rule(NamedTuple):
    """How a random value is believed: which repairs are there."""

    name: str
    network_wide: bool  # alpha holds over all regions
    trigger_excluded: bool
    one_size: bool


RULES = (
    Rule("repaired", network_wide=True, trigger_excluded=True, one_size=True),
    Rule("per_region", network_wide=False, trigger_excluded=True, one_size=True),
    Rule("trigger_counts", network_wide=True, trigger_excluded=False, one_size=True),
    Rule("any_signers", network_wide=True, trigger_excluded=True, one_size=False),
    Rule("per_region_trigger_counts", network_wide=False, trigger_excluded=False, one_size=True),
    Rule("sep2p", network_wide=False, trigger_excluded=False, one_size=False),
)


class RepairParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A network, and how often it is drawn."""

    nodes: Nodes = 1_000_000
    corrupted_share: Share = 0.01
    alpha: Alpha = ALPHA
    networks: Annotated[int, Meta(ge=1, le=10_000, description="networks drawn")] = 20
    samples: Annotated[
        int, Meta(ge=1, le=10_000_000, description="nodes whose regions are looked at")
    ] = 20_000


class RepairRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How forgeable random values are under one rule."""

    rule: Annotated[str, Meta(description="which repairs are there")]
    nodes: Annotated[int, Meta(description="nodes of the network")]
    corrupted: Annotated[int, Meta(description="nodes of the coalition")]
    signers: Annotated[int, Meta(description="signers, the most where the trigger may choose")]
    signers_asked: Annotated[
        float, Meta(description="signers that an honest trigger asks, mean over those that can")
    ]
    stuck: Annotated[
        float, Meta(description="share of honest triggers that find too few signers", extra=SHARE)
    ]
    forgers: Annotated[float, Meta(description="corrupted nodes that can forge, per network, mean")]
    forgeable: Annotated[
        float, Meta(description="share of networks in which anybody can", extra=SHARE)
    ]
    forgers_expected: Annotated[
        float,
        Meta(description="forgers per network by the exact tail; summed over rows if several"),
    ]
    networks: Annotated[int, Meta(description="networks drawn")]


def run(parameters: RepairParameters, seed: int, progress: Progress) -> list[RepairRecord]:
    """Draw networks, and try every rule on each."""
    generator = np.random.Generator(np.random.PCG64([seed, 3]))
    corrupted = head_count(parameters.corrupted_share, parameters.nodes)
    tables = [table(rule, parameters.nodes, corrupted, parameters.alpha) for rule in RULES]
    forgers = np.zeros((len(RULES), parameters.networks), dtype=np.int64)
    asked: list[list[Indices]] = [[] for _ in RULES]
    for network in range(parameters.networks):
        ring = Ring.drawn(parameters.nodes, corrupted, generator)
        samples = generator.integers(0, parameters.nodes, parameters.samples)
        for row, (rule, sizes) in enumerate(zip(RULES, tables, strict=True)):
            forgers[row, network] = can_forge(ring, rule, sizes).sum()
            asked[row].append(signers_found(ring, rule, sizes, samples))
        progress((network + 1) / parameters.networks)
    return [
        _record(parameters, corrupted, rule, sizes, forgers[row], np.concatenate(asked[row]))
        for row, (rule, sizes) in enumerate(zip(RULES, tables, strict=True))
    ]


def table(rule: Rule, nodes: int, corrupted: int, alpha: float) -> tuple[RegionSize, ...]:
    """Return the sizes that a verifier accepts under this rule, fewest signers first."""
    largest = sized(nodes, corrupted, alpha, rule.network_wide)
    if rule.one_size:
        return (largest,)
    return tuple(
        region_size(nodes, corrupted, signers, alpha, network_wide=rule.network_wide)
        for signers in range(_SIGNERS_MIN, largest.signers + 1)
    )


def can_forge(ring: Ring, rule: Rule, sizes: Sequence[RegionSize]) -> Flags:
    """Tell of each corrupted node whether accomplices around it make up a proof."""
    able = np.zeros(len(ring.corrupted_indices), dtype=np.bool_)
    for size in sizes:
        width = width_of(size.region_size)
        _, accomplices = others_around(ring, ring.corrupted_indices, width)
        able |= accomplices >= size.signers - (not rule.trigger_excluded)
    return able


def signers_found(
    ring: Ring, rule: Rule, sizes: Sequence[RegionSize], triggers: Indices
) -> Indices:
    """Return the fewest signers with which each trigger can make a proof; 0 where it cannot."""
    fewest = np.zeros(len(triggers), dtype=np.int64)
    for size in sizes:
        others, _ = others_around(ring, triggers, width_of(size.region_size))
        enough = others >= size.signers - (not rule.trigger_excluded)
        fewest[(fewest == 0) & enough] = size.signers
    return fewest


def expected_forgers(rule: Rule, corrupted: int, sizes: Sequence[RegionSize]) -> float:
    """Return how many corrupted nodes of a network can forge, by the tail of each size."""
    needed = [size.signers - (not rule.trigger_excluded) for size in sizes]
    return corrupted * sum(
        binomial_upper(max(0, corrupted - 1), size.region_size, count)
        for size, count in zip(sizes, needed, strict=True)
    )


def _record(
    parameters: RepairParameters,
    corrupted: int,
    rule: Rule,
    sizes: Sequence[RegionSize],
    forgers: Indices,
    asked: Indices,
) -> RepairRecord:
    able = asked[asked > 0]
    return RepairRecord(
        rule=rule.name,
        nodes=parameters.nodes,
        corrupted=corrupted,
        signers=sizes[-1].signers,
        signers_asked=float(able.mean()) if len(able) else 0.0,
        stuck=1 - len(able) / len(asked),
        forgers=float(forgers.mean()),
        forgeable=float((forgers > 0).mean()),
        forgers_expected=expected_forgers(rule, corrupted, sizes),
        networks=parameters.networks,
    )
