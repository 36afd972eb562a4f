"""How a node learns of an abort, opens the second attempt, and stores what it must."""

from copy import copy

import pytest
from msgspec.structs import replace
from tests.support.aborts import abort_of
from tests.support.records import record
from tests.support.town import Town, manifest

from pnyx.errors import RuleBroken
from pnyx.primitives import codec
from pnyx.protocol import beacon
from pnyx.protocol.events import (
    AttemptAborted,
    MessageReceived,
    MessageRejected,
    Send,
    StartTraining,
)
from pnyx.protocol.messages import Items, Message, Pull, Step
from pnyx.protocol.round.actors import in_order, read_actors
from pnyx.protocol.round.attempts import NO_VALUE, abort_hash, second_attempt
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.round.values import joins_root
from pnyx.protocol.selection import select_census
from pnyx.protocol.study import StudyState, record_hash, verify_record

CRYPTO = Town().cryptos[0]


class Aborted:
    """A town in round 1, and one node of it that hears of an abort."""

    def __init__(self, **terms) -> None:
        self.town = Town()
        self.study = self.town.propose(plan=manifest(self.town.count, **terms))
        assert self.town.run(self.town.in_round(self.study, 1))
        self.first: RoundPlan = self.town.plan(self.study)
        self.abort = abort_of(self.town, self.first)
        self.second = second_attempt(self.first, self.abort, CRYPTO)
        self.node = self.first.contributors[0]
        self.peer = self.first.contributors[1]

    def hear(self, *messages) -> list:
        effects = []
        for message in messages:
            payload = codec.encode(message)
            event = MessageReceived(self.town.census.node_ids[self.peer], payload)
            effects += self.town.handle(self.node, event)
        return effects

    def items(self, *items) -> Items:
        return Items(tuple(codec.encode(item) for item in items))

    @property
    def state(self) -> StudyState:
        return self.town.machines[self.node].studies[self.study]

    @property
    def stored(self) -> set[str]:
        return {key.split("/")[2] for key in self.town.stored[self.node] if key[0] in "rs"}

    def skip(self, **changes):
        """The record that ends the second attempt without an outcome."""
        terms = {
            "closed_value": NO_VALUE,
            "skipped": True,
            "next_beacon": beacon.skipped(self.study, self.second.round_number, self.second.beacon),
            **changes,
        }
        return record(self.town, self.second, joins=self.second.joins, **terms)


def told(effects) -> set[tuple[int, bytes]]:
    return {(e.attempt, e.certificate) for e in effects if isinstance(e, AttemptAborted)}


def next_of_the_draw(plan: RoundPlan, count: int) -> tuple[int, ...]:
    drawn = (plan.beacon, plan.study, plan.round_number, "aggregator")
    return select_census(*drawn, count, len(plan.census), exclude=frozenset(plan.excluded))


def test_the_second_attempt_has_the_next_aggregators_of_the_draw():
    """Those of the first may be why it had no outcome."""
    case = Aborted()
    assert (*case.first.aggregators, *case.second.aggregators) == next_of_the_draw(case.first, 6)


def test_the_excluded_aggregate_in_no_attempt():
    first = Aborted().first
    plan = copy(first)
    plan.excluded = next_of_the_draw(first, 5)[3:]
    second = second_attempt(plan, abort_of(Town(), plan), CRYPTO)
    assert second.aggregators == next_of_the_draw(first, 8)[5:]


def test_where_nodes_are_few_the_first_aggregators_serve_again():
    plan = copy(Aborted().first)
    plan.aggregators = next_of_the_draw(plan, 7)
    second = second_attempt(plan, abort_of(Town(), plan), CRYPTO)
    assert second.aggregators == (*next_of_the_draw(plan, 9)[7:], *plan.aggregators[:5])


def test_the_list_of_regions_gives_other_aggregators_as_well():
    case = Aborted(selection="region")
    plan = case.first
    listed = in_order(
        plan.census, read_actors(plan.actors), plan.beacon, plan.round_number, "aggregator", ()
    )
    assert (*plan.aggregators, *case.second.aggregators) == listed[:6]


def test_an_abort_opens_the_second_attempt():
    case = Aborted()
    effects = case.hear(case.items(case.abort))
    assert case.state.plan == case.second
    assert told(effects) == {(1, abort_hash(case.abort))}
    assert [e.attempt for e in effects if isinstance(e, StartTraining)] == [2]
    assert not any(name.endswith("-1") for name in case.stored if name.startswith("1-"))
    assert told(case.hear(case.items(case.abort))) == set()


def test_who_asks_about_an_aborted_attempt_gets_its_certificate():
    case = Aborted()
    case.hear(case.items(case.abort))
    sent = case.hear(Pull(case.first.context, Step.CLOSE))
    (answer,) = [e for e in sent if isinstance(e, Send)]
    assert codec.decode(answer.payload, Message, bytes_max=10**6) == case.items(case.abort)


@pytest.mark.parametrize(
    "changes", [{"study": b"x" * 32}, {"round_number": 2}, {"round_number": 0}]
)
def test_an_abort_of_another_round_changes_nothing(changes):
    case = Aborted()
    effects = case.hear(case.items(replace(case.abort, **changes)))
    assert case.state.plan == case.first
    assert told(effects) == set()


def test_a_forged_abort_is_refused():
    case = Aborted()
    bad = replace(case.abort, aborted=case.abort.opened)
    effects = case.hear(case.items(bad))
    assert [e for e in effects if isinstance(e, MessageRejected)]
    assert case.state.plan == case.first


def test_a_restarted_node_is_in_the_second_attempt():
    case = Aborted()
    case.hear(case.items(case.abort))
    effects = restart(case)
    assert case.state.plan == case.second
    assert told(effects) == {(1, abort_hash(case.abort))}  # once more, if it died before


def restart(case: Aborted) -> list:
    case.town.machines[case.node] = case.town._machine(case.node)
    return case.hear(Pull(bytes(32), Step.OPEN))


@pytest.mark.parametrize("knew", [True, False])
def test_a_skipped_round_gives_both_attempts_back(knew):
    case = Aborted()
    effects = case.hear(case.items(case.abort)) if knew else []
    skipped = case.skip()
    effects += case.hear(case.items(skipped))
    assert told(effects) == {(1, abort_hash(case.abort)), (2, record_hash(skipped))}
    assert not any(name.startswith("1-") for name in case.stored)
    assert not any("/abort/" in key for key in case.town.stored[case.node])
    plan = case.state.plan
    assert plan is None or plan.round_number == 2
    for context in (case.first.context, case.second.context):
        sent = [e for e in case.hear(Pull(context, Step.CLOSE)) if isinstance(e, Send)]
        assert codec.decode(sent[0].payload, Message, bytes_max=10**6) == case.items(skipped)


def test_a_node_that_died_after_the_record_of_a_second_attempt_forgets_it_all():
    case = Aborted()
    case.hear(case.items(case.abort))
    before = dict(case.town.stored[case.node])
    case.hear(case.items(case.skip()))
    kept = case.town.stored[case.node]
    kept.update({k: v for k, v in before.items() if k[0] in "rs" or "/abort/" in k})
    restart(case)
    assert not any(name.startswith("1-") for name in case.stored)


def test_a_record_of_the_first_attempt_comes_too_late():
    case = Aborted()
    state = case.state
    state.abort(case.abort, CRYPTO)
    with pytest.raises(RuleBroken, match="aborted"):
        state.plan_of(record(case.town, case.first, accepted=(1, 2, 3)), CRYPTO)
    with pytest.raises(RuleBroken, match="no first attempt"):
        state.abort(case.abort, CRYPTO)
    state.plan = None
    with pytest.raises(RuleBroken, match="no round"):
        state.plan_of(case.skip(), CRYPTO)


@pytest.mark.parametrize(
    "changes",
    [
        {"next_beacon": b"n" * 32},
        {"skipped": False, "accepted": (1, 2, 3)},
        {"joins_root": joins_root((1,))},
    ],
)
def test_a_skip_that_is_none(changes):
    case = Aborted()
    good = case.skip()
    assert verify_record(case.second, good, CRYPTO).skipped
    with pytest.raises(RuleBroken):
        verify_record(case.second, case.skip(**changes), CRYPTO)
    with pytest.raises(RuleBroken, match="carries the abort"):
        verify_record(case.second, replace(good, abort=None), CRYPTO)


def test_a_first_attempt_has_a_closed_list():
    case = Aborted()
    bad = record(case.town, case.first, joins=case.first.joins, closed_value=NO_VALUE, skipped=True)
    with pytest.raises(RuleBroken, match="first attempt"):
        verify_record(case.first, bad, CRYPTO)


def test_plans_of_all_attempts_are_known_for_evidence():
    """Whoever verifies evidence needs the plan of its attempt, also of one that is over."""
    town = Aborted()
    params = town.town.params
    assert town.state.plan_at(1, 1, params) == town.first
    assert town.state.plan_at(1, 2, params) is None, "no abort is known"
    assert town.state.plan_at(0, 2, params) is None, "there was none"
    assert town.state.plan_at(2, 1, params) is None, "nobody knows who acts then"
    town.hear(town.items(town.abort))
    assert town.state.plan_at(1, 1, params) == town.first
    assert town.state.plan_at(1, 2, params) == town.second
    town.hear(town.items(town.skip()))
    assert town.state.plan_at(1, 2, params) == town.second
    assert town.state.plan_at(2, 1, params) is None, "the study is over"
    unopened = StudyState(town.study, town.state.signed, town.state.manifest, town.town.census)
    assert unopened.plan_at(0, 1, params) is None
