"""Somebody between two nodes terminates, diverts or alters their connection (T4).

Who comes as a stranger shows a foreign certificate: what keeps those out is taken away in
`test_foreign_certificates`. That bytes are hidden and not altered is TLS itself.
"""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.transport_kit import DAY_S, NOW, Town, attacker_context, load_key, run, take_reports

from pnyx.errors import TransportError
from pnyx.node.transport.tls import TlsTransport

Pass = Callable[[bytes], bytes]


class Proxy:
    """Relays connections to a port; TLS may end here on both sides."""

    def __init__(self, port: int, *, change: Pass | None = None) -> None:
        self.port = port
        self.change = change or (lambda data: data)
        self.inside: ssl.SSLContext | None = None
        self.outside: ssl.SSLContext | None = None
        self.seen = b""
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.inside)
        return self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        onward = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.outside)
        try:
            await asyncio.gather(self._relay(reader, onward[1]), self._relay(onward[0], writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            onward[1].transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self.seen += data
            writer.write(self.change(data))
        writer.transport.abort()


Weaken = Callable[[TlsTransport, TlsTransport], None]


async def attempt(
    town: Town, proxy: Proxy, victims: list[object], weaken: Weaken | None = None
) -> bytes:
    """Ask through a proxy; weaken(asking, answering) may take a defence away before."""
    asking, answering = town.transport(), town.transport()
    if weaken is not None:
        weaken(asking, answering)
    await asking.start(lambda peer, payload: payload)
    await answering.start(lambda peer, payload: victims.append(peer) or payload)
    proxy.port = answering.port
    asking.learn_address(answering.node_id, "127.0.0.1", await proxy.start())
    try:
        return await asking.request(answering.node_id, b"a private word" * 100)
    finally:
        await asking.stop()
        await answering.stop()
        await proxy.stop()
        take_reports()  # what the proxy's own streams complain about


def test_relay_sees_only_ciphertext(tmp_path: Path) -> None:
    """The control: a mere relay is harmless, so the refusals below are not accidents."""

    async def main() -> None:
        proxy = Proxy(0)
        assert await attempt(Town(tmp_path), proxy, []) == b"a private word" * 100
        assert len(proxy.seen) > 3000
        assert b"private" not in proxy.seen

    run(main())


def test_certificates_are_not_sent_in_clear(tmp_path: Path) -> None:
    async def main() -> None:
        town, proxy = Town(tmp_path, "Eleusis"), Proxy(0)
        await attempt(town, proxy, [])
        assert b"Eleusis" not in proxy.seen

    run(main())


@pytest.mark.parametrize("insider", [False, True], ids=["stranger", "insider"])
def test_man_in_the_middle(tmp_path: Path, insider: bool) -> None:
    """With a foreign certificate or with another node's valid one: the dialler notices."""

    async def main() -> None:
        town, served = Town(tmp_path), []
        person = (town if insider else Town(tmp_path)).person()
        proxy = Proxy(0)
        proxy.inside, proxy.outside = attacker_context(server=True), attacker_context()
        for context in (proxy.inside, proxy.outside):
            load_key(context, person.pem, person.seed, tmp_path)
        sentence = "answers at its address" if insider else "did not sign"
        with pytest.raises(TransportError, match=sentence):
            await attempt(town, proxy, served)
        assert served == []
        assert b"private" not in proxy.seen

    run(main())


def test_the_expected_id_is_the_defence_against_insiders(tmp_path: Path) -> None:
    """An asking node that takes any certificate for its peer's tells the insider all."""

    async def main() -> None:
        town, served = Town(tmp_path), []
        person, proxy = town.person(), Proxy(0)
        proxy.inside, proxy.outside = attacker_context(server=True), attacker_context()
        for context in (proxy.inside, proxy.outside):
            load_key(context, person.pem, person.seed, tmp_path)

        def believe(asking: TlsTransport, answering: TlsTransport) -> None:
            asking.identify = lambda certificate: (answering.node_id, NOW + DAY_S)

        await attempt(town, proxy, served, believe)
        assert served == [town.identity(person).node_id]
        assert b"a private word" in proxy.seen

    run(main())


@pytest.mark.parametrize("at_byte", [30, 2500])
def test_altered_byte(tmp_path: Path, at_byte: int) -> None:
    async def main() -> None:
        passed = 0

        def flip(data: bytes) -> bytes:
            nonlocal passed
            start, passed = passed, passed + len(data)
            if start <= at_byte < passed:
                index = at_byte - start
                return data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :]
            return data

        with pytest.raises(TransportError):
            await attempt(Town(tmp_path), Proxy(0, change=flip), [])

    run(main())
