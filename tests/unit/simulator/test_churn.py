"""Sessions and absences: their means, and what a run sees of them."""

from itertools import pairwise

import numpy as np
import pytest

from pnyx.simulator.churn import churn, sessions_s


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("exponential", 1.0), ("weibull", 0.6), ("lognormal", 1.0), ("pareto", 3.0)],
)
def test_sessions_have_their_mean(kind, shape) -> None:
    drawn = sessions_s(np.random.default_rng(1), kind, 100.0, shape, 200_000)
    assert drawn.mean() == pytest.approx(100.0, rel=0.03)
    assert drawn.min() > 0


def run(**changes):
    settings = {"session_s": 30.0, "absence_s": 10.0, "shape": 1.0, "begins_s": 2.0} | changes
    kind = settings.pop("kind", "exponential")
    return churn(5, 400, kind, ends_s=40.0, **settings)


def test_without_churn_nobody_leaves() -> None:
    assert run(kind="none") == ()


def test_as_many_are_away_at_the_start_as_later() -> None:
    crashes = run()
    for time in (2.0, 20.0, 39.0):
        away = sum(c.at_s <= time < c.at_s + c.away_s for c in crashes)
        assert away / 400 == pytest.approx(0.25, abs=0.06), "absence / (session + absence)"


def test_a_node_leaves_only_while_it_is_there() -> None:
    by_node: dict[int, list] = {}
    for crash in run():
        by_node.setdefault(crash.node, []).append(crash)
        assert 2.0 <= crash.at_s < 40.0
    for crashes in by_node.values():
        for before, after in pairwise(crashes):
            assert before.at_s + before.away_s <= after.at_s
