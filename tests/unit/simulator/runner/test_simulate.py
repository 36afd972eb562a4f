"""Runs, their folder, and what is written of them."""

import math
import re
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
from tests.support.scenarios import SMALL, write_scenario

from pnyx.demo.activity import windows_path
from pnyx.errors import ConfigError, Interrupted
from pnyx.simulator.bulk.effectiveness import SelectionParameters
from pnyx.simulator.experiments import EXPERIMENTS
from pnyx.simulator.runner import SerialExecutor, drawing, folder, read_scenario
from pnyx.simulator.runner import simulate as carry_out
from pnyx.simulator.runner.executors import encode_job, perform

FAST = """
title = "Selections <b>&amp; $\\u03b1$"
mode = "selection"
repetitions = 3
[settings]
nodes = 1000
selections = 50
[sweep]
actors = [4, 8]
[[figures]]
title = "Corrupted <script>alert(1)</script>"
x = "actors"
y = "corrupted_actors"
"""


def run(path: Path, out: Path, executor=None, tell=lambda _: None):
    return carry_out(
        read_scenario(path), path.read_bytes(), out, executor or SerialExecutor(), tell
    )


class Counting:
    """Runs in this process, tells which, and is interrupted after a while."""

    def __init__(self, most: int = 1_000) -> None:
        self.numbers: list[int] = []
        self.most = most

    def run(self, jobs, progress):
        for number, records in SerialExecutor().run(jobs, progress):
            if len(self.numbers) == self.most:
                raise KeyboardInterrupt
            self.numbers.append(number)
            yield number, records


def test_tables_and_page(tmp_path: Path) -> None:
    shares: list[float] = []
    out = tmp_path / "out"
    made = run(write_scenario(tmp_path / "s.toml"), out, tell=shares.append)
    assert (made.runs_done, made.runs_total, made.broken) == (4, 4, {})
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert shares[-1] == 1.0
    table = pq.read_table(out / "results.parquet")
    rows = table.to_pylist()
    assert len(rows) == 8, "two rounds of four runs"
    assert {(row["loss"], row["repetition"]) for row in rows} == {
        (loss, repetition) for loss in (0.0, 0.1) for repetition in (0, 1)
    }
    assert table.schema.metadata[b"scenario"].decode() == SMALL
    assert b"seconds" in table.schema.field("latency_s").metadata[b"meaning"]
    points = pq.read_table(out / "figures.parquet").to_pylist()
    assert [p["x"] for p in points if p["figure"] == "Latency"] == ["0.0", "0.1"]
    page = (out / "report.html").read_text()
    assert page.count("<svg") == 2
    assert "4 of 4 runs" in page
    assert "seed 3" in page
    assert "partial" not in page


def test_pages_repeat_to_the_byte(tmp_path: Path) -> None:
    path = write_scenario(tmp_path / "s.toml", FAST)
    run(path, tmp_path / "a")
    run(path, tmp_path / "b")
    for name in ("results.parquet", "figures.parquet", "report.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_page_runs_and_loads_nothing(tmp_path: Path) -> None:
    run(write_scenario(tmp_path / "s.toml", FAST), tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "Selections &lt;b&gt;" in page
    assert not re.search(r"(?:src|href)=\"(?!#)", page.replace("xlink:", ""))
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_an_interrupted_command_goes_on(tmp_path: Path) -> None:
    path, out = write_scenario(tmp_path / "s.toml", FAST), tmp_path / "out"
    first, second = Counting(2), Counting()
    with pytest.raises(Interrupted, match=r"after 2 of 6 runs.*give the same command again"):
        run(path, out, first)
    page = (out / "report.html").read_text()
    assert "2 of 6 runs" in page
    assert "partial result" in page
    assert pq.read_table(out / "results.parquet").num_rows == 2
    made = run(path, out, second)
    assert made.runs_done == 6
    assert sorted(first.numbers + second.numbers) == list(range(6)), "none twice"
    run(path, tmp_path / "whole")
    for name in ("results.parquet", "report.html"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_interrupted_before_anything_is_done(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(Interrupted, match="after 0 of 6"):
        run(write_scenario(tmp_path / "s.toml", FAST), out, Counting(0))
    assert "nothing to show yet" in (out / "report.html").read_text()
    assert not (out / "results.parquet").exists()


def test_folders_that_are_not_free(tmp_path: Path) -> None:
    path, out = write_scenario(tmp_path / "s.toml", FAST), tmp_path / "out"
    run(path, out)
    write_scenario(path, FAST.replace("50", "60"))
    with pytest.raises(ConfigError, match=r"--out .* holds results of another scenario"):
        run(path, out)
    write_scenario(path, FAST)
    (out / "version").write_text("0.0.1")
    with pytest.raises(ConfigError, match=r"another version of Pnyx, 0\.0\.1"):
        run(path, out)
    with pytest.raises(ConfigError, match=r"--out .* holds other files"):
        run(path, tmp_path)
    with pytest.raises(ConfigError, match=r"--out .* cannot be used as a folder"):
        run(path, path)


def test_a_folder_in_use(tmp_path: Path) -> None:
    path, out = write_scenario(tmp_path / "s.toml", FAST), tmp_path / "out"
    with (
        folder.open_folder(out, path.read_bytes(), "0"),
        pytest.raises(ConfigError, match="is in use: another command writes to it"),
    ):
        run(path, out)


def test_figures_without_what_draws_them(tmp_path: Path, monkeypatch) -> None:
    def missing(name: str):
        raise ImportError(name)

    monkeypatch.setattr(drawing.importlib, "import_module", missing)
    with pytest.raises(ConfigError, match=r"install it with 'pip install pnyx\[simulate\]'"):
        run(write_scenario(tmp_path / "s.toml", FAST), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_broken_invariants_are_shown(tmp_path: Path, monkeypatch) -> None:
    from pnyx.simulator.invariants import Checker, InvariantError

    def broken(*_):
        raise InvariantError("two records")

    monkeypatch.setattr(Checker, "_check_sum", broken)
    made = run(write_scenario(tmp_path / "s.toml"), tmp_path / "out")
    assert made.broken == {"two records": 4}
    assert "broke in 4 runs" in (tmp_path / "out" / "report.html").read_text()


STUDY = """
title = "A study"
mode = "learning"
repetitions = 2
[settings]
data = "{data}"
owner_column = "user"
label_column = "activity"
ignored = ["window_id"]
contributors = 4
rounds = 1
[sweep]
noise_multiplier = [0.0, 1.0]
[[figures]]
title = "Accuracy"
x = "noise_multiplier"
y = "accuracy"
"""


def test_studies_without_noise_have_no_epsilon(tmp_path: Path) -> None:
    run(write_scenario(tmp_path / "s.toml", STUDY.format(data=windows_path())), tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "results.parquet").to_pylist()
    spent = {(row["noise_multiplier"], row["epsilon"] is None) for row in rows}
    assert spent == {(0.0, True), (1.0, False)}


def test_no_number_is_lost_on_its_way(monkeypatch) -> None:
    records = [Measured(value=value) for value in (math.inf, -math.inf, 0.1)]
    measuring = msgspec.structs.replace(
        EXPERIMENTS["selection"], record=Measured, run=lambda *_: [*records, Measured(math.nan)]
    )
    monkeypatch.setitem(EXPERIMENTS, "selection", measuring)
    made = perform(encode_job("selection", SelectionParameters(), 1))
    *same, last = msgspec.msgpack.decode(made, type=list[Measured])
    assert same == records
    assert math.isnan(last.value)


class Measured(msgspec.Struct):
    value: float
