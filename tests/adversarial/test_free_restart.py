"""R2: a coalition makes several random values for one draw, and shows the one that it likes.

A corrupt trigger with k_r - 1 accomplices in its region calls two halves of the honest nodes apart
from each other. Whoever takes part in a call takes part in no other of that region and draw, and a
call takes a quorum of the region, so that two calls would share an honest node. The other way to
several values, withholding reveals of one, is in `test_withheld_reveal_in_a_region`.
"""

import pytest
from msgspec.structs import replace
from tests.support.regions import Exchange, Ring, beacon_of

from pnyx.errors import ProtocolError
from pnyx.protocol.selection.region import RegionRule, draw_context
from pnyx.protocol.selection.region.caller import Caller
from pnyx.protocol.selection.region.messages import Continue, Region, Roll
from pnyx.protocol.selection.region.offences import convicted_by
from pnyx.protocol.selection.region.statements import point_of, roll_hash, roll_statement

RING = Ring(36, corrupt_max=4)
COUNT = 30


def world(group, **terms):
    """The values that reach anybody when the trigger only calls these nodes."""
    values = set()

    def watch(sender, receiver, message):
        if isinstance(message, Continue) and message.proof.draw.attempt == 1:
            values.add(message.proof.value)
        return [(receiver, message)]

    exchange = Exchange(RING, COUNT, only=frozenset(group), spoil=watch, **terms)
    exchange.run(8.0, first=False)
    return values


def two_worlds(monkeypatch):
    """Each half of the honest nodes lives in one; trigger and accomplices live in both."""
    wanted = RING.selector.draw(beacon_of(0), b"s" * 32, 1, "actors", COUNT, 1)
    trigger = RING.cache.owner(point_of(draw_context(wanted))).node_id
    around = RING.nodes_around(trigger)
    accomplices, honest = around[: RING.rule.corrupt_max], around[RING.rule.corrupt_max :]
    enough = Caller.__init__

    def impatient(caller, services, *terms):
        enough(caller, services, *terms)
        caller._quorum = services.rule.signers  # a corrupt trigger goes on with any number

    monkeypatch.setattr(Caller, "__init__", impatient)
    values = set()
    for seed, half in enumerate((honest[::2], honest[1::2])):
        values |= world([trigger, *accomplices, *half], wanted=wanted, seed=seed)
    return values


def test_one_draw_has_one_value(monkeypatch):
    assert len(two_worlds(monkeypatch)) <= 1


def test_with_k_signers_as_the_quorum_it_would_have_several(monkeypatch):
    monkeypatch.setattr(RegionRule, "quorum", lambda rule, legitimate: rule.signers)
    assert len(two_worlds(monkeypatch)) == 2


def test_an_honest_quorum_is_there_whatever_the_coalition_does():
    """The bound on quorums leaves room: k_r - 1 silent nodes of a full region do not block it."""
    rule = RING.rule
    assert rule.legitimate_max - rule.corrupt_max >= rule.quorum(rule.legitimate_max)
    assert 2 * rule.quorum(rule.legitimate_max) - rule.legitimate_max >= rule.signers


def second_roll(exchange):
    """Hand a node of R1 another roll of its call, and then the first one again; who was it?"""
    parts = ((n, session, a) for n, d in exchange.draws.items() for session in d._sessions.values()
             for a in session._attempts.values() if Region.VALUE in a.signers)  # fmt: skip
    _node, session, attempt = next(parts)
    signer = attempt.signers[Region.VALUE]
    caller, rolls = signer._caller.node_id, []
    for presences in (signer._roll[:-1], signer._roll):
        name = roll_hash(signer._call, presences)
        statement = roll_statement(attempt.context, Region.VALUE, name)
        signature = RING.crypto[caller].sign(statement)
        rolls.append(Roll(attempt.context, Region.VALUE, presences, signature))
    for roll in rolls:
        session.handle(caller, roll, exchange.now)
    return caller


def test_two_rolls_of_one_call_convict_the_caller():
    exchange = Exchange(RING, COUNT)
    assert exchange.run() is not None
    caller = second_roll(exchange)
    (offence,) = exchange.offences
    assert convicted_by(offence, RING.cache, RING.verify) == caller


def test_nobody_is_convicted_by_words_that_others_made_up():
    exchange = Exchange(RING, COUNT)
    assert exchange.run() is not None
    second_roll(exchange)
    (good,) = exchange.offences
    forged = replace(good.second, signature=bytes(64))
    stranger = next(n for n in RING.ids if n != good.culprit)
    for bad in (
        replace(good, second=good.first),
        replace(good, second=forged),
        replace(good, culprit=stranger),
        replace(good, culprit=b"s" * 32),
        replace(good, kind="lock"),
        replace(good, region=Region.LIST),
        replace(good, context=bytes(32)),
    ):
        with pytest.raises(ProtocolError):
            convicted_by(bad, RING.cache, RING.verify)


def test_an_honest_caller_is_not_convicted():
    exchange = Exchange(RING, COUNT, lost=0.3)
    assert exchange.run(60.0) is not None
    assert exchange.offences == []
