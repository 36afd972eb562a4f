"""A corrupt member has honest aggregators flood each other, and use up what they may ask for.

An aggregator that lacks vectors asks the others for them. A member that names contributions which
do not exist, again and again, pays a few hundred bytes; if others answered with what they have, all
of it would count as what the honest aggregator asked for, in all studies.
"""

import pytest
from msgspec.structs import replace
from tests.support.masked_round import AGGREGATORS, fetches, masked_committee
from tests.support.town import Town, masked_manifest
from tests.support.weakened import succeeds, weaken

from pnyx.errors import RuleBroken
from pnyx.primitives import codec
from pnyx.protocol import machine as machines
from pnyx.protocol.events import Compute, MessageReceived, MessageRejected
from pnyx.protocol.messages import HeldContribution, SumRequest, VectorOffer
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round import aggregator as aggregators
from pnyx.protocol.round.aggregator import Aggregator

C = masked_committee()
ASKED, OTHER, _ = AGGREGATORS
MEMBER = next(index for index in C.plan.committee if index not in AGGREGATORS)
TIMES = 100
PARAMS = ProtocolParams()


def holding(index: int, *contributors: int):
    """An aggregator that holds these vectors, and has said all about them."""
    services, outbox = C.services(index)
    made = Aggregator(services, index, C.code, lambda _: False)
    for who in contributors:
        made.handle(who, C.offer(who), 0.0)
        name, _, _, done, _ = fetches(outbox)[-1]
        done(name)
        made.on_read(name, C.vector(who))
        made.on_computed(outbox.of(Compute)[-1].work())
    outbox.sent.clear()
    return made, outbox


def invented(*contributors: int) -> SumRequest:
    """Contributions that nobody made."""
    return SumRequest(C.plan.context, tuple(HeldContribution(i, b"\1" * 32) for i in contributors))


def passed_on(held: tuple[int, ...], request: SumRequest, step_s: float = 0.0) -> list[SumRequest]:
    """What another aggregator is asked because a member makes one request many times."""
    made, outbox = holding(ASKED, *held)
    for time in range(TIMES):
        try:
            made.handle(MEMBER, request, time * step_s)
        except RuleBroken:
            continue
    return [each for to, each in outbox.sent if isinstance(each, SumRequest) and to == OTHER]


def held_under_other_names() -> None:
    everybody = sorted(C.plan.contributors)
    assert passed_on(tuple(everybody), invented(*everybody), PARAMS.retransmit_s) == []


def asked_at_once() -> None:
    assert len(passed_on((), C.request(2, 3))) == 1


def answered_with_others() -> None:
    made, outbox = holding(OTHER, 2, 3)
    for _ in range(TIMES):
        made.handle(ASKED, invented(2, 3), 0.0)
    assert outbox.sent == []


def test_what_is_held_under_another_name_is_not_asked_for():
    held_under_other_names()


def test_a_vector_is_asked_for_once_in_a_while():
    asked_at_once()
    assert len(passed_on((), C.request(2, 3), PARAMS.retransmit_s / 4)) == TIMES / 4


def test_sets_that_overlap_bring_no_more():
    """Each set has its own name, and the vectors are the same."""
    made, outbox = holding(ASKED)
    for few in [(2, 3, 4), (2, 3), (2, 4), (3, 4)]:
        made.handle(MEMBER, C.request(*few), 0.0)
    asked = [each for to, each in outbox.sent if to == OTHER]
    assert asked == [C.request(2, 3, 4)]


def test_who_asks_for_what_does_not_exist_gets_nothing():
    answered_with_others()
    made, outbox = holding(OTHER, 2, 3)
    made.handle(ASKED, replace(C.request(2), accepted=C.accepted(2) + invented(3).accepted), 0.0)
    assert outbox.sent == [(ASKED, C.offer(2))]
    assert isinstance(outbox.sent[0][1], VectorOffer)


@pytest.mark.parametrize(
    ("attack", "defence", "without"),
    [
        (
            held_under_other_names,
            "if offer is not None and self._reader.name(offer.header) != held.header_hash:",
            "if offer is None:",
        ),
        (asked_at_once, "self._asked_at.get(held, before) <= before", "True"),
        (answered_with_others, "if self._holds(held):", "if held.contributor in self._sealed:"),
    ],
)
def test_each_is_a_defence(monkeypatch, attack, defence, without):
    weaken(monkeypatch, aggregators, (defence, without))
    assert succeeds(attack)


# --- who pays -------------------------------------------------------------------------------------


def paid_by_the_member() -> None:
    """A member's requests are passed on until its allowance is used up, and no longer."""
    town = Town(count=12, params=ProtocolParams(answers_bytes_burst=1_000, answers_bytes_per_s=1.0))
    study = town.propose(plan=masked_manifest(12))
    town.run(town.in_round(study, 1))
    plan = town.plan(study)
    index = next(i for i in plan.aggregators if plan.context in town.machines[i].rounds.active)
    member = next(i for i in plan.committee if i not in plan.aggregators)
    made = town.machines[index]
    drawn, rules = sorted(plan.contributors)[:6], []
    for number in range(4):
        held = tuple(HeldContribution(i, bytes((number,)) * 32) for i in drawn)
        payload = codec.encode(SumRequest(plan.context, held))
        event = MessageReceived(town.census.node_ids[member], payload)
        effects = made.handle(event, made.now)
        rules += [each.rule for each in effects if isinstance(each, MessageRejected)]
    assert "asks for more than it may" in rules


def test_who_has_others_asked_pays_for_it():
    paid_by_the_member()


def test_to_charge_the_member_is_the_defence(monkeypatch):
    weaken(monkeypatch, machines, ("if passes_on or each.peer == peer", "if each.peer == peer"))
    assert succeeds(paid_by_the_member)
