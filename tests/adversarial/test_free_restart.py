"""R2: a coalition makes several random values for one draw, and shows the one that it likes.

A corrupt trigger with k_r - 1 accomplices in its region calls two halves of the honest nodes apart
from each other. Whoever takes part in a call takes part in no other of that region and draw, and a
call takes a quorum of the region, so that two calls would share an honest node. The other way to
several values, withholding reveals of one, is in `test_withheld_reveal_in_a_region`; what convicts
whoever tries, in `test_two_words_in_a_draw`.
"""

from tests.support.regions import Exchange, Ring, beacon_of

from pnyx.protocol.selection.region import RegionRule, draw_context
from pnyx.protocol.selection.region.caller import Caller
from pnyx.protocol.selection.region.messages import Continue
from pnyx.protocol.selection.region.statements import point_of

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
