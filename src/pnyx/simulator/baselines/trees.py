"""Trees of additive shares as an experiment: many runs of `tree_run`, one record each.

The defaults are the published ones: latency 33 ms, time-out 0.66 s, 6,000 KB/s, a model of 1 MB,
groups of 5, fan-out 8, depth 3 (365 aggregators, 512 contributors).
"""

from math import prod
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from pnyx.errors import ConfigError
from pnyx.simulator.baselines.tree_run import Shape, Strategy, TreeOutcome, TreeRun
from pnyx.simulator.bulk.effectiveness import Share
from pnyx.simulator.device import DEVICES
from pnyx.simulator.experiment import SHARE, Progress
from pnyx.simulator.failing import DeviceSpeed, KibPerS, LatencyS, Runs, TimeoutS, WindowS

_KIB = 1024
_GROUPS_MAX = 5_000  # larger trees take minutes and gigabytes
_SHARE_PASSES = 2  # make a share, and encrypt it

# Means of the authors' simulator by strategy and window_s: completeness %, latency s, data GiB.
PUBLISHED_SEEDS = 8
PUBLISHED: dict[tuple[str, int], tuple[float, float, float]] = {
    ("cut", 400): (86.7, 3.55, 2.84),
    ("cut", 200): (85.2, 3.54, 2.83),
    ("cut", 100): (66.2, 3.57, 2.81),
    ("replace", 400): (95.6, 3.88, 2.85),
    ("replace", 200): (93.1, 3.74, 2.86),
    ("replace", 100): (85.6, 4.16, 2.85),
    ("eager", 400): (99.7, 3.96, 2.89),
    ("eager", 200): (98.4, 4.81, 3.00),
    ("eager", 100): (96.0, 6.06, 3.23),
}


class TreeParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tree, its network, and how its nodes fail."""

    strategy: Annotated[Strategy, Meta(description="what happens when an aggregator dies")] = (
        "eager"
    )
    window_s: WindowS = 400.0
    runs: Runs = 8
    group_size: Annotated[int, Meta(ge=2, le=64, description="aggregators of a group")] = 5
    fan_out: Annotated[int, Meta(ge=2, le=64, description="children of a group")] = 8
    depth: Annotated[int, Meta(ge=1, le=6, description="levels of groups")] = 3
    vector_kib: Annotated[int, Meta(ge=1, le=1_048_576, description="size of the vector, KiB")] = (
        1024
    )
    latency_s: LatencyS = 0.033
    timeout_s: TimeoutS = 0.66
    kib_per_s: KibPerS = 6_000.0
    backup_share: Annotated[
        float, Meta(ge=0.0, le=4.0, description="backups over aggregators, ratio")
    ] = 0.125
    device: DeviceSpeed = "published"
    corrupted_share: Share = 0.05

    def __post_init__(self) -> None:
        groups = sum(self.fan_out**level for level in range(self.depth))
        if groups > _GROUPS_MAX:
            raise ConfigError(
                f"depth must be such that fan_out {self.fan_out} gives at most {_GROUPS_MAX:,} "
                f"groups, not {groups:,}."
            )


class TreeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    strategy: Annotated[str, Meta(description="what happens when an aggregator dies")]
    window_s: Annotated[float, Meta(description="nodes die uniformly from 0 to this, seconds")]
    run: Annotated[int, Meta(description="number of the run")]
    contributors: Annotated[int, Meta(description="contributors of the tree")]
    aggregators: Annotated[int, Meta(description="aggregators of the tree")]
    completeness: Annotated[
        float, Meta(description="share of the contributors in the result", extra=SHARE)
    ]
    latency_s: Annotated[float, Meta(description="seconds from request to result, or to giving up")]
    work_s: Annotated[float, Meta(description="computing of all nodes, seconds of one core")]
    bytes: Annotated[int, Meta(description="bytes of vectors sent by all nodes")]
    deaths: Annotated[int, Meta(description="nodes of the tree that died until the end")]
    replaced: Annotated[int, Meta(description="seats that a backup took over")]
    cut: Annotated[int, Meta(description="groups cut off")]
    versions: Annotated[int, Meta(description="different sums that reached the querier")]
    exposure: Annotated[
        float,
        Meta(
            description="chance that a coalition of corrupted_share holds all shares of one vector"
        ),
    ]
    exposed_somebody: Annotated[
        float,
        Meta(
            description="chance that it holds all shares of any contributor of the run", extra=SHARE
        ),
    ]


def run(parameters: TreeParameters, seed: int, progress: Progress) -> list[TreeRecord]:
    """Run the tree many times, with failures drawn anew."""
    records: list[TreeRecord] = []
    for number in range(parameters.runs):
        generator = np.random.Generator(np.random.PCG64([seed, 8, number]))
        shape = tree_shape(parameters)
        outcome = TreeRun(shape, parameters.strategy, parameters.window_s, generator).run()
        records.append(_record(parameters, number, shape, outcome))
        progress((number + 1) / parameters.runs, records)
    return records


def tree_shape(parameters: TreeParameters) -> Shape:
    """Return the tree and network of these parameters."""
    groups = sum(parameters.fan_out**level for level in range(parameters.depth))
    device, size = DEVICES[parameters.device], parameters.vector_kib * _KIB
    return Shape(
        group_size=parameters.group_size,
        fan_out=parameters.fan_out,
        depth=parameters.depth,
        vector_bytes=size,
        latency_s=parameters.latency_s,
        bytes_per_s=parameters.kib_per_s * _KIB,
        timeout_s=parameters.timeout_s,
        add_s=device.passes_s(1, size),
        share_s=device.passes_s(_SHARE_PASSES, size),
        check_s=device.check_s,
        backups=int(parameters.backup_share * groups * parameters.group_size),
    )


def group_exposures(outcome: TreeOutcome, corrupted_share: float) -> list[float]:
    """Return, of each leaf group, the chance that every plane had a corrupted holder."""
    honest = 1 - corrupted_share
    return [prod(1 - honest**held for held in holders) for holders in outcome.holders]


def _record(
    parameters: TreeParameters, number: int, shape: Shape, outcome: TreeOutcome
) -> TreeRecord:
    exposures = group_exposures(outcome, parameters.corrupted_share)
    return TreeRecord(
        strategy=parameters.strategy,
        window_s=parameters.window_s,
        run=number,
        contributors=shape.contributors,
        aggregators=shape.groups * shape.group_size,
        completeness=outcome.contributors / shape.contributors,
        latency_s=outcome.ended_s,
        work_s=outcome.work_s,
        bytes=outcome.vectors_sent * shape.vector_bytes,
        deaths=int(outcome.deaths),
        replaced=outcome.replaced,
        cut=outcome.cut,
        versions=outcome.versions,
        exposure=sum(exposures) / len(exposures),
        exposed_somebody=1 - prod(1 - each for each in exposures),
    )
