"""Connections that never finish their handshake end by the deadline, and delay nobody (D2)."""

import time
from pathlib import Path

from tests.transport_kit import Town, Wire, run

from pnyx.node.transport import TransportLimits


def test_slow_handshake(tmp_path: Path) -> None:
    async def main() -> None:
        town = Town(tmp_path)
        victim, honest = town.transport(limits=TransportLimits(handshake_s=0.4)), town.transport()
        for transport in (victim, honest):
            await transport.start(lambda peer, payload: payload)
        honest.learn_address(victim.node_id, "127.0.0.1", victim.port)
        started_at = time.monotonic()
        silent = await Wire.dial(victim.port, None)
        halting = await Wire.dial(victim.port, None)
        halting.send(bytes.fromhex("16030100f0"))  # a TLS record that announces a ClientHello
        assert await honest.request(victim.node_id, b"x") == b"x"
        for wire in (silent, halting):
            assert await wire.closed() == b""
        assert 0.3 < time.monotonic() - started_at < 5
        assert await honest.request(victim.node_id, b"x") == b"x"
        await victim.stop()
        await honest.stop()

    run(main())
