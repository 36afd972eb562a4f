"""A verified update of two blocks: pnyx agrees with `masked_verification_long.json`.

Long arrays are in the file by their hashes; `test_masked_verification_vectors.py` goes through the
same steps with a short update, bytes shown, and through what is refused whatever the length.
"""

import json
import runpy
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.masked import check_sum
from tests.support.verified_vectors import Given

from pnyx.primitives.hashing import merkle_root
from pnyx.protocol.aggregation import coefficients, direct, payloads, verification
from pnyx.protocol.aggregation.masked.checkpoints import checkpoint, commit_all
from pnyx.protocol.aggregation.masked.vectors import MaskedUpdate, sum_vectors
from pnyx.protocol.aggregation.masked_verification import _kernels_numpy, proof, sketch
from pnyx.protocol.aggregation.masked_verification.bounds import BLOCK
from pnyx.protocol.aggregation.masked_verification.commitments import masked_claim
from pnyx.protocol.aggregation.masked_verification.key_weights import key_weights
from pnyx.protocol.aggregation.verdicts import judge_one
from pnyx.protocol.round.vectors import parcel_named

FOLDER = Path(__file__).parent
VECTORS = json.loads((FOLDER / "masked_verification_long.json").read_text(encoding="utf-8"))
GIVEN, STEPS = VECTORS["given"], VECTORS["steps"]

TAKEN = Given(GIVEN)
SIZE, MASKS, MASKED, BOUNDS = TAKEN.size, TAKEN.masks, TAKEN.masked, TAKEN.bounds
CODE = TAKEN.code
CHALLENGE, CONTEXT = bytes.fromhex(GIVEN["challenge"]), bytes.fromhex(GIVEN["contributor_context"])
UPDATE, COUNTS = np.arange(MASKS.length) % 7 - 3, np.array(GIVEN["counts"])


def in_file(name: str) -> bytes:
    return bytes.fromhex(STEPS[name])


def hashed(values: Any, kind: str = "<i4") -> str:
    return sha256(np.asarray(values).astype(kind).tobytes()).hexdigest()


def hashes(data: Sequence[bytes]) -> list[str]:
    return [sha256(each).hexdigest() for each in data]


@lru_cache(maxsize=1)
def masked() -> MaskedUpdate:
    return CODE.mask(UPDATE, bytes.fromhex(GIVEN["seed"]), CONTEXT)


@lru_cache(maxsize=1)
def proven() -> proof.MaskedProof:
    return proof.prove_masked(
        masked().hidden,
        masked().key[0],
        in_file("parcel"),
        COUNTS,
        MASKED,
        BOUNDS,
        SIZE,
        bytes.fromhex(GIVEN["seed"]),
        CONTEXT,
        vector=masked().blocks,
        offset=sketch.offset_of(MASKS),
    )


def claim(stated: bytes) -> coefficients.Claim:
    """What a header with this sketch of the masked vector claims."""
    return masked_claim(
        GIVEN["contributor"],
        CONTEXT,
        vector_root=in_file("parcel"),
        key_root=in_file("key_root"),
        salt=in_file("salt"),
        shares_root=in_file("shares_root"),
        published=proven().published,
        sketch=stated,
    )


def share(member: int) -> verification.FieldShares:
    own = proven().payloads[member]
    return payloads.read_share(own, member, claim(proven().sketch), BOUNDS, SIZE)


def weights_of(stated: coefficients.Claim) -> np.ndarray:
    return key_weights(stated, CHALLENGE, MASKED, BOUNDS, SIZE, CODE.public())


def answered(stated: coefficients.Claim) -> dict[int, Any]:
    weights = weights_of(stated)
    return {
        member: verification.answers(
            share(member), member, stated, CHALLENGE, BOUNDS, SIZE, weights
        )
        for member in range(GIVEN["members"])
    }


def test_the_file_is_that_of_the_reference() -> None:
    changed = {"LENGTH": MASKS.length}
    reference = runpy.run_path(str(FOLDER / "verified_reference.py"), init_globals=changed)
    assert reference["long_vectors"]() == VECTORS


def test_masking() -> None:
    assert (MASKED.blocks, BLOCK) == (2, 32_768)
    assert hashed(UPDATE, "<i8") == GIVEN["update_sha256"]
    assert hashed(masked().key[0]) == STEPS["key_sha256"]
    hidden = np.concatenate([block.reshape(-1) for block in masked().hidden])
    assert hashed(hidden[: MASKED.coefficients]) == STEPS["hidden_sha256"]
    assert not hidden[MASKED.coefficients :].any()
    assert hashes(masked().segments) == [STEPS["segment_sha256"]]
    assert hashes([masked().linear_hash]) == [STEPS["linear_hash_sha256"]]
    assert parcel_named(masked().segments[0]) == in_file("parcel")


@pytest.mark.parametrize("loops", ["compiled", "numpy"])
def test_sketch(loops: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every chunk has codes of its own."""
    if loops == "numpy":
        monkeypatch.setattr(sketch, "kernels", lambda: _kernels_numpy)
    found = sketch.Sketch(in_file("sketch_commitment"))
    for chunk, wanted in enumerate(STEPS["codes_sha256"]):
        codes = found.codes(chunk)[:, : MASKED.sent(chunk)] & 0x1FFF
        assert hashed(codes, "<i2") == wanted
    applied = found.apply(masked().hidden)
    assert hashed(applied, "<i8") == STEPS["sketch_of_hidden_sha256"]
    digits = proof.digits_of(applied, MASKED)
    assert digits is not None
    for name, each in zip(("upper", "lower"), digits, strict=True):
        assert hashed(each, "<i8") == STEPS[f"{name}_sha256"]
    short = verification.short_integers(COUNTS, BOUNDS, SIZE, digits)
    assert hashed(short) == STEPS["short_sha256"]
    stated = sketch.stated_sketch(MASKS, MASKED, in_file("sketch_commitment"), masked().blocks)
    assert hashes([stated]) == [STEPS["sketch_of_masked_sha256"]]
    assert hashed(weights_of(claim(stated))) == STEPS["key_weights_sha256"]


def test_proof() -> None:
    made = proven()
    assert hashes(made.payloads) == STEPS["payloads_sha256"]
    assert merkle_root(made.payloads) == in_file("shares_root")
    assert (made.key_root, made.salt) == (in_file("key_root"), in_file("salt"))
    assert made.sketched == claim(made.sketch).sketched == in_file("sketch_commitment")
    assert hashes([made.published]) == [STEPS["published_sha256"]]
    assert hashes([made.sketch]) == [STEPS["sketch_of_masked_sha256"]]
    assert claim(made.sketch).commitment == in_file("commitment")
    last = checkpoint(masked().linear_hash, made.sketch)
    assert last == in_file("checkpoint")
    assert commit_all(CODE.context, [last]) == in_file("committed")


def test_verdict() -> None:
    given = answered(claim(proven().sketch))
    packed = [verification.pack_answers([each]) for each in given.values()]
    assert hashes(packed) == STEPS["answers_sha256"]
    found = judge_one(SIZE, BOUNDS, claim(proven().sketch), CHALLENGE, given)
    assert found.rule is None
    assert STEPS["verdict"] == "accepted"
    assert not found.off


@pytest.mark.parametrize(
    "case", VECTORS["judged"], ids=lambda case: case["fault"].replace(" ", "-")
)
def test_judged(case: dict[str, Any]) -> None:
    """A sketch of less than the whole vector, or of another one, is not linked to its key."""
    stated = claim(bytes.fromhex(case["sketch_of_masked"]))
    found = judge_one(SIZE, BOUNDS, stated, CHALLENGE, answered(stated))
    assert found.rule is not None
    assert found.rule.name == case["verdict"]
    assert sorted(found.off) == case["off"]


def test_sum() -> None:
    length = verification.summed_length(BOUNDS, SIZE)
    widths = verification.key_widths(BOUNDS, SIZE)
    shares = [
        verification.sum_share([share(member)] * 2, BOUNDS, SIZE)
        for member in range(GIVEN["members"])
    ]
    assert hashes(shares) == STEPS["summed_shares_sha256"]
    read = {
        member: direct.read_released(each, length, SIZE.packing, widths)
        for member, each in enumerate(shares)
    }
    opened = direct.decode_sum(SIZE, read, length)
    counts = verification.summed_vector(opened.total, BOUNDS, SIZE)
    assert counts.tolist() == STEPS["sum_of_two_counts"]
    total = b"".join(sum_vectors(MASKS, [iter(masked().segments) for _ in range(2)]))
    check_sum(CODE, total, [masked().linear_hash] * 2)
    update = CODE.unmask(total, (opened.keys[0][: MASKS.degree],), 2)
    assert update is not None
    assert hashed(update, "<i8") == STEPS["sum_of_two_updates_sha256"]
    assert update.tolist() == (2 * UPDATE).tolist()
