"""A peer claims a frame of 2^31 bytes: it is cut off at once and nothing is allocated (D1)."""

import time
from pathlib import Path

import pytest
from tests.transport_kit import Town, Wire, resident_bytes, run

from pnyx.node.transport import TransportLimits


@pytest.mark.parametrize("claim", [2**31, 2**32 - 1, TransportLimits().frame_bytes_max + 6])
def test_oversized_frame(tmp_path: Path, claim: int) -> None:
    async def main() -> None:
        town = Town(tmp_path)
        victim, honest = town.transport(limits=None), town.transport()
        for transport in (victim, honest):
            await transport.start(lambda peer, payload: payload)
        honest.learn_address(victim.node_id, "127.0.0.1", victim.port)
        wire = await Wire.insider(town, victim.port)
        before, asked_at = resident_bytes(), time.monotonic()
        wire.send(claim.to_bytes(4, "big"))  # not even a whole header
        assert await wire.closed() == b""
        assert time.monotonic() - asked_at < 1  # 0.1 s is measured by the benchmark
        assert resident_bytes() - before < 10_000_000
        assert await honest.request(victim.node_id, b"x") == b"x"
        await victim.stop()
        await honest.stop()

    run(main())
