"""Real overlay nodes on loopback: certificates, TLS connections, sockets; many in one process."""

import asyncio
import secrets
from collections.abc import Iterable
from pathlib import Path

from tests.transport_kit import Town

from pnyx.node.crypto import NodeCrypto
from pnyx.node.overlay import OverlayShell
from pnyx.node.postman import Postman, unpack
from pnyx.node.transport import TransportLimits
from pnyx.primitives.hashing import digest
from pnyx.primitives.signature import SigningKey
from pnyx.protocol.events import MessageReceived, MessageRejected, PeerUnreachable
from pnyx.protocol.identity import Census, CensusBody, CensusEntry, network_id
from pnyx.protocol.overlay.machine import OverlayMachine
from pnyx.protocol.overlay.params import OverlayParams
from pnyx.protocol.overlay.positions import forward, key_position, position_of
from pnyx.protocol.selection.security import committee_size

# Deadlines for a machine on which hundreds of nodes share two cores.
# Few connections a node: every one of them takes two of the process's file descriptors.
LIMITS = TransportLimits(
    connect_s=20.0, handshake_s=20.0, request_s=20.0, close_s=2.0, connections_max=90
)
BEACON = digest("tests/ring-beacon")


class RealNode:
    """One overlay node: transport, postman, shell. It can stop for good, as if killed."""

    def __init__(self, nodes: "RealNodes", index: int) -> None:
        self.nodes = nodes
        self.index = index
        self.person = nodes.town.person()
        self.identity = nodes.town.identity(self.person)
        self.node_id = self.identity.node_id
        self.crypto = NodeCrypto(SigningKey(self.person.seed))
        self.disk: dict[str, bytes] = {}
        self.starts = 0
        self.up = False
        self.rules: list[str] = []

    async def start(self, contacts: Iterable["RealNode"] = (), port: int = 0) -> None:
        self.transport = self.nodes.town.transport(self.identity, limits=LIMITS, port=port)
        self.postman = Postman(self.transport, self.on_message, self.on_reachable, lambda _: None)
        await self.transport.start(self.serve)
        for contact in contacts:
            self.transport.learn_address(contact.node_id, "127.0.0.1", contact.transport.port)
        self.starts += 1
        census = self.nodes.census
        machine = OverlayMachine(
            node_id=self.node_id,
            network=census.network,
            crypto=self.crypto,
            check=lambda signed: census.check(self.crypto, signed),
            address=("127.0.0.1", self.transport.port),
            address_sequence=self.starts,
            contacts=[contact.node_id for contact in contacts],
            restored=self.disk,
            params=self.nodes.params,
            seed=secrets.token_bytes(32),
            now=asyncio.get_running_loop().time(),
        )
        self.shell = OverlayShell(
            machine,
            post=self.postman.post,
            learn_address=self.transport.learn_address,
            persist=self.disk.__setitem__,
            observer=lambda notice: (
                self.rules.append(notice.rule) if isinstance(notice, MessageRejected) else None
            ),
        )
        self.up = True
        self.shell.enter(0, BEACON)

    @property
    def joined(self) -> bool:
        ring = self.shell.machine.ring
        return self.up and ring is not None and ring.joined

    async def serve(self, peer: bytes, body: bytes) -> bytes:
        for message in unpack(body):
            self.on_message(peer, message)
        return self.postman.collect(peer)

    def on_message(self, peer: bytes, message: bytes) -> None:
        self.shell.deliver(MessageReceived(peer, message))

    def on_reachable(self, peer: bytes, reachable: bool) -> None:
        if not reachable and self.up:
            self.shell.deliver(PeerUnreachable(peer))

    async def stop(self, *, goodbye: bool = False) -> None:
        """Go: silently, or with a word to the neighbours."""
        self.up = False
        if goodbye:
            self.shell.leave()
            await self.postman.drain(1.0)
        self.shell.close()
        await self.postman.stop()
        await self.transport.stop()


class RealNodes:
    """A certified network of overlay nodes."""

    def __init__(self, directory: Path, count: int, params: OverlayParams) -> None:
        self.town = Town(directory)
        self.params = params
        self.nodes = [RealNode(self, index) for index in range(count)]
        entries = sorted(
            (CensusEntry(node.node_id, node.crypto.public_key) for node in self.nodes),
            key=lambda entry: entry.node_id,
        )
        network = network_id(SigningKey(self.town.seed).public_key, "test town")
        body = CensusBody(
            network=network,
            number=0,
            previous=bytes(32),
            nodes_root=bytes(32),
            node_count=count,
            committee=committee_size(7, 1, 2),
            issued_at=0,
            valid_until=2**39,
        )
        self.census = Census(body, digest("tests/ring-census"), entries)

    async def join_all(self, at_a_time: int = 8, within_s: float = 120.0) -> None:
        """Start all of them; each knows one node that is up already."""
        await self.nodes[0].start()
        for start in range(1, len(self.nodes), at_a_time):
            batch = self.nodes[start : start + at_a_time]
            await asyncio.gather(*(node.start([self.nodes[0]]) for node in batch))
            async with asyncio.timeout(within_s):
                while not all(node.joined for node in batch):
                    await asyncio.sleep(0.02)

    def live(self) -> list[RealNode]:
        return [node for node in self.nodes if node.up]

    def true_answer(self, key: bytes, count: int) -> list[bytes]:
        """The first live nodes at or behind a key, by what is really up."""
        start = key_position(key)
        placed = sorted(
            (forward(start, position_of(node.node_id, BEACON)), node.node_id)
            for node in self.live()
        )
        return [node_id for _, node_id in placed[:count]]

    async def correct_look_ups(self, count: int, at_a_time: int = 8) -> tuple[int, list[float]]:
        """How many of so many look-ups by random nodes are exactly right; and their latencies."""
        loop, latencies = asyncio.get_running_loop(), []

        async def one(number: int) -> bool:
            key = digest("tests/ring-key", number.to_bytes(4, "big"))
            live = self.live()
            asker = live[int.from_bytes(key[:4], "big") % len(live)]
            began = loop.time()
            found = await asker.shell.look_up(key, 8)
            latencies.append(loop.time() - began)
            return [record.node_id for record in found] == self.true_answer(key, 8)

        right = 0
        for start in range(0, count, at_a_time):
            batch = range(start, min(count, start + at_a_time))
            right += sum(await asyncio.gather(*(one(number) for number in batch)))
        return right, latencies

    async def stop(self) -> None:
        await asyncio.gather(*(node.stop() for node in self.live()))
