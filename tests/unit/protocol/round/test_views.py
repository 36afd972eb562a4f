"""When members change leaders."""

from tests.support.ballots import proof
from tests.support.committee import Committee

from pnyx.protocol.messages import Instance, Step, ViewChange
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round.views import Views

PLAN = Committee().plan  # k 7, f 1, q 6
PARAMS = ProtocolParams()


def change(view: int, instance: Instance = Instance.CLOSE, value: bytes | None = None):
    shown = None if value is None else proof(value, 0)
    return ViewChange(PLAN.context, view, Step.CLOSE, instance, shown)


def views(member: int = 3) -> Views:
    return Views(PLAN, PARAMS, member)


def test_view_zero_needs_nobodys_leave():
    assert views(0).leading
    assert not views(1).leading


def test_a_leader_needs_a_quorum():
    mine = views(1)
    mine.advance(0.0)
    assert (mine.leader, mine.current) == (1, 1)
    for member in (0, 2, 3, 4):
        mine.on_change(member, change(1), 0.0)
        assert not mine.leading
    mine.on_change(5, change(2), 0.0)
    assert mine.leading, "who is further on has come by"


def test_f_plus_one_members_pull_the_others():
    mine = views()
    assert not mine.on_change(0, change(4), 1.0), "one may lie"
    assert mine.current == 0
    assert mine.on_change(1, change(2), 1.0)
    assert mine.current == 2
    assert not mine.on_change(1, change(2), 1.0)


def test_a_view_far_ahead_is_followed_when_f_plus_one_are_there():
    mine = views()
    assert not mine.on_change(0, change(2**31), 0.0), "one may lie"
    assert mine.current == 0
    assert mine.on_change(1, change(900), 0.0)
    assert mine.current == 900


def test_nobody_gives_up_on_a_leader_that_no_quorum_follows():
    mine = views()
    mine.wait(0.0)
    mine.advance(5.0)
    assert mine.deadline(True) is None
    for member in (0, 1, 2, 4):
        mine.on_change(member, change(1), 6.0)
        assert mine.deadline(True) is None
    mine.on_change(5, change(1), 100.0)
    assert mine.deadline(True) == 100.0 + PARAMS.unreachable_leader_timeout_s


def test_an_older_report_does_not_replace_a_newer():
    mine = views()
    mine.on_change(0, change(3, value=b"new"), 0.0)
    mine.on_change(0, change(1, value=b"old"), 0.0)
    assert mine.changes(Instance.CLOSE)[0].proof == proof(b"new", 0)


def test_reports_are_of_one_agreement_and_of_this_view():
    mine = views()
    mine.on_change(0, change(1), 0.0)
    mine.on_change(2, change(2, Instance.OPEN), 0.0)
    mine.on_change(4, change(2), 0.0)
    assert mine.current == 2
    assert set(mine.changes(Instance.CLOSE)) == {4}
    assert set(mine.changes(Instance.OPEN)) == {2}


def test_patience_doubles_and_recovers():
    mine = views()
    assert mine.deadline(False) is None
    mine.wait(10.0)
    mine.wait(11.0)
    assert mine.deadline(False) == 10.0 + PARAMS.view_timeout_s
    assert mine.deadline(True) == 10.0 + PARAMS.unreachable_leader_timeout_s
    for member in (0, 1, 2, 4, 5):
        mine.on_change(member, change(99), 15.0)
    assert mine.current == 99
    mine.advance(20.0)
    for member in (0, 1, 2, 4, 5):
        mine.on_change(member, change(100), 20.0)
    assert mine.deadline(False) == 20.0 + 2 * PARAMS.view_timeout_s
    for _ in range(30):
        mine.advance(30.0)
    if mine.leader == 3:
        mine.advance(30.0)
    for member in (0, 1, 2, 4, 5):
        mine.on_change(member, change(mine.current), 30.0)
    assert mine.deadline(False) == 30.0 + PARAMS.view_timeout_s_max
    mine.progress()
    assert mine.deadline(False) is None
    for _ in range(20):
        mine.progress()
    mine.wait(40.0)
    assert mine.deadline(False) == 40.0 + PARAMS.view_timeout_s


def test_after_progress_patience_is_half_of_what_it_was():
    mine = views()
    for _ in range(3):
        mine.advance(0.0)
    mine.progress()
    for member in (0, 1, 2, 4, 5):
        mine.on_change(member, change(4), 10.0)
    assert mine.deadline(False) == 10.0 + 4 * PARAMS.view_timeout_s


def test_a_leader_does_not_give_up_on_itself():
    mine = views(0)
    mine.wait(0.0)
    assert mine.deadline(False) is None
