"""What is believed of a node: its newest signed record, until it takes that back."""

import pytest

from pnyx.errors import InvalidSignature, RuleBroken, WrongContext
from pnyx.protocol.identity import sign_body
from pnyx.protocol.messages import NodeRecord
from pnyx.protocol.overlay.messages import Departure
from pnyx.protocol.overlay.records import RecordBook, RecordReader
from pnyx.simulator.crypto import IdealCrypto

NETWORK = b"n" * 32


class Desk:
    def __init__(self, records_max=4):
        self.checked = []
        self.newer = []
        self.reader = RecordReader(NETWORK, self.check, records_max)
        self.book = RecordBook(self.reader, records_max, self.newer.append)

    def check(self, signed):
        self.checked.append(signed)
        if signed.signature == bytes(64):
            raise InvalidSignature("bad")


def signed(number, sequence=1, network=NETWORK, body=None):
    crypto = IdealCrypto(bytes([number]) * 32)
    record = body or NodeRecord(network, sequence, "host", 7400)
    return sign_body(crypto, network, bytes([number]) * 32, record)


def test_newest_record_counts_and_is_verified_once():
    desk = Desk()
    first, second = signed(1, 1), signed(1, 2)
    assert desk.book.take(first).sequence == 1
    assert desk.book.take(first).sequence == 1
    assert desk.book.take(second).sequence == 2
    assert desk.book.take(first).sequence == 2, "stale: known already, and older"
    assert desk.checked == [first, second]
    assert [record.sequence for record in desk.newer] == [1, 2]
    assert desk.book.get(first.signer).sequence == 2


def test_stale_record_costs_no_signature():
    desk = Desk()
    desk.book.take(signed(1, 5))
    assert desk.book.take(signed(1, 4)).sequence == 5
    assert len(desk.checked) == 1


def test_reader_shared_by_two_nodes_verifies_once():
    desk = Desk()
    other = RecordBook(desk.reader, 4, desk.newer.append)
    desk.book.take(signed(1))
    assert other.take(signed(1)).sequence == 1
    assert len(desk.checked) == 1


def test_wrong_records_are_refused():
    desk = Desk()
    forged = type(signed(1))(signed(1).signer, signed(1).body, bytes(64))
    with pytest.raises(InvalidSignature):
        desk.book.take(forged)
    with pytest.raises(WrongContext):
        desk.book.take(signed(1, network=b"x" * 32))
    assert desk.book.get(forged.signer) is None


def test_memory_is_bounded():
    desk = Desk(records_max=3)
    for number in range(1, 6):
        desk.book.take(signed(number))
        desk.book.take_departure(signed(number, body=Departure(NETWORK, 1)))
    assert desk.book.get(bytes([1]) * 32) is None
    assert desk.book.get(bytes([5]) * 32) is not None
    again = desk.book.take(signed(1))
    assert len(desk.checked) == 11, "forgotten: verified anew"
    assert not desk.book.has_departed(again)


def test_departure_takes_a_record_back_until_a_newer_one():
    desk = Desk()
    record = desk.book.take(signed(1, 3))
    assert not desk.book.has_departed(record)
    with pytest.raises(RuleBroken):
        desk.book.take_departure(signed(1, body=Departure(NETWORK, 2)))
    with pytest.raises(RuleBroken):
        desk.book.take_departure(signed(2, body=Departure(NETWORK, 2)))
    with pytest.raises(WrongContext):
        desk.book.take_departure(signed(1, body=Departure(b"x" * 32, 3)))
    desk.book.take_departure(signed(1, body=Departure(NETWORK, 3)))
    assert desk.book.has_departed(record)
    assert not desk.book.has_departed(desk.book.take(signed(1, 4)))
