"""A committee member's part in one attempt of one round.

    OPEN       publish a round key -> agree on the list of round keys (the open certificate)
    CLOSE      deal beacon secrets, receive and receipt contributions -> agree on the closed list
    CHALLENGE  open the challenge secrets, only now
    ACCEPT     answer the challenge -> agree on the answers, and by them on the accepted set
    RELEASE    release the share of the sum, once; erase round key and shares
    CERTIFY    compute sum, model and next beacon; sign the round record

In every step the member gives one input to its leader and gets back something that proves itself:
a certificate, openings, or signed shares. So a leader can only delay, and then views.py replaces
it. `leader.py` is what a member does when it leads. A member that waits in vain between OPEN and
ACCEPT gives up the attempt (attempts.py). Nothing is signed twice for one slot, and what must
survive a kill is persisted before the message that depends on it leaves.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from pnyx.errors import DecodingError, MalformedMessage, ProtocolError, RuleBroken
from pnyx.primitives import codec
from pnyx.primitives.hashing import digest
from pnyx.protocol import beacon
from pnyx.protocol.aggregation import direct
from pnyx.protocol.aggregation.verdicts import Rule
from pnyx.protocol.aggregation.verification import (
    FieldShares,
    pack_answers,
    sum_share,
    summed_length,
    summed_vector,
)
from pnyx.protocol.aggregation.verification import answers as answer_challenge
from pnyx.protocol.agreement import Agreement, value_hash
from pnyx.protocol.events import ContributionsJudged, PeerBlamed, StepReached
from pnyx.protocol.gossip import blob_name
from pnyx.protocol.identity import signing_input
from pnyx.protocol.messages import (
    AbortCertificate,
    Certificate,
    ChallengeReveal,
    CloseNow,
    CloseVote,
    Contribution,
    Dealing,
    DealingShares,
    Decision,
    GiveUp,
    Indices,
    Instance,
    MemberInput,
    OpenedShare,
    Opening,
    Phase,
    Proposal,
    Pull,
    Receipt,
    Record,
    RecordBody,
    RecordVote,
    Release,
    ReleaseBundle,
    RoundKey,
    RoundMessage,
    ShareRequest,
    Signed,
    Step,
    VerifyResponse,
    ViewChange,
    Vote,
)
from pnyx.protocol.ports import IntVector
from pnyx.protocol.privacy import spent_after
from pnyx.protocol.round.attempts import ABORTABLE, NO_VALUE, Patience, skip_body
from pnyx.protocol.round.dispute import Disputes
from pnyx.protocol.round.exclusions import excluded_after
from pnyx.protocol.round.holdings import Holdings, dealing_info
from pnyx.protocol.round.leader import Leader
from pnyx.protocol.round.plan import ATTEMPTS_MAX
from pnyx.protocol.round.services import RoundServices
from pnyx.protocol.round.values import (
    VALUE_BYTES_MAX,
    ClosedList,
    InputReader,
    header_hash,
    headers_root,
    is_abort,
)
from pnyx.protocol.round.views import Views

_SECRET_BYTES = 96


def receipt_statement(context: bytes, member: int, name: bytes) -> bytes:
    """Bytes that a receipt signs."""
    return b"pnyx/receipt/" + digest("pnyx/receipt", context, member.to_bytes(4, "big"), name)


def joins_root(joins: Indices) -> bytes:
    """Commitment of a record to the joins of the next round."""
    return digest("pnyx/joins", b"".join(index.to_bytes(4, "big") for index in joins))


class StudyView(Protocol):
    """What a committee asks of the study that its round belongs to."""

    def joined(self) -> Indices:
        """Census indices whose join this node knows, ascending."""
        ...

    def culprits(self) -> Indices:
        """Census indices against which this node holds evidence, ascending."""
        ...

    def model(self) -> bytes | None:
        """The model of the previous record, once this node has it."""
        ...

    def next_model(self, total: IntVector, count: int) -> bytes | None:
        """The model that follows from a decoded sum; None when the sum means nothing."""
        ...


class CommitteeMember:
    """State of one member; driven by `handle`, `tick` and `next_deadline`."""

    def __init__(
        self,
        services: RoundServices,
        member: int,
        study: StudyView,
        unreachable: Callable[[int], bool],
        on_record: Callable[[Record], None],
        on_abort: Callable[[AbortCertificate], None],
        now: float,
    ) -> None:
        self.services = services
        self.plan = services.plan
        self.params = services.params
        self.member = member
        self.study = study
        self.unreachable = unreachable  # census index -> bool; a hint
        self.on_record = on_record
        self.on_abort = on_abort
        self.disputes = Disputes(services, member)
        self.reader = InputReader(self.plan, services.crypto, self.disputes.contradiction)
        self.views = Views(self.plan, self.params, member)
        self.agreements = {instance: self._agreement(instance) for instance in Instance}
        secret = services.restored.get("secret")
        if secret is None and "round-key" not in services.restored:
            secret = services.sampler.bytes(_SECRET_BYTES)
            services.persist_secret("secret", secret)
        self._secret = secret or b""
        self.holdings = Holdings(
            services, self.reader, member, self._secret[:32], self.disputes.unreadable
        )
        self.keys: dict[int, RoundKey] = {}
        self.closed: ClosedList | None = None
        self.challenge: bytes | None = None
        self.judgement: direct.Judgement | None = None
        self.bundle: ReleaseBundle | None = None
        self.wrong_releases: set[int] = set()  # members seen to release what cannot be right
        self.reveal: ChallengeReveal | None = None
        self.body: bytes | None = None
        self.record: Record | None = None
        self.aborted: AbortCertificate | None = None
        self.patience = Patience(services, member)
        self.computed_model: bytes | None = services.restored.get("model")
        self._early_contributions: dict[int, tuple[int, Contribution]] = {}
        self._early_dealings: dict[int, Dealing] = {}
        self._inputs: dict[Step, RoundMessage] = {}
        self._started_at = now
        self._step_at = now
        self._resend_at = now + self.params.retransmit_s
        self._entered: Step | None = None
        self._input_due: float | None = None
        self._dealt: dict[int, Dealing] = {}
        self._secrets_dealt: tuple[beacon.DealtSecret, beacon.DealtSecret] | None = None
        self.stopped = "stopped" in services.restored
        self._close_forced = False
        self.leader = Leader(self)

    def _agreement(self, instance: Instance) -> Agreement:
        validators = {
            Instance.OPEN: self._validate_open,
            Instance.CLOSE: self._validate_close,
            Instance.ACCEPT: self._validate_accept,
        }
        name = f"agreement/{instance.name.lower()}"
        return Agreement(
            context=self.plan.context,
            instance=instance,
            quorum=self.plan.size.quorum,
            public_keys=self.plan.public_keys,
            member=self.member,
            crypto=self.services.crypto,
            validate=validators[instance],
            persist=lambda slot: self.services.persist(name, slot),
            restored=self.services.restored.get(name),
        )

    # --- where the round stands ---------------------------------------------------------------

    @property
    def step(self) -> Step:
        """The first step whose outcome this member does not have."""
        if self._over:
            return Step.DONE
        if not self.keys:
            return Step.OPEN
        if self.aborted is not None:
            return Step.CERTIFY
        if self.closed is None:
            return Step.CLOSE
        if self.plan.phase is not None:
            if self.challenge is None:
                return Step.CHALLENGE
            if self.judgement is None:
                return Step.ACCEPT
        return Step.RELEASE if self.body is None else Step.CERTIFY

    @property
    def _over(self) -> bool:
        """Whether this attempt ended: by its record, or by an abort that a second one follows."""
        again = self.aborted is not None and self.plan.attempt < ATTEMPTS_MAX
        return self.record is not None or again

    @property
    def joined(self) -> Indices:
        """Joins of the next round: those of the closed list; after an abort they stay."""
        return self.plan.joins if self.closed is None or self.aborted else self.closed.joined

    @property
    def skipped(self) -> bool:
        """Whether the accepted set is below the floor, so that nothing is opened."""
        return self.judgement is None or len(self.judgement.accepted) < self.plan.cohort_min

    def decided(self, instance: Instance) -> bytes:
        """Hash of a fixed value, zero when the round has none."""
        return self.agreements[instance].decided_hash or NO_VALUE

    def listed(self) -> list[int]:
        """Members of the open list that are not known to be unreachable."""
        return [m for m in self.keys if not self.unreachable(self.plan.committee[m])]

    # --- driving -------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Enter the first step; after a restart, ask at once how far the others are."""
        self._advance(now)
        if "round-key" in self.services.restored and self._inputs:
            self._resend()

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        if self._over:
            return None
        times = [self._resend_at, self.leader.next_deadline(), self._input_due]
        times.append(self._patience_ends())
        times.append(self.views.deadline(self._leader_unreachable()))
        return min(time for time in times if time is not None)

    def _patience_ends(self) -> float | None:
        """When this member gives up the attempt. CLOSE takes its time: count from its deadline."""
        step = self.step
        begins = self._close_deadline() if step is Step.CLOSE else self._step_at
        return self.patience.deadline(step, begins)

    def _give_up(self) -> None:
        """Give no more receipts or answers; from now on the leader gets this member's word."""
        self._stop()
        self.patience.give_up()
        self._inputs.pop(self.step, None)

    def _leader_unreachable(self) -> bool:
        return self.unreachable(self.plan.committee[self.views.leader])

    def tick(self, now: float) -> None:
        """Do what time asks for: resend, close, replace a silent leader, give up."""
        if self._over:
            return
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
        self._advance(now)

    def handle(self, sender: int, message: RoundMessage, now: float) -> None:
        """Process one message from the node with this census index. Raises ProtocolError."""
        if self._over:
            return
        if not self._handle_open_to_all(sender, message):
            member = self.plan.member_of.get(sender)
            if member is None:
                return
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
            case _:
                return False
        return True

    def _handle_member(self, member: int, message: RoundMessage, now: float) -> None:
        match message:
            case MemberInput():
                self.leader.on_input(message)
            case Opening():
                self.leader.on_opening(member, message)
            case Vote():
                self.leader.on_vote(member, message)
            case RecordVote():
                self.leader.on_record_vote(member, message)
            case Dealing():
                self._on_dealing(member, message)
            case Proposal():
                self._on_proposal(member, message, now)
            case Certificate():
                self._on_certificate(message)
            case CloseNow():
                self._on_close_now(message)
            case ChallengeReveal():
                self._on_reveal(message)
            case ReleaseBundle():
                self._on_bundle(message)
            case ViewChange():
                self._on_view_change(member, message, now)
            case _:
                return

    def _advance(self, now: float) -> None:
        """Enter steps, give inputs and lead, until nothing more follows."""
        while True:
            step = self.step
            if step is not self._entered:
                self._entered = step
                self._step_at = now
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
            self._deal()
            self._take_early()
        elif step is Step.CHALLENGE and self.closed is not None:
            stored = self.services.restored.get("reveal")
            if stored is not None:
                self._on_reveal(codec.decode(stored, ChallengeReveal, bytes_max=VALUE_BYTES_MAX))
            self._request_missing()

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
        if step in self._inputs or step is Step.DONE:
            return
        makers: dict[Step, Callable[[float], RoundMessage | None]] = {
            Step.OPEN: self._round_key,
            Step.CLOSE: self._close_vote,
            Step.CHALLENGE: self._opening,
            Step.ACCEPT: self._response,
            Step.RELEASE: self._release,
            Step.CERTIFY: self._record_vote,
        }
        left = self.patience.gave_up and step in ABORTABLE
        message = self.patience.word() if left else makers[step](now)
        if message is not None:
            self._inputs[step] = message
            self.services.send_member(self.views.leader, message)
            self.views.wait(now)
            return
        due = self._step_deadline()
        if due is not None and due > now:  # later, only what comes in can complete the input
            self._input_due = due

    def _step_deadline(self) -> float | None:
        """When the input of the current step falls due by time alone."""
        if self._entered is Step.CLOSE:
            return self._close_deadline()
        if self._entered is Step.ACCEPT:
            return self._step_at + self.params.grace_s
        return None

    def _resend(self) -> None:
        """Cover lost messages: input again, and ask how far the others are."""
        step = self.step
        if step is Step.CLOSE:
            for dealer in self._missing_dealers():
                self.services.send_member(dealer, Pull(self.plan.context, Step.CLOSE))
            if step in self._inputs and not self.patience.gave_up:
                self._inputs[step] = self._signed_close_vote()
        if step in self._inputs:
            self.services.send_member(self.views.leader, self._inputs[step])
        pull = Pull(self.plan.context, step)
        other = self.services.sampler.below(len(self.plan.committee))
        for member in {self.views.leader, other} - {self.member}:
            self.services.send_member(member, pull)

    # --- inputs, step by step ------------------------------------------------------------------

    def _dealings(self) -> tuple[beacon.DealtSecret, beacon.DealtSecret] | None:
        if self._secret and self._secrets_dealt is None:
            self._secrets_dealt = (
                beacon.deal(self._secret[32:64], self.member, self.plan.size),
                beacon.deal(self._secret[64:96], self.member, self.plan.size),
            )
        return self._secrets_dealt

    def _round_key(self, now: float) -> RoundMessage | None:
        del now
        dealings = self._dealings()
        body = RoundKey(
            self.plan.context,
            self.member,
            self.services.crypto.envelope_public_key(self._secret[:32]) if self._secret else b"",
            dealings[0].root if dealings is not None else beacon.NO_DEALING,
            dealings[1].root if dealings is not None else beacon.NO_DEALING,
        )
        return MemberInput(self.plan.context, self.services.sign_once("round-key", body))

    def _deal(self) -> None:
        """Send this dealer's sealed shares to the listed members."""
        dealings = self._dealings()
        mine = self.keys.get(self.member)
        if dealings is None or mine is None or mine.next_dealing != dealings[0].root:
            return
        if self.member not in beacon.dealers_of(self.keys, self.plan.size):
            return
        for member, key in self.keys.items():
            shares = DealingShares(dealings[0].shares[member], dealings[1].shares[member])
            info = dealing_info(self.plan.context, self.member, member)
            try:
                sealed = self.services.crypto.seal(key.encryption_key, codec.encode(shares), info)
            except MalformedMessage:
                continue  # the member published no usable key: it harms itself only
            self._dealt[member] = Dealing(self.plan.context, self.member, sealed)
            self.services.send_member(member, self._dealt[member])
        self._secrets_dealt = None  # dealt once: nothing asks for them again

    def _missing_dealers(self) -> list[int]:
        return [
            dealer
            for dealer in beacon.dealers_of(self.keys, self.plan.size)
            if dealer not in self.holdings.next_shares
        ]

    def _close_deadline(self) -> float:
        dealt = self._step_at + self.params.dealing_deadline_s
        if self.plan.phase is not None:
            return max(self._step_at + self.plan.phase.deadline_s, dealt)
        ready = self._started_at + self.plan.join_window_s
        missing = [
            d for d in self._missing_dealers() if not self.unreachable(self.plan.committee[d])
        ]
        return ready if not missing else max(ready, dealt)

    def _enough_contributions(self) -> bool:
        """Whether the target is met, or everybody reachable that was drawn has contributed."""
        phase = self.plan.phase
        if phase is None:
            return False
        count = len(self.holdings.receipted)
        if count >= phase.target:
            return True
        return count >= self.plan.cohort_min and all(
            who in self.holdings.receipted or self.unreachable(who)
            for who in self.plan.contributors
        )

    def _close_vote(self, now: float) -> RoundMessage | None:
        if self.member not in self.keys:
            return None
        missing = [
            d for d in self._missing_dealers() if not self.unreachable(self.plan.committee[d])
        ]
        dealt = not missing or now >= self._step_at + self.params.dealing_deadline_s
        enough = len(self.holdings.next_shares) >= beacon.dealers_needed(self.plan.size)
        due = self._close_forced or self.stopped or now >= self._close_deadline()
        if not (enough and dealt and (due or self._enough_contributions())):
            return None
        self._stop()
        return self._signed_close_vote()

    def _stop(self) -> None:
        """Give no new receipts from now on, restarts included."""
        if not self.stopped:
            self.stopped = True
            self.services.persist("stopped", b"1")

    def _signed_close_vote(self) -> RoundMessage:
        """The close vote; signed anew when more dealings came, never with fewer contributions."""
        body = CloseVote(
            self.plan.context,
            self.member,
            self.holdings.held(),
            self.study.joined(),
            tuple(sorted(self.holdings.next_shares)),
            tuple(sorted(self.holdings.challenge_shares)),
            self.study.culprits(),
        )
        headers = tuple(self.holdings.headers[who] for who in sorted(self.holdings.receipted))
        return MemberInput(self.plan.context, self.services.sign(body), headers)

    def _opening(self, now: float) -> RoundMessage | None:
        if self.closed is None or self.member not in self.keys:
            self.views.wait(now)
            return None
        held = self.holdings.challenge_shares
        shares = tuple(held[d] for d in self.closed.challenge_dealers if d in held)
        return Opening(self.plan.context, self.member, shares)

    def _missing_contributors(self) -> tuple[int, ...]:
        if self.closed is None or self.member not in self.keys:
            return ()
        return tuple(
            who
            for who, header in sorted(self.closed.headers.items())
            if self.holdings.share_of(header) is None
        )

    def _request_missing(self) -> None:
        missing = self._missing_contributors()
        if missing:
            for index in self.plan.aggregators:
                self.services.send(index, ShareRequest(self.plan.context, missing))

    def _response(self, now: float) -> RoundMessage | None:
        if self.closed is None or self.challenge is None or self.member not in self.keys:
            self.views.wait(now)
            return None
        if self._missing_contributors() and now < self._step_at + self.params.grace_s:
            return None
        answers: list[tuple[int, IntVector]] = []
        for who, header in sorted(self.closed.headers.items()):
            share = self.holdings.share_of(header)
            if share is not None:
                self.holdings.store_late(who, header)
                answers.append((who, self._answer(share, header)))
        body = VerifyResponse(
            self.plan.context,
            self.member,
            self.challenge,
            tuple(who for who, _ in answers),
            headers_root([header_hash(self.closed.headers[who]) for who, _ in answers]),
            pack_answers([values for _, values in answers]),
        )
        return MemberInput(self.plan.context, self.services.sign_once("response", body))

    def _answer(self, share: FieldShares, header: Signed) -> IntVector:
        phase, challenge = self.plan.phase, self.challenge
        if phase is None or challenge is None:
            raise ValueError(
                "a contribution is checked in a round that takes some, once challenged"
            )
        claim = self.reader.claim(header)
        return answer_challenge(share, self.member, claim, challenge, phase.bounds, self.plan.size)

    def _release(self, now: float) -> RoundMessage | None:
        """Release once; then round key and shares are erased."""
        if self.closed is None or self.member not in self.keys:
            self.views.wait(now)
            return None
        held = self.holdings.next_shares
        body = Release(
            self.plan.context,
            self.member,
            self.decided(Instance.ACCEPT),
            self._sum_share(),
            tuple(held[dealer] for dealer in self.closed.next_dealers if dealer in held),
        )
        signed = self.services.sign_once("release", body)
        if self.reveal is not None:  # should every member be killed now, nobody could open again
            self.services.persist("reveal", codec.encode(self.reveal))
        self._erase()
        return MemberInput(self.plan.context, signed)

    def _erase(self) -> None:
        self._secret = b""
        self._secrets_dealt = None
        self.holdings.erase()
        self.services.erase_secrets()

    def _sum_share(self) -> bytes:
        judgement, closed, phase = self.judgement, self.closed, self.plan.phase
        if self.skipped or judgement is None or closed is None or phase is None:
            return b""
        if self.member not in judgement.pool:
            return b""
        shares = [self.holdings.share_of(closed.headers[who]) for who in judgement.accepted]
        present = [share for share in shares if share is not None]
        if len(present) < len(shares):
            return b""
        return sum_share(present, phase.bounds, self.plan.size)

    def _record_vote(self, now: float) -> RoundMessage | None:
        del now
        if self.body is None:
            return None
        hash_ = value_hash(self.body)
        if self.services.restored.get("record", hash_) != hash_:
            return None  # a member signs one record of a round, whatever it computes later
        self.services.persist("record", hash_)
        statement = signing_input(self.plan.census.network, self.body)
        return RecordVote(
            self.plan.context,
            self.member,
            hash_,
            self.services.crypto.sign(statement),
        )

    # --- what comes in --------------------------------------------------------------------------

    def _on_contribution(self, sender: int, message: Contribution) -> None:
        if self.step is Step.OPEN:
            header = self.reader.header(message.header)
            if sender == header.contributor or header.contributor not in self._early_contributions:
                self._early_contributions[header.contributor] = (sender, message)
            return
        if self.member not in self.keys or self.step > Step.ACCEPT or not self._secret:
            return
        signer = self.plan.census.index_of(message.header.signer)
        receipt = not self.stopped and signer not in self.study.culprits()
        try:
            name = self.holdings.add_contribution(
                message, self.decided(Instance.OPEN), receipt=receipt
            )
        except ProtocolError as error:
            if self.plan.census.node_ids[sender] == message.header.signer:
                self._blame(message.header.signer, str(error))  # anyone else may have altered it
            raise
        header = self.reader.header(message.header)
        if self.holdings.receipted.get(header.contributor) == name:
            statement = receipt_statement(self.plan.context, self.member, name)
            self.services.send(
                header.contributor,
                Receipt(self.plan.context, self.member, name, self.services.crypto.sign(statement)),
            )

    def _blame(self, node: bytes, rule: str) -> None:
        self.services.emit(PeerBlamed(node, rule))

    def _on_dealing(self, member: int, message: Dealing) -> None:
        if message.dealer != member:
            return
        if self.step is Step.OPEN:
            self._early_dealings.setdefault(member, message)
        elif self.member in self.keys and self._secret:
            self.holdings.add_dealing(message, self.keys)

    def _on_proposal(self, member: int, message: Proposal, now: float) -> None:
        if member != self.plan.leader(message.view):
            return
        if message.view > self.views.current:
            return  # a view is reached by f + 1 members, not by a leader's word
        if message.view < self.views.current:
            return
        if not self.can_judge(message.instance, message.value):
            self.services.send_member(member, Pull(self.plan.context, self.step))
            return
        self.views.wait(now)
        if not self.reader.enough_inputs(message.instance, message.value, message.view):
            raise RuleBroken("a leader proposes with fewer inputs than it could have")
        vote = self.agreements[message.instance].on_proposal(message)
        if vote is not None:
            self.services.send_member(member, vote)

    def can_judge(self, instance: Instance, value: bytes | None) -> bool:
        """Whether this member has what the validity of the instance's value depends on."""
        if instance is Instance.OPEN:
            return True
        if instance is Instance.CLOSE or (value is not None and is_abort(value)):
            return bool(self.keys)
        return self.closed is not None and self.challenge is not None

    def _on_certificate(self, message: Certificate) -> None:
        agreement = self.agreements[message.instance]
        if agreement.decision is not None:
            return
        if not self.can_judge(message.instance, agreement.value_of(message.value_hash)):
            self.services.send_member(
                self.plan.leader(message.view), Pull(self.plan.context, self.step)
            )
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

    def _on_decision(self, message: Decision) -> None:
        agreement = self.agreements[message.instance]
        if self.can_judge(message.instance, message.value) and agreement.on_decision(message):
            self._apply(message.instance, message.value)

    def _apply(self, instance: Instance, value: bytes) -> None:
        """Take up a fixed value. It was validated by a quorum; reading it again cannot fail."""
        if instance is Instance.OPEN:
            self.keys = self.reader.open_value(value)
        elif instance is Instance.CLOSE:
            self.closed = self.reader.close_value(value, self.keys, self.decided(Instance.OPEN))
        elif is_abort(value):
            self._abort()
        elif self.closed is not None and self.challenge is not None:
            self.judgement = self.reader.accept_value(value, self.closed, self.challenge)
            self._tell_judgement(self.judgement)
            decision = self.agreements[instance].decision
            if decision is not None:
                opened = self.holdings.opened
                self.disputes.judged(self.closed, self.judgement, decision, opened)

    def _abort(self) -> None:
        """Nothing of this attempt was or will be released: erase it; then try again, or skip."""
        opened = self.agreements[Instance.OPEN].decision
        aborted = self.agreements[Instance.ACCEPT].decision
        if opened is None or aborted is None:
            raise ValueError("an abort is decided after the list of round keys")
        self._erase()
        self.aborted = AbortCertificate(self.plan.study, self.plan.round_number, opened, aborted)
        if self._over:
            self.on_abort(self.aborted)
            return
        opened_hash, aborted_hash = self.decided(Instance.OPEN), self.decided(Instance.ACCEPT)
        root = joins_root(self.joined)
        self.body = codec.encode(skip_body(self.plan, opened_hash, aborted_hash, root))

    def _tell_judgement(self, judgement: direct.Judgement) -> None:
        node_ids = self.plan.census.node_ids
        broken = [
            node_ids[who]
            for who, rule in judgement.rejected.items()
            if rule in (Rule.RANGE, Rule.BOUND)
        ]
        self.services.emit(
            ContributionsJudged(
                self.plan.study,
                self.plan.round_number,
                len(judgement.accepted),
                tuple(broken),
                len(judgement.rejected) - len(broken),
            )
        )

    def _validate_open(self, value: bytes) -> None:
        self.reader.open_value(value)

    def _validate_close(self, value: bytes) -> None:
        self.reader.close_value(value, self.keys, self.decided(Instance.OPEN))

    def _validate_accept(self, value: bytes) -> None:
        if is_abort(value):
            self.reader.abort_value(value)
        elif self.closed is not None and self.challenge is not None:
            self.reader.accept_value(value, self.closed, self.challenge)

    def _on_close_now(self, message: CloseNow) -> None:
        bodies = [self.reader.member_body(signed) for signed in message.votes]
        voters = {body.member for body in bodies if isinstance(body, CloseVote)}
        left = {body.member for body in bodies if isinstance(body, GiveUp)}
        if len(voters) > self.plan.size.corrupt_max:
            self._close_forced = True
        if len(left) > self.plan.size.corrupt_max:
            self.patience.others_left()

    def recover_challenge(
        self, openings: list[tuple[int, tuple[OpenedShare, ...]]]
    ) -> bytes | None:
        """The challenge beacon from members' openings; None while they are too few."""
        if self.closed is None:
            return None
        secrets = beacon.recover_all(self.closed.challenge_dealers, openings, self.plan.size)
        if secrets is None:
            return None
        opened = self.agreements[Instance.OPEN].decision
        self.disputes.opened_secrets(opened, secrets, openings, challenge=True)
        purpose = f"challenge/{self.decided(Instance.CLOSE).hex()}"
        return beacon.combine(self.plan.context, purpose, secrets)

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
        body = self.record_from(message)
        if body is not None:
            self.body = body
            self.bundle = message

    # --- the record -----------------------------------------------------------------------------

    def read_release(self, signed: Signed) -> Release | None:
        """A release of this round and of the set that is fixed, or None. Raises ProtocolError."""
        body = self.reader.member_body(signed)
        if not isinstance(body, Release) or body.member not in self.keys:
            return None
        return body if body.accepted == self.decided(Instance.ACCEPT) else None

    def record_from(self, bundle: ReleaseBundle) -> bytes | None:
        """Compute the record body from released shares; None when they do not suffice."""
        closed = self.closed
        if closed is None:
            return None
        releases: dict[int, Release] = {}
        signed_by: dict[int, Signed] = {}
        for signed in bundle.releases:
            release = self.read_release(signed)
            if release is not None:
                releases[release.member], signed_by[release.member] = release, signed
        openings = [(member, release.openings) for member, release in releases.items()]
        secrets = beacon.recover_all(closed.next_dealers, openings, self.plan.size)
        if secrets is None:
            return None
        opened = self.agreements[Instance.OPEN].decision
        self.disputes.opened_secrets(opened, secrets, openings, challenge=False)
        try:
            outcome = self._outcome(releases)
        except DecodingError:
            return None
        if self.wrong_releases:
            self.disputes.released(signed_by, releases)
        if outcome is None:
            return None
        model_hash, metrics = outcome
        accepted = () if self.judgement is None else self.judgement.accepted
        return codec.encode(
            RecordBody(
                network=self.plan.census.network,
                study=self.plan.study,
                round_number=self.plan.round_number,
                attempt=self.plan.attempt,
                epoch=self.plan.epoch,
                census_root=self.plan.census.root,
                previous_record=self.plan.previous_record,
                context=self.plan.context,
                open_value=self.decided(Instance.OPEN),
                closed_value=self.decided(Instance.CLOSE),
                accepted_value=self.decided(Instance.ACCEPT),
                accepted=accepted if not self.skipped else (),
                skipped=self.skipped and self.plan.phase is not None,
                model_hash=model_hash,
                metrics=metrics,
                joins_root=joins_root(closed.joined),
                next_beacon=beacon.combine(self.plan.context, "next", secrets),
                privacy_spent=spent_after(
                    self.plan.privacy_spent, self.plan.phase, opened=not self.skipped
                ),
                excluded=excluded_after(self.plan, closed, self.judgement),
            )
        )

    def _outcome(self, releases: dict[int, Release]) -> tuple[bytes, tuple[int, ...]] | None:
        """Model hash and published metrics; None while the shares or the model are missing."""
        phase, judgement = self.plan.phase, self.judgement
        if phase is None or judgement is None or self.skipped:
            return self.plan.model_hash, ()
        length = summed_length(phase.bounds, self.plan.size)
        shares: dict[int, FieldShares] = {}
        for member, release in releases.items():
            if member in judgement.pool and release.shares:
                try:
                    shares[member] = direct.read_released(
                        release.shares, length, self.plan.size.packing
                    )
                except MalformedMessage:
                    self.wrong_releases.add(member)
        decoded, liars = direct.decode_sum(self.plan.size, shares, length)
        self.wrong_releases.update(liars)
        count = len(judgement.accepted)
        total = summed_vector(decoded, phase.bounds, self.plan.size)
        split = phase.bounds.length - phase.metrics_length
        metrics = tuple(int(value) for value in total[split:])
        if phase.kind != "train":
            return self.plan.model_hash, metrics
        if self.study.model() is None:
            return None
        self.computed_model = self.study.next_model(total, count)
        if self.computed_model is None:
            return self.plan.model_hash, ()
        # Before the vote that could certify it: a certified model must exist somewhere.
        self.services.persist("model", self.computed_model)
        return blob_name(self.computed_model), metrics

    def certified(self, record: Record) -> None:
        """The record is complete: hand it over."""
        self.record = record
        self.on_record(record)

    # --- views and laggards ---------------------------------------------------------------------

    def _current_instance(self) -> Instance:
        step = self.step
        if step is Step.OPEN:
            return Instance.OPEN
        leaving = self.patience.gave_up or self.agreements[Instance.ACCEPT].highest is not None
        return Instance.CLOSE if step is Step.CLOSE and not leaving else Instance.ACCEPT

    def _announce_view(self) -> None:
        instance = self._current_instance()
        highest = self.agreements[instance].highest
        change = ViewChange(
            self.plan.context,
            self.views.current,
            self.step,
            instance,
            highest[0] if highest is not None else None,
            highest[1] if highest is not None else None,
        )
        self.services.send_members(change)
        if self.step in self._inputs:
            self.services.send_member(self.views.leader, self._inputs[self.step])

    def _on_view_change(self, member: int, message: ViewChange, now: float) -> None:
        if message.proof is not None and message.value is not None:
            self.agreements[message.instance].check_highest(message.proof, message.value)
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
            if message.step is Step.CLOSE and member in self._dealt:
                self.services.send_member(member, self._dealt[member])
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
