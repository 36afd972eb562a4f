"""Simulated studies: what a population learns, from one seed."""

from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pnyx.errors import ConfigError
from pnyx.protocol.privacy import epsilon
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
    with pytest.raises(ConfigError, match="too few owners have participations left"):
        _run(contributors=18, participations_max=1)


@pytest.mark.parametrize("attack", ["sign_flip", "label_flip"])
def test_attackers_cost_accuracy(attack: str) -> None:
    honest = _run()[-1].accuracy
    assert _run(corrupted=0.4, attack=attack)[-1].accuracy < honest - 0.03


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"data": "nowhere.parquet"}, "nowhere.parquet cannot be read"),
        ({"label_column": "mood"}, "has no column mood"),
        ({"ignored": ()}, "no numbers|window_id"),
        ({"program": "nowhere.json"}, "nowhere.json cannot be read"),
        ({"clip_norm": 0.001}, "raise fraction_bits"),
    ],
)
def test_what_does_not_fit_is_said(changes: dict[str, Any], sentence: str) -> None:
    if changes == {"ignored": ()}:
        changes = {"label_column": "window_id", "ignored": ()}
    with pytest.raises(ConfigError, match=sentence):
        _run(**changes)


def test_owners_with_too_few_rows_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    owners = [1] * 3 + [2] * 3
    pq.write_table(pa.table({"x": [0.5] * 6, "who": owners, "label": [0, 1] * 3}), path)
    with pytest.raises(ConfigError, match="No owner in"):
        _run(data=str(path), owner_column="who", label_column="label", ignored=())
    pq.write_table(pa.table({"who": owners, "label": [0, 1] * 3}), path)
    with pytest.raises(ConfigError, match="no column left to learn from"):
        _run(data=str(path), owner_column="who", label_column="label", ignored=())
