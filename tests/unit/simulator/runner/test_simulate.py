"""Runs, their folder, and what is written of them."""

import itertools
import math
import re
import signal
from hashlib import sha256
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
from tests.support.scenarios import SMALL, write_scenario

from pnyx.cli import simulate as command
from pnyx.demo.activity import windows_path
from pnyx.errors import ConfigError, Interrupted
from pnyx.simulator.bulk import effectiveness
from pnyx.simulator.bulk.effectiveness import SelectionParameters
from pnyx.simulator.experiment import silent
from pnyx.simulator.experiments import EXPERIMENTS
from pnyx.simulator.invariants import Checker, InvariantError
from pnyx.simulator.live import LiveParameters
from pnyx.simulator.runner import (
    SerialExecutor,
    drawing,
    executors,
    folder,
    provenance,
    read_scenario,
    trace,
)
from pnyx.simulator.runner import simulate as carry_out
from pnyx.simulator.runner.executors import (
    Failed,
    Kept,
    PoolExecutor,
    attempt,
    encode_job,
    perform,
)
from pnyx.simulator.runner.page import Broken

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

    def run(self, jobs, progress, partial):
        for number, result in SerialExecutor().run(jobs, progress, partial):
            if len(self.numbers) == self.most:
                raise KeyboardInterrupt
            self.numbers.append(number)
            yield number, result


def test_tables_and_page(tmp_path: Path) -> None:
    shares: list[float] = []
    out = tmp_path / "out"
    made = run(write_scenario(tmp_path / "s.toml"), out, tell=shares.append)
    assert (made.runs_done, made.runs_total, made.broken) == (4, 4, ())
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
    assert b"never arrive" in table.schema.field("loss").metadata[b"meaning"]
    points = pq.read_table(out / "figures.parquet").to_pylist()
    assert [p["x"] for p in points if p["figure"] == "Latency"] == ["0.0", "0.1"]
    page = (out / "report.html").read_text()
    assert page.count("<svg") == 2
    assert ">share of messages that never arrive</text>" in page
    assert ">whether the round had a result, share of runs</text>" in page
    assert "Runs at a point: 2." in page
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
    with pytest.raises(Interrupted, match=r"2 of 6 runs are done, and their .* in .*give the same"):
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
    with pytest.raises(Interrupted, match=r"none of 6 runs is done, and .* holds no table"):
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
    (out / "version").write_text("0.1.0+abc")
    with pytest.raises(ConfigError, match=r"settings name, 0\.1\.0\+abc, where this is 0"):
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


def test_broken_invariants_are_shown_and_replayed(tmp_path: Path, monkeypatch, capsys) -> None:
    def broken(*_):
        raise InvariantError("two records")

    monkeypatch.setattr(Checker, "_check_sum", broken)
    path, out = write_scenario(tmp_path / "s.toml"), tmp_path / "out"
    made = run(path, out)
    assert made.broken == (Broken("two records", 4, 0, 0, 3),)
    page = (out / "report.html").read_text()
    assert "broke in 4 runs" in page
    assert "4, first in 0:0 with seed 3: two records" in page

    command.simulate(path, out, jobs=1)
    told = capsys.readouterr().err.splitlines()[-2]
    assert told.startswith("An invariant broke in 4 runs, first in one with seed 3: two records; ")
    *_, file, _, name = told.split()
    command.simulate(Path(file), trace=name)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "BROKEN  two records"
    assert any("StepReached" in line for line in lines)


def test_what_can_be_traced(tmp_path: Path) -> None:
    live = read_scenario(write_scenario(tmp_path / "s.toml"))
    with pytest.raises(ConfigError, match=r"POINT:REPETITION, from 0:0 to 1:1, not '2:0'"):
        trace(live, "2:0", print)
    told: list[str] = []
    trace(live, "1:1", told.append)
    assert told[-1] == "No invariant broke."
    selection = read_scenario(write_scenario(tmp_path / "s.toml", FAST))
    with pytest.raises(ConfigError, match="of mode live, and this is selection"):
        trace(selection, "0:0", print)


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


def test_a_failing_point_costs_no_other(tmp_path: Path, monkeypatch) -> None:
    plain = effectiveness.run

    def failing(parameters, seed, progress):
        if parameters.actors == 4:
            raise ZeroDivisionError("a bug")
        return plain(parameters, seed, progress)

    broken = msgspec.structs.replace(EXPERIMENTS["selection"], run=failing)
    monkeypatch.setitem(EXPERIMENTS, "selection", broken)
    path, out = write_scenario(tmp_path / "s.toml", FAST), tmp_path / "out"
    with pytest.raises(ConfigError) as refused:
        run(path, out)
    assert str(refused.value) == (
        "3 of 6 runs failed, the first at point 0 (actors = 4), repetition 0, of: "
        "ZeroDivisionError: a bug; runs/*.failed says where, 3 of 6 runs are done, and their "
        f"tables and page are in {out}; give the same command again to try these runs once more, "
        "or mend the scenario and name another --out."
    )
    rows = pq.read_table(out / "results.parquet").to_pylist()
    assert [(row["actors"], row["partial"]) for row in rows] == [(8, False)] * 3
    assert "3 runs failed" in (out / "report.html").read_text()
    assert "test_simulate.py" in (out / "runs" / "000000.failed").read_text()
    monkeypatch.undo()
    assert run(path, out).runs_done == 6
    assert "runs failed" not in (out / "report.html").read_text()
    assert not list((out / "runs").glob("*.failed"))


class Ending:
    """Carries out one run, and then ends the sweep."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def run(self, jobs, progress, partial):
        yield from itertools.islice(SerialExecutor().run(jobs, progress, partial), 1)
        raise self.error


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (ConfigError("A process was ended."), ConfigError, "A process was ended. So far 1 of 6 ru"),
        (KeyboardInterrupt(), Interrupted, "Interrupted: 1 of 6 runs are done, and their"),
        (RuntimeError("bug"), RuntimeError, "bug"),
    ],
)
def test_whatever_ends_a_sweep_leaves_tables(tmp_path: Path, error, kind, sentence) -> None:
    out = tmp_path / "out"
    with pytest.raises(kind) as ended:
        run(write_scenario(tmp_path / "s.toml", FAST), out, Ending(error))
    assert str(ended.value).startswith(sentence)
    assert pq.read_table(out / "results.parquet").num_rows == 1
    assert "1 of 6 runs" in (out / "report.html").read_text()


SCENARIO = """
title = "One run"
mode = "{mode}"
[settings]
{settings}
"""
# Of each kind of experiment whose runs come to several records one after the other: a run of four.
IN_PARTS = {
    "live": "nodes = 8\nrounds = 3\nsignatures = 'ideal'",
    "learning": f"data = '{windows_path()}'\nowner_column = 'user'\nlabel_column = 'activity'\n"
    "ignored = ['window_id']\nrounds = 4",
    "withheld-reveals": "withheld_max = 3\ntrials = 50",
    "trees": "fan_out = 3\ndepth = 2\nruns = 4\nwindow_s = 20",
    "rounds": "contributors = 40\nruns = 4\nwindow_s = 500",
    "live-rounds": "nodes = 12\nvector_length = 24\nruns = 4",
}
# The records of these sum up a whole run: none is final before its end.
AT_THE_END = {
    "selection": "nodes = 1000\nselections = 400\nepochs = 4",
    "regions": "nodes = 1000\nnetworks = 4\nsamples = 50",
    "repairs": "nodes = 1000\nnetworks = 4\nsamples = 50",
    "naive-selection": "nodes = 1000\nselections = 400\nepochs = 4",
    "selection-cost": "nodes = 1000",
    "caches": "nodes = 1000\ncaches = 50",
}


def test_all_are_interrupted_here() -> None:
    assert sorted([*IN_PARTS, *AT_THE_END]) == sorted(EXPERIMENTS)


@pytest.mark.parametrize("mode", IN_PARTS)
def test_final_records_of_an_interrupted_run_are_kept(tmp_path: Path, mode: str) -> None:
    text = SCENARIO.format(mode=mode, settings=IN_PARTS[mode])
    path, out = write_scenario(tmp_path / "s.toml", text), tmp_path / "out"
    columns = EXPERIMENTS[mode].columns

    def stop(share):
        if (out / "runs" / "000000.partial").exists() and share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as interrupted:
        run(path, out, tell=stop)
    rows = pq.read_table(out / "results.parquet").to_pylist()
    assert 1 <= len(rows) <= 3
    assert all(row["partial"] for row in rows)
    counted = "round" if mode in {"live", "learning"} else "record"
    said = f"{len(rows)} {counted}{'s' if len(rows) > 1 else ''} of "
    told = str(interrupted.value)
    assert f"0 of 1 run is done, and {said}others, and their tables" in told
    assert f"{said}runs that are not done" in (out / "report.html").read_text()
    kept = [[row[name] for name in columns] for row in rows]
    assert run(path, out).records_partial == 0
    rows = pq.read_table(out / "results.parquet").to_pylist()
    assert [row["partial"] for row in rows] == [False] * 4, "replaced"
    assert [[row[name] for name in columns] for row in rows][: len(kept)] == kept
    assert [file.name for file in (out / "runs").iterdir()] == ["000000.msgpack"]


@pytest.mark.parametrize("mode", AT_THE_END)
def test_sums_over_a_whole_run_are_never_of_a_part(tmp_path: Path, mode: str) -> None:
    text = SCENARIO.format(mode=mode, settings=AT_THE_END[mode])
    path, out = write_scenario(tmp_path / "s.toml", text), tmp_path / "out"

    def stop(share):
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match=r"none of 1 run is done, and .* holds no table"):
        run(path, out, tell=stop)
    assert not list((out / "runs").iterdir())


def test_a_second_attempt_loses_no_round_of_the_first(tmp_path: Path) -> None:
    file = tmp_path / "000000.partial"
    records = [Measured(value=value) for value in range(5)]
    folder.keeping(file, silent)(0.5, records[:3])
    again = folder.keeping(file, silent)
    again(0.1, records[:1])
    assert len(msgspec.msgpack.decode(file.read_bytes())) == 3
    again(0.6, records[:4])
    assert len(msgspec.msgpack.decode(file.read_bytes())) == 4


def test_a_folder_without_runs_takes_another_scenario(tmp_path: Path) -> None:
    path, out = write_scenario(tmp_path / "s.toml", FAST), tmp_path / "out"
    with pytest.raises(Interrupted):
        run(path, out, Counting(0))
    write_scenario(path, FAST.replace("50", "60"))
    assert run(path, out).runs_done == 6


def test_runs_of_other_code_are_refused() -> None:
    job = msgspec.msgpack.decode(encode_job("selection", SelectionParameters(), 1))
    made = attempt(msgspec.msgpack.encode(job | {"code": "0.1.0+other"}))
    failed = msgspec.msgpack.decode(made, type=Failed)
    assert "than the one that sends the runs, 0.1.0+other: install the same" in failed.sentence


@pytest.mark.parametrize(
    "name", ["a.py", "data/rows.parquet", "b.json", "b.sql", "b.toml", "b.csv", "templates/b.html"]
)
def test_code_is_named_by_every_file_of_the_package(tmp_path: Path, monkeypatch, name) -> None:
    monkeypatch.setattr(provenance.pnyx, "__file__", str(tmp_path / "__init__.py"))
    file, names = tmp_path / name, []
    file.parent.mkdir(exist_ok=True)
    for content in ("x = 1", "x = 2", "x = 1"):
        file.write_text(content)
        names.append(provenance.code_version.__wrapped__())
    assert names[0] != names[1]
    assert names[0] == names[2]
    assert all(re.fullmatch(r"0\.1\.0\+[0-9a-f]{12}", name) for name in names)
    file.rename(file.with_stem("c"))
    assert provenance.code_version.__wrapped__() != names[0]


def test_code_is_not_named_by_what_running_leaves(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(provenance.pnyx, "__file__", str(tmp_path / "__init__.py"))
    (tmp_path / "a.py").write_text("x = 1")
    name = provenance.code_version.__wrapped__()
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.cpython-311.pyc").write_text("bytes")
    (tmp_path / ".a.py.swp").write_text("an editor's")
    assert provenance.code_version.__wrapped__() == name


def test_data_of_the_package_are_in_its_name(monkeypatch) -> None:
    read: list[Path] = []
    monkeypatch.setattr(
        provenance, "file_digest", lambda file, kind: read.append(Path(file.name)) or sha256()
    )
    provenance.code_version.__wrapped__()
    assert windows_path() in read
    assert Path(provenance.__file__) in read


def test_results_are_named_by_their_scenario_and_its_files(tmp_path: Path) -> None:
    data = tmp_path / "rows.parquet"
    data.write_bytes(windows_path().read_bytes())
    text = STUDY.format(data=data.name)
    path, out = write_scenario(tmp_path / "s.toml", text), tmp_path / "out"
    run(path, out)
    version = (out / "version").read_text()
    assert re.fullmatch(r"0\.1\.0\+[0-9a-f]{12}\.[0-9a-f]{12}", version)
    assert version.startswith(provenance.code_version())
    page = (out / "report.html").read_text()
    assert page.count(version) == 2, "at the top, and at the foot of the figure"
    assert pq.read_table(out / "results.parquet").schema.metadata[b"version"] == version.encode()
    run(path, out)

    rows = pq.read_table(data)
    pq.write_table(rows.slice(0, len(rows) - 1), data)
    with pytest.raises(ConfigError, match=r"results of other code, or of other files that settin"):
        run(path, out)
    run(path, tmp_path / "other")
    assert (tmp_path / "other" / "version").read_text() != version

    data.write_bytes(windows_path().read_bytes())
    run(write_scenario(path, text + "# changed"), tmp_path / "third")
    assert (tmp_path / "third" / "version").read_text() != version
    run(write_scenario(path, text), tmp_path / "fourth")
    assert (tmp_path / "fourth" / "version").read_text() == version


def test_pages_say_what_figures_leave_out(tmp_path: Path) -> None:
    text = (
        STUDY.format(data=windows_path())
        + """
[[figures]]
title = "By epsilon"
x = "epsilon"
y = "accuracy"
x_scale = "log"
"""
    )
    run(write_scenario(tmp_path / "s.toml", text), tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "epsilon is measured: each point is at the mean of its runs." in page
    assert "2 of 4 rounds have a result in epsilon; the others are in no mean." in page
    assert ">noise multiplier: deviation of the sum" in page, "the axis says what x is"


def test_processes_tell_how_far_they_are(tmp_path: Path) -> None:
    parameters = LiveParameters(nodes=8, rounds=6, signatures="ideal")
    jobs = [(number, encode_job("live", parameters, number)) for number in range(3)]
    told: list[float] = []

    def progress(share, records=()):
        told.append(share)

    pool = PoolExecutor(1)
    results = pool.run(jobs, progress, lambda number: tmp_path / str(number))
    number, first = next(results)
    assert number == 0
    assert isinstance(first, Kept)
    assert any(0 < share < 1 for share in told), "within the first run"
    assert [number for number, _ in results] == [1, 2], "more jobs than a process has waiting"


def test_an_interruption_that_became_an_error_is_one_all_the_same(
    tmp_path: Path, monkeypatch
) -> None:
    """CPython makes a TypeError of a Ctrl-C that falls into an import."""

    def fails(job: bytes, progress) -> bytes:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise TypeError("expected a message argument") from None
        raise AssertionError("Ctrl-C interrupts")

    monkeypatch.setattr(executors, "perform", fails)
    out = tmp_path / "out"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job of `&` ignores it
    try:
        with pytest.raises(Interrupted, match="none of 6 runs is done"):
            run(write_scenario(tmp_path / "s.toml", FAST), out)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert not list((out / "runs").glob("*.failed"))
