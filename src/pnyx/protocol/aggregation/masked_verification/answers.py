"""A member: its answers to the one challenge for a verified masked contribution.

P and y are public, s is shared, so members hold shares of any linear combination of
z = y - a·s. With c = weights·P·a (`key_weights`), which depends on public data only, a member
answers, per repetition, at its point of three blinded polynomials:

    V  degree D        a random combination of all columns: they are shares of degree D
    L  degree D+l-1    its slots must sum to κ·P·y + ρ·v in the ring's field, where it is
                       c·s + κ·(D·a + b) + ρ·(R'X + g), and to ρ·v in the other, ρ·(R'X + g)
    Q  degree 2D       τ₁(Σa² + slack) + τ₂(Σb² + slack) + τ₃Σ(β² - β): its slots must sum to
                       τ₁ times the threshold of a plus τ₂ times that of b

κ ties the digits to the sketch of the masked vector, ρ is the range step (`aggregation.bounds`).
All weights are uniform, and drawn when everything is committed to. How often that is repeated, and
why, is `aggregation.bounds.repetitions`: a dealer, a leader and liars choose who answers.

A member answers **one challenge for a contribution, ever**: a second one opens new functionals of
the key (tests/adversarial/test_masked_views_reveal_nothing.py).

**A wrong c opens an entry.** Members never fetch y, but they must be sure of c. The slot sum of L
is public; with c' = c + t·a in the place of c it differs by (t·a)·s = t·y - t·z, so whoever could
choose c would read any combination t·z of an honest contributor's vector, one per repetition.
2l - 1 honest members that believe it are enough, beside f corrupt ones. So a member answers by a c
that it computed itself, or that f + 1 members signed, an honest one among them: see
`check_key_weights` and tests/adversarial/test_masked_coefficients_open_an_entry.py. Should members
be misled all the same, the contributor is not convicted for it (`Rule.LINK`).
"""

from collections.abc import Iterable
from functools import lru_cache

import msgspec
import numpy as np

from pnyx.errors import RuleBroken
from pnyx.primitives.field import PrimeField
from pnyx.primitives.hashing import digest
from pnyx.primitives.ring import LANES, Ring
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation.ballots import bit_weights
from pnyx.protocol.aggregation.bounds import CHECKS, ROWS
from pnyx.protocol.aggregation.encoding import FIELDS, IntVector, to_slots
from pnyx.protocol.aggregation.masked_verification.bounds import (
    MODULUS,
    RING_DEGREE,
    MaskedBounds,
    layout,
)
from pnyx.protocol.aggregation.masked_verification.payloads import Claim
from pnyx.protocol.aggregation.masked_verification.sketch import Sketch
from pnyx.protocol.aggregation.ranges import combine
from pnyx.protocol.aggregation.verification import FieldShares, slot_basis
from pnyx.protocol.selection.security import CommitteeSize

_COEFFICIENTS_CACHED = 64
RING = Ring(RING_DEGREE, MODULUS)


class Weights(msgspec.Struct, frozen=True):
    """Random weights of a challenge, for each repetition; the stream goes on for V.

    kappa: [repetitions, 256], of the rows of the sketch, modulo p₁. rho: [repetitions, 256], of the
    rows of R', and taus: [3, repetitions], below the smaller prime: the same in both fields.
    """

    kappa: IntVector
    rho: IntVector
    taus: IntVector
    sampler: Sampler


def weights(claim: Claim, challenge: bytes, repetitions: int) -> Weights:
    """Expand a challenge into the weights of all repetitions."""
    seed = digest(
        "pnyx/masked-verification/challenge",
        challenge,
        claim.contributor.to_bytes(4, "big"),
        claim.commitment,
        claim.published,
    )
    sampler = Sampler(seed, "pnyx/masked-verification/coefficients")
    smaller = min(field.modulus for field in FIELDS)
    return Weights(
        sampler.field_elements(MODULUS, (repetitions, ROWS)),
        sampler.field_elements(smaller, (repetitions, ROWS)),
        sampler.field_elements(smaller, (3, repetitions)),
        sampler,
    )


def key_weights(
    claim: Claim,
    challenge: bytes,
    bounds: MaskedBounds,
    size: CommitteeSize,
    public: Iterable[np.ndarray],
) -> IntVector:
    """c = weights·P·a: what multiplies the key in L, [repetitions, 1024] modulo p₁.

    public: the blocks of a in order, transformed, [1024, LANES] each. For polynomials a and t, the
    latter a row of weights·P, Σ_i t_i·(a·s)_i = Σ_i (a*·t)_i·s_i with a* = a(1/X). The transform of
    a* is that of a in reverse: in the order of `primitives.ring`, 1/ψ^(2r+1) comes n - 1 - i th.
    """
    repetitions = layout(bounds, size).repetitions
    kappa = weights(claim, challenge, repetitions).kappa
    transposed = Sketch(claim.sketched).transpose(kappa, FIELDS[0])
    sums = np.zeros((repetitions, RING_DEGREE), dtype=np.uint64)
    for index, block in enumerate(public):
        mirrored = np.ascontiguousarray(block[np.newaxis, ::-1])
        columns = transposed.chunk(index)
        columns[:, bounds.sent(index) :] = 0
        rows = columns.reshape(repetitions, 1, RING_DEGREE, LANES)
        for row, total in zip(rows, sums, strict=True):
            RING.add_products_into(total, row, mirrored)
    return np.stack([RING.inverse(each).astype(np.int64) for each in sums.astype(np.uint32)])


def check_key_weights(
    key_row: IntVector,
    claim: Claim,
    challenge: bytes,
    bounds: MaskedBounds,
    size: CommitteeSize,
    public: Iterable[np.ndarray],
) -> None:
    """Check what somebody else computed before signing or using it; raises RuleBroken."""
    if not np.array_equal(key_row, key_weights(claim, challenge, bounds, size, public)):
        raise RuleBroken("the key's coefficients are not those of the challenge")


def answers(
    shares: FieldShares,
    member: int,
    claim: Claim,
    challenge: bytes,
    key_row: IntVector,
    bounds: MaskedBounds,
    size: CommitteeSize,
) -> IntVector:
    """A member's answers for one contribution: [fields x (V, L, Q) x repetitions], flat.

    key_row: what `key_weights` gives, computed or checked by somebody to be trusted (module
    docstring). Give answers for one challenge only, ever.
    """
    plan = layout(bounds, size)
    rows, taus = _coefficients(claim, challenge, bounds, size)
    found = np.empty((len(FIELDS), CHECKS, plan.repetitions), dtype=np.int64)
    for at, (field, share) in enumerate(zip(FIELDS, shares, strict=True)):
        basis = slot_basis(field, size)[member][:, np.newaxis]  # [packing, 1]
        degree_test, linear = rows[at]
        short = share[plan.start(at) : plan.data(at), np.newaxis]
        by_slot = field.matmul(linear, short).reshape(plan.repetitions, size.packing)
        if not at:
            by_slot = by_slot + _key_by_slot(share[: plan.key], key_row, size)
        upper, lower, bits = _products(field, share[plan.start(at) :], member, bounds, size)
        found[at, 0] = field.matmul(degree_test, share[: plan.data(at), np.newaxis])[:, 0]
        found[at, 1] = field.matmul(field.reduce(by_slot), basis)[:, 0]
        found[at, 2] = taus[0] * upper + taus[1] * lower + taus[2] * bits
        found[at] += share[plan.data(at) :].reshape(CHECKS, plan.repetitions)
        found[at] = field.reduce(found[at])
    return found.reshape(-1)


def _key_by_slot(share: IntVector, key_row: IntVector, size: CommitteeSize) -> IntVector:
    """The key's shares combined for every slot: [repetitions, packing]."""
    by_slot = np.concatenate([to_slots(row, size.packing) for row in key_row])
    products = FIELDS[0].matmul(by_slot, share[:, np.newaxis])
    return products.reshape(len(key_row), size.packing)


def _products(
    field: PrimeField, share: IntVector, member: int, bounds: MaskedBounds, size: CommitteeSize
) -> tuple[int, int, int]:
    """A member's shares, of degree 2D, of Σa² + slack, Σb² + slack and Σ(β² - β)."""
    plan = layout(bounds, size)
    digits, bits = share[: 2 * plan.digits].reshape(2, -1), share[2 * plan.digits : plan.short]
    slack = field.matmul(_slack_weights(field, bounds, size)[member], bits[:, np.newaxis])[:, 0]
    squares = [_dot(field, row, row) for row in digits]
    return (
        (squares[0] + int(slack[0])) % field.modulus,
        (squares[1] + int(slack[1])) % field.modulus,
        (_dot(field, bits, bits) - int(bits.sum())) % field.modulus,
    )


def _dot(field: PrimeField, left: IntVector, right: IntVector) -> int:
    return int(field.matmul(left[np.newaxis], right[:, np.newaxis])[0, 0])


@lru_cache(maxsize=_COEFFICIENTS_CACHED)
def _coefficients(
    claim: Claim, challenge: bytes, bounds: MaskedBounds, size: CommitteeSize
) -> tuple[tuple[tuple[IntVector, IntVector], ...], IntVector]:
    """What combines a share in each field, and τ [3, repetitions]; the key's part of L is apart.

    For V [repetitions, data]; for L, slot by slot, [repetitions x packing, X and mask].
    """
    plan = layout(bounds, size)
    drawn = weights(claim, challenge, plan.repetitions)
    shape = (plan.repetitions, size.packing, plan.short + plan.digits)
    ranges = np.empty(shape, dtype=np.int64)
    on_short = combine(claim.commitment, drawn.rho, plan.dimension)
    ranges[:, :, : plan.short] = on_short.reshape(plan.repetitions, size.packing, plan.short)
    link = np.zeros(shape, dtype=np.int64)
    for repetition in range(plan.repetitions):
        rho = to_slots(drawn.rho[repetition], size.packing)
        kappa = to_slots(drawn.kappa[repetition], size.packing)
        ranges[repetition, :, plan.short :] = rho
        link[repetition, :, : plan.digits] = bounds.digit * kappa
        link[repetition, :, plan.digits : 2 * plan.digits] = kappa
    per_field = []
    for at, field in enumerate(FIELDS):
        degree_test = drawn.sampler.field_elements(field.modulus, (plan.repetitions, plan.data(at)))
        linear = field.reduce(ranges if at else ranges + link)
        per_field.append((degree_test, linear.reshape(-1, shape[2])))
    return tuple(per_field), drawn.taus


@lru_cache(maxsize=64)
def _slack_weights(field: PrimeField, bounds: MaskedBounds, size: CommitteeSize) -> IntVector:
    """The weights of both thresholds' slack bits as seen by each member: [members, 2, columns]."""
    weights = [bit_weights(threshold) for threshold in bounds.thresholds]
    seen = []
    for at in range(len(weights)):
        row = np.concatenate([np.array(w) * (at == nth) for nth, w in enumerate(weights)])
        slots = field.reduce(to_slots(row, size.packing))
        seen.append(field.matmul(slot_basis(field, size), slots))
    stacked = np.stack(seen, axis=1)
    stacked.setflags(write=False)
    return stacked
