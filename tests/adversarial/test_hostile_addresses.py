"""A certified node signs a record of itself whose host is none, and gossips it (THREATS D1, D3).

Everybody learns from such records where nodes are, and dials them. Over some hosts a resolver
raises other errors than that nobody is there, over others it never answers. So whoever reads a
record refuses what is no host: machine, ring, storage, and whoever takes up what lies on the disk.
What the system does over a name all the same costs its peer the attempt, and nobody else anything.
"""

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from tests.support.place import Place
from tests.support.town import NETWORK, Town
from tests.transport_kit import Town as Certified
from tests.transport_kit import run, until

from pnyx.config import read_config
from pnyx.errors import MalformedMessage, TransportError
from pnyx.node.crypto import NodeCrypto
from pnyx.node.daemon import Daemon
from pnyx.node.keystore import open_keys
from pnyx.node.network import read_network
from pnyx.node.transport import TransportLimits
from pnyx.node.transport.dialling import Dialler
from pnyx.node.transport.tls import TlsTransport
from pnyx.primitives import codec
from pnyx.primitives.signature import SigningKey
from pnyx.protocol import messages
from pnyx.protocol.events import LearnAddress, MessageReceived, MessageRejected
from pnyx.protocol.identity import sign_body
from pnyx.protocol.messages import Items, Signed
from pnyx.protocol.overlay.events import EpochBegan, RecordLearnt
from pnyx.protocol.overlay.machine import CONTACTS_KEY, OverlayMachine, StoredContacts
from pnyx.protocol.overlay.params import DEFAULT_OVERLAY
from pnyx.protocol.overlay.storage import read_item
from pnyx.simulator.crypto import IdealCrypto

BAD = [
    "",
    ".",
    "a" * 64,
    "a..b",
    ".a",
    "a.",
    "-a.example",
    "a-.example",
    "a_b.example",
    "x\0y",
    "a\n",
    "a b",
    "a/b",
    "é" * 60,
    "bücher.example",
    "xn--" + "a" * 61,
    "1.2.3",
    "2130706433",
    "256.1.1.1",
    "010.0.0.1",
    "::1%lo",
    "fe80::1%x\0",
    "[::1]",
    ":::",
    "٣.example",
    ".".join(["a" * 60] * 5)[:254],
]
GOOD = ["127.0.0.1", "::1", "2001:db8::7", "localhost", "Ada.Example.ORG", "3com.example", "h"]
GOOD += ["xn--bcher-kva.example", ".".join(["a" * 62] * 4)]
# Over these the system's resolver raises something other than OSError.
RAISING = ["a" * 64, "a..b"]


class AnyRecord(msgspec.Struct, frozen=True, array_like=True, tag=22):
    """A node record as its signer writes it: nobody makes a hostile one check its host."""

    network: bytes
    sequence: int
    host: str
    port: int


def record(crypto, node: bytes, network: bytes, host: str, sequence: int = 2**61) -> Signed:
    return sign_body(crypto, network, node, AnyRecord(network, sequence, host, 4000))


# --- what is a host, in each place where a record is read ---------------------------------------


@pytest.fixture(scope="module")
def town() -> Town:
    made = Town()
    made.run(seconds=0.2)
    return made


def learnt(effects) -> list[str]:
    return [effect.host for effect in effects if isinstance(effect, LearnAddress)]


def rejected(effects) -> bool:
    return any(isinstance(effect, MessageRejected) for effect in effects)


def gossiped(town: Town, host: str, sequence: int) -> list:
    """What node 0 makes of a record of node 1, told by node 2."""
    signed = record(town.cryptos[1], town.census.node_ids[1], NETWORK, host, sequence)
    return town.inject(2, 0, Items((codec.encode(signed),)))


def test_the_machine_learns_no_bad_host(town: Town):
    for at, host in enumerate(BAD):
        effects = gossiped(town, host, 1000 + at)
        assert (learnt(effects), rejected(effects)) == ([], True), host
    for at, host in enumerate(GOOD):
        assert learnt(gossiped(town, host, 100 + at)) == [host], "the refused ones left no trace"


def overlay(restored: dict[str, bytes]) -> OverlayMachine:
    crypto = IdealCrypto(b"o" * 32)
    return OverlayMachine(
        node_id=b"o" * 32,
        network=NETWORK,
        crypto=crypto,
        check=lambda signed: None,
        address=("127.0.0.1", 1),
        address_sequence=1,
        contacts=[],
        restored=restored,
        params=DEFAULT_OVERLAY,
        seed=bytes(32),
        now=0.0,
    )


def hostile(number: int, host: str) -> Signed:
    return record(IdealCrypto(bytes([number]) * 32), bytes([number]) * 32, NETWORK, host)


def test_the_ring_learns_and_stores_no_bad_host():
    machine = overlay({})
    for number, host in enumerate(BAD):
        effects = machine.handle(RecordLearnt(hostile(number, host)), 0.0)
        assert (learnt(effects), rejected(effects)) == ([], True), host
        with pytest.raises(MalformedMessage):
            read_item(hostile(number, host), NETWORK, lambda signed: None)
    for number, host in enumerate(GOOD):
        assert learnt(machine.handle(RecordLearnt(hostile(number, host)), 0.0)) == [host]


def test_contacts_on_the_disk_are_read_with_the_same_check():
    """An earlier version may have stored them."""
    hosts = [*BAD, "good.example"]
    signed = tuple(hostile(number, host) for number, host in enumerate(hosts))
    machine = overlay({CONTACTS_KEY: codec.encode(StoredContacts(signed))})
    assert learnt(machine.handle(EpochBegan(0, bytes(32)), 0.0)) == ["good.example"]


def test_the_check_is_the_defence(monkeypatch, town: Town):
    monkeypatch.setattr(messages, "is_host", lambda host: True)
    assert learnt(gossiped(town, "a" * 64, 10_000)) == ["a" * 64]
    assert learnt(overlay({}).handle(RecordLearnt(hostile(1, "a" * 64)), 0.0)) == ["a" * 64]


# --- dialling ------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", BAD)
def test_a_dial_of_a_bad_host_fails_like_any_other(tmp_path: Path, host: str):
    """Nothing reaches the loop's handler (`run` looks), and nobody is left waiting."""

    async def main() -> None:
        transport = Certified(tmp_path).transport()
        await transport.start(lambda peer, payload: b"")
        transport.learn_address(b"q" * 32, host, 4000)
        for _ in range(2):
            with pytest.raises(TransportError):
                await asyncio.wait_for(transport.request(b"q" * 32, b"x"), 10)
        await transport.stop()

    run(main())


def test_whoever_waits_for_a_dial_is_told_whatever_happened():
    async def main() -> None:
        async def broken(peer: bytes, host: str, port: int) -> None:
            raise ZeroDivisionError

        dialler = Dialler(broken, TransportLimits())
        dialler.learn(b"q" * 32, "127.0.0.1", 4000)
        with pytest.raises(TransportError, match="given up"):
            await asyncio.wait_for(dialler.reach(b"q" * 32), 5)

    asyncio.run(main())


def test_names_that_nobody_resolves_hold_up_nobody_else(tmp_path: Path, monkeypatch):
    """Twenty peers name hosts whose name servers never answer: others connect, threads compute."""
    answer = threading.Event()
    asked: list[str] = []

    def never(host: str, *args: object, **kwargs: object) -> list:
        asked.append(host)
        answer.wait(20)
        return []

    async def main() -> None:
        town = Certified(tmp_path)
        limits = TransportLimits(connect_s=0.5, lookups_max=8, backoff_max_s=0.05)
        node, honest = town.transport(limits=limits), town.transport()
        await node.start(lambda peer, payload: b"")
        await honest.start(lambda peer, payload: b"here")
        monkeypatch.setattr(socket, "getaddrinfo", never)
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(2))
        peers = [bytes([number]) * 32 for number in range(20)]
        for _ in range(3):
            for peer in peers:
                node.learn_address(peer, f"{peer[0]}.{len(asked)}.example", 4000)
            dials = [asyncio.ensure_future(node.request(peer, b"x")) for peer in peers]
            await asyncio.sleep(0.05)
            node.learn_address(honest.node_id, "127.0.0.1", honest.port)
            assert await asyncio.wait_for(node.request(honest.node_id, b"x"), 5) == b"here"
            assert await asyncio.wait_for(asyncio.to_thread(int, "3"), 1) == 3
            failed = await asyncio.gather(*dials, return_exceptions=True)
            assert all(isinstance(each, TransportError) for each in failed)
        assert len(asked) == 8, "one look-up of a peer at a time, and so many in all"
        answer.set()
        await until(lambda: not node._resolver._busy)
        await node.stop()
        await honest.stop()

    run(main())


def test_a_system_without_threads_costs_the_attempt(tmp_path: Path, monkeypatch):
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        node = Certified(tmp_path).transport()
        await node.start(lambda peer, payload: b"")
        node.learn_address(b"q" * 32, "nobody.example", 4000)
        monkeypatch.setattr(threading.Thread, "start", start)
        for _ in range(2):
            with pytest.raises(TransportError, match="no thread left"):
                await node.request(b"q" * 32, b"x")
        monkeypatch.undo()
        await node.stop()

    run(main())


def test_peers_with_names_are_reached(tmp_path: Path):
    async def main() -> None:
        town = Certified(tmp_path)
        node, honest = town.transport(), town.transport()
        await node.start(lambda peer, payload: b"")
        await honest.start(lambda peer, payload: b"here")
        node.learn_address(honest.node_id, "localhost", honest.port)
        assert await node.request(honest.node_id, b"x") == b"here"
        await node.stop()
        await honest.stop()

    run(main())


# --- a whole node ---------------------------------------------------------------------------------


PERSON = bytes([1]) * 32  # seed of one of those whom the authority of a `Place` enrols


def real_node(place: Place) -> Daemon:
    """An enrolled node without a training worker."""
    keys = open_keys(place.layout, place.unlocking)
    daemon = Daemon(
        layout=place.layout,
        keys=keys,
        config=read_config(place.layout.config),
        network=read_network(
            place.layout.root / "network.json",
            NodeCrypto(SigningKey(keys.signing_seed)),
            now=place.now,
        ),
        worker=SimpleNamespace(),
        observer=lambda notice: None,
    )
    daemon._trainer = SimpleNamespace(start=lambda: None, stop=lambda: asyncio.sleep(0))
    return daemon


async def told(daemon: Daemon, host: str, number: int) -> None:
    """Tell a node such a record of person 1, their `number`th."""
    network, census = daemon.network.network, daemon.network.census
    crypto = NodeCrypto(SigningKey(PERSON))
    node = census.node_ids[census.public_keys.index(crypto.public_key)]
    signed = record(crypto, node, network, host, 2**61 + number)
    daemon.deliver(MessageReceived(node, codec.encode(Items((codec.encode(signed),)))))
    await daemon.settled()


async def unreachable(daemon: Daemon) -> str:
    """Why person 1 cannot be reached."""
    census = daemon.network.census
    node = census.node_ids[census.public_keys.index(SigningKey(PERSON).public_key)]
    with pytest.raises(TransportError) as caught:
        await asyncio.wait_for(daemon.transport.request(node, b"x"), 10)
    return str(caught.value)


@pytest.mark.parametrize("checked", [True, False])
def test_a_node_that_is_told_such_records_goes_on(tmp_path: Path, monkeypatch, checked: bool):
    """Each of the two defences suffices: it is not learnt, or it cannot be dialled."""
    if not checked:
        monkeypatch.setattr(messages, "is_host", lambda host: True)

    async def main() -> None:
        daemon = real_node(Place(tmp_path))
        running = asyncio.create_task(daemon.run())
        await until(lambda: daemon._overlay is not None)
        for number, host in enumerate(RAISING):
            await told(daemon, host, number)
            async with asyncio.timeout(10):
                while repr(host) not in await unreachable(daemon) and not checked:
                    await asyncio.sleep(0.05)  # its last address was being dialled
            assert "127.0.0.1:1" in await unreachable(daemon) or not checked
        await asyncio.sleep(0.1)
        assert not running.done()
        daemon.stop()
        await running

    asyncio.run(main())


def test_without_either_such_a_record_ends_the_node(tmp_path: Path, monkeypatch):
    connect = TlsTransport._connect

    async def careless(self, peer: bytes, host: str, port: int) -> None:
        try:
            await connect(self, peer, host, port)
        except TransportError as error:
            if isinstance(error.__cause__, ValueError):
                raise error.__cause__ from None
            raise

    monkeypatch.setattr(messages, "is_host", lambda host: True)
    monkeypatch.setattr(TlsTransport, "_connect", careless)

    async def main() -> None:
        daemon = real_node(Place(tmp_path))
        running = asyncio.create_task(daemon.run())
        await until(lambda: daemon._overlay is not None)
        await told(daemon, "a" * 64, 0)
        while not running.done() and "given up" not in await unreachable(daemon):
            await asyncio.sleep(0.05)
        with pytest.raises(UnicodeError):
            await asyncio.wait_for(running, 10)

    asyncio.run(main())
