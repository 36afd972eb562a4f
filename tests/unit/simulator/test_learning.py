"""Simulated studies: what a population learns, from one seed."""

import re
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pnyx.errors import ConfigError
from pnyx.protocol.privacy import epsilon
from pnyx.simulator.learning import study
from pnyx.simulator.learning.inputs import check
from pnyx.simulator.learning.records import LearningParameters, LearningRound
from pnyx.simulator.learning.study import run_study

WINDOWS = Path(str(resources.files("pnyx.demo"))) / "data" / "wisdm" / "windows.parquet"


def _parameters(**changes: Any) -> LearningParameters:
    plain: dict[str, Any] = {
        "data": str(WINDOWS),
        "owner_column": "user",
        "label_column": "activity",
        "ignored": ("window_id",),
        "contributors": 24,
        "rounds": 4,
    }
    return LearningParameters(**(plain | changes))


def _run(**changes: Any) -> list[LearningRound]:
    return list(run_study(_parameters(**changes), 3))


def test_a_study_learns_and_repeats() -> None:
    rounds = _run()
    assert [each.round for each in rounds] == [1, 2, 3, 4]
    assert rounds[-1].accuracy > 0.6
    assert all(each.epsilon is None for each in rounds)
    assert rounds == _run()
    assert rounds != list(run_study(_parameters(), 4))


def test_noise_costs_accuracy_and_its_price_adds_up() -> None:
    quiet, noisy = _run()[-1], _run(noise_multiplier=5.0)[-1]
    assert noisy.accuracy < quiet.accuracy - 0.1
    # Rounding the width up makes the price a little lower than the multiplier's.
    assert 0.99 < noisy.epsilon / epsilon(noisy.participations / 50) <= 1


def test_a_larger_population_hides_better() -> None:
    crowd = _run(noise_multiplier=5.0, owners=600, contributors=600, rows=30)[-1]
    few = _run(noise_multiplier=5.0, owners=36, contributors=36, rows=30)[-1]
    assert crowd.epsilon == pytest.approx(few.epsilon, rel=0.02)
    assert crowd.accuracy > few.accuracy + 0.1


def test_participations_are_capped() -> None:
    assert {each.contributors for each in _run(contributors=100)} == {36}
    assert _run(contributors=9, rounds=12)[-1].participations <= 4
    rounds = _run(contributors=18, participations_max=2, rounds=3)
    assert rounds[-1].participations == 2
    rounds = _run(contributors=35, participations_max=4, rounds=4)
    assert sum(each.contributors for each in rounds) <= 4 * 35
    assert rounds[-1].participations <= 4


@pytest.mark.parametrize("attack", ["sign_flip", "label_flip"])
def test_attackers_cost_accuracy(attack: str) -> None:
    honest = _run()[-1].accuracy
    assert _run(corrupted=0.4, attack=attack)[-1].accuracy < honest - 0.03


def test_the_plain_mean_of_groups_is_that_of_all() -> None:
    assert _run(groups=5) == _run()


def test_a_robust_rule_withstands_what_spoils_a_mean() -> None:
    """A contributor in twelve sends ten times the bound: three at most, in three groups."""
    poisoned: dict[str, Any] = {"corrupted": 0.08, "attack": "unbounded"}
    honest = _run()[-1].accuracy
    assert _run(**poisoned)[-1].accuracy < honest - 0.2
    assert _run(**poisoned, groups=8, groups_tolerated=3)[-1].accuracy > honest - 0.05


def test_noise_suffices_in_every_group_at_the_same_price() -> None:
    together = _run(noise_multiplier=2.0)[-1]
    apart = _run(noise_multiplier=2.0, groups=4, groups_tolerated=1)[-1]
    assert apart.epsilon == pytest.approx(together.epsilon, rel=0.02)
    assert apart.accuracy < together.accuracy


def test_the_model_stays_where_fewer_groups_than_the_rule_needs_have_anybody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw = study._Study._draw

    def few(self: Any, number: int) -> Any:
        return draw(self, number)[:2] if number == 3 else draw(self, number)

    monkeypatch.setattr(study._Study, "_draw", few)
    rounds = _run(groups=6, groups_tolerated=1)
    assert [each.contributors for each in rounds] == [24, 24, 2, 24]
    accuracies = [each.accuracy for each in rounds]
    assert accuracies[1] == accuracies[2] != accuracies[3]


def test_a_rule_tolerates_less_than_half_of_the_groups() -> None:
    sentence = r"groups_tolerated must be below half of groups, 6, not 3\."
    with pytest.raises(ConfigError, match=sentence):
        _parameters(groups=6, groups_tolerated=3)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"data": "nowhere.parquet"}, r"data must name .* there is no file nowhere\.parquet"),
        ({"data": __file__}, r"data must name a Parquet table, which .* is not"),
        ({"data": "/"}, r"data must name a Parquet table: there is no file /\."),
        ({"owner_column": "who"}, r"owner_column must name a column of .*, not 'who'"),
        ({"label_column": "mood"}, r"label_column must name a column of .*, one of .*user.*'mood'"),
        ({"ignored": ("mood",)}, r"ignored must name a column of .*, not 'mood'"),
        ({"label_column": "window_id", "ignored": ()}, r"ignored must name the column activity"),
        ({"program": "nowhere.json"}, r"program must name .* nowhere\.json cannot be read"),
        ({"program": __file__}, r"program must name a program made by pnyx\.export, which .* not"),
        (
            {"clip_norm": 0.001},
            r"clip_norm must be above 0\.0\d+, .* not 0\.001; or raise fraction",
        ),
        (
            {"noise_multiplier": 1000.0, "fraction_bits": 24, "clip_norm": 100.0},
            r"noise_multiplier must be a number from 0 to 0\.0\d+ with fraction_bits 24",
        ),
        ({"groups": 13}, r"groups must be a whole number from 1 to 12, .* of 24 .*, not 13\."),
        ({"groups": 2, "contributors": 3}, r"groups must be 1, which leaves 2 .* not 2\."),
        (
            {"contributors": 18, "participations_max": 1},
            r"participations_max must be 0, or a whole number from 2 to 10,000, .* not 1\.",
        ),
    ],
)
def test_what_does_not_fit_is_said(changes: dict[str, Any], sentence: str) -> None:
    """Found out without training."""
    with pytest.raises(ConfigError, match=sentence) as refused:
        check(_parameters(**changes))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("groups", [1, 7])
def test_the_widest_noise_that_is_accepted_is_drawn(groups: int) -> None:
    """In groups of three and four, whose noise relies on one: 0.6 of three, rounded down."""
    wide = {"fraction_bits": 20, "clip_norm": 10.0, "rounds": 1, "groups": groups}
    wide |= {"honest_share": 0.6} if groups > 1 else {}
    with pytest.raises(ConfigError) as refused:
        check(_parameters(**wide, noise_multiplier=1000.0))
    found = re.search(r"from 0 to (\S+) with", str(refused.value))
    assert found
    assert _run(**wide, noise_multiplier=float(found[1]))[0].epsilon


def test_owners_with_too_few_rows_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    owners = [1] * 3 + [2] * 3
    pq.write_table(pa.table({"x": [0.5] * 6, "who": owners, "label": [0, 1] * 3}), path)
    with pytest.raises(
        ConfigError, match="data must name a table in which somebody has at least 4"
    ):
        _run(data=str(path), owner_column="who", label_column="label", ignored=())
    pq.write_table(pa.table({"who": owners, "label": [0, 1] * 3}), path)
    with pytest.raises(ConfigError, match="ignored must leave a column"):
        _run(data=str(path), owner_column="who", label_column="label", ignored=())
