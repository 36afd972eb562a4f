"""What a node of a region refuses to take part in, rule by rule, and what its caller ignores.

A message on its way to one node is altered, signed anew by whoever holds the key, and arrives
before the true one: it must be refused for its own reason, and the draw must go on.
"""

import pytest
from msgspec.structs import replace
from tests.support.regions import EPOCH_BEACON, STUDY, TIMES, Exchange, Ring, beacon_of, listed

from pnyx.errors import ProtocolError
from pnyx.protocol import dealing
from pnyx.protocol.overlay.positions import position_of as overlay_position
from pnyx.protocol.selection.region import RegionSelector, draw_context, position_of
from pnyx.protocol.selection.region.caller import Caller, Stage
from pnyx.protocol.selection.region.messages import (
    Call,
    Choice,
    Continue,
    Deal,
    Lock,
    Locked,
    Offer,
    Presence,
    Receipt,
    Region,
    Reveal,
    Roll,
    Witness,
)
from pnyx.protocol.selection.region.statements import (
    call_statement,
    call_value,
    deal_statement,
    offer_hash,
    ordered,
    point_of,
    presence_statement,
    receipt_statement,
    roll_hash,
    roll_statement,
)

RING = Ring(36, corrupt_max=4)
COUNT = 30
WANTED = RING.selector.draw(beacon_of(0), STUDY, 1, "actors", COUNT, 1)
CONTEXT = draw_context(WANTED)
TRIGGER = RING.cache.owner(point_of(CONTEXT)).node_id
TARGET = RING.nodes_around(TRIGGER)[5]
STRANGER = next(n for n in RING.ids if n not in {TRIGGER, *RING.nodes_around(TRIGGER)})


class Meddler:
    """Alters the first message of a kind to the target, in one region of the first attempt."""

    def __init__(self, kind, change, region=Region.VALUE, receiver=TARGET):
        self.kind, self.change, self.region, self.receiver = kind, change, region, receiver
        self.call = self.roll = self.offer = None
        self.done = False

    def __call__(self, sender, receiver, message):
        pairs = [(receiver, message)]
        if getattr(message, "region", self.region) is not self.region:
            return pairs
        if message.context != CONTEXT:
            return pairs
        if receiver == self.receiver or self.receiver is None:
            if isinstance(message, self.kind) and not self.done:
                self.done = True
                pairs = [(receiver, each) for each in self.change(self, message)] + pairs
            self.call = message if isinstance(message, Call) else self.call
            self.roll = message if isinstance(message, Roll) else self.roll
            self.offer = message if isinstance(message, Offer) else self.offer
        return pairs

    # --- signing anew ---------------------------------------------------------------------------

    def called(self, call, **changes):
        call = replace(call, **changes)
        statement = call_statement(CONTEXT, call.region, call.caller, call_value(call))
        return replace(call, signature=RING.crypto[call.caller].sign(statement))

    def enrolled(self, presences):
        name = roll_hash(self.call, presences)
        statement = roll_statement(CONTEXT, self.region, name)
        signature = RING.crypto[self.call.caller].sign(statement)
        return Roll(CONTEXT, self.region, tuple(presences), signature)

    def present(self, presence, **changes):
        presence = replace(presence, **changes)
        statement = presence_statement(presence, self.call.signature)
        return replace(presence, signature=RING.crypto[presence.node].sign(statement))

    @property
    def roll_hash(self):
        return roll_hash(self.call, self.roll.presences)

    def dealt(self, dealt, **changes):
        dealt = replace(dealt, **changes)
        node = self.roll.presences[min(dealt.dealer, len(self.roll.presences) - 1)].node
        statement = deal_statement(CONTEXT, self.region, self.roll_hash, dealt)
        return replace(dealt, signature=RING.crypto[node].sign(statement))

    def received(self, receipt, **changes):
        receipt = replace(receipt, **changes)
        node = self.roll.presences[min(receipt.member, len(self.roll.presences) - 1)].node
        offer = offer_hash(self.roll_hash, self.offer.dealings)
        statement = receipt_statement(receipt, offer)
        return replace(receipt, signature=RING.crypto[node].sign(statement))


def changed_presence(at, **changes):
    def change(m, roll):
        presences = list(roll.presences)
        if presences[at].node == TARGET:
            presences.reverse()
        presences[at] = m.present(presences[at], **changes)
        return [m.enrolled(sorted(presences, key=lambda p: p.node))]

    return change


def with_receipt(**changes):
    def change(m, choice):
        first, *rest = choice.receipts
        return [replace(choice, receipts=(m.received(first, **changes), *rest))]

    return change


def last_receipt(**changes):
    def change(m, choice):
        *rest, last = choice.receipts
        return [replace(choice, receipts=(*rest, m.received(last, **changes)))]

    return change


def without_target(m, roll):
    return [m.enrolled([p for p in roll.presences if p.node != TARGET])]


def held_by_few(m, choice):
    """A dealer of whom all receipts but k_r say that they lack it."""
    dealer = choice.dealers[0]
    receipts = [
        r if at < 4 else m.received(r, held=tuple(h for h in r.held if h != dealer))
        for at, r in enumerate(choice.receipts)
    ]
    return [replace(choice, receipts=tuple(receipts))]


def short(m, choice):
    return [replace(choice, receipts=choice.receipts[:5])]


def twice(items):
    return (items[0], *items)


def other_draw(m, call):
    return [m.called(call, draw=replace(call.draw, role="others"))]


CASES = {
    "a call by another node": (
        Call,
        lambda m, c: [m.called(c, caller=STRANGER)],
        "a call is for another draw, or somebody else's",
    ),
    "a call for another draw": (
        Call,
        other_draw,
        "a call is for another draw, or somebody else's",
    ),
    "a call nobody signed": (
        Call,
        lambda m, c: [replace(c, signature=bytes(64))],
        "a caller did not sign its call",
    ),
    "a roll nobody signed": (
        Roll,
        lambda m, r: [replace(r, signature=bytes(64))],
        "a caller did not sign its roll",
    ),
    "a roll that is too short": (
        Roll,
        lambda m, r: [m.enrolled(r.presences[:4])],
        "a roll has fewer nodes than a quorum of the region",
    ),
    "a roll with a node twice": (
        Roll,
        lambda m, r: [m.enrolled(twice(r.presences))],
        "a roll names nodes out of order, or one of them twice",
    ),
    "a roll without its receiver": (
        Roll,
        without_target,
        "a roll leaves out the node that it is sent to",
    ),
    "a roll with a word of another draw": (
        Roll,
        changed_presence(0, context=bytes(32)),
        "a roll names a node of another region, or a word of another draw",
    ),
    "a roll with a stranger": (
        Roll,
        changed_presence(0, node=STRANGER),
        "a roll names a node of another region, or a word of another draw",
    ),
    "a presence nobody signed": (
        Roll,
        lambda m, r: [
            m.enrolled([p if p.node == TARGET else replace(p, key=b"k" * 32) for p in r.presences])
        ],
        "a node on a roll did not say that it takes part",
    ),
    "an offer with a dealer twice": (
        Offer,
        lambda m, o: [replace(o, dealings=twice(o.dealings), sealed=twice(o.sealed))],
        "an offer lists dealers out of order, or without their shares",
    ),
    "an offer with too few shares": (
        Offer,
        lambda m, o: [replace(o, sealed=o.sealed[1:])],
        "an offer lists dealers out of order, or without their shares",
    ),
    "a commitment nobody signed": (
        Offer,
        lambda m, o: [
            replace(o, dealings=(replace(o.dealings[0], root=bytes(32)), *o.dealings[1:]))
        ],
        "a dealer of a region did not sign its commitment",
    ),
    "a commitment of nobody": (
        Offer,
        lambda m, o: [
            replace(o, dealings=(*o.dealings[:-1], m.dealt(o.dealings[-1], dealer=1000)))
        ],
        "a dealer of a region did not sign its commitment",
    ),
    "a choice of too few dealers": (
        Choice,
        lambda m, c: [replace(c, dealers=c.dealers[1:])],
        "a region makes its value of 4 secrets, in order",
    ),
    "a choice of a dealer twice": (
        Choice,
        lambda m, c: [replace(c, dealers=(c.dealers[0], *c.dealers[:3]))],
        "a region makes its value of 4 secrets, in order",
    ),
    "a choice of nobody's secret": (
        Choice,
        lambda m, c: [replace(c, dealers=(*c.dealers[:3], 1000))],
        "a choice names a secret that was not offered",
    ),
    "receipts of a node twice": (
        Choice,
        lambda m, c: [replace(c, receipts=twice(c.receipts))],
        "a choice lists receipts out of order, or one of them twice",
    ),
    "too few receipts": (
        Choice,
        short,
        "a choice carries fewer receipts than a quorum of the region",
    ),
    "a receipt of nobody": (
        Choice,
        last_receipt(member=1000),
        "a receipt is of nobody on the roll, or of another draw",
    ),
    "a receipt of another draw": (
        Choice,
        with_receipt(context=bytes(32)),
        "a receipt is of nobody on the roll, or of another draw",
    ),
    "a receipt nobody signed": (
        Choice,
        lambda m, c: [replace(c, receipts=(replace(c.receipts[0], held=()), *c.receipts[1:]))],
        "a node of a region did not sign its receipt",
    ),
    "a secret that few hold": (
        Choice,
        held_by_few,
        "a choice names a secret that too few nodes hold a share of",
    ),
    "locks of too few": (
        Locked,
        lambda m, k: [
            replace(
                k,
                locks=replace(
                    k.locks, signers=k.locks.signers[:3], signatures=k.locks.signatures[:3]
                ),
            )
        ],
        "A quorum certificate has 3 of 10 signatures.",
    ),
    "more shares than secrets": (
        Reveal,
        lambda m, r: [replace(r, openings=r.openings * 3)],
        "a node of a region opens secrets that were not chosen",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_refused_for_its_reason(name):
    kind, change, reason = CASES[name]
    meddler = Meddler(kind, change)
    exchange = Exchange(RING, COUNT, wanted=WANTED, spoil=meddler)
    proof = exchange.run()
    assert meddler.done
    assert reason in exchange.refused
    assert proof.draw.attempt == 1


def test_a_second_call_is_refused_and_a_repeated_one_answered_again():
    def change(m, call):
        return [call, m.called(call, candidates=(TARGET,)), call]

    meddler = Meddler(Call, change)
    exchange = Exchange(RING, COUNT, wanted=WANTED, spoil=meddler)
    assert exchange.run() is not None
    assert "a region of a draw is called twice" in exchange.refused


@pytest.mark.parametrize("kind", [Roll, Offer, Choice, Locked, Reveal, Witness])
def test_repeated_messages_change_nothing(kind):
    meddler = Meddler(kind, lambda m, message: [message, message])
    exchange = Exchange(RING, COUNT, wanted=WANTED, spoil=meddler)
    assert exchange.run().draw.attempt == 1
    assert (exchange.refused, exchange.offences) == ([], [])


@pytest.mark.parametrize("kind", [Roll, Offer, Choice, Locked])
def test_a_node_that_missed_a_message_is_left_behind_or_told_again(kind):
    """What it never got leaves it without the rest; the others go on."""
    spoil = lambda s, r, m: [] if isinstance(m, kind) and r == TARGET else [(r, m)]  # noqa: E731
    exchange = Exchange(RING, COUNT, wanted=WANTED, spoil=spoil)
    assert exchange.run(first=False, until_s=6.0).draw.attempt == 1


def test_a_wrong_signature_on_what_was_made_is_refused_early_or_late():
    late = Meddler(Witness, lambda m, w: [replace(w, signature=bytes(64))])
    exchange = Exchange(RING, COUNT, wanted=WANTED, spoil=late)
    assert exchange.run().draw.attempt == 1

    def hold_back(sender, receiver, message):
        """The target gets no shares, so witnesses come before it knows the value."""
        return [] if isinstance(message, Reveal) and receiver == TARGET else [(receiver, message)]

    held = Exchange(RING, COUNT, wanted=WANTED, spoil=hold_back)
    assert held.run(first=False, until_s=4.0).draw.attempt == 1


def test_a_witness_of_something_else_is_refused():
    def spoil(sender, receiver, message):
        if isinstance(message, Witness) and message.region is Region.VALUE and receiver == TARGET:
            return [(receiver, message), (receiver, replace(message, signature=bytes(64)))]
        return [(receiver, message)]

    exchange = Exchange(RING, COUNT, wanted=WANTED, spoil=spoil)
    proof = exchange.run(first=False, until_s=3.0)
    assert proof.draw.attempt == 1


SETTER = Exchange(RING, COUNT, wanted=WANTED).run().setter
R2_TARGET = next(n for n in RING.nodes_around(SETTER) if n not in (TRIGGER, SETTER))


def setter_calls(change):
    meddler = Meddler(Call, change, Region.LIST, R2_TARGET)
    exchange = Exchange(RING, COUNT, wanted=WANTED, spoil=meddler)
    assert exchange.run().draw.attempt == 1
    return exchange.refused


def test_a_setter_must_show_a_random_value_of_this_draw():
    assert "a setter calls with a random value, a trigger without" in setter_calls(
        lambda m, c: [m.called(c, before=None)]
    )
    assert "a draw was called by a node that its point does not impose" in setter_calls(
        lambda m, c: [m.called(c, before=replace(c.before, value=b"w" * 32))]
    )
    assert "a random value was made for another draw" in setter_calls(
        lambda m, c: [m.called(c, before=replace(c.before, draw=replace(c.draw, attempt=2)))]
    )
    assert "a node of a region did not sign what it made" in setter_calls(
        lambda m, c: [m.called(c, before=replace(c.before, witnesses=_unsigned(c.before)))]
    )


def _unsigned(proof):
    return tuple(replace(each, signature=bytes(64)) for each in proof.witnesses)


def test_a_call_to_a_node_of_another_region_is_refused():
    sent = []

    def spoil(sender, receiver, message):
        if isinstance(message, Call) and message.region is Region.VALUE and not sent:
            sent.append(message)
            return [(receiver, message), (STRANGER, message)]
        return [(receiver, message)]

    exchange = Exchange(RING, COUNT, wanted=WANTED, spoil=spoil)
    assert exchange.run() is not None
    assert "a node is called to a region that is not its own, or too sparse" in exchange.refused


# --- the setter, before it calls ----------------------------------------------------------------


def continued(change, receiver=None):
    def spoil(sender, to, message):
        if isinstance(message, Continue) and message.context == CONTEXT:
            return [(receiver or to, change(message)), (to, message), (to, message)]
        return [(to, message)]

    exchange = Exchange(RING, COUNT, wanted=WANTED, spoil=spoil)
    assert exchange.run().draw.attempt == 1
    return exchange.refused


def test_a_setter_looks_at_the_value_that_it_is_shown():
    other = lambda m: replace(m, proof=replace(m.proof, draw=replace(m.proof.draw, attempt=3)))  # noqa: E731
    assert "a random value was made for another draw" in continued(other)
    forged = lambda m: replace(m, proof=replace(m.proof, witnesses=_unsigned(m.proof)))  # noqa: E731
    assert "a node of a region did not sign what it made" in continued(forged)
    assert "a random value imposes another setter" in continued(lambda m: m, TARGET)


def test_a_value_or_list_of_nothing_is_none():
    exchange = Exchange(RING, COUNT, wanted=WANTED)
    proof = exchange.run()
    with pytest.raises(ProtocolError):
        RING.selector.check_list(replace(proof, value=bytes(32)))


# --- the caller ---------------------------------------------------------------------------------


def answers(kind, change, region=Region.VALUE):
    """A node's answer to the trigger is altered; the caller must refuse or ignore it."""

    def spoil(sender, receiver, message):
        fits = isinstance(message, kind) and message.region is region and sender == TARGET
        if fits and receiver == TRIGGER and message.context == CONTEXT:
            return [(receiver, change(message)), (receiver, message)]
        return [(receiver, message)]

    exchange = Exchange(RING, COUNT, wanted=WANTED, spoil=spoil)
    assert exchange.run().draw.attempt == 1
    return exchange.refused


@pytest.mark.parametrize("kind", [Presence, Receipt, Lock])
def test_answers_that_nobody_signed_are_refused(kind):
    refused = answers(kind, lambda m: replace(m, signature=bytes(64)))
    assert "a node of a region did not sign its answer" in refused


def test_deals_are_checked():
    bad = lambda m: replace(m, dealt=replace(m.dealt, signature=bytes(64)))  # noqa: E731
    assert "a node of a region did not sign its answer" in answers(Deal, bad)
    few = lambda m: replace(m, sealed=m.sealed[1:])  # noqa: E731
    assert "a dealer seals one share for everybody on the roll" in answers(Deal, few)


def test_answers_for_others_are_ignored():
    assert answers(Presence, lambda m: replace(m, node=STRANGER)) == []
    assert answers(Deal, lambda m: replace(m, dealt=replace(m.dealt, dealer=900))) == []
    assert answers(Receipt, lambda m: replace(m, member=900)) == []
    assert answers(Lock, lambda m: replace(m, member=900)) == []


def test_a_share_in_somebody_elses_name_or_without_form_is_none():
    """The dealer's own share is good; what is sealed to the target cannot be read."""

    def garble(m, offer):
        return [replace(offer, sealed=(b"x", *offer.sealed[1:]))]

    exchange = Exchange(RING, COUNT, wanted=WANTED, spoil=Meddler(Offer, garble))
    assert exchange.run().draw.attempt == 1


def test_a_caller_is_a_certified_node_and_a_silent_one_stays_at_its_stage():
    exchange = Exchange(RING, COUNT, wanted=WANTED)
    session = exchange.draws[TRIGGER]._sessions["list"]
    attempt = session._attempts[CONTEXT]
    services = session._services(attempt, 0.0)
    caller = Caller(services, Region.VALUE, None, 0.0)
    caller.start()
    caller.handle(TARGET, exchange_call(caller), 0.0)
    assert caller.stage is Stage.CALL
    services.node_id = b"s" * 32
    with pytest.raises(ValueError, match="certified"):
        Caller(services, Region.VALUE, None, 0.0)


def exchange_call(caller):
    return caller._call


@pytest.mark.parametrize("kind", [Deal, Receipt, Lock])
def test_what_answers_were_lost_is_asked_for_again(kind):
    lost = []

    def spoil(sender, receiver, message):
        if isinstance(message, kind) and len(lost) < 14:
            lost.append(message)
            return []
        return [(receiver, message)]

    exchange = Exchange(RING, COUNT, wanted=WANTED, spoil=spoil)
    assert exchange.run().draw.attempt == 1
    assert exchange.now > TIMES.grace_s


def test_secrets_that_too_few_hold_make_no_choice():
    """All shares are garbled on their way: nobody holds anything, and the attempt ends."""

    def spoil(sender, receiver, message):
        if isinstance(message, Deal) and message.context == CONTEXT:
            message = replace(message, sealed=tuple(b"x" for _ in message.sealed))
        return [(receiver, message)]

    assert Exchange(RING, COUNT, wanted=WANTED, spoil=spoil).run().draw.attempt == 2


# --- sessions -----------------------------------------------------------------------------------


def test_sessions_open_once_and_close():
    exchange = Exchange(RING, COUNT, wanted=WANTED)
    draws = exchange.draws[TARGET]
    session = draws._sessions["list"]
    again = draws.want("list", RING.selector, WANTED, lambda _: None, 1.0)
    assert again is session
    exchange.run()
    session.over = True
    assert session.next_deadline() is None
    session.tick(99.0)
    attempt = session._attempts[CONTEXT]
    call = next(iter(attempt.signers.values()))._call
    attempt.signers.clear()
    session.handle(call.caller, call, 0.0)  # too late to take part
    assert attempt.signers == {}
    session.handle(TARGET, Lock(CONTEXT, Region.LIST, 0, bytes(64)), 0.0)  # it calls nobody
    draws.close("list")
    draws.close("list")
    draws.handle(call.caller, call, 0.0)  # of no session
    assert draws.next_deadline() is None


def test_a_setter_in_r1_goes_on_by_itself():
    """Some draws impose a setter that also made the value: it hands it to itself."""
    found = False
    for number in range(12):
        wanted = RING.selector.draw(beacon_of(100 + number), STUDY, 1, "actors", COUNT, 1)
        context = draw_context(wanted)
        around = RING.nodes_around(RING.cache.owner(point_of(context)).node_id)
        proof = Exchange(RING, COUNT, wanted=wanted).run()
        found = found or proof.setter in around
    assert found


def test_only_the_caller_enrols_and_only_members_open():
    """A stranger repeats a roll, a share and a signature in its own name: nobody listens."""

    def spoil(sender, receiver, message):
        if isinstance(message, Roll | Reveal | Witness) and receiver == TARGET:
            exchange.draws[TARGET].handle(STRANGER, message, exchange.now)
        return [(receiver, message)]

    exchange = Exchange(RING, COUNT, wanted=WANTED, spoil=spoil)
    assert exchange.run().draw.attempt == 1
    assert exchange.refused == []


def test_a_share_that_is_not_the_committed_one_is_none():
    """A dealer seals to the target what it dealt to another: the target says that it lacks it."""
    receipts = []

    def spoil(sender, receiver, message):
        if isinstance(message, Receipt) and sender == TARGET and message.context == CONTEXT:
            receipts.append(message)
        return [(receiver, message)]

    kept = dealing.share_matches
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dealing, "share_matches", lambda *terms: terms[1].dealer and kept(*terms))
        assert Exchange(RING, COUNT, wanted=WANTED, spoil=spoil).run() is not None
    assert all(0 not in receipt.held for receipt in receipts)


@pytest.mark.parametrize("change", [{"order": b"x" * 32}, {"actors": ()}])
def test_lists_out_of_order_or_too_short_are_refused(change):
    proof = Exchange(RING, COUNT, wanted=WANTED).run()
    with pytest.raises(ProtocolError, match="too short or long, or out of order"):
        RING.selector.check_list(replace(proof, **change))


def test_lists_with_actors_of_another_region_are_refused():
    ring = Ring(300)
    wanted = ring.selector.draw(beacon_of(0), STUDY, 1, "actors", 10, 1)
    good = listed(ring.selector, wanted, ring.crypto)
    ring.selector.check_list(good)
    point = point_of(draw_context(wanted), good.value)
    inside = {p.node_id for p in ring.cache.near(point, ring.rule.candidate_share(10), 300)}
    far = next(n for n in ring.ids if n not in inside)
    names = tuple(ordered(b"o" * 32, (*good.actors[1:], far)))
    with pytest.raises(ProtocolError, match="a node of another region"):
        ring.selector.check_list(listed(ring.selector, wanted, ring.crypto, actors=names))


def test_a_value_of_nothing_is_none():
    values = []

    def watch(sender, receiver, message):
        values.extend([message.proof] if isinstance(message, Continue) else [])
        return [(receiver, message)]

    Exchange(RING, COUNT, wanted=WANTED, spoil=watch).run()
    with pytest.raises(ProtocolError, match="a random value is none"):
        RING.selector.check_random(replace(values[0], value=bytes(32)))


def test_a_selector_without_lists_selects_nothing():
    s = RING.selector
    bare = RegionSelector(
        network=s.network, epoch=0, census_root=s.census_root, cache=s.cache, rule=s.rule,
        verify=RING.verify,
    )  # fmt: skip
    with pytest.raises(ProtocolError, match="no region has made"):
        bare.select(beacon_of(0), STUDY, 1, "actors", COUNT)


def test_positions_are_those_of_the_overlay():
    for node in RING.ids[:5]:
        assert position_of(node, EPOCH_BEACON) == overlay_position(node, EPOCH_BEACON)


def test_another_choice_after_the_lock_changes_nothing():
    """The caller shows the target a second choice, of secrets that were offered as well."""

    def spoil(sender, receiver, message):
        mine = isinstance(message, Choice) and receiver == TARGET and message.context == CONTEXT
        if mine and message.region is Region.VALUE:
            other = replace(message, dealers=(*message.dealers[:-1], message.dealers[-1] + 1))
            return [(receiver, message), (receiver, other)]
        return [(receiver, message)]

    exchange = Exchange(RING, COUNT, wanted=WANTED, spoil=spoil)
    assert exchange.run().draw.attempt == 1
    assert exchange.refused == []
