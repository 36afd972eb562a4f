"""The overlay's shell is woken by whichever loop runs it, also for what is due already."""

import asyncio

import pytest

from pnyx.node.overlay import OverlayShell


class Machine:
    """Always has something to do, in the past and then soon."""

    def __init__(self, loop):
        self.loop, self.handled = loop, 0

    def next_deadline(self):
        return self.loop.time() + (0.01 if self.handled % 2 else -1.0)

    def handle(self, event, now):
        self.handled += 1
        return []


async def woken():
    machine = Machine(asyncio.get_running_loop())
    ignore = lambda *_: None  # noqa: E731
    shell = OverlayShell(
        machine, post=ignore, learn_address=ignore, persist=ignore, observer=ignore
    )
    for _ in range(4):
        shell.deliver(object())  # while a timer for the past is set
    await asyncio.sleep(0.1)
    shell.close()
    return machine.handled


def loops():
    uvloop = pytest.importorskip("uvloop")
    return [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.mark.parametrize("which", [0, 1])
def test_deadlines_in_the_past_are_met(which):
    with asyncio.Runner(loop_factory=loops()[which]) as runner:
        assert runner.run(woken()) > 4
