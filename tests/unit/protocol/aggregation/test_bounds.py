"""Bounds that can be proven, and the layout and repetitions that follow from them."""

from math import comb, log2

import msgspec
import pytest

from pnyx.primitives.field import PRIMES
from pnyx.protocol.aggregation.ballots import Ballot
from pnyx.protocol.aggregation.bounds import (
    Bounds,
    cheating_log2,
    deciding_honest,
    layout,
    repetitions,
    steered_sets,
)
from pnyx.protocol.selection import choose_committee, committee_size

DEMO = Bounds(3145, 3142, 4096, 2**20)


@pytest.mark.parametrize(
    "terms",
    [
        (0, 0, 1, 1),
        (3, 4, 1, 1),
        (3, 2, 0, 1),
        (3, 2, 1, 0),
        (3, 3, 30_000, 0),
        (2, 1, 1, 2**53 - 1),
        (3, 3, 1, 0, 2),
        (3, 3, 1, 0, 1, 1),
        (2, 1, 1, 2**40, 2**13),
        (2, 1, 1, 1, 1, 2**53 - 1),
        (3, 0, 0, 2, 1, 0, Ballot("choice", 3)),
        (3, 0, 0, 1, 1, 0, Ballot("choice", 2)),
        (4, 0, 0, 1, 1, 0, Ballot("ranking", 3)),
    ],
)
def test_bounds_that_cannot_be_proven_are_refused(terms):
    with pytest.raises(ValueError, match=r"norm_max|count|vector"):
        Bounds(*terms)
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(list(terms)), type=Bounds)


def test_unused_bounds_do_not_matter():
    assert Bounds(3, 0, 0, 5).norm_squared == 0
    assert Bounds(3, 3, 5, 0).counts == 0
    assert layout(Bounds(3, 3, 5, 0), committee_size(7, 1, 2)).count_bits == 0


def test_nothing_wraps_at_the_demonstrations_bounds():
    """The inequalities of the module docstring, with its numbers."""
    modulus = PRIMES[0] * PRIMES[1]
    assert DEMO.mask_width == 827_121
    assert round(log2(DEMO.published_max), 1) == 22.2
    entry_max, norm_squared_max = 2 * DEMO.published_max, 32 * DEMO.published_max**2
    assert round(log2(norm_squared_max), 1) == 49.5
    dimension = layout(DEMO, committee_size(24, 4, 2)).dimension
    assert 2 * entry_max * dimension < modulus  # R'X
    assert norm_squared_max + dimension * entry_max < modulus  # Σ(β² - β), coarsely
    assert norm_squared_max + DEMO.norm_squared < modulus  # Σu² + slack - T
    assert (1 - (15 / 16) ** 2 / 3) ** 256 < 2**-128


def test_the_largest_norm():
    Bounds(1, 1, 19_500, 0)
    with pytest.raises(ValueError, match="norm_max is too large"):
        Bounds(1, 1, 19_600, 0)


def test_layout_of_the_demonstration():
    plan = layout(DEMO, committee_size(24, 4, 2))
    assert (plan.update, plan.slack, plan.count_bits, plan.counts) == (1571, 13, 21, 2)
    assert plan.short == 1571 + 13 + 42
    assert plan.columns == plan.short + 128 + 6


def test_too_long_a_contribution():
    with pytest.raises(ValueError, match="too many entries"):
        layout(Bounds(1_000_000, 0, 0, 2**52), committee_size(7, 1, 2))


def test_repetitions_keep_cheating_below_two_to_the_minus_forty():
    """Two, three and five repetitions: the number of sets that can decide grows with k."""
    tiny, small = committee_size(8, 1, 1, 2), committee_size(24, 4, 2, 4)
    large = committee_size(110, 21, 4, 19)
    assert (repetitions(tiny), repetitions(small), repetitions(large)) == (2, 3, 5)
    assert steered_sets(small) == comb(20, 12) == 125_970
    assert round(cheating_log2(small, 2), 1) == -37.1
    assert round(cheating_log2(small, 3), 1) == -64.1
    assert round(cheating_log2(large, 4), 1) == -23.2
    assert round(cheating_log2(large, 5), 1) == -50.2


@pytest.mark.parametrize("nodes", [6, 9, 12, 36, 100, 1000, 10_000])
def test_every_committee_gets_as_many_repetitions_as_its_sets_need(nodes):
    size = choose_committee(nodes)
    assert deciding_honest(size) > 2 * size.degree
    assert deciding_honest(size) + size.corrupt_max >= size.quorum
    assert cheating_log2(size, repetitions(size)) <= -40
    assert repetitions(size) == 2 or cheating_log2(size, repetitions(size) - 1) > -40
