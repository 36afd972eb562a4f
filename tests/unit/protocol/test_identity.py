"""Censuses, and signatures bound to a network."""

import pytest
from msgspec.structs import replace

from pnyx.errors import InvalidCertificate, InvalidSignature, MalformedMessage, WrongContext
from pnyx.primitives import codec
from pnyx.protocol.identity import (
    CensusBody,
    CensusEntry,
    Others,
    SignedCensus,
    check_succession,
    make_census,
    network_id,
    node_id,
    sign_body,
    signing_input,
    verify_census,
)
from pnyx.protocol.messages import Join, Signed
from pnyx.protocol.selection import committee_size
from pnyx.simulator.crypto import IdealCrypto

AUTHORITY = IdealCrypto(b"authority")
NETWORK = network_id(AUTHORITY.public_key, "town")
NODES = [IdealCrypto(bytes((at,))) for at in range(6)]
ENTRIES = [CensusEntry(node_id(c.public_key, bytes(16)), c.public_key) for c in NODES]
SIZE = committee_size(5, 1)


def census(number=0, previous=bytes(32), entries=ENTRIES, network=NETWORK, valid_until=100):
    return make_census(
        AUTHORITY.sign,
        network=network,
        number=number,
        previous=previous,
        entries=entries,
        committee=SIZE,
        issued_at=0,
        valid_until=valid_until,
    )


def verified(signed, now=1):
    return verify_census(
        signed, network=NETWORK, authority_key=AUTHORITY.public_key, crypto=AUTHORITY, now=now
    )


def resigned(signed, **changes):
    """The same census with another body, signed by the authority all the same."""
    body = codec.encode(replace(codec.decode(signed.body, CensusBody, bytes_max=4096), **changes))
    return SignedCensus(body, AUTHORITY.sign(signing_input(NETWORK, body)), signed.entries)


def test_ids_are_bound_to_key_and_nonce():
    key = NODES[0].public_key
    names = {node_id(key, bytes(16)), node_id(key, b"1" * 16), node_id(NODES[1].public_key, b"")}
    assert len(names) == 3
    assert network_id(key, "a") != network_id(key, "b")


def test_a_census_is_sorted_and_searched():
    found = verified(census())
    assert len(found) == 6
    assert list(found.node_ids) == sorted(found.node_ids)
    for entry in ENTRIES:
        index = found.index_of(entry.node_id)
        assert found.public_keys[index] == entry.public_key
    assert found.index_of(bytes(32)) is None
    assert found.index_of(b"\xff" * 32) is None


@pytest.mark.parametrize(
    ("signed", "now", "error", "rule"),
    [
        (census(network=b"x" * 32), 1, WrongContext, "another network"),
        (replace(census(), signature=bytes(64)), 1, InvalidSignature, "not signed by"),
        (census(), 100, InvalidCertificate, "expired"),
        (replace(census(), entries=census().entries[::-1]), 1, InvalidCertificate, "out of order"),
        (replace(census(), entries=census().entries[:5]), 1, InvalidCertificate, "wrong number"),
        (
            resigned(
                replace(census(), entries=(*census().entries, census().entries[-1])), node_count=7
            ),
            1,
            InvalidCertificate,
            "twice",
        ),
        (resigned(census(), nodes_root=b"x" * 32), 1, InvalidCertificate, "signed root"),
        (
            replace(
                census(),
                entries=(*census().entries[:5], replace(census().entries[5], public_key=b"k" * 32)),
            ),
            1,
            InvalidCertificate,
            "signed root",
        ),
        (
            census(entries=ENTRIES[:4]),
            1,
            InvalidCertificate,
            "committee larger than the network",
        ),
    ],
)
def test_a_census_that_is_refused(signed, now, error, rule):
    with pytest.raises(error, match=rule):
        verified(signed, now)


def test_sizes_that_cannot_work_together_cannot_be_decoded():
    body = bytearray(census().body)
    with pytest.raises(MalformedMessage):
        verified(SignedCensus(bytes(body[:-1]), bytes(64), census().entries))


def test_censuses_follow_each_other():
    first = verified(census())
    check_succession(first, verified(census(1, first.root)))
    for wrong in (census(2, first.root), census(1, b"x" * 32), census(0)):
        with pytest.raises(InvalidCertificate, match="does not follow"):
            check_succession(first, verified(wrong))


def test_the_authority_equivocates():
    first = verified(census())
    with pytest.raises(InvalidCertificate, match="two censuses with one number"):
        check_succession(first, verified(census(valid_until=99)))


def test_signed_bodies():
    found = verified(census())
    signer = NODES[2]
    name = node_id(signer.public_key, bytes(16))
    body = Join(NETWORK, b"s" * 32, 0, True)
    signed = sign_body(signer, NETWORK, name, body)
    assert found.check(AUTHORITY, signed) == found.index_of(name)
    with pytest.raises(InvalidCertificate, match="not in the census"):
        found.check(AUTHORITY, Signed(bytes(32), signed.body, signed.signature))
    with pytest.raises(InvalidSignature, match="bad signature"):
        found.check(AUTHORITY, Signed(name, signed.body + b"\0", signed.signature))
    with pytest.raises(InvalidSignature):
        found.check(AUTHORITY, sign_body(signer, b"x" * 32, name, body))


def test_everybody_but_one():
    ids = (b"a", b"b", b"c", b"d")
    others = Others(ids, 1)
    assert list(others) == [others[at] for at in range(3)] == [b"a", b"c", b"d"]
    assert others[1:] == (b"c", b"d")
    assert len(others) == 3
    for outside in (-1, 3):
        with pytest.raises(IndexError):
            others[outside]
