"""The three values on which a committee agrees, how they are read, and when they are valid.

Each value carries the signed inputs that justify it, so every member can check it by itself:
    OPEN    the signed round keys of the members that are present
    CLOSE   a quorum of signed close votes, with the signed header of every contribution they name
    ACCEPT  a quorum of signed answers to the challenge, or a quorum that gave up (an abort)

As one agreement fixes either an accepted set or an abort, never both, an attempt is released or
aborted, never both; `attempts` tells what follows from an abort.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, islice
from operator import lt
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from pnyx.errors import MalformedMessage, RuleBroken, WrongContext
from pnyx.primitives import codec
from pnyx.primitives.hashing import HASH_BYTES, digest, merkle_root
from pnyx.protocol import beacon
from pnyx.protocol.aggregation import direct
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.coefficients import Claim
from pnyx.protocol.aggregation.masked_verification.commitments import masked_claim
from pnyx.protocol.aggregation.payloads import read_share
from pnyx.protocol.aggregation.verdicts import judge
from pnyx.protocol.aggregation.verification import (
    ELEMENT_BYTES,
    FieldShares,
    answer_count,
    answers,
    check_published,
    check_sketch,
    commit,
    read_answers,
)
from pnyx.protocol.large_messages import check_openings
from pnyx.protocol.manifest import Manifest, StudyPhase
from pnyx.protocol.messages import (
    Answered,
    Answers,
    CloseVote,
    ContributionHeader,
    GiveUp,
    Indices,
    Instance,
    MemberBody,
    Release,
    RoundBody,
    RoundKey,
    Signed,
    VerifyResponse,
)
from pnyx.protocol.ports import Crypto, IntVector
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.round.vectors import key_weights_of
from pnyx.protocol.selection.region.messages import ACTOR_PROOF_BYTES_MAX
from pnyx.protocol.selection.security import CommitteeSize

T = TypeVar("T", RoundKey, CloseVote, VerifyResponse, GiveUp)
Ordered = TypeVar("Ordered", int, bytes)
_VERIFIED_PER_NODE = 8
NO_ANSWERS = bytes(32)
VALUE_BYTES_MAX = 4 * 1024 * 1024
_INDEX_BYTES = 5  # of a census index, at most, as it is encoded
_BODY_BYTES = 1024  # of a member's signed input, besides what it says of each contribution
_HEADER_BYTES = 1536  # of a contributor's signed header; as much again for a sketch with its proof
SignedInputs = Annotated[tuple[Signed, ...], Meta(max_length=1024)]


def joins_root(joins: Indices, actors: bytes = b"") -> bytes:
    """Commitment of a record to the joins of the next round, and to the list of its actors."""
    listed = (digest("pnyx/actors", actors),) if actors else ()
    return digest("pnyx/joins", b"".join(index.to_bytes(4, "big") for index in joins), *listed)


class OpenValue(msgspec.Struct, frozen=True, array_like=True, tag=100):
    """Round keys of the members present, in member order."""

    keys: SignedInputs


class CloseValue(msgspec.Struct, frozen=True, array_like=True, tag=101):
    """Close votes in member order, and each distinct header that they name.

    actors: the list that regions drew for the next round, in a study that selects so.
    """

    votes: SignedInputs
    headers: Annotated[tuple[Signed, ...], Meta(max_length=8192)]
    actors: Annotated[bytes, Meta(max_length=ACTOR_PROOF_BYTES_MAX)] = b""


class AcceptValue(msgspec.Struct, frozen=True, array_like=True, tag=102):
    """Responses to the challenge, with their answers, in member order."""

    responses: Annotated[tuple[Answered, ...], Meta(max_length=1024)]


class AbortValue(msgspec.Struct, frozen=True, array_like=True, tag=103):
    """Members that gave up, in member order: the attempt ends unopened."""

    give_ups: SignedInputs


def is_abort(data: bytes) -> bool:
    """Whether a value of the agreement ACCEPT is an abort; anything unreadable is not."""
    try:
        codec.decode(data, AbortValue, bytes_max=VALUE_BYTES_MAX)
    except MalformedMessage:
        return False
    return True


def inputs_wanted(size: CommitteeSize, view: int) -> int:
    """Round keys, and answers to the challenge, that a proposal must carry.

    One leader must not choose who of a committee counts: with q inputs of its choice it could list
    members that then fall silent, or leave contributions out. So q + f are asked for, which is all
    but the planned absences. Once f + 1 leaders have failed to find as many, one of them honest,
    there are not as many: then a quorum will do.
    """
    return size.quorum + size.corrupt_max if view <= size.corrupt_max else size.quorum


def contributions_max(phase: StudyPhase, size: CommitteeSize, *, by_region: bool) -> int:
    """Contributions of one round whose list, and whose answers, its committee can agree on.

    The answers of q + f members for all of them make a value (`inputs_wanted`), and so do q close
    votes with all headers. Where they are many, what each contribution takes is what counts; what
    a signed body takes besides is bounded generously.
    """
    inputs = size.quorum + size.corrupt_max
    answered = (VALUE_BYTES_MAX // inputs - _BODY_BYTES) // (
        _INDEX_BYTES + ELEMENT_BYTES * answer_count(size)
    )
    header = _HEADER_BYTES + (_HEADER_BYTES if phase.verified is not None else 0)
    room = VALUE_BYTES_MAX - size.quorum * _BODY_BYTES - (ACTOR_PROOF_BYTES_MAX if by_region else 0)
    listed = room // (header + size.quorum * (_INDEX_BYTES + HASH_BYTES + 3))
    return max(0, min(answered, listed))


def check_agreeable(manifest: Manifest, size: CommitteeSize) -> None:
    """Refuse phases that draw more than a committee of this size can agree on. Raises RuleBroken.

    Their rounds would be aborted twice and skipped, all of them.
    """
    for phase in manifest.phases:
        most = contributions_max(phase, size, by_region=manifest.selection == "region")
        if phase.drawn > most:
            raise RuleBroken(
                f"a phase draws {phase.drawn} contributors, and a committee of {size.size} can "
                f"agree on {most} at most; draw fewer"
            )


def contribution_context(context: bytes, contributor: int) -> bytes:
    """Binds a contribution's secrets and proof to its round, attempt and contributor."""
    return digest("pnyx/contribution", context, contributor.to_bytes(4, "big"))


def header_hash(signed: Signed) -> bytes:
    """Names a contribution: its header and signature, as received."""
    return digest("pnyx/header", signed.signer, signed.body, signed.signature)


def answer_leaves(names: Sequence[bytes], values: bytes) -> list[bytes]:
    """What a response commits to, in order: hash of a header, and the packed answers for it.

    values: packed, all of one length.
    """
    each = len(values) // max(1, len(names))
    return [name + values[at * each : (at + 1) * each] for at, name in enumerate(names)]


def answers_root(leaves: Sequence[bytes]) -> bytes:
    """The commitment of a response to its answers."""
    return merkle_root(leaves) if leaves else NO_ANSWERS


def contradict(first: RoundBody, second: RoundBody) -> bool:
    """Whether no honest node signs both in one attempt.

    A close vote may be signed anew with more dealers and joins, never with fewer contributions: two
    of which neither covers the other contradict.
    """
    if type(first) is not type(second) or first == second or isinstance(first, GiveUp):
        return False
    if isinstance(first, CloseVote) and isinstance(second, CloseVote):
        one, other = set(first.held), set(second.held)
        return not (one <= other or other <= one)
    return True


def check_actors(plan: RoundPlan, actors: bytes) -> None:
    """Check the list of the next round's actors, where there is to be one. Raises ProtocolError."""
    if plan.following is not None:
        plan.following.read(actors)
    elif actors:
        raise RuleBroken("an actor list comes with a round that fixes none")


class InputReader:
    """Verifies signed inputs of one round: each input, each signature and each value once.

    on_conflict: told of two verified bodies by one signer that contradict each other.
    """

    def __init__(
        self,
        plan: RoundPlan,
        crypto: Crypto,
        on_conflict: Callable[[Signed, Signed], None] | None = None,
    ) -> None:
        self._plan = plan
        self._crypto = crypto
        self._on_conflict = on_conflict
        self._first: dict[tuple[bytes, type], Signed] = {}
        self._names: OrderedDict[Signed, bytes] = OrderedDict()
        self._claims: OrderedDict[Signed, Claim] = OrderedDict()
        self._verified: OrderedDict[Signed, RoundBody] = OrderedDict()
        self._verified_max = _VERIFIED_PER_NODE * (len(plan.committee) + len(plan.contributors) + 1)
        self._weighed: tuple[Claim, bytes, IntVector | None] | None = None  # of the last answer
        self._closed: dict[tuple[bytes, bytes], ClosedList] = {}
        self._judged: dict[tuple[bytes, bytes], direct.Judgement] = {}

    def member_body(self, signed: Signed) -> MemberBody:
        """Check a member's signed body. Raises ProtocolError."""
        body = self.body(signed)
        if isinstance(body, ContributionHeader):
            raise RuleBroken("a contribution header is not a member's input")
        return body

    def response(self, signed: Signed) -> VerifyResponse:
        """Check a member's signed response to the challenge. Raises ProtocolError."""
        body = self.body(signed)
        if not isinstance(body, VerifyResponse):
            raise RuleBroken("a signed body is not an answer to a challenge")
        return body

    def header(self, signed: Signed) -> ContributionHeader:
        """Check a contributor's signed header. Raises ProtocolError."""
        body = self.body(signed)
        if not isinstance(body, ContributionHeader):
            raise RuleBroken("this signed body is not a contribution header")
        return body

    def name(self, signed: Signed) -> bytes:
        """The `header_hash` of a header, which rounds ask for again and again: hashed once."""
        known = self._names.get(signed)
        if known is None:
            known = self._names[signed] = header_hash(signed)
            if len(self._names) > self._verified_max:
                self._names.popitem(last=False)
        return known

    def claim(self, signed: Signed) -> Claim:
        """What a header claims, for checking its share, answering and judging: worked out once."""
        known = self._claims.get(signed)
        if known is None:
            known = self._claims[signed] = self._claim(self.header(signed))
            if len(self._claims) > self._verified_max:
                self._claims.popitem(last=False)
        return known

    def _claim(self, header: ContributionHeader) -> Claim:
        context = contribution_context(self._plan.context, header.contributor)
        proof = None if header.masked is None else header.masked.proof
        if header.masked is None or proof is None:
            return Claim(header.contributor, commit(context, header.shares_root), header.published)
        return masked_claim(
            header.contributor,
            context,
            vector_root=header.masked.parcel,
            key_root=proof.key_root,
            salt=proof.salt,
            shares_root=header.shares_root,
            published=header.published,
            sketch=proof.sketch,
        )

    def share(self, signed: Signed, member: int, payload: bytes) -> FieldShares:
        """Read a member's payload of a checked header. Raises MalformedMessage."""
        return read_share(payload, member, self.claim(signed), self._bounds, self._plan.size)

    def answer(
        self, signed: Signed, member: int, share: FieldShares, challenge: bytes
    ) -> IntVector:
        """What an honest member answers by a share; all that is public is computed here."""
        claim = self.claim(signed)
        if self._weighed is None or self._weighed[:2] != (claim, challenge):
            self._weighed = claim, challenge, key_weights_of(self._plan, claim, challenge)
        weights = self._weighed[2]
        return answers(share, member, claim, challenge, self._bounds, self._plan.size, weights)

    @property
    def _bounds(self) -> Bounds:
        assert self._plan.phase is not None, "a header was read, or a challenge opened"
        return self._plan.phase.bounds

    def body(self, signed: Signed) -> RoundBody:
        """Check anything that is signed in this round. Raises ProtocolError."""
        known = self._verified.get(signed)
        if known is None:
            known = self._unverified(signed)
            self._plan.census.check(self._crypto, signed)
            if isinstance(known, ContributionHeader):
                self._check_header(signed, known)
            else:
                self._check_member(signed, known)
            self._compare(signed, known)
            self._verified[signed] = known
            if len(self._verified) > self._verified_max:
                self._verified.popitem(last=False)
        return known

    def _unverified(self, signed: Signed) -> RoundBody:
        """Read what is signed in this round, whoever signed it. Raises ProtocolError."""
        body: RoundBody = codec.decode(signed.body, RoundBody, bytes_max=VALUE_BYTES_MAX)
        if body.context != self._plan.context:
            raise WrongContext("a signed input belongs to another round")
        return body

    def _locked(self, signed: Signed) -> MemberBody:
        """Read a member's body of a value that a quorum has locked. Raises ProtocolError.

        q - f honest members have verified its signature before they echoed the value.
        """
        body = self._unverified(signed)
        if isinstance(body, ContributionHeader):
            raise RuleBroken("a contribution header is not a member's input")
        self._check_member(signed, body)
        return body

    def _compare(self, signed: Signed, body: RoundBody) -> None:
        """Tell if the signer said something else before."""
        if self._on_conflict is None:
            return
        first = self._first.setdefault((signed.signer, type(body)), signed)
        if first.body != signed.body:
            before: RoundBody = codec.decode(first.body, RoundBody, bytes_max=VALUE_BYTES_MAX)
            if contradict(before, body):
                self._on_conflict(first, signed)

    def _check_header(self, signed: Signed, header: ContributionHeader) -> None:
        plan = self._plan
        if header.contributor not in plan.contributor_set:
            raise RuleBroken("a contribution comes from a node that was not drawn")
        if plan.census.node_ids[header.contributor] != signed.signer:
            raise RuleBroken("a contribution speaks for another node")
        if header.model_hash != plan.model_hash:
            raise RuleBroken("a contribution starts from another model")
        if plan.phase is None:
            raise RuleBroken("this round takes no contributions")
        masked, phase = header.masked, plan.phase
        if (masked is None) != (phase.masked is None):
            raise RuleBroken("a contribution masks an update where it should not, or does not")
        proof = None if masked is None else masked.proof
        if (proof is None) != (phase.verified is None):
            raise RuleBroken(
                "a contribution proves a masked update where it should not, or does not"
            )
        check_published(header.published, phase.bounds)
        check_sketch(b"" if proof is None else proof.sketch, phase.bounds)

    def _check_member(self, signed: Signed, body: MemberBody) -> None:
        plan = self._plan
        if body.member >= len(plan.committee):
            raise RuleBroken("a signed input names a member that does not exist")
        if plan.census.node_ids[plan.committee[body.member]] != signed.signer:
            raise RuleBroken("a signed input speaks for another member")
        self._check_size(body)

    def _check_size(self, body: MemberBody) -> None:
        """What is kept of a body has a bound: nobody is listed twice, no answer is longer."""
        plan = self._plan
        match body:
            case CloseVote():
                held = [each.contributor for each in body.held]
                lists: tuple[Sequence[int], ...] = (held, body.joined, body.culprits)
                if not all(map(ascending, (*lists, body.next_dealers, body.challenge_dealers))):
                    raise RuleBroken("a close vote lists somebody twice, or out of order")
                if not plan.contributor_set.issuperset(held):
                    raise RuleBroken("a close vote holds a contribution of a node not drawn")
                if max((*body.joined, *body.culprits), default=0) >= len(plan.census):
                    raise RuleBroken("a close vote lists nodes outside the census")
            case Release():
                if len(body.shares) > plan.released_bytes_max:
                    raise MalformedMessage("a released share is too long")
                if not ascending([each.dealer for each in body.openings]):
                    raise RuleBroken("a member opens a dealing twice, or out of order")
                check_openings(body.openings, body.member, plan.size)

    def _votes(
        self, inputs: tuple[Signed, ...], kind: type[T], *, locked: bool = False
    ) -> dict[int, T]:
        """Read inputs of one kind from a quorum of members, in member order."""
        read: dict[int, T] = {}
        last = -1
        for signed in inputs:
            body = self._locked(signed) if locked else self.member_body(signed)
            if not isinstance(body, kind):
                raise RuleBroken("a value carries an input of the wrong kind")
            if body.member <= last:
                raise RuleBroken("a value lists members out of order or twice")
            last = body.member
            read[last] = body
        if len(read) < self._plan.size.quorum:
            raise RuleBroken("a value carries inputs of fewer members than a quorum")
        return read

    def enough_inputs(self, instance: Instance, data: bytes, view: int) -> bool:
        """Whether a proposed value carries as many inputs as its view asks for.

        A closed list and an abort need a quorum in any view; reading them checks that.
        """
        if instance is Instance.CLOSE or (instance is Instance.ACCEPT and is_abort(data)):
            return True
        if instance is Instance.OPEN:
            count = len(codec.decode(data, OpenValue, bytes_max=VALUE_BYTES_MAX).keys)
        else:
            count = len(codec.decode(data, AcceptValue, bytes_max=VALUE_BYTES_MAX).responses)
        return count >= inputs_wanted(self._plan.size, view)

    def abort_value(self, data: bytes) -> frozenset[int]:
        """Read and check an abort: the members that gave up. Raises ProtocolError."""
        value = codec.decode(data, AbortValue, bytes_max=VALUE_BYTES_MAX)
        return frozenset(self._votes(value.give_ups, GiveUp))

    def open_value(self, data: bytes, *, locked: bool = False) -> dict[int, RoundKey]:
        """Read and check an OPEN value: the present members' round keys.

        locked: it comes with a lock certificate, so that its signatures need no second look.
        """
        value = codec.decode(data, OpenValue, bytes_max=VALUE_BYTES_MAX)
        return self._votes(value.keys, RoundKey, locked=locked)

    def close_value(self, data: bytes, keys: Mapping[int, RoundKey], opened: bytes) -> "ClosedList":
        """Read and check a CLOSE value against the open list (its hash is `opened`)."""
        known = self._closed.get((data, opened))
        if known is None:
            known = self._closed[data, opened] = self._read_closed(data, keys, opened)
        return known

    def _read_closed(
        self, data: bytes, keys: Mapping[int, RoundKey], opened: bytes
    ) -> "ClosedList":
        value = codec.decode(data, CloseValue, bytes_max=VALUE_BYTES_MAX)
        votes = self._votes(value.votes, CloseVote)
        if not set(votes) <= set(keys):
            raise RuleBroken("a close vote comes from a member without a round key")
        headers: dict[bytes, Signed] = {}
        contributors: dict[bytes, int] = {}
        for signed in value.headers:
            header = self.header(signed)
            if header.open_value != opened:
                raise RuleBroken("a contribution was sealed to another list of round keys")
            name = self.name(signed)
            headers[name], contributors[name] = signed, header.contributor
        named: dict[int, set[bytes]] = {}
        for vote in votes.values():
            for held in vote.held:
                contributor = contributors.get(held.header_hash)
                if contributor is None:
                    raise RuleBroken("a close vote names a contribution without its header")
                if contributor != held.contributor:
                    raise RuleBroken("a close vote names the wrong contributor")
                named.setdefault(held.contributor, set()).add(held.header_hash)
        if {name for names in named.values() for name in names} != set(headers):
            raise RuleBroken("a closed list carries headers that no vote names")
        check_actors(self._plan, value.actors)
        return ClosedList(
            headers={who: headers[min(names)] for who, names in named.items() if len(names) == 1},
            equivocators=tuple(sorted(who for who, names in named.items() if len(names) > 1)),
            joined=self._known_to_enough(vote.joined for vote in votes.values()),
            culprits=self._known_to_enough(vote.culprits for vote in votes.values()),
            next_dealers=self._dealers(votes, keys, "next"),
            challenge_dealers=(
                self._dealers(votes, keys, "challenge") if self._plan.phase is not None else {}
            ),
            actors=value.actors,
            next_census=self._succession(votes),
        )

    def _succession(self, votes: Mapping[int, CloseVote]) -> bytes | None:
        """The census that all but f of a quorum know to follow; None where it stays the same.

        So many honest members hold it that everybody finds it, and f corrupt ones prevent nothing.
        """
        if not self._plan.makes_epoch or self._plan.round_number == 0:
            return None
        counts = Counter(vote.next_census for vote in votes.values())
        enough = self._plan.size.quorum - self._plan.size.corrupt_max
        known = [root for root, count in counts.items() if root is not None and count >= enough]
        return known[0] if len(known) == 1 else None

    def _known_to_enough(self, lists: Iterable[Iterable[int]]) -> tuple[int, ...]:
        """Census indices that f + 1 voters list: at least one honest member has verified each."""
        counts = Counter(chain.from_iterable(lists))  # none of them lists anybody twice
        enough = self._plan.size.corrupt_max + 1
        known = range(len(self._plan.census))
        return tuple(sorted(i for i, count in counts.items() if count >= enough and i in known))

    def _dealers(
        self, votes: Mapping[int, CloseVote], keys: Mapping[int, RoundKey], purpose: str
    ) -> dict[int, bytes]:
        """The first f + 1 dealers of whom a quorum holds a valid share: dealer -> commitment.

        One of f + 1 is honest; opening more would cost more and bind nobody further.
        """
        lists = (
            vote.next_dealers if purpose == "next" else vote.challenge_dealers
            for vote in votes.values()
        )
        counts = Counter(chain.from_iterable(lists))  # none of them lists a dealer twice
        dealers: dict[int, bytes] = {}
        for dealer in beacon.dealers_of(keys, self._plan.size):
            if counts[dealer] < self._plan.size.quorum:
                continue
            key = keys[dealer]
            root = key.next_dealing if purpose == "next" else key.challenge_dealing
            if root != beacon.NO_DEALING:
                dealers[dealer] = root
        needed = beacon.dealers_needed(self._plan.size)
        if len(dealers) < needed:
            raise RuleBroken("a closed list has too few dealers for an unbiased beacon")
        return dict(islice(dealers.items(), needed))

    def accept_value(self, data: bytes, closed: "ClosedList", challenge: bytes) -> direct.Judgement:
        """Read and check an ACCEPT value, and judge the contributions by its answers."""
        known = self._judged.get((data, challenge))
        if known is None:
            known = self._judged[data, challenge] = self._judge(data, closed, challenge)
        return known

    def _judge(self, data: bytes, closed: "ClosedList", challenge: bytes) -> direct.Judgement:
        value = codec.decode(data, AcceptValue, bytes_max=VALUE_BYTES_MAX)
        responses = self._votes(tuple(each.signed for each in value.responses), VerifyResponse)
        given = {
            member: self.answers(response, each.answers, closed, challenge)
            for (member, response), each in zip(responses.items(), value.responses, strict=True)
        }
        claims = [self.claim(closed.headers[who]) for who in closed.contributors]
        verdicts = judge(self._plan.size, self._bounds, claims, challenge, given)
        return direct.settle(self._plan.size, verdicts, given)

    def check_answers(self, given: Answers) -> None:
        """Check what is kept of answers, before they are read. Raises ProtocolError."""
        if not (ascending(given.held) and self._plan.contributor_set.issuperset(given.held)):
            raise RuleBroken("a member's answers are out of order, or for nodes not drawn")
        if len(given.values) != ELEMENT_BYTES * answer_count(self._plan.size) * len(given.held):
            raise MalformedMessage("answers to a challenge have the wrong size")

    def answers(
        self, response: VerifyResponse, given: Answers, closed: "ClosedList", challenge: bytes
    ) -> dict[int, IntVector]:
        """Read one member's answers: contributor -> check values. Raises ProtocolError."""
        if response.challenge != challenge:
            raise RuleBroken("a member answered another challenge")
        if any(who not in closed.headers for who in given.held):
            raise RuleBroken("a member answers for a contribution outside the closed list")
        names = {who: self.name(closed.headers[who]) for who in given.held}
        return self.answers_for(names, response, given)

    def answers_for(
        self, names: Mapping[int, bytes], response: VerifyResponse, given: Answers
    ) -> dict[int, IntVector]:
        """Read answers that a response was signed with: contributor -> check values.

        names: contributor -> hash of the header that they are for. Raises ProtocolError.
        """
        self.check_answers(given)
        if any(who not in names for who in given.held):
            raise RuleBroken("a member gives answers for headers that are not named")
        leaves = answer_leaves([names[who] for who in given.held], given.values)
        if answers_root(leaves) != response.answers:
            raise RuleBroken("a member gives other answers than it signed, or for other headers")
        table = read_answers(given.values, len(given.held), self._plan.size)
        return dict(zip(given.held, table, strict=True))


class ClosedList(msgspec.Struct, frozen=True):
    """What a CLOSE value fixes.

    headers: contributor -> its signed header. joined, culprits: census indices for the next round.
    next_census: root of the census of the next epoch, where it is a new one.
    """

    headers: dict[int, Signed]
    equivocators: tuple[int, ...]
    joined: tuple[int, ...]
    culprits: tuple[int, ...]
    next_dealers: dict[int, bytes]
    challenge_dealers: dict[int, bytes]
    actors: bytes = b""
    next_census: bytes | None = None

    @property
    def contributors(self) -> tuple[int, ...]:
        """Contributors of the closed list, ascending."""
        return tuple(sorted(self.headers))


def ascending(names: Sequence[Ordered]) -> bool:
    """Whether numbers or hashes are in order, none twice."""
    return all(map(lt, names, islice(names, 1, None)))
