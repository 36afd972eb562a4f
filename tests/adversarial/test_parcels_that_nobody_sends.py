"""Names of parcels that do not exist, or of which no more than the start is ever sent.

A name costs whoever invents it nothing: a contributor signs a header with 32 bytes drawn at random,
and each aggregator wants the vector. Neither the room of a node nor the time of its fetches may be
spent on such names.
"""

import pytest
from tests.support.parcels import OTHER, OWNER, PULLER, STRANGER, Net, Node, content, cut
from tests.support.weakened import succeeds, weaken

from pnyx.errors import RuleBroken
from pnyx.protocol import parcels
from pnyx.protocol.chunks import describe
from pnyx.protocol.events import ForgetParcel
from pnyx.protocol.messages import CHUNK_BYTES, Chunk, ChunkRequest
from pnyx.protocol.params import ProtocolParams

PARAMS = ProtocolParams()
LARGEST = 113_246_208  # bytes of a masked vector of 2^24 values
EVIL, GOOD = "round/evil/000001", "round/good/000001"


def invented(node: Node, count: int, length: int, scope: str = EVIL) -> None:
    for at in range(count):
        name = scope.encode()[-11:] + at.to_bytes(21, "big")
        node.fetch(name, length, [STRANGER, bytes((99,)) * 32], scope=scope)


# --- room ----------------------------------------------------------------------------------------


def attack_room_by_names() -> None:
    node = Node(PULLER)
    invented(node, 200, LARGEST)
    node.fetch(bytes(32), LARGEST, [OTHER], scope=GOOD)
    assert node.parcels.keep(cut(content(30)))


def test_invented_names_take_no_room():
    attack_room_by_names()


def test_room_for_one_chunk_is_the_defence(monkeypatch):
    weaken(
        monkeypatch,
        parcels,
        ("or min(CHUNK_BYTES, max(order.length for order in self.orders))", "or LENGTH"),
        ("self._check_room(name, min(length, CHUNK_BYTES))", "self._check_room(name, length)"),
    )
    monkeypatch.setattr(parcels, "LENGTH", LARGEST, raising=False)
    with pytest.raises(RuleBroken, match="no room"):
        attack_room_by_names()


SMALL = ProtocolParams(parcels_bytes_max=40 * CHUNK_BYTES)


def begun_and_left() -> tuple[Net, Node, bytes, list[bytes]]:
    """Four parcels of nine chunks take all room; their source sends two chunks of each."""
    evil, good, puller = Node(OWNER), Node(OTHER), Node(PULLER, SMALL)
    started = []
    for at in range(4):
        data = content(9, seed=at)
        started.append(evil.parcels.keep(cut(data), [PULLER]))
        puller.fetch(started[-1], len(data), [OWNER], scope=EVIL)
    data = content(9, seed=9)
    name = good.parcels.keep(cut(data), [PULLER])
    net = Net(evil, good, puller)
    net.wire = lambda sender, _, message: (
        [] if sender == OWNER and isinstance(message, Chunk) and message.index > 1 else None
    )
    net.settle()
    puller.fetch(name, len(data), [OTHER], scope=GOOD)
    return net, puller, name, started


def attack_room_by_first_chunks() -> None:
    net, puller, name, started = begun_and_left()
    assert net.run(lambda: name in puller.done, 10.0)
    forgotten = [effect.parcel for effect in net.of(ForgetParcel, PULLER)]
    assert len(forgotten) == 1, "no more than is needed"
    net.wire = lambda *_: None
    assert net.run(lambda: sum(each in puller.done for each in started) == 3, 200.0)
    assert name in puller.parcels
    assert len(puller.done) == 4, "and nothing beyond the bound"
    puller.parcels.forget(name, GOOD)
    assert net.run(lambda: len(puller.done) == 5, 200.0), "what had to give way is wanted still"
    last = puller.done[-1]
    assert puller.has(content(9, seed=started.index(last)), last)


def test_parcels_that_come_no_further_give_way():
    attack_room_by_first_chunks()


def test_giving_way_is_the_defence(monkeypatch):
    weaken(
        monkeypatch,
        parcels,
        ("return self.room > CHUNK_BYTES and self.fetch.stalled", "return False"),
    )
    assert succeeds(attack_room_by_first_chunks)


def test_a_node_makes_room_for_what_it_keeps_itself():
    """Else a contributor has its budget debited, and cannot send what it made."""
    net, puller, name, _ = begun_and_left()
    puller.parcels.forget(name, GOOD)
    own = cut(content(20, seed=7))
    with pytest.raises(RuleBroken, match="no room"):
        puller.parcels.keep(own)
    assert all(effect.parcel == name for effect in net.of(ForgetParcel, PULLER))
    net.run(lambda: False, 8.0)
    assert puller.parcels.keep(own) == describe(own).name
    net.settle()
    assert b"".join(puller.store.chunks(describe(own).name)) == b"".join(own)


def test_what_moves_does_not_give_way():
    """Nothing is taken from a parcel that comes, however slowly; who finds no room waits."""
    net, puller, name, _ = begun_and_left()
    net.wire = lambda *_: None
    net.run(lambda: len(puller.done) == 4, 60.0)
    assert name not in puller.done
    assert [effect.parcel for effect in net.of(ForgetParcel, PULLER)] == []
    assert net.rules == []


# --- turns ---------------------------------------------------------------------------------------


def passes(node: Node, now: float, seconds: float) -> float:
    """Time goes on and nobody answers; returns it."""
    end = now + seconds
    node.parcels.flush(now)
    while (due := node.parcels.next_deadline()) is not None and due < end:
        now = max(now, due)
        node.parcels.tick(now)
        node.parcels.flush(now)
    return now


def asked_after(node: Node, now: float, name: bytes) -> float:
    """How long until a parcel is asked for first."""
    began = now
    node.messages()
    node.parcels.flush(now)
    while all(m.parcel != name for _, m in node.messages() if isinstance(m, ChunkRequest)):
        due = node.parcels.next_deadline()
        assert due is not None
        now = max(now, due)
        node.parcels.tick(now)
        node.parcels.flush(now)
    return now - began


def attack_turns() -> None:
    node = Node(PULLER)
    invented(node, 480, 3456)
    now = passes(node, 0.0, 600.0)
    node.fetch(bytes(32), 3_400_000, [OTHER], scope=GOOD)
    assert asked_after(node, now, bytes(32)) <= 2 * PARAMS.parcel_request_timeout_s


def test_silent_names_hold_up_nothing_new():
    attack_turns()


def test_counting_silences_is_the_defence(monkeypatch):
    by_rank = "min(self._queue, key=rank)"
    weaken(monkeypatch, parcels, (by_rank, "self._queue[0]"))
    assert succeeds(attack_turns)


def attack_turns_by_new_names() -> None:
    node = Node(PULLER)
    invented(node, 480, 3456)
    node.fetch(bytes(32), 3_400_000, [OTHER], scope=GOOD)
    assert asked_after(node, 0.0, bytes(32)) <= 2 * PARAMS.parcel_request_timeout_s


def test_names_of_one_attempt_hold_up_no_other():
    attack_turns_by_new_names()


def test_counting_turns_by_scope_is_the_defence(monkeypatch):
    weaken(
        monkeypatch,
        parcels,
        ("return wanted.fetch.silences, held[wanted.scope]", "return wanted.fetch.silences, 0"),
    )
    assert succeeds(attack_turns_by_new_names)


def attack_turns_of_a_silent_one() -> None:
    """Names are invented all the time, and a source was away once."""
    node = Node(PULLER)
    node.fetch(bytes(32), 3_400_000, [OTHER], scope=GOOD)
    now = passes(node, 0.0, 3.0)
    node.messages()
    end, asked = now + 100.0, 0
    for at in range(10_000):
        if now >= end or asked > 3:
            break
        scope = f"round/evil/{at:06}"
        invented(node, 8, 3456, scope)
        now = passes(node, now, 2.5)
        asked += sum(m.parcel == bytes(32) for _, m in node.messages())
        node.parcels.forget_scope(scope)
    assert asked > 3


def test_new_names_do_not_keep_an_older_one_from_its_turn():
    attack_turns_of_a_silent_one()


def test_a_turn_for_who_waited_longest_is_the_defence(monkeypatch):
    weaken(monkeypatch, parcels, ("if self._passed >= _PASSED_MAX:", "if False:"))
    assert succeeds(attack_turns_of_a_silent_one)


# --- number --------------------------------------------------------------------------------------


def attack_number() -> None:
    node = Node(PULLER, ProtocolParams(parcels_max=256))
    for at in range(4):
        with pytest.raises(RuleBroken, match="no room"):
            invented(node, 300, 3456, f"round/evil/{at:06}")
    try:
        node.fetch(bytes(32), 3_400_000, [OTHER], scope=GOOD)
        node.parcels.keep(cut(content(3)))
    except RuleBroken:
        pytest.fail("no room is left")


def test_invented_names_leave_others_a_share():
    attack_number()


def test_the_share_of_a_scope_is_the_defence(monkeypatch):
    weaken(monkeypatch, parcels, ("            self._check_unproven(scope)\n", ""))
    assert succeeds(attack_number)
