"""Large bytes between nodes: named by their hash, pulled chunk by chunk, checked chunk by chunk.

Whoever holds a parcel (see `chunks`) sends it to *readers* only, whom its own roles grant it.
Whoever is to have it asks for a few chunks at a time, of one source after another (`fetches`).

    keep:   StoreChunk ... SealParcel, then Persist of what describes it
    fetch:  ChunkRequest -> Chunk -> verified -> StoreChunk ... SealParcel, Persist -> done(name)
    serve:  a reader's ChunkRequest -> SendChunk -> (the shell reads and sends) -> ChunkSent

A machine holds hashes and no data: 32 bytes for each chunk. A parcel is kept for one or more
*scopes*, such as an attempt at a round. Its description and its readers are persisted in them, and
when no scope is left the parcel goes. It is held from the moment its hashes are persisted, which is
after it was sealed: `held_parcels` tells a shell that starts which ones these are, and the shell
removes all others. A fetch does not outlive the process; the role that wants the parcel asks again.

What everybody may have, such as a model, is granted to `EVERYBODY`.

A peer that sends a wrong chunk is left out of that fetch, and told as `PeerBlamed` without
evidence, for nobody signs chunks. Where somebody named a parcel with a length that is not its own,
the source is right and that order fails. Who asks for what it may not read learns nothing, not even
whether it is here.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Container, Iterable, Mapping

import msgspec

from pnyx.errors import RuleBroken
from pnyx.primitives import codec
from pnyx.primitives.hashing import HASH_BYTES, merkle_proofs
from pnyx.protocol.allowance import Allowance
from pnyx.protocol.chunks import (
    Parcel,
    Shape,
    chunk_count,
    chunk_length,
    chunk_message,
    chunks_of,
    describe,
    parcel_name,
    parcel_of,
    proven_hash,
    what_is_wrong,
)
from pnyx.protocol.events import (
    Effect,
    Forget,
    ForgetParcel,
    ParcelProgressed,
    PeerBlamed,
    Persist,
    SealParcel,
    SendChunk,
    StoreChunk,
)
from pnyx.protocol.fetches import Fetch, Slice
from pnyx.protocol.messages import (
    CHUNK_BYTES,
    CHUNKS_PER_REQUEST_MAX,
    Chunk,
    ChunkRequest,
    ParcelMessage,
)
from pnyx.protocol.params import ProtocolParams

__all__ = [
    "CHUNK_BYTES",
    "COMMON_SCOPE",
    "EVERYBODY",
    "Parcel",
    "Parcels",
    "chunk_count",
    "chunk_length",
    "chunk_message",
    "chunks_of",
    "describe",
    "held_parcels",
    "parcel_name",
    "proven_hash",
    "without_parcels",
]

COMMON_SCOPE = "chain"
"""For parcels that belong to no round: kept until they are forgotten by name."""

EVERYBODY = bytes(HASH_BYTES)
"""As a reader: whoever asks. It is nobody's node id."""

Told = Callable[[bytes], None]
ToldLength = Callable[[Shape], None]

_PART = "/parcel/"
_HASHES, _READERS = "hashes", "readers"
_TREES_MAX = 32  # parcels that are being served, whose Merkle trees are at hand
_TOLD_PER_PARCEL = 8
_PASSED_MAX = 3  # turns in a row that others take before whoever has waited longest
_DESCRIPTION_BYTES_MAX = 4 * 1024 * 1024


def _ignore(shape: Shape) -> None:
    del shape


class _Description(msgspec.Struct, frozen=True, array_like=True):
    """What is persisted of a parcel that is held."""

    length: int
    hashes: bytes


class _Held:
    """A sealed parcel, and who may read it, by scope that it is kept for."""

    def __init__(self, parcel: Parcel, params: ProtocolParams) -> None:
        self.parcel = parcel
        self.readers: dict[str, set[bytes]] = {}
        chunks = len(parcel.hashes)
        self.allowance = Allowance(
            chunks * params.parcel_pulls_max,
            chunks / params.parcel_pull_every_s,
            params.peers_counted_max,
        )

    def may_read(self, peer: bytes) -> bool:
        """Whether any scope grants it to this peer, or to everybody."""
        return any(peer in who or EVERYBODY in who for who in self.readers.values())


class _Order(msgspec.Struct, frozen=True):
    """Somebody in this node wants a parcel, believes it to be so long, and is told how it ends."""

    scope: str
    length: int
    done: Told
    failed: ToldLength


class _Wanted:
    """A parcel that is being pulled: who wants it, and who may then read it, by scope."""

    def __init__(self, fetch: Fetch) -> None:
        self.fetch = fetch
        self.orders: list[_Order] = []
        self.gave_way = False
        self.root = b""  # once the length is proven
        self.readers: dict[str, set[bytes]] = {}

    @property
    def scope(self) -> str:
        """For whom it is pulled, or one of them."""
        return self.orders[0].scope

    @property
    def room(self) -> int:
        """Bytes that are kept free: of one chunk, until that proves how many there are."""
        return self.fetch.length or min(CHUNK_BYTES, max(order.length for order in self.orders))

    @property
    def stalled(self) -> bool:
        """Whether it has more room than for a chunk, and nobody sends anything more."""
        return self.room > CHUNK_BYTES and self.fetch.stalled

    def give_way(self) -> None:
        """Begin again: what had come is not stored any more."""
        self.gave_way = True
        self.fetch.restart()

    def keep(self, orders: list[_Order]) -> None:
        """Go on for these orders only."""
        scopes = {order.scope for order in orders}
        self.orders = orders
        self.readers = {scope: self.readers.get(scope, set()) for scope in scopes}


class Parcels:
    """Parcels that one node holds, pulls and serves.

    away: whether a peer seems out of reach. restored: what earlier Persist effects stored. Call
    `flush` after whatever may have changed something, `tick` when `next_deadline` has come.
    """

    def __init__(
        self,
        params: ProtocolParams,
        node_id: bytes,
        away: Callable[[bytes], bool],
        emit: Callable[[Effect], None],
        send: Callable[[bytes, ParcelMessage], None],
        restored: Mapping[str, bytes],
    ) -> None:
        self._params = params
        self._node_id = node_id
        self._away = away
        self._emit = emit
        self._send = send
        self._held: dict[bytes, _Held] = {}
        self._wanted: dict[bytes, _Wanted] = {}
        self._slices: dict[bytes, Slice] = {}  # the last one of each source that had a whole one
        self._turns: dict[bytes, float] = {}  # fetches under way, and when their turn ends
        self._queue: deque[bytes] = deque()  # fetches that wait for a turn, the longest first
        self._passed = 0  # turns in a row that did not go to who waited longest
        self._waiting: dict[bytes, set[tuple[bytes, int]]] = {}  # chunks not yet sent, by peer
        self._proofs: OrderedDict[bytes, list[tuple[bytes, ...]]] = OrderedDict()
        self._restore(restored)

    def __contains__(self, name: bytes) -> bool:
        return name in self._held

    # --- for roles ------------------------------------------------------------------------------

    def keep(
        self, chunks: Iterable[bytes], readers: Iterable[bytes] = (), scope: str = COMMON_SCOPE
    ) -> bytes:
        """Store a parcel of this node's own, and let readers pull it. Returns its name.

        chunks: full ones and a last one, as `chunks_of` cuts them; ValueError if they are not. They
        stay in memory until the shell has carried out the effects. Raises RuleBroken when there is
        no room. To keep again what is held stores nothing.
        """
        cut = list(chunks)
        parcel = describe(cut)
        if parcel.name not in self._held:
            self._check_length(parcel.length)
            self._check_room(parcel.name, parcel.length)
            for index, data in enumerate(cut):
                self._emit(StoreChunk(parcel.name, index, data))
            self._emit(SealParcel(parcel.name, parcel.length))
        self.offer(parcel, readers, scope)
        self._complete(parcel)
        return parcel.name

    def offer(self, parcel: Parcel, readers: Iterable[bytes], scope: str = COMMON_SCOPE) -> None:
        """Hold a parcel that is sealed in the shell's store, and let readers pull it."""
        held = self._held.setdefault(parcel.name, _Held(parcel, self._params))
        known = scope in held.readers
        held.readers.setdefault(scope, set())
        self.grant(parcel.name, readers, scope)
        if not known:
            description = _Description(parcel.length, b"".join(parcel.hashes))
            self._emit(Persist(_key(scope, parcel.name, _HASHES), codec.encode(description)))

    def adopt(self, parcel: Parcel, scope: str = COMMON_SCOPE) -> None:
        """Hold a parcel that the shell has made and sealed; whoever was to pull it has it."""
        self.offer(parcel, (), scope)
        self._complete(parcel)

    def share(self, name: bytes, readers: Iterable[bytes], scope: str = COMMON_SCOPE) -> None:
        """Keep what is held for one more scope. ValueError if it is not held."""
        held = self._held.get(name)
        if held is None:
            raise ValueError("a parcel is shared by whoever holds it")
        self.offer(held.parcel, readers, scope)

    def names(self, scope: str) -> list[bytes]:
        """Parcels that are held for a scope."""
        return [name for name, held in self._held.items() if scope in held.readers]

    def grant(self, name: bytes, readers: Iterable[bytes], scope: str = COMMON_SCOPE) -> None:
        """Let more nodes pull a parcel that is held, or once it is. ValueError if it is neither."""
        if (held := self._held.get(name)) is not None and scope in held.readers:
            granted = held.readers[scope]
            fresh = granted.union(readers)
            if fresh != granted:
                held.readers[scope] = fresh
                self._emit(Persist(_key(scope, name, _READERS), b"".join(sorted(fresh))))
        elif (wanted := self._wanted.get(name)) is not None and scope in wanted.readers:
            wanted.readers[scope].update(readers)
        else:
            raise ValueError("a parcel is granted by whoever keeps or fetches it")

    def fetch(
        self,
        name: bytes,
        length: int,
        sources: Iterable[bytes],
        done: Told,
        *,
        failed: ToldLength = _ignore,
        scope: str = COMMON_SCOPE,
    ) -> None:
        """Pull a parcel; call again to name more sources.

        done: told the name once the parcel is sealed and held, within this call if it is already.
        failed: told its shape when the parcel of this name has another length. While no source
        answers, or there is no room for all of it, neither is called: the fetch goes on until it is
        forgotten. Raises RuleBroken when there is no room for one more.
        """
        held, wanted = self._held.get(name), self._wanted.get(name)
        if held is not None and held.parcel.length == length:
            self.offer(held.parcel, (), scope)
            done(name)
            return
        if held is not None:
            failed(Shape(name, held.parcel.length, held.parcel.root))
            return
        if wanted is not None and wanted.fetch.length not in (None, length):
            failed(Shape(name, wanted.fetch.length, wanted.root))
            return
        if wanted is None:
            self._check_length(length)
            self._check_unproven(scope)
            self._check_room(name, min(length, CHUNK_BYTES))
            wanted = self._wanted[name] = _Wanted(Fetch(self._params, self._away, self._slices))
        wanted.keep([*wanted.orders, _Order(scope, length, done, failed)])
        self.add_sources(name, sources)

    def add_sources(self, name: bytes, sources: Iterable[bytes]) -> None:
        """Learn of peers that hold a parcel; does nothing unless it is being pulled."""
        wanted = self._wanted.get(name)
        if wanted is not None:
            wanted.fetch.add_sources(peer for peer in sources if peer != self._node_id)
            self._wait_for_turn(name, wanted.fetch)

    def lacks_sources(self, name: bytes) -> bool:
        """Whether a parcel is wanted, and nobody is left to ask for it."""
        wanted = self._wanted.get(name)
        return wanted is not None and wanted.fetch.source is None

    def make_room(self, length: int) -> None:
        """Have room for a parcel that the shell is to make and that has no name yet.

        If need be in the place of others that come no further. Raises RuleBroken if there is none.
        """
        self._check_room(b"", length)

    def forget(self, name: bytes, scope: str = COMMON_SCOPE) -> None:
        """Keep a parcel no longer for this scope, nor pull it; remove it when no scope is left."""
        held = self._held.get(name)
        if held is not None and scope in held.readers:
            self._emit(Forget(f"{scope}{_PART}{name.hex()}/"))
        self._release(name, scope)

    def forget_scope(self, scope: str) -> None:
        """Let go of all that is kept or pulled for a scope whose keys are being forgotten."""
        for name in [*self._held, *self._wanted]:
            self._release(name, scope)

    # --- for the machine ------------------------------------------------------------------------

    def handle(self, peer: bytes, message: ParcelMessage, now: float) -> None:
        """Process a message of a peer. Raises RuleBroken."""
        if isinstance(message, ChunkRequest):
            self._on_request(peer, message, now)
        else:
            self._on_chunk(peer, message, now)

    def on_sent(self, peer: bytes, parcel: bytes, index: int) -> None:
        """A chunk waits for a peer no more."""
        waiting = self._waiting.get(peer, set())
        waiting.discard((parcel, index))
        if not waiting:
            self._waiting.pop(peer, None)

    def on_unreachable(self, peer: bytes) -> None:
        """Turn to other sources."""
        for wanted in self._wanted.values():
            wanted.fetch.leave(peer)

    def tick(self, now: float) -> None:
        """Ask again for what did not come; a fetch that gets nothing lets others go first."""
        for peer in [peer for peer, its in self._slices.items() if now >= its.until]:
            del self._slices[peer]
        for name, wanted in self._wanted.items():
            if wanted.fetch.tick(now) and name in self._turns:
                self._turns[name] = now

    def flush(self, now: float) -> None:
        """Ask for the chunks that there is room for."""
        self._give_turns(now)
        for name in self._turns:
            fetch = self._wanted[name].fetch
            indices = fetch.ask(now)
            for start in range(0, len(indices), CHUNKS_PER_REQUEST_MAX):
                asked = indices[start : start + CHUNKS_PER_REQUEST_MAX]
                assert fetch.source is not None, "who has nobody to ask asks nothing"
                self._send(fetch.source, ChunkRequest(name, asked))

    def next_deadline(self) -> float | None:
        """When `tick` is due, on the caller's clock."""
        times = [
            time for w in self._wanted.values() if (time := w.fetch.next_deadline()) is not None
        ]
        if self._queue:
            times += self._turns.values()
        return min(times, default=None)

    # --- serving --------------------------------------------------------------------------------

    def _on_request(self, peer: bytes, message: ChunkRequest, now: float) -> None:
        held = self._held.get(message.parcel)
        if held is None or not held.may_read(peer):
            raise RuleBroken("asks for a parcel that it may not read")
        parcel = held.parcel
        if max(message.indices) >= len(parcel.hashes):
            raise RuleBroken(
                f"asks for chunk {max(message.indices)} of a parcel that has {len(parcel.hashes)}"
            )
        waiting = self._waiting.setdefault(peer, set())
        for index in message.indices:
            if (parcel.name, index) in waiting:
                continue  # asked again while it waits to be sent
            if len(waiting) >= self._params.parcel_chunks_waiting_max:
                limit = self._params.parcel_chunks_waiting_max
                raise RuleBroken(f"asks for more chunks than the {limit} that may wait for it")
            held.allowance.spend(peer, now)
            waiting.add((parcel.name, index))
            proof = self._proofs_of(parcel)[index]
            self._emit(SendChunk(peer, parcel.name, parcel.length, index, parcel.root, proof))

    def _proofs_of(self, parcel: Parcel) -> list[tuple[bytes, ...]]:
        proofs = self._proofs.pop(parcel.name, None) or merkle_proofs(parcel.hashes)
        self._proofs[parcel.name] = proofs
        if len(self._proofs) > _TREES_MAX:
            self._proofs.popitem(last=False)
        return proofs

    # --- pulling --------------------------------------------------------------------------------

    def _on_chunk(self, peer: bytes, chunk: Chunk, now: float) -> None:
        wanted = self._wanted.get(chunk.parcel)
        if wanted is None or not wanted.fetch.expects(peer, chunk.index):
            raise RuleBroken(
                f"sends chunk {chunk.index}, which it was not asked for or has sent already"
            )
        proven = proven_hash(chunk)
        if proven is None:
            wanted.fetch.exclude(peer)
            if wanted.fetch.source is None:
                self._stop_asking(chunk.parcel)
            self._emit(PeerBlamed(peer, "wrong chunk"))
            raise RuleBroken(f"sends a chunk that is not of the parcel: {what_is_wrong(chunk)}")
        if wanted.fetch.length is None and not self._learn_length(wanted, chunk):
            return
        if wanted.fetch.take(peer, chunk.index, proven, now):
            self._emit(StoreChunk(chunk.parcel, chunk.index, chunk.data))
            self._tell_progress(chunk.parcel, wanted.fetch, chunk.length)
            if wanted.fetch.complete:
                self._seal(chunk.parcel, wanted.fetch, chunk.length)

    def _learn_length(self, wanted: _Wanted, chunk: Chunk) -> bool:
        """Fail orders of another length, which no parcel of this name has.

        Tells if any is left that there is room for. Without room the first chunk is not taken, as
        if it had not come, and is asked for again in a while.
        """
        wrong = [order for order in wanted.orders if order.length != chunk.length]
        wanted.keep([order for order in wanted.orders if order.length == chunk.length])
        fits = bool(wanted.orders) and self._make_room(chunk.parcel, chunk.length)
        if fits:
            wanted.root = chunk.root
            wanted.fetch.learn_length(chunk.length)
        elif not wanted.orders:
            del self._wanted[chunk.parcel]
            self._stop_asking(chunk.parcel)
        for order in wrong:
            order.failed(Shape(chunk.parcel, chunk.length, chunk.root))
        return fits

    def _seal(self, name: bytes, fetch: Fetch, length: int) -> None:
        parcel = parcel_of(length, [fetch.hashes[at] for at in range(fetch.count)])
        assert parcel.name == name, "every chunk was proven"
        self._emit(SealParcel(name, parcel.length))
        self._complete(parcel)

    def _complete(self, parcel: Parcel) -> None:
        """Hold what was being pulled, and tell whoever asked for it."""
        wanted = self._wanted.pop(parcel.name, None)
        if wanted is None:
            return
        self._stop_asking(parcel.name)
        orders = wanted.orders
        wanted.keep([order for order in orders if order.length == parcel.length])
        for scope, readers in wanted.readers.items():
            self.offer(parcel, readers, scope)
        for order in orders:
            if order.length == parcel.length:
                order.done(parcel.name)
            else:
                order.failed(Shape(parcel.name, parcel.length, parcel.root))

    def _give_turns(self, now: float) -> None:
        """Let fetches that wait take the places of those whose turn is over."""
        if self._queue:
            for name in [name for name, ends in self._turns.items() if now >= ends]:
                del self._turns[name]
                self._wanted[name].fetch.pause(now)
                self._queue.append(name)
        params = self._params
        while self._queue and len(self._turns) < params.parcel_fetches_max:
            name = self._next_in_queue()
            silent = self._wanted[name].fetch.silences > 0
            turn_s = params.parcel_request_timeout_s if silent else params.parcel_turn_s
            self._turns[name] = now + min(turn_s, params.parcel_turn_s)

    def _next_in_queue(self) -> bytes:
        """Who met fewest silences goes first, but now and then whoever has waited longest does.

        So what is new or moves is not held up by what comes from nobody, which costs nothing to ask
        for, and nothing waits for ever. Of equal ones those of a scope go first that has fewest
        turns: one study's parcels do not hold up those of another.
        """
        held = Counter(self._wanted[name].scope for name in self._turns)

        def rank(name: bytes) -> tuple[int, int]:
            wanted = self._wanted[name]
            return wanted.fetch.silences, held[wanted.scope]

        chosen = min(self._queue, key=rank)
        if self._passed >= _PASSED_MAX:
            chosen = self._queue[0]
        self._passed = 0 if chosen == self._queue[0] else self._passed + 1
        self._queue.remove(chosen)
        return chosen

    def _wait_for_turn(self, name: bytes, fetch: Fetch) -> None:
        if fetch.source is not None and name not in self._turns and name not in self._queue:
            self._queue.append(name)

    def _stop_asking(self, name: bytes) -> None:
        self._turns.pop(name, None)
        if name in self._queue:
            self._queue.remove(name)

    def _tell_progress(self, name: bytes, fetch: Fetch, length: int) -> None:
        stored, every = len(fetch.hashes), max(1, fetch.count // _TOLD_PER_PARCEL)
        if stored in (1, fetch.count) or stored % every == 0:
            self._emit(ParcelProgressed(name, min(stored * CHUNK_BYTES, length), length))

    # --- holding --------------------------------------------------------------------------------

    def _check_length(self, length: int) -> None:
        limit = self._params.parcel_bytes_max
        if not 0 < length <= limit:
            raise RuleBroken(f"length of a parcel is {length} bytes: this node takes 1 to {limit}")

    def _check_unproven(self, scope: str) -> None:
        """One scope wants at most as many parcels of which nothing has come as are left to others.

        A name costs whoever invents it nothing. Half of `parcels_max` are for such fetches.
        """
        unproven = [w for w in self._wanted.values() if w.fetch.length is None]
        mine = sum(any(order.scope == scope for order in w.orders) for w in unproven)
        if mine >= max(1, self._params.parcels_max // 2 - len(unproven)):
            raise RuleBroken("this node has no room for another parcel that nobody has sent yet")

    def _check_room(self, name: bytes, length: int) -> None:
        too_many = len(self._held) + len(self._wanted) >= self._params.parcels_max
        if (too_many and name not in self._wanted) or not self._make_room(name, length):
            raise RuleBroken("this node has no room for another parcel")

    def _make_room(self, name: bytes, length: int) -> bool:
        """Whether a parcel fits, if need be in the place of others that come no further.

        These are wanted still, and begin again once there is room: who sends some chunks of each
        and then nothing would otherwise keep the room of all the others.
        """
        rooms = {other: wanted.room for other, wanted in self._wanted.items() if other != name}
        taken = sum(held.parcel.length for held in self._held.values()) + sum(rooms.values())
        missing = taken + length - self._params.parcels_bytes_max
        if missing <= 0:
            return True
        asking = self._wanted.get(name)
        if asking is not None and asking.gave_way:
            return False  # or those that come no further would push out each other in turn
        stalled = [other for other in rooms if self._wanted[other].stalled]
        stalled.sort(key=lambda other: -self._wanted[other].fetch.silences)
        if missing > sum(rooms[other] - CHUNK_BYTES for other in stalled):
            return False
        while missing > 0:
            other = stalled.pop(0)
            missing -= rooms[other] - CHUNK_BYTES
            self._wanted[other].give_way()
            self._emit(ForgetParcel(other))
        return True

    def _release(self, name: bytes, scope: str) -> None:
        held, wanted = self._held.get(name), self._wanted.get(name)
        if held is not None and held.readers.pop(scope, None) is not None and not held.readers:
            del self._held[name]
            self._proofs.pop(name, None)
            self._emit(ForgetParcel(name))
        if wanted is not None:
            wanted.keep([order for order in wanted.orders if order.scope != scope])
            if not wanted.orders:
                del self._wanted[name]
                self._stop_asking(name)
                self._emit(ForgetParcel(name))

    def _restore(self, restored: Mapping[str, bytes]) -> None:
        for key, value in restored.items():
            if _is_hashes(key):
                scope, name, stored = key.rpartition(_PART)[0], _name(key), _read(value)
                parcel = parcel_of(stored.length, _cut(stored.hashes))
                readers = restored.get(_key(scope, name, _READERS), b"")
                held = self._held.setdefault(name, _Held(parcel, self._params))
                held.readers[scope] = set(_cut(readers))


def held_parcels(restored: Mapping[str, bytes]) -> dict[bytes, int]:
    """Parcels that a node's persisted state says are sealed: name -> length in bytes."""
    return {_name(key): _read(value).length for key, value in restored.items() if _is_hashes(key)}


def without_parcels(restored: Mapping[str, bytes], lost: Container[bytes]) -> dict[str, bytes]:
    """The persisted state of a node whose store has lost parcels: as if it never held them."""
    return {k: v for k, v in restored.items() if not (_is_hashes(k) and _name(k) in lost)}


def _is_hashes(key: str) -> bool:
    return _PART in key and key.endswith(f"/{_HASHES}")


def _name(key: str) -> bytes:
    return bytes.fromhex(key.split("/")[-2])


def _read(value: bytes) -> _Description:
    return codec.decode(value, _Description, bytes_max=_DESCRIPTION_BYTES_MAX)


def _key(scope: str, name: bytes, part: str) -> str:
    return f"{scope}{_PART}{name.hex()}/{part}"


def _cut(joined: bytes) -> list[bytes]:
    return [joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES)]
