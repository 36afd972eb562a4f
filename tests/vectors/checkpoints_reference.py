"""Checkpoints of vectors and sums of three segments, and evidence by one of their segments.

`checkpoints.json` comes from it. Written from docs/protocol.md (sections 17, 19 and 20), on top of
`long_reference.py` and `verified_reference.py`, and sharing no code with pnyx.
`python tests/vectors/checkpoints_reference.py` writes the file again; `test_checkpoint_vectors.py`
checks that it is what this file gives, that its sketches are those of the plain reference, and that
pnyx agrees.

Nothing is masked here: the residues of a vector are the first field elements below p₁ of the stream
with its "seed" and "domain", some "changed" ([place, value]); a sum has the integer sums of those
of its "vectors", some "changed". Both are packed segment by segment as ever. A linear hash or P·y
is null after a segment that is none.

A case of "shown" is evidence that holds, one of "refused" has a single fault, and is refused with
its "error", which "says" why. "of" is what the evidence is about:

- "vector": a header of the contributor in "given" names the parcel and commits to the checkpoints
  in "signed"; its root of key shares and salt are those in "given". "verified": whether the round
  verifies norms; without, checkpoints have no P·y.
- "sum": "teller" signed the "statement" on all else in "signed". Only "aggregator" and "member" of
  "given" tell of sums in this round.

"opened" is the segment of that vector or sum that is shown:

- "linear_hash": [number of the vector or sum, segments, bytes]: so many first bytes of what it has
  after so many segments; null is empty. "sketch" likewise, by the P of that vector's own header.
- "chunks": [number, start, stop], bytes of a vector or sum. "flipped": [which of these chunks,
  byte], where the lowest bit is turned. "proofs": [number, index of the chunk].

"sha256" is that of the encoded `OpenedSegment`, "evidence_sha256" of the whole `WrongSum`.

"sum_lengths" are such evidence by the length of a parcel that was signed to be a sum; "sha256" is
that of the encoded `WrongSumLength`. A case without an "error" holds.
"""

import json
import runpy
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FOLDER = Path(__file__).parent
FULL = 8 * 32 * 1024  # coefficients of a full segment
CHECKED = SimpleNamespace(
    **runpy.run_path(str(FOLDER / "verified_reference.py"), init_globals={"LENGTH": 2 * FULL + 5})
)
LONG, MASKS, PLAIN = CHECKED.LONG, CHECKED.MASKS, CHECKED.PLAIN
digest, Stream, words = PLAIN.digest, PLAIN.Stream, CHECKED.words
CONTEXT, STATED, P = MASKS.CONTEXT, CHECKED.STATED, CHECKED.P
BLOCK, ROWS, TABLES, BUCKETS, BLOCKS = (
    CHECKED.BLOCK, CHECKED.ROWS, CHECKED.TABLES, CHECKED.BUCKETS, CHECKED.BLOCKS,
)  # fmt: skip

SIZE = 128 * 1024
CONTRIBUTOR, CONTRIBUTOR_CONTEXT = 9, CONTEXT + (9).to_bytes(4, "big")
KEY_ROOT, SALT = digest("vectors", b"key root"), bytes(range(16))
TELLERS, STRANGER = (300, 301), 302  # who may tell of sums, and who may not
HASH_BYTES, SKETCH_BYTES = 11520, 1024
PLACES = LONG.Cut(STATED).coefficients  # of each segment
OFFSET = CHECKED.SCALE * 2 ** (STATED.bits - 1)

# --- linear hash and sketch -----------------------------------------------------------------------


def keys(segment: int):
    """The keys of the linear hash for the blocks of a segment, transformed, modulo each prime."""
    if segment not in KEYS:
        seed = digest("pnyx/masked/hash", CONTEXT, MASKS.encoded(STATED.fields), bytes([0]))
        first, blocks = segment * FULL // BLOCK, -(-size_of(segment) // BLOCK)
        KEYS[segment] = [
            np.stack(
                [
                    LONG.elements(Stream(seed, f"ring/public/1024/{p}/{block}"), p, BLOCK).reshape(
                        1024, 32
                    )
                    for block in range(first, first + blocks)
                ],
                axis=1,
            )
            for p in PLAIN.HASH_PRIMES
        ]
    return KEYS[segment]


KEYS: dict = {}


def size_of(segment: int) -> int:
    return PLACES[segment].stop - PLACES[segment].start


def hash_of(segment: int, integers):
    """What a segment adds to the linear hash, modulo each prime; remembered, as it is slow."""
    known = (segment, sha256(integers.tobytes()).digest())
    if known not in HASHED:
        HASHED[known] = []
        for p, key in zip(PLAIN.HASH_PRIMES, keys(segment), strict=True):
            padded = np.zeros(key.size, dtype=np.int64)
            padded[: len(integers)] = integers % p
            rows = padded.reshape(-1, 1024, 32).transpose(1, 0, 2)
            products = key * LONG.Transform(1024, p).forth(rows) % p
            HASHED[known].append(products.sum(axis=(1, 2)) % p)
    return HASHED[known]


HASHED: dict = {}


class Sketch:
    """The P of the plain reference, applied to many entries at once."""

    def __init__(self, sketched: bytes) -> None:
        self.sketched = sketched
        drawn = Stream(sketched, "pnyx/sketch/rows").bytes(BLOCKS * TABLES * BUCKETS)
        self.rows = np.frombuffer(drawn, dtype=np.uint8).reshape(BLOCKS, TABLES * BUCKETS)

    def apply(self, vector, first: int = 0) -> list[int]:
        """P·y modulo p₁, of the entries from the block numbered `first` on."""
        buckets = np.zeros((TABLES, BUCKETS), dtype=np.int64)
        for block, start in enumerate(range(0, len(vector), BLOCK), first):
            seed = digest("pnyx/sketch/chunk", self.sketched, block.to_bytes(4, "big"))
            part = vector[start : start + BLOCK]
            drawn = Stream(seed, "pnyx/sketch/codes").bytes(2 * TABLES * BLOCK)
            codes = np.frombuffer(drawn, dtype="<u2").reshape(TABLES, BLOCK)[:, : len(part)]
            for row, code in zip(buckets, codes.astype(np.int64), strict=True):
                np.add.at(row, code & 0xFFF, np.where(code >> 12 & 1, -part, part))
        found, flat = np.zeros(ROWS, dtype=np.int64), buckets.reshape(-1)
        for block, codes in enumerate(self.rows.astype(np.int64)):
            np.add.at(found, 32 * block + (codes & 31), np.where(codes >> 5 & 1, -flat, flat))
        return (found % P).tolist()


def sketches(sketch: Sketch, residues, first=lambda segment: segment * FULL // BLOCK):
    """P·y after each segment. first: by what number the first block of a segment goes."""
    total, found = [0] * ROWS, []
    for segment, place in enumerate(PLACES):
        added = sketch.apply((residues[place] - OFFSET) % P, first(segment))
        total = [(a + b) % P for a, b in zip(total, added, strict=True)]
        found.append(words(total))
    return found


# --- vectors and sums -----------------------------------------------------------------------------


class Parcel:
    """A vector, or a sum: its integers, its bytes, and its linear hash after each segment."""

    def __init__(self, number: int, integers, pack, largest: int) -> None:
        self.number, self.integers = number, integers
        self.parts = [pack(integers[place]) for place in PLACES]
        self.content = b"".join(self.parts)
        self.chunks = [self.content[at : at + SIZE] for at in range(0, len(self.content), SIZE)]
        self.leaves = [digest("pnyx/parcel/chunk", each) for each in self.chunks]
        self.root, self.name = PLAIN.tree_root(self.leaves), MASKS.parcel_name(self.content)
        self.hashes: list[bytes | None] = []
        total = [np.zeros(1024, dtype=np.int64) for _ in PLAIN.HASH_PRIMES]
        for segment, place in enumerate(PLACES):
            part = integers[place]
            if part.max() > largest or None in self.hashes:
                self.hashes.append(None)
                continue
            added = zip(PLAIN.HASH_PRIMES, total, hash_of(segment, part), strict=True)
            total = [(a + b) % p for p, a, b in added]
            packed = (
                LONG.packed(p, part) for p, part in zip(PLAIN.HASH_PRIMES, total, strict=True)
            )
            self.hashes.append(b"".join(packed))

    def opened(self, segment: int, before: int | None = None, *, sketched: bool = False):
        """A segment as honest evidence shows it. before: how many segments are said to be."""
        start = sum(map(len, self.parts[:segment]))
        stop = start + len(self.parts[segment])
        shown = range(start // SIZE, -(-stop // SIZE))
        before = segment if before is None else before
        return {
            "segment": segment,
            "linear_hash": [self.number, before, HASH_BYTES] if before else None,
            "sketch": [self.number, before, SKETCH_BYTES] if before and sketched else None,
            "root": self.root.hex(),
            "chunks": [self.chunk(at) for at in shown],
            "proofs": [[self.number, at] for at in shown],
        }

    def chunk(self, at: int) -> list[int]:
        return [self.number, at * SIZE, min((at + 1) * SIZE, len(self.content))]


class Vector(Parcel):
    """A vector of residues, some changed, that a header with the key root and salt names."""

    def __init__(self, number: int, name: str, changed=()) -> None:
        self.domain, self.changed = f"vectors/checkpoints/{name}", list(changed)
        if name not in DRAWN:
            DRAWN[name] = LONG.elements(Stream(PLAIN.SEED, self.domain), P, STATED.coefficients)
        residues = DRAWN[name].copy()
        for place, value in changed:
            residues[place] = value
        super().__init__(number, residues, lambda part: LONG.packed(P, part), P - 1)
        self.sketched = digest(
            "pnyx/masked-verification/sketch", CONTRIBUTOR_CONTEXT, self.name, KEY_ROOT, SALT
        )
        self.sketch = Sketch(self.sketched)
        self.sketches = [
            None if linear_hash is None else found
            for linear_hash, found in zip(self.hashes, sketches(self.sketch, residues), strict=True)
        ]

    def vector(self):
        """What the file says of it."""
        return {
            "seed": PLAIN.SEED.hex(),
            "domain": self.domain,
            "changed": self.changed,
            **described(self),
            "sketch_commitment": self.sketched.hex(),
            "sketch_sha256": [hashed(each) for each in self.sketches],
            "checkpoints": [
                named(linear_hash, sketch)
                for linear_hash, sketch in zip(self.hashes, self.sketches, strict=True)
            ],
            "checkpoints_unverified": [named(each) for each in self.hashes],
        }


DRAWN: dict = {}


class Sum(Parcel):
    """A sum of two vectors, some integers changed."""

    def __init__(self, number: int, vectors: list[Vector], changed=()) -> None:
        self.vectors, self.changed = [each.number for each in vectors], list(changed)
        sums = sum(each.integers for each in vectors)
        for place, value in changed:
            sums[place] = value
        most = len(vectors) * (P - 1)
        super().__init__(number, sums, lambda part: LONG.packed_sum([P], [part]), most)

    def vector(self):
        return {
            "vectors": self.vectors,
            "changed": self.changed,
            **described(self),
            "checkpoints": [named(each) for each in self.hashes],
        }


def described(parcel: Parcel):
    return {
        "sha256": hashed(parcel.content),
        "segment_sha256": [hashed(each) for each in parcel.parts],
        "root": parcel.root.hex(),
        "parcel": parcel.name.hex(),
        "linear_hash_sha256": [hashed(each) for each in parcel.hashes],
    }


def hashed(data: bytes | None) -> str | None:
    return None if data is None else sha256(data).hexdigest()


def named(linear_hash: bytes | None, sketch: bytes = b"") -> str | None:
    return None if linear_hash is None else MASKS.checkpoint(linear_hash, sketch).hex()


# --- what is said of them, and shown --------------------------------------------------------------


def header(named_one: Vector, hashes: list[bytes], stated: list[bytes] | None):
    """What a header says. stated: P·y after each segment, where the round verifies norms."""
    pairs = zip(hashes, [b""] * len(hashes) if stated is None else stated, strict=True)
    checkpoints = [MASKS.checkpoint(*each) for each in pairs]
    return {"of": "vector", "verified": stated is not None} | signed(named_one, checkpoints)


def signed(parcel: Parcel, checkpoints: list[bytes]):
    return {
        "signed": {
            "parcel": parcel.name.hex(),
            "checkpoints": [each.hex() for each in checkpoints],
            "committed": MASKS.committed(checkpoints).hex(),
        }
    }


def sum_lengths(total: Sum):
    """Evidence that a parcel has another length than sums have, by what its name is a hash of."""
    points = [MASKS.checkpoint(each) for each in total.hashes]
    longer, size = total.content + bytes(1), len(total.content)
    leaves = [
        digest("pnyx/parcel/chunk", longer[at : at + SIZE]) for at in range(0, len(longer), SIZE)
    ]
    root, name = PLAIN.tree_root(leaves), MASKS.parcel_name(longer)

    def case(fault: str, parcel: bytes, shape: tuple[int, bytes], **more):
        checkpoints = more.pop("checkpoints", points)
        statement = MASKS.sum_statement(TELLERS[0], SUMMED, 2, parcel, points)
        signature, committed = key_of(TELLERS[0]).sign(statement), MASKS.committed(checkpoints)
        evidence = [131, SUMMED, 2, committed, *shape, signature]
        return {
            "fault": fault,
            "teller": TELLERS[0],
            "summed": SUMMED.hex(),
            "count": 2,
            "committed": committed.hex(),
            "length": shape[0],
            "root": shape[1].hex(),
            "signature": signature.hex(),
            "sha256": hashed(MASKS.encoded(evidence)),
        } | more

    refused = {"error": "InvalidSignature", "says": NOBODY}
    right = {"error": "RuleBroken", "says": "the parcel has the length of this round's sums"}
    return [
        case("a sum that is a byte longer", name, (size + 1, root)),
        case("a sum of the right length", total.name, (size, total.root), **right),
        case("another length than was signed", name, (size + 2, root), **refused),
        case("another root than was signed", name, (size + 1, total.root), **refused),
        case("other checkpoints than were signed", name, (size + 1, root),
             checkpoints=points[::-1], **refused),
    ]  # fmt: skip


def told(parcel: Parcel, checkpoints: list[bytes], teller: int = TELLERS[0], count: int = 2):
    """What whoever tells of a sum says, and signs."""
    statement = MASKS.sum_statement(teller, SUMMED, count, parcel.name, checkpoints)
    said = signed(parcel, checkpoints)["signed"] | {
        "teller": teller,
        "summed": SUMMED.hex(),
        "count": count,
        "statement": statement.hex(),
        "signature": key_of(teller).sign(statement).hex(),
    }
    return {"of": "sum", "signed": said}


SUMMED = digest("pnyx/summed", CONTEXT, bytes(4) + bytes(32), bytes(3) + b"\1" + bytes(32))


def key_of(teller: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(digest("vectors", teller.to_bytes(4, "big")))


class Shown:
    """Finishes cases: what is opened is hashed as it is encoded."""

    def __init__(self, vectors: list[Vector], sums: list[Sum]) -> None:
        self.of = {"vector": vectors, "sum": sums}

    def case(self, fault: str, said, opened, **more):
        case = {"fault": fault} | said | {"opened": opened} | more
        encoded = self.encoded(case)
        case["sha256"] = hashed(MASKS.encoded(encoded))
        if case["of"] == "sum":
            told_of = case["signed"]
            checkpoints = [bytes.fromhex(each) for each in told_of["checkpoints"]]
            summed, signature = (bytes.fromhex(told_of[name]) for name in ("summed", "signature"))
            evidence = [130, summed, told_of["count"], checkpoints, encoded, signature]
            case["evidence_sha256"] = hashed(MASKS.encoded(evidence))
        return case

    def encoded(self, case) -> list:
        opened, of = case["opened"], self.of[case["of"]]
        chunks = [bytearray(of[who].content[start:stop]) for who, start, stop in opened["chunks"]]
        if "flipped" in opened:
            chunk, byte = opened["flipped"]
            chunks[chunk][byte] ^= 1
        return [
            opened["segment"],
            before(of, opened["linear_hash"], "hashes"),
            before(of, opened["sketch"], "sketches"),
            bytes.fromhex(opened["root"]),
            [bytes(each) for each in chunks],
            [PLAIN.tree_path(of[who].leaves, at) for who, at in opened["proofs"]],
        ]


def before(of: list, given: list[int] | None, name: str) -> bytes:
    if given is None:
        return b""
    number, segments, size = given
    return getattr(of[number], name)[segments - 1][:size]


# --- the cases ------------------------------------------------------------------------------------

FIRST, SECOND, LAST = 77, FULL + 4321, 2 * FULL + 3  # a place in each segment


def altered(sketch: bytes) -> bytes:
    """Its entry 7 larger by one."""
    values = CHECKED.read_words(sketch)
    values[7] = (values[7] + 1) % P
    return words(values)


def shown_vectors(shown: Shown):
    true, second, first, last, beyond, _ = shown.of["vector"]
    foreign, short = digest("vectors", b"foreign"), true.hashes[0][:-1]

    def false(fault: str, one: Vector, segment: int):
        """The header names this vector, and says what holds for the true one."""
        said = header(one, true.hashes, sketches(one.sketch, true.integers))
        return shown.case(fault, said, one.opened(segment, sketched=True))

    def stated(fault: str, found: list[bytes], segment: int):
        """The header says the sketch of the true vector is another one."""
        said = header(true, true.hashes, found)
        return shown.case(fault, said, true.opened(segment, sketched=True))

    def other(fault: str, checkpoints: list[bytes], opened, *, verified: bool = True):
        said = {"of": "vector", "verified": verified} | signed(true, checkpoints)
        return shown.case(fault, said, opened)

    right = true.sketches
    points = [MASKS.checkpoint(*each) for each in zip(true.hashes, right, strict=True)]
    plain = [MASKS.checkpoint(each) for each in true.hashes]
    unread = [MASKS.checkpoint(short, right[0]), *points[1:]]
    cut = true.opened(1, sketched=True) | {"linear_hash": [0, 1, HASH_BYTES - 1]}
    again = sketches(true.sketch, true.integers, lambda _: 0)
    yield false("a residue of the second segment", second, 1)
    yield false("a residue of the first segment", first, 0)
    yield false("a residue of the last segment", last, 2)
    yield false("a residue that is the prime", beyond, 2)
    yield stated("P·y from the second segment on", [right[0], *map(altered, right[1:])], 1)
    yield stated("P·y from the first segment on", [*map(altered, right)], 0)
    yield stated("P·y after the last segment", [*right[:2], altered(right[2])], 2)
    yield stated("P·y of blocks numbered anew in each segment", again, 1)
    yield stated("P·y of each segment alone", alone(true), 1)
    yield other("checkpoints without P·y", plain, true.opened(0))
    yield other("P·y where no norm is verified", points, true.opened(0), verified=False)
    yield other(
        "an earlier checkpoint alone",
        [points[0], foreign, points[2]],
        true.opened(1, sketched=True),
    )
    yield other("the first checkpoint alone", [foreign, *points[1:]], true.opened(0))
    yield other(
        "checkpoints exchanged", [points[0], points[2], points[1]], true.opened(1, sketched=True)
    )
    yield other("no linear hash is committed to before it", unread, cut)
    said = header(second, true.hashes, None)
    yield shown.case("a residue of the second segment where no norm is verified", said,
                     second.opened(1))  # fmt: skip


def alone(vector: Vector) -> list[bytes]:
    """P·y of each segment, not of those before it."""
    parts = ((vector.integers[place] - OFFSET) % P for place in PLACES)
    return [
        words(vector.sketch.apply(part, segment * FULL // BLOCK))
        for segment, part in enumerate(parts)
    ]


def shown_sums(shown: Shown):
    true, second, first, beyond = shown.of["sum"]
    points = [MASKS.checkpoint(each) for each in true.hashes]
    for fault, one, segment in (
        ("a coefficient of the second segment", second, 1),
        ("a coefficient of the first segment", first, 0),
        ("a coefficient of the last segment that so many cannot make", beyond, 2),
    ):
        yield shown.case(fault, told(one, points), one.opened(segment))
    foreign = digest("vectors", b"foreign")
    wrong = [points[0], foreign, points[2]]
    yield shown.case("an earlier checkpoint of a sum alone", told(true, wrong), true.opened(1))
    yield shown.case(
        "a sum that a member tells of", told(second, points, TELLERS[1]), second.opened(1)
    )
    yield shown.case("a sum of two told as one of one", told(true, points, count=1), true.opened(0))


SIGNED = "the segment is what was signed of it"
BEFORE = "what comes before a segment is not what was signed of it"
PARCEL = "a segment is not of the parcel that was signed"
CHUNKS = "a segment is shown by other chunks than those that hold it"
CHUNK = "a chunk is not of the parcel that was signed"
NUMBER = "a segment or a checkpoint is one that such a vector has not"
HEADER = "the checkpoints are not those that a header commits to"
NOBODY = "nobody signed that this is the sum of masked vectors"


def refused_vectors(shown: Shown):
    true, second, first, _, _, foreign = shown.of["vector"]
    right = header(true, true.hashes, true.sketches)
    false = header(second, true.hashes, sketches(second.sketch, true.integers))
    good = second.opened(1, sketched=True)
    assert len(good["chunks"]) == 8

    def case(fault: str, says: str, said=false, error: str = "RuleBroken", **changes):
        return shown.case(fault, said, good | changes, error=error, says=says)

    def with_signed(**changes):
        return false | {"signed": false["signed"] | changes}

    for segment, place in enumerate(("first", "second", "last")):
        opened = true.opened(segment, sketched=True)
        yield case(f"the {place} segment is what was signed", SIGNED, right, **opened)
    yield case("a segment before the false one", SIGNED, **second.opened(0))
    unverified = header(second, true.hashes, None)
    yield case(
        "a segment after the false one, from what was signed",
        SIGNED,
        unverified,
        **second.opened(2) | {"linear_hash": [0, 2, HASH_BYTES]},
    )
    yield case(
        "a segment after the false one, from what it is", BEFORE, **second.opened(2, sketched=True)
    )
    # what comes before
    yield case(
        "linear hash and P·y after one segment before the last one",
        BEFORE,
        **second.opened(2, 1, sketched=True),
    )
    yield case(
        "linear hash and P·y after two segments before the second one",
        BEFORE,
        right,
        **true.opened(1, 2, sketched=True),
    )
    yield case("a linear hash of another vector", BEFORE, linear_hash=[5, 1, HASH_BYTES])
    yield case("a linear hash after two segments", BEFORE, linear_hash=[1, 2, HASH_BYTES])
    yield case("a linear hash cut short", BEFORE, linear_hash=[1, 1, HASH_BYTES - 1])
    yield case("no linear hash", BEFORE, linear_hash=None)
    yield case("another vector's P·y", BEFORE, sketch=[5, 1, SKETCH_BYTES])
    yield case("no P·y", BEFORE, sketch=None)
    yield case("nothing before the second segment", BEFORE, linear_hash=None, sketch=None)
    yield case("P·y where no norm is verified", BEFORE, unverified)
    whole = second.opened(0)
    yield case(
        "a linear hash before the first segment",
        BEFORE,
        **whole | {"linear_hash": [1, 1, HASH_BYTES]},
    )
    yield case("P·y before the first segment", BEFORE, **whole | {"sketch": [1, 1, SKETCH_BYTES]})
    yield case(
        "the last checkpoint before the first segment",
        BEFORE,
        right,
        **true.opened(0, 3, sketched=True),
    )
    # chunks
    chunks, proofs = good["chunks"], good["proofs"]
    yield case("the last chunk is missing", CHUNKS, chunks=chunks[:-1], proofs=proofs[:-1])
    yield case("the first chunk is missing", CHUNKS, chunks=chunks[1:], proofs=proofs[1:])
    yield case("a chunk without its proof", CHUNKS, proofs=proofs[:-1])
    yield case("a proof without its chunk", CHUNKS, chunks=chunks[:-1])
    yield case(
        "the chunk before the first one as well",
        CHUNKS,
        chunks=[second.chunk(5), *chunks],
        proofs=[[1, 5], *proofs],
    )
    yield case("one bit turned in the first byte", CHUNK, flipped=[0, 0])
    beyond = sum(map(len, second.parts[:2])) % SIZE  # in the last chunk shown
    yield case("one bit turned in the last byte", CHUNK, flipped=[7, beyond - 1])
    yield case("one bit turned in the byte after the segment", CHUNK, flipped=[7, beyond])
    yield case("a chunk of another place", CHUNK, chunks=[*chunks[:3], chunks[2], *chunks[4:]])
    yield case(
        "a chunk of another place with its proof",
        CHUNK,
        chunks=[*chunks[:3], chunks[2], *chunks[4:]],
        proofs=[*proofs[:3], proofs[2], *proofs[4:]],
    )
    yield case(
        "two chunks exchanged with their proofs",
        CHUNK,
        chunks=[chunks[1], chunks[0], *chunks[2:]],
        proofs=[proofs[1], proofs[0], *proofs[2:]],
    )
    yield case("a proof of another place", CHUNK, proofs=[*proofs[:7], proofs[6]])
    yield case(
        "a chunk of another vector with its proof",
        CHUNK,
        chunks=[foreign.chunk(6), *chunks[1:]],
        proofs=[[5, 6], *proofs[1:]],
    )
    number, start, stop = chunks[0]
    yield case("a chunk cut by a byte", CHUNK, chunks=[[number, start, stop - 1], *chunks[1:]])
    yield case("no chunk", "length >= 1", error="MalformedMessage", chunks=[], proofs=[])
    yield case(
        "seventeen chunks",
        "length <= 16",
        error="MalformedMessage",
        chunks=[chunks[0]] * 17,
        proofs=[proofs[0]] * 17,
    )
    # parcel, segment, checkpoints
    yield case("another root", PARCEL, root=true.root.hex())
    other = first.opened(1)
    yield case(
        "a segment of another parcel",
        PARCEL,
        root=other["root"],
        chunks=other["chunks"],
        proofs=other["proofs"],
    )
    yield case("a segment beyond the last one", NUMBER, segment=3)
    yield case("the segment of the largest number", NUMBER, segment=127)
    yield case(
        "a segment beyond the largest number", "<= 127", segment=128, error="MalformedMessage"
    )
    points = [bytes.fromhex(each) for each in false["signed"]["checkpoints"]]
    for fault, changed in (
        ("a checkpoint too few", points[:-1]),
        ("a checkpoint too many", [*points, points[-1]]),
    ):
        said = {"of": "vector", "verified": True} | signed(second, changed)
        yield case(fault, NUMBER, said)
    for fault, changed in (
        ("a checkpoint that the header does not commit to", [points[0], *points[:1], points[2]]),
        ("another last checkpoint", [*points[:2], points[1]]),
        ("the earlier checkpoints exchanged", [points[1], points[0], points[2]]),
        ("the last checkpoint alone", points[2:]),
    ):
        said = with_signed(checkpoints=[each.hex() for each in changed])
        yield case(fault, HEADER, said)
    yield case(
        "what another header commits to",
        HEADER,
        with_signed(committed=right["signed"]["committed"]),
    )


def refused_sums(shown: Shown):
    true, second, *_ = shown.of["sum"]
    points = [MASKS.checkpoint(each) for each in true.hashes]
    right, false, good = told(true, points), told(second, points), second.opened(1)
    assert len(good["chunks"]) == 10

    def case(fault: str, says: str, said=false, error: str = "RuleBroken", **changes):
        return shown.case(fault, said, good | changes, error=error, says=says)

    def unsigned(fault: str, **changes):
        said = false | {"signed": false["signed"] | changes}
        return case(fault, NOBODY, said, "InvalidSignature")

    for segment, place in enumerate(("first", "second", "last")):
        yield case(
            f"the {place} segment of a sum is what was signed",
            SIGNED,
            right,
            **true.opened(segment),
        )
    yield case("a segment of a sum before the wrong one", SIGNED, **second.opened(0))
    yield case(
        "a segment of a sum after the wrong one, from what it is", BEFORE, **second.opened(2)
    )
    yield case(
        "a segment of a sum after the wrong one, from what was signed",
        SIGNED,
        **second.opened(2) | {"linear_hash": [0, 2, HASH_BYTES]},
    )
    yield case("a linear hash of another sum", BEFORE, linear_hash=[2, 1, HASH_BYTES])
    yield case(
        "a linear hash before the first segment of a sum",
        BEFORE,
        **second.opened(0) | {"linear_hash": [1, 1, HASH_BYTES]},
    )
    yield case(
        "the last segment is missing of a sum's chunks",
        CHUNKS,
        chunks=good["chunks"][:-1],
        proofs=good["proofs"][:-1],
    )
    yield case("one bit of a sum turned", CHUNK, flipped=[9, 17])
    yield case("a segment beyond the last one of a sum", NUMBER, segment=3)
    yield case("a checkpoint of a sum too few", NUMBER, told(second, points[:-1]))
    yield case("another root of a sum", NOBODY, error="InvalidSignature", root=true.root.hex())
    exchanged = [points[1], points[0], points[2]]
    yield unsigned(
        "earlier checkpoints of a sum exchanged", checkpoints=[each.hex() for each in exchanged]
    )
    yield unsigned(
        "another last checkpoint of a sum",
        checkpoints=[each.hex() for each in (*points[:2], points[1])],
    )
    yield unsigned("another number of contributors", count=3)
    yield unsigned("another set", summed=digest("vectors", b"set").hex())
    yield unsigned("another teller", teller=TELLERS[1])
    yield unsigned("a signature of another sum", signature=right["signed"]["signature"])
    yield case(
        "a teller who tells of no sums",
        "who tells of sums is an aggregator or a member",
        told(second, points, STRANGER),
    )
    most = STATED.most
    yield case(
        "more contributors than a round has",
        "a sum has more contributors than this round's have",
        told(second, points, count=most + 1),
    )


def vectors():
    changed = [[], [SECOND], [FIRST], [LAST]]
    held = [Vector(0, "a")]
    for number, places in enumerate(changed[1:], 1):
        given = [[at, int(held[0].integers[at] + 1) % P] for at in places]
        held.append(Vector(number, "a", given))
    held.append(Vector(4, "a", [[LAST, P]]))
    held.append(Vector(5, "b"))
    pair, sums = [held[0], held[5]], []
    sums.append(Sum(0, pair))
    for number, place in enumerate((SECOND, FIRST), 1):
        value = int(sums[0].integers[place])
        sums.append(Sum(number, pair, [[place, value + 1 if value < 2 * (P - 1) else value - 1]]))
    sums.append(Sum(3, pair, [[LAST, 2 * P - 1]]))
    shown = Shown(held, sums)
    return {
        "given": {
            "masks": STATED.fields,
            "norm_max": CHECKED.NORM_MAX,
            "colluding_max": CHECKED.COLLUDING_MAX,
            "context": CONTEXT.hex(),
            "contributor": CONTRIBUTOR,
            "contributor_context": CONTRIBUTOR_CONTEXT.hex(),
            "key_root": KEY_ROOT.hex(),
            "salt": SALT.hex(),
            "aggregator": TELLERS[0],
            "member": TELLERS[1],
            "public_keys": {
                str(each): key_of(each).public_key().public_bytes_raw().hex()
                for each in (*TELLERS, STRANGER)
            },
        },
        "vectors": [each.vector() for each in held],
        "sums": [each.vector() for each in sums],
        "shown": [*shown_vectors(shown), *shown_sums(shown)],
        "refused": [*refused_vectors(shown), *refused_sums(shown)],
        "sum_lengths": sum_lengths(sums[0]),
    }


if __name__ == "__main__":
    path = FOLDER / "checkpoints.json"
    path.write_text(json.dumps(vectors(), indent=1) + "\n")
