"""A daemon asks its ring for the machine's draws, and its owner sees how it stands there."""

import asyncio
from types import SimpleNamespace

import pytest

from pnyx.cli.node import _ring, _shortened
from pnyx.node.control import NO_RING, RingStatus
from pnyx.node.daemon import Daemon
from pnyx.node.overlay import OverlayShell
from pnyx.protocol.events import RegionListed, RegionWanted
from pnyx.protocol.overlay.events import Enumerate, NodesFound

WANTED = RegionWanted(2, 10, 20)
LISTED = RegionListed(2, 10, 20, (b"a" * 32, b"b" * 32), sparse=False)


class Ring:
    """A ring's machine that has joined, or not, and answers an enumeration at once."""

    def __init__(self, *, joined: bool = True, epoch: int = 2) -> None:
        self.ring = SimpleNamespace(joined=joined, epoch=epoch)
        self.asked: list[tuple[int, int]] = []

    def next_deadline(self):
        return None

    def handle(self, event, now):
        assert isinstance(event, Enumerate)
        self.asked.append((event.start, event.end))
        nodes = tuple(SimpleNamespace(node_id=node) for node in LISTED.nodes)
        return [NodesFound(event.ticket, nodes, False, 1, 1, 1)]


def heard(machine: Ring | None) -> list:
    """What the machine of rounds hears when it asks for a region."""

    async def live() -> list:
        daemon, told, ignore = Daemon.__new__(Daemon), [], lambda *_: None
        daemon._tasks, daemon.deliver = set(), told.append
        daemon._overlay = None
        if machine is not None:
            daemon._overlay = OverlayShell(
                machine, post=ignore, learn_address=ignore, persist=ignore, observer=ignore
            )
        daemon._carry_out_one(WANTED)
        await asyncio.gather(*daemon._tasks)
        return told

    return asyncio.run(live())


def test_what_the_ring_lists_answers_the_machine():
    machine = Ring()
    assert heard(machine) == [LISTED]
    assert machine.asked == [(10, 20)]


@pytest.mark.parametrize("machine", [None, Ring(joined=False), Ring(epoch=1), Ring(epoch=3)])
def test_without_a_place_in_the_ring_of_that_epoch_there_is_no_answer(machine):
    assert heard(machine) == []
    assert machine is None or machine.asked == []


def test_how_a_node_stands_in_words():
    ids = tuple(bytes([n]).hex() * 32 for n in range(1, 9))
    ring = RingStatus(
        joined=True,
        epoch=4,
        successors=ids[:4],
        predecessors=ids[4:],
        nodes_known=8,
        nodes_estimated=31,
        items_held=5,
    )
    assert _ring(ring) == "taken in epoch 4; knows 8 nodes of about 31, holds 5 items"
    assert _ring(NO_RING) == "not yet taken"
    ahead, behind = (" ".join(each[:12] for each in side) for side in (ids[:3], ids[4:7]))
    assert _shortened(ring) == f"ahead {ahead}; behind {behind}"
    assert _shortened(NO_RING) == "none"


def test_a_daemon_that_does_not_run_has_no_place():
    daemon = Daemon.__new__(Daemon)
    daemon._overlay = None
    assert daemon.ring == NO_RING
