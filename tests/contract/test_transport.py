"""What every implementation of the transport port does."""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from tests.transport_kit import QUICK, Town, run, take_reports, until

from pnyx.errors import RuleBroken, TransportError
from pnyx.node.transport import Transport, TransportLimits
from pnyx.node.transport.memory import MemoryNetwork, MemoryTransport

Make = Callable[..., Transport]


@pytest.fixture(params=["tls", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Any) -> Make:
    if request.param == "tls":
        return Town(tmp_path).transport
    network = MemoryNetwork()

    def transport(**options: Any) -> Transport:
        options.setdefault("limits", QUICK)
        return MemoryTransport(network, secrets.token_bytes(32), host="127.0.0.1", **options)

    return transport


def echo(peer: bytes, payload: bytes) -> bytes:
    return payload


async def pair(make: Make, handler: Any = echo, **options: Any) -> tuple[Transport, Transport]:
    """Two started transports; the first knows where the second is, not the other way round."""
    asking, answering = make(), make(**options)
    await asking.start(echo)
    await answering.start(handler)
    asking.learn_address(answering.node_id, "127.0.0.1", answering.port)
    return asking, answering


async def stop(*transports: Transport) -> None:
    for transport in transports:
        await transport.stop()


def test_request_and_reply(make: Make) -> None:
    async def main() -> None:
        seen = []

        async def handler(peer: bytes, payload: bytes) -> bytes:
            seen.append(peer)
            await asyncio.sleep(0)
            return payload[::-1]

        asking, answering = await pair(make, handler)
        assert await asking.request(answering.node_id, b"abc") == b"cba"
        assert await asking.request(answering.node_id, b"") == b""
        assert seen == [asking.node_id, asking.node_id]
        assert asking.peers == (answering.node_id,)
        assert answering.peers == (asking.node_id,)
        assert answering.traffic.requests == 2
        assert asking.traffic.bytes_sent > 0
        assert asking.traffic.bytes_received > 0
        await stop(asking, answering)

    run(main())


def test_one_connection_serves_both_directions(make: Make) -> None:
    async def main() -> None:
        asking, answering = await pair(make)
        await asking.request(answering.node_id, b"first")
        # The answering side was never told an address.
        assert await answering.request(asking.node_id, b"back") == b"back"
        assert answering.traffic.handshakes <= 1
        await stop(asking, answering)

    run(main())


def test_concurrent_requests_overtake_each_other(make: Make) -> None:
    async def main() -> None:
        async def handler(peer: bytes, payload: bytes) -> bytes:
            await asyncio.sleep(0.05 if payload == b"0" else 0)
            return payload

        asking, answering = await pair(make, handler)
        done = []

        async def ask(number: int) -> None:
            body = b"%d" % number
            assert await asking.request(answering.node_id, body) == body
            done.append(number)

        await asyncio.gather(*(ask(number) for number in range(50)))
        assert sorted(done) == list(range(50))
        assert done[-1] == 0
        await stop(asking, answering)

    run(main())


def test_large_bodies_both_ways(make: Make) -> None:
    async def main() -> None:
        asking, answering = await pair(make)
        bodies = [secrets.token_bytes(size) for size in (16_375, 16_376, 70_000, 1_000_000)]
        answers = await asyncio.gather(
            *(asking.request(answering.node_id, body) for body in bodies)
        )
        assert answers == bodies
        await stop(asking, answering)

    run(main())


def test_unknown_peer(make: Make) -> None:
    async def main() -> None:
        asking, answering = await pair(make)
        with pytest.raises(TransportError, match="No address is known"):
            await asking.request(secrets.token_bytes(32), b"x")
        await stop(asking, answering)

    run(main())


def test_peer_that_is_not_running_fails_at_once(make: Make) -> None:
    async def main() -> None:
        asking, answering = await pair(make)
        await answering.stop()
        for _ in range(2):  # the second time within the back-off
            with pytest.raises(TransportError, match="is it running"):
                await asyncio.wait_for(asking.request(answering.node_id, b"x"), 2)
        await stop(asking)

    run(main())


def test_wrong_node_at_the_address(make: Make) -> None:
    async def main() -> None:
        asking, answering = await pair(make)
        somebody = secrets.token_bytes(32)
        asking.learn_address(somebody, "127.0.0.1", answering.port)
        with pytest.raises(TransportError, match="answers at its address"):
            await asking.request(somebody, b"x")
        await stop(asking, answering)

    run(main())


def test_peer_lost_while_it_owes_an_answer(make: Make) -> None:
    async def main() -> None:
        reached = asyncio.Event()

        async def handler(peer: bytes, payload: bytes) -> bytes:
            reached.set()
            await asyncio.Event().wait()
            return b""

        asking, answering = await pair(make, handler)
        waiting = asyncio.create_task(asking.request(answering.node_id, b"x"))
        await reached.wait()
        await answering.stop()
        with pytest.raises(TransportError):
            await asyncio.wait_for(waiting, 2)
        await stop(asking)

    run(main())


def test_loss_is_reported_once_to_each_side(make: Make) -> None:
    async def main() -> None:
        lost: dict[str, list[bytes]] = {"asking": [], "answering": []}
        asking, answering = make(), make()
        await asking.start(echo, lost["asking"].append)
        await answering.start(echo, lost["answering"].append)
        asking.learn_address(answering.node_id, "127.0.0.1", answering.port)
        await asking.request(answering.node_id, b"x")
        asking.disconnect(answering.node_id)
        await until(lambda: bool(lost["asking"] and lost["answering"]))
        assert lost == {"asking": [answering.node_id], "answering": [asking.node_id]}
        assert asking.peers == ()
        # And the peer can be reached again.
        assert await asking.request(answering.node_id, b"again") == b"again"
        await answering.stop()
        await until(lambda: len(lost["asking"]) == 2)
        await stop(asking)
        assert len(lost["answering"]) == 1  # who stops knows that peers are gone

    run(main())


def test_restarted_peer_is_reached_at_its_new_port(make: Make) -> None:
    async def main() -> None:
        asking, answering = await pair(make)
        await asking.request(answering.node_id, b"x")
        await answering.stop()
        with pytest.raises(TransportError):
            await asking.request(answering.node_id, b"x")
        third = make()
        await third.start(echo)
        asking.learn_address(third.node_id, "127.0.0.1", third.port)
        assert await asking.request(third.node_id, b"x") == b"x"
        await stop(asking, third)

    run(main())


def test_refusal_by_the_handler(make: Make) -> None:
    async def main() -> None:
        def handler(peer: bytes, payload: bytes) -> bytes:
            if payload == b"bad":
                raise RuleBroken("secret detail")
            return payload

        asking, answering = await pair(make, handler)
        with pytest.raises(TransportError, match="refused the request") as caught:
            await asking.request(answering.node_id, b"bad")
        assert "secret" not in str(caught.value)
        assert await asking.request(answering.node_id, b"good") == b"good"
        await stop(asking, answering)

    run(main())


@pytest.mark.parametrize("asynchronous", [False, True])
def test_bug_in_the_handler_is_reported_and_contained(make: Make, asynchronous: bool) -> None:
    async def main() -> None:
        def handler(peer: bytes, payload: bytes) -> bytes:
            if payload == b"bad":
                raise ZeroDivisionError
            return payload

        async def slow_handler(peer: bytes, payload: bytes) -> bytes:
            await asyncio.sleep(0)
            return handler(peer, payload)

        asking, answering = await pair(make, slow_handler if asynchronous else handler)
        with pytest.raises(TransportError, match="failed while answering"):
            await asking.request(answering.node_id, b"bad")
        (report,) = take_reports()
        assert isinstance(report["exception"], ZeroDivisionError)
        assert await asking.request(answering.node_id, b"good") == b"good"
        await stop(asking, answering)

    run(main())


def test_oversized_request_is_not_sent(make: Make) -> None:
    async def main() -> None:
        limits = TransportLimits(frame_bytes_max=1000)
        asking, answering = make(limits=limits), make()
        await asking.start(echo)
        await answering.start(echo)
        asking.learn_address(answering.node_id, "127.0.0.1", answering.port)
        with pytest.raises(TransportError, match="send less at a time"):
            await asking.request(answering.node_id, bytes(1001))
        assert await asking.request(answering.node_id, bytes(1000)) == bytes(1000)
        assert answering.traffic.requests == 1
        await stop(asking, answering)

    run(main())


def test_oversized_reply_is_an_internal_failure(make: Make) -> None:
    async def main() -> None:
        limits = TransportLimits(frame_bytes_max=1000)
        asking, answering = await pair(make, lambda peer, payload: bytes(1001), limits=limits)
        with pytest.raises(TransportError, match="failed while answering"):
            await asking.request(answering.node_id, b"x")
        (report,) = take_reports()
        assert "frame limit" in report["message"]
        assert "exception" not in report, "which would end a node"
        await stop(asking, answering)

    run(main())


def test_silent_handler_meets_the_deadline(make: Make) -> None:
    async def main() -> None:
        async def handler(peer: bytes, payload: bytes) -> bytes:
            await asyncio.Event().wait()
            return b""

        limits = TransportLimits(request_s=0.2)
        asking, answering = make(limits=limits), make(limits=limits)
        await asking.start(echo)
        await answering.start(handler)
        asking.learn_address(answering.node_id, "127.0.0.1", answering.port)
        with pytest.raises(TransportError, match=r"within 0\.2 s|too busy"):
            await asking.request(answering.node_id, b"x")
        await stop(asking, answering)

    run(main())


def test_requests_beyond_the_pending_limit(make: Make) -> None:
    async def main() -> None:
        release = asyncio.Event()

        async def handler(peer: bytes, payload: bytes) -> bytes:
            await release.wait()
            return payload

        limits = TransportLimits(requests_pending_max=3)
        asking, answering = make(limits=limits), make()
        await asking.start(echo)
        await answering.start(handler)
        asking.learn_address(answering.node_id, "127.0.0.1", answering.port)
        waiting = [asyncio.create_task(asking.request(answering.node_id, b"x")) for _ in range(3)]
        await until(lambda: answering.traffic.requests == 3)
        with pytest.raises(TransportError, match="3 requests unanswered"):
            await asking.request(answering.node_id, b"x")
        release.set()
        assert await asyncio.gather(*waiting) == [b"x"] * 3
        assert await asking.request(answering.node_id, b"y") == b"y"
        await stop(asking, answering)

    run(main())


@pytest.mark.parametrize(
    "limits",
    [
        TransportLimits(requests_served_max=2),
        TransportLimits(served_bytes_per_peer_max=200),
        TransportLimits(served_bytes_max=200),
    ],
)
def test_busy_peer_says_so(make: Make, limits: TransportLimits) -> None:
    async def main() -> None:
        release = asyncio.Event()

        async def handler(peer: bytes, payload: bytes) -> bytes:
            await release.wait()
            return payload

        asking, answering = await pair(make, handler, limits=limits)
        body = bytes(100)
        waiting = [asyncio.create_task(asking.request(answering.node_id, body)) for _ in range(2)]
        await until(lambda: answering.traffic.requests == 2)
        with pytest.raises(TransportError, match="too busy"):
            await asking.request(answering.node_id, body)
        release.set()
        await asyncio.gather(*waiting)
        assert await asking.request(answering.node_id, body) == body
        await stop(asking, answering)

    run(main())


def test_cancelled_request_leaves_the_connection_usable(make: Make) -> None:
    async def main() -> None:
        async def handler(peer: bytes, payload: bytes) -> bytes:
            if payload == b"slow":
                await asyncio.sleep(0.05)
            return payload

        asking, answering = await pair(make, handler)
        slow = asyncio.create_task(asking.request(answering.node_id, b"slow"))
        await until(lambda: answering.traffic.requests == 1)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        assert await asking.request(answering.node_id, b"x") == b"x"
        await asyncio.sleep(0.06)  # the late answer is ignored
        assert await asking.request(answering.node_id, b"y") == b"y"
        await stop(asking, answering)

    run(main())


def test_peer_that_is_not_admitted(make: Make) -> None:
    async def main() -> None:
        asking, answering = await pair(make, admit=lambda peer: False)
        with pytest.raises(TransportError, match="does not admit this node"):
            await asking.request(answering.node_id, b"x")
        answering.learn_address(asking.node_id, "127.0.0.1", asking.port)
        with pytest.raises(TransportError, match="not in the census"):
            await answering.request(asking.node_id, b"x")
        assert answering.traffic.requests == 0
        await stop(asking, answering)

    run(main())


def test_dead_peer_does_not_delay_others(make: Make) -> None:
    async def main() -> None:
        asking, answering = await pair(make)
        dead = make()
        await dead.start(echo)
        asking.learn_address(dead.node_id, "127.0.0.1", dead.port)
        await dead.stop()
        outcomes = await asyncio.gather(
            *(asking.request(peer, b"x") for peer in (dead.node_id, answering.node_id) * 10),
            return_exceptions=True,
        )
        assert all(isinstance(outcome, TransportError) for outcome in outcomes[::2])
        assert outcomes[1::2] == [b"x"] * 10
        await stop(asking, answering)

    run(main())


def test_port_in_use(make: Make) -> None:
    async def main() -> None:
        first = make()
        await first.start(echo)
        second = make(port=first.port)
        with pytest.raises(TransportError) as caught:
            await second.start(echo)
        assert str(caught.value) == (
            f"Port {first.port} is in use; "
            "end what uses it, or set another listen.port in pnyx.toml."
        )
        await stop(first, second)

    run(main())


def test_use_before_start_after_stop_and_towards_oneself(make: Make) -> None:
    async def main() -> None:
        transport = make()
        with pytest.raises(TransportError, match="not running"):
            await transport.request(bytes(32), b"x")
        await transport.start(echo)
        with pytest.raises(ValueError, match="itself"):
            await transport.request(transport.node_id, b"x")
        with pytest.raises(ValueError, match="already"):
            await transport.start(echo)
        transport.disconnect(bytes(32))  # nobody there: nothing to do
        await transport.stop()
        await transport.stop()
        with pytest.raises(TransportError, match="not running"):
            await transport.request(bytes(32), b"x")

    run(main())
