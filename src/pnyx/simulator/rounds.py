"""Our round beside trees of additive shares: the same network, failures and size of the model.

`round_model` says how long each step takes; here nodes die in it, at times uniform over a window,
as in `baselines.trees`. A contributor counts if it lives until it has its receipts. A group has a
result if at every step a quorum of its committee lives, and as many members as decode the answers
when nobody lies; otherwise its attempt is aborted, and here that is the end. A dead leader costs
the time until it is missed and the step once more. With fewer acknowledged contributions than the
study asked for, a committee waits for the deadline. What steps that are done again send and compute
is not modelled: work and bytes are those of a round in which nobody dies.

Groups run side by side, each with a committee and aggregators of its own.
"""

from functools import lru_cache
from math import prod
from typing import Annotated, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pnyx.errors import ConfigError
from pnyx.protocol.aggregation.masked.parameters import CONTRIBUTORS_MAX
from pnyx.protocol.params import DEFAULT_PARAMS
from pnyx.protocol.selection.security import (
    ALPHA,
    CommitteeSize,
    answers_needed,
    choose_committee,
    exposure_probability,
)
from pnyx.protocol.selection.tails import head_count
from pnyx.simulator.bulk.effectiveness import Alpha, Nodes, Share
from pnyx.simulator.device import DEVICES
from pnyx.simulator.experiment import SHARE, Progress, whole_number
from pnyx.simulator.failing import DeviceSpeed, KibPerS, LatencyS, Runs, TimeoutS, WindowS
from pnyx.simulator.round_model import STEPS, Network, RoundCost, RoundShape, round_cost

_KIB = 1024
_DIRECT_VALUES_MAX = DEFAULT_PARAMS.vector_length_max


class RoundParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A round, its network, and how its nodes fail."""

    mode: Annotated[
        Literal["direct", "masked"], Meta(description="whether updates travel masked or directly")
    ] = "masked"
    window_s: WindowS = 400.0
    runs: Runs = 8
    nodes: Nodes = 10_000
    contributors: Annotated[
        int, Meta(ge=2, le=10_000, description="contributors that the study asks for")
    ] = 512
    surplus: Annotated[
        float,
        Meta(
            ge=0.0, le=4.0, description="contributors drawn in surplus, a share of those asked for"
        ),
    ] = 0.1
    groups: Annotated[
        int, Meta(ge=1, le=256, description="groups that are summed side by side")
    ] = 2
    aggregators: Annotated[int, Meta(ge=1, le=16, description="aggregators of a group")] = 3
    values: Annotated[int, Meta(ge=1, le=16_777_216, description="values of the vector")] = 262_144
    latency_s: LatencyS = 0.033
    timeout_s: TimeoutS = 0.66
    kib_per_s: KibPerS = 6_000.0
    receivers_limited: Annotated[
        bool, Meta(description="whether lines limit what a node receives, too")
    ] = False
    device: DeviceSpeed = "published"
    corrupted_share: Share = 0.05
    absent_share: Annotated[
        float, Meta(ge=0.0, le=0.5, description="share of the members that may be away")
    ] = 0.05
    rounds: Annotated[
        int, Meta(ge=1, le=10_000, description="rounds for which committees are chosen")
    ] = 40
    alpha: Annotated[
        Alpha, Meta(description="chance that some committee of these rounds is exposed")
    ] = ALPHA
    deadline_s: Annotated[
        float,
        Meta(
            ge=0.0, le=604_800.0, description="time for which contributions are waited for, seconds"
        ),
    ] = 10.0

    def __post_init__(self) -> None:
        joining = int(self.nodes / (1 + self.surplus))
        if self.contributors > joining:
            raise ConfigError(
                f"contributors must be {whole_number(2, joining)}, who with a surplus of "
                f"{self.surplus:g} are all {self.nodes:,} nodes, not {self.contributors:,}."
            )
        per_group = -(-self.contributors // self.groups)
        if not 2 <= per_group <= CONTRIBUTORS_MAX:
            raise ConfigError(
                f"groups must be such that each has 2 to {CONTRIBUTORS_MAX} of the "
                f"{self.contributors} contributors, not {per_group}."
            )
        if self.mode == "direct" and self.values > _DIRECT_VALUES_MAX:
            raise ConfigError(
                f"values must be a whole number from 1 to {_DIRECT_VALUES_MAX:,} in direct mode, "
                f"not {self.values:,}."
            )
        committee = committee_of(self)
        expected = committee.size * head_count(self.corrupted_share, self.nodes)
        if expected > committee.corrupt_max * self.nodes:
            most = committee.corrupt_max / committee.size
            raise ConfigError(
                f"corrupted_share must be a number from 0 to {most:.3f} with {self.nodes:,} nodes, "
                f"whose committees of {committee.size} withstand {committee.corrupt_max} corrupted "
                f"members, not {self.corrupted_share:g}."
            )


class RoundRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    mode: Annotated[str, Meta(description="direct or masked")]
    window_s: Annotated[float, Meta(description="nodes die uniformly from 0 to this, seconds")]
    run: Annotated[int, Meta(description="number of the run")]
    contributors: Annotated[int, Meta(description="contributors that the study asks for")]
    groups: Annotated[int, Meta(description="groups that are summed side by side")]
    committee: Annotated[int, Meta(description="members of a committee, k")]
    completeness: Annotated[
        float, Meta(description="share of those asked for in the result", extra=SHARE)
    ]
    latency_s: Annotated[float, Meta(description="seconds from the record before to this one")]
    acknowledged_s: Annotated[float, Meta(description="seconds until a contributor may leave")]
    work_s: Annotated[
        float, Meta(description="computing of all nodes if nobody dies, seconds of one core")
    ]
    bytes: Annotated[int, Meta(description="bytes sent by all nodes if nobody dies")]
    contributor_bytes: Annotated[int, Meta(description="bytes that one contributor sends")]
    leader_bytes: Annotated[int, Meta(description="bytes that the leader of a committee sends")]
    aggregator_bytes: Annotated[int, Meta(description="bytes that one aggregator sends")]
    aborted: Annotated[int, Meta(description="groups without a result")]
    exposure: Annotated[
        float,
        Meta(description="chance that some committee of the round has more than f corrupt members"),
    ]


class _Group(NamedTuple):
    counted: int
    ended_s: float
    aborted: bool


def run(parameters: RoundParameters, seed: int, progress: Progress) -> list[RoundRecord]:
    """Run the round many times, with failures drawn anew."""
    committee = committee_of(parameters)
    shape = round_shape(parameters, committee)
    network = Network(
        latency_s=parameters.latency_s,
        bytes_per_s=parameters.kib_per_s * _KIB,
        receivers_limited=parameters.receivers_limited,
    )
    cost = round_cost(shape, network, DEVICES[parameters.device])
    records: list[RoundRecord] = []
    for number in range(parameters.runs):
        generator = np.random.Generator(np.random.PCG64([seed, 9, number]))
        groups = [_run_group(parameters, shape, cost, generator) for _ in range(parameters.groups)]
        records.append(_record(parameters, number, shape, cost, groups))
        progress((number + 1) / parameters.runs, records)
    return records


def committee_of(parameters: RoundParameters) -> CommitteeSize:
    """Return the sizes of the committees."""
    return _chosen(
        parameters.nodes,
        parameters.corrupted_share,
        parameters.absent_share,
        parameters.rounds,
        groups=parameters.groups,
        alpha=parameters.alpha,
    )


_chosen = lru_cache(maxsize=256)(choose_committee)  # takes milliseconds, and every point asks


def round_shape(parameters: RoundParameters, committee: CommitteeSize) -> RoundShape:
    """Return one group of the round."""
    per_group = -(-parameters.contributors // parameters.groups)
    return RoundShape(
        committee=committee,
        contributors=per_group,
        drawn=round(per_group * (1 + parameters.surplus)),
        values=parameters.values,
        masked=parameters.mode == "masked",
        aggregators=parameters.aggregators,
    )


def members_needed(size: CommitteeSize) -> int:
    """Members that a round needs alive when nobody lies."""
    return max(size.quorum, answers_needed(size.corrupt_max, size.packing, 0))


def _deaths(generator: np.random.Generator, window_s: float, count: int) -> NDArray[np.float64]:
    return generator.uniform(0.0, window_s, count) if window_s > 0 else np.full(count, np.inf)


def _run_group(
    parameters: RoundParameters, shape: RoundShape, cost: RoundCost, generator: np.random.Generator
) -> _Group:
    contributors = _deaths(generator, parameters.window_s, shape.drawn)
    members = _deaths(generator, parameters.window_s, shape.committee.size)
    aggregators = _deaths(generator, parameters.window_s, shape.aggregators)
    seconds = {step.step: step.seconds for step in cost.steps}
    now, leader, acknowledged, needed = 0.0, 0, 0, members_needed(shape.committee)
    for step in STEPS:
        now += seconds[step]
        alive = (members > now).sum()
        while alive >= needed and members[leader] < now:  # the next one does the step again
            now += parameters.timeout_s + DEFAULT_PARAMS.unreachable_leader_timeout_s
            now += seconds[step]
            leader += 1
            alive = (members > now).sum()
        if step == "contribute":
            acknowledged = int((contributors > now).sum())
            if acknowledged < shape.contributors:
                now = max(now, parameters.deadline_s)
        if alive < needed:
            return _Group(0, now, aborted=True)
    if shape.masked and not (aggregators > now).any():
        return _Group(0, now, aborted=True)
    return _Group(min(acknowledged, shape.contributors), now, aborted=False)


def _record(
    parameters: RoundParameters,
    number: int,
    shape: RoundShape,
    cost: RoundCost,
    groups: list[_Group],
) -> RoundRecord:
    corrupted = head_count(parameters.corrupted_share, parameters.nodes)
    asked = shape.contributors * parameters.groups
    exposed = exposure_probability(parameters.nodes, corrupted, shape.committee, 1)
    return RoundRecord(
        mode=parameters.mode,
        window_s=parameters.window_s,
        run=number,
        contributors=asked,
        groups=parameters.groups,
        committee=shape.committee.size,
        completeness=sum(group.counted for group in groups) / asked,
        latency_s=max(group.ended_s for group in groups),
        acknowledged_s=cost.acknowledged_s,
        work_s=cost.work_s * parameters.groups,
        bytes=int(cost.sent * parameters.groups),
        contributor_bytes=int(cost.contributor_bytes),
        leader_bytes=int(cost.leader_bytes),
        aggregator_bytes=int(cost.aggregator_bytes),
        aborted=sum(group.aborted for group in groups),
        exposure=1 - prod(1 - exposed for _ in groups),
    )
