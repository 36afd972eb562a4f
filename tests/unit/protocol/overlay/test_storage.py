"""Items that prove themselves, and the room that they may take."""

import pytest

from pnyx.errors import MalformedMessage, RuleBroken, WrongContext
from pnyx.protocol.identity import sign_body
from pnyx.protocol.messages import NodeRecord
from pnyx.protocol.overlay.messages import HOLDINGS_MAX, HeldItem, Note
from pnyx.protocol.overlay.params import OverlayParams
from pnyx.protocol.overlay.records import record_key
from pnyx.protocol.overlay.storage import Storage, content_of, note_key
from pnyx.simulator.crypto import IdealCrypto

NETWORK = b"n" * 32


def always(_key):
    return True


def never(_key):
    return False


def note(content, signer=1, network=NETWORK):
    crypto, name = IdealCrypto(bytes([signer]) * 32), bytes([signer]) * 32
    return sign_body(crypto, network, name, Note(network, 0, content))


def record(signer=1, sequence=1):
    crypto, name = IdealCrypto(bytes([signer]) * 32), bytes([signer]) * 32
    return sign_body(crypto, NETWORK, name, NodeRecord(NETWORK, sequence, "h", 1))


def storage(**bounds):
    return Storage(NETWORK, lambda signed: None, OverlayParams(**bounds))


def test_note_stands_under_its_hash():
    held = storage()
    item = held.put(note(b"words"), always)
    assert item.key == note_key(b"words")
    assert content_of(item, item.key) == b"words"
    assert held.get(item.key) == item
    assert held.keys == (item.key,)
    with pytest.raises(MalformedMessage):
        content_of(item, bytes(32))
    with pytest.raises(MalformedMessage):
        content_of(held.put(record(), always), record_key(b"\1" * 32))


def test_record_is_replaced_by_a_newer_one_only():
    held = storage()
    key = record_key(b"\1" * 32)
    held.put(record(1, 2), always)
    assert held.put(record(1, 1), always).sequence == 2
    assert held.put(record(1, 3), always).sequence == 3
    assert held.get(key).sequence == 3
    assert len(held) == 1


def test_first_signer_of_a_note_stays():
    held = storage(notes_per_signer_max=1)
    assert held.put(note(b"words", 1), always).signed.signer == b"\1" * 32
    later = sign_body(IdealCrypto(b"\2" * 32), NETWORK, b"\2" * 32, Note(NETWORK, 9, b"words"))
    assert held.put(later, always).signed.signer == b"\1" * 32
    assert held.put(note(b"words", 1), always).signed.signer == b"\1" * 32
    with pytest.raises(RuleBroken, match="too many notes"):
        held.put(note(b"more", 1), always)
    held.drop(note_key(b"words"))
    held.put(note(b"more", 1), always)


def test_quota_of_a_signer_shrinks_as_its_notes_go():
    held = storage(notes_per_signer_max=2)
    held.put(note(b"a"), always)
    held.put(note(b"b"), always)
    held.drop(note_key(b"a"))
    held.put(note(b"c"), always)
    with pytest.raises(RuleBroken):
        held.put(note(b"d"), always)


def test_what_belongs_elsewhere_or_to_another_network_is_refused():
    held = storage()
    with pytest.raises(RuleBroken, match="other nodes hold"):
        held.put(note(b"words"), never)
    with pytest.raises(WrongContext):
        held.put(note(b"words", network=b"x" * 32), always)


@pytest.mark.parametrize("bounds", [{"items_max": 4}, {"items_bytes_max": 800}])
def test_no_room(bounds):
    """Notes fill one half."""
    held = storage(**bounds)
    held.put(note(b"a"), always)
    held.put(note(b"b"), always)
    with pytest.raises(RuleBroken, match="no room"):
        held.put(note(b"c"), always)
    assert len(held) == 2
    held.put(record(1, 2), always)
    held.put(record(2, 2), always)
    assert len(held) == 4


def test_missing_is_what_is_newer_and_belongs_here():
    held = storage()
    held.put(record(1, 2), always)
    held.put(note(b"words"), always)
    offered = (
        HeldItem(record_key(b"\1" * 32), 2),
        HeldItem(note_key(b"words"), 9),
        HeldItem(bytes(32), 0),
    )
    assert held.missing(offered, always) == [bytes(32)]
    assert held.missing(offered, never) == []
    newer = (HeldItem(record_key(b"\1" * 32), 3),)
    assert held.missing(newer, always) == [newer[0].key]


def test_offers_take_turns():
    held = storage(notes_per_signer_max=1000)
    for number in range(HOLDINGS_MAX + 10):
        held.put(note(number.to_bytes(2, "big")), always)
    first = held.first(HOLDINGS_MAX)
    assert [each.key for each in held.offers(first)] == first
    held.rotate(HOLDINGS_MAX)
    assert set(first) | set(held.first(HOLDINGS_MAX)) == set(held.keys)
    assert held.first(10) == [key for key in held.keys if key not in first]
    assert held.offers([]) == ()
