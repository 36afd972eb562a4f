"""I3, D2, D4: holders that have nothing, show old items or forged ones, and floods of items."""

import pytest
from tests.support.ringtown import LINK, PARAMS, corrupted_town

from pnyx.primitives import codec
from pnyx.primitives.hashing import digest
from pnyx.protocol.events import MessageReceived, MessageRejected, Send
from pnyx.protocol.identity import sign_body
from pnyx.protocol.messages import NodeRecord
from pnyx.protocol.overlay import holder
from pnyx.protocol.overlay.messages import (
    HeldItem,
    Holdings,
    ItemReply,
    ItemRequest,
    Note,
    OverlayMessage,
    StoreItems,
)
from pnyx.protocol.overlay.params import OverlayParams
from pnyx.protocol.overlay.records import record_key
from pnyx.protocol.overlay.search import Place
from pnyx.protocol.overlay.storage import note_key
from pnyx.simulator.overlay import Ringtown


def stored_and_found(town, count):
    """Notes put by honest nodes, and asked for by others: how many come back as they were."""
    honest = town.honest()
    puts = {}
    for number in range(count):
        content = digest("content", bytes([number])) * 3
        puts[town.put_note(honest[town.sampler.below(len(honest))], content)] = content
        town.run(0.2)
    town.run(15.0)
    gets = {}
    for ticket, content in puts.items():
        assert town.put[ticket].key == note_key(content)
        asker = honest[town.sampler.below(len(honest))]
        gets[town.get_item(asker, town.put[ticket].key)] = content
        town.run(0.2)
    town.run(15.0)
    return sum(town.found[ticket].content == content for ticket, content in gets.items()) / count


def test_thieves_among_the_holders():
    assert stored_and_found(corrupted_town(100, "thief", 6), 12) == 1.0


def test_eight_holders_are_a_defence(monkeypatch):
    """One holder a key: a fifth of all items is in the hands of thieves."""
    single = OverlayParams(cache_max=128, finger_first_s=600.0, replication=1, holders_slack=0)
    assert stored_and_found(corrupted_town(100, "thief", 6, single), 20) <= 0.9


class Scene:
    """An honest ring with an item, and one of its holders, which says what it likes."""

    def __init__(self, params=PARAMS):
        self.town = Ringtown(24, seed=5, params=params, link=LINK)
        self.town.start_converged()
        self.asker, self.owner = self.town.nodes[0], self.town.nodes[1]
        self.lies = {}

    def holders(self, key):
        found = self.asker.machine.ring.table.holders(int.from_bytes(key, "big"), 8)
        return [self.town.by_id[each] for each in found]

    def corrupt(self, node, items):
        """What this holder shows when it is asked for items."""

        def meddle(process, effect):
            message = read(effect) if isinstance(effect, Send) else None
            if not isinstance(message, ItemReply):
                return [effect]
            lie = ItemReply(message.ring, message.nonce, tuple(items))
            return [Send(effect.peer, codec.encode(lie))]

        node.meddler = meddle

    def get(self, key):
        ticket = self.town.get_item(self.asker, key)
        self.town.run(15.0)
        return self.town.found[ticket]

    def record(self, node, sequence, host):
        body = NodeRecord(self.town.network_id, sequence, host, 7400)
        return sign_body(node.crypto, self.town.network_id, node.node_id, body)

    def note(self, node, content, sequence=0):
        body = Note(self.town.network_id, sequence, content)
        return sign_body(node.crypto, self.town.network_id, node.node_id, body)

    def tell(self, node, message, peer=None):
        """Hand a message to a node; return what it answers, and the rules that were broken."""
        received = MessageReceived((peer or self.owner).node_id, codec.encode(message))
        effects = node.machine.handle(received, self.town.scheduler.now)
        rules = [each.rule for each in effects if isinstance(each, MessageRejected)]
        return [read(each) for each in effects if isinstance(each, Send)], rules

    def store(self, items):
        return StoreItems(self.asker.machine.ring.id, bytes(16), tuple(items))


def read(effect):
    return codec.decode(effect.payload, OverlayMessage, bytes_max=2**20)


def test_old_record_shown(monkeypatch):
    """Seven of eight holders show the address of before: the newest one counts."""
    scene = Scene()
    key = record_key(scene.owner.node_id)
    old = scene.record(scene.owner, 1, "10.6.6.6")
    new = scene.record(scene.owner, 2, "10.0.0.1")
    holders = [node for node in scene.holders(key) if node is not scene.asker]
    for node in holders:
        node.machine.storage.put(new, lambda _: True)
        scene.corrupt(node, [old])
    holders[0].meddler = None
    assert scene.get(key).item == new


@pytest.mark.parametrize("kind", ["another note", "bad signature", "two items"])
def test_forged_item_shown(kind, monkeypatch):
    """A holder shows something else than what was asked for: nothing of it is believed."""
    scene = Scene()
    content = b"what was stored"
    key = note_key(content)
    liar = next(node for node in scene.holders(key) if node is not scene.asker)
    true, other = scene.note(liar, content), scene.note(liar, b"another")
    scribble = type(true)(true.signer, true.body, bytes(64))
    scene.corrupt(
        liar,
        {"another note": [other], "bad signature": [scribble], "two items": [true, true]}[kind],
    )
    found = scene.get(key)
    assert found.item is None
    assert found.content is None
    rules = set(scene.town.rules)
    assert rules & {"sends items that it was not asked for", "bad signature"}


def test_hash_is_the_defence_against_another_note(monkeypatch):
    scene = Scene()
    key = note_key(b"what was stored")
    liar = next(node for node in scene.holders(key) if node is not scene.asker)
    scene.corrupt(liar, [scene.note(liar, b"another")])
    read_item = holder.read_item

    def credulous(signed, network, check):
        item = read_item(signed, network, check)
        return type(item)(key, item.sequence, item.signed, item.content)

    monkeypatch.setattr(holder, "read_item", credulous)
    assert scene.get(key).content == b"another"


# --- floods --------------------------------------------------------------------------------------


def belonging(scene, node, count, of, start=0):
    """Contents that a node is to hold, as notes of one signer."""
    found = []
    for number in range(start, start + 10_000):
        content = number.to_bytes(4, "big")
        if node in scene.holders(note_key(content)):
            found.append(scene.note(of, content))
        if len(found) == count:
            return found
    raise AssertionError("a third of all contents belong to any node of 24")


def test_notes_flooded_by_one_signer(monkeypatch):
    scene = Scene()
    node, most = scene.town.nodes[2], PARAMS.notes_per_signer_max
    notes = belonging(scene, node, most + 5, scene.owner)
    replies, rules = scene.tell(node, scene.store(notes))
    assert replies[-1].held == most
    assert rules == ["its signer stores too many notes already"]
    others = belonging(scene, node, most + 6, scene.town.nodes[3])[-1:]
    assert scene.tell(node, scene.store(others))[1] == [], "others still have room"
    weak = Scene(OverlayParams(notes_per_signer_max=10**9))
    weak.tell(weak.town.nodes[2], weak.store(notes))
    assert len(weak.town.nodes[2].machine.storage) == most + 5


def test_items_that_others_hold():
    """A node stores only what its place makes it store, and looks at that first."""
    params = OverlayParams(cache_max=128, replication=2, holders_slack=0, finger_first_s=600.0)
    scene = Scene(params)
    node = scene.town.nodes[2]
    for number in range(200):
        content = number.to_bytes(4, "big")
        key = int.from_bytes(note_key(content), "big")
        if node.node_id not in scene.asker.machine.ring.table.holders(key, 2):
            _, rules = scene.tell(node, scene.store([scene.note(scene.owner, content)]))
            assert rules == ["asks to store what other nodes hold"]
            break
    assert len(node.machine.storage) == 0


def test_storage_full():
    """What is held stays; there is no room for more."""
    params = OverlayParams(cache_max=128, items_bytes_max=800, finger_first_s=600.0)
    scene = Scene(params)
    node = scene.town.nodes[2]
    notes = belonging(scene, node, 5, scene.owner)
    replies, rules = scene.tell(node, scene.store(notes))
    assert rules == ["this node has no room for more items"]
    held = replies[-1].held
    assert 0 < held < 5
    assert len(node.machine.storage) == held


@pytest.mark.parametrize("bound", ["items_max", "items_bytes_max"])
def test_notes_of_many_signers_leave_room_for_records(bound):
    """Colluders choose contents that one node is to hold; records stand where nobody chose."""
    few = {"items_max": 8, "items_bytes_max": 1600}[bound]
    scene = Scene(OverlayParams(cache_max=128, finger_first_s=600.0, **{bound: few}))
    node, coalition = scene.town.nodes[2], scene.town.nodes[10:]
    for key in node.machine.storage.keys:
        node.machine.storage.drop(key)
    for at, signer in enumerate(coalition):
        notes = belonging(scene, node, 5, signer, 10_000 * at)
        scene.tell(node, scene.store(notes), peer=signer)
    flooded = len(node.machine.storage)
    assert 0 < flooded < 5 * len(coalition)
    owner = next(n for n in scene.town.nodes if node in scene.holders(record_key(n.node_id)))
    key = record_key(owner.node_id)
    for sequence, host in ((5, "10.0.0.5"), (6, "a-longer-name.example.org")):
        record = scene.record(owner, sequence, host)
        assert scene.tell(node, scene.store([record]), peer=owner)[1] == []
        assert node.machine.storage.get(key).signed == record


def test_record_that_finds_no_room_leaves_the_old_one():
    params = OverlayParams(cache_max=128, items_bytes_max=320, finger_first_s=600.0)
    scene = Scene(params)
    node = scene.town.nodes[2]
    owner = next(n for n in scene.town.nodes if node in scene.holders(record_key(n.node_id)))
    hosts = "h", ".".join(["h" * 50] * 4)
    old, new = (scene.record(owner, 5 + n, host) for n, host in enumerate(hosts))
    assert scene.tell(node, scene.store([old]), peer=owner)[1] == []
    _, rules = scene.tell(node, scene.store([new]), peer=owner)
    assert rules == ["this node has no room for more items"]
    assert node.machine.storage.get(record_key(owner.node_id)).signed == old


def test_requests_flooded(monkeypatch):
    """Answers cost a signature: beyond its allowance a peer gets none, and others still do."""

    def answered(scene, count):
        node = scene.town.nodes[2]
        got = [scene.tell(node, request(scene, number))[0] for number in range(count)]
        return sum(bool(each) for each in got)

    def request(scene, number):
        nonce = number.to_bytes(16, "big")
        return ItemRequest(scene.asker.machine.ring.id, nonce, (bytes(32),))

    scene = Scene()
    assert answered(scene, 200) == PARAMS.requests_burst
    assert scene.tell(scene.town.nodes[2], request(scene, 999), peer=scene.town.nodes[3])[0]
    scene.town.scheduler.now += 1.0
    assert answered(scene, 200) == PARAMS.requests_per_s
    weak = Scene(OverlayParams(requests_burst=1e9))
    assert answered(weak, 200) == 200


def test_offers_of_what_nobody_has():
    """A boast costs the receiver a question or eight, and nothing that it keeps."""
    scene = Scene()
    node = scene.town.nodes[2]
    boast = tuple(HeldItem(digest("boast", bytes([at])), 2**61) for at in range(250))
    replies, rules = scene.tell(node, Holdings(scene.asker.machine.ring.id, boast))
    assert rules == []
    assert len(replies) <= 8
    assert all(isinstance(each, ItemRequest) for each in replies)
    assert len(node.machine.storage) == 0


def test_place_is_needed_for_a_search():
    """A search of nothing but this node ends with this node."""
    scene = Scene()
    found = []
    for node in scene.town.nodes[1:]:
        node.stop()
    scene.asker.machine.ring.seek(Place(5, 8), found.append)
    scene.town.run(60.0)
    assert [record.node_id for record in found[0].nodes] == [scene.asker.node_id]
