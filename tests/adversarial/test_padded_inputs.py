"""D2: what one corrupt member signs fills no memory, and stops no committee.

Attack: sign bodies that are long, list somebody many times, or come with headers that nobody
asked for; repeat another member's old input.
"""

import pytest
from msgspec.structs import replace
from tests.support.committee import Committee
from tests.unit.protocol.round.test_committee import Walk

from pnyx.errors import MalformedMessage, ProtocolError, RuleBroken
from pnyx.protocol.messages import (
    Answers,
    HeldContribution,
    Instance,
    MemberInput,
    OpenedShare,
    Release,
    Step,
)
from pnyx.protocol.round.committee import CommitteeMember
from pnyx.protocol.round.values import VALUE_BYTES_MAX, InputReader

C = Committee()
CONTEXT = C.plan.context
OWNER = 2  # corrupt, and drawn as a contributor as well


def padded_bodies():
    """Bodies that no honest member signs, with what they are refused for."""
    vote = C.close_vote(1)
    twice = (HeldContribution(OWNER, b"a" * 32), HeldContribution(OWNER, b"b" * 32))
    opened = OpenedShare(0, b"", bytes(16), ())
    yield replace(vote, held=twice), "twice"
    yield replace(vote, joined=(3, 3)), "twice"
    yield replace(vote, culprits=tuple(range(10))), "outside the census"
    yield replace(vote, held=(HeldContribution(8, b"a" * 32),)), "not drawn"
    yield replace(vote, next_dealers=(0, 0)), "twice"
    yield Release(CONTEXT, 1, bytes(32), bytes(500_000), ()), "too long"
    yield Release(CONTEXT, 1, bytes(32), b"", (opened, opened)), "twice"
    right = C.dealt(0, "next").shares[1]
    longer = replace(right, proof=(*right.proof, bytes(32)))
    yield Release(CONTEXT, 1, bytes(32), b"", (longer,)), "greater length"
    more = tuple(C.dealt(dealer, "next").shares[1] for dealer in range(3))
    yield Release(CONTEXT, 1, bytes(32), b"", more), "more dealings"


@pytest.mark.parametrize(("body", "rule"), list(padded_bodies()))
def test_padded_bodies_are_refused_and_not_kept(body, rule: str) -> None:
    reader = InputReader(C.plan, C.folk.cryptos[0])
    with pytest.raises((RuleBroken, MalformedMessage), match=rule):
        reader.member_body(C.member_signed(1, body))
    assert not reader._verified


def test_long_bodies_would_be_kept_without_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InputReader, "_check_size", lambda reader, body: None)
    reader = InputReader(C.plan, C.folk.cryptos[0])
    for at in range(20):
        body = Release(CONTEXT, 1, bytes(32), at.to_bytes(4) * 100_000, ())
        reader.member_body(C.member_signed(1, body))
    assert sum(len(signed.body) for signed in reader._verified) > 4_000_000


PADDED_ANSWERS = [
    (Answers((), bytes(500_000)), "wrong size"),
    (Answers((8,), b""), "not drawn"),
    (Answers((OWNER, OWNER), b""), "out of order"),
]


@pytest.mark.parametrize(("answers", "rule"), PADDED_ANSWERS)
def test_padded_answers_are_refused_and_not_kept(answers: Answers, rule: str) -> None:
    member = leader()
    message = MemberInput(CONTEXT, C.answered(1).signed, answers=answers)
    with pytest.raises((RuleBroken, MalformedMessage), match=rule):
        member.leader.on_input(1, message)
    with pytest.raises(RuleBroken, match="without its answers"):
        member.leader.on_input(1, replace(message, answers=None))
    assert not member.leader._responses


def test_padded_answers_would_be_kept_without_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InputReader, "check_answers", lambda reader, answers: None)
    member = leader()
    for answers, _ in PADDED_ANSWERS:
        member.leader.on_input(1, MemberInput(CONTEXT, C.answered(1).signed, answers=answers))
        assert member.leader._responses[1][1].answers == answers


def headers(count: int):
    """Validly signed headers of one contributor, all different."""
    return tuple(C.header(OWNER, shares_root=at.to_bytes(32)) for at in range(count))


def leader() -> CommitteeMember:
    return Walk(0).to(Step.CLOSE).member


def test_headers_that_no_vote_names_are_not_kept() -> None:
    member = leader()
    signed = C.member_signed(1, C.close_vote(1, [C.header(3)]))
    member.leader.on_input(1, MemberInput(CONTEXT, signed, (C.header(3), *headers(300))))
    assert list(member.leader._headers.values()) == [C.header(3)]


def test_headers_of_replaced_votes_go() -> None:
    member = leader()
    for header in headers(300):
        signed = C.member_signed(1, C.close_vote(1, [header]))
        member.leader.on_input(1, MemberInput(CONTEXT, signed, (header,)))
    assert list(member.leader._headers.values()) == [header]


def test_a_member_cannot_repeat_anothers_old_vote() -> None:
    member = leader()
    old = C.member_signed(3, C.close_vote(3))
    with pytest.raises(RuleBroken, match="another member"):
        member.leader.on_input(1, MemberInput(CONTEXT, old, ()))
    assert not member.leader._close_votes


def test_votes_that_make_the_list_too_long_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest goes first, while a quorum stays."""
    member = leader()
    lengths = {}
    for at in range(C.size.size):
        held = [C.header(2), C.header(3)] if at == 1 else [C.header(2)]
        signed = C.member_signed(at, C.close_vote(at, held))
        lengths[at] = len(signed.body)
        member.leader.on_input(at, MemberInput(CONTEXT, signed, tuple(held)))
    value = member.leader._close_value(100.0)
    assert value is not None
    opened = member.decided(Instance.OPEN)
    assert member.reader.close_value(value, member.keys, opened).contributors == (2, 3)
    monkeypatch.setattr("pnyx.protocol.round.leader.VALUE_BYTES_MAX", len(value) - 1)
    shorter = member.leader._close_value(100.0)
    assert shorter is not None
    assert len(shorter) < len(value) <= VALUE_BYTES_MAX
    assert member.reader.close_value(shorter, member.keys, opened).contributors == (2,)


def test_a_padded_vote_is_refused_by_the_leader() -> None:
    member = leader()
    for body, _ in padded_bodies():
        with pytest.raises(ProtocolError):
            member.leader.on_input(1, MemberInput(CONTEXT, C.member_signed(1, body), ()))
    assert not member.leader._close_votes
