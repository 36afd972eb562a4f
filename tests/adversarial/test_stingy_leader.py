"""A leader takes as few inputs as a quorum, to decide alone who of the committee counts.

With the list of round keys cut down to a quorum it then falls silent, so that a quorum of listed
members never answers again; with the answers cut down it leaves contributions out (THREATS A7).
Members refuse proposals with fewer inputs than there must be, until f + 1 leaders have failed.
"""

import pytest
from tests.support.town import Town

from pnyx.primitives import codec
from pnyx.protocol.aggregation.direct import settle
from pnyx.protocol.aggregation.verdicts import Verdict
from pnyx.protocol.messages import Instance, MemberBody, MemberInput, Proposal, RoundKey
from pnyx.protocol.round import leader, values
from pnyx.protocol.round.values import OpenValue, inputs_wanted
from pnyx.protocol.selection import choose_committee

BYTES_MAX = 1 << 22
SIZE = choose_committee(36)


def finishes_in_spite_of_a_stingy_leader(monkeypatch) -> bool:
    town = Town(count=12, size=choose_committee(12))
    study = town.propose()
    town.run(town.in_round(study, 1))
    plan = town.plan(study)
    traitor = plan.committee[0]
    build = leader.Leader._open_value

    def stingy(self, now):
        value = build(self, now)
        if value is None or self._m.plan.context != plan.context or self._m.views.current:
            return value
        keys = codec.decode(value, OpenValue, bytes_max=BYTES_MAX).keys
        return codec.encode(OpenValue(keys[: plan.size.quorum]))

    def wire(sender, receiver, message):
        if sender != traitor or getattr(message, "context", None) != plan.context:
            return None
        if isinstance(message, MemberInput):
            body = codec.decode(message.signed.body, MemberBody, bytes_max=BYTES_MAX)
            return None if isinstance(body, RoundKey) else []
        opening = getattr(message, "instance", None) is Instance.OPEN
        return None if opening or isinstance(message, Proposal) else []

    with monkeypatch.context() as patch:
        patch.setattr(leader.Leader, "_open_value", stingy)
        town.wire = wire
        return town.run(town.finished(study), 250.0)  # less than the patience that aborts it


def test_list_of_round_keys_cut_down_to_a_quorum(monkeypatch):
    assert finishes_in_spite_of_a_stingy_leader(monkeypatch)


def test_without_the_minimum_one_leader_stops_a_study(monkeypatch):
    for module in (values, leader):
        monkeypatch.setattr(module, "inputs_wanted", lambda size, view: size.quorum)
    assert not finishes_in_spite_of_a_stingy_leader(monkeypatch)


def test_after_f_plus_one_leaders_a_quorum_will_do():
    assert inputs_wanted(SIZE, 0) == inputs_wanted(SIZE, SIZE.corrupt_max) == 20
    assert inputs_wanted(SIZE, SIZE.corrupt_max + 1) == SIZE.quorum == 16


def settled(holders: dict[int, set[int]], members: range):
    answers = {m: {who: None for who, held in holders.items() if m in held} for m in members}
    return settle(SIZE, {who: Verdict(accepted=True) for who in holders}, answers)


@pytest.mark.parametrize("absent", [0, 3])
def test_members_that_claim_to_hold_nothing(absent):
    """Four corrupt members omit all honest contributions; a corrupt one is dealt to 18 members."""
    members = range(24 - absent)
    holders = {who: set(members) - set(range(4)) for who in range(23)}
    holders[23] = set(range(18))
    judgement = settled(holders, members)
    assert set(judgement.accepted) >= set(range(23))
    assert len(judgement.pool) >= SIZE.quorum


def test_each_corrupt_member_omits_another_contribution():
    holders = {who: set(range(24)) - ({who} if who < 4 else set()) for who in range(24)}
    judgement = settled(holders, range(24))
    assert judgement.accepted == tuple(range(24))
    assert not set(judgement.pool) & set(range(4))
