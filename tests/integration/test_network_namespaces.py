"""T3: real nodes, each in a network namespace, whose network falls apart.

A study is proposed while no packet passes between two halves of eight nodes, and some links carry
one way only; nobody is told. It is done soon after the network has healed, with one chain of
records and nobody counted twice.
"""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.epoch_nodes import EpochNodes
from tests.support.namespaces import Inhabitant, Switch, missing
from tests.support.town import manifest, phase

from pnyx.protocol.study import read_body

COUNT = 8
TORN_S = 6.0
UNTORN_S = 120.0  # less than three of the longest time-outs of a leader, on a machine that is busy


@pytest.fixture
def needs_namespaces() -> None:
    if reason := missing():
        pytest.skip(reason)


def wait(condition: Callable[[], bool], within_s: float) -> None:
    """Until a condition holds; it looks at nodes in other threads, and changes nothing."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < within_s
        time.sleep(0.05)


class Islands:
    """The nodes of a network, each in its namespace."""

    def __init__(self, directory: Path, switch: Switch) -> None:
        self.town = EpochNodes(directory, COUNT, range(COUNT), epoch_s=3600.0)
        self.nodes = self.town.nodes
        self._homes = [Inhabitant(name) for name in switch.names]
        for index, node in enumerate(self.nodes):
            node.host = switch.address(index)

    def start(self) -> None:
        for node, home in zip(self.nodes, self._homes, strict=True):
            home.run(node.start(self.town.signed))
        wait(lambda: all(0 in node.machine.epoch_beacons for node in self.nodes), UNTORN_S)

    def propose(self) -> bytes:
        terms = {"rounds": 2, "target": 6, "drawn": 7, "deadline_s": 20.0}
        asked = manifest(COUNT, [phase(COUNT, **terms)])
        return self._homes[0].call(lambda: self.town.propose(0, asked))

    def finished(self, study: bytes) -> bool:
        states = [node.machine.studies.get(study) for node in self.nodes]
        return all(state is not None and state.finished for state in states)

    def check(self, study: bytes) -> None:
        states = [node.machine.studies[study] for node in self.nodes]
        assert len({tuple(record.body for record in state.records) for state in states}) == 1
        assert len({state.model_hash for state in states}) == 1
        bodies = [read_body(record) for record in states[0].records[1:]]
        assert len(bodies) == 2
        assert all(len(set(body.accepted)) == len(body.accepted) for body in bodies)
        assert any(body.accepted for body in bodies)

    def stop(self) -> None:
        for node, home in zip(self.nodes, self._homes, strict=True):
            if node.up:
                home.run(node.stop())
            home.leave()


@pytest.mark.usefixtures("needs_namespaces")
def test_halves_that_do_not_hear_each_other(tmp_path: Path) -> None:
    with Switch.of(COUNT) as switch:
        islands = Islands(tmp_path, switch)
        try:
            islands.start()
            for one in range(COUNT // 2):
                for other in range(COUNT // 2, COUNT):
                    switch.cut(one, other)
                    if (one, other) != (1, 5):  # what is left of their links, and only one way
                        switch.cut(other, one)
            study = islands.propose()
            time.sleep(TORN_S)
            heard = [study in node.machine.studies for node in islands.nodes[: COUNT // 2]]
            assert all(heard)
            assert not islands.finished(study), "safety: no half has a quorum"
            switch.heal()
            wait(lambda: islands.finished(study), UNTORN_S)
            islands.check(study)
        finally:
            islands.stop()
