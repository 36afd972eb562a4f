"""A round by the node's own machines, on the network and under the failures of `baselines.trees`.

Every node runs the machine that ships, with ideal cryptography of the real sizes, in virtual time.
The first run of a seed has no failures and tells when round 1 opens; then nodes die for good at
times uniform over a window from there. What is timed is round 1, until the first node holds its
record. Computing takes no time here, and training 0.1 s beside the opening of the round. What
`round_model` says of the same round, without failures and with devices that compute in no time,
stands in every record: the model is used for sizes that no machines are run at.

Bytes, messages and checks are those of all nodes, whatever is sent and checked again because
somebody died included; checks are `device`'s unit of work. What long vectors cost to mask, to hash
and to add up is not counted.

More contributors are drawn than are asked for, so a full result does not mean that nobody is
missed: records count the drawn contributors that died, and those of them whose vector is not in.

Feasible up to some hundred and fifty nodes.
"""

from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pnyx.errors import ConfigError
from pnyx.protocol.events import Notice, RoundCertified, StepReached
from pnyx.protocol.selection.security import NODES_MIN, choose_committee
from pnyx.simulator.crypto import Tally
from pnyx.simulator.device import Device
from pnyx.simulator.experiment import Progress
from pnyx.simulator.failing import LatencyS, WindowS
from pnyx.simulator.network import Link
from pnyx.simulator.population import UnitVectors
from pnyx.simulator.round_model import Network, RoundCost, RoundShape, round_cost
from pnyx.simulator.scenario import Crash, Scenario
from pnyx.simulator.simulation import Simulation

_KIB = 1024
_OPENS_MAX_S = 120.0
_PATIENCE_S = 60.0  # for the record of the round, from when it opens
_ROUND = 1
_AT_ONCE = Device(pass_s_per_mib=0.0, check_s=0.0)
_COUNTING = Device(pass_s_per_mib=0.0, check_s=1.0)  # computes for a second a check


class LiveRoundParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A small network, its lines, and how its nodes fail."""

    nodes: Annotated[int, Meta(ge=NODES_MIN, le=200, description="nodes of the network")] = 36
    masked: Annotated[bool, Meta(description="whether vectors travel masked")] = False
    vector_length: Annotated[int, Meta(ge=2, le=400_000, description="values of the vector")] = 100
    window_s: WindowS = 400.0
    runs: Annotated[int, Meta(ge=1, le=1_000, description="runs, with failures drawn anew")] = 8
    latency_s: LatencyS = 0.033
    kib_per_s: Annotated[float, Meta(ge=1.0, le=1e12, description="line of a node, KiB/s")] = (
        6_000.0
    )
    surplus: Annotated[
        float,
        Meta(
            ge=0.0, le=0.5, description="contributors drawn in surplus, a share of those asked for"
        ),
    ] = 0.25

    def __post_init__(self) -> None:
        if self.vector_length < 2 * self.nodes:
            raise ConfigError(
                f"vector_length must be a whole number from 2 · nodes, which is {2 * self.nodes}, "
                f"to 400,000, not {self.vector_length}."
            )

    @property
    def asked(self) -> int:
        """Contributors at which the round closes."""
        return self.nodes * 2 // 3

    @property
    def drawn(self) -> int:
        """Contributors that are drawn."""
        return round(self.asked * (1 + self.surplus))


class LiveRoundRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    nodes: Annotated[int, Meta(description="nodes of the network")]
    masked: Annotated[bool, Meta(description="whether vectors travel masked")]
    vector_length: Annotated[int, Meta(description="values of the vector")]
    window_s: Annotated[float, Meta(description="nodes die uniformly from 0 to this, seconds")]
    run: Annotated[int, Meta(description="number of the run")]
    asked: Annotated[int, Meta(description="contributors that the study asks for")]
    drawn: Annotated[int, Meta(description="contributors that were drawn")]
    drawn_died: Annotated[int, Meta(description="drawn contributors that died in the round")]
    lost: Annotated[int, Meta(description="drawn contributors that died and are not in the result")]
    accepted: Annotated[int, Meta(description="contributors in the result; 0 without one")]
    completed: Annotated[bool, Meta(description="whether the round had a result")]
    latency_s: Annotated[float, Meta(description="seconds from the record before to this one")]
    model_s: Annotated[
        float,
        Meta(
            description="the same by the model, if nobody dies and computing takes no time, seconds"
        ),
    ]
    bytes: Annotated[int, Meta(description="bytes sent by all nodes in the round")]
    model_bytes: Annotated[
        int, Meta(description="the same by the model, if nobody dies; without gossip, bytes")
    ]
    messages: Annotated[int, Meta(description="messages sent by all nodes in the round")]
    checks: Annotated[
        int,
        Meta(
            description="signatures checked, envelopes sealed and opened by all nodes in the round"
        ),
    ]
    model_checks: Annotated[int, Meta(description="the same by the model, if nobody dies")]
    deaths: Annotated[int, Meta(description="nodes that died in the round")]


class _Spent(NamedTuple):
    """What all nodes together have sent, and checked."""

    sent: int  # bytes
    messages: int
    checks: int


class _Watch:
    """Hears when round 1 opens and ends, and what was sent until then."""

    def __init__(self, scenario: Scenario, *, until_open: bool = False) -> None:
        """until_open: whether the run ends as soon as the round opens."""
        self._until_open = until_open
        self._tally = Tally()
        self._simulation = Simulation(scenario, self._tally.crypto, listen=self._hear)
        self.opened_s: float | None = None
        self.certified: RoundCertified | None = None
        self.drawn: tuple[int, ...] = ()  # nodes drawn as contributors, once the round is open
        self._before = _Spent(0, 0, 0)

    def run(self, until_s: float) -> float:
        """Run until the round has a record, or until this time; return the time."""
        self._simulation.scheduler.run(until_s, self._done)
        return self._simulation.scheduler.now

    @property
    def accepted(self) -> tuple[int, ...]:
        """Nodes that the result counts; none without a result."""
        chains = self._simulation.checker.records.values()
        body = next((chain[_ROUND][0] for chain in chains if _ROUND in chain), None)
        return () if body is None or body.skipped else tuple(body.accepted)

    def _done(self) -> bool:
        return self.certified is not None or (self._until_open and self.opened_s is not None)

    @property
    def spent(self) -> "_Spent":
        """What all nodes have spent since the round opened."""
        return _Spent(*(now - then for now, then in zip(self._total(), self._before, strict=True)))

    def _total(self) -> "_Spent":
        network = self._simulation.network
        return _Spent(network.bytes_sent, network.messages, self._tally.checks)

    def _hear(self, now: float, node: int, notice: Notice) -> None:
        match notice:
            case StepReached(round_number=number) if number == _ROUND and self.opened_s is None:
                self.opened_s = now
                self.drawn = self._drawn(node, notice.study)
                self._before = self._total()
            case RoundCertified(round_number=number) if number == _ROUND:
                self.certified = self.certified or notice

    def _drawn(self, node: int, study: bytes) -> tuple[int, ...]:
        """Contributors of the round, as a node knows them that takes part in it."""
        machine = self._simulation.nodes[node].machine
        state = machine.studies.get(study) if machine is not None else None
        plan = state.plan_at(_ROUND, 1, self._simulation.scenario.params) if state else None
        return () if plan is None else plan.contributors


def run(parameters: LiveRoundParameters, seed: int, progress: Progress) -> list[LiveRoundRecord]:
    """Run the machines many times, with failures drawn anew."""
    records: list[LiveRoundRecord] = []
    for number in range(parameters.runs):
        generator = np.random.Generator(np.random.PCG64([seed, 10, number]))
        run_seed = int(generator.integers(0, 1 << 62))
        deaths, until_s = np.full(parameters.nodes, np.inf), _OPENS_MAX_S + _PATIENCE_S
        crashes: tuple[Crash, ...] = ()
        if parameters.window_s:
            deaths = generator.uniform(0.0, parameters.window_s, parameters.nodes)
            opened = opens_at(parameters, run_seed)
            crashes, until_s = _crashes(deaths, opened), opened + _PATIENCE_S
        watch = _Watch(scenario(parameters, run_seed, crashes))
        ended = watch.run(until_s)
        records.append(_record(parameters, number, watch, ended, deaths))
        progress((number + 1) / parameters.runs, records)
    return records


def _crashes(deaths: NDArray[np.float64], opened: float) -> tuple[Crash, ...]:
    return tuple(
        Crash(node=node, at_s=opened + float(at), away_s=None)
        for node, at in enumerate(deaths)
        if at < _PATIENCE_S
    )


def scenario(
    parameters: LiveRoundParameters, seed: int, crashes: tuple[Crash, ...] = ()
) -> Scenario:
    """Return the run of this seed."""
    link = Link(
        latency_s=parameters.latency_s,
        latency_tail_s=0.0,
        bytes_per_s=parameters.kib_per_s * _KIB,
    )
    return Scenario(
        seed=seed,
        nodes=parameters.nodes,
        cohort_min=max(2, parameters.nodes // 3),
        vector_length=parameters.vector_length,
        target=parameters.asked,
        drawn=parameters.drawn,
        masks=parameters.masked,
        link=link,
        crashes=crashes,
    )


def modelled(parameters: LiveRoundParameters, device: Device) -> RoundCost:
    """Return what the model says of this round, in which nobody dies."""
    rule = UnitVectors(
        parameters.nodes,
        parameters.vector_length,
        masks=parameters.masked,
        contributors_max=parameters.drawn,
    )
    shape = RoundShape(
        committee=choose_committee(parameters.nodes),
        contributors=parameters.asked,
        drawn=parameters.drawn,
        values=parameters.vector_length,
        masked=parameters.masked,
        masking=rule.masked,  # values of a unit vector have three bits, a deep network's thirteen
        stated=rule.bounds,
    )
    network = Network(latency_s=parameters.latency_s, bytes_per_s=parameters.kib_per_s * _KIB)
    return round_cost(shape, network, device)


def opens_at(parameters: LiveRoundParameters, seed: int) -> float:
    """Return when round 1 opens if nobody dies."""
    watch = _Watch(scenario(parameters, seed), until_open=True)
    watch.run(_OPENS_MAX_S)
    if watch.opened_s is None:
        raise ConfigError(
            f"nodes must be fewer than {parameters.nodes}, or kib_per_s more, for the round to "
            "open in time."
        )
    return watch.opened_s


def _record(
    parameters: LiveRoundParameters,
    number: int,
    watch: _Watch,
    ended: float,
    deaths: NDArray[np.float64],
) -> LiveRoundRecord:
    opened = watch.opened_s or 0.0
    died = {node for node in watch.drawn if deaths[node] < ended - opened}
    spent, model = watch.spent, modelled(parameters, _AT_ONCE)
    return LiveRoundRecord(
        nodes=parameters.nodes,
        masked=parameters.masked,
        vector_length=parameters.vector_length,
        window_s=parameters.window_s,
        run=number,
        asked=parameters.asked,
        drawn=len(watch.drawn),
        drawn_died=len(died),
        lost=len(died.difference(watch.accepted)),
        accepted=len(watch.accepted),
        completed=watch.certified is not None and not watch.certified.skipped,
        latency_s=ended - opened,
        model_s=model.seconds,
        bytes=spent.sent,
        model_bytes=int(model.sent),
        messages=spent.messages,
        checks=spent.checks,
        model_checks=int(modelled(parameters, _COUNTING).work_s),
        deaths=int((deaths < ended - opened).sum()),
    )
