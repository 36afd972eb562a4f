"""A node that leaves the census loses its connections and opens no new ones (I4)."""

from pathlib import Path

import pytest
from tests.transport_kit import Town, run, until

from pnyx.errors import TransportError
from pnyx.node.transport import TransportLimits


def test_revoked_peer(tmp_path: Path) -> None:
    async def main() -> None:
        town, revoked = Town(tmp_path), set()
        limits = TransportLimits(close_s=0.4)
        victim = town.transport(limits=limits, admit=lambda peer: peer not in revoked)
        culprit = town.transport()
        lost: list[bytes] = []
        await victim.start(lambda peer, payload: payload, lost.append)
        await culprit.start(lambda peer, payload: payload)
        culprit.learn_address(victim.node_id, "127.0.0.1", victim.port)
        assert await culprit.request(victim.node_id, b"x") == b"x"
        revoked.add(culprit.node_id)
        await until(lambda: lost == [culprit.node_id])
        with pytest.raises(TransportError, match="does not admit this node"):
            await culprit.request(victim.node_id, b"x")
        assert victim.traffic.requests == 1
        await victim.stop()
        await culprit.stop()

    run(main())
