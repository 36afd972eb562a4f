"""What a challenge makes of a claim: the random coefficients of V, L and Q, which all can compute.

A challenge opens when nothing of a contribution can be chosen any more. With contributor,
commitment and published vector it seeds one stream: the weights of the rows of the projection, of
sums of squares and bits, of a ballot's rules and of a sketch's rows, and then what V combines.
`verification` says what they are for; a member's answers and the judge's sums take the same ones.
"""

from functools import lru_cache

import msgspec
import numpy as np

from pnyx.primitives.field import PRIMES, PrimeField
from pnyx.primitives.hashing import digest
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation.ballots import bit_weights, equations
from pnyx.protocol.aggregation.bounds import ROWS, Bounds, digit_base, layout
from pnyx.protocol.aggregation.encoding import FIELDS, IntVector, to_slots
from pnyx.protocol.aggregation.ranges import combine
from pnyx.protocol.selection.security import CommitteeSize

_CHALLENGE_MODULUS = min(PRIMES)  # the same integers serve both fields
_REMEMBERED, _REMEMBERED_DATA_MAX = 64, 512


class Claim(msgspec.Struct, frozen=True):
    """What a contributor claims in its header: its number, its commitment C, and v.

    Where a masked update is verified also C1 (`sketched`), from which the sketch P is drawn, the
    root of all members' key shares, and P·y (`sketch`), packed.
    """

    contributor: int
    commitment: bytes
    published: bytes
    sketched: bytes = b""
    key_root: bytes = b""
    sketch: bytes = b""


class Weights(msgspec.Struct, frozen=True):
    """Random weights of a challenge, for each repetition; the stream goes on for V.

    rho: [repetitions, 256], of the rows of the projection. taus: [sums of squares + 1,
    repetitions], at least two rows. theta: [repetitions, equations], of the ballot's rules. All are
    below the smaller prime, and the same integers serve both fields: a linear relation that fails
    in a field holds for at most one value of each weight. kappa: [repetitions, 256 or 0], of the
    rows of the sketch of a masked vector, in the ring's field.
    """

    rho: IntVector
    taus: IntVector
    theta: IntVector
    kappa: IntVector
    sampler: Sampler


def weights(claim: Claim, challenge: bytes, bounds: Bounds, count: int) -> Weights:
    """Expand a challenge into the weights of `count` repetitions."""
    seed = digest(
        "pnyx/verify/challenge",
        challenge,
        claim.contributor.to_bytes(4, "big"),
        claim.commitment,
        claim.published,
        *((claim.sketch,) if bounds.masked_norm_max else ()),
    )
    sampler = Sampler(seed, "pnyx/verify/coefficients")
    rules = 0
    if bounds.ballot is not None:
        rules = len(equations(bounds.ballot, bounds.counts).wanted)
    return Weights(
        sampler.field_elements(_CHALLENGE_MODULUS, (count, ROWS)),
        sampler.field_elements(_CHALLENGE_MODULUS, (1 + max(1, len(bounds.squares)), count)),
        sampler.field_elements(_CHALLENGE_MODULUS, (count, rules)),
        sampler.field_elements(FIELDS[0].modulus, (count, ROWS if bounds.masked_norm_max else 0)),
        sampler,
    )


def ballot_wanted(theta: IntVector, bounds: Bounds, field: PrimeField) -> IntVector:
    """What the rules of the ballot must add up to: [repetitions], reduced."""
    if bounds.ballot is None:
        return np.zeros(len(theta), dtype=np.int64)
    wanted = equations(bounds.ballot, bounds.counts).wanted
    return field.matmul(theta, wanted[:, np.newaxis])[:, 0]


def _ballot_rows(theta: IntVector, bounds: Bounds, size: CommitteeSize) -> IntVector:
    """The weighted rules as rows over count bits and ballot slack, below 2^53 in absolute value.

    [repetitions, packing, counts + ballot columns]
    """
    plan = layout(bounds, size)
    rows = np.zeros((len(theta), size.packing, plan.counts + plan.ballot), dtype=np.int64)
    if bounds.ballot is not None:
        rules = equations(bounds.ballot, bounds.counts)
        for at, weighted in enumerate(theta):
            rows[at, :, : plan.counts] = to_slots(weighted @ rules.entries, size.packing)
            rows[at, :, plan.counts :] = to_slots(weighted @ rules.slack, size.packing)
    return rows


_Coefficients = tuple[tuple[IntVector, ...], tuple[IntVector, ...], IntVector]


def coefficients(
    claim: Claim, challenge: bytes, bounds: Bounds, size: CommitteeSize
) -> _Coefficients:
    """For each field the rows that combine a share and its key, and τ as in `Weights`.

    Rows, for each repetition: one for V, then one per slot for L; [rows, data] field elements. On
    the key there is V alone, [repetitions, key columns]; what L has there comes apart.

    A node needs them once. Those of short vectors are remembered for simulators, where all members
    of a committee share a process; those of long ones would take hundreds of megabytes.
    """
    short = layout(bounds, size).data <= _REMEMBERED_DATA_MAX
    return (_remembered if short else _expanded)(claim, challenge, bounds, size)


def _expanded(claim: Claim, challenge: bytes, bounds: Bounds, size: CommitteeSize) -> _Coefficients:
    plan = layout(bounds, size)
    drawn = weights(claim, challenge, bounds, plan.repetitions)
    linear = np.empty((plan.repetitions, size.packing, plan.data), dtype=np.int64)
    on_short = combine(claim.commitment, drawn.rho, plan.dimension)
    linear[:, :, : plan.short] = on_short.reshape(plan.repetitions, size.packing, plan.short)
    if bounds.ballot is not None:
        on_ballot = _ballot_rows(drawn.theta, bounds, size)
        ends = plan.counts_start + plan.counts
        linear[:, :, plan.counts_start : ends] += on_ballot[:, :, : plan.counts]
        linear[:, :, plan.ballot_start : plan.short] += on_ballot[:, :, plan.counts :]
    for repetition in range(plan.repetitions):
        linear[repetition, :, plan.short :] = to_slots(drawn.rho[repetition], size.packing)
    link = np.zeros((plan.repetitions, size.packing, 2 * plan.digits), dtype=np.int64)
    if plan.digits:
        kappa = np.stack([to_slots(row, size.packing) for row in drawn.kappa])
        base = digit_base(bounds.masked_norm_max)
        link[:] = np.concatenate([base * kappa, kappa], axis=2)  # κ·(D·a + b)
    per_field, on_key = [], []
    for at, (field, keys) in enumerate(zip(FIELDS, plan.keys, strict=True)):
        degree_test = drawn.sampler.field_elements(field.modulus, (plan.repetitions, 1, plan.data))
        whole = linear.copy()
        if not at:
            whole[:, :, plan.update : plan.slack_start] += link
        rows = np.concatenate([degree_test, field.reduce(whole)], axis=1)
        per_field.append(rows.reshape(-1, plan.data))
        on_key.append(drawn.sampler.field_elements(field.modulus, (plan.repetitions, keys)))
    return tuple(per_field), tuple(on_key), drawn.taus


_remembered = lru_cache(maxsize=_REMEMBERED)(_expanded)


@lru_cache(maxsize=64)
def slot_basis(field: PrimeField, size: CommitteeSize) -> IntVector:
    """Values at the members' points of the polynomials that are 1 on one slot: [members, packing].

    A public value per slot, weighted by a member's row, is a share of degree l - 1.
    """
    members, slots = range(1, size.size + 1), range(-1, -size.packing - 1, -1)
    basis = np.ones((size.size, size.packing), dtype=np.int64)
    for at, slot in enumerate(slots):
        for other in slots:
            if other != slot:
                scale = pow(slot - other, -1, field.modulus)
                factors = np.array([(x - other) * scale for x in members], dtype=np.int64)
                basis[:, at] = field.multiply(basis[:, at], field.reduce(factors))
    basis.setflags(write=False)
    return basis


@lru_cache(maxsize=64)
def slack_weights(field: PrimeField, bounds: Bounds, size: CommitteeSize) -> IntVector:
    """The weights of the slack bits, sum by sum, as members see them: [members, sums, slack]."""
    powers = [np.array(bit_weights(each.threshold), dtype=np.int64) for each in bounds.squares]
    seen = np.zeros((size.size, len(powers), layout(bounds, size).slack), dtype=np.int64)
    for at in range(len(powers)):
        row = np.concatenate([each * (at == nth) for nth, each in enumerate(powers)])
        slots = field.reduce(to_slots(row, size.packing))
        seen[:, at] = field.matmul(slot_basis(field, size), slots)
    seen.setflags(write=False)
    return seen
