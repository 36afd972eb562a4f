"""Parcels: large bytes that nodes pull from each other, chunk by chunk.

A message is small and held in memory; a masked vector of ten million values is neither. So it is a
*parcel*: named by its length and the Merkle root over its chunks, kept by the shell on disk, and
pulled by whoever it was granted to. The puller asks for a few chunks at a time, so that no side
ever holds more than these; it checks each against the name before it is stored, so that any holder
is as good as another, and goes on with the next one when a holder is silent, away, or lies.

Who offers a parcel says who may read it. What was not asked for is dropped. Each parcel belongs to
a scope, and what is remembered of it over a restart goes when the scope is forgotten.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from pnyx.errors import RuleBroken
from pnyx.primitives import codec
from pnyx.primitives.hashing import digest, merkle_commit, merkle_root, verify_merkle_proof
from pnyx.protocol.events import (
    Effect,
    Forget,
    ForgetParcel,
    Parcel,
    Persist,
    SealParcel,
    SendChunk,
    StoreChunk,
)
from pnyx.protocol.messages import Chunk, ChunkRequest
from pnyx.protocol.params import ProtocolParams

CHUNK_BYTES = 128 * 1024
PARCEL_BYTES_MAX = 1 << 30  # 8192 chunks

_STORED = "/parcel/"
_STORED_BYTES_MAX = 1024 * 1024


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    """What a node remembers of a parcel that it holds."""

    length: int
    hashes: tuple[bytes, ...]  # of its chunks


def held_parcels(restored: Iterable[str]) -> set[bytes]:
    """Names of the parcels that persisted keys speak of; a shell drops the files of all others."""
    return {bytes.fromhex(key.rpartition(_STORED)[2]) for key in restored if _STORED in key}


def chunk_count(length: int) -> int:
    """Chunks of a parcel: all of `CHUNK_BYTES` but the last."""
    return -(-length // CHUNK_BYTES)


def parcel_name(length: int, root: bytes) -> bytes:
    """Name a parcel by its length and the Merkle root over its chunks."""
    return digest("pnyx/parcel", length.to_bytes(8, "big"), root)


def cut(pieces: Iterable[bytes]) -> Iterable[bytes]:
    """Cut the concatenation of pieces into chunks, holding no more than a piece and a chunk."""
    rest = b""
    for piece in pieces:
        rest += piece
        whole = len(rest) - len(rest) % CHUNK_BYTES
        for start in range(0, whole, CHUNK_BYTES):
            yield rest[start : start + CHUNK_BYTES]
        rest = rest[whole:]
    if rest:
        yield rest


def describe(hashes: Sequence[bytes], length: int) -> Parcel:
    """Describe a parcel of at least one byte by the hashes of its chunks."""
    root = merkle_root(hashes)
    return Parcel(parcel_name(length, root), length, tuple(hashes))


def chunk_hash(data: bytes) -> bytes:
    """What the tree has for a chunk."""
    return digest("pnyx/chunk", data)


def chunk_message(effect: SendChunk, data: bytes) -> Chunk:
    """The message that a shell sends for `SendChunk`, with the chunk that it has read."""
    return Chunk(effect.parcel, effect.index, effect.root, effect.proof, data)


class _Held:
    """A parcel that this node holds."""

    def __init__(self, parcel: Parcel, scope: str) -> None:
        self.parcel = parcel
        self.scope = scope
        self.root, proofs = merkle_commit(parcel.hashes)
        self.proofs = [tuple(proof) for proof in proofs]
        self.readers: set[bytes] = set()


class _Fetch:
    """One parcel on its way to this node."""

    def __init__(
        self, length: int, scope: str, sources: Sequence[bytes], done: Callable[[], None]
    ) -> None:
        self.length = length
        self.scope = scope
        self.sources = list(dict.fromkeys(sources))
        self.done = done
        self.source = self.sources[0]
        self.missing = set(range(chunk_count(length)))
        self.asked: set[int] = set()
        self.hashes: dict[int, bytes] = {}
        self.due = 0.0

    def next_source(self) -> None:
        """Turn to the next holder; what was asked of this one is asked again."""
        at = self.sources.index(self.source) + 1 if self.source in self.sources else 0
        self.source = self.sources[at % len(self.sources)]
        self.asked.clear()


class Parcels:
    """Parcels that this node holds, and those that it pulls."""

    def __init__(
        self,
        params: ProtocolParams,
        emit: Callable[[Effect], None],
        send: Callable[[bytes, ChunkRequest], None],
        restored: Mapping[str, bytes],
        now: float,
    ) -> None:
        self._params = params
        self._emit = emit
        self._send = send
        self._held: dict[bytes, _Held] = {}
        self._fetches: dict[bytes, _Fetch] = {}
        self._now = now
        for key, value in restored.items():
            if _STORED in key:
                stored = codec.decode(value, _Stored, bytes_max=_STORED_BYTES_MAX)
                parcel = describe(stored.hashes, stored.length)
                self._held[parcel.name] = _Held(parcel, key.rpartition(_STORED)[0])

    def __contains__(self, name: bytes) -> bool:
        return name in self._held

    # --- holding ----------------------------------------------------------------------------------

    def keep(self, scope: str, pieces: Iterable[bytes]) -> bytes:
        """Store bytes as a parcel, durably; returns its name."""
        chunks = list(cut(pieces))
        parcel = describe([chunk_hash(chunk) for chunk in chunks], sum(map(len, chunks)))
        if parcel.name not in self._held:
            for index, chunk in enumerate(chunks):
                self._emit(StoreChunk(parcel.name, index, chunk))
            self._emit(SealParcel(parcel.name))
            self.hold(scope, parcel)
        return parcel.name

    def hold(self, scope: str, parcel: Parcel) -> None:
        """Hold a parcel that the shell has stored."""
        self._held[parcel.name] = _Held(parcel, scope)
        stored = codec.encode(_Stored(parcel.length, parcel.hashes))
        self._emit(Persist(_key(scope, parcel.name), stored))

    def grant(self, name: bytes, readers: Iterable[bytes]) -> None:
        """Let more peers read a parcel that is held."""
        held = self._held.get(name)
        if held is not None:
            held.readers.update(readers)

    def forget(self, scope: str) -> None:
        """Hold, and pull, nothing of a scope any longer."""
        for name, fetch in list(self._fetches.items()):
            if fetch.scope == scope:
                del self._fetches[name]
                self._emit(ForgetParcel(name))
        for name, held in list(self._held.items()):
            if held.scope == scope:
                self.drop(name)

    def drop(self, name: bytes) -> None:
        """Hold a parcel no longer."""
        held = self._held.pop(name, None)
        if held is not None:
            self._emit(Forget(_key(held.scope, name)))
            self._emit(ForgetParcel(name))

    # --- pulling ----------------------------------------------------------------------------------

    def fetch(
        self,
        scope: str,
        name: bytes,
        length: int,
        sources: Sequence[bytes],
        done: Callable[[], None],
    ) -> None:
        """Pull a parcel; `done` is called once it is held. Sources of a second call are added."""
        if not 1 <= length <= PARCEL_BYTES_MAX:
            raise RuleBroken(f"a parcel has between 1 and {PARCEL_BYTES_MAX} bytes")
        if name in self._held:
            done()
            return
        known = self._fetches.get(name)
        if known is not None:
            known.sources += [source for source in sources if source not in known.sources]
            return
        self._fetches[name] = _Fetch(length, scope, sources, done)
        self._ask(name)

    def handle(self, peer: bytes, message: Chunk | ChunkRequest, now: float) -> None:
        """Serve a chunk, or take one. Raises ProtocolError."""
        self._now = now
        match message:
            case ChunkRequest():
                self._serve(peer, message)
            case Chunk():
                self._take(peer, message)

    def next_deadline(self) -> float | None:
        """When a silent holder is given up."""
        return min((fetch.due for fetch in self._fetches.values()), default=None)

    def tick(self, now: float) -> None:
        """Turn away from holders that are silent."""
        self._now = now
        for name, fetch in list(self._fetches.items()):
            if now >= fetch.due:
                fetch.next_source()
                self._ask(name)

    def on_unreachable(self, peer: bytes, now: float) -> None:
        """Turn away from a holder whose connection broke."""
        self._now = now
        for name, fetch in list(self._fetches.items()):
            if fetch.source == peer and len(fetch.sources) > 1:
                fetch.next_source()
                self._ask(name)

    def _ask(self, name: bytes) -> None:
        """Keep a window of chunks asked for."""
        fetch = self._fetches[name]
        fetch.due = self._now + self._params.chunk_timeout_s
        room = self._params.chunks_at_once - len(fetch.asked)
        wanted = sorted(fetch.missing - fetch.asked)[: max(room, 0)]
        if wanted:
            fetch.asked.update(wanted)
            self._send(fetch.source, ChunkRequest(name, tuple(wanted)))

    def _serve(self, peer: bytes, request: ChunkRequest) -> None:
        held = self._held.get(request.parcel)
        if held is None:
            return  # not yet, or no longer: the peer asks another holder
        if peer not in held.readers:
            raise RuleBroken("a parcel is asked for by a peer to which nobody granted it")
        for index in request.indices[: self._params.chunks_at_once]:
            if index < len(held.proofs):
                proof = held.proofs[index]
                self._emit(SendChunk(peer, held.parcel.name, index, held.root, proof))

    def _take(self, peer: bytes, chunk: Chunk) -> None:
        fetch = self._fetches.get(chunk.parcel)
        if fetch is None or peer != fetch.source or chunk.index not in fetch.asked:
            return  # asked of another meanwhile
        hashed = chunk_hash(chunk.data)
        if not self._fits(fetch, chunk, hashed):
            if len(fetch.sources) > 1:
                fetch.sources.remove(peer)
            fetch.next_source()
            self._ask(chunk.parcel)
            raise RuleBroken("a chunk is not the one that its parcel names")
        fetch.asked.discard(chunk.index)
        fetch.missing.discard(chunk.index)
        fetch.hashes[chunk.index] = hashed
        self._emit(StoreChunk(chunk.parcel, chunk.index, chunk.data))
        if fetch.missing:
            self._ask(chunk.parcel)
            return
        del self._fetches[chunk.parcel]
        self._emit(SealParcel(chunk.parcel))
        hashes = [fetch.hashes[index] for index in range(len(fetch.hashes))]
        self.hold(fetch.scope, describe(hashes, fetch.length))
        fetch.done()

    def _fits(self, fetch: _Fetch, chunk: Chunk, hashed: bytes) -> bool:
        count = chunk_count(fetch.length)
        last = chunk.index == count - 1
        size = fetch.length - CHUNK_BYTES * (count - 1) if last else CHUNK_BYTES
        return (
            len(chunk.data) == size
            and parcel_name(fetch.length, chunk.root) == chunk.parcel
            and verify_merkle_proof(chunk.root, hashed, chunk.index, count, chunk.proof)
        )


def _key(scope: str, name: bytes) -> str:
    return f"{scope}{_STORED}{name.hex()}"
