"""Virtual time: order, timers, and the end of a run."""

from pnyx.simulator.scheduler import Scheduler


def never() -> bool:
    return False


def test_entries_of_one_instant_keep_their_order() -> None:
    scheduler, seen = Scheduler(), []
    for name in "abc":
        scheduler.call_at(1.0, seen.append, name)
    scheduler.call_at(0.5, seen.append, "first")
    assert not scheduler.run(2.0, never)
    assert seen == ["first", "a", "b", "c"]
    assert scheduler.now == 2.0
    assert scheduler.executed == 4


def test_the_past_happens_now() -> None:
    scheduler, times = Scheduler(), []
    scheduler.call_at(1.0, lambda: scheduler.call_at(0.2, lambda: times.append(scheduler.now)))
    scheduler.run(2.0, never)
    assert times == [1.0]


def test_nothing_beyond_the_limit() -> None:
    scheduler, seen = Scheduler(), []
    scheduler.call_at(3.0, seen.append, 1)
    assert not scheduler.run(2.0, never)
    assert seen == []
    assert scheduler.run(4.0, lambda: True)
    assert scheduler.now == 3.0


def test_a_timer_fires_once_at_its_earliest_time() -> None:
    scheduler, fired = Scheduler(), []
    for time in (2.0, 1.0, 3.0):
        scheduler.arm(7, time, lambda: fired.append(scheduler.now))
    scheduler.run(5.0, never)
    assert fired == [1.0]


def test_a_disarmed_timer_never_fires() -> None:
    scheduler, fired = Scheduler(), []
    scheduler.arm(7, 1.0, lambda: fired.append(1))
    scheduler.disarm(7)
    scheduler.disarm(8)
    scheduler.run(5.0, never)
    assert fired == []
