"""Judging verified masked contributions: accepted, rejected with a reason, or undecided.

Answers are decoded as those of the direct mode are (`aggregation.verdicts`): within the joint safe
radius min(f, (N - 2D - 1)/2, N - f - 2D - 1), members off V, L or Q erased together, and nothing
decoded with fewer than 2D + 1 + f answers. What the polynomials' slots sum to is then compared with
what public data demand, P·y among them, which aggregators publish and anyone can recompute:

- `RANGE`: R'X + g = v fails in some field, or v is too long. No f members bring that about;
- `BOUND`: a threshold is exceeded, or a slack bit is no bit. Likewise;
- `LINK`: κ·P·y = c·s + κ·(D·a + b) fails. So it does when an aggregator published another P·y, or
  members answered with another c: it convicts nobody before both are recomputed from y and a;
- `UNDECIDED`: the answers lie on no common polynomials. The direct mode can convict where no f
  liars explain that; here members that were given different c may, so **undecodable never means
  that the contributor is guilty**. Opening the shares of those concerned decides.

L carries link and range together in the ring's field, range alone in the other. X is committed to
in both fields and the same R', so a failed range shows in the other field but for 1/p; one that is
wrong in the ring's field only shows there as `LINK`: still rejected, with the less certain reason.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pnyx.errors import MalformedMessage, ProtocolError
from pnyx.protocol.aggregation.bounds import ROWS
from pnyx.protocol.aggregation.encoding import FIELDS, IntVector
from pnyx.protocol.aggregation.masked_verification.answers import weights
from pnyx.protocol.aggregation.masked_verification.bounds import (
    BLOCK,
    MODULUS,
    MaskedBounds,
    layout,
)
from pnyx.protocol.aggregation.masked_verification.payloads import Claim
from pnyx.protocol.aggregation.masked_verification.sketch import Sketch
from pnyx.protocol.aggregation.verdicts import UNDECIDED, Answers, Rule, Verdict, judge_sums
from pnyx.protocol.aggregation.verification import read_published
from pnyx.protocol.selection.security import CommitteeSize


def masked_sketch(
    claim: Claim, vector: Sequence[NDArray[np.uint32]], bounds: MaskedBounds, offset: int = 0
) -> IntVector:
    """P·y [256] modulo p₁: what aggregators publish.

    vector: the residues of y block by block; those beyond what is sent do not count. offset: what
    every entry that is sent carries beside z, in case values were made positive before masking.
    """
    if len(vector) != bounds.blocks:
        raise ValueError("expected the blocks of the bounds")
    shift = np.uint32((MODULUS - offset) % MODULUS)
    return FIELDS[0].reduce(Sketch(claim.sketched).apply(_without_offset(vector, bounds, shift)))


def _without_offset(
    vector: Sequence[NDArray[np.uint32]], bounds: MaskedBounds, shift: np.uint32
) -> Iterator[NDArray[np.uint32]]:
    for index, block in enumerate(vector):
        sent = bounds.sent(index)
        if sent == BLOCK and not shift:
            yield block
            continue
        values = block.reshape(-1) + shift  # below 2·p₁: x - p₁ wraps around where x < p₁
        values = np.minimum(values, values - np.uint32(MODULUS))
        values[sent:] = 0
        yield values


def pack_sketch(sketch: IntVector) -> bytes:
    """P·y as 1,024 bytes."""
    return FIELDS[0].pack(sketch)


def read_sketch(data: bytes) -> IntVector:
    """Parse P·y; raises MalformedMessage."""
    return FIELDS[0].unpack(data, ROWS)


def judge(
    size: CommitteeSize,
    bounds: MaskedBounds,
    claims: Sequence[Claim],
    sketches: Mapping[int, IntVector],
    challenge: bytes,
    answers: Answers,
) -> dict[int, Verdict]:
    """Judge contributions, contributor -> verdict.

    sketches: contributor -> P·y [256]. answers: member -> contributor -> what it answered. A
    contribution without a sketch is undecided.
    """
    verdicts: dict[int, Verdict] = {}
    wanted: dict[int, IntVector] = {}
    for claim in claims:
        who = claim.contributor
        try:
            published = read_published(claim.published, bounds.range_step.published_max)
        except ProtocolError:
            verdicts[who] = Verdict(accepted=False, rule=Rule.RANGE)
            continue
        if who not in sketches:
            verdicts[who] = UNDECIDED
            continue
        if sketches[who].shape != (ROWS,):
            raise MalformedMessage("a sketch has 256 entries")
        wanted[who] = _wanted(size, bounds, claim, published, sketches[who], challenge)
    for who, verdict in judge_sums(size, wanted, answers, _verdict).items():
        verdicts[who] = UNDECIDED if verdict.rule is Rule.SHARING else verdict
    return verdicts


def _wanted(
    size: CommitteeSize,
    bounds: MaskedBounds,
    claim: Claim,
    published: IntVector,
    sketch: IntVector,
    challenge: bytes,
) -> IntVector:
    """What the slots of L and Q must sum to: [fields, 2, repetitions]."""
    drawn = weights(claim, challenge, layout(bounds, size).repetitions)
    link = FIELDS[0].matmul(drawn.kappa, sketch[:, np.newaxis])[:, 0]
    ranges = drawn.rho @ published  # below 2^(27 + 25 + 8)
    limits = np.array(bounds.thresholds, dtype=np.int64)
    squares = limits @ drawn.taus[: len(limits)]  # below 2^(27 + 29)
    wanted = []
    for at, field in enumerate(FIELDS):
        linear = ranges if at else ranges + link
        wanted.append(field.reduce(np.stack([linear, squares])))
    return np.stack(wanted)


def _verdict(holds: NDArray[np.bool_], off: frozenset[int]) -> Verdict:
    """Read the outcome of the tests [fields, (L, Q), repetitions]."""
    ring, other = holds
    if not other[0].all():
        return Verdict(accepted=False, rule=Rule.RANGE, off=off)
    if not holds[:, 1].all():
        return Verdict(accepted=False, rule=Rule.BOUND, off=off)
    if not ring[0].all():
        return Verdict(accepted=False, rule=Rule.LINK, off=off)
    return Verdict(accepted=True, off=off)
