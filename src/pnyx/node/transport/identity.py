"""This node's certificate and key, loaded into TLS contexts.

TLS 1.3 only, certificates required on both sides, the network's authority as the only root, strict
X.509 checks, no session tickets (a resumed session would skip the certificate), and the protocol's
version as ALPN name, so that it is part of the signed handshake. Host names mean nothing here:
who a peer is follows from its certificate (`certificates.verify_certificate`).

The stdlib loads private keys from files only. The key is written for that instant into a file that
only its owner can read, encrypted under a one-time password, and removed at once: nothing
readable reaches the disk.
"""

import secrets
import ssl
import tempfile
from pathlib import Path

from cryptography import x509

from pnyx.errors import InvalidCertificate, TransportError
from pnyx.node.certificates import (
    NodeCertificate,
    certificate_pem,
    private_key_pem,
    read_authority_certificate,
    verify_certificate,
)
from pnyx.primitives.signature import SigningKey

ALPN = "pnyx/1"

_PASSWORD_BYTES = 32


class TlsIdentity:
    """What a node shows to its peers and what it trusts.

    certificate: our own, PEM or DER. authority: the network's, PEM or DER. directory: private
    directory of the node. now: unix seconds.
    Raises InvalidCertificate when they do not fit together or have expired, TransportError when
    the directory cannot be written.
    """

    def __init__(
        self, seed: bytes, certificate: bytes, authority: bytes, directory: Path, *, now: float
    ) -> None:
        self.authority: x509.Certificate = read_authority_certificate(authority)
        self.certificate: NodeCertificate = verify_certificate(certificate, self.authority, now=now)
        if SigningKey(seed).public_key != self.certificate.public_key:
            raise InvalidCertificate(
                "The certificate belongs to another key; use the one issued for this node."
            )
        self.server_context = _context(ssl.PROTOCOL_TLS_SERVER)
        self.client_context = _context(ssl.PROTOCOL_TLS_CLIENT)
        self._trust_authority()
        self._load_key(seed, certificate, directory)

    def __repr__(self) -> str:
        return f"TlsIdentity({self.node_id.hex()[:12]})"

    @property
    def node_id(self) -> bytes:
        """This node's 32-byte id."""
        return self.certificate.node_id

    def _trust_authority(self) -> None:
        root = certificate_pem(self.authority).decode("ascii")
        for context in (self.server_context, self.client_context):
            context.load_verify_locations(cadata=root)

    def _load_key(self, seed: bytes, certificate: bytes, directory: Path) -> None:
        password = secrets.token_hex(_PASSWORD_BYTES)
        own = certificate_pem(_parse_verified(certificate))
        try:
            # mkstemp gives mode 0600 whatever the umask.
            with tempfile.NamedTemporaryFile(dir=directory, prefix=".tls-") as file:
                file.write(own + private_key_pem(seed, password.encode()))
                file.flush()
                for context in (self.server_context, self.client_context):
                    context.load_cert_chain(file.name, password=password)
        except OSError as error:
            raise TransportError(
                f"Cannot write in {directory} ({error.strerror or error}); "
                "check its permissions and free space."
            ) from error


def explain(error: ssl.SSLError) -> str:
    """Say in plain words why a handshake failed, as the end of a sentence about the peer."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return {
            9: "showed a certificate that is not valid yet; check both machines' clocks",
            10: "showed an expired certificate; its owner must renew it",
        }.get(error.verify_code, "showed a certificate that this network's authority did not sign")
    reason = error.reason or ""
    if "CERTIFICATE_EXPIRED" in reason:
        return "refused our certificate as expired; ask the authority to renew it"
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
        return "refused our certificate; ask this network's authority for one"
    if "VERSION" in reason or "UNSUPPORTED_PROTOCOL" in reason:
        return "does not speak TLS 1.3; it must be upgraded"
    return f"broke off the TLS connection ({reason.lower().replace('_', ' ') or 'no reason given'})"


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0
    context.set_alpn_protocols([ALPN])
    return context


def _parse_verified(certificate: bytes) -> x509.Certificate:
    if certificate.lstrip().startswith(b"-----BEGIN"):
        return x509.load_pem_x509_certificate(certificate)
    return x509.load_der_x509_certificate(certificate)
