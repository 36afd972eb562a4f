"""I3, T3, D2 over real connections: many nodes join through one, a fifth of them leaves at once.

Every node has its certificate, its TLS transport and its socket; they share a process. Whoever
joins knows one address. The full count is two hundred nodes.
"""

import asyncio
import secrets
from pathlib import Path

import pytest
from tests.support.ring_nodes import RealNode, RealNodes
from tests.transport_kit import run

from pnyx.protocol.overlay.params import OverlayParams
from pnyx.protocol.overlay.records import record_key
from pnyx.protocol.overlay.storage import note_key

# Faster than by default, so that a test sees a few rounds of upkeep.
QUICK = OverlayParams(
    tick_s=0.25,
    near_refresh_s=2.0,
    far_refresh_s=6.0,
    finger_first_s=0.5,
    repair_s=1.0,
    hasty_repair_s=0.1,
    contacts_store_s=0.5,
    join_retry_s=0.5,
    away_retry_s=1.0,
    ask_timeout_s=3.0,
)
# Two hundred on two cores: slower, or the upkeep of all of them is all that happens.
BUSY = OverlayParams(
    tick_s=2.0,
    near_refresh_s=20.0,
    finger_first_s=5.0,
    repair_s=8.0,
    hasty_repair_s=0.5,
    contacts_store_s=10.0,
    ask_timeout_s=10.0,
)


def holders_of(nodes: RealNodes, key: bytes) -> list[bytes]:
    return [n.node_id for n in nodes.live() if n.shell.machine.storage.get(key) is not None]


async def eventually(condition, within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.05)


async def lives_and_shrinks(
    directory: Path, count: int, params: OverlayParams, look_ups: int, patience_s: float
) -> None:
    nodes = RealNodes(directory, count, params)
    try:
        await nodes.join_all(within_s=8 * patience_s)
        await asyncio.sleep(4 * params.tick_s)
        right, _ = await nodes.correct_look_ups(look_ups)
        assert right >= 0.99 * look_ups
        content = secrets.token_bytes(200)
        put = await nodes.nodes[1].shell.put_note(content)
        assert put.key == note_key(content)
        assert put.holders == 8
        chosen = nodes.nodes[1::5]
        await asyncio.gather(*(node.stop() for node in chosen))
        right, _ = await nodes.correct_look_ups(look_ups)
        assert right >= 0.99 * look_ups, "a fifth of the nodes is gone, and look-ups hold"
        true = nodes.true_answer(put.key, 8)
        await eventually(lambda: set(holders_of(nodes, put.key)) >= set(true), patience_s)
        found = await nodes.nodes[2].shell.get_item(put.key)
        assert found.content == content
        asked = nodes.nodes[3]
        record = await nodes.nodes[2].shell.get_item(record_key(asked.node_id))
        assert record.item == asked.shell.machine.record.signed
        everybody = await nodes.nodes[0].shell.enumerate(5, 5)
        assert {each.node_id for each in everybody} == {node.node_id for node in nodes.live()}
        assert not [rule for node in nodes.nodes for rule in node.rules if "store" not in rule]
    finally:
        await nodes.stop()


def test_nodes_join_through_one_and_survive_a_fifth_leaving(tmp_path: Path) -> None:
    run(lives_and_shrinks(tmp_path, 24, QUICK, 60, 15.0))


# Forty nodes stop at once while others dial them: what a listener accepted in the turn in which it
# closes, asyncio leaves to the collector, some fifteen sockets.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.full
def test_two_hundred_nodes_join_through_one_and_survive_a_fifth_leaving(tmp_path: Path) -> None:
    async def main() -> None:
        async with asyncio.timeout(3000):
            await lives_and_shrinks(tmp_path, 200, BUSY, 40, 180.0)

    asyncio.run(main())


def test_node_returns_without_the_bootstrap(tmp_path: Path) -> None:
    """It is killed, the only node it was told of goes for good, and it returns by its contacts."""

    async def main() -> None:
        nodes = RealNodes(tmp_path, 10, QUICK)
        try:
            await nodes.join_all()
            back: RealNode = nodes.nodes[4]
            await eventually(lambda: bool(back.disk), 10.0)
            await back.stop()
            await nodes.nodes[0].stop()
            await back.start([])
            await eventually(lambda: back.joined, 15.0)
            right, _ = await nodes.correct_look_ups(20)
            assert right == 20
            stranger = nodes.nodes[0]  # it stored contacts too: without them nobody is known
            stranger.disk.clear()
            await stranger.start([])
            await asyncio.sleep(1.5)
            assert not stranger.joined
        finally:
            await nodes.stop()

    run(main())


def test_goodbye_is_believed_at_once(tmp_path: Path) -> None:
    """Who says goodbye is in no table any more, long before anybody could miss it."""

    async def main() -> None:
        nodes = RealNodes(tmp_path, 8, OverlayParams(tick_s=0.25, finger_first_s=1.0))
        try:
            await nodes.join_all()
            leaving = nodes.nodes[5]
            others = [node for node in nodes.nodes if node is not leaving]

            def known_by() -> int:
                return sum(
                    node.shell.machine.ring.table.get(leaving.node_id) is not None
                    for node in others
                )

            await eventually(lambda: known_by() == len(others), 10.0)
            await leaving.stop(goodbye=True)
            await eventually(lambda: known_by() == 0, 1.0)
        finally:
            await nodes.stop()

    run(main())
