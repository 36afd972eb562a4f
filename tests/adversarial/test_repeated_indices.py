"""A list names one thing a thousand times, so that a thousand times is done or counted (D1).

Every list that a message, a signed body or a piece of evidence can carry is here, with what keeps a
repetition from meaning anything: it is refused, the thing counts or is done once, or the list is
compared as a whole with what everybody computes. Fuzzing alters genuine messages, so it seldom
tries any of this. Certificates: `test_duplicate_signer_in_quorum`; draws: `test_stuffed_presences`.
"""

from collections.abc import Callable, Iterator

import msgspec
import pytest
from msgspec.structs import replace
from tests.support.aborts import abort_value
from tests.support.committee import Committee
from tests.support.evidence import everything, scene
from tests.support.masked_round import masked_committee
from tests.support.parts import CONTEXT, LEADER, Member, all_parts
from tests.support.town import SMALL, Town, ideal, people
from tests.unit.protocol.round.test_committee import CONTRIBUTORS, Walk, voted

from pnyx.errors import MalformedMessage, RuleBroken
from pnyx.primitives import codec
from pnyx.primitives.hashing import merkle_proofs, merkle_root, verify_merkle_proof
from pnyx.protocol import messages
from pnyx.protocol.events import Send, SendChunk
from pnyx.protocol.messages import (
    DRAWN_MAX,
    Announce,
    ChallengeReveal,
    ChunkRequest,
    CloseNow,
    HeadersRequest,
    Instance,
    Items,
    MemberInput,
    PartsRequest,
    Relay,
    ReleaseBundle,
    Request,
    RoundMessage,
    ShareRequest,
    Step,
    SumRequest,
)
from pnyx.protocol.round.aggregator import Aggregator
from pnyx.protocol.round.exclusions import excluded_after_abort
from pnyx.protocol.round.relay import EnvelopeRelay
from pnyx.protocol.round.values import header_hash, joins_root
from pnyx.protocol.round.vectors import check_receipts

C = Committee()
TIMES = 50


# --- messages: what a receiver does ---------------------------------------------------------------


def shares_asked_for() -> None:
    services, outbox = C.services(8)
    relay = EnvelopeRelay(services)
    kept = C.contribution(2, 3)
    relay.handle(2, Relay(C.plan.context, kept.header, (kept.share,)))
    outbox.sent.clear()
    with pytest.raises(RuleBroken, match="twice, or out of order"):
        relay.handle(3, ShareRequest(C.plan.context, (2,) * TIMES))
    assert outbox.sent == []
    long = codec.encode(ShareRequest(C.plan.context, tuple(range(DRAWN_MAX + 1))))
    with pytest.raises(MalformedMessage, match="Cannot decode"):
        codec.decode(long, RoundMessage, bytes_max=len(long))


def headers_asked_for() -> None:
    walk = Walk(1).to(Step.CLOSE)
    walk.member.holdings._private_key = walk.c.private_key(1)
    held = walk.c.contribution(2, 1)
    walk.hear(2, held)
    walk.member._given[Step.CLOSE] = walk.member.inputs.signed_close_vote()
    before = len(walk.box.sent)
    with pytest.raises(RuleBroken, match="twice, or out of order"):
        walk.hear(0, HeadersRequest(walk.context, (header_hash(held.header),) * TIMES))
    assert len(walk.box.sent) == before


def parts_asked_for() -> None:
    member, parts = Member(LEADER), all_parts()
    value = bytes(range(256)) * 64
    member.parts.spread(messages.Proposal(CONTEXT, Instance.CLOSE, 0, value, None, bytes(64)))
    member.sent()
    with pytest.raises(RuleBroken, match="twice, or out of order"):
        member.parts.on_request(2, PartsRequest(CONTEXT, parts[0].root, (1,) * TIMES))
    assert member.sent() == []


def envelopes_kept() -> None:
    services, outbox = C.services(8)
    kept = C.contribution(2, 3)
    message = Relay(C.plan.context, kept.header, (kept.share,) * TIMES)
    EnvelopeRelay(services).handle(2, message)
    assert outbox.sent == [(3, kept)]


def sums_asked_for() -> None:
    masked = masked_committee()
    services, outbox = masked.services(8)
    aggregator = Aggregator(services, 8, masked.code, lambda index: False)
    with pytest.raises(RuleBroken, match="out of order"):
        aggregator.handle(1, SumRequest(masked.plan.context, masked.accepted(2) * TIMES), 0.0)
    assert outbox.sent == outbox.effects == []


def headers_attached() -> None:
    walk = Walk(0).to(Step.CLOSE)
    headers = [walk.c.header(i, open_value=walk.opened) for i in CONTRIBUTORS]
    walk.hear(1, voted(walk, 1, headers * TIMES))
    assert len(walk.member.leader._headers) == len(headers)


def one_member_opens_often() -> None:
    walk = Walk(1).to(Step.CHALLENGE)
    opening = walk.opening(0)
    opening = replace(opening, openings=opening.openings * TIMES)
    walk.hear(0, ChallengeReveal(walk.context, (opening,) * TIMES))
    assert walk.member.step is Step.CHALLENGE, "f + 1 members open, and this is one"
    walk.hear(0, ChallengeReveal(walk.context, (opening, walk.opening(2))))
    assert walk.member.step is Step.ACCEPT


def one_member_releases_often() -> None:
    walk = Walk(1).to(Step.RELEASE)
    walk.hear(0, ReleaseBundle(walk.context, (walk.release(0),) * TIMES))
    assert walk.member.step is Step.RELEASE


def one_member_stops_often() -> None:
    walk = Walk(1).to(Step.CLOSE)
    vote = walk.c.member_signed(0, walk.c.close_vote(0))
    walk.hear(0, CloseNow(walk.context, (vote,) * TIMES))
    assert not walk.member.close_forced


def one_aggregator_vouches_often() -> None:
    masked = masked_committee()
    header = masked.header(2)
    receipt = masked.receipt(8, header)
    crypto = masked.folk.cryptos[0]
    with pytest.raises(RuleBroken, match="before enough aggregators"):
        check_receipts(masked.plan, crypto, (receipt,) * 16, header_hash(header))


# --- bodies: what a reader takes ------------------------------------------------------------------


def refused(body: msgspec.Struct, rule: str) -> Callable[[], None]:
    def check() -> None:
        with pytest.raises(RuleBroken, match=rule):
            C.reader.member_body(C.member_signed(1, body))

    return check


def answers_of_one_member() -> None:
    walk = Walk(0).to(Step.ACCEPT)
    given = C.answered(1, (2, 3))
    said = MemberInput(walk.context, given.signed, answers=replace(given.answers, held=(2, 2)))
    with pytest.raises(RuleBroken, match="out of order"):
        walk.member.leader.on_input(1, said)


def vote_of(**lists: tuple) -> Callable[[], None]:
    return refused(C.close_vote(1, (), **lists), "a close vote lists somebody twice")


HELD = C.close_vote(1, [C.header(2)]).held
RELEASE = messages.Release(C.plan.context, 1, bytes(32), b"", (C.dealt(0, "next").shares[1],) * 2)


def culprits_of_one_word() -> None:
    folk = people(17, SMALL, ideal)
    plan = Committee(count=17, folk=folk).plan
    often = abort_value(folk, plan, range(6), {1: (5,) * TIMES})
    assert excluded_after_abort(plan, often) == ()
    two = abort_value(folk, plan, range(6), {1: (5,), 2: (5,)})
    assert excluded_after_abort(plan, two) == (5,), "f + 1 members name it"


def joins() -> None:
    assert joins_root((1, 1)) != joins_root((1,))


def proofs() -> None:
    """A proof has as many hashes as its place in the tree needs."""
    leaves = [bytes((leaf,)) for leaf in range(7)]
    root = merkle_root(leaves)
    for place, proof in enumerate(merkle_proofs(leaves)):
        assert verify_merkle_proof(root, leaves[place], place, 7, proof)
        assert not verify_merkle_proof(root, leaves[place], place, 7, (*proof, proof[-1]))


def in_evidence(kind: type, name: str) -> Callable[[], None]:
    def check() -> None:
        tried = 0
        for evidence, _ in everything().values():
            listed = getattr(evidence.proof, name, ()) if isinstance(evidence.proof, kind) else ()
            if listed:
                assert scene().convicts(evidence)
                again = replace(evidence.proof, **{name: (listed[0], *listed)})
                assert not scene().convicts(replace(evidence, proof=again))
                tried += 1
        assert tried

    return check


# --- gossip and parcels ---------------------------------------------------------------------------


def started() -> Town:
    town = Town()
    town.run(seconds=0.2)
    return town


def sent(effects: list) -> list:
    return [effect for effect in effects if isinstance(effect, Send)]


def items_announced() -> None:
    town = started()
    (request,) = sent(town.inject(1, 0, Announce((b"n" * 32,) * TIMES)))
    assert request.payload == codec.encode(Request((b"n" * 32,)))


def models_announced() -> None:
    town = started()
    assert town.inject(1, 0, Announce((), (b"m" * 32,) * TIMES)) == []
    peer = town.census.node_ids[1]
    assert town.machines[0].models._hints == {b"m" * 32: [peer]}


def items_asked_for() -> None:
    town = started()
    name = next(iter(town.machines[0]._gossip._items))
    once, often = (town.inject(1, 0, Request((name,) * times)) for times in (1, TIMES))
    assert len(sent(once)) == 1
    assert often == once


def items_told() -> None:
    town = started()
    item = codec.encode(messages.Signed(bytes(32), bytes(10), bytes(64)))
    assert len(town.inject(1, 0, Items((item,) * TIMES))) == 1, "refused, and not looked at again"


def chunks_asked_for() -> None:
    town = started()
    name = town.machines[0].parcels.keep([b"chunk"], [town.census.node_ids[1]])
    effects = town.inject(1, 0, ChunkRequest(name, (0,) * 64))
    assert len([effect for effect in effects if isinstance(effect, SendChunk)]) == 1


# --- every list -----------------------------------------------------------------------------------


TRIED: dict[str, Callable[[], None]] = {
    "ShareRequest.contributors": shares_asked_for,
    "HeadersRequest.names": headers_asked_for,
    "PartsRequest.numbers": parts_asked_for,
    "SumRequest.accepted": sums_asked_for,
    "Relay.shares": envelopes_kept,
    "MemberInput.attachments": headers_attached,
    "Opening.openings": one_member_opens_often,
    "ChallengeReveal.openings": one_member_opens_often,
    "ReleaseBundle.releases": one_member_releases_often,
    "CloseNow.votes": one_member_stops_often,
    "Contribution.receipts": one_aggregator_vouches_often,
    "CloseVote.held": vote_of(held=HELD * 2),
    "CloseVote.joined": vote_of(joined=(1, 1)),
    "CloseVote.next_dealers": vote_of(next_dealers=(1, 1)),
    "CloseVote.challenge_dealers": vote_of(challenge_dealers=(1, 1)),
    "CloseVote.culprits": vote_of(culprits=(1, 1)),
    "Answers.held": answers_of_one_member,
    "Release.openings": refused(RELEASE, "opens a dealing twice"),
    "GiveUp.culprits": culprits_of_one_word,
    "Record.joins": joins,
    "WrongShare.answers": in_evidence(messages.WrongShare, "answers"),
    "BadContribution.answers": in_evidence(messages.BadContribution, "answers"),
    "WrongRelease.releases": in_evidence(messages.WrongRelease, "releases"),
    "BadDealing.members": in_evidence(messages.BadDealing, "members"),
    "BadDealing.shares": in_evidence(messages.BadDealing, "shares"),
    "Announce.items": items_announced,
    "Announce.models": models_announced,
    "Request.items": items_asked_for,
    "Items.items": items_told,
    "ChunkRequest.indices": chunks_asked_for,
    **dict.fromkeys(
        (
            "OpenedShare.proof",
            "OpenedPayload.proof",
            "OpenedAnswer.proof",
            "Part.proof",
            "SealedShare.proof",
            "Chunk.proof",
        ),
        proofs,
    ),
}
COMPARED = {  # as a whole, or read where it is tried
    "RecordBody.accepted": "a quorum signs a body, and each of them only the one that it computed",
    "RecordBody.metrics": "as RecordBody.accepted",
    "RecordBody.excluded": "as RecordBody.accepted",
    "RecordBody.sums": "as RecordBody.accepted",
    "Handover.decisions": "decision i is one in the context of attempt i",
    "VectorSum.linear_hashes": "they are those that the headers of the set commit to, in order",
    "VectorSum.earlier": "they are signed together, as many as a sum has segments but for one",
    "VectorOffer.earlier": "a header commits to them together, likewise",
    "FalseVector.checkpoints": "a header commits to them together",
    "WrongSum.checkpoints": "they are signed together",
    "OpenedSegment.chunks": "each is proven at a place that follows from the segment's number",
    "OpenedSegment.proofs": "one for each chunk, at that place",
    "Word.parts": "they are hashed, and signed, together",
    "Relay.receipts": "16 at most, and a member that is given the envelope counts them",
    "Dispute.closed": "a response is signed with the headers of all that it answers for",
}


def lists_of(module: object) -> Iterator[str]:
    """Every field of a record that is a list, as Record.field."""
    for name, record in vars(module).items():
        if isinstance(record, type) and issubclass(record, msgspec.Struct):
            for each in msgspec.inspect.type_info(record).fields:
                if isinstance(each.type, msgspec.inspect.VarTupleType):
                    yield f"{name}.{each.name}"


def test_every_list_of_every_message_is_here():
    named = set(lists_of(messages)) - {"QuorumCertificate.signers", "QuorumCertificate.signatures"}
    assert named == {*TRIED, *COMPARED}


@pytest.mark.parametrize("check", TRIED.values(), ids=TRIED)
def test_a_repetition_means_nothing(check):
    check()
