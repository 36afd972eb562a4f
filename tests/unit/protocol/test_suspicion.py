"""Suspicion is a pure consequence of records: who was in groups that came to nothing, how often."""

from fractions import Fraction
from itertools import product
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnyx.protocol.messages import GroupSum
from pnyx.protocol.round.groups import NO_SUM
from pnyx.protocol.suspicion import STANDS_OUT, Suspicion, _chance_at_most, suspicions

NODES = [bytes((index,)) * 32 for index in range(64)]
SUM = b"s" * 32


class Body:
    """As much of a record as is looked at."""

    def __init__(self, groups: dict[int, tuple[int, ...]], nothing: set[int]) -> None:
        self.sums = [GroupSum(each, NO_SUM if each in nothing else SUM) for each in groups]


def round_of(groups: dict[int, tuple[int, ...]], *nothing: int):
    return Body(groups, set(nothing)), groups


def regrouped(chance: np.random.Generator, people: int, groups: int, spoilers=()):
    """A round in which these spoil whatever group they fall into."""
    order = chance.permutation(people).tolist()
    made = {at: tuple(sorted(order[at::groups])) for at in range(groups)}
    return round_of(made, *(at for at, who in made.items() if set(who) & set(spoilers)))


def by_node(found: tuple[Suspicion, ...]) -> dict[int, Suspicion]:
    return {NODES.index(each.node): each for each in found}


def test_no_round_tells_nothing():
    assert suspicions([], NODES) == ()


def test_rounds_without_trouble_count_and_suspect_nobody():
    found = suspicions([round_of({0: (1, 2), 1: (3, 4)}), round_of({0: (1, 3)})], NODES)
    assert {who: each.rounds for who, each in by_node(found).items()} == {1: 2, 2: 1, 3: 2, 4: 1}
    assert all(each.chance == each.chance_of_any == 1 for each in found)
    assert not any(each.stands_out or each.troubled for each in found)


def test_one_round_by_hand():
    """Of nine, three are in the group that came to nothing: an innocent one with 2 in 8."""
    groups = {0: (0, 1, 2), 1: (3, 4, 5), 2: (6, 7, 8)}
    found = by_node(suspicions([round_of(groups, 1)], NODES))
    assert all(found[who].chance == pytest.approx(0.25) for who in (3, 4, 5))
    assert all(found[who].chance == 1 for who in (0, 1, 2, 6, 7, 8))
    assert all(found[who].chance_of_any == 1 for who in found), "nine times a quarter"
    assert found[3] == Suspicion(
        node=NODES[3], rounds=1, troubled=1, spoiled=1, chance=found[3].chance, chance_of_any=1.0
    )


def test_chances_multiply_over_rounds_of_different_sizes():
    first = round_of({0: (0, 1, 2), 1: (3, 4, 5), 2: (6, 7, 8)}, 0)
    second = round_of({0: (0, 3), 1: (1, 4)}, 0)
    third = round_of({0: (0, 4), 1: (1, 3)})
    found = by_node(suspicions([first, second, third], NODES))
    mean = (1 / 4 + 1 / 3) / 2
    assert found[0].chance == pytest.approx(mean**2)
    assert (found[0].rounds, found[0].troubled, found[0].spoiled) == (3, 2, 2)
    assert (found[6].rounds, found[6].troubled, found[6].spoiled) == (1, 1, 0)
    assert next(iter(suspicions([first, second], NODES))).node == NODES[0], "it comes first"


@pytest.mark.parametrize("groups", [1, 3])
def test_where_all_groups_came_to_nothing_nobody_stands_out(groups):
    made = {at: (3 * at, 3 * at + 1, 3 * at + 2) for at in range(groups)}
    found = suspicions([round_of(made, *made)] * 50, NODES)
    assert all(each.chance == 1 and each.spoiled == 50 for each in found)


@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=7))
def test_the_bound_is_one(chances):
    """Against every outcome of the events, one by one."""
    exact = [Fraction(0)] * (len(chances) + 2)
    for happened in product((0, 1), repeat=len(chances)):
        weight = prod(
            Fraction(p) if each else 1 - Fraction(p)
            for p, each in zip(chances, happened, strict=True)
        )
        for count in range(sum(happened) + 1):
            exact[count] += weight
    for count in range(len(chances) + 1):
        bound = _chance_at_most(chances, count)
        assert float(exact[count]) <= bound * (1 + 1e-9)
        assert bound <= 1


@pytest.mark.parametrize(("people", "groups"), [(9, 3), (24, 4), (60, 10)])
def test_who_spoils_always_stands_out_alone(people, groups):
    chance = np.random.default_rng(people)
    rounds = [regrouped(chance, people, groups, {7}) for _ in range(12)]
    found = suspicions(rounds, NODES)
    assert [each.node for each in found if each.stands_out] == [NODES[7]]
    seven = found[0]
    assert seven.chance_of_any < 1e-5
    assert all(each.chance_of_any > 10 * STANDS_OUT for each in found[1:])


def test_two_who_spoil_stand_out_later():
    chance = np.random.default_rng(2)
    rounds = [regrouped(chance, 24, 4, {3, 11}) for _ in range(25)]
    found = suspicions(rounds, NODES)
    assert {each.node for each in found if each.stands_out} == {NODES[3], NODES[11]}


def test_innocent_ones_are_hardly_ever_suspected():
    """In each of many studies somebody spoils for a while: whoever else stands out is innocent."""
    chance = np.random.default_rng(1)
    wrong = 0
    for _ in range(400):
        rounds = [regrouped(chance, 12, 3, {0} if chance.random() < 0.5 else ()) for _ in range(16)]
        found = suspicions(rounds, NODES)
        wrong += any(each.stands_out for each in found if each.node != NODES[0])
    assert wrong <= 400 * STANDS_OUT


def test_who_spoils_beside_one_victim_makes_both_look_alike():
    """What suspicion cannot tell, and why it is no proof."""
    chance = np.random.default_rng(4)
    rounds = []
    while len(rounds) < 8:
        _, groups = regrouped(chance, 12, 3)
        (at,) = (each for each, who in groups.items() if 5 in who)
        if 6 in groups[at]:
            rounds.append(round_of(groups, at))
    found = suspicions(rounds, NODES)
    assert {each.node for each in found if each.stands_out} == {NODES[5], NODES[6]}
    assert found[0].chance == found[1].chance
