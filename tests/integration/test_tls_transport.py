"""Behaviour that only real connections have: dials, retirement, expiry, loops."""

import asyncio
import errno
import secrets
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest
from tests.transport_kit import DAY_S, NOW, QUICK, Town, Wire, run, until

from pnyx.errors import InvalidCertificate, TransportError
from pnyx.node.transport import TransportLimits
from pnyx.node.transport.identity import TlsIdentity
from pnyx.node.transport.tls import TlsTransport


def echo(peer: bytes, payload: bytes) -> bytes:
    return payload


@pytest.fixture
def town(tmp_path: Path) -> Town:
    return Town(tmp_path)


async def started(town: Town, count: int, **options: Any) -> list[TlsTransport]:
    """Transports that all know each other's addresses."""
    transports = [town.transport(**options) for _ in range(count)]
    for transport in transports:
        await transport.start(echo)
    for one in transports:
        for other in transports:
            if one is not other:
                one.learn_address(other.node_id, "127.0.0.1", other.port)
    return transports


async def stop(*transports: TlsTransport) -> None:
    await asyncio.gather(*(transport.stop() for transport in transports))


def connections(transport: TlsTransport) -> int:
    return len(transport._links)


@pytest.mark.parametrize("attempt", range(5))
def test_simultaneous_dials_lose_nothing_and_leave_one_connection(town: Town, attempt: int) -> None:
    async def main() -> None:
        lost: list[bytes] = []
        one, other = town.transport(), town.transport()
        for transport in (one, other):
            await transport.start(echo, lost.append)
        one.learn_address(other.node_id, "127.0.0.1", other.port)
        other.learn_address(one.node_id, "127.0.0.1", one.port)
        bodies = [secrets.token_bytes(50_000) for _ in range(10)]
        answers = await asyncio.gather(
            *(one.request(other.node_id, body) for body in bodies),
            *(other.request(one.node_id, body) for body in bodies),
        )
        assert answers == bodies * 2
        assert one.traffic.handshakes == 2  # both dials got through
        await until(lambda: connections(one) == connections(other) == 1)
        # The one that stays was dialled by the node with the lower id.
        (link,) = one._links
        assert link.dialled is (one.node_id < other.node_id)
        assert await other.request(one.node_id, b"x") == b"x"
        assert lost == []
        await stop(one, other)

    run(main())


def test_full_mesh_from_a_standing_start(town: Town) -> None:
    async def main() -> None:
        mesh = await started(town, 8)
        pairs = [(one, other) for one in mesh for other in mesh if one is not other]
        answers = await asyncio.gather(
            *(one.request(other.node_id, one.node_id) for one, other in pairs)
        )
        assert answers == [one.node_id for one, _ in pairs]
        await until(lambda: all(connections(one) == 7 for one in mesh))
        await stop(*mesh)
        assert all(connections(one) == 0 for one in mesh)

    run(main())


def test_idle_connection_is_retired_without_alarm(town: Town) -> None:
    async def main() -> None:
        lost: list[bytes] = []
        limits = TransportLimits(idle_s=0.2)
        one, other = town.transport(limits=limits), town.transport()
        await one.start(echo, lost.append)
        await other.start(echo, lost.append)
        one.learn_address(other.node_id, "127.0.0.1", other.port)
        await one.request(other.node_id, b"x")
        await until(lambda: connections(one) == connections(other) == 0)
        assert lost == []
        assert await one.request(other.node_id, b"y") == b"y"
        await stop(one, other)

    run(main())


def test_requests_across_a_retirement_are_all_answered(town: Town) -> None:
    """Each side retires the link at a bad moment for the other; nothing is lost."""

    async def main() -> None:
        one, other = await started(town, 2)
        await one.request(other.node_id, b"x")
        for turn in range(40):
            asks = [
                asyncio.create_task(asker.request(asked.node_id, b"%d" % turn))
                for asker, asked in ((one, other), (other, one))
                for _ in range(3)
            ]
            await asyncio.sleep(0)
            for link in list((one, other)[turn % 2]._links):
                link.retire()
            assert await asyncio.gather(*asks) == [b"%d" % turn] * 6
        await stop(one, other)

    run(main())


def test_peer_that_restarts_takes_over_its_old_connection(town: Town) -> None:
    async def main() -> None:
        person, (asking,) = town.person(), await started(town, 1)
        first = town.transport(town.identity(person))
        await first.start(echo)
        first.learn_address(asking.node_id, "127.0.0.1", asking.port)
        await first.request(asking.node_id, b"x")
        # A second process of the same node dials while the first connection still looks alive.
        second = town.transport(town.identity(person))
        await second.start(lambda peer, payload: b"second")
        second.learn_address(asking.node_id, "127.0.0.1", asking.port)
        await second.request(asking.node_id, b"x")
        assert await asking.request(second.node_id, b"who?") == b"second"
        await until(lambda: connections(asking) == 1)
        await stop(asking, first, second)

    run(main())


def test_back_off_ends_with_a_sign_of_life(town: Town) -> None:
    async def main() -> None:
        limits = TransportLimits(backoff_min_s=20.0, backoff_max_s=20.0)
        asking, peer = town.transport(limits=limits), town.transport()
        await asking.start(echo)
        with socket.socket() as placeholder:
            placeholder.bind(("127.0.0.1", 0))
            port = placeholder.getsockname()[1]
            asking.learn_address(peer.node_id, "127.0.0.1", port)
            for _ in range(2):
                with pytest.raises(TransportError, match="connection refused"):
                    await asking.request(peer.node_id, b"x")
        await peer.start(echo)
        asking.learn_address(peer.node_id, "127.0.0.1", port)  # nothing new: still paused
        with pytest.raises(TransportError, match="connection refused"):
            await asking.request(peer.node_id, b"x")
        peer.learn_address(asking.node_id, "127.0.0.1", asking.port)
        await peer.request(asking.node_id, b"here I am")
        assert await asking.request(peer.node_id, b"x") == b"x"
        await stop(asking, peer)

    run(main())


def test_name_that_does_not_resolve(town: Town) -> None:
    async def main() -> None:
        (asking,) = await started(town, 1)
        peer = secrets.token_bytes(32)
        asking.learn_address(peer, "nobody.invalid", 7400)
        with pytest.raises(TransportError, match=r"cannot be reached at nobody\.invalid:7400"):
            await asking.request(peer, b"x")
        await stop(asking)

    run(main())


def test_unanswered_connection_attempt_ends(town: Town) -> None:
    async def main() -> None:
        limits = TransportLimits(handshake_s=0.2)
        asking = town.transport(limits=limits)
        await asking.start(echo)
        with socket.socket() as mute:
            mute.bind(("127.0.0.1", 0))
            mute.listen()
            peer = secrets.token_bytes(32)
            asking.learn_address(peer, "127.0.0.1", mute.getsockname()[1])
            with pytest.raises(TransportError, match=r"handshake within 0\.2 s"):
                await asking.request(peer, b"x")
            # Stopping in the middle of a dial leaves nothing behind.
            asking.learn_address(peer, "localhost", mute.getsockname()[1])
            waiting = asyncio.create_task(asking.request(peer, b"x"))
            await asyncio.sleep(0.05)
            await asking.stop()
            with pytest.raises(TransportError, match="stopping"):
                await waiting

    run(main())


def test_certificate_that_expires_while_connected(town: Town) -> None:
    async def main() -> None:
        today = [float(NOW)]
        lost: list[bytes] = []
        limits = TransportLimits(idle_s=0.8)
        watching = town.transport(limits=limits, wall_clock=lambda: today[0])
        peer = town.transport()
        await watching.start(echo, lost.append)
        await peer.start(echo)
        watching.learn_address(peer.node_id, "127.0.0.1", peer.port)
        await watching.request(peer.node_id, b"x")
        today[0] += 2 * DAY_S
        await until(lambda: lost == [peer.node_id])
        with pytest.raises(TransportError, match="expired on"):
            await watching.request(peer.node_id, b"x")
        await stop(watching, peer)

    run(main())


def test_connections_beyond_the_cap_displace_the_least_used(town: Town) -> None:
    async def main() -> None:
        busy = town.transport(limits=TransportLimits(connections_max=2))
        await busy.start(echo)
        peers = await started(town, 3)
        for peer in peers:
            peer.learn_address(busy.node_id, "127.0.0.1", busy.port)
            assert await peer.request(busy.node_id, b"x") == b"x"
        await until(lambda: set(busy.peers) == {peer.node_id for peer in peers[1:]})
        # Our own dials keep to the cap too.
        busy.learn_address(peers[0].node_id, "127.0.0.1", peers[0].port)
        assert await busy.request(peers[0].node_id, b"x") == b"x"
        await until(lambda: set(busy.peers) == {peers[0].node_id, peers[2].node_id})
        await stop(busy, *peers)

    run(main())


def test_no_room_when_all_connections_are_in_use(town: Town) -> None:
    async def main() -> None:
        release = asyncio.Event()

        async def slow(peer: bytes, payload: bytes) -> bytes:
            await release.wait()
            return payload

        full = town.transport(limits=TransportLimits(connections_max=1))
        await full.start(slow)
        first, second = await started(town, 2)
        for peer in (first, second):
            peer.learn_address(full.node_id, "127.0.0.1", full.port)
        waiting = asyncio.create_task(first.request(full.node_id, b"x"))
        await until(lambda: full.traffic.requests == 1)
        with pytest.raises(TransportError, match="no free connection"):
            await second.request(full.node_id, b"x")
        full.learn_address(second.node_id, "127.0.0.1", second.port)
        with pytest.raises(TransportError, match="All connections of this node are busy"):
            await full.request(second.node_id, b"x")
        release.set()
        assert await waiting == b"x"
        await stop(full, first, second)

    run(main())


def test_peer_that_takes_data_too_slowly(town: Town) -> None:
    async def main() -> None:
        # More than the system itself buffers on loopback.
        limits = TransportLimits(outgoing_bytes_max=24_000_000, frame_s=0.4)
        sending = town.transport(limits=limits)
        await sending.start(echo)
        wire = await Wire.insider(town, sending.port)
        wire.writer.transport.pause_reading()
        (peer,) = sending.peers
        asks = [asyncio.create_task(sending.request(peer, bytes(7_900_000))) for _ in range(4)]
        outcomes = await asyncio.gather(*asks, return_exceptions=True)
        texts = {str(outcome) for outcome in outcomes}
        assert any("too slowly" in text for text in texts)
        assert any("read nothing for 0.4 s" in text for text in texts)
        assert connections(sending) == 0
        wire.abort()
        await stop(sending)

    run(main())


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (
            errno.EADDRINUSE,
            "Port 80 is in use; end what uses it, or set another listen.port in pnyx.toml.",
        ),
        (errno.EACCES, "Port 80 needs special rights; set a listen.port above 1023 in pnyx.toml."),
        (
            errno.EADDRNOTAVAIL,
            "Cannot listen on 127.0.0.1:80 (cannot assign requested address); "
            "set another listen.host in pnyx.toml.",
        ),
    ],
)
def test_port_that_cannot_be_opened(
    town: Town, monkeypatch: pytest.MonkeyPatch, number: int, sentence: str
) -> None:
    async def main() -> None:
        async def refuse(*_args: Any, **_options: Any) -> None:
            raise OSError(number, "gone")

        monkeypatch.setattr(asyncio.get_running_loop(), "create_server", refuse)
        with pytest.raises(TransportError) as caught:
            await town.transport(port=80).start(echo)
        assert str(caught.value) == sentence

    run(main())


def test_identity_that_does_not_fit(town: Town, tmp_path: Path) -> None:
    person, other = town.person(), town.person()
    with pytest.raises(InvalidCertificate, match="another key"):
        TlsIdentity(other.seed, person.pem, town.root_pem, tmp_path, now=NOW)
    with pytest.raises(InvalidCertificate, match="expired"):
        town.identity(person, now=NOW + 2 * DAY_S)
    with pytest.raises(TransportError, match="permissions and free space"):
        TlsIdentity(person.seed, person.pem, town.root_pem, tmp_path / "missing", now=NOW)
    identity = town.identity(person)
    assert repr(identity) == f"TlsIdentity({identity.node_id.hex()[:12]})"


def test_key_never_reaches_the_disk_in_clear(town: Town, monkeypatch: Any) -> None:
    written = []
    person = town.person()
    original = tempfile.NamedTemporaryFile

    def spying(*args: Any, **options: Any) -> Any:
        file = original(*args, **options)
        write = file.write

        def record(data: bytes) -> int:
            written.append((Path(file.name).stat().st_mode & 0o777, data))
            return write(data)

        file.write = record
        return file

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", spying)
    town.identity(person)
    ((mode, data),) = written
    assert mode == 0o600
    assert person.seed not in data
    assert b"ENCRYPTED" in data
    assert list(town.directory.iterdir()) == []


def test_the_same_on_uvloop(town: Town) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        mesh = await started(town, 4)
        body = secrets.token_bytes(1_000_000)
        answers = await asyncio.gather(
            *(
                one.request(other.node_id, body)
                for one in mesh
                for other in mesh
                if one is not other
            )
        )
        assert answers == [body] * 12
        await until(lambda: all(connections(one) == 3 for one in mesh))
        await stop(*mesh)

    uvloop.run(main())


def test_limits_default_to_the_documented_record(town: Town) -> None:
    assert town.transport(limits=None).limits == TransportLimits()
    assert town.transport().limits is QUICK
