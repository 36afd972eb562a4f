"""`pnyx simulate --ray`: a cluster of two nodes gives what one process gives.

Skipped where the optional package ray is not.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.support.commands import done, refused
from tests.support.scenarios import write_scenario

ROOT = Path(__file__).resolve().parents[2]
STOPS_S = 60

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")


@pytest.fixture
def address() -> Iterator[str]:
    command = [sys.executable, "-m", "tests.support.ray_cluster"]
    quiet = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}  # a test tells nobody that it ran
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env=quiet, text=True, **pipes) as cluster:
        assert cluster.stdin
        assert cluster.stdout
        found = cluster.stdout.readline().strip()
        assert found, "the cluster did not start"
        yield found
        cluster.stdin.close()
        assert cluster.wait(STOPS_S) == 0


def test_a_cluster_gives_what_one_process_gives(address: str, tmp_path: Path) -> None:
    path = write_scenario(tmp_path / "scenario.toml")
    done("simulate", path, "--out", tmp_path / "ray", "--ray", address)
    done("simulate", path, "--out", tmp_path / "here", "--jobs", 1)
    for name in ("results.parquet", "figures.parquet", "report.html"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


def test_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    path = write_scenario(tmp_path / "scenario.toml")
    sentence = refused("simulate", path, "--out", tmp_path / "o", "--ray", "127.0.0.1:1")
    assert "No Ray cluster answers at 127.0.0.1:1: start one" in sentence
