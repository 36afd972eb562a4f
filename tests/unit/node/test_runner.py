"""One process per directory, whatever happens to it."""

import os
import signal
import time
from pathlib import Path

import pytest

from pnyx.errors import ConfigError
from pnyx.node.keystore import NodeLayout
from pnyx.node.runner import is_locked, single_instance


def node_in(directory: Path) -> NodeLayout:
    layout = NodeLayout(directory)
    layout.keystore.touch()
    return layout


def test_directory_is_held_by_one(tmp_path: Path) -> None:
    layout = node_in(tmp_path)
    assert not is_locked(layout)
    with single_instance(layout):
        assert is_locked(layout)
        with pytest.raises(ConfigError, match="already running"), single_instance(layout):
            pass
        assert is_locked(layout)
    assert not is_locked(layout)


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    layout = node_in(tmp_path)
    process = os.fork()
    if process == 0:
        with single_instance(layout):
            time.sleep(60)
    limit = time.monotonic() + 10
    while not is_locked(layout) and time.monotonic() < limit:
        time.sleep(0.01)
    assert is_locked(layout)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    with single_instance(layout):
        pass


def test_missing_directory_is_named(tmp_path: Path) -> None:
    layout = NodeLayout(tmp_path / "none")
    assert not is_locked(layout)
    with pytest.raises(ConfigError, match="pnyx node init"), single_instance(layout):
        pass


def test_directory_of_others_is_named(tmp_path: Path) -> None:
    (tmp_path / "node.lock").mkdir()
    with (
        pytest.raises(ConfigError, match="cannot be written"),
        single_instance(node_in(tmp_path)),
    ):
        pass
