"""Something of an aborted attempt is used in the next one (THREATS A3, A6).

Shares of one vector under two lists of keys, or a sum of one cohort beside that of another, would
show what neither shows alone. Context, scope on the disk and training are those of one attempt.
"""

from functools import lru_cache

import msgspec
import numpy as np
import pytest
from tests.support.aborts import abort_of
from tests.support.committee import Committee
from tests.support.town import Town

from pnyx.errors import ProtocolError, WrongContext
from pnyx.primitives import codec
from pnyx.protocol.events import MessageReceived, StartTraining, TrainingFinished
from pnyx.protocol.messages import Items
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round.attempts import second_attempt
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.round.values import InputReader
from pnyx.simulator import InvariantError, Partition, Scenario, run

C = Committee()


def second() -> RoundPlan:
    return second_attempt(C.plan, abort_of(C.folk, C.plan), C.folk.cryptos[0])


def refused(plan: RoundPlan, act: str, signed) -> bool:
    try:
        getattr(InputReader(plan, C.folk.cryptos[0]), act)(signed)
    except WrongContext:
        return True
    return False


def said_in_the_first():
    yield "header", C.header(2)
    for body in (C.round_key(1), C.close_vote(1), C.response(1)):
        yield "member_body", C.member_signed(1, body)


def test_words_of_the_first_attempt_mean_nothing_in_the_second(monkeypatch):
    plan = second()
    assert all(refused(plan, act, signed) for act, signed in said_in_the_first())
    monkeypatch.setattr(plan, "context", C.plan.context)  # as if it did not name the attempt
    assert not any(refused(plan, act, signed) for act, signed in said_in_the_first())


def test_receipts_and_votes_of_the_first_attempt_neither():
    """An abort proves the end of one attempt: it does not open a third."""
    plan = second()
    with pytest.raises(ProtocolError):
        second_attempt(plan, abort_of(C.folk, C.plan), C.folk.cryptos[0])
    with pytest.raises(ProtocolError):
        second_attempt(plan, abort_of(C.folk, plan), C.folk.cryptos[0])


DIVIDED = Scenario(
    seed=1,
    nodes=8,
    params=ProtocolParams(attempt_timeout_s=15.0),
    partitions=(Partition((0, 1, 2, 6), 5.0, 40.0),),
    limit_s=600.0,
)


@lru_cache(maxsize=1)
def divided() -> Scenario:
    """A run whose committee is divided long enough; who is in it changes with the manifest."""
    seeds = (msgspec.structs.replace(DIVIDED, seed=seed) for seed in range(1, 40))
    return next(each for each in seeds if run(each).records[1].attempt == 2)


def test_one_scope_for_both_attempts_reuses_secrets(monkeypatch):
    """The checker compares round keys and Merkle roots across attempts."""
    scenario = divided()
    monkeypatch.setattr(
        RoundPlan, "_name", property(lambda plan: f"{plan.study.hex()}/{plan.round_number}")
    )
    monkeypatch.setattr("pnyx.protocol.round_keeper.RoundKeeper.close", keep_what_is_stored)
    with pytest.raises(InvariantError, match=r"drew for another|signed two values|still holds"):
        run(scenario)


def keep_what_is_stored(keeper, plan):
    return keeper.active.pop(plan.context, None)


def trained_again(late_attempt: int) -> bool:
    """Whether a vector trained for one attempt is taken up in the second."""
    town = Town()
    study = town.propose()
    town.run(town.in_round(study, 1))
    plan = town.plan(study)
    victim = plan.contributors[0]
    machine = town.machines[victim]
    effects = town.handle(victim, abort_event(town, plan))
    assert [e.attempt for e in effects if isinstance(e, StartTraining)] == [2]
    vector = np.zeros(plan.phase.bounds.length, dtype=np.int64)
    machine.handle(TrainingFinished(study, 1, vector, late_attempt), town.now)
    (active,) = [a for a in machine.rounds.active.values() if a.plan.study == study]
    return active.contributor._vector is not None


def abort_event(town: Town, plan: RoundPlan):
    peer = plan.contributors[1]
    items = Items((codec.encode(abort_of(town, plan)),))
    return MessageReceived(plan.census.node_ids[peer], codec.encode(items))


def test_training_of_the_first_attempt_is_not_taken_up():
    assert not trained_again(1)
    assert trained_again(2)
