"""Corrupt members end an attempt that makes progress, to have contributions shared once more.

They give up at once, lead, call on the others to follow, and propose the abort with their own words
only (THREATS A3, A7). It takes a quorum that waited in vain, half as long when others left.
"""

import pytest
from tests.unit.protocol.round.test_committee import Walk

from pnyx.errors import RuleBroken
from pnyx.primitives import codec
from pnyx.protocol.messages import CloseNow, GiveUp, Instance, Proposal, Step, Vote
from pnyx.protocol.round.attempts import Patience
from pnyx.protocol.round.values import AbortValue, InputReader


def word(walk: Walk, member: int):
    return walk.c.member_signed(member, GiveUp(walk.context, member, ()))


def proposal(walk: Walk, words) -> Proposal:
    value = codec.encode(AbortValue(tuple(words)))
    return walk.proposal(Instance.ACCEPT, value)


def words_that_are_too_few(walk: Walk):
    most = range(walk.c.size.quorum - 1)
    yield [word(walk, member) for member in most]
    yield [word(walk, 0), *(word(walk, member) for member in most)]
    yield [*(word(walk, m) for m in most), walk.c.signed(0, GiveUp(walk.context, len(most), ()))]
    yield [*(word(walk, m) for m in most), walk.c.member_signed(6, walk.c.round_key(6))]


@pytest.mark.parametrize("step", [Step.CLOSE, Step.CHALLENGE, Step.ACCEPT])
def test_abort_without_a_quorum_of_words(step):
    for attempt in range(4):
        walk = Walk().to(step)
        words = list(words_that_are_too_few(walk))[attempt]
        with pytest.raises(RuleBroken):
            walk.hear(0, proposal(walk, words))
        assert not walk.box.of(Vote)


def test_abort_with_a_quorum_of_words_is_voted_for():
    """By a member that did not give up itself: it may be the one that others wait for."""
    walk = Walk().to(Step.CLOSE)
    words = [word(walk, member) for member in range(walk.c.size.quorum)]
    assert type(walk.hear(0, proposal(walk, words))[-1]) is Vote


def test_without_the_quorum_one_leader_aborts(monkeypatch):
    monkeypatch.setattr(InputReader, "abort_value", lambda self, data: frozenset())
    walk = Walk().to(Step.CLOSE)
    assert type(walk.hear(0, proposal(walk, []))[-1]) is Vote


def gives_up_at(walk: Walk, now: float) -> bool:
    walk.member.tick(now)
    return bool(walk.own_inputs(GiveUp))


def test_call_to_follow_does_not_hurry_a_member():
    """One word more than may be corrupt: one of them honest, but perhaps merely cut off."""
    walk = Walk().to(Step.CHALLENGE)
    words = tuple(word(walk, member) for member in range(2, 3 + walk.c.size.corrupt_max))
    walk.hear(0, CloseNow(walk.context, words))
    patience = walk.member.params.attempt_timeout_s
    assert not gives_up_at(walk, 0.4 * patience)
    assert gives_up_at(walk, 0.6 * patience)


def test_fewer_words_do_not_even_shorten_its_patience():
    walk = Walk().to(Step.CHALLENGE)
    words = [word(walk, 2)] * (1 + walk.c.size.corrupt_max)
    walk.hear(0, CloseNow(walk.context, tuple(words)))
    assert not gives_up_at(walk, 0.9 * walk.member.params.attempt_timeout_s)


def test_without_patience_a_member_follows_at_once(monkeypatch):
    monkeypatch.setattr(Patience, "deadline", lambda self, step, begins: 0.0)
    walk = Walk().to(Step.CHALLENGE)
    assert gives_up_at(walk, 1.0)
