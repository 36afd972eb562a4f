"""A network of nodes that live in one process: keys, certificates, one census, folders."""

import asyncio
import importlib
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from pnyx.node.certificates import certificate_pem, create_authority
from pnyx.node.crypto import NodeCrypto
from pnyx.node.keystore import Keys, NodeLayout
from pnyx.node.network import Contact, Network
from pnyx.node.transport.base import Transport
from pnyx.node.transport.identity import TlsIdentity
from pnyx.primitives.signature import SigningKey
from pnyx.protocol.identity import CensusEntry, make_census, network_id, node_id, verify_census
from pnyx.protocol.selection import CommitteeSize

NAME = "benchmark"
HOST = "127.0.0.1"
DAY_S = 86_400
IN_MEMORY = Path("/dev/shm")
CONTACTS = 4
PORTS = range(12_000, 30_000)


class Member(msgspec.Struct, frozen=True):
    """One node before it runs."""

    layout: NodeLayout
    keys: Keys
    node_id: bytes
    port: int


class Founded(msgspec.Struct, frozen=True):
    """A network, and its nodes in the order of the census."""

    network: Network
    members: tuple[Member, ...]

    def identity(self, member: Member) -> TlsIdentity:
        """What a node shows its peers."""
        return TlsIdentity(
            member.keys.signing_seed,
            member.layout.certificate.read_bytes(),
            self.network.authority,
            member.layout.root,
            now=int(time.time_ns() / 1e9),
        )


@contextmanager
def folder(*, on_disk: bool = False) -> Iterator[Path]:
    """A folder for all nodes, in memory unless that is impossible or unwanted."""
    memory = IN_MEMORY if IN_MEMORY.is_dir() and not on_disk else None
    path = Path(tempfile.mkdtemp(prefix="pnyx-benchmark-", dir=memory))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def found(root: Path, nodes: int, committee: CommitteeSize) -> Founded:
    """Draw keys, issue certificates and sign the census."""
    now = int(time.time_ns() / 1e9)
    seed = secrets.token_bytes(32)
    authority = create_authority(seed, NAME, not_before=now - DAY_S, not_after=now + DAY_S)
    signer = SigningKey(seed)
    network = network_id(signer.public_key, NAME)
    members, entries = [], []
    for number, port in enumerate(_free_ports(nodes)):
        keys = Keys(*(secrets.token_bytes(32) for _ in range(3)))
        nonce, public_key = secrets.token_bytes(16), SigningKey(keys.signing_seed).public_key
        layout = NodeLayout(root / f"node-{number}")
        layout.make()
        issued = authority.issue(public_key, nonce, not_before=now - DAY_S, not_after=now + DAY_S)
        layout.certificate.write_bytes(certificate_pem(issued))
        members.append(Member(layout, keys, node_id(public_key, nonce), port))
        entries.append(CensusEntry(members[-1].node_id, public_key))
    signed = make_census(
        signer.sign,
        network=network,
        number=0,
        previous=bytes(32),
        entries=entries,
        committee=committee,
        issued_at=now,
        valid_until=now + DAY_S,
    )
    census = verify_census(
        signed,
        network=network,
        authority_key=signer.public_key,
        crypto=NodeCrypto(signer),
        now=now,
    )
    contacts = tuple(Contact(each.node_id, HOST, each.port) for each in members[:CONTACTS])
    known = Network(NAME, network, certificate_pem(authority.certificate), census, contacts)
    return Founded(known, tuple(sorted(members, key=lambda each: each.node_id)))


async def open_connections(founded: Founded, transports: Sequence[Transport]) -> None:
    """Connect all nodes with each other, as those of a study are after some rounds."""
    for at, one in enumerate(transports):
        later = founded.members[at + 1 :]
        for other in later:
            one.learn_address(other.node_id, HOST, other.port)
        await asyncio.gather(*(one.request(other.node_id, b"") for other in later))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The event loop that a node would take: uvloop where it is installed."""
    try:
        module = importlib.import_module("uvloop")
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = module.new_event_loop
    return factory


def _free_ports(count: int) -> list[int]:
    """Distinct ports below those that systems hand out to whoever connects, so that they stay free.

    Of sixty that were drawn one by one, two were the same in every tenth network.
    """
    found: set[int] = set()
    while len(found) < count:
        port = PORTS.start + secrets.randbelow(len(PORTS))
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            found.add(port)
    return list(found)
