"""Signatures and quorum certificates: what is accepted, and each rule that refuses."""

import msgspec
import pytest

from pnyx.errors import InvalidSignature
from pnyx.primitives.signature import (
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    QuorumCertificate,
    SigningKey,
    check_quorum,
    verify,
)

KEYS = [SigningKey(bytes([number]) * 32) for number in range(5)]
PUBLIC_KEYS = [key.public_key for key in KEYS]
STATEMENT = b"the result of round 3"


def certificate(*signers: int, statement: bytes = STATEMENT) -> QuorumCertificate:
    return QuorumCertificate(signers, tuple(KEYS[signer].sign(statement) for signer in signers))


def test_a_signature_verifies_for_its_key_and_message_only() -> None:
    signature = KEYS[0].sign(b"message")
    assert len(signature) == SIGNATURE_BYTES
    assert len(PUBLIC_KEYS[0]) == PUBLIC_KEY_BYTES
    assert verify(PUBLIC_KEYS[0], b"message", signature)
    assert not verify(PUBLIC_KEYS[1], b"message", signature)
    assert not verify(PUBLIC_KEYS[0], b"message.", signature)
    assert verify(PUBLIC_KEYS[0], b"", KEYS[0].sign(b""))


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_keys_and_signatures_of_wrong_length_are_refused(length: int) -> None:
    signature = KEYS[0].sign(b"message")
    assert not verify(bytes(length), b"message", signature)
    if length != SIGNATURE_BYTES:
        assert not verify(PUBLIC_KEYS[0], b"message", bytes(length))
    with pytest.raises(ValueError, match="32 bytes"):
        SigningKey(bytes(length))


def test_a_signing_key_shows_no_secret() -> None:
    key = SigningKey(b"s" * 32)
    assert key.seed == b"s" * 32
    assert "sss" not in repr(key)
    assert key.seed.hex() not in repr(key)
    assert not hasattr(key, "__dict__")


def test_a_quorum_is_reached_by_enough_valid_signatures() -> None:
    check_quorum(certificate(0, 2, 4), PUBLIC_KEYS, STATEMENT, 3, verify)
    check_quorum(certificate(0, 1, 2, 3, 4), PUBLIC_KEYS, STATEMENT, 3, verify)


def test_a_certificate_survives_encoding() -> None:
    original = certificate(1, 3)
    data = msgspec.msgpack.encode(original)
    assert msgspec.msgpack.decode(data, type=QuorumCertificate) == original


def refuse_to_verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    raise AssertionError("a signature was verified before the cheap checks")


@pytest.mark.parametrize(
    ("bad", "rule"),
    [
        (certificate(0, 1), "2 of 3 signatures"),
        (QuorumCertificate((), ()), "0 of 3 signatures"),
        (QuorumCertificate((0, 1, 2), certificate(0, 1).signatures), "one signature for each"),
        (certificate(0, 2, 1), "increasing order"),
        (certificate(0, 1, 1), "increasing order"),
        (QuorumCertificate((-1, 0, 1), certificate(4, 0, 1).signatures), "increasing order"),
        (QuorumCertificate((0, 1, 5), certificate(0, 1, 4).signatures), "increasing order"),
    ],
)
def test_malformed_certificates_are_refused_before_any_verification(
    bad: QuorumCertificate, rule: str
) -> None:
    with pytest.raises(InvalidSignature, match=rule):
        check_quorum(bad, PUBLIC_KEYS, STATEMENT, 3, refuse_to_verify)


def test_one_bad_signature_spoils_a_certificate_even_beyond_the_quorum() -> None:
    good, other = certificate(0, 1, 2, 3), certificate(0, 1, 2, 3, statement=b"another")
    for place in range(4):
        signatures = list(good.signatures)
        signatures[place] = other.signatures[place]
        mixed = QuorumCertificate(good.signers, tuple(signatures))
        with pytest.raises(InvalidSignature, match=f"member {place} is not valid"):
            check_quorum(mixed, PUBLIC_KEYS, STATEMENT, 3, verify)


def test_a_quorum_of_none_is_a_bug() -> None:
    with pytest.raises(ValueError, match="at least one"):
        check_quorum(QuorumCertificate((), ()), PUBLIC_KEYS, STATEMENT, 0, verify)
