"""R2: in a draw of actors a node says two things of which an honest one says one, and is convicted.

A caller shows two rolls, or calls by two values; nodes of R1 vouch for two values, nodes of R2 for
two lists. Whoever sees both words makes evidence of them, which convicts everywhere: all nodes hold
it in the end, close votes name the culprit, and the next record excludes it. An honest caller that
is killed and comes back stays silent in that attempt, or its second roll would convict it.
"""

from functools import cache

import pytest
from msgspec.structs import replace
from tests.support.regions import listed
from tests.support.town import Town, manifest, phase

from pnyx.errors import ProtocolError
from pnyx.primitives import codec
from pnyx.protocol import actor_lists
from pnyx.protocol.actor_lists import ActorLists
from pnyx.protocol.events import MessageReceived, PeerBlamed
from pnyx.protocol.evidence.proofs import Offence, check_evidence
from pnyx.protocol.messages import Evidence, Items
from pnyx.protocol.selection.region.draws import DrawSession
from pnyx.protocol.selection.region.messages import (
    Call,
    Continue,
    Presence,
    RandomProof,
    Region,
    Roll,
    Witnessed,
)
from pnyx.protocol.selection.region.statements import (
    NO_VALUE,
    call_statement,
    draw_context,
    point_of,
    random_statement,
    roll_hash,
    roll_statement,
)
from pnyx.protocol.study import read_body

NODES = 9


def drawing(rounds: int, **terms) -> tuple[Town, bytes]:
    """A town with a study that selects by regions."""
    town = Town(**terms)
    plan = manifest(NODES, [phase(NODES, rounds=rounds)], selection="region")
    return town, town.propose(plan=plan)


class TwoRolls:
    """The first node that makes a roll shows everybody on it a second one."""

    def __init__(self) -> None:
        self.town, self.study = drawing(3, wire=self.wire)
        self.calls: dict[tuple[bytes, Region], Call] = {}
        self.liar: int | None = None

    def wire(self, sender, receiver, message):
        if isinstance(message, Call):
            self.calls[message.context, message.region] = message
        if not isinstance(message, Roll) or self.liar not in (None, sender):
            return None
        self.liar, call = sender, self.calls[message.context, message.region]
        fewer = message.presences[:-1]
        statement = roll_statement(message.context, message.region, roll_hash(call, fewer))
        signature = self.town.cryptos[sender].sign(statement)
        return [message, replace(message, presences=fewer, signature=signature)]

    def excluded(self) -> list[tuple[int, ...]]:
        assert self.town.run(self.town.finished(self.study), 120.0)
        records = self.town.machines[0].studies[self.study].records
        return [read_body(record).excluded for record in records]


@cache
def two_rolls() -> tuple[TwoRolls, list[tuple[int, ...]]]:
    attack = TwoRolls()
    return attack, attack.excluded()


def test_caller_with_two_rolls_is_convicted_by_all_and_excluded():
    attack, excluded = two_rolls()
    town, liar = attack.town, attack.liar
    blamed = {(town.census.index_of(e.peer), e.rule) for e in town.effects(PeerBlamed)}
    assert blamed == {(liar, Offence.TWO_ROLLS.value)}
    assert all(machine.docket.standing == {liar: True} for machine in town.machines)
    assert set(excluded) == {(liar,)}, "from the first record on: its draw precedes the votes"


def test_if_nobody_passed_words_on_it_would_be_drawn_again(monkeypatch):
    monkeypatch.setattr(ActorLists, "_on_offence", lambda lists, name, offence: None)
    attack = TwoRolls()
    assert set(attack.excluded()) == {()}
    assert attack.liar is not None


# --- an honest caller ----------------------------------------------------------------------------


def killed_after_its_roll(study_ends: bool = True) -> Town:
    """A trigger is killed after a roll without one of its region, which answers it afterwards."""
    town, study = drawing(1)
    late, victim, killed = None, None, False

    def wire(sender, receiver, message):
        nonlocal late, victim, killed
        if isinstance(message, Presence) and not killed:
            late = sender if late is None else late
            return [] if sender == late else None
        if isinstance(message, Roll) and not killed:
            victim, killed = sender, True
        return None

    town.wire = wire
    assert town.run(lambda: killed, 60.0)
    town.run(seconds=0.1)
    town.crash(victim)
    town.run(seconds=1.0)
    town.restart(victim)
    assert town.run(town.finished(study), 120.0) == study_ends
    return town


def test_honest_caller_that_is_killed_makes_no_second_roll():
    assert killed_after_its_roll().effects(PeerBlamed) == []


def test_a_caller_that_forgets_that_it_called_would_be_convicted(monkeypatch):
    enter = DrawSession._enter

    def forgets(session, attempt, part):
        return enter(session, attempt, part) or part.endswith("-call")

    monkeypatch.setattr(DrawSession, "_enter", forgets)
    rules = {effect.rule for effect in killed_after_its_roll().effects(PeerBlamed)}
    assert rules == {Offence.TWO_ROLLS.value}


# --- a region that is corrupt as a whole ---------------------------------------------------------


class Captured:
    """Regions whose keys a coalition has, in the second attempt of a draw; the first is silent."""

    def __init__(self) -> None:
        self.town, self.study = drawing(2, wire=self.wire)
        assert self.town.run(self.town.in_round(self.study, 1))
        self.town.run(seconds=0.5)
        self.plan = self.town.plan(self.study)
        self.keys = dict(zip(self.town.census.node_ids, self.town.cryptos, strict=True))
        self.selector = self.plan.following.selector
        self.draw = replace(self.plan.following.wanted, attempt=2)
        self.context = draw_context(self.draw)

    def wire(self, sender, receiver, message):
        silent = isinstance(message, Call) and message.draw.round_number == 2
        return [] if silent else None

    def of_this_setter(self, setter: int | None = None):
        """Values by which this node is the setter, or any node but the trigger."""
        for number in range(1000):
            value = bytes([1]) + number.to_bytes(31, "big")
            owner = self.selector.cache.owner(point_of(self.context, value)).number
            if setter in (None, owner):
                yield owner, value

    def random(self, value: bytes) -> RandomProof:
        cache, rule = self.selector.cache, self.selector.rule
        trigger = cache.owner(point_of(self.context))
        near = cache.near(trigger.position, rule.region_share, rule.legitimate_max)
        signers = sorted([p.node_id for p in near if p != trigger][: rule.signers])
        called = call_statement(self.context, Region.VALUE, trigger.node_id, NO_VALUE)
        made = random_statement(self.context, trigger.node_id, value)
        return RandomProof(
            self.draw,
            trigger.node_id,
            self.keys[trigger.node_id].sign(called),
            value,
            tuple(Witnessed(node, self.keys[node].sign(made)) for node in signers),
        )

    def list(self, value: bytes, **terms):
        return listed(self.selector, self.draw, self.keys, value, **terms)

    def hear(self, node: int, *items) -> None:
        items = Items(tuple(codec.encode(item) for item in items))
        event = MessageReceived(self.town.census.node_ids[node - 1], codec.encode(items))
        self.town.handle(node, event)

    def index(self, node: bytes) -> int:
        return self.town.census.index_of(node)

    def convicted(self, rule: Offence) -> set[int]:
        """Whom honest nodes blame for this; nobody is blamed for anything else."""
        blamed = self.town.effects(PeerBlamed)
        assert {effect.rule for effect in blamed} <= {rule.value}
        return {self.index(effect.peer) for effect in blamed}


def two_lists() -> tuple[set[int], set[int]]:
    """Who is convicted when two lists of one value go round; and who signed both."""
    coalition = Captured()
    first, second = (coalition.list(b"v" * 32, order=order * 32) for order in (b"o", b"p"))
    coalition.hear(0, first)
    coalition.hear(0, second)
    signed = {coalition.index(each.node) for each in first.witnesses}
    return coalition.convicted(Offence.TWO_LISTS), signed


def test_region_that_signs_two_lists_is_convicted():
    convicted, signed = two_lists()
    assert convicted == signed


def test_unless_lists_are_compared_a_region_signs_as_many_as_it_likes(monkeypatch):
    monkeypatch.setattr(actor_lists, "two_lists", lambda first, second: ())
    assert two_lists()[0] == set()


def test_one_list_with_other_signatures_convicts_nobody():
    coalition = Captured()
    first = coalition.list(b"v" * 32)
    around = {each.node for each in first.witnesses}
    outside = min(set(coalition.keys) - around - {first.setter})
    others = sorted([*sorted(around)[1:], outside])
    second = coalition.list(b"v" * 32, signers=others)
    assert first.witnesses != second.witnesses
    coalition.hear(0, first)
    coalition.hear(0, second)
    coalition.hear(0, replace(second, order=b"x" * 32))  # nobody signed it
    assert coalition.convicted(Offence.TWO_LISTS) == set()


def test_setter_that_calls_by_two_values_is_convicted_by_its_lists():
    coalition = Captured()
    values = coalition.of_this_setter()
    setter, value = next(values)
    other = next(v for owner, v in values if owner == setter)
    lists = [coalition.list(each) for each in (value, other)]
    for proof in lists:
        coalition.hear(0, proof)
    blamed = {(coalition.index(e.peer), e.rule) for e in coalition.town.effects(PeerBlamed)}
    assert (setter, Offence.TWO_CALLS.value) in blamed


def test_setter_that_calls_by_two_values_is_convicted_by_its_calls():
    coalition = Captured()
    values = coalition.of_this_setter()
    setter, value = next(values)
    other = next(v for owner, v in values if owner == setter)
    calls = [
        Call(
            coalition.context,
            Region.LIST,
            coalition.draw,
            coalition.town.census.node_ids[setter],
            coalition.random(each),
            (),
            coalition.town.cryptos[setter].sign(
                call_statement(
                    coalition.context, Region.LIST, coalition.town.census.node_ids[setter], each
                )
            ),
        )
        for each in (value, other)
    ]
    called = (setter + 1) % NODES
    coalition.town.run(seconds=5.0)  # the second attempt is due
    forged = replace(calls[1], signature=bytes(64))
    for call in (calls[0], forged):
        coalition.town.inject(setter, called, call)
    assert coalition.town.effects(PeerBlamed) == []
    coalition.town.inject(setter, called, calls[1])
    assert coalition.convicted(Offence.TWO_CALLS) == {setter}


def two_values() -> tuple[set[int], set[int]]:
    """Two setters go on with two values of R1; one's list reaches the other, who vouches for it."""
    coalition = Captured()
    values = coalition.of_this_setter()
    first, value = next(values)
    for _owner, other in values:
        shown = coalition.list(other)
        witnesses = {coalition.index(each.node) for each in shown.witnesses}
        if first in witnesses:
            break
    proofs = [coalition.random(each) for each in (value, other)]
    for each in {coalition.index(shown.setter), *witnesses} - {first}:
        coalition.town.inject(1, each, Continue(coalition.context, proofs[1]))
    coalition.town.inject(1, first, Continue(coalition.context, proofs[0]))
    coalition.hear(first, shown)
    coalition.town.run(seconds=1.0)
    signed = {coalition.index(each.node) for each in proofs[0].witnesses}
    return coalition.convicted(Offence.TWO_VALUES), signed


def test_region_that_signs_two_values_is_convicted():
    convicted, signed = two_values()
    assert convicted == signed


def test_unless_the_other_value_is_shown_nobody_hears_of_both(monkeypatch):
    monkeypatch.setattr(
        DrawSession, "on_known", lambda session, proof: setattr(session, "over", True)
    )
    assert two_values()[0] == set()


# --- framing -------------------------------------------------------------------------------------


def a_proof() -> tuple[TwoRolls, Evidence, object]:
    """Evidence of two rolls, with the plan of the round that it is about."""
    attack, _ = two_rolls()
    machine = attack.town.machines[0]
    (key,) = [key for key in attack.town.stored[0] if "evidence" in key]
    evidence = codec.decode(attack.town.stored[0][key], Evidence, bytes_max=10**6)
    return attack, evidence, machine._plan_at(evidence)


def test_nobody_is_convicted_by_words_that_others_made_up():
    attack, good, plan = a_proof()
    crypto, proof = attack.town.cryptos[0], good.proof
    check_evidence(good, plan, crypto)
    forged = replace(proof.second, signature=bytes(64))
    for bad in (
        *(replace(good, culprit=index) for index in range(NODES) if index != good.culprit),
        replace(good, proof=replace(proof, second=proof.first)),
        replace(good, proof=replace(proof, second=forged)),
        replace(good, proof=replace(proof, kind="call")),
        replace(good, proof=replace(proof, region=1 - proof.region)),
        replace(good, proof=replace(proof, draw_attempt=proof.draw_attempt + 1)),
        replace(good, round_number=good.round_number + 1),
    ):
        with pytest.raises(ProtocolError):
            check_evidence(bad, plan, crypto)


def test_words_of_a_round_that_draws_nothing_convict_nobody():
    attack, good, _ = a_proof()
    machine = attack.town.machines[0]
    last = replace(good, round_number=3)
    plan = machine._plan_at(last)
    assert plan.following is None
    with pytest.raises(ProtocolError, match="no region drew"):
        check_evidence(last, plan, attack.town.cryptos[0])


def test_altered_words_convict_nobody():
    """Every byte of the evidence with a bit flipped."""
    attack, good, plan = a_proof()
    encoded = codec.encode(good)

    def judge(altered: bytes) -> None:
        evidence = codec.decode(altered, Evidence, bytes_max=10**6)
        check_evidence(evidence, plan, attack.town.cryptos[0])

    judge(encoded)
    for place in range(len(encoded)):
        with pytest.raises(ProtocolError):
            judge(encoded[:place] + bytes([encoded[place] ^ 1]) + encoded[place + 1 :])
