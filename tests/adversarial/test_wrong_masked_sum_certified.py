"""Aggregators hand over a sum that is not the sum; the linear hash of the contributions tells.

All aggregators of a group may be corrupt: nobody else holds the vectors. Whoever checks has the
claims that contributors signed, and the sum. Every change below decodes without a complaint when
nothing checks it, and shifts the result as the aggregator likes; with the check it is refused. The
last tests take parts of the check away, and the attack that each part stops goes through.
"""

import numpy as np
import pytest
from tests.support import masked
from tests.support.masked import CONTEXT, in_ring

from pnyx.errors import InvalidSignature, RuleBroken
from pnyx.primitives.ring import LinearHash
from pnyx.primitives.ring.linear_hash import HASH_PRIMES
from pnyx.primitives.signature import SigningKey
from pnyx.protocol.aggregation.masked import checked_sum
from pnyx.protocol.aggregation.masked.checked_sum import (
    Claim,
    HashOfVector,
    SumCheck,
    check_claim,
    open_claim,
    pack_digest,
    sign_claim,
)
from pnyx.protocol.aggregation.masked.parameters import P0, P1, P2, layout

COUNT = 12


class Group:
    """Contributors, their claims, and an honest sum."""

    def __init__(self, ring, length=70_000, context=CONTEXT):
        self.parameters = in_ring(ring, length, 10, 24)
        self.vectors = masked.draw(self.parameters, COUNT) // 4  # room for the attacker's shift
        keys = [masked.key_of(self.parameters, w, v) for w, v in enumerate(self.vectors)]
        self.masked = [
            masked.mask(self.parameters, key, vector)
            for key, vector in zip(keys, self.vectors, strict=True)
        ]
        self.claimed = {who: self.hash_of(each) for who, each in enumerate(self.masked)}
        self.key_sum = masked.add_keys(self.parameters, [key.secret for key in keys])

    def hash_of(self, residues, context=CONTEXT):
        gathered = HashOfVector(self.parameters, context)
        for chunk, part in enumerate(residues):
            gathered.add_chunk(chunk, part)
        return gathered.value

    def sums(self):
        return masked.add(self.parameters, self.masked)

    def decoded(self, sums):
        return masked.unmask(self.parameters, self.key_sum, sums, COUNT)

    def check(self, sums, claimed=None, context=CONTEXT):
        check = SumCheck(self.parameters, context, self.claimed if claimed is None else claimed)
        for chunk, part in enumerate(sums):
            check.add_chunk(chunk, part)
        check.finish()


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
    assert group.decoded(group.sums()).tolist() == group.vectors.sum(axis=0).tolist()


def test_a_shifted_value_is_refused_and_would_decode(group):
    sums = group.sums()
    shift_one_value(group, sums)
    wrong = group.decoded(sums) - group.vectors.sum(axis=0)
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
        sums = masked.add(group.parameters, [group.masked[who] for who in chosen])
        with pytest.raises(RuleBroken):
            group.check(sums)


def test_claims_of_another_context_do_not_add_up(group):
    """The key of the hash is the context's: yesterday's vector with yesterday's claim is no use."""
    with pytest.raises(RuleBroken, match="not that of its contributions"):
        group.check(group.sums(), context=b"another round")
    stale = dict(group.claimed)
    stale[0] = group.hash_of(group.masked[0], b"another round")
    with pytest.raises(RuleBroken, match="not that of its contributions"):
        group.check(group.sums(), claimed=stale)


def test_a_claim_signed_in_another_context_is_not_taken(group):
    key = SigningKey(bytes(32))
    claim = Claim(0, bytes(32), pack_digest(group.claimed[0]), bytes(32))
    signature = sign_claim(key, b"another round", group.parameters, claim)
    with pytest.raises(InvalidSignature):
        open_claim(key.public_key, CONTEXT, group.parameters, claim, signature)


def test_a_contributor_whose_claim_is_not_of_its_vector_is_told_before_it_is_added(group):
    gathered = HashOfVector(group.parameters, CONTEXT)
    for chunk, part in enumerate(group.masked[0]):
        gathered.add_chunk(chunk, part)
    check_claim(gathered, group.claimed[0])
    with pytest.raises(RuleBroken, match="not that of its masked vector"):
        check_claim(gathered, group.claimed[1])
    lying = {**group.claimed, 0: group.claimed[1]}
    with pytest.raises(RuleBroken, match="not that of its contributions"):
        group.check(group.sums(), claimed=lying)


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


def test_the_hash_itself_takes_no_integer_for_which_it_is_not_secure(monkeypatch):
    """Behind the range check: the product of two primes is a change that these do not see."""
    monkeypatch.setattr(checked_sum, "check_sums", lambda parameters, sums, count: None)
    group = Group(P0, 1000)
    sums = group.sums()
    sums[0][0][0, 0, 0] += np.uint64(HASH_PRIMES[0] * HASH_PRIMES[1])
    with pytest.raises(ValueError, match=r"2\*\*35"):
        group.check(sums)
