"""A member is killed once it has answered, to make it answer another challenge (THREATS A6, A8).

Answers to a second challenge open new functionals of the contributors' secrets (rank test in
`test_verification_views_reveal_nothing`). A member signs its answers durably before they leave:
what it sends after a restart are the same bytes. In verified masked rounds a second challenge opens
functionals of the key as well (`test_masked_views_reveal_nothing`).
"""

import pytest
from tests.support.town import Town, manifest, verified_phase

from pnyx.primitives import codec
from pnyx.primitives.hashing import digest
from pnyx.protocol.messages import Answered, MemberBody, MemberInput, VerifyResponse
from pnyx.protocol.round.committee import CommitteeMember
from pnyx.protocol.round.services import RoundServices

KILLS, LENGTH = 3, 9


class Attack:
    """The answers of one member are swallowed and it is killed, three times."""

    def __init__(self, place: int, *, verified: bool = False) -> None:
        self.town = Town()
        plan = manifest(LENGTH + 1, [verified_phase(LENGTH)]) if verified else None
        self.study = self.town.propose(plan=plan)
        self.town.run(self.town.in_round(self.study, 1))
        self.plan = self.town.plan(self.study)
        self.victim = self.plan.committee[place]
        self.answered: dict[int, list[Answered]] = {}
        self.kills = 0
        self.town.wire = self.wire

    def wire(self, sender: int, receiver: int, message: object) -> list[object] | None:
        if not isinstance(message, MemberInput) or message.context != self.plan.context:
            return None
        body = codec.decode(message.signed.body, MemberBody, bytes_max=10**7)
        if not isinstance(body, VerifyResponse):
            return None
        self.answered.setdefault(sender, []).append(Answered(message.signed, message.answers))
        if sender != self.victim or self.kills == KILLS:
            return None
        self.kills += 1
        self.town.crash(self.victim)
        return []

    def run(self, until) -> None:
        while not until():
            assert self.town.run(lambda: not self.town.alive[self.victim] or until())
            if not self.town.alive[self.victim]:
                self.town.restart(self.victim)

    def answers(self) -> set[Answered]:
        """What the victim answered in four lives."""
        self.run(lambda: len(self.answered.get(self.victim, [])) > KILLS)
        return set(self.answered[self.victim])


@pytest.mark.parametrize(
    ("place", "verified"),  # what a leader answers itself never travels
    [*((place, False) for place in range(1, 7)), (1, True), (4, True)],
)
def test_second_challenge(place, verified):
    attack = Attack(place, verified=verified)
    town, study = attack.town, attack.study
    attack.run(town.finished(study))
    assert len(attack.answered[attack.victim]) >= 2
    assert all(len(set(signed)) == 1 for signed in attack.answered.values())
    assert sum(town.model(study)) == town.certified()[0].contributors
    assert town.blamed() == set()


@pytest.fixture(params=[False, True], ids=["shared", "masked and verified"])
def attack(monkeypatch, request):
    """Each life of the victim is shown another challenge: more dealers lie than f."""
    attack = Attack(1, verified=request.param)
    recover = CommitteeMember.recover_challenge

    def bent(member, openings):
        challenge = recover(member, openings)
        lives = attack.town.starts[attack.victim]
        if member.services.node_id != attack.town.census.node_ids[attack.victim]:
            return challenge
        return challenge and digest("test", challenge, bytes([lives]))

    monkeypatch.setattr(CommitteeMember, "recover_challenge", bent)
    return attack


def test_another_challenge_after_a_restart_gets_the_first_answers(attack):
    assert len(attack.answers()) == 1


def test_the_durable_answer_is_the_defence(attack, monkeypatch):
    monkeypatch.setattr(
        RoundServices,
        "answer_once",
        lambda services, response, answers: Answered(services.sign(response), answers),
    )
    assert len(attack.answers()) > 1
