"""Evidence by one segment: pnyx agrees with `checkpoints.json`, and that with its reference."""

import json
import runpy
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from pnyx import errors
from pnyx.primitives.codec import decode, encode
from pnyx.primitives.field import PrimeField
from pnyx.primitives.hashing import merkle_commit
from pnyx.primitives.ring.packing import pack_residues
from pnyx.primitives.sampling import Sampler
from pnyx.primitives.signature import SigningKey
from pnyx.protocol.aggregation.coefficients import Claim
from pnyx.protocol.aggregation.masked.checkpoints import (
    checkpoint,
    commit,
    commit_all,
    name_earlier,
)
from pnyx.protocol.aggregation.masked.parameters import ParameterSet, layout
from pnyx.protocol.aggregation.masked.segments import pack_sum
from pnyx.protocol.aggregation.masked.vectors import VectorCode
from pnyx.protocol.aggregation.masked_verification import _kernels_numpy, sketch
from pnyx.protocol.aggregation.masked_verification.bounds import MaskedBounds, bounds_of
from pnyx.protocol.aggregation.masked_verification.commitments import masked_claim
from pnyx.protocol.chunks import chunk_hash, chunks_of, parcel_name
from pnyx.protocol.crypto import NodeCrypto
from pnyx.protocol.messages import (
    FalseVector,
    MaskedVector,
    OpenedSegment,
    Signed,
    SketchProof,
    StatedHash,
    WrongSum,
    WrongSumLength,
)
from pnyx.protocol.round.false_segments import Progress, Walk, first_false, sum_walk, vector_walk
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.round.vectors import (
    check_false_vector,
    check_wrong_sum,
    commitment_to,
    last_checkpoint,
    sum_statement,
)

FOLDER = Path(__file__).parent
VECTORS = json.loads((FOLDER / "checkpoints.json").read_text())
GIVEN = VECTORS["given"]
CONTEXT = bytes.fromhex(GIVEN["context"])
MASKS = decode(msgspec.msgpack.encode(GIVEN["masks"]), ParameterSet, bytes_max=200)
BOUNDS = bounds_of(MASKS, GIVEN["norm_max"], GIVEN["colluding_max"])
CODE = VectorCode(MASKS, CONTEXT)
CRYPTO = NodeCrypto(SigningKey(bytes(32)))
PUBLIC_KEYS = {int(name): bytes.fromhex(key) for name, key in GIVEN["public_keys"].items()}
ANY_27_BITS = (1 << 27) - 1  # packs what is no residue as well
BYTES_MAX = 4 * 1024 * 1024
NUMBER = {"vector": range(len(VECTORS["vectors"])), "sum": range(len(VECTORS["sums"]))}


@lru_cache(maxsize=1)
def reference() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(FOLDER / "checkpoints_reference.py")))


def test_the_file_is_that_of_the_reference() -> None:
    assert reference().vectors() == VECTORS


def test_sketches_of_the_reference_are_those_of_the_plain_one() -> None:
    """Of a vector of two blocks."""
    length = {"LENGTH": reference().BLOCK + 5}
    plain = runpy.run_path(str(FOLDER / "verified_reference.py"), init_globals=length)
    sketched, vector = bytes(range(32)), list(range(-500, reference().BLOCK + 524))
    wanted = [each % reference().P for each in plain["Sketch"](sketched).apply(vector)]
    assert reference().Sketch(sketched).apply(np.array(vector)) == wanted


# --- what the file describes ----------------------------------------------------------------------


@dataclass(frozen=True)
class Built:
    """A vector or a sum as pnyx packs it, and its progress after each segment, none at the end."""

    content: bytes
    progress: tuple[Progress, ...]
    root: bytes
    proofs: list[tuple[bytes, ...]]
    blocks: tuple[NDArray[Any], ...]


def claim_of(parcel: bytes) -> Claim:
    """What a header that names this parcel claims."""
    return masked_claim(
        GIVEN["contributor"],
        bytes.fromhex(GIVEN["contributor_context"]),
        vector_root=parcel,
        key_root=bytes.fromhex(GIVEN["key_root"]),
        salt=bytes.fromhex(GIVEN["salt"]),
        shares_root=bytes(32),
        published=bytes(1024),
        sketch=b"",
    )


@lru_cache(maxsize=4)
def drawn(seed: str, domain: str) -> NDArray[np.int64]:
    return Sampler(bytes.fromhex(seed), domain).field_elements(MASKS.modulus, MASKS.coefficients)


def integers_of(of: str, number: int) -> NDArray[np.int64]:
    case = VECTORS[f"{of}s"][number]
    if of == "vector":
        found = drawn(case["seed"], case["domain"]).copy()
    else:
        found = sum((integers_of("vector", each) for each in case["vectors"]), np.int64(0))
    for place, value in case["changed"]:
        found[place] = value
    return found


@lru_cache(maxsize=16)
def built(of: str, number: int) -> Built:
    shape, integers, parts, blocks = layout(MASKS), integers_of(of, number), [], []
    for segment in range(CODE.segments):
        whole = np.zeros((shape.blocks(segment), MASKS.degree, 32), dtype=np.int64)
        first = segment * shape.segment_values
        count = shape.segment_coefficients(segment)
        whole.reshape(-1)[:count] = integers[first : first + count]
        if of == "vector":
            blocks += list(whole.astype(np.uint32))
            sent = whole.reshape(-1)[:count].astype(np.uint32)
            parts.append(pack_residues(sent, ANY_27_BITS))
        else:
            parts.append(pack_sum(MASKS, segment, (whole.astype(np.uint64),)))
    content = b"".join(parts)
    root, proofs = merkle_commit([chunk_hash(each) for each in chunks_of(content)])
    walk = sum_walk(CODE, 2)
    if of == "vector":
        walk = vector_walk(CODE, BOUNDS, claim_of(parcel_name(len(content), root)))
    return Built(content, progress_of(walk, content), root, proofs, tuple(blocks))


def progress_of(walk: Walk, content: bytes) -> tuple[Progress, ...]:
    found = [Progress()]
    for segment, (start, size) in enumerate(walk.places):
        try:
            found.append(walk.step(found[-1], segment, content[start : start + size]))
        except (errors.MalformedMessage, errors.RuleBroken):
            break
    return tuple(found[1:])


def hashed(data: bytes) -> str:
    return sha256(data).hexdigest()


def padded(found: list[str]) -> list[str | None]:
    """Nothing follows on a segment that is none."""
    return [*found, *[None] * (CODE.segments - len(found))]


@pytest.mark.parametrize("of", ["vector", "sum"])
def test_checkpoints(of: str) -> None:
    assert CODE.segments == 3
    for number in NUMBER[of]:
        case, made = VECTORS[f"{of}s"][number], built(of, number)
        assert hashed(made.content) == case["sha256"]
        cut = CODE.cut(made.content) if of == "vector" else CODE.cut_sum(made.content)
        assert [hashed(each) for each in cut] == case["segment_sha256"]
        assert made.root.hex() == case["root"]
        assert parcel_name(len(made.content), made.root).hex() == case["parcel"]
        hashes = [each.linear_hash for each in made.progress]
        assert padded([hashed(each) for each in hashes]) == case["linear_hash_sha256"]
        checkpoints = padded([checkpoint(*each).hex() for each in made.progress])
        assert checkpoints == case["checkpoints"]
        if of == "vector":
            sketches = [hashed(each.sketch) for each in made.progress]
            assert padded(sketches) == case["sketch_sha256"]
            unverified = padded([checkpoint(each).hex() for each in hashes])
            assert unverified == case["checkpoints_unverified"]
            claim = claim_of(bytes.fromhex(case["parcel"]))
            assert claim.sketched.hex() == case["sketch_commitment"]


@pytest.mark.parametrize("loops", ["compiled", "numpy"])
def test_one_pass_gives_what_the_segments_give(loops: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A contributor hashes and sketches all of a vector, an aggregator checks it as a whole."""
    if loops == "numpy":
        monkeypatch.setattr(sketch, "kernels", lambda: _kernels_numpy)
    made, case = built("vector", 0), VECTORS["vectors"][0]
    hashes, offset = CODE.linear_hashes(made.content), sketch.offset_of(MASKS)
    lowered = list(sketch.without_offset(made.blocks, BOUNDS, offset))
    sketched, every = bytes.fromhex(case["sketch_commitment"]), CODE.blocks_before(1)
    _, found = sketch.Sketch(sketched).apply_both(lowered, lowered, every)
    field = PrimeField(MASKS.modulus)
    sketches = [field.pack(field.reduce(each)) for each in found]
    assert [hashed(each) for each in sketches] == case["sketch_sha256"]
    points = [checkpoint(*each) for each in zip(hashes, sketches, strict=True)]
    assert [each.hex() for each in points] == case["checkpoints"]
    stated = sketch.stated_sketch(MASKS, BOUNDS, sketched, made.blocks)
    assert hashed(stated) == case["sketch_sha256"][-1]


# --- evidence -------------------------------------------------------------------------------------


class Plan:
    """What of a plan the rules look at."""

    def __init__(self, bounds: MaskedBounds | None) -> None:
        self.context = CONTEXT
        self.phase = SimpleNamespace(masked=MASKS, masked_bounds=bounds)
        self.aggregators = (GIVEN["aggregator"],)
        self.member_of = {GIVEN["member"]: 0}
        self.census = SimpleNamespace(public_keys=PUBLIC_KEYS)


VERIFIED, UNVERIFIED = cast(RoundPlan, Plan(BOUNDS)), cast(RoundPlan, Plan(None))


def opened_of(case: dict[str, Any]) -> OpenedSegment:
    of, given = case["of"], case["opened"]

    def before(place: list[int] | None) -> Progress:
        if place is None:
            return Progress()
        number, segments, size = place
        return Progress(*(each[:size] for each in built(of, number).progress[segments - 1]))

    chunks = [
        bytearray(built(of, number).content[start:stop]) for number, start, stop in given["chunks"]
    ]
    if "flipped" in given:
        chunk, byte = given["flipped"]
        chunks[chunk][byte] ^= 1
    return OpenedSegment(
        given["segment"],
        before(given["linear_hash"]).linear_hash,
        before(given["sketch"]).sketch,
        bytes.fromhex(given["root"]),
        tuple(map(bytes, chunks)),
        tuple(built(of, number).proofs[index] for number, index in given["proofs"]),
    )


def signed(case: dict[str, Any], name: str) -> bytes:
    return bytes.fromhex(case["signed"][name])


def checkpoints_of(case: dict[str, Any]) -> tuple[bytes, ...]:
    return tuple(map(bytes.fromhex, case["signed"]["checkpoints"]))


def evidence_of(case: dict[str, Any]) -> FalseVector | WrongSum:
    """The evidence of a case, as it is read from its bytes. Raises MalformedMessage."""
    opened = opened_of(case)
    assert hashed(encode(opened)) == case["sha256"]
    if case["of"] == "vector":
        header = Signed(bytes(32), b"header", bytes(64))
        proof = FalseVector(header, checkpoints_of(case), opened)
        return decode(encode(proof), FalseVector, bytes_max=BYTES_MAX)
    terms = signed(case, "summed"), case["signed"]["count"], checkpoints_of(case)
    wrong = WrongSum(*terms, opened, signed(case, "signature"))
    assert hashed(encode(wrong)) == case["evidence_sha256"]
    return decode(encode(wrong), WrongSum, bytes_max=BYTES_MAX)


def judge(case: dict[str, Any]) -> None:
    """Check the evidence of a case as a court does."""
    proof = evidence_of(case)
    if isinstance(proof, WrongSum):
        check_wrong_sum(VERIFIED, CRYPTO, proof, case["signed"]["teller"])
        return
    plan = VERIFIED if case["verified"] else UNVERIFIED
    parcel = signed(case, "parcel")
    masked = MaskedVector(parcel, signed(case, "committed"))
    check_false_vector(plan, claim_of(parcel), masked, proof)


def fault(case: dict[str, Any]) -> str:
    return case["fault"].replace(" ", "-")


@pytest.mark.parametrize("case", VECTORS["shown"], ids=fault)
def test_evidence_that_holds(case: dict[str, Any]) -> None:
    judge(case)
    points = checkpoints_of(case)
    assert commit_all(CONTEXT, points) == signed(case, "committed")
    if case["of"] == "sum":
        given = case["signed"]
        terms = given["teller"], signed(case, "summed"), given["count"], signed(case, "parcel")
        statement = sum_statement(CONTEXT, *terms, signed(case, "committed"))
        assert statement.hex() == given["statement"]


@pytest.mark.parametrize("case", VECTORS["shown"], ids=fault)
def test_the_holder_of_all_of_it_finds_that_segment(case: dict[str, Any]) -> None:
    """Or an earlier one, where nothing that can be read was signed of what is before it."""
    number, points = case["opened"]["chunks"][0][0], checkpoints_of(case)
    if case["of"] == "sum":
        walk = sum_walk(CODE, case["signed"]["count"])
    else:
        bounds = BOUNDS if case["verified"] else None
        walk = vector_walk(CODE, bounds, claim_of(signed(case, "parcel")))
    found = first_false(walk, built(case["of"], number).content, points)
    if case["fault"] == "no linear hash is committed to before it":
        assert found is not None
        assert found.segment == 0
    else:
        assert found == opened_of(case)


@pytest.mark.parametrize("case", VECTORS["refused"], ids=fault)
def test_evidence_that_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(getattr(errors, case["error"])) as raised:
        judge(case)
    assert case["says"] in str(raised.value)


@pytest.mark.parametrize("of", ["vector", "sum"])
def test_nothing_is_found_in_what_is_true(of: str) -> None:
    made, case = built(of, 0), VECTORS[f"{of}s"][0]
    points = tuple(map(bytes.fromhex, case["checkpoints"]))
    if of == "sum":
        assert first_false(sum_walk(CODE, 2), made.content, points) is None
        return
    claim = claim_of(bytes.fromhex(case["parcel"]))
    assert first_false(vector_walk(CODE, BOUNDS, claim), made.content, points) is None
    plain = tuple(map(bytes.fromhex, case["checkpoints_unverified"]))
    assert first_false(vector_walk(CODE, None, claim), made.content, plain) is None


def test_what_an_aggregator_compares_with_a_header() -> None:
    """The last checkpoint follows from linear hash and header; the earlier ones have a name."""
    made, case = built("vector", 0), VECTORS["vectors"][0]
    *earlier, last = map(bytes.fromhex, case["checkpoints"])
    linear_hash, stated = made.progress[-1]
    committed = commit_all(CONTEXT, [*earlier, last])
    assert commit(CONTEXT, name_earlier(earlier), last) == committed
    roots = bytes.fromhex(GIVEN["key_root"]), bytes.fromhex(GIVEN["salt"])
    parcel = bytes.fromhex(case["parcel"])
    masked = MaskedVector(parcel, committed, SketchProof(*roots, stated))
    assert last_checkpoint(linear_hash, masked) == last
    name = StatedHash(linear_hash, name_earlier(earlier))
    assert commitment_to(CONTEXT, name, masked) == committed
    walk = vector_walk(CODE, BOUNDS, claim_of(parcel))
    assert first_false(walk, made.content, [*earlier, last]) is None


@pytest.mark.parametrize("case", VECTORS["sum_lengths"], ids=fault)
def test_sums_of_another_length(case: dict[str, Any]) -> None:
    names = "committed", "root", "signature", "summed"
    committed, root, signature, summed = (bytes.fromhex(case[name]) for name in names)
    proof = WrongSumLength(summed, case["count"], committed, case["length"], root, signature)
    assert hashed(encode(proof)) == case["sha256"]
    if "error" not in case:
        check_wrong_sum(VERIFIED, CRYPTO, proof, case["teller"])
        return
    with pytest.raises(getattr(errors, case["error"]), match=case["says"]):
        check_wrong_sum(VERIFIED, CRYPTO, proof, case["teller"])
