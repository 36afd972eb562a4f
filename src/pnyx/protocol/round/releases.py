"""Which members released a wrong share of a sum, read off the polynomial of the others' shares."""

from collections.abc import Mapping

from pnyx.errors import DecodingError, MalformedMessage
from pnyx.protocol.aggregation import direct
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.verification import FieldShares, summed_length
from pnyx.protocol.messages import Release
from pnyx.protocol.selection.security import CommitteeSize


def wrong_releases(
    size: CommitteeSize, bounds: Bounds, releases: Mapping[int, Release]
) -> frozenset[int]:
    """Members whose released share is of the wrong form or, if the others suffice, wrong.

    releases: member -> its release, all for one accepted set.
    """
    length = summed_length(bounds, size)
    wrong: set[int] = set()
    shares: dict[int, FieldShares] = {}
    for member, release in releases.items():
        if not release.shares:
            continue  # not of the pool, or silent: no offence
        try:
            shares[member] = direct.read_released(release.shares, length, size.packing)
        except MalformedMessage:
            wrong.add(member)
    try:
        _, liars = direct.decode_sum(size, shares, length)
    except DecodingError:
        return frozenset(wrong)
    return frozenset(wrong.union(liars))
