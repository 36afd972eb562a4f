"""Strangers open many connections and leave them idle; honest peers still get through (D2)."""

from pathlib import Path

import pytest
from tests.transport_kit import Town, Wire, run, until

from pnyx.node.transport import TransportLimits

CAP = 16


@pytest.mark.parametrize(
    "limits",
    [
        TransportLimits(handshakes_max=CAP),
        TransportLimits(handshakes_per_address_max=CAP),
        TransportLimits(connections_per_address_max=CAP),
    ],
)
def test_idle_flood(tmp_path: Path, limits: TransportLimits) -> None:
    async def main() -> None:
        town = Town(tmp_path)
        victim, honest, late = town.transport(limits=limits), town.transport(), town.transport()
        for transport in (victim, honest, late):
            await transport.start(lambda peer, payload: payload)
            if transport is not victim:
                transport.learn_address(victim.node_id, "127.0.0.1", victim.port)
        assert await honest.request(victim.node_id, b"x") == b"x"
        flood = [await Wire.dial(victim.port, None) for _ in range(10 * CAP)]
        await until(lambda: victim.traffic.connections_refused >= 9 * CAP)
        assert len(victim._links) <= CAP + 1
        # Whoever was there is not disturbed, whoever comes is let in.
        assert await honest.request(victim.node_id, b"x") == b"x"
        assert honest.traffic.handshakes == 1
        assert await late.request(victim.node_id, b"x") == b"x"
        for wire in flood:
            wire.abort()
        for transport in (victim, honest, late):
            await transport.stop()

    run(main())


def test_one_insider_opens_many_connections(tmp_path: Path) -> None:
    async def main() -> None:
        town, crowd = Town(tmp_path), 12
        victim, person = town.transport(limits=None), town.person()
        await victim.start(lambda peer, payload: payload)
        wires = [await Wire.insider(town, victim.port, person) for _ in range(crowd)]
        await until(lambda: len(victim._links) <= 4, within_s=3)
        for wire in wires:
            wire.abort()
        await victim.stop()

    run(main())
