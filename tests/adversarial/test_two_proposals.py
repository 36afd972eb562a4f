"""A5: a leader proposes one value to some members and another to the others, in the same view.

Nothing wrong comes of it, but a view is lost. Whoever was shown what, the honest members find out
before anything of the attempt is released, with evidence that convicts the leader everywhere.
"""

from collections.abc import Collection
from itertools import combinations

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.committee import Committee
from tests.support.town import SMALL, Town
from tests.support.weakened import weaken
from tests.unit.protocol.round.test_committee import Walk

from pnyx.errors import InvalidSignature, ProtocolError
from pnyx.primitives import codec
from pnyx.protocol import agreement
from pnyx.protocol.agreement import sign_proposal
from pnyx.protocol.events import PeerBlamed, Persist
from pnyx.protocol.evidence.proofs import Offence, check_evidence
from pnyx.protocol.messages import (
    Evidence,
    Instance,
    MemberInput,
    Proposal,
    ProposedHash,
    Release,
    Step,
    TwoProposals,
    Vote,
)
from pnyx.protocol.round import proposed as proposed_module
from pnyx.protocol.round.proposed import Proposals, passed_on_to, signed_hash
from pnyx.protocol.round.values import VALUE_BYTES_MAX, AcceptValue, CloseValue, OpenValue
from pnyx.protocol.selection.security import CommitteeSize, choose_committee, committee_size
from pnyx.protocol.study import read_body

MEMBERS = 7
OTHERS = range(1, MEMBERS)  # the liar has place 0
SPLITS = [set(some) for count in range(1, 6) for some in combinations(OTHERS, count)]


def other(instance: Instance, value: bytes) -> bytes:
    """A value that is as valid, without the input of one member."""
    match instance:
        case Instance.OPEN:
            keys = codec.decode(value, OpenValue, bytes_max=VALUE_BYTES_MAX).keys
            return codec.encode(OpenValue(keys[:-1]))
        case Instance.CLOSE:
            closed = codec.decode(value, CloseValue, bytes_max=VALUE_BYTES_MAX)
            return codec.encode(CloseValue(closed.votes[:-1], closed.headers))
        case Instance.ACCEPT:
            given = codec.decode(value, AcceptValue, bytes_max=VALUE_BYTES_MAX).responses
            return codec.encode(AcceptValue(given[:-1]))


class TwoFaced:
    """The leader of round 1 shows another value of one agreement to these members."""

    def __init__(
        self,
        instance: Instance,
        shown_the_other: Collection[int],
        size: CommitteeSize = SMALL,
        away: Collection[int] = (),
    ) -> None:
        self.town = Town(count=max(9, size.size), size=size)
        self.study = self.town.propose()
        self.instance, self.some = instance, shown_the_other
        self.town.run(self.town.in_round(self.study, 1))
        self.plan = self.town.plan(self.study)
        self.liar = self.plan.committee[0]
        self.lies = 0
        self.accused_before_release: bool | None = None
        for member in away:
            self.town.crash(self.plan.committee[member])
        self.town.wire = self.wire

    def wire(self, sender: int, receiver: int, message: object) -> list[object] | None:
        if getattr(message, "context", None) != self.plan.context:
            return None
        if isinstance(message, ProposedHash) and sender == self.liar:
            return []  # it does not help to find out
        if isinstance(message, MemberInput) and self.accused_before_release is None:
            self._note_release(message)
        if sender != self.liar or not isinstance(message, Proposal) or message.view:
            return None
        if message.instance is not self.instance or self.plan.member_of[receiver] not in self.some:
            return None
        self.lies += 1
        crypto, value = self.town.cryptos[sender], other(message.instance, message.value)
        return [sign_proposal(crypto, message.context, message.instance, message.view, value)]

    def _note_release(self, message: MemberInput) -> None:
        tag = Release.__struct_config__.tag
        if message.signed.body[1] == tag:
            self.accused_before_release = bool(self.accusations())

    def accusations(self) -> set[tuple[int | None, str]]:
        index_of = self.town.census.index_of
        return {
            (index_of(effect.peer), effect.rule)
            for _, node, effect in self.town.log
            if isinstance(effect, PeerBlamed) and node != self.liar
        }

    def excluded(self) -> tuple[int, ...]:
        """Whom the last record excludes."""
        assert self.town.run(self.town.finished(self.study), 120.0)
        (certified,) = self.town.certified()
        assert sum(self.town.model(self.study)) == certified.contributors
        return read_body(self.town.machines[0].studies[self.study].records[-1]).excluded


def found_out(instance: Instance, some: Collection[int]) -> None:
    attack = TwoFaced(instance, some)
    attack.excluded()
    assert attack.lies
    assert attack.accused_before_release
    assert attack.accusations() == {(attack.liar, Offence.TWO_PROPOSALS.value)}
    assert all(machine.docket.standing == {attack.liar: True} for machine in attack.town.machines)


@pytest.mark.parametrize("instance", Instance)
@pytest.mark.parametrize("some", [{1}, {6}, {2, 4, 6}, {1, 2, 3}, {2, 3, 4, 5, 6}], ids=str)
def test_two_values_are_found_out_before_a_release(instance: Instance, some: set[int]) -> None:
    found_out(instance, some)


SIX, ELEVEN = committee_size(6, 1, 1, 1), committee_size(11, 2, 1, 2)


@pytest.mark.parametrize(
    ("size", "away", "some"),
    [
        pytest.param(SIX, {2}, {1}, id="neighbours on one side"),
        pytest.param(SIX, {3}, {1, 2}, id="between two halves"),
        pytest.param(ELEVEN, {3, 4}, {1, 2}, id="two in a row"),
        pytest.param(ELEVEN, {2, 9}, {1, 10}, id="around the liar"),
    ],
)
def test_two_values_are_found_out_while_others_are_away(
    size: CommitteeSize, away: set[int], some: set[int]
) -> None:
    attack = TwoFaced(Instance.CLOSE, some, size, away)
    assert attack.town.run(lambda: attack.accused_before_release is not None, 120.0)
    assert attack.lies
    assert attack.accused_before_release
    assert attack.accusations() == {(attack.liar, Offence.TWO_PROPOSALS.value)}


def test_a_ring_for_the_corrupt_alone_would_be_cut(monkeypatch) -> None:
    weaken(
        monkeypatch,
        proposed_module,
        ("(size.corrupt_max + size.absent_max) // 2", "size.corrupt_max // 2"),
    )
    attack = TwoFaced(Instance.CLOSE, {1, 2}, SIX, {3})
    assert attack.town.run(lambda: attack.accused_before_release is not None, 120.0)
    assert not attack.accused_before_release


def connected(size: CommitteeSize, gone: Collection[int]) -> bool:
    """Whether the members that are left hear of each other."""
    left = set(range(size.size)) - set(gone)
    ways = [*range(1, passed_on_to(size) + 1)]
    reached, ahead = set(), [min(left)]
    while ahead:
        member = ahead.pop()
        if member not in reached:
            reached.add(member)
            for way in (*ways, *(-each for each in ways)):
                neighbour = (member + way) % size.size
                ahead += [neighbour] if neighbour in left else []
    return reached == left


@pytest.mark.parametrize("nodes", [7, 8, 9, 12, 20, 36, 100, 231, 1000, 10_000])
def test_the_ring_holds_together_without_all_that_may_be_corrupt_or_away(nodes: int) -> None:
    size = choose_committee(nodes)
    count = size.corrupt_max + size.absent_max
    generator = np.random.Generator(np.random.PCG64(nodes))
    arcs = [
        {*range(half), *(size.size // 2 + at for at in range(count - half))}
        for half in range(count + 1)
    ]
    some = [set(generator.permutation(size.size)[:count].tolist()) for _ in range(200)]
    assert all(connected(size, gone) for gone in arcs + some)
    halves = {
        *range(passed_on_to(size)),
        *range(size.size // 2, size.size // 2 + passed_on_to(size)),
    }
    assert not connected(size, halves), "two gaps as long as a word travels cut it"


@pytest.mark.full
@pytest.mark.parametrize("instance", Instance)
def test_two_values_are_found_out_whoever_is_shown_what(instance: Instance) -> None:
    for some in SPLITS:
        found_out(instance, some)


def test_if_nobody_passed_on_what_it_is_shown_nobody_would_know(monkeypatch) -> None:
    keep = Proposals._keep

    def silent(proposals: Proposals, proposed: ProposedHash, view: int) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(proposals._services, "send_member", lambda member, message: None)
            keep(proposals, proposed, view)

    monkeypatch.setattr(Proposals, "_keep", silent)
    attack = TwoFaced(Instance.CLOSE, {2, 4, 6})
    attack.excluded()
    assert attack.lies
    assert attack.accusations() == set()


def led(walk: Walk, voters: Collection[int]) -> dict[bytes, ProposedHash]:
    """What the leader of view 0 proposes as closed list, when these have voted."""
    walk.to(Step.CLOSE)
    for member in voters:
        vote = walk.c.close_vote(member, next_dealers=(0, 1, 2))
        message = MemberInput(walk.context, walk.c.member_signed(member, vote))
        walk.hear(member, message, now=99.0)
    walk.member.leader.lead(199.0)
    said = [signed_hash(each) for each in walk.box.of(Proposal) if each.instance is Instance.CLOSE]
    return {each.value_hash: each for each in said}


def words_of_a_leader_killed_in_between() -> dict[bytes, ProposedHash]:
    """It comes back without the votes that it had, and gets others."""
    before = Walk(0)
    said = led(before, range(6))
    kept = {
        effect.key.rsplit("/1-1/", 1)[1]: effect.value
        for effect in before.box.of(Persist)
        if "agreement/" in effect.key
    }
    again = led(Walk(0, restored=kept), range(1, 7))
    assert len(said) == len(again) == 1
    return said | again


def test_honest_leader_that_is_killed_proposes_the_same(monkeypatch) -> None:
    assert len(words_of_a_leader_killed_in_between()) == 1
    weaken(
        monkeypatch,
        agreement,
        ("replace(self._slot, led_view=view, led_hash=hash_, value", "replace(self._slot, value"),
    )
    words = words_of_a_leader_killed_in_between()
    first, second = (words[name] for name in sorted(words))
    check_evidence(evidence(first, second), PLAN, LEADERS[3])  # the durable slot is the defence


def test_unsigned_proposal_is_not_echoed() -> None:
    walk = Walk(2)
    proposal = walk.proposal(Instance.OPEN, walk.open_value)
    forged = replace(proposal, signature=walk.proposal(Instance.OPEN, b"another").signature)
    with pytest.raises(InvalidSignature):
        walk.hear(0, forged)
    assert any(isinstance(said, Vote) for said in walk.hear(0, proposal))


def test_word_of_a_leader_that_another_member_invents() -> None:
    walk = Walk(2).to(Step.CLOSE)
    mine = walk.c.folk.cryptos[walk.c.plan.committee[3]]
    signed = sign_proposal(mine, walk.context, Instance.CLOSE, 0, b"a value")
    with pytest.raises(InvalidSignature):
        walk.hear(3, signed_hash(signed))
    assert walk.box.accused == []


COMMITTEE = Committee()
PLAN = COMMITTEE.plan
LEADERS = [COMMITTEE.folk.cryptos[index] for index in PLAN.committee]


def word(value: bytes, view: int = 0, instance: Instance = Instance.CLOSE, **terms) -> ProposedHash:
    crypto, context = terms.get("crypto", LEADERS[view]), terms.get("context", PLAN.context)
    return signed_hash(sign_proposal(crypto, context, instance, view, value))


def evidence(*words: ProposedHash, culprit: int = PLAN.committee[0]) -> Evidence:
    return Evidence(PLAN.study, PLAN.round_number, PLAN.attempt, culprit, TwoProposals(*words))


FIRST, SECOND = sorted((word(b"one"), word(b"two")), key=lambda each: each.value_hash)


def test_two_words_of_a_leader_convict_it() -> None:
    check_evidence(evidence(FIRST, SECOND), PLAN, LEADERS[3])


@pytest.mark.parametrize(
    "framed",
    [
        pytest.param(evidence(FIRST, FIRST), id="one value twice"),
        pytest.param(evidence(SECOND, FIRST), id="out of order"),
        pytest.param(evidence(FIRST, replace(SECOND, view=7)), id="another view of the leader"),
        pytest.param(evidence(FIRST, word(b"two", instance=Instance.OPEN)), id="two agreements"),
        pytest.param(evidence(FIRST, replace(SECOND, context=bytes(32))), id="two attempts"),
        pytest.param(
            evidence(
                *(replace(each, context=bytes(32)) for each in (FIRST, SECOND)),
            ),
            id="another attempt",
        ),
        pytest.param(evidence(FIRST, replace(SECOND, signature=bytes(64))), id="unsigned"),
        pytest.param(
            evidence(
                *sorted(
                    (word(b"one"), word(b"two", crypto=LEADERS[1])),
                    key=lambda each: each.value_hash,
                )
            ),
            id="signed by another member",
        ),
        pytest.param(evidence(FIRST, SECOND, culprit=PLAN.committee[1]), id="another culprit"),
    ],
)
def test_framing_an_honest_leader(framed: Evidence) -> None:
    with pytest.raises(ProtocolError):
        check_evidence(framed, PLAN, LEADERS[3])
