"""Ballots: which are valid, the equations that say so, and the bits of numbers."""

from itertools import permutations, product

import numpy as np
import pytest

from pnyx.protocol.aggregation.ballots import (
    Ballot,
    bit_weights,
    equations,
    is_valid,
    slack_of,
    to_bits,
)

BALLOTS = [
    (Ballot("choice", 2), 2),
    (Ballot("choice", 3), 6),
    (Ballot("approval", 2, 1), 6),
    (Ballot("approval", 4, 2), 4),
    (Ballot("approval", 4, 4), 4),
    (Ballot("approval", 3, 3), 6),
    (Ballot("ranking", 3), 3),
    (Ballot("ranking", 4), 6),
]


def meaning(ballot: Ballot, entries: tuple[int, ...]) -> bool:
    """What makes a ballot valid, in other words than the code's."""
    if ballot.kind == "ranking":
        pairs = [(i, j) for i in range(ballot.options) for j in range(i + 1, ballot.options)]
        orders = permutations(range(ballot.options))
        return entries in {
            tuple(int(order.index(i) < order.index(j)) for i, j in pairs) for order in orders
        }
    chosen = [
        sum(entries[at : at + ballot.options]) for at in range(0, len(entries), ballot.options)
    ]
    if ballot.kind == "choice":
        return all(number == 1 for number in chosen)
    return all(number <= ballot.chosen_max for number in chosen)


@pytest.mark.parametrize(("ballot", "counts"), BALLOTS)
def test_exactly_the_valid_ballots_solve_the_equations(ballot, counts):
    rules = equations(ballot, counts)
    slacks = np.array(list(product((0, 1), repeat=ballot.slack_bits(counts))), dtype=np.int64)
    for entries in product((0, 1), repeat=counts):
        vector = np.array(entries)
        left = rules.entries @ vector + slacks @ rules.slack.T
        solvable = bool((left == rules.wanted).all(axis=1).any())
        assert solvable == is_valid(ballot, vector) == meaning(ballot, entries)
        if solvable:
            slack = slack_of(ballot, vector)
            assert set(slack.tolist()) <= {0, 1}
            assert (rules.entries @ vector + rules.slack @ slack == rules.wanted).all()
            assert vector.sum() <= ballot.chosen(counts)


@pytest.mark.parametrize(("ballot", "counts"), BALLOTS)
def test_anything_but_bits_is_no_ballot(ballot, counts):
    for wrong in (2, -1):
        entries = np.zeros(counts, dtype=np.int64)
        entries[0] = wrong
        assert not is_valid(ballot, entries)
    assert not is_valid(ballot, np.zeros(counts + 1, dtype=np.int64))


@pytest.mark.parametrize(
    "terms",
    [
        ("approval", 3, 0),
        ("approval", 3, 4),
        ("choice", 3, 1),
        ("ranking", 2),
        ("ranking", 25),
    ],
)
def test_rules_that_make_no_sense(terms):
    with pytest.raises(ValueError, match=r"approval|ranking"):
        Ballot(*terms)


def test_how_many_counts_a_ballot_has():
    assert [Ballot("choice", 3).fits(n) for n in (0, 3, 4, 6)] == [False, True, False, True]
    assert [Ballot("ranking", 4).fits(n) for n in (0, 4, 6, 12)] == [False, False, True, False]


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 4, 5, 6, 9, 16, 100])
def test_subset_sums_are_exactly_the_range(limit):
    weights = bit_weights(limit)
    sums = (
        {
            sum(w * b for w, b in zip(weights, bits, strict=True))
            for bits in product((0, 1), repeat=len(weights))
        }
        if len(weights) <= 7
        else set(range(limit + 1))
    )
    assert sums == set(range(limit + 1))


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8, 9, 3600, 2**24, 2**52 + 12345])
def test_bits_say_the_value(limit):
    values = np.array(sorted({0, 1, limit // 2, limit // 2 + 1, limit - 1, limit}))
    bits = to_bits(values, limit)
    assert set(np.unique(bits)) <= {0, 1}
    assert (np.array(bit_weights(limit)) @ bits == values).all()
