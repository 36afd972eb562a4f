"""A peer asks for much and reads nothing; what waits for it is bounded, and it is cut off (D2).

By the bytes that wait for it, or by the time for which it takes none: without both it would stay.
"""

import asyncio
from pathlib import Path

import pytest
from tests.transport_kit import Town, Wire, run, until

from pnyx.node.transport import TransportLimits
from pnyx.node.transport.frames import Kind, header

REPLY = bytes(1_000_000)
ENDLESS_S, ENDLESS_BYTES = 3600.0, 10**9


async def ask_and_never_read(town: Town, port: int, requests: int) -> Wire:
    wire = await Wire.insider(town, port)
    wire.writer.transport.pause_reading()
    wire.send(header(Kind.REQUEST, 1, 0) * requests)
    return wire


@pytest.mark.parametrize(
    "limits",
    [
        TransportLimits(outgoing_bytes_max=8_000_000, frame_s=ENDLESS_S),
        TransportLimits(outgoing_bytes_max=ENDLESS_BYTES, frame_s=0.4),
    ],
    ids=["bytes", "time"],
)
def test_unread_replies(tmp_path: Path, limits: TransportLimits) -> None:
    async def main() -> None:
        town = Town(tmp_path)
        victim, honest = town.transport(limits=limits), town.transport()
        await victim.start(lambda peer, payload: REPLY)
        await honest.start(lambda peer, payload: payload)
        honest.learn_address(victim.node_id, "127.0.0.1", victim.port)
        wire = await ask_and_never_read(town, victim.port, 100)
        await until(lambda: victim.peers == ())
        assert await honest.request(victim.node_id, b"x") == REPLY
        wire.abort()
        await victim.stop()
        await honest.stop()

    run(main())


def test_without_bounds_they_would_pile_up(tmp_path: Path) -> None:
    async def main() -> None:
        town = Town(tmp_path)
        limits = TransportLimits(outgoing_bytes_max=ENDLESS_BYTES, frame_s=ENDLESS_S, close_s=0.2)
        victim = town.transport(limits=limits)
        await victim.start(lambda peer, payload: REPLY)
        wire = await ask_and_never_read(town, victim.port, 100)
        await asyncio.sleep(0.8)
        (link,) = victim._links
        assert link.channel.backlog_bytes > 50 * len(REPLY)
        wire.abort()
        await victim.stop()

    run(main())
