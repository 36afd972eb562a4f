"""What became of each round of a live run.

A `Watch` drives a simulation piece by piece and hears every notice of its nodes. A round is timed
from when a first member of its committee opens it to when a first node holds the verified record of
its result, if it has one; *spread* is how long a record then takes to reach nineteen of twenty of
the nodes.
"""

from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta

from pnyx.protocol.events import (
    AttemptAborted,
    MessageRejected,
    Notice,
    PeerBlamed,
    RoundCertified,
    StepReached,
)
from pnyx.protocol.messages import RecordBody
from pnyx.protocol.round.plan import epoch_chain_id
from pnyx.simulator.invariants import InvariantError
from pnyx.simulator.population import CryptoFactory
from pnyx.simulator.scenario import Scenario
from pnyx.simulator.simulation import Simulation

_SPREAD_SHARE = 0.95
_BROKEN_CHARACTERS = 200


class LiveRound(msgspec.Struct, frozen=True, kw_only=True):
    """One round of one run; round 0 collects the joins, and all that was before it."""

    round: Annotated[int, Meta(description="number of the round; 0 collects the joins")]
    completed: Annotated[bool, Meta(description="whether the round had a result")]
    skipped: Annotated[bool, Meta(description="whether a quorum certified that it has none")]
    attempts: Annotated[int, Meta(description="attempts that were made; 0 if it never opened")]
    contributors: Annotated[int, Meta(description="contributions in the result")]
    contributors_corrupted: Annotated[
        int, Meta(description="contributions of corrupted nodes in the result")
    ]
    committee_corrupted: Annotated[int, Meta(description="corrupted members of the committee")]
    excluded: Annotated[int, Meta(description="nodes excluded by evidence, up to this record")]
    latency_s: Annotated[
        float | None,
        Meta(
            description="time from opening to the first verified record of a result, seconds; none "
            "without one"
        ),
    ]
    spread_s: Annotated[
        float | None,
        Meta(
            description="time from the first verified record until 95 % of the nodes hold it, "
            "seconds; none if they never do"
        ),
    ]
    messages: Annotated[int, Meta(description="messages sent in the round")]
    mebibytes: Annotated[float, Meta(description="data sent in the round, MiB")]
    deaths: Annotated[int, Meta(description="processes that ended in the round")]
    rejected: Annotated[int, Meta(description="messages that were rejected in the round")]
    blamed: Annotated[int, Meta(description="times that a node blamed another in the round")]
    broken: Annotated[str, Meta(description="invariant that broke in the run; empty if none")]


class _Tally(msgspec.Struct, frozen=True):
    """Counters when a round opens."""

    time_s: float
    messages: int
    bytes_sent: int
    deaths: int
    rejected: int
    blamed: int


class Watch:
    """A run in the making, and when its rounds opened and ended."""

    def __init__(
        self,
        scenario: Scenario,
        crypto: CryptoFactory,
        say: Callable[[str], None] | None = None,
    ) -> None:
        """say: told what happens, in words."""
        self.scenario = scenario
        self.opened: dict[int, _Tally] = {}
        self.broken = ""
        self._simulation = Simulation(scenario, crypto, say, self._hear)
        self._network = self._simulation.population.network
        self._certified: dict[int, list[float]] = {}
        self._holding: set[tuple[int, int]] = set()  # (round, node)
        self._aborted: set[int] = set()
        self._rejected = self._blamed = 0
        self.opened[0] = self._tally(0.0)

    @property
    def finished(self) -> int:
        """Rounds that are over, round 0 included: the next one has opened, or there is none."""
        last = self.scenario.rounds in self._certified
        return max(self.opened) + last

    @property
    def over(self) -> bool:
        """Whether every honest node that is up has it all, or an invariant broke."""
        if self.broken:
            return True
        return self.scenario.rounds in self._certified and self._simulation.settled()

    def advance(self, until_s: float) -> None:
        """Go on in virtual time, unless an invariant breaks."""
        try:
            self._simulation.scheduler.run(until_s, lambda: False)
        except InvariantError as error:
            self.broken = str(error)[:_BROKEN_CHARACTERS]

    def records(self) -> list[LiveRound]:
        """What became of every round, from round 0."""
        last = self._tally(self._simulation.scheduler.now)
        chain = next(iter(self._simulation.checker.records.values()), {})
        return [
            self._record(number, self.opened.get(number + 1, last), chain.get(number, (None,))[0])
            for number in range(self.scenario.rounds + 1)
        ]

    def _record(self, number: int, following: _Tally, body: RecordBody | None) -> LiveRound:
        opened = self.opened.get(number)
        since = opened or following
        held = self._certified.get(number, [])
        reached = round(_SPREAD_SHARE * len(self._simulation.nodes))
        corrupt = self._simulation.corrupt
        accepted = () if body is None else body.accepted
        done = body is not None and not body.skipped
        ended = held[0] if held and (done or number == 0) else None  # a skipped round has no result
        if number == 0 and 1 in self.opened:  # its record is no news but opens the next round
            ended = self.opened[1].time_s
        return LiveRound(
            round=number,
            completed=done,
            skipped=body is not None and body.skipped,
            attempts=0 if opened is None else 1 + (number in self._aborted),
            contributors=len(accepted),
            contributors_corrupted=len(corrupt.intersection(accepted)),
            committee_corrupted=len(corrupt.intersection(self._committee(number))),
            excluded=0 if body is None else len(body.excluded),
            latency_s=None if ended is None else ended - since.time_s,
            spread_s=held[reached - 1] - held[0] if len(held) >= reached else None,
            messages=following.messages - since.messages,
            mebibytes=(following.bytes_sent - since.bytes_sent) / 2**20,
            deaths=following.deaths - since.deaths,
            rejected=following.rejected - since.rejected,
            blamed=following.blamed - since.blamed,
            broken=self.broken,
        )

    def _committee(self, number: int) -> tuple[int, ...]:
        """Census indices of the committee of a round that opened."""
        for node in self._simulation.nodes:
            for state in node.machine.studies.values() if node.machine is not None else ():
                plan = state.plan_at(number, 1, self.scenario.params)
                if plan is not None:
                    return plan.committee
        return ()

    def _tally(self, now: float) -> _Tally:
        simulation = self._simulation
        return _Tally(
            now,
            simulation.network.messages,
            simulation.network.bytes_sent,
            simulation.kills,
            self._rejected,
            self._blamed,
        )

    def _hear(self, now: float, node: int, notice: Notice) -> None:
        match notice:
            case StepReached() if notice.study != epoch_chain_id(self._network):
                if notice.round_number not in self.opened:
                    self.opened[notice.round_number] = self._tally(now)
            case RoundCertified() if (notice.round_number, node) not in self._holding:
                self._holding.add((notice.round_number, node))  # who restarts tells it again
                self._certified.setdefault(notice.round_number, []).append(now)
            case AttemptAborted():
                self._aborted.add(notice.round_number)
            case MessageRejected():
                self._rejected += 1
            case PeerBlamed():
                self._blamed += 1
