"""Direct contributions that prove their bounds, in one message, to a committee that answers once.

The contributor
1. shares X (update, slack bits, count bits: see `bounds`), a discrete Gaussian mask g and one-time
   blinds V, L, Q, by packed Shamir sharing over both fields; member j's payload is a salt and its
   row of shares in each field;
2. commits: C = H(context, Merkle root of *all* payloads). X, g and blinds are in the payloads, so
   whatever R' decides on is fixed before R' is known;
3. expands R' from C, publishes v = R'X + g (rejection-sampled: v tells nothing of X), and signs
   root and v together in its header. v is in no payload, so there is no circle.
   When v is rejected everything that depends on g starts again from step 1.

Members check payloads against the root and sign the list of headers; only then a beacon opens the
challenge, from which (with contributor, C and v) all random coefficients come. A member answers,
per field and repetition, three elements that are values at its point of three polynomials:
    V  degree D        random combination of the columns X | g and of the key, plus the V blind
    L  degree D+l-1    Σ ρ·(R'X + g) + Σ θ·(rules of the ballot), slot by slot, plus the L blind,
                       whose slots sum to zero
    Q  degree 2D       τ₁(Σu² + slack) + τ₂Σ(β² - β) plus the Q blind, whose slots sum to zero

With a sketch of a masked vector y (`masked_verification`) in the place of the update, Q has a term
for each of its two digits, and L one more in the ring's field: c·s + κ·(D·a + b), where c = κ·P·a;
it must come to κ·P·y.

Then V lies on a polynomial of degree D iff the shares do, the slots of L sum to ρ·v + θ·b iff
R'X + g = v and every rule Σ a·x = b of the ballot holds (`ballots`), and those of Q to τ₁T iff bits
are bits and the norm is within its bound (`bounds` says why that holds over the integers). Every
secret sum carries a random factor, τ₁ as well: a blind whose slots secretly sum to something else
cannot make up for a difference that the challenge multiplies. `verdicts` decodes the answers and
judges. `coefficients` are what a challenge makes of a claim.

**One challenge only.** V, L and Q blinds hide the shares from whoever sees all answers to one
challenge. Answering a second one for the same contribution opens new functionals of its secrets.

The same holds for the contributor: `prove` derives its randomness from seed, context and vector,
so that repeating a call gives the same contribution and any other call an independent one.
"""

from collections.abc import Sequence
from functools import lru_cache

import msgspec
import numpy as np

from pnyx.errors import MalformedMessage, RuleBroken
from pnyx.primitives.field import PrimeField
from pnyx.primitives.hashing import digest, merkle_root
from pnyx.primitives.sampling import Sampler
from pnyx.primitives.sharing import PackedSharing
from pnyx.protocol.aggregation.ballots import (
    bit_weights,
    is_valid,
    slack_of,
    to_bits,
)
from pnyx.protocol.aggregation.bounds import (
    CHECKS,
    ROWS,
    Bounds,
    Layout,
    layout,
    repetitions,
)
from pnyx.protocol.aggregation.coefficients import Claim, coefficients, slack_weights, slot_basis
from pnyx.protocol.aggregation.encoding import FIELDS, IntVector, to_slots
from pnyx.protocol.aggregation.gaussian import discrete_gaussian, hides
from pnyx.protocol.aggregation.ranges import project
from pnyx.protocol.selection.security import CommitteeSize

ELEMENT_BYTES = 4
SALT_BYTES = 16
PUBLISHED_BYTES = ELEMENT_BYTES * ROWS

FieldShares = tuple[IntVector, ...]  # one [columns] array per field


class Proven(msgspec.Struct, frozen=True):
    """A contribution: one payload per member, and the vector v for the signed header."""

    payloads: tuple[bytes, ...]
    published: bytes

    def __repr__(self) -> str:
        return "Proven(...)"  # payloads are secret


def commit(context: bytes, shares_root: bytes) -> bytes:
    """C: binds the Merkle root of the payloads to the round, attempt and contributor."""
    return digest("pnyx/verify/commitment", context, shares_root)


@lru_cache(maxsize=64)
def codes(size: CommitteeSize) -> tuple[tuple[PackedSharing, ...], ...]:
    """For each field, packed sharings of the degrees of V, L and Q."""
    degree, packing = size.degree, size.packing
    degrees = (degree, degree + packing - 1, 2 * degree)
    return tuple(
        tuple(PackedSharing(field, size.size, d + 1 - packing, packing) for d in degrees)
        for field in FIELDS
    )


# --- the contributor --------------------------------------------------------------------------


def prove(
    vector: IntVector,
    bounds: Bounds,
    size: CommitteeSize,
    seed: bytes,
    context: bytes,
    key: FieldShares = (),
) -> Proven:
    """Share a vector with a proof that it is within its bounds, and a key with it.

    vector: [given_length] integers, see `Bounds`. seed: secret, fresh for this contribution.
    context: names network, study, round, attempt and contributor. key: [key_length] elements of
    each of the first `key_fields` fields. Raises ValueError when the vector is out of bounds.
    """
    short = short_integers(vector, bounds, size)
    plan = layout(bounds, size)
    if [len(part) for part in key] != [bounds.key_length] * bounds.key_fields:
        raise ValueError("the key is not of the length and in the fields that its phase states")
    data = b"".join(np.asarray(part, dtype="<i8").tobytes() for part in (vector, *key))
    sampler = Sampler(digest("pnyx/verify/seed", seed, context, data), "pnyx/verify/secrets")
    table = _share_table(short, plan, size, sampler)
    key_rows = _share_key(key, size, sampler)
    salts = sampler.bytes(SALT_BYTES * size.size)
    while True:  # three times on average, whatever the vector is
        mask = discrete_gaussian(sampler, bounds.mask_width, ROWS)
        table[:, :, plan.short : plan.data] = _share(to_slots(mask, size.packing), size, sampler)
        payloads = tuple(
            b"".join(
                (
                    salts[member * SALT_BYTES : (member + 1) * SALT_BYTES],
                    table[member].tobytes(),
                    *(rows[member].tobytes() for rows in key_rows),
                )
            )
            for member in range(size.size)
        )
        hidden = project(commit(context, merkle_root(payloads)), short.reshape(-1))
        masked = hidden + mask
        if (
            int(hidden @ hidden) <= bounds.projection_squared_max
            and int(np.abs(masked).max()) <= bounds.published_max
            and hides(sampler, hidden, masked, bounds.mask_width)
        ):
            return Proven(payloads, masked.astype("<i4").tobytes())


def within(vector: IntVector, bounds: Bounds) -> bool:
    """Whether a vector satisfies its bounds, so that `prove` takes it."""
    if vector.shape != (bounds.given_length,):
        return False
    update, counts, noise = _parts(vector, bounds)
    # Entries first: squares of larger ones could wrap.
    limit = bounds.norm_max
    if not bool(((-limit <= update) & (update <= limit)).all()):
        return False
    if int(update @ update) > bounds.norm_squared:
        return False
    if not bool(((counts >= 0) & (counts <= bounds.count_max)).all()):
        return False
    if not bool(((-bounds.noise_max <= noise) & (noise <= bounds.noise_max)).all()):
        return False
    return bounds.ballot is None or is_valid(bounds.ballot, counts)


def _parts(vector: IntVector, bounds: Bounds) -> tuple[IntVector, IntVector, IntVector]:
    """Update [bounded], counts [counts] and their noise [counts, or 0 without noise]."""
    return (
        vector[: bounds.bounded],
        vector[bounds.bounded : bounds.length],
        vector[bounds.length :],
    )


def short_integers(
    vector: IntVector, bounds: Bounds, size: CommitteeSize, digits: Sequence[IntVector] = ()
) -> IntVector:
    """X as slots [packing, short]. Raises ValueError when the vector is out of bounds.

    digits: of a sketch, where a masked update is verified, each within its threshold.
    """
    if not within(vector, bounds):
        raise ValueError("the vector is not within the bounds of its phase")
    update, counts, noise = _parts(vector, bounds)
    squared = digits or (update,)
    pieces = [to_slots(row, size.packing) for row in squared]
    slack = [
        to_bits(np.array([square.threshold - int(row @ row)]), square.threshold)[:, 0]
        for row, square in zip(squared, bounds.squares, strict=False)  # there may be no update
    ]
    if slack:
        pieces.append(to_slots(np.concatenate(slack), size.packing))
    if len(counts):
        pieces += [to_slots(bits, size.packing) for bits in to_bits(counts, bounds.count_max)]
    if len(noise):
        shifted = to_bits(noise + bounds.noise_max, 2 * bounds.noise_max)
        pieces += [to_slots(bits, size.packing) for bits in shifted]
    if bounds.ballot is not None:
        pieces.append(to_slots(slack_of(bounds.ballot, counts), size.packing))
    return np.concatenate(pieces, axis=1)


def _share(secrets: IntVector, size: CommitteeSize, sampler: Sampler) -> IntVector:
    """Share the same integers [packing, n] in every field: [members, fields, n]."""
    shares = []
    for field, (sharing, _, _) in zip(FIELDS, codes(size), strict=True):
        noise = sampler.field_elements(field.modulus, (sharing.privacy, secrets.shape[1]))
        shares.append(sharing.share(field.reduce(secrets), noise))
    return np.stack(shares, axis=1)


def _share_table(
    short: IntVector, plan: Layout, size: CommitteeSize, sampler: Sampler
) -> IntVector:
    """Shares of X and blinds [members, fields, columns] as 4-byte words; the mask is left out."""
    table = np.zeros((size.size, len(FIELDS), plan.columns), dtype="<u4")
    table[:, :, : plan.short] = _share(short, size, sampler)
    for at, field in enumerate(FIELDS):
        start = plan.data
        for check, sharing in enumerate(codes(size)[at]):
            shape = (size.packing, plan.repetitions)
            secrets = sampler.field_elements(field.modulus, shape)
            if check:  # the slots of L and Q blinds sum to zero
                secrets[0] = field.negate(field.reduce(secrets[1:].sum(axis=0)))
            noise = sampler.field_elements(field.modulus, (sharing.privacy, plan.repetitions))
            blinds = sharing.share(secrets, noise)
            table[:, at, start : start + plan.repetitions] = blinds
            start += plan.repetitions
    return table


def _share_key(key: FieldShares, size: CommitteeSize, sampler: Sampler) -> tuple[IntVector, ...]:
    """Shares of the key, [members, columns] of 4-byte words for each of its fields."""
    shares = []
    for at, part in enumerate(key):
        field, sharing = FIELDS[at], codes(size)[at][0]
        slots = to_slots(part, size.packing)
        noise = sampler.field_elements(field.modulus, (sharing.privacy, slots.shape[1]))
        shares.append(sharing.share(slots, noise).astype("<u4"))
    return tuple(shares)


# --- a member -----------------------------------------------------------------------------------


def payload_bytes(bounds: Bounds, size: CommitteeSize) -> int:
    """Size of one member's payload."""
    plan = layout(bounds, size)
    return SALT_BYTES + ELEMENT_BYTES * (len(FIELDS) * plan.columns + sum(plan.keys))


def read_payload(payload: bytes, bounds: Bounds, size: CommitteeSize) -> FieldShares:
    """Parse a member's payload: [columns, then the key's] of each field.

    Raises MalformedMessage on a wrong size or element.
    """
    if len(payload) != payload_bytes(bounds, size):
        raise MalformedMessage("a share has the wrong size for this study's vector")
    plan = layout(bounds, size)
    step, at_key = (
        ELEMENT_BYTES * plan.columns,
        SALT_BYTES + len(FIELDS) * ELEMENT_BYTES * plan.columns,
    )
    shares = []
    for field, start, keys in zip(FIELDS, range(SALT_BYTES, at_key, step), plan.keys, strict=True):
        ends = at_key + ELEMENT_BYTES * keys
        row = payload[start : start + step] + payload[at_key:ends]
        shares.append(field.unpack(row, plan.columns + keys))
        at_key = ends
    return tuple(shares)


def pack_payload(salt: bytes, shares: FieldShares, bounds: Bounds, size: CommitteeSize) -> bytes:
    """The payload that `read_payload` parsed."""
    columns = layout(bounds, size).columns
    rows = [f.pack(s[:columns]) for f, s in zip(FIELDS, shares, strict=True)]
    keys = [f.pack(s[columns:]) for f, s in zip(FIELDS, shares, strict=True)]
    return salt + b"".join(rows + keys)


def check_published(published: bytes, bounds: Bounds) -> IntVector:
    """Read v [256]: the local test that comes before any other; raises as `read_published`."""
    return read_published(published, bounds.published_max)


def read_published(published: bytes, entry_max: int) -> IntVector:
    """Read a published vector v [256].

    Raises MalformedMessage on a wrong size, RuleBroken when an entry is too large.
    """
    if len(published) != PUBLISHED_BYTES:
        raise MalformedMessage(f"a published vector takes {PUBLISHED_BYTES} bytes")
    vector = np.frombuffer(published, dtype="<i4").astype(np.int64)
    if int(np.abs(vector).max()) > entry_max:
        raise RuleBroken("the published vector is too long for a contribution within its bounds")
    return vector


def check_sketch(sketch: bytes, bounds: Bounds) -> IntVector:
    """Read P·y [256], or [0] where no masked update is verified. Raises MalformedMessage."""
    return FIELDS[0].unpack(sketch, ROWS if bounds.masked_norm_max else 0)


def answers(
    shares: FieldShares,
    member: int,
    claim: Claim,
    challenge: bytes,
    bounds: Bounds,
    size: CommitteeSize,
    key_weights: IntVector | None = None,
) -> IntVector:
    """A member's answers for one contribution: [fields x (V, L, Q) x repetitions], flat.

    Give them for one challenge only, ever (module docstring). key_weights: c, where a masked update
    is verified, [repetitions, key_length]; the member's own (`masked_verification.key_weights`).
    """
    plan = layout(bounds, size)
    if (key_weights is None) == bool(bounds.masked_norm_max):
        raise ValueError("what ties a key to its masked vector is for verified updates, and theirs")
    rows, on_key, taus = coefficients(claim, challenge, bounds, size)
    found = np.empty((len(FIELDS), CHECKS, plan.repetitions), dtype=np.int64)
    for at, (field, share) in enumerate(zip(FIELDS, shares, strict=True)):
        basis = slot_basis(field, size)[member]  # [packing]
        linear = field.matmul(rows[at], share[: plan.data, np.newaxis])
        by_slot = linear.reshape(plan.repetitions, 1 + size.packing)
        if key_weights is not None and not at:
            by_slot[:, 1:] += _key_by_slot(key_weights, share[plan.columns :], size)
            by_slot = field.reduce(by_slot)
        found[at, 0] = by_slot[:, 0]
        found[at, 1] = field.matmul(by_slot[:, 1:], basis[:, np.newaxis])[:, 0]
        found[at, 2] = field.reduce(_products(field, share, member, bounds, size) @ taus)
        found[at] += share[plan.data : plan.columns].reshape(CHECKS, plan.repetitions)
        if plan.keys[at]:
            found[at, 0] += field.matmul(on_key[at], share[plan.columns :, np.newaxis])[:, 0]
        found[at] = field.reduce(found[at])
    return found.reshape(-1)


def _key_by_slot(key_weights: IntVector, share: IntVector, size: CommitteeSize) -> IntVector:
    """A share of the key combined for every slot: [repetitions, packing]."""
    by_slot = np.concatenate([to_slots(row, size.packing) for row in key_weights])
    products = FIELDS[0].matmul(by_slot, share[:, np.newaxis])
    return products.reshape(len(key_weights), size.packing)


def _products(
    field: PrimeField, share: IntVector, member: int, bounds: Bounds, size: CommitteeSize
) -> IntVector:
    """A member's shares, of degree 2D, of each Σu² + slack, and of Σ(β² - β)."""
    plan = layout(bounds, size)
    slack = share[plan.slack_start : plan.counts_start]
    found, start = [], 0
    for columns, seen in zip(plan.squared, slack_weights(field, bounds, size)[member], strict=True):
        row = share[start : start + columns]
        found.append((_dot(field, row, row) + _dot(field, slack, seen)) % field.modulus)
        start += columns
    bits = share[plan.slack_start : plan.short]
    found.append((_dot(field, bits, bits) - int(bits.sum())) % field.modulus)
    if not plan.squared:
        found.insert(0, 0)
    return np.array(found, dtype=np.int64)


def answer_count(size: CommitteeSize) -> int:
    """Field elements that a member answers per contribution."""
    return len(FIELDS) * CHECKS * repetitions(size)


def pack_answers(values: Sequence[IntVector]) -> bytes:
    """Answers for several contributions, in order, as bytes."""
    return b"".join(value.astype("<u4").tobytes() for value in values)


def read_answers(data: bytes, count: int, size: CommitteeSize) -> IntVector:
    """Parse answers for `count` contributions into [count, answers].

    Raises MalformedMessage on a wrong size or element.
    """
    each = answer_count(size)
    if len(data) != count * each * ELEMENT_BYTES:
        raise MalformedMessage("answers to a challenge have the wrong size")
    table = (
        np.frombuffer(data, dtype="<u4")
        .astype(np.int64)
        .reshape(count, len(FIELDS), each // len(FIELDS))
    )
    for at, field in enumerate(FIELDS):
        if (table[:, at] >= field.modulus).any():
            raise MalformedMessage("an answer to a challenge is not an element of its field")
    return table.reshape(count, each)


def _dot(field: PrimeField, left: IntVector, right: IntVector) -> int:
    return int(field.matmul(left[np.newaxis], right[:, np.newaxis])[0, 0])


def sum_share(shares: Sequence[FieldShares], bounds: Bounds, size: CommitteeSize) -> bytes:
    """A member's share of the sum of the vectors, counts recombined from their bits, and the keys.

    `direct.read_released` and `direct.decode_sum` read it at length `summed_length`, with
    `key_widths`; `summed_vector` then puts the entries in their order.
    """
    plan = layout(bounds, size)
    powers = [bounds.count_scale * weight for weight in bit_weights(bounds.count_max)]
    powers += bit_weights(2 * bounds.noise_max)
    parts = []
    for at, field in enumerate(FIELDS):
        total = field.reduce(np.sum([share[at][: plan.short] for share in shares], axis=0))
        parts.append(field.pack(total[: plan.update]))
        if plan.counts:
            bits = total[plan.counts_start : plan.ballot_start].reshape(-1, plan.counts)
            weights = field.reduce(np.array([powers], dtype=np.int64))
            # every slot of a column is shifted alike, and so is every share of it
            shift = len(shares) * bounds.noise_max % field.modulus
            parts.append(field.pack(field.subtract(field.matmul(weights, bits)[0], shift)))
        keys = np.sum([share[at][plan.columns :] for share in shares], axis=0)
        parts.append(field.pack(field.reduce(keys)))
    return b"".join(parts)


def summed_length(bounds: Bounds, size: CommitteeSize) -> int:
    """Entries of a decoded sum before `summed_vector`, padding included."""
    return size.packing * layout(bounds, size).summed


def key_widths(bounds: Bounds, size: CommitteeSize) -> tuple[int, ...]:
    """Columns of the summed key in a share of the sum, by field."""
    return layout(bounds, size).keys


def released_bytes(bounds: Bounds, size: CommitteeSize) -> int:
    """Size of a member's share of the sum."""
    plan = layout(bounds, size)
    return ELEMENT_BYTES * (len(FIELDS) * plan.summed + sum(plan.keys))


def summed_vector(decoded: IntVector, bounds: Bounds, size: CommitteeSize) -> IntVector:
    """The sum [length] of the vectors, from the decoded slots [summed_length]."""
    plan = layout(bounds, size)
    slots = decoded.reshape(size.packing, plan.summed)
    update = slots[:, : plan.update].reshape(-1)[: bounds.bounded]
    return np.concatenate([update, slots[:, plan.update :].reshape(-1)[: bounds.counts]])
