"""An aggregator keeps envelopes that it cannot read, from their contributor alone."""

import pytest
from tests.support.committee import Committee

from pnyx.errors import RuleBroken
from pnyx.primitives import codec
from pnyx.protocol.events import EnvelopesKept
from pnyx.protocol.messages import Contribution, Pull, Relay, SealedShare, ShareRequest, Step
from pnyx.protocol.round.active import ActiveRound
from pnyx.protocol.round.relay import EnvelopeRelay, relays

C = Committee()
FIRST = [C.contribution(2, member) for member in (3, 5)]
ASKED = ShareRequest(C.plan.context, (2,))


def relay() -> tuple[EnvelopeRelay, object]:
    services, outbox = C.services(8)
    return EnvelopeRelay(services), outbox


def message(*contributions: Contribution, header=None) -> Relay:
    return Relay(C.plan.context, header or FIRST[0].header, tuple(c.share for c in contributions))


def test_envelopes_are_passed_on_and_kept():
    kept, outbox = relay()
    kept.handle(2, message(FIRST[0]))
    kept.handle(2, message(*FIRST))
    assert outbox.sent == [(3, FIRST[0]), (5, FIRST[1])]
    told = [effect.members for effect in outbox.effects if isinstance(effect, EnvelopesKept)]
    assert told == [1, 1], "of each envelope once"
    outbox.sent.clear()
    kept.handle(5, ShareRequest(C.plan.context, (2, 6)))
    kept.handle(3, ASKED)
    kept.handle(4, ASKED)
    assert outbox.sent == [(5, FIRST[1]), (3, FIRST[0])]


def test_an_envelope_is_handed_out_a_few_times_to_a_member_that_was_killed():
    kept, outbox = relay()
    kept.handle(2, message(*FIRST))
    outbox.sent.clear()
    for _ in range(10):
        kept.handle(3, ASKED)
    assert outbox.sent == [(3, FIRST[0])] * 4
    kept.handle(5, ASKED)
    assert outbox.sent[4:] == [(5, FIRST[1])], "of another member it is another one"


@pytest.mark.parametrize("again", [(2, 2), (2, 6, 2), (6, 2)])
def test_who_names_a_contributor_twice_gets_nothing(again):
    kept, outbox = relay()
    kept.handle(2, message(*FIRST))
    outbox.sent.clear()
    with pytest.raises(RuleBroken, match="twice, or out of order"):
        kept.handle(3, ShareRequest(C.plan.context, again))
    assert outbox.sent == []


def test_envelopes_of_a_large_committee_come_in_several_messages():
    whole = message(*(C.contribution(2, member) for member in range(7)))
    limit = len(codec.encode(whole)) - 1
    kept, outbox = relay()
    for part in relays(whole, limit):
        assert len(codec.encode(part)) <= limit
        kept.handle(2, part)
    assert outbox.of(Contribution) == [C.contribution(2, member) for member in range(7)]
    assert len(list(relays(whole, limit))) == 2
    assert list(relays(whole, limit + 10)) == [whole]


def test_what_is_forgotten_is_not_handed_out():
    kept, outbox = relay()
    kept.handle(2, message(*FIRST))
    outbox.sent.clear()
    kept.forget(2)
    kept.forget(6)
    kept.handle(3, ASKED)
    assert outbox.sent == []


@pytest.mark.parametrize("forgets", [True, False])
def test_a_withdrawn_owners_relay_hands_out_nothing_of_hers(monkeypatch, forgets):
    """She is an aggregator, withdraws, and a member that was away asks for what it missed."""
    if not forgets:
        monkeypatch.setattr(EnvelopeRelay, "forget", lambda relay, contributor: None)
    kept, outbox = relay()
    active = ActiveRound(C.plan, None, None, kept)
    active.handle(2, message(*FIRST), 0.0)
    outbox.sent.clear()
    active.withhold(2)
    active.handle(3, ASKED, 0.0)
    assert outbox.sent == ([] if forgets else [(3, FIRST[0])])


def test_only_members_are_served():
    kept, outbox = relay()
    kept.handle(2, message(*FIRST))
    outbox.sent.clear()
    kept.handle(8, ASKED)
    kept.handle(3, Pull(C.plan.context, Step.OPEN))
    assert outbox.sent == []


@pytest.mark.parametrize(
    ("sender", "bad", "rule"),
    [
        (2, message(*FIRST, header=C.header(2, C.payloads(2, seed=1))), "two different"),
        (
            2,
            Relay(C.plan.context, FIRST[0].header, (SealedShare(7, FIRST[0].share.sealed, ()),)),
            "does not exist",
        ),
        (
            2,
            Relay(C.plan.context, FIRST[0].header, (SealedShare(3, bytes(500_000), ()),)),
            "wrong size",
        ),
        (6, message(*FIRST), "another node than their contributor"),
        (2, message(*FIRST, header=C.header(8)), "not drawn"),
    ],
)
def test_what_is_not_kept(sender, bad, rule):
    kept, outbox = relay()
    kept.handle(2, message(FIRST[0]))
    outbox.sent.clear()
    with pytest.raises(RuleBroken, match=rule):
        kept.handle(sender, bad)
    kept.handle(5, ASKED)
    assert outbox.sent == []
