"""The rounds that a node takes part in now: opens them, routes to their roles, closes them.

open    the roles that a plan gives this node, with what it stored for them; messages that came
        early go to them
route   a message to the roles of its round; after the round, an answer to whoever still asks
close   the roles go, and all that they stored
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial

from pnyx.errors import WrongContext
from pnyx.primitives import codec
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.actor_lists import ActorLists
from pnyx.protocol.chunks import parcel_of
from pnyx.protocol.epoch_keeper import EpochKeeper
from pnyx.protocol.events import (
    Computed,
    DebitRecorded,
    DebitRefused,
    Forget,
    ForgetParcel,
    ParcelRead,
    SummingFailed,
    TrainingFailed,
    TrainingFinished,
    VectorsSummed,
)
from pnyx.protocol.evidence.dockets import Dockets
from pnyx.protocol.gossip import Gossip
from pnyx.protocol.host import Host
from pnyx.protocol.identity import Census
from pnyx.protocol.joins import Joins
from pnyx.protocol.messages import Indices, Items, Pull, Record, RoundMessage, Step
from pnyx.protocol.models import Models
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.parcels import Parcels
from pnyx.protocol.ports import Crypto, IntVector, ModelRule, Records
from pnyx.protocol.round.active import ActiveRound
from pnyx.protocol.round.aggregator import Aggregator
from pnyx.protocol.round.committee import CommitteeMember
from pnyx.protocol.round.contributor import Contributor, forget_vector
from pnyx.protocol.round.early import EarlyMessages
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.round.relay import EnvelopeRelay
from pnyx.protocol.round.services import RoundServices
from pnyx.protocol.round.vectors import vector_code
from pnyx.protocol.study import StudyState

_FINISHED_MAX = 256


class _StudyView:
    """What a committee member sees of its study."""

    def __init__(self, keeper: "RoundKeeper", plan: RoundPlan, state: StudyState | None) -> None:
        self._keeper = keeper
        self._plan = plan
        self._state = state

    def joined(self) -> Indices:
        """Census indices whose join is known."""
        state = self._state
        return () if state is None else self._keeper.joins.joined(state.study, state.census)

    def actors(self) -> bytes:
        """The list of the next round's actors, where this study has such."""
        return self._keeper.actor_lists.known(self._plan)

    def culprits(self) -> Indices:
        """Census indices of nodes that evidence convicts in this study."""
        return self._keeper.dockets.culprits(self._plan.census, self._plan.study)

    def next_census(self) -> bytes | None:
        """Root of the census that follows the plan's, where the round makes an epoch's beacon."""
        if not self._plan.makes_epoch:
            return None
        following = self._keeper.epochs.censuses.successor(self._plan.census)
        return None if following is None else following.root

    def holds_model(self) -> bool:
        """Whether the model that the round starts from is here."""
        state = self._state
        return state is not None and state.holds_model and state.model_hash == self._plan.model_hash

    def next_model(self, model: bytes, total: IntVector, count: int) -> bytes | None:
        """The model that follows; depends on nothing that changes."""
        if self._state is None:
            raise ValueError("a model follows only in a study")
        return self._keeper.rule.next_model(
            self._state.signed.body, self._plan.round_number, model, total, count
        )


class RoundKeeper:
    """Rounds of one node.

    serve: whether the node computes for others. unreachable: peers that cannot be reached now; it
    changes under the keeper's eyes, as `restored` does: what the node stored and did not forget.
    """

    def __init__(
        self,
        *,
        node_id: bytes,
        serve: bool,
        crypto: Crypto,
        rule: ModelRule,
        records: Records,
        params: ProtocolParams,
        sampler: Sampler,
        restored: Mapping[str, bytes],
        unreachable: set[bytes],
        host: Host,
        gossip: Gossip,
        parcels: Parcels,
        epochs: EpochKeeper,
        dockets: Dockets,
        actor_lists: ActorLists,
        joins: Joins,
        models: Models,
    ) -> None:
        self.rule = rule
        self.epochs = epochs
        self.dockets = dockets
        self.actor_lists = actor_lists
        self.joins = joins
        self.active: dict[bytes, ActiveRound] = {}  # by context
        self.finished: OrderedDict[bytes, bytes] = OrderedDict()  # context -> item that tells
        self.early = EarlyMessages(
            messages_max=params.early_messages_max, bytes_max=params.early_bytes_max
        )
        self._node_id = node_id
        self._serve = serve
        self._crypto = crypto
        self._records = records
        self._params = params
        self._sampler = sampler
        self._restored = restored
        self._unreachable = unreachable
        self._host = host
        self._gossip = gossip
        self._parcels = parcels
        self._models = models

    def place_in(self, census: Census) -> int:
        """This node's place in a census; -1 if it has none."""
        found = census.index_of(self._node_id)
        return -1 if found is None else found

    def away_in(self, census: Census, study: bytes) -> Callable[[int], bool]:
        """Whether a node need not be waited for in a study: away, convicted, or revoked."""
        node_ids = census.node_ids

        def away(index: int) -> bool:
            node = node_ids[index]
            left = node in self._unreachable or self.epochs.has_left(node)
            return left or self.dockets.convicts(census, index, study)

        return away

    # --- opening and closing --------------------------------------------------------------------

    def open(self, plan: RoundPlan, state: StudyState | None) -> None:
        """Take up this node's roles in a round; `state` is that of its study, if it has one."""
        now = self._host.now
        self.actor_lists.open(plan, now, serve=self._serve)
        services = self.services(plan)
        me = self.place_in(plan.census)
        away = self.away_in(plan.census, plan.study)
        member = plan.member_of.get(me) if self._serve else None
        committee = (
            CommitteeMember(
                services,
                member,
                _StudyView(self, plan, state),
                away,
                lambda record: self._on_own_record(plan, record),
                lambda certificate: self._host.guard(
                    self._node_id, lambda: self._host.on_abort(certificate)
                ),
                now,
            )
            if member is not None
            else None
        )
        contributor = None
        if state is not None and me in plan.contributor_set and self.joins.willing(state.study):
            contributor = self._contributor(services, state)
        relay = aggregator = None
        if me in plan.aggregators and self._serve:
            relay, code = EnvelopeRelay(services), vector_code(plan)
            if code is not None:
                aggregator = Aggregator(services, me, code, away)
        active = ActiveRound(plan, committee, contributor, relay, aggregator)
        self.active[plan.context] = active
        if committee is not None:
            self._host.guard(self._node_id, lambda: committee.start(now))
        if state is not None:
            _start_contributing(active, state)
            self._models.look(state, now)
        for sender, payload in self.early.take(plan.context):
            self._host.guard(sender, partial(self._route_early, sender, payload))

    def close(self, plan: RoundPlan) -> ActiveRound | None:
        """Drop the roles of a round whose record is in, and all that they stored."""
        self._host.emit(Forget(f"{plan.secret_scope}/"))
        self._host.emit(Forget(f"{plan.scope}/"))
        self._parcels.forget_scope(plan.scope)
        return self.active.pop(plan.context, None)

    def finish(self, context: bytes, name: bytes) -> None:
        """Remember which item answers late questions about an attempt."""
        self.finished[context] = name
        while len(self.finished) > _FINISHED_MAX:
            self.finished.popitem(last=False)

    def services(self, plan: RoundPlan) -> RoundServices:
        """What the roles of a round work with, and what they stored for it earlier."""

        def stored(scope: str) -> dict[str, bytes]:
            prefix = f"{scope}/"
            return {
                key[len(prefix) :]: value
                for key, value in self._restored.items()
                if key.startswith(prefix)
            }

        return RoundServices(
            plan=plan,
            node_id=self._node_id,
            crypto=self._crypto,
            sampler=self._sampler,
            params=self._params,
            mailbox=self._host,
            restored=stored(plan.scope),
            restored_secrets=stored(plan.secret_scope),
        )

    def _on_own_record(self, plan: RoundPlan, record: Record) -> None:
        """This node led the round to its record: the committee hears of it first."""
        self._host.guard(self._node_id, lambda: self._host.on_record(record, self._node_id))
        push = Items((self._records.encode(record),))
        for peer in sorted(members_of(plan) - {self._node_id}):
            self._host.send(peer, push)

    # --- messages -------------------------------------------------------------------------------

    def route(self, sender: bytes, message: RoundMessage) -> None:
        """Hand a message to the roles of its round. Raises ProtocolError.

        What comes before its round is kept; who asks about one that is over is told its end.
        """
        now = self._host.now
        active = self.active.get(message.context)
        if active is not None:
            index = active.plan.census.index_of(sender)
            if index is None:
                raise WrongContext("the peer is not in the census of this round")
            active.handle(index, message, now)
            return
        name = self.finished.get(message.context)
        item = self.epochs.item_of(message.context) if name is None else self._gossip.get(name)
        if item is not None and isinstance(message, Pull):
            self._host.send(sender, Items((item,)))  # whoever still asks about a finished round
        elif isinstance(message, Pull) and message.step is Step.DONE:
            return  # it asks how a round ended that has not ended here
        elif name is None and item is None:
            self.early.keep(sender, message)
            self.epochs.hear(sender, message, now)

    def _route_early(self, sender: bytes, payload: bytes) -> None:
        self.route(sender, codec.decode(payload, RoundMessage, bytes_max=len(payload)))

    def tick(self) -> None:
        """Let every role do what time asks for."""
        for active in list(self.active.values()):
            self._host.guard(self._node_id, partial(active.tick, self._host.now))

    def next_deadline(self) -> float | None:
        """The earliest deadline of any role."""
        times = [active.next_deadline() for active in self.active.values()]
        return min((time for time in times if time is not None), default=None)

    # --- what the shell did for a role; its round may have ended meanwhile -----------------------

    def on_read(self, event: ParcelRead) -> None:
        """A parcel's bytes are here."""
        active = self.active.get(event.context)
        if active is not None:
            act = active.on_parcel
            self._host.guard(self._node_id, lambda: act(event.parcel, event.data, self._host.now))

    def on_computed(self, event: Computed) -> None:
        """Long work is done."""
        active = self.active.get(event.context)
        if active is not None:
            act = active.on_computed
            self._host.guard(self._node_id, lambda: act(event.name, event.result, self._host.now))

    def on_summed(self, event: VectorsSummed | SummingFailed) -> None:
        """Vectors are added, and their sum is stored; or they could not be."""
        active = self.active.get(event.context)
        aggregator = None if active is None else active.aggregator
        if isinstance(event, SummingFailed):
            if aggregator is not None:
                aggregator.on_summing_failed(event.name)
            return
        parcel = parcel_of(event.length, event.hashes)
        if active is None or aggregator is None:
            if parcel.name not in self._parcels:
                self._host.emit(ForgetParcel(parcel.name))
            return
        self._parcels.adopt(parcel, active.plan.scope)
        aggregator.on_summed(event.name, parcel.name, event.earlier)

    def on_trained(self, event: TrainingFinished | TrainingFailed, plan: RoundPlan | None) -> None:
        """Training has ended; `plan` is that of the attempt its study is in."""
        if plan is None or (plan.round_number, plan.attempt) != (event.round_number, event.attempt):
            return  # a second attempt uses nothing of the first, its training included
        active = self.active.get(plan.context)
        if active is None or active.contributor is None:
            return
        if isinstance(event, TrainingFailed):
            self._withhold(active)
        else:
            active.contributor.on_trained(event.vector, self._host.now)

    def on_debit(self, event: DebitRecorded | DebitRefused) -> None:
        """The owner's ledger has the debit of a contribution, or refuses it."""
        active = self.active.get(event.context)
        if active is None or active.contributor is None:
            return
        if isinstance(event, DebitRecorded) and self.joins.willing(active.plan.study):
            active.contributor.on_debited(self._host.now)
        else:
            self._withhold(active)

    # --- this node's contribution ---------------------------------------------------------------

    def withhold(self, plan: RoundPlan | None) -> None:
        """Send nothing (more) of this node's contribution to a round."""
        active = self.active.get(plan.context) if plan is not None else None
        if active is not None:
            self._withhold(active)

    def _withhold(self, active: ActiveRound) -> None:
        plan, earlier = active.plan, None
        if active.contributor is None:  # killed and back, before the owner was asked
            earlier = forget_vector(self.services(plan))
        active.withhold(self.place_in(plan.census), earlier)

    def resume_contributing(self, state: StudyState, plan: RoundPlan) -> None:
        """After a restart the consent arrives when the round is already open."""
        active = self.active.get(plan.context)
        if active is None or active.contributor is not None:
            return
        if self.place_in(plan.census) in plan.contributor_set and self.joins.willing(state.study):
            active.contributor = self._contributor(self.services(plan), state)
            _start_contributing(active, state)

    def on_model(self, state: StudyState) -> None:
        """The current model of a study is here: who waited for it goes on."""
        active = self.active.get(state.plan.context) if state.plan is not None else None
        if active is not None:
            _start_contributing(active, state)
            active.tick(self._host.now)

    def _contributor(self, services: RoundServices, state: StudyState) -> Contributor:
        return Contributor(
            services,
            state.signed.body,
            self.place_in(state.census),
            self.away_in(state.census, state.study),
            self._host.now,
        )


def members_of(plan: RoundPlan) -> frozenset[bytes]:
    """The committee that makes a record: its leader sends it to all of them."""
    return frozenset(plan.census.node_ids[index] for index in plan.committee)


def _start_contributing(active: ActiveRound, state: StudyState) -> None:
    contributor = active.contributor
    if contributor is not None and not contributor.started and state.holds_model:
        contributor.start(state.statistics)
