"""Parcels of several chunks: pnyx agrees with `parcels.json`, and that with its reference."""

import json
import runpy
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.support.parcels import OWNER, Node

from pnyx import errors
from pnyx.primitives import codec
from pnyx.primitives.hashing import merkle_proofs
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.chunks import chunk_hash, chunks_of, describe, proven_hash
from pnyx.protocol.events import StoreChunk
from pnyx.protocol.messages import CHUNK_BYTES, Chunk

FOLDER = Path(__file__).parent
VECTORS = json.loads((FOLDER / "parcels.json").read_text())
PARCEL = VECTORS["parcels"][0]


def test_the_file_is_that_of_the_reference() -> None:
    assert runpy.run_path(str(FOLDER / "parcels_reference.py"))["vectors"]() == VECTORS
    assert VECTORS["chunk_bytes"] == CHUNK_BYTES


@lru_cache(maxsize=8)
def content(number: int) -> bytes:
    case = VECTORS["parcels"][number]
    data = Sampler(bytes.fromhex(case["seed"]), case["domain"]).bytes(case["length"])
    assert sha256(data).hexdigest() == case["content_sha256"]
    return data


def chunk(case: dict[str, Any], flipped: int | None = None, more: int = 0) -> Chunk:
    number, start, stop = case["data"]
    data = bytearray(content(number)[start:stop] + bytes(more))
    if flipped is not None:
        data[flipped] ^= 1
    return Chunk(
        bytes.fromhex(case["parcel"]),
        case["length"],
        case["index"],
        bytes.fromhex(case["root"]),
        bytes(data),
        tuple(map(bytes.fromhex, case["proof"])),
    )


@pytest.mark.parametrize("number", range(len(VECTORS["parcels"])))
def test_parcels(number: int) -> None:
    case = VECTORS["parcels"][number]
    cut = list(chunks_of(content(number)))
    parcel = describe(cut)
    assert [each.hex() for each in parcel.hashes] == case["leaves"]
    assert (parcel.name.hex(), parcel.root.hex()) == (case["name"], case["root"])
    assert parcel.length == case["length"]
    proofs = merkle_proofs(parcel.hashes)
    for index, (data, proof, sent) in enumerate(zip(cut, proofs, case["chunks"], strict=True)):
        right = Chunk(parcel.name, parcel.length, index, parcel.root, data, proof)
        assert right == chunk(sent)
        assert proven_hash(right) == chunk_hash(data) == parcel.hashes[index]


def fault(case: dict[str, Any]) -> str:
    return case["fault"].replace(" ", "-")


@pytest.mark.parametrize("case", VECTORS["no_parcels"], ids=fault)
def test_what_is_no_parcel(case: dict[str, Any]) -> None:
    assert case["error"] == "ValueError"
    with pytest.raises(ValueError, match=case["says"]):
        describe(map(bytes, case["sizes"]))


def test_chunks_in_another_order_or_number_are_another_parcel() -> None:
    cut, names = list(chunks_of(content(0))), {PARCEL["name"]}
    for case in VECTORS["other_names"]:
        name = describe(cut[index] for index in case["chunks"]).name.hex()
        assert name == case["name"]
        names.add(name)
    assert len(names) == 1 + len(VECTORS["other_names"])


def pulling(name: str) -> Node:
    """A node that pulls a parcel as long as the first, and asks for as much of it as it may."""
    node = Node(b"n" * 32)
    node.fetch(bytes.fromhex(name), PARCEL["length"], [OWNER])
    node.parcels.flush(0.0)
    return node


def arrive(node: Node, data: bytes) -> None:
    """What comes from the source, as bytes."""
    message = codec.decode(data, Chunk, bytes_max=node.params.message_bytes_max)
    node.parcels.handle(OWNER, message, 0.0)
    node.parcels.flush(0.0)


def test_the_chunks_of_a_parcel_are_taken() -> None:
    node = pulling(PARCEL["name"])
    for each in PARCEL["chunks"]:
        arrive(node, codec.encode(chunk(each)))
    node.take()
    assert node.has(content(0), bytes.fromhex(PARCEL["name"]))


@pytest.mark.parametrize("case", VECTORS["refused"], ids=fault)
def test_refused_chunks(case: dict[str, Any]) -> None:
    node = pulling(case["chunk"]["parcel"])
    for index in case["before"]:
        arrive(node, codec.encode(chunk(PARCEL["chunks"][index])))
    node.take()
    wrong = chunk(case["chunk"], case.get("flipped"), case.get("more", 0))
    with pytest.raises(getattr(errors, case["error"])) as raised:
        arrive(node, codec.encode(wrong))
    assert case["says"] in str(raised.value)
    assert not any(isinstance(effect, StoreChunk) for effect in node.take())
