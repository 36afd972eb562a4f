"""What the roles of a round do with masked updates that are verified."""

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.committee import CHALLENGE
from tests.support.masked_round import AGGREGATORS, masked_committee, open_all, verified_committee
from tests.support.town import Town, manifest, verified_phase

from pnyx.errors import InvalidSignature, MalformedMessage, RuleBroken
from pnyx.primitives import codec
from pnyx.primitives.envelope import ENVELOPE_OVERHEAD_BYTES
from pnyx.protocol.aggregation.masked.checkpoints import commit_all
from pnyx.protocol.aggregation.verdicts import judge_one
from pnyx.protocol.evidence.proofs import Offence, assumes_nothing, check_evidence, offence_of
from pnyx.protocol.messages import (
    ContributionHeader,
    Evidence,
    FalseReceipt,
    Relay,
    Signed,
)
from pnyx.protocol.round.contributor import Stage
from pnyx.protocol.round.dispute import Disputes
from pnyx.protocol.round.false_segments import first_false
from pnyx.protocol.round.holdings import Holdings
from pnyx.protocol.round.relay import EnvelopeRelay
from pnyx.protocol.round.values import InputReader, header_hash
from pnyx.protocol.round.vectors import (
    commitment_to,
    key_weights_of,
    receipts_wanted,
    walk_of,
)

C, PLAIN = verified_committee(), masked_committee()
WHO, MEMBER, SEEDED = 2, 4, 0
HEADER = C.header(WHO)


def other(signed: Signed = HEADER, **changes) -> Signed:
    """The header with another word about its vector."""
    masked = C.reader.header(signed).masked
    assert masked is not None
    return C.header(WHO, masked=replace(masked, **changes))


def other_sketch() -> Signed:
    masked = C.reader.header(HEADER).masked
    assert masked is not None
    assert masked.proof is not None
    sketch = bytearray(masked.proof.sketch)
    sketch[0] ^= 1
    lie = replace(masked.proof, sketch=bytes(sketch))
    return C.header(WHO, masked=C.says(WHO, lie))


# --- headers and shares ---------------------------------------------------------------------------


def test_a_proof_goes_with_verified_updates_and_no_others():
    assert C.reader.header(HEADER).masked.proof is not None
    with pytest.raises(RuleBroken, match="proves a masked update where"):
        C.reader.header(other(proof=None))
    proof = C.reader.header(HEADER).masked.proof
    plain = PLAIN.reader.header(PLAIN.header(WHO)).masked
    with pytest.raises(RuleBroken, match="proves a masked update where"):
        PLAIN.reader.header(PLAIN.header(WHO, masked=replace(plain, proof=proof)))
    with pytest.raises(MalformedMessage):
        C.reader.header(other(proof=replace(proof, sketch=bytes(1020))))


@pytest.mark.parametrize("member", [SEEDED, MEMBER])
def test_a_member_opens_what_it_was_dealt(member):
    """A seed as a seed, a share as a share, each with the proof of its key."""
    services, _ = C.services(member)
    held = Holdings(
        services, C.reader, member, C.private_key(member), Disputes(services, member).unreadable
    )
    message = C.contribution(WHO, member)
    receipts = tuple(C.receipt(index, message.header) for index in AGGREGATORS[:2])
    held.add_contribution(replace(message, receipts=receipts), C.opened, receipt=True)
    opened = held.opened(message.header)
    assert opened is not None
    assert opened.payload == C.payloads(WHO)[member]


def test_answers_of_members_are_accepted():
    given = {}
    for member, payload in enumerate(C.payloads(WHO)):
        share = C.reader.share(HEADER, member, payload)
        given[member] = C.reader.answer(HEADER, member, share, CHALLENGE)
    claim = C.reader.claim(HEADER)
    assert judge_one(C.size, C.bounds, claim, CHALLENGE, given).accepted


def test_key_weights_are_computed_once_for_a_contribution(monkeypatch):
    done = []
    honest = key_weights_of

    def counted(plan, claim, challenge):
        done.append(claim.contributor)
        return honest(plan, claim, challenge)

    monkeypatch.setattr("pnyx.protocol.round.values.key_weights_of", counted)
    reader = InputReader(C.plan, C.folk.cryptos[0])
    for challenge in (CHALLENGE, b"2" * 32):
        for who in (WHO, 3):
            for member in (1, MEMBER):
                share = reader.share(C.header(who), member, C.payloads(who)[member])
                reader.answer(C.header(who), member, share, challenge)
    assert done == [WHO, 3, WHO, 3]
    assert key_weights_of(PLAIN.plan, PLAIN.reader.claim(PLAIN.header(WHO)), CHALLENGE) is None


def test_an_envelope_has_the_size_of_its_place():
    services, outbox = C.services(8)
    relay = EnvelopeRelay(services)
    shares = tuple(C.contribution(WHO, member).share for member in (SEEDED, MEMBER))
    sizes = [len(each.sealed) - ENVELOPE_OVERHEAD_BYTES for each in shares]
    assert sizes == [len(C.payloads(WHO)[member]) for member in (SEEDED, MEMBER)]
    relay.handle(WHO, Relay(C.plan.context, HEADER, shares))
    assert len(outbox.sent) == 2
    with pytest.raises(RuleBroken, match="wrong size"):
        relay.handle(WHO, Relay(C.plan.context, HEADER, (replace(shares[1], member=SEEDED),)))


# --- aggregators vouch ----------------------------------------------------------------------------


def test_two_thirds_of_the_aggregators_vouch():
    wanted = {3: 2, 6: 4, 7: 5, 8: 6, 12: 8}
    for count, receipts in wanted.items():
        plan = type(C.plan).__new__(type(C.plan))
        plan.__dict__.update({**C.plan.__dict__, "aggregators": tuple(range(count))})
        assert receipts_wanted(plan) == receipts


def test_a_vector_is_what_its_header_says():
    data, claim = C.vector(WHO), C.reader.claim(HEADER)
    masked = C.reader.header(HEADER).masked
    walk, stated = walk_of(C.plan, claim), C.checkpoints_of(WHO)
    assert commitment_to(C.plan.context, C.stated(WHO)[0], masked) == masked.commitment
    assert first_false(walk, data, stated) is None
    assert first_false(walk, data[:-1], stated) == open_all(data[:-1])
    assert first_false(walk, C.vector(3), stated) == open_all(C.vector(3))
    assert first_false(walk, data, (bytes(32),)) == open_all(data)
    lie = other_sketch()
    stated = C.checkpoints_of(WHO, lie)
    assert first_false(walk_of(C.plan, C.reader.claim(lie)), data, stated) == open_all(data)
    plain = PLAIN.reader.header(PLAIN.header(WHO)).masked
    claim = PLAIN.reader.claim(PLAIN.header(WHO))
    stated = PLAIN.checkpoints_of(WHO)
    assert commit_all(PLAIN.plan.context, stated) == plain.commitment
    assert first_false(walk_of(PLAIN.plan, claim), PLAIN.vector(WHO), stated) is None


# --- evidence -------------------------------------------------------------------------------------


def evidence(culprit: int, proof) -> Evidence:
    return Evidence(C.plan.study, C.plan.round_number, C.plan.attempt, culprit, proof)


def check(culprit: int, proof) -> None:
    check_evidence(evidence(culprit, proof), C.plan, C.folk.cryptos[9])


def test_a_vector_convicts_who_stated_another_sketch_of_it():
    lie = C.false(other_sketch(), WHO)
    check(WHO, lie)
    assert offence_of(lie) is Offence.FALSE_VECTOR
    assert assumes_nothing(lie)
    with pytest.raises(RuleBroken, match="another node"):
        check(3, lie)


def test_a_vector_convicts_nobody_of_the_truth_or_by_another_vector():
    with pytest.raises(RuleBroken, match="is what was signed"):
        check(WHO, C.false(HEADER, WHO))
    for data in (C.vector(3), C.vector(WHO)[:-1]):
        with pytest.raises(RuleBroken, match="not of the parcel"):
            check(WHO, C.false(HEADER, WHO, data))
    proof = C.false(HEADER, WHO)
    nothing = replace(proof, opened=replace(proof.opened, chunks=(b"",)))
    with pytest.raises(MalformedMessage):
        codec.decode(codec.encode(evidence(WHO, nothing)), Evidence, bytes_max=10**6)
    direct = C.header(WHO, masked=None)
    with pytest.raises(RuleBroken, match="masks an update where"):
        check(WHO, replace(proof, header=direct))


def test_a_receipt_convicts_who_vouched_for_a_false_vector():
    lie, aggregator = other_sketch(), AGGREGATORS[1]
    false, receipt = C.false(lie, WHO), C.receipt(aggregator, lie)
    proof = FalseReceipt(false, receipt)
    check(aggregator, proof)
    assert offence_of(proof) is Offence.FALSE_RECEIPT
    assert assumes_nothing(proof)
    true = FalseReceipt(C.false(HEADER, WHO), C.receipt(aggregator, HEADER))
    with pytest.raises(RuleBroken, match="is what was signed"):
        check(aggregator, true)
    with pytest.raises(RuleBroken, match="another's"):
        check(aggregator, FalseReceipt(false, C.receipt(aggregator, HEADER)))
    with pytest.raises(InvalidSignature):
        check(aggregator, FalseReceipt(false, C.receipt(aggregator, lie, signer=3)))


def test_a_member_remembers_who_vouched_for_the_first_header_that_it_saw():
    services, _ = C.services(MEMBER)
    held = Holdings(
        services, C.reader, MEMBER, C.private_key(MEMBER), Disputes(services, MEMBER).unreadable
    )
    lie = other_sketch()
    forged = C.receipt(AGGREGATORS[1], lie, signer=3)
    message = replace(C.contribution(WHO, MEMBER), header=lie)
    with pytest.raises(RuleBroken, match="before enough"):
        held.add_contribution(
            replace(message, receipts=(C.receipt(AGGREGATORS[0], lie),)), C.opened, receipt=True
        )
    with pytest.raises(InvalidSignature):
        held.add_contribution(
            replace(message, receipts=(C.receipt(AGGREGATORS[0], lie), forged)),
            C.opened,
            receipt=True,
        )
    assert [r.aggregator for r in held.vouchers(WHO, header_hash(lie))] == [AGGREGATORS[0]]
    receipts = tuple(C.receipt(index, HEADER) for index in AGGREGATORS[:2])
    honest = replace(C.contribution(WHO, MEMBER), receipts=receipts)
    held.add_contribution(honest, C.opened, receipt=True)
    assert held.vouchers(WHO, header_hash(HEADER)) == (), "of the first header only"
    assert held.vouchers(3, header_hash(HEADER)) == ()


# --- what a contributor sends ---------------------------------------------------------------------


@pytest.mark.parametrize(("length", "sent"), [(1, True), (2, False)])
def test_an_update_beyond_the_clip_is_withheld(length, sent):
    """Without noise, too: its proof could fail."""
    town = Town()
    study = town.propose(plan=manifest(10, [verified_phase(9)]))
    town.vector = lambda index, _round, size: length * np.eye(size, dtype=np.int64)[index]
    assert town.run(town.in_round(study, 1))
    plan = town.plan(study)
    town.run(seconds=0.3)
    made = town.machines[plan.contributors[0]].rounds.active[plan.context].contributor
    assert made is not None
    assert (made.stage is not Stage.WITHHELD) == sent


def test_headers_are_small():
    """v and P·y are what a verified header has more than others."""
    assert len(HEADER.body) < 2500
    assert isinstance(C.reader.header(HEADER), ContributionHeader)
