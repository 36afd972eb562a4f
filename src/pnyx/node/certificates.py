"""X.509 certificates: how the authority vouches for a node, and how a peer reads it.

The authority holds an Ed25519 key and one self-signed certificate per network. For each person it
draws a 16-byte *enrolment nonce* and signs one certificate over the node's public key:

    subject     CN = node id in hexadecimal (32 bytes), O = name of the network
    key         the node's Ed25519 public key; TLS 1.3 uses it directly
    extensions  basicConstraints CA:FALSE, keyUsage digitalSignature, extendedKeyUsage client and
                server, key identifiers (OpenSSL's strict mode asks for them), and the nonce

The node id is a hash of key and nonce (`protocol.identity.node_id`). A reader recomputes it, so a
certificate whose name is not its own is refused even if the authority signed it. The owner's name
appears nowhere: every peer reads this certificate.

The nonce travels as a DER octet string under 2.25.147690653860468231400635258719551203268: the arc
2.25 lets anyone derive an identifier from a UUID without registration (ITU-T X.667); ours is
6f1c2f6e-5a53-4b0c-9d3e-2f60f1f1a7c4. The extension is not critical, so ordinary tools can show and
verify the certificate.

Times are unix seconds and are passed in; the only randomness is the serial number.
"""

from datetime import UTC, datetime

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature as _SignatureMismatch
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from nacl.bindings import crypto_core_ed25519_is_valid_point

from pnyx.errors import ConfigError, InvalidCertificate
from pnyx.protocol.identity import node_id as derive_node_id

ENROLMENT_NONCE_BYTES = 16
CERTIFICATE_BYTES_MAX = 4096  # ours take about 500; read before anything is parsed
ENROLMENT_NONCE_OID = x509.ObjectIdentifier("2.25.147690653860468231400635258719551203268")

_OCTET_STRING_16 = b"\x04\x10"  # DER tag and length of the nonce
_NETWORK_NAME_LENGTH_MAX = 64  # upper bound of X.520 for an organisation's name


class NodeCertificate(msgspec.Struct, frozen=True):
    """What a verified certificate says; times are unix seconds."""

    node_id: bytes
    public_key: bytes
    nonce: bytes
    not_before: int
    not_after: int


class Authority:
    """The authority's signing key with its certificate; kept offline between enrolments."""

    def __init__(self, seed: bytes, certificate: x509.Certificate) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        if _raw(self._key.public_key()) != _certified_key(certificate):
            raise InvalidCertificate(
                "The authority's certificate belongs to another key; use the pair made together."
            )
        self.certificate = certificate

    def __repr__(self) -> str:
        return f"Authority({network_name(self.certificate)!r})"

    def issue(
        self, public_key: bytes, nonce: bytes, *, not_before: int, not_after: int
    ) -> x509.Certificate:
        """Certify a node's Ed25519 key under a fresh nonce drawn by the authority.

        Renewal repeats the call with the same key and nonce: the node id stays.
        Raises InvalidCertificate when the key is no valid Ed25519 point.
        """
        if len(nonce) != ENROLMENT_NONCE_BYTES:
            raise ValueError(f"an enrolment nonce has {ENROLMENT_NONCE_BYTES} bytes")
        if len(public_key) != 32 or not crypto_core_ed25519_is_valid_point(public_key):
            # A point of small order would let anyone sign in this node's name.
            raise InvalidCertificate(
                "This is not a valid Ed25519 public key; create the node's key again."
            )
        holder = Ed25519PublicKey.from_public_bytes(public_key)
        authority_key = self._key.public_key()
        subject = _name(derive_node_id(public_key, nonce).hex(), network_name(self.certificate))
        builder = (
            _builder(subject, self.certificate.subject, holder, not_before, not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
                ),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key), critical=False
            )
            .add_extension(
                x509.UnrecognizedExtension(ENROLMENT_NONCE_OID, _OCTET_STRING_16 + nonce),
                critical=False,
            )
        )
        return builder.sign(self._key, None)


def create_authority(seed: bytes, network: str, *, not_before: int, not_after: int) -> Authority:
    """Make the authority of a new network from a secret 32-byte seed."""
    if not 1 <= len(network) <= _NETWORK_NAME_LENGTH_MAX:
        raise ConfigError(
            f"A network's name has 1 to {_NETWORK_NAME_LENGTH_MAX} characters; choose another."
        )
    key = Ed25519PrivateKey.from_private_bytes(seed)
    name = _name("Pnyx authority", network)
    certificate = (
        _builder(name, name, key.public_key(), not_before, not_after)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, None)
    )
    return Authority(seed, certificate)


def read_authority_certificate(data: bytes) -> x509.Certificate:
    """Parse an authority's certificate (PEM or DER) and check that it signed itself as one.

    Raises InvalidCertificate. Whether it is the *right* authority is the owner's choice at
    enrolment; every later check starts from this certificate.
    """
    certificate = _parse(data)
    if not _is_issued_by(certificate, certificate) or not _constraints(certificate).ca:
        raise InvalidCertificate(
            "This is not an authority's certificate; fetch the one your network publishes."
        )
    return certificate


def network_name(authority: x509.Certificate) -> str:
    """Name of the network, as its authority wrote it."""
    names = authority.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(names[0].value) if names else ""


def authority_public_key(authority: x509.Certificate) -> bytes:
    """The authority's 32-byte Ed25519 key, which also signs the censuses."""
    return _certified_key(authority)


def verify_certificate(data: bytes, authority: x509.Certificate, *, now: float) -> NodeCertificate:
    """Verify a node's certificate (PEM or DER) against the authority's, at `now` (unix seconds).

    Checks size, signature, validity, role, nonce, and that the name follows from key and nonce.
    Raises InvalidCertificate.
    """
    certificate = _parse(data)
    if not _is_issued_by(certificate, authority):
        raise InvalidCertificate(
            "The certificate was not signed by this network's authority; ask it for one."
        )
    not_before = int(certificate.not_valid_before_utc.timestamp())
    not_after = int(certificate.not_valid_after_utc.timestamp())
    if now < not_before:
        raise InvalidCertificate(
            f"The certificate is valid only from {_date(not_before)}; check this machine's clock."
        )
    if now > not_after:
        raise InvalidCertificate(
            f"The certificate expired on {_date(not_after)}; ask the authority to renew it."
        )
    if _constraints(certificate).ca:
        raise InvalidCertificate("An authority's certificate cannot stand for a node; use its own.")
    public_key, nonce = _certified_key(certificate), _enrolment_nonce(certificate)
    node = derive_node_id(public_key, nonce)
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1 or names[0].value != node.hex():
        raise InvalidCertificate(
            "The certificate names another node than its key and nonce; ask for a new one."
        )
    return NodeCertificate(node, public_key, nonce, not_before, not_after)


def certificate_node_id(
    data: bytes, authority: x509.Certificate, *, now: float
) -> tuple[bytes, bytes]:
    """Node id and public key of a certificate, verified as by `verify_certificate`."""
    verified = verify_certificate(data, authority, now=now)
    return verified.node_id, verified.public_key


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """PEM text of a certificate, as files hold it."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def private_key_pem(seed: bytes, passphrase: bytes) -> bytes:
    """Ed25519 private key in PKCS #8 PEM, encrypted: `ssl` loads keys from files only."""
    return Ed25519PrivateKey.from_private_bytes(seed).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase),
    )


def _parse(data: bytes) -> x509.Certificate:
    unreadable = "The certificate is not readable X.509; ask the authority for a new one."
    if len(data) > CERTIFICATE_BYTES_MAX:
        raise InvalidCertificate(unreadable)
    try:
        if data.lstrip().startswith(b"-----BEGIN"):
            return x509.load_pem_x509_certificate(data)
        return x509.load_der_x509_certificate(data)
    except (ValueError, x509.InvalidVersion) as error:
        raise InvalidCertificate(unreadable) from error


def _is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, UnsupportedAlgorithm, _SignatureMismatch):
        return False
    return True


def _extensions(certificate: x509.Certificate) -> x509.Extensions:
    try:
        return certificate.extensions
    except (ValueError, x509.DuplicateExtension) as error:
        raise InvalidCertificate(
            "The certificate's extensions are damaged; ask the authority for a new one."
        ) from error


def _constraints(certificate: x509.Certificate) -> x509.BasicConstraints:
    for extension in _extensions(certificate):
        if isinstance(extension.value, x509.BasicConstraints):
            return extension.value
    return x509.BasicConstraints(ca=False, path_length=None)


def _enrolment_nonce(certificate: x509.Certificate) -> bytes:
    for extension in _extensions(certificate):
        value = extension.value
        if isinstance(value, x509.UnrecognizedExtension) and extension.oid == ENROLMENT_NONCE_OID:
            if value.value[:2] == _OCTET_STRING_16 and len(value.value) == 18:
                return value.value[2:]
            break
    raise InvalidCertificate(
        "The certificate carries no valid enrolment nonce; ask the authority for a new one."
    )


def _certified_key(certificate: x509.Certificate) -> bytes:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidCertificate(
            "The certificate's key is damaged; ask the authority for a new one."
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidCertificate(
            "The certificate's key is not Ed25519; ask the authority for a new one."
        )
    return _raw(key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: Ed25519PublicKey,
    not_before: int,
    not_after: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_moment(not_before))
        .not_valid_after(_moment(not_after))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str, network: str) -> x509.Name:
    attributes = [
        x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, network),
    ]
    return x509.Name(attributes)


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _moment(unix_s: int) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)


def _date(unix_s: int) -> str:
    return _moment(unix_s).date().isoformat()
