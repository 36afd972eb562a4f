"""What a node does about studies: hears of them, asks its owner, follows their chains.

The chain of one study is in `study`; this part connects all chains with gossip, with the rounds
that they open, and with what the owner wants. Everything that it takes up is durable before anybody
is told.

    manifest     -> verified, stored, passed on; the owner is asked; its epoch opens the first round
    record       -> verified by the one before, stored, passed on; closes its round, opens the next
    abort        -> verified, stored, passed on; closes the first attempt, opens the second
    list of actors -> verified, passed on; the committee of the open round waits for it
"""

from collections import OrderedDict
from collections.abc import Mapping

from pnyx.errors import RuleBroken, WrongContext
from pnyx.primitives import codec
from pnyx.protocol.actor_lists import ActorLists
from pnyx.protocol.epoch_keeper import EpochKeeper
from pnyx.protocol.epochs import Epoch
from pnyx.protocol.events import (
    AskConsent,
    AttemptAborted,
    ContributionCounted,
    Forget,
    NothingOpened,
    RequestRefused,
    RoundCertified,
    StudyFinished,
)
from pnyx.protocol.gossip import Gossip, item_id
from pnyx.protocol.host import Host
from pnyx.protocol.identity import sign_body
from pnyx.protocol.joins import Joins
from pnyx.protocol.manifest import (
    MANIFEST_BYTES_MAX,
    Manifest,
    check_sizes,
    read_manifest,
    study_id,
)
from pnyx.protocol.messages import AbortCertificate, Indices, Join, Record, RecordBody, Signed
from pnyx.protocol.models import Models, model_name
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.ports import Crypto, Records
from pnyx.protocol.round.attempts import abort_hash, without_outcome
from pnyx.protocol.round.groups import holds_contribution
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.round.values import check_agreeable
from pnyx.protocol.round_keeper import RoundKeeper, members_of
from pnyx.protocol.selection.region import ActorProof
from pnyx.protocol.study import StudyState, read_body, record_hash

_STALE_MAX = 64


def _abort_key(plan: RoundPlan) -> str:
    """Where an abort is stored until the round's record is in."""
    return f"chain/study/{plan.study.hex()}/abort/{plan.round_number:06d}"


class StudyKeeper:
    """Studies of one node, by study id.

    serve: whether the node computes for others.
    """

    def __init__(
        self,
        *,
        node_id: bytes,
        network: bytes,
        serve: bool,
        crypto: Crypto,
        records: Records,
        params: ProtocolParams,
        host: Host,
        gossip: Gossip,
        epochs: EpochKeeper,
        actor_lists: ActorLists,
        joins: Joins,
        models: Models,
        rounds: RoundKeeper,
    ) -> None:
        self.states: dict[bytes, StudyState] = {}
        self._node_id = node_id
        self._network = network
        self._serve = serve
        self._crypto = crypto
        self._records = records
        self._params = params
        self._host = host
        self._gossip = gossip
        self._epochs = epochs
        self._actor_lists = actor_lists
        self._joins = joins
        self._models = models
        self._rounds = rounds
        self._stale: OrderedDict[bytes, Signed] = OrderedDict()  # that come too late to begin
        self._models_wanted: set[bytes] = set()  # studies whose model the owner asks for
        self._restoring = False

    # --- start and restart ----------------------------------------------------------------------

    def start(self, restored: Mapping[str, bytes]) -> None:
        """Take up what was stored, and go on from there."""
        for name in sorted(restored):
            if name.startswith("chain/manifest/"):
                self._restore(restored[name], restored)

    def _restore(self, manifest: bytes, restored: Mapping[str, bytes]) -> None:
        signed = codec.decode(manifest, Signed, bytes_max=2 * MANIFEST_BYTES_MAX)
        study = study_id(signed.body)
        prefix = f"chain/study/{study.hex()}"
        self._restoring = True
        join = restored.get(f"chain/join/{study.hex()}")
        if join is not None:
            own = codec.decode(join, Signed, bytes_max=MANIFEST_BYTES_MAX)
            self.on_join(own, codec.decode(own.body, Join, bytes_max=MANIFEST_BYTES_MAX))
        self.on_manifest(signed)
        number = 0
        bytes_max = self._params.item_bytes_max
        while (stored := restored.get(f"{prefix}/record/{number:06d}")) is not None:
            record = codec.decode(stored, Record, bytes_max=bytes_max)
            self.on_record(record, read_body(record))
            number += 1
        plan = self.states[study].plan
        aborted = restored.get(_abort_key(plan)) if plan is not None else None
        if aborted is not None:
            self.on_abort(codec.decode(aborted, AbortCertificate, bytes_max=bytes_max))
        self._restoring = False
        state = self.states[study]
        if state.plan is not None:
            self._rounds.open(state.plan, state)
        self._models.look(state, self._host.now)

    # --- manifests ------------------------------------------------------------------------------

    def propose(self, manifest: bytes, model: bytes) -> None:
        """The owner proposes a study. Raises RuleBroken."""
        body = codec.decode(manifest, Manifest, bytes_max=MANIFEST_BYTES_MAX)
        if (model_name(model), len(model)) != (body.initial_model, body.model_bytes):
            raise RuleBroken("the manifest names another initial model")
        signed = sign_body(self._crypto, self._network, self._node_id, body)
        self.on_manifest(signed, model)

    def on_manifest(self, signed: Signed, model: bytes | None = None) -> None:
        """Take up a study; `model` is its initial one if this node proposes it.

        Raises ProtocolError.
        """
        study = study_id(signed.body)
        if study in self.states:
            if signed != self.states[study].signed:
                self._gossip.refuse(self._records.encode(signed))  # somebody signed another's words
            return
        manifest = read_manifest(signed, self._network, self._params)
        census = self._epochs.chain.census_at(manifest.epoch)
        if model is not None:
            self._check_epoch(manifest)
        if census is None:
            return  # of an epoch that a record must begin
        if signed.signer not in census:
            raise WrongContext("a study is proposed from outside the census of its epoch")
        check_sizes(manifest, census.committee)
        check_agreeable(manifest, census.committee)
        if not (self._restoring or self._is_open_to(manifest)):
            self._keep_stale(study, signed)
            return
        proposed = sum(state.signed.signer == signed.signer for state in self.states.values())
        if proposed >= self._params.manifests_per_proposer_max:
            raise RuleBroken("this proposer has too many studies already")
        if model is not None:  # durable first: without it the study could never train
            self._models.keep(study, model)
        state = StudyState(study, signed, manifest, census)
        self.states[study] = state
        self._host.persist(f"chain/manifest/{study.hex()}", self._records.encode(signed))
        self._gossip.add(self._records.encode(signed))
        if self._node_id in census:
            self._host.emit(AskConsent(study, signed.body))
        epoch = self._epochs.chain.get(manifest.epoch)
        if epoch is not None:
            self._open(state, epoch)
        if not self._restoring:
            self._models.look(state, self._host.now)

    def _check_epoch(self, manifest: Manifest) -> None:
        """An owner proposes for the epoch that the network is in. Raises RuleBroken."""
        if manifest.epoch != self._epochs.chain.number:
            raise RuleBroken("the study names another epoch than the present one: propose it again")
        if self._epochs.expired(self._host.now):
            raise RuleBroken(
                "the last census has expired: ask the authority to publish a new one, and install "
                "it at one node"
            )

    def _is_open_to(self, manifest: Manifest) -> bool:
        """Whether a study may still begin in its epoch; see `params.epochs_open_behind`."""
        if self._epochs.expired(self._host.now):
            return False
        return manifest.epoch >= self._epochs.chain.number - self._params.epochs_open_behind

    def _keep_stale(self, study: bytes, signed: Signed) -> None:
        """What may not begin any more is taken up with the record that proves that it did begin."""
        self._stale[study] = signed
        if len(self._stale) > _STALE_MAX:
            self._stale.popitem(last=False)

    def _revive(self, study: bytes) -> None:
        signed = self._stale.pop(study, None)
        if signed is not None:
            self._restoring = True
            self.on_manifest(signed)
            self._restoring = False

    def begin_epoch(self, epoch: Epoch) -> None:
        """An epoch has begun: open the studies that waited for it."""
        for state in self.states.values():
            if state.manifest.epoch == epoch.number and state.plan is None and not state.finished:
                self._open(state, epoch)

    def _open(self, state: StudyState, epoch: Epoch) -> None:
        self._open_round(state.open(epoch.beacon, self._crypto), state)

    def _open_round(self, plan: RoundPlan, state: StudyState) -> None:
        """Take part in a round; while records are read back, in the last only."""
        if not self._restoring:  # what was signed in past rounds is forgotten: sign nothing again
            self._rounds.open(plan, state)

    # --- records and aborts ---------------------------------------------------------------------

    def on_record(self, record: Record, body: RecordBody) -> None:
        """Take up the record of a study's round, whose body is `body`. Raises ProtocolError."""
        self._revive(body.study)
        state = self.states.get(body.study)
        if state is None:
            return  # its manifest has not come yet
        if body.round_number < len(state.records):
            self._gossip.refuse(self._records.encode(record))  # of the past, whoever signed it
            return
        if state.plan is None or body.round_number != state.plan.round_number:
            return  # of a future that an earlier record must open
        opened, plan = state.plan, state.plan_of(record, self._crypto)
        accepted, following = state.accept(record, self._crypto, self._params)
        name = self._keep_record(plan, record)
        self._rounds.finish(plan.context, name)
        listed = self._actor_lists.close(plan)
        self._gossip.drop((item_id(listed),) if listed else ())
        held = state.holds_model  # the round did not change it
        self._models.adopt(state)  # computed here, it was kept for the attempt, which ends now
        if plan.model_hash != state.model_hash:
            self._models.release(state.study, plan.model_hash)
        self._rounds.close(opened)
        if isinstance(record.abort, AbortCertificate):
            self._settle_attempts(opened, plan, record, record.abort)
        attempt = plan.study, plan.round_number, plan.attempt
        if accepted.skipped and not without_outcome(accepted):
            self._host.emit(NothingOpened(*attempt, record_hash(record)))
        if holds_contribution(plan, accepted, self._rounds.place_in(plan.census)):
            self._host.emit(ContributionCounted(*attempt, record_hash(record)))
        if plan.round_number > 0:
            self._host.emit(
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
            self._host.emit(StudyFinished(state.study, state.model_hash))
        elif not self._restoring:
            self._models.look(state, self._host.now)

    def _keep_record(self, plan: RoundPlan, record: Record) -> bytes:
        encoded = self._records.encode(record)
        self._host.persist(
            f"chain/study/{plan.study.hex()}/record/{plan.round_number:06d}", encoded
        )
        return self._gossip.add(encoded, informed=members_of(plan))

    def _settle_attempts(
        self, opened: RoundPlan, plan: RoundPlan, record: Record, abort: AbortCertificate
    ) -> None:
        """After the record of a second attempt: it tells how both ended, and carries the abort."""
        self._host.emit(Forget(_abort_key(plan)))
        if opened != plan:  # this node, or this life of it, did not see the second attempt
            self._tell_aborted(opened, abort_hash(abort))
            self._rounds.close(plan)
        if without_outcome(read_body(record)):
            self._tell_aborted(plan, record_hash(record))
        self._gossip.drop((item_id(self._records.encode(abort)),))
        self._rounds.finish(abort.aborted.context, self._rounds.finished[plan.context])

    def _tell_aborted(self, plan: RoundPlan, certificate: bytes) -> None:
        self._host.emit(AttemptAborted(plan.study, plan.round_number, plan.attempt, certificate))

    def on_abort(self, certificate: AbortCertificate) -> None:
        """The first attempt of a round ended unopened: erase it, and open the second.

        Raises ProtocolError.
        """
        state = self.states.get(certificate.study)
        if state is None or state.plan is None:
            return
        aborted, number = state.plan, certificate.round_number
        if number > aborted.round_number:
            return  # of a future that an earlier record must open
        if number < aborted.round_number or aborted.attempt > 1:
            self._gossip.refuse(self._records.encode(certificate))
            return
        following = state.abort(certificate, self._crypto)
        encoded = self._records.encode(certificate)
        self._host.persist(_abort_key(aborted), encoded)
        self._tell_aborted(aborted, abort_hash(certificate))
        name = self._gossip.add(encoded, informed=members_of(aborted))
        self._rounds.finish(aborted.context, name)
        active = self._rounds.close(aborted)
        if active is not None:
            active.withhold(self._rounds.place_in(active.plan.census))
        self._open_round(following, state)

    # --- lists of actors ------------------------------------------------------------------------

    def on_actors(self, proof: ActorProof) -> None:
        """Keep the list for the round after the open one, of the first attempt that has one.

        Raises ProtocolError.
        """
        state, item = self.states.get(proof.draw.study), self._records.encode(proof)
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
        known = self._actor_lists.known(plan)
        if self._actor_lists.take(plan, proof) is None:
            if item != known:
                self._gossip.refuse(item)
            return
        self._gossip.drop((item_id(known),) if known else ())
        self._gossip.add(item)
        active = self._rounds.active.get(plan.context)
        if active is not None:
            self._host.guard(self._node_id, lambda: active.tick(self._host.now))

    # --- models ---------------------------------------------------------------------------------

    def needs_model(self, state: StudyState) -> bool:
        """Whether this node has a part in what the study does with its model now; see `models`."""
        mine = state.signed.signer == self._node_id or state.study in self._models_wanted
        if mine or self._joins.willing(state.study):
            return True
        plan = state.plan
        if plan is None or plan.phase is None or plan.phase.kind != "train" or not self._serve:
            return False
        me = self._rounds.place_in(plan.census)
        return me in plan.member_of and len(plan.contributors) >= plan.cohort_min

    def on_model(self, state: StudyState) -> None:
        """The current model of a study is here: who waited for it goes on."""
        self._rounds.on_model(state)
        if state.finished:
            self._host.emit(StudyFinished(state.study, state.model_hash))

    def on_model_wanted(self, study: bytes) -> None:
        """The owner asks for the model of a study."""
        state = self.states.get(study)
        if state is not None:
            self._models_wanted.add(study)
            self._models.look(state, self._host.now)

    # --- joins and consent ----------------------------------------------------------------------

    def joined(self, study: bytes) -> Indices:
        """Census indices of the owners that are known to lend their data to a study."""
        state = self.states.get(study)
        return () if state is None else self._joins.joined(study, state.census)

    def on_join(self, signed: Signed, join: Join) -> None:
        """Take an owner's word about a study. Raises ProtocolError."""
        state = self.states.get(join.study)
        node = signed.signer
        listed = self._epochs.admits(node) if state is None else node in state.census
        if not listed:
            raise WrongContext("a join comes from outside the census of its study")
        self._joins.take(signed, join, self.states.__contains__)

    def on_consent(self, study: bytes, *, given: bool) -> None:
        """Join or leave; a refusal takes effect before anything else is sent."""
        state = self.states.get(study)
        if state is None:
            self._host.emit(RequestRefused("this study is not known here"))
            return
        if self._node_id not in state.census:
            reason = "this node was enrolled after the study's epoch: join one that is proposed now"
            self._host.emit(RequestRefused(reason))
            return
        mine = self._joins.of(study, self._node_id)
        self._joins.consent(study, given=given)
        if not given:
            self._rounds.withhold(state.plan)
        if (mine is not None and mine.joined) != given:
            sequence = 0 if mine is None else mine.sequence + 1
            join = Join(self._network, study, sequence, given)
            signed = sign_body(self._crypto, self._network, self._node_id, join)
            self._host.persist(f"chain/join/{study.hex()}", self._records.encode(signed))
            self.on_join(signed, join)
        elif given and state.plan is not None:
            self._rounds.resume_contributing(state, state.plan)
        self._models.look(state, self._host.now)
