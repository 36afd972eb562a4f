"""Aggregators give no receipts, so that no contributor may send its shares (THREATS A7, A8).

Two of three aggregators that say nothing, corrupt or simply away, leave every list of the round
below its floor. Closed, such a list would skip the round in its first attempt. So members give that
attempt up when its list is due, and the second one has other aggregators. What contributors spent
is given back, whether the round is opened in the end or skipped.
"""

from msgspec.structs import replace
from tests.support.masked_runs import Watched, drawn, masked_study, opened
from tests.support.weakened import succeeds, weaken

from pnyx.protocol.events import AttemptAborted, NothingOpened, RecordDebit
from pnyx.protocol.messages import RecordBody
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round import inputs
from pnyx.protocol.round.attempts import without_outcome
from pnyx.protocol.selection import stand_ins
from pnyx.simulator import Scenario

STUDY = masked_study(params=ProtocolParams(attempt_timeout_s=200.0), limit_s=150.0)
PLAN = drawn(STUDY)
OTHERS = stand_ins(PLAN.beacon, PLAN.study, 1, "aggregator", 3, 3, STUDY.nodes)


def silent(*indices: int, study: Scenario = STUDY) -> Scenario:
    """The study, these nodes saying nothing of masked vectors."""
    return replace(study, corrupt=tuple((index, "silent aggregator") for index in indices))


def attempts_of(simulation: Watched, kind: type) -> set[tuple[int, int]]:
    """(node, attempt) for what was said of round 1."""
    return {
        (node, effect.attempt)
        for node, log in enumerate(simulation.log)
        for effect in log
        if isinstance(effect, kind) and effect.round_number == 1
    }


def ended(scenario: Scenario) -> tuple[Watched, RecordBody]:
    simulation = Watched(scenario)
    return simulation, simulation.run().records[1]


def test_receipts_withheld():
    """Long before anybody's patience ends, which is 200 s here."""
    simulation, body = ended(silent(*PLAN.aggregators[:2]))
    assert body.attempt == 2
    assert not body.skipped
    spent, given_back = (attempts_of(simulation, kind) for kind in (RecordDebit, AttemptAborted))
    assert {(node, 1) for node, attempt in spent if attempt == 1} <= given_back
    assert all(attempt == 1 for _, attempt in given_back)


def test_closed_below_the_floor_the_round_would_be_skipped(monkeypatch):
    weaken(monkeypatch, inputs, ("if self._below_the_floor_by_time():", "if False:"))
    assert succeeds(test_receipts_withheld)
    _, body = ended(silent(*PLAN.aggregators[:2]))
    assert (body.attempt, body.skipped, body.accepted) == (1, True, ())


def test_one_of_three_withholds_nothing():
    simulation, body = ended(silent(PLAN.aggregators[0]))
    assert (body.attempt, body.skipped) == (1, False)
    assert attempts_of(simulation, AttemptAborted) == set()


def test_most_of_both_draws_have_it_skipped_and_all_is_given_back():
    corrupt = {*PLAN.aggregators[:2], *OTHERS} - {0}
    simulation, body = ended(silent(*sorted(corrupt)))
    assert (body.attempt, body.skipped) == (2, True)
    assert not without_outcome(body), "the second attempt is closed, and its beacon nobody's choice"
    given_back = attempts_of(simulation, AttemptAborted) | attempts_of(simulation, NothingOpened)
    spent = {each for each in attempts_of(simulation, RecordDebit) if each[0] not in corrupt}
    assert len(spent) >= 4
    assert spent <= given_back, "a run ends once all honest nodes have ended"


def test_without_other_aggregators_there_is_no_second_attempt():
    """Where all nodes aggregate, as the twelve of verified updates among eight, it ends at once."""
    study = masked_study(verified=True, limit_s=150.0)
    plan = drawn(study)
    assert len(plan.aggregators) == study.nodes
    corrupt = range(1, 4)
    simulation, body = ended(silent(*corrupt, study=study))
    assert (body.attempt, body.skipped) == (1, True)
    spent = {each for each in attempts_of(simulation, RecordDebit) if each[0] not in corrupt}
    assert spent
    assert spent <= attempts_of(simulation, NothingOpened), "a run waits for honest nodes"


def test_nobody_silent_nothing_given_back():
    simulation = Watched(STUDY)
    assert opened(simulation.run())
    for kind in (AttemptAborted, NothingOpened):
        assert attempts_of(simulation, kind) == set()
