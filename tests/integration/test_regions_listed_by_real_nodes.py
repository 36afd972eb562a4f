"""What running nodes list for draws: their surroundings, over real connections, in their epoch."""

import asyncio
from pathlib import Path

from tests.integration.test_ring_of_real_nodes import QUICK
from tests.support.ring_nodes import BEACON, RealNodes
from tests.transport_kit import run

from pnyx.primitives.hashing import digest
from pnyx.protocol.events import RegionListed, RegionWanted
from pnyx.protocol.overlay.positions import forward, position_of

COUNT = 7
WHOLE = RegionWanted(0, 0, 0)


def inside(nodes: RealNodes, start: int, end: int) -> set[bytes]:
    """Who really stands from one point up to another, and is up."""
    return {
        node.node_id
        for node in nodes.live()
        if forward(start, position_of(node.node_id, BEACON)) < forward(start, end)
    }


async def live(nodes: RealNodes) -> None:
    await nodes.join_all()
    asker = nodes.nodes[3]
    places = sorted(position_of(node.node_id, BEACON) for node in nodes.nodes)
    for start, end in ((places[1], places[4]), (places[5], places[1])):
        listed = await asker.shell.list_region(RegionWanted(0, start, end))
        assert isinstance(listed, RegionListed)
        assert (listed.epoch, listed.start, listed.end) == (0, start, end)
        assert not listed.sparse
        assert set(listed.nodes) == inside(nodes, start, end)
        assert len(listed.nodes) == 3
    everybody = {node.node_id for node in nodes.nodes}
    assert set((await asker.shell.list_region(WHOLE)).nodes) == everybody

    gone = nodes.nodes[5]
    await gone.stop()
    async with asyncio.timeout(20):
        while set((await asker.shell.list_region(WHOLE)).nodes) != everybody - {gone.node_id}:
            await asyncio.sleep(0.2)

    assert await asker.shell.list_region(RegionWanted(1, 0, 0)) is None, "of an epoch to come"
    status = asker.shell.status()
    assert (status.joined, status.epoch) == (True, 0)
    assert status.nodes_known >= COUNT - 2
    assert gone.node_id.hex() not in (*status.successors, *status.predecessors)
    for node in nodes.live():
        node.shell.enter(1, digest("tests/next-beacon"))
    async with asyncio.timeout(20):
        while not all(n.joined and n.shell.machine.ring.epoch == 1 for n in nodes.live()):
            await asyncio.sleep(0.1)
    assert await asker.shell.list_region(WHOLE) is None, "of an epoch that is over"
    listed = await asker.shell.list_region(RegionWanted(1, 0, 0))
    assert set(listed.nodes) == everybody - {gone.node_id}


def test_surroundings_are_listed_in_their_epoch(tmp_path: Path) -> None:
    async def main() -> None:
        nodes = RealNodes(tmp_path, COUNT, QUICK)
        try:
            await live(nodes)
        finally:
            await nodes.stop()

    run(main())
