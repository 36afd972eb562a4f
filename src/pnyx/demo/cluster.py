"""One process per personal cloud, on one machine.

The launcher warms torch and numba once and forks the nodes from itself (importing them 36 times
would cost minutes and gigabytes). Each child draws its own key *after* the fork, writes its own
directory and vault, imports only its owner's rows, and waits for the authority to enrol it. Once
the nodes run, nothing depends on the launcher: it watches, kills and restarts, and may die itself.
"""

import gc
import os
import secrets
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NoReturn, Protocol

import msgspec

from pnyx.config import (
    ConsentPolicy,
    ConsentRule,
    Listen,
    NodeConfig,
    NodeSection,
    write_toml,
)
from pnyx.demo.corrupt import CorruptMachine
from pnyx.demo.journal import EventLog
from pnyx.demo.ports import hold_port
from pnyx.errors import PnyxError
from pnyx.node import keystore
from pnyx.node.certificates import (
    Authority,
    authority_public_key,
    certificate_pem,
    create_authority,
)
from pnyx.node.daemon import Daemon, MachineFactory
from pnyx.node.keystore import KeyFile, NodeLayout
from pnyx.node.network import Contact, write_network
from pnyx.node.runner import run_node
from pnyx.primitives.signature import SigningKey
from pnyx.protocol.events import EpochOpened, Notice, StudyProposed
from pnyx.protocol.identity import CensusEntry, make_census, network_id, node_id
from pnyx.protocol.machine import NodeMachine
from pnyx.protocol.selection import CommitteeSize
from pnyx.vault import Vault
from pnyx.vault.importers import ImportMapping, import_file

NETWORK_NAME = "pnyx-demo"
DAY_S = 86_400
CONTACTS = 4
_POLL_S = 0.05
_LOG_NAME = "node.log"
_STOPPING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


class _EnrolmentRequest(msgspec.Struct, frozen=True):
    """What a node sends to the authority."""

    public_key: bytes
    port: int


class Script(Protocol):
    """What a cluster plays: whose data lie where, who agrees, and what is proposed."""

    @property
    def purpose_term(self) -> str:
        """The purpose that owners accept."""
        ...

    @property
    def category(self) -> str:
        """The category of data that owners import, and that they accept to be used."""
        ...

    def owner_data(self, node: int) -> tuple[Path, ImportMapping]:
        """The file that a node's owner imports, and how."""
        ...

    def refuses(self, node: int) -> bool:
        """Whether a node's owner declines every study."""
        ...

    def study(self, network: bytes, proposer: bytes) -> tuple[bytes, bytes]:
        """What the first node proposes: an encoded manifest and the initial model."""
        ...


class Cluster:
    """The processes of a demonstration, by node number from 0.

    corrupt: node -> kind, a key of `corrupt.SHOWN`. verified: whether masked updates are.
    """

    def __init__(
        self,
        root: Path,
        nodes: int,
        script: Script,
        corrupt: Mapping[int, str],
        *,
        verified: bool = False,
    ) -> None:
        self.root = root
        self.verified = verified
        self.corrupt = corrupt
        self.nodes = nodes
        self.script = script
        self.processes: dict[int, int] = {}
        self._held: list[socket.socket] = []

    @property
    def ports(self) -> list[int]:
        """The port of each node, kept for it while it is away."""
        return [held.getsockname()[1] for held in self._held]

    def directory(self, node: int) -> Path:
        """Where a node keeps everything it has."""
        return self.root / f"node-{node + 1:02d}"

    # --- enrolment ------------------------------------------------------------------------------

    def launch(self, committee: CommitteeSize) -> None:
        """Fork the nodes, enrol them, and let them start. Raises PnyxError."""
        self._held = [hold_port() for _ in range(self.nodes)]
        gc.collect()
        gc.freeze()  # keep the collector from touching, and so copying, inherited pages
        for node in range(self.nodes):
            self._fork(node, fresh=True)
        self._enrol(committee)

    def _enrol(self, committee: CommitteeSize) -> None:
        """Play the authority: one certificate a person, one census, then offline for ever."""
        now = int(time.time_ns() // 10**9)
        seed = secrets.token_bytes(32)
        authority = create_authority(
            seed, NETWORK_NAME, not_before=now - DAY_S, not_after=now + 30 * DAY_S
        )
        requests = [self._await_request(node) for node in range(self.nodes)]
        entries: list[CensusEntry] = []
        certificates: list[bytes] = []
        for request in requests:
            entry, certificate = _issue(authority, request.public_key, now)
            entries.append(entry)
            certificates.append(certificate)
        signer = SigningKey(seed)
        network = network_id(authority_public_key(authority.certificate), NETWORK_NAME)
        census = make_census(
            signer.sign,
            network=network,
            number=0,
            previous=bytes(32),
            entries=entries,
            committee=committee,
            issued_at=now,
            valid_until=now + 30 * DAY_S,
        )
        contacts = tuple(
            Contact(entry.node_id, "127.0.0.1", request.port)
            for entry, request in list(zip(entries, requests, strict=True))[:CONTACTS]
        )
        for node, certificate in enumerate(certificates):
            directory = self.directory(node)
            (directory / "certificate.pem").write_bytes(certificate)
            write_network(
                directory / "network.json",
                authority=certificate_pem(authority.certificate),
                sign=signer.sign,
                census=census,
                contacts=contacts,
            )

    def _await_request(self, node: int) -> _EnrolmentRequest:
        path = self.directory(node) / "request.json"
        while not path.exists():
            if not self.alive(node):
                raise PnyxError(f"Node {node + 1} could not be prepared{self.last_words(node)}")
            time.sleep(_POLL_S)
        return msgspec.json.decode(path.read_bytes(), type=_EnrolmentRequest)

    # --- processes ------------------------------------------------------------------------------

    def _fork(self, node: int, *, fresh: bool) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        # Python would swallow an interruption that falls into what it does around a fork.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        try:
            process = os.fork()
            if process == 0:
                _live_as_node(self, node, fresh=fresh)
            self.processes[node] = process
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)

    def alive(self, node: int) -> bool:
        """Whether the node's process runs."""
        process = self.processes.get(node)
        if process is None:
            return False
        ended, _ = os.waitpid(process, os.WNOHANG)
        if ended:
            del self.processes[node]
        return not ended

    def kill(self, node: int) -> None:
        """End a node the hard way."""
        process = self.processes.pop(node, None)
        if process is not None:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)

    def restart(self, node: int) -> None:
        """Start a node again from what its directory holds."""
        if not self.alive(node):
            self._fork(node, fresh=False)

    def stop(self) -> None:
        """Ask every node to stop, and insist after a while."""
        for process in self.processes.values():
            os.kill(process, signal.SIGTERM)
        limit = time.monotonic() + 5
        while any(self.alive(node) for node in list(self.processes)) and time.monotonic() < limit:
            time.sleep(_POLL_S)
        for node in list(self.processes):
            self.kill(node)
        for held in self._held:
            held.close()

    def last_words(self, node: int) -> str:
        """The end of a sentence about a node that ended: what it said last, and what to do."""
        try:
            said = (self.directory(node) / _LOG_NAME).read_text(errors="replace").split("\n")
        except OSError:
            said = []
        last = next(filter(None, reversed(said)), "it left no word").strip().rstrip(".")
        return f" ({last}); run it again with --keep DIR to look at its log there."


def _issue(authority: Authority, public_key: bytes, now: int) -> tuple[CensusEntry, bytes]:
    nonce = secrets.token_bytes(16)
    certificate = authority.issue(
        public_key, nonce, not_before=now - DAY_S, not_after=now + 30 * DAY_S
    )
    return CensusEntry(node_id(public_key, nonce), public_key), certificate_pem(certificate)


def _live_as_node(cluster: Cluster, node: int, *, fresh: bool) -> NoReturn:
    """Become a node; never returns."""
    status = 1
    directory = cluster.directory(node)
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        log = (directory / _LOG_NAME).open("a", buffering=1)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        with Path(os.devnull).open() as null:
            os.dup2(null.fileno(), 0)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # the launcher decides
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
        _node_life(cluster, node, directory, fresh=fresh)
        status = 0
    except PnyxError as error:
        print(error, file=sys.stderr, flush=True)  # noqa: T201  (into its log)
    except BaseException:  # noqa: BLE001  (the last chance to say anything in this process)
        traceback.print_exc()
    finally:
        os._exit(status)


def _node_life(cluster: Cluster, node: int, directory: Path, *, fresh: bool) -> None:
    layout = NodeLayout(directory)
    unlocking = KeyFile(directory / "unlock.key")
    if fresh:
        _prepare(layout, unlocking, node, cluster.ports[node], cluster.script)
        _await(directory / "network.json")
    events = EventLog(directory)
    proposer = _Proposer(cluster.script, events) if node == 0 and fresh else None

    def on_started(daemon: Daemon) -> None:
        events.traffic = lambda: daemon.transport.traffic
        events.note("started", node_id=daemon.node_id.hex())
        if proposer is not None:
            proposer.daemon = daemon

    observer: Callable[[Notice], None] = proposer if proposer is not None else events
    run_node(
        layout,
        unlocking,
        observer=observer,
        on_started=on_started,
        machine_factory=_machine_factory(
            cluster.corrupt.get(node), events, verified=cluster.verified
        ),
        load_loops=False,  # the launcher did: those that the study needs
    )


def _machine_factory(kind: str | None, events: EventLog, *, verified: bool) -> MachineFactory:
    if kind is None:
        return NodeMachine
    note = partial(events.note, "misbehaved")
    return partial(CorruptMachine, kind, note, verified=verified)


class _Proposer:
    """The first node's owner: proposes the study once the network has its first beacon."""

    def __init__(self, script: Script, events: EventLog) -> None:
        self._script = script
        self._events = events
        self.daemon: Daemon | None = None

    def __call__(self, notice: Notice) -> None:
        self._events(notice)
        if isinstance(notice, EpochOpened) and self.daemon is not None:
            network = self.daemon.network.census.network
            manifest, model = self._script.study(network, self.daemon.node_id)
            self.daemon.soon(StudyProposed(manifest, model))


def _prepare(layout: NodeLayout, unlocking: KeyFile, node: int, port: int, script: Script) -> None:
    """What an owner does before enrolment: a key, settings, and data from an export."""
    keys = keystore.create(layout, unlocking)
    path, mapping = script.owner_data(node)
    with Vault.open(layout.vault, keys.vault_key) as vault:
        import_file(vault.collections, path, mapping, time.time_ns() / 1e9)
    rule = ConsentRule(
        action="decline" if script.refuses(node) else "accept",
        purposes=(script.purpose_term,),
        categories=(script.category,),
    )
    config = NodeConfig(
        node=NodeSection(network="network.json"),
        listen=Listen(port=port),
        consent=ConsentPolicy(default="decline", rules=(rule,)),
    )
    layout.config.write_bytes(write_toml(config))
    request = _EnrolmentRequest(SigningKey(keys.signing_seed).public_key, port)
    draft = layout.root / "request.draft"
    draft.write_bytes(msgspec.json.encode(request))
    draft.replace(layout.root / "request.json")


def _await(path: Path) -> None:
    while not path.exists():
        time.sleep(_POLL_S)
