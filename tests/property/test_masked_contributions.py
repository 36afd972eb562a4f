"""Masked contributions within the bounds are accepted, and their sum is opened exactly."""

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.masked_forger import MaskedForger, digits_of, masked, public

from pnyx.primitives.hashing import merkle_root
from pnyx.primitives.ring import gaussian_errors
from pnyx.protocol.aggregation import verification
from pnyx.protocol.aggregation.bounds import Bounds, layout
from pnyx.protocol.aggregation.encoding import FIELDS
from pnyx.protocol.aggregation.masked_verification import proof, sketch
from pnyx.protocol.aggregation.masked_verification.bounds import (
    BLOCK,
    ERROR_WIDTH,
    MODULUS,
    RING_DEGREE,
    MaskedBounds,
)
from pnyx.protocol.aggregation.masked_verification.commitments import masked_claim
from pnyx.protocol.aggregation.masked_verification.key_weights import key_weights
from pnyx.protocol.aggregation.payloads import read_share
from pnyx.protocol.aggregation.verdicts import Verdict, judge
from pnyx.protocol.aggregation.verification import codes
from pnyx.protocol.selection import committee_size

SIZES = [committee_size(7, 1, 2), committee_size(11, 2, 2), committee_size(9, 2, 1)]
SIZES += [committee_size(12, 1, 3), committee_size(16, 2, 4)]


@st.composite
def cases(draw: st.DrawFn):
    """Bounds, a committee, and updates of any shape within the clip."""
    length = draw(st.sampled_from([1, 2, 5, BLOCK - 1, BLOCK, BLOCK + 1]))
    scale, norm_max = draw(st.sampled_from([(1024, 4096), (512, 8192), (1024, 300)]))
    bounds = MaskedBounds(length, norm_max, scale, 24, 3, norm_max // 4)
    updates = []
    for seed in draw(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3)):
        values = np.zeros(length, dtype=np.int64)
        generator = np.random.Generator(np.random.PCG64(seed))
        few = generator.integers(0, length, min(length, draw(st.integers(1, 40))))
        values[few] = generator.integers(-bounds.entry_max, bounds.entry_max + 1, len(few))
        long = np.linalg.norm(values) / bounds.clip_max
        updates.append((values / max(1.0, long)).astype(np.int64))
    return bounds, draw(st.sampled_from(SIZES)), updates


def carried(bounds: MaskedBounds) -> Bounds:
    """What is proven: the norm of a masked update, and three counts."""
    norm = bounds.norm_scaled
    return Bounds(3, 0, 0, 3, key_length=RING_DEGREE, key_fields=1, masked_norm_max=norm)


class Contribution:
    """One honest contribution, made of the public parts only."""

    def __init__(self, who: int, values: np.ndarray, bounds, size, seed: bytes) -> None:
        proven_bounds = carried(bounds)
        key_seed = Contribution.seed(seed, who)
        self.key = proof.Sampler(key_seed, "key").field_elements(MODULUS, RING_DEGREE)
        z = np.zeros(bounds.blocks * BLOCK, dtype=np.int32)
        z[: bounds.coefficients] = gaussian_errors(key_seed, ERROR_WIDTH, bounds.coefficients, "e")
        z[: bounds.length] += (bounds.scale * values).astype(np.int32)
        self.hidden = z.reshape(-1, RING_DEGREE, 32)
        self.vector = masked(self.hidden, self.key)
        root = merkle_root([block.tobytes() for block in self.vector])
        context = bytes([who])
        counts = np.array([who, 3 - who, 1])
        proven = proof.prove_masked(
            self.hidden, self.key, root, counts, bounds, proven_bounds, size, seed, context
        )
        stated = sketch.masked_sketch(proven.sketched, list(self.vector), bounds)
        self.claim = masked_claim(
            who,
            context,
            vector_root=root,
            key_root=proven.key_root,
            salt=proven.salt,
            shares_root=merkle_root(proven.payloads),
            published=proven.published,
            sketch=FIELDS[0].pack(stated),
        )
        self.shares = [
            read_share(payload, member, self.claim, proven_bounds, size)
            for member, payload in enumerate(proven.payloads)
        ]

    @staticmethod
    @lru_cache(maxsize=64)
    def seed(seed: bytes, who: int) -> bytes:
        return proof.digest("test", seed, bytes([who]))


@given(cases(), st.binary(min_size=32, max_size=32))
@settings(deadline=None, max_examples=25)
def test_vectors_within_the_bounds_are_accepted_and_added(case, challenge):
    bounds, size, updates = case
    made = [Contribution(who, u, bounds, size, challenge) for who, u in enumerate(updates)]
    given_answers = {member: {} for member in range(size.size)}
    proven = carried(bounds)
    for who, each in enumerate(made):
        row = key_weights(each.claim, challenge, bounds, proven, size, public(bounds.blocks))
        for member in given_answers:
            given_answers[member][who] = verification.answers(
                each.shares[member], member, each.claim, challenge, proven, size, row
            )
    found = judge(size, proven, [each.claim for each in made], challenge, given_answers)
    assert set(found.values()) == {Verdict(accepted=True)}
    assert summed(made, bounds, size).tolist() == np.sum(updates, axis=0).tolist()


def summed(made: list[Contribution], bounds, size) -> np.ndarray:
    """Add masked vectors and key shares, open the sum of keys, and take the mask away."""
    columns, field = layout(carried(bounds), size).columns, FIELDS[0]
    members = list(range(size.size))[-(size.degree + 1) :]
    table = np.stack(
        [field.reduce(sum(each.shares[m][0][columns:] for each in made)) for m in members]
    )
    key = codes(size)[0][0].reconstruct(members, table).reshape(-1)[:RING_DEGREE]
    assert key.tolist() == (sum(each.key for each in made) % MODULUS).tolist()
    total = sum(each.vector.astype(np.int64) for each in made)
    rest = (total - masked(np.zeros(total.shape, dtype=np.int64), key)) % MODULUS
    centred = np.where(rest > MODULUS // 2, rest - MODULUS, rest).reshape(-1)
    rounded = (centred + bounds.scale // 2) // bounds.scale
    assert not rounded[bounds.length : bounds.coefficients].any()
    return rounded[: bounds.length]


@given(st.floats(0.2, 4), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_accepted_exactly_when_the_sketch_is_within_its_thresholds(share, seed):
    """Forged or not: the proof passes for digits within the thresholds, and for no others."""
    bounds, size = MaskedBounds(BLOCK, 4096, 1024, 24, 6, 512), SIZES[0]
    generator = np.random.Generator(np.random.PCG64(seed))
    z = generator.normal(size=(1, RING_DEGREE, 32))
    z = np.rint(z * share * bounds.norm_scaled / np.linalg.norm(z)).astype(np.int32)
    forger = MaskedForger(
        bounds, size, z, seed=seed, digits=lambda sketch: digits_of(sketch, bounds)
    )
    within = proof.digits_of(forger.sketch, bounds) is not None
    assert forger.judged(bytes(32)).accepted == within


def test_a_vector_far_over_its_bound_cannot_be_proven():
    bounds, size = MaskedBounds(10, 4096, 1024, 24, 6, 512), SIZES[0]
    z = np.zeros((1, RING_DEGREE, 32), dtype=np.int32)
    z.reshape(-1)[:10] = 2 * bounds.norm_scaled
    key = np.zeros(RING_DEGREE, dtype=np.int64)
    with pytest.raises(ValueError, match="longer than its bound"):
        proof.prove_masked(
            z,
            key,
            bytes(32),
            np.zeros(0, dtype=np.int64),
            bounds,
            bounds.alone,
            size,
            b"seed",
            b"context",
        )
