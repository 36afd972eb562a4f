"""What follows when members give up: their word, the abort, stand-ins, the skip."""

from copy import copy

import pytest
from tests.support.aborts import abort_of, abort_value, decided, signed
from tests.support.committee import Committee
from tests.support.masked_round import masked_committee
from tests.support.records import certify
from tests.support.town import ideal, manifest, people
from tests.unit.protocol.round.test_committee import StudyStub, Walk

from pnyx.errors import ProtocolError, RuleBroken
from pnyx.primitives import codec
from pnyx.protocol import beacon
from pnyx.protocol.agreement import value_hash
from pnyx.protocol.events import Forget, Persist
from pnyx.protocol.messages import (
    CloseNow,
    CloseVote,
    EchoProof,
    GiveUp,
    Instance,
    MemberInput,
    Phase,
    Proposal,
    Pull,
    Record,
    RecordBody,
    RecordVote,
    RoundKey,
    ShownValue,
    Step,
    ValueRequest,
    ViewChange,
    Vote,
)
from pnyx.protocol.params import DEFAULT_PARAMS
from pnyx.protocol.round.attempts import abort_hash, hopes_for_others, second_attempt
from pnyx.protocol.round.values import is_abort
from pnyx.protocol.selection import stand_ins
from pnyx.protocol.study import epoch_chain_id, genesis_plan, joining_plan, verify_record

PATIENCE = DEFAULT_PARAMS.attempt_timeout_s
LATE = 2 * PATIENCE
C = Committee()
CRYPTO = C.folk.cryptos[0]


def wait(walk: Walk, now: float = LATE) -> list:
    """Let a member's time run out; returns what it sends."""
    before = len(walk.box.sent)
    walk.member.tick(now)
    return [m for _, m in walk.box.sent[before:]]


def words(walk: Walk, members) -> list[MemberInput]:
    plan = walk.c.plan
    return [
        MemberInput(plan.context, signed(walk.c.folk, plan, m, GiveUp(plan.context, m, ())))
        for m in members
    ]


def abort_decision(walk: Walk):
    value = abort_value(walk.c.folk, walk.c.plan, range(walk.c.size.quorum))
    return decided(walk.c.folk, walk.c.plan, Instance.ACCEPT, value)


@pytest.mark.parametrize("step", [Step.CLOSE, Step.CHALLENGE, Step.ACCEPT])
def test_a_member_gives_up_after_waiting_in_vain(step):
    walk = Walk().to(step)
    begins = walk.member.inputs.close_deadline() if step is Step.CLOSE else 1.0
    assert not [m for m in wait(walk, begins + PATIENCE - 1) if isinstance(m, GiveUp)]
    assert walk.own_inputs(GiveUp) == []
    wait(walk, begins + PATIENCE)
    assert walk.own_inputs(GiveUp)[0] == GiveUp(walk.context, 1, ())
    assert walk.member.stopped


@pytest.mark.parametrize("step", [Step.OPEN, Step.RELEASE, Step.CERTIFY])
def test_no_member_gives_up_before_keys_or_after_the_set(step):
    walk = Walk().to(step)
    wait(walk)
    assert walk.own_inputs(GiveUp) == []


def test_round_0_is_given_up_and_the_genesis_is_not():
    walk = Walk()
    services = Committee(joining=True).services(1)[0]
    walk.member.patience._services = services
    assert walk.member.patience.deadline(Step.CLOSE, 0.0) == DEFAULT_PARAMS.attempt_timeout_s
    services.plan = genesis_plan(C.folk.census)
    assert walk.member.patience.deadline(Step.CLOSE, 0.0) is None


def test_a_word_survives_a_restart_and_replaces_every_input():
    first = Walk().to(Step.CLOSE)
    wait(first)
    (stored,) = [e for e in first.box.of(Persist) if e.key.endswith("/give-up")]
    again = Walk(restored={"give-up": stored.value}).to(Step.ACCEPT)
    assert again.member.patience.gave_up
    kinds = {type(body) for body in map(again.member.reader.member_body, sent_by(again))}
    assert kinds == {RoundKey, GiveUp}


def sent_by(walk: Walk):
    return [message.signed for message in walk.box.of(MemberInput)]


def test_a_member_that_gave_up_resends_its_word_and_no_close_vote():
    walk = Walk().to(Step.CLOSE)
    wait(walk)
    before = len(walk.own_inputs(CloseVote))
    wait(walk, LATE + 10 * DEFAULT_PARAMS.retransmit_s)
    assert len(walk.own_inputs(GiveUp)) > 1
    assert len(walk.own_inputs(CloseVote)) == before


def test_an_abort_erases_the_attempt_and_is_handed_over():
    walk = Walk().to(Step.CHALLENGE)
    decision = abort_decision(walk)
    walk.hear(0, decision)
    (certificate,) = walk.aborts
    assert certificate.aborted == decision
    assert certificate.opened == walk.member.agreements[Instance.OPEN].decision
    assert Forget(f"{walk.c.plan.secret_scope}/") in walk.box.of(Forget)
    assert walk.member.step is Step.DONE
    assert walk.member.next_deadline() is None
    assert wait(walk) == []
    assert walk.hear(0, Pull(walk.context, Step.OPEN)) == []


def test_an_abort_means_nothing_to_a_member_without_the_list_of_keys():
    walk = Walk()
    walk.hear(0, abort_decision(walk))
    assert walk.member.step is Step.OPEN


def test_an_abort_is_followed_by_certificates_alone():
    walk = Walk().to(Step.CLOSE)
    value = abort_value(walk.c.folk, walk.c.plan, range(walk.c.size.quorum))
    *_, echo = walk.hear(0, walk.proposal(Instance.ACCEPT, value))
    assert isinstance(echo, Vote)
    (lock,) = walk.hear(0, walk.certificate(Instance.ACCEPT, Phase.ECHO, value))
    assert lock.phase is Phase.LOCK
    wait(walk, 50.0)  # its leader is silent: it tells the others what it is locked on
    reports = [m for m in walk.box.of(ViewChange) if m.proof is not None]
    assert reports
    assert reports[0].instance is Instance.ACCEPT
    assert reports[0].proof.value_hash == value_hash(value)
    walk.hear(0, walk.certificate(Instance.ACCEPT, Phase.LOCK, value))
    assert walk.aborts


def test_a_leader_calls_on_others_and_proposes_the_abort():
    walk = Walk(0).to(Step.CLOSE)
    size = walk.c.size
    wait(walk, 50.0)  # for the close votes' sake; nobody has given up
    assert walk.box.of(Proposal) == []
    for member, message in enumerate(words(walk, range(1, size.corrupt_max + 2)), 1):
        walk.hear(member, message, 51.0)
    (call,) = set(walk.box.of(CloseNow))
    assert len(call.votes) == size.corrupt_max + 1
    for member, message in enumerate(words(walk, range(size.quorum))):
        walk.hear(member, message, 51.0)
    assert walk.box.of(Proposal) == []  # the grace for others is not over
    assert walk.member.next_deadline() <= 51.0 + DEFAULT_PARAMS.grace_s
    wait(walk, 51.0 + DEFAULT_PARAMS.grace_s)
    (proposal,) = set(walk.box.of(Proposal))
    assert proposal.instance is Instance.ACCEPT
    assert walk.member.reader.abort_value(proposal.value) == frozenset(range(size.quorum))


def test_a_leader_that_cannot_judge_what_is_locked_learns_first():
    """It re-proposes an accepted set only once it knows list and challenge."""
    ahead = Walk(1).to(Step.ACCEPT)
    value = ahead.accept_value()
    walk = Walk(0).to(Step.CLOSE)
    signatures = walk.signatures(Instance.ACCEPT, Phase.ECHO, value)
    proof = EchoProof(0, value_hash(value), signatures)
    change = ViewChange(walk.context, 0, Step.ACCEPT, Instance.ACCEPT, proof)
    asked = range(1, walk.c.size.corrupt_max + 2)  # f + 1 others of those who echoed it
    walk.hear(2, change)
    (request,) = set(walk.box.of(ValueRequest))
    assert request.value_hash == value_hash(value)
    assert {to for to, m in walk.box.sent if isinstance(m, ValueRequest)} == {
        walk.c.plan.committee[member] for member in asked
    }
    walk.hear(1, ShownValue(walk.context, Instance.ACCEPT, value))
    assert walk.box.of(Proposal) == []


def test_a_leader_asks_for_the_value_of_an_echo_certificate_until_it_comes():
    walk = Walk(0).to(Step.CLOSE)
    value = walk.close_value()
    proof = EchoProof(0, value_hash(value), walk.signatures(Instance.CLOSE, Phase.ECHO, value))
    walk.hear(2, ViewChange(walk.context, 0, Step.CLOSE, Instance.CLOSE, proof))
    asked = len(walk.box.of(ValueRequest))
    assert asked == walk.c.size.corrupt_max + 1
    wait(walk, 1.0 + DEFAULT_PARAMS.retransmit_s / 2)
    assert len(walk.box.of(ValueRequest)) == asked, "not at once again"
    wait(walk, 1.0 + DEFAULT_PARAMS.retransmit_s)
    assert len(walk.box.of(ValueRequest)) == 2 * asked
    with pytest.raises(RuleBroken, match="not asked for"):
        walk.hear(1, ShownValue(walk.context, Instance.CLOSE, b"another value"))
    walk.hear(1, ShownValue(walk.context, Instance.CLOSE, value), now=5.0)
    (proposal,) = set(walk.box.of(Proposal))
    assert (proposal.value, proposal.proof) == (value, proof)
    shown = ShownValue(walk.context, Instance.CLOSE, value)
    assert walk.hear(2, shown, now=5.0) == [], "asked as well: it comes late, and is due"
    for member in (0, 1, 2, 2 * asked + 1):  # who has answered, and who was not asked
        with pytest.raises(RuleBroken, match="not asked for"):
            walk.hear(member, shown, now=5.0)


def test_a_value_is_shown_to_one_member_a_few_times():
    walk = Walk(1).to(Step.CLOSE)
    value = walk.close_value()
    request = ValueRequest(walk.context, Instance.CLOSE, value_hash(value))
    assert walk.hear(2, request) == [], "this member has not seen it"
    walk.hear(0, walk.proposal(Instance.CLOSE, value))
    shown = [walk.hear(2, request) for _ in range(10)]
    assert shown[0] == [ShownValue(walk.context, Instance.CLOSE, value)]
    assert [len(each) for each in shown] == [1] * 8 + [0] * 2
    assert len(walk.hear(3, request)) == 1


def test_nothing_is_remembered_of_values_that_are_asked_for_and_not_here():
    walk = Walk(1).to(Step.CLOSE)
    for number in range(100):
        walk.hear(2, ValueRequest(walk.context, Instance.CLOSE, number.to_bytes(32, "big")))
    assert len(walk.member._shown) == 0


def second() -> Committee:
    """The second attempt of the same round."""
    again = Committee()
    again.plan = second_attempt(C.plan, abort_of(C.folk, C.plan), CRYPTO)
    again.reader = type(C.reader)(again.plan, again.folk.cryptos[0])
    return again


def test_a_second_abort_is_a_skip(monkeypatch):
    monkeypatch.setattr("tests.unit.protocol.round.test_committee.Committee", lambda **_: second())
    walk = Walk()
    walk.hear(0, walk.decision(Instance.OPEN, walk.open_value))
    walk.hear(0, abort_decision(walk))
    assert walk.aborts == []
    body = codec.decode(walk.member.body, RecordBody, bytes_max=10**6)
    assert (body.attempt, body.skipped, body.accepted, body.metrics) == (2, True, (), ())
    plan = C.plan
    assert body.next_beacon == beacon.skipped(plan.study, plan.round_number, plan.beacon)
    assert [vote.body_hash for vote in walk.box.of(RecordVote)]
    decision = walk.member.agreements[Instance.ACCEPT].decision
    assert decision in walk.hear(3, Pull(walk.context, Step.CLOSE))


def test_a_skip_excludes_whom_those_that_gave_up_name(monkeypatch):
    """Or culprits of a round that they force to skip would be drawn again in the next."""
    monkeypatch.setattr("tests.unit.protocol.round.test_committee.Committee", lambda **_: second())
    walk = Walk(study=StudyStub(culprits=(8,)))
    walk.hear(0, walk.decision(Instance.OPEN, walk.open_value))
    wait(walk)
    assert walk.own_inputs(GiveUp)[0].culprits == (8,)
    plan, folk = walk.c.plan, walk.c.folk
    named = dict.fromkeys(range(walk.c.size.corrupt_max + 1), (8,))
    value = abort_value(folk, plan, range(walk.c.size.quorum), named)
    walk.hear(0, decided(folk, plan, Instance.ACCEPT, value))
    body = codec.decode(walk.member.body, RecordBody, bytes_max=10**6)
    assert (body.skipped, body.excluded) == (True, (8,))
    record = Record(walk.member.body, plan.joins, certify(folk, plan, walk.member.body), plan.abort)
    assert verify_record(plan, record, CRYPTO).excluded == (8,)


def test_a_member_signs_one_record_of_an_attempt():
    walk = Walk(restored={"record": b"another".ljust(32)}).to(Step.CERTIFY)
    assert walk.box.of(RecordVote) == []
    honest = Walk().to(Step.CERTIFY)
    assert honest.box.of(RecordVote)
    assert [e for e in honest.box.of(Persist) if e.key.endswith("/record")]


def test_stand_ins_replace_members_that_were_away_all_along():
    quorum = C.size.quorum
    for listed, left, absent in (
        (range(quorum), range(quorum), [6]),
        (range(1, 7), range(1, 7), [0]),
        (range(quorum), range(1, 7), []),
    ):
        plan = second_attempt(C.plan, abort_of(C.folk, C.plan, listed, left), CRYPTO)
        pairs = enumerate(zip(plan.committee, C.plan.committee, strict=True))
        assert [m for m, (new, old) in pairs if new != old] == absent
        assert len(set(plan.committee)) == C.size.size


def test_without_spare_people_the_committee_stays():
    small = Committee(count=7, folk=people(7, C.size, ideal), contributors=range(2, 7))
    plan = second_attempt(small.plan, abort_of(small.folk, small.plan), small.folk.cryptos[0])
    assert plan.committee == small.plan.committee
    assert plan.context != small.plan.context


def test_the_context_of_a_second_attempt_names_the_abort():
    one = abort_of(C.folk, C.plan)
    other = abort_of(C.folk, C.plan, left=range(1, 7))
    contexts = {second_attempt(C.plan, each, CRYPTO).context for each in (one, other)}
    assert len({*contexts, C.plan.context}) == 3
    assert abort_hash(one) != abort_hash(other)


@pytest.mark.parametrize(
    "changes",
    [
        {"study": b"x" * 32},
        {"round_number": 9},
        {"opened": decided(C.folk, C.plan, Instance.OPEN, b"no list")},
        {"aborted": decided(C.folk, C.plan, Instance.ACCEPT, b"a set")},
        {"aborted": abort_of(C.folk, C.plan).opened},
        {"aborted": abort_of(C.folk, Committee(round_number=2).plan).aborted},
    ],
)
def test_a_certificate_of_something_else_opens_nothing(changes):
    with pytest.raises(ProtocolError):
        second_attempt(C.plan, abort_of(C.folk, C.plan, **changes), CRYPTO)


def round_0():
    return joining_plan(C.folk.census, b"s" * 32, manifest(5), b"e" * 32)


def test_round_0_is_aborted_by_the_agreement_on_its_list():
    """The epoch's draw gives the stand-ins, as it gave the committee."""
    plan, quorum = round_0(), C.size.quorum
    second = second_attempt(plan, abort_of(C.folk, plan), CRYPTO)
    chain, absent = epoch_chain_id(C.folk.census.network), C.size.size - quorum
    drawn = stand_ins(
        b"e" * 32, chain, 0, "committee", 0, absent, 9, exclude=frozenset(plan.committee)
    )
    assert second.committee == (*plan.committee[:quorum], *drawn)
    assert (second.join_window_s, second.previous_record) == (plan.join_window_s, b"s" * 32)
    wrong = decided(C.folk, plan, Instance.ACCEPT, abort_of(C.folk, plan).aborted.value)
    with pytest.raises(RuleBroken):
        second_attempt(plan, abort_of(C.folk, plan, aborted=wrong), CRYPTO)


def test_the_genesis_and_a_second_attempt_of_round_0_end_by_themselves():
    again = second_attempt(round_0(), abort_of(C.folk, round_0()), CRYPTO)
    for plan in (genesis_plan(C.folk.census), again):
        assert not plan.abortable
        with pytest.raises(RuleBroken):
            second_attempt(plan, abort_of(C.folk, plan), CRYPTO)


def test_what_is_no_abort():
    assert not is_abort(b"")
    assert not is_abort(C.open_value())
    assert is_abort(abort_value(C.folk, C.plan, ()))


# --- lists below the floor in masked rounds -------------------------------------------------------

MASKED = masked_committee()
DUE = MASKED.plan.phase.deadline_s + DEFAULT_PARAMS.dealing_deadline_s


def at_close(plan=None, **terms) -> Walk:
    """A member of a masked round, in CLOSE, that got no contribution."""
    committee = copy(MASKED)
    if plan is not None:
        committee.plan = plan
    return Walk(committee=committee, **terms).to(Step.CLOSE)


def changed(**values):
    plan = copy(MASKED.plan)
    for name, value in values.items():
        setattr(plan, name, value)
    return plan


def test_a_masked_list_below_the_floor_is_given_up_when_it_is_due():
    walk = at_close()
    wait(walk, MASKED.plan.phase.deadline_s - 1)
    assert walk.own_inputs(GiveUp) == []
    (word,) = [m for m in wait(walk, DUE) if isinstance(m, MemberInput)]
    assert isinstance(walk.member.reader.member_body(word.signed), GiveUp)
    assert walk.member.stopped
    assert walk.member.patience.gave_up
    assert {each.key.rsplit("/", 1)[1] for each in walk.box.of(Persist)} >= {"stopped", "give-up"}


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(changed(attempt=2), id="a second attempt"),
        pytest.param(changed(aggregators=tuple(range(10))), id="no other aggregators"),
        pytest.param(changed(cohort_min=0), id="nothing below the floor"),
    ],
)
def test_elsewhere_a_list_is_closed_as_it_is(plan):
    walk = at_close(plan)
    walk.member.holdings.receipted = {2: bytes(32)} if plan.cohort_min == 0 else {}
    wait(walk, DUE)
    assert walk.own_inputs(GiveUp) == []
    assert not walk.member.patience.gave_up


def test_a_direct_round_below_the_floor_is_closed():
    assert not hopes_for_others(Committee().plan)
    walk = Walk().to(Step.CLOSE)
    wait(walk, walk.c.plan.phase.deadline_s + DEFAULT_PARAMS.dealing_deadline_s)
    assert walk.own_inputs(GiveUp) == []


def test_who_is_shown_that_others_closed_gives_nothing_up():
    walk = at_close()
    votes = tuple(walk.c.member_signed(m, walk.c.close_vote(m)) for m in (0, 3))
    walk.hear(0, CloseNow(walk.context, votes))
    wait(walk, DUE)
    assert walk.own_inputs(GiveUp) == []


def test_who_had_stopped_before_a_restart_gives_nothing_up():
    walk = at_close(restored={"stopped": b"1"})
    wait(walk, DUE)
    assert walk.own_inputs(GiveUp) == []
