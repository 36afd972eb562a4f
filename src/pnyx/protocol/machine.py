"""The node's state machine: events in, effects out, no input or output of its own.

It owns the gossip store, the parcels and models, the epoch's beacon, every known study with its
chain of records, and the roles that this node plays in open rounds. Messages are bytes from
authenticated peers; each is size-checked, decoded, and handed to the part that can verify it. A
message that breaks a rule is dropped and noted; it never stops the node.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pnyx.errors import ProtocolError, RuleBroken, WrongContext
from pnyx.primitives import codec
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.actor_lists import ActorLists
from pnyx.protocol.censuses import CensusFork
from pnyx.protocol.chunks import Parcel, parcel_of
from pnyx.protocol.epoch_keeper import EpochKeeper
from pnyx.protocol.epochs import Epoch
from pnyx.protocol.events import (
    AskConsent,
    AttemptAborted,
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
    ForgetParcel,
    LearnAddress,
    MessageReceived,
    MessageRejected,
    ModelWanted,
    ParcelRead,
    PeerBlamed,
    PeerReachable,
    PeerUnreachable,
    Persist,
    RegionListed,
    RequestRefused,
    RoundCertified,
    Send,
    StudyFinished,
    StudyProposed,
    TimerExpired,
    TrainingFailed,
    TrainingFinished,
    VectorsSummed,
)
from pnyx.protocol.evidence.dockets import Conviction, Docket, Dockets
from pnyx.protocol.evidence.proofs import offence_of
from pnyx.protocol.gossip import Gossip, item_id
from pnyx.protocol.identity import Census, Others, SignedCensus, sign_body
from pnyx.protocol.manifest import (
    MANIFEST_BYTES_MAX,
    Manifest,
    check_sizes,
    read_manifest,
    study_id,
)
from pnyx.protocol.messages import (
    AbortCertificate,
    Announce,
    Evidence,
    FalseVector,
    GossipItem,
    GossipMessage,
    Indices,
    Items,
    Join,
    Message,
    NodeRecord,
    ParcelMessage,
    Pull,
    Record,
    Request,
    RoundMessage,
    Signed,
    Step,
    TwoWords,
)
from pnyx.protocol.models import Models, model_name
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.parcels import Parcels
from pnyx.protocol.ports import Crypto, IntVector, ModelRule, Records
from pnyx.protocol.round.active import ActiveRound
from pnyx.protocol.round.aggregator import Aggregator
from pnyx.protocol.round.attempts import abort_hash, without_outcome
from pnyx.protocol.round.committee import CommitteeMember
from pnyx.protocol.round.contributor import Contributor
from pnyx.protocol.round.plan import RoundPlan, epoch_chain_id
from pnyx.protocol.round.relay import EnvelopeRelay
from pnyx.protocol.round.services import RoundServices
from pnyx.protocol.round.vectors import vector_code
from pnyx.protocol.selection.region import ActorProof, RegionMessage
from pnyx.protocol.study import (
    StudyState,
    read_body,
    record_hash,
)

PublicBody = Manifest | Join | NodeRecord
AnyMessage = Message | RegionMessage
AnyItem = GossipItem | ActorProof | SignedCensus | CensusFork
_FINISHED_MAX = 256
_STALE_MAX = 64


def _abort_key(plan: RoundPlan) -> str:
    """Where an abort is stored until the round's record is in."""
    return f"chain/study/{plan.study.hex()}/abort/{plan.round_number:06d}"


def _node_ids(plan: RoundPlan, indices: Indices) -> list[bytes]:
    return [plan.census.node_ids[index] for index in indices]


class _StudyView:
    """What a committee member sees of its study."""

    def __init__(self, machine: "NodeMachine", plan: RoundPlan, state: StudyState | None) -> None:
        self._machine = machine
        self._plan = plan
        self._study = plan.study
        self._state = state

    def joined(self) -> Indices:
        """Census indices whose join is known."""
        return () if self._state is None else self._machine.joined(self._state.study)

    def actors(self) -> bytes:
        """The list of the next round's actors, where this study has such."""
        return self._machine.actor_lists.known(self._plan)

    def culprits(self) -> Indices:
        """Census indices of nodes that evidence convicts in this study."""
        return self._machine.dockets.culprits(self._plan.census, self._study)

    def next_census(self) -> bytes | None:
        """Root of the census that follows the plan's, where the round makes an epoch's beacon."""
        if not self._plan.makes_epoch:
            return None
        following = self._machine.epochs.censuses.successor(self._plan.census)
        return None if following is None else following.root

    def holds_model(self) -> bool:
        """Whether the model that the round starts from is here."""
        state = self._state
        return state is not None and state.holds_model and state.model_hash == self._plan.model_hash

    def next_model(self, model: bytes, total: IntVector, count: int) -> bytes | None:
        """The model that follows; depends on nothing that changes."""
        if self._state is None:
            raise ValueError("a model follows only in a study")
        return self._machine.rule.next_model(
            self._state.signed.body, self._plan.round_number, model, total, count
        )


class NodeMachine:
    """One node. Drive it with `handle`; wake it at `next_deadline` with TimerExpired.

    seed: 32 fresh secret bytes for every start of the process. contacts: peers whose address the
    shell knows from the start. restored: everything that earlier `Persist` effects stored and no
    `Forget` removed. census: that of the network's first committee. censuses: all that the shell
    knows, encoded as they were signed; authority_key: whose signature they need. unix_offset_s:
    unix time less the time that `handle` is given.
    records: how items of gossip are read and written.
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
    ) -> None:
        self.node_id = node_id
        self.network = census.network
        self.rule = rule
        self.params = params
        self.studies: dict[bytes, StudyState] = {}
        self._crypto = crypto
        self._records = records
        self._serve = serve
        self._sampler = Sampler(seed, "pnyx/machine")
        self._effects: list[Effect] = []
        self._local: deque[RoundMessage] = deque()
        self._encoded: tuple[object, bytes] | None = None
        self._now = now
        self._unreachable: set[bytes] = set()
        self._consents: set[bytes] = set()
        self._joins: dict[bytes, dict[bytes, Join]] = {}
        self._join_items: dict[tuple[bytes, bytes], bytes] = {}
        self._stale: OrderedDict[bytes, Signed] = (
            OrderedDict()
        )  # manifests that come too late to begin
        self._node_records: dict[bytes, tuple[int, bytes]] = {}
        self._contacts = frozenset(contacts)
        self._known: Sequence[bytes] | None = None  # None: look again
        self._rounds: dict[bytes, ActiveRound] = {}
        self._finished: OrderedDict[bytes, bytes] = OrderedDict()
        self._early: OrderedDict[int, tuple[bytes, RoundMessage, int]] = OrderedDict()
        self._early_bytes = 0
        self._early_next = 0
        self._restored = dict(restored)
        self.dockets = Dockets(crypto, params, records)
        self._gossip = Gossip(
            params,
            self._sampler,
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
            sampler=self._sampler,
            params=params,
            send=self.send,
            emit=self.emit,
            restored=self._restored,
            on_list=lambda proof: self._guard(node_id, lambda: self._on_actors(proof)),
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
            self._sampler,
            self.parcels,
            self._gossip,
            self._peers,
            self._needs_model,
            self._on_model,
        )
        self._address = address
        self._address_sequence = address_sequence
        self._started = False
        self._restoring = False
        self._models_wanted: set[bytes] = set()  # studies whose model the owner asks for

    # --- epochs and censuses --------------------------------------------------------------------

    @property
    def census(self) -> Census:
        """The census in force."""
        return self.epochs.census

    @property
    def index(self) -> int:
        """This node's place in the census in force; -1 if it has none."""
        return self._place_in(self.census)

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

    def _place_in(self, census: Census) -> int:
        found = census.index_of(self.node_id)
        return -1 if found is None else found

    def is_open(self, plan: RoundPlan) -> bool:
        """Whether this node takes part in a round now."""
        return plan.context in self._rounds

    def open_round(self, plan: RoundPlan) -> None:
        """Take part in a round of the chain of epochs."""
        self._open_round(plan, None)

    def end_round(self, plan: RoundPlan, name: bytes) -> None:
        """A round of the chain of epochs is over."""
        self._finish(plan.context, name)
        self._close_round(plan)

    def begin_epoch(self, epoch: Epoch) -> None:
        """An epoch has begun: open the studies that waited for it."""
        self._known = None  # who left the census is no peer any more
        self.actor_lists.enter(epoch.number, epoch.beacon)
        for state in self.studies.values():
            if state.manifest.epoch == epoch.number and state.plan is None and not state.finished:
                self._open_study(state, epoch)

    # --- the shell's side -----------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Process one event; return what the shell must do, in order."""
        self._now = now
        if not self._started:
            self._start()
        self._dispatch(event)
        while self._local:
            message = self._local.popleft()
            self._guard(self.node_id, lambda m=message: self._route(self.node_id, m, 0))
        self._gossip.flush(now)
        self.parcels.flush(now)
        effects, self._effects = self._effects, []
        self._encoded = None  # may be long: nothing holds it once it is on its way
        return effects

    def next_deadline(self) -> float | None:
        """When TimerExpired is due, on the caller's clock."""
        times = [self._gossip.next_deadline()]
        times += [
            time for active in self._rounds.values() if (time := active.next_deadline()) is not None
        ]
        others = (
            self.parcels.next_deadline(),
            self.actor_lists.next_deadline(),
            self.epochs.next_deadline(),
        )
        return min([*times, *(time for time in others if time is not None)])

    def _dispatch(self, event: Event) -> None:
        match event:
            case MessageReceived():
                self._guard(event.peer, lambda: self._on_message(event.peer, event.payload))
            case TimerExpired():
                self._on_timer()
            case PeerUnreachable():
                self._unreachable.add(event.peer)
                self.parcels.on_unreachable(event.peer)
                self._tick_rounds()
            case PeerReachable():
                self._unreachable.discard(event.peer)
            case TrainingFinished():
                self._on_trained(event, event.vector)
            case TrainingFailed():
                self._on_trained(event, None)
            case DebitRecorded() | DebitRefused():
                self._on_debit(event.context, granted=isinstance(event, DebitRecorded))
            case ConsentGiven() | ConsentDeclined():
                self._on_consent(event.study, given=isinstance(event, ConsentGiven))
            case StudyProposed():
                self._guard_owner(lambda: self._propose(event.manifest, event.model))
            case ChunkSent() | ParcelRead() | VectorsSummed() | Computed():
                self._on_parcel_event(event)
            case _:
                self._dispatch_rest(event)

    def _dispatch_rest(self, event: Event) -> None:
        match event:
            case ModelWanted():
                self._on_model_wanted(event.study)
            case RegionListed():
                self.actor_lists.on_listed(event, self._now)
            case _:
                raise TypeError(f"unknown event {type(event).__name__}")

    def _on_parcel_event(self, event: ChunkSent | ParcelRead | VectorsSummed | Computed) -> None:
        """Take what the shell did with large bytes; the round may have ended meanwhile."""
        match event:
            case ChunkSent():
                self.parcels.on_sent(event.peer, event.parcel, event.index)
            case ParcelRead():
                active = self._rounds.get(event.context)
                if active is not None:
                    act = active.on_parcel
                    self._guard(self.node_id, lambda: act(event.parcel, event.data, self._now))
            case Computed():
                active = self._rounds.get(event.context)
                if active is not None:
                    take = active.on_computed
                    self._guard(self.node_id, lambda: take(event.name, event.result, self._now))
            case VectorsSummed():
                self._on_summed(event, parcel_of(event.length, event.hashes))

    def _on_summed(self, event: VectorsSummed, parcel: Parcel) -> None:
        active = self._rounds.get(event.context)
        if active is None or active.aggregator is None:
            if parcel.name not in self.parcels:
                self.emit(ForgetParcel(parcel.name))
            return
        self.parcels.adopt(parcel, active.plan.scope)
        active.aggregator.on_summed(event.name, parcel.name)

    def _guard(self, peer: bytes, act: Any) -> None:
        """Carry out what a peer caused; a broken rule costs it the message."""
        try:
            act()
        except ProtocolError as error:
            self._effects.append(MessageRejected(peer, str(error)))

    def _guard_owner(self, act: Any) -> None:
        try:
            act()
        except ProtocolError as error:
            self._effects.append(RequestRefused(str(error)))

    # --- start and restart ----------------------------------------------------------------------

    def _start(self) -> None:
        self._started = True
        if self._address is not None:
            record = NodeRecord(
                self.network, self._address_sequence, self._address[0], self._address[1]
            )
            self._publish(sign_body(self._crypto, self.network, self.node_id, record))
        restored = self._restored
        for item in self.dockets.restore(restored, self.epochs.censuses):
            self._gossip.add(item)
        self.epochs.start(restored, self._now)
        for name in sorted(restored):
            if name.startswith("chain/manifest/"):
                self._restore_study(restored[name])

    def _restore_study(self, manifest: bytes) -> None:
        signed = codec.decode(manifest, Signed, bytes_max=2 * MANIFEST_BYTES_MAX)
        study = study_id(signed.body)
        prefix = f"chain/study/{study.hex()}"
        self._restoring = True
        join = self._restored.get(f"chain/join/{study.hex()}")
        if join is not None:
            self._on_public(codec.decode(join, Signed, bytes_max=MANIFEST_BYTES_MAX))
        self._on_public(signed)
        number = 0
        bytes_max = self.params.item_bytes_max
        while (stored := self._restored.get(f"{prefix}/record/{number:06d}")) is not None:
            self._on_record(codec.decode(stored, Record, bytes_max=bytes_max), self.node_id)
            number += 1
        plan = self.studies[study].plan
        aborted = self._restored.get(_abort_key(plan)) if plan is not None else None
        if aborted is not None:
            self._on_abort(codec.decode(aborted, AbortCertificate, bytes_max=bytes_max))
        self._restoring = False
        state = self.studies[study]
        if state.plan is not None:
            self._open_round(state.plan, state)
        self.models.look(state, self._now)

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
            prefix = effect.prefix
            self._restored = {k: v for k, v in self._restored.items() if not k.startswith(prefix)}
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
        failed: Callable[[bytes], None],
    ) -> None:
        """Pull a parcel for an attempt; see `Parcels.fetch`. What is told may break no rule."""

        def guarded(tell: Callable[[bytes], None]) -> Callable[[bytes], None]:
            return lambda name: self._guard(self.node_id, lambda: tell(name))

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

    def _persist(self, key: str, value: bytes) -> None:
        self._effects.append(Persist(key, value))

    # --- receiving ------------------------------------------------------------------------------

    def _on_message(self, peer: bytes, payload: bytes) -> None:
        if not self.epochs.admits(peer):
            raise WrongContext("the peer is not in the census")
        message = codec.decode(payload, AnyMessage, bytes_max=self.params.message_bytes_max)
        if isinstance(message, Announce | Request | Items):
            self._gossip.handle(peer, message, self._now)
        elif isinstance(message, ParcelMessage):
            self.parcels.handle(peer, message, self._now)
        elif isinstance(message, RegionMessage):
            self.actor_lists.handle(peer, message, self._now)
        else:
            self._route(peer, message, len(payload))

    def _route(self, sender: bytes, message: RoundMessage, size: int) -> None:
        active = self._rounds.get(message.context)
        if active is not None:
            index = active.plan.census.index_of(sender)
            if index is None:
                raise WrongContext("the peer is not in the census of this round")
            active.handle(index, message, self._now)
            return
        name = self._finished.get(message.context)
        item = self.epochs.item_of(message.context) if name is None else self._gossip.get(name)
        if item is not None and isinstance(message, Pull):
            self.send(sender, Items((item,)))  # whoever still asks about a finished round
        elif isinstance(message, Pull) and message.step is Step.DONE:
            return  # it asks how a round ended that has not ended here
        elif name is None and item is None:
            self._keep_early(sender, message, size)
            self.epochs.hear(sender, message, self._now)

    def _keep_early(self, sender: bytes, message: RoundMessage, size: int) -> None:
        """Keep messages of rounds that this node has not opened yet, within bounds."""
        self._early[self._early_next] = (sender, message, size)
        self._early_next += 1
        self._early_bytes += size
        while (
            len(self._early) > self.params.early_messages_max
            or self._early_bytes > self.params.early_bytes_max
        ):
            _, (_, _, dropped) = self._early.popitem(last=False)
            self._early_bytes -= dropped

    def _take_early(self, context: bytes) -> list[tuple[bytes, RoundMessage]]:
        taken: list[tuple[bytes, RoundMessage]] = []
        for key, (sender, message, size) in list(self._early.items()):
            if message.context == context:
                del self._early[key]
                self._early_bytes -= size
                taken.append((sender, message))
        return taken

    # --- gossip items ---------------------------------------------------------------------------

    def _publish(self, signed: Signed) -> None:
        """Spread a signed body of this node's own."""
        self._on_public(signed)

    def _accept_item(self, peer: bytes, item: bytes) -> None:
        try:
            decoded = self._records.decode(item, AnyItem, bytes_max=self.params.item_bytes_max)
            match decoded:
                case Signed():
                    self.epochs.check(decoded)
                    self._on_public(decoded)
                case Record():
                    self._on_record(decoded, peer)
                case AbortCertificate():
                    self._on_abort(decoded)
                case Evidence():
                    self._on_evidence(decoded, item, peer)
                case ActorProof():
                    self._on_actors(decoded)
                case SignedCensus():
                    self.epochs.on_census(decoded, self._now)
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
                self._on_join(signed, body)
            case Manifest():
                self._on_manifest(signed)

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

    def _on_join(self, signed: Signed, join: Join) -> None:
        node, state = signed.signer, self.studies.get(join.study)
        listed = self.epochs.admits(node) if state is None else node in state.census
        if not listed:
            raise WrongContext("a join comes from outside the census of its study")
        if state is None and join.study not in self._joins:
            ahead = sum(
                node in them for study, them in self._joins.items() if study not in self.studies
            )
            if ahead >= self.params.joins_ahead_max:
                raise RuleBroken("a node joins too many studies that nobody has proposed")
        joins = self._joins.setdefault(join.study, {})
        known = joins.get(node)
        if known is not None and known.sequence >= join.sequence:
            self._gossip.refuse(self._records.encode(signed))
            return
        joins[node] = join
        name = self._gossip.add(self._records.encode(signed))
        old = self._join_items.get((join.study, node))
        if old is not None:
            self._gossip.drop((old,))
        self._join_items[join.study, node] = name

    def joined(self, study: bytes) -> Indices:
        """Census indices of the owners that are known to lend their data to a study."""
        state = self.studies.get(study)
        if state is None:
            return ()
        places = (
            state.census.index_of(node)
            for node, join in self._joins.get(study, {}).items()
            if join.joined
        )
        return tuple(sorted(place for place in places if place is not None))

    def _on_manifest(self, signed: Signed, model: bytes | None = None) -> None:
        """Take up a study; `model` is its initial one if this node proposes it."""
        study = study_id(signed.body)
        if study in self.studies:
            if signed != self.studies[study].signed:
                self._gossip.refuse(self._records.encode(signed))  # somebody signed another's words
            return
        manifest = read_manifest(signed, self.network, self.params)
        census = self.epochs.chain.census_at(manifest.epoch)
        if model is not None:
            self._check_epoch(manifest)
        if census is None:
            return  # of an epoch that a record must begin
        if signed.signer not in census:
            raise WrongContext("a study is proposed from outside the census of its epoch")
        check_sizes(manifest, census.committee)
        if not (self._restoring or self._is_open_to(manifest)):
            self._keep_stale(study, signed)
            return
        proposed = sum(state.signed.signer == signed.signer for state in self.studies.values())
        if proposed >= self.params.manifests_per_proposer_max:
            raise RuleBroken("this proposer has too many studies already")
        if model is not None:  # durable first: without it the study could never train
            self.models.keep(study, model)
        state = StudyState(study, signed, manifest, census)
        self.studies[study] = state
        self._persist(f"chain/manifest/{study.hex()}", self._records.encode(signed))
        self._gossip.add(self._records.encode(signed))
        if self.node_id in census:
            self._effects.append(AskConsent(study, signed.body))
        epoch = self.epochs.chain.get(manifest.epoch)
        if epoch is not None:
            self._open_study(state, epoch)
        if not self._restoring:
            self.models.look(state, self._now)

    def _check_epoch(self, manifest: Manifest) -> None:
        """An owner proposes for the epoch that the network is in. Raises RuleBroken."""
        if manifest.epoch != self.epochs.chain.number:
            raise RuleBroken("the study names another epoch than the present one: propose it again")
        if self.epochs.expired(self._now):
            raise RuleBroken(
                "the last census has expired: ask the authority to publish a new one, and install "
                "it at one node"
            )

    def _is_open_to(self, manifest: Manifest) -> bool:
        """Whether a study may still begin in its epoch; see `params.epochs_open_behind`."""
        if self.epochs.expired(self._now):
            return False
        return manifest.epoch >= self.epochs.chain.number - self.params.epochs_open_behind

    def _keep_stale(self, study: bytes, signed: Signed) -> None:
        """What may not begin any more is taken up with the record that proves that it did begin."""
        self._stale[study] = signed
        if len(self._stale) > _STALE_MAX:
            self._stale.popitem(last=False)

    def _revive(self, study: bytes) -> None:
        signed = self._stale.pop(study, None)
        if signed is not None:
            self._restoring = True
            self._on_manifest(signed)
            self._restoring = False

    def _open_study(self, state: StudyState, epoch: Epoch) -> None:
        plan = state.open(epoch.beacon, self._crypto)
        self._open_round(plan, state)

    def _on_model(self, state: StudyState) -> None:
        """The current model of a study is here: who waited for it goes on."""
        active = self._rounds.get(state.plan.context) if state.plan is not None else None
        if active is not None:
            self._start_contributing(active, state)
            active.tick(self._now)
        if state.finished:
            self._effects.append(StudyFinished(state.study, state.model_hash))

    def _on_models(self, peer: bytes, names: tuple[bytes, ...]) -> None:
        self.models.on_announced(peer, names)

    def _needs_model(self, state: StudyState) -> bool:
        """Whether this node has a part in what the study does with its model now; see `models`."""
        mine = state.signed.signer == self.node_id or state.study in self._models_wanted
        if mine or self._willing(state.study):
            return True
        plan = state.plan
        if plan is None or plan.phase is None or plan.phase.kind != "train" or not self._serve:
            return False
        me = self._place_in(plan.census)
        return me in plan.member_of and len(plan.contributors) >= plan.cohort_min

    def _on_model_wanted(self, study: bytes) -> None:
        state = self.studies.get(study)
        if state is not None:
            self._models_wanted.add(study)
            self.models.look(state, self._now)

    def _on_actors(self, proof: ActorProof) -> None:
        """Keep the list for the round after the open one, of the first attempt that has one."""
        state, item = self.studies.get(proof.draw.study), self._records.encode(proof)
        if (
            state is None
            or state.plan is None
            or proof.draw.round_number > state.plan.round_number + 1
        ):
            return  # of a future that a record must open
        plan = state.plan
        if proof.draw.round_number <= plan.round_number:
            self._gossip.refuse(item)
            return
        known = self.actor_lists.known(plan)
        if self.actor_lists.take(plan, proof) is None:
            if item != known:
                self._gossip.refuse(item)
            return
        self._gossip.drop((item_id(known),) if known else ())
        self._gossip.add(item)
        active = self._rounds.get(plan.context)
        if active is not None:
            self._guard(self.node_id, lambda: active.tick(self._now))

    # --- evidence -------------------------------------------------------------------------------

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

    def accuse(self, plan: RoundPlan, evidence: Evidence) -> None:
        """Take evidence that this node found itself; what is not to be passed on is told only."""
        docket = self.dockets.of(plan.census)
        wanted = docket.wants(evidence, self.node_id)
        if wanted and docket.fits(evidence):
            self._guard(self.node_id, lambda: self._take_evidence(plan, evidence))
        else:
            offence = offence_of(evidence.proof)
            if wanted or docket.is_news(evidence.culprit, offence):
                node = plan.census.node_ids[evidence.culprit]
                self._effects.append(PeerBlamed(node, offence.value))

    def _accuse_in_draw(self, plan: RoundPlan, node: bytes, proof: TwoWords) -> None:
        culprit = plan.census.index_of(node)
        assert culprit is not None, "regions only hold nodes of the census"
        terms = plan.study, plan.round_number, plan.attempt
        self.accuse(plan, Evidence(*terms, culprit, proof))

    def _on_evidence(self, evidence: Evidence, item: bytes, peer: bytes) -> None:
        plan, state = self._plan_at(evidence), self.studies.get(evidence.study)
        if plan is not None:
            census = plan.census
        elif state is not None:
            census = state.census
        else:
            return  # of a study that this node does not know yet, nor whose census
        docket = self.dockets.of(census)
        if not docket.wants(evidence, peer):
            self._gossip.refuse(item)
            return
        if plan is None:
            return  # of an attempt that this node does not know yet
        try:
            self._take_evidence(plan, evidence)
        except ProtocolError:
            docket.failed(peer)
            raise

    def _take_evidence(self, plan: RoundPlan, evidence: Evidence) -> None:
        admitted = self.dockets.of(plan.census).admit(evidence, plan)
        for held in admitted.replaced:
            self.emit(Forget(held.key))
            self._gossip.drop((held.name,))
        if admitted.kept is not None:
            self._persist(admitted.kept.key, admitted.item)
            self._gossip.add(admitted.item)
        else:
            self._gossip.refuse(admitted.item)
        node = plan.census.node_ids[evidence.culprit]
        name = b"" if admitted.kept is None else admitted.kept.name
        self._effects.append(PeerBlamed(node, admitted.offence.value, name))
        active = self._rounds.get(plan.context)
        member = None if active is None else active.member
        if isinstance(evidence.proof, FalseVector) and member is not None:
            member.on_false_vector(evidence.proof)

    def _plan_at(self, evidence: Evidence) -> RoundPlan | None:
        """The plan of the attempt that evidence is about."""
        if evidence.study == epoch_chain_id(self.network):
            return self.epochs.chain.plan_at(evidence.round_number, evidence.attempt)
        state = self.studies.get(evidence.study)
        if state is None:
            return None
        return state.plan_at(evidence.round_number, evidence.attempt, self.params)

    def _away_in(self, study: bytes) -> Callable[[int], bool]:
        """Whether a node need not be waited for in a study: away, convicted, or revoked."""
        state = self.studies.get(study)
        census = self.census if state is None else state.census
        node_ids = census.node_ids

        def away(index: int) -> bool:
            node = node_ids[index]
            left = node in self._unreachable or self.epochs.has_left(node)
            return left or self.dockets.convicts(census, index, study)

        return away

    # --- records --------------------------------------------------------------------------------

    def _on_record(self, record: Record, peer: bytes) -> None:
        body = read_body(record)
        if body.study == epoch_chain_id(self.network):
            self.epochs.on_record(record, peer, self._now)
            return
        self._revive(body.study)
        state = self.studies.get(body.study)
        if state is None:
            return  # its manifest has not come yet
        if body.round_number < len(state.records):
            self._gossip.refuse(self._records.encode(record))  # of the past, whoever signed it
            return
        if state.plan is None or body.round_number != state.plan.round_number:
            return  # of a future that an earlier record must open
        opened, plan = state.plan, state.plan_of(record, self._crypto)
        accepted, following = state.accept(record, self._crypto, self.params)
        name = self._keep_record(plan, record)
        self._finish(plan.context, name)
        listed = self.actor_lists.close(plan)
        self._gossip.drop((item_id(listed),) if listed else ())
        held = state.holds_model  # the round did not change it
        self.models.adopt(state)  # computed here, it was kept for the attempt, which ends now
        if plan.model_hash != state.model_hash:
            self.models.release(state.study, plan.model_hash)
        self._close_round(opened)
        if record.abort is not None:
            self._settle_attempts(opened, plan, record, record.abort)
        if plan.round_number > 0:
            self._effects.append(
                RoundCertified(
                    state.study,
                    plan.round_number,
                    len(accepted.accepted),
                    accepted.metrics,
                    state.model_hash,
                    accepted.skipped,
                )
            )
        if following is not None:
            self._open_round(following, state)
        elif held:
            self._effects.append(StudyFinished(state.study, state.model_hash))
        elif not self._restoring:
            self.models.look(state, self._now)

    def _settle_attempts(
        self, opened: RoundPlan, plan: RoundPlan, record: Record, abort: AbortCertificate
    ) -> None:
        """After the record of a second attempt: it tells how both ended, and carries the abort."""
        self.emit(Forget(_abort_key(plan)))
        if opened != plan:  # this node, or this life of it, did not see the second attempt
            self._tell_aborted(opened, opened.attempt, abort_hash(abort))
            self._close_round(plan)
        if without_outcome(read_body(record)):
            self._tell_aborted(plan, plan.attempt, record_hash(record))
        self._gossip.drop((item_id(codec.encode(abort)),))
        self._finish(abort.aborted.context, self._finished[plan.context])

    def _finish(self, context: bytes, name: bytes) -> None:
        """Remember which item answers late questions about an attempt."""
        self._finished[context] = name
        while len(self._finished) > _FINISHED_MAX:
            self._finished.popitem(last=False)

    def _tell_aborted(self, plan: RoundPlan, attempt: int, certificate: bytes) -> None:
        self._effects.append(AttemptAborted(plan.study, plan.round_number, attempt, certificate))

    def _on_abort(self, certificate: AbortCertificate) -> None:
        """The first attempt of a round ended unopened: erase it, and open the second."""
        if certificate.study == epoch_chain_id(self.network):
            self.epochs.on_abort(certificate)
            return
        state = self.studies.get(certificate.study)
        if state is None or state.plan is None:
            return
        aborted, number = state.plan, certificate.round_number
        if number > aborted.round_number:
            return  # of a future that an earlier record must open
        if number < aborted.round_number or aborted.attempt > 1:
            self._gossip.refuse(codec.encode(certificate))
            return
        following = state.abort(certificate, self._crypto)
        encoded = self._records.encode(certificate)
        self._persist(_abort_key(aborted), encoded)
        self._tell_aborted(aborted, aborted.attempt, abort_hash(certificate))
        name = self._gossip.add(encoded, informed=self._members(aborted))
        self._finish(aborted.context, name)
        active = self._close_round(aborted)
        if active is not None:
            active.withhold(self._place_in(active.plan.census))
        self._open_round(following, state)

    def _keep_record(self, plan: RoundPlan, record: Record) -> bytes:
        encoded = self._records.encode(record)
        self._persist(f"chain/study/{plan.study.hex()}/record/{plan.round_number:06d}", encoded)
        return self._gossip.add(encoded, informed=self._members(plan))

    def _members(self, plan: RoundPlan) -> frozenset[bytes]:
        """The committee that made a record: its leader sends it to all of them."""
        return frozenset(plan.census.node_ids[index] for index in plan.committee)

    # --- rounds ---------------------------------------------------------------------------------

    def _open_round(self, plan: RoundPlan, state: StudyState | None) -> None:
        """Take up this node's roles in a round; while records are read back, in the last only."""
        if self._restoring:
            return  # what was signed in past rounds is forgotten, so nothing may be signed again
        self.actor_lists.open(plan, self._now, serve=self._serve)
        services = self._services(plan)
        me = self._place_in(plan.census)
        member = plan.member_of.get(me) if self._serve else None
        committee = (
            CommitteeMember(
                services,
                member,
                _StudyView(self, plan, state),
                self._away_in(plan.study),
                lambda record: self._on_own_record(plan, record),
                lambda certificate: self._guard(self.node_id, lambda: self._on_abort(certificate)),
                self._now,
            )
            if member is not None
            else None
        )
        contributor = None
        if state is not None and me in plan.contributor_set and self._willing(state.study):
            contributor = self._contributor(services, state)
        relay = aggregator = None
        if me in plan.aggregators and self._serve:
            relay, code = EnvelopeRelay(services), vector_code(plan)
            if code is not None:
                away = self._away_in(plan.study)
                aggregator = Aggregator(services, me, code, away)
        active = ActiveRound(plan, committee, contributor, relay, aggregator)
        self._rounds[plan.context] = active
        if committee is not None:
            self._guard(self.node_id, lambda: committee.start(self._now))
        if state is not None:
            self._start_contributing(active, state)
            self.models.look(state, self._now)
        for sender, message in self._take_early(plan.context):
            self._guard(
                sender,
                lambda s=sender, m=message: self._route(s, m, 0),
            )

    def _services(self, plan: RoundPlan) -> RoundServices:
        def stored(scope: str) -> dict[str, bytes]:
            prefix = f"{scope}/"
            return {
                key[len(prefix) :]: value
                for key, value in self._restored.items()
                if key.startswith(prefix)
            }

        return RoundServices(
            plan=plan,
            node_id=self.node_id,
            crypto=self._crypto,
            sampler=self._sampler,
            params=self.params,
            mailbox=self,
            restored=stored(plan.scope),
            restored_secrets=stored(plan.secret_scope),
        )

    def _contributor(self, services: RoundServices, state: StudyState) -> Contributor:
        return Contributor(
            services,
            state.signed.body,
            self._place_in(state.census),
            self._away_in(state.study),
            self._now,
        )

    def _willing(self, study: bytes) -> bool:
        """Whether the owner has joined and still consents."""
        mine = self._joins.get(study, {}).get(self.node_id)
        return study in self._consents and mine is not None and mine.joined

    def _start_contributing(self, active: ActiveRound, state: StudyState) -> None:
        contributor = active.contributor
        if contributor is not None and not contributor.started and state.holds_model:
            contributor.start(state.statistics)

    def _close_round(self, plan: RoundPlan) -> ActiveRound | None:
        """Drop the roles of a round whose record is in, and all that they stored."""
        self.emit(Forget(f"{plan.secret_scope}/"))
        self.emit(Forget(f"{plan.scope}/"))
        self.parcels.forget_scope(plan.scope)
        return self._rounds.pop(plan.context, None)

    def _on_own_record(self, plan: RoundPlan, record: Record) -> None:
        """This node led the round to its record: the committee hears of it first."""
        self._guard(self.node_id, lambda: self._on_record(record, self.node_id))
        push = Items((self._records.encode(record),))
        for peer in sorted(self._members(plan) - {self.node_id}):
            self.send(peer, push)

    def _on_trained(
        self, event: TrainingFinished | TrainingFailed, vector: IntVector | None
    ) -> None:
        state = self.studies.get(event.study)
        if state is None or state.plan is None:
            return
        attempt = state.plan.round_number, state.plan.attempt
        if attempt != (event.round_number, event.attempt):
            return  # a second attempt uses nothing of the first, its training included
        active = self._rounds.get(state.plan.context)
        if active is None or active.contributor is None:
            return
        if vector is None:
            active.withhold(self._place_in(active.plan.census))
        else:
            active.contributor.on_trained(vector, self._now)

    def _on_debit(self, context: bytes, *, granted: bool) -> None:
        active = self._rounds.get(context)
        if active is None or active.contributor is None:
            return
        if granted and self._willing(active.plan.study):
            active.contributor.on_debited(self._now)
        else:
            active.withhold(self._place_in(active.plan.census))

    def _on_timer(self) -> None:
        self._gossip.tick(self._now)
        self._tick_rounds()
        self.epochs.tick(self._now)
        self.actor_lists.tick(self._now)
        self.models.tick(self.studies.values(), self._now)
        self.parcels.tick(self._now)

    def _tick_rounds(self) -> None:
        for active in list(self._rounds.values()):
            self._guard(self.node_id, lambda a=active: a.tick(self._now))

    # --- the owner ------------------------------------------------------------------------------

    def _propose(self, manifest: bytes, model: bytes) -> None:
        body = codec.decode(manifest, Manifest, bytes_max=MANIFEST_BYTES_MAX)
        if (model_name(model), len(model)) != (body.initial_model, body.model_bytes):
            raise RuleBroken("the manifest names another initial model")
        signed = sign_body(self._crypto, self.network, self.node_id, body)
        self._on_manifest(signed, model)

    def _on_consent(self, study: bytes, *, given: bool) -> None:
        """Join or leave; a refusal takes effect before anything else is sent."""
        state = self.studies.get(study)
        if state is None:
            self._effects.append(RequestRefused("this study is not known here"))
            return
        if self.node_id not in state.census:
            reason = "this node was enrolled after the study's epoch: join one that is proposed now"
            self._effects.append(RequestRefused(reason))
            return
        mine = self._joins.get(study, {}).get(self.node_id)
        if given:
            self._consents.add(study)
        else:
            self._consents.discard(study)
            self._withhold(state)
        if (mine is not None and mine.joined) != given:
            sequence = 0 if mine is None else mine.sequence + 1
            join = Join(self.network, study, sequence, given)
            signed = sign_body(self._crypto, self.network, self.node_id, join)
            self._persist(f"chain/join/{study.hex()}", self._records.encode(signed))
            self._publish(signed)
        elif given and state.plan is not None:
            self._resume_contributing(state, state.plan)
        self.models.look(state, self._now)

    def _withhold(self, state: StudyState) -> None:
        active = self._rounds.get(state.plan.context) if state.plan is not None else None
        if active is not None:
            active.withhold(self._place_in(active.plan.census))

    def _resume_contributing(self, state: StudyState, plan: RoundPlan) -> None:
        """After a restart the consent arrives when the round is already open."""
        active = self._rounds.get(plan.context)
        if active is None or active.contributor is not None:
            return
        if self._place_in(plan.census) in plan.contributor_set and self._willing(state.study):
            active.contributor = self._contributor(self._services(plan), state)
            self._start_contributing(active, state)
