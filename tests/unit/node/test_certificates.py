import secrets
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from pnyx.errors import ConfigError, InvalidCertificate
from pnyx.node.certificates import (
    CERTIFICATE_BYTES_MAX,
    ENROLMENT_NONCE_OID,
    Authority,
    authority_public_key,
    certificate_node_id,
    certificate_pem,
    create_authority,
    network_name,
    private_key_pem,
    read_authority_certificate,
    verify_certificate,
)
from pnyx.primitives.hashing import digest
from pnyx.primitives.signature import SigningKey

NOW = 1_800_000_000
YEAR_S = 365 * 86_400
AUTHORITY_SEED = bytes(range(32))
NONCE = bytes(range(16))
NODE_KEY = SigningKey(b"n" * 32).public_key
NODE_ID = digest("pnyx/node-id", NODE_KEY, NONCE)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return create_authority(
        AUTHORITY_SEED, "Athens", not_before=NOW - YEAR_S, not_after=NOW + YEAR_S
    )


@pytest.fixture(scope="module")
def issued(authority: Authority) -> x509.Certificate:
    return authority.issue(NODE_KEY, NONCE, not_before=NOW - 100, not_after=NOW + 100)


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def forged(
    authority: Authority, *, key: Any = None, name: str = NODE_ID.hex(), **parts: Any
) -> bytes:
    """A certificate really signed by the authority, but saying what it should not."""
    names = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(names * parts.get("names", 1)))
        .issuer_name(authority.certificate.subject)
        .public_key(key or Ed25519PrivateKey.from_private_bytes(b"n" * 32).public_key())
        .serial_number(1)
        .not_valid_before(datetime.fromtimestamp(NOW - 100, UTC))
        .not_valid_after(datetime.fromtimestamp(NOW + 100, UTC))
    )
    for extension in parts.get("extensions", ()):
        builder = builder.add_extension(extension, critical=False)
    return der(builder.sign(Ed25519PrivateKey.from_private_bytes(AUTHORITY_SEED), None))


def nonce_extension(value: bytes = b"\x04\x10" + NONCE) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(ENROLMENT_NONCE_OID, value)


def test_issued_certificate_verifies_as_pem_and_der(
    authority: Authority, issued: x509.Certificate
) -> None:
    for data in (certificate_pem(issued), der(issued)):
        verified = verify_certificate(data, authority.certificate, now=NOW)
        assert (verified.node_id, verified.public_key) == (NODE_ID, NODE_KEY)
        assert verified.nonce == NONCE
        assert (verified.not_before, verified.not_after) == (NOW - 100, NOW + 100)
    assert certificate_node_id(der(issued), authority.certificate, now=NOW) == (NODE_ID, NODE_KEY)
    assert len(der(issued)) < CERTIFICATE_BYTES_MAX // 4


def test_authority_certificate_round_trip(authority: Authority) -> None:
    read = read_authority_certificate(certificate_pem(authority.certificate))
    assert read == authority.certificate
    assert network_name(read) == "Athens"
    assert authority_public_key(read) == SigningKey(AUTHORITY_SEED).public_key
    assert repr(authority) == "Authority('Athens')"
    reopened = Authority(AUTHORITY_SEED, read)
    renewed = reopened.issue(NODE_KEY, NONCE, not_before=NOW, not_after=NOW + 10)
    assert certificate_node_id(der(renewed), read, now=NOW) == (NODE_ID, NODE_KEY)


def test_network_name_may_be_missing(issued: x509.Certificate, authority: Authority) -> None:
    bare = x509.load_der_x509_certificate(forged(authority))
    assert network_name(bare) == ""
    assert network_name(issued) == "Athens"


@pytest.mark.parametrize("name", ["", "x" * 65])
def test_bad_network_name(name: str) -> None:
    with pytest.raises(ConfigError, match="1 to 64 characters"):
        create_authority(AUTHORITY_SEED, name, not_before=NOW, not_after=NOW + 1)


def test_authority_with_another_key(authority: Authority) -> None:
    with pytest.raises(InvalidCertificate, match="another key"):
        Authority(bytes(32), authority.certificate)


@pytest.mark.parametrize(
    ("now", "sentence"), [(NOW - 101, "valid only from"), (NOW + 101, "expired on 2027-01-15")]
)
def test_outside_validity(
    authority: Authority, issued: x509.Certificate, now: int, sentence: str
) -> None:
    with pytest.raises(InvalidCertificate, match=sentence):
        verify_certificate(der(issued), authority.certificate, now=now)


def test_signed_by_another_authority_of_the_same_name(issued: x509.Certificate) -> None:
    other = create_authority(bytes(32), "Athens", not_before=NOW - YEAR_S, not_after=NOW + YEAR_S)
    with pytest.raises(InvalidCertificate, match="not signed by this network's authority"):
        verify_certificate(der(issued), other.certificate, now=NOW)


def test_authority_does_not_stand_for_a_node(authority: Authority) -> None:
    with pytest.raises(InvalidCertificate, match="cannot stand for a node"):
        verify_certificate(der(authority.certificate), authority.certificate, now=NOW)


def test_node_does_not_stand_for_an_authority(issued: x509.Certificate) -> None:
    with pytest.raises(InvalidCertificate, match="not an authority's certificate"):
        read_authority_certificate(der(issued))


def test_self_signed_without_authority_role() -> None:
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Pnyx authority")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.fromtimestamp(NOW, UTC))
        .not_valid_after(datetime.fromtimestamp(NOW + 1, UTC))
        .sign(key, None)
    )
    with pytest.raises(InvalidCertificate, match="not an authority's certificate"):
        read_authority_certificate(der(certificate))


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"extensions": []}, "no valid enrolment nonce"),
        ({"extensions": [nonce_extension(b"\x04\x0f" + NONCE[:15])]}, "no valid enrolment nonce"),
        ({"extensions": [nonce_extension(b"\x04\x10" + NONCE + b"x")]}, "no valid enrolment"),
        ({"extensions": [nonce_extension()], "name": "0" * 64}, "names another node"),
        ({"extensions": [nonce_extension()], "names": 2}, "names another node"),
        ({"extensions": [nonce_extension(b"\x04\x10" + bytes(16))]}, "names another node"),
        (
            {
                "extensions": [nonce_extension()],
                "key": ec.generate_private_key(ec.SECP256R1()).public_key(),
            },
            "not Ed25519",
        ),
    ],
)
def test_certificate_that_says_something_wrong(
    authority: Authority, parts: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InvalidCertificate, match=sentence):
        verify_certificate(forged(authority, **parts), authority.certificate, now=NOW)


@pytest.mark.parametrize(
    "data",
    [b"", b"rubbish", b"-----BEGIN CERTIFICATE-----\nrubbish", bytes(CERTIFICATE_BYTES_MAX + 1)],
)
def test_unreadable(authority: Authority, data: bytes) -> None:
    with pytest.raises(InvalidCertificate, match="not readable"):
        verify_certificate(data, authority.certificate, now=NOW)


def test_no_flipped_byte_changes_what_is_read(
    authority: Authority, issued: x509.Certificate
) -> None:
    good = der(issued)
    truth = verify_certificate(good, authority.certificate, now=NOW)
    accepted = []
    for index in range(len(good)):
        bad = bytearray(good)
        bad[index] ^= 1
        try:
            read = verify_certificate(bytes(bad), authority.certificate, now=NOW)
        except InvalidCertificate:
            continue
        assert read == truth
        accepted.append(index)
    # At most the count of unused bits before the signature, which nothing signs, is tolerated.
    assert accepted in ([], [len(good) - 65])


@pytest.mark.parametrize("key", [bytes(31), bytes(32), b"\x01" + bytes(31), b"\xff" * 32])
def test_keys_that_are_no_good_points_are_not_certified(authority: Authority, key: bytes) -> None:
    with pytest.raises(InvalidCertificate, match="not a valid Ed25519"):
        authority.issue(key, NONCE, not_before=NOW, not_after=NOW + 1)


def test_nonce_length_is_the_callers_duty(authority: Authority) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        authority.issue(NODE_KEY, b"short", not_before=NOW, not_after=NOW + 1)


def test_private_key_is_encrypted_at_rest() -> None:
    seed = secrets.token_bytes(32)
    pem = private_key_pem(seed, b"secret")
    assert b"ENCRYPTED PRIVATE KEY" in pem
    loaded = serialization.load_pem_private_key(pem, b"secret")
    assert isinstance(loaded, Ed25519PrivateKey)
    assert loaded.private_bytes_raw() == seed
