"""What a peer may make a node spend on it."""

import pytest

from pnyx.errors import RuleBroken
from pnyx.protocol.allowance import Allowance

PEER, OTHER = b"p" * 32, b"o" * 32


def test_allowance_is_a_burst_and_then_a_rate():
    allowance = Allowance(3.0, 2.0, 2)
    for _ in range(3):
        allowance.spend(PEER, 0.0)
    with pytest.raises(RuleBroken, match="more than it may"):
        allowance.spend(PEER, 0.1)
    allowance.spend(PEER, 0.6)
    with pytest.raises(RuleBroken):
        allowance.spend(PEER, 0.6)
    for _ in range(3):
        allowance.spend(PEER, 100.0)
    with pytest.raises(RuleBroken):
        allowance.spend(PEER, 100.0)
    allowance.spend(OTHER, 100.0)


def test_allowance_remembers_so_many_peers():
    allowance = Allowance(1.0, 0.0, 2)
    for number in range(3):
        allowance.spend(bytes([number]) * 32, 0.0)
    allowance.spend(bytes(32), 0.0)  # forgotten: only as many as there are certificates matter
    with pytest.raises(RuleBroken):
        allowance.spend(bytes([2]) * 32, 0.0)


def test_what_costs_more_than_is_left_is_owed():
    allowance = Allowance(10.0, 2.0, 2)
    allowance.check(PEER, 0.0)
    allowance.charge(PEER, 0.0, 25.0)
    with pytest.raises(RuleBroken):
        allowance.check(PEER, 7.9)
    allowance.check(PEER, 8.0)
    allowance.check(OTHER, 0.0)


def test_who_is_refused_is_remembered():
    allowance = Allowance(1.0, 0.0, 2)
    allowance.spend(PEER, 0.0)
    allowance.spend(OTHER, 0.0)
    with pytest.raises(RuleBroken):
        allowance.check(PEER, 0.0)
    allowance.spend(bytes(32), 0.0)
    with pytest.raises(RuleBroken):
        allowance.check(PEER, 0.0)
    allowance.check(OTHER, 0.0)
