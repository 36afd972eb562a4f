"""What a committee member has to give in each step, once it is due.

Whatever is signed is signed once for its slot, and persisted before it leaves.
"""

from collections.abc import Callable

from pnyx.primitives import codec
from pnyx.protocol import beacon
from pnyx.protocol.aggregation.verification import pack_answers, sum_share
from pnyx.protocol.agreement import value_hash
from pnyx.protocol.identity import signing_input
from pnyx.protocol.messages import (
    Answers,
    CloseVote,
    Instance,
    MemberInput,
    Opening,
    RecordVote,
    Release,
    RoundKey,
    RoundMessage,
    Step,
    VerifyResponse,
)
from pnyx.protocol.ports import IntVector
from pnyx.protocol.round.attempts import hopes_for_others, may_give_up
from pnyx.protocol.round.exclusions import to_name
from pnyx.protocol.round.state import MemberState
from pnyx.protocol.round.values import ClosedList, answer_leaves, answers_root

_TURN_S = 0.001


class Inputs:
    """The inputs of one member, by step."""

    def __init__(self, state: MemberState) -> None:
        self._m = state
        self._answers: dict[bytes, IntVector] = {}  # header hash -> to the one challenge
        self._goes_on_at: float | None = None  # with further answers, once others had a turn

    def make(self, step: Step, now: float) -> RoundMessage | None:
        """The input of a step; None while it is not due or something it needs is missing."""
        makers: dict[Step, Callable[[float], RoundMessage | None]] = {
            Step.OPEN: self._round_key,
            Step.CLOSE: self._close_vote,
            Step.CHALLENGE: self._opening,
            Step.ACCEPT: self._response,
            Step.RELEASE: self._release,
            Step.CERTIFY: self._record_vote,
        }
        left = self._m.patience.gave_up and may_give_up(self._m.plan, step)
        return self._m.patience.word() if left else makers[step](now)

    def deadline(self, step: Step) -> float | None:
        """When the input of a step falls due by time alone."""
        if step is Step.CLOSE:
            return self.close_deadline()
        if step is Step.ACCEPT:
            return self._goes_on_at or self._m.step_at + self._m.params.grace_s
        return None

    def _round_key(self, now: float) -> RoundMessage | None:
        del now
        key, dealings = self._m.private_key, self._m.dealer.roots()
        body = RoundKey(
            self._m.plan.context,
            self._m.member,
            self._m.services.crypto.envelope_public_key(key) if key else b"",
            *dealings,
        )
        return MemberInput(self._m.plan.context, self._m.services.sign_once("round-key", body))

    def close_deadline(self) -> float:
        """When the list of contributions, or of joins, closes by time alone."""
        dealt = self._m.step_at + self._m.params.dealing_deadline_s
        if self._m.plan.phase is not None:
            return max(self._m.step_at + self._m.plan.phase.deadline_s, dealt)
        ready = self._m.started_at + self._m.plan.join_window_s
        missing = self._m.awaited_dealers()
        return ready if not missing else max(ready, dealt)

    def _enough_contributions(self) -> bool:
        """Whether the target is met, or everybody reachable that was drawn has contributed."""
        phase = self._m.plan.phase
        if phase is None:
            return False
        count = len(self._m.holdings.receipted)
        if count >= phase.target:
            return True
        return all(
            who in self._m.holdings.receipted or self._m.unreachable(who)
            for who in self._m.plan.contributors
        ) and bool(self._m.plan.opened(self._m.holdings.receipted))

    def _below_the_floor_by_time(self) -> bool:
        """Whether the deadline alone would have this member vote for a list that opens nothing.

        Where another member has closed, and shows it, this one follows as before.
        """
        if self._m.close_forced or self._m.stopped or not hopes_for_others(self._m.plan):
            return False
        return not self._m.plan.opened(self._m.holdings.receipted)

    def _close_vote(self, now: float) -> RoundMessage | None:
        if self._m.member not in self._m.keys:
            return None
        due = self._m.close_forced or self._m.stopped or now >= self.close_deadline()
        if not (due or self._enough_contributions()):
            return None  # the cheapest to tell comes first: every message makes a member look
        if self._below_the_floor_by_time():
            self._m.stop()
            self._m.patience.give_up()
            return self._m.patience.word()
        dealt_by = self._m.step_at + self._m.params.dealing_deadline_s
        enough = len(self._m.holdings.next_shares) >= beacon.dealers_needed(self._m.plan.size)
        if not enough or (now < dealt_by and self._m.awaited_dealers()):
            return None
        if self._m.plan.following is not None and not self._m.study.actors():
            return None  # regions are still drawing the actors of the next round
        self._m.stop()
        return self.signed_close_vote()

    def signed_close_vote(self) -> RoundMessage:
        """The close vote; signed anew when more dealings came, never with fewer contributions."""
        body = CloseVote(
            self._m.plan.context,
            self._m.member,
            self._m.holdings.held(),
            self._m.study.joined(),
            tuple(sorted(self._m.holdings.next_shares)),
            tuple(sorted(self._m.holdings.challenge_shares)),
            to_name(self._m.plan, self._m.study.culprits()),
            self._m.study.next_census(),
        )
        return MemberInput(self._m.plan.context, self._m.services.sign(body))

    def _opening(self, now: float) -> RoundMessage | None:
        if self._m.closed is None or self._m.member not in self._m.keys:
            self._m.views.wait(now)
            return None
        held = self._m.holdings.challenge_shares
        shares = tuple(held[d] for d in self._m.closed.challenge_dealers if d in held)
        return Opening(self._m.plan.context, self._m.member, shares)

    def _response(self, now: float) -> RoundMessage | None:
        closed, challenge = self._m.closed, self._m.challenge
        if closed is None or challenge is None or self._m.member not in self._m.keys:
            self._m.views.wait(now)
            return None
        if self._m.missing_contributors() and now < self._m.step_at + self._m.params.grace_s:
            return None
        if self._compute_answers(closed, challenge):
            self._goes_on_at = now + _TURN_S
            return None
        self._goes_on_at = None
        answers: list[tuple[int, IntVector]] = []
        for who, header in sorted(closed.headers.items()):
            values = self._answers.get(self._m.reader.name(header))
            if values is not None:
                self._m.holdings.store_late(who, header)
                answers.append((who, values))
        given = Answers(
            tuple(who for who, _ in answers), pack_answers([values for _, values in answers])
        )
        names = [self._m.reader.name(closed.headers[who]) for who in given.held]
        root = answers_root(answer_leaves(names, given.values))
        body = VerifyResponse(self._m.plan.context, self._m.member, challenge, root)
        said = self._m.services.answer_once(body, given)
        return MemberInput(self._m.plan.context, said.signed, answers=said.answers)

    def _compute_answers(self, closed: ClosedList, challenge: bytes) -> bool:
        """Compute what is missing of the answers; tell whether there is more to do.

        Where masked updates are verified one takes tens of milliseconds for each million values, so
        that each has a turn of its own: the node is to hear others meanwhile.
        """
        phase = self._m.plan.phase
        one_at_a_time = phase is not None and phase.verified is not None
        for header in closed.headers.values():
            name, share = self._m.reader.name(header), self._m.holdings.share_of(header)
            if share is None or name in self._answers:
                continue
            self._answers[name] = self._m.reader.answer(header, self._m.member, share, challenge)
            if one_at_a_time:
                return True
        return False

    def _release(self, now: float) -> RoundMessage | None:
        """Release once; then round key and shares are erased."""
        if self._m.closed is None or self._m.member not in self._m.keys:
            self._m.views.wait(now)
            return None
        held = self._m.holdings.next_shares
        body = Release(
            self._m.plan.context,
            self._m.member,
            self._m.decided(Instance.ACCEPT),
            self._sum_share(),
            tuple(held[dealer] for dealer in self._m.closed.next_dealers if dealer in held),
        )
        signed = self._m.services.sign_once("release", body)
        if self._m.reveal is not None:  # should every member be killed now, nobody could open again
            self._m.services.persist("reveal", codec.encode(self._m.reveal))
        self._m.erase()
        return MemberInput(self._m.plan.context, signed)

    def _sum_share(self) -> bytes:
        """This member's share of the sum of each group that is opened; empty without all."""
        judgement, closed, phase = self._m.judgement, self._m.closed, self._m.plan.phase
        if judgement is None or closed is None or phase is None:
            return b""
        if self._m.member not in judgement.pool:
            return b""
        sums = []
        for group in self._m.groups.values():
            shares = [self._m.holdings.share_of(closed.headers[who]) for who in group]
            present = [share for share in shares if share is not None]
            if len(present) < len(shares):
                return b""
            sums.append(sum_share(present, phase.bounds, self._m.plan.size))
        return b"".join(sums)

    def _record_vote(self, now: float) -> RoundMessage | None:
        del now
        if self._m.body is None:
            return None
        hash_ = value_hash(self._m.body)
        if self._m.services.restored.get("record", hash_) != hash_:
            return None  # a member signs one record of a round, whatever it computes later
        self._m.services.persist("record", hash_)
        statement = signing_input(self._m.plan.census.network, self._m.body)
        return RecordVote(
            self._m.plan.context,
            self._m.member,
            hash_,
            self._m.services.crypto.sign(statement),
        )
