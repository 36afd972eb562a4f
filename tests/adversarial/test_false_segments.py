"""A8, A9: a masked vector of several segments is not what was signed of it, or a sum is not.

Whoever holds all of it finds the first segment that contradicts a checkpoint, and that segment
convicts: of a megabyte, however long the vector is. Nothing that is shown of true vectors and sums
convicts anybody, whatever is altered.
"""

from functools import lru_cache

import pytest
from msgspec.structs import replace
from tests.support.committee import Outbox
from tests.support.masked_round import (
    AGGREGATORS,
    MaskedCommittee,
    fetches,
    open_at,
    parcel_of,
)
from tests.support.weakened import weaken

from pnyx.errors import InvalidSignature, ProtocolError, RuleBroken
from pnyx.primitives import codec
from pnyx.primitives.hashing import merkle_commit
from pnyx.protocol.aggregation.masked.checkpoints import commit_all
from pnyx.protocol.aggregation.masked.parameters import layout
from pnyx.protocol.chunks import chunk_count
from pnyx.protocol.events import Compute, ReadParcel
from pnyx.protocol.evidence.docket import Docket
from pnyx.protocol.evidence.proofs import Offence, check_evidence, offence_of
from pnyx.protocol.messages import (
    CHUNK_BYTES,
    Evidence,
    FalseReceipt,
    FalseVector,
    MaskedVector,
    OpenedSegment,
    Signed,
    VectorReceipt,
    WrongRelease,
    WrongSum,
)
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round import aggregator, false_segments, vector_sum, vectors
from pnyx.protocol.round import committee as committee_module
from pnyx.protocol.round.aggregator import Aggregator
from pnyx.protocol.round.committee import CommitteeMember
from pnyx.protocol.round.false_segments import Trail, sum_walk
from pnyx.protocol.round.holdings import Holdings
from pnyx.protocol.round.values import header_hash
from pnyx.protocol.round.vector_sum import WantedSum
from pnyx.protocol.round.vectors import walk_of

ENTRIES = 2 * 262_144 + 40_000  # three segments, the last of them not full
WHO, SET = 2, (2, 3)
FIRST, SECOND, THIRD = AGGREGATORS
MEMBER = 1
KINDS = ("masked", "verified")


@lru_cache
def committee(kind: str) -> MaskedCommittee:
    terms = {"verified": True} if kind == "verified" else {"value_bits": 16}
    made = MaskedCommittee(kind.encode().ljust(32), entries=ENTRIES, **terms)
    assert layout(made.code.parameters).segments == 3
    return made


def altered(data: bytes, places: list[tuple[int, int]], segment: int) -> bytes:
    """The same with a bit of one segment flipped, far from both ends."""
    start, size = places[segment]
    at = start + size // 2
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


def judged(kind: str, evidence: Evidence) -> Evidence:
    """Evidence as it travels, once whoever is shown it has judged it. Raises ProtocolError."""
    c, params = committee(kind), ProtocolParams()
    said = codec.encode(evidence)
    assert len(said) < params.evidence_bytes_max
    heard = codec.decode(said, Evidence, bytes_max=params.evidence_bytes_max)
    check_evidence(heard, c.plan, c.folk.cryptos[5])
    return heard


def evidence(kind: str, culprit: int, proof: FalseVector | FalseReceipt | WrongSum) -> Evidence:
    plan = committee(kind).plan
    return Evidence(plan.study, plan.round_number, plan.attempt, culprit, proof)


# --- a vector -------------------------------------------------------------------------------------


def naming(kind: str, data: bytes) -> Signed:
    """The contributor's header, but that it names the parcel of other bytes than its vector's."""
    c = committee(kind)
    masked = c.reader.header(c.header(WHO)).masked
    assert masked is not None
    return c.header(WHO, masked=replace(masked, parcel=parcel_of(data)))


def offered(kind: str, header: Signed, data: bytes, **changes: object) -> Outbox:
    """What an aggregator does once this vector, offered with this header, has come."""
    c = committee(kind)
    services, outbox = c.services(FIRST)
    made = Aggregator(services, FIRST, c.code, lambda _: False)
    made.handle(WHO, c.offer(WHO, **{"header": header, **changes}), 0.0)
    ((name, _, _, done, _),) = fetches(outbox)
    assert name == parcel_of(data)
    done(name)
    made.on_read(name, data)
    made.on_computed(outbox.of(Compute)[-1].work())
    return outbox


@pytest.mark.parametrize("segment", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_false_segment_of_a_vector(kind: str, segment: int) -> None:
    """The header names a vector that differs in one segment from what its linear hash is of.

    P is drawn by the name of the parcel, so the first segment contradicts the stated sketch.
    """
    c = committee(kind)
    data = altered(c.vector(WHO), c.code.places(), segment)
    outbox = offered(kind, naming(kind, data), data)
    assert outbox.of(VectorReceipt) == []
    (accusation,) = outbox.accused
    assert (accusation.culprit, offence_of(accusation.proof)) == (WHO, Offence.FALSE_VECTOR)
    shown = judged(kind, accusation).proof
    assert isinstance(shown, FalseVector)
    assert shown.opened.segment == (0 if kind == "verified" else segment)
    assert sum(map(len, shown.opened.chunks)) <= 8 * CHUNK_BYTES


@pytest.mark.parametrize("segment", range(3))
def test_false_sketch_after_some_segments(segment: int) -> None:
    """All that is stated of the segments before is true: it goes wrong with this one."""
    c = committee("verified")
    header = c.header(WHO)
    masked = c.reader.header(header).masked
    assert masked is not None
    assert masked.proof is not None
    true = [*c._earlier[masked.proof.salt], masked.proof.sketch]
    said = [*true[:segment], *(bytes((each[0] ^ 1,)) + each[1:] for each in true[segment:])]
    stated = [
        false_segments.checkpoint(linear_hash, sketch)
        for linear_hash, sketch in zip(c.masked(WHO).linear_hashes, said, strict=True)
    ]
    proof = replace(masked.proof, sketch=said[-1])
    committed = commit_all(c.plan.context, stated)
    lie = c.header(WHO, masked=MaskedVector(masked.parcel, committed, proof))
    outbox = offered("verified", lie, c.vector(WHO), earlier=tuple(stated[:-1]))
    (accusation,) = outbox.accused
    shown = judged("verified", accusation).proof
    assert isinstance(shown, FalseVector)
    assert shown.opened.segment == segment


@pytest.mark.parametrize("kind", KINDS)
def test_residues_beyond_their_prime(kind: str) -> None:
    c = committee(kind)
    start, size = c.code.places()[1]
    data = c.vector(WHO)
    data = data[:start] + b"\xff" * size + data[start + size :]
    (accusation,) = offered(kind, naming(kind, data), data).accused
    judged(kind, accusation)


EARLIER = (bytes(32), bytes(32))


def half_false(kind: str) -> Signed:
    """A header that states the end of a vector rightly, and how it comes there wrongly."""
    c = committee(kind)
    masked = c.reader.header(c.header(WHO)).masked
    assert masked is not None
    committed = commit_all(c.plan.context, (*EARLIER, c.checkpoints_of(WHO)[-1]))
    return c.header(WHO, masked=replace(masked, commitment=committed))


def half_shown(kind: str) -> FalseVector:
    """What convicts its contributor, by the first segment."""
    c = committee(kind)
    header, stated = half_false(kind), (*EARLIER, c.checkpoints_of(WHO)[-1])
    opened = open_at(walk_of(c.plan, c.reader.claim(header)), c.vector(WHO), 0)
    return FalseVector(header, stated, opened)


def test_false_checkpoints_of_a_true_vector() -> None:
    """Who states them wrongly before the end gets a receipt where it says no more than that."""
    data = committee("masked").vector(WHO)
    outbox = offered("masked", half_false("masked"), data, earlier=EARLIER)
    assert outbox.accused == []
    assert len(outbox.of(VectorReceipt)) == 1


def test_receipt_that_vouches_for_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were only the end compared, whoever gave it could be convicted by the first."""
    data, lie = committee("verified").vector(WHO), half_false("verified")
    outbox = offered("verified", lie, data, earlier=EARLIER)
    (accusation,) = outbox.accused
    assert accusation.proof == half_shown("verified")
    assert outbox.of(VectorReceipt) == []
    weaken(monkeypatch, aggregator, ("if not vouched_for(plan) and seems_right", "if seems_right"))
    outbox = offered("verified", lie, data, earlier=EARLIER)
    (receipt,) = outbox.of(VectorReceipt)
    judged("verified", evidence("verified", FIRST, FalseReceipt(half_shown("verified"), receipt)))


def test_honest_aggregator_framed_by_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """A contributor convicts itself, to have whoever gave it a receipt convicted with it.

    Aggregators compare all checkpoints only where their receipts vouch for them.
    """
    for kind in KINDS:
        c, false = committee(kind), half_shown(kind)
        judged(kind, evidence(kind, WHO, false))
        receipt = c.receipt(FIRST, false.header)
        framed = evidence(kind, FIRST, FalseReceipt(false, receipt))
        if kind == "verified":
            judged(kind, framed)  # who gave that receipt was not honest: see the test before
            continue
        with pytest.raises(RuleBroken, match="do not vouch"):
            judged(kind, framed)
        with monkeypatch.context() as patch:
            weaken(
                patch,
                vectors,
                ("isinstance(proof, FalseVectorLength) or vouched_for(plan)", "True"),
            )
            judged(kind, framed)


def test_members_accuse_no_aggregator_of_what_it_does_not_say() -> None:
    """A member that was shown the receipt hears that the header is false."""
    for kind, culprits in (("masked", set()), ("verified", {FIRST, SECOND})):
        c = committee(kind)
        services, outbox = c.services(MEMBER)
        holdings = Holdings(services, c.reader, MEMBER, c.private_key(MEMBER), lambda *_: None)
        header = half_false(kind)
        receipts = tuple(c.receipt(each, header) for each in (FIRST, SECOND))
        holdings._vouchers = {
            WHO: (header_hash(header), {each.aggregator: each for each in receipts})
        }
        member = CommitteeMember.__new__(CommitteeMember)
        member.plan, member.services, member.reader = c.plan, services, c.reader
        member.holdings, member._false_vectors = holdings, {}
        member.on_false_vector(half_shown(kind))
        assert {each.culprit for each in outbox.accused} == culprits
        assert set(member._false_vectors.values()) == ({half_shown(kind)} if culprits else set())


def test_members_that_hold_much_accuse_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered for receipts that come later is bounded; those at hand convict."""
    c = committee("verified")
    services, outbox = c.services(MEMBER)
    holdings = Holdings(services, c.reader, MEMBER, c.private_key(MEMBER), lambda *_: None)
    header = half_false("verified")
    holdings._vouchers = {WHO: (header_hash(header), {FIRST: c.receipt(FIRST, header)})}
    member = CommitteeMember.__new__(CommitteeMember)
    member.plan, member.services, member.reader = c.plan, services, c.reader
    member.holdings = holdings
    many = {bytes((at,)): half_shown("verified") for at in range(36)}  # 0.9 MB each
    member._false_vectors = dict(many)
    member.on_false_vector(half_shown("verified"))
    assert member._false_vectors == many
    assert [each.culprit for each in outbox.accused] == [FIRST]
    monkeypatch.setattr(committee_module, "_FALSE_VECTORS_BYTES_MAX", 1 << 30)
    member.on_false_vector(half_shown("verified"))
    assert len(member._false_vectors) == 37


# --- a sum ----------------------------------------------------------------------------------------


def wanting(kind: str) -> tuple[WantedSum, Outbox]:
    c = committee(kind)
    services, outbox = c.services(MEMBER)
    made = WantedSum(services, MEMBER, c.reader, c.code, lambda _: False)
    made.want(c.closed(SET), SET, 0.0)
    return made, outbox


def checked(made: WantedSum, outbox: Outbox, data: bytes) -> bool:
    """What is asked for is read, and computed; tells whether it is the sum."""
    reads = outbox.of(ReadParcel)
    outbox.effects.clear()
    assert {each.parcel for each in reads} == {parcel_of(data)}, "each is read once at a time"
    assert len(reads) == 1
    made.on_read(parcel_of(data), data)
    (compute,) = outbox.of(Compute)
    return made.on_checked(compute.work())


@pytest.mark.parametrize("segment", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_false_segment_of_a_sum(kind: str, segment: int) -> None:
    c = committee(kind)
    data = altered(c.total(SET), c.code.sum_places(), segment)
    made, outbox = wanting(kind)
    made.on_sum(FIRST, c.told(*SET, parcel=parcel_of(data), teller=FIRST))
    ((name, _, _, done, _),) = fetches(outbox)
    done(name)
    assert not checked(made, outbox, data)
    (accusation,) = outbox.accused
    assert (accusation.culprit, offence_of(accusation.proof)) == (FIRST, Offence.WRONG_SUM)
    shown = judged(kind, accusation).proof
    assert isinstance(shown, WrongSum)
    assert shown.opened.segment == segment
    assert sum(map(len, shown.opened.chunks)) <= 10 * CHUNK_BYTES


@pytest.mark.parametrize("late", [True, False])
def test_liars_that_sign_other_checkpoints_of_one_wrong_sum(late: bool) -> None:
    """Each is convicted by what it signed itself, also who tells of it once it was looked at."""
    c = committee("masked")
    data = altered(c.total(SET), c.code.sum_places(), 1)
    telling = c.told(*SET, parcel=parcel_of(data), teller=FIRST)
    own = c.checkpoints(c.code.linear_hashes_of_sum(data, len(SET))[:-1])
    others = {SECOND: own, THIRD: (bytes(32), bytes(32))}
    made, outbox = wanting("masked")
    made.on_sum(FIRST, telling)
    told = {who: c.signed_sum(replace(telling, earlier=said), who) for who, said in others.items()}
    for who in () if late else others:
        made.on_sum(who, told[who])
    fetches(outbox)[0][3](parcel_of(data))
    assert not checked(made, outbox, data)
    if late:
        for who in others:
            made.on_sum(who, told[who])
        assert not checked(made, outbox, data), "once for both"
    assert outbox.of(ReadParcel) == []
    shown = {each.culprit: judged("masked", each).proof.opened.segment for each in outbox.accused}
    assert shown == {FIRST: 1, SECOND: 2, THIRD: 0}
    assert len(outbox.accused) == 3, "and each is accused once"


def test_liars_share_what_is_opened_of_one_wrong_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each says something else of it: one tree over all of it, and one copy of each segment."""
    c = committee("masked")
    data = altered(c.total(SET), c.code.sum_places(), 2)
    telling = c.told(*SET, parcel=parcel_of(data), teller=FIRST)
    true = telling.earlier
    said = {FIRST: (true[0], bytes(32)), SECOND: (true[0], b"x" * 32), THIRD: (bytes(32), true[1])}
    trees = []

    def commit(leaves: list[bytes]) -> tuple[bytes, list[tuple[bytes, ...]]]:
        trees.append(len(leaves))
        return merkle_commit(leaves)

    monkeypatch.setattr(false_segments, "merkle_commit", commit)
    made, outbox = wanting("masked")
    for who, earlier in said.items():
        made.on_sum(who, c.signed_sum(replace(telling, earlier=earlier), who))
    fetches(outbox)[0][3](parcel_of(data))
    assert not checked(made, outbox, data)
    assert trees == [chunk_count(len(data))]
    opened = {each.culprit: each.proof.opened for each in outbox.accused}
    assert {who: each.segment for who, each in opened.items()} == {FIRST: 1, SECOND: 1, THIRD: 0}
    assert opened[FIRST] is opened[SECOND]
    for each in outbox.accused:
        judged("masked", each)


def test_true_sum_costs_no_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is opened of it, so its chunks are not hashed."""
    c = committee("masked")
    made, outbox = wanting("masked")
    made.on_sum(FIRST, c.told(*SET, teller=FIRST))
    fetches(outbox)[0][3](parcel_of(c.total(SET)))
    monkeypatch.delattr(false_segments, "merkle_commit")
    assert checked(made, outbox, c.total(SET))


def test_false_checkpoints_of_a_true_sum_cost_nobody_anything() -> None:
    c = committee("masked")
    made, outbox = wanting("masked")
    lie = replace(c.told(*SET), earlier=(bytes(32), bytes(32)))
    made.on_sum(FIRST, c.signed_sum(lie, FIRST))
    fetches(outbox)[0][3](parcel_of(c.total(SET)))
    assert checked(made, outbox, c.total(SET))
    assert outbox.accused == []


def test_checkpoints_that_come_while_a_sum_is_looked_at() -> None:
    """It is looked at once more, for all who told of it meanwhile, and not for each of them."""
    c = committee("masked")
    data = altered(c.total(SET), c.code.sum_places(), 1)
    telling = c.told(*SET, parcel=parcel_of(data), teller=FIRST)
    made, outbox = wanting("masked")
    made.on_sum(FIRST, telling)
    fetches(outbox)[0][3](parcel_of(data))
    made.on_read(parcel_of(data), data)
    (compute,) = outbox.of(Compute)
    outbox.effects.clear()
    for who in (SECOND, THIRD):
        lie = replace(telling, earlier=(bytes((who,)) * 32, bytes(32)))
        made.on_sum(who, c.signed_sum(lie, who))
        for _, _, _, done, _ in fetches(outbox)[1:]:
            done(parcel_of(data))
        made.on_read(parcel_of(data), data)
    assert outbox.effects == []
    assert not made.on_checked(compute.work())
    assert not checked(made, outbox, data)
    assert [each.culprit for each in outbox.accused] == [FIRST, SECOND, THIRD]
    assert outbox.of(ReadParcel) == []


@pytest.mark.parametrize("wrong_first", [True, False])
def test_wrong_sum_that_is_looked_at_beside_the_right_one(wrong_first: bool) -> None:
    """Whichever comes first, the right one is taken, and who told of the other is convicted."""
    c = committee("masked")
    right = c.total(SET)
    wrong = altered(right, c.code.sum_places(), 2)
    made, outbox = wanting("masked")
    made.on_sum(FIRST, c.told(*SET, parcel=parcel_of(wrong), teller=FIRST))
    made.on_sum(SECOND, c.told(*SET, teller=SECOND))
    for (name, _, _, done, _), data in zip(fetches(outbox), (wrong, right), strict=True):
        done(name)
        if wrong_first:
            made.on_read(name, data)
    if not wrong_first:
        for data in (right, wrong):
            made.on_read(parcel_of(data), data)
    computed = [each.work() for each in outbox.of(Compute)]
    assert [made.on_checked(each) for each in computed] == [not wrong_first, wrong_first]
    assert made.data == right
    assert {each.culprit for each in outbox.accused} == {FIRST}
    judged("masked", outbox.accused[0])


def test_what_a_member_signs_of_a_sum_that_a_liar_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A true sum with false checkpoints: who passes it on signs its own."""
    c = committee("masked")

    def framed() -> Evidence:
        made, outbox = wanting("masked")
        lie = replace(c.told(*SET), earlier=EARLIER)
        made.on_sum(FIRST, c.signed_sum(lie, FIRST))
        fetches(outbox)[0][3](parcel_of(c.total(SET)))
        made.on_read(parcel_of(c.total(SET)), c.total(SET))
        result = outbox.of(Compute)[-1].work()
        assert made.on_checked(result)
        told = made.told(result)
        stated = (*told.earlier, *c.checkpoints((c.summed(told),)))
        opened = open_at(sum_walk(c.code, len(SET)), c.total(SET), 0)
        proof = WrongSum(told.accepted, len(SET), stated, opened, told.signature)
        return evidence("masked", c.plan.committee[MEMBER], proof)

    with pytest.raises(RuleBroken, match="the segment is what was signed of it"):
        judged("masked", framed())
    own = "self.name, checked.parcel, self._shown, checked.earlier"
    passed_on = "self.name, checked.parcel, self._shown, self._offers[8].earlier"
    assert FIRST == 8
    weaken(monkeypatch, vector_sum, (own, passed_on))
    judged("masked", framed())


def test_a_sum_with_another_number_of_checkpoints_is_not_pulled() -> None:
    c = committee("masked")
    made, outbox = wanting("masked")
    for earlier in ((), (bytes(32),), (bytes(32),) * 3):
        with pytest.raises(RuleBroken, match="number of segments"):
            made.on_sum(FIRST, c.signed_sum(replace(c.told(*SET), earlier=earlier), FIRST))
    assert fetches(outbox) == []


# --- what is true convicts nobody -----------------------------------------------------------------


def vector_shown(kind: str, segment: int) -> Evidence:
    """One segment of an honest contributor's vector, said to be false."""
    c = committee(kind)
    header = c.header(WHO)
    opened = open_at(walk_of(c.plan, c.reader.claim(header)), c.vector(WHO), segment)
    return evidence(kind, WHO, FalseVector(header, c.checkpoints_of(WHO), opened))


def sum_shown(kind: str, segment: int) -> Evidence:
    """One segment of a sum that an honest aggregator told of, said to be false."""
    c = committee(kind)
    told = c.told(*SET)
    checkpoints = (*told.earlier, *c.checkpoints((c.summed(told),)))
    opened = open_at(sum_walk(c.code, len(SET)), c.total(SET), segment)
    proof = WrongSum(told.accepted, len(SET), checkpoints, opened, told.signature)
    return evidence(kind, FIRST, proof)


SHOWN = {"vector": vector_shown, "sum": sum_shown}


def opening(shown: Evidence, **changes: object) -> Evidence:
    proof = shown.proof
    assert isinstance(proof, FalseVector | WrongSum)
    return replace(shown, proof=replace(proof, opened=replace(proof.opened, **changes)))


@pytest.mark.parametrize("segment", range(3))
@pytest.mark.parametrize("of", SHOWN)
@pytest.mark.parametrize("kind", KINDS)
def test_true_segment_convicts_nobody(
    kind: str, of: str, segment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = SHOWN[of](kind, segment)
    with pytest.raises(RuleBroken, match="the segment is what was signed of it"):
        judged(kind, shown)
    compared = "checkpoint(*after) == checkpoints[opened.segment]"
    weaken(monkeypatch, false_segments, (compared, "False"))
    judged(kind, shown)  # to compare is the defence


@pytest.mark.parametrize("of", SHOWN)
@pytest.mark.parametrize("kind", KINDS)
def test_what_came_before_is_made_up(kind: str, of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With another linear hash before it, a true segment would give another checkpoint."""
    later, first = SHOWN[of](kind, 2), SHOWN[of](kind, 0)
    proof = later.proof
    assert isinstance(proof, FalseVector | WrongSum)
    before = proof.opened.linear_hash
    framed = [
        opening(later, linear_hash=SHOWN[of](kind, 1).proof.opened.linear_hash),
        opening(later, linear_hash=before[:-1] + bytes((before[-1] ^ 1,))),
        opening(later, linear_hash=b""),
        opening(later, linear_hash=b"no linear hash"),
        opening(later, sketch=b"no sketch"),
        opening(first, linear_hash=before),
        opening(first, linear_hash=bytes(len(before))),
        opening(first, sketch=bytes(1024)),
    ]
    for each in framed:
        with pytest.raises(RuleBroken, match="what comes before"):
            judged(kind, each)
    weaken(monkeypatch, false_segments, ("if not committed:", "if False:"))
    convicted = 0
    for each in framed:
        try:
            judged(kind, each)
            convicted += 1
        except ProtocolError:
            continue
    assert convicted >= 5


@pytest.mark.parametrize("of", SHOWN)
@pytest.mark.parametrize("kind", KINDS)
def test_segment_of_other_bytes(kind: str, of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flipped, exchanged, left out, of another place, or under another root."""
    shown = SHOWN[of](kind, 1)
    proof = shown.proof
    assert isinstance(proof, FalseVector | WrongSum)
    opened = proof.opened
    flipped = bytes((opened.chunks[1][0] ^ 1,)) + opened.chunks[1][1:]
    other = SHOWN[of](kind, 2).proof
    assert isinstance(other, FalseVector | WrongSum)
    framed = {
        "flipped": opening(shown, chunks=(opened.chunks[0], flipped, *opened.chunks[2:])),
        "exchanged": opening(shown, chunks=opened.chunks[::-1], proofs=opened.proofs[::-1]),
        "left out": opening(shown, chunks=opened.chunks[1:], proofs=opened.proofs[1:]),
        "one more": opening(shown, chunks=(*opened.chunks, b"x"), proofs=(*opened.proofs, ())),
        "a byte less": opening(shown, chunks=(opened.chunks[0][:-1], *opened.chunks[1:])),
        "another place": opening(shown, chunks=other.opened.chunks, proofs=other.opened.proofs),
        "another number": opening(shown, segment=2),
        "no such number": opening(shown, segment=3),
    }
    for each in framed.values():
        with pytest.raises(RuleBroken):
            judged(kind, each)
    error = RuleBroken if of == "vector" else InvalidSignature
    with pytest.raises(error):
        judged(kind, opening(shown, root=bytes(32)))
    proven = "if not verify_merkle_proof(", "if False and verify_merkle_proof("
    weaken(monkeypatch, false_segments, proven)
    for name in ("flipped", "exchanged"):
        judged(kind, framed[name])  # proofs of chunks are the defence


@pytest.mark.parametrize("of", SHOWN)
@pytest.mark.parametrize("kind", KINDS)
def test_checkpoints_that_nobody_signed(kind: str, of: str) -> None:
    shown = SHOWN[of](kind, 1)
    proof = shown.proof
    assert isinstance(proof, FalseVector | WrongSum)
    true = proof.checkpoints
    for said in (
        (true[0], bytes(32), true[2]),
        (bytes(32), *true[1:]),
        true[:2],
        (*true, bytes(32)),
        true[::-1],
    ):
        framed = replace(shown, proof=replace(proof, checkpoints=said))
        with pytest.raises((RuleBroken, InvalidSignature)):
            judged(kind, framed)


def test_another_number_of_checkpoints_that_somebody_did_sign() -> None:
    """No aggregator takes such an offer; shown, it convicts nobody, for want of a segment."""
    c = committee("masked")
    said = (*c.checkpoints_of(WHO), bytes(32))
    masked = replace(c.says(WHO), commitment=commit_all(c.plan.context, said))
    proof = vector_shown("masked", 1).proof
    assert isinstance(proof, FalseVector)
    framed = replace(proof, header=c.header(WHO, masked=masked), checkpoints=said)
    with pytest.raises(RuleBroken, match="such a vector has not"):
        judged("masked", evidence("masked", WHO, framed))


@pytest.mark.parametrize("of", SHOWN)
@pytest.mark.parametrize("kind", KINDS)
def test_segment_after_the_last(kind: str, of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes before it is true, for it is all of the vector, or sum; but there is none."""
    shown = SHOWN[of](kind, 2)
    c, proof = committee(kind), shown.proof
    assert isinstance(proof, FalseVector | WrongSum)
    if isinstance(proof, FalseVector):
        walk, data = walk_of(c.plan, c.reader.claim(proof.header)), c.vector(WHO)
    else:
        walk, data = sum_walk(c.code, len(SET)), c.total(SET)
    whole = Trail(walk, data).progress[-1]
    framed = opening(shown, segment=3, linear_hash=whole.linear_hash, sketch=whole.sketch)
    with pytest.raises(RuleBroken, match="such a vector has not"):
        judged(kind, framed)
    bounded = "opened.segment >= len(walk.places)"
    weaken(monkeypatch, false_segments, (bounded, "opened.segment > len(walk.places)"))
    with pytest.raises(IndexError):
        judged(kind, framed)  # a peer's evidence would stop the node


# --- room for large evidence ----------------------------------------------------------------------


def large(culprit: int) -> Evidence:
    """Some hundred kilobytes against a node of its own making."""
    opened = OpenedSegment(0, b"", b"", bytes(32), (bytes(CHUNK_BYTES),) * 3, ((),) * 3)
    c = committee("masked")
    return evidence("masked", culprit, FalseVector(c.header(WHO), (bytes(32),), opened))


def test_large_evidence_leaves_room_for_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some nodes convict themselves by all that fits; then others are convicted by little."""
    c = committee("masked")
    size = len(codec.encode(large(0)))

    def docket() -> Docket:
        params = ProtocolParams(docket_bytes_max=4 * size)
        return Docket(c.plan.census, c.folk.cryptos[5], params, verify=lambda *_: None)

    def kept(held: Docket) -> tuple[list[bool], bool]:
        many = [held.admit(large(culprit), c.plan).kept is not None for culprit in range(5)]
        shown = vector_shown("masked", 0)
        proof = replace(shown.proof, opened=replace(large(0).proof.opened, chunks=(b"x",)))
        small = replace(shown, culprit=7, proof=proof)
        return many, held.admit(small, c.plan).kept is not None

    many, small = kept(docket())
    assert many == [True, True, False, False, False]
    assert small
    monkeypatch.setattr(Docket, "_is_large", lambda *_: False)
    many, small = kept(docket())
    assert many == [True] * 4 + [False]
    assert not small, "half of the room is the defence"


SMALL, LARGE = 10_000, 300_000  # bytes, below and above `two_bodies_bytes_max`


def sized(culprit: int, size: int, *, proven: bool = False, study: bytes = b"s" * 32) -> Evidence:
    """Evidence of exactly this size, which nobody verifies here."""

    def made(padding: int) -> Evidence:
        body = Signed(bytes(32), bytes(padding), bytes(64))
        release = Evidence(study, 1, 1, culprit, WrongRelease((body,)))
        if not proven:
            return release
        opened = OpenedSegment(0, b"", b"", bytes(32), (b"x",), ((),))
        return replace(release, proof=FalseVector(body, (bytes(32),), opened))

    beside = len(codec.encode(made(70_000))) - 70_000  # lengths of 3 or 5 bytes
    short = len(codec.encode(made(1000))) - 1000
    found = made(size - (beside if size > 70_000 else short))
    assert len(codec.encode(found)) == size
    return found


def keeping(total: int) -> Docket:
    c = committee("masked")
    params = ProtocolParams(docket_bytes_max=total)
    return Docket(c.plan.census, c.folk.cryptos[5], params, verify=lambda *_: None)


def admitted(held: Docket, *items: Evidence) -> list[list[int] | None]:
    """Whom each item pushed out, by size; None where it was not kept."""
    found: list[list[int] | None] = []
    for item in items:
        done = held.admit(item, committee("masked").plan)
        found.append([each.size for each in done.replaced] if done.kept else None)
    return found


def test_large_items_push_out_large_ones_first() -> None:
    """The oldest of what counts in one study leaves, and nothing that need not."""
    held = keeping(2 * LARGE + 5 * SMALL)  # half of it holds one large item
    loose = [*(sized(at, SMALL) for at in range(5)), sized(5, LARGE)]
    assert admitted(held, *loose) == [[]] * 6
    assert admitted(held, sized(6, LARGE, proven=True)) == [[LARGE]]
    assert admitted(held, sized(7, LARGE, proven=True)) == [None]
    assert held.bytes_held == LARGE + 5 * SMALL


def test_small_items_push_out_the_oldest() -> None:
    held = keeping(2 * LARGE)
    assert admitted(held, sized(0, LARGE), *(sized(at, SMALL) for at in range(1, 7))) == [[]] * 7
    most = ProtocolParams().two_bodies_bytes_max
    assert admitted(held, sized(7, most, proven=True)) == [[LARGE]]
    assert admitted(held, sized(8, most, proven=True)) == [[]]
    left = 2 * LARGE - 6 * SMALL - 2 * most
    assert admitted(held, sized(9, left + SMALL + 1, proven=True)) == [[SMALL, SMALL]]


def test_exact_limits_of_large_items() -> None:
    most = ProtocolParams().two_bodies_bytes_max
    held = keeping(2 * most + 2)  # half of it is a byte more than is small
    assert admitted(held, sized(0, most), sized(1, most)) == [[], []], "small ones have all of it"
    held = keeping(2 * most + 2)
    assert admitted(held, sized(0, most + 1), sized(1, most + 1)) == [[], None]
    assert admitted(held, sized(2, most)) == [[]]
    held = keeping(2 * most + 1)
    assert admitted(held, sized(0, most + 1)) == [None]


def test_what_leaves_leaves_once() -> None:
    """A large one that leaves for want of room for large ones is not asked to leave once more."""
    held = keeping(2 * LARGE)
    loose = sized(0, LARGE - 500), sized(1, SMALL)
    proven = sized(2, 38_500, proven=True), sized(4, 252_000, proven=True)
    assert admitted(held, *loose, *proven) == [[]] * 4
    assert admitted(held, sized(3, LARGE, proven=True)) == [[LARGE - 500, SMALL]]
    assert held.bytes_held == LARGE + 38_500 + 252_000


def test_large_items_of_one_culprit_replace_each_other() -> None:
    """Of one node the newest two studies are kept: the third takes the room of the first."""
    held = keeping(4 * LARGE)
    studies = [bytes((at,)) * 32 for at in range(4)]
    items = [sized(3, LARGE, study=study) for study in studies]
    assert admitted(held, *items) == [[], [], [LARGE], [LARGE]]
    assert admitted(held, sized(4, LARGE)) == [None], "half of the room is theirs"
