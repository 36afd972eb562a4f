"""One process per directory, whatever happens to it."""

import asyncio
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from pnyx.errors import ConfigError
from pnyx.node import runner
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


class Serving:
    """What `_live` runs: a daemon that stops at once, and a control server."""

    def stop(self) -> None:
        pass

    async def run(self, on_started) -> None:
        await on_started()

    async def start(self) -> None:
        pass


class Control(Serving):
    async def stop(self) -> None:
        pass


@pytest.mark.parametrize("load_loops", [True, False])
def test_loops_are_loaded_beside_the_event_loop(load_loops: bool, monkeypatch) -> None:
    """And the node serves meanwhile: it has started before they are there."""
    threads, started = [], threading.Event()

    def implementation() -> str:
        assert started.wait(10)
        threads.append(threading.current_thread())
        return "numba"

    monkeypatch.setattr(runner, "implementation", implementation)
    live = runner._live(Serving(), Control(), lambda _: started.set(), load_loops=load_loops)
    asyncio.run(live)
    assert started.is_set()
    assert len(threads) == load_loops
    assert threading.main_thread() not in threads


def test_loops_are_loaded_though_the_node_cannot_start(monkeypatch) -> None:
    """No thread is left behind, and what is told is why it did not start."""

    class Broken(Serving):
        async def run(self, on_started) -> None:
            raise ConfigError("the port is taken")

    loaded = []
    monkeypatch.setattr(runner, "implementation", lambda: loaded.append(time.sleep(0.1)))
    with pytest.raises(ConfigError, match="port"):
        asyncio.run(runner._live(Broken(), Control(), None, load_loops=True))
    assert len(loaded) == 1
