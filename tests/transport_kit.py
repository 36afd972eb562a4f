"""Networks of certified nodes for transport tests: real keys and certificates, loopback sockets."""

import asyncio
import secrets
import ssl
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from pnyx.node.certificates import Authority, certificate_pem, create_authority, private_key_pem
from pnyx.node.transport import TransportLimits
from pnyx.node.transport.frames import Kind, header
from pnyx.node.transport.identity import TlsIdentity
from pnyx.node.transport.tls import TlsTransport
from pnyx.primitives.signature import SigningKey

DAY_S = 86_400
NOW = time.time_ns() // 10**9

# Deadlines short enough for tests, long enough for a busy machine.
QUICK = TransportLimits(
    connect_s=5.0, handshake_s=5.0, request_s=5.0, frame_s=5.0, close_s=2.0, backoff_max_s=0.2
)


_reports: ContextVar[list[dict[str, Any]]] = ContextVar("reports")


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine; anything reported to the loop or left running fails the test."""

    async def guarded() -> None:
        reports: list[dict[str, Any]] = []
        _reports.set(reports)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: reports.append(context))
        async with asyncio.timeout(30):
            await main
        await asyncio.sleep(0)
        leaked = asyncio.all_tasks() - {asyncio.current_task()}
        assert not leaked, leaked
        assert not reports, reports

    asyncio.run(guarded())


def take_reports() -> list[dict[str, Any]]:
    """Return, and forget, what was reported to the running loop's exception handler."""
    reports = _reports.get()
    taken = list(reports)
    reports.clear()
    return taken


async def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    """Wait for a condition that other tasks bring about."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)


class Person:
    """A node's secret key and certificate."""

    def __init__(self, authority: Authority, *, not_before: int, not_after: int) -> None:
        self.seed = secrets.token_bytes(32)
        self.nonce = secrets.token_bytes(16)
        self.issued = authority.issue(
            SigningKey(self.seed).public_key,
            self.nonce,
            not_before=not_before,
            not_after=not_after,
        )
        self.pem = certificate_pem(self.issued)
        self.root_pem = certificate_pem(authority.certificate)


class Town:
    """One network's authority, and the nodes it has certified."""

    def __init__(self, directory: Path, name: str = "test town") -> None:
        self.directory = directory
        self.seed = secrets.token_bytes(32)
        self.authority = create_authority(
            self.seed, name, not_before=NOW - 400 * DAY_S, not_after=NOW + DAY_S
        )
        self.root_pem = certificate_pem(self.authority.certificate)

    def person(self, *, not_before: int = NOW - DAY_S, not_after: int = NOW + DAY_S) -> Person:
        return Person(self.authority, not_before=not_before, not_after=not_after)

    def identity(self, person: Person | None = None, *, now: float = NOW) -> TlsIdentity:
        person = person or self.person()
        return TlsIdentity(person.seed, person.pem, self.root_pem, self.directory, now=now)

    def transport(self, identity: TlsIdentity | None = None, **options: Any) -> TlsTransport:
        options.setdefault("limits", QUICK)
        return TlsTransport(identity or self.identity(), **options)


def attacker_context(
    *,
    server: bool = False,
    alpn: str | None = "pnyx/1",
    maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> ssl.SSLContext:
    """A TLS context that checks nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = maximum
    if alpn is not None:
        context.set_alpn_protocols([alpn])
    return context


def load_key(context: ssl.SSLContext, pem: bytes, seed: bytes, directory: Path) -> None:
    """Load a certificate with its key, of whatever origin, into a context."""
    path = directory / f"attacker-{secrets.token_hex(4)}.pem"
    path.write_bytes(pem + private_key_pem(seed, b"attacker"))
    context.load_cert_chain(path, password=b"attacker")


class Wire:
    """An attacker's end of a TLS connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def dial(cls, port: int, context: ssl.SSLContext | None) -> "Wire":
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=context))

    @classmethod
    async def insider(cls, town: "Town", port: int, person: Person | None = None) -> "Wire":
        """A connection with a valid certificate, past the WELCOME."""
        person = person or town.person()
        context = attacker_context()
        load_key(context, person.pem, person.seed, town.directory)
        wire = await cls.dial(port, context)
        assert await wire.reader.readexactly(9) == header(Kind.WELCOME, 0, 0)
        return wire

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def closed(self, within_s: float = 10.0) -> bytes:
        """Wait until the other side has closed; return what it sent before."""
        received = b""
        async with asyncio.timeout(within_s):
            with suppress(OSError, ssl.SSLError):
                while data := await self.reader.read(65536):
                    received += data
        self.abort()
        return received

    def abort(self) -> None:
        self.writer.transport.abort()


def resident_bytes() -> int:
    """Memory of this process that is really in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096
