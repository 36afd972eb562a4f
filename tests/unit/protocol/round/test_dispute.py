"""What a member and a contributor find to accuse others of, and what they open for it."""

from contextlib import suppress

import pytest
from msgspec.structs import replace
from tests.support.committee import CHALLENGE, Committee
from tests.support.evidence import DEALER, LIAR, Scene, flipped, no_vector, over_norm, two_bodies
from tests.unit.protocol.round.test_contributor import ME, VECTOR, contributor, decision, sending
from tests.unit.protocol.round.test_contributor import C as ROUND

from pnyx.errors import InvalidSignature, ProtocolError, RuleBroken
from pnyx.primitives import codec
from pnyx.protocol.aggregation.verdicts import Rule
from pnyx.protocol.aggregation.verification import prove, read_payload
from pnyx.protocol.evidence.proofs import Offence, check_evidence, offence_of
from pnyx.protocol.messages import (
    Answered,
    Answers,
    BadDealing,
    ContributionHeader,
    Dispute,
    HeldContribution,
    Instance,
    Release,
    WrongAnswer,
    WrongRelease,
    WrongShare,
)
from pnyx.protocol.round.active import ActiveRound
from pnyx.protocol.round.dispute import Disputes, shown_answers
from pnyx.protocol.round.values import (
    AcceptValue,
    OpenValue,
    contribution_context,
    header_hash,
)

S = Scene()
OTHERS = (2, 3, 4)


def disputes(member: int, scene: Scene = S):
    services, box = scene.c.services(scene.c.plan.committee[member])
    return Disputes(services, member), box


def proven(box, scene: Scene = S):
    """What a member accused others of; all of it convinces an outsider."""
    for evidence in box.accused:
        check_evidence(evidence, scene.c.plan, scene.c.folk.cryptos[8])
    return [(each.culprit, offence_of(each.proof)) for each in box.accused]


# --- the member ----------------------------------------------------------------------------------


def closed_of(headers):
    """A closed list of these headers, and everybody's honest answers to it."""
    value = S.c.close_value(headers)
    return S.c.reader.close_value(value, S.c.keys(), S.c.opened)


def round_with(payloads, header, lies=(), answering=range(7)):
    """Closed list, judgement and decision of a round with one special contribution."""
    special = codec.decode(header.body, ContributionHeader, bytes_max=10**4).contributor
    headers = {**{who: S.c.header(who) for who in OTHERS}, special: header}
    shares = {**{who: S.c.payloads(who) for who in OTHERS}, special: payloads}
    closed = closed_of([headers[who] for who in sorted(headers)])
    responses = []
    for member in answering:
        values = {who: S.values(member, shares[who], headers[who]) for who in headers}
        if member in lies:
            values[max(values)] = flipped(values[max(values)])
        responses.append(S.answered(member, values, headers))
    value = codec.encode(AcceptValue(tuple(responses)))
    judgement = S.c.reader.accept_value(value, closed, CHALLENGE)
    return closed, judgement, decision(S.c, Instance.ACCEPT, value)


def opens(payloads):
    """A member that opens its own share of any contribution."""
    return lambda member: lambda header: S.opened(payloads, member)


def test_honest_round_has_no_dispute():
    closed, judgement, accepted = round_with(S.c.payloads(DEALER), S.c.header(DEALER))
    said, box = disputes(1)
    said.judged(closed, judgement, accepted, lambda header: pytest.fail("nothing is opened"))
    assert box.accused == []
    assert box.of(Dispute) == []


def test_member_that_is_off_opens_its_share_and_convicts_the_dealer():
    payloads, header = S.dealt(DEALER, lambda m, p: flipped(p) if m == 1 else p)
    closed, judgement, accepted = round_with(payloads, header)
    assert judgement.off == {DEALER: frozenset({1})}
    said, box = disputes(1)
    said.judged(closed, judgement, accepted, opens(payloads)(1))
    assert (DEALER, Offence.WRONG_SHARE) in proven(box)
    other, quiet = disputes(2)
    other.judged(closed, judgement, accepted, lambda header: pytest.fail("not off"))
    assert not any(isinstance(each.proof, WrongShare) for each in quiet.accused)


def test_member_that_holds_nothing_opens_nothing():
    payloads, header = S.dealt(DEALER, lambda m, p: flipped(p) if m == 1 else p)
    closed, judgement, accepted = round_with(payloads, header)
    said, box = disputes(1)
    said.judged(closed, judgement, accepted, lambda header: None)
    assert not any(isinstance(each.proof, WrongShare) for each in box.accused)


@pytest.mark.parametrize("rule", [Offence.RANGE, Offence.BOUND, Offence.SHARING])
def test_contribution_that_its_answers_convict(rule):
    if rule is Offence.BOUND:
        payloads, header = over_norm(S)
    elif rule is Offence.SHARING:
        payloads, header = no_vector(S)
    else:
        payloads, header = S.dealt(DEALER, lambda m, p: p)
        honest = codec.decode(header.body, ContributionHeader, bytes_max=10**4)
        header = S.c.header(DEALER, payloads, published=bytes(len(honest.published)))
    closed, judgement, accepted = round_with(payloads, header)
    said, box = disputes(0)
    said.judged(closed, judgement, accepted, lambda header: pytest.fail("not off"))
    assert proven(box) == [(DEALER, rule)]


def test_f_plus_one_members_show_a_contributor_its_answers():
    """Off by a liar: the contributor is told, and nobody is convicted by it alone."""
    closed, judgement, accepted = round_with(S.c.payloads(DEALER), S.c.header(DEALER), {LIAR})
    assert judgement.off == {DEALER: frozenset({LIAR})}
    told = 0
    for member in range(S.size.size):
        said, box = disputes(member)
        if member != LIAR:
            said.judged(closed, judgement, accepted, lambda header: pytest.fail("not off"))
            assert box.accused == []
            told += len(box.of(Dispute))
            assert all(to == DEALER for to, _ in box.sent)
    assert told == S.size.corrupt_max + 1


def test_members_that_are_away_call_nobody():
    """Those whose turn it would be did not answer: others that did show the answers."""
    first = [(DEALER + turn) % S.size.size for turn in range(S.size.corrupt_max)]
    answering = [member for member in range(S.size.size) if member not in first]
    closed, judgement, accepted = round_with(
        S.c.payloads(DEALER), S.c.header(DEALER), {LIAR}, answering
    )
    callers = set()
    for member in range(S.size.size):
        said, box = disputes(member)
        said.judged(closed, judgement, accepted, lambda header: None)
        callers |= {member for _ in box.of(Dispute)}
    assert len(callers) == S.size.corrupt_max + 1
    assert callers <= set(answering)


def test_undecided_contribution_is_shown_and_convicts_nobody():
    """One short of 2D + 1 + 2f answers: a liar among them is enough, and no proof of anything."""
    payloads, header = S.c.payloads(DEALER), S.c.header(DEALER)
    closed, judgement, accepted = round_with(payloads, header, {0}, range(6))
    assert judgement.rejected == {DEALER: Rule.UNDECIDED}
    sent = []
    for member in range(S.size.size):
        said, box = disputes(member)
        said.judged(closed, judgement, accepted, lambda header: pytest.fail("not off"))
        assert box.accused == []
        sent += box.of(Dispute)
    assert len(sent) == S.size.corrupt_max + 1


def test_everything_is_said_once():
    said, box = disputes(0)
    proof = two_bodies(S, Offence.TWO_ROUND_KEYS).proof
    payloads = S.c.payloads(DEALER)
    payloads[0] = b"nothing"
    for _ in range(2):
        said.contradiction(proof.first, proof.second)
        said.unreadable(DEALER, S.c.header(DEALER, payloads), S.opened(payloads, 0))
    assert proven(box) == [(LIAR, Offence.TWO_ROUND_KEYS), (DEALER, Offence.WRONG_SHARE)]


def test_dealer_of_no_secret():
    key, shares = S.bad_dealing(LIAR)
    keys = [S.c.member_signed(m, S.c.round_key(m)) for m in range(S.size.size)]
    keys[LIAR] = key
    opened = decision(S.c, Instance.OPEN, codec.encode(OpenValue(tuple(keys))))
    openings = [(m, (shares[m], S.c.dealt(1, "next").shares[m])) for m in range(S.size.size)]
    openings[0] = (0, (replace(shares[0], salt=bytes(16)),))  # a share that matches nothing
    secrets = {1: b"s" * 40, LIAR: bytes(40)}
    said, box = disputes(0)
    said.opened_secrets(None, secrets, openings, challenge=False)
    assert box.accused == []
    for _ in range(2):
        said.opened_secrets(opened, secrets, openings, challenge=False)
    assert proven(box) == [(LIAR, Offence.BAD_DEALING)]
    assert isinstance(box.accused[0].proof, BadDealing)
    assert box.accused[0].proof.members == (1, 2)


@pytest.mark.parametrize(("alter", "count"), [(flipped, 5), (lambda _: b"1234", 1)])
def test_wrong_share_of_the_sum_comes_with_just_enough_others(alter, count):
    signed = {m: S.release(m, alter if m == LIAR else bytes) for m in range(S.size.size)}
    releases = {m: codec.decode(each.body, Release, bytes_max=10**6) for m, each in signed.items()}
    said, box = disputes(0)
    for _ in range(2):
        said.released(signed, releases)
    assert proven(box) == [(LIAR, Offence.WRONG_RELEASE)]
    assert isinstance(box.accused[0].proof, WrongRelease)
    assert len(box.accused[0].proof.releases) == count


def test_nothing_is_released_where_nothing_is_contributed():
    joining = Scene(Committee(joining=True))
    said, box = disputes(0, joining)
    said.released({}, {})
    assert box.accused == []


# --- the contributor -----------------------------------------------------------------------------


def call(made, liars=(), header=None, **changes) -> Dispute:
    """What members show this contributor: it is the only one of the round."""
    header = header or made._header
    context = contribution_context(ROUND.plan.context, ME)
    bounds = ROUND.plan.phase.bounds
    payloads = prove(VECTOR, bounds, ROUND.size, made._stored.seed, context).payloads
    scene = Scene(ROUND)
    responses = []
    for member in range(ROUND.size.size):
        values = scene.values(member, payloads, header)
        if member in liars:
            values = flipped(values)
        responses.append(scene.answered(member, {ME: values}, {ME: header}, **changes))
    accepted = decision(ROUND, Instance.ACCEPT, codec.encode(AcceptValue(tuple(responses))))
    held = (HeldContribution(ME, header_hash(header)),)
    return Dispute(ROUND.plan.context, accepted, held)


def test_contributor_opens_the_shares_of_liars_once():
    made, outbox = sending()
    for _ in range(2):
        made.handle(call(made, {LIAR}), 2.0)
    (evidence,) = outbox.accused
    check_evidence(evidence, ROUND.plan, ROUND.folk.cryptos[8])
    assert evidence.culprit == ROUND.plan.committee[LIAR]
    assert isinstance(evidence.proof, WrongAnswer)
    opened = evidence.proof.opened
    assert opened.member == LIAR
    assert len(read_payload(opened.payload, ROUND.plan.phase.bounds, ROUND.size)) == 2


def test_contributor_is_shown_answers_by_members_only():
    made, outbox = sending()
    active = ActiveRound(ROUND.plan, None, made, None)
    outsider = next(i for i in range(len(ROUND.plan.census)) if i not in ROUND.plan.member_of)
    with pytest.raises(RuleBroken, match="outside the committee"):
        active.handle(outsider, call(made, {LIAR}), 2.0)
    assert outbox.accused == []
    active.handle(ROUND.plan.committee[1], call(made, {LIAR}), 2.0)
    assert len(outbox.accused) == 1


def test_contributor_opens_nothing_if_nobody_lied():
    made, outbox = sending()
    made.handle(call(made), 2.0)
    assert outbox.accused == []


def test_contributor_never_opens_more_than_f_shares():
    """With f + 1 shares in the open, something about its vector would be."""
    made, outbox = sending()
    made.handle(call(made, {1, 3, 5}), 2.0)
    made.handle(call(made, {2, 4, 6}), 2.0)
    assert len(outbox.accused) == ROUND.size.corrupt_max


def test_contributor_opens_nothing_for_answers_to_another_header():
    made, outbox = sending()
    other = ROUND.header(ME)
    made.handle(call(made, {LIAR}, header=other), 2.0)
    assert outbox.accused == []


@pytest.mark.parametrize(
    "changes", [{"answers": b"h" * 32}, {"held": ()}, {"held": (2,)}, {"held": (2, ME)}]
)
def test_contributor_opens_nothing_for_answers_that_name_no_header(changes):
    made, outbox = sending()
    with suppress(ProtocolError):  # or it is no answer at all
        made.handle(call(made, {LIAR}, **changes), 2.0)
    assert outbox.accused == []


def test_contributor_opens_nothing_after_its_owner_withdrew():
    made, outbox = sending()
    shown = call(made, {LIAR})
    made.withhold()
    made.handle(shown, 3.0)
    assert outbox.accused == []


def test_contributor_believes_certified_answers_only():
    made, outbox = sending()
    shown = call(made, {LIAR})
    value = shown.accepted.value[:-1] + bytes((shown.accepted.value[-1] ^ 1,))
    with pytest.raises(InvalidSignature):
        made.handle(replace(shown, accepted=replace(shown.accepted, value=value)), 2.0)
    made.handle(replace(shown, accepted=decision()), 2.0)
    assert outbox.accused == []


def test_contributor_that_sent_nothing_opens_nothing():
    other, _ = sending()
    made, outbox = contributor()
    made.handle(call(other, {LIAR}), 2.0)
    assert outbox.accused == []


def test_what_no_certified_value_holds():
    made, _ = sending()
    shown = call(made)
    key = ROUND.member_signed(0, ROUND.round_key(0))
    value = AcceptValue((Answered(key, Answers((), b"")),))
    strange = replace(shown.accepted, value=codec.encode(value))
    with pytest.raises(RuleBroken, match="not an answer"):
        shown_answers(ROUND.reader, made._header, replace(shown, accepted=strange))
