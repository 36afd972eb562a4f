"""Golden values of verified masked contributions, and contributions that must be refused.

masked_verification.json holds hexadecimal values; long ones by their hash. The committee is k = 7,
f = 1, l = 2; an update of 1,500 values, entry j being (j mod 7) - 3, and the counts 2, 0, 3 of at
most 3. It is masked as in section 19 of docs/protocol.md, under the public seed 20..3f and the
context 00..1f, and judged by the challenge 40..5f. Negative cases hold one fault each and name the
error, or the rule of the verdict and who is off. Sums are of the same contribution twice over, and
`largest_sums` what centred sums at the ends of their range decode to.
`python -m tests.vectors.test_masked_verification_vectors` writes the file anew.
"""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from pnyx import errors
from pnyx.primitives.hashing import digest, merkle_root
from pnyx.protocol.aggregation import coefficients, direct, payloads, verification
from pnyx.protocol.aggregation.bounds import Bounds, layout
from pnyx.protocol.aggregation.encoding import FIELDS
from pnyx.protocol.aggregation.masked.coding import decode_signed
from pnyx.protocol.aggregation.masked.vectors import VectorCode, sum_vectors
from pnyx.protocol.aggregation.masked_verification import _kernels_numpy, proof, sketch
from pnyx.protocol.aggregation.masked_verification.bounds import MODULUS, choose_for, masks_of
from pnyx.protocol.aggregation.masked_verification.commitments import masked_claim
from pnyx.protocol.aggregation.masked_verification.key_weights import key_weights
from pnyx.protocol.aggregation.verdicts import judge_one
from pnyx.protocol.aggregation.verification import pack_answers
from pnyx.protocol.chunks import chunks_of, describe
from pnyx.protocol.selection import committee_size

FILE = Path(__file__).with_name("masked_verification.json")
VECTORS = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
SIZE = committee_size(7, 1, 2)
MASKED = choose_for(1000, 1500, 24, 6)
MASKS = masks_of(MASKED)
BOUNDS = Bounds(3, 0, 0, 3, 1, 0, None, 1024, 1, MASKED.norm_scaled)
CONTEXT, SEED, CHALLENGE = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))
CONTRIBUTOR = 9
UPDATE, COUNTS = np.arange(1500) % 7 - 3, np.array([2, 0, 3])


class Golden:
    """The contribution and what follows from it."""

    def __init__(self) -> None:
        self.code = VectorCode(MASKS, CONTEXT, MASKED.largest_sum)
        self.masked = self.code.mask(UPDATE, SEED, CONTEXT)
        self.parcel = describe(list(chunks_of(b"".join(self.masked.segments)))).name
        hidden, key = self.masked.hidden, self.masked.key[0]
        self.proven = proof.prove_masked(
            hidden, key, self.parcel, COUNTS, MASKED, BOUNDS, SIZE, SEED, CONTEXT
        )
        blocks = self.masked.blocks
        self.stated = sketch.stated_sketch(MASKS, MASKED, self.proven.sketched, blocks)
        self.claim = self.claims()
        public = self.code.public()
        self.weights = key_weights(self.claim, CHALLENGE, MASKED, BOUNDS, SIZE, public)

    def claims(self, context: bytes = CONTEXT) -> coefficients.Claim:
        """What the header claims in a context."""
        return masked_claim(
            CONTRIBUTOR,
            context,
            vector_root=self.parcel,
            key_root=self.proven.key_root,
            salt=self.proven.salt,
            shares_root=merkle_root(self.proven.payloads),
            published=self.proven.published,
            sketch=self.stated,
        )

    def shares(self) -> list[verification.FieldShares]:
        """Every member's share."""
        return [
            payloads.read_share(payload, member, self.claim, BOUNDS, SIZE)
            for member, payload in enumerate(self.proven.payloads)
        ]

    def answered(self, claim: coefficients.Claim) -> dict[int, np.ndarray]:
        """What every member answers for a claim, which may be false."""
        public = self.code.public()
        weights = key_weights(claim, CHALLENGE, MASKED, BOUNDS, SIZE, public)
        terms = (claim, CHALLENGE, BOUNDS, SIZE, weights)
        return {
            member: verification.answers(share, member, *terms)
            for member, share in enumerate(self.shares())
        }

    def summed(self) -> tuple[np.ndarray, np.ndarray]:
        """Update and counts of the sum of two such contributions, as a committee opens it."""
        length = verification.summed_length(BOUNDS, SIZE)
        widths = verification.key_widths(BOUNDS, SIZE)
        read = {}
        for member, share in enumerate(self.shares()):
            data = verification.sum_share([share, share], BOUNDS, SIZE)
            read[member] = direct.read_released(data, length, SIZE.packing, widths)
        decoded = direct.decode_sum(SIZE, read, length)
        total = b"".join(sum_vectors(MASKS, [iter(self.masked.segments) for _ in range(2)]))
        update = self.code.unmask(total, (decoded.keys[0][:1024],), 2)
        assert update is not None
        return update, verification.summed_vector(decoded.total, BOUNDS, SIZE)


@lru_cache(maxsize=1)
def golden() -> Golden:
    return Golden()


def decoded(value: int) -> int:
    """What a centred sum of three contributions decodes to. Raises DecodingError."""
    lifted = np.array([(value + 3 * MASKS.offset * MASKED.scale) % MODULUS], dtype=np.int64)
    found = np.zeros(1, dtype=np.int64)
    decode_signed(MASKS, lifted, 3, MASKED.largest_sum, found)
    return int(found[0])


def largest_sums() -> list[int]:
    """Decoded: nothing, what rounds to it and what does not, and both ends of the range."""
    reach, half = MASKED.largest_sum, MASKED.scale // 2
    return [decoded(v) for v in (0, 1, -1, half - 1, half, -half, -half - 1, reach, -reach)]


def hashed(values: np.ndarray, kind: str = "<i8") -> bytes:
    return digest("vector", values.astype(kind).tobytes())


def computed() -> dict[str, str]:
    """Every golden value, in hexadecimal."""
    made, plan = golden(), layout(BOUNDS, SIZE)
    drawn = coefficients.weights(made.claim, CHALLENGE, BOUNDS, plan.repetitions)
    found = sketch.Sketch(made.claim.sketched)
    hidden_sketch = found.apply(made.masked.hidden)
    digits = proof.digits_of(hidden_sketch, MASKED)
    assert digits is not None
    limits = [MASKED.digit, *MASKED.thresholds, BOUNDS.mask_width, plan.repetitions]
    numbers = [MASKED.norm_max, MASKED.scale, MASKED.entry_max, MASKED.largest_sum, *limits]
    update, counts = made.summed()
    answered, share = made.answered(made.claim), made.shares()[4]
    values = {
        "norm_scale_entry_reach_digit_thresholds_mask_width_repetitions": np.array(
            numbers, dtype="<u4"
        ).tobytes(),
        "key": hashed(made.masked.key[0]),
        "hidden_vector": hashed(np.stack(made.masked.hidden), "<i4"),
        "masked_vector": digest("vector", *made.masked.segments),
        "linear_hash": digest("vector", made.masked.linear_hash),
        "parcel": made.parcel,
        "key_root": made.proven.key_root,
        "salt": made.proven.salt,
        "sketch_commitment": made.claim.sketched,
        "sketch_codes_of_block_0": hashed(found.codes(0), "<u2"),
        "sketch_of_hidden_vector": hashed(hidden_sketch),
        "upper_digits": hashed(digits[0]),
        "lower_digits": hashed(digits[1]),
        "short_integers": hashed(verification.short_integers(COUNTS, BOUNDS, SIZE, digits)),
        "shares_root": merkle_root(made.proven.payloads),
        "commitment": made.claim.commitment,
        "published": digest("vector", made.proven.published),
        "sketch_of_masked_vector": digest("vector", made.stated),
        "payload_of_member_0": made.proven.payloads[0],
        "payload_of_member_4": digest("vector", made.proven.payloads[4]),
        "payloads": digest("vector", *made.proven.payloads),
        "kappa": hashed(drawn.kappa),
        "rho": hashed(drawn.rho),
        "taus": hashed(drawn.taus),
        "key_weights": hashed(made.weights, "<u4"),
        "answers_of_member_0": pack_answers([answered[0]]),
        "answers_of_member_4": pack_answers([answered[4]]),
        "summed_share_of_member_4": digest(
            "vector", verification.sum_share([share, share], BOUNDS, SIZE)
        ),
        "sum_of_two_updates": hashed(update),
        "sum_of_two_counts": counts.astype("<i8").tobytes(),
        "largest_sums": np.array(largest_sums(), dtype="<i8").tobytes(),
    }
    return {name: value.hex() for name, value in values.items()}


def read(changed: bytes, member: int = 4) -> None:
    """Read what member 4 was dealt, changed."""
    payloads.read_share(changed, member, golden().claim, BOUNDS, SIZE)


def dealt(member: int = 4) -> bytes:
    return golden().proven.payloads[member]


def in_key(payload: bytes) -> bytes:
    """Another key share: its last element is zero. A proof of three hashes follows it."""
    body = len(payload) - 3 * 32
    return payload[: body - 4] + bytes(4) + payload[body:]


READING = {
    "payload too short": lambda: read(dealt()[:-1]),
    "share not below the prime": lambda: read(dealt()[:16] + b"\xff" * 4 + dealt()[20:]),
    "key share of another key": lambda: read(in_key(dealt())),
    "proof of the key share altered": lambda: read(dealt()[:-1] + bytes([dealt()[-1] ^ 1])),
    "seed of another member": lambda: read(dealt(0), 1),
    "sketch not below the prime": lambda: verification.check_sketch(b"\xff" * 1024, BOUNDS),
    "sketch too short": lambda: verification.check_sketch(golden().stated[:-4], BOUNDS),
    "sum beyond what verified contributions come to": lambda: decoded(-MASKED.largest_sum - 1),
}


def one_more() -> coefficients.Claim:
    """The claim with another entry 7 of its sketch."""
    stated = FIELDS[0].unpack(golden().stated, 256)
    stated[7] = (stated[7] + 1) % MODULUS
    return replace(golden().claim, sketch=FIELDS[0].pack(stated))


def too_long() -> coefficients.Claim:
    """The claim with an entry of v beyond its bound."""
    long = (BOUNDS.published_max + 1).to_bytes(4, "little")
    return replace(golden().claim, published=long + golden().claim.published[4:])


CLAIMING = {
    "none": lambda: golden().claim,
    "published entry too large": too_long,
    "one entry of the sketch changed": one_more,
    "another context": lambda: golden().claims(SEED),
    "another published vector": lambda: replace(golden().claim, published=bytes(1024)),
}
LYING = {"one member answers wrongly": (2,), "two members answer wrongly": (2, 3)}
FAULTS = (*READING, *CLAIMING, *LYING)


def refused(fault: str) -> str:
    """The error, or the rule, that one fault leads to."""
    if fault in READING:
        try:
            READING[fault]()
        except errors.PnyxError as error:
            return type(error).__name__
        return "accepted"
    claim = CLAIMING[fault]() if fault in CLAIMING else golden().claim
    given = golden().answered(claim)
    for member in LYING.get(fault, ()):
        given[member] = given[member] ^ 1
    found = judge_one(SIZE, BOUNDS, claim, CHALLENGE, given)
    off = f", off {sorted(found.off)}" if found.off else ""
    return ("accepted" if found.rule is None else found.rule.name) + off


def test_golden_values():
    assert computed() == VECTORS["values"]


def test_golden_values_by_the_loops_of_numpy(monkeypatch):
    monkeypatch.setattr(sketch, "kernels", lambda: _kernels_numpy)
    golden.cache_clear()
    assert computed() == VECTORS["values"]


def test_the_sum_is_right():
    update, counts = golden().summed()
    assert update.tolist() == (2 * UPDATE).tolist()
    assert counts.tolist() == (2 * COUNTS).tolist()
    assert largest_sums()[:7] == [0, 0, 0, 0, 1, 0, -1]
    last = (MASKED.largest_sum + MASKED.scale // 2) // MASKED.scale
    assert largest_sums()[7:] == [last, -last]


def test_the_sketch_is_that_of_the_definition():
    """P·z entry by entry, in Python's integers."""
    made = golden()
    found = sketch.Sketch(made.claim.sketched)
    codes, rows = found.codes(0), found._rows
    hidden = np.concatenate([block.reshape(-1) for block in made.masked.hidden])
    tables: dict[tuple[int, int], int] = {}
    for entry in np.flatnonzero(hidden):
        for table in range(8):
            code = int(codes[table, entry])
            place, sign = (table, code & 0xFFF), -1 if code >> 12 & 1 else 1
            tables[place] = tables.get(place, 0) + sign * int(hidden[entry])
    wanted = [0] * 256
    for (table, bucket), value in tables.items():
        for block in range(8):
            code = int(rows[block, table * 4096 + bucket])
            wanted[32 * block + (code & 31)] += -value if code >> 5 & 1 else value
    assert found.apply(made.masked.hidden).tolist() == wanted


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
