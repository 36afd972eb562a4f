"""Corrupt nodes sign what they like, to have evidence convict an honest node (THREATS A8, A9).

Each attempt is believed once its defence is taken away, so each shows that its defence is needed.
"""

from contextlib import suppress
from math import prod

import pytest
from msgspec.structs import replace
from tests.support.committee import Committee
from tests.support.evidence import (
    DEALER,
    LIAR,
    Scene,
    flipped,
    scene,
    wrong_answer,
    wrong_share,
)

from pnyx.errors import RuleBroken
from pnyx.primitives import codec
from pnyx.protocol.aggregation import direct
from pnyx.protocol.aggregation.bounds import CHECKS, layout
from pnyx.protocol.aggregation.encoding import FIELDS
from pnyx.protocol.aggregation.verification import pack_answers, read_answers, summed_length
from pnyx.protocol.evidence import proofs
from pnyx.protocol.messages import (
    BadDealing,
    CloseVote,
    OpenedAnswer,
    Release,
    TwoBodies,
    WrongAnswer,
    WrongRelease,
    WrongShare,
)
from pnyx.protocol.round import holdings
from pnyx.protocol.round.holdings import Holdings
from pnyx.protocol.round.values import header_hash
from pnyx.protocol.selection import committee_size

S = scene()
LARGE = Scene(Committee(count=13, size=committee_size(11, 2, 1, 1)))


def test_dealer_shows_a_member_one_header_and_the_judge_another(monkeypatch):
    """The member answered for the first header; the second commits to another share for it."""
    first = S.c.payloads(DEALER)
    second = S.c.payloads(DEALER, seed=1)
    shown, kept = S.c.header(DEALER, first), S.c.header(DEALER, second)
    values = S.values(LIAR, first, shown)
    answer = S.answer(LIAR, values, shown)
    framed = S.evidence(LIAR, WrongAnswer(kept, S.opened(second, LIAR), answer))
    assert not S.convicts(framed)
    check = proofs.verify_merkle_proof

    def without_headers(root, leaf, index, count, proof):
        """The response commits to no headers: any header would do."""
        return leaf == header_hash(kept) + values or check(root, leaf, index, count, proof)

    monkeypatch.setattr(proofs, "verify_merkle_proof", without_headers)
    assert S.convicts(framed)


def test_dealer_opens_another_share_than_it_committed_to(monkeypatch):
    payloads, header = S.c.payloads(DEALER), S.c.header(DEALER)
    answer = S.answer(LIAR, S.values(LIAR, payloads, header), header)
    opened = replace(S.opened(payloads, LIAR), payload=flipped(payloads[LIAR]))
    framed = S.evidence(LIAR, WrongAnswer(header, opened, answer))
    assert not S.convicts(framed)
    monkeypatch.setattr(proofs, "verify_merkle_proof", lambda *_: True)
    assert S.convicts(framed)


def test_dealer_hands_a_member_another_share_than_it_commits_to(monkeypatch):
    """A member that kept it would answer by it, and be convicted by the committed one."""
    handed, payloads = S.c.payloads(DEALER, seed=1), S.c.payloads(DEALER)
    header = S.c.header(DEALER, payloads)
    services, _ = S.c.services(LIAR)
    private_key = S.c.private_key(LIAR)

    def keeps() -> bool:
        held = Holdings(services, S.c.reader, LIAR, private_key, lambda *_: None)
        message = S.c.contribution(DEALER, LIAR, handed, header)
        with suppress(RuleBroken):
            held.add_contribution(message, S.c.opened, receipt=True)
        return held.share_of(header) is not None

    assert not keeps()
    monkeypatch.setattr(holdings, "verify_merkle_proof", lambda *_: True)
    assert keeps()
    answer = S.answer(LIAR, S.values(LIAR, handed, header), header)
    assert S.convicts(S.evidence(LIAR, WrongAnswer(header, S.opened(payloads, LIAR), answer)))


def test_answer_that_a_member_never_gave_is_shown_under_its_signature(monkeypatch):
    """What is shown of a response is one answer; the member's signature is on a root of them."""
    payloads, header = S.c.payloads(DEALER), S.c.header(DEALER)
    values = S.values(LIAR, payloads, header)
    shown = replace(S.answer(LIAR, values, header), values=flipped(values))
    framed = S.evidence(LIAR, WrongAnswer(header, S.opened(payloads, LIAR), shown))
    assert not S.convicts(framed)
    check = proofs.verify_merkle_proof

    def without_answers(root, leaf, index, count, proof):
        """The response commits to headers alone: any answer would do."""
        return leaf.startswith(header_hash(header)) or check(root, leaf, index, count, proof)

    monkeypatch.setattr(proofs, "verify_merkle_proof", without_answers)
    assert S.convicts(framed)


def test_member_lies_and_opens_its_share_to_convict_the_dealer(monkeypatch):
    """Off the polynomials by its own lie, it opens an honest dealer's share."""
    payloads, header = S.c.payloads(2), S.c.header(2)
    answers = S.answers(payloads, header)
    answers[LIAR] = S.lie(LIAR, 2)
    framed = S.evidence(2, WrongShare(header, S.opened(payloads, LIAR), tuple(answers)))
    assert not S.convicts(framed)
    monkeypatch.setattr(proofs.np, "array_equal", lambda *_: True)
    assert S.convicts(framed)


def test_colluding_members_steer_the_decoder_off_an_honest_share(monkeypatch):
    """Two liars move an honest contribution's product to a quartic through four honest answers.

    The fifth honest member's true answer, and so the share that it was dealt, lies off it.
    """
    dealer, kept, fifth, liars = 2, (0, 1, 4, 7), 3, (5, 6)
    payloads, header = LARGE.c.payloads(dealer), LARGE.c.header(dealer)
    shape = len(FIELDS), CHECKS, layout(LARGE.bounds, LARGE.size).repetitions

    def answer(member: int) -> OpenedAnswer:
        given = LARGE.values(member, payloads, header)
        if member in liars:
            (values,) = read_answers(given, 1, LARGE.size).copy()
            product = values.reshape(shape)[0, 2]  # a view; the first field's
            product[0] = (product[0] + prod(member - other for other in kept)) % FIELDS[0].modulus
            given = pack_answers([values])
        return LARGE.answer(member, given, header)

    answers = tuple(answer(member) for member in sorted((*kept, fifth, *liars)))
    proof = WrongShare(header, LARGE.opened(payloads, fifth), answers)
    framed = LARGE.evidence(dealer, proof)
    assert not LARGE.convicts(framed)
    monkeypatch.setattr(
        "pnyx.protocol.aggregation.verdicts.safe_radius",
        lambda answers, degree, _: (answers - degree - 1) // 2,
    )
    assert LARGE.convicts(framed)


def test_colluding_members_steer_the_decoder_to_a_sum_of_their_own(monkeypatch):
    """Two liars of eleven move to a parabola through two honest shares: a third lies off it."""
    first = FIELDS[0].modulus

    def moved(member: int):
        """The released share with its first element moved by (x - 1)(x - 2)."""

        def alter(data: bytes) -> bytes:
            value = int.from_bytes(data[:4], "little") + member * (member - 1)
            return (value % first).to_bytes(4, "little") + data[4:]

        return alter

    honest, liars = (0, 1, LIAR), (5, 6)
    signed = {m: LARGE.release(m) for m in honest} | {m: LARGE.release(m, moved(m)) for m in liars}
    framed = LARGE.evidence(LIAR, WrongRelease(tuple(signed[m] for m in sorted(signed))))
    assert not LARGE.convicts(framed)
    monkeypatch.setattr(
        "pnyx.protocol.aggregation.direct.safe_radius",
        lambda answers, degree, _: (answers - degree - 1) // 2,
    )
    assert LARGE.convicts(framed)


def test_releases_of_two_sums_are_put_together():
    """An honest member released its share of the fixed set; the others sign shares of another."""
    signed = [S.release(m, summed=(2, 3), accepted=b"b" * 32) for m in (0, 1, 2)]
    signed.append(S.release(LIAR))
    signed += [S.release(m, summed=(2, 3), accepted=b"b" * 32) for m in (4, 5)]
    assert not S.convicts(S.evidence(LIAR, WrongRelease(tuple(signed))))
    bodies = [codec.decode(each.body, Release, bytes_max=10**6) for each in signed]
    unchecked = {body.member: body.shares for body in bodies}
    assert LIAR in direct.wrong_shares(S.size, unchecked, summed_length(S.bounds, S.size))


def test_close_votes_that_were_signed_anew(monkeypatch):
    """An honest member signs again with more dealers; once with more contributions, never fewer."""
    c = S.c
    few = c.close_vote(LIAR, [c.header(2)], next_dealers=(0, 1))
    more = c.close_vote(LIAR, [c.header(2), c.header(3)])
    pair = TwoBodies(c.member_signed(LIAR, few), c.member_signed(LIAR, more))
    framed = S.evidence(LIAR, pair)
    assert not S.convicts(framed)
    monkeypatch.setattr(
        proofs, "contradict", lambda one, other: isinstance(one, CloseVote) and one != other
    )
    assert S.convicts(framed)


def test_dealing_spoilt_by_the_members_that_open_it(monkeypatch):
    """Members open other shares than the dealer dealt them, so that they recompute to no root."""
    honest = S.c.dealt(LIAR, "next").shares
    spoilt = replace(honest[0], share=flipped(honest[0].share))
    key = S.c.member_signed(LIAR, S.c.round_key(LIAR))
    framed = S.evidence(LIAR, BadDealing(key, False, (0, 1), (spoilt, honest[1])))
    assert not S.convicts(framed)
    monkeypatch.setattr("pnyx.protocol.dealing.share_matches", lambda *_: True)
    monkeypatch.setattr("pnyx.protocol.beacon.share_matches", lambda *_: True)
    assert S.convicts(framed)


def test_words_of_another_round():
    """An honest member's answers in another round do not fit the shares of this one."""
    proof = wrong_answer(S).proof
    elsewhere = S.values(LIAR, S.c.payloads(3), S.c.header(3))
    here = S.answer(LIAR, elsewhere, S.c.header(2))
    earlier = S.answer(LIAR, elsewhere, S.c.header(2), context=b"e" * 32)
    for answer, convicted in ((earlier, False), (here, True)):
        framed = replace(proof, answer=answer)
        assert S.convicts(S.evidence(LIAR, framed)) == convicted


@pytest.mark.parametrize("member", range(7))
def test_honest_members_and_dealers_of_a_spoilt_round(member):
    """A bad dealer's round convicts nobody that answered by its share, whoever opens it."""
    payloads, header = S.dealt(DEALER, lambda m, p: flipped(p) if m == 1 else p)
    answers = tuple(S.answers(payloads, header))
    opened = S.opened(payloads, member)
    for culprit in range(9):
        answer = S.evidence(culprit, WrongAnswer(header, opened, answers[member]))
        assert not S.convicts(answer)
        share = S.evidence(culprit, WrongShare(header, opened, answers))
        assert S.convicts(share) == (member == 1 and culprit == DEALER)
    assert S.convicts(wrong_share(S))
