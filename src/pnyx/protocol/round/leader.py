"""What a committee member does when it leads a view.

A leader collects the members' inputs of the current step and turns them into something that proves
itself: a proposal with its signed inputs, a certificate, openings, signed shares, a record. It
waits for all members that are listed and reachable, and with a quorum at hand no longer than the
grace time. It cannot forge, only delay; views.py ends that.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping

from pnyx.errors import ProtocolError, RuleBroken
from pnyx.primitives import codec
from pnyx.primitives.signature import QuorumCertificate
from pnyx.protocol.agreement import value_hash
from pnyx.protocol.identity import signing_input
from pnyx.protocol.large_messages import check_openings
from pnyx.protocol.messages import (
    Answered,
    Certificate,
    ChallengeReveal,
    CloseNow,
    CloseVote,
    Decision,
    EchoProof,
    GiveUp,
    HeadersRequest,
    HeldContribution,
    Instance,
    MemberInput,
    Opening,
    Phase,
    Record,
    RecordVote,
    Release,
    ReleaseBundle,
    RoundKey,
    ShownValue,
    Signed,
    Step,
    ValueRequest,
    VerifyResponse,
    Vote,
)
from pnyx.protocol.round.attempts import may_give_up
from pnyx.protocol.round.outcome import Outcome
from pnyx.protocol.round.plan import HANDOVER
from pnyx.protocol.round.state import MemberState
from pnyx.protocol.round.values import (
    VALUE_BYTES_MAX,
    AbortValue,
    AcceptValue,
    CloseValue,
    OpenValue,
    inputs_wanted,
)

_HEADERS_ASKED_MAX = 8  # times of one member, which could answer without them again and again


class Leader:
    """Inputs collected for one attempt, and what was made of them."""

    def __init__(
        self, state: MemberState, outcome: Outcome, on_record: Callable[[Record], None]
    ) -> None:
        self._m = state
        self._outcome = outcome
        self._on_record = on_record
        self._keys: dict[int, Signed] = {}
        self._close_votes: dict[int, tuple[Signed, CloseVote]] = {}
        self._headers: dict[bytes, Signed] = {}
        self._headers_asked: Counter[int] = Counter()  # by member
        self._responses: dict[int, tuple[VerifyResponse, Answered]] = {}  # not read yet
        self._good_responses: dict[int, Answered] = {}  # of those, whose answers can be read
        self._openings: dict[int, Opening] = {}
        self._releases: dict[int, Signed] = {}
        self._record_votes: dict[int, RecordVote] = {}
        self._first_ready: dict[tuple[Step, int], float] = {}
        self._deadline: float | None = None
        self._sums_until: dict[int, float] = {}  # view -> how long it waits for sums it lacks
        self._give_ups: dict[int, Signed] = {}
        self._called: set[tuple[type, int]] = set()
        self._ask_value_at: dict[bytes, float] = {}  # value that a leader lacks -> when again
        self._value_asked: Counter[bytes] = Counter()  # how often
        self._owed: dict[bytes, set[int]] = {}  # value -> members that were asked, and owe it

    def next_deadline(self) -> float | None:
        """When the grace for stragglers ends."""
        return self._deadline

    # --- collecting -----------------------------------------------------------------------------

    def on_input(self, member: int, message: MemberInput) -> None:
        """Keep a member's signed input, from itself: others could repeat an old one.

        Raises ProtocolError.
        """
        body = self._m.reader.member_body(message.signed)
        if body.member != member:
            raise RuleBroken("a member gives another member's input")
        match body:
            case RoundKey():
                self._keys[body.member] = message.signed
            case CloseVote():
                self._on_close_vote(message, body)
            case VerifyResponse():
                self._on_response(message, body)
            case Release():
                self._releases[body.member] = message.signed
            case GiveUp():
                self._give_ups[body.member] = message.signed

    def _on_response(self, message: MemberInput, response: VerifyResponse) -> None:
        if message.answers is None:
            raise RuleBroken("a response comes without its answers")
        self._m.reader.check_answers(message.answers)
        self._responses[response.member] = response, Answered(message.signed, message.answers)

    def _on_close_vote(self, message: MemberInput, vote: CloseVote) -> None:
        """Keep a vote with the headers that it names; those that no vote names any more go.

        This leader, a member too, has nearly all of them itself, and asks for the others.
        """
        wanted = {held.header_hash for held in vote.held}
        for signed in (*self._m.holdings.headers.values(), *message.attachments):
            name = self._m.reader.name(signed)
            if name in wanted and name not in self._headers:
                self._m.reader.header(signed)
                self._headers[name] = signed
        before = self._close_votes.get(vote.member)
        self._close_votes[vote.member] = (message.signed, vote)
        if before is not None and before[1].held != vote.held:
            named = {
                held.header_hash for _, kept in self._close_votes.values() for held in kept.held
            }
            self._headers = {n: signed for n, signed in self._headers.items() if n in named}
        missing = tuple(sorted(wanted - self._headers.keys()))
        if missing and self._headers_asked[vote.member] < _HEADERS_ASKED_MAX:
            self._headers_asked[vote.member] += 1
            request = HeadersRequest(self._m.plan.context, missing)
            self._m.services.send_member(vote.member, request)

    def on_opening(self, member: int, message: Opening) -> None:
        """Keep a member's shares of the challenge secrets. Raises MalformedMessage."""
        if message.member == member:
            check_openings(message.openings, member, self._m.plan.size)
            self._openings[member] = message

    def on_vote(self, member: int, vote: Vote) -> None:
        """Count a vote and spread the certificate that it completes. Raises ProtocolError."""
        if vote.member != member:
            return
        agreement = self._m.agreements[vote.instance]
        certificate = agreement.on_vote(vote)
        if vote.phase is Phase.LOCK:  # it holds the sums, which this leader may lack
            proposal = agreement.proposed(vote.view)
            assert proposal is not None, "a vote on it was taken"
            if self._m.needs_sums(vote.instance, proposal.value):
                self._m.ask_holders(proposal.value, [vote.member])
        if certificate is None:
            return
        self._m.services.send_members(certificate)
        if certificate.phase is Phase.LOCK and certificate.instance is Instance.OPEN:
            self._spread_open_certificate(certificate)

    def _spread_open_certificate(self, certificate: Certificate) -> None:
        """Tell contributors and aggregators the list of round keys."""
        proposal = self._m.agreements[Instance.OPEN].proposed(certificate.view)
        if proposal is None:
            return
        plan = self._m.plan
        decision = Decision(
            plan.context,
            Instance.OPEN,
            certificate.view,
            proposal.value,
            certificate.certificate,
        )
        for index in sorted({*plan.contributors, *plan.aggregators} - set(plan.committee)):
            self._m.services.send(index, decision)

    def on_record_vote(self, member: int, vote: RecordVote) -> None:
        """Keep a signature on the record body."""
        if vote.member == member:
            self._record_votes[member] = vote

    # --- leading --------------------------------------------------------------------------------

    def lead(self, now: float) -> None:
        """Take the round further if this member leads and has what it takes."""
        self._deadline = None
        if not self._m.views.leading:
            return
        if may_give_up(self._m.plan, self._m.step):
            self._lead_abort(now)
        match self._m.step:
            case Step.OPEN:
                self._lead_agreement(Instance.OPEN, self._open_value, now)
            case Step.CLOSE:
                self._call(CloseVote, [signed for signed, _ in self._close_votes.values()])
                self._lead_agreement(Instance.CLOSE, self._close_or_abort_value, now)
            case Step.CHALLENGE:
                self._lead_challenge(now)
            case Step.ACCEPT:
                self._lead_agreement(
                    Instance.ACCEPT,
                    lambda at: self._accept_value(at) or self._abort_value(at),
                    now,
                )
            case Step.RELEASE:
                self._lead_release(now)
            case Step.CERTIFY:
                self._lead_record()
            case Step.DONE:
                return

    def remind(self, member: int) -> None:
        """Repeat what this leader last said in the current agreement."""
        if not self._m.views.leading:
            return
        view = self._m.views.current
        for instance in Instance:
            agreement = self._m.agreements[instance]
            proposal = agreement.proposed(view)
            if agreement.decision is None and proposal is not None:
                self._m.parts.repeat(member, proposal)
                certificate = agreement.certified(view)
                if certificate is not None:
                    self._m.services.send_member(member, certificate)

    def _answers_wanted(self) -> int:
        """Inputs that a proposal needs in this view; see `values.inputs_wanted`."""
        return inputs_wanted(self._m.plan.size, self._m.views.current)

    def _ready(
        self,
        have: Collection[int],
        expected: Callable[[], Iterable[int]],
        minimum: int,
        now: float,
    ) -> bool:
        """All expected inputs are in, or the minimum is and the grace is over.

        expected: asked only once the minimum is in, as it looks at every member.
        """
        if len(have) < minimum:
            return False
        if all(member in have for member in expected()):
            return True
        first = self._first_ready.setdefault((self._m.step, self._m.views.current), now)
        ends = first + self._m.params.grace_s
        if now < ends:  # what is late is waited for, not polled
            self._wake_at(ends)
        return now >= ends

    def _reachable(self) -> list[int]:
        """Members that are not known to be unreachable, on the open list or not."""
        committee = enumerate(self._m.plan.committee)
        return [member for member, index in committee if not self._m.unreachable(index)]

    def _lead_agreement(
        self, instance: Instance, build: Callable[[float], bytes | None], now: float
    ) -> None:
        """Propose once per view: the value with the highest echo certificate, else a new one."""
        agreement = self._m.agreements[instance]
        view = self._m.views.current
        if agreement.decision is not None or agreement.proposed(view) is not None:
            return
        if agreement.led_before(view):
            said = agreement.led_value(view)
            if said is not None and self._m.can_judge(instance, said):
                proof = self._highest(instance)
                names = proof is not None and proof.value_hash == value_hash(said)
                self._propose(instance, said, proof if names else None)
            return
        proof = self._highest(instance)
        value = None if proof is None else agreement.value_of(proof.value_hash)
        if proof is not None and value is None:
            self._ask_value(instance, proof, now)
            return
        if value is not None and not self._m.may_lock(instance, value):
            if self._waits_for_sums(instance, value, now):
                return
            proof = self._highest(instance, lockable=True)
            value = None if proof is None else agreement.value_of(proof.value_hash)
        if value is None:
            proof, value = None, build(now)
        self._propose(instance, value, proof)

    def _propose(self, instance: Instance, value: bytes | None, proof: EchoProof | None) -> None:
        """Say a value to all, if enough follow: fewer than a quorum hand over, and no more."""
        if value is None or not (value == HANDOVER or self._m.views.quorum_follows):
            return
        proposal = self._m.agreements[instance].propose(self._m.views.current, value, proof)
        if proposal is not None:
            self._deadline = None
            self._m.parts.spread(proposal)

    def _waits_for_sums(self, instance: Instance, value: bytes, now: float) -> bool:
        """Whether to wait for the sums of a set that is said to be locked.

        Honest members that locked it hold them, and give them. Corrupt ones could say so of a set
        whose sums are nowhere, in every view: then this leader goes on without it, which those that
        have really locked it will not follow.
        """
        name = value_hash(value)
        reports = self._m.views.changes(instance).items()
        self._m.want_sums(value, now)
        self._m.ask_holders(
            value,
            [who for who, change in reports if change.proof and change.proof.value_hash == name],
        )
        view = self._m.views.current
        if view not in self._sums_until:
            self._sums_until[view] = now + self._m.params.grace_s
        ends = self._sums_until[view]
        if now < ends:
            self._wake_at(ends)
        return now < ends

    def _highest(self, instance: Instance, *, lockable: bool = False) -> EchoProof | None:
        """The highest echo certificate that is reported.

        lockable: of those only whose value, and the sums that it may open, this leader holds.
        """
        found = self._m.agreements[instance].highest
        for change in self._m.views.changes(instance).values():
            if change.proof is None:
                continue
            if lockable and not self._may_lock(instance, change.proof):
                continue
            if found is None or change.proof.view > found.view:
                found = change.proof
        return found

    def _may_lock(self, instance: Instance, proof: EchoProof) -> bool:
        value = self._m.agreements[instance].value_of(proof.value_hash)
        return value is not None and self._m.may_lock(instance, value)

    def _ask_value(self, instance: Instance, proof: EchoProof, now: float) -> None:
        """Ask f + 1 of those who echoed a value for it: one of them is honest, and so has it.

        Whoever was restarted since may have it no more: others are asked the next time.
        """
        if now < self._ask_value_at.get(proof.value_hash, now):
            self._wake_at(self._ask_value_at[proof.value_hash])
            return
        self._ask_value_at[proof.value_hash] = now + self._m.params.retransmit_s
        self._wake_at(self._ask_value_at[proof.value_hash])
        request = ValueRequest(self._m.plan.context, instance, proof.value_hash)
        signers = [member for member in proof.certificate.signers if member != self._m.member]
        count = self._m.plan.size.corrupt_max + 1
        first = self._value_asked[proof.value_hash] * count % len(signers)
        self._value_asked[proof.value_hash] += 1
        asked = [*signers[first:], *signers[:first]][:count]
        self._owed.setdefault(proof.value_hash, set()).update(asked)
        for member in asked:
            self._m.services.send_member(member, request)

    def on_value(self, member: int, message: ShownValue) -> None:
        """Take a value from a member that was asked for it. Raises RuleBroken for any other.

        Several are asked, and the first answer suffices: those of others come late, and are due.
        """
        name = value_hash(message.value)
        owing = self._owed.get(name, set())
        if member not in owing:
            raise RuleBroken("a value comes that was not asked for")
        owing.remove(member)
        self._ask_value_at.pop(name, None)
        self._m.agreements[message.instance].show(message.value)

    def _wake_at(self, time: float) -> None:
        self._deadline = time if self._deadline is None else min(self._deadline, time)

    def _open_value(self, now: float) -> bytes | None:
        if not self._ready(self._keys, self._reachable, self._answers_wanted(), now):
            return None
        return codec.encode(OpenValue(tuple(self._keys[m] for m in sorted(self._keys))))

    def _call(self, kind: type, votes: list[Signed]) -> None:
        """With f + 1 close votes, or words of giving up, call on the others to stop as well."""
        slot = kind, self._m.views.current
        needed = self._m.plan.size.corrupt_max + 1
        if slot in self._called or len(votes) < needed:
            return
        self._called.add(slot)
        self._m.parts.spread(CloseNow(self._m.plan.context, tuple(votes[:needed])))

    def _lead_abort(self, now: float) -> None:
        """End an attempt that enough gave up; or whatever the agreement that can end it came to.

        A value that a quorum may have locked goes first, once this leader can judge it.
        """
        self._call(GiveUp, list(self._give_ups.values()))
        instance, own = self._m.plan.aborting, Step.ACCEPT
        if instance is Instance.CLOSE:
            if not self._m.plan.hands_over:
                return  # given up in CLOSE alone
            own = Step.CLOSE
        highest = self._highest(instance)
        if highest is not None:
            value = self._m.agreements[instance].value_of(highest.value_hash)
            ready = value is None or self._m.can_judge(instance, value)  # None: ask for it
        else:
            ready = self._m.step is not own
        if ready:
            self._lead_agreement(instance, self._abort_value, now)

    def _close_or_abort_value(self, now: float) -> bytes | None:
        """A closed list; without contributions, else the words of those who gave it up."""
        value = self._close_value(now)
        if value is None and self._m.plan.aborting is Instance.CLOSE:
            return self._abort_value(now)
        return value

    def _abort_value(self, now: float) -> bytes | None:
        plan = self._m.plan
        if not self._ready(self._give_ups, self._reachable, plan.followers_min, now):
            return None
        if plan.hands_over:
            return HANDOVER
        return codec.encode(AbortValue(tuple(self._give_ups[m] for m in sorted(self._give_ups))))

    def _close_value(self, now: float) -> bytes | None:
        if len(self._close_votes) < self._m.plan.size.quorum:
            return None  # before the work that follows, which would be repeated with every vote
        opened = self._m.decided(Instance.OPEN)
        good = {
            HeldContribution(header.contributor, name)
            for name, signed in self._headers.items()
            if (header := self._m.reader.header(signed)).open_value == opened
        }
        votes = {
            member: (signed, vote)
            for member, (signed, vote) in self._close_votes.items()
            if member in self._m.keys and good.issuperset(vote.held)
        }
        if not self._ready(votes, self._m.listed, self._m.plan.size.quorum, now):
            return None
        value = self._fitting(votes)
        try:
            self._m.reader.close_value(value, self._m.keys, opened)
        except ProtocolError:
            return None  # too few dealers as yet: members send their votes again with more
        return value

    def _fitting(self, votes: Mapping[int, tuple[Signed, CloseVote]]) -> bytes:
        """The value of these votes; without the longest where it would be too long to read.

        f members can pad their votes and sign for headers of their own; a quorum stays without.
        """
        chosen = sorted(votes, key=lambda m: len(votes[m][0].body))
        while True:
            named = {held.header_hash for m in chosen for held in votes[m][1].held}
            value = codec.encode(
                CloseValue(
                    tuple(votes[m][0] for m in sorted(chosen)),
                    tuple(self._headers[name] for name in sorted(named)),
                    self._m.study.actors(),
                )
            )
            if len(value) <= VALUE_BYTES_MAX or len(chosen) == self._m.plan.size.quorum:
                return value
            chosen.pop()

    def _lead_challenge(self, now: float) -> None:
        minimum = self._m.plan.size.corrupt_max + 1
        if not self._ready(self._openings, self._m.listed, minimum, now):
            return
        openings = [self._openings[m] for m in sorted(self._openings)]
        if self._m.recover_challenge([(o.member, o.openings) for o in openings]) is not None:
            self._deadline = None
            reveal = ChallengeReveal(self._m.plan.context, tuple(openings[: 2 * minimum]))
            if self._m.recover_challenge([(o.member, o.openings) for o in reveal.openings]) is None:
                reveal = ChallengeReveal(self._m.plan.context, tuple(openings))
            self._m.parts.spread(reveal)

    def _accept_value(self, now: float) -> bytes | None:
        closed, challenge = self._m.closed, self._m.challenge
        if closed is None or challenge is None:
            return None
        good = self._good_responses
        while self._responses:  # list and challenge are fixed: each is read once
            member, (response, answered) = self._responses.popitem()
            if member not in self._m.keys:
                continue
            try:
                self._m.reader.answers(response, answered.answers, closed, challenge)
            except ProtocolError:
                continue  # an answer that would make the proposal invalid
            good[member] = answered
        if not self._ready(good, self._m.listed, self._answers_wanted(), now):
            return None
        return self._fitting_answers(good)

    def _fitting_answers(self, good: Mapping[int, Answered]) -> bytes:
        """The value of these answers; of as many as are wanted where all would be too long."""
        members = sorted(good)
        while True:
            value = codec.encode(AcceptValue(tuple(good[m] for m in members)))
            if len(value) <= VALUE_BYTES_MAX or len(members) <= self._answers_wanted():
                return value
            members.pop()

    def _lead_release(self, now: float) -> None:
        size = self._m.plan.size
        minimum = size.degree + 1 + size.corrupt_max
        if not self._ready(self._releases, self._m.listed, minimum, now):
            return
        bundle = ReleaseBundle(
            self._m.plan.context, tuple(self._releases[m] for m in sorted(self._releases))
        )
        body = self._outcome.record_from(bundle)
        if body is not None:
            self._deadline = None
            self._m.parts.spread(self._fewest(bundle, body, minimum))

    def _fewest(self, bundle: ReleaseBundle, body: bytes, minimum: int) -> ReleaseBundle:
        """The releases that the members need: D + 1 + f when nobody lies, else all.

        That many right shares prove the sum, as D + 1 of them are honest members'. With a wrong one
        every member needs the others as well, to see for itself who lies.
        """
        if self._m.wrong_releases:
            return bundle
        with_share = [
            signed
            for signed in bundle.releases
            if (release := self._outcome.read_release(signed)) is not None and release.shares
        ]
        fewer = ReleaseBundle(bundle.context, tuple(with_share[:minimum]))
        return fewer if self._outcome.record_from(fewer) == body else bundle

    def _lead_record(self) -> None:
        body = self._m.body
        if body is None:
            return
        plan = self._m.plan
        hash_ = value_hash(body)
        statement = signing_input(plan.census.network, body)
        good = {
            member: vote.signature
            for member, vote in self._record_votes.items()
            if vote.body_hash == hash_
        }
        if len(good) < plan.size.quorum:
            return
        for member in list(good):
            if not self._m.services.crypto.verify(
                plan.public_keys[member], statement, good[member]
            ):
                del good[member]
                del self._record_votes[member]
        if len(good) < plan.size.quorum:
            return
        signers = tuple(sorted(good))
        certificate = QuorumCertificate(signers, tuple(good[m] for m in signers))
        self._on_record(Record(body, self._m.joined, certificate, plan.abort, self._m.actors))
