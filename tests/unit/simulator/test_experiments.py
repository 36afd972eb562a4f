"""Every experiment: documented columns, sentences for bad settings, one result for one seed."""

import math
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import msgspec
import pytest

from pnyx.demo.activity import windows_path
from pnyx.errors import ConfigError
from pnyx.simulator.experiment import meanings, read_parameters, silent
from pnyx.simulator.experiments import EXPERIMENTS
from pnyx.simulator.tables import read_table, write_table

SMALL = {
    "selection": {"nodes": 2_000, "selections": 200, "epochs": 2, "back_end": "region"},
    "regions": {"nodes": 2_000, "networks": 1, "samples": 100},
    "repairs": {"nodes": 2_000, "networks": 2, "samples": 100},
    "withheld-reveals": {"withheld_max": 2, "trials": 100},
    "naive-selection": {"nodes": 2_000, "selections": 100, "epochs": 2},
    "selection-cost": {"nodes": 2_000},
    "caches": {"nodes": 2_000, "caches": 50},
    "trees": {"fan_out": 3, "depth": 2, "runs": 2, "window_s": 20},
    "rounds": {"contributors": 40, "groups": 2, "runs": 2, "window_s": 500},
    "live-rounds": {"nodes": 12, "vector_length": 24, "runs": 1},
    "live": {"nodes": 8, "rounds": 1},
    "learning": {
        "data": str(windows_path()),
        "owner_column": "user",
        "label_column": "activity",
        "ignored": ["window_id"],
        "rounds": 1,
    },
}


def run_small(name: str, seed: int) -> list[msgspec.Struct]:
    experiment = EXPERIMENTS[name]
    return list(experiment.run(read_parameters(experiment.parameters, SMALL[name]), seed, silent))


def test_all_are_tried_here() -> None:
    assert set(SMALL) == set(EXPERIMENTS)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_one_seed_gives_one_result(name: str) -> None:
    experiment = EXPERIMENTS[name]
    found = run_small(name, 7)
    assert found
    assert {type(record) for record in found} == {experiment.record}
    assert found == run_small(name, 7)
    if name != "selection-cost":  # which draws nothing
        assert found != run_small(name, 8)


def test_another_process_finds_the_same() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for name in ("selection", "trees", "rounds"):
            assert pool.submit(run_small, name, 3).result() == run_small(name, 3)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_column_and_setting_says_what_it_means(name: str) -> None:
    experiment = EXPERIMENTS[name]
    for described, kind in (
        (experiment.columns, experiment.record),
        (experiment.settings, experiment.parameters),
    ):
        assert list(described) == list(kind.__struct_fields__)
        assert all(len(meaning) > 8 for meaning in described.values())


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_units_are_said(name: str) -> None:
    described = {**EXPERIMENTS[name].columns, **EXPERIMENTS[name].settings}
    units = {"_per_s": "/s", "_s": "second", "_kib": "KiB"}
    for key, meaning in described.items():
        unit = next((unit for ending, unit in units.items() if key.endswith(ending)), "")
        assert unit in meaning, key


class Undescribed(msgspec.Struct):
    bytes_sent: int


def test_a_column_without_meaning_is_a_bug() -> None:
    with pytest.raises(TypeError, match=r"Undescribed\.bytes_sent"):
        meanings(Undescribed)


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("selection", {"node": 5}, "There is no setting node here: choose from actors, alpha,"),
        ("selection", {"nodes": 5}, "nodes must be a whole number from 100 to 10,000,000, not 5."),
        ("selection", {"nodes": "many"}, "nodes must be a whole number from 100 to"),
        ("selection", {"alpha": 0}, "alpha must be a number from 0.0 (excluded) to 1.0 (excluded)"),
        ("selection", {"back_end": "dht"}, "back_end must be one of census, region, not 'dht'."),
        ("selection", {"nodes": 100, "actors": 101}, "actors must be a whole number from 1 to"),
        ("selection", {"selections": 5}, "epochs must be a whole number from 1 to selections"),
        ("caches", {"nodes": 100, "actors": 101}, "actors must be a whole number from 1 to"),
        ("selection-cost", {"nodes": 100, "actors": 101}, "actors must be a whole number from 1"),
        ("naive-selection", {"nodes": 100, "actors": 101}, "actors must be a whole number from 1"),
        ("naive-selection", {"nodes": 100, "tolerance": 101}, "tolerance must be a whole number"),
        ("naive-selection", {"selections": 5, "epochs": 6}, "epochs must be a whole number from"),
        ("withheld-reveals", {"nodes": 100, "actors": 101}, "actors must be a whole number from"),
        ("live", {"nodes": 6, "one_way_cuts": 31}, "one_way_cuts must be a whole number from 0"),
        ("live", {"loss": math.nan}, "loss must be a number from 0.0 to 1.0, not nan"),
        ("trees", {"window_s": -1}, "window_s must be a number from 0.0 to"),
        ("trees", {"depth": 6}, "depth must be such that fan_out 8 gives at most 5,000 groups"),
        ("trees", {"strategy": "hope"}, "strategy must be one of abort, cut, eager, replace"),
        ("rounds", {"nodes": 100}, "contributors must be a whole number from 2 to 90, who with"),
        ("rounds", {"corrupted_share": 0.5}, "corrupted_share must be a number from 0 to 0.230 "),
        (
            "rounds",
            {"nodes": 100, "contributors": 80, "corrupted_share": 0.4},
            "corrupted_share must be a number from 0 to 0.227 with 100 nodes",
        ),
        ("rounds", {"groups": 1}, "groups must be such that each has 2 to 256 of the 512"),
        ("rounds", {"mode": "direct"}, "values must be a whole number from 1 to 20,000 in direct"),
        ("rounds", {"receivers_limited": 1}, "receivers_limited must be true or false, not 1."),
        ("live-rounds", {"nodes": 5}, "nodes must be a whole number from 6 to 200, not 5."),
        ("live-rounds", {"vector_length": 50}, "vector_length must be a whole number from 2 ·"),
    ],
)
def test_a_bad_setting_gets_one_sentence(name: str, settings: dict, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_parameters(EXPERIMENTS[name].parameters, settings)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["trees", "selection", "repairs"])
def test_tables_keep_everything(name: str, tmp_path) -> None:
    records, path = run_small(name, 1), tmp_path / "table.parquet"
    origin = {"experiment": name, "parameters": SMALL[name], "seeds": [1]}
    write_table(path, records, origin)
    rows, described, kept = read_table(path)
    assert rows == [msgspec.structs.asdict(record) for record in records]
    assert described == EXPERIMENTS[name].columns
    assert kept == origin
    assert [each.name for each in tmp_path.iterdir()] == ["table.parquet"]


def test_a_table_holds_one_kind_of_record(tmp_path) -> None:
    mixed = run_small("trees", 1) + run_small("rounds", 1)
    for records in (mixed, []):
        with pytest.raises(ValueError, match="exactly one kind"):
            write_table(tmp_path / "table.parquet", records, {})
