"""Whoever could tell members the key's coefficients would read an honest contribution.

c depends on public data only, but the slot sum of L is public too: with c + t·a instead of c it
gives away t·z. One entry of the vector for each repetition, exactly, as the error is rounded away.
So members believe nobody: no message carries c.
"""

import numpy as np
import pytest
from tests.support.forger import wanted_sums
from tests.support.masked_forger import MaskedForger, hidden, public, update

from pnyx.protocol.aggregation.bounds import CHECKS
from pnyx.protocol.aggregation.encoding import FIELDS
from pnyx.protocol.aggregation.masked_verification.bounds import (
    MODULUS,
    RING_DEGREE,
    MaskedBounds,
)
from pnyx.protocol.aggregation.masked_verification.key_weights import RING
from pnyx.protocol.aggregation.verification import codes
from pnyx.protocol.selection import committee_size

SIZE = committee_size(13, 2, 3)
BOUNDS = MaskedBounds(20_000, 4096, 1024, 24, 6, 512)
CHALLENGE = b"c" * 32
ENTRIES = (7, 12_345)


def functional(entry: int) -> np.ndarray:
    """t·a for the unit vector t: the coefficients of the key in one entry of a·s."""
    unit = np.zeros((1, RING_DEGREE, 32), dtype=np.uint32)
    unit.reshape(-1)[entry] = 1
    total = np.zeros(RING_DEGREE, dtype=np.uint64)
    RING.add_products_into(total, unit, np.ascontiguousarray(public(1)[:, ::-1]))
    return RING.inverse(total.astype(np.uint32)).astype(np.int64)


def read(forger: MaskedForger, given: dict[int, np.ndarray], members: list[int]) -> list[int]:
    """What the slot sums of L say beyond what they should be: entries of z, centred."""
    wanted = wanted_sums(SIZE, forger.bounds, forger.claim, CHALLENGE)[0, 0]
    table = np.stack([given[m].reshape(2, CHECKS, -1)[0, 1] for m in members])
    slots = codes(SIZE)[0][1].reconstruct(members, table)
    masks = FIELDS[0].reduce(slots.sum(axis=0) - wanted)  # (a·s)_entry
    vector = forger.vector.reshape(-1)[list(ENTRIES)].astype(np.int64)
    return FIELDS[0].centred(FIELDS[0].reduce(vector - masks[: len(ENTRIES)])).tolist()


@pytest.fixture
def contribution() -> tuple[MaskedForger, np.ndarray]:
    values = update(BOUNDS, 0.8, 1)
    return MaskedForger(BOUNDS, SIZE, hidden(BOUNDS, values, 1)), values


def test_members_that_believe_an_aggregator_open_entries(contribution):
    forger, values = contribution
    row = forger.key_row(CHALLENGE)
    for repetition, entry in enumerate(ENTRIES):
        row[repetition] = (row[repetition] + functional(entry)) % MODULUS
    fooled = list(range(SIZE.degree + SIZE.packing))  # f of them are the aggregator's own
    given = forger.answers(CHALLENGE, fooled, key_row=row)
    found = read(forger, given, fooled)
    half = BOUNDS.scale // 2
    assert [(z + half) // BOUNDS.scale for z in found] == values[list(ENTRIES)].tolist()
    assert (row != forger.key_row(CHALLENGE)).any(), "what an honest member computes is another"


def test_by_the_right_coefficients_nothing_is_opened(contribution):
    forger, values = contribution
    row = forger.key_row(CHALLENGE)
    members = list(range(SIZE.size))
    given = forger.answers(CHALLENGE, members, key_row=row)
    found = read(forger, given, members)
    assert (
        found
        == FIELDS[0].centred(forger.vector.reshape(-1)[list(ENTRIES)].astype(np.int64)).tolist()
    ), "the sums are what they must be: y is all that is seen"
    assert (np.array(found) // BOUNDS.scale != values[list(ENTRIES)]).any()
