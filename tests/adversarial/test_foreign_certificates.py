"""Only the network's own, valid certificates open a connection, in both directions (I1, I4, T4).

Certificates are read twice: by OpenSSL during the handshake, which spares us strangers' bytes, and
by `verify_certificate`, which gives the peer's id and relies on no option of a TLS context. Either
may be taken away. That the certificate of an authority stands for no node OpenSSL tells by its
purpose, which no option switches off; our own check of it is in `test_certificates`.
"""

import asyncio
import secrets
import ssl
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.transport_kit import DAY_S, NOW, Person, Town, Wire, attacker_context, load_key, run

from pnyx.errors import TransportError
from pnyx.node.certificates import NodeCertificate, certificate_pem
from pnyx.node.transport import tls
from pnyx.node.transport.frames import Kind, header
from pnyx.node.transport.tls import TlsTransport

NO_CHECK_TIME = ssl.VerifyFlags(0x200000)  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL


def stranger(town: Town) -> Person:
    """Certified by another authority that carries the same name."""
    return Town(town.directory).person()


def expired(town: Town) -> Person:
    return town.person(not_before=NOW - 9 * DAY_S, not_after=NOW - DAY_S)


def early(town: Town) -> Person:
    return town.person(not_before=NOW + DAY_S // 2, not_after=NOW + DAY_S)


def self_signed(town: Town) -> Person:
    person = town.person()
    own = Town(town.directory)
    person.pem, person.seed = own.root_pem, own.seed
    return person


def authority_itself(town: Town) -> Person:
    person = town.person()
    person.pem, person.seed = town.root_pem, town.seed
    return person


CASES = {
    "unknown authority": (stranger, "did not sign", "refused our certificate;"),
    "expired": (expired, "expired certificate", "refused our certificate as expired"),
    "not yet valid": (early, "not valid yet", "refused our certificate"),
    "self-signed": (self_signed, "did not sign", "refused our certificate"),
    "the authority's own": (authority_itself, "bad certificate|did not sign", "refused our cert"),
}


@pytest.mark.parametrize("name", CASES)
def test_dialler_with_a_bad_certificate(tmp_path: Path, name: str) -> None:
    async def main() -> None:
        town = Town(tmp_path)
        victim = town.transport()
        await victim.start(lambda peer, payload: payload)
        person = CASES[name][0](town)
        context = attacker_context()
        load_key(context, person.pem, person.seed, tmp_path)
        wire = await Wire.dial(victim.port, context)
        greeting = await wire.closed(within_s=3)
        assert greeting[4:5] != b"\x01"  # no WELCOME
        assert victim.peers == ()
        await victim.stop()

    run(main())


def trust_blindly(context: ssl.SSLContext, person: Person) -> None:
    """Have OpenSSL accept a certificate of whatever issuer, date and form."""
    context.load_verify_locations(cadata=person.root_pem.decode())
    flags = context.verify_flags & ~ssl.VERIFY_X509_STRICT
    context.verify_flags = flags | NO_CHECK_TIME


def read_blindly(data: bytes, _authority: x509.Certificate, *, now: float) -> NodeCertificate:
    """Our own reading, without a check."""
    return NodeCertificate(sha256(data).digest(), b"", b"", 0, int(now) + DAY_S)


async def lets_in(victim: TlsTransport, person: Person, directory: Path) -> bool:
    """Whether somebody with this certificate and its key gets in."""
    await victim.start(lambda peer, payload: payload)
    context = attacker_context()
    load_key(context, person.pem, person.seed, directory)
    wire = await Wire.dial(victim.port, context)
    greeting = b""
    with suppress(OSError):  # what OpenSSL refuses ends in an alert
        greeting = await wire.reader.read(9)
    wire.abort()
    await victim.stop()
    return greeting == header(Kind.WELCOME, 0, 0)


@pytest.mark.parametrize("make", [stranger, expired, early])
def test_each_reading_suffices(
    tmp_path: Path, make: Callable[[Town], Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        town = Town(tmp_path)
        for openssl, ours in ((True, False), (False, True), (False, False)):
            victim, person = town.transport(), make(town)
            if not openssl:
                trust_blindly(victim._identity.server_context, person)
            if not ours:
                monkeypatch.setattr(tls, "verify_certificate", read_blindly)
            entered = await lets_in(victim, person, tmp_path)
            assert entered == (not openssl and not ours), (openssl, ours)
            monkeypatch.undo()

    run(main())


def unusual(town: Town) -> Person:
    """Signed by the authority's key in a form that it never issues: without the issuer's key id."""
    person, authority = town.person(), town.authority.certificate
    issued = person.issued
    builder = (
        x509.CertificateBuilder()
        .subject_name(issued.subject)
        .issuer_name(authority.subject)
        .public_key(issued.public_key())
        .serial_number(issued.serial_number)
        .not_valid_before(issued.not_valid_before_utc)
        .not_valid_after(issued.not_valid_after_utc)
    )
    for extension in issued.extensions:
        if not isinstance(extension.value, x509.AuthorityKeyIdentifier):
            builder = builder.add_extension(extension.value, extension.critical)
    key = Ed25519PrivateKey.from_private_bytes(town.seed)
    person.pem = certificate_pem(builder.sign(key, None))
    return person


def test_strict_reading_is_openssls_alone(tmp_path: Path) -> None:
    async def main() -> None:
        town = Town(tmp_path)
        assert not await lets_in(town.transport(), unusual(town), tmp_path)
        victim = town.transport()
        victim._identity.server_context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        assert await lets_in(victim, unusual(town), tmp_path)

    run(main())


def test_dialler_without_certificate(tmp_path: Path) -> None:
    """OpenSSL asks for one and says so; where it did not insist, there is none to read."""

    async def main() -> None:
        victim = Town(tmp_path).transport()
        await victim.start(lambda peer, payload: payload)
        wire = await Wire.dial(victim.port, attacker_context())
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
            await wire.reader.read()
        wire.abort()
        victim._identity.server_context.verify_mode = ssl.CERT_OPTIONAL
        wire = await Wire.dial(victim.port, attacker_context())
        assert await wire.closed(within_s=3) == b""
        assert victim.traffic.handshakes == 0
        await victim.stop()

    run(main())


@pytest.mark.parametrize("name", CASES)
def test_listener_with_a_bad_certificate(tmp_path: Path, name: str) -> None:
    async def main() -> None:
        town = Town(tmp_path)
        make, sentence, _ = CASES[name]
        victim, person = town.transport(), make(town)
        await victim.start(lambda peer, payload: payload)
        context = attacker_context(server=True)
        load_key(context, person.pem, person.seed, tmp_path)
        server, port = await listen(context)
        peer = secrets.token_bytes(32)
        victim.learn_address(peer, "127.0.0.1", port)
        with pytest.raises(TransportError, match=sentence):
            await victim.request(peer, b"x")
        await victim.stop()
        server.close()

    run(main())


@pytest.mark.parametrize("name", ["unknown authority", "expired"])
def test_owner_of_a_bad_certificate_is_told(tmp_path: Path, name: str) -> None:
    """The refused node itself, running our own code, says what its owner must do."""

    async def main() -> None:
        town = Town(tmp_path)
        make, _, sentence = CASES[name]
        listening = town.transport()
        await listening.start(lambda peer, payload: payload)
        person = make(town)
        refused = town.transport()
        load_key(refused._identity.client_context, person.pem, person.seed, tmp_path)
        await refused.start(lambda peer, payload: payload)
        refused.learn_address(listening.node_id, "127.0.0.1", listening.port)
        with pytest.raises(TransportError, match=sentence):
            await refused.request(listening.node_id, b"x")
        await refused.stop()
        await listening.stop()

    run(main())


def test_our_own_certificate_used_by_somebody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the key as well: nothing else is wrong with it."""

    async def main() -> None:
        town = Town(tmp_path)
        person = town.person()
        assert not await lets_in(town.transport(town.identity(person)), person, tmp_path)

        def identify(transport: TlsTransport, certificate: bytes) -> tuple[bytes, int]:
            authority = transport._identity.authority
            read = tls.verify_certificate(certificate, authority, now=transport._wall_clock())
            return read.node_id, read.not_after

        monkeypatch.setattr(TlsTransport, "identify", identify)
        assert await lets_in(town.transport(town.identity(person)), person, tmp_path)

    run(main())


async def listen(
    context: ssl.SSLContext, serve: Callable[..., None] | None = None
) -> tuple[asyncio.Server, int]:
    """A listener that accepts anything."""

    def close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    server = await asyncio.start_server(serve or close, "127.0.0.1", 0, ssl=context)
    return server, server.sockets[0].getsockname()[1]
