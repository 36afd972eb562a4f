"""The checkers see what they are there for: each is shown to fail when a defence is removed."""

import pytest
from tests.support.weakened import weaken

from pnyx.protocol import study_keeper
from pnyx.protocol.aggregation.direct import Judgement
from pnyx.protocol.aggregation.verification import sum_share
from pnyx.protocol.events import DebitRecorded, Effect, Persist, RecordDebit
from pnyx.protocol.joins import Joins
from pnyx.protocol.messages import Instance
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round import inputs
from pnyx.protocol.round.active import ActiveRound
from pnyx.protocol.round.committee import CommitteeMember
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.round_keeper import RoundKeeper
from pnyx.simulator import Crash, InvariantError, Owner, Partition, Scenario, run
from pnyx.simulator.population import SimulatedNode

SMALL = Scenario(seed=5, nodes=8, limit_s=60.0)


def test_sum_that_counts_somebody_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def first_twice(shares, bounds, size):
        return sum_share([shares[0], *shares], bounds, size)

    monkeypatch.setattr(inputs, "sum_share", first_twice)
    with pytest.raises(InvariantError, match="sums to"):
        run(SMALL)


def test_bytes_that_leave_before_the_debit(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_ledger(node: SimulatedNode, effect: RecordDebit) -> None:
        node.handle(DebitRecorded(effect.context))

    monkeypatch.setattr(SimulatedNode, "_debit", no_ledger)
    with pytest.raises(InvariantError, match="before its debit"):
        run(SMALL)


def test_bytes_that_leave_after_withdrawal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RoundKeeper, "withhold", lambda keeper, plan: None)
    monkeypatch.setattr(Joins, "willing", lambda joins, study: True)
    monkeypatch.setattr(
        SimulatedNode,
        "_debit",
        lambda node, effect: (
            node.ledger.add(effect.context),
            node.handle(DebitRecorded(effect.context)),
        ),
    )
    with pytest.raises(InvariantError, match="without consent"):
        run(
            Scenario(
                seed=5,
                nodes=8,
                owners=tuple((node, Owner(withdraws_s=4.1)) for node in range(4)),
            )
        )


def test_counted_contribution_that_the_owner_is_not_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = "holds_contribution(plan, accepted, self._rounds.place_in(plan.census))"
    weaken(monkeypatch, study_keeper, (counts, "False"))
    with pytest.raises(InvariantError, match="hides that round 1 counts"):
        run(SMALL)


def test_disk_that_forgets_what_was_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    carry_out = SimulatedNode._carry_out

    def forgetful(node: SimulatedNode, effect: Effect) -> None:
        if not (isinstance(effect, Persist) and effect.key.startswith(("round/", "secret/"))):
            carry_out(node, effect)

    monkeypatch.setattr(SimulatedNode, "_carry_out", forgetful)
    crashes = tuple(Crash(node=3, at_s=at_s, away_s=0.1) for at_s in (1.5, 4.4, 4.6, 4.8))

    def caught(seed: int) -> bool:
        try:
            run(Scenario(seed=seed, nodes=8, crashes=crashes))
        except InvariantError as error:
            return "signed two values" in str(error)
        return False

    assert any(caught(seed) for seed in range(20)), "no crash met a moment that matters"


def test_secrets_that_are_not_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    close = RoundKeeper.close

    def keep(keeper: RoundKeeper, plan: RoundPlan) -> ActiveRound | None:
        effects = keeper._host._effects
        before = len(effects)
        active = close(keeper, plan)
        del effects[before:]
        return active

    monkeypatch.setattr(RoundKeeper, "close", keep)
    with pytest.raises(InvariantError, match="still holds"):
        run(SMALL)


def test_release_before_the_lock_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    decided = CommitteeMember.decided

    def another(member: CommitteeMember, instance: Instance) -> bytes:
        value = decided(member, instance)
        return bytes(31) + b"x" if instance is Instance.ACCEPT and any(value) else value

    monkeypatch.setattr(CommitteeMember, "decided", another)
    with pytest.raises(InvariantError, match="without a lock certificate"):
        run(SMALL)


def test_round_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs.Inputs, "_record_vote", lambda given, now: None)
    with pytest.raises(InvariantError, match="has not ended"):
        run(SMALL)


def test_release_in_an_aborted_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members that take an abort for an accepted set go on to release."""

    def careless(member: CommitteeMember) -> None:
        member.judgement = Judgement((), (), {}, {})

    monkeypatch.setattr(CommitteeMember, "_abort", careless)
    divided = Scenario(
        seed=5,
        nodes=8,
        params=ProtocolParams(attempt_timeout_s=15.0),
        partitions=(Partition((0, 1, 2, 6), 5.0, 40.0),),
        limit_s=100.0,
    )
    with pytest.raises(InvariantError, match="in an aborted attempt"):
        run(divided)
