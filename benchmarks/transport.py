"""Requests between nodes over TLS on loopback: small, large, and a full mesh of 36; a parcel.

The parcel goes from disk to disk through the parts that a daemon uses, next to requests of the same
transport that carry as many bytes from memory to memory. And how soon a peer is cut off that claims
a frame of 2^31 bytes, with what is allocated for it (D1: less than 100 ms and 10 MB).
"""

import asyncio
import gc
import importlib.util
import secrets
import statistics
import tempfile
import time
from pathlib import Path

from pnyx.errors import VaultError
from pnyx.node.certificates import certificate_pem, create_authority
from pnyx.node.parcel_sender import ParcelSender
from pnyx.node.parcel_store import FileParcelStore
from pnyx.node.postman import Postman, unpack
from pnyx.node.transport import frames
from pnyx.node.transport.identity import TlsIdentity
from pnyx.node.transport.tls import TlsTransport
from pnyx.primitives import codec
from pnyx.primitives.signature import SigningKey
from pnyx.protocol.chunks import chunks_of
from pnyx.protocol.events import ChunkSent, Effect, SealParcel, SendChunk, StoreChunk
from pnyx.protocol.messages import Message
from pnyx.protocol.params import DEFAULT_PARAMS
from pnyx.protocol.parcels import Parcels

NODES = 36
SMALL_REQUESTS = 4000
LARGE_BYTES = 1_000_000
LARGE_REQUESTS = 60
PARCEL_BYTES = 34_000_000  # a masked vector of 10^7 values
PARCELS = 4
CLAIM_BYTES = 2**31
CLAIMS = 200
DAY_S = 86_400


def _identities(count: int, directory: Path) -> list[TlsIdentity]:
    now = int(time.time_ns() / 1e9)
    authority = create_authority(
        secrets.token_bytes(32), "bench", not_before=now - 60, not_after=now + DAY_S
    )
    root = certificate_pem(authority.certificate)
    identities = []
    for _ in range(count):
        seed = secrets.token_bytes(32)
        issued = authority.issue(
            SigningKey(seed).public_key,
            secrets.token_bytes(16),
            not_before=now - 60,
            not_after=now + DAY_S,
        )
        identities.append(TlsIdentity(seed, certificate_pem(issued), root, directory, now=now))
    return identities


def _resident_kb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4


async def _pair(identities: list[TlsIdentity]) -> dict[str, float]:
    a, b = (TlsTransport(identity) for identity in identities[:2])
    await a.start(lambda _peer, payload: payload)
    await b.start(lambda _peer, payload: payload[:100])
    a.learn_address(b.node_id, "127.0.0.1", b.port)
    await a.request(b.node_id, b"x")
    found: dict[str, float] = {}
    for concurrent in (1, 16):

        async def ask(count: int) -> None:
            for _ in range(count):
                await a.request(b.node_id, b"x" * 100)

        cpu = time.process_time()
        await asyncio.gather(*[ask(SMALL_REQUESTS // concurrent) for _ in range(concurrent)])
        spent = (time.process_time() - cpu) / SMALL_REQUESTS
        found[f"small_request_cpu_us_{concurrent}_concurrent"] = round(spent * 1e6, 1)
    body = secrets.token_bytes(LARGE_BYTES)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(LARGE_REQUESTS):
        await a.request(b.node_id, body)
    megabytes = LARGE_BYTES * LARGE_REQUESTS / 1e6
    found["large_mb_per_s"] = round(megabytes / (time.perf_counter() - wall), 1)
    found["large_cpu_ms_per_mb"] = round((time.process_time() - cpu) / megabytes * 1e3, 2)
    await a.stop()
    await b.stop()
    return found


class _ParcelNode:
    """One end of a parcel: what a daemon does for it, and nothing else."""

    def __init__(self, transport: TlsTransport, directory: Path) -> None:
        self._transport = transport
        self._effects: list[Effect] = []
        self._store = FileParcelStore(directory)
        self._store.retain({})
        self._postman = Postman(
            transport, self._on_message, lambda _peer, _reachable: None, lambda _notice: None
        )
        self._sender = ParcelSender(
            self._store, self._postman.post, self._on_sent, lambda _notice: None, _raise
        )
        self.parcels = Parcels(
            DEFAULT_PARAMS,
            transport.node_id,
            lambda _peer: False,
            self._effects.append,
            lambda peer, message: self._postman.post(peer, codec.encode(message)),
            {},
        )

    async def start(self) -> None:
        await self._transport.start(self._serve)

    async def stop(self) -> None:
        await self._postman.stop()
        await self._transport.stop()

    def _serve(self, peer: bytes, body: bytes) -> bytes:
        for message in unpack(body):
            self._on_message(peer, message)
        return self._postman.collect(peer)

    def _on_message(self, peer: bytes, payload: bytes) -> None:
        message = codec.decode(payload, Message, bytes_max=DEFAULT_PARAMS.message_bytes_max)
        self.parcels.handle(peer, message, time.monotonic())
        self.carry_out()

    def _on_sent(self, sent: ChunkSent) -> None:
        self.parcels.on_sent(sent.peer, sent.parcel, sent.index)

    def carry_out(self) -> None:
        self.parcels.flush(time.monotonic())
        effects, self._effects[:] = list(self._effects), []
        for effect in effects:
            match effect:
                case StoreChunk():
                    self._store.write(effect.parcel, effect.index, effect.data)
                case SealParcel():
                    self._store.seal(effect.parcel, effect.length)
                case SendChunk():
                    self._sender.send(effect)


def _raise(error: VaultError) -> None:
    raise error


async def _parcel(identities: list[TlsIdentity], directory: Path) -> dict[str, float]:
    a, b = (TlsTransport(identity) for identity in identities[:2])
    holder, puller = _ParcelNode(a, directory / "a"), _ParcelNode(b, directory / "b")
    await holder.start()
    await puller.start()
    b.learn_address(a.node_id, "127.0.0.1", a.port)
    names = []
    for _ in range(PARCELS):
        content = secrets.token_bytes(PARCEL_BYTES)
        names.append(holder.parcels.keep(chunks_of(content), [b.node_id]))
        holder.carry_out()
    del content
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    for name in names:
        done = asyncio.Event()
        puller.parcels.fetch(name, PARCEL_BYTES, [a.node_id], lambda _, done=done: done.set())
        puller.carry_out()
        await done.wait()
    megabytes = PARCEL_BYTES * PARCELS / 1e6
    found = {
        "parcel_mb_per_s": round(megabytes / (time.perf_counter() - wall), 1),
        "parcel_cpu_ms_per_mb": round((time.process_time() - cpu) / megabytes * 1e3, 2),
    }
    await holder.stop()
    await puller.stop()
    return found


async def _mesh(identities: list[TlsIdentity]) -> dict[str, float]:
    transports = [TlsTransport(identity) for identity in identities]
    for transport in transports:
        await transport.start(lambda _peer, _payload: b"")
    for one in transports:
        for other in transports:
            if one is not other:
                one.learn_address(other.node_id, "127.0.0.1", other.port)
    gc.collect()
    memory, cpu = _resident_kb(), time.process_time()
    for at, one in enumerate(transports):
        await asyncio.gather(*[one.request(o.node_id, b"x") for o in transports[at + 1 :]])
    pairs = NODES * (NODES - 1) // 2
    spent = time.process_time() - cpu
    gc.collect()
    found = {
        "mesh_connections": pairs,
        "mesh_cpu_ms_per_connection": round(spent / pairs * 1e3, 2),
        "mesh_idle_kb_per_pair": round((_resident_kb() - memory) / pairs, 1),
    }
    for transport in transports:
        await transport.stop()
    return found


async def _oversized_frame(identities: list[TlsIdentity]) -> dict[str, float]:
    """A certified peer claims too large a frame, again and again, each time by a new connection."""
    victim = TlsTransport(identities[0])
    await victim.start(lambda _peer, payload: payload)
    seconds = []
    memory = _resident_kb()
    for _ in range(CLAIMS):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", victim.port, ssl=identities[1].client_context
        )
        await reader.readexactly(frames.HEADER_BYTES)  # the welcome: both sides are certified
        asked_at = time.perf_counter()
        writer.write(CLAIM_BYTES.to_bytes(4, "big"))
        async with asyncio.timeout(10):
            await reader.read()  # returns when the other end is closed
        seconds.append(time.perf_counter() - asked_at)
        writer.transport.abort()
    found = {
        "oversized_frame_closed_ms_median": round(statistics.median(seconds) * 1e3, 3),
        "oversized_frame_closed_ms_max": round(max(seconds) * 1e3, 3),
        "oversized_frame_allocated_kb": float(max(_resident_kb() - memory, 0)),
    }
    await victim.stop()
    return found


def run() -> dict[str, dict[str, float]]:
    """CPU figures cover both ends, which share this process; asyncio beside uvloop."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        identities = _identities(NODES, Path(name))

        async def measure(loop: str) -> dict[str, float]:
            return {
                **await _oversized_frame(identities),
                **await _pair(identities),
                **await _parcel(identities, Path(name) / loop),
                **await _mesh(identities),
            }

        found["asyncio"] = asyncio.run(measure("asyncio"))
        if importlib.util.find_spec("uvloop") is not None:
            import uvloop

            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                found["uvloop"] = runner.run(measure("uvloop"))
    return found
