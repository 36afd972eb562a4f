"""Fewer contributions than the floor are never opened (THREATS A2, A4)."""

import pytest
from tests.support.town import Town, manifest, masked_phase, phase, verified_phase

from pnyx.primitives import codec
from pnyx.protocol.messages import Contribution, MemberInput, Relay, Release, RoundBody
from pnyx.protocol.round.plan import RoundPlan


def releases(town: Town, context: bytes) -> list[Release]:
    """What members release in an attempt at the round, and in the attempt that follows it."""
    attempts = {context, *(message.context for message in town.sent(Contribution))}
    bodies = [
        codec.decode(message.signed.body, RoundBody, bytes_max=10**7)
        for message in town.sent(MemberInput)
        if message.context in attempts
    ]
    return [body for body in bodies if isinstance(body, Release)]


MODES = {"shared": phase, "masked": masked_phase, "verified": verified_phase}


def small_round(arriving: int, mode: str = "shared") -> tuple[Town, bytes, bytes]:
    """A round with a floor of four, in which so many contributions arrive."""
    town = Town()
    asked = MODES[mode](9, cohort_min=4)
    study = town.propose(plan=manifest(asked.length, [asked]))
    town.run(town.in_round(study, 1))
    plan = town.plan(study)
    silent = set(plan.contributors[arriving:])
    town.wire = lambda sender, receiver, message: (
        [] if sender in silent and isinstance(message, Contribution | Relay) else None
    )
    for index in silent:
        machine = town.machines[index]
        machine.rounds.active[plan.context].contributor.withhold()
    return town, study, plan.context


@pytest.mark.parametrize(
    ("arriving", "mode"),
    [(0, "shared"), (1, "shared"), (3, "shared"), (3, "masked"), (3, "verified")],
)
def test_small_cohort(arriving, mode):
    town, study, context = small_round(arriving, mode)
    assert town.run(town.finished(study))
    (certified,) = town.certified()
    assert certified.skipped
    assert certified.contributors == 0
    assert set(town.model(study)) == {0}
    given = releases(town, context)
    assert given
    assert all(body.shares == b"" for body in given), "no share of a sum leaves a member"


@pytest.mark.parametrize("mode", MODES)
def test_the_floor_itself_is_enough(mode):
    town, study, _ = small_round(4, mode)
    assert town.run(town.finished(study))
    assert sum(town.model(study)[:9]) == 4


@pytest.mark.parametrize("mode", MODES)
def test_without_the_floor_shares_would_leave_but_no_record_would_count(mode, monkeypatch):
    monkeypatch.setattr(RoundPlan, "opened", lambda self, accepted: {0: tuple(sorted(accepted))})
    town, study, context = small_round(3, mode)
    assert not town.run(town.finished(study), seconds=30.0)
    assert any(body.shares for body in releases(town, context)), "the attack"
    assert town.certified() == [], "verify_record is the second line"
