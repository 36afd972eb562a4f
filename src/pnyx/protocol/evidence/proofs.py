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
    FalseVector      the contributor: its masked vector is not what its header says of it
    FalseReceipt     the aggregator: it gave a receipt for such a header
    TwoWords         a node of a draw, of two of its words: see `selection.region.offences`

**Why no honest node is ever convicted.** TwoBodies, TwoWords, WrongAnswer, BadDealing, false
vectors and malformed shares need no assumption at all: an honest node signs once for a slot, and
gives one word of a kind in a draw, restarts included; its answers name the very header they are for
(`VerifyResponse.headers`), so that nobody who signs two headers can show it a share that it never
held; its dealings are polynomials. The other proofs
read polynomials off signed answers or shares, and assume that at most f members of *that committee*
are corrupt: within the safe radius D + 1 (2D + 1) honest members then lie on whatever is decoded,
and answers for an honest contributor's shares always decode with f errors (`verdicts`). f + 1 can
convict every honest one, so such proofs count in that committee's study alone (`docket`). They need
no certificate: an honest member answers one challenge, and an honest contributor signs one header,
so the honest answers to one challenge speak of the same contribution whoever collected them.

Where masked updates are verified the same holds of the link between digits, key and vector: what
the vector sketches to is the contributor's own signed word, and the key's coefficients every member
computes for itself, as whoever judges an answer does. No third party has a part in it.
"""

from collections.abc import Mapping, Sequence
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
from pnyx.protocol.aggregation.verification import (
    FieldShares,
    read_answers,
)
from pnyx.protocol.manifest import StudyPhase
from pnyx.protocol.messages import (
    BadContribution,
    BadDealing,
    CloseVote,
    ContributionHeader,
    Evidence,
    FalseReceipt,
    FalseVector,
    OpenedPayload,
    Proof,
    Release,
    RoundBody,
    RoundKey,
    Signed,
    TwoBodies,
    TwoWords,
    VerifyResponse,
    WrongAnswer,
    WrongRelease,
    WrongShare,
)
from pnyx.protocol.ports import Crypto
from pnyx.protocol.round.groups import wrong_releases
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.round.values import (
    VALUE_BYTES_MAX,
    InputReader,
    ascending,
    contradict,
    header_hash,
)
from pnyx.protocol.round.vectors import check_receipt, parcel_named, vector_is_right
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
    FalseReceipt: Offence.FALSE_RECEIPT,
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
            TwoBodies() | WrongAnswer() | BadDealing() | FalseVector() | FalseReceipt() | TwoWords()
        ):
            return True
        case WrongShare():
            return not proof.responses
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
            case FalseVector() as proof:
                return self._false_vector(proof)
            case FalseReceipt() as proof:
                return self._false_receipt(proof)
            case TwoWords() as proof:
                return self._two_words(proof, evidence.culprit)

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
        header = self._reader.header(proof.header)
        response = self._response(proof.response)
        who = header.contributor
        if response.member != proof.opened.member or who not in response.held:
            raise RuleBroken("a response does not answer for the share that is opened")
        place = response.held.index(who)
        name, count = header_hash(proof.header), len(response.held)
        if not verify_merkle_proof(response.headers, name, place, count, proof.named):
            raise RuleBroken("a response answers for another header")
        share = self._opened(proof.header, proof.opened)
        if share is None:
            raise RuleBroken("a member cannot answer by a share that cannot be read")
        given = read_answers(response.values, count, self._size)[place]
        right = self._reader.answer(proof.header, response.member, share, response.challenge)
        if np.array_equal(given, right):
            raise RuleBroken("the answer is the one that the share gives")
        return proof.response.signer

    def _wrong_share(self, proof: WrongShare) -> bytes:
        header = self._reader.header(proof.header)
        share = self._opened(proof.header, proof.opened)
        if share is None:
            return proof.header.signer
        responses = self._responses(proof.responses)
        given = self._given(header.contributor, responses)
        member = proof.opened.member
        if member not in given:
            raise RuleBroken("the member of the opened share gave no answer")
        right = self._reader.answer(proof.header, member, share, responses[member].challenge)
        if not np.array_equal(given[member], right):
            raise RuleBroken("the member of the opened share did not answer by it")
        claim, challenge = self._reader.claim(proof.header), responses[member].challenge
        verdict = judge_one(self._size, self._bounds, claim, challenge, given)
        if member not in verdict.off:
            raise RuleBroken("the opened share lies on the contribution's polynomials")
        return proof.header.signer

    def _bad_contribution(self, proof: BadContribution) -> bytes:
        header = self._reader.header(proof.header)
        responses = self._responses(proof.responses)
        given = self._given(header.contributor, responses)
        if not given:
            raise RuleBroken("nobody answered for the contribution")
        challenge = next(iter(responses.values())).challenge
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

    def _false_vector(self, proof: FalseVector) -> bytes:
        masked = self._reader.header(proof.header).masked
        if masked is None or parcel_named(proof.vector) != masked.parcel:
            raise RuleBroken("a vector is not the one that a header names")
        if vector_is_right(self._plan, self._reader.claim(proof.header), masked, proof.vector):
            raise RuleBroken("the vector is what its header says")
        return proof.header.signer

    def _false_receipt(self, proof: FalseReceipt) -> bytes:
        self._false_vector(proof.false)
        name = header_hash(proof.false.header)
        check_receipt(self._plan, self._crypto, proof.receipt, name)
        return self._plan.census.node_ids[proof.receipt.aggregator]

    def _two_words(self, proof: TwoWords, culprit: int) -> bytes:
        if self._plan.following is None:
            raise RuleBroken("no region drew the actors of the next round")
        draw = msgspec.structs.replace(self._plan.following.wanted, attempt=proof.draw_attempt)
        public_key = self._plan.census.public_keys[culprit]
        check_two_words(proof, draw_context(draw), public_key, self._crypto.verify)
        return self._plan.census.node_ids[culprit]

    # --- reading ---------------------------------------------------------------------------------

    def _response(self, signed: Signed) -> VerifyResponse:
        body = self._reader.member_body(signed)
        if not isinstance(body, VerifyResponse):
            raise RuleBroken("a signed body is not an answer to a challenge")
        if not ascending(body.held):
            raise RuleBroken("a member's answers are out of order")
        return body

    def _responses(self, inputs: Sequence[Signed]) -> dict[int, VerifyResponse]:
        """Answers of distinct members to one challenge."""
        read = [self._response(signed) for signed in inputs]
        if not ascending([response.member for response in read]):
            raise RuleBroken("answers are out of order")
        if len({response.challenge for response in read}) > 1:
            raise RuleBroken("members answered different challenges")
        return {response.member: response for response in read}

    def _given(self, who: int, responses: Mapping[int, VerifyResponse]) -> dict[int, IntVector]:
        """Member -> its answers for one contribution."""
        given: dict[int, IntVector] = {}
        for member, response in responses.items():
            table = read_answers(response.values, len(response.held), self._size)
            if who in response.held:
                given[member] = table[response.held.index(who)]
        return given

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
