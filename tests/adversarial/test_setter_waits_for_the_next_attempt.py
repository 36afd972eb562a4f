"""R2: a corrupt setter sits on the locks of its region until it knows where the next attempt leads.

With the locks of a quorum in hand it can make its list appear whenever it likes. It knows the
candidates of its own list (R3), waits for those of the next attempt, or for its whole list, and
takes what has more of its friends. So nobody opens secrets of an attempt whose time is over, or
once a list is known; the setter must decide while the next attempt has no value yet.
"""

import pytest
from tests.support.regions import TIMES, Exchange, Ring

from pnyx.protocol.selection.region import draw_context
from pnyx.protocol.selection.region.messages import Continue, Locked, Region
from pnyx.protocol.selection.region.services import DrawServices

RING = Ring(36, corrupt_max=4)
COUNT = 30


class Patient:
    """The setter of the first attempt shows its locks when the second one has come so far."""

    def __init__(self, wait_for: str) -> None:
        self.exchange = Exchange(RING, COUNT, spoil=self.spoil)
        session = next(iter(self.exchange.draws.values()))._sessions["list"]
        self.first, self.second = (draw_context(session.draw_of(n)) for n in (1, 2))
        self.held: list = []
        self.wait_for = wait_for
        self.shown_at = 0.0

    def spoil(self, sender, receiver, message):
        locks = isinstance(message, Locked) and message.region is Region.LIST
        if locks and message.context == self.first and not self.shown_at:
            self.held.append((sender, receiver, message))
            return []
        knows = {
            "value": isinstance(message, Continue) and message.context == self.second,
            "list": 2 in self.exchange.lists,
        }
        if knows.get(self.wait_for) and not self.shown_at:
            self.shown_at = self.exchange.now
            for each in self.held:
                self.exchange.post(*each)
        return [(receiver, message)]

    def lists(self) -> set[int]:
        """Attempts that came to a list."""
        self.exchange.run(TIMES.attempt_s + 8.0, first=False)
        assert self.held, "the setter had the locks"
        assert self.shown_at >= TIMES.attempt_s
        return set(self.exchange.lists)


@pytest.mark.parametrize("wait_for", ["value", "list"])
def test_setter_that_waits_has_lost_its_attempt(wait_for):
    assert Patient(wait_for).lists() == {2}


@pytest.mark.parametrize("wait_for", ["value", "list"])
def test_if_nodes_opened_at_any_time_it_would_choose_between_two_lists(monkeypatch, wait_for):
    made = DrawServices.__init__

    def always(services, **terms):
        made(services, **{**terms, "may_open": lambda: True})

    monkeypatch.setattr(DrawServices, "__init__", always)
    assert Patient(wait_for).lists() == {1, 2}


def test_who_knows_a_list_opens_no_other_even_in_time():
    """Its clock may be late; the list that it knows is one of a later attempt."""
    attack = Patient("nothing")
    attack.exchange.run(1.0, first=False)
    for draws in attack.exchange.draws.values():
        draws._sessions["list"].over = True
    attack.shown_at = 1.0
    for each in attack.held:
        attack.exchange.post(*each)
    assert attack.exchange.now < TIMES.attempt_s
    attack.exchange.run(2.0, first=False)
    assert attack.exchange.lists == {}


def test_a_setter_in_time_is_not_late():
    attack = Patient("nothing")
    attack.exchange.run(1.0, first=False)
    attack.shown_at = 1.0
    for each in attack.held:
        attack.exchange.post(*each)
    attack.exchange.run(2.0, first=False)
    assert set(attack.exchange.lists) == {1}
