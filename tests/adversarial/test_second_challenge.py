"""A member is killed once it has answered, to make it answer another challenge (THREATS A6, A8).

Answers to a second challenge open new functionals of the contributors' secrets (rank test in
`test_verification_views_reveal_nothing`). A member signs its answers durably before they leave:
what it sends after a restart are the same bytes.
"""

import pytest
from tests.support.town import Town

from pnyx.primitives import codec
from pnyx.protocol.messages import MemberBody, MemberInput, Signed, VerifyResponse


@pytest.mark.parametrize("place", range(1, 7))  # what a leader answers itself never travels
def test_second_challenge(place):
    """The answers of one member are swallowed and it is killed, three times."""
    town = Town()
    study = town.propose()
    town.run(town.in_round(study, 1))
    plan = town.plan(study)
    victim = plan.committee[place]
    answered: dict[int, list[Signed]] = {}
    kills = 0

    def wire(sender, receiver, message):
        nonlocal kills
        if not isinstance(message, MemberInput) or message.context != plan.context:
            return None
        body = codec.decode(message.signed.body, MemberBody, bytes_max=10**7)
        if not isinstance(body, VerifyResponse):
            return None
        answered.setdefault(sender, []).append(message.signed)
        if sender != victim or kills == 3:
            return None
        kills += 1
        town.crash(victim)
        return []

    town.wire = wire
    finished = town.finished(study)
    while not finished():
        assert town.run(lambda: not town.alive[victim] or finished())
        if not town.alive[victim]:
            town.restart(victim)
    assert len(answered[victim]) >= 2
    assert all(len(set(signed)) == 1 for signed in answered.values())
    assert sum(town.model(study)) == town.certified()[0].contributors
    assert town.blamed() == set()
