"""An insider breaks the framing; only its own connection suffers."""

import secrets
from pathlib import Path

import pytest
from tests.transport_kit import Town, Wire, run, until

from pnyx.node.transport import TransportLimits
from pnyx.node.transport.frames import Kind, header

GARBAGE = {
    "random bytes": b"\xff" + secrets.token_bytes(5000),
    "length below a header": (4).to_bytes(4, "big") + bytes(5),
    "unknown kind": (5).to_bytes(4, "big") + b"\x63" + bytes(4),
    "welcome from the dialler": header(Kind.WELCOME, 0, 0),
    "refusal from the dialler": header(Kind.REFUSED, 0, 1) + b"\x01",
    "goodbye twice": header(Kind.REQUEST, 1, 4) + b"hold" + header(Kind.GOODBYE, 0, 0) * 2,
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_frames(tmp_path: Path, name: str) -> None:
    async def main() -> None:
        town = Town(tmp_path)
        victim, honest = town.transport(), town.transport()
        for transport in (victim, honest):
            await transport.start(lambda peer, payload: payload)
        honest.learn_address(victim.node_id, "127.0.0.1", victim.port)
        wire = await Wire.insider(town, victim.port)
        wire.send(GARBAGE[name])
        await wire.closed(within_s=3)
        assert await honest.request(victim.node_id, b"x") == b"x"
        await until(lambda: victim.peers == (honest.node_id,))
        await victim.stop()
        await honest.stop()

    run(main())


def test_request_after_goodbye(tmp_path: Path) -> None:
    """Whoever said goodbye asks nothing more: links must drain."""

    async def main() -> None:
        town = Town(tmp_path)
        victim = town.transport()
        await victim.start(lambda peer, payload: payload)
        wire = await Wire.insider(town, victim.port)
        ask = header(Kind.REQUEST, 1, 0)
        wire.send(ask + header(Kind.GOODBYE, 0, 0) + ask)
        await wire.closed(within_s=3)
        assert victim.traffic.requests == 1
        await victim.stop()

    run(main())


def test_truncated_frames(tmp_path: Path) -> None:
    """A frame cut short by the end of the stream is not delivered."""

    async def main() -> None:
        town = Town(tmp_path)
        victim = town.transport()
        await victim.start(lambda peer, payload: payload)
        whole = header(Kind.REQUEST, 1, 1000) + bytes(1000)
        for size in (2, 4, 8, 9, 10, 1008):
            wire = await Wire.insider(town, victim.port)
            wire.send(whole[:size])
            wire.writer.close()
            await wire.closed(within_s=3)
        await until(lambda: victim.peers == ())
        assert victim.traffic.requests == 0
        await victim.stop()

    run(main())


def test_answers_nobody_asked_for(tmp_path: Path) -> None:
    """Unknown request ids are ignored: they may be late answers; no answer is mistaken."""

    async def main() -> None:
        town = Town(tmp_path)
        victim = town.transport()
        await victim.start(lambda peer, payload: payload)
        wire = await Wire.insider(town, victim.port)
        wire.send((header(Kind.REPLY, 1, 4) + b"fake") * 3 + header(Kind.FAILED, 2, 0))
        wire.send(header(Kind.REQUEST, 7, 1) + b"x")
        assert await wire.reader.readexactly(10) == header(Kind.REPLY, 7, 1) + b"x"
        wire.abort()
        await until(lambda: victim.peers == ())
        await victim.stop()

    run(main())


def test_frame_sent_drop_by_drop(tmp_path: Path) -> None:
    """A frame must arrive whole within its deadline, however busy the sender keeps the line."""

    async def main() -> None:
        town = Town(tmp_path)
        victim = town.transport(limits=TransportLimits(frame_s=0.4))
        await victim.start(lambda peer, payload: payload)
        wire = await Wire.insider(town, victim.port)
        wire.send(header(Kind.REQUEST, 1, 1000))

        def drip() -> bool:
            if victim.peers:
                wire.send(b"x")
            return not victim.peers

        await until(drip, within_s=4)
        wire.abort()
        await victim.stop()

    run(main())


def test_goodbye_without_leaving(tmp_path: Path) -> None:
    """A peer that answers no goodbye is cut off when the request deadline has passed."""

    async def main() -> None:
        town = Town(tmp_path)
        victim = town.transport(limits=TransportLimits(idle_s=0.2, request_s=0.4))
        await victim.start(lambda peer, payload: payload)
        wire = await Wire.insider(town, victim.port)
        assert await wire.closed(within_s=4) == header(Kind.GOODBYE, 0, 0)
        assert victim._links == set()
        await victim.stop()

    run(main())
