"""A peer asks for much and reads nothing; what waits for it is bounded, and it is cut off (D2)."""

from pathlib import Path

from tests.transport_kit import Town, Wire, run, until

from pnyx.node.transport import TransportLimits
from pnyx.node.transport.frames import Kind, header


def test_unread_replies(tmp_path: Path) -> None:
    async def main() -> None:
        town = Town(tmp_path)
        limits = TransportLimits(outgoing_bytes_max=8_000_000)
        victim, honest = town.transport(limits=limits), town.transport()
        reply = bytes(1_000_000)
        await victim.start(lambda peer, payload: reply)
        await honest.start(lambda peer, payload: payload)
        honest.learn_address(victim.node_id, "127.0.0.1", victim.port)
        wire = await Wire.insider(town, victim.port)
        wire.writer.transport.pause_reading()
        wire.send(header(Kind.REQUEST, 1, 0) * 100)
        await until(lambda: victim.peers == ())
        assert await honest.request(victim.node_id, b"x") == reply
        wire.abort()
        await victim.stop()
        await honest.stop()

    run(main())
