"""The node's state machine: events in, effects out, no input or output of its own.

Its parts are the epochs, the studies, the rounds, and the evidence of this node, each with a keeper
of its own, beside gossip, parcels, models and draws; the machine connects them with the shell and
with the peers. Messages are bytes from authenticated peers; each is size-checked, decoded, and
handed to the part that can verify it. A message that breaks a rule is dropped and noted; it never
stops the node.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from pnyx.errors import ProtocolError, WrongContext
from pnyx.primitives import codec
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.actor_lists import ActorLists
from pnyx.protocol.allowance import Allowance
from pnyx.protocol.censuses import CensusFork
from pnyx.protocol.chunks import Shape
from pnyx.protocol.epoch_keeper import EpochKeeper
from pnyx.protocol.epochs import Epoch
from pnyx.protocol.events import (
    ChunkSent,
    Computed,
    ConsentDeclined,
    ConsentGiven,
    DebitRecorded,
    DebitRefused,
    DrawStalled,
    Effect,
    Event,
    Forget,
    LearnAddress,
    MessageReceived,
    MessageRejected,
    ModelWanted,
    ParcelRead,
    PeerReachable,
    PeerUnreachable,
    Persist,
    RegionListed,
    RequestRefused,
    Send,
    StudyProposed,
    SummingFailed,
    TimerExpired,
    TrainingFailed,
    TrainingFinished,
    VectorsSummed,
)
from pnyx.protocol.evidence.docket import VerifyEvidence
from pnyx.protocol.evidence.dockets import Conviction, Docket, Dockets
from pnyx.protocol.evidence.proofs import check_evidence
from pnyx.protocol.evidence_keeper import EvidenceKeeper
from pnyx.protocol.gossip import Gossip
from pnyx.protocol.identity import Census, Others, SignedCensus, sign_body
from pnyx.protocol.joins import Joins
from pnyx.protocol.manifest import MANIFEST_BYTES_MAX, Manifest
from pnyx.protocol.messages import (
    AbortCertificate,
    Announce,
    AnyFalseVector,
    Evidence,
    GossipItem,
    GossipMessage,
    Handover,
    HeadersRequest,
    Indices,
    Items,
    Join,
    Message,
    NodeRecord,
    ParcelMessage,
    PartsRequest,
    Pull,
    Record,
    Request,
    RoundMessage,
    ShareRequest,
    Signed,
    SumRequest,
    TwoWords,
    ValueRequest,
    ViewChange,
)
from pnyx.protocol.models import Models
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.parcels import Parcels
from pnyx.protocol.ports import Crypto, ModelRule, Records
from pnyx.protocol.round.plan import RoundPlan, epoch_chain_id
from pnyx.protocol.round_keeper import RoundKeeper
from pnyx.protocol.selection.region import ActorProof, RegionMessage
from pnyx.protocol.study import StudyState, read_body
from pnyx.protocol.study_keeper import StudyKeeper

T = TypeVar("T", bytes, Shape)

PublicBody = Manifest | Join | NodeRecord
AnyMessage = Message | RegionMessage
AnyItem = GossipItem | ActorProof | SignedCensus | CensusFork
# What is answered with much more than it takes to ask; chunks have a bound of their own.
Question = (
    Request
    | Pull
    | ViewChange
    | ValueRequest
    | PartsRequest
    | HeadersRequest
    | ShareRequest
    | SumRequest
)


def _node_ids(plan: RoundPlan, indices: Indices) -> list[bytes]:
    return [plan.census.node_ids[index] for index in indices]


class NodeMachine:
    """One node. Drive it with `handle`; wake it at `next_deadline` with TimerExpired.

    seed: 32 fresh secret bytes for every start of the process. contacts: peers whose address the
    shell knows from the start. restored: everything that earlier `Persist` effects stored and no
    `Forget` removed. census: that of the network's first committee. censuses: all that the shell
    knows, encoded as they were signed; authority_key: whose signature they need. unix_offset_s:
    unix time less the time that `handle` is given.
    records, verify_evidence: how items of gossip are read, written and verified; simulators share
    between nodes what comes out the same.
    """

    def __init__(
        self,
        *,
        node_id: bytes,
        census: Census,
        crypto: Crypto,
        rule: ModelRule,
        params: ProtocolParams,
        seed: bytes,
        serve: bool,
        address: tuple[str, int] | None,
        address_sequence: int,
        contacts: Iterable[bytes],
        restored: Mapping[str, bytes],
        now: float,
        censuses: Iterable[bytes] = (),
        authority_key: bytes = b"",
        unix_offset_s: float = 0.0,
        records: Records = codec,
        verify_evidence: VerifyEvidence = check_evidence,
    ) -> None:
        self.node_id = node_id
        self.network = census.network
        self.rule = rule
        self.params = params
        self.now = now
        self._crypto = crypto
        self._records = records
        self._effects: list[Effect] = []
        self._local: deque[RoundMessage] = deque()
        self._encoded: tuple[object, bytes] | None = None
        self._unreachable: set[bytes] = set()
        self._node_records: dict[bytes, tuple[int, bytes]] = {}
        self._contacts = frozenset(contacts)
        self._known: Sequence[bytes] | None = None  # None: look again
        self._restored = dict(restored)
        self._address = address
        self._address_sequence = address_sequence
        self._started = False
        self._answers = Allowance(
            params.answers_bytes_burst, params.answers_bytes_per_s, params.peers_counted_max
        )
        sampler = Sampler(seed, "pnyx/machine")
        self.dockets = Dockets(crypto, params, records, verify_evidence)
        self._gossip = Gossip(
            params,
            sampler,
            self._peers,
            lambda peer: peer in self._unreachable,
            self._send_gossip,
            self._accept_item,
            self._on_models,
            now,
        )
        self.epochs = EpochKeeper(
            node_id=node_id,
            genesis=census,
            authority_key=authority_key,
            censuses=censuses,
            crypto=crypto,
            params=params,
            sampler=Sampler(seed, "pnyx/epochs"),
            unix_offset_s=unix_offset_s,
            restored=self._restored,
            host=self,
            gossip=self._gossip,
            peers=self._peers,
            now=now,
            records=records,
        )
        if self.epochs.censuses.listing(node_id) is None:
            raise ValueError("this node is not in the census")
        self.actor_lists = ActorLists(
            node_id=node_id,
            crypto=crypto,
            sampler=sampler,
            params=params,
            send=self.send,
            emit=self.emit,
            restored=self._restored,
            on_list=lambda proof: self.guard(node_id, lambda: self.study_keeper.on_actors(proof)),
            accuse=self._accuse_in_draw,
        )
        self.parcels = Parcels(
            params,
            node_id,
            lambda peer: peer in self._unreachable,
            self.emit,
            self.send,
            self._restored,
        )
        self.models = Models(
            params,
            sampler,
            self.parcels,
            self._gossip,
            self._peers,
            self._needs_model,
            self._on_model,
        )
        joins = Joins(
            node_id=node_id,
            ahead_max=params.joins_ahead_max,
            gossip=self._gossip,
            records=records,
        )
        self.rounds = RoundKeeper(
            node_id=node_id,
            serve=serve,
            crypto=crypto,
            rule=rule,
            records=records,
            params=params,
            sampler=sampler,
            restored=self._restored,
            unreachable=self._unreachable,
            host=self,
            gossip=self._gossip,
            parcels=self.parcels,
            epochs=self.epochs,
            dockets=self.dockets,
            actor_lists=self.actor_lists,
            joins=joins,
            models=self.models,
        )
        self.study_keeper = StudyKeeper(
            node_id=node_id,
            network=census.network,
            serve=serve,
            crypto=crypto,
            records=records,
            params=params,
            host=self,
            gossip=self._gossip,
            epochs=self.epochs,
            actor_lists=self.actor_lists,
            joins=joins,
            models=self.models,
            rounds=self.rounds,
        )
        self.evidence = EvidenceKeeper(
            node_id=node_id,
            dockets=self.dockets,
            gossip=self._gossip,
            host=self,
            plan_at=self._plan_at,
            census_of=self._census_of,
            on_admitted=self._on_admitted,
        )

    # --- what the shell reads -------------------------------------------------------------------

    @property
    def studies(self) -> Mapping[bytes, StudyState]:
        """The studies that this node knows, by study id."""
        return self.study_keeper.states

    def joined(self, study: bytes) -> Indices:
        """Census indices of the owners that are known to lend their data to a study."""
        return self.study_keeper.joined(study)

    @property
    def convictions(self) -> tuple[Conviction, ...]:
        """Nodes against which evidence is held, and by which rule."""
        return self.dockets.convictions

    @property
    def convicted(self) -> dict[bytes, bool]:
        """Node ids that evidence convicts -> whether the proof assumes nothing.

        If not, it holds in one study, as long as at most f of a committee there are corrupt.
        """
        return self.dockets.standing

    def stalled(self, study: bytes) -> Sequence[DrawStalled]:
        """The last attempts at actor lists of a study that this node waited for in vain."""
        return self.actor_lists.stalled(study)

    @property
    def census(self) -> Census:
        """The census in force."""
        return self.epochs.census

    @property
    def index(self) -> int:
        """This node's place in the census in force; -1 if it has none."""
        return self.rounds.place_in(self.census)

    @property
    def docket(self) -> Docket:
        """Evidence against nodes of the census in force."""
        return self.dockets.of(self.census)

    @property
    def epoch_beacons(self) -> dict[int, bytes]:
        """The network's beacons, by epoch."""
        return self.epochs.chain.beacons

    @property
    def epoch_record(self) -> Record | None:
        """The record of the first beacon."""
        return next(iter(self.epochs.chain.records), None)

    # --- the chain of epochs --------------------------------------------------------------------

    def is_open(self, plan: RoundPlan) -> bool:
        """Whether this node takes part in a round now."""
        return plan.context in self.rounds.active

    def open_round(self, plan: RoundPlan) -> None:
        """Take part in a round of the chain of epochs."""
        self.rounds.open(plan, None)

    def end_round(self, plan: RoundPlan, name: bytes) -> None:
        """A round of the chain of epochs is over."""
        self.rounds.finish(plan.context, name)
        self.rounds.close(plan)

    def begin_epoch(self, epoch: Epoch) -> None:
        """An epoch has begun: open the studies that waited for it."""
        self._known = None  # who left the census is no peer any more
        self.actor_lists.enter(epoch.number, epoch.beacon)
        self.study_keeper.begin_epoch(epoch)

    # --- events ---------------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Process one event; return what the shell must do, in order."""
        self.now = now
        if not self._started:
            self._start()
        self._dispatch(event)
        while self._local:
            message = self._local.popleft()
            self.guard(self.node_id, partial(self.rounds.route, self.node_id, message))
        self._gossip.flush(now)
        self.parcels.flush(now)
        effects, self._effects = self._effects, []
        self._encoded = None  # may be long: nothing holds it once it is on its way
        return effects

    def next_deadline(self) -> float | None:
        """When TimerExpired is due, on the caller's clock."""
        parts = (self._gossip, self.rounds, self.parcels, self.actor_lists, self.epochs)
        times = [part.next_deadline() for part in parts]
        return min(time for time in times if time is not None)

    def _dispatch(self, event: Event) -> None:
        match event:
            case MessageReceived():
                self.guard(event.peer, lambda: self._on_message(event.peer, event.payload))
            case TimerExpired():
                self._on_timer()
            case PeerUnreachable():
                self._unreachable.add(event.peer)
                self.parcels.on_unreachable(event.peer)
                self.rounds.tick()
            case PeerReachable():
                self._unreachable.discard(event.peer)
            case TrainingFinished() | TrainingFailed():
                state = self.studies.get(event.study)
                self.rounds.on_trained(event, None if state is None else state.plan)
            case DebitRecorded() | DebitRefused():
                self.rounds.on_debit(event)
            case ChunkSent():
                self.parcels.on_sent(event.peer, event.parcel, event.index)
            case ParcelRead():
                self.rounds.on_read(event)
            case Computed():
                self.rounds.on_computed(event)
            case VectorsSummed() | SummingFailed():
                self.rounds.on_summed(event)
            case RegionListed():
                self.actor_lists.on_listed(event, self.now)
            case _:
                self._dispatch_owner(event)

    def _dispatch_owner(self, event: Event) -> None:
        match event:
            case ConsentGiven() | ConsentDeclined():
                given = isinstance(event, ConsentGiven)
                self.study_keeper.on_consent(event.study, given=given)
            case StudyProposed():
                self._propose(event)
            case ModelWanted():
                self.study_keeper.on_model_wanted(event.study)
            case _:
                raise TypeError(f"unknown event {type(event).__name__}")

    def _propose(self, event: StudyProposed) -> None:
        try:
            self.study_keeper.propose(event.manifest, event.model)
        except ProtocolError as error:
            self._effects.append(RequestRefused(str(error)))

    def _on_timer(self) -> None:
        self._gossip.tick(self.now)
        self.rounds.tick()
        self.epochs.tick(self.now)
        self.actor_lists.tick(self.now)
        self.models.tick(self.studies.values(), self.now)
        self.parcels.tick(self.now)

    def _start(self) -> None:
        self._started = True
        if self._address is not None:
            record = NodeRecord(
                self.network, self._address_sequence, self._address[0], self._address[1]
            )
            signed = sign_body(self._crypto, self.network, self.node_id, record)
            self._on_node_record(signed, record)
        for item in self.dockets.restore(self._restored, self.epochs.censuses):
            self._gossip.add(item)
        self.epochs.start(self._restored, self.now)
        self.study_keeper.start(self._restored)

    # --- sending --------------------------------------------------------------------------------

    def post(self, node_index: int, plan: RoundPlan, message: RoundMessage) -> None:
        """Send a round message; to this node itself without the network."""
        peer = plan.census.node_ids[node_index]
        if peer == self.node_id:
            self._local.append(message)
        else:
            self.send(peer, message)

    def emit(self, effect: Effect) -> None:
        """Add an effect for the shell; what is to be forgotten is forgotten here too."""
        if isinstance(effect, Forget):
            for key in [key for key in self._restored if key.startswith(effect.prefix)]:
                del self._restored[key]
        self._effects.append(effect)

    def keep_parcel(self, plan: RoundPlan, chunks: Iterable[bytes], readers: Indices) -> bytes:
        """Store a parcel of this node's own until the attempt is over; see `Parcels.keep`."""
        return self.parcels.keep(chunks, _node_ids(plan, readers), plan.scope)

    def fetch_parcel(
        self,
        plan: RoundPlan,
        name: bytes,
        length: int,
        sources: Indices,
        done: Callable[[bytes], None],
        failed: Callable[[Shape], None],
    ) -> None:
        """Pull a parcel for an attempt; see `Parcels.fetch`. What is told may break no rule."""

        def guarded(tell: Callable[[T], None]) -> Callable[[T], None]:
            return lambda told: self.guard(self.node_id, lambda: tell(told))

        self.parcels.fetch(
            name,
            length,
            _node_ids(plan, sources),
            guarded(done),
            failed=guarded(failed),
            scope=plan.scope,
        )

    def grant_parcel(self, plan: RoundPlan, name: bytes, readers: Indices) -> None:
        """Let nodes pull a parcel that is kept or fetched for an attempt."""
        self.parcels.grant(name, _node_ids(plan, readers), plan.scope)

    def forget_parcel(self, plan: RoundPlan, name: bytes) -> None:
        """Need a parcel no longer for an attempt."""
        self.parcels.forget(name, plan.scope)

    def make_room(self, length: int) -> None:
        """Have room for a parcel that the shell is to make. Raises RuleBroken if there is none."""
        self.parcels.make_room(length)

    def send(self, peer: bytes, message: AnyMessage) -> None:
        """Send a message to a peer."""
        if self._encoded is None or self._encoded[0] is not message:
            records = self._records if isinstance(message, Items) else codec
            self._encoded = (message, records.encode(message))
        self._effects.append(Send(peer, self._encoded[1]))

    def _send_gossip(self, peer: bytes, message: GossipMessage) -> None:
        self.send(peer, message)

    def _peers(self) -> Sequence[bytes]:
        """Every other node that is known, in the order of the ids."""
        if self._known is None:
            self._known = self._all_known()
        return self._known

    def _all_known(self) -> Sequence[bytes]:
        everybody = len(self._contacts) == len(self.census) == len(self.epochs.latest)
        if everybody and self.index >= 0:  # no list of this node's own
            return Others(self.census.node_ids, self.index)
        return [
            peer
            for peer in sorted(self._contacts.union(self._node_records))
            if peer != self.node_id and self.epochs.admits(peer)
        ]

    def persist(self, key: str, value: bytes) -> None:
        """Have the shell store a value before anything that follows is sent."""
        self._effects.append(Persist(key, value))

    def guard(self, peer: bytes, act: Callable[[], Any]) -> None:
        """Carry out what a peer caused; a broken rule costs it the message."""
        try:
            act()
        except ProtocolError as error:
            self._effects.append(MessageRejected(peer, str(error)))

    def accuse(self, plan: RoundPlan, evidence: Evidence) -> None:
        """Verify evidence that this node found itself; then keep it, tell it, and spread it."""
        self.evidence.accuse(plan, evidence)

    # --- receiving ------------------------------------------------------------------------------

    def _on_message(self, peer: bytes, payload: bytes) -> None:
        if not self.epochs.admits(peer):
            raise WrongContext("the peer is not in the census")
        message = codec.decode(payload, AnyMessage, bytes_max=self.params.message_bytes_max)
        if isinstance(message, Question):
            self._answer(peer, message)
        else:
            self._take(peer, message)

    def _answer(self, peer: bytes, question: Question) -> None:
        """Process a question within the peer's allowance. Raises RuleBroken when that is used up.

        Who asks honestly asks again after a while, as for what was lost. A request for a sum is
        passed on to other aggregators: this costs who made it, too.
        """
        self._answers.check(peer, self.now)
        before = len(self._effects)
        try:
            self._take(peer, question)
        finally:
            sent = [e for e in self._effects[before:] if isinstance(e, Send)]
            passes_on = isinstance(question, SumRequest)
            cost = sum(len(each.payload) for each in sent if passes_on or each.peer == peer)
            self._answers.charge(peer, self.now, cost)

    def _take(self, peer: bytes, message: AnyMessage) -> None:
        if isinstance(message, Announce | Request | Items):
            self._gossip.handle(peer, message, self.now)
        elif isinstance(message, ParcelMessage):
            self.parcels.handle(peer, message, self.now)
        elif isinstance(message, RegionMessage):
            self.actor_lists.handle(peer, message, self.now)
        else:
            self.rounds.route(peer, message)

    def _accept_item(self, peer: bytes, item: bytes) -> None:
        try:
            decoded = self._records.decode(item, AnyItem, bytes_max=self.params.item_bytes_max)
            match decoded:
                case Signed():
                    self.epochs.check(decoded)
                    self._on_public(decoded)
                case Record():
                    self.on_record(decoded, peer)
                case AbortCertificate() | Handover():
                    self.on_abort(decoded)
                case Evidence():
                    self.evidence.on_evidence(decoded, item, peer)
                case ActorProof():
                    self.study_keeper.on_actors(decoded)
                case SignedCensus():
                    self.epochs.on_census(decoded, self.now)
                    self._known = None
                case CensusFork():
                    self.epochs.on_fork(decoded)
        except ProtocolError:
            self._gossip.refuse(item)
            raise

    def _on_public(self, signed: Signed) -> None:
        body = self._records.decode(signed.body, PublicBody, bytes_max=MANIFEST_BYTES_MAX)
        if body.network != self.network:
            raise WrongContext("an item belongs to another network")
        match body:
            case NodeRecord():
                self._on_node_record(signed, body)
            case Join():
                self.study_keeper.on_join(signed, body)
            case Manifest():
                self.study_keeper.on_manifest(signed)

    def _on_node_record(self, signed: Signed, record: NodeRecord) -> None:
        if not self.epochs.admits(signed.signer):
            raise WrongContext("the address is of a node that left the census")
        known = self._node_records.get(signed.signer)
        if known is not None and known[0] >= record.sequence:
            self._gossip.refuse(self._records.encode(signed))
            return
        name = self._gossip.add(self._records.encode(signed))
        if known is not None:
            self._gossip.drop((known[1],))
        self._node_records[signed.signer] = (record.sequence, name)
        self._known = None
        if signed.signer != self.node_id:
            self._effects.append(LearnAddress(signed.signer, record.host, record.port))

    def on_record(self, record: Record, peer: bytes) -> None:
        """Take up the record of a round. Raises ProtocolError."""
        body = read_body(record)
        if body.study == epoch_chain_id(self.network):
            self.epochs.on_record(record, peer, self.now)
        else:
            self.study_keeper.on_record(record, body)

    def on_abort(self, certificate: AbortCertificate | Handover) -> None:
        """Take up that an attempt at a round ended unopened. Raises ProtocolError."""
        if isinstance(certificate, Handover):
            self.epochs.on_handover(certificate)
        else:
            self.study_keeper.on_abort(certificate)

    # --- between the parts ----------------------------------------------------------------------

    def _on_models(self, peer: bytes, names: tuple[bytes, ...]) -> None:
        self.models.on_announced(peer, names)

    def _needs_model(self, state: StudyState) -> bool:
        return self.study_keeper.needs_model(state)

    def _on_model(self, state: StudyState) -> None:
        self.study_keeper.on_model(state)

    def _accuse_in_draw(self, plan: RoundPlan, node: bytes, proof: TwoWords) -> None:
        self.evidence.accuse_in_draw(plan, node, proof)

    def _plan_at(self, evidence: Evidence) -> RoundPlan | None:
        """The plan of the attempt that evidence is about."""
        if evidence.study == epoch_chain_id(self.network):
            return self.epochs.chain.plan_at(evidence.round_number, evidence.attempt)
        state = self.studies.get(evidence.study)
        if state is None:
            return None
        return state.plan_at(evidence.round_number, evidence.attempt, self.params)

    def _census_of(self, study: bytes) -> Census | None:
        state = self.studies.get(study)
        return None if state is None else state.census

    def _on_admitted(self, plan: RoundPlan, evidence: Evidence) -> None:
        """Evidence is verified: the committee member that it concerns hears of it."""
        active = self.rounds.active.get(plan.context)
        member = None if active is None else active.member
        if isinstance(evidence.proof, AnyFalseVector) and member is not None:
            member.on_false_vector(evidence.proof)
