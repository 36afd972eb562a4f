"""The rules by which a member votes, and what a leader makes of votes."""

import pytest
from tests.support.ballots import (
    CONTEXT,
    KEYS,
    MEMBERS,
    PUBLIC_KEYS,
    QUORUM,
    Ballot,
    certificate,
    proof,
    proposal,
    quorum,
)

from pnyx.errors import InvalidSignature, RuleBroken
from pnyx.primitives import codec
from pnyx.protocol.agreement import _Slot, check_decision, value_hash
from pnyx.protocol.messages import Certificate, Decision, Instance, Phase, Vote

A, B = b"value A", b"value B"


def test_from_proposal_to_decision():
    ballots = [Ballot(member) for member in range(MEMBERS)]
    leader = ballots[0].agreement
    proposed = leader.propose(0, A, None)
    assert leader.propose(0, B, None) is proposed
    assert leader.proposed(0) is proposed
    assert leader.certified(0) is None
    for phase in (Phase.ECHO, Phase.LOCK):
        formed = None
        for ballot in ballots[:QUORUM]:
            if phase is Phase.ECHO:
                vote = ballot.agreement.on_proposal(proposed)
            else:
                vote = ballot.agreement.on_certificate(leader.certified(0), 0)
            assert isinstance(vote, Vote)
            assert vote.phase is phase
            assert formed is None
            formed = leader.on_vote(vote)
        assert formed is not None
        assert leader.certified(0) is formed
    late = ballots[QUORUM].agreement.on_proposal(proposed)
    assert leader.on_vote(late) is None, "a late vote completes nothing twice"
    decision = ballots[1].agreement.on_certificate(formed, 0)
    assert isinstance(decision, Decision)
    assert decision.value == A
    assert ballots[1].agreement.decision == decision
    assert ballots[2].agreement.on_decision(decision)
    assert not ballots[2].agreement.on_decision(decision)
    check_decision(
        decision,
        context=CONTEXT,
        quorum=QUORUM,
        public_keys=PUBLIC_KEYS,
        verify=KEYS[0].verify,
    )


def test_nothing_follows_a_decision():
    ballot = Ballot()
    ballot.echo(A)
    ballot.agreement.on_certificate(certificate(A, Phase.LOCK), 0)
    assert ballot.echo(A) is None
    assert ballot.agreement.on_certificate(certificate(A, Phase.ECHO), 0) is None


def test_one_echo_in_a_view():
    ballot = Ballot()
    first = ballot.echo(A)
    assert ballot.echo(A) == first, "the same echo may be repeated"
    assert len(ballot.stored) == 1
    assert ballot.echo(B) is None
    assert ballot.echo(B, view=1) is not None
    assert ballot.echo(A, view=0) is None, "an earlier view is over"


def test_an_invalid_value_is_never_echoed():
    ballot = Ballot(invalid=[A])
    with pytest.raises(RuleBroken, match="invalid value"):
        ballot.echo(A)
    assert ballot.stored == []
    assert ballot.echo(B) is not None, "the view's echo is not used up"


def test_a_value_is_validated_once():
    ballot = Ballot()
    ballot.echo(A)
    ballot.echo(A, view=1)
    assert ballot.validated == [A]


def test_the_echo_is_durable_before_it_is_given():
    ballot = Ballot()
    vote = ballot.echo(A)
    slot = codec.decode(ballot.stored[-1], _Slot, bytes_max=1000)
    assert (slot.echo_view, slot.echo_hash, slot.value) == (0, vote.value_hash, A)


def test_a_lock_is_left_only_for_a_later_echo_certificate():
    ballot = Ballot()
    ballot.echo(A, view=1)
    assert isinstance(ballot.agreement.on_certificate(certificate(A, Phase.ECHO, 1), 1), Vote)
    assert ballot.echo(B, view=2) is None, "no proof"
    assert ballot.echo(B, view=2, proof=proof(B, 0)) is None, "a proof older than the lock"
    assert ballot.echo(B, view=2, proof=proof(B, 1)) is None, "a proof of the lock's own view"
    assert ballot.echo(A, view=2) is not None, "the locked value needs no proof"
    assert ballot.echo(B, view=4, proof=proof(B, 3)) is not None
    assert ballot.agreement.highest.value_hash == value_hash(A), "an echo does not move the lock"
    slot = codec.decode(ballot.stored[-1], _Slot, bytes_max=10_000)
    assert slot.value == A, "the locked value must survive a restart"


def test_a_lock_moves_to_a_later_view():
    ballot = Ballot()
    ballot.echo(A, view=0)
    ballot.agreement.on_certificate(certificate(A, Phase.ECHO, 0), 0)
    stored = len(ballot.stored)
    assert ballot.agreement.on_certificate(certificate(A, Phase.ECHO, 0), 0) is not None
    assert len(ballot.stored) == stored, "the same lock is stored once"
    ballot.echo(A, view=1)
    ballot.agreement.on_certificate(certificate(A, Phase.ECHO, 1), 1)
    assert ballot.agreement.highest.view == 1


def test_an_echo_proof_of_another_value():
    with pytest.raises(RuleBroken, match="another value"):
        Ballot().echo(A, view=1, proof=proof(B, 0))


@pytest.mark.parametrize(
    ("shown", "error"),
    [
        pytest.param(proof(A, 0, signers=range(QUORUM - 1)), InvalidSignature, id="too few"),
        pytest.param(proof(A, 0, instance=Instance.OPEN), InvalidSignature, id="other instance"),
        pytest.param(proof(A, 0, context=b"x" * 32), InvalidSignature, id="other context"),
    ],
)
def test_an_echo_proof_that_proves_nothing(shown, error):
    ballot = Ballot()
    with pytest.raises(error):
        ballot.echo(A, view=1, proof=shown)
    with pytest.raises(error):
        ballot.agreement.check_highest(shown)


def test_a_shown_value_is_held():
    ballot = Ballot()
    ballot.agreement.show(A)
    assert ballot.agreement.value_of(value_hash(A)) == A
    assert ballot.agreement.highest is None, "to hold a value is not to be locked on it"


def test_a_true_echo_proof_passes():
    Ballot().agreement.check_highest(proof(A, 3))


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize(
    "forged",
    [
        {"signers": range(QUORUM - 1)},
        {"instance": Instance.ACCEPT},
        {"context": b"x" * 32},
    ],
)
def test_a_certificate_of_another_agreement(phase, forged):
    ballot = Ballot()
    ballot.echo(A)
    with pytest.raises(InvalidSignature):
        ballot.agreement.on_certificate(certificate(A, phase, **forged), 0)


def test_a_certificate_of_another_phase():
    ballot = Ballot()
    ballot.echo(A)
    echoes = quorum(A, Phase.ECHO)
    with pytest.raises(InvalidSignature):
        ballot.agreement.on_certificate(
            Certificate(CONTEXT, Instance.CLOSE, Phase.LOCK, 0, value_hash(A), echoes), 0
        )


def test_a_certificate_is_no_use_without_its_value_or_its_view():
    ballot = Ballot()
    assert ballot.agreement.on_certificate(certificate(A, Phase.ECHO), 0) is None
    assert ballot.agreement.on_certificate(certificate(A, Phase.LOCK), 0) is None
    ballot.echo(A)
    assert ballot.agreement.on_certificate(certificate(A, Phase.ECHO, 0), 1) is None
    assert ballot.agreement.highest is None


def test_a_vote_for_what_was_not_proposed():
    leader = Ballot(0).agreement
    vote = Ballot(1).echo(A)
    with pytest.raises(RuleBroken, match="was not proposed"):
        leader.on_vote(vote)
    leader.propose(0, B, None)
    with pytest.raises(RuleBroken, match="was not proposed"):
        leader.on_vote(vote)


def test_a_vote_in_another_name():
    leader = Ballot(0).agreement
    leader.propose(0, A, None)
    vote = Ballot(1).echo(A)
    for member in (2, MEMBERS):
        stolen = Vote(
            CONTEXT, Instance.CLOSE, Phase.ECHO, 0, member, vote.value_hash, vote.signature
        )
        with pytest.raises(InvalidSignature):
            leader.on_vote(stolen)


def test_one_member_is_no_quorum():
    leader = Ballot(0).agreement
    proposed = leader.propose(0, A, None)
    vote = Ballot(1).agreement.on_proposal(proposed)
    assert [leader.on_vote(vote) for _ in range(QUORUM)] == [None] * QUORUM


def test_a_decision_without_its_quorum():
    ballot = Ballot()
    forged = Decision(CONTEXT, Instance.CLOSE, 0, A, quorum(A, Phase.ECHO))
    with pytest.raises(InvalidSignature):
        ballot.agreement.on_decision(forged)
    with pytest.raises(InvalidSignature):
        check_decision(
            forged,
            context=CONTEXT,
            quorum=QUORUM,
            public_keys=PUBLIC_KEYS,
            verify=KEYS[0].verify,
        )
    assert ballot.agreement.decision is None


def test_a_restart_keeps_echo_and_lock():
    ballot = Ballot()
    ballot.echo(A, view=1)
    again = ballot.restarted()
    assert again.echo(B, view=1) is None
    assert again.echo(A, view=1) is not None
    ballot.agreement.on_certificate(certificate(A, Phase.ECHO, 1), 1)
    again = ballot.restarted()
    assert again.agreement.highest == proof(A, 1)
    assert again.agreement.value_of(value_hash(A)) == A
    assert again.echo(B, view=2) is None


def test_a_restart_does_not_lock_in_a_view_that_is_over():
    """It locked A in view 3, echoed last in view 1, and after a restart its views start at 0."""
    ballot = Ballot()
    ballot.echo(A, view=1)
    ballot.agreement.on_certificate(certificate(A, Phase.ECHO, 3), 3)
    again = ballot.restarted()
    again.echo(B, view=2, proof=proof(B, 4))
    assert again.agreement.on_certificate(certificate(B, Phase.ECHO, 2), 2) is None


def test_a_lock_without_its_value_is_not_reported():
    lock = proof(A, 0)
    stored = codec.encode(_Slot(0, value_hash(A), lock, None, 0, -1, b""))
    assert Ballot(restored=stored).agreement.highest is None


def test_a_proposal_names_the_round():
    assert Ballot(2).agreement.propose(2, A, None) == proposal(A, 2)


def test_a_leader_signs_one_value_in_a_view_restarts_included():
    leader = Ballot()
    said = leader.agreement.propose(0, A, None)
    assert leader.agreement.propose(0, B, None) == said
    leader = leader.restarted()
    assert leader.agreement.led_before(0)
    assert leader.agreement.led_value(0) == A
    assert leader.agreement.propose(0, B, None) is None
    assert leader.agreement.propose(0, A, None) == said
    assert not leader.agreement.led_before(0)
    assert leader.agreement.propose(7, B, None) is not None
    leader = leader.restarted()
    assert leader.agreement.led_before(0)
    assert leader.agreement.led_value(0) is None
    assert leader.agreement.propose(0, A, None) is None, "what it said in that view is forgotten"
    assert leader.agreement.led_value(7) == B


def test_what_a_leader_proposed_takes_no_place_of_what_it_echoed_in_a_later_view():
    """Views count from 0 again after a restart; others may ask for the value that it echoed."""
    member = Ballot()
    member.echo(A, 8)
    member = member.restarted()
    assert member.agreement.propose(0, B, None) is not None
    member = member.restarted()
    assert member.agreement.value_of(value_hash(A)) == A
    assert member.agreement.led_before(0)
    assert member.agreement.led_value(0) is None
    assert member.agreement.propose(0, B, None) is not None, "it may say it again"


def test_what_a_leader_proposed_takes_no_place_of_its_lock():
    leader = Ballot()
    leader.echo(A)
    leader.agreement.on_certificate(certificate(A, Phase.ECHO), 0)
    leader.agreement.propose(7, B, None)
    leader = leader.restarted()
    assert leader.agreement.highest == proof(A, 0)
    assert leader.agreement.led_value(7) is None
