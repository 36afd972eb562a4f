"""A certificate is public; without its key it opens nothing (I4, T4).

The stdlib refuses to load a certificate with a foreign key, so the thief brings a TLS 1.3 client of
its own: just enough of RFC 8446 to show any certificate and to sign with any key.
"""

import asyncio
import hmac
import secrets
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding
from tests.transport_kit import Person, Town, run, until

HANDSHAKE, APPLICATION_DATA = 22, 23
SERVER_FINISHED = 20
ED25519 = b"\x08\x07"


def sized(data: bytes, length_bytes: int = 2) -> bytes:
    return len(data).to_bytes(length_bytes, "big") + data


def message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + sized(body, 3)


def extract(salt: bytes, secret: bytes) -> bytes:
    return hmac.digest(salt, secret, "sha256")


def expand(secret: bytes, label: str, context: bytes, size: int = 32) -> bytes:
    """HKDF-Expand-Label (RFC 8446, section 7.1), up to one block of output."""
    info = size.to_bytes(2, "big") + sized(b"tls13 " + label.encode(), 1) + sized(context, 1)
    return hmac.digest(secret, info + b"\x01", "sha256")[:size]


class Direction:
    """Keys of one direction during the handshake."""

    def __init__(self, secret: bytes) -> None:
        self.aead = AESGCM(expand(secret, "key", b"", 16))
        self.iv = int.from_bytes(expand(secret, "iv", b"", 12), "big")
        self.finished_key = expand(secret, "finished", b"")
        self.count = 0

    def nonce(self) -> bytes:
        nonce = (self.iv ^ self.count).to_bytes(12, "big")
        self.count += 1
        return nonce

    def seal(self, data: bytes) -> bytes:
        inner = data + bytes([HANDSHAKE])
        header = bytes([APPLICATION_DATA, 3, 3]) + (len(inner) + 16).to_bytes(2, "big")
        return header + self.aead.encrypt(self.nonce(), inner, header)

    def open(self, header: bytes, body: bytes) -> bytes:
        return self.aead.decrypt(self.nonce(), body, header).rstrip(b"\0")[:-1]


class Thief:
    """A TLS 1.3 client that shows `certificate` and signs with `key`."""

    def __init__(self, certificate: x509.Certificate, key: Ed25519PrivateKey) -> None:
        self.certificate = certificate.public_bytes(Encoding.DER)
        self.key = key
        self.exchange = X25519PrivateKey.generate()
        self.transcript = b""

    def hash(self) -> bytes:
        return sha256(self.transcript).digest()

    def hello(self) -> bytes:
        extensions = (
            (43, b"\x02\x03\x04"),  # TLS 1.3
            (10, sized(b"\x00\x1d")),  # x25519
            (13, sized(ED25519)),
            (51, sized(b"\x00\x1d" + sized(self.exchange.public_key().public_bytes_raw()))),
            (16, sized(sized(b"pnyx/1", 1))),
        )
        coded = b"".join(number.to_bytes(2, "big") + sized(body) for number, body in extensions)
        suites = sized(b"\x13\x01")  # TLS_AES_128_GCM_SHA256
        start = b"\x03\x03" + secrets.token_bytes(32) + b"\x00" + suites + b"\x01\x00"
        self.transcript = message(1, start + sized(coded))
        return bytes([HANDSHAKE, 3, 1]) + sized(self.transcript)

    def agree(self, server_hello: bytes) -> tuple[Direction, Direction]:
        """Handshake keys, ours and the server's, from its ServerHello."""
        self.transcript += server_hello
        at = server_hello.index(b"\x00\x33\x00\x24\x00\x1d\x00\x20") + 8  # its key share
        shared = self.exchange.exchange(X25519PublicKey.from_public_bytes(server_hello[at:][:32]))
        early = extract(bytes(32), bytes(32))
        secret = extract(expand(early, "derived", sha256(b"").digest()), shared)
        return (
            Direction(expand(secret, "c hs traffic", self.hash())),
            Direction(expand(secret, "s hs traffic", self.hash())),
        )

    def last_flight(self, ours: Direction) -> bytes:
        """Certificate, CertificateVerify and Finished."""
        entry = sized(self.certificate, 3) + sized(b"")
        shown = message(11, b"\x00" + sized(entry, 3))
        self.transcript += shown
        signed = b" " * 64 + b"TLS 1.3, client CertificateVerify\x00" + self.hash()
        proof = message(15, ED25519 + sized(self.key.sign(signed)))
        self.transcript += proof
        finished = message(20, hmac.digest(ours.finished_key, self.hash(), "sha256"))
        return ours.seal(shown + proof + finished)

    async def knock(self, port: int) -> asyncio.StreamWriter:
        """Go through the handshake; what comes of it shows on the server's side."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(self.hello())
        ours = theirs = None
        flight = b""
        while not flight_is_whole(flight):
            header = await reader.readexactly(5)
            body = await reader.readexactly(int.from_bytes(header[3:], "big"))
            if header[0] == HANDSHAKE:
                ours, theirs = self.agree(body)
            elif header[0] == APPLICATION_DATA:
                assert theirs is not None
                flight += theirs.open(header, body)
        self.transcript += flight
        assert ours is not None
        writer.write(self.last_flight(ours))
        return writer


def flight_is_whole(flight: bytes) -> bool:
    """True once the server's messages end with its Finished."""
    at, kind = 0, 0
    while at + 4 <= len(flight):
        kind, size = flight[at], int.from_bytes(flight[at + 1 : at + 4], "big")
        at += 4 + size
    return at == len(flight) and kind == SERVER_FINISHED


async def knock_as(town: Town, person: Person, key: Ed25519PrivateKey) -> tuple[bytes, ...]:
    """Try to enter with a person's certificate and some key; return who got in."""
    victim = town.transport()
    await victim.start(lambda peer, payload: payload)
    writer = await Thief(person.issued, key).knock(victim.port)
    await until(lambda: bool(victim.peers) or not victim._links, within_s=3)
    admitted = victim.peers
    writer.transport.abort()
    await victim.stop()
    return admitted


def test_owner_gets_in(tmp_path: Path) -> None:
    """The control: with the right key the same client is welcome, so only the key keeps it out.

    The proof is checked by OpenSSL, which cannot be told not to. A thief who has the key as well
    gets in, but for the victim's own: see `test_foreign_certificates`.
    """

    async def main() -> None:
        town = Town(tmp_path)
        person = town.person()
        key = Ed25519PrivateKey.from_private_bytes(person.seed)
        assert await knock_as(town, person, key) == (town.identity(person).node_id,)

    run(main())


def test_stolen_certificate(tmp_path: Path) -> None:
    async def main() -> None:
        town = Town(tmp_path)
        assert await knock_as(town, town.person(), Ed25519PrivateKey.generate()) == ()

    run(main())
