"""Only the network's own, valid certificates open a connection, in both directions (I1, I4, T4)."""

import asyncio
import secrets
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.transport_kit import DAY_S, NOW, Person, Town, Wire, attacker_context, load_key, run

from pnyx.errors import TransportError


def stranger(town: Town) -> Person:
    """Certified by another authority that carries the same name."""
    return Town(town.directory).person()


def expired(town: Town) -> Person:
    return town.person(not_before=NOW - 9 * DAY_S, not_after=NOW - DAY_S)


def early(town: Town) -> Person:
    return town.person(not_before=NOW + DAY_S // 2, not_after=NOW + DAY_S)


def self_signed(town: Town) -> Person:
    person = town.person()
    own = Town(town.directory)
    person.pem, person.seed = own.root_pem, own.seed
    return person


def authority_itself(town: Town) -> Person:
    person = town.person()
    person.pem, person.seed = town.root_pem, town.seed
    return person


CASES = {
    "unknown authority": (stranger, "did not sign", "refused our certificate;"),
    "expired": (expired, "expired certificate", "refused our certificate as expired"),
    "not yet valid": (early, "not valid yet", "refused our certificate"),
    "self-signed": (self_signed, "did not sign", "refused our certificate"),
    "the authority's own": (authority_itself, "bad certificate|did not sign", "refused our cert"),
}


@pytest.mark.parametrize("name", CASES)
def test_dialler_with_a_bad_certificate(tmp_path: Path, name: str) -> None:
    async def main() -> None:
        town = Town(tmp_path)
        victim = town.transport()
        await victim.start(lambda peer, payload: payload)
        person = CASES[name][0](town)
        context = attacker_context()
        load_key(context, person.pem, person.seed, tmp_path)
        wire = await Wire.dial(victim.port, context)
        greeting = await wire.closed(within_s=3)
        assert greeting[4:5] != b"\x01"  # no WELCOME
        assert victim.peers == ()
        await victim.stop()

    run(main())


def test_dialler_without_certificate(tmp_path: Path) -> None:
    async def main() -> None:
        victim = Town(tmp_path).transport()
        await victim.start(lambda peer, payload: payload)
        wire = await Wire.dial(victim.port, attacker_context())
        assert await wire.closed(within_s=3) == b""
        assert victim.traffic.handshakes == 0
        await victim.stop()

    run(main())


@pytest.mark.parametrize("name", CASES)
def test_listener_with_a_bad_certificate(tmp_path: Path, name: str) -> None:
    async def main() -> None:
        town = Town(tmp_path)
        make, sentence, _ = CASES[name]
        victim, person = town.transport(), make(town)
        await victim.start(lambda peer, payload: payload)
        context = attacker_context(server=True)
        load_key(context, person.pem, person.seed, tmp_path)
        server, port = await listen(context)
        peer = secrets.token_bytes(32)
        victim.learn_address(peer, "127.0.0.1", port)
        with pytest.raises(TransportError, match=sentence):
            await victim.request(peer, b"x")
        await victim.stop()
        server.close()

    run(main())


@pytest.mark.parametrize("name", ["unknown authority", "expired"])
def test_owner_of_a_bad_certificate_is_told(tmp_path: Path, name: str) -> None:
    """The refused node itself, running our own code, says what its owner must do."""

    async def main() -> None:
        town = Town(tmp_path)
        make, _, sentence = CASES[name]
        listening = town.transport()
        await listening.start(lambda peer, payload: payload)
        person = make(town)
        refused = town.transport()
        load_key(refused._identity.client_context, person.pem, person.seed, tmp_path)
        await refused.start(lambda peer, payload: payload)
        refused.learn_address(listening.node_id, "127.0.0.1", listening.port)
        with pytest.raises(TransportError, match=sentence):
            await refused.request(listening.node_id, b"x")
        await refused.stop()
        await listening.stop()

    run(main())


def test_our_own_certificate_used_by_somebody_else(tmp_path: Path) -> None:
    async def main() -> None:
        town = Town(tmp_path)
        person = town.person()
        victim = town.transport(town.identity(person))
        await victim.start(lambda peer, payload: payload)
        context = attacker_context()
        load_key(context, person.pem, person.seed, tmp_path)
        wire = await Wire.dial(victim.port, context)
        assert (await wire.closed(within_s=3))[4:5] == b"\x02"  # REFUSED
        await victim.stop()

    run(main())


async def listen(
    context: ssl.SSLContext, serve: Callable[..., None] | None = None
) -> tuple[asyncio.Server, int]:
    """A listener that accepts anything."""

    def close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    server = await asyncio.start_server(serve or close, "127.0.0.1", 0, ssl=context)
    return server, server.sockets[0].getsockname()[1]
