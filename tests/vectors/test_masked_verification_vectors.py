"""Golden values of verified masked contributions, and contributions that must be refused.

masked_verification.json holds hexadecimal values; long ones by their hash. The committee is k = 7,
f = 1, l = 2; an update of 1,500 values, entry j being (j mod 7) - 3, is masked with errors
(j mod 9) - 4 under the public seed 00..1f and a key drawn from it. Negative cases hold one fault
each and name the error, or the rule of the verdict.
`python -m tests.vectors.test_masked_verification_vectors` writes the file anew.
"""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from pnyx import errors
from pnyx.primitives.hashing import digest, merkle_root
from pnyx.primitives.ring import expand_public
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation.masked_verification import (
    _kernels_numpy,
    answers,
    payloads,
    proof,
    sketch,
    verdicts,
)
from pnyx.protocol.aggregation.masked_verification.bounds import (
    BLOCK,
    MODULUS,
    RING_DEGREE,
    MaskedBounds,
    layout,
)
from pnyx.protocol.aggregation.verification import pack_answers
from pnyx.protocol.selection import committee_size

FILE = Path(__file__).with_name("masked_verification.json")
VECTORS = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
SIZE = committee_size(7, 1, 2)
BOUNDS = MaskedBounds(1500, 4096, 1024, 24, 6, 512)
CONTEXT, SEED, CHALLENGE = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))
CONTRIBUTOR = 9


class Golden:
    """The contribution and what follows from it."""

    def __init__(self) -> None:
        places = np.arange(BOUNDS.coefficients)
        values = np.where(places < BOUNDS.length, places % 7 - 3, 0)
        hidden = np.zeros(BLOCK, dtype=np.int32)
        hidden[: BOUNDS.coefficients] = BOUNDS.scale * values + places % 9 - 4
        self.hidden = hidden.reshape(1, RING_DEGREE, -1)
        self.public = expand_public(answers.RING, CONTEXT, 1)
        key = Sampler(CONTEXT, "vectors/key").field_elements(MODULUS, RING_DEGREE)
        self.vector = answers.RING.mask(self.public, key.astype(np.uint32))
        answers.RING.add_signed_into(self.vector, self.hidden.astype(np.int64), 1)
        self.vector.reshape(-1)[BOUNDS.coefficients :] = 0
        root = merkle_root([self.vector.astype("<u4").tobytes()])
        self.proven = proof.prove(self.hidden, key, root, BOUNDS, SIZE, SEED, CONTEXT)
        self.claim = payloads.claim(
            CONTRIBUTOR, CONTEXT, self.proven.binding, self.proven.published
        )
        self.sketch = verdicts.masked_sketch(self.claim, self.vector, BOUNDS)
        self.key_row = answers.key_weights(self.claim, CHALLENGE, BOUNDS, SIZE, self.public)

    def answered(self) -> dict[int, dict[int, np.ndarray]]:
        """What every member answers."""
        found = {}
        for member, payload in enumerate(self.proven.payloads):
            share = payloads.read_payload(payload, member, BOUNDS, SIZE)
            given = answers.answers(
                share, member, self.claim, CHALLENGE, self.key_row, BOUNDS, SIZE
            )
            found[member] = {CONTRIBUTOR: given}
        return found


@lru_cache(maxsize=1)
def golden() -> Golden:
    return Golden()


def computed() -> dict[str, str]:
    """Every golden value, in hexadecimal."""
    made = golden()
    binding, plan = made.proven.binding, layout(BOUNDS, SIZE)
    share = payloads.read_payload(made.proven.payloads[4], 4, BOUNDS, SIZE)
    numbers = [BOUNDS.digit, *BOUNDS.thresholds, BOUNDS.range_step.mask_width, plan.repetitions]
    values = {
        "masked_vector": digest("vector", made.vector.astype("<u4").tobytes()),
        "digit_thresholds_mask_width_repetitions": np.array(numbers, dtype="<u4").tobytes(),
        "key_root": binding.key_root,
        "salt": binding.salt,
        "shares_root": binding.shares_root,
        "sketch_commitment": made.claim.sketched,
        "commitment": made.claim.commitment,
        "published": digest("vector", made.proven.published),
        "payload_of_member_0": made.proven.payloads[0],
        "payload_of_member_4": digest("vector", made.proven.payloads[4]),
        "payloads": digest("vector", *made.proven.payloads),
        "sketch_of_hidden_vector": digest(
            "vector", proof.Sketch(made.claim.sketched).apply(made.hidden).astype("<i8").tobytes()
        ),
        "sketch_of_masked_vector": digest("vector", verdicts.pack_sketch(made.sketch)),
        "key_weights": digest("vector", made.key_row.astype("<u4").tobytes()),
        "answers_of_member_0": pack_answers([made.answered()[0][CONTRIBUTOR]]),
        "answers_of_member_4": pack_answers([made.answered()[4][CONTRIBUTOR]]),
        "key_share_of_member_4": digest(
            "vector", payloads.key_shares(share, plan).astype("<u4").tobytes()
        ),
    }
    return {name: value.hex() for name, value in values.items()}


def refused(fault: str) -> str:
    """The error, or the rule, that one fault leads to."""
    made = golden()
    payload, key_proof = made.proven.payloads[4], made.proven.key_proofs[4]
    claim, published, given = made.claim, made.sketch.copy(), made.answered()
    try:
        match fault:
            case "payload too short":
                payloads.read_payload(payload[:-1], 4, BOUNDS, SIZE)
            case "share not below the prime":
                payloads.read_payload(payload[:16] + b"\xff" * 4 + payload[20:], 4, BOUNDS, SIZE)
            case "key share of another key":
                other = payload[:16] + bytes(4) + payload[20:]
                binding = made.proven.binding
                payloads.check_key_shares(other, 4, key_proof, binding, BOUNDS, SIZE)
            case "sketch not below the prime":
                verdicts.read_sketch(b"\xff" * 1024)
            case "published entry too large":
                long = (BOUNDS.range_step.published_max + 1).to_bytes(4, "little")
                claim = payloads.Claim(
                    CONTRIBUTOR, claim.sketched, claim.commitment, long + claim.published[4:]
                )
            case "one entry of the sketch changed":
                published[7] = (published[7] + 1) % MODULUS
            case "another context":
                claim = payloads.claim(CONTRIBUTOR, SEED, made.proven.binding, claim.published)
            case "two members answer wrongly":
                for member in (2, 3):
                    given[member][CONTRIBUTOR] = given[member][CONTRIBUTOR] ^ 1
    except errors.ProtocolError as error:
        return type(error).__name__
    found = verdicts.judge(SIZE, BOUNDS, [claim], {CONTRIBUTOR: published}, CHALLENGE, given)[
        CONTRIBUTOR
    ]
    return "accepted" if found.rule is None else found.rule.name


FAULTS = (
    "none",
    "payload too short",
    "share not below the prime",
    "key share of another key",
    "sketch not below the prime",
    "published entry too large",
    "one entry of the sketch changed",
    "another context",
    "two members answer wrongly",
)


def test_golden_values():
    assert computed() == VECTORS["values"]


def test_golden_values_by_the_loops_of_numpy(monkeypatch):
    monkeypatch.setattr(sketch, "kernels", lambda: _kernels_numpy)
    golden.cache_clear()
    assert computed() == VECTORS["values"]


@pytest.mark.parametrize("case", VECTORS.get("negative", []), ids=lambda case: case["fault"])
def test_faults(case):
    assert refused(case["fault"]) == case["outcome"]


def test_every_fault_is_in_the_file():
    assert tuple(case["fault"] for case in VECTORS["negative"]) == FAULTS


def write() -> None:
    """Write the file anew."""
    negative = [{"fault": fault, "outcome": refused(fault)} for fault in FAULTS]
    text = json.dumps({"values": computed(), "negative": negative}, indent=2)
    FILE.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
