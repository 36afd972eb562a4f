"""Parcels of several chunks, from which `parcels.json` was made.

Written from docs/protocol.md (section 21) on top of `reference.py`, and sharing no code with pnyx.
`python tests/vectors/parcels_reference.py` writes the file again; `test_parcel_vectors.py` checks
that it is what this file gives, and that pnyx agrees.

The content of a parcel is the first bytes of the stream with its seed and domain. Data of a chunk
is given as [parcel, start, stop]: bytes of the content of one of the parcels; in a case of
"refused" also by a place where one bit is turned ("flipped"), or by so many bytes 0 after it
("more"). "before" are the chunks that arrived before it, in order, and were taken. What is pulled
is the parcel that the refused chunk names, of the length of the first parcel.
"""

import json
import runpy
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

PLAIN = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("reference.py"))))
digest, Stream = PLAIN.digest, PLAIN.Stream

SIZE = 128 * 1024
# The first one is that of the refused chunks; the second one is foreign to it.
LENGTHS = (2 * SIZE + 1000, 2 * SIZE + 1000, 1, SIZE - 1, SIZE, SIZE + 1, 3 * SIZE)


class Named:
    """What fixes a parcel: its length, and the leaves of its chunks."""

    def __init__(self, length: int, leaves: list[bytes]) -> None:
        self.length, self.leaves = length, leaves
        self.root = PLAIN.tree_root(leaves)
        sizes = length.to_bytes(8, "big"), SIZE.to_bytes(4, "big")
        self.name = digest("pnyx/parcel", *sizes, self.root)


class Parcel(Named):
    """Content, cut into chunks."""

    def __init__(self, number: int, length: int) -> None:
        self.number, self.domain = number, f"vectors/parcels/{number}"
        self.content = Stream(PLAIN.SEED, self.domain).bytes(length)
        self.chunks = [self.content[at : at + SIZE] for at in range(0, length, SIZE)]
        super().__init__(length, [digest("pnyx/parcel/chunk", each) for each in self.chunks])

    def chunk(self, index: int):
        """What a source sends of it."""
        start = index * SIZE
        return {
            "parcel": self.name.hex(),
            "length": self.length,
            "index": index,
            "root": self.root.hex(),
            "data": [self.number, start, min(start + SIZE, self.length)],
            "proof": [each.hex() for each in PLAIN.tree_path(self.leaves, index)],
        }


def parcel_vector(parcel: Parcel):
    return {
        "seed": PLAIN.SEED.hex(),
        "domain": parcel.domain,
        "length": parcel.length,
        "content_sha256": sha256(parcel.content).hexdigest(),
        "leaves": [each.hex() for each in parcel.leaves],
        "root": parcel.root.hex(),
        "name": parcel.name.hex(),
        "chunks": [parcel.chunk(index) for index in range(len(parcel.chunks))],
    }


def no_parcels():
    """Chunks of sizes, or in an order, that no parcel has."""
    for fault, sizes in (
        ("no chunk", []),
        ("an empty chunk", [0]),
        ("a chunk above the size", [SIZE + 1]),
        ("the rest before a full chunk", [1000, SIZE]),
        ("a chunk cut short in the middle", [SIZE, SIZE - 1, 1000]),
        ("an empty rest", [SIZE, 0]),
    ):
        yield {"fault": fault, "sizes": sizes, "error": "ValueError", "says": "a parcel"}


def other_names(right: Parcel):
    """Names of what the chunks of a parcel make in another order or number, all full ones."""
    first, second, _ = right.leaves
    for change, leaves, length in (
        ("the first two chunks exchanged", [second, first], 2 * SIZE),
        ("the first two chunks", [first, second], 2 * SIZE),
        ("the first chunk twice", [first, first], 2 * SIZE),
        ("the first chunk", [first], SIZE),
    ):
        indices = [right.leaves.index(leaf) for leaf in leaves]
        yield {"change": change, "chunks": indices, "name": Named(length, leaves).name.hex()}


def refused_chunks(right: Parcel, foreign: Parcel):
    """Single faults in what arrives of a parcel of two full chunks and 1,000 bytes."""
    end = right.length
    proofs = [right.chunk(index)["proof"] for index in range(3)]
    to_root = "proof does not lead from chunk {} to the root"
    another_name = "and root do not make its name"

    def case(fault: str, says: str, place: int, *, error: str = "RuleBroken", **changes):
        before = changes.pop("before", list(range(place)))
        extra = {key: changes.pop(key) for key in ("flipped", "more") if key in changes}
        chunk = right.chunk(place) | changes
        return {"fault": fault, "before": before, "chunk": chunk, **extra} | {
            "error": error,
            "says": says.format(place),
        }

    def truncated(index: int, stop: int, says: str):
        return case(
            f"chunk {index} truncated", says, index, data=[right.number, index * SIZE, stop]
        )

    exchanged, short = right.chunk(1), right.chunks[0][:-1]
    cut_short = Named(right.length, [digest("pnyx/parcel/chunk", short), *right.leaves[1:]])
    return [
        truncated(2, end - 1, "data of chunk 2 has 999 bytes, not 1000"),
        truncated(1, 2 * SIZE - 1, "data of chunk 1 has 131071 bytes, not 131072"),
        case("the rest in the place of a full chunk", "data of chunk 1 has 1000 bytes, not 131072",
             1, data=right.chunk(2)["data"]),
        case("a byte after the last", "data of chunk 2 has 1001 bytes, not 1000", 2, more=1),
        case("a byte after a full chunk", "length <= 131072", 1, more=1, error="MalformedMessage"),
        case("no data", "length >= 1", 2, data=[right.number, end, end], error="MalformedMessage"),
        case("reordered: chunk 1 as chunk 0", to_root, 0, data=exchanged["data"],
             proof=exchanged["proof"]),
        case("reordered: chunk 0 as chunk 1", to_root, 1, data=right.chunk(0)["data"],
             proof=proofs[0]),
        case("duplicated: a chunk that came", "which it was not asked for or has sent", 0,
             before=[0]),
        case("duplicated: chunk 0 in the place of chunk 1", to_root, 1,
             data=right.chunk(0)["data"]),
        case("a chunk before it is asked for", "which it was not asked for or has sent", 2,
             before=[]),
        case("an index that the parcel has not", "which it was not asked for or has sent", 2,
             index=3),
        case("a proof of another place", to_root, 0, proof=proofs[1]),
        case("a foreign proof", to_root, 1, proof=foreign.chunk(1)["proof"]),
        case("no proof", to_root, 1, proof=[]),
        case("a sibling too few", to_root, 0, proof=proofs[0][:1]),
        case("a sibling too many", to_root, 2, proof=[*proofs[2], proofs[2][0]]),
        case("siblings exchanged", to_root, 0, proof=proofs[0][::-1]),
        case("foreign data", to_root, 0, data=foreign.chunk(0)["data"]),
        case("a foreign chunk with its proof", to_root, 0, data=foreign.chunk(0)["data"],
             proof=foreign.chunk(0)["proof"]),
        case("a foreign root with all of it", another_name, 0, root=foreign.root.hex(),
             data=foreign.chunk(0)["data"], proof=foreign.chunk(0)["proof"]),
        case("another length", another_name, 0, length=end + 1),
        case("named with chunk 0 truncated", "data of chunk 0 has 131071 bytes, not 131072", 0,
             parcel=cut_short.name.hex(), root=cut_short.root.hex(),
             data=[right.number, 0, SIZE - 1]),
        case("one bit turned in the first byte", to_root, 0, flipped=0),
        case("one bit turned in the last byte", to_root, 2, flipped=999),
    ]  # fmt: skip


def vectors():
    parcels = [Parcel(number, length) for number, length in enumerate(LENGTHS)]
    return {
        "chunk_bytes": SIZE,
        "parcels": [parcel_vector(each) for each in parcels],
        "other_names": list(other_names(parcels[0])),
        "no_parcels": list(no_parcels()),
        "refused": refused_chunks(*parcels[:2]),
    }


if __name__ == "__main__":
    path = Path(__file__).with_name("parcels.json")
    path.write_text(json.dumps(vectors(), indent=1) + "\n")
