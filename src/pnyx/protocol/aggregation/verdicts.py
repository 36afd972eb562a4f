"""Judging contributions from the members' answers: who is accepted, and who answered wrongly.

A pure function of signed answers: every member that sees the same answers reaches the same
verdicts. For one contribution, with N answers, at most

    e = min(f, (N - 2D - 1) / 2, N - f - 2D - 1)

members may be off *all its polynomials together*, V, L and Q in either field and every repetition.
Within that radius at least 2D + 1 honest members lie on every decoded polynomial, so that liars
choose none of them (erasing a member for V and then decoding Q with its own radius counts twice:
tests/adversarial/test_colluding_dealer_steers_verification.py). `Rule.RANGE` and `Rule.BOUND` are
read off such polynomials only, which no f members can bring about.

Beyond that radius nobody is named but, maybe, the contributor: if *any f* answers, erased, still
leave no polynomials, it shares no vector at all (`Rule.SHARING`). Otherwise the contribution is
*undecided*: a dispute, nobody's guilt.

**No honest contributor is convicted of SHARING**, whoever picks the answers. At most f of them are
not those of its shares. Polynomials are decoded one after the other, V, L, Q, each of its own
degree d, and members found off one are erased for the next. Suppose that only corrupt members are
erased so far, r of them: at most f - r of the n - r others are wrong. A polynomial is decoded only
if 2(f - r) <= n - r - d - 1: two polynomials with f - r errors each would share more than d points
and be one. So decoding succeeds, finds the contributor's own, and corrupt members off it: none but
corrupt members are ever erased, and decoding never fails. With n >= 2D + 1 + 2f answers every
polynomial is decoded, and with n >= D + 1 + 2f V is, which tells whether the shares are shares.

A member that is off may be a liar, or may have been dealt a wrong share: opening its committed
share tells which. Until then it just cannot add up this contribution.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

import msgspec
import numpy as np
from numpy.typing import NDArray

from pnyx.errors import DecodingError, ProtocolError
from pnyx.primitives.sharing import is_codeword, locate_errors, safe_radius
from pnyx.protocol.aggregation.bounds import CHECKS, Bounds, layout
from pnyx.protocol.aggregation.coefficients import Claim, ballot_wanted, weights
from pnyx.protocol.aggregation.encoding import FIELDS, IntVector
from pnyx.protocol.aggregation.verification import check_published, check_sketch, codes
from pnyx.protocol.selection.security import CommitteeSize

Answers = Mapping[int, Mapping[int, IntVector]]  # member -> contributor -> [answers]


class Rule(StrEnum):
    """Why a contribution does not count."""

    LINK = "the key and the digits that it shares are not those of its masked vector"
    RANGE = (
        "its shares are not the short integers that its published vector vouches for, or no ballot"
    )
    BOUND = "its update is above the norm bound, or a bit of it is not a bit"
    SHARING = "its shares are those of no vector: no f lying members could explain its answers"
    UNDECIDED = "its answers lie on no common polynomials: open the shares before blaming anyone"

    @property
    def convicts(self) -> bool:
        """Whether only a corrupt contributor can have broken this rule."""
        return self is not Rule.UNDECIDED


class Verdict(msgspec.Struct, frozen=True):
    """Whether a contribution counts, the rule that it broke, and the members off its polynomials.

    `off` is empty where answers lie on no common polynomials: no member is named.
    """

    accepted: bool
    rule: Rule | None = None
    off: frozenset[int] = frozenset()


UNDECIDED = Verdict(accepted=False, rule=Rule.UNDECIDED)

_Read = Callable[[NDArray[np.bool_], frozenset[int]], Verdict]


def judge_one(
    size: CommitteeSize,
    bounds: Bounds,
    claim: Claim,
    challenge: bytes,
    answers: Mapping[int, IntVector],
) -> Verdict:
    """Judge one contribution from its answers, member -> [answers]."""
    who = claim.contributor
    return judge(size, bounds, [claim], challenge, {m: {who: a} for m, a in answers.items()})[who]


def judge(
    size: CommitteeSize,
    bounds: Bounds,
    claims: Sequence[Claim],
    challenge: bytes,
    answers: Answers,
) -> dict[int, Verdict]:
    """Judge contributions, contributor -> verdict; those with the same answerers share the work."""
    verdicts: dict[int, Verdict] = {}
    wanted: dict[int, IntVector] = {}
    for claim in claims:
        try:
            published = check_published(claim.published, bounds)
            sketch = check_sketch(claim.sketch, bounds)
        except ProtocolError:
            verdicts[claim.contributor] = Verdict(accepted=False, rule=Rule.RANGE)
            continue
        wanted[claim.contributor] = _wanted(size, bounds, claim, challenge, published, sketch)
    read = _linked_verdict if bounds.masked_norm_max else _verdict
    return verdicts | _judge_sums(size, wanted, answers, read)


def _judge_sums(
    size: CommitteeSize, wanted: Mapping[int, IntVector], answers: Answers, read: _Read
) -> dict[int, Verdict]:
    """Judge contributions by what the slots of L and Q must sum to, contributor -> verdict.

    wanted: contributor -> [fields, 2, repetitions]. read: makes a verdict of the sums that are
    right, [fields, 2, repetitions], and the members that are off.
    """
    verdicts: dict[int, Verdict] = {}
    groups: dict[tuple[int, ...], list[int]] = {}
    for who in wanted:
        members = tuple(sorted(m for m, given in answers.items() if who in given))
        groups.setdefault(members, []).append(who)
    for members, group in groups.items():
        if not members:
            verdicts.update(dict.fromkeys(group, UNDECIDED))
            continue
        sums = np.stack([wanted[who] for who in group])  # [claims, fields, 2, repetitions]
        shape = (len(FIELDS), CHECKS, sums.shape[-1])
        table = np.stack([[answers[m][who] for who in group] for m in members])
        values = table.reshape(len(members), len(group), *shape)
        found = _judge_group(size, sums, members, values, read)
        verdicts.update(zip(group, found, strict=True))
    return verdicts


def _radius(answers: int, size: CommitteeSize) -> int | None:
    """How many members may be off a contribution; None when there are too few answers."""
    try:
        return min(size.corrupt_max, safe_radius(answers, 2 * size.degree, size.corrupt_max))
    except DecodingError:
        return None


def _judge_group(
    size: CommitteeSize,
    wanted: IntVector,
    members: tuple[int, ...],
    values: IntVector,
    read: _Read,
) -> list[Verdict]:
    """Judge contributions answered by the same members: values [members, claims, *shape]."""
    radius = _radius(len(members), size)
    if radius is None:
        return [_undecoded(size, members, values[:, at]) for at in range(len(wanted))]
    clean = _on_polynomials(size, members, values)
    holds = _slot_sums(size, members, values) == wanted  # [claims, fields, 2, repetitions]
    verdicts = []
    for at in range(len(wanted)):
        if clean[at]:
            verdicts.append(read(holds[at], frozenset()))
            continue
        off = _off(size, members, values[:, at], radius)
        if off is None:
            verdicts.append(_undecoded(size, members, values[:, at]))
            continue
        kept = [position for position, member in enumerate(members) if member not in off]
        kept_members = tuple(members[position] for position in kept)
        sums = _slot_sums(size, kept_members, values[kept, at : at + 1])
        verdicts.append(read(sums[0] == wanted[at], off))
    return verdicts


def _undecoded(size: CommitteeSize, members: tuple[int, ...], values: IntVector) -> Verdict:
    """The verdict where more members are off, or fewer answer, than can be decoded safely."""
    if _off(size, members, values, size.corrupt_max) is None:
        return Verdict(accepted=False, rule=Rule.SHARING)
    return UNDECIDED


def _verdict(holds: NDArray[np.bool_], off: frozenset[int]) -> Verdict:
    """Read the outcome of the tests [fields, (L, Q), repetitions]."""
    if not holds[:, 0].all():
        return Verdict(accepted=False, rule=Rule.RANGE, off=off)
    if not holds[:, 1].all():
        return Verdict(accepted=False, rule=Rule.BOUND, off=off)
    return Verdict(accepted=True, off=off)


def _linked_verdict(holds: NDArray[np.bool_], off: frozenset[int]) -> Verdict:
    """As `_verdict`, where L carries link and range in the ring's field, range alone in the other.

    X is committed to in both fields, and the same R', so a failed range shows in the other one but
    for 1/p. What fails in the ring's field only is the link.
    """
    in_ring, other = holds
    found = _verdict(np.stack([np.stack([other[0], in_ring[1]]), other]), off)
    if found.accepted and not in_ring[0].all():
        return Verdict(accepted=False, rule=Rule.LINK, off=off)
    return found


def _wanted(
    size: CommitteeSize,
    bounds: Bounds,
    claim: Claim,
    challenge: bytes,
    published: IntVector,
    sketch: IntVector,
) -> IntVector:
    """What the slots of L and Q must sum to: [fields, 2, repetitions].

    published, sketch: v [256] and P·y [256 or 0], as the claim states them.
    """
    count = layout(bounds, size).repetitions
    drawn = weights(claim, challenge, bounds, count)
    products = drawn.rho @ published  # below 2^(27 + 25 + 8)
    limits = np.array([each.threshold for each in bounds.squares], dtype=np.int64)
    squares = limits @ drawn.taus[: len(limits)]  # below 2^(27 + 31)
    wanted = []
    for at, field in enumerate(FIELDS):
        linear = products + ballot_wanted(drawn.theta, bounds, field)
        if bounds.masked_norm_max and not at:
            linear = linear + field.matmul(drawn.kappa, sketch[:, np.newaxis])[:, 0]
        wanted.append(field.reduce(np.stack([linear, squares])))
    return np.stack(wanted)


def _on_polynomials(
    size: CommitteeSize, members: tuple[int, ...], values: IntVector
) -> NDArray[np.bool_]:
    """Tell for each contribution whether all its answers lie on polynomials: [claims]."""
    clean = np.ones(values.shape[1], dtype=np.bool_)
    for at, sharings in enumerate(codes(size)):
        for check, sharing in enumerate(sharings):
            columns = values[:, :, at, check].reshape(len(members), -1)
            good = is_codeword(sharing.field, members, columns, sharing.degree)
            clean &= good.reshape(values.shape[1], -1).all(axis=1)
    return clean


def _slot_sums(size: CommitteeSize, members: tuple[int, ...], values: IntVector) -> IntVector:
    """Sums over the slots of L and Q: [claims, fields, 2, repetitions]."""
    claims, repetitions = values.shape[1], values.shape[-1]
    sums = np.empty((claims, len(FIELDS), CHECKS - 1, repetitions), dtype=np.int64)
    for at, sharings in enumerate(codes(size)):
        for check, sharing in enumerate(sharings[1:]):
            columns = values[:, :, at, 1 + check].reshape(len(members), -1)
            slots = sharing.reconstruct(members, columns)  # [packing, claims x repetitions]
            total = sharing.field.reduce(slots.sum(axis=0))
            sums[:, at, check] = total.reshape(claims, repetitions)
    return sums


def _off(
    size: CommitteeSize, members: tuple[int, ...], values: IntVector, radius: int
) -> frozenset[int] | None:
    """Members off the polynomials of one contribution, values [members, *shape]; None if too many.

    V comes first: it has the largest distance, and shows wrong shares whatever the blinds are.
    Polynomials that so many errors leave ambiguous, as only a radius that is not safe can, are
    passed over.
    """
    kept = list(range(len(members)))
    for check in range(CHECKS):
        for at, sharings in enumerate(codes(size)):
            field, degree = sharings[check].field, sharings[check].degree
            for column in values[:, at, check].T:
                indices = tuple(members[position] for position in kept)
                left = radius - (len(members) - len(kept))
                if 2 * left > len(kept) - degree - 1:
                    continue
                try:
                    wrong = locate_errors(field, indices, column[kept], degree, left)
                except DecodingError:
                    return None
                kept = [position for nth, position in enumerate(kept) if nth not in wrong]
    return frozenset(members) - frozenset(members[position] for position in kept)
