"""Aggregators hand over a sum that is not the sum; the linear hashes of the contributions tell.

All aggregators of a round may be corrupt: nobody else holds the vectors. A member has the linear
hashes that contributors signed, and the bytes of the sum (`VectorCode.check_sum`). Every change
below decodes without a complaint when nothing checks it, and shifts the result as the aggregator
likes; with the check it is refused. The last tests take parts of the check away, and the attack
that each part stops goes through.
"""

import numpy as np
import pytest
from tests.support import masked
from tests.support.masked import CONTEXT, check_sum, in_ring

from pnyx.errors import MalformedMessage, RuleBroken
from pnyx.primitives.ring import LinearHash
from pnyx.primitives.ring.linear_hash import HASH_PRIMES, INTEGER_BITS_MAX
from pnyx.protocol.aggregation.masked import checked_sum, segments
from pnyx.protocol.aggregation.masked.parameters import P0, P1, P2, layout
from pnyx.protocol.aggregation.masked.segments import pack_sum, sum_bytes, unpack_sum
from pnyx.protocol.aggregation.masked.vectors import VectorCode, sum_vectors

COUNT = 12


class Group:
    """Contributors, their linear hashes, and an honest sum."""

    def __init__(self, ring, length=70_000):
        self.parameters = in_ring(ring, length, 10, 24)
        self.code = VectorCode(self.parameters, CONTEXT)
        self.updates = masked.draw(self.parameters, COUNT) // 4  # room for the attacker's shift
        self.made = [
            self.code.mask(update, bytes([who]) * 32, b"contributor %d" % who)
            for who, update in enumerate(self.updates)
        ]
        self.hashes = [each.linear_hash for each in self.made]
        self.keys = tuple(
            sum(each.key[at] for each in self.made) % prime
            for at, prime in enumerate(self.parameters.primes)
        )

    def sums(self, chosen=range(COUNT)):
        """The integers of an honest aggregator's answer, segment by segment."""
        total = b"".join(
            sum_vectors(self.parameters, [iter(self.made[who].segments) for who in chosen])
        )
        found = []
        for segment in range(layout(self.parameters).segments):
            size = sum_bytes(self.parameters, segment)
            found.append(unpack_sum(self.parameters, segment, total[:size], 24))
            total = total[size:]
        return found

    def sent(self, sums):
        return b"".join(pack_sum(self.parameters, at, each) for at, each in enumerate(sums))

    def decoded(self, sums):
        return self.code.unmask(self.sent(sums), self.keys, COUNT)

    def check(self, sums, hashes=None, code=None):
        check_sum(code or self.code, self.sent(sums), self.hashes if hashes is None else hashes)


@pytest.fixture(scope="module", params=[P0, P1, P2], ids=["P0", "P1", "P2"])
def group(request):
    return Group(request.param)


def shift_one_value(group, sums, by=100):
    """Add to the lowest slot of one coefficient, modulo every prime."""
    for prime, total in zip(group.parameters.primes, sums[0], strict=True):
        step = (by << group.parameters.shift) % prime
        place = (0, 100, 3)
        moved = int(total[place]) + step
        total[place] = moved - prime if moved > COUNT * (prime - 1) else moved


def test_an_honest_sum_passes(group):
    group.check(group.sums())
    assert group.decoded(group.sums()).tolist() == group.updates.sum(axis=0).tolist()


def test_a_shifted_value_is_refused_and_would_decode(group):
    sums = group.sums()
    shift_one_value(group, sums)
    wrong = group.decoded(sums) - group.updates.sum(axis=0)
    assert sorted(set(wrong.tolist())) == [0, 100]  # unchecked, nobody would notice
    with pytest.raises(RuleBroken, match="not that of its contributions"):
        group.check(sums)


@pytest.mark.parametrize("by", [1, -1])
def test_the_smallest_change_of_one_coefficient_is_refused(group, by):
    for at in range(len(group.parameters.primes)):
        sums = group.sums()
        total = sums[0][at]
        total[0, 1, 7] = int(total[0, 1, 7]) + by
        with pytest.raises(RuleBroken, match="not that of its contributions"):
            group.check(sums)


def test_a_sum_moved_by_the_prime_is_refused(group):
    """The same residue, so the same value: but an integer that nobody's vectors add up to."""
    sums = group.sums()
    sums[0][0][0, 0, 0] += np.uint64(group.parameters.primes[0])
    with pytest.raises(RuleBroken):
        group.check(sums)


def test_a_contribution_left_out_twice_in_or_exchanged_is_refused(group):
    for chosen in (
        range(COUNT - 1),
        [0, *range(COUNT - 1)],
        [0, *range(COUNT)],
    ):
        with pytest.raises(RuleBroken):
            group.check(group.sums(chosen))


def test_hashes_of_another_context_do_not_add_up(group):
    """The key of the hash is the context's: yesterday's vector with yesterday's hash is no use."""
    yesterday = VectorCode(group.parameters, b"another round")
    with pytest.raises(RuleBroken, match="not that of its contributions"):
        group.check(group.sums(), code=yesterday)
    stale = yesterday.linear_hashes(b"".join(group.made[0].segments))[-1]
    assert stale != group.hashes[0]
    with pytest.raises(RuleBroken, match="not that of its contributions"):
        group.check(group.sums(), hashes=[stale, *group.hashes[1:]])


def test_a_contributor_whose_hash_is_not_of_its_vector_is_seen_before_it_is_added(group):
    """By an honest aggregator; where there is none, no sum passes."""
    vector = b"".join(group.made[0].segments)
    assert group.code.linear_hashes(vector)[-1] == group.hashes[0] != group.hashes[1]
    with pytest.raises(RuleBroken, match="not that of its contributions"):
        group.check(group.sums(), hashes=[group.hashes[1], *group.hashes[1:]])


def test_a_sum_cut_short_or_padded_is_refused(group):
    total = group.sent(group.sums())
    for wrong in (total[:-1], total + b"\0", b""):
        with pytest.raises(MalformedMessage, match="wrong size"):
            check_sum(group.code, wrong, group.hashes)


# --- parts of the check taken away ----------------------------------------------------------------


class _Weakened:
    """A linear hash with something missing."""

    def __init__(self, seed):
        self.hash = LinearHash(seed)

    def add(self, a, b):
        return self.hash.add(a, b)


class OneKeyForAllBlocks(_Weakened):
    """Forgets which block it hashes."""

    def digest(self, residues, first_block=0):
        total = self.hash.digest(residues[:1], 0)
        for at in range(1, len(residues)):
            total = self.hash.add(total, self.hash.digest(residues[at : at + 1], 0))
        return total


class OnePrime(_Weakened):
    """Looks at the first of the three primes only."""

    def digest(self, residues, first_block=0):
        found = self.hash.digest(residues, first_block)
        found[1:] = 0
        return found


def weakened(monkeypatch, kind):
    honest = checked_sum.linear_hashes

    def linear_hashes(parameters, context):
        return tuple(kind(each.seed) for each in honest(parameters, context))

    monkeypatch.setattr(checked_sum, "linear_hashes", linear_hashes)


def exchange_blocks(sums):
    for total in sums[0]:
        total[[0, 1]] = total[[1, 0]]


def test_exchanged_blocks_are_refused():
    group = Group(P0)
    assert layout(group.parameters).blocks(0) > 1
    sums = group.sums()
    exchange_blocks(sums)
    with pytest.raises(RuleBroken, match="not that of its contributions"):
        group.check(sums)


def exchange_primes(sums):
    """One coefficient: both numbers stay in the range of either prime."""
    first, second = sums[0][0], sums[0][1]
    first[0, 0, 0], second[0, 0, 0] = int(second[0, 0, 0]), int(first[0, 0, 0])


def test_exchanged_residues_of_two_primes_are_refused():
    group = Group(P2, 1000)
    sums = group.sums()
    exchange_primes(sums)
    with pytest.raises(RuleBroken, match="not that of its contributions"):
        group.check(sums)


def test_one_key_for_all_primes_would_let_them_be_exchanged(monkeypatch):
    honest = checked_sum.linear_hashes
    monkeypatch.setattr(
        checked_sum,
        "linear_hashes",
        lambda parameters, context: honest(parameters, context)[:1] * len(parameters.primes),
    )
    group = Group(P2, 1000)
    sums = group.sums()
    exchange_primes(sums)
    group.check(sums)


def test_one_key_for_all_blocks_would_let_them_be_exchanged(monkeypatch):
    weakened(monkeypatch, OneKeyForAllBlocks)
    group = Group(P0)
    sums = group.sums()
    exchange_blocks(sums)
    group.check(sums)


def test_one_prime_is_stepped_over(monkeypatch):
    """Add it to a coefficient: a sum of twelve has room for eight times 2^27."""
    weakened(monkeypatch, OnePrime)
    group = Group(P0)
    sums = group.sums()
    place = np.unravel_index(int(np.argmin(sums[0][0][0])), sums[0][0][0].shape)
    sums[0][0][0][place] += np.uint64(HASH_PRIMES[0])
    group.check(sums)
    monkeypatch.undo()
    group = Group(P0)
    with pytest.raises(RuleBroken, match="not that of its contributions"):
        group.check(sums)


def test_integers_beyond_the_largest_sum_are_refused_before_they_are_hashed():
    group = Group(P0, 1000)
    sums = group.sums()
    sums[0][0][0, 0, 0] += np.uint64(COUNT * group.parameters.primes[0])
    with pytest.raises(RuleBroken, match="larger than its contributions"):
        group.check(sums)


def test_no_sum_that_can_be_sent_is_beyond_what_the_hash_is_secure_for(monkeypatch):
    """Without the range check: the largest integer that fits in the bytes is hashed, and told."""
    monkeypatch.setattr(segments, "check_sums", lambda parameters, sums, count: None)
    group = Group(P0, 1000)
    sums = group.sums()
    largest = 256 * group.parameters.primes[0] - 1
    sums[0][0][0, 0, 0] = largest
    assert largest < 1 << INTEGER_BITS_MAX
    assert int(unpack_sum(group.parameters, 0, group.sent(sums), COUNT)[0][0, 0, 0]) == largest
    with pytest.raises(RuleBroken, match="not that of its contributions"):
        group.check(sums)
