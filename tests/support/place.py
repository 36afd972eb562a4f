"""A node as its owner has it, for commands to go wrong with."""

from pathlib import Path

from tests.support.commands import free_port, write_activity

from pnyx.config import Advertise, Listen
from pnyx.node.authority import DAY_S, AuthorityFiles, create_authority, open_authority
from pnyx.node.clock import wall_clock
from pnyx.node.enrolment import create_node, install, make_request
from pnyx.node.keystore import KeyFile, NodeLayout


class Place:
    """A node that is enrolled and not running, its data, and its authority."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = NodeLayout(root / "node")
        self.unlocking = KeyFile(root / "node.key")
        self.port = free_port()
        self.now = int(wall_clock())
        request = create_node(
            self.layout, self.unlocking, listen=Listen(port=self.port), advertise=Advertise()
        )
        files, key = AuthorityFiles(root / "authority"), KeyFile(root / "authority.key")
        create_authority(files, key, "testers", now=self.now - 500 * DAY_S)
        self.certificate, self.network = root / "ada.pem", root / "network.json"
        self.expired_network = root / "expired.json"
        with open_authority(files, key) as desk:
            for number in range(1, 7):
                other = make_request(bytes([number]) * 32, "127.0.0.1", 1)
                desk.issue(other, f"Person {number}", now=self.now)
            self.certificate.write_bytes(desk.issue(request, "Ada", now=self.now))
            desk.publish(self.expired_network, now=self.now - 40 * DAY_S)
            desk.publish(self.network, now=self.now)
        installed = install(self.layout, self.certificate, self.network, now=self.now)
        self.node_digits = installed.certificate.node_id.hex()[:16]
        self.table, self.mapping = write_activity(root, 1)
        self.here = ("--dir", self.layout.root)
        self.desk = ("--dir", files.root, "--key-file", key.path)
        self.key = (*self.here, "--key-file", self.unlocking.path)

    def import_data(self, table: Path | None = None) -> tuple[object, ...]:
        return ("data", "import", table or self.table, "--mapping", self.mapping, *self.key)
