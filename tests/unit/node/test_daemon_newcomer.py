"""A node that was enrolled later starts before the epoch that begins with its census, and waits."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

from tests.support.commands import free_port

from pnyx.config import Advertise, Listen, read_config
from pnyx.node.authority import AuthorityFiles, create_authority, open_authority
from pnyx.node.crypto import NodeCrypto
from pnyx.node.daemon import Daemon, wall_clock
from pnyx.node.enrolment import create_node, install, make_request
from pnyx.node.keystore import KeyFile, NodeLayout, open_keys
from pnyx.node.network import read_network
from pnyx.primitives.signature import SigningKey


def newcomer(root: Path) -> Daemon:
    """Installed with a network file whose first census does not list it."""
    now = int(wall_clock())
    layout, unlocking = NodeLayout(root / "node"), KeyFile(root / "node.key")
    files, key = AuthorityFiles(root / "authority"), KeyFile(root / "authority.key")
    request = create_node(layout, unlocking, listen=Listen(port=free_port()), advertise=Advertise())
    create_authority(files, key, "testers", now=now)
    network, certificate = root / "network.json", root / "newcomer.pem"
    with open_authority(files, key) as desk:
        for number in range(1, 8):
            other = make_request(bytes([number]) * 32, "127.0.0.1", 1)
            desk.issue(other, f"Person {number}", now=now)
        desk.publish(network, now=now)
        certificate.write_bytes(desk.issue(request, "Newcomer", now=now))
        desk.publish(network, now=now)
    install(layout, certificate, network, now=now)
    keys, config = open_keys(layout, unlocking), read_config(layout.config)
    crypto = NodeCrypto(SigningKey(keys.signing_seed))
    daemon = Daemon(
        layout=layout,
        keys=keys,
        config=config,
        network=read_network(layout.root / config.node.network, crypto, now=now),
        worker=SimpleNamespace(),
        observer=lambda notice: None,
    )
    daemon._trainer = SimpleNamespace(start=lambda: None, stop=lambda: asyncio.sleep(0))
    return daemon


def test_newcomer_runs_before_its_census_is_in_force(tmp_path: Path) -> None:
    async def live() -> None:
        daemon = newcomer(tmp_path)
        try:
            await daemon.start()
            assert daemon.machine.index == -1
            assert daemon.node_id in daemon.machine.epochs.latest
            assert not daemon.ring.joined
        finally:
            await daemon.close()

    asyncio.run(live())
