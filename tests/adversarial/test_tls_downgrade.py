"""Older TLS versions and other application protocols are refused on both sides (T4, T5)."""

import asyncio
import secrets
import ssl
from pathlib import Path

import pytest
from tests.transport_kit import Town, Wire, attacker_context, load_key, run, take_reports

from pnyx.errors import TransportError


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


def test_dialler_speaks_another_protocol(tmp_path: Path) -> None:
    """A valid certificate shown for another application protocol opens nothing here."""

    async def main() -> None:
        town = Town(tmp_path)
        victim, person = town.transport(), town.person()
        await victim.start(lambda peer, payload: payload)
        context = attacker_context(alpn="h2")
        load_key(context, person.pem, person.seed, tmp_path)
        wire = await Wire.dial(victim.port, context)
        assert await wire.closed(within_s=3) == b""
        assert victim.peers == ()
        await victim.stop()

    run(main())
