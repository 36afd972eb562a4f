"""Somebody spoils an honest contributor's message, to have it blamed or silenced (THREATS A8, A10).

Headers are signed, sealed envelopes are not: whoever has seen a header can put garbage beside it.
"""

from msgspec.structs import replace
from tests.support.town import Town

from pnyx.protocol.events import MessageRejected, PeerBlamed
from pnyx.protocol.messages import Contribution, Relay
from pnyx.protocol.round.relay import EnvelopeRelay


def spoiled_round(spoil):
    """Round 1; for every honest contribution a traitor sends spoil(message), before or after it."""
    town = Town()
    study = town.propose()
    town.run(town.in_round(study, 1))
    plan = town.plan(study)
    traitor = plan.committee[1]

    def wire(sender, receiver, message):
        if isinstance(message, Contribution) and sender != traitor and receiver != traitor:
            for target, bad in spoil(plan, receiver, message):
                if target != traitor:
                    town.inject(traitor, target, bad)
        return

    town.wire = wire
    return town, study, traitor


def garbled(message: Contribution) -> Contribution:
    return replace(message, share=replace(message.share, sealed=message.share.sealed[::-1]))


def test_garbled_copy_of_a_contribution():
    town, study, _ = spoiled_round(lambda plan, at, message: [(at, garbled(message))])
    assert town.run(town.finished(study))
    assert town.certified()[0].contributors >= 5
    assert town.effects(PeerBlamed) == [], "the honest contributor is not blamed"
    assert town.effects(MessageRejected) != []


def test_header_signed_by_nobody():
    def forged(plan, at, message):
        return [(at, replace(message, header=replace(message.header, signature=bytes(64))))]

    town, study, _ = spoiled_round(forged)
    assert town.run(town.finished(study))
    assert town.effects(PeerBlamed) == []


def garbage_kept() -> tuple[int, bool]:
    """Garbled envelopes that aggregators keep, and whether anybody is blamed for them."""
    garbage = set()

    def leave(plan, at, message):
        bad = garbled(message).share
        garbage.add(bad.sealed)
        return [(at, Relay(plan.context, message.header, (bad,))) for at in plan.aggregators]

    town, study, _ = spoiled_round(leave)
    plan = town.plan(study)
    town.run(lambda: len(garbage) > 10)
    kept = 0
    for index in plan.aggregators:
        relay = town.machines[index].rounds.active[plan.context].relay
        for left in relay._kept.values():
            kept += sum(share.sealed in garbage for share in left.shares.values())
    assert town.run(town.finished(study))
    return kept, town.effects(PeerBlamed) != []


def test_garbage_left_at_the_aggregators(monkeypatch):
    """The first envelope for a member stays: it must be its contributor's own."""
    assert garbage_kept() == (0, False)
    original = EnvelopeRelay._keep

    def from_anybody(self, sender, message):
        return original(self, self._reader.header(message.header).contributor, message)

    monkeypatch.setattr(EnvelopeRelay, "_keep", from_anybody)
    kept, _ = garbage_kept()
    assert kept > 0


def test_a_contributor_that_sends_garbage_itself_is_blamed():
    town = Town()
    study = town.propose()
    town.run(town.in_round(study, 1))
    plan = town.plan(study)
    traitor = plan.contributors[0]
    town.wire = lambda sender, receiver, message: (
        [garbled(message)] if sender == traitor and isinstance(message, Contribution) else None
    )
    assert town.run(town.finished(study))
    assert town.blamed() == {traitor}
    assert sum(town.model(study)) == town.certified()[0].contributors
