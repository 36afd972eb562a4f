"""What all members release or open fits the longest message of a leader, or no study begins."""

import os

import pytest
from msgspec.structs import replace
from tests.support.town import manifest, phase

from pnyx.errors import MalformedMessage, RuleBroken
from pnyx.primitives import codec
from pnyx.protocol import beacon
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.verification import released_bytes
from pnyx.protocol.large_messages import check_openings, shown_bytes_max
from pnyx.protocol.manifest import check_sizes
from pnyx.protocol.messages import (
    PARTED_BYTES_MAX,
    ChallengeReveal,
    OpenedShare,
    Opening,
    Release,
    ReleaseBundle,
    Signed,
)
from pnyx.protocol.selection import choose_committee
from pnyx.protocol.selection.security import CommitteeSize

# 110, 231, 284 and 512 members: what 5, 10 and 20 % of corrupted nodes ask for.
SIZES = [
    choose_committee(10_000),
    choose_committee(10_000, 0.10, 0.05),
    choose_committee(100_000, 0.10),
    choose_committee(100_000, 0.20),
]


def openings(size: CommitteeSize, member: int) -> tuple[OpenedShare, ...]:
    share = beacon.deal(bytes(32), 0, size).shares[member]
    return tuple(replace(share, dealer=dealer) for dealer in range(beacon.dealers_needed(size)))


def bundle(size: CommitteeSize, released: int) -> ReleaseBundle:
    """All that members say who have nothing to hide."""
    opened = openings(size, 0)  # no member's proofs are longer
    releases = (
        Release(bytes(32), member, bytes(32), os.urandom(released), opened)
        for member in range(size.size)
    )
    signed = (Signed(bytes(32), codec.encode(release), bytes(64)) for release in releases)
    return ReleaseBundle(bytes(32), tuple(signed))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: str(size.size))
def test_bundles_are_no_longer_than_is_counted_with(size: CommitteeSize) -> None:
    found = len(codec.encode(bundle(size, 1_000)))
    assert 0.95 * shown_bytes_max(size, 1_000) < found <= shown_bytes_max(size, 1_000)
    opened = (Opening(bytes(32), member, openings(size, member)) for member in range(size.size))
    reveal = codec.encode(ChallengeReveal(bytes(32), tuple(opened)))
    assert len(reveal) <= shown_bytes_max(size, 0) <= PARTED_BYTES_MAX


@pytest.mark.parametrize("size", SIZES, ids=lambda size: str(size.size))
def test_a_study_begins_only_where_everything_released_can_be_shown(size: CommitteeSize) -> None:
    def check(length: int) -> None:
        bounds = Bounds(length, length, 4000, 0)
        check_sizes(manifest(length, [phase(length, bounds=bounds, clip=4000)]), size)

    low, high = 1, 400_000  # accepted, refused
    check(low)
    with pytest.raises(RuleBroken, match="ask for fewer parameters"):
        check(high)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            check(middle)
            low = middle
        except RuleBroken:
            high = middle
    released = released_bytes(Bounds(low, low, 4000, 0), size)
    data = codec.encode(bundle(size, released))
    assert codec.decode(data, ReleaseBundle, bytes_max=PARTED_BYTES_MAX).releases
    assert low > 20_000 or size.size == 512, "the longest updates that are not masked"


def test_nobody_opens_more_than_is_needed_or_at_greater_length() -> None:
    size = SIZES[0]
    for member in (0, 63, 64, size.size - 1):
        right = openings(size, member)
        check_openings(right, member, size)
        more = (*right, replace(right[0], dealer=len(right)))
        longer = (replace(right[0], proof=(*right[0].proof, bytes(32))),)
        wider = (replace(right[0], share=bytes(64)),)
        for wrong in (more, longer, wider):
            with pytest.raises(MalformedMessage, match="more dealings than are needed"):
                check_openings(wrong, member, size)
