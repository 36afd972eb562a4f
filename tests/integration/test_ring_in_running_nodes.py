"""Seven processes of `pnyx node run` stand in one ring; one is killed, missed, and returns."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.commands import RunningNode, done

from pnyx.config import Advertise, Listen
from pnyx.node.authority import AuthorityFiles, create_authority, open_authority
from pnyx.node.clock import wall_clock
from pnyx.node.control import NodeStatus, RingStatus, Status, call
from pnyx.node.enrolment import create_node, install
from pnyx.node.keystore import KeyFile, NodeLayout

NODES = 7


def enrolled(root: Path) -> list[NodeLayout]:
    """Nodes with keys and certificates, and an authority that is done with its work."""
    now = int(wall_clock())
    layouts = [NodeLayout(root / f"node-{number}") for number in range(NODES)]
    files, key = AuthorityFiles(root / "authority"), KeyFile(root / "authority.key")
    create_authority(files, key, "ring", now=now)
    with ThreadPoolExecutor(2) as hands:
        requests = list(hands.map(created, layouts))
    network = root / "network.json"
    with open_authority(files, key) as desk:
        certificates = [
            desk.issue(request, f"Person {at}", now=now) for at, request in enumerate(requests)
        ]
        desk.publish(network, now=now)
    for layout, certificate in zip(layouts, certificates, strict=True):
        file = layout.root / "issued.pem"
        file.write_bytes(certificate)
        install(layout, file, network, now=now)
    return layouts


def created(layout: NodeLayout):
    """Its port is below those that systems hand out: it is to be free again after a kill."""
    key = KeyFile(layout.root.with_suffix(".key"))
    port = 8_000 + os.getpid() % 1_100 * 10 + int(layout.root.name.removeprefix("node-"))
    return create_node(layout, key, listen=Listen(port=port), advertise=Advertise())


def running(layout: NodeLayout) -> RunningNode:
    return RunningNode(layout.root, "--key-file", layout.root.with_suffix(".key"))


def status(layout: NodeLayout) -> NodeStatus:
    return call(layout, Status(), NodeStatus)


def in_ring(layout: NodeLayout, neighbours: int, timeout_s: float = 120) -> RingStatus:
    """Wait until a node stands in the ring between so many neighbours."""
    limit = time.monotonic() + timeout_s
    while True:
        found = status(layout).ring
        if found.joined and len(found.successors) == neighbours:
            return found
        assert time.monotonic() < limit, found
        time.sleep(0.3)


def test_killed_node_is_missed_and_returns_to_its_place(tmp_path: Path) -> None:
    layouts = enrolled(tmp_path)
    nodes = [running(layout) for layout in layouts]
    try:
        for node in nodes:
            node.await_started(120)
        before = [in_ring(layout, NODES - 1) for layout in layouts]
        mine = status(layouts[6]).node_id
        assert all(mine in ring.successors for ring in before[:6])
        nodes[6].process.kill()
        nodes[6].process.wait(timeout=20)
        assert mine not in in_ring(layouts[0], NODES - 2).successors
        nodes[6] = running(layouts[6])
        nodes[6].await_started(120)
        after = in_ring(layouts[6], NODES - 1)
        assert (after.successors, after.epoch) == (before[6].successors, 0)
        assert mine in in_ring(layouts[0], NODES - 1).successors
        shown = done("node", "status", "--dir", layouts[6].root)
        assert "taken in epoch 0; knows 6 nodes" in shown
    finally:
        ended = [node.interrupt() for node in nodes]
    assert ended == [0] * NODES
