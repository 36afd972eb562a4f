"""Copied, spliced and replayed contributions (THREATS T1, A6, A10)."""

import pytest
from tests.support.committee import Committee
from tests.support.town import ideal, real

from pnyx.errors import MalformedMessage, ProtocolError, WrongContext
from pnyx.protocol.messages import Contribution, SealedShare
from pnyx.protocol.round import holdings as module
from pnyx.protocol.round.dispute import Disputes
from pnyx.protocol.round.holdings import Holdings

MEMBER = 1


def hold(committee: Committee) -> Holdings:
    services, _ = committee.services(MEMBER)
    unreadable = Disputes(services, MEMBER).unreadable
    return Holdings(services, committee.reader, MEMBER, committee.private_key(MEMBER), unreadable)


def copied(committee: Committee, thief: int = 3) -> Contribution:
    """A thief puts a victim's envelope, proof and commitment under its own signed header."""
    victim = committee.contribution(2, MEMBER)
    header = committee.header(thief, committee.payloads(2))
    return Contribution(
        committee.plan.context, header, SealedShare(MEMBER, victim.share.sealed, victim.share.proof)
    )


@pytest.mark.parametrize("make", [ideal, real])
def test_copied_contribution(make):
    committee = Committee(make=make)
    held = hold(committee)
    held.add_contribution(committee.contribution(2, MEMBER), committee.opened, receipt=True)
    with pytest.raises(MalformedMessage):
        held.add_contribution(copied(committee), committee.opened, receipt=True)
    assert set(held.receipted) == {2}


def test_the_bound_context_is_the_defence(monkeypatch):
    monkeypatch.setattr(module, "share_info", lambda context, who, member: b"")
    monkeypatch.setattr("tests.support.committee.share_info", lambda context, who, member: b"")
    committee = Committee()
    held = hold(committee)
    held.add_contribution(copied(committee), committee.opened, receipt=True)
    assert set(held.receipted) == {3}


@pytest.mark.parametrize("make", [ideal, real])
@pytest.mark.parametrize("changes", [{"round_number": 2}, {"model_hash": b"x" * 32}])
def test_contribution_of_another_round(make, changes):
    committee = Committee(make=make)
    other = Committee(folk=committee.folk, **changes)
    replayed = other.contribution(2, MEMBER)
    held = hold(committee)
    with pytest.raises(WrongContext):
        held.add_contribution(replayed, committee.opened, receipt=True)
    spliced = Contribution(committee.plan.context, committee.header(2), replayed.share)
    with pytest.raises(ProtocolError):
        held.add_contribution(spliced, committee.opened, receipt=True)
    assert held.receipted == {}
