"""The table: who is hearsay, heard, away; neighbours, fingers, cache; what is told to others."""

from math import inf

import pytest

from pnyx.primitives.hashing import digest
from pnyx.protocol.messages import Signed
from pnyx.protocol.overlay.params import OverlayParams
from pnyx.protocol.overlay.positions import RING_SIZE, forward
from pnyx.protocol.overlay.records import KnownRecord
from pnyx.protocol.overlay.table import NodeTable

BEACON = b"b" * 32
OWN = digest("own")
PARAMS = OverlayParams(neighbours_per_side=4, cache_max=16, away_max=3, failures_max=2)


def record(number, sequence=1):
    node_id = digest("node", number.to_bytes(4, "big"))
    return KnownRecord(node_id, sequence, "h", 1, Signed(node_id, b"", bytes(64)))


def filled(count, params=PARAMS, now=0.0):
    table = NodeTable(OWN, BEACON, params)
    for number in range(count):
        table.hear(record(number), now)
    return table


def lose(table, node_id):
    for _ in range(table._params.failures_max):
        table.fail(node_id, 1.0)


def by_distance(table):
    return sorted(table, key=lambda node: forward(table.position, node.position))


def test_neighbours_are_the_nearest_on_each_side():
    table = filled(20)
    ordered = by_distance(table)
    assert table.successors(4) == ordered[:4]
    assert table.predecessors(4) == ordered[::-1][:4]
    both = table.neighbours()
    assert len(both) == 8
    assert both[0] in (ordered[0], ordered[-1])


def test_small_ring_names_everybody_once():
    table = filled(5)
    assert len(table.neighbours()) == 5
    before, after = table.fresh_around(table.position, 4, 1.0)
    told = [node.node_id for node in (*before, *after)]
    assert len(told) == len(set(told)) == 5
    assert abs(len(before) - len(after)) <= 1


@pytest.mark.parametrize("per_side", [1, 2, 4])
def test_told_are_the_nearest_of_each_side(per_side):
    table = filled(20)
    key = 12345 << 200
    before, after = table.fresh_around(key, per_side, 1.0)
    assert after == table.ahead(key, per_side)
    assert before == table.behind(key, per_side)
    without, _ = table.fresh_around(key, per_side, 1.0, without=before[0].node_id)
    assert before[0] not in without


def test_only_fresh_nodes_that_answer_are_told():
    table = filled(4)
    hearsay = table.learn(record(10), 5.0)
    assert hearsay.heard_at == -inf
    failing = record(2)
    table.fail(failing.node_id, 5.0)
    for per_side in (3, 4):
        before, after = table.fresh_around(0, per_side, 6.0)
        assert {node.node_id for node in (*before, *after)} == {
            record(number).node_id for number in (0, 1, 3)
        }
    assert table.fresh_around(0, 4, 6.0 + PARAMS.fresh_s) == ([], [])


def test_own_record_is_never_in_the_table():
    table = filled(3)
    own = KnownRecord(OWN, 1, "h", 1, Signed(OWN, b"", bytes(64)))
    assert table.learn(own, 0.0) is None
    assert table.hear(own, 0.0) is None
    assert table.greet(own, 0.0) is None
    assert len(table) == 3


def test_newer_record_replaces_an_older_one():
    table = filled(2)
    assert table.learn(record(0, 2), 1.0).record.sequence == 2
    assert table.learn(record(0, 1), 1.0).record.sequence == 2


def test_silent_node_goes_away_and_hearsay_does_not_bring_it_back():
    table = filled(3)
    node_id = record(0).node_id
    table.fail(node_id, 1.0)
    assert table.get(node_id) is not None
    table.fail(node_id, 2.0)
    assert table.get(node_id) is None
    assert [node.node_id for node in table.away] == [node_id]
    assert table.learn(record(0), 3.0) is None
    table.fail(node_id, 3.0)  # of whom nothing more is expected
    assert table.learn(record(0, 2), 4.0).heard_at == -inf, "restarted: hearsay again"
    assert table.away == ()


def test_away_node_that_asks_is_asked_back():
    table = filled(3)
    node_id = record(0).node_id
    lose(table, node_id)
    asked_back = table.greet(record(0), 2.0)
    assert asked_back.node_id == node_id
    assert asked_back.heard_at == -inf
    table.fail(node_id, 3.0)
    assert table.get(node_id) is None, "once more silent, and it is away again"
    table.greet(record(0, 2), 4.0)
    assert table.get(node_id).failures == 0, "a new start is a new beginning"


def test_away_node_that_answers_is_back():
    table = filled(3)
    lose(table, record(0).node_id)
    assert table.hear(record(0), 2.0).heard_at == 2.0


def test_greeting_keeps_fresh_only_who_answers():
    table = filled(3)
    assert table.greet(record(0), 9.0) is None
    assert table.get(record(0).node_id).heard_at == 9.0
    table.fail(record(1).node_id, 9.0)
    assert table.greet(record(1), 9.5).heard_at == 0.0


def test_greeting_from_afar_is_not_asked_back():
    table = filled(60, OverlayParams(neighbours_per_side=4))
    ordered = by_distance(table)
    far = ordered[30].record
    table.remove(far.node_id)
    assert table.greet(far, 1.0) is None
    assert table.get(far.node_id) is not None


def test_away_nodes_are_bounded_and_take_turns():
    table = filled(6)
    assert table.away_to_retry(0.0) is None
    for number in range(4):
        lose(table, record(number).node_id)
    assert len(table.away) == 3
    turns = [table.away_to_retry(float(at)).node_id for at in range(4)]
    assert turns[0] == turns[3] != turns[1]


def test_changes_count_neighbours_only():
    table = filled(60, OverlayParams(neighbours_per_side=4))
    ordered, before = by_distance(table), table.changes
    table.remove(ordered[30].node_id)
    assert table.changes == before
    ordered[1].listing = b"l" * 32
    table.remove(ordered[0].node_id)
    assert table.changes == before + 1
    assert ordered[1].listing == bytes(32), "what it told last has to be told again"
    table.remove(ordered[0].node_id)
    assert table.changes == before + 1


def test_cache_is_pruned_to_its_size_but_for_neighbours_and_fingers():
    params = OverlayParams(neighbours_per_side=4, cache_max=40, finger_width=1, cache_age_s=100.0)
    table = NodeTable(OWN, BEACON, params)
    for number in range(104):
        table.learn(record(number), float(number))
    near = {node.node_id for node in table.neighbours()}
    table.learn(record(200), 150.0)
    assert len(table) <= 40
    assert near <= {node.node_id for node in table.neighbours()} | {record(200).node_id}
    kept = {node.node_id for node in table.backbone()}
    assert all(node.mentioned_at >= 50.0 for node in table if node.node_id not in kept)


def test_between_is_an_interval_or_the_ring():
    table = filled(20)
    start, end = 1 << 254, 3 << 254
    inside = table.between(start, end)
    assert [node for node in table if start <= node.position < end] == inside
    assert len(table.between(start, start)) == 20
    assert inside + table.between(end, start) == table.between(start, start)


def test_holders_are_the_first_nodes_this_one_among_them():
    table = filled(20)
    key = (table.position - 1) % RING_SIZE
    assert table.holders(key, 3)[0] == OWN
    assert table.holders(key, 3)[1:] == [node.node_id for node in table.successors(2)]
    assert OWN not in table.holders((table.position + 1) % RING_SIZE, 3)


def test_gap_is_that_of_the_neighbours():
    table = filled(400, OverlayParams())
    assert 200 < table.size_estimate() < 800
    few = filled(1)
    assert few.gap() is None
    assert few.size_estimate() == 2.0


def test_finger_targets_lie_beyond_the_neighbours():
    table = filled(400, OverlayParams())
    reach = forward(table.position, table.successors(16)[-1].position)
    distances = [forward(table.position, target) for target in table.finger_targets()]
    assert distances[0] == RING_SIZE // 2
    assert min(distances) > reach
    assert filled(3).finger_targets() == []
    backbone = {node.node_id for node in table.backbone()}
    for target in table.finger_targets():
        assert table.ahead(target, 1)[0].node_id in backbone
