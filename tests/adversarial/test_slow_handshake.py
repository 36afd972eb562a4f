"""Connections that never finish their handshake end by the deadline, and delay nobody (D2)."""

import asyncio
import time
from pathlib import Path

from tests.transport_kit import Town, Wire, run

from pnyx.node.transport import TransportLimits

HANDSHAKE_S = 0.4


async def slow_ones(port: int) -> list[Wire]:
    """Somebody who says nothing, and somebody who begins."""
    silent, halting = [await Wire.dial(port, None) for _ in range(2)]
    halting.send(bytes.fromhex("16030100f0"))  # a TLS record that announces a ClientHello
    return [silent, halting]


def test_slow_handshake(tmp_path: Path) -> None:
    async def main() -> None:
        town = Town(tmp_path)
        limits = TransportLimits(handshake_s=HANDSHAKE_S)
        victim, honest = town.transport(limits=limits), town.transport()
        for transport in (victim, honest):
            await transport.start(lambda peer, payload: payload)
        honest.learn_address(victim.node_id, "127.0.0.1", victim.port)
        started_at = time.monotonic()
        wires = await slow_ones(victim.port)
        assert await honest.request(victim.node_id, b"x") == b"x"
        for wire in wires:
            assert await wire.closed() == b""
        assert 0.75 * HANDSHAKE_S < time.monotonic() - started_at < 5
        assert await honest.request(victim.node_id, b"x") == b"x"
        await victim.stop()
        await honest.stop()

    run(main())


def test_without_a_deadline_they_would_stay(tmp_path: Path) -> None:
    async def main() -> None:
        victim = Town(tmp_path).transport(limits=TransportLimits(handshake_s=3600.0))
        await victim.start(lambda peer, payload: payload)
        wires = await slow_ones(victim.port)
        await asyncio.sleep(2 * HANDSHAKE_S)
        assert len(victim._links) == len(wires)
        for wire in wires:
            wire.abort()
        await victim.stop()

    run(main())
