"""A node in a study that selects by regions: which lists it keeps, what its member votes for."""

import pytest
from msgspec.structs import replace
from tests.support.regions import listed
from tests.support.town import Town, manifest, phase

from pnyx.errors import RuleBroken
from pnyx.primitives import codec
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.actor_lists import ActorLists
from pnyx.protocol.events import DrawStalled, Forget, MessageReceived, MessageRejected, Persist
from pnyx.protocol.messages import Instance, Items
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round.actors import in_order, listed_count, read_actors
from pnyx.protocol.round.values import (
    VALUE_BYTES_MAX,
    AbortValue,
    CloseValue,
    check_actors,
    joins_root,
)
from pnyx.protocol.selection import choose_committee
from pnyx.protocol.selection.region import draw_context
from pnyx.protocol.selection.region.messages import Call
from pnyx.protocol.selection.region.statements import point_of


class Drawing:
    """A town in round 1, and a node of it that hears of lists."""

    def __init__(self, rounds: int = 1) -> None:
        self.town = Town()
        plan = manifest(9, [phase(9, rounds=rounds)], selection="region")
        self.study = self.town.propose(plan=plan)
        assert self.town.run(self.town.in_round(self.study, 1))
        self.plan = self.town.plan(self.study)
        self.keys = dict(zip(self.town.census.node_ids, self.town.cryptos, strict=True))

    def proof(self, attempt=1, **changes):
        wanted = replace(self.plan.following.wanted, attempt=attempt, **changes)
        return listed(self.plan.following.selector, wanted, self.keys)

    def hear(self, proof, node=0):
        items = Items((codec.encode(proof),))
        event = MessageReceived(self.town.census.node_ids[1], codec.encode(items))
        return self.town.handle(node, event)

    def lists(self):
        sent = []
        lists = ActorLists(
            node_id=self.town.census.node_ids[0],
            crypto=self.town.cryptos[0],
            sampler=Sampler(bytes(32), "test"),
            params=ProtocolParams(),
            send=lambda peer, message: sent.append(message),
            emit=sent.append,
            restored={},
            on_list=sent.append,
            accuse=lambda *told: sent.append(told),
        )
        return lists, sent


D = Drawing(rounds=2)


def test_a_study_by_regions_goes_to_its_end():
    town = Town()
    study = town.propose(plan=manifest(9, selection="region"))
    assert town.run(town.finished(study))
    assert town.rules() == set()
    records = town.machines[0].studies[study].records
    assert [bool(record.actors) for record in records] == [True, False]
    assert all(not key.startswith("region/") for stored in town.stored for key in stored)


def test_the_last_round_fixes_no_list():
    assert Drawing().plan.following is None


def test_a_plan_follows_from_the_list():
    record = D.town.machines[0].studies[D.study].records[0]
    proof = read_actors(record.actors)
    assert D.plan.actors == record.actors
    size = D.town.census.committee
    order = in_order(D.town.census, proof, D.plan.beacon, 1, "committee", ())
    assert D.plan.committee == order[: size.size]
    assert D.plan.listed == order
    out = order[:2]
    assert in_order(D.town.census, proof, D.plan.beacon, 1, "committee", out)[-2:] == out


def test_lists_are_as_long_as_committee_and_spare_and_no_longer_than_the_network():
    size = choose_committee(36)
    assert listed_count(size, 36) == 30
    assert listed_count(size, 26) == 26


def test_the_earliest_attempt_counts():
    lists, told = D.lists()
    lists.open(D.plan, 0.0, serve=True)
    assert lists.known(D.plan) == b""
    second, first = D.proof(2), D.proof(1)
    assert lists.take(D.plan, second) == codec.encode(second)
    assert lists.take(D.plan, second) is None
    assert lists.take(D.plan, first) == codec.encode(first)
    assert lists.take(D.plan, second) is None
    assert lists.known(D.plan) == codec.encode(first)
    assert lists.close(D.plan) == codec.encode(first)
    assert isinstance(told[-1], Forget)
    assert lists.known(D.plan) == b""
    assert lists.close(D.plan) == b""


def test_a_list_survives_a_restart_and_is_not_drawn_again():
    lists, told = D.lists()
    lists.open(D.plan, 0.0, serve=True)
    lists.take(D.plan, D.proof())
    stored = {e.key: e.value for e in told if isinstance(e, Persist)}
    again = ActorLists(
        node_id=D.town.census.node_ids[0],
        crypto=D.town.cryptos[0],
        sampler=Sampler(bytes(32), "test"),
        params=ProtocolParams(),
        send=told.append,
        emit=told.append,
        restored=stored,
        on_list=told.append,
        accuse=lambda *terms: told.append(terms),
    )
    again.open(D.plan, 0.0, serve=True)
    assert again.known(D.plan) == codec.encode(D.proof())
    assert again.next_deadline() is None


def test_a_silent_trigger_is_named_by_those_it_should_have_called():
    """And the study goes on with the list of the second attempt."""
    town = Town()
    study = town.propose(plan=manifest(9, [phase(9, rounds=1)], selection="region"))
    assert town.run(lambda: study in town.machines[0].studies)
    assert town.run(lambda: town.machines[0].studies[study].plan is not None)
    plan = town.plan(study)
    cache, context = plan.following.selector.cache, draw_context(plan.following.wanted)
    gone = cache.owner(point_of(context)).number
    town.wire = lambda sender, receiver, message: (
        [] if isinstance(message, Call) and sender == gone and message.draw.attempt == 1 else None
    )
    assert town.run(town.finished(study), 120.0)
    node = town.census.node_ids[gone]
    told = {i: machine.actor_lists.stalled(study) for i, machine in enumerate(town.machines)}
    expected = (DrawStalled(study, 1, 1, node, "trigger"),)
    assert told == {i: () if i == gone else expected for i in range(9)}
    assert set(town.effects(DrawStalled)) == set(expected)
    assert town.rules() == set()
    assert read_actors(town.machines[0].studies[study].records[0].actors).draw.attempt == 2


def test_who_serves_nobody_draws_nothing_but_keeps_lists():
    lists, _ = D.lists()
    lists.open(D.plan, 0.0, serve=False)
    lists.tick(1.0)
    assert lists.next_deadline() is None
    assert lists.take(D.plan, D.proof()) is not None


def test_rounds_that_fix_no_list_keep_none():
    last, (lists, told) = Drawing().plan, D.lists()
    lists.open(last, 0.0, serve=True)
    assert lists.take(last, D.proof()) is None
    assert lists.close(last) == b""
    assert told == []


def test_a_machine_refuses_and_ignores_lists():
    machine = D.town.machines[0]
    known = machine.actor_lists.known(D.plan)
    forged = replace(D.proof(), order=b"x" * 32)
    effects = D.hear(forged)
    assert known or any(isinstance(e, MessageRejected) for e in effects)
    D.hear(D.proof(round_number=9))  # of the future
    D.hear(replace(D.proof(), draw=replace(D.proof().draw, study=b"u" * 32)))  # of no study
    D.hear(D.proof(round_number=1))  # of the past
    D.hear(D.proof(3))
    earlier = D.proof(1)
    D.hear(earlier)
    D.hear(D.proof(2))  # a later attempt than is known
    assert read_actors(machine.actor_lists.known(D.plan)).draw.attempt == 1


def test_a_member_does_not_echo_a_later_attempt_than_it_knows():
    drawing = Drawing(rounds=2)
    index = drawing.plan.committee[0]
    machine = drawing.town.machines[index]
    member = machine.rounds.active[drawing.plan.context].member
    later = codec.encode(CloseValue((), (), codec.encode(drawing.proof(2))))
    assert not member.knows_better_actors(Instance.CLOSE, later)
    drawing.hear(drawing.proof(1), index)
    assert member.knows_better_actors(Instance.CLOSE, later)
    same = codec.encode(CloseValue((), (), codec.encode(drawing.proof(1))))
    assert not member.knows_better_actors(Instance.CLOSE, same)
    assert not member.knows_better_actors(Instance.ACCEPT, later)
    abort = codec.encode(AbortValue(()))
    assert not member.knows_better_actors(Instance.CLOSE, abort)
    assert len(abort) < VALUE_BYTES_MAX


def test_a_list_comes_with_rounds_that_fix_one_and_no_others():
    check_actors(D.plan, codec.encode(D.proof()))
    last = Drawing().plan
    check_actors(last, b"")
    with pytest.raises(RuleBroken, match="a round that fixes none"):
        check_actors(last, b"x")


def test_a_record_commits_to_joins_and_list():
    assert joins_root((1, 2)) != joins_root((1, 2), b"x")
    assert joins_root((1, 2), b"x") != joins_root((1, 2), b"y")
