"""The machine of one node: epochs, contacts, requests by ticket, and what it tells its shell."""

import pytest

from pnyx.primitives import codec
from pnyx.primitives.hashing import digest
from pnyx.protocol.events import (
    ConsentGiven,
    LearnAddress,
    MessageReceived,
    MessageRejected,
    PeerReachable,
    PeerUnreachable,
    Persist,
    Send,
    TimerExpired,
)
from pnyx.protocol.identity import sign_body
from pnyx.protocol.messages import NodeRecord
from pnyx.protocol.overlay.events import (
    Enumerate,
    EpochBegan,
    GetItem,
    ItemFound,
    ItemPut,
    Leave,
    LookUp,
    NodesFound,
    PeerKnown,
    PutNote,
    RecordLearnt,
)
from pnyx.protocol.overlay.machine import CONTACTS_KEY, OverlayMachine, StoredContacts
from pnyx.protocol.overlay.messages import (
    Departing,
    ItemReply,
    NeighbourRequest,
    OverlayMessage,
    StoreItems,
    StoreReply,
    is_overlay_message,
)
from pnyx.protocol.overlay.params import OverlayParams
from pnyx.protocol.overlay.positions import position_of
from pnyx.protocol.overlay.records import record_key
from pnyx.simulator.network import Link
from pnyx.simulator.overlay import Ringtown

PARAMS = OverlayParams(
    finger_first_s=5.0, contacts_store_s=10.0, republish_s=60.0, overlap_s=40.0, contacts_max=6
)


def town(nodes=8, converged=True, params=PARAMS, **options):
    made = Ringtown(nodes, seed=11, params=params, **options)
    if converged:
        made.start_converged()
    return made


def read(effect):
    return codec.decode(effect.payload, OverlayMessage, bytes_max=2**20)


def sent(effects, kind):
    found = [(each.peer, read(each)) for each in effects if isinstance(each, Send)]
    return [(peer, message) for peer, message in found if isinstance(message, kind)]


def alone(node, made, **changes):
    """A machine of its own, outside the town's time."""
    settings = {
        "node_id": node.node_id,
        "network": made.network_id,
        "crypto": node.crypto,
        "check": made.check,
        "address": ("10.0.0.1", 7400),
        "address_sequence": 5,
        "contacts": [],
        "restored": {},
        "params": PARAMS,
        "seed": bytes(32),
        "now": 0.0,
    }
    return OverlayMachine(**{**settings, **changes})


def test_before_the_first_beacon_there_is_no_ring():
    made = town(2, converged=False)
    machine = alone(made.nodes[0], made)
    assert machine.ring is None
    assert machine.next_deadline() is None
    assert machine.nodes_between(0, 0) == ()
    answers = [
        machine.handle(request, 1.0)[0]
        for request in (LookUp(1, bytes(32), 8), Enumerate(2, 0, 0), GetItem(3, bytes(32)))
    ]
    assert answers[0] == NodesFound(1, (), True, 0, 0, 0)
    assert answers[1] == NodesFound(2, (), True, 0, 0, 0)
    assert answers[2] == ItemFound(3, bytes(32), None, None)
    assert machine.handle(PutNote(4, b"x"), 1.0)[0].holders == 0
    assert machine.handle(PeerUnreachable(b"p" * 32), 1.0) == []
    assert machine.handle(PeerReachable(b"p" * 32), 1.0) == []
    assert machine.handle(TimerExpired(), 1.0) == []
    assert machine.handle(Leave(), 1.0) == []
    with pytest.raises(TypeError, match="unknown event"):
        machine.handle(ConsentGiven(bytes(32)), 1.0)


def test_ring_is_joined_by_any_contact_and_retried():
    made = town(3, converged=False)
    machine = alone(made.nodes[0], made)
    peer = made.nodes[1].node_id
    machine.handle(PeerKnown(peer), 0.0)
    machine.handle(PeerKnown(peer), 0.0)
    effects = machine.handle(EpochBegan(0, made.beacon), 0.0)
    assert [to for to, _ in sent(effects, NeighbourRequest)] == [peer]
    assert sent(machine.handle(TimerExpired(), 1.0), NeighbourRequest) == [], "not in a hurry"
    late = 1.0 + PARAMS.ask_timeout_s + PARAMS.join_retry_s + PARAMS.tick_s
    effects = machine.handle(TimerExpired(), late)
    assert len(sent(effects, NeighbourRequest)) == 1
    assert machine.handle(EpochBegan(0, bytes(32)), late) == [], "an epoch begins once"
    for number in range(20):
        machine.handle(PeerKnown(bytes([number]) * 32), late)
    assert len(machine.ring._contacts) == PARAMS.contacts_max


def test_first_node_joins_by_whoever_asks_it():
    made = town(2, converged=False)
    first, second = made.nodes
    first.start([])
    made.run(5.0)
    assert not first.machine.ring.joined
    second.start([first.node_id])
    made.run(10.0)
    assert first.machine.ring.joined
    assert second.machine.ring.joined


def test_records_from_elsewhere_are_verified_and_tell_an_address():
    made = town(3, converged=False)
    node, other = made.nodes[:2]
    body = NodeRecord(made.network_id, 3, "10.0.0.7", 77)
    signed = sign_body(other.crypto, made.network_id, other.node_id, body)
    machine = alone(node, made)
    assert machine.handle(RecordLearnt(signed), 0.0) == [
        LearnAddress(other.node_id, "10.0.0.7", 77)
    ]
    assert machine.handle(RecordLearnt(signed), 0.0) == []
    newer = NodeRecord(made.network_id, 4, "10.6.6.6", 66)
    forged = type(signed)(signed.signer, codec.encode(newer), signed.signature)
    assert isinstance(machine.handle(RecordLearnt(forged), 0.0)[0], MessageRejected)
    assert machine.handle(RecordLearnt(machine.record.signed), 0.0) == []
    effects = machine.handle(EpochBegan(0, made.beacon), 0.0)
    assert sent(effects, NeighbourRequest)[0][0] == other.node_id
    assert machine.handle(RecordLearnt(signed), 0.0) == []
    assert machine.ring.table.get(other.node_id) is not None


def test_contacts_are_stored_when_they_change_and_used_at_the_next_start():
    made = town(8)
    made.run(12.0)
    node = made.nodes[3]
    stored = codec.decode(node.disk[CONTACTS_KEY], StoredContacts, bytes_max=2**20)
    assert {each.signer for each in stored.records} == {
        other.node_id for other in made.nodes if other is not node
    }
    before = node.machine.handle(TimerExpired(), made.scheduler.now + 11.0)
    assert not [each for each in before if isinstance(each, Persist)], "nothing has changed"
    revoked = made.by_id.pop(stored.records[0].signer)
    made.reader._verified.clear()
    machine = alone(node, made, restored=node.disk)
    effects = machine.handle(EpochBegan(0, made.beacon), 0.0)
    asked = {peer for peer, _ in sent(effects, NeighbourRequest)}
    assert len(asked) == PARAMS.join_contacts
    learnt = {each.peer for each in effects if isinstance(each, LearnAddress)}
    assert len(learnt) == 6
    assert revoked.node_id not in learnt


def test_nodes_between_is_what_was_heard():
    made = town(8)
    machine = made.nodes[0].machine
    everybody = {record.node_id for record in machine.nodes_between(0, 0)}
    assert everybody == {node.node_id for node in made.nodes[1:]}
    stranger = Ringtown(9, seed=11).nodes[8]
    assert stranger.node_id not in everybody
    half = machine.nodes_between(0, 1 << 255)
    assert [position_of(each.node_id, made.beacon) < 1 << 255 for each in half] == [True] * len(
        half
    )


def test_note_is_put_and_got():
    made = town(12)
    ticket = made.put_note(made.nodes[0], b"words")
    made.run(5.0)
    put = made.put[ticket]
    assert put.holders == 8
    got = made.get_item(made.nodes[5], put.key)
    nothing = made.get_item(made.nodes[5], bytes(32))
    made.run(5.0)
    assert made.found[got].content == b"words"
    assert made.found[nothing] == ItemFound(nothing, bytes(32), None, None)


def test_holders_that_cannot_be_reached_do_not_count():
    made = town(12)
    key = digest("pnyx/overlay/note", b"words")
    holders = made.nodes[0].machine.ring.table.holders(int.from_bytes(key, "big"), 8)
    doomed = next(each for each in holders if each != made.nodes[0].node_id)
    carry = made._carry

    def cut(sender, receiver, payload):
        if receiver == doomed and isinstance(
            codec.decode(payload, OverlayMessage, bytes_max=2**20), StoreItems
        ):
            sender.handle(PeerUnreachable(doomed))
            return
        carry(sender, receiver, payload)

    made._carry = cut
    ticket = made.put_note(made.nodes[0], b"words")
    made.run(10.0)
    assert made.put[ticket].holders == 7


def test_unreachable_peer_is_looked_up_in_the_storage():
    """It has moved: the ring knows where to, and the transport is told, though gossip is behind."""
    made = town(12)
    made.run(3.0)
    node, moved = made.nodes[0], made.nodes[4]
    for each in made.nodes:
        each.machine._publish()
        each.handle(TimerExpired())
    made.run(5.0)
    told = []
    carry_out = made.carry_out

    def listen(process, effect):
        if process is node and isinstance(effect, LearnAddress):
            told.append(effect)
        carry_out(process, effect)

    made.carry_out = listen
    node.handle(PeerUnreachable(moved.node_id))
    made.run(5.0)
    assert [each.peer for each in told] == [moved.node_id]
    node.handle(PeerUnreachable(moved.node_id))
    made.run(5.0)
    assert len(told) == 1, "not again for a while"
    made.run(5.0)
    node.handle(PeerUnreachable(digest("nobody")))
    made.run(5.0)
    assert len(told) == 1, "of whom the ring knows nothing"
    before = made.network.messages
    departing = sent(made.nodes[7].machine.handle(Leave(), made.scheduler.now), Departing)[0][1]
    node.handle(MessageReceived(made.nodes[7].node_id, codec.encode(departing)))
    node.handle(PeerUnreachable(made.nodes[7].node_id))
    assert made.network.messages == before, "it has said goodbye: nobody looks for it"


def test_look_ups_of_unreachable_peers_are_bounded():
    """One at a time, and not one after the other: they would be asked of a network in trouble."""
    params = OverlayParams(wanted_max=2, wanted_every_s=5.0, finger_first_s=600.0)
    made = town(8, params=params)
    node = made.nodes[0]

    def look_ups(count, first):
        for number in range(first, first + count):
            node.handle(PeerUnreachable(digest("gone", bytes([number]))))
        return len(node.machine._wanted)

    assert look_ups(5, 0) == 1
    made.run(3.0)
    assert look_ups(5, 0) == 1, "the first one is over, and it is too soon"
    made.run(3.0)
    assert look_ups(5, 0) == 2
    made.run(6.0)
    assert look_ups(1, 9) == 2, "so many are remembered"
    assert digest("gone", b"\x09") in node.machine._wanted


def test_one_finger_is_looked_up_at_a_time():
    made = town(44, params=OverlayParams(finger_first_s=1.0, neighbours_per_side=4))
    ring, asked = made.nodes[0].machine.ring, []
    ring.seek = lambda place, done: asked.append(done)
    made.run(10.0)
    assert len(asked) == 1
    asked[0](None)
    made.run(3.0)
    assert len(asked) == 2


def test_item_that_is_no_record_tells_no_address():
    made = town(8)
    machine = made.nodes[0].machine
    ticket = made.put_note(made.nodes[0], b"words")
    made.run(5.0)
    holding = next(n for n in made.nodes if n.machine.storage.get(made.put[ticket].key))
    machine._take_record(holding.machine.storage.get(made.put[ticket].key))
    assert machine._effects == []


def test_look_up_and_enumeration_answer_their_ticket():
    made = town(12)
    made.look_up(made.nodes[0], bytes(32), 3)
    made.enumerate(made.nodes[0], 0, 0)
    made.run(5.0)
    assert [verdict.found for verdict in made.verdicts] == [3, 12]
    assert all(verdict.correct for verdict in made.verdicts)


def test_searches_under_way_are_bounded():
    made = town(12, params=OverlayParams(searches_max=2, finger_first_s=600.0))
    for number in range(4):
        made.look_up(made.nodes[0], digest("k", bytes([number])), 3)
    assert [verdict.found for verdict in made.verdicts] == [0, 0]
    made.run(5.0)
    assert len(made.verdicts) == 4


def test_goodbye_goes_to_the_neighbours():
    made = town(6)
    effects = made.nodes[2].machine.handle(Leave(), made.scheduler.now)
    told = sent(effects, Departing)
    assert {peer for peer, _ in told} == {n.node_id for n in made.nodes if n is not made.nodes[2]}
    for peer, message in told:
        received = MessageReceived(made.nodes[2].node_id, codec.encode(message))
        made.by_id[peer].handle(received)
        assert made.by_id[peer].machine.ring.table.get(made.nodes[2].node_id) is None
    made.run(30.0)  # it still asks: nobody takes it back with the record that it took back
    for node in made.nodes:
        if node is not made.nodes[2]:
            assert node.machine.ring.table.get(made.nodes[2].node_id) is None
    again = made.nodes[2]
    again.stop()
    again.start([made.nodes[0].node_id])
    made.run(20.0)
    assert again.machine.ring.joined
    assert made.nodes[0].machine.ring.table.get(again.node_id) is not None


def test_lone_survivor_joins_again():
    made = town(4)
    node = made.nodes[0]
    for other in made.nodes[1:]:
        other.stop()
    made.run(30.0)
    assert len(node.machine.ring.table) == 0
    made.nodes[1].start([])
    made.run(60.0)
    assert node.machine.ring.table.get(made.nodes[1].node_id) is not None


def test_new_epoch_is_entered_and_the_old_one_answered_for_a_while():
    made = town(12)
    ticket = made.put_note(made.nodes[0], b"words")
    made.run(5.0)
    old = made.nodes[0].machine.ring
    made.begin_epoch(1, over_s=5.0)
    made.run(6.0)
    node = made.nodes[0]
    assert [place.ring.epoch for place in node.machine._places] == [1, 0]
    assert node.machine.ring.epoch == 1
    made.run(PARAMS.overlap_s + 5.0)
    assert [place.ring.epoch for place in node.machine._places] == [1]
    assert made.ring_faults() == []
    got = made.get_item(made.nodes[7], made.put[ticket].key)
    made.run(5.0)
    assert made.found[got].content == b"words"
    request = NeighbourRequest(
        old.id, bytes(16), bytes(32), 8, bytes(32), made.nodes[1].machine.record.signed
    )
    received = MessageReceived(made.nodes[1].node_id, codec.encode(request))
    assert node.machine.handle(received, made.scheduler.now) == [], "of a ring that is over"


def test_own_record_is_published_again_and_again():
    made = town(8, params=OverlayParams(republish_s=20.0, finger_first_s=600.0))
    node = made.nodes[0]
    node.machine._publish()
    made.run(3.0)
    key = record_key(node.node_id)
    holding = [n for n in made.nodes if n.machine.storage.get(key) is not None]
    assert len(holding) == 8
    for each in holding:
        each.machine.storage.drop(key)
    made.run(25.0)
    assert [n for n in made.nodes if n.machine.storage.get(key) is not None] == holding


def test_answers_that_nobody_asked_for_do_nothing():
    made = town(4)
    ring = made.nodes[0].machine.ring.id
    made.nodes[0].handle(TimerExpired())
    for message in (StoreReply(ring, bytes(16), 1), ItemReply(ring, bytes(16), ())):
        received = MessageReceived(made.nodes[1].node_id, codec.encode(message))
        assert made.nodes[0].machine.handle(received, made.scheduler.now) == []


def test_unchanged_lists_are_not_repeated():
    made = town(20, params=OverlayParams(finger_first_s=600.0, near_refresh_s=4.0))
    made.run(20.0)
    before = made.network.bytes_sent, made.network.messages
    made.run(20.0)
    size = (made.network.bytes_sent - before[0]) / (made.network.messages - before[1])
    assert size < 700, "bytes a message: no list of sixteen records is among them"


def test_items_far_from_their_place_are_dropped_in_time():
    """The ring has grown: who is not among the first holders any more keeps the item no longer."""
    params = OverlayParams(
        replication=2, holders_slack=1, repair_s=1.0, hasty_repair_s=0.2, finger_first_s=600.0
    )
    made = town(20, converged=False, params=params, link=Link())
    for node in made.nodes[:4]:
        node.start([made.nodes[0].node_id] if node.index else [])
        made.run(2.0)
    made.run(10.0)
    tickets = [made.put_note(made.nodes[0], bytes([number])) for number in range(12)]
    made.run(5.0)
    for node in made.nodes[4:]:
        node.start([made.nodes[0].node_id])
        made.run(1.0)
    made.run(60.0)
    for ticket in tickets:
        key = made.put[ticket].key
        holding = {n.node_id for n in made.nodes if n.machine.storage.get(key) is not None}
        first = made.nodes[0].machine.ring.table.holders(int.from_bytes(key, "big"), 3)
        assert set(first[:2]) <= holding <= set(first)


def test_overlay_messages_are_told_from_others_by_their_tag():
    made = town(2)
    request = codec.encode(StoreReply(bytes(32), bytes(16), 0))
    assert is_overlay_message(request)
    for other in (b"", b"\x93", b"\x93\x1e", b"\x93\x6f", b"\x93\x78", b"\x83\x70", b"\xc4\x70"):
        assert not is_overlay_message(other)
    received = MessageReceived(made.nodes[1].node_id, b"\x93\x70")
    rejected = made.nodes[0].machine.handle(received, 0.0)
    assert isinstance(rejected[-1], MessageRejected)


def test_item_put_tells_its_key():
    made = town(4)
    ticket = made.put_note(made.nodes[0], b"w")
    made.run(5.0)
    assert isinstance(made.put[ticket], ItemPut)
    assert made.put[ticket].key == digest("pnyx/overlay/note", b"w")


def test_fingers_are_looked_up_and_kept():
    made = town(44, params=OverlayParams(finger_first_s=1.0, neighbours_per_side=4, cache_max=12))
    table = made.nodes[0].machine.ring.table
    for target in table.finger_targets():
        for node in table.ahead(target, made.params.finger_width):
            table.remove(node.node_id)
    made.run(20.0)
    ordered = sorted(made.nodes[1:], key=lambda n: position_of(n.node_id, made.beacon))
    for target in table.finger_targets():
        first = next(
            (n for n in ordered if position_of(n.node_id, made.beacon) >= target), ordered[0]
        )
        assert table.get(first.node_id) is not None


def test_joining_waits_for_its_questions():
    """While contacts, or the place itself, are being asked nobody else is."""
    made = town(3, converged=False, params=OverlayParams(join_retry_s=0.1, tick_s=0.1))
    machine = alone(made.nodes[0], made, params=made.params)
    machine.handle(PeerKnown(made.nodes[1].node_id), 0.0)
    assert len(sent(machine.handle(EpochBegan(0, made.beacon), 0.0), NeighbourRequest)) == 1
    assert sent(machine.handle(TimerExpired(), 0.5), NeighbourRequest) == []
    asker = made.nodes[2]
    asker.start([])
    request = NeighbourRequest(
        machine.ring.id, bytes(16), bytes(32), 8, bytes(32), asker.machine.record.signed
    )
    received = MessageReceived(asker.node_id, codec.encode(request))
    assert len(sent(machine.handle(received, 0.6), NeighbourRequest)) == 1, "asked back"
    looked_up = sent(machine.handle(TimerExpired(), 1.7), NeighbourRequest)
    assert [peer for peer, _ in looked_up] == [asker.node_id], "the contact is silent"
    assert sent(machine.handle(TimerExpired(), 1.9), NeighbourRequest) == []
    fresh = alone(made.nodes[0], made, params=made.params)
    fresh.handle(EpochBegan(0, made.beacon), 0.0)
    fresh.handle(received, 0.1)
    assert sent(fresh.handle(TimerExpired(), 0.2), NeighbourRequest) == [], "it is being asked"


def test_contacts_are_not_stored_before_there_is_a_ring():
    made = town(2, converged=False)
    machine = alone(made.nodes[0], made)
    machine.handle(EpochBegan(0, made.beacon), 0.0)
    effects = machine.handle(TimerExpired(), PARAMS.contacts_store_s + 1.0)
    assert not [each for each in effects if isinstance(each, Persist)]


def test_goodbye_holds_against_answers_and_gossip():
    """Who took its record back does not return with an answer under way, nor by hearsay."""
    made = town(6)
    node, gone = made.nodes[0], made.nodes[2]
    record = gone.machine.record
    departing = sent(gone.machine.handle(Leave(), 0.0), Departing)[0][1]
    made.run(1.0)
    node.machine.ring._refresh(node.machine.ring.table.get(gone.node_id))
    node.handle(MessageReceived(gone.node_id, codec.encode(departing)))
    made.run(2.0)
    assert node.machine.ring.table.get(gone.node_id) is None
    node.handle(RecordLearnt(record.signed))
    assert node.machine.ring.table.get(gone.node_id) is None


def test_old_ring_that_is_joined_late_moves_nothing():
    made = town(4, converged=False)
    for node in made.nodes:
        node.start([made.nodes[0].node_id] if node.index else [])
    machine = made.nodes[1].machine
    machine.handle(EpochBegan(1, b"n" * 32), made.scheduler.now)
    machine.on_joined(machine._places[1].ring)
    assert machine._next_publish == float("inf")


def test_record_that_is_known_no_more_tells_no_address():
    made = town(4, params=OverlayParams(records_max=2, finger_first_s=600.0))
    machine = made.nodes[0].machine
    forged = made.nodes[1].machine.record.signed
    forged = type(forged)(digest("nobody"), forged.body, forged.signature)
    item = type("Item", (), {"content": None, "signed": forged})
    machine._effects.clear()
    machine._take_record(item)
    assert [type(each) for each in machine._effects] == [MessageRejected]
