"""Direct aggregation: packed Shamir shares, a degree test, and a sum that names wrong shares.

A contributor shares its integer vector to the committee over two 27-bit fields and adds, per field
and repetition of the test, one random column (the *blind*). After the closed list is locked, a
challenge that nobody could foresee gives random coefficients; each member answers, per
contribution, with blind + coefficients x share. The answers of all members lie on one polynomial
of the sharing's degree only if all shares do, except with probability about 2^-47: so every later
sum decodes. Blinds hide the shares from whoever sees the answers.

The decoding radius is the safe one: beyond it, a dealer colluding with members could steer the
decoder to a polynomial of their choice (docs/protocol.md, section 11).
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import msgspec
import numpy as np

from pnyx.errors import DecodingError, MalformedMessage
from pnyx.primitives.hashing import digest
from pnyx.primitives.sampling import Sampler
from pnyx.primitives.sharing import PackedSharing, is_codeword, locate_errors, safe_radius
from pnyx.protocol.aggregation.encoding import (
    FIELDS,
    IntVector,
    from_slots,
    slot_width,
    to_slots,
)
from pnyx.protocol.selection.security import CommitteeSize

REPETITIONS = 2
ELEMENT_BYTES = 4
SALT_BYTES = 16
CHECKS = REPETITIONS * len(FIELDS)

FieldShares = tuple[IntVector, ...]  # one [width + REPETITIONS] array per field


@lru_cache(maxsize=16)
def sharings(size: CommitteeSize) -> tuple[PackedSharing, ...]:
    """The committee's packed Shamir sharing over each field."""
    return tuple(
        PackedSharing(field, size.size, size.corrupt_max, size.packing) for field in FIELDS
    )


def share_vector(vector: IntVector, size: CommitteeSize, seed: bytes) -> list[bytes]:
    """Share a vector of integers; return each member's payload, salted so that it can be hashed.

    `seed` is secret, fresh for this contribution, and determines every random choice.
    """
    slots = to_slots(vector, size.packing)
    sampler = Sampler(seed, "pnyx/direct/shares")
    per_field: list[IntVector] = []
    for field, sharing in zip(FIELDS, sharings(size), strict=True):
        blinds = sampler.field_elements(field.modulus, (size.packing, REPETITIONS))
        secrets = np.concatenate([np.mod(slots, field.modulus), blinds], axis=1)
        noise = sampler.field_elements(field.modulus, (size.corrupt_max, secrets.shape[1]))
        per_field.append(sharing.share(secrets, noise))
    salts = sampler.bytes(SALT_BYTES * size.size)
    return [
        salts[member * SALT_BYTES : (member + 1) * SALT_BYTES]
        + b"".join(
            field.pack(shares[member]) for field, shares in zip(FIELDS, per_field, strict=True)
        )
        for member in range(size.size)
    ]


def payload_bytes(length: int, packing: int) -> int:
    """Size of one member's payload for a vector of this length."""
    return SALT_BYTES + len(FIELDS) * ELEMENT_BYTES * (slot_width(length, packing) + REPETITIONS)


def read_payload(payload: bytes, length: int, packing: int) -> FieldShares:
    """Parse a member's payload. Raises MalformedMessage on a wrong size or element."""
    if len(payload) != payload_bytes(length, packing):
        raise MalformedMessage("a share has the wrong size for this study's vector")
    count = slot_width(length, packing) + REPETITIONS
    body = payload[SALT_BYTES:]
    step = ELEMENT_BYTES * count
    return tuple(
        field.unpack(body[at * step : (at + 1) * step], count) for at, field in enumerate(FIELDS)
    )


def check_coefficients(challenge: bytes, contributor: int, width: int) -> tuple[IntVector, ...]:
    """Random coefficients [REPETITIONS, width] per field, from the challenge beacon."""
    sampler = Sampler(
        digest("pnyx/direct/check", challenge, contributor.to_bytes(4, "big")),
        "pnyx/direct/coefficients",
    )
    return tuple(sampler.field_elements(field.modulus, (REPETITIONS, width)) for field in FIELDS)


def check_values(shares: FieldShares, challenge: bytes, contributor: int) -> IntVector:
    """A member's answers for one contribution: [CHECKS], field after field."""
    answers: list[IntVector] = []
    width = len(shares[0]) - REPETITIONS
    coefficients = check_coefficients(challenge, contributor, width)
    for field, share, rho in zip(FIELDS, shares, coefficients, strict=True):
        linear = field.matmul(rho, share[:width, None])[:, 0]
        answers.append(field.add(linear, share[width:]))
    return np.concatenate(answers)


def pack_values(values: Sequence[IntVector]) -> bytes:
    """Answers for several contributions, in order, as bytes."""
    return b"".join(value.astype("<u4").tobytes() for value in values)


def read_values(data: bytes, count: int) -> IntVector:
    """Parse answers into [count, CHECKS]. Raises MalformedMessage on a wrong size or element."""
    per_field = REPETITIONS * ELEMENT_BYTES
    if len(data) != count * CHECKS * ELEMENT_BYTES:
        raise MalformedMessage("check values have the wrong size")
    table = np.frombuffer(data, dtype="<u4").reshape(count, CHECKS).astype(np.int64)
    for at, field in enumerate(FIELDS):
        if (table[:, at * REPETITIONS : (at + 1) * REPETITIONS] >= field.modulus).any():
            raise MalformedMessage("a check value is not an element of its field")
    assert per_field * len(FIELDS) == CHECKS * ELEMENT_BYTES
    return table


class Judgement(msgspec.Struct, frozen=True):
    """What the check values of a closed list say."""

    accepted: tuple[int, ...]  # contributors, ascending
    pool: tuple[int, ...]  # members that hold a good share of every accepted contribution
    rejected: tuple[int, ...]


def judge(
    size: CommitteeSize, closed: Sequence[int], answers: Mapping[int, Mapping[int, IntVector]]
) -> Judgement:
    """Choose which contributions count and which members can add them up.

    answers: member -> contributor -> [CHECKS]. A pure function of signed answers: every member
    that sees the same answers chooses the same set. A contribution counts when its answers lie on
    one polynomial but for few members, and when at least a quorum holds it together with all the
    contributions accepted before it (those held by most members first).
    """
    suspects = {who: _suspects(size, who, answers) for who in closed}
    pool = frozenset(answers)
    accepted: list[int] = []
    good_holders = {
        who: frozenset(m for m, given in answers.items() if who in given) - off
        for who, off in suspects.items()
        if off is not None
    }
    for who in sorted(good_holders, key=lambda who: (-len(good_holders[who]), who)):
        smaller = pool & good_holders[who]
        if len(smaller) >= size.quorum:
            pool = smaller
            accepted.append(who)
    chosen = frozenset(accepted)
    return Judgement(
        accepted=tuple(sorted(chosen)),
        pool=tuple(sorted(pool)),
        rejected=tuple(who for who in sorted(closed) if who not in chosen),
    )


def _suspects(
    size: CommitteeSize, who: int, answers: Mapping[int, Mapping[int, IntVector]]
) -> frozenset[int] | None:
    """Members whose answer is off the polynomial; None when no polynomial can be named."""
    members = tuple(sorted(member for member, given in answers.items() if who in given))
    if len(members) < size.quorum:
        return None
    values = np.stack([answers[member][who] for member in members])  # [members, CHECKS]
    off: set[int] = set()
    try:
        radius = safe_radius(len(members), size.degree, size.corrupt_max)
        for at, field in enumerate(FIELDS):
            columns = values[:, at * REPETITIONS : (at + 1) * REPETITIONS]
            good = is_codeword(field, members, columns, size.degree)
            for column in np.flatnonzero(~good):
                wrong = locate_errors(field, members, columns[:, column], size.degree, radius)
                off.update(members[position] for position in wrong)
    except DecodingError:
        return None
    return frozenset(off) if len(off) <= radius else None


def add_shares(shares: Sequence[FieldShares], length: int, packing: int) -> bytes:
    """A member's share of the sum, without the blinds, as bytes."""
    width = slot_width(length, packing)
    return b"".join(
        field.pack(np.mod(np.sum([share[at][:width] for share in shares], axis=0), field.modulus))
        for at, field in enumerate(FIELDS)
    )


def read_released(data: bytes, length: int, packing: int) -> FieldShares:
    """Parse a released share of the sum. Raises MalformedMessage."""
    width = slot_width(length, packing)
    step = ELEMENT_BYTES * width
    if len(data) != step * len(FIELDS):
        raise MalformedMessage("a released share has the wrong size")
    return tuple(
        field.unpack(data[at * step : (at + 1) * step], width) for at, field in enumerate(FIELDS)
    )


def decode_sum(
    size: CommitteeSize, released: Mapping[int, FieldShares], length: int
) -> tuple[IntVector, tuple[int, ...]]:
    """Decode the sum and name the members whose released share is wrong.

    Raises DecodingError when too few shares are right for a sum that can be trusted.
    """
    members = tuple(sorted(released))
    radius = safe_radius(len(members), size.degree, size.corrupt_max)
    liars: set[int] = set()
    residues: list[IntVector] = []
    for at, sharing in enumerate(sharings(size)):
        field = FIELDS[at]
        while True:
            honest = tuple(member for member in members if member not in liars)
            table = np.stack([released[member][at] for member in honest])
            bad_columns = np.flatnonzero(~is_codeword(field, honest, table, size.degree))
            if not len(bad_columns):
                break
            left = radius - len(liars)
            wrong = locate_errors(field, honest, table[:, bad_columns[0]], size.degree, left)
            liars.update(honest[position] for position in wrong)
            if len(liars) > radius:
                raise DecodingError("more released shares are wrong than the committee tolerates")
        residues.append(sharing.reconstruct(honest, table))
    return from_slots(tuple(residues), length), tuple(sorted(liars))
