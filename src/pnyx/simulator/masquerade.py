"""Corrupt nodes of masked rounds: aggregators that lie, and contributors whose parts do not match.

Wrappers around an honest machine, as in `adversary`. A corrupt contributor takes the secrets of its
own machine from what that stores, so that it can make anything out of them: `MaskedForger` shows
aggregators another header, gathers their receipts for it, and sends members the shares of it. Where
a round is not masked, none of this does anything.
"""

from collections.abc import Callable, Iterable, Iterator

import msgspec
import numpy as np

from pnyx.errors import ProtocolError
from pnyx.primitives import codec
from pnyx.primitives.hashing import digest, merkle_commit, merkle_proofs
from pnyx.protocol.aggregation.masked.checkpoints import checkpoint, commit_all
from pnyx.protocol.aggregation.masked.vectors import MaskedUpdate, VectorCode
from pnyx.protocol.aggregation.masked_verification.proof import prove_masked
from pnyx.protocol.aggregation.masked_verification.sketch import stated_sketch
from pnyx.protocol.aggregation.verification import prove
from pnyx.protocol.agreement import value_hash
from pnyx.protocol.chunks import chunks_of, describe
from pnyx.protocol.events import (
    Effect,
    Event,
    MessageReceived,
    Persist,
    Send,
    SendChunk,
    SumVectors,
)
from pnyx.protocol.machine import AnyMessage
from pnyx.protocol.messages import (
    Chunk,
    ChunkRequest,
    Contribution,
    ContributionHeader,
    Decision,
    Instance,
    MaskedVector,
    Proposal,
    RoundMessage,
    SealedShare,
    Signed,
    SketchProof,
    VectorOffer,
    VectorReceipt,
    VectorSum,
)
from pnyx.protocol.ports import IntVector
from pnyx.protocol.round.holdings import share_info
from pnyx.protocol.round.values import contribution_context, header_hash
from pnyx.protocol.round.vectors import vector_statement
from pnyx.protocol.selection import CommitteeSize
from pnyx.simulator.adversary import (
    Alter,
    Hands,
    Own,
    Wrapper,
    half_off,
    one_off,
    read,
    round_keys,
    twice,
)

_BYTES_MAX = 64 * 1024 * 1024

Pretend = Callable[[VectorCode, MaskedUpdate], MaskedUpdate]


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    """What a contributor stores, as `round.contributor` does."""

    seed: bytes
    vector: bytes
    opened: bytes
    update: bytes


class _Made(msgspec.Struct, frozen=True):
    """One contribution, ready to be shown: its header, its vector, every member's payload."""

    header: Signed
    linear_hash: bytes
    earlier: tuple[bytes, ...]  # checkpoints, but for the last
    payloads: tuple[bytes, ...]
    proofs: tuple[tuple[bytes, ...], ...]


class Shown(msgspec.Struct, frozen=True):
    """What a header shows of a proof, and every member's payload."""

    payloads: tuple[bytes, ...]
    published: bytes
    proof: SketchProof | None


class Materials(msgspec.Struct, frozen=True):
    """What a proof is made of: counts, masked update, name of its parcel, and who is to verify."""

    own: Own
    counts: IntVector
    masked: MaskedUpdate
    parcel: bytes
    size: CommitteeSize
    seed: bytes
    context: bytes


Prove = Callable[[Materials], Shown]


def honest_proof(made: Materials) -> Shown:
    """Prove what there is, as an honest contributor does."""
    bounds, key = made.own.bounds, made.masked.key
    if made.own.verified is None or made.own.masked is None:
        proven = prove(made.counts, bounds, made.size, made.seed, made.context, key)
        return Shown(proven.payloads, proven.published, None)
    proof = prove_masked(
        made.masked.hidden,
        key[0],
        made.parcel,
        made.counts,
        made.own.verified,
        bounds,
        made.size,
        made.seed,
        made.context,
    )
    masks, blocks = made.own.masked, made.masked.blocks
    sketch = stated_sketch(masks, made.own.verified, proof.sketched, blocks)
    stated = SketchProof(proof.key_root, proof.salt, sketch)
    return Shown(proof.payloads, proof.published, stated)


class Chain(Wrapper):
    """Several wrappers around one machine, the first one closest to it."""

    def __init__(self, *wrappers: Wrapper) -> None:
        super().__init__()
        self._wrappers = wrappers

    def receive(self, event: Event, now: float) -> Event | None:
        """Let each wrapper hear the event, the outermost first."""
        heard: Event | None = event
        for wrapper in reversed(self._wrappers):
            heard = None if heard is None else wrapper.receive(heard, now)
        return heard

    def emit(self, effects: list[Effect], now: float) -> list[Effect]:
        """Let each wrapper change what the machine does."""
        for wrapper in self._wrappers:
            effects = wrapper.emit(effects, now)
        return effects


# --- contributors ---------------------------------------------------------------------------------


class MaskedForger(Wrapper):
    """Contributes something else than its machine, in masked rounds.

    variants: how many different contributions it makes; it shows aggregators and members, each in
    turn, another one. alter: changes payloads, after the proof was made. pretend: changes a vector,
    or key and linear hash that go with it. prove: makes the proof. wanted: receipts with which it
    goes to members, as many as these ask for unless stated.
    """

    def __init__(
        self,
        hands: Hands,
        variants: int = 1,
        alter: Alter = lambda _member, payload, _bounds: payload,
        pretend: Pretend = lambda _code, update: update,
        prove: Prove = honest_proof,
        wanted: int | None = None,
    ) -> None:
        super().__init__()
        self._hands = hands
        self._prove = prove
        self._wanted = wanted
        self._variants = variants
        self._alter = alter
        self._pretend = pretend
        self._stored: _Stored | None = None
        self._keys: dict[bytes, bytes] = {}  # hash of an OPEN value -> the value
        self._made: dict[tuple[bytes, int], _Made] = {}
        self._named: dict[bytes, tuple[bytes, int]] = {}  # header hash -> key of `_made`
        self._receipts: dict[bytes, dict[int, VectorReceipt]] = {}  # header hash -> by aggregator
        self._served: dict[bytes, tuple[bytes, ...]] = {}  # parcels that its machine has not
        self._pending: list[Effect] = []

    def receive(self, event: Event, now: float) -> Event | None:
        """Learn lists of round keys and receipts; send what the machine does not have."""
        del now
        if isinstance(event, MessageReceived):
            try:
                message = codec.decode(event.payload, AnyMessage, bytes_max=_BYTES_MAX)
            except ProtocolError:
                return event
            self._note(event.peer, message)
        return event

    def _note(self, peer: bytes, message: AnyMessage) -> None:
        match message:
            case ChunkRequest() if message.parcel in self._served:
                self._pending.extend(self._chunks(peer, message))
            case VectorReceipt():
                self._on_receipt(message)
            case _:
                self._learn(message)

    def _learn(self, message: AnyMessage) -> None:
        if isinstance(message, Decision | Proposal) and message.instance is Instance.OPEN:
            self._keys[value_hash(message.value)] = message.value

    def _on_receipt(self, receipt: VectorReceipt) -> None:
        held = self._receipts.setdefault(receipt.header_hash, {})
        held[receipt.aggregator] = receipt
        if len(held) >= self._enough(receipt.context) and receipt.header_hash in self._named:
            self._pending.extend(self._contribute(receipt.header_hash))

    def _enough(self, context: bytes) -> int:
        if self._wanted is not None:
            return self._wanted
        count = len(self._hands.aggregators(context))
        verified = self._hands.contribution(context).verified is not None
        return -(-2 * count // 3) if verified else count // 2 + 1

    def _chunks(self, peer: bytes, request: ChunkRequest) -> Iterator[Send]:
        cut = self._served[request.parcel]
        parcel = describe(cut)
        proofs = merkle_proofs(parcel.hashes)
        for at in request.indices:
            chunk = Chunk(parcel.name, parcel.length, at, parcel.root, cut[at], proofs[at])
            yield Send(peer, codec.encode(chunk))

    def emit(self, effects: list[Effect], now: float) -> list[Effect]:
        """Show what was forged in place of what the machine offers."""
        del now
        said: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Persist) and effect.key.endswith("/contribution"):
                self._stored = codec.decode(effect.value, _Stored, bytes_max=_BYTES_MAX)
            message = read(effect.payload) if isinstance(effect, Send) else None
            if message is not None:
                self._learn(message)
            mine = isinstance(message, VectorOffer) and message.header.signer == self._hands.node_id
            if isinstance(effect, Send) and isinstance(message, VectorOffer) and mine:
                said.extend(self._offer(message))
            else:
                said.append(effect)
        pending, self._pending = self._pending, []
        return said + pending

    def _offer(self, message: VectorOffer) -> Iterator[Send]:
        """Offer to all aggregators; again, as often as the machine does."""
        hands = self._hands
        for at, index in enumerate(hands.aggregators(message.context)):
            made = self._make(message, at % self._variants)
            offer = VectorOffer(message.context, made.header, made.linear_hash, made.earlier)
            if index != hands.index:
                yield Send(hands.census.node_ids[index], codec.encode(offer))

    def _make(self, message: VectorOffer, variant: int) -> _Made:
        made = self._made.get((message.context, variant))
        if made is None:
            made = self._made[message.context, variant] = self._forged(message, variant)
            self._named[header_hash(made.header)] = message.context, variant
        return made

    def _forged(self, message: VectorOffer, variant: int) -> _Made:
        honest = codec.decode(message.header.body, ContributionHeader, bytes_max=_BYTES_MAX)
        own = self._hands.contribution(honest.context)
        assert own.masked is not None
        assert self._stored is not None, "its machine stores before it offers"
        reach = 0 if own.verified is None else own.verified.largest_sum
        code = VectorCode(own.masked, honest.context, reach)
        context = contribution_context(honest.context, self._hands.index)
        seed = (
            digest("variant", self._stored.seed, bytes([variant])) if variant else self._stored.seed
        )
        update = np.frombuffer(self._stored.update, dtype="<i4").astype(np.int64)
        masked = self._pretend(code, code.mask(update, seed, context))
        name = self._keep(b"".join(masked.segments))
        vector = np.frombuffer(self._stored.vector, dtype="<i8").astype(np.int64)
        fresh = self._hands.sampler.bytes(32)
        size = self._hands.census.committee
        proven = self._prove(Materials(own, vector, masked, name, size, fresh, context))
        payloads = tuple(
            self._alter(member, payload, own.bounds)
            for member, payload in enumerate(proven.payloads)
        )
        root, proofs = merkle_commit(payloads)
        sketch = b"" if proven.proof is None else proven.proof.sketch
        earlier = tuple(map(checkpoint, masked.linear_hashes[:-1]))
        last = checkpoint(masked.linear_hash, sketch)
        body = msgspec.structs.replace(
            honest,
            shares_root=root,
            published=proven.published,
            masked=MaskedVector(name, commit_all(honest.context, (*earlier, last)), proven.proof),
        )
        header = self._hands.sign(body)
        return _Made(header, masked.linear_hash, earlier, payloads, tuple(proofs))

    def _keep(self, vector: bytes) -> bytes:
        """Have a parcel to send, and name it."""
        cut = tuple(chunks_of(vector))
        name = describe(cut).name
        self._served[name] = cut
        return name

    def _contribute(self, name: bytes) -> Iterator[Send]:
        """Send members the shares of a variant that enough aggregators gave receipts for."""
        context, variant = self._named[name]
        made, receipts = self._made[context, variant], tuple(self._receipts[name].values())
        body = codec.decode(made.header.body, ContributionHeader, bytes_max=_BYTES_MAX)
        value = self._keys.get(body.open_value)
        for node, key in ({} if value is None else round_keys(value)).items():
            member = key.member
            if node == self._hands.node_id or member % self._variants != variant:
                continue
            info = share_info(context, self._hands.index, member)
            sealed = self._hands.crypto.seal(key.encryption_key, made.payloads[member], info)
            share = SealedShare(member, sealed, made.proofs[member])
            yield Send(node, codec.encode(Contribution(context, made.header, share, receipts)))


def _another_key(_code: VectorCode, update: MaskedUpdate) -> MaskedUpdate:
    """A key that differs in one coefficient."""
    key = tuple(part.copy() for part in update.key)
    key[0][0] ^= 1
    return update._replace(key=key)


def _another_hash(code: VectorCode, update: MaskedUpdate) -> MaskedUpdate:
    """The linear hash of some other vector."""
    zeros = np.zeros(code.parameters.length, dtype=np.int64)
    other = code.mask(zeros, digest("other", update.linear_hash), b"other")
    return update._replace(linear_hashes=other.linear_hashes)


def other_key(hands: Hands) -> Wrapper:
    """Shares another key than it masks with."""
    return MaskedForger(hands, pretend=_another_key)


def other_hash(hands: Hands) -> Wrapper:
    """Commits to another linear hash than its vector's."""
    return MaskedForger(hands, pretend=_another_hash)


def two_vectors(hands: Hands) -> Wrapper:
    """Shows one vector to some aggregators and another to the others, with shares to match."""
    return MaskedForger(hands, variants=2)


def off_polynomial(hands: Hands) -> Wrapper:
    """Deals shares that lie on no polynomial of the sharing's degree."""
    return MaskedForger(hands, alter=half_off)


def bad_share(hands: Hands) -> Wrapper:
    """Deals one member a share that is another's."""
    return MaskedForger(hands, alter=one_off)


def over_scale(hands: Hands) -> Wrapper:
    """Counts itself twice."""
    return MaskedForger(hands, alter=twice(hands.census.committee))


# --- aggregators ----------------------------------------------------------------------------------


class _Effects(Wrapper):
    """Changes effects that are no messages."""

    def __init__(self, change: Callable[[Effect], Iterable[Effect]]) -> None:
        super().__init__()
        self._changed = change

    def emit(self, effects: list[Effect], now: float) -> list[Effect]:
        """Replace each effect by what the change makes of it."""
        del now
        return [changed for effect in effects for changed in self._changed(effect)]


def wrong_sum(hands: Hands) -> Wrapper:
    """Adds up one vector twice, and leaves out another."""
    del hands

    def change(effect: Effect) -> list[Effect]:
        if not isinstance(effect, SumVectors) or len(effect.parcels) < 2:
            return [effect]
        first, *others = effect.parcels
        return [msgspec.structs.replace(effect, parcels=(first, first, *others[1:]))]

    return _Effects(change)


def unsent_sum(hands: Hands) -> Wrapper:
    """Tells that it holds vectors and sums, and sends none."""
    del hands
    return _Effects(lambda effect: [] if isinstance(effect, SendChunk) else [effect])


def silent_aggregator(hands: Hands) -> Wrapper:
    """Takes vectors, and answers nobody."""

    def change(send: Send, message: RoundMessage) -> list[Send]:
        passed_on = isinstance(message, VectorOffer) and message.header.signer != hands.node_id
        return [] if passed_on or isinstance(message, VectorReceipt | VectorSum) else [send]

    return Wrapper(change)


class EmptyReceipts(Wrapper):
    """Gives a receipt for whatever is offered; neither passes on nor sums nor sends anything."""

    def __init__(self, hands: Hands) -> None:
        super().__init__(hear=self._listen)
        self._hands = hands
        self._pending: list[Effect] = []

    def _listen(self, event: MessageReceived, message: RoundMessage) -> bool:
        if isinstance(message, VectorOffer) and message.header.signer == event.peer:
            name, index = header_hash(message.header), self._hands.index
            signature = self._hands.crypto.sign(vector_statement(message.context, index, name))
            receipt = VectorReceipt(message.context, index, name, signature)
            self._pending.append(Send(event.peer, codec.encode(receipt)))
        return True

    def emit(self, effects: list[Effect], now: float) -> list[Effect]:
        """Give the receipts; keep back all that an aggregator sends."""
        del now
        said: list[Effect] = []
        for effect in effects:
            message = read(effect.payload) if isinstance(effect, Send) else None
            passed_on = (
                isinstance(message, VectorOffer) and message.header.signer != self._hands.node_id
            )
            if not (passed_on or isinstance(message, VectorSum) or isinstance(effect, SendChunk)):
                said.append(effect)
        pending, self._pending = self._pending, []
        return said + pending
