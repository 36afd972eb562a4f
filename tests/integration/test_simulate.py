"""`pnyx simulate` as a person types it: processes, Ctrl-C, and what it refuses."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.commands import done, done_json, environment, refused
from tests.support.scenarios import SMALL, write_scenario

TABLES = ("results.parquet", "figures.parquet", "report.html")


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
    process = subprocess.Popen(
        [sys.executable, "-m", "pnyx.cli", "simulate", path, "--out", out, "--jobs", str(jobs)],
        env=environment(""),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    limit = time.monotonic() + 60
    while len(list((out / "runs").glob("*.msgpack"))) < 2 and time.monotonic() < limit:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all its processes
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "runs, whose tables and page are in" in errors.splitlines()[-1]
    kept = {file: file.stat().st_mtime_ns for file in (out / "runs").glob("*.msgpack")}
    assert 2 <= len(kept) < 12
    assert "partial result" in (out / "report.html").read_text()
    done("simulate", path, "--out", out, "--jobs", 2)
    assert len(list((out / "runs").glob("*.msgpack"))) == 12
    assert all(file.stat().st_mtime_ns == at for file, at in kept.items()), "none again"


def test_what_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = write_scenario(tmp_path / "s.toml", SMALL.replace("nodes = 8", "nodes = 8\nnode = 1"))
    assert "There is no setting node here" in refused("simulate", path, "--out", tmp_path / "o")
    assert not (tmp_path / "o").exists()
    write_scenario(path)
    assert "holds other files" in refused("simulate", path, "--out", tmp_path)
    both = ("--jobs", 2, "--ray", "127.0.0.1:1")
    assert "either --jobs or --ray" in refused("simulate", path, "--out", tmp_path / "o", *both)
