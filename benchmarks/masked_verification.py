"""Cost of verified masked contributions, beside plain masking and a pass of AES over the bytes.

For updates of 10^5 and 10^6 values, clipped to 0.9 of the bound, and two committees: what a
contributor does more than mask (the proof, with P·y of its vector after each segment), what an
aggregator does for one contribution (P·y and linear hash after each segment), what a member does
(what multiplies the key in all repetitions, and given that its answers, coefficients included), and
judging thirty contributions. Milliseconds of thread CPU time; steps take turns in one run. `prove`
draws about three masks, so its mean counts, over as many seeds.
"""

import time
from collections.abc import Callable
from statistics import mean, median

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from msgspec.structs import replace

from pnyx.primitives.hashing import HASH_BYTES, digest, merkle_root
from pnyx.primitives.ring import LANES, LinearHash, expand_public, gaussian_errors
from pnyx.protocol.aggregation.bounds import cheating_log2, layout
from pnyx.protocol.aggregation.encoding import FIELDS
from pnyx.protocol.aggregation.masked_verification.bounds import (
    BLOCK,
    ERROR_WIDTH,
    GROUP,
    MODULUS,
    RING_DEGREE,
    MaskedBounds,
    passing_probability,
)
from pnyx.protocol.aggregation.masked_verification.commitments import masked_claim
from pnyx.protocol.aggregation.masked_verification.key_weights import RING, key_weights
from pnyx.protocol.aggregation.masked_verification.proof import MaskedProof, prove_masked
from pnyx.protocol.aggregation.masked_verification.sketch import Sketch, masked_sketch
from pnyx.protocol.aggregation.payloads import read_share
from pnyx.protocol.aggregation.verdicts import judge
from pnyx.protocol.aggregation.verification import (
    ELEMENT_BYTES,
    PUBLISHED_BYTES,
    answer_count,
    answers,
)
from pnyx.protocol.selection import CommitteeSize, committee_size

LENGTHS = (100_000, 1_000_000)
SIZES = (committee_size(24, 4, 2, 4), committee_size(64, 12, 4, 9))
CONTRIBUTORS = 30
CHALLENGE = b"c" * 32
CONTEXT = b"benchmark"
ENVELOPE_BYTES = 48  # HPKE: an encapsulated key and a tag
RESIDUE_BITS = 27
SEGMENT_BLOCKS = 8  # of a masked vector in this ring
REPEATS = 15

Steps = dict[str, Callable[[int], object]]


def milliseconds(steps: Steps) -> dict[str, dict[str, float]]:
    """Median and mean CPU milliseconds of each step; the steps take turns."""
    samples: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(REPEATS + 1):
        for name, act in steps.items():
            start = time.thread_time_ns()
            act(turn)
            if turn:  # the first warms up
                samples[name].append((time.thread_time_ns() - start) / 1e6)
    return {
        name: {"median_ms": round(median(each), 3), "mean_ms": round(mean(each), 3)}
        for name, each in samples.items()
    }


class Contribution:
    """One contribution, and everything that it takes to make and verify it."""

    def __init__(self, length: int, size: CommitteeSize) -> None:
        self.masked = MaskedBounds(length, 4096, 1024, 24, 6, 512)
        self.bounds = self.masked.alone
        self.size, self.plan = size, layout(self.bounds, size)
        generator = np.random.default_rng(1)
        update = np.zeros(self.masked.blocks * BLOCK)
        update[:length] = generator.normal(size=length)
        update *= 0.99 * self.masked.clip_max / np.linalg.norm(update)
        self.values = np.rint(update).astype(np.int64).reshape(-1, RING_DEGREE, LANES)
        self.public = expand_public(RING, bytes(32), self.masked.blocks)
        self.key = generator.integers(0, MODULUS, RING_DEGREE).astype(np.uint32)
        self.hidden = (self.masked.scale * self.values + self.errors()).astype(np.int32)
        self.vector = RING.mask(self.public, self.key)
        RING.add_signed_into(self.vector, self.hidden.astype(np.int64), 1)
        self.root = merkle_root([block.tobytes() for block in self.vector])
        self.proven = self.prove(0)
        assert self.proven.sketch == self.sketch()
        self.claim = masked_claim(
            3,
            CONTEXT,
            vector_root=self.root,
            key_root=self.proven.key_root,
            salt=self.proven.salt,
            shares_root=merkle_root(self.proven.payloads),
            published=self.proven.published,
            sketch=self.sketch(),
        )
        self.shares = [
            read_share(payload, member, self.claim, self.bounds, size)
            for member, payload in enumerate(self.proven.payloads)
        ]
        self.key_row = self.key_weights(CHALLENGE)

    def sketch(self) -> bytes:
        """P·y, as a header states it."""
        return FIELDS[0].pack(masked_sketch(self.proven.sketched, list(self.vector), self.masked))

    def checkpoints(self) -> list[bytes]:
        """Linear hash and P·y of each segment, hashed: what an aggregator compares."""
        hashed, sketch = LinearHash(bytes(32)), Sketch(self.proven.sketched)
        found = []
        for first in range(0, len(self.vector), SEGMENT_BLOCKS):
            part = self.vector[first : first + SEGMENT_BLOCKS]
            stated = FIELDS[0].pack(FIELDS[0].reduce(sketch.apply(part, first)))
            linear_hash = LinearHash.pack(hashed.digest(part, first))
            found.append(digest("benchmark", linear_hash, stated))
        return found

    def errors(self) -> np.ndarray:
        """Fresh errors, zero beyond what is sent."""
        found = np.zeros(self.values.size, dtype=np.int8)
        sent = self.masked.coefficients
        found[:sent] = gaussian_errors(bytes(32), ERROR_WIDTH, sent, "benchmark")
        return found.reshape(self.values.shape)

    def mask(self) -> bytes:
        """Plain masking: errors, mask, values, packed bytes."""
        vector = RING.mask(self.public, self.key)
        RING.add_signed_into(vector, self.values, self.masked.scale)
        RING.add_errors_into(vector, self.errors())
        return RING.pack(vector)

    def prove(self, turn: int) -> MaskedProof:
        """Everything that is verified, with randomness of this turn."""
        seed = turn.to_bytes(32, "big")
        nothing = np.zeros(0, dtype=np.int64)
        return prove_masked(
            list(self.hidden),
            self.key.astype(np.int64),
            self.root,
            nothing,
            self.masked,
            self.bounds,
            self.size,
            seed,
            CONTEXT,
            vector=list(self.vector),
            every=SEGMENT_BLOCKS,
        )

    def key_weights(self, challenge: bytes) -> np.ndarray:
        """What multiplies the key, in all repetitions."""
        return key_weights(self.claim, challenge, self.masked, self.bounds, self.size, self.public)

    def answer(self, member: int, challenge: bytes = CHALLENGE) -> np.ndarray:
        """One member's answers."""
        share, row = self.shares[member], self.key_row
        return answers(share, member, self.claim, challenge, self.bounds, self.size, row)

    def sizes(self) -> dict[str, float]:
        """Bytes of one contribution, and what verification adds to plain masking."""
        plain_vector = self.masked.coefficients * RESIDUE_BITS // 8
        key_shares = self.size.size * (16 + ELEMENT_BYTES * self.plan.keys[0] + ENVELOPE_BYTES)
        shares = sum(len(payload) + ENVELOPE_BYTES for payload in self.proven.payloads)
        plain = plain_vector + key_shares
        stated = PUBLISHED_BYTES + len(self.claim.sketch) + 3 * HASH_BYTES
        verified = plain_vector + shares + stated
        return {
            "vector_bytes": plain_vector,
            "payload_bytes": len(self.proven.payloads[-1]),
            "all_payloads_bytes": shares,
            "answer_bytes": ELEMENT_BYTES * answer_count(self.size),
            "more_than_the_vector_percent": round(100 * (verified / plain_vector - 1), 2),
            "more_than_plain_masking_percent": round(100 * (verified / plain - 1), 2),
        }


def measure(length: int, size: CommitteeSize) -> dict[str, object]:
    """Figures of one length and committee."""
    made = Contribution(length, size)
    zeros = bytes(4 * made.values.size)
    buffer = bytearray(len(zeros) + 15)

    def encrypt() -> None:
        Cipher(AES256(bytes(32)), CTR(bytes(16))).encryptor().update_into(zeros, buffer)

    answered = {m: {3: made.answer(m)} for m in range(size.size)}
    assert judge(size, made.bounds, [made.claim], CHALLENGE, answered)[3].accepted
    claims = [replace(made.claim, contributor=who) for who in range(CONTRIBUTORS)]
    thirty = {m: dict.fromkeys(range(CONTRIBUTORS), each[3]) for m, each in answered.items()}

    def fresh(turn: int) -> bytes:
        return turn.to_bytes(32, "big")

    steps: Steps = {
        "aes_ctr": lambda _: encrypt(),
        "plain_mask": lambda _: made.mask(),
        "root_of_vector": lambda _: merkle_root([b.tobytes() for b in made.vector]),
        "prove": made.prove,
        "sketch": lambda _: made.sketch(),
        "checkpoints": lambda _: made.checkpoints(),
        "member_key_weights": lambda turn: made.key_weights(fresh(turn)),
        "member": lambda turn: made.answer(size.size - 1, fresh(turn)),
        "judge_thirty": lambda _: judge(size, made.bounds, claims, CHALLENGE, thirty),
    }
    found = milliseconds(steps)
    masked = found["plain_mask"]["mean_ms"]
    proven = found["prove"]["mean_ms"]
    return {
        "length": length,
        "members": size.size,
        "corrupt_max": size.corrupt_max,
        "packing": size.packing,
        "repetitions": made.plan.repetitions,
        "cheating_log2": round(cheating_log2(size, made.plan.repetitions), 1),
        "first_sketch_passes": round(passing_probability(0.9 * 0.99), 4),
        "steps": found,
        "contributor_per_plain_mask": round((masked + proven) / masked, 2),
        "aggregator_ms": found["checkpoints"]["median_ms"],
        **made.sizes(),
    }


def run() -> dict[str, object]:
    """Figures of all lengths and committees."""
    return {
        "group_entries": GROUP,
        "measured": [measure(length, size) for length in LENGTHS for size in SIZES],
    }
