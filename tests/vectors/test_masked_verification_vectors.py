"""Pnyx agrees with the vectors of verified masked contributions, and they with their reference."""

import json
import runpy
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.verified_vectors import Given

from pnyx import errors
from pnyx.primitives.hashing import merkle_root
from pnyx.protocol.aggregation import coefficients, direct, payloads, verification
from pnyx.protocol.aggregation.bounds import layout
from pnyx.protocol.aggregation.masked.checkpoints import checkpoint, commit_all
from pnyx.protocol.aggregation.masked.coding import decode_signed
from pnyx.protocol.aggregation.masked.vectors import MaskedUpdate, sum_vectors
from pnyx.protocol.aggregation.masked_verification import _kernels_numpy, proof, sketch
from pnyx.protocol.aggregation.masked_verification.bounds import MODULUS
from pnyx.protocol.aggregation.masked_verification.commitments import masked_claim
from pnyx.protocol.aggregation.masked_verification.key_weights import key_weights
from pnyx.protocol.aggregation.verdicts import judge_one
from pnyx.protocol.chunks import chunks_of, describe

FOLDER = Path(__file__).parent
VECTORS = json.loads((FOLDER / "masked_verification.json").read_text(encoding="utf-8"))
GIVEN, STEPS = VECTORS["given"], VECTORS["steps"]

TAKEN = Given(GIVEN)
SIZE, MASKS, MASKED, BOUNDS = TAKEN.size, TAKEN.masks, TAKEN.masked, TAKEN.bounds
CODE = TAKEN.code
CHALLENGE, CONTEXT = bytes.fromhex(GIVEN["challenge"]), bytes.fromhex(GIVEN["contributor_context"])
UPDATE, COUNTS = np.array(GIVEN["update"]), np.array(GIVEN["counts"])
PAYLOADS = [bytes.fromhex(each) for each in STEPS["payloads"]]


def in_file(name: str) -> bytes:
    return bytes.fromhex(STEPS[name])


def hashed(values: np.ndarray, kind: str = "<i4") -> str:
    return sha256(values.astype(kind).tobytes()).hexdigest()


@lru_cache(maxsize=1)
def masked() -> MaskedUpdate:
    return CODE.mask(UPDATE, bytes.fromhex(GIVEN["seed"]), CONTEXT)


def prove() -> proof.MaskedProof:
    key, seed = masked().key[0], bytes.fromhex(GIVEN["seed"])
    return proof.prove_masked(
        masked().hidden,
        key,
        in_file("parcel"),
        COUNTS,
        MASKED,
        BOUNDS,
        SIZE,
        seed,
        CONTEXT,
        vector=masked().blocks,
        offset=sketch.offset_of(MASKS),
    )


def claim() -> coefficients.Claim:
    """What the header of the file's contribution claims."""
    return masked_claim(
        GIVEN["contributor"],
        CONTEXT,
        vector_root=in_file("parcel"),
        key_root=in_file("key_root"),
        salt=in_file("salt"),
        shares_root=in_file("shares_root"),
        published=in_file("published"),
        sketch=in_file("sketch_of_masked"),
    )


def share(member: int) -> verification.FieldShares:
    return payloads.read_share(PAYLOADS[member], member, claim(), BOUNDS, SIZE)


def test_the_file_is_that_of_the_reference() -> None:
    assert runpy.run_path(str(FOLDER / "verified_reference.py"))["vectors"]() == VECTORS


def test_sizes() -> None:
    plan = layout(BOUNDS, SIZE)
    assert (STEPS["norm"], STEPS["digit"]) == (MASKED.norm_scaled, MASKED.digit)
    assert STEPS["thresholds"] == list(MASKED.thresholds)
    assert STEPS["mask_width"] == BOUNDS.mask_width
    assert STEPS["published_max"] == BOUNDS.published_max
    assert STEPS["repetitions"] == plan.repetitions
    assert STEPS["reach"] == MASKED.largest_sum


def test_masking() -> None:
    assert masked().key[0].tolist() == STEPS["key"]
    hidden = np.concatenate([block.reshape(-1) for block in masked().hidden])
    assert hidden[: MASKED.coefficients].tolist() == STEPS["hidden"]
    assert not hidden[MASKED.coefficients :].any()
    [segment] = masked().segments
    assert segment == in_file("segment")
    assert sha256(masked().linear_hash).hexdigest() == STEPS["linear_hash_sha256"]
    assert describe(list(chunks_of(segment))).name == in_file("parcel")


@pytest.mark.parametrize("loops", ["compiled", "numpy"])
def test_sketch(loops: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if loops == "numpy":
        monkeypatch.setattr(sketch, "kernels", lambda: _kernels_numpy)
    found = sketch.Sketch(in_file("sketch_commitment"))
    codes = found.codes(0)[:, : MASKED.coefficients] & 0x1FFF
    assert hashed(codes, "<i2") == STEPS["codes_sha256"]
    applied = found.apply(masked().hidden)
    assert applied.tolist() == STEPS["sketch_of_hidden"]
    digits = proof.digits_of(applied, MASKED)
    assert digits is not None
    assert [each.tolist() for each in digits] == [STEPS["upper"], STEPS["lower"]]
    short = verification.short_integers(COUNTS, BOUNDS, SIZE, digits)
    assert hashed(short) == STEPS["short_sha256"]
    stated = sketch.stated_sketch(MASKS, MASKED, in_file("sketch_commitment"), masked().blocks)
    assert stated == in_file("sketch_of_masked")
    weights = key_weights(claim(), CHALLENGE, MASKED, BOUNDS, SIZE, CODE.public())
    assert hashed(weights) == STEPS["key_weights_sha256"]


def test_proof() -> None:
    made = prove()
    assert made.payloads == tuple(PAYLOADS)
    assert merkle_root(made.payloads) == in_file("shares_root")
    assert (made.key_root, made.salt) == (in_file("key_root"), in_file("salt"))
    assert made.sketched == claim().sketched == in_file("sketch_commitment")
    assert (made.published, made.sketch) == (in_file("published"), in_file("sketch_of_masked"))
    assert claim().commitment == in_file("commitment")
    last = checkpoint(masked().linear_hash, made.sketch)
    assert last == in_file("checkpoint")
    assert commit_all(CODE.context, [last]) == in_file("committed")


def test_weights() -> None:
    drawn = coefficients.weights(claim(), CHALLENGE, BOUNDS, STEPS["repetitions"])
    assert drawn.taus.tolist() == STEPS["taus"]
    assert (hashed(drawn.rho), hashed(drawn.kappa)) == (STEPS["rho_sha256"], STEPS["kappa_sha256"])


def test_sum() -> None:
    length = verification.summed_length(BOUNDS, SIZE)
    widths = verification.key_widths(BOUNDS, SIZE)
    read = {}
    for member, wanted in enumerate(STEPS["summed_shares"]):
        data = verification.sum_share([share(member)] * 2, BOUNDS, SIZE)
        assert data.hex() == wanted
        read[member] = direct.read_released(data, length, SIZE.packing, widths)
    opened = direct.decode_sum(SIZE, read, length)
    counts = verification.summed_vector(opened.total, BOUNDS, SIZE)
    assert counts.tolist() == STEPS["sum_of_two_counts"] == (2 * COUNTS).tolist()
    total = b"".join(sum_vectors(MASKS, [iter([in_file("segment")]) for _ in range(2)]))
    update = CODE.unmask(total, (opened.keys[0][: MASKS.degree],), 2)
    assert update is not None
    assert update.tolist() == STEPS["sum_of_two_updates"] == (2 * UPDATE).tolist()


def decoded(value: int) -> int:
    """What a centred sum of three contributions decodes to. Raises DecodingError."""
    lifted = np.array([(value + 3 * MASKS.offset * MASKED.scale) % MODULUS], dtype=np.int64)
    found = np.zeros(1, dtype=np.int64)
    decode_signed(MASKS, lifted, 3, MASKED.largest_sum, found)
    return int(found[0])


def test_sums_are_decoded_up_to_their_reach() -> None:
    for case in VECTORS["sums"]["decoded"]:
        assert decoded(case["sum"]) == case["decoded"]
    for case in VECTORS["sums"]["refused"]:
        with pytest.raises(getattr(errors, case["error"])):
            decoded(case["sum"])


def fault(case: dict[str, Any]) -> str:
    return case["fault"].replace(" ", "-")


@pytest.mark.parametrize("case", VECTORS["unreadable"], ids=fault)
def test_unreadable(case: dict[str, Any]) -> None:
    readers = {
        "payload": lambda data: payloads.read_share(data, case["member"], claim(), BOUNDS, SIZE),
        "sketch": lambda data: verification.check_sketch(data, BOUNDS),
    }
    with pytest.raises(getattr(errors, case["error"])):
        readers[case["reader"]](bytes.fromhex(case["data"]))


@pytest.mark.parametrize("case", VECTORS["judged"], ids=fault)
def test_judged(case: dict[str, Any]) -> None:
    """Members answer from their payloads what the file says, and the verdict is the file's."""
    stated = coefficients.Claim(
        GIVEN["contributor"],
        bytes.fromhex(case["commitment"]),
        bytes.fromhex(case["published"]),
        bytes.fromhex(case["sketch_commitment"]),
        in_file("key_root"),
        bytes.fromhex(case["sketch_of_masked"]),
    )
    weights = key_weights(stated, CHALLENGE, MASKED, BOUNDS, SIZE, CODE.public())
    given = {}
    for name, answer in case["answers"].items():
        member, read = int(name), verification.read_answers(bytes.fromhex(answer), 1, SIZE)[0]
        own = verification.answers(share(member), member, stated, CHALLENGE, BOUNDS, SIZE, weights)
        assert np.array_equal(own, read) == (member not in case["answered_otherwise"])
        given[member] = read
    found = judge_one(SIZE, BOUNDS, stated, CHALLENGE, given)
    assert ("accepted" if found.rule is None else found.rule.name) == case["verdict"]
    assert sorted(found.off) == case["off"]
