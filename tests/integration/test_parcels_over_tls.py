"""Two daemons in two processes: 30 MB from disk to disk over TLS, in little memory.

The one that serves was started again after it had kept the parcel.

This file is also the program of both: `python test_parcels_over_tls.py ACT ROLE DIRECTORY WINDOW`.
"""

import asyncio
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

from tests.support.commands import free_port
from tests.support.parcels import content
from tests.transport_kit import resident_bytes

from pnyx.config import Advertise, Listen, read_config
from pnyx.node.authority import AuthorityFiles, create_authority, open_authority
from pnyx.node.clock import wall_clock
from pnyx.node.crypto import NodeCrypto
from pnyx.node.daemon import Daemon
from pnyx.node.enrolment import create_node, install, make_request
from pnyx.node.keystore import KeyFile, NodeLayout, open_keys
from pnyx.node.network import read_network
from pnyx.primitives.signature import SigningKey
from pnyx.protocol.chunks import chunks_of
from pnyx.protocol.events import PeerBlamed, TimerExpired
from pnyx.protocol.params import ProtocolParams

CHUNKS, REST = 229, 999
GROWTH_BYTES_MAX = 8 * 1024 * 1024
ROLES = ("holder", "puller")


def data() -> bytes:
    return content(CHUNKS, REST)


# --- the network ---------------------------------------------------------------------------------


def enrol(root: Path) -> None:
    """An authority, the two nodes, and five people whose nodes never start."""
    now = int(wall_clock())
    files, key = AuthorityFiles(root / "authority"), KeyFile(root / "authority.key")
    create_authority(files, key, "testers", now=now - 1000)
    requests = {
        role: create_node(
            NodeLayout(root / role),
            KeyFile(root / f"{role}.key"),
            listen=Listen(port=free_port()),
            advertise=Advertise(),
        )
        for role in ROLES
    }
    with open_authority(files, key) as desk:
        for number in range(1, 6):
            other = make_request(bytes([number]) * 32, "127.0.0.1", 1)
            desk.issue(other, f"Person {number}", now=now)
        for role, request in requests.items():
            (root / f"{role}.pem").write_bytes(desk.issue(request, role, now=now))
        desk.publish(root / "network.json", now=now)
    for role in ROLES:
        install(NodeLayout(root / role), root / f"{role}.pem", root / "network.json", now=now)


class IdleWorker:
    """Nobody trains here."""

    confinement = None
    running = True
    connection = type("Nothing", (), {"setblocking": lambda self, flag: None})()

    def hear_confinement(self, received):
        return True

    def stop(self):
        self.running = False


# --- the program ---------------------------------------------------------------------------------


class Memory:
    """How far the resident memory rises above what it was when the measurement began."""

    def __init__(self) -> None:
        self.before = self.peak = resident_bytes()

    def sample(self) -> None:
        self.peak = max(self.peak, resident_bytes())

    async def watch(self) -> None:
        while True:
            self.sample()
            await asyncio.sleep(0.001)

    @property
    def growth(self) -> int:
        return self.peak - self.before


def tell(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


async def live(act: str, role: str, root: Path, window: int) -> None:
    layout = NodeLayout(root / role)
    keys = open_keys(layout, KeyFile(root / f"{role}.key"))
    crypto = NodeCrypto(SigningKey(keys.signing_seed))
    blamed: list[PeerBlamed] = []

    def observe(notice: object) -> None:
        if isinstance(notice, PeerBlamed):
            blamed.append(notice)

    daemon = Daemon(
        layout=layout,
        keys=keys,
        config=read_config(layout.config),
        network=read_network(layout.root / "network.json", crypto, now=wall_clock()),
        worker=IdleWorker(),
        observer=observe,
        params=ProtocolParams(parcel_window_chunks=window, parcel_chunks_waiting_max=window),
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, daemon.stop)
    acts = {"keep": keep, "hold": hold, "pull": pull}
    tasks: list[asyncio.Task[None]] = []

    async def started() -> None:
        tasks.append(asyncio.get_running_loop().create_task(acts[act](daemon, root)))

    await daemon.run(started)
    await tasks[0]
    assert blamed == []


async def keep(daemon: Daemon, root: Path) -> None:
    """Keep the parcel for everybody, and stop."""
    name = daemon.machine.parcels.keep(chunks_of(data()), daemon.network.census.node_ids)
    daemon.deliver(TimerExpired())
    await daemon.settled()
    tell(name=name.hex(), node=daemon.node_id.hex())
    daemon.stop()


async def hold(daemon: Daemon, root: Path) -> None:
    """Serve what an earlier process kept; on SIGTERM tell how much memory that took."""
    memory = Memory()
    watching = asyncio.get_running_loop().create_task(memory.watch())
    await daemon._stopping.wait()
    watching.cancel()
    tell(growth=memory.growth)


async def pull(daemon: Daemon, root: Path) -> None:
    """Fetch what stdin names; tell what it took."""
    named = json.loads(await asyncio.to_thread(sys.stdin.readline))
    done = asyncio.Event()
    memory = Memory()
    watching = asyncio.get_running_loop().create_task(memory.watch())
    wall, cpu = time.perf_counter(), time.process_time()
    length = (CHUNKS - 1) * 128 * 1024 + REST
    source = bytes.fromhex(named["node"])
    daemon.machine.parcels.fetch(
        bytes.fromhex(named["name"]), length, [source], lambda _: done.set()
    )
    daemon.deliver(TimerExpired())
    await done.wait()
    await daemon.settled()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    watching.cancel()
    tell(growth=memory.growth, seconds=wall, cpu_seconds=cpu)
    daemon.stop()


# --- the test ------------------------------------------------------------------------------------


ROOT = Path(__file__).parents[2]  # where `tests` is found by the program


def start(act: str, role: str, root: Path, window: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, __file__, act, role, str(root), str(window)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )


def facts(process: subprocess.Popen[bytes]) -> dict:
    line = process.stdout.readline()
    assert line, f"the process ended with {process.wait()}"
    return json.loads(line)


def delivered(root: Path, window: int) -> dict[str, dict]:
    """What holder and puller tell of one delivery."""
    enrol(root)
    with start("keep", "holder", root, window) as keeper:
        named = facts(keeper)
    holder = start("hold", "holder", root, window)
    puller = start("pull", "puller", root, window)
    try:
        puller.stdin.write(json.dumps(named).encode() + b"\n")
        puller.stdin.flush()
        told = {"puller": facts(puller)}
        assert puller.wait(20) == 0
        holder.send_signal(signal.SIGTERM)
        told["holder"] = facts(holder)
        assert holder.wait(20) == 0
    finally:
        for process in (holder, puller):
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()
    for role in ROLES:
        (file,) = (root / role / "parcels").iterdir()
        assert file.name == f"{named['name']}.parcel"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert hashlib.sha256(file.read_bytes()).digest() == hashlib.sha256(data()).digest()
    return told


def test_thirty_megabytes_in_little_memory(tmp_path):
    told = delivered(tmp_path, ProtocolParams().parcel_window_chunks)
    assert told["puller"]["growth"] < GROWTH_BYTES_MAX, told
    assert told["holder"]["growth"] < GROWTH_BYTES_MAX, told


def test_the_window_is_what_bounds_the_memory(tmp_path):
    told = delivered(tmp_path, CHUNKS)
    assert max(each["growth"] for each in told.values()) > GROWTH_BYTES_MAX, told


if __name__ == "__main__":
    asyncio.run(live(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])))
