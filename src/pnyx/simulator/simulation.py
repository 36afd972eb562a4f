"""Drives a scenario in virtual time to its end, checking the invariants on the way.

The trace hash of the `Outcome` names the run: with ideal cryptography one seed gives one trace, on
every machine. It covers every effect that a node carried out, with its time.
"""

from collections import Counter
from collections.abc import Callable
from hashlib import blake2b

import msgspec

from pnyx.primitives import codec
from pnyx.primitives.hashing import digest
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation.robust import Robust
from pnyx.protocol.events import (
    Effect,
    ForgetParcel,
    MessageReceived,
    MessageRejected,
    Notice,
    PeerBlamed,
    PeerReachable,
    PeerUnreachable,
    Persist,
    SealParcel,
    Send,
    SendChunk,
    StoreChunk,
    StudyProposed,
)
from pnyx.protocol.evidence.docket import VerifyEvidence
from pnyx.protocol.manifest import Manifest, StudyPhase, study_id
from pnyx.protocol.messages import Indices, RecordBody
from pnyx.protocol.models import model_name
from pnyx.protocol.noise import NO_NOISE
from pnyx.protocol.params import PROTOCOL_VERSION
from pnyx.protocol.ports import Records
from pnyx.simulator.adversary import Hands, Own
from pnyx.simulator.behaviours import BEHAVIOURS, MASKED, POISON, STRATEGIES, VERIFIED, WHOLE
from pnyx.simulator.crypto import IdealCrypto
from pnyx.simulator.invariants import Checker
from pnyx.simulator.network import Network
from pnyx.simulator.population import (
    UNIT_NORM_MAX,
    CryptoFactory,
    Owner,
    Population,
    SimulatedNode,
    UnitVectors,
)
from pnyx.simulator.scenario import Scenario
from pnyx.simulator.scheduler import Scheduler
from pnyx.simulator.shared_records import SharedRecords

_STARTING_S_MAX = 1.0  # from the first node's start to the last one's


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run that broke no invariant."""

    scenario: Scenario
    trace_hash: str
    finished: bool
    ended_s: float
    messages: int
    bytes_sent: int
    kills: int
    records: dict[int, RecordBody]  # of the first study
    notices: dict[str, int]
    rules: dict[str, int]  # rejections and blame, by rule
    effects: tuple[int, ...]  # carried out by each node


class Simulation:
    """One run in the making; `run` is its usual driver."""

    def __init__(
        self,
        scenario: Scenario,
        crypto: CryptoFactory = IdealCrypto,
        say: Callable[[str], None] | None = None,
        listen: Callable[[float, int, Notice], None] | None = None,
    ) -> None:
        """say: told what happens, in words. listen: told every notice, with its time and node."""
        self.scenario = scenario
        self.scheduler = Scheduler()
        shared = SharedRecords()
        self.records: Records = shared
        self.verify_evidence: VerifyEvidence = shared.verify_evidence
        self.network = Network(scenario.link, scenario.partitions, scenario.cuts, scenario.seed)
        seed = digest("pnyx/simulator/run", scenario.seed.to_bytes(8, "big"))
        given = dict(scenario.owners)
        owners = {node: given.get(node, Owner()) for node in range(scenario.nodes)}
        self.population = Population(
            self,
            owners,
            scenario.params,
            seed,
            crypto,
            UnitVectors(
                scenario.slots or scenario.nodes,
                scenario.vector_length,
                masks=scenario.masks,
                verified=scenario.verified,
                contributors_max=scenario.drawn or scenario.nodes,
                poisoners=[node for node, kind in scenario.corrupt if kind == POISON],
            ),
            scenario.committee,
            dict(scenario.clocks),
            addresses=scenario.addresses,
        )
        self.nodes = self.population.nodes
        self.corrupt = frozenset(node for node, _ in scenario.corrupt)
        self.checker = Checker(
            self.nodes, self.population.rule, self.corrupt, lambda: self.scheduler.now
        )
        self.kills = 0
        self.notices: Counter[str] = Counter()
        self.rules: Counter[str] = Counter()
        self._by_id = {node.node_id: node for node in self.nodes}
        self._unreachable: set[tuple[int, int]] = set()  # (who was told, about whom)
        self._returns: dict[int, float | None] = {}
        self._trace = blake2b(digest_size=16)
        self._say, self._listen = say, listen
        self._studies: list[bytes] = []
        self._gone: set[int] = set()
        self._waited_for = 0
        for index, kind in scenario.corrupt:
            node = self.nodes[index]
            kinds = {**BEHAVIOURS, **MASKED, **VERIFIED, **STRATEGIES}
            node.adversary = kinds[kind](self._hands(node, seed))
            if kind in WHOLE:
                node.speak_whole()
        self._schedule()

    def _hands(self, node: SimulatedNode, seed: bytes) -> Hands:
        rule = self.population.rule
        own = Own(rule.vector(node.index), rule.bounds, rule.masked, rule.verified)
        return Hands(
            index=node.index,
            node_id=node.node_id,
            crypto=node.crypto,
            census=self.population.census,
            sampler=Sampler(digest("pnyx/simulator/corrupt", seed, node.node_id), "corrupt"),
            contribution=lambda _: own,
            aggregators=lambda context: _aggregators(node, context),
        )

    def _schedule(self) -> None:
        scenario, at = self.scenario, self.scheduler.call_at
        apart_s = min(0.001, _STARTING_S_MAX / scenario.nodes)
        for node in self.nodes:
            at(apart_s * node.index, node.start)
        for number in range(scenario.studies):
            at(scenario.proposed_s, self._propose, number)
        for index, owner in scenario.owners:
            if owner.withdraws_s is not None:
                at(owner.withdraws_s, self._withdraw, self.nodes[index])
        for crash in scenario.crashes:
            self._returns[crash.node] = crash.away_s
            if crash.after_effects is None:
                at(crash.at_s, self._kill, self.nodes[crash.node], crash.away_s)
            else:
                self.nodes[crash.node].kill_after = crash.after_effects

    # --- what the nodes see of the world --------------------------------------------------------

    def carry(self, sender: SimulatedNode, receiver: bytes, payload: bytes) -> None:
        """Hand a message to the network."""
        target, now = self._by_id[receiver], self.scheduler.now
        arrivals = self.network.arrivals(sender.index, target.index, len(payload), now)
        for time in arrivals:
            self.scheduler.call_at(time, self._deliver, sender, target, payload)
        if not arrivals and self.network.severed(sender.index, target.index, now):
            self._hint(sender, target)

    def _deliver(self, sender: SimulatedNode, target: SimulatedNode, payload: bytes) -> None:
        if not target.up:
            self._hint(sender, target)
            return
        if self._unreachable:
            self._reached(target, sender)
            self._reached(sender, target)
        target.handle(MessageReceived(sender.node_id, payload))

    def _reached(self, told: SimulatedNode, about: SimulatedNode) -> None:
        """A connection was made: whoever thought the other away learns better."""
        if (told.index, about.index) in self._unreachable:
            self._unreachable.discard((told.index, about.index))
            told.handle(PeerReachable(about.node_id))

    def _hint(self, told: SimulatedNode, about: SimulatedNode) -> None:
        """A connection broke or cannot be made: the other side may notice."""
        if (told.index, about.index) not in self._unreachable and self.network.hinted():
            self._unreachable.add((told.index, about.index))
            delay = self.network.link.hint_delay_s
            self.scheduler.call_at(self.scheduler.now + delay, self._tell_away, told, about)

    def _tell_away(self, told: SimulatedNode, about: SimulatedNode) -> None:
        if (told.index, about.index) in self._unreachable:
            told.handle(PeerUnreachable(about.node_id))

    def observe(self, node: SimulatedNode, effect: Effect) -> None:
        """Trace, check and count an effect."""
        match effect:
            case Send():
                part = effect.peer + effect.payload
            case Persist():
                part = effect.key.encode() + effect.value
            case StoreChunk() | SealParcel() | SendChunk() | ForgetParcel():
                part = type(effect).__name__.encode() + effect.parcel
            case _:
                part = type(effect).__name__.encode()
        self._trace.update(b"%d/%.9f/" % (node.index, self.scheduler.now))
        self._trace.update(part)
        self.checker.on_effect(node, effect)
        if isinstance(effect, Notice):
            self._note(node, effect)

    def _note(self, node: SimulatedNode, notice: Notice) -> None:
        kind = type(notice).__name__
        self.notices[kind] += 1
        if self._listen is not None:
            self._listen(self.scheduler.now, node.index, notice)
        if isinstance(notice, MessageRejected | PeerBlamed):
            self.rules[notice.rule] += 1
        if self._say is not None:
            self._say(f"{self.scheduler.now:9.3f}  node {node.index:3d}  {_told(notice)}")

    def crashed(self, node: SimulatedNode) -> None:
        """A process died: its peers may notice, and it comes back if it is to."""
        self.kills += 1
        if self._say is not None:
            self._say(f"{self.scheduler.now:9.3f}  node {node.index:3d}  killed")
        self._unreachable = {pair for pair in self._unreachable if pair[0] != node.index}
        for other in self.nodes if self.scenario.deaths_noticed else ():
            if other.up:
                self._hint(other, node)
        away = self._returns.get(node.index)
        if away is None:
            self._gone.add(node.index)
        else:
            self.scheduler.call_at(self.scheduler.now + away, node.start)

    # --- what happens to the nodes --------------------------------------------------------------

    def _kill(self, node: SimulatedNode, away_s: float | None) -> None:
        self._returns[node.index] = away_s
        node.crash()

    def _withdraw(self, node: SimulatedNode) -> None:
        for study in self._studies:
            node.decide(study, given=False)

    def _propose(self, number: int) -> None:
        """The first honest node that is up proposes a study."""
        scenario = self.scenario
        proposer = next(
            (node for node in self.nodes if node.up and node.index not in self.corrupt), None
        )
        if proposer is None:
            self.scheduler.call_at(self.scheduler.now + 0.5, self._propose, number)
            return
        floor = scenario.groups * scenario.cohort_min
        drawn = scenario.drawn or max(floor, scenario.nodes * 5 // 6)
        target = scenario.target or max(floor, scenario.nodes * 2 // 3)
        model = self.population.rule.initial_model
        manifest = Manifest(
            network=self.population.network,
            proposer=proposer.node_id,
            version=PROTOCOL_VERSION,
            epoch=0,
            title="unit vectors",
            purpose="show who was counted",
            purpose_term="dpv:ResearchAndDevelopment",
            category="simulated",
            query="",
            columns=("unit",),
            ranges=(),
            label="unit",
            program=b"",
            hyperparameters=b"",
            initial_model=model_name(model),
            model_bytes=len(model),
            phases=(
                StudyPhase(
                    kind="train",
                    rounds=scenario.rounds,
                    bounds=self.population.rule.bounds,
                    metrics_length=self.population.rule.slots,
                    cohort_min=scenario.cohort_min,
                    target=target,
                    drawn=drawn,
                    deadline_s=scenario.deadline_s,
                    clip=UNIT_NORM_MAX,
                    noise=NO_NOISE,
                    masked=self.population.rule.masked,
                    groups=scenario.groups,
                    robust=Robust("trimmed" if scenario.tolerated else "mean", scenario.tolerated),
                    verified=self.population.rule.verified_norm,
                ),
            ),
            join_window_s=scenario.join_window_s,
            nonce=digest("pnyx/simulator/study", bytes([number])),
            selection=scenario.selection,
        )
        encoded = codec.encode(manifest)
        study = study_id(encoded)
        if study not in self._studies:
            self._studies.append(study)
            self.checker.add_study(study, manifest)
        proposer.handle(StudyProposed(encoded, model))
        self.scheduler.call_at(self.scheduler.now + 2.0, self._propose_again, number, study)

    def _propose_again(self, number: int, study: bytes) -> None:
        """A proposer killed before anybody heard of the study: somebody proposes one once more."""
        key = f"chain/manifest/{study.hex()}"
        knowing = [node.index for node in self.nodes if key in node.disk]
        if self._gone.issuperset(knowing):  # so does who takes it along for good
            self._studies.remove(study)  # another proposer makes another study
            self._propose(number)
        elif len(knowing) == 1:
            self.scheduler.call_at(self.scheduler.now + 2.0, self._propose_again, number, study)

    def done(self) -> bool:
        """Whether every honest node that is to come back holds all records and the last model."""
        if len(self._studies) < self.scenario.studies:
            return False
        count, first = len(self.nodes), self._waited_for
        for step in range(count):
            self._waited_for = (first + step) % count  # asked first the next time
            if not self._has_all(self.nodes[self._waited_for]):
                return False
        return True

    def settled(self) -> bool:
        """Whether every honest node that is up has what every study gives."""
        return all(node.machine is None or self._has_all(node) for node in self.nodes)

    def _has_all(self, node: SimulatedNode) -> bool:
        """Whether a node that is to come back has what every study gives."""
        if node.index in self.corrupt or node.index in self._gone:
            return True
        if node.machine is None:
            return False
        states = [node.machine.studies.get(study) for study in self._studies]
        return all(s is not None and s.finished and s.holds_model for s in states)

    def outcome(self, *, finished: bool) -> Outcome:
        """Sum up the run."""
        study = self._studies[0] if self._studies else b""
        chain = self.checker.records.get(study, {})
        return Outcome(
            scenario=self.scenario,
            trace_hash=self._trace.hexdigest(),
            finished=finished,
            ended_s=self.scheduler.now,
            messages=self.network.messages,
            bytes_sent=self.network.bytes_sent,
            kills=self.kills,
            records={number: body for number, (body, _) in sorted(chain.items())},
            notices=dict(sorted(self.notices.items())),
            rules=dict(sorted(self.rules.items())),
            effects=tuple(node.effects_done for node in self.nodes),
        )

    def run(self) -> Outcome:
        """Run to the end; raise InvariantError if the run breaks an invariant or does not end."""
        finished = self.scheduler.run(self.scenario.limit_s, self.done)
        if not finished:
            self.checker.fail("the study has not ended: " + self._standing())
        if self.scenario.lingers_s:
            self.scheduler.run(self.scheduler.now + self.scenario.lingers_s, lambda: False)
        for node in self.nodes:
            self.checker.check_disk(node)
        return self.outcome(finished=finished)

    def _standing(self) -> str:
        """Where the live nodes are, for the message of a run that does not end."""
        parts: list[str] = []
        for node in self.nodes:
            states = node.machine.studies.values() if node.machine is not None else ()
            plans = [state.plan.round_number if state.plan else "-" for state in states]
            parts.append(f"{node.index}{'' if node.up else ' down'}:{plans}")
        return " ".join(parts)


def _aggregators(node: SimulatedNode, context: bytes) -> Indices:
    """Who aggregates in an attempt that this node knows."""
    states = node.machine.studies.values() if node.machine is not None else ()
    plans = (state.plan for state in states if state.plan is not None)
    return next((plan.aggregators for plan in plans if plan.context == context), ())


def _told(notice: Notice) -> str:
    """One line about a notice."""
    fields = [
        f"{name}={value.hex()[:8] if isinstance(value, bytes) else value}"
        for name, value in msgspec.structs.asdict(notice).items()
    ]
    return f"{type(notice).__name__}({', '.join(fields)})"


def run(
    scenario: Scenario,
    crypto: CryptoFactory = IdealCrypto,
    say: Callable[[str], None] | None = None,
) -> Outcome:
    """Run a scenario to its end.

    say: receives a line for everything worth telling. Raises InvariantError.
    """
    return Simulation(scenario, crypto, say).run()
