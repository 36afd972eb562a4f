"""An aggregator holds masked vectors, promises only what it holds, and adds up what it is asked."""

import msgspec
import pytest
from tests.support.committee import Outbox
from tests.support.masked import check_sum
from tests.support.masked_round import (
    AGGREGATORS,
    fetches,
    grants,
    masked_committee,
    open_all,
    parcel_of,
)

from pnyx.errors import InvalidSignature, MalformedMessage, RuleBroken, WrongContext
from pnyx.primitives import codec
from pnyx.primitives.ring.linear_hash import DIGEST_BYTES
from pnyx.protocol.aggregation.masked.checkpoints import commit_all
from pnyx.protocol.aggregation.masked.vectors import VectorCode
from pnyx.protocol.chunks import Shape, chunks_of, describe
from pnyx.protocol.events import Compute, PeerBlamed, Persist, ReadParcel, SumVectors
from pnyx.protocol.evidence.proofs import Offence, assumes_nothing, check_evidence, offence_of
from pnyx.protocol.messages import (
    FalseVector,
    FalseVectorLength,
    MaskedVector,
    Pull,
    Step,
    SumRequest,
    VectorOffer,
    VectorReceipt,
    VectorSum,
)
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round.aggregator import Aggregator
from pnyx.protocol.round.vectors import check_receipt

C = masked_committee()
ME = AGGREGATORS[0]
OTHERS = AGGREGATORS[1:]
SET = (2, 3, 4)
NOW = 0.0
LATER = ProtocolParams().retransmit_s  # when whoever got no answer asks again


def aggregator(index: int = ME, *, away=(), restored=None) -> tuple[Aggregator, Outbox]:
    services, outbox = C.services(index, restored)
    return Aggregator(services, index, C.code, lambda other: other in away), outbox


def arrive(made: Aggregator, outbox: Outbox, *contributors: int) -> None:
    """Offer vectors, and let them come whole and be read."""
    for who in contributors:
        made.handle(who, C.offer(who), NOW)
        name, _, _, done, _ = fetches(outbox)[-1]
        done(name)
        read(made, outbox, name, C.vector(who))


def holding(*contributors: int, **terms) -> tuple[Aggregator, Outbox]:
    """An aggregator that holds these vectors, and has said all about them."""
    made, outbox = aggregator(**terms)
    arrive(made, outbox, *contributors)
    outbox.sent.clear()
    return made, outbox


def read(made: Aggregator, outbox: Outbox, name: bytes, data: bytes) -> None:
    """A vector is read, and what the aggregator asks for is computed."""
    before = len(outbox.of(Compute))
    made.on_read(name, data)
    for asked in outbox.of(Compute)[before:]:
        made.on_computed(asked.work())


def summed(made: Aggregator, outbox: Outbox) -> bytes:
    """Add up what the aggregator asked for last."""
    effect = outbox.of(SumVectors)[-1]
    assert effect.context == C.plan.context
    assert effect.parameters == C.code.parameters
    held = {parcel_of(C.vector(who)): who for who in C.plan.contributors}
    name = parcel_of(C.total([held[parcel] for parcel in effect.parcels]))
    made.on_summed(effect.name, name, ())
    return name


def kept(outbox: Outbox) -> dict[str, bytes]:
    """What survives a kill."""
    return {e.key.rsplit("/1-1/", 1)[1]: e.value for e in outbox.of(Persist)}


# --- vectors --------------------------------------------------------------------------------------


def test_the_way_of_a_vector():
    made, outbox = aggregator()
    made.handle(2, C.offer(2), NOW)
    ((name, length, sources, done, _),) = fetches(outbox)
    assert name == parcel_of(C.vector(2))
    assert length == C.code.vector_bytes == len(C.vector(2))
    assert sources == (2, *OTHERS)
    assert outbox.sent == [], "nothing is promised yet"
    done(name)
    assert outbox.of(ReadParcel) == [ReadParcel(C.plan.context, name)]
    read(made, outbox, name, C.vector(2))
    assert grants(outbox) == [(name, OTHERS)]
    assert kept(outbox) == {"vector/2": codec.encode(C.offer(2))}
    *passed_on, (to, receipt) = outbox.sent
    assert passed_on == [(index, C.offer(2)) for index in OTHERS]
    assert to == 2
    assert receipt == C.receipt(ME, C.header(2))
    check_receipt(C.plan, C.folk.cryptos[2], receipt, receipt.header_hash)


def test_an_offer_from_another_aggregator():
    made, outbox = aggregator()
    made.handle(OTHERS[0], C.offer(2), NOW)
    ((_, _, sources, _, _),) = fetches(outbox)
    assert sources == (OTHERS[0], 2, OTHERS[1])


def test_who_is_away_is_no_source():
    made, outbox = aggregator(away=(OTHERS[0],))
    made.handle(2, C.offer(2), NOW)
    ((_, _, sources, _, _),) = fetches(outbox)
    assert sources == (2, OTHERS[1])
    made.handle(OTHERS[0], C.offer(2), NOW)
    assert fetches(outbox)[1][2] == (OTHERS[0], 2, OTHERS[1]), "until it offers the vector"


def test_offered_again_a_vector_costs_nothing():
    made, outbox = aggregator()
    for _ in range(5):
        made.handle(2, C.offer(2), NOW)
        made.handle(OTHERS[0], C.offer(2), NOW)
    assert len(fetches(outbox)) == 1
    name, _, _, done, _ = fetches(outbox)[0]
    done(name)
    done(name)
    assert len(outbox.of(ReadParcel)) == 1
    read(made, outbox, name, C.vector(2))
    read(made, outbox, name, C.vector(2))
    assert len(outbox.of(VectorReceipt)) == 1


def test_its_contributor_gets_the_receipt_again():
    made, outbox = holding(2)
    made.handle(OTHERS[0], C.offer(2), NOW)
    assert outbox.sent == [], "who passes it on needs none"
    made.handle(2, C.offer(2), NOW)
    assert outbox.sent == [(2, C.receipt(ME, C.header(2)))]
    assert len(fetches(outbox)) == 1


def test_vectors_are_checked_one_at_a_time():
    """However many have come, one is in memory."""
    made, outbox = aggregator()
    for who in SET:
        made.handle(who, C.offer(who), NOW)
    for name, _, _, done, _ in fetches(outbox):
        done(name)
    for at, who in enumerate(SET):
        names = [each.parcel for each in outbox.of(ReadParcel)]
        assert names == [parcel_of(C.vector(each)) for each in SET[: at + 1]]
        made.on_read(names[-1], C.vector(who))
        made.on_read(names[-1], C.vector(who))
        assert len(outbox.of(Compute)) == at + 1, "once"
        checked = outbox.of(Compute)[-1].work()
        made.on_computed(b"of another role")
        assert len(outbox.of(VectorReceipt)) == at
        made.on_computed(checked)
        made.on_computed(checked)
        assert len(outbox.of(VectorReceipt)) == at + 1
    assert len(outbox.of(ReadParcel)) == len(SET)


def test_a_vector_that_its_owner_took_back_is_not_waited_for():
    made, outbox = aggregator()
    for who in (2, 3):
        made.handle(who, C.offer(who), NOW)
    for name, _, _, done, _ in fetches(outbox):
        done(name)
    made.forget(parcel_of(C.vector(4)))
    assert [each.parcel for each in outbox.of(ReadParcel)] == [parcel_of(C.vector(2))]
    made.forget(parcel_of(C.vector(2)))
    made.on_read(parcel_of(C.vector(2)), C.vector(2))  # which was under way
    assert outbox.of(Compute) == []
    read(made, outbox, parcel_of(C.vector(3)), C.vector(3))
    assert [to for to, each in outbox.sent if each in outbox.of(VectorReceipt)] == [3]


def copied() -> VectorOffer:
    """Contributor 3 names the parcel, and the linear hash, of contributor 2."""
    return C.offer(2, header=C.header(3, masked=C.reader.header(C.header(2)).masked))


@pytest.mark.parametrize("first", [[C.offer(2), copied()], [copied(), C.offer(2)], [copied()]])
@pytest.mark.parametrize("checking", [False, True], ids=["is read", "is checked"])
def test_a_vector_that_its_owner_took_back_is_nobodys_else(first, checking):
    """Whoever named it as well: nobody waits for it, and nothing is granted, said or shown of it.

    Its parcel is gone, so it is never read, and to grant it would be a bug of ours.
    """
    made, outbox = aggregator(2)
    for offer in [*first, C.offer(4)]:
        made.handle(OTHERS[0], offer, NOW)
    for name, _, _, done, _ in fetches(outbox):
        done(name)
    taken_back = parcel_of(C.vector(2))
    assert outbox.of(ReadParcel) == [ReadParcel(C.plan.context, taken_back)]
    if checking:
        made.on_read(taken_back, C.vector(2))
    made.forget(taken_back)
    if checking:
        made.on_computed(outbox.of(Compute)[-1].work())
    made.handle(OTHERS[0], C.offer(2), NOW)
    made.handle(OTHERS[1], copied(), NOW)
    assert grants(outbox) == outbox.sent == outbox.accused == []
    assert outbox.of(ReadParcel)[1:] == [ReadParcel(C.plan.context, parcel_of(C.vector(4)))]
    read(made, outbox, parcel_of(C.vector(4)), C.vector(4))
    assert [to for to, each in outbox.sent if each in outbox.of(VectorReceipt)] == [4]


def other_hash() -> VectorOffer:
    """Contributor 2 signs the linear hash of contributor 3's vector."""
    header = C.header(2, masked=C.says(2, hashed=3))
    return C.offer(2, header=header, linear_hash=C.masked(3).linear_hash)


@pytest.mark.parametrize("data", [C.vector(2), b"\xff" * C.code.vector_bytes])
def test_a_vector_with_another_linear_hash_is_blamed_on_its_contributor(data):
    """Also one that is no vector at all: residues above the prime."""
    made, outbox = aggregator()
    made.handle(2, other_hash(), NOW)
    name, _, _, done, _ = fetches(outbox)[0]
    done(name)
    read(made, outbox, name, data)
    (accusation,) = outbox.accused
    assert accusation.culprit == 2
    stated = C.checkpoints(C.masked(3).linear_hashes)
    assert accusation.proof == FalseVector(other_hash().header, stated, open_all(data))
    assert outbox.of(PeerBlamed) == []
    assert outbox.sent == []
    assert kept(outbox) == {}
    with pytest.raises(RuleBroken, match="seen to be wrong"):
        made.handle(2, other_hash(), NOW)
    assert len(fetches(outbox)) == 1


def other_length(data: bytes) -> VectorOffer:
    """Contributor 2 names the parcel of other bytes than its vector's."""
    masked = msgspec.structs.replace(C.says(2), parcel=parcel_of(data))
    return C.offer(2, header=C.header(2, masked=masked))


SHORTER = C.vector(2)[:-1]


def test_who_named_a_parcel_of_another_length_is_accused_by_its_shape():
    made, outbox = aggregator()
    offer = other_length(SHORTER)
    made.handle(2, offer, NOW)
    name, length, _, _, failed = fetches(outbox)[0]
    assert length == C.code.vector_bytes, "so a parcel of another length does not come to be held"
    parcel = describe(chunks_of(SHORTER))
    shape = Shape(name, parcel.length, parcel.root)
    failed(shape)
    failed(shape)
    (evidence,) = outbox.accused
    assert evidence.culprit == 2
    assert evidence.proof == FalseVectorLength(offer.header, len(SHORTER), parcel.root)
    assert offence_of(evidence.proof) is Offence.FALSE_VECTOR
    assert assumes_nothing(evidence.proof)
    check_evidence(evidence, C.plan, C.folk.cryptos[0])
    with pytest.raises(RuleBroken, match="seen to be wrong"):
        made.handle(2, offer, NOW)
    assert outbox.effects == outbox.sent == []


def test_a_restarted_aggregator_gives_no_receipt_for_a_parcel_of_another_length():
    """It stored nothing of it, and begins anew; were it read, the check would tell."""
    made, outbox = aggregator()
    made.handle(2, other_length(SHORTER), NOW)
    assert kept(outbox) == {}
    made, outbox = aggregator(restored=kept(outbox))
    made.handle(2, other_length(SHORTER), NOW)
    name, length, _, done, _ = fetches(outbox)[-1]
    assert length == C.code.vector_bytes
    done(name)
    read(made, outbox, name, SHORTER)
    assert [type(each.proof) for each in outbox.accused] == [FalseVector]
    assert outbox.sent == grants(outbox) == []
    assert kept(outbox) == {}


def with_hash(data: bytes) -> VectorOffer:
    """Contributor 2 commits to these bytes as its linear hash."""
    committed = commit_all(C.plan.context, C.checkpoints((data,)))
    vector = MaskedVector(parcel_of(C.vector(2)), committed)
    return C.offer(2, header=C.header(2, masked=vector), linear_hash=data)


def with_earlier() -> VectorOffer:
    """Contributor 2 commits to a checkpoint more than its vector has segments."""
    earlier = (bytes(32),)
    committed = commit_all(C.plan.context, (*earlier, *C.checkpoints(C.masked(2).linear_hashes)))
    vector = MaskedVector(parcel_of(C.vector(2)), committed)
    return C.offer(2, header=C.header(2, masked=vector), earlier=earlier)


@pytest.mark.parametrize(
    ("sender", "offer", "error", "rule"),
    [
        (3, C.offer(2), RuleBroken, "neither its contributor nor aggregators"),
        (1, C.offer(2), RuleBroken, "neither its contributor nor aggregators"),
        (2, C.offer(2, linear_hash=C.masked(3).linear_hash), RuleBroken, "committed to"),
        (2, C.offer(2, linear_hash=b""), RuleBroken, "committed to"),
        (2, C.offer(2, earlier=(bytes(32),)), RuleBroken, "committed to"),
        (2, with_earlier(), RuleBroken, "number of segments"),
        (2, with_hash(b""), MalformedMessage, None),
        (2, with_hash(b"\xff" * DIGEST_BYTES), MalformedMessage, None),
        (2, C.offer(2, header=C.header(2, masked=None)), RuleBroken, "should not, or does not"),
        (2, C.offer(2, header=C.header(2, context=b"x" * 32)), WrongContext, None),
        (1, C.offer(2, header=C.header(1)), RuleBroken, "not drawn"),
        (
            2,
            C.offer(2, header=msgspec.structs.replace(C.header(2), signature=bytes(64))),
            InvalidSignature,
            None,
        ),
    ],
)
def test_what_is_not_taken(sender, offer, error, rule):
    made, outbox = aggregator()
    with pytest.raises(error, match=rule):
        made.handle(sender, offer, NOW)
    assert fetches(outbox) == outbox.sent == outbox.effects == []


def test_a_second_contribution_is_refused():
    made, outbox = holding(2)
    second = C.offer(2, header=C.header(2, open_value=b"o" * 32))
    with pytest.raises(RuleBroken, match="two different contributions"):
        made.handle(2, second, NOW)
    assert len(fetches(outbox)) == 1
    assert outbox.sent == []


def test_without_room_a_vector_may_be_offered_again(monkeypatch):
    made, outbox = aggregator()

    def full(*_):
        raise RuleBroken("this node has no room for another parcel")

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "fetch_parcel", full)
        with pytest.raises(RuleBroken, match="no room"):
            made.handle(2, C.offer(2), NOW)
    arrive(made, outbox, 2)
    assert len(outbox.of(VectorReceipt)) == 1


def test_who_names_anothers_vector_neither_loses_it_nor_delays_it():
    """Contributor 3 names the parcel of 2: with its hash, and with another."""
    stolen = parcel_of(C.vector(2))
    copy = C.header(3, masked=MaskedVector(stolen, C.reader.header(C.header(2)).masked.commitment))
    lie = C.header(4, masked=msgspec.structs.replace(C.says(3), parcel=stolen))
    made, outbox = aggregator()
    made.handle(2, C.offer(2), NOW)
    made.handle(3, C.offer(2, header=copy), NOW)
    made.handle(4, C.offer(3, header=lie), NOW)
    for parcel, _, _, done, _ in fetches(outbox):
        assert parcel == stolen
        done(parcel)
    assert len(outbox.of(ReadParcel)) == 1
    read(made, outbox, stolen, C.vector(2))
    assert [to for to, message in outbox.sent if isinstance(message, VectorReceipt)] == [2, 3]
    assert [each.culprit for each in outbox.accused] == [4]
    assert all(what != "forget" for what, *_ in outbox.parcels)


def test_other_messages_and_parcels_are_not_for_it():
    made, outbox = holding(2)
    made.handle(0, Pull(C.plan.context, Step.OPEN), NOW)
    read(made, outbox, b"p" * 32, C.vector(2))
    assert outbox.sent == []


# --- sums -----------------------------------------------------------------------------------------


def test_a_sum_is_made_once_and_told_to_whoever_asks():
    made, outbox = holding(*SET)
    made.handle(1, C.request(*SET), NOW)
    made.handle(2, C.request(*SET), NOW)
    assert len(outbox.of(SumVectors)) == 1
    assert outbox.sent == []
    parcel = summed(made, outbox)
    assert outbox.sent == [(1, C.told(*SET)), (2, C.told(*SET))]
    assert grants(outbox)[-2:] == [(parcel, (1,)), (parcel, (2,))]
    outbox.sent.clear()
    made.handle(3, C.request(*SET), NOW)
    assert outbox.sent == [(3, C.told(*SET))], "the others have heard it"
    assert len(outbox.of(SumVectors)) == 1
    shown = outbox.sent[0][1].linear_hashes
    check_sum(C.code, C.total(SET), [each.linear_hash for each in shown])


def test_a_sum_waits_for_vectors_that_are_missing():
    made, outbox = holding(3)
    made.handle(1, C.request(*SET), NOW)
    wanted = SumRequest(C.plan.context, C.accepted(2, 4))
    assert outbox.sent == [(index, wanted) for index in OTHERS], "others may hold them"
    outbox.sent.clear()
    made.handle(2, C.request(*SET), NOW)
    assert outbox.sent == [], "asked already"
    made.handle(1, C.request(*SET), LATER)
    assert len(outbox.sent) == 2, "until somebody asks again, after a while"
    for who in (2, 4):
        assert outbox.of(SumVectors) == []
        arrive(made, outbox, who)
    summed(made, outbox)
    assert [to for to, message in outbox.sent if isinstance(message, VectorSum)] == [1, 2]


def test_a_vector_under_another_header_is_nothing_to_ask_for():
    made, outbox = holding(*SET)
    other = C.header(3, open_value=b"o" * 32)
    asked = list(C.accepted(*SET))
    asked[1] = msgspec.structs.replace(asked[1], header_hash=b"h" * 32)
    with pytest.raises(RuleBroken, match="another contribution than was offered"):
        made.handle(1, SumRequest(C.plan.context, tuple(asked)), NOW)
    assert outbox.of(SumVectors) == outbox.sent == []
    with pytest.raises(RuleBroken, match="two different"):
        made.handle(3, C.offer(3, header=other), NOW)


def test_other_aggregators_are_offered_what_they_miss_and_told_nothing_else():
    made, outbox = holding(2, 3)
    made.handle(OTHERS[0], C.request(2, 4), NOW)
    assert outbox.sent == [(OTHERS[0], C.offer(2))]
    assert outbox.of(SumVectors) == []
    made.handle(1, C.request(2, 3), NOW)
    made.handle(OTHERS[0], C.request(2, 3), NOW)
    outbox.sent.clear()
    summed(made, outbox)
    assert outbox.sent == [(1, C.told(2, 3))]


def test_an_aggregator_that_is_a_member_too():
    """What it passes on for others is not what it wants; what a member asked for, it may have."""
    both = OTHERS[1]
    assert both in C.plan.member_of
    made, outbox = holding(*SET)
    made.handle(both, C.request(2), NOW)
    made.handle(both, C.request(*SET), NOW)
    assert outbox.of(SumVectors) == []
    made.handle(1, C.request(*SET), NOW)
    outbox.sent.clear()
    made.handle(both, C.request(*SET), NOW)
    assert outbox.sent == [(both, C.offer(who)) for who in SET]
    outbox.sent.clear()
    summed(made, outbox)
    assert [to for to, _ in outbox.sent] == [both, 1]


def test_an_aggregator_asks_itself_as_a_member():
    made, outbox = aggregator(OTHERS[1])
    arrive(made, outbox, *SET)
    made.handle(OTHERS[1], C.request(*SET), NOW)
    outbox.sent.clear()
    summed(made, outbox)
    assert outbox.sent == [(OTHERS[1], C.told(*SET, teller=OTHERS[1]))]


@pytest.mark.parametrize(
    ("sender", "request_", "rule"),
    [
        (7, C.request(*SET), "neither member nor aggregator"),
        (ME, C.request(*SET), "neither member nor aggregator"),
        (1, SumRequest(C.plan.context, ()), "out of order"),
        (1, SumRequest(C.plan.context, C.accepted(*SET)[::-1]), "out of order"),
        (1, SumRequest(C.plan.context, C.accepted(2) + C.accepted(2)), "out of order"),
        (1, C.request(1, 2), "not drawn"),
        (OTHERS[0], C.request(2, 9), "not drawn"),
    ],
)
def test_what_is_not_added_up(sender, request_, rule):
    made, outbox = holding(*SET)
    with pytest.raises(RuleBroken, match=rule):
        made.handle(sender, request_, NOW)
    assert outbox.sent == outbox.of(SumVectors) == []


def test_a_member_asks_for_few_sets():
    """Each sum costs the aggregator a parcel and a pass over all vectors."""
    made, _ = holding(*SET)
    for few in [(2,), (3,), (2, 3), (2, 4), (2,)]:
        made.handle(1, C.request(*few), NOW)
    assert len(made._asked) == ProtocolParams().summed_sets_max == 4
    for other in [(3, 4), SET]:
        with pytest.raises(RuleBroken, match="more than 4 sets of one group"):
            made.handle(1, C.request(*other), NOW)
    made.handle(2, C.request(*SET), NOW)
    assert len(made._asked) == 5


def test_sums_are_made_one_after_the_other():
    made, outbox = holding(*SET)
    made.handle(1, C.request(2), NOW)
    made.handle(1, C.request(3), NOW)
    made.handle(2, C.request(3), NOW)
    assert len(outbox.of(SumVectors)) == 1
    summed(made, outbox)
    assert len(outbox.of(SumVectors)) == 2
    summed(made, outbox)
    assert outbox.sent == [(1, C.told(2)), (1, C.told(3)), (2, C.told(3))]
    assert outbox.room == [C.code.sum_bytes] * 2
    assert len(outbox.of(SumVectors)) == 2


def test_a_sum_that_failed_is_made_for_whoever_asks_again():
    made, outbox = holding(*SET)
    made.handle(1, C.request(*SET), NOW)
    made.handle(1, C.request(2), NOW)
    made.on_summing_failed(C.name_of(*SET))
    made.on_summing_failed(C.name_of(*SET))
    assert [each.name for each in outbox.of(SumVectors)] == [C.name_of(*SET), C.name_of(2)]
    summed(made, outbox)
    made.handle(1, C.request(*SET), LATER)
    assert outbox.of(SumVectors)[-1].name == C.name_of(*SET)
    summed(made, outbox)
    assert outbox.sent[-1] == (1, C.told(*SET))


def test_a_vector_taken_back_before_its_turn_is_not_added_up():
    made, outbox = holding(*SET)
    for few in [(3, 4), (2, 3)]:
        made.handle(1, C.request(*few), NOW)
    made.forget(parcel_of(C.vector(2)))
    summed(made, outbox)
    assert [each.name for each in outbox.of(SumVectors)] == [C.name_of(3, 4)]


def test_without_room_for_a_sum_it_is_asked_for_again(monkeypatch):
    made, outbox = holding(*SET)

    def full(length: int):
        raise RuleBroken("this node has no room for another parcel")

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "make_room", full)
        made.handle(1, C.request(*SET), NOW)
    assert outbox.of(SumVectors) == []
    made.handle(1, C.request(*SET), LATER)
    summed(made, outbox)
    assert outbox.sent == [(1, C.told(*SET))]


# --- restarts -------------------------------------------------------------------------------------


def test_after_a_restart_it_still_holds_what_it_gave_receipts_for():
    _, before = holding(*SET)
    made, outbox = aggregator(restored={**kept(before), "round-key": b"of another role"})
    assert len(fetches(outbox)) == len(SET)
    for name, length, _, done, _ in fetches(outbox):
        assert length == C.code.vector_bytes
        done(name)  # what is held is told at once
    assert outbox.of(ReadParcel) == [], "it was checked before"
    made.handle(2, C.offer(2), NOW)
    assert outbox.sent == [(2, C.receipt(ME, C.header(2)))]
    made.handle(1, C.request(*SET), NOW)
    outbox.sent.clear()
    summed(made, outbox)
    assert outbox.sent == [(1, C.told(*SET))]


def test_what_a_disk_has_lost_is_pulled_once_more_before_it_is_added_up():
    _, before = holding(*SET)
    made, outbox = aggregator(restored=kept(before))
    lost, *others = fetches(outbox)
    for name, _, _, done, _ in others:
        done(name)
    made.handle(1, C.request(*SET), NOW)
    assert outbox.of(SumVectors) == []
    name, _, sources, done, _ = lost
    assert sources == (2, *OTHERS)
    done(name)
    assert len(outbox.of(SumVectors)) == 1


def test_without_room_for_what_was_lost_it_starts_all_the_same(monkeypatch):
    _, before = holding(2)

    def full(*_):
        raise RuleBroken("this node has no room for another parcel")

    monkeypatch.setattr(Outbox, "fetch_parcel", full)
    made, outbox = aggregator(restored=kept(before))
    monkeypatch.undo()
    made.handle(1, C.request(2), NOW)
    assert outbox.of(SumVectors) == []
    made.handle(OTHERS[0], C.offer(2), NOW)
    assert len(fetches(outbox)) == 1


def test_every_aggregator_checks_hashes_by_rows_of_its_own(monkeypatch):
    """Rows that a contributor could foresee would let a wrong hash pass."""
    seeds = []
    honest = VectorCode.checker
    monkeypatch.setattr(
        VectorCode, "checker", lambda code, seed: seeds.append(seed) or honest(code, seed)
    )
    for index in AGGREGATORS:
        made, outbox = aggregator(index)
        arrive(made, outbox, *SET)
    assert len(seeds) == len(set(seeds)) == len(AGGREGATORS), "one each, whatever comes"
