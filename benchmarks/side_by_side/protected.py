"""Rounds of a study in masked mode, by whole nodes: daemons with vault, round store and TLS.

Three things differ from nodes of owners. Training takes no time: the vector is at hand. Consent is
given without data to read. The next model is the last one plus the mean, as it is in `plain`.
What is measured begins when the first member opens round 1, and ends when every node has the last
record and model: agreements, beacons, proofs, gossip and the spreading of models are all in it.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from benchmarks.side_by_side.network import (
    Founded,
    Member,
    folder,
    found,
    loop_factory,
    open_connections,
)
from benchmarks.side_by_side.work import VALUE_BITS, Meter, Spent, Work, next_model
from pnyx.config import Listen, NodeConfig
from pnyx.errors import TrainingError
from pnyx.learning.update import TRAIN_COUNTS
from pnyx.node.clock import wall_clock
from pnyx.node.daemon import Daemon
from pnyx.node.decisions import CONSENT_SECONDS, Decisions, study_request
from pnyx.node.learning import choose_masks, phase_for
from pnyx.node.study_tasks import StudyTasks
from pnyx.primitives import codec
from pnyx.primitives.ring import implementation
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.events import (
    AskConsent,
    ConsentGiven,
    EpochOpened,
    Notice,
    RoundCertified,
    StartTraining,
    StepReached,
    StudyFinished,
    StudyProposed,
    TrainingFinished,
)
from pnyx.protocol.machine import NodeMachine
from pnyx.protocol.manifest import Manifest
from pnyx.protocol.models import model_name
from pnyx.protocol.params import PROTOCOL_VERSION, ProtocolParams
from pnyx.protocol.ports import IntVector
from pnyx.protocol.selection import CommitteeSize

# Nodes that share one core answer later than nodes with one each: large answers are given time.
PATIENT = ProtocolParams(
    view_timeout_s=60.0,
    retransmit_s=8.0,
    receipt_timeout_s=30.0,
    gossip_request_timeout_s=30.0,
    parcel_request_timeout_s=60.0,
)
_JOIN_WINDOW_S = 8.0
_LIMIT_S = 900.0
_NORM_MAX = 1 << 10  # nothing is proven of a masked update


class _NoWorker:
    """Stands where a training worker would: nothing is trained."""

    confinement = None
    running = False

    def start(self) -> None:
        raise TrainingError("Nothing is trained here.")

    def stop(self) -> None:
        pass


class _Rule:
    """Implements `protocol.ports.ModelRule`."""

    def next_model(
        self, manifest: bytes, round_number: int, model: bytes, total: IntVector, count: int
    ) -> bytes | None:
        del manifest, round_number
        return next_model(model, total, count)


def _machine(**given: Any) -> NodeMachine:
    return NodeMachine(**(given | {"rule": _Rule()}))


class _Watch:
    """Sees what nodes tell, and knows when to begin and to end."""

    def __init__(self, nodes: int, work: Work) -> None:
        self._nodes = nodes
        self._work = work
        self.epoch_opened = asyncio.Event()  # at the node that proposes
        self.finished = asyncio.Event()
        self.meter: Meter | None = None
        self.sent_before = 0
        self.numbers = 0  # of the nodes that trained, added up over the rounds
        self.models: dict[int, bytes] = {}  # node -> name of its last model
        self.counted: set[int] = set()
        self.sent: Callable[[], int] = lambda: 0
        self.spent: Spent | None = None

    def count(self, number: int) -> None:
        """A node gives its vector to a round."""
        self.numbers += number

    def observe(self, number: int, notice: Notice) -> None:
        """Take a notice of a node."""
        if number == 0 and isinstance(notice, EpochOpened):
            self.epoch_opened.set()
        if isinstance(notice, StepReached) and notice.round_number == 1 and self.meter is None:
            self.meter, self.sent_before = Meter(), self.sent()
        if isinstance(notice, RoundCertified):
            self.counted.add(notice.contributors)
        if isinstance(notice, StudyFinished):
            self.models[number] = notice.model_hash
            if len(self.models) == self._nodes and self.meter is not None:
                sent = self.sent() - self.sent_before
                self.spent = self.meter.per_round(self._work.rounds, sent)
                self.finished.set()


class _Agreeing(Decisions):
    """Those of an owner who agrees to everything."""

    def ask(self, effect: AskConsent) -> None:
        now = wall_clock()
        request = study_request(effect.study, effect.manifest)
        self._vault.consents.record(
            request, accepted=True, decided_by="owner", now=now, expires=now + CONSENT_SECONDS
        )
        self._deliver(ConsentGiven(effect.study))


class _Ready(StudyTasks):
    """Those of a node that has its vector ready."""

    vector: IntVector
    on_training: Callable[[], None]

    async def train(self, effect: StartTraining) -> None:
        self.on_training()
        terms = effect.study, effect.round_number, self.vector, effect.attempt
        self._deliver(TrainingFinished(*terms))


class _Node(Daemon):
    """A daemon whose owner agrees to everything and has its vector ready."""

    def __init__(
        self, founded: Founded, member: Member, number: int, common: IntVector, watch: _Watch
    ) -> None:
        config = NodeConfig(listen=Listen(port=member.port))
        super().__init__(
            layout=member.layout,
            keys=member.keys,
            config=config,
            network=founded.network,
            worker=_NoWorker(),  # type: ignore[arg-type]  # all that is used of one
            observer=lambda notice: watch.observe(number, notice),
            params=PATIENT,
            machine_factory=_machine,
        )
        # Rounds last longer where all nodes share a core: idle links are looked at half as often.
        limits = msgspec.structs.replace(self._transport.limits, close_s=4.0)
        self._transport.limits = limits  # type: ignore[attr-defined]  # of TLS alone
        self.decisions = _Agreeing(self.vault, config.consent, self.deliver)
        self.tasks = ready = _Ready(
            node_id=self.node_id,
            vault=self.vault,
            trainer=self._trainer,
            sandbox=config.node.sandbox,
            model_of=self.model_of,
            deliver=self.deliver,
            observer=self._observer,
            fail=self._fail,
        )
        counts = np.ones(TRAIN_COUNTS, dtype=np.int64)
        ready.vector = np.concatenate([common + number, counts])
        ready.on_training = lambda: watch.count(number)


def _manifest(founded: Founded, work: Work, model: bytes) -> bytes:
    """The study that the first node proposes: everybody drawn has to contribute."""
    plain = Bounds(work.values + TRAIN_COUNTS, work.values, _NORM_MAX, 1 << 10)
    phase = phase_for(
        "train",
        plain,
        rounds=work.rounds,
        cohort_min=work.contributors,
        target=work.contributors,
        drawn=work.contributors,
        deadline_s=_LIMIT_S,
        masked=choose_masks(plain, VALUE_BITS, work.contributors, None),
    )
    return codec.encode(
        Manifest(
            network=founded.network.network,
            proposer=founded.members[0].node_id,
            version=PROTOCOL_VERSION,
            epoch=0,
            title="A benchmark",
            purpose="To measure what protection costs.",
            purpose_term="dpv:ResearchAndDevelopment",
            category="benchmark",
            query="",
            columns=("value",),
            ranges=(),
            label="",
            program=b"",
            hyperparameters=b"",
            initial_model=model_name(model),
            model_bytes=len(model),
            phases=(phase,),
            join_window_s=_JOIN_WINDOW_S,
            nonce=secrets.token_bytes(32),
        )
    )


async def _rounds(founded: Founded, work: Work) -> Spent:
    watch, common = _Watch(len(founded.members), work), work.common()
    nodes = [
        _Node(founded, member, number, common, watch)
        for number, member in enumerate(founded.members)
    ]
    watch.sent = lambda: sum(node.transport.traffic.bytes_sent for node in nodes)
    model = bytes(4 * work.values)
    running = [asyncio.create_task(node.run()) for node in nodes]
    finished = asyncio.create_task(watch.finished.wait())
    try:
        async with asyncio.timeout(_LIMIT_S):
            await watch.epoch_opened.wait()
            await open_connections(founded, [node.transport for node in nodes])
            nodes[0].soon(StudyProposed(_manifest(founded, work, model), model))
            await asyncio.wait([finished, *running], return_when=asyncio.FIRST_COMPLETED)
        models = [nodes[number].model_of(name) for number, name in watch.models.items()]
    finally:
        finished.cancel()
        for node in nodes:
            node.stop()
        await asyncio.gather(*running)
    if watch.spent is None or watch.counted != {work.contributors}:
        raise RuntimeError(f"a round counted {watch.counted} of {work.contributors}, or none ended")
    for found_model in models:
        work.check(found_model or b"", watch.numbers)
    return watch.spent


def run_protected(
    work: Work, nodes: int, committee: CommitteeSize, *, on_disk: bool = False
) -> Spent:
    """Run the study on a new network of so many nodes; the mean of its rounds."""
    implementation()  # loops are compiled before anything is measured
    with folder(on_disk=on_disk) as root:
        founded = found(root, nodes, committee)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(_rounds(founded, work))
