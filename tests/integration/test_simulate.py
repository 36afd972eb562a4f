"""`pnyx simulate` as a person types it: processes, Ctrl-C, and what it refuses."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from tests.support.commands import done, done_json, environment, refused
from tests.support.scenarios import SMALL, write_scenario

TABLES = ("results.parquet", "figures.parquet", "report.html")


def started(path: Path, out: Path, jobs: int) -> subprocess.Popen[str]:
    """The command, in a process group of its own, as a terminal has it."""
    return subprocess.Popen(
        [sys.executable, "-m", "pnyx.cli", "simulate", path, "--out", out, "--jobs", str(jobs)],
        env=environment(""),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(out: Path, pattern: str, count: int) -> None:
    """Until so many files of runs are there."""
    limit = time.monotonic() + 60
    while len(list((out / "runs").glob(pattern))) < count and time.monotonic() < limit:
        time.sleep(0.02)


def interrupted_when(
    path: Path, out: Path, jobs: int, pattern: str, *, count: int
) -> tuple[subprocess.Popen[str], str]:
    """The command after Ctrl-C, and what it said."""
    process = started(path, out, jobs)
    wait_for(out, pattern, count)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all its processes
    _, errors = process.communicate(timeout=60)
    return process, errors


def test_all_cores_give_what_one_gives(tmp_path: Path) -> None:
    path = write_scenario(tmp_path / "s.toml")
    done("simulate", path, "--out", tmp_path / "one", "--jobs", 1)
    made = done_json("simulate", path, "--out", tmp_path / "two", "--jobs", 2)
    assert (made["runs_done"], made["runs_total"], made["mode"]) == (4, 4, "live")
    assert [figure["figure"]["title"] for figure in made["figures"]] == ["Latency", "Results"]
    for name in TABLES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_leaves_results_and_the_command_goes_on(tmp_path: Path, jobs: int) -> None:
    path = write_scenario(tmp_path / "s.toml", SMALL.replace("repetitions = 2", "repetitions = 6"))
    out = tmp_path / "out"
    process, errors = interrupted_when(path, out, jobs, "*.msgpack", count=2)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "of 12 runs are done" in errors.splitlines()[-1]
    assert f"their tables and page are in {out}" in errors.splitlines()[-1]
    kept = {file: file.stat().st_mtime_ns for file in (out / "runs").glob("*.msgpack")}
    assert 2 <= len(kept) < 12
    assert "partial result" in (out / "report.html").read_text()
    done("simulate", path, "--out", out, "--jobs", 2)
    assert len(list((out / "runs").glob("*.msgpack"))) == 12
    assert all(file.stat().st_mtime_ns == at for file, at in kept.items()), "none again"


LONG = """
title = "Many rounds"
mode = "live"
[settings]
nodes = 8
rounds = 400
limit_s = 100_000
signatures = "ideal"
[sweep]
loss = [0.0, 0.01]
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_within_a_run_keeps_its_finished_rounds(tmp_path: Path, jobs: int) -> None:
    path, out = write_scenario(tmp_path / "s.toml", LONG), tmp_path / "out"
    process, errors = interrupted_when(path, out, jobs, "*.partial", count=jobs)
    assert process.returncode == 130, errors
    assert re.search(r"0 of 2 runs are done, and (1 round|\d+ rounds) of others, and their", errors)
    rows = pq.read_table(out / "results.parquet").to_pylist()
    assert rows
    assert all(row["partial"] for row in rows)
    assert {row["point"] for row in rows} == set(range(jobs))


def test_a_killed_process_leaves_tables(tmp_path: Path) -> None:
    path = write_scenario(tmp_path / "s.toml", LONG.replace("rounds = 400", "rounds = 40"))
    out = tmp_path / "out"
    process = started(path, out, 2)
    wait_for(out, "*.partial", 2)
    parent = psutil.Process(process.pid)
    workers = [each for each in parent.children() if "spawn_main" in " ".join(each.cmdline())]
    workers[0].kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    assert "A process of the sweep was ended from outside" in errors.splitlines()[-1]
    assert "So far 0 of 2 runs are done, and" in errors.splitlines()[-1]
    assert pq.read_table(out / "results.parquet").num_rows >= 2


def test_a_run_is_told_again(tmp_path: Path) -> None:
    path = write_scenario(tmp_path / "s.toml")
    told = done("simulate", path, "--trace", "1:1")
    assert "RoundCertified" in told
    assert told.splitlines()[-1] == "No invariant broke."
    assert "--trace must be POINT:REPETITION" in refused("simulate", path, "--trace", "2:0")
    assert "Give --out, a folder for tables and page" in refused("simulate", path)


def test_what_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = write_scenario(tmp_path / "s.toml", SMALL.replace("nodes = 8", "nodes = 8\nnode = 1"))
    assert "There is no setting node here" in refused("simulate", path, "--out", tmp_path / "o")
    assert not (tmp_path / "o").exists()
    write_scenario(path)
    assert "holds other files" in refused("simulate", path, "--out", tmp_path)
    both = ("--jobs", 2, "--ray", "127.0.0.1:1")
    assert "either --jobs or --ray" in refused("simulate", path, "--out", tmp_path / "o", *both)
