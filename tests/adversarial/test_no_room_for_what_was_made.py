"""Parcels that peers name leave no room, for a while, for what a node made itself.

Its vector was debited and would never be sent; what a round came to would be computed again with
every bundle that a peer sends. Both are taken up when there is room.
"""

from types import SimpleNamespace

import pytest
from tests.support.weakened import weaken
from tests.unit.protocol.round.test_contributor import masking

from pnyx.errors import RuleBroken
from pnyx.protocol.events import Compute
from pnyx.protocol.messages import VectorOffer
from pnyx.protocol.round import contributor as contributors
from pnyx.protocol.round import outcome as outcomes
from pnyx.protocol.round.contributor import Stage
from pnyx.protocol.round.outcome import Outcome, _Came


def full(*_):
    raise RuleBroken("this node has no room for another parcel")


def a_vector_without_room(monkeypatch) -> None:
    made, outbox, asked = masking()
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "keep_parcel", full)
        with pytest.raises(RuleBroken, match="no room"):
            made.on_computed(asked.name, asked.work(), 2.0)
    assert made.stage is Stage.DEBITING
    made.tick(made.next_deadline())
    again = outbox.of(Compute)
    assert len(again) == 2, "it is made again"
    made.tick(made.next_deadline())
    assert len(outbox.of(Compute)) == 2, "once at a time"
    made.on_computed(again[1].name, again[1].work(), 20.0)
    assert made.stage is Stage.UPLOADING
    assert len(outbox.of(VectorOffer)) == 1


def test_a_debited_vector_is_sent_when_there_is_room(monkeypatch):
    a_vector_without_room(monkeypatch)


def test_to_make_it_again_is_the_defence(monkeypatch):
    weaken(monkeypatch, contributors, ("            self._making = False\n", "            pass\n"))
    with pytest.raises(AssertionError, match="it is made again"):
        a_vector_without_room(monkeypatch)


class Services:
    """Counts what is asked for; there is room, or not."""

    def __init__(self) -> None:
        self.computed, self.room = 0, False

    def emit(self, effect: Compute) -> None:
        self.computed += 1

    def keep_parcel(self, chunks) -> bytes:
        return b"m" * 32 if self.room else full()


def bundles_without_room() -> None:
    services = Services()
    plan = SimpleNamespace(context=bytes(32), model_hash=b"o" * 32)
    made = Outcome(SimpleNamespace(services=services, plan=plan))
    sums = SimpleNamespace(name=b"n" * 32)
    assert made._computed(sums, None) is None
    assert made.on_computed(sums.name, _Came((1,), (), [b"model"]))
    for _ in range(5):
        assert made._computed(sums, None) is None
    assert services.computed == 1
    services.room = True
    assert made._computed(sums, None).model_hash == b"m" * 32
    assert made._computed(sums, None).model_hash == b"m" * 32
    assert services.computed == 1


def test_what_a_round_came_to_is_computed_once():
    bundles_without_room()


def test_to_remember_it_is_the_defence(monkeypatch):
    weaken(monkeypatch, outcomes, ("        self._came[name] = result\n", "        pass\n"))
    with pytest.raises(AssertionError):
        bundles_without_room()
