"""A3: two values of one agreement are never both certified, whatever 2q - k - 1 members do.

The coalition leads every view, has a vote in every certificate, proposes what it likes to whom it
likes and shows certificates when it likes; honest members change views, die and come back with
their durable slot. One corrupt member more, a slot that is forgotten or a lock that is left, and
two values are certified. `test_two_sets_certified` has the schedules that do it.
"""

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.support.ballots import CONTEXT, MEMBERS, QUORUM, Ballot, echo_again, quorum

from pnyx.protocol.agreement import Agreement, value_hash
from pnyx.protocol.messages import Certificate, Decision, EchoProof, Instance, Vote
from pnyx.protocol.messages import Phase as VotePhase

VALUES = (b"the set", b"the set without its victim")
VIEWS = 3
BOUND = 2 * QUORUM - MEMBERS
Named = tuple[VotePhase, int, bytes]  # phase, view and value of a certificate
some = st.sets(st.integers(0, MEMBERS - BOUND), min_size=1)  # of the honest members
values = st.sampled_from(VALUES)
views = st.integers(0, VIEWS - 1)


class Coalition(RuleBasedStateMachine):
    """The last `corrupt` members against the others."""

    corrupt = BOUND - 1
    forgetful = False

    def __init__(self) -> None:
        super().__init__()
        self.ballots = {member: Ballot(member) for member in range(MEMBERS - self.corrupt)}
        self.views = dict.fromkeys(self.ballots, 0)
        self.votes: dict[Named, set[int]] = {}  # of honest members, as they were cast
        self.decided: dict[bytes, set[int]] = {}  # value -> honest members that took it

    def certificate(self, phase: VotePhase, view: int, value: bytes) -> Certificate | None:
        """What the votes cast, and the coalition's, come to."""
        signers = sorted(
            self.votes.get((phase, view, value), set()) | set(range(len(self.ballots), MEMBERS))
        )
        if len(signers) < QUORUM:
            return None
        signed = quorum(value, phase, view, signers=signers)
        return Certificate(CONTEXT, Instance.CLOSE, phase, view, value_hash(value), signed)

    def cast(self, vote: object, value: bytes) -> None:
        if isinstance(vote, Vote):
            self.votes.setdefault((vote.phase, vote.view, value), set()).add(vote.member)

    def propose_to(self, member: int, value: bytes, shown: int | None) -> None:
        """In the member's view; with a proof of an earlier one, where there is any."""
        echoed = None if shown is None else self.certificate(VotePhase.ECHO, shown, value)
        proof = None
        if echoed is not None:
            proof = EchoProof(echoed.view, echoed.value_hash, echoed.certificate)
        self.cast(self.ballots[member].echo(value, self.views[member], proof), value)

    def show_to(self, member: int, phase: VotePhase, view: int, value: bytes) -> None:
        certificate = self.certificate(phase, view, value)
        if certificate is None:
            return
        answer = self.ballots[member].agreement.on_certificate(certificate, self.views[member])
        if isinstance(answer, Decision):
            self.decided.setdefault(answer.value, set()).add(member)
        self.cast(answer, value)

    def among(self, members: set[int]) -> list[int]:
        return sorted(members & self.ballots.keys())

    @rule(members=some, value=values, shown=st.none() | views)
    def propose(self, members: set[int], value: bytes, shown: int | None) -> None:
        for member in self.among(members):
            self.propose_to(member, value, shown)

    @rule(members=some, phase=st.sampled_from(VotePhase), view=views, value=values)
    def show(self, members: set[int], phase: VotePhase, view: int, value: bytes) -> None:
        for member in self.among(members):
            self.show_to(member, phase, view, value)

    @rule(members=some, view=views, value=values, shown=st.none() | views)
    def lead(self, members: set[int], view: int, value: bytes, shown: int | None) -> None:
        """A whole view of the coalition's, for some."""
        self.change_view(members, view)
        self.propose(members, value, shown)
        self.show(members, VotePhase.ECHO, view, value)

    @rule(members=some, view=views)
    def show_both(self, members: set[int], view: int) -> None:
        """Both values in one view, before either has a certificate."""
        self.change_view(members, view)
        for value in VALUES:
            self.propose(members, value, None)
        for value in VALUES:
            self.show(members, VotePhase.ECHO, view, value)

    @rule(members=some, view=views)
    def change_view(self, members: set[int], view: int) -> None:
        for member in self.among(members):
            self.views[member] = max(view, self.views[member])

    @rule(members=some)
    def restart(self, members: set[int]) -> None:
        """Views count from 0 again."""
        for member in self.among(members):
            before = self.ballots[member]
            self.ballots[member] = Ballot(member) if self.forgetful else before.restarted(member)
            self.views[member] = 0

    @precondition(lambda machine: machine.votes)
    @invariant()
    def one_value_is_certified(self) -> None:
        locked = {
            value
            for phase, view, value in self.votes
            if phase is VotePhase.LOCK and self.certificate(phase, view, value) is not None
        }
        assert len(locked | self.decided.keys()) <= 1, "two values are certified"


class TooMany(Coalition):
    corrupt = BOUND


class OneTraitor(Coalition):
    corrupt = 1


class Forgetful(Coalition):
    forgetful = True


BRIEF = settings(stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck))
SOUGHT = settings(BRIEF, max_examples=200, derandomize=True, phases=[Phase.generate], database=None)


@pytest.mark.parametrize("machine", [Coalition, OneTraitor])
@pytest.mark.parametrize("examples", [40, pytest.param(20_000, marks=pytest.mark.full)])
def test_two_values_are_never_both_certified(machine: type[Coalition], examples: int) -> None:
    run_state_machine_as_test(machine, settings=settings(BRIEF, max_examples=examples))


@pytest.mark.parametrize("machine", [TooMany, Forgetful])
def test_the_bound_and_the_durable_slot_are_the_defence(machine: type[Coalition]) -> None:
    with pytest.raises(AssertionError, match="two values"):
        run_state_machine_as_test(machine, settings=SOUGHT)


def test_the_lock_is_the_defence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Agreement, "_may_leave_lock", lambda agreement, hash_, proof: True)
    with pytest.raises(AssertionError, match="two values"):
        run_state_machine_as_test(Coalition, settings=SOUGHT)


def test_one_echo_in_a_view_is_the_defence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Agreement, "on_proposal", echo_again)
    with pytest.raises(AssertionError, match="two values"):
        run_state_machine_as_test(Coalition, settings=SOUGHT)
