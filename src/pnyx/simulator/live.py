"""Live mode: the node's own machines under virtual time, as an experiment.

`LiveParameters` is what a scenario file sets, `scenario_of` the run that follows from it and a
seed, `run` drives it and tells what became of each round. Invariants are checked throughout
(`invariants`); beyond what the protocol promises they may break, and rounds may have no outcome:
both are results here, in their columns, and no failures.

Below a thousand nodes signatures and envelopes are real, from there on ideal (`crypto`): of the
same sizes, so that times and bytes are the same.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Literal, get_args

import msgspec
import numpy as np
from msgspec import Meta

from pnyx.errors import ConfigError
from pnyx.primitives.hashing import digest
from pnyx.primitives.sampling import Sampler
from pnyx.primitives.signature import SigningKey
from pnyx.protocol.crypto import NodeCrypto
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.selection.security import (
    NODES_MIN,
    CommitteeSize,
    choose_committee,
    committee_size,
)
from pnyx.simulator.churn import Sessions, churn
from pnyx.simulator.crypto import IdealCrypto
from pnyx.simulator.experiment import Progress, many, whole_number
from pnyx.simulator.network import Cut, Link, Partition
from pnyx.simulator.outcomes import LiveRound, Watch
from pnyx.simulator.population import CryptoFactory, Owner
from pnyx.simulator.scenario import Scenario

Strategy = Literal[
    "withhold",
    "equivocate",
    "stuff",
    "omit",
    "replay",
    "lie",
    "over-scale",
    "poison",
    "garbage",
    "mixed",
]
_REAL_BELOW = 1_000  # nodes; real signatures and envelopes of more would take the time of all else
_SLOTS_MAX = 256
_CORRUPT_MAX = 1  # unless a scenario says otherwise
_ADDRESSES_MAX = 200  # up to so many nodes, their addresses travel too, and all notice a death
_GATHER_S = 0.2  # in larger networks; see `gossip_gather_s`
_PROPOSED_S = 1.5  # when every node has started
_SLICE_S = 0.25
_Share = Annotated[float, Meta(ge=0.0, le=1.0)]
_Count = Annotated[int, Meta(ge=0, le=100_000)]
_Seconds = Annotated[float, Meta(ge=0.0, le=1e9)]


class LiveParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A network, its study, its lines, its people and its enemies."""

    # The network and its study.
    nodes: Annotated[int, Meta(ge=NODES_MIN, le=100_000, description="nodes of the network")] = 36
    consenting: Annotated[
        _Share, Meta(description="share of the honest owners that join; corrupted ones always do")
    ] = 1.0
    rounds: Annotated[int, Meta(ge=1, le=1_000, description="rounds of the study")] = 1
    cohort_min: Annotated[
        int, Meta(ge=2, le=4_096, description="fewest contributions of a group that are opened")
    ] = 3
    contributors: Annotated[
        int,
        Meta(
            ge=0,
            le=4_096,
            description="contributions at which a round closes; 0: two thirds of those who join",
        ),
    ] = 0
    groups: Annotated[int, Meta(ge=1, le=64, description="groups of contributors")] = 1
    groups_tolerated: Annotated[
        int, Meta(ge=0, le=31, description="groups whose sums a trimmed mean withstands")
    ] = 0
    vector_length: Annotated[
        int,
        Meta(
            ge=0,
            le=2_000_000,
            description="values that are summed; 0: as few as show who was counted",
        ),
    ] = 0
    masked: Annotated[bool, Meta(description="whether the update travels masked")] = False
    committee: Annotated[
        int,
        Meta(
            ge=0,
            le=512,
            description="members of the committee; 0: by the security of such a network",
        ),
    ] = 0
    committee_corrupt_max: Annotated[
        int,
        Meta(
            ge=1,
            le=127,
            description="corrupted members that a committee withstands, where its size is given",
        ),
    ] = _CORRUPT_MAX
    join_window_s: Annotated[
        float, Meta(gt=0.0, le=86_400.0, description="time for which joins are waited for, seconds")
    ] = 3.0
    deadline_s: Annotated[
        float,
        Meta(
            gt=0.0, le=86_400.0, description="time for which contributions are waited for, seconds"
        ),
    ] = 10.0
    view_timeout_s: Annotated[
        float, Meta(gt=0.0, le=3_600.0, description="patience with a leader, seconds")
    ] = 5.0
    attempt_timeout_s: Annotated[
        float, Meta(gt=0.0, le=86_400.0, description="patience with an attempt, seconds")
    ] = 300.0
    limit_s: Annotated[
        float,
        Meta(gt=0.0, le=1e7, description="virtual time at which a run ends at the latest, seconds"),
    ] = 600.0
    signatures: Annotated[
        Literal["auto", "real", "ideal"],
        Meta(description="whether signatures are real, or ideal ones of the same sizes"),
    ] = "auto"
    # Its lines.
    latency_s: Annotated[
        float,
        Meta(ge=0.0, le=60.0, description="latency of a line without its random part, seconds"),
    ] = 0.02
    latency_tail_s: Annotated[
        float,
        Meta(
            ge=0.0,
            le=60.0,
            description="mean of the random, exponential part of the latency, seconds",
        ),
    ] = 0.01
    mbit_per_s: Annotated[float, Meta(ge=0.001, le=1e6, description="uplink of a node, Mbit/s")] = (
        100.0
    )
    loss: Annotated[_Share, Meta(description="share of messages that never arrive")] = 0.0
    duplication: Annotated[_Share, Meta(description="share of messages that arrive twice")] = 0.0
    reordering: Annotated[
        bool, Meta(description="whether messages between two nodes overtake each other")
    ] = False
    partition_share: Annotated[
        _Share, Meta(description="share of the nodes that are cut off from the others for a while")
    ] = 0.0
    one_way_cuts: Annotated[
        _Count, Meta(description="ordered pairs of nodes between which nothing passes for a while")
    ] = 0
    cut_from_s: Annotated[_Seconds, Meta(description="when partitions and cuts begin, seconds")] = (
        2.0
    )
    cut_until_s: Annotated[_Seconds, Meta(description="when partitions and cuts end, seconds")] = (
        10.0
    )
    # Its people.
    training_s: Annotated[
        float, Meta(ge=0.0, le=86_400.0, description="training of a node, mean, seconds")
    ] = 0.1
    sessions: Annotated[Sessions, Meta(description="distribution of the sessions")] = "none"
    session_s: Annotated[
        float, Meta(gt=0.0, le=1e9, description="session of a node, mean, seconds")
    ] = 3_600.0
    session_shape: Annotated[
        float, Meta(ge=0.1, le=10.0, description="shape of the distribution of the sessions")
    ] = 1.5
    absence_s: Annotated[
        float, Meta(gt=0.0, le=1e9, description="absence of a node, mean, seconds")
    ] = 600.0
    # Its enemies.
    corrupted: Annotated[_Count, Meta(description="corrupted nodes")] = 0
    corrupted_share: Annotated[_Share, Meta(description="corrupted share of the nodes")] = 0.0
    strategy: Annotated[Strategy, Meta(description="what the corrupted nodes do")] = "mixed"

    def __post_init__(self) -> None:
        self._check_corrupted()
        self._check_committee()
        self._check_cohort()
        links = self.nodes * (self.nodes - 1)
        if self.one_way_cuts > links:
            raise ConfigError(
                f"one_way_cuts must be a whole number from 0 to {links:,}, the ordered pairs of "
                f"{self.nodes} nodes, not {self.one_way_cuts:,}."
            )
        if self.cut_until_s < self.cut_from_s:
            raise ConfigError(f"cut_until_s must be at least cut_from_s, {self.cut_from_s:g}.")
        if self.sessions == "pareto" and self.session_shape <= 1:
            raise ConfigError(
                "session_shape must be above 1 with Pareto sessions, which have no mean otherwise."
            )
        if self.groups_tolerated and 2 * self.groups_tolerated >= self.groups:
            raise ConfigError(
                f"groups_tolerated must be below half of groups, {self.groups}, not "
                f"{self.groups_tolerated}."
            )

    @property
    def coalition(self) -> int:
        """Number of corrupted nodes."""
        return self.corrupted or int(np.ceil(self.corrupted_share * self.nodes))

    @property
    def joining(self) -> int:
        """Number of owners that join, the corrupted ones included."""
        return self.coalition + round(self.consenting * (self.nodes - self.coalition))

    @property
    def target(self) -> int:
        """Contributors at which a round closes."""
        return self.contributors or max(self.groups * self.cohort_min, self.joining * 2 // 3)

    @property
    def sizes(self) -> CommitteeSize:
        """Sizes of the committees."""
        if self.committee:
            return committee_size(self.committee, self.committee_corrupt_max)
        return choose_committee(self.nodes)

    @property
    def slots(self) -> int:
        """Unit vectors of the oracle."""
        return min(self.nodes, _SLOTS_MAX)

    def _check_corrupted(self) -> None:
        if self.corrupted and self.corrupted_share:
            raise ConfigError("corrupted and corrupted_share exclude each other: leave one out.")
        if self.corrupted > self.nodes - 1:
            raise ConfigError(
                f"corrupted must be a whole number from 0 to {self.nodes - 1}, one below nodes, "
                f"not {self.corrupted}."
            )
        if self.coalition > self.nodes - 1:
            raise ConfigError(
                f"corrupted_share must be a number from 0 to {self.nodes - 1}/{self.nodes}, which "
                f"leaves one honest node, not {self.corrupted_share:g}."
            )

    def _check_committee(self) -> None:
        if not self.committee:
            if self.committee_corrupt_max != _CORRUPT_MAX:
                raise ConfigError(
                    "committee_corrupt_max must be left out while committee is 0, as the security "
                    "of such a network then says both: give committee, "
                    f"{whole_number(5, self.nodes - 1)}, or leave committee_corrupt_max out; it is "
                    f"{self.committee_corrupt_max}."
                )
            return
        if not 5 <= self.committee < self.nodes:
            raise ConfigError(
                f"committee must be 0, or {whole_number(5, self.nodes - 1)}, one below nodes, not "
                f"{self.committee}."
            )
        most = (self.committee - 1) // 4  # 4f + 2l - 1 answers with l = 1
        if self.committee_corrupt_max > most:
            raise ConfigError(
                f"committee_corrupt_max must be {whole_number(1, most)}, as the committee has "
                f"{self.committee} members, not {self.committee_corrupt_max}."
            )

    def _check_cohort(self) -> None:
        floor = self.groups * self.cohort_min
        if floor > self.joining:
            joining = f"{many(self.joining, 'owners')} join in {many(self.groups, 'groups')}"
            most = self.joining // self.groups
            if most < 2:
                raise ConfigError(
                    "consenting and groups must leave 2 owners or more in each group, and here "
                    f"{joining}."
                )
            raise ConfigError(
                f"cohort_min must be {whole_number(2, most)}, as {joining}, not {self.cohort_min}."
            )
        if self.contributors and not floor <= self.contributors <= self.joining:
            raise ConfigError(
                f"contributors must be 0, or {whole_number(floor, self.joining)}, the number of "
                f"owners that join, not {self.contributors}."
            )
        shortest = 2 * self.slots
        if self.vector_length and self.vector_length < shortest:
            raise ConfigError(
                f"vector_length must be 0, or a whole number from {shortest}, for the vector shows "
                f"who was counted, not {self.vector_length}."
            )
        longest = ProtocolParams().vector_length_max
        if not self.masked and self.vector_length > longest:
            raise ConfigError(
                f"vector_length must be at most {longest:,} where vectors are not masked, not "
                f"{self.vector_length:,}."
            )


def scenario_of(parameters: LiveParameters, seed: int) -> Scenario:
    """Return the run that follows from parameters and a seed."""
    sampler = Sampler(digest("pnyx/simulator/live", seed.to_bytes(8, "big")), "live")
    nodes = parameters.nodes
    corrupt = sampler.sample(nodes, parameters.coalition)
    small = nodes <= _ADDRESSES_MAX
    spare = max(1, parameters.target // 4)
    return Scenario(
        seed=seed,
        nodes=nodes,
        rounds=parameters.rounds,
        cohort_min=parameters.cohort_min,
        groups=parameters.groups,
        tolerated=parameters.groups_tolerated,
        vector_length=parameters.vector_length,
        slots=parameters.slots,
        target=parameters.target,
        drawn=parameters.target + spare,
        committee=parameters.sizes,
        masks=parameters.masked,
        join_window_s=parameters.join_window_s,
        deadline_s=parameters.deadline_s,
        link=Link(
            latency_s=parameters.latency_s,
            latency_tail_s=parameters.latency_tail_s,
            bytes_per_s=parameters.mbit_per_s * 1e6 / 8,
            loss=parameters.loss,
            duplication=parameters.duplication,
            reordering=parameters.reordering,
        ),
        partitions=_partitions(parameters, sampler),
        cuts=tuple(_cuts(parameters, sampler)),
        crashes=churn(
            seed,
            nodes,
            parameters.sessions,
            session_s=parameters.session_s,
            absence_s=parameters.absence_s,
            shape=parameters.session_shape,
            begins_s=_PROPOSED_S - 0.25,
            ends_s=parameters.limit_s,
        ),
        corrupt=tuple((node, _strategy(parameters, sampler)) for node in sorted(corrupt)),
        owners=tuple(_owners(parameters, sampler, frozenset(corrupt))),
        addresses=small,
        deaths_noticed=small,
        proposed_s=_PROPOSED_S,
        limit_s=parameters.limit_s,
        params=ProtocolParams(
            view_timeout_s=parameters.view_timeout_s,
            view_timeout_s_max=max(60.0, parameters.view_timeout_s),
            attempt_timeout_s=parameters.attempt_timeout_s,
            gossip_gather_s=0.0 if small else _GATHER_S,
        ),
    )


def run(parameters: LiveParameters, seed: int, progress: Progress) -> list[LiveRound]:
    """Run a network to the end of its study, or of its time; one record a round, from round 0."""
    watch = Watch(scenario_of(parameters, seed), _crypto(parameters))
    total = parameters.rounds + 2  # openings, and the end
    over: list[LiveRound] = []
    for now in _drive(watch, parameters.limit_s):
        if watch.finished > len(over):
            over = watch.records()[: watch.finished]
        done = max(len(watch.opened) / total, now / parameters.limit_s)
        progress(min(done, 1.0), over)
    progress(1.0)
    return watch.records()


def trace(parameters: LiveParameters, seed: int, say: Callable[[str], None]) -> None:
    """Run a network again and tell every notice of its nodes, and which invariant broke."""
    watch = Watch(scenario_of(parameters, seed), _crypto(parameters), say)
    for _ in _drive(watch, parameters.limit_s):
        pass
    say(f"BROKEN  {watch.broken}" if watch.broken else "No invariant broke.")


def _drive(watch: Watch, limit_s: float) -> Iterator[float]:
    """Run piece by piece until all is over; yields the virtual time after each."""
    now = 0.0
    while now < limit_s and not watch.over:
        now += _SLICE_S
        watch.advance(now)
        yield now


def _crypto(parameters: LiveParameters) -> CryptoFactory:
    real = parameters.signatures == "real" or (
        parameters.signatures == "auto" and parameters.nodes < _REAL_BELOW
    )
    return (lambda secret: NodeCrypto(SigningKey(secret))) if real else IdealCrypto


def _strategy(parameters: LiveParameters, sampler: Sampler) -> str:
    if parameters.strategy != "mixed":
        return parameters.strategy
    kinds = [each for each in get_args(Strategy) if each != "mixed"]
    chosen: str = kinds[sampler.below(len(kinds))]
    return chosen


def _owners(
    parameters: LiveParameters, sampler: Sampler, corrupt: frozenset[int]
) -> Iterator[tuple[int, Owner]]:
    """Who joins and how long it trains; everybody else refuses."""
    honest = [node for node in range(parameters.nodes) if node not in corrupt]
    chosen = sampler.sample(len(honest), parameters.joining - len(corrupt))
    joining = corrupt.union(honest[at] for at in chosen)
    refusing = Owner(consents=False)
    for node in range(parameters.nodes):
        if node in joining:
            share = 0.5 + sampler.below(10_001) / 10_000
            yield node, Owner(training_s=parameters.training_s * share)
        else:
            yield node, refusing


def _partitions(parameters: LiveParameters, sampler: Sampler) -> tuple[Partition, ...]:
    count = round(parameters.partition_share * parameters.nodes)
    if not count:
        return ()
    side = sampler.sample(parameters.nodes, count)
    return (Partition(tuple(sorted(side)), parameters.cut_from_s, parameters.cut_until_s),)


def _cuts(parameters: LiveParameters, sampler: Sampler) -> Iterator[Cut]:
    for _ in range(parameters.one_way_cuts):
        sender, receiver = sampler.sample(parameters.nodes, 2)
        yield Cut(sender, receiver, parameters.cut_from_s, parameters.cut_until_s)
