"""Liveness: members that wait for a quorum, however long, meet those that come late or come back.

Attack: keep a few members away for a while, from the first beacon or from a round, and let the
others wait. With views that go on without a quorum they draw apart and never meet again.
"""

from collections.abc import Callable

import pytest
from tests.support.town import Town

from pnyx.protocol.events import PeerReachable, PeerUnreachable
from pnyx.protocol.messages import ViewChange
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round.views import Views
from pnyx.protocol.study import genesis_plan

IMPATIENT = ProtocolParams(view_timeout_s_max=5.0)  # a long wait in little time
WAIT_S = 900.0


def genesis_waits(town: Town) -> Callable[[], bool]:
    """Two of the seven members of the first committee start late: five are below the quorum."""
    late = genesis_plan(town.census).committee[5:]
    for index in late:
        town.crash(index)
    town.run(seconds=WAIT_S)
    for index in late:
        town.restart(index)
    return lambda: all(machine.epoch_beacons for machine in town.machines)


def round_waits(town: Town) -> Callable[[], bool]:
    """Two of seven members are killed in the middle of a round."""
    study = town.propose()
    assert town.run(town.in_round(study, 1), seconds=60)
    late = town.plan(study).committee[5:]
    for index in late:
        town.crash(index)
    town.run(seconds=WAIT_S)
    for index in late:
        town.restart(index)
    return town.finished(study)


def early_birds_wait(town: Town) -> Callable[[], bool]:
    """Two of seven start before the rest, and know that nobody else can be reached."""
    early = genesis_plan(town.census).committee[1:3]
    late = [index for index in range(town.count) if index not in early]
    ids = town.census.node_ids
    for index in late:
        town.crash(index)
    for index in early:
        for other in late:
            town.push(index, PeerUnreachable(ids[other]), after=1.0)
    town.run(seconds=WAIT_S)
    for index in late:
        town.restart(index)
        for other in early:
            town.push(other, PeerReachable(ids[index]), after=0.5)
    return lambda: all(machine.epoch_beacons for machine in town.machines)


SITUATIONS = (genesis_waits, round_waits, early_birds_wait)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_those_who_come_late_are_waited_for(situation) -> None:
    town = Town(params=IMPATIENT)
    assert town.run(situation(town), seconds=120)


@pytest.mark.parametrize("situation", SITUATIONS[:2])
def test_views_that_go_on_alone_and_are_followed_from_near_only_part_for_ever(
    situation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def going_on(views: Views, leader_unreachable: bool) -> float | None:
        with monkeypatch.context() as patched:
            patched.setattr(Views, "followed", property(lambda _: True))
            return deadline(views, leader_unreachable)

    def from_near(views: Views, member: int, change: ViewChange, now: float) -> bool:
        return change.view <= views.current + 64 and on_change(views, member, change, now)

    deadline, on_change = Views.deadline, Views.on_change
    monkeypatch.setattr(Views, "deadline", going_on)
    monkeypatch.setattr(Views, "on_change", from_near)
    town = Town(params=IMPATIENT)
    assert not town.run(situation(town), seconds=120)
