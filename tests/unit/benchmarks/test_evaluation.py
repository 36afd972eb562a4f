"""Tables of the evaluation: which there are, how numbers are shown, what is replaced."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from benchmarks.evaluation import __main__ as tables
from benchmarks.evaluation import cells

ROOT = Path(__file__).resolve().parents[3]


def test_the_document_has_every_table_once():
    named = re.findall(
        r"^<!-- table: (\S+) -->\n\|", (ROOT / tables.DOCUMENT).read_text(), re.MULTILINE
    )
    assert sorted(named) == sorted(tables.TABLES)


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([], "–"),
        ([2.0], "2.00"),
        ([2.0, 2.0], "2.00"),
        ([1.0, 3.0], "2 ± 13"),  # Student's with one degree of freedom: 12.7
        ([1.0, 1.1, 0.9, 1.0], "1.00 ± 0.13"),
        ([1000.0, 3000.0], "2,000 ± 12,706"),
    ],
)
def test_means_have_the_digits_that_their_interval_allows(values, shown):
    assert cells.mean(values) == shown


def test_shares_have_wilsons_interval():
    assert cells.share([True] * 3) == "3 of 3 (44 to 100 %)"
    assert cells.share([True] + [False] * 3) == "1 of 4 (5 to 70 %)"


def test_rare_numbers_have_one_digit():
    shown = [cells.rare(value) for value in (0, 0.5, 166.2, 0.00096, 3.1e-7)]
    assert shown == ["0", "0.5", "166", "1 · 10⁻³", "3 · 10⁻⁷"]


def test_a_table_is_replaced_and_one_without_a_run_is_named(tmp_path, monkeypatch):
    rows = [
        {"actors": actors, "withheld": count, "gain": 1.0 + count}
        for actors in (8, 32)
        for count in (0, 1, 2, 3, 4, 6, 8)
    ]
    (tmp_path / "withheld-reveals").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "withheld-reveals" / "results.parquet")
    monkeypatch.setattr(cells, "FOLDER", tmp_path)
    before = (
        "a\n<!-- table: withheld-reveals -->\n| old |\n\nb\n<!-- table: caches -->\n| kept |\nc\n"
    )
    after, left = tables.rewritten(before)
    assert "| gain, 8 actors | 1.00 | 2.00 | 3.00 | 4.00 | 5.00 | 7.00 | 9.00 |\n" in after
    assert "old" not in after
    assert after.startswith("a\n<!-- table: withheld-reveals -->\n| reveals withheld, a |")
    assert after.endswith("\n\nb\n<!-- table: caches -->\n| kept |\nc\n")
    assert [each.split(":")[0] for each in left] == ["caches"]


def test_poisoners_have_a_line_for_each_attack_and_rule(tmp_path, monkeypatch):
    rows = [
        {"attack": attack, "groups": groups, "groups_tolerated": tolerated, "contributors": 24}
        | {"corrupted": share, "round": 20, "accuracy": 0.8 - share / groups}
        for attack in ("sign_flip", "label_flip", "unbounded")
        for groups, tolerated in ((1, 0), (8, 3))
        for share in (0.0, 0.2)
    ]
    (tmp_path / "poisoning").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "poisoning" / "results.parquet")
    monkeypatch.setattr(cells, "FOLDER", tmp_path)
    head, *lines = tables.TABLES["poisoning"]()
    assert head == ("poisoners", "by", "0 %", "20 %")
    assert lines[:2] == [
        ("negative, within the bound", "plain mean", "80.0", "60.0"),
        ("negative, within the bound", "8 groups of 3, 3 tolerated", "80.0", "77.5"),
    ]
    assert len(lines) == 6


def test_what_benchmarks_found_becomes_tables(tmp_path, monkeypatch):
    spent = {
        "together": 0.2,
        "apart": 1.0,
        "by hand, 64 at once": 0.25,
        "by hand, 256 at once": 0.19,
    }
    row = {"parameters": 3142, "clients": 954, "trained_together": True, "cpu_ms_a_client": spent}
    (tmp_path / "cohort.json").write_text(
        json.dumps({"machine": {}, "cohort": [row | {"ratio_to_handwritten": 1.05}]})
    )
    monkeypatch.setattr(cells, "OUTPUT", tmp_path)
    _, line = tables.TABLES["cohort"]()
    assert line == ("3,142", "954", "0.20", "1.00", "0.19", "together", "1.05")


def test_epsilon_is_the_largest_of_the_seeds_where_there_is_noise(tmp_path, monkeypatch):
    rows = [
        {"owners": owners, "noise_multiplier": noise, "round": 20, "epsilon": spent}
        for owners, noise, spent in (
            (100, 0.0, None),
            (100, 1.0, 31.9),
            (100, 2.0, 0.96),
            (1000, 1.0, 4.61),
            (1000, 1.0, 4.58),
            (1000, 2.0, 0.304),
        )
    ]
    (tmp_path / "privacy").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "privacy" / "results.parquet")
    monkeypatch.setattr(cells, "FOLDER", tmp_path)
    _, *lines = tables.TABLES["privacy-epsilon"]()
    assert lines == [("100", "32", "0.96"), ("1,000", "4.6", "0.30")]


def test_what_rounds_spend_stands_beside_the_quiet_round_of_their_seed(tmp_path, monkeypatch):
    live = {"masked": False, "surplus": 0.0, "drawn": 24, "asked": 24}
    spent = [  # seed, window, accepted, whether there is a result, bytes, messages, checks
        (1, 0, 24, True, 2_000_000, 100, 1000),
        (2, 0, 24, True, 4_000_000, 200, 2000),
        (1, 10, 24, True, 3_000_000, 200, 500),
        (2, 10, 12, True, 4_000_000, 300, 1000),
        (3, 10, 0, False, 9_000_000, 900, 9000),
    ]
    columns = ("seed", "window_s", "accepted", "completed", "bytes", "messages", "checks")
    rows = [live | dict(zip(columns, row, strict=True)) | {"latency_s": 2.0} for row in spent]
    trees = [
        {"strategy": strategy, "window_s": window_s, "completeness": 0.5} | grown
        for strategy in ("cut", "eager")
        for window_s, grown in ((0, {"latency_s": 1.0, "bytes": 100}), (10, {"bytes": 150}))
    ]
    for name, table in (
        ("live-rounds-quiet", rows[:2]),
        ("live-rounds", rows[2:]),
        ("trees-live", [{"latency_s": 3.0} | each for each in trees]),
    ):
        (tmp_path / name).mkdir()
        pq.write_table(pa.Table.from_pylist(table), tmp_path / name / "results.parquet")
    monkeypatch.setattr(cells, "FOLDER", tmp_path)
    head, *lines = tables.TABLES["live-failures"]()
    assert {len(line) for line in lines} == {len(head)}
    assert [line[:2] for line in lines[:3]] == [
        ("tree", "none"),
        ("tree, cut", "10"),
        ("tree, eager", "10"),
    ]
    assert [line[5] for line in lines[:3]] == ["", "1.50", "1.50"]
    quiet, dying = ([str(cell) for cell in line] for line in lines[3:])
    assert quiet[:2] == ["ours, direct, 24 drawn", "none"]
    assert quiet[2:6] == ["100", "2.00", "3 ± 13", ""]
    assert dying[2].startswith("50 ±"), "a round without a result counts nobody"
    assert dying[5::2] == ["1 ± 3", "2 ± 3", "0.50"]  # 1.5 and 1, 2 and 1.5, a half and a half
    assert dying[-1] == "9.00"
