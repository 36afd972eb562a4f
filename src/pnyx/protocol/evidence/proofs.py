"""Evidence: self-contained proof that one node broke one rule, for whoever knows the plan.

Each proof consists of bytes that somebody signed, and says who signed what cannot have come from an
honest node:

    TwoBodies        the signer of two different bodies for one slot
    WrongAnswer      the member: its committed share gives another answer than it signed
    WrongShare       the dealer: a committed share is malformed; or it lies off the polynomials
                     that the answers decode to, although its member answered by it
    BadContribution  the contributor: its answers decode, and break its bounds; or they do not
                     decode, and no f liars could be the reason
    WrongRelease     the member: its share of the sum is none of the polynomial of the others'
    BadDealing       the dealer: f + 1 committed shares recompute to another commitment
    FalseVector      the contributor: its masked vector is not what its header says of it; one
                     segment shows it
    FalseVectorLength
                     the same: the parcel that it named has another length than vectors have
    FalseReceipt     the aggregator: it gave a receipt for such a header, where that vouches for
                     what the header states
    TwoWords         a node of a draw, of two of its words: see `selection.region.offences`
    TwoProposals     the leader of a view: it signed two values of one agreement
    WrongSum         who told of a sum of masked vectors: it is not what was signed of it; likewise
    WrongSumLength   the same: the parcel that it named has another length than sums have

**Why no honest node is ever convicted.** TwoBodies, TwoWords, WrongAnswer, BadDealing, false
vectors and malformed shares need no assumption at all: an honest node signs once for a slot, and
gives one word of a kind in a draw, restarts included; it signs each answer with the very header
that it is for (`VerifyResponse.answers`), so that nobody who signs two headers can show it a share
that it never held; its dealings are polynomials. The other proofs
read polynomials off signed answers or shares, and assume that at most f members of *that committee*
are corrupt: within the safe radius D + 1 (2D + 1) honest members then lie on whatever is decoded,
and answers for an honest contributor's shares always decode with f errors (`verdicts`). f + 1 can
convict every honest one, so such proofs count in that committee's study alone (`docket`). They need
no certificate: an honest member answers one challenge, and an honest contributor signs one header,
so the honest answers to one challenge speak of the same contribution whoever collected them. An
answer comes with a Merkle proof under what its member signed, so that evidence has the size of one
contribution's answers, however many contributions the round had.

Where masked updates are verified the same holds of the link between digits, key and vector: what
the vector sketches to is the contributor's own signed word, and the key's coefficients every member
computes for itself, as whoever judges an answer does. No third party has a part in it.
"""

from collections.abc import Sequence
from enum import StrEnum

import msgspec
import numpy as np

from pnyx.errors import MalformedMessage, RuleBroken
from pnyx.primitives import codec
from pnyx.primitives.hashing import verify_merkle_proof
from pnyx.protocol import beacon
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.encoding import IntVector
from pnyx.protocol.aggregation.verdicts import Rule, judge_one
from pnyx.protocol.aggregation.verification import FieldShares, read_answers
from pnyx.protocol.manifest import StudyPhase
from pnyx.protocol.messages import (
    AnyFalseVector,
    BadContribution,
    BadDealing,
    CloseVote,
    ContributionHeader,
    Evidence,
    FalseReceipt,
    FalseVector,
    FalseVectorLength,
    OpenedAnswer,
    OpenedPayload,
    Proof,
    Release,
    RoundBody,
    RoundKey,
    Signed,
    TwoBodies,
    TwoProposals,
    TwoWords,
    VerifyResponse,
    WrongAnswer,
    WrongRelease,
    WrongShare,
    WrongSum,
    WrongSumLength,
)
from pnyx.protocol.ports import Crypto
from pnyx.protocol.round.groups import wrong_releases
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.round.proposed import check_proposed
from pnyx.protocol.round.values import (
    VALUE_BYTES_MAX,
    InputReader,
    answer_leaves,
    ascending,
    contradict,
    header_hash,
)
from pnyx.protocol.round.vectors import (
    check_false_vector,
    check_receipt,
    check_wrong_sum,
    vouches_against,
)
from pnyx.protocol.selection.region import check_two_words, draw_context
from pnyx.protocol.selection.security import CommitteeSize


class Offence(StrEnum):
    """The rules that evidence can show to be broken."""

    TWO_CONTRIBUTIONS = "showed two different contributions"
    TWO_ROUND_KEYS = "signed two round keys"
    TWO_CLOSE_VOTES = "signed close votes that contradict each other"
    TWO_RESPONSES = "answered the challenge twice"
    TWO_RELEASES = "released two different shares"
    WRONG_ANSWER = "gave an answer that its share does not give"
    WRONG_SHARE = "dealt a share that does not belong to its contribution"
    RANGE = Rule.RANGE.value
    BOUND = Rule.BOUND.value
    SHARING = Rule.SHARING.value
    LINK = Rule.LINK.value
    WRONG_RELEASE = "released a wrong share"
    BAD_DEALING = "committed to a dealing that is no polynomial"
    FALSE_VECTOR = "committed to what its masked vector is not"
    TWO_CALLS = "called a region by two random values"
    TWO_ROLLS = "showed two lists of who takes part in a draw"
    TWO_VALUES = "signed two random values of one draw"
    TWO_LISTS = "signed two actor lists of one draw"
    WRONG_SUM = "added up masked vectors to a wrong sum"
    TWO_PROPOSALS = "proposed two values in one view"
    FALSE_RECEIPT = "vouched for a masked vector that is not what its contributor says of it"


_TWO: dict[type, Offence] = {
    ContributionHeader: Offence.TWO_CONTRIBUTIONS,
    RoundKey: Offence.TWO_ROUND_KEYS,
    CloseVote: Offence.TWO_CLOSE_VOTES,
    VerifyResponse: Offence.TWO_RESPONSES,
    Release: Offence.TWO_RELEASES,
}
_WORDS: dict[str, Offence] = {
    "call": Offence.TWO_CALLS,
    "roll": Offence.TWO_ROLLS,
    "random": Offence.TWO_VALUES,
    "actors": Offence.TWO_LISTS,
}
_ALWAYS: dict[type, Offence] = {
    WrongAnswer: Offence.WRONG_ANSWER,
    WrongShare: Offence.WRONG_SHARE,
    WrongRelease: Offence.WRONG_RELEASE,
    BadDealing: Offence.BAD_DEALING,
    FalseVector: Offence.FALSE_VECTOR,
    FalseVectorLength: Offence.FALSE_VECTOR,
    FalseReceipt: Offence.FALSE_RECEIPT,
    TwoProposals: Offence.TWO_PROPOSALS,
    WrongSum: Offence.WRONG_SUM,
    WrongSumLength: Offence.WRONG_SUM,
}


def offence_of(proof: Proof) -> Offence:
    """The rule that a proof claims to show broken; cheap. Raises ProtocolError."""
    match proof:
        case TwoBodies():
            kind = type(codec.decode(proof.first.body, RoundBody, bytes_max=VALUE_BYTES_MAX))
            if kind not in _TWO:
                raise RuleBroken("two bodies of this kind are no offence")
            return _TWO[kind]
        case BadContribution():
            return Offence[proof.rule.upper()]
        case TwoWords():
            return _WORDS[proof.kind]
        case _:
            return _ALWAYS[type(proof)]


def assumes_nothing(proof: Proof) -> bool:
    """Whether a proof, if valid, convicts however many were corrupt; cheap.

    A malformed share convicts by itself, so a WrongShare that carries answers relies on them.
    """
    match proof:
        case (
            TwoBodies()
            | WrongAnswer()
            | BadDealing()
            | FalseVector()
            | FalseVectorLength()
            | FalseReceipt()
            | TwoWords()
            | TwoProposals()
            | WrongSum()
            | WrongSumLength()
        ):
            return True
        case WrongShare():
            return not proof.answers
        case BadContribution() | WrongRelease():
            return False


def check_evidence(evidence: Evidence, plan: RoundPlan, crypto: Crypto) -> None:
    """Verify evidence against the plan of its attempt. Raises ProtocolError if it proves nothing.

    Costs no more than judging one contribution, and that only after all signatures hold.
    """
    if (evidence.study, evidence.round_number, evidence.attempt) != (
        plan.study,
        plan.round_number,
        plan.attempt,
    ):
        raise RuleBroken("evidence belongs to another round")
    guilty = _Court(plan, crypto).convict(evidence)
    if plan.census.index_of(guilty) != evidence.culprit:
        raise RuleBroken("evidence convicts another node than it names")


class _Court:
    """Reads proofs of one attempt; every method returns the node id of the convicted."""

    def __init__(self, plan: RoundPlan, crypto: Crypto) -> None:
        self._plan = plan
        self._crypto = crypto
        self._reader = InputReader(plan, crypto)

    def convict(self, evidence: Evidence) -> bytes:
        match evidence.proof:
            case TwoBodies() as proof:
                return self._two_bodies(proof)
            case WrongAnswer() as proof:
                return self._wrong_answer(proof)
            case WrongShare() as proof:
                return self._wrong_share(proof)
            case BadContribution() as proof:
                return self._bad_contribution(proof)
            case WrongRelease() as proof:
                return self._wrong_release(proof, evidence.culprit)
            case BadDealing() as proof:
                return self._bad_dealing(proof)
            case FalseVector() | FalseVectorLength() as proof:
                return self._false_vector(proof)
            case FalseReceipt() as proof:
                return self._false_receipt(proof)
            case TwoWords() as proof:
                return self._two_words(proof, evidence.culprit)
            case TwoProposals() as proof:
                return self._two_proposals(proof)
            case WrongSum() | WrongSumLength() as proof:
                check_wrong_sum(self._plan, self._crypto, proof, evidence.culprit)
                return self._plan.census.node_ids[evidence.culprit]

    @property
    def _phase(self) -> StudyPhase:
        if self._plan.phase is None:
            raise RuleBroken("this round takes no contributions")
        return self._plan.phase

    @property
    def _bounds(self) -> Bounds:
        return self._phase.bounds

    @property
    def _size(self) -> CommitteeSize:
        return self._plan.size

    def _two_bodies(self, proof: TwoBodies) -> bytes:
        if proof.first.signer != proof.second.signer:
            raise RuleBroken("two bodies were signed by two nodes")
        if not contradict(self._reader.body(proof.first), self._reader.body(proof.second)):
            raise RuleBroken("two bodies do not contradict each other")
        return proof.first.signer

    def _wrong_answer(self, proof: WrongAnswer) -> bytes:
        response, given = self._answer(proof.header, proof.answer)
        if response.member != proof.opened.member:
            raise RuleBroken("a response does not answer for the share that is opened")
        share = self._opened(proof.header, proof.opened)
        if share is None:
            raise RuleBroken("a member cannot answer by a share that cannot be read")
        right = self._reader.answer(proof.header, response.member, share, response.challenge)
        if np.array_equal(given, right):
            raise RuleBroken("the answer is the one that the share gives")
        return proof.answer.response.signer

    def _wrong_share(self, proof: WrongShare) -> bytes:
        share = self._opened(proof.header, proof.opened)
        if share is None:
            if proof.answers:  # nobody answers by such a share: it would be padding
                raise RuleBroken("a share that cannot be read comes with answers")
            return proof.header.signer
        challenge, given = self._answers(proof.header, proof.answers)
        member = proof.opened.member
        if member not in given:
            raise RuleBroken("the member of the opened share gave no answer")
        right = self._reader.answer(proof.header, member, share, challenge)
        if not np.array_equal(given[member], right):
            raise RuleBroken("the member of the opened share did not answer by it")
        claim = self._reader.claim(proof.header)
        verdict = judge_one(self._size, self._bounds, claim, challenge, given)
        if member not in verdict.off:
            raise RuleBroken("the opened share lies on the contribution's polynomials")
        return proof.header.signer

    def _bad_contribution(self, proof: BadContribution) -> bytes:
        challenge, given = self._answers(proof.header, proof.answers)
        claim = self._reader.claim(proof.header)
        verdict = judge_one(self._size, self._bounds, claim, challenge, given)
        if verdict.rule is not Rule[proof.rule.upper()]:
            raise RuleBroken("the answers show no such contribution")
        return proof.header.signer

    def _wrong_release(self, proof: WrongRelease, culprit: int) -> bytes:
        member = self._plan.member_of.get(culprit)
        releases = self._releases(proof.releases)
        if member is None or member not in releases:
            raise RuleBroken("the culprit released no share here")
        released = {each: release.shares for each, release in releases.items()}
        if member not in wrong_releases(self._phase, self._size, released):
            raise RuleBroken("the released share lies on the polynomial of the sum")
        return self._plan.census.node_ids[culprit]

    def _bad_dealing(self, proof: BadDealing) -> bytes:
        key = self._reader.member_body(proof.key)
        if not isinstance(key, RoundKey):
            raise RuleBroken("a dealing is committed to in a round key")
        root = key.challenge_dealing if proof.challenge else key.next_dealing
        if len(proof.members) != len(proof.shares) or not ascending(proof.members):
            raise RuleBroken("a dealing is opened out of order")
        if any(share.dealer != key.member for share in proof.shares):
            raise RuleBroken("an opened share is another dealer's")
        shares = dict(zip(proof.members, proof.shares, strict=True))
        if beacon.recover(root, shares, self._size) != beacon.NO_SECRET:
            raise RuleBroken("the opened dealing is one, or too little of it is opened")
        return proof.key.signer

    def _false_vector(self, proof: AnyFalseVector) -> bytes:
        masked = self._reader.header(proof.header).masked
        if masked is None:
            raise RuleBroken("a vector is not the one that a header names")
        check_false_vector(self._plan, self._reader.claim(proof.header), masked, proof)
        return proof.header.signer

    def _false_receipt(self, proof: FalseReceipt) -> bytes:
        if not vouches_against(self._plan, proof.false):
            raise RuleBroken("aggregators of this round do not vouch for what a header states")
        name = header_hash(proof.false.header)
        check_receipt(self._plan, self._crypto, proof.receipt, name)
        self._false_vector(proof.false)
        return self._plan.census.node_ids[proof.receipt.aggregator]

    def _two_words(self, proof: TwoWords, culprit: int) -> bytes:
        if self._plan.following is None:
            raise RuleBroken("no region drew the actors of the next round")
        draw = msgspec.structs.replace(self._plan.following.wanted, attempt=proof.draw_attempt)
        public_key = self._plan.census.public_keys[culprit]
        check_two_words(proof, draw_context(draw), public_key, self._crypto.verify)
        return self._plan.census.node_ids[culprit]

    def _two_proposals(self, proof: TwoProposals) -> bytes:
        first, second = proof.first, proof.second
        views = {(each.context, each.instance, each.view) for each in (first, second)}
        if views != {(self._plan.context, first.instance, first.view)}:
            raise RuleBroken("two proposals are of two views, or of another attempt")
        if not first.value_hash < second.value_hash:
            raise RuleBroken("two proposals are of one value, or out of order")
        for proposed in (first, second):
            check_proposed(proposed, self._plan, self._crypto)
        return self._plan.census.node_ids[self._plan.committee[self._plan.leader(first.view)]]

    # --- reading ---------------------------------------------------------------------------------

    def _answer(self, header: Signed, opened: OpenedAnswer) -> tuple[VerifyResponse, IntVector]:
        """A member's response, and what it answers for this very header."""
        response = self._reader.response(opened.response)
        (leaf,) = answer_leaves([header_hash(header)], opened.values)
        if not verify_merkle_proof(
            response.answers, leaf, opened.place, opened.count, opened.proof
        ):
            raise RuleBroken("a response gives another answer, or for another header")
        return response, read_answers(opened.values, 1, self._size)[0]

    def _answers(
        self, header: Signed, opened: Sequence[OpenedAnswer]
    ) -> tuple[bytes, dict[int, IntVector]]:
        """The challenge, and what distinct members answered to it for one contribution."""
        self._reader.header(header)
        read = [self._answer(header, each) for each in opened]
        if not read:
            raise RuleBroken("nobody answered for the contribution")
        if not ascending([response.member for response, _ in read]):
            raise RuleBroken("answers are out of order")
        challenges = {response.challenge for response, _ in read}
        if len(challenges) > 1:
            raise RuleBroken("members answered different challenges")
        return challenges.pop(), {response.member: given for response, given in read}

    def _opened(self, signed: Signed, opened: OpenedPayload) -> FieldShares | None:
        """The committed share; None when what was committed to cannot be read as one."""
        header = self._reader.header(signed)
        if not verify_merkle_proof(
            header.shares_root, opened.payload, opened.member, self._size.size, opened.proof
        ):
            raise RuleBroken("an opened share is not the one that was committed to")
        try:
            return self._reader.share(signed, opened.member, opened.payload)
        except MalformedMessage:
            return None

    def _releases(self, inputs: Sequence[Signed]) -> dict[int, Release]:
        """Shares of distinct members of one sum."""
        releases: dict[int, Release] = {}
        last = -1
        for signed in inputs:
            body = self._reader.member_body(signed)
            if not isinstance(body, Release) or body.member <= last:
                raise RuleBroken("released shares are out of order, or something else")
            last = body.member
            releases[last] = body
        if len({release.accepted for release in releases.values()}) > 1:
            raise RuleBroken("shares of different sums were released")
        return releases
