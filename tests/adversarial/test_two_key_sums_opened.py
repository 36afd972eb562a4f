"""Two sums of keys, of a set and of the same set without one contributor, open that contributor.

Members release their share of one sum, for the set that a quorum locked, and erase the keys. Here a
committee that would release two is asked for both: its answers give the victim's key, and its
vector in the clear. From one sum, or from sums of sets that differ by two, nothing is read.
"""

import numpy as np
import pytest
from tests.support import masked
from tests.support.masked import in_ring

from pnyx.errors import DecodingError, RuleBroken
from pnyx.primitives.field import PrimeField
from pnyx.protocol.aggregation.masked.keys import (
    decode_keys,
    read_payload,
    read_released,
    share_key,
    sum_key_shares,
)
from pnyx.protocol.aggregation.masked.parameters import RINGS
from pnyx.protocol.selection import committee_size

SIZE = committee_size(9, 2, 1)
VICTIM = 3


class Member:
    """Holds its shares of all keys, and releases the sum of one set."""

    def __init__(self, parameters, shares):
        self.parameters, self.shares, self.released = parameters, shares, None

    def release(self, chosen):
        if self.released is not None:
            raise RuleBroken("a share of a sum is released once")
        self.released = chosen
        return sum_key_shares(self.parameters, SIZE, [self.shares[who] for who in chosen])


class PatchedMember(Member):
    """The same, without the rule."""

    def release(self, chosen):
        self.released = None
        return super().release(chosen)


def committee(kind, parameters, keys):
    payloads = [share_key(parameters, key, SIZE) for key in keys]
    return [
        kind(parameters, [read_payload(parameters, SIZE, each[member]) for each in payloads])
        for member in range(SIZE.size)
    ]


def opened(parameters, members, chosen):
    released = {
        number: read_released(parameters, SIZE, member.release(chosen))
        for number, member in enumerate(members)
    }
    return decode_keys(parameters, SIZE, released)[0]


def difference(parameters, left, right):
    return tuple(
        PrimeField(prime).subtract(a.astype(np.int64), b.astype(np.int64)).astype(np.uint32)
        for prime, a, b in zip(parameters.primes, left, right, strict=True)
    )


@pytest.fixture(params=RINGS, ids=["P0", "P1", "P2"])
def group(request):
    parameters = in_ring(request.param, 3000, 12, 24)
    vectors = masked.draw(parameters, 5)
    keys = [masked.key_of(parameters, who, vector) for who, vector in enumerate(vectors)]
    return parameters, vectors, keys


EVERYBODY = (0, 1, 2, 3, 4)
WITHOUT_VICTIM = (0, 1, 2, 4)


def read(parameters, key, vector_key, vector):
    """What a key opens of one masked vector alone."""
    sums = masked.add(parameters, [masked.mask(parameters, vector_key, vector)])
    return masked.unmask(parameters, key, sums, 1)


def test_a_second_sum_is_not_released(group):
    parameters, vectors, keys = group
    members = committee(Member, parameters, keys)
    total = opened(parameters, members, EVERYBODY)
    with pytest.raises(RuleBroken, match="once"):
        opened(parameters, members, WITHOUT_VICTIM)
    with pytest.raises(DecodingError):  # the sum opens no single vector
        read(parameters, total, keys[VICTIM], vectors[VICTIM])


def test_two_sums_from_a_patched_committee_open_the_victim(group):
    parameters, vectors, keys = group
    members = committee(PatchedMember, parameters, keys)
    total = opened(parameters, members, EVERYBODY)
    rest = opened(parameters, members, WITHOUT_VICTIM)
    key = difference(parameters, total, rest)
    assert all(np.array_equal(a, b) for a, b in zip(key, keys[VICTIM].secret, strict=True))
    found = read(parameters, key, keys[VICTIM], vectors[VICTIM])
    assert found.tolist() == vectors[VICTIM].tolist()


def test_sets_that_differ_by_two_open_no_single_vector(group):
    parameters, vectors, keys = group
    members = committee(PatchedMember, parameters, keys)
    total = opened(parameters, members, EVERYBODY)
    rest = opened(parameters, members, WITHOUT_VICTIM[:-1])
    with pytest.raises(DecodingError):
        read(parameters, difference(parameters, total, rest), keys[VICTIM], vectors[VICTIM])


def test_fewer_second_releases_than_the_degree_needs_open_nothing(group):
    """2q - k > f: two quorums share more members than are corrupt, and those release once."""
    parameters, _, keys = group
    honest = committee(Member, parameters, keys)
    opened(parameters, honest, EVERYBODY)
    liars = committee(PatchedMember, parameters, keys)[: SIZE.corrupt_max]
    second = {
        number: read_released(parameters, SIZE, member.release(WITHOUT_VICTIM))
        for number, member in enumerate(liars)
    }
    with pytest.raises(DecodingError):
        decode_keys(parameters, SIZE, second)
