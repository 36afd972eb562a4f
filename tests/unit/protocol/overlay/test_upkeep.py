"""Whom to ask next."""

from math import inf

from pnyx.primitives.hashing import digest
from pnyx.protocol.messages import Signed
from pnyx.protocol.overlay.params import OverlayParams
from pnyx.protocol.overlay.records import KnownRecord
from pnyx.protocol.overlay.table import NodeTable
from pnyx.protocol.overlay.upkeep import Upkeep

PARAMS = OverlayParams(neighbours_per_side=4, near_per_side=1, away_retry_s=1000.0)
OLD = 10_000.0  # long after the start: a young node asks more often


def record(number):
    node_id = digest("node", number.to_bytes(4, "big"))
    return KnownRecord(node_id, 1, "h", 1, Signed(node_id, b"", bytes(64)))


def table(count, heard_at=None):
    made = NodeTable(digest("own"), b"b" * 32, PARAMS)
    for number in range(count):
        if heard_at is None:
            made.learn(record(number), 0.0)
        else:
            made.hear(record(number), heard_at)
    return made


def test_ticks_come_at_their_interval():
    upkeep = Upkeep(table(0), PARAMS, 5.0)
    assert upkeep.next_deadline() == 5.0
    assert not upkeep.is_due(4.9)
    assert upkeep.is_due(5.0)
    assert upkeep.next_deadline() == 5.0 + PARAMS.tick_s


def test_unheard_neighbours_come_first_and_few_at_a_time():
    nodes = table(20)
    asked = Upkeep(nodes, PARAMS, 0.0).to_ask(1.0)
    assert asked == nodes.neighbours()[: PARAMS.unheard_asks]
    assert all(node.heard_at == -inf for node in asked)


def test_near_and_far_neighbours_have_their_own_interval():
    nodes = table(20, heard_at=OLD)
    upkeep = Upkeep(nodes, PARAMS, 0.0)
    assert upkeep.to_ask(OLD + PARAMS.near_refresh_s - 1.0) == []
    near = upkeep.to_ask(OLD + PARAMS.near_refresh_s + 1.0)
    assert [node in nodes.neighbours()[:2] for node in near] == [True]
    nodes.neighbours()[5].heard_at = OLD - 20.0
    both = upkeep.to_ask(OLD + PARAMS.far_refresh_s - 10.0)
    assert nodes.neighbours()[5] in both
    assert len(both) == 2


def test_young_node_asks_more_often():
    nodes = table(20, heard_at=1.0)
    assert Upkeep(nodes, PARAMS, 0.0).to_ask(4.0) != []
    assert Upkeep(nodes, PARAMS, -1000.0).to_ask(4.0) == []


def test_who_failed_is_asked_at_once_and_who_is_away_in_turn():
    nodes = table(20, heard_at=OLD)
    failing = nodes.neighbours()[3]
    failing.failures = 1
    upkeep = Upkeep(nodes, PARAMS, 0.0)
    away = record(99)
    nodes.hear(away, OLD)
    for _ in range(PARAMS.failures_max):
        nodes.fail(away.node_id, OLD)
    assert [node.node_id for node in upkeep.to_ask(OLD)] == [failing.node_id, away.node_id]
    assert upkeep.to_ask(OLD) == [failing]
    empty = Upkeep(table(3, heard_at=OLD), PARAMS, 0.0)
    assert empty.to_ask(OLD) == []


def test_fingers_are_looked_up_one_at_a_time():
    nodes = table(60, heard_at=0.0)
    upkeep = Upkeep(nodes, PARAMS, 0.0)
    targets = nodes.finger_targets()
    now = PARAMS.finger_first_s
    assert upkeep.next_finger(now - 0.1) is None
    found = []
    for _ in targets:
        found.append(upkeep.next_finger(now))
        assert upkeep.next_finger(now) is None
        now += PARAMS.finger_first_s
    assert found == targets
    again = []
    for _ in targets:
        again.append(upkeep.next_finger(now))
        now += PARAMS.finger_refresh_s
    assert sorted(again) == sorted(targets)


def test_small_ring_needs_no_fingers():
    upkeep = Upkeep(table(3, heard_at=0.0), PARAMS, 0.0)
    assert upkeep.next_finger(100.0) is None
    assert upkeep.next_finger(100.0 + PARAMS.finger_refresh_s - 1.0) is None
