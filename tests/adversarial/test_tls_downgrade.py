"""Older TLS versions and other application protocols are refused on both sides (T4, T5)."""

import asyncio
import secrets
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tests.transport_kit import Town, Wire, attacker_context, load_key, run, take_reports

from pnyx.errors import TransportError
from pnyx.node.transport import channel
from pnyx.node.transport.frames import Kind, header

Attack = Callable[[Town, str | None], Awaitable[bool]]


def test_dialler_offers_only_old_tls(tmp_path: Path) -> None:
    async def main() -> None:
        town = Town(tmp_path)
        victim, person = town.transport(), town.person()
        await victim.start(lambda peer, payload: payload)
        context = attacker_context(maximum=ssl.TLSVersion.TLSv1_2)
        load_key(context, person.pem, person.seed, tmp_path)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await Wire.dial(victim.port, context)
        assert victim.traffic.handshakes == 0
        await victim.stop()

    run(main())


def test_listener_offers_only_old_tls(tmp_path: Path) -> None:
    async def main() -> None:
        town = Town(tmp_path)
        victim, person = town.transport(), town.person()
        await victim.start(lambda peer, payload: payload)
        context = attacker_context(server=True, maximum=ssl.TLSVersion.TLSv1_2)
        load_key(context, person.pem, person.seed, tmp_path)
        server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0, ssl=context)
        peer = secrets.token_bytes(32)
        victim.learn_address(peer, "127.0.0.1", server.sockets[0].getsockname()[1])
        # asyncio's own listener closes without the alert that would name the version.
        with pytest.raises(TransportError, match=r"TLS 1\.3|closed the connection"):
            await victim.request(peer, b"x")
        assert victim.traffic.handshakes == 0
        await victim.stop()
        server.close()
        take_reports()

    run(main())


async def lets_in(town: Town, alpn: str | None) -> bool:
    """Whether a dialler with a valid certificate gets in by another application protocol."""
    victim, person = town.transport(), town.person()
    await victim.start(lambda peer, payload: payload)
    context = attacker_context(alpn=alpn)
    load_key(context, person.pem, person.seed, town.directory)
    wire = await Wire.dial(victim.port, context)
    greeting = b""
    with suppress(OSError):
        greeting = await wire.reader.read(9)
    wire.abort()
    await victim.stop()
    return greeting == header(Kind.WELCOME, 0, 0)


async def goes_along(town: Town, alpn: str | None) -> bool:
    """Whether a node that dials a valid listener accepts another application protocol."""
    victim, person = town.transport(), town.person()
    await victim.start(lambda peer, payload: payload)
    context = attacker_context(server=True, alpn=alpn)
    load_key(context, person.pem, person.seed, town.directory)
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0, ssl=context)
    peer = town.identity(person).node_id
    victim.learn_address(peer, "127.0.0.1", server.sockets[0].getsockname()[1])
    with pytest.raises(TransportError):
        await victim.request(peer, b"x")
    await victim.stop()
    server.close()
    take_reports()
    return victim.traffic.handshakes > 0


@pytest.mark.parametrize("alpn", [None, "h2"])
@pytest.mark.parametrize("attack", [lets_in, goes_along])
def test_another_protocol(
    tmp_path: Path, attack: Attack, alpn: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A valid certificate shown for another application protocol, or for none, opens nothing.

    OpenSSL goes on when the protocols offered do not meet: only what was agreed on tells.
    """

    async def main() -> None:
        town = Town(tmp_path)
        assert not await attack(town, alpn)
        monkeypatch.setattr(channel, "ALPN", None)
        assert await attack(town, alpn), "our look at what was agreed on is the defence"

    run(main())
