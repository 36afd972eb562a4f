"""Options of `pnyx demo` that are refused before anything starts."""

from pathlib import Path

import pytest
from rich.console import Console

from pnyx.demo.run import _Demo, run_demo
from pnyx.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"nodes": 5}, "--nodes must be from 6 to 36"),
        ({"rounds": 0}, "--rounds must be"),
        ({"kill": 0.6}, "--kill must be"),
        ({"corrupt": -1}, "--corrupt must be from 0 to 4"),
        ({"corrupt": 1, "masked": True}, "--masked goes without --corrupt"),
        ({"verified": True}, "add --masked"),
        ({"corrupt": 5}, "nothing is promised when more than 4 of them are corrupt"),
        ({"nodes": 12, "corrupt": 2}, "--corrupt must be from 0 to 1: among 12 nodes"),
    ],
)
def test_out_of_range(options: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        run_demo(keep=tmp_path / "unused", report=tmp_path / "report.html", **options)
    assert list(tmp_path.iterdir()) == []


def test_report_that_cannot_be_written_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        run_demo(keep=tmp_path / "unused", report=tmp_path / "gone" / "report.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("masked", [True, False])
def test_loops_are_loaded_before_the_nodes_are_forked_if_they_are_needed(
    masked: bool, tmp_path: Path, monkeypatch
) -> None:
    done = []
    monkeypatch.setattr("pnyx.learning.training.warm_up", lambda: done.append("torch"))
    monkeypatch.setattr("pnyx.primitives.ring.implementation", lambda: done.append("loops"))
    _Demo(tmp_path, 12, 1, 0.0, 0, 1, Console(stderr=True), masked=masked)
    assert done == (["torch", "loops"] if masked else ["torch"])
