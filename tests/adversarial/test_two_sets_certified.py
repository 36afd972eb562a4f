"""A coalition tries to have two different sets fixed in one round (THREATS A3).

It leads every view, votes for everything, and shows each honest member whatever helps it. The
bound of 2q - k is real: one member fewer fails whatever the split, that many succeed. An honest
member that forgets its durable slot lets a single traitor do it.
"""

from itertools import product

import pytest
from tests.support.ballots import MEMBERS, QUORUM, Ballot, certificate, echo_again, proof

from pnyx.protocol.agreement import Agreement
from pnyx.protocol.messages import Phase, Vote

BOUND = 2 * QUORUM - MEMBERS
SETS = (b"the set", b"the set without its victim")


def locks(ballot: Ballot, value: bytes, view: int) -> bool:
    """Whether an honest member locks the value, shown all that the coalition can forge."""
    return ballot.echo(value, view) is not None and locks_echoed(ballot, value, view)


def locks_echoed(ballot: Ballot, value: bytes, view: int) -> bool:
    """The second half of it.

    The coalition alone is no quorum: the certificates shown are granted to it, and counted below.
    """
    vote = ballot.agreement.on_certificate(certificate(value, Phase.ECHO, view), view)
    return isinstance(vote, Vote)


def two_sets(corrupt: int, *, amnesia: bool = False) -> bool:
    """Whether some schedule of the coalition gives both sets a quorum of locks in one view."""
    honest = MEMBERS - corrupt
    for split in product((0, 1), repeat=honest):
        counts = [corrupt, corrupt]
        for member, first in enumerate(split):
            ballot = Ballot(member)
            for which in (first, 1 - first):
                if locks(ballot, SETS[which], 0):
                    counts[which] += 1
                if amnesia:
                    ballot = Ballot(member)
        if min(counts) >= QUORUM:
            return True
    return False


def test_two_sets_need_a_coalition_of_2q_minus_k():
    assert not two_sets(BOUND - 1)
    assert two_sets(BOUND), "the bound is real"


def test_a_single_traitor_suffices_when_restarts_forget():
    assert not two_sets(1)
    assert two_sets(1, amnesia=True), "the durable slot is the defence"


def both_sets_at_once(member: int) -> list[bool]:
    """Both are proposed in one view before either has a certificate: which of them get a lock."""
    ballot = Ballot(member)
    echoed = [each for each in SETS if ballot.echo(each, 0) is not None]
    return [each in echoed and locks_echoed(ballot, each, 0) for each in SETS]


def test_one_echo_in_a_view_is_the_defence_before_anything_is_locked(monkeypatch):
    """A lock keeps a member from a second value only once it has one."""
    assert both_sets_at_once(0) == [True, False]
    monkeypatch.setattr(Agreement, "on_proposal", echo_again)
    assert both_sets_at_once(0) == [True, True], "a single traitor would suffice"


@pytest.mark.parametrize("view", [1, 5])
def test_a_later_view_does_not_unlock_without_a_certificate(view):
    """A set that was fixed in view 0 stays fixed: q - c honest members are locked on it."""
    ballot = Ballot()
    assert locks(ballot, SETS[0], 0)
    assert ballot.echo(SETS[1], view) is None
    assert ballot.echo(SETS[1], view, proof(SETS[1], 0)) is None


def test_the_lock_rule_is_the_defence(monkeypatch):
    ballot = Ballot()
    assert locks(ballot, SETS[0], 0)
    monkeypatch.setattr(ballot.agreement, "_may_leave_lock", lambda hash_, proof: True)
    assert ballot.echo(SETS[1], 1) is not None
