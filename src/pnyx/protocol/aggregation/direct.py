"""Direct aggregation: which contributions count, and the sum of their packed Shamir shares.

Contributions are shared and proven by `verification`, and judged by `verdicts`. Here the accepted
set follows from the verdicts, and the sum is decoded from the shares that members release. The
decoding radius is the safe one: beyond it, a dealer colluding with members could steer the
decoder to a polynomial of their choice (docs/protocol.md, section 11).
"""

from collections.abc import Mapping
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import msgspec
import numpy as np

from pnyx.errors import DecodingError, MalformedMessage
from pnyx.primitives.sharing import PackedSharing, is_codeword, locate_errors, safe_radius
from pnyx.protocol.aggregation.encoding import FIELDS, IntVector, from_slots, slot_width
from pnyx.protocol.aggregation.verdicts import Answers, Rule, Verdict
from pnyx.protocol.selection.security import CommitteeSize

ELEMENT_BYTES = 4

FieldShares = tuple[IntVector, ...]  # one [width] array per field


@lru_cache(maxsize=16)
def sharings(size: CommitteeSize) -> tuple[PackedSharing, ...]:
    """The committee's packed Shamir sharing over each field."""
    return tuple(
        PackedSharing(field, size.size, size.corrupt_max, size.packing) for field in FIELDS
    )


class Judgement(msgspec.Struct, frozen=True):
    """Which contributions of a closed list count, and who can add them up.

    rejected: contributor -> the rule that it broke, None when too few members hold a good share.
    off: contributor -> members whose answers lie off its polynomials, where there are any.
    """

    accepted: tuple[int, ...]  # contributors, ascending
    pool: tuple[int, ...]  # members that hold a good share of every accepted contribution
    rejected: dict[int, Rule | None]
    off: dict[int, frozenset[int]]


def settle(size: CommitteeSize, verdicts: Mapping[int, Verdict], answers: Answers) -> Judgement:
    """Choose the accepted set: the valid contributions that a whole pool of members holds.

    Members that lack contributions are left out of the pool, as long as a quorum remains. Who goes
    is decided by the contributions that at most f answering members lack, in two passes:

    1. the members that lack most *of these* go first, until none lacks any;
    2. what room is left serves the other contributions, those that fewest lack first.

    Then whatever the whole pool holds is accepted. A pure function: every member that sees the same
    answers chooses the same set.

    **What is guaranteed.** Let n members answer, n >= q + f, at most f of them corrupt, and call a
    contribution *whole* if all honest ones among them hold a good share, as they do of an honest
    contribution that reached them. Only corrupt members lack it, so it decides in pass 1. Let b be
    the contributions that are not whole and decide there too: that some but at most f lack, dealt
    to leave honest members out. Then at most b·f²/(n - q) whole contributions are lost: none where
    b = 0, whatever members claim and however many contributions reached some members only.

    For if one is lost, pass 1 ended with a quorum, which keeps j >= 1 corrupt members; of the n - q
    that went, n - q - f + j at least are honest. Let L be the most that one of the j lacks: each of
    those that went lacks as many; honest ones lack only the b, which at most f lack each. So
    L·(n - q - f + j) <= b·f, and at most j·L <= b·f·j/(n - q - f + j) <= b·f²/(n - q) are lost.
    """
    holders = {
        who: frozenset(m for m, given in answers.items() if who in given) - verdict.off
        for who, verdict in verdicts.items()
        if verdict.accepted
    }
    pool = set(answers)
    lacked = {who: len(pool - held) for who, held in holders.items()}
    deciding = [held for who, held in holders.items() if lacked[who] <= size.corrupt_max]
    lacking = {member: sum(member not in held for held in deciding) for member in pool}
    while len(pool) > size.quorum:
        worst = max(pool, key=lambda member: (lacking[member], member))
        if not lacking[worst]:
            break
        pool.remove(worst)
    for who in sorted(holders, key=lambda who: (lacked[who], who)):
        if len(pool & holders[who]) >= size.quorum:
            pool &= holders[who]
    enough = len(pool) >= size.quorum
    chosen = {who for who, held in holders.items() if enough and pool <= held}
    return Judgement(
        accepted=tuple(sorted(chosen)),
        pool=tuple(sorted(pool)),
        rejected={who: verdicts[who].rule for who in sorted(verdicts) if who not in chosen},
        off={who: verdicts[who].off for who in sorted(verdicts) if verdicts[who].off},
    )


NO_KEYS = (0,) * len(FIELDS)


class DecodedSum(NamedTuple):
    """The sum [length] of the vectors, that of the keys by field, and whose shares were wrong."""

    total: IntVector
    keys: FieldShares
    liars: tuple[int, ...]


def read_released(
    data: bytes, length: int, packing: int, keys: tuple[int, ...] = NO_KEYS
) -> FieldShares:
    """Parse a released share of the sum. keys: `verification.key_widths`.

    Raises MalformedMessage.
    """
    widths = [slot_width(length, packing) + key for key in keys]
    if len(data) != ELEMENT_BYTES * sum(widths):
        raise MalformedMessage("a released share has the wrong size")
    ends = [ELEMENT_BYTES * end for end in accumulate(widths)]
    return tuple(
        field.unpack(data[end - ELEMENT_BYTES * width : end], width)
        for field, end, width in zip(FIELDS, ends, widths, strict=True)
    )


def decode_sum(size: CommitteeSize, released: Mapping[int, FieldShares], length: int) -> DecodedSum:
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
    width = slot_width(length, size.packing)
    total = from_slots(tuple(slots[:, :width] for slots in residues), length)
    keys = tuple(slots[:, width:].reshape(-1) for slots in residues)
    return DecodedSum(total, keys, tuple(sorted(liars)))


def wrong_shares(
    size: CommitteeSize,
    released: Mapping[int, bytes],
    length: int,
    keys: tuple[int, ...] = NO_KEYS,
) -> frozenset[int]:
    """Members whose released share has the wrong form or, if all together decode, is wrong.

    released: member -> packed share; whoever released nothing did nothing wrong.
    """
    malformed: set[int] = set()
    shares: dict[int, FieldShares] = {}
    for member, data in released.items():
        try:
            if data:
                shares[member] = read_released(data, length, size.packing, keys)
        except MalformedMessage:
            malformed.add(member)
    try:
        liars = decode_sum(size, shares, length).liars
    except DecodingError:
        return frozenset(malformed)
    return frozenset(malformed.union(liars))
