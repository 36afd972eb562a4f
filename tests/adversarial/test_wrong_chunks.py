"""A source sends other bytes than the name of the parcel promises (THREATS A7, D3).

Nothing wrong is stored, whoever lied is named and left, the next source is asked, and the parcel is
whole in the end. Each check of a chunk is taken away in turn, and its attack then succeeds.
"""

import pytest
from msgspec.structs import replace
from tests.support.parcels import OTHER, OWNER, PULLER, Net, Node, content, cut

from pnyx.primitives.hashing import merkle_commit, verify_merkle_proof
from pnyx.protocol import chunks, parcels
from pnyx.protocol.chunks import chunk_hash, describe, parcel_name
from pnyx.protocol.events import PeerBlamed, StoreChunk
from pnyx.protocol.messages import CHUNK_BYTES, Chunk
from pnyx.protocol.parcels import Parcels

COUNT = 12
DATA = content(COUNT, 5000)
FOREIGN = content(COUNT, 5000, seed=1)
NAME = describe(cut(DATA)).name


def chunk_of(data: bytes, index: int) -> Chunk:
    """An honest chunk."""
    parts = cut(data)
    parcel = describe(parts)
    proof = merkle_commit(parcel.hashes)[1][index]
    return Chunk(parcel.name, parcel.length, index, parcel.root, parts[index], proof)


def altered(chunk: Chunk) -> Chunk:
    return replace(chunk, data=chunk.data[:-1] + bytes((chunk.data[-1] ^ 1,)))


def of_another_place(chunk: Chunk) -> Chunk:
    """A true chunk with its true proof, said to be another one."""
    return replace(chunk_of(DATA, (chunk.index + 1) % COUNT), index=chunk.index)


def with_another_proof(chunk: Chunk) -> Chunk:
    return replace(chunk, data=b"x" * len(chunk.data), proof=chunk_of(FOREIGN, chunk.index).proof)


def of_another_parcel(chunk: Chunk) -> Chunk:
    return replace(chunk_of(FOREIGN, chunk.index), parcel=chunk.parcel)


def under_another_root(chunk: Chunk) -> Chunk:
    """A tree of the liar's own."""
    root, proofs = merkle_commit([chunk_hash(each) for each in cut(FOREIGN)])
    foreign = chunk_of(FOREIGN, chunk.index)
    return replace(chunk, root=root, data=foreign.data, proof=proofs[chunk.index])


ATTACKS = {
    "altered": altered,
    "of another place": of_another_place,
    "with another proof": with_another_proof,
    "of another parcel": of_another_parcel,
    "under another root": under_another_root,
}


def run(attack, at: int) -> Net:
    """OWNER lies about one chunk, OTHER never does."""
    owner, other, puller = Node(OWNER), Node(OTHER), Node(PULLER)
    for node in (owner, other):
        name = node.parcels.keep(cut(DATA), [PULLER])
    puller.fetch(name, len(DATA), [OWNER, OTHER])
    net = Net(owner, other, puller)

    def wire(sender, _, message):
        lies = sender == OWNER and isinstance(message, Chunk) and message.index == at
        return [attack(message)] if lies else None

    net.wire = wire
    net.settle()
    return net


def wrong_bytes(net: Net) -> list[int]:
    """Chunks that were stored and are not those of the parcel."""
    true = cut(DATA)
    stored = net.of(StoreChunk, PULLER)
    return [effect.index for effect in stored if effect.data != true[effect.index]]


@pytest.mark.parametrize("at", [0, 1, 6, COUNT - 1])
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_wrong_chunk(attack, at):
    net = run(attack, at)
    assert wrong_bytes(net) == []
    assert net.of(PeerBlamed, PULLER) == [PeerBlamed(OWNER, "wrong chunk")]
    told = [rule for node, rule in net.rules if node == OWNER]
    assert any(rule.startswith("sends a chunk that is not of the parcel: ") for rule in told)
    assert net.nodes[PULLER].has(DATA, NAME)
    assert net.now == 0.0, "and nobody waited"


def without_proof(*_):
    return True


def with_proof_of_some_place(root, leaf, index, count, proof):
    return any(verify_merkle_proof(root, leaf, at, count, proof) for at in range(count))


def without_name(length, root):
    return NAME


@pytest.mark.parametrize("at", [1, 6])
@pytest.mark.parametrize(
    ("attack", "check", "weak"),
    [
        (altered, "verify_merkle_proof", without_proof),
        (of_another_place, "verify_merkle_proof", with_proof_of_some_place),
        (with_another_proof, "verify_merkle_proof", without_proof),
        (of_another_parcel, "parcel_name", without_name),
        (under_another_root, "parcel_name", without_name),
    ],
    ids=ATTACKS,
)
def test_each_check_is_a_defence(monkeypatch, attack, check, weak, at):
    with monkeypatch.context() as patch:
        patch.setattr(chunks, check, weak)
        # The last line of defence looks at the whole when it is there: too late, all is stored.
        patch.setattr(parcels, "parcel_of", lambda length, hashes: describe(cut(DATA)))
        net = run(attack, at)
    assert wrong_bytes(net) == [at]
    assert not net.nodes[PULLER].has(DATA, NAME)


# --- a parcel that is ill-made from the start ----------------------------------------------------


def ill_made(sizes: list[int], length: int) -> tuple[bytes, list[Chunk]]:
    """A parcel whose name says one length while its chunks have others: name and chunks."""
    parts = [bytes((at,)) * size for at, size in enumerate(sizes, 1)]
    root, proofs = merkle_commit([chunk_hash(part) for part in parts])
    name = parcel_name(length, root)
    made = [Chunk(name, length, at, root, part, proofs[at]) for at, part in enumerate(parts)]
    return name, made


def pulled(sizes: list[int], length: int, node: Node) -> list[str]:
    """What becomes of chunks that their maker sends as asked; the rules that it broke."""
    name, made = ill_made(sizes, length)
    node.fetch(name, length, [OWNER])
    net = Net(node)
    for _ in range(len(sizes) + 1):
        node.parcels.flush(0.0)
        node.take()
        for _, request in node.messages():
            for index in request.indices:
                if index < len(made):
                    net.deliver(OWNER, PULLER, made[index])
    node.take()
    return [rule for _, rule in net.rules]


ILL_MADE = {
    "over-long last": ([CHUNK_BYTES, 2000], CHUNK_BYTES + 1000),
    "short last": ([CHUNK_BYTES, 1000], CHUNK_BYTES + 2000),
    "short first": ([CHUNK_BYTES - 1, 1001], CHUNK_BYTES + 1000),
    "one too many": ([CHUNK_BYTES, CHUNK_BYTES, 1000], CHUNK_BYTES + 1000),
    "one too few": ([CHUNK_BYTES], CHUNK_BYTES + 1000),
}


@pytest.mark.parametrize(("sizes", "length"), ILL_MADE.values(), ids=ILL_MADE)
def test_ill_made_parcel_is_never_sealed(sizes, length):
    puller = Node(PULLER)
    rules = pulled(sizes, length, puller)
    assert rules[0].startswith("sends a chunk that is not of the parcel: ")
    assert puller.done == []
    assert not puller.store._sealed


@pytest.mark.parametrize("kind", ["over-long last", "short last", "short first"])
def test_length_of_a_chunk_is_a_defence(monkeypatch, kind):
    """Without it the shell is asked to seal what has another size, and stops."""
    sizes, length = ILL_MADE[kind]
    parts = ill_made(sizes, length)[1]
    true = [len(each.data) for each in parts]
    monkeypatch.setattr(chunks, "chunk_length", lambda length, index: true[index])
    with pytest.raises(ValueError, match="chunks of a parcel are missing"):
        pulled(sizes, length, Node(PULLER))


# --- whom a wrong length frames ------------------------------------------------------------------


class Credulous(Parcels):
    """Takes a chunk of another length than it was told for a lie of its sender."""

    def _learn_length(self, wanted, chunk):
        if any(order.length != chunk.length for order in wanted.orders):
            self._emit(PeerBlamed(wanted.fetch.source, "wrong chunk"))
            return False
        return super()._learn_length(wanted, chunk)


def told_a_wrong_length(kind: type[Parcels]) -> tuple[Net, Node]:
    """Somebody names an honest node's parcel with a wrong length, before its owner names it."""
    owner, puller = Node(OWNER), Node(PULLER, kind=kind)
    name = owner.parcels.keep(cut(DATA), [PULLER])
    puller.fetch(name, len(DATA) - 1, [OWNER], scope="round/ab/1")
    puller.fetch(name, len(DATA), [OWNER], scope="round/ab/2")
    net = Net(owner, puller)
    net.settle()
    return net, puller


def test_wrong_length_blames_nobody_and_stops_no_other_order():
    net, puller = told_a_wrong_length(Parcels)
    assert puller.has(DATA, NAME)
    assert net.of(PeerBlamed) == []
    net, puller = told_a_wrong_length(Credulous)
    assert net.of(PeerBlamed), "believing the length is what frames the owner"
    assert puller.done == []
