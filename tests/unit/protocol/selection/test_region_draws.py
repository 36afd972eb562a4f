"""Draws of whole regions: who takes part, what may be lost or away, and what comes out."""

import msgspec
import pytest
from tests.support.regions import TIMES, Exchange, Ring, beacon_of

from pnyx.errors import RuleBroken
from pnyx.protocol.selection.region import RegionRule, draw_context
from pnyx.protocol.selection.region.caller import Caller
from pnyx.protocol.selection.region.draws import Stalled
from pnyx.protocol.selection.region.messages import (
    Call,
    Choice,
    Continue,
    Deal,
    Locked,
    Presence,
    Region,
    Reveal,
    Witness,
)
from pnyx.protocol.selection.region.statements import point_of

RING = Ring(36, corrupt_max=4)
COUNT = 30


def trigger(exchange, attempt=1):
    session = next(iter(exchange.draws.values()))._sessions["list"]
    return exchange.ring.cache.owner(point_of(draw_context(session.draw_of(attempt)))).node_id


def setter(proof):
    return proof.setter


def test_a_list_is_made_in_one_attempt_and_everybody_in_the_region_has_it():
    exchange = Exchange(RING, COUNT)
    proof = exchange.run(first=False, until_s=5.0)
    assert proof.draw.attempt == 1
    assert len(proof.actors) == len(set(proof.actors)) == COUNT
    assert len(exchange.lists[1]) >= RING.rule.quorum(16)
    assert exchange.refused == []
    assert len({each.actors for each in exchange.lists[1].values()}) == 1


def test_another_beacon_gives_other_actors_and_other_randomness_another_order():
    first, again, other = (
        Exchange(RING, COUNT, beacon=beacon_of(n), seed=s).run()
        for n, s in [(0, 0), (0, 1), (1, 0)]
    )
    assert first.setter != other.setter or first.actors != other.actors
    assert first.value != again.value


def test_an_absent_trigger_costs_one_attempt():
    probe = Exchange(RING, COUNT)
    gone = trigger(probe)
    exchange = Exchange(RING, COUNT, absent=frozenset({gone}))
    proof = exchange.run()
    assert proof.draw.attempt == 2
    assert TIMES.attempt_s <= exchange.now < TIMES.attempt_s + 5


def test_attempts_grow_and_follow_one_another():
    lengths = [TIMES.length(attempt) for attempt in (1, 2, 3)]
    assert lengths == [10.0, 12.5, 15.625]
    assert [TIMES.starts(attempt) for attempt in (1, 2, 3, 4)] == [0.0, 10.0, 22.5, 38.125]


def test_nodes_that_a_silent_trigger_calls_tell_of_it_and_no_others():
    gone = trigger(Exchange(RING, COUNT))
    exchange = Exchange(RING, COUNT, absent=frozenset({gone}))
    exchange.run(TIMES.attempt_s + 0.001)
    assert set(exchange.stalled) == set(RING.nodes_around(gone))
    told = {each for found in exchange.stalled.values() for each in found}
    assert told == {Stalled(1, gone, Region.VALUE)}
    exchange.run(TIMES.attempt_s + 20.0, first=False)
    assert all(len(found) == 1 for found in exchange.stalled.values()), "it is told once"


def test_nodes_that_made_the_value_tell_of_a_silent_setter():
    exchange = Exchange(RING, COUNT)
    gone = setter(exchange.run())
    called = set(RING.nodes_around(trigger(exchange)))
    spoilt = Exchange(RING, COUNT, spoil=lambda s, r, m: [] if _for(m, gone, r, s) else [(r, m)])
    spoilt.run(TIMES.attempt_s + 0.001)
    assert set(spoilt.stalled) == called - {gone}
    told = {each for found in spoilt.stalled.values() for each in found}
    assert told == {Stalled(1, gone, Region.LIST)}


def test_nothing_is_told_of_draws_that_come_to_a_list_or_were_opened():
    exchange = Exchange(RING, COUNT, spoil=lambda s, r, m: _no_witness(exchange, r, m))
    exchange.run(TIMES.attempt_s + 0.001, first=False)
    assert exchange.lists == {}, "signatures are lost until the attempt is over"
    signers = RING.nodes_around(_setter_of(exchange))
    assert not set(exchange.stalled).intersection(signers)
    exchange.run(TIMES.attempt_s + 5.0)
    assert set(exchange.lists) == {1}, "what was opened in time is finished"


def _no_witness(exchange, receiver, message):
    early = exchange.now < TIMES.attempt_s
    lost = isinstance(message, Witness) and message.region is Region.LIST and early
    return [] if lost else [(receiver, message)]


def _setter_of(exchange):
    sessions = [draws._sessions["list"] for draws in exchange.draws.values()]
    first = [next(iter(session._attempts.values())) for session in sessions]
    value = next(attempt.value for attempt in first if attempt.value is not None)
    point = point_of(first[0].context, value.value)
    return exchange.ring.cache.owner(point).node_id


def test_calls_are_answered_in_their_time_only():
    calls = []

    def keep(sender, receiver, message):
        if isinstance(message, Call):
            calls.append((sender, receiver, message))
        return []

    exchange = Exchange(RING, COUNT, spoil=keep)
    exchange.run(23.0, first=False)
    by_attempt = {message.draw.attempt: (s, r, message) for s, r, message in calls}
    for attempt, now, rule in [
        (1, 10.0, "after its time"),
        (2, 3.7, "before its time"),
        (2, 22.5, "after its time"),
        (3, 14.6, "before its time"),
    ]:
        sender, receiver, message = by_attempt[attempt]
        with pytest.raises(RuleBroken, match=rule):
            exchange.draws[receiver].handle(sender, message, now)
    sender, receiver, message = by_attempt[2]
    exchange.draws[receiver].handle(sender, message, 3.8)


def test_a_value_that_comes_after_its_time_calls_nobody():
    proofs = []

    def keep(sender, receiver, message):
        if isinstance(message, Continue):
            proofs.append((sender, receiver, message))
            return []
        return [(receiver, message)]

    exchange = Exchange(RING, COUNT, spoil=keep)
    exchange.run(1.0, first=False)
    sender, receiver, message = proofs[0]
    draws = exchange.draws[receiver]
    draws.handle(sender, message, TIMES.attempt_s)
    (session,) = draws._sessions.values()
    assert all(not attempt.callers for attempt in session._attempts.values())
    assert session._attempts[message.context].value == message.proof


def test_an_absent_setter_costs_one_attempt():
    gone = setter(Exchange(RING, COUNT).run())
    spoilt = Exchange(RING, COUNT, spoil=lambda s, r, m: [] if _for(m, gone, r, s) else [(r, m)])
    assert spoilt.run().draw.attempt == 2


def _for(message, gone, receiver, sender):
    """The first attempt's setter hears and says nothing as a setter."""
    return isinstance(message, Continue) and receiver == gone and message.proof.draw.attempt == 1


@pytest.mark.parametrize("away", [3, 5])
def test_absent_nodes_of_the_region_are_not_waited_for_long(away):
    probe = Exchange(RING, COUNT)
    called = RING.nodes_around(trigger(probe))
    exchange = Exchange(RING, COUNT, absent=frozenset(called[1 : 1 + away]))
    assert exchange.run() is not None


@pytest.mark.parametrize("lost", [0.1, 0.3])
def test_lost_messages_are_sent_again(lost):
    exchange = Exchange(RING, COUNT, lost=lost, seed=3)
    assert exchange.run(120.0) is not None


def test_a_sparse_region_makes_nothing_and_the_draw_moves_on():
    sparse = RegionRule(nodes=36, signers=4, region_share=0.15)
    ring = Ring(36, rule=sparse, tag=b"1")
    attempts = set()
    for number in range(6):
        exchange = Exchange(ring, 5, beacon=beacon_of(number))
        proof = exchange.run(200.0)
        if proof is not None:
            attempts.add(proof.draw.attempt)
    assert max(attempts) > 1


def test_with_too_few_candidates_there_is_no_list(monkeypatch):
    monkeypatch.setattr(RegionRule, "candidate_share", lambda rule, count: 0.05)
    assert Exchange(RING, COUNT).run(TIMES.attempt_s) is None


def test_a_node_that_restarts_takes_part_in_no_draw_twice():
    node = RING.nodes_around(trigger(Exchange(RING, COUNT)))[0]

    def spoil(sender, receiver, message):
        """The first answers are lost, so that everybody is called again."""
        lost = isinstance(message, Presence) and exchange.now < 0.5
        return [] if lost else [(receiver, message)]

    exchange = Exchange(RING, COUNT, spoil=spoil)
    exchange.run(0.025)  # it was called
    assert exchange.entered[node]
    exchange.draws[node] = exchange.start(node, seed=9)
    assert exchange.run(first=False, until_s=3.0) is not None
    assert "this node took part in this draw before it was restarted" in exchange.refused


def test_a_draw_that_is_closed_leaves_nothing_behind():
    exchange = Exchange(RING, COUNT)
    exchange.run()
    for draws in exchange.draws.values():
        draws._host.entered.add("list-of-another-round/1-0")
        draws.close("list")
        assert draws._host.entered == {"list-of-another-round/1-0"}
        assert draws.next_deadline() is None


def test_the_list_is_made_without_the_caller_once_secrets_are_locked():
    """Both callers fall silent after a single node has seen the locks."""
    shown = set()

    def spoil(sender, receiver, message):
        if isinstance(message, Locked):
            if message.region in shown:
                return []
            shown.add(message.region)
        return [(receiver, message)]

    assert Exchange(RING, COUNT, spoil=spoil).run().draw.attempt == 1


def test_candidates_that_the_setter_leaves_out_are_added_by_others(monkeypatch):
    made = Caller._make_call

    def trimmed(caller):
        call = made(caller)
        return msgspec.structs.replace(call, candidates=call.candidates[:3])

    monkeypatch.setattr(Caller, "_make_call", trimmed)
    assert Exchange(RING, COUNT).run().draw.attempt == 1


def _fields(message):
    return {name: getattr(message, name) for name in message.__struct_fields__}


def test_attempts_are_not_begun_before_their_time():
    """A trigger of the fifth attempt calls at once; nobody comes."""
    exchange = Exchange(RING, COUNT)
    session = exchange.draws[trigger(exchange, 5)]._sessions["list"]
    attempt = list(session._attempts.values())[4]
    session._begin(attempt, Region.VALUE, None, 0.0)
    exchange.run(2.0)
    assert exchange.refused.count("an attempt at a draw is called before its time") > 3


def test_dealers_whose_shares_do_not_open_are_not_chosen():
    crooked = set(RING.nodes_around(trigger(Exchange(RING, COUNT)))[:2])

    def spoil(sender, receiver, message):
        if isinstance(message, Deal) and sender in crooked and message.region is Region.VALUE:
            rubbish = tuple(bytes(len(each)) for each in message.sealed)
            message = type(message)(**{**_fields(message), "sealed": rubbish})
        return [(receiver, message)]

    chosen = []

    def watch(sender, receiver, message):
        if isinstance(message, Choice):
            chosen.append(message)
        return spoil(sender, receiver, message)

    assert Exchange(RING, COUNT, spoil=watch).run().draw.attempt == 1
    assert chosen


def test_members_that_never_open_do_not_keep_the_value_closed():
    silent = set(RING.nodes_around(trigger(Exchange(RING, COUNT)))[: RING.rule.corrupt_max])

    def spoil(sender, receiver, message):
        mute = isinstance(message, Reveal) and sender in silent
        return [] if mute else [(receiver, message)]

    assert Exchange(RING, COUNT, spoil=spoil).run().draw.attempt == 1


def test_presence_of_strangers_is_ignored():
    stranger = RING.ids[0]

    def spoil(sender, receiver, message):
        if isinstance(message, Presence) and sender != stranger:
            return [(receiver, message), (stranger, message)]
        return [(receiver, message)]

    assert Exchange(RING, COUNT, spoil=spoil).run() is not None
