"""Plain packed Shamir shares of integers, without a proof: for tests of the sum alone."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from pnyx.primitives.sampling import Sampler
from pnyx.protocol.aggregation import direct
from pnyx.protocol.aggregation.encoding import FIELDS, to_slots
from pnyx.protocol.selection import CommitteeSize


def share_plain(vector: np.ndarray, size: CommitteeSize, seed: bytes) -> list[direct.FieldShares]:
    """Every member's share of a vector of integers."""
    sampler, slots = Sampler(seed, "plain"), to_slots(vector, size.packing)
    tables = []
    for field, sharing in zip(FIELDS, direct.sharings(size), strict=True):
        noise = sampler.field_elements(field.modulus, (sharing.privacy, slots.shape[1]))
        tables.append(sharing.share(field.reduce(slots), noise))
    return [tuple(table[member].copy() for table in tables) for member in range(size.size)]


def release(
    contributions: Sequence[Sequence[direct.FieldShares]], members: Iterable[int]
) -> Mapping[int, direct.FieldShares]:
    """What honest members release of the sum."""
    return {
        m: tuple(
            field.reduce(np.sum([shares[m][at] for shares in contributions], axis=0))
            for at, field in enumerate(FIELDS)
        )
        for m in members
    }
