"""Receipts of aggregators: enough of them, each for this contribution in this attempt."""

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.committee import Committee
from tests.support.masked_round import (
    AGGREGATORS,
    MaskedCommittee,
    masked_committee,
    verified_committee,
)

from pnyx.errors import InvalidSignature, RuleBroken
from pnyx.protocol.aggregation.masked.segments import pack_sum
from pnyx.protocol.messages import HeldContribution, MaskedVector, SketchProof, StatedHash
from pnyx.protocol.round.holdings import Holdings
from pnyx.protocol.round.values import header_hash
from pnyx.protocol.round.vectors import (
    accepted_hash,
    check_receipts,
    commitment_to,
    receipts_wanted,
    vector_code,
    vector_statement,
)

C = masked_committee()
ELSEWHERE = MaskedCommittee(study=b"t" * 32)
HEADER = C.header(2)
ONE, TWO, THREE = (C.receipt(aggregator, HEADER) for aggregator in AGGREGATORS)


def check(*receipts) -> None:
    check_receipts(C.plan, C.folk.cryptos[1], receipts, header_hash(HEADER))


def test_most_aggregators_hold_a_vector_that_counts():
    assert receipts_wanted(C.plan) == 2
    check(ONE, TWO)
    check(THREE, ONE)
    check(ONE, TWO, THREE)


@pytest.mark.parametrize("receipts", [(), (ONE,), (ONE, ONE), (THREE, THREE, THREE)])
def test_too_few_or_one_repeated(receipts):
    with pytest.raises(RuleBroken, match="before enough aggregators"):
        check(*receipts)


@pytest.mark.parametrize(
    ("receipt", "error"),
    [
        (C.receipt(AGGREGATORS[1], HEADER, signer=5), InvalidSignature),
        (C.receipt(AGGREGATORS[1], HEADER, signature=ONE.signature), InvalidSignature),
        (C.receipt(AGGREGATORS[1], C.header(3)), RuleBroken),
        (C.receipt(AGGREGATORS[1], C.header(3), header_hash=header_hash(HEADER)), InvalidSignature),
        (ELSEWHERE.receipt(AGGREGATORS[1], HEADER), InvalidSignature),
        (
            ELSEWHERE.receipt(AGGREGATORS[1], HEADER, context=C.plan.context),
            InvalidSignature,
        ),
        (C.receipt(AGGREGATORS[1], HEADER, context=ELSEWHERE.plan.context), InvalidSignature),
        (C.receipt(7, HEADER), RuleBroken),
        (C.receipt(3, HEADER), RuleBroken),
    ],
)
def test_a_receipt_that_is_no_receipt(receipt, error):
    """Forged, of another header, of another round, from no aggregator: beside two good ones too."""
    with pytest.raises((error, RuleBroken)):
        check(ONE, receipt)
    with pytest.raises(error):
        check(ONE, THREE, receipt)


def test_a_signature_without_the_context_would_hold_in_every_round(monkeypatch):
    monkeypatch.setattr(
        "pnyx.protocol.round.vectors.vector_statement", lambda context, *rest: repr(rest).encode()
    )
    name = header_hash(HEADER)
    signature = ELSEWHERE.folk.cryptos[AGGREGATORS[1]].sign(repr((AGGREGATORS[1], name)).encode())
    first = C.folk.cryptos[AGGREGATORS[0]].sign(repr((AGGREGATORS[0], name)).encode())
    moved = C.receipt(AGGREGATORS[1], HEADER, signature=signature)
    check(C.receipt(AGGREGATORS[0], HEADER, signature=first), moved)


def test_names_are_bound_to_all_that_they_name():
    context, other = C.plan.context, ELSEWHERE.plan.context
    plain, proven = MaskedVector(bytes(32), b""), SketchProof(b"", b"", b"sketch")
    verified = MaskedVector(bytes(32), b"", proven)
    names = [
        (context, StatedHash(b"a", b"e"), plain),
        (other, StatedHash(b"a", b"e"), plain),
        (context, StatedHash(b"b", b"e"), plain),
        (context, StatedHash(b"a", b"f"), plain),
        (context, StatedHash(b"a", b"e"), verified),
    ]
    hashes = {commitment_to(*each) for each in names}
    sets = (
        C.accepted(2, 3),
        C.accepted(2),
        C.accepted(3),
        (),
        (HeldContribution(3, C.accepted(2)[0].header_hash),),
    )
    hashes.update(accepted_hash(context, each) for each in sets)
    hashes.add(accepted_hash(other, sets[0]))
    statements = {
        vector_statement(context, 8, b"n" * 32),
        vector_statement(context, 9, b"n" * 32),
        vector_statement(context, 8, b"m" * 32),
        vector_statement(other, 8, b"n" * 32),
    }
    assert (len(hashes), len(statements)) == (11, 4)


def test_where_nothing_is_masked_there_is_no_code():
    assert vector_code(Committee().plan) is None
    assert vector_code(Committee(joining=True).plan) is None
    assert vector_code(C.plan) is vector_code(C.plan)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_verified_sum_reaches_as_far_as_its_contributions_do(sign):
    """The phase's own bound, and not just what the ring holds."""
    plan = verified_committee().plan
    code, reach = vector_code(plan), plan.phase.masked_bounds.largest_sum
    parameters = code.parameters
    [prime], middle = parameters.primes, parameters.offset << parameters.shift
    assert reach + 1 < prime // 2
    for value, holds in ((reach, True), (reach + 1, False)):
        sums = np.full((1, parameters.degree, 32), middle, dtype=np.uint64)
        sums[0, 0, 0] = (middle + sign * value) % prime
        total = pack_sum(parameters, 0, (sums,))
        found = code.unmask(total, (np.zeros(parameters.degree, dtype=np.int64),), 1)
        assert (found is not None) == holds
        if found is not None:
            half = 1 << (parameters.shift - 1)
            assert found[0] == (sign * value + half) >> parameters.shift
            assert not found[1:].any()


# --- what a member takes --------------------------------------------------------------------------


def holdings(member: int = 1):
    services, outbox = C.services(member)
    made = Holdings(services, C.reader, member, C.private_key(member), lambda *_: None)
    return made, outbox


def contribution(*receipts):
    return replace(C.contribution(2, 1), receipts=receipts)


def test_a_member_takes_no_share_of_a_key_whose_vector_is_not_held():
    made, outbox = holdings()
    for receipt in (True, False):  # before and after its close vote
        with pytest.raises(RuleBroken, match="before enough aggregators"):
            made.add_contribution(contribution(ONE), C.opened, receipt=receipt)
    assert made.held() == ()
    assert made.shares == made.headers == {}
    assert outbox.effects == []
    made.add_contribution(contribution(ONE, TWO), C.opened, receipt=True)
    assert [held.contributor for held in made.held()] == [2]
    made.add_contribution(contribution(), C.opened, receipt=True)  # it was shown the receipts
