"""`pnyx simulate --ray`: a cluster of two nodes gives what one process gives.

Needs the optional package ray; the cluster is local, two raylets of one core each.
"""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.scenarios import write_scenario

from pnyx.errors import ConfigError
from pnyx.simulator.runner import RayExecutor, SerialExecutor, read_scenario, simulate

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of ray itself
    pytest.mark.full,
]


@pytest.fixture
def address() -> Iterator[str]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    yield cluster.address
    cluster.shutdown()
    del cluster
    gc.collect()  # here, where it is ignored that Ray never asks how its processes ended


def test_a_cluster_gives_what_one_process_gives(address: str, tmp_path: Path) -> None:
    path = write_scenario(tmp_path / "scenario.toml")
    scenario, text = read_scenario(path), path.read_bytes()
    there = simulate(scenario, text, tmp_path / "ray", RayExecutor(address), lambda _: None)
    here = simulate(scenario, text, tmp_path / "here", SerialExecutor(), lambda _: None)
    assert there.runs_done == there.runs_total == here.runs_done
    assert there.figures == here.figures
    for name in ("results.parquet", "figures.parquet", "report.html"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


def test_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    path = write_scenario(tmp_path / "scenario.toml")
    executor = RayExecutor("127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"No Ray cluster answers at 127\.0\.0\.1:1: start one"):
        simulate(read_scenario(path), path.read_bytes(), tmp_path / "o", executor, lambda _: None)
