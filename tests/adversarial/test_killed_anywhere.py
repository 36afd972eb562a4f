"""A member or contributor is killed at any step and comes back (THREATS A6, A7, S1).

The sum is exact, every contribution is one set of bytes, no slot is signed twice, and what was
acknowledged counts. The disk is the defence: `test_forgotten_slots` takes it away, slot by slot.
"""

from collections.abc import Callable

import pytest
from tests.support.town import Town, masked_manifest

from pnyx.primitives import codec
from pnyx.protocol.events import ContributionAcknowledged
from pnyx.protocol.manifest import Manifest
from pnyx.protocol.messages import (
    CloseVote,
    Contribution,
    MemberInput,
    Message,
    Phase,
    RoundBody,
    Vote,
)
from pnyx.protocol.round.plan import RoundPlan


def run_with_kills(
    when,
    *,
    back_after: float,
    role: str = "member",
    told: Callable[[RoundPlan, int], None] = lambda plan, victim: None,
    study_plan: Manifest | None = None,
    **options,
) -> tuple[Town, bytes, int]:
    """Round 1; the victim is killed at its `when`-th message, and started again later."""
    town = Town(**options)
    study = town.propose(plan=study_plan)
    town.run(town.in_round(study, 1))
    plan = town.plan(study)
    if role == "member":
        victim = plan.committee[1]
    elif role == "aggregator":
        victim = plan.aggregators[0]
    else:
        victim = next(i for i in plan.contributors if i not in plan.committee)
    told(plan, victim)
    count = 0

    def wire(sender, receiver, message):
        nonlocal count
        if sender != victim or getattr(message, "context", None) != plan.context:
            return None
        count += 1
        if count == when and town.alive[victim]:
            town.crash(victim)
            back_at.append(town.now + back_after)
            return []
        return None

    back_at: list[float] = []
    town.wire = wire
    town.run(lambda: bool(back_at), seconds=30.0)
    assert back_at, "never killed"
    town.run(seconds=back_after)
    town.restart(victim)
    return town, study, victim


def check(town: Town, study: bytes) -> None:
    """Every promise of a round, once it has ended."""
    assert town.run(town.finished(study), seconds=120.0), "not ended"
    model = town.model(study)
    (certified,) = town.certified(0)
    assert sum(model) == certified.contributors
    assert max(model) <= 1
    assert town.blamed() == set(), "an honest node is blamed"
    if not certified.skipped:
        acknowledged = {at for _, at, e in town.log if isinstance(e, ContributionAcknowledged)}
        assert all(model[at] == 1 for at in acknowledged), "acknowledged and not counted"
    headers: dict[tuple[bytes, bytes], set[bytes]] = {}
    votes: dict[tuple, set[bytes]] = {}
    inputs: dict[tuple, set[bytes]] = {}
    for payload in {e.payload for _, _, e in town.log if hasattr(e, "payload")}:
        message = codec.decode(payload, Message, bytes_max=2**24)
        match message:
            case Contribution():
                key = message.context, message.header.signer
                headers.setdefault(key, set()).add(message.header.body)
            case Vote():
                key = message.context, message.instance, message.phase, message.view, message.member
                votes.setdefault(key, set()).add(message.value_hash)
            case MemberInput():
                body = codec.decode(message.signed.body, RoundBody, bytes_max=10**7)
                if not isinstance(body, CloseVote):
                    key = message.context, type(body), message.signed.signer
                    answers = codec.encode(message.answers) if message.answers else b""
                    inputs.setdefault(key, set()).add(message.signed.body + answers)
    assert all(len(each) == 1 for each in headers.values()), "two contributions"
    assert all(len(each) == 1 for each in votes.values()), "two votes in a view"
    assert all(len(each) == 1 for each in inputs.values()), "two inputs in a slot"
    assert any(key[2] is Phase.LOCK for key in votes)


@pytest.mark.parametrize("when", [1, 2, 4, 7, 9, 11, 13, 15, 18, 20, 21, 22])
@pytest.mark.parametrize("back_after", [0.05, 3.0])
def test_killed_member(when, back_after):
    """Up to its last message, the vote on the record."""
    town, study, _ = run_with_kills(when, back_after=back_after)
    check(town, study)


@pytest.mark.parametrize("when", [1, 3, 6])
@pytest.mark.parametrize("back_after", [0.05, 5.0])
def test_killed_contributor(when, back_after):
    town, study, _ = run_with_kills(when, back_after=back_after, role="contributor")
    check(town, study)


# Aggregators and contributors of a masked round, by what they say: offers, receipts, sums, shares.
# `tests/simulation/test_masked_rounds.py` kills around every effect.
@pytest.mark.parametrize("when", [1, 3, 6, 10, 15, 21])
def test_killed_aggregator_of_a_masked_round(when):
    town, study, _ = run_with_kills(
        when, back_after=0.05, role="aggregator", study_plan=masked_manifest(9)
    )
    check(town, study)


@pytest.mark.parametrize("when", [1, 2, 4, 8])
def test_killed_contributor_to_a_masked_round(when):
    town, study, _ = run_with_kills(
        when, back_after=3.0, role="contributor", study_plan=masked_manifest(9)
    )
    check(town, study)


def test_more_absent_than_the_quorum_bears_ends_in_silence_not_in_a_wrong_sum():
    town = Town()
    study = town.propose()
    town.run(town.in_round(study, 1))
    gone = town.plan(study).committee[:2]
    for index in gone:
        town.crash(index)
    assert not town.run(lambda: any(town.certified(i) for i in range(9)), seconds=30.0)
    for index in gone:
        town.restart(index)
    assert town.run(town.finished(study), seconds=300.0)
    check(town, study)
