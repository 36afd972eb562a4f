"""Marks of the figures stand where their values say."""

import pytest
from tests.support.report import owner, sample, training

from pnyx.report import charts
from pnyx.report.record import Models, Owner

HALF = charts.CURVE_HEIGHT / 2


def test_curve_is_broken_at_a_skipped_round() -> None:
    rounds = [training(n, accuracy=None if n == 3 else 0.5, skipped=n == 3) for n in range(1, 6)]
    drawn = charts.curve(rounds, None)
    assert [line.count(" ") for line in drawn.lines] == [2, 2]
    assert [mark.round.number for mark in drawn.skipped] == [3]
    assert [mark.round.number for mark in drawn.marks] == [1, 2, 4, 5]
    assert drawn.after is None


def test_height_is_the_accuracy() -> None:
    drawn = charts.curve([training(1, accuracy=0.0), training(2, accuracy=0.5)], None)
    assert [mark.y for mark in drawn.marks] == [charts.CURVE_HEIGHT, HALF]
    assert [mark.x for mark in drawn.marks] == [25, 75]
    drawn = charts.curve([training(1, accuracy=0.9)], Models(0.8, 1.0, 2.0, 1))
    assert drawn.after == (75, 0)
    assert drawn.levels["alone"] == pytest.approx(charts.CURVE_HEIGHT * 2 / 3)  # from 70 % on
    assert drawn.levels["personalised"] == 0, "what lies outside is drawn at the end"


def test_a_study_that_trains_nothing_has_no_curve() -> None:
    assert charts.curve([], None) is None
    assert charts.curve([training(1, kind="poll")], None) is None


@pytest.mark.parametrize("rounds", [1, 8, 9, 100, 10_000, 50_000])
def test_few_rounds_are_numbered(rounds) -> None:
    drawn = charts.curve([training(n) for n in range(1, rounds + 1)], None)
    assert 1 <= len(drawn.x_ticks) <= 25
    assert len(drawn.bars) == rounds


def test_every_owner_has_a_dot_of_each_model() -> None:
    drawn = charts.owners(sample().owners)
    assert [len(strip.dots) for strip in drawn.strips] == [12, 12, 12]
    assert [strip.columns for strip in drawn.strips] == [(), (), ()]
    for strip in drawn.strips:
        assert len(set(strip.dots)) == 12, "no dot hides another"


def test_owners_too_many_to_tell_apart_become_columns() -> None:
    drawn = charts.owners([owner(7)] * 400)
    (column,) = drawn.strips[0].columns
    assert column.y == 0
    assert drawn.strips[0].dots == ()
    assert not drawn.named


def test_owners_are_sorted_and_the_worst_tenth_is_marked() -> None:
    found = [Owner(str(n), Models(0.5, 0.5, n / 20, 9)) for n in range(21)]
    drawn = charts.owners(found)
    assert [row.owner.name for row in drawn.rows] == [str(n) for n in range(20, -1, -1)]
    assert [row.owner.name for row in drawn.rows if row.worst] == ["2", "1", "0"]
    assert drawn.rows[0].places["personalised"] == 100
    assert drawn.rows[-1].places == {"alone": 50, "shared": 50, "personalised": 0}


def test_fewer_than_two_owners_have_no_spread() -> None:
    for found in ([], [owner(1)]):
        assert charts.owners(found) is None
        assert charts.spreads(found) == ()
