"""Evidence convicts its culprit before a node that took no part, and nobody else."""

import pytest
from msgspec.structs import replace
from tests.support.evidence import (
    DEALER,
    LIAR,
    OUTSIDER,
    bad_dealing,
    encoded_size,
    everything,
    flipped,
    scene,
    wrong_answer,
    wrong_release,
    wrong_share,
)

from pnyx.errors import ProtocolError, RuleBroken
from pnyx.protocol.evidence.proofs import check_evidence, offence_of
from pnyx.protocol.messages import (
    BadContribution,
    GiveUp,
    OpenedPayload,
    TwoBodies,
    WrongAnswer,
    WrongRelease,
)
from pnyx.protocol.round.plan import RoundPlan

KINDS = sorted(everything())
S = scene()


def refused(evidence, rule: str) -> None:
    with pytest.raises(ProtocolError, match=rule):
        check_evidence(evidence, S.c.plan, S.c.folk.cryptos[OUTSIDER])


@pytest.mark.parametrize("kind", KINDS)
def test_the_culprit_is_convicted_and_nobody_else(kind):
    evidence, offence = everything()[kind]
    assert S.convicts(evidence)
    assert offence_of(evidence.proof) is offence
    for index in range(9):
        if index != evidence.culprit:
            assert not S.convicts(replace(evidence, culprit=index))


@pytest.mark.parametrize("kind", KINDS)
def test_evidence_of_another_round_proves_nothing(kind):
    evidence, _ = everything()[kind]
    for change in ({"study": b"t" * 32}, {"round_number": 2}, {"attempt": 2}):
        refused(replace(evidence, **change), "another round")


@pytest.mark.parametrize("kind", KINDS)
def test_evidence_is_small(kind):
    assert encoded_size(everything()[kind][0]) < 8192


def test_a_round_without_contributions_has_no_wrong_ones():
    plan = S.c.plan
    bare = RoundPlan(
        census=plan.census,
        study=plan.study,
        round_number=plan.round_number,
        epoch=plan.epoch,
        previous_record=plan.previous_record,
        model_hash=plan.model_hash,
        committee=plan.committee,
        contributors=plan.contributors,
    )
    for kind in ("wrong_answer", "wrong_release"):
        with pytest.raises(ProtocolError, match=r"takes no contributions|share is too long"):
            check_evidence(everything()[kind][0], bare, S.c.folk.cryptos[OUTSIDER])


# --- what proves nothing -------------------------------------------------------------------------


def test_two_bodies_that_do_not_contradict():
    c = S.c
    key = c.member_signed(LIAR, c.round_key(LIAR))
    refused(S.evidence(LIAR, TwoBodies(key, key)), "do not contradict")
    other = c.member_signed(1, c.round_key(1))
    refused(S.evidence(LIAR, TwoBodies(key, other)), "two nodes")
    left = [c.member_signed(LIAR, GiveUp(c.plan.context, LIAR, ()))] * 2
    with pytest.raises(RuleBroken, match="no offence"):
        offence_of(TwoBodies(*left))
    refused(S.evidence(LIAR, TwoBodies(*left)), "do not contradict")
    refused(S.evidence(LIAR, TwoBodies(key, c.member_signed(LIAR, c.response(LIAR)))), "contradict")


def test_answers_that_are_right_or_not_given():
    c, right = S.c, wrong_answer(S).proof
    values = S.values(LIAR, c.payloads(2), c.header(2))
    honest = S.answer(LIAR, values, c.header(2))
    refused(S.evidence(LIAR, replace(right, answer=honest)), "the one that the share gives")
    key = replace(right.answer, response=c.member_signed(LIAR, c.round_key(LIAR)))
    refused(S.evidence(LIAR, replace(right, answer=key)), "not an answer")
    opened = S.opened(c.payloads(2), 1)
    refused(S.evidence(LIAR, replace(right, opened=opened)), "does not answer for the share")
    unsaid = replace(right.answer, values=values)
    refused(S.evidence(LIAR, replace(right, answer=unsaid)), "another answer")
    elsewhere = S.answer(LIAR, right.answer.values, c.header(3))
    refused(S.evidence(LIAR, replace(right, answer=elsewhere)), "for another header")
    for changes in ({"place": 1}, {"count": 2}, {"proof": (bytes(32),)}):
        moved = replace(right.answer, **changes)
        refused(S.evidence(LIAR, replace(right, answer=moved)), "another answer")
    long = S.answer(LIAR, right.answer.values * 2, c.header(2))
    refused(S.evidence(LIAR, replace(right, answer=long)), "wrong size")
    moved = OpenedPayload(LIAR, c.payloads(2)[1], right.opened.proof)
    refused(S.evidence(LIAR, replace(right, opened=moved)), "not the one that was committed to")


def test_no_answer_follows_from_a_share_that_cannot_be_read():
    c = S.c
    payloads = c.payloads(DEALER)
    payloads[LIAR] = b"nothing"
    header = c.header(DEALER, payloads)
    values = S.values(LIAR, c.payloads(DEALER), c.header(DEALER))
    proof = WrongAnswer(header, S.opened(payloads, LIAR), S.answer(LIAR, values, header))
    refused(S.evidence(LIAR, proof), "cannot be read")


def test_shares_that_lie_where_they_should():
    evidence = wrong_share(S)
    proof = evidence.proof
    payloads, header = S.dealt(DEALER, lambda m, p: flipped(p) if m == 1 else p)
    assert header == proof.header
    right = replace(proof, opened=S.opened(payloads, 2))
    refused(S.evidence(DEALER, right), "lies on the contribution's polynomials")
    fewer = replace(proof, answers=proof.answers[2:])
    refused(S.evidence(DEALER, fewer), "gave no answer")
    twice = replace(proof, answers=(proof.answers[0], *proof.answers))
    refused(S.evidence(DEALER, twice), "out of order")
    challenge = S.answer(6, proof.answers[6].values, header, b"y" * 32)
    mixed = (*proof.answers[:6], challenge)
    refused(S.evidence(DEALER, replace(proof, answers=mixed)), "different challenges")
    some = proof.answers[1:]
    refused(S.evidence(DEALER, replace(proof, answers=some)), "lies on")  # too few to tell


def test_contributions_that_keep_their_bounds():
    c = S.c
    payloads, header = c.payloads(2), c.header(2)
    answers = tuple(S.answers(payloads, header))
    for rule in ("range", "bound", "sharing"):
        refused(S.evidence(2, BadContribution(rule, header, answers)), "no such contribution")
        refused(S.evidence(2, BadContribution(rule, header, ())), "nobody answered")
    for rule, said in (("bound", "range"), ("range", "sharing"), ("sharing", "bound")):
        other = replace(everything()[rule][0].proof, rule=said)
        refused(S.evidence(DEALER, other), "no such contribution")


def test_released_shares_that_are_right_or_none():
    c, proof = S.c, wrong_release(S).proof
    refused(S.evidence(0, proof), "lies on the polynomial")
    refused(S.evidence(6, proof), "released no share")
    refused(S.evidence(OUTSIDER, proof), "released no share")
    few = WrongRelease(proof.releases[1:])  # too few to tell
    refused(S.evidence(LIAR, few), "lies on the polynomial")
    refused(S.evidence(LIAR, WrongRelease(proof.releases[::-1])), "out of order")
    key = c.member_signed(6, c.round_key(6))
    refused(S.evidence(LIAR, WrongRelease((*proof.releases, key))), "something else")
    other = S.release(6, accepted=b"b" * 32)
    refused(S.evidence(LIAR, WrongRelease((*proof.releases, other))), "different sums")
    silent = S.release(LIAR, shares=b"")
    refused(S.evidence(LIAR, WrongRelease((silent,))), "lies on the polynomial")


def test_dealings_that_are_some():
    c, proof = S.c, bad_dealing(S).proof
    honest = c.dealt(LIAR, "next").shares
    key = c.member_signed(LIAR, c.round_key(LIAR))
    fine = replace(proof, key=key, shares=(honest[0], honest[1]))
    refused(S.evidence(LIAR, fine), "is one, or too little")
    one = replace(proof, members=(0,), shares=proof.shares[:1])
    refused(S.evidence(LIAR, one), "is one, or too little")
    refused(S.evidence(LIAR, replace(proof, members=(0,))), "out of order")
    refused(S.evidence(LIAR, replace(proof, members=(1, 0))), "out of order")
    refused(S.evidence(LIAR, replace(proof, challenge=True)), "is one, or too little")
    response = c.member_signed(LIAR, c.response(LIAR, (2,)))
    refused(S.evidence(LIAR, replace(proof, key=response)), "in a round key")
    foreign = tuple(replace(share, dealer=1) for share in proof.shares)
    refused(S.evidence(LIAR, replace(proof, shares=foreign)), "another dealer's")
