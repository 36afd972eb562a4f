"""A member answers by another c than the challenge has, or lies about its answers (THREATS A8).

What multiplies the key in the link test opens an entry of an honest vector when it is wrong
(`test_masked_coefficients_open_an_entry`). No message carries it: a member that computes it for
itself can only be wrong alone. It is off the polynomials then, adds up nothing, and contributors,
shown the answers, convict it by the share that it answered for. Honest contributors all count.
"""

import pytest
from tests.support.town import SMALL, Town, manifest, verified_phase

from pnyx.primitives.field import PRIMES
from pnyx.protocol.aggregation.verdicts import Rule
from pnyx.protocol.events import PeerBlamed
from pnyx.protocol.evidence.proofs import Offence
from pnyx.protocol.round import values
from pnyx.protocol.round.values import InputReader
from pnyx.protocol.study import read_body

LENGTH = 9


def answered_by_another_c(reader: InputReader, place: int) -> None:
    """One member's reader gives answers by a c that is wrong in one coefficient."""
    honest = reader.answer

    def answer(signed, member, share, challenge):
        honest(signed, member, share, challenge)
        claim, known, weights = reader._weighed
        wrong = weights.copy()
        wrong[0, place] = (wrong[0, place] + 1) % PRIMES[0]
        reader._weighed = claim, known, wrong
        found = honest(signed, member, share, challenge)
        reader._weighed = claim, known, weights
        return found

    reader.answer = answer


def town_with(liars: int, place: int = 7) -> tuple[Town, bytes, set[int]]:
    town = Town()
    study = town.propose(plan=manifest(LENGTH + 1, [verified_phase(LENGTH, rounds=2)]))
    assert town.run(town.in_round(study, 1))
    plan = town.plan(study)
    chosen = plan.committee[1 : 1 + liars]
    for index in chosen:
        answered_by_another_c(town.machines[index].rounds.active[plan.context].member.reader, place)
    return town, study, set(chosen)


@pytest.mark.parametrize("place", [0, 1023])
def test_wrong_key_weights(place):
    town, study, liars = town_with(SMALL.corrupt_max, place)
    assert town.run(town.finished(study))
    first = town.certified()[0]
    assert first.contributors >= 3
    assert sum(town.model(study)) == sum(each.contributors for each in town.certified())
    assert town.blamed() == liars
    rules = {effect.rule for effect in town.effects(PeerBlamed)}
    assert rules == {Offence.WRONG_ANSWER.value}
    body = read_body(town.machines[0].studies[study].records[-1])
    assert body.excluded == tuple(sorted(liars))


def test_the_members_own_computation_is_the_defence(monkeypatch):
    """Were c taken from somebody, a wrong one would be in all answers, and nobody be off."""
    honest = values.key_weights_of

    def told(plan, claim, challenge):
        found = honest(plan, claim, challenge)
        found[0, 7] = (found[0, 7] + 1) % PRIMES[0]
        return found

    monkeypatch.setattr(values, "key_weights_of", told)
    town, study, _ = town_with(0)
    town.run(town.finished(study))
    rules = {effect.rule for effect in town.effects(PeerBlamed)}
    assert rules == {Rule.LINK.value}, "honest contributors would be convicted"
