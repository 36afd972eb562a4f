"""What ties the shared key of a contribution to its masked vector: c = κ·P·a, of public data only.

P and y are public, s is shared, so members hold shares of any linear combination of z = y - a·s.
L (`aggregation.verification`) takes κ·P·z: it must come to κ·P·y, where it is c·s + κ·(D·a + b).

**A wrong c opens an entry.** The slot sum of L is public; with c' = c + t·a in the place of c it
differs by (t·a)·s = t·y - t·z, so whoever could choose c would read any combination t·z of an
honest contributor's vector, one per repetition. 2l - 1 honest members that believe it are enough,
beside f corrupt ones. So every member computes c itself, and believes nobody:
tests/adversarial/test_masked_coefficients_open_an_entry.py. It never fetches y.
"""

from collections.abc import Iterable

import numpy as np

from pnyx.primitives.ring import LANES, Ring
from pnyx.protocol.aggregation.bounds import Bounds, layout
from pnyx.protocol.aggregation.coefficients import Claim, weights
from pnyx.protocol.aggregation.encoding import FIELDS, IntVector
from pnyx.protocol.aggregation.masked_verification.bounds import (
    MODULUS,
    RING_DEGREE,
    MaskedBounds,
)
from pnyx.protocol.aggregation.masked_verification.sketch import Sketch
from pnyx.protocol.selection.security import CommitteeSize

RING = Ring(RING_DEGREE, MODULUS)


def key_weights(
    claim: Claim,
    challenge: bytes,
    masked: MaskedBounds,
    bounds: Bounds,
    size: CommitteeSize,
    public: Iterable[np.ndarray],
) -> IntVector:
    """c = κ·P·a: what multiplies the key in L, [repetitions, 1024] modulo p₁.

    public: the blocks of a in order, transformed, [1024, LANES] each. For polynomials a and t, the
    latter a row of κ·P, Σ_i t_i·(a·s)_i = Σ_i (a*·t)_i·s_i with a* = a(1/X). The transform of a* is
    that of a in reverse: in the order of `primitives.ring`, 1/ψ^(2r+1) comes n - 1 - i th.
    """
    repetitions = layout(bounds, size).repetitions
    kappa = weights(claim, challenge, bounds, repetitions).kappa
    transposed = Sketch(claim.sketched).transpose(kappa, FIELDS[0])
    sums = np.zeros((repetitions, RING_DEGREE), dtype=np.uint64)
    for index, block in enumerate(public):
        mirrored = np.ascontiguousarray(block[np.newaxis, ::-1])
        columns = transposed.chunk(index)
        columns[:, masked.sent(index) :] = 0
        rows = columns.reshape(repetitions, 1, RING_DEGREE, LANES)
        for row, total in zip(rows, sums, strict=True):
            RING.add_products_into(total, row, mirrored)
    return np.stack([RING.inverse(each).astype(np.int64) for each in sums.astype(np.uint32)])
