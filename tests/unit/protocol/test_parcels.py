"""Events in, effects out: keeping, pulling, serving, granting and forgetting parcels."""

from itertools import pairwise

import pytest
from tests.support.parcels import (
    OTHER,
    OWNER,
    PULLER,
    STRANGER,
    Net,
    Node,
    altered,
    asked,
    content,
    cut,
    pair,
)

from pnyx.errors import RuleBroken
from pnyx.protocol.chunks import describe
from pnyx.protocol.events import (
    Forget,
    ForgetParcel,
    ParcelProgressed,
    PeerBlamed,
    Persist,
    SealParcel,
    SendChunk,
    StoreChunk,
)
from pnyx.protocol.messages import CHUNK_BYTES, ChunkRequest
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.parcels import Parcels, held_parcels, without_parcels

SCOPE = "round/ab/000001"


# --- keeping -------------------------------------------------------------------------------------


def test_what_is_kept_is_sealed_before_it_is_described():
    owner = Node(OWNER)
    data = content(3)
    name = owner.parcels.keep(cut(data), [PULLER], SCOPE)
    kinds = [type(effect) for effect in owner.effects]
    assert kinds == [StoreChunk] * 3 + [SealParcel, Persist, Persist]
    assert owner.effects[3] == SealParcel(name, len(data))
    assert owner.effects[4] == Persist(f"{SCOPE}/parcel/{name.hex()}/readers", PULLER)
    assert owner.effects[5].key == f"{SCOPE}/parcel/{name.hex()}/hashes"
    owner.take()
    assert owner.has(data, name)
    assert held_parcels(owner.disk) == {name: len(data)}


def test_what_is_held_is_kept_again_for_nothing():
    owner = Node(OWNER)
    data = content(3)
    name = owner.parcels.keep(cut(data))
    owner.take()
    assert owner.parcels.keep(cut(data)) == name
    assert owner.take() == []
    owner.start()
    assert owner.parcels.keep(cut(data)) == name
    assert owner.take() == [], "nor after a restart"


def test_bytes_beyond_the_bounds_are_refused():
    params = ProtocolParams(
        parcel_bytes_max=3 * CHUNK_BYTES, parcels_bytes_max=6 * CHUNK_BYTES, parcels_max=3
    )
    node = Node(OWNER, params)
    with pytest.raises(RuleBroken, match="1 to"):
        node.parcels.keep(cut(content(4)))
    for length in (0, 3 * CHUNK_BYTES + 1):
        with pytest.raises(RuleBroken, match=r"length of a parcel is .* 1 to"):
            node.fetch(bytes(32), length, [OTHER])
    assert node.effects == []
    node.parcels.keep(cut(content(3, CHUNK_BYTES)))
    node.fetch(bytes(32), 3 * CHUNK_BYTES, [OTHER])
    with pytest.raises(RuleBroken, match="no room"):
        node.parcels.keep(cut(content(3, CHUNK_BYTES, seed=1)))
    node.parcels.forget(bytes(32))
    node.parcels.keep(cut(content(1, 10, seed=1)))
    node.parcels.keep(cut(content(1, 10, seed=2)))
    with pytest.raises(RuleBroken, match="no room"):
        node.fetch(bytes(32), 1, [OTHER])


# --- pulling -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "rest"), [(1, 1), (1, CHUNK_BYTES), (2, 1), (20, 1000)])
def test_a_parcel_is_pulled(count, rest):
    net, name, data = pair(count, rest)
    net.settle()
    puller = net.nodes[PULLER]
    assert puller.done == [name]
    assert puller.has(data, name)
    assert net.rules == []
    assert net.of(PeerBlamed) == []
    assert held_parcels(puller.disk) == {name: len(data)}
    effects = [type(e) for owner, e in net.log if owner == PULLER]
    assert effects.index(SealParcel) < effects.index(Persist)
    assert effects.count(StoreChunk) == count


def test_progress_is_told_now_and_then():
    net, name, data = pair(20)
    net.settle()
    told = net.of(ParcelProgressed, PULLER)
    assert told[0] == ParcelProgressed(name, CHUNK_BYTES, len(data))
    assert told[-1] == ParcelProgressed(name, len(data), len(data))
    assert all(one.stored < other.stored for one, other in pairwise(told))
    assert 8 <= len(told) <= 12


def test_a_parcel_that_is_held_is_fetched_within_the_call():
    node = Node(OWNER)
    data = content(2)
    name = node.parcels.keep(cut(data))
    node.fetch(name, len(data), [OTHER], scope=SCOPE)
    assert node.done == [name]
    node.take()
    assert f"{SCOPE}/parcel/{name.hex()}/hashes" in node.disk, "and is kept for this scope too"
    node.fetch(name, len(data) - 1, [OTHER])
    assert node.failed == [name]


def test_several_orders_of_one_parcel():
    net, name, data = pair(3)
    puller = net.nodes[PULLER]
    puller.fetch(name, len(data), [OTHER], scope=SCOPE)
    puller.fetch(name, len(data), [OTHER], scope=SCOPE)
    puller.parcels.grant(name, [STRANGER], SCOPE)
    net.settle()
    assert puller.done == [name] * 3
    assert len(net.of(StoreChunk, PULLER)) == 3
    kept_for = {key.split("/parcel/")[0] for key in puller.disk}
    assert kept_for == {SCOPE, "chain"}
    assert puller.disk[f"{SCOPE}/parcel/{name.hex()}/readers"] == STRANGER


def test_a_length_that_is_not_the_parcels_fails_that_order_alone():
    """Whoever names another's parcel with a wrong length gets nobody blamed, and delays nothing."""
    data = content(9)
    owner, puller = Node(OWNER), Node(PULLER)
    name = owner.parcels.keep(cut(data), [PULLER])
    ends: list[str] = []
    for length in (1, len(data), 40 * CHUNK_BYTES):
        puller.parcels.fetch(
            name,
            length,
            [OWNER],
            lambda _, length=length: ends.append(f"done {length}"),
            failed=lambda _, length=length: ends.append(f"failed {length}"),
            scope=f"round/ab/{length}",
        )
    net = Net(owner, puller)
    net.settle()
    assert ends == ["failed 1", f"failed {40 * CHUNK_BYTES}", f"done {len(data)}"]
    assert puller.has(data, name)
    assert net.of(PeerBlamed) == []
    assert net.rules == []
    assert {key.split("/")[2] for key in puller.disk} == {str(len(data))}


def test_a_wrong_length_alone_fails_and_leaves_nothing():
    net, name, data = pair(1)
    puller = net.nodes[PULLER]
    puller.parcels.forget(name)
    puller.take()
    puller.fetch(name, len(data) + 1, [OWNER])
    net.settle()
    assert puller.failed == [name]
    assert puller.parcels.next_deadline() is None
    assert net.of(StoreChunk, PULLER) == []
    assert net.of(PeerBlamed) == []


def test_a_wrong_length_once_the_true_one_is_known():
    net, name, data = pair(20)
    puller = net.nodes[PULLER]
    net.wire = lambda sender, _, message: [] if getattr(message, "index", 0) > 9 else None
    net.settle()
    puller.fetch(name, len(data) - 1, [OWNER])
    assert puller.failed == [name]
    net.wire = lambda *_: None
    assert net.run(lambda: puller.done == [name])


def test_keeping_what_is_being_pulled_ends_the_fetch():
    net, name, data = pair(3)
    puller = net.nodes[PULLER]
    puller.fetch(name, 7, [OWNER], scope=SCOPE)
    assert puller.parcels.keep(cut(data)) == name
    assert puller.done == [name]
    assert puller.failed == [name], "the order of another length"
    assert puller.parcels.next_deadline() is None
    net.settle()
    assert puller.has(data, name)
    assert not any(key.startswith(SCOPE) for key in puller.disk)


def test_lost_chunks_and_requests_are_asked_for_again():
    net, name, data = pair(20)
    count = 0

    def lossy(*_):
        nonlocal count
        count += 1
        return [] if count * 7919 % 10 < 3 else None

    net.wire = lossy
    puller = net.nodes[PULLER]
    assert net.run(lambda: puller.done == [name], seconds=1000.0)
    assert puller.has(data, name)
    assert count > 45, "some were lost"


def test_repeated_and_reordered_chunks_are_stored_once():
    net, name, data = pair(20)
    net.wire = lambda sender, receiver, message: [message, message]
    net.settle()
    assert net.nodes[PULLER].has(data, name)
    assert len(net.of(StoreChunk, PULLER)) == 20
    assert all("which it was not asked for or has sent already" in rule for _, rule in net.rules)
    assert net.rules


def test_a_dead_source_gives_way_to_the_next():
    data = content(20)
    owner, other, puller = Node(OWNER), Node(OTHER), Node(PULLER)
    for node in (owner, other):
        name = node.parcels.keep(cut(data), [PULLER])
    puller.fetch(name, len(data), [OWNER, OTHER])
    net = Net(owner, other, puller)
    net.wire = lambda sender, _, message: (
        net.down.add(OWNER) if getattr(message, "index", 0) == 7 else None
    )
    assert net.run(lambda: puller.done == [name], seconds=6.0)
    served = {node: len(net.of(SendChunk, node)) for node in (OWNER, OTHER)}
    assert served[OWNER] >= 7
    assert served[OTHER] <= 20 - 7 + 1
    assert puller.has(data, name)


def test_a_source_that_is_known_to_be_away_costs_no_waiting():
    data = content(20)
    other, puller = Node(OTHER), Node(PULLER)
    name = other.parcels.keep(cut(data), [PULLER])
    puller.fetch(name, len(data), [OWNER, OTHER])
    net = Net(other, puller)
    net.settle()
    assert puller.done == []
    puller.away.add(OWNER)
    puller.parcels.on_unreachable(OWNER)
    net.settle()
    assert puller.done == [name]


def test_more_sources_can_be_named_later():
    """A fetch with nobody to ask waits, without a place or a deadline."""
    data = content(5)
    owner, puller = Node(OWNER), Node(PULLER, ProtocolParams(parcel_fetches_max=1))
    name = owner.parcels.keep(cut(data), [PULLER])
    puller.fetch(name, len(data), [PULLER])
    net = Net(owner, puller)
    net.settle()
    assert puller.parcels.next_deadline() is None
    puller.fetch(name, len(data), [OWNER])
    net.settle()
    assert puller.done == [name, name]


def test_a_fetch_does_not_outlive_the_process_and_begins_again():
    net, name, data = pair(20)
    net.wire = lambda sender, _, message: [] if getattr(message, "index", 0) > 9 else None
    net.settle()
    puller = net.nodes[PULLER]
    puller.start()
    assert puller.parcels.next_deadline() is None
    assert name not in puller.parcels
    net.wire = lambda *_: None
    puller.fetch(name, len(data), [OWNER])
    net.settle()
    assert puller.has(data, name)


def test_a_wrong_chunk_costs_its_sender_the_fetch():
    net, name, data = pair(5)
    puller, other = net.nodes[PULLER], Node(OTHER)
    net.nodes[OTHER] = other
    net.wire = lambda sender, _, message: (
        [altered(message, data=b"x" + message.data[1:])]
        if sender == OWNER and message.index == 3
        else None
    )
    net.settle()
    assert net.of(PeerBlamed, PULLER) == [PeerBlamed(OWNER, "wrong chunk")]
    wrong = "sends a chunk that is not of the parcel: proof does not lead from chunk 3 to the root"
    assert (OWNER, wrong) in net.rules
    assert puller.parcels.next_deadline() is None, "nobody is left to ask"
    puller.fetch(name, len(data), [OWNER])
    net.settle()
    assert puller.done == [], "it stays out"
    assert other.parcels.keep(cut(data), [PULLER]) == name
    puller.fetch(name, len(data), [OTHER])
    net.settle()
    assert puller.has(data, name)


def test_after_a_wrong_chunk_the_next_source_is_asked_at_once():
    data = content(9)
    owner, other, puller = Node(OWNER), Node(OTHER), Node(PULLER)
    for node in (owner, other):
        name = node.parcels.keep(cut(data), [PULLER])
    puller.fetch(name, len(data), [OWNER, OTHER])
    net = Net(owner, other, puller)
    net.wire = lambda sender, _, message: (
        [altered(message, proof=message.proof[1:])] if sender == OWNER else None
    )
    net.settle()
    assert puller.has(data, name)
    assert net.of(PeerBlamed) == [PeerBlamed(OWNER, "wrong chunk")]
    assert net.now == 0.0


def test_a_chunk_that_two_sources_send_is_stored_once():
    data = content(9)
    owner, other, puller = Node(OWNER), Node(OTHER), Node(PULLER)
    for node in (owner, other):
        name = node.parcels.keep(cut(data), [PULLER])
    puller.fetch(name, len(data), [OWNER, OTHER])
    net = Net(owner, other, puller)

    def late(sender, _, message):
        """What the first source sends comes just before the second one's."""
        if sender == OWNER and message.index:
            return []
        if sender == OTHER and message.index in (1, 2):
            puller.parcels.handle(OWNER, message, net.now)
        return None

    net.wire = late
    assert net.run(lambda: puller.done == [name])
    assert len(net.of(StoreChunk, PULLER)) == 9
    assert net.of(SendChunk, OTHER)
    assert net.rules == [], "both were asked"


def test_who_does_not_ask_for_failures_is_not_told():
    net, name, _ = pair(1)
    done = []
    net.nodes[PULLER].parcels.fetch(name, 1, [OWNER], done.append)
    net.settle()
    assert done == []


# --- several at once -----------------------------------------------------------------------------


def crowd(count: int, **terms) -> tuple[Node, list[bytes], int]:
    """A node that wants `count` parcels of four chunks from as many sources."""
    params = ProtocolParams(parcel_fetches_max=2, **terms)
    puller = Node(PULLER, params)
    data = [content(4, 1000, seed=at) for at in range(count)]
    names = [describe(cut(each)).name for each in data]
    for at, name in enumerate(names):
        puller.fetch(name, len(data[0]), [bytes((100 + at,)) * 32])
    return puller, names, len(data[0])


def test_only_so_many_are_pulled_at_once():
    puller, names, _ = crowd(5)
    puller.parcels.flush(0.0)
    assert [m.parcel for _, m in puller.messages()] == names[:2]
    puller.parcels.flush(1.0)
    assert puller.messages() == []


def test_silent_sources_do_not_hold_up_the_others():
    puller, names, _ = crowd(5)
    patience_s = ProtocolParams().parcel_request_timeout_s
    puller.parcels.flush(0.0)
    puller.messages()
    assert puller.parcels.next_deadline() == patience_s
    puller.parcels.tick(patience_s)
    puller.parcels.flush(patience_s)
    assert [m.parcel for _, m in puller.messages()] == names[2:4]
    puller.parcels.tick(2 * patience_s)
    puller.parcels.flush(2 * patience_s)
    assert [m.parcel for _, m in puller.messages()] == [names[4], names[0]]


def test_a_fetch_that_nobody_can_serve_leaves_its_place():
    liar, honest = Node(OWNER), Node(OTHER)
    puller = Node(PULLER, ProtocolParams(parcel_fetches_max=1))
    lied_about, wanted = content(3, seed=1), content(3, seed=2)
    puller.fetch(liar.parcels.keep(cut(lied_about), [PULLER]), len(lied_about), [OWNER])
    name = honest.parcels.keep(cut(wanted), [PULLER])
    puller.fetch(name, len(wanted), [OTHER])
    net = Net(liar, honest, puller)
    net.wire = lambda sender, _, message: [altered(message, proof=())] if sender == OWNER else None
    net.settle()
    assert puller.done == [name]
    assert net.now == 0.0


def test_trickling_sources_lose_their_turn():
    """They answer just in time, for ever; the others wait no longer than a turn."""
    trickling, honest = Node(OWNER), Node(OTHER)
    params = ProtocolParams(parcel_fetches_max=1)
    puller = Node(PULLER, params)
    slow, fast = content(40, seed=1), content(3, seed=2)
    slow_name = trickling.parcels.keep(cut(slow), [PULLER])
    fast_name = honest.parcels.keep(cut(fast), [PULLER])
    puller.fetch(slow_name, len(slow), [OWNER])
    puller.fetch(fast_name, len(fast), [OTHER])
    net = Net(trickling, honest, puller)
    passed = {0.0: 0}

    def trickle(sender, _, message):
        if sender != OWNER:
            return None
        passed[net.now] = passed.get(net.now, 0) + 1
        return None if passed[net.now] == 1 else []

    net.wire = trickle
    assert net.run(lambda: fast_name in puller.done, seconds=2 * params.parcel_turn_s)
    assert net.now <= params.parcel_turn_s + params.parcel_request_timeout_s
    assert slow_name not in puller.done
    net.wire = lambda *_: None
    assert net.run(lambda: slow_name in puller.done)


def test_a_fetch_that_waits_for_its_turn_still_takes_what_comes():
    trickling = Node(OWNER)
    data = content(3)
    name = trickling.parcels.keep(cut(data), [PULLER])
    puller = Node(PULLER, ProtocolParams(parcel_fetches_max=1, parcel_turn_s=2.0))
    puller.fetch(name, len(data), [OWNER])
    net = Net(trickling, puller)
    late = []

    def hold(sender, _, message):
        if sender == OWNER and message.index > 0:
            late.append(message)
            return []
        return None

    net.wire = hold
    net.settle()
    puller.fetch(bytes(32), 1, [OTHER])
    assert puller.parcels.next_deadline() == 2.0
    puller.parcels.flush(2.0)
    assert [m.parcel for _, m in puller.messages()] == [bytes(32)]
    assert len(late) == 2
    for chunk in late:
        puller.parcels.handle(OWNER, chunk, 2.5)
    assert puller.done == [name]


# --- serving -------------------------------------------------------------------------------------


def test_chunks_go_to_readers_only():
    owner = Node(OWNER)
    data = content(3)
    name = owner.parcels.keep(cut(data), [PULLER])
    owner.take()
    owner.parcels.handle(PULLER, ChunkRequest(name, (0, 2)), 0.0)
    assert [(e.peer, e.index) for e in owner.take()] == [(PULLER, 0), (PULLER, 2)]
    for peer, parcel in ((OTHER, name), (PULLER, bytes(32))):
        with pytest.raises(RuleBroken, match="may not read"):
            owner.parcels.handle(peer, ChunkRequest(parcel, (0,)), 0.0)
    with pytest.raises(RuleBroken, match="asks for chunk 3 of a parcel that has 3"):
        owner.parcels.handle(PULLER, ChunkRequest(name, (1, 3)), 0.0)
    assert owner.take() == []


def test_readers_can_be_added_and_are_remembered():
    owner = Node(OWNER)
    name = owner.parcels.keep(cut(content(3)), [PULLER])
    owner.parcels.grant(name, [OTHER])
    owner.take()
    owner.parcels.grant(name, [OTHER, PULLER])
    assert owner.take() == [], "nothing new"
    owner.start()
    for peer in (PULLER, OTHER):
        owner.parcels.handle(peer, ChunkRequest(name, (0,)), 0.0)
    assert len(owner.take()) == 2
    with pytest.raises(ValueError, match="whoever keeps"):
        owner.parcels.grant(bytes(32), [OTHER])
    with pytest.raises(ValueError, match="whoever keeps"):
        owner.parcels.grant(name, [OTHER], SCOPE)


def test_a_fetched_parcel_is_passed_on_once_it_is_granted():
    net, name, data = pair(5)
    puller, other = net.nodes[PULLER], Node(OTHER)
    net.nodes[OTHER] = other
    puller.parcels.grant(name, [OTHER])
    net.settle()
    other.fetch(name, len(data), [PULLER])
    net.settle()
    assert other.has(data, name)


def test_what_waits_is_not_queued_twice_and_leaves_room_when_it_has_left():
    params = ProtocolParams(parcel_chunks_waiting_max=3)
    owner = Node(OWNER, params)
    name = owner.parcels.keep(cut(content(6)), [PULLER, OTHER])
    owner.take()
    owner.parcels.handle(PULLER, ChunkRequest(name, (0, 1, 0)), 0.0)
    owner.parcels.handle(PULLER, ChunkRequest(name, (1, 2)), 0.0)
    assert [e.index for e in owner.take()] == [0, 1, 2]
    with pytest.raises(RuleBroken, match="more chunks than the"):
        owner.parcels.handle(PULLER, ChunkRequest(name, (3,)), 0.0)
    assert owner.take() == []
    owner.parcels.handle(OTHER, ChunkRequest(name, (3,)), 0.0)
    assert len(owner.take()) == 1, "others have room of their own"
    owner.parcels.on_sent(PULLER, name, 1)
    owner.parcels.on_sent(PULLER, bytes(32), 1)
    owner.parcels.handle(PULLER, ChunkRequest(name, (1,)), 0.0)
    assert [e.index for e in owner.take()] == [1]
    for index in range(3):
        owner.parcels.on_sent(PULLER, name, index)
    owner.parcels.on_sent(STRANGER, name, 0)
    assert set(owner.parcels._waiting) == {OTHER}


def test_the_trees_at_hand_are_bounded(monkeypatch):
    monkeypatch.setattr("pnyx.protocol.parcels._TREES_MAX", 2)
    owner = Node(OWNER)
    names = [owner.parcels.keep(cut(content(3, 1000, seed=at)), [PULLER]) for at in range(4)]
    for name in [*names, *names]:
        owner.parcels.handle(PULLER, ChunkRequest(name, (1,)), 0.0)
        owner.parcels.on_sent(PULLER, name, 1)
        assert len(owner.parcels._proofs) <= 2
    owner.parcels.forget(names[-1])
    assert names[-1] not in owner.parcels._proofs


# --- forgetting ----------------------------------------------------------------------------------


def test_what_is_forgotten_is_gone_from_disk_and_store():
    owner = Node(OWNER)
    data = content(3)
    name = owner.parcels.keep(cut(data), [PULLER])
    owner.take()
    owner.parcels.forget(name)
    prefix = f"chain/parcel/{name.hex()}/"
    assert owner.effects == [Forget(prefix), ForgetParcel(name)]
    owner.take()
    assert owner.disk == {}
    assert owner.store.read(name, 0) is None
    with pytest.raises(RuleBroken, match="may not read"):
        owner.parcels.handle(PULLER, ChunkRequest(name, (0,)), 0.0)
    owner.parcels.forget(name)
    assert owner.take() == []


def test_a_parcel_stays_for_the_scope_that_still_needs_it():
    owner = Node(OWNER)
    data = content(3)
    name = owner.parcels.keep(cut(data), [PULLER], SCOPE)
    owner.parcels.keep(cut(data), [OTHER])
    owner.take()
    owner.parcels.forget_scope(SCOPE)
    owner.parcels.forget_scope("round/other")
    assert owner.effects == []
    assert name in owner.parcels
    owner.parcels.handle(OTHER, ChunkRequest(name, (0,)), 0.0)
    with pytest.raises(RuleBroken, match="may not read"):
        owner.parcels.handle(PULLER, ChunkRequest(name, (0,)), 0.0)
    owner.take()
    owner.parcels.forget(name)
    assert owner.effects[-1] == ForgetParcel(name)


def test_forgetting_ends_a_fetch():
    for forget in (
        lambda parcels, name: parcels.forget(name, SCOPE),
        lambda parcels, name: parcels.forget_scope(SCOPE),
    ):
        net, name, data = pair(20)
        puller = net.nodes[PULLER]
        puller.fetch(name, len(data), [], scope=SCOPE)
        forget(puller.parcels, name)
        assert puller.effects == [], "the other scope goes on"
        puller.parcels.forget(name)
        assert puller.effects == [ForgetParcel(name)]
        net.settle()
        assert puller.done == []
        assert asked(puller.messages()) == []


def test_forgetting_under_way_and_late_chunks():
    net, name, _ = pair(20)
    puller = net.nodes[PULLER]
    net.wire = lambda sender, _, message: (
        puller.parcels.forget(name) if getattr(message, "index", 0) == 5 else None
    )
    net.settle()
    assert puller.store.read(name, 0) is None
    assert puller.parcels.next_deadline() is None
    assert all("which it was not asked for or has sent already" in rule for _, rule in net.rules)
    assert net.rules


# --- starting ------------------------------------------------------------------------------------


def test_a_parcel_is_held_from_its_hashes_on():
    """Killed after each effect of keeping: nothing is held that was not sealed and described."""
    data = content(3)
    for done in range(7):
        owner = Node(OWNER)
        name = owner.parcels.keep(cut(data), [PULLER])
        del owner.effects[done:]
        owner.take()
        owner.start()
        assert (name in owner.parcels) == (done == 6)
        assert owner.parcels.keep(cut(data), [PULLER]) == name
        owner.take()
        assert owner.has(data, name)


def test_state_without_what_the_store_has_lost():
    owner = Node(OWNER)
    kept, lost = (owner.parcels.keep(cut(content(2, 9, seed=at)), [PULLER]) for at in range(2))
    owner.take()
    state = without_parcels({**owner.disk, "chain/other": b""}, {lost})
    assert set(held_parcels(state)) == {kept}
    assert "chain/other" in state
    args = (ProtocolParams(), OWNER, lambda _: False, lambda _: None, lambda *_: None, state)
    assert lost not in Parcels(*args)
