"""R3: a record, its joins or its certificate altered in any field is not accepted.

Every field is changed in two ways: by whoever relays the record (the signatures stay), and by a
coalition below the quorum that signs the altered body itself. Fields that name the round are
refused even when a whole quorum signed them.
"""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.support.records import certify, chain, record
from tests.support.town import SMALL, people

from pnyx.errors import ProtocolError
from pnyx.primitives import codec
from pnyx.primitives.signature import QuorumCertificate
from pnyx.protocol import study
from pnyx.protocol.messages import GroupSum, Record, RecordBody
from pnyx.protocol.study import verify_record

FOLK = people(9, SMALL)
PLAN = chain(FOLK)
CRYPTO = FOLK.cryptos[0]
GOOD = record(FOLK, PLAN, accepted=(2, 3, 4), joins=(1, 5), metrics=(7,))
BODY = codec.decode(GOOD.body, RecordBody, bytes_max=10**6)
PINNED = {
    "network", "study", "round_number", "attempt", "epoch", "census_root", "previous_record",
    "context", "joins_root", "privacy_spent",
}  # fmt: skip
FIELDS = [field.name for field in msgspec.structs.fields(RecordBody)]


def changed(name: str):
    value = getattr(BODY, name)
    match value:
        case None:
            return 0
        case bool():
            return not value
        case bytes():
            return bytes((value[0] ^ 1,)) + value[1:]
        case int():
            return 2 if name == "attempt" else value + 1
        case ():
            return (1,)
        case (GroupSum(group=group, sum=sum_),):
            return (GroupSum(group, bytes((sum_[0] ^ 1,)) + sum_[1:]),)
        case tuple():
            return (*value[:-1], value[-1] + 1)
    raise AssertionError(name)


def accepted(forged: Record) -> bool:
    try:
        verify_record(PLAN, forged, CRYPTO)
    except ProtocolError:
        return False
    return True


def test_the_record_itself_is_accepted():
    assert accepted(GOOD)


@pytest.mark.parametrize("name", FIELDS)
def test_forged_record(name):
    body = codec.encode(replace(BODY, **{name: changed(name)}))
    assert not accepted(replace(GOOD, body=body))
    coalition = certify(FOLK, PLAN, body, range(PLAN.size.quorum - 1))
    assert not accepted(Record(body, GOOD.joins, coalition))


@pytest.mark.parametrize("name", sorted(PINNED))
def test_record_of_another_round_signed_by_a_quorum(name):
    body = codec.encode(replace(BODY, **{name: changed(name)}))
    assert not accepted(Record(body, GOOD.joins, certify(FOLK, PLAN, body)))


@pytest.mark.parametrize("joins", [(), (1,), (5, 1), (1, 5, 6), (1, 6)])
def test_forged_join_list(joins):
    assert not accepted(replace(GOOD, joins=joins))


def certificates():
    good = GOOD.certificate
    signers, signatures = good.signers, good.signatures
    yield "one short", QuorumCertificate(signers[:-1], signatures[:-1])
    yield "one twice", QuorumCertificate((0, *signers[:-1]), (signatures[0], *signatures[:-1]))
    yield "swapped", QuorumCertificate(signers, signatures[::-1])
    yield "renamed", QuorumCertificate((*signers[:-1], 6), signatures)
    yield "stranger", QuorumCertificate((*signers[:-1], 7), signatures)
    yield "unsigned", QuorumCertificate(signers, (*signatures[:-1], bytes(64)))
    yield "no signature", QuorumCertificate(signers, signatures[:-1])


@pytest.mark.parametrize(("name", "certificate"), list(certificates()))
def test_forged_certificate(name, certificate):
    assert not accepted(replace(GOOD, certificate=certificate)), name


@given(st.integers(0, len(GOOD.body) - 1), st.integers(1, 255))
@settings(deadline=None, max_examples=60)
def test_any_flipped_byte_of_the_body(at, mask):
    body = bytearray(GOOD.body)
    body[at] ^= mask
    assert not accepted(replace(GOOD, body=bytes(body)))


def test_the_quorum_is_the_defence(monkeypatch):
    body = codec.encode(replace(BODY, model_hash=b"x" * 32))
    forged = replace(GOOD, body=body)
    assert not accepted(forged)
    monkeypatch.setattr(study, "check_quorum", lambda *args: None)
    assert accepted(forged)
