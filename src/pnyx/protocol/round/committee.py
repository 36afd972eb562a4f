"""A committee member's part in one attempt of one round.

    OPEN       publish a round key -> agree on the list of round keys (the open certificate)
    CLOSE      deal beacon secrets, receive and receipt contributions -> agree on the closed list
    CHALLENGE  open the challenge secrets, only now
    ACCEPT     answer the challenge -> agree on the answers, and by them on the accepted set
    RELEASE    release the share of the sum, once; erase round key and shares
    CERTIFY    compute sum, model and next beacon; sign the round record

In every step the member gives one input to its leader and gets back something that proves itself:
a certificate, openings, or signed shares. So a leader can only delay, and then views.py replaces
it. `leader.py` is what a member does when it leads, `inputs.py` what it gives, `state.py` what it
knows, `outcome.py` what released shares come to. A member that waits in vain between OPEN and
ACCEPT gives up the attempt (attempts.py). Nothing is signed twice for one slot, and what must
survive a kill is persisted before the message that depends on it leaves.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import msgspec

from pnyx.errors import ProtocolError, RuleBroken
from pnyx.primitives import codec
from pnyx.protocol.aggregation import direct
from pnyx.protocol.events import ContributionsJudged, PeerBlamed, ReadParcel, StepReached
from pnyx.protocol.messages import (
    PARTED_BYTES_MAX,
    AbortCertificate,
    AnyFalseVector,
    Certificate,
    ChallengeReveal,
    CloseNow,
    CloseVote,
    Contribution,
    Dealing,
    Decision,
    FalseReceipt,
    GiveUp,
    Handover,
    HeadersRequest,
    Instance,
    MemberInput,
    Opening,
    Part,
    PartsRequest,
    Phase,
    Proposal,
    ProposedHash,
    Pull,
    Receipt,
    Record,
    RecordVote,
    ReleaseBundle,
    RoundMessage,
    ShareRequest,
    ShownValue,
    Step,
    SumRequest,
    ValueRequest,
    VectorSum,
    ViewChange,
    Vote,
)
from pnyx.protocol.round.attempts import skip_body
from pnyx.protocol.round.exclusions import excluded_after_abort
from pnyx.protocol.round.false_segments import shown_bytes
from pnyx.protocol.round.holdings import receipt_statement
from pnyx.protocol.round.inputs import Inputs
from pnyx.protocol.round.leader import Leader
from pnyx.protocol.round.outcome import Outcome
from pnyx.protocol.round.plan import HANDOVER
from pnyx.protocol.round.proposed import Proposals, signed_hash
from pnyx.protocol.round.services import RoundServices, StudyView
from pnyx.protocol.round.state import MemberState
from pnyx.protocol.round.values import ascending, header_hash, joins_root
from pnyx.protocol.round.vectors import sums_take_s, vouches_against

Large = Part | PartsRequest | ValueRequest | ShownValue | HeadersRequest
_FALSE_VECTORS_BYTES_MAX = 32 * 1024 * 1024  # of segments, a megabyte each
_SHOWN_MAX = 8  # times that a value, or headers, are shown to one member, who could ask for ever


class CommitteeMember(MemberState):
    """One member of one attempt; driven by `handle`, `tick` and `next_deadline`."""

    def __init__(
        self,
        services: RoundServices,
        member: int,
        study: StudyView,
        unreachable: Callable[[int], bool],
        on_record: Callable[[Record], None],
        on_abort: Callable[[AbortCertificate | Handover], None],
        now: float,
    ) -> None:
        super().__init__(services, member, study, unreachable, now)
        self.on_record = on_record
        self.on_abort = on_abort
        self.inputs = Inputs(self)
        self.outcome = Outcome(self)
        self.leader = Leader(self, self.outcome, self.certified)
        self.proposals = Proposals(services, member)
        self._early_contributions: dict[int, tuple[int, Contribution]] = {}
        self._early_dealings: dict[int, Dealing] = {}
        self._given: dict[Step, RoundMessage] = {}
        self._bundle_in_hand: ReleaseBundle | None = None  # until what it comes to is known
        self._to_lock: Certificate | None = None  # until the sums that it takes are here
        self._false_vectors: dict[bytes, AnyFalseVector] = {}  # by the header that says so
        self._reads_model = False
        self._resend_at = now + self.params.retransmit_s
        self._entered: Step | None = None
        self._input_due: float | None = None
        self._shown: Counter[tuple[int, bytes]] = Counter()  # (member, value) -> times
        self._headers_shown: Counter[int] = Counter()  # by member

    # --- driving -------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Enter the first step; after a restart, ask at once how far the others are."""
        self._advance(now)
        if "round-key" in self.services.restored and self._given:
            self._resend()

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        if self.over:
            return None
        times = [self._resend_at, self.leader.next_deadline(), self._input_due]
        times.append(self._patience_ends())
        times.append(self.parts.next_deadline())
        times.append(self.wanted_sums.next_deadline() if self.wanted_sums is not None else None)
        times.append(self.views.deadline(self._leader_unreachable()))
        return min(time for time in times if time is not None)

    def _patience_ends(self) -> float | None:
        """When this member gives up the attempt. CLOSE takes its time: count from its deadline."""
        step = self.step
        begins = self.inputs.close_deadline() if step is Step.CLOSE else self.step_at
        if step is Step.ACCEPT:
            begins += sums_take_s(self.plan, self.params)
        return self.patience.deadline(step, begins)

    def _give_up(self) -> None:
        """Give no more receipts or answers; from now on the leader gets this member's word."""
        self.stop()
        self.patience.give_up()
        self._given.pop(self.step, None)

    def _leader_unreachable(self) -> bool:
        return self.unreachable(self.plan.committee[self.views.leader])

    def tick(self, now: float) -> None:
        """Do what time asks for: resend, close, replace a silent leader, give up."""
        if self.over:
            return
        step = self.step
        patience_ends = self._patience_ends()
        if patience_ends is not None and now >= patience_ends:
            self._give_up()
        view_deadline = self.views.deadline(self._leader_unreachable())
        if view_deadline is not None and now >= view_deadline:
            self.views.advance(now)
            self._announce_view()
        if now >= self._resend_at:
            self._resend_at = now + self.params.retransmit_s
            self._resend()
        self.parts.tick(now)
        if self.wanted_sums is not None:
            self.wanted_sums.tick(now)
        if step is Step.RELEASE:
            self._read_model()
        self._advance(now)

    def on_parcel(self, parcel: bytes, data: bytes, now: float) -> None:
        """Take the model, or the sum of the masked vectors; then the record can be computed."""
        if self.over:
            return
        if parcel == self.plan.model_hash:
            self.model = data
            self._retry(now)
        elif self.wanted_sums is not None:
            self.wanted_sums.on_read(parcel, data)

    def on_computed(self, name: bytes, result: object, now: float) -> None:
        """Take a sum that was checked, or what the released shares came to."""
        if self.over:
            return
        summed = self.wanted_sums is not None and self.wanted_sums.on_computed(result)
        if summed or self.outcome.on_computed(name, result):
            self._retry(now)

    def _retry(self, now: float) -> None:
        """Something that a lock or the record needs has come."""
        if self._to_lock is not None:
            certificate, self._to_lock = self._to_lock, None
            self.views.wait(now)
            self._on_certificate(certificate, now)
        if self._bundle_in_hand is not None:
            self._on_bundle(self._bundle_in_hand)
        self._advance(now)

    def handle(self, sender: int, message: RoundMessage, now: float) -> None:
        """Process one message from the node with this census index. Raises ProtocolError."""
        if self.over:
            return
        if not self._handle_open_to_all(sender, message):
            member = self.plan.member_of.get(sender)
            if member is None:
                return
            if isinstance(message, Large):
                self._handle_large(member, message, now)
            else:
                self._handle_member(member, message, now)
        self._advance(now)

    def _handle_open_to_all(self, sender: int, message: RoundMessage) -> bool:
        """Messages that contributors and relays may send, or that prove themselves."""
        match message:
            case Contribution():
                self._on_contribution(sender, message)
            case Decision():
                self._on_decision(message)
            case Pull():
                self._on_pull(sender, message)
            case VectorSum():
                if self.wanted_sums is not None:
                    self.wanted_sums.on_sum(sender, message)
            case _:
                return False
        return True

    def _handle_member(self, member: int, message: RoundMessage, now: float) -> None:
        match message:
            case MemberInput():
                self.leader.on_input(member, message)
            case Opening():
                self.leader.on_opening(member, message)
            case Vote():
                self.leader.on_vote(member, message)
            case RecordVote():
                self.leader.on_record_vote(member, message)
            case Dealing():
                self._on_dealing(member, message)
            case CloseNow():
                self._on_close_now(message)
            case ChallengeReveal():
                self._on_reveal(message)
            case ReleaseBundle():
                self._on_bundle(message)
            case _:
                self._handle_agreement(member, message, now)

    def _handle_agreement(self, member: int, message: RoundMessage, now: float) -> None:
        match message:
            case Proposal():
                self._on_proposal(member, message, now)
            case ProposedHash():
                self.proposals.note(message, self.views.current)
            case Certificate():
                self._on_certificate(message, now)
            case ViewChange():
                self._on_view_change(member, message, now)
            case _:
                return

    def _on_headers_request(self, member: int, message: HeadersRequest) -> None:
        """Repeat the close vote with headers that the leader lacks; a few times.

        It carries as many as a message holds: the leader asks again for the others.
        """
        given = self._given.get(Step.CLOSE)
        if not isinstance(given, MemberInput) or member != self.views.leader:
            return
        if not ascending(message.names):
            raise RuleBroken("a leader asks for a header twice, or out of order")
        held = {name: self.holdings.headers[who] for who, name in self.holdings.receipted.items()}
        headers = [held[name] for name in message.names if name in held]
        if not headers or self._headers_shown[member] >= _SHOWN_MAX:
            return
        self._headers_shown[member] += 1
        room = self.params.message_bytes_max - len(codec.encode(given))
        shown = next(codec.runs(headers, room))
        self.services.send_member(member, MemberInput(self.plan.context, given.signed, shown))

    def _handle_large(self, member: int, message: Large, now: float) -> None:
        """What a leader says in parts counts as if it had said it in one; what one asks to see."""
        match message:
            case Part():
                read = self.parts.on_part(member, message, self.views.current, now)
                if read is not None:
                    self._handle_member(*read, now)
            case PartsRequest():
                self.parts.on_request(member, message)
            case ValueRequest():
                self._on_value_request(member, message)
            case HeadersRequest():
                self._on_headers_request(member, message)
            case ShownValue():
                self.leader.on_value(member, message)

    def _on_value_request(self, member: int, message: ValueRequest) -> None:
        """Show a new leader a value that this member echoed; each of them a few times."""
        value = self.agreements[message.instance].value_of(message.value_hash)
        asked = member, message.value_hash
        if value is None or self._shown[asked] >= _SHOWN_MAX:
            return  # nothing is remembered of values that are not here: anybody can name some
        self._shown[asked] += 1
        self.services.send_member(member, ShownValue(self.plan.context, message.instance, value))

    def _advance(self, now: float) -> None:
        """Enter steps, give inputs and lead, until nothing more follows."""
        while True:
            step = self.step
            if step is not self._entered:
                self._entered = step
                self.step_at = now
                self._resend_at = now + self.params.retransmit_s
                self.views.progress()
                self.services.emit(
                    StepReached(self.plan.study, self.plan.round_number, step.name.lower())
                )
                self._enter(step)
            self._give_input(step, now)
            self.leader.lead(now)
            if self.step is step:
                return

    def _enter(self, step: Step) -> None:
        if step is Step.CLOSE:
            self.holdings.restore(self.decided(Instance.OPEN), self.keys)
            self.dealer.deal(self.keys)
            self._take_early()
        elif step is Step.RELEASE:
            self._want_sums()
            self._read_model()
        elif step is Step.CHALLENGE and self.closed is not None:
            stored = self.services.restored.get("reveal")
            if stored is not None:
                self._on_reveal(codec.decode(stored, ChallengeReveal, bytes_max=PARTED_BYTES_MAX))
            self._request_missing()

    def _want_sums(self) -> None:
        """Ask for the sums of the masked vectors of the accepted set, where they are not here yet.

        Whoever locked the set holds them, so everybody is asked by now.
        """
        if self.wanted_sums is None or self.closed is None:
            return
        self.wanted_sums.want(self.closed, self.groups, self.step_at)
        self.wanted_sums.ask_too(self.closed, self.groups, self.plan.committee)

    def serve_sum(self, sender: int, request: SumRequest) -> bool:
        """Tell another member of a sum that this one holds; tells whether it does."""
        return self.wanted_sums is not None and self.wanted_sums.serve(sender, request)

    def _read_model(self) -> None:
        """Ask for the bytes of the model that the round is to move, once this node has them."""
        phase = self.plan.phase
        trains = phase is not None and phase.kind == "train" and not self.skipped
        if trains and not self._reads_model and self.study.holds_model():
            self._reads_model = True
            self.services.emit(ReadParcel(self.plan.context, self.plan.model_hash))

    def _take_early(self) -> None:
        """Check what came before the open certificate: one message a contributor and dealer."""
        for sender, contribution in self._early_contributions.values():
            with suppress(ProtocolError):  # dropped, as if it came now
                self._on_contribution(sender, contribution)
        for dealer, dealing in self._early_dealings.items():
            with suppress(ProtocolError):
                self._on_dealing(dealer, dealing)
        self._early_contributions.clear()
        self._early_dealings.clear()

    def _give_input(self, step: Step, now: float) -> None:
        """Send this member's input of a step once it is due; then wait for the leader."""
        self._input_due = None
        if step in self._given or step is Step.DONE:
            return
        message = self.inputs.make(step, now)
        if message is not None:
            self._given[step] = message
            self.services.send_member(self.views.leader, message)
            self.views.wait(now)
            return
        due = self.inputs.deadline(step)
        if due is not None and due > now:  # later, only what comes in can complete the input
            self._input_due = due

    def _resend(self) -> None:
        """Cover lost messages: input again, and ask how far the others are."""
        step = self.step
        if step is Step.CLOSE:
            for dealer in self.missing_dealers():
                self.services.send_member(dealer, Pull(self.plan.context, Step.CLOSE))
            if step in self._given and not self.patience.gave_up:
                self._given[step] = self.inputs.signed_close_vote()
        if step in self._given:
            self.services.send_member(self.views.leader, self._given[step])
        if not self.views.followed:
            self._announce_view()  # whoever comes back hears where the others wait for it
        pull = Pull(self.plan.context, step)
        other = self.services.sampler.below(len(self.plan.committee))
        for member in {self.views.leader, other} - {self.member}:
            self.services.send_member(member, pull)

    def _request_missing(self) -> None:
        missing = self.missing_contributors()
        if missing:
            for index in self.plan.aggregators:
                self.services.send(index, ShareRequest(self.plan.context, missing))

    # --- what comes in --------------------------------------------------------------------------

    def _on_contribution(self, sender: int, message: Contribution) -> None:
        if self.step is Step.OPEN:
            header = self.reader.header(message.header)
            if sender == header.contributor or header.contributor not in self._early_contributions:
                self._early_contributions[header.contributor] = (sender, message)
            return
        if self.member not in self.keys or self.step > Step.ACCEPT or not self.private_key:
            return
        signer = self.plan.census.index_of(message.header.signer)
        receipt = not self.stopped and signer not in self.study.culprits()
        try:
            name = self.holdings.add_contribution(
                message, self.decided(Instance.OPEN), receipt=receipt
            )
        except ProtocolError as error:
            known = header_hash(message.header)
            self._accuse_vouchers(known, self._false_vectors.get(known))
            if self.plan.census.node_ids[sender] == message.header.signer:
                self._blame(message.header.signer, str(error))  # anyone else may have altered it
            raise
        self._accuse_vouchers(name, self._false_vectors.get(name))
        header = self.reader.header(message.header)
        if self.holdings.receipted.get(header.contributor) == name:
            statement = receipt_statement(self.plan.context, self.member, name)
            self.services.send(
                header.contributor,
                Receipt(self.plan.context, self.member, name, self.services.crypto.sign(statement)),
            )

    def on_false_vector(self, proof: AnyFalseVector) -> None:
        """A masked vector is not what its header says: accuse the aggregators that vouched.

        Whoever vouched is known once this member was shown the receipt, before or after.
        """
        if not vouches_against(self.plan, proof):
            return  # no aggregator says what this shows to be false
        name, size = header_hash(proof.header), shown_bytes(proof)
        held = sum(map(shown_bytes, self._false_vectors.values()))
        if size + held <= _FALSE_VECTORS_BYTES_MAX:
            self._false_vectors.setdefault(name, proof)
        self._accuse_vouchers(name, proof)

    def _accuse_vouchers(self, name: bytes, proof: AnyFalseVector | None) -> None:
        """Accuse the aggregators that gave a receipt for a header, if this shows it to be false."""
        if proof is None:
            return
        contributor = self.reader.header(proof.header).contributor
        for receipt in self.holdings.vouchers(contributor, name):
            self.services.accuse(receipt.aggregator, FalseReceipt(proof, receipt))

    def _blame(self, node: bytes, rule: str) -> None:
        self.services.emit(PeerBlamed(node, rule))

    def _on_dealing(self, member: int, message: Dealing) -> None:
        if message.dealer != member:
            return
        if self.step is Step.OPEN:
            self._early_dealings.setdefault(member, message)
        elif self.member in self.keys and self.private_key:
            self.holdings.add_dealing(message, self.keys)

    def _on_proposal(self, member: int, message: Proposal, now: float) -> None:
        if member != self.plan.leader(message.view):
            return
        if message.view > self.views.current:
            return  # a view is reached by f + 1 members, not by a leader's word
        if self.proposals.within(message.view, self.views.current):
            self.proposals.note(signed_hash(message), self.views.current)
        if message.view < self.views.current:
            return
        if not self.can_judge(message.instance, message.value):
            self.services.send_member(member, Pull(self.plan.context, self.step))
            return
        self.views.wait(now)
        if message.value == HANDOVER and not self.patience.gave_up:
            return  # it comes again: those that wait do not go because others are impatient
        if not self.reader.enough_inputs(message.instance, message.value, message.view):
            raise RuleBroken("a leader proposes with fewer inputs than it could have")
        if message.proof is None and self.knows_better_actors(message.instance, message.value):
            raise RuleBroken("a leader proposes the actor list of a later attempt than is known")
        vote = self.agreements[message.instance].on_proposal(message)
        if vote is not None:
            self.services.send_member(member, vote)

    def _on_certificate(self, message: Certificate, now: float) -> None:
        agreement = self.agreements[message.instance]
        if agreement.decision is not None:
            return
        if not self.can_judge(message.instance, agreement.value_of(message.value_hash)):
            self.services.send_member(
                self.plan.leader(message.view), Pull(self.plan.context, self.step)
            )
            return
        if not self._may_answer(message, now):
            return
        outcome = agreement.on_certificate(message, self.views.current)
        leader = self.plan.leader(message.view)
        match outcome:
            case Vote():
                self.services.send_member(leader, outcome)
            case Decision():
                self._apply(message.instance, outcome.value)
            case None if message.phase is Phase.LOCK:
                self.services.send_member(leader, Pull(self.plan.context, self.step))

    def _may_answer(self, message: Certificate, now: float) -> bool:
        """Whether this member may lock what an echo certificate names, or else has to wait.

        Once keys are released somebody honest must hold the sums that they open. As long as this
        member bears with the attempt, the leader is not to blame for that.
        """
        agreement = self.agreements[message.instance]
        value = agreement.value_of(message.value_hash)
        if message.phase is not Phase.ECHO or value is None:
            return True
        if self.may_lock(message.instance, value):
            return True
        agreement.check_certificate(message)
        self.want_sums(value, now)
        self._to_lock = message
        self.ask_holders(value, [self.plan.leader(message.view)])
        if not self.patience.gave_up:
            self.views.pause()
        return False

    def _on_decision(self, message: Decision) -> None:
        agreement = self.agreements[message.instance]
        if self.can_judge(message.instance, message.value) and agreement.on_decision(message):
            self._apply(message.instance, message.value)

    def _apply(self, instance: Instance, value: bytes) -> None:
        """Take up a fixed value. It was validated by a quorum; reading it again cannot fail."""
        if self.may_abort(instance, value):
            self._abort()
        elif instance is Instance.OPEN:
            self.keys = self.reader.open_value(value)
        elif instance is Instance.CLOSE:
            self.closed = self.reader.close_value(value, self.keys, self.decided(Instance.OPEN))
        elif self.closed is not None and self.challenge is not None:
            self.judgement = self.reader.accept_value(value, self.closed, self.challenge)
            self._tell_judgement(self.judgement)
            decision = self.agreements[instance].decision
            if decision is not None:
                opened = self.holdings.opened
                self.disputes.judged(self.closed, self.judgement, decision, opened)

    def _abort(self) -> None:
        """Nothing of this attempt was or will be released: erase it; then try again, or skip."""
        plan, opened = self.plan, self.agreements[Instance.OPEN].decision
        aborted = self.agreements[plan.aborting].decision
        assert aborted is not None, "this was just decided"
        self.erase()
        if plan.hands_over:
            before = plan.abort.decisions if isinstance(plan.abort, Handover) else ()
            self.aborted = Handover(plan.study, plan.round_number, (*before, aborted))
        else:
            assert opened is not None, "an abort is decided after the list of round keys"
            self.aborted = AbortCertificate(plan.study, plan.round_number, opened, aborted)
        if self.over:
            self.on_abort(self.aborted)
            return
        opened_hash, aborted_hash = self.decided(Instance.OPEN), self.decided(Instance.ACCEPT)
        root = joins_root(self.joined, self.actors)
        excluded = excluded_after_abort(self.plan, aborted.value)
        self.body = codec.encode(skip_body(self.plan, opened_hash, aborted_hash, root, excluded))

    def _tell_judgement(self, judgement: direct.Judgement) -> None:
        node_ids = self.plan.census.node_ids
        broken = {
            who for who, rule in judgement.rejected.items() if rule is not None and rule.convicts
        }
        self.services.emit(
            ContributionsJudged(
                self.plan.study,
                self.plan.round_number,
                tuple(node_ids[who] for who in judgement.accepted),
                tuple(node_ids[who] for who in judgement.rejected if who in broken),
                tuple(node_ids[who] for who in judgement.rejected if who not in broken),
            )
        )

    def _on_close_now(self, message: CloseNow) -> None:
        bodies = [self.reader.member_body(signed) for signed in message.votes]
        voters = {body.member for body in bodies if isinstance(body, CloseVote)}
        left = {body.member for body in bodies if isinstance(body, GiveUp)}
        if len(voters) > self.plan.size.corrupt_max:
            self.close_forced = True
        if len(left) > self.plan.size.corrupt_max:
            self.patience.others_left()

    def _on_reveal(self, message: ChallengeReveal) -> None:
        if self.step is not Step.CHALLENGE:
            return
        openings = [(opening.member, opening.openings) for opening in message.openings]
        self.challenge = self.recover_challenge(openings)
        if self.challenge is not None:
            self.reveal = message

    def _on_bundle(self, message: ReleaseBundle) -> None:
        if self.step is not Step.RELEASE:
            return
        self._bundle_in_hand = message
        body = self.outcome.record_from(message)
        if body is not None:
            self.body = body
            self.bundle = message

    # --- the record -----------------------------------------------------------------------------

    def certified(self, record: Record) -> None:
        """The record is complete: hand it over."""
        self.record = record
        self.on_record(record)

    # --- views and laggards ---------------------------------------------------------------------

    def _current_instance(self) -> Instance:
        step = self.step
        if self.plan.hands_over and self.patience.gave_up:
            return Instance.CLOSE
        if step is Step.OPEN:
            return Instance.OPEN
        if self.plan.phase is None:
            return Instance.CLOSE
        leaving = self.patience.gave_up or self.agreements[Instance.ACCEPT].highest is not None
        return Instance.CLOSE if step is Step.CLOSE and not leaving else Instance.ACCEPT

    def _announce_view(self) -> None:
        instance = self._current_instance()
        leader = self.views.leader
        change = ViewChange(self.plan.context, self.views.current, self.step, instance, None)
        for member in range(len(self.plan.committee)):
            if member != leader:
                self.services.send_member(member, change)
        proof = self.agreements[instance].highest
        self.services.send_member(leader, msgspec.structs.replace(change, proof=proof))
        if self.step in self._given:
            self.services.send_member(self.views.leader, self._given[self.step])

    def _on_view_change(self, member: int, message: ViewChange, now: float) -> None:
        if message.proof is not None:
            self.agreements[message.instance].check_highest(message.proof)
        if self.views.on_change(member, message, now):
            self._announce_view()
        if member != self.member:
            if message.step < self.step:
                self._catch_up(self.plan.committee[member], message.step)
            elif message.step > self.step:
                self.services.send_member(member, Pull(self.plan.context, self.step))

    def _on_pull(self, sender: int, message: Pull) -> None:
        member = self.plan.member_of.get(sender)
        if message.step < self.step:
            self._catch_up(sender, message.step)
        if member is not None:
            if message.step is Step.CLOSE:
                self.dealer.repeat(member)
            self.leader.remind(member)

    def _catch_up(self, node_index: int, step: Step) -> None:
        """Send what ended each step since the one a node has come to."""
        endings: dict[Step, RoundMessage | None] = {
            Step.OPEN: self.agreements[Instance.OPEN].decision,
            Step.CLOSE: self.agreements[Instance.CLOSE].decision,
            Step.CHALLENGE: self.reveal,
            Step.ACCEPT: self.agreements[Instance.ACCEPT].decision,
            Step.RELEASE: self.bundle,
        }
        member = node_index in self.plan.member_of
        for ended, message in endings.items():
            if step <= ended < self.step and message is not None and (member or ended is Step.OPEN):
                self.services.send(node_index, message)
