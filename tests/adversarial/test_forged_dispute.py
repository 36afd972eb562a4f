"""A lying member uses up the look that a contributor takes at the answers to its challenge (A8).

Whoever shows a contributor the answers says which headers they are for. The answers are certified,
what is said of them is not. A contributor looks once, as that costs it a second proof; so a member
that lied calls first, with another list, and the honest calls would come too late to convict it.
"""

import pytest
from msgspec.structs import replace
from tests.support.evidence import LIAR
from tests.unit.protocol.round.test_contributor import ME, sending
from tests.unit.protocol.round.test_contributor import C as ROUND
from tests.unit.protocol.round.test_dispute import call

from pnyx.errors import RuleBroken
from pnyx.protocol.evidence.proofs import check_evidence
from pnyx.protocol.messages import HeldContribution
from pnyx.protocol.round import contributor
from pnyx.protocol.round.dispute import shown_answers

FORGED = [(), (HeldContribution(ME, b"n" * 32),), (HeldContribution(2, b"n" * 32),)]


def credulous(*given):
    """The defence removed: what makes no sense is taken for answers to somebody else."""
    try:
        return shown_answers(*given)
    except RuleBroken:
        return []


@pytest.mark.parametrize("closed", FORGED)
def test_another_list_uses_up_nothing(closed):
    made, outbox = sending()
    genuine = call(made, {LIAR})
    for _ in range(3):
        with pytest.raises(RuleBroken, match="names other headers"):
            made.handle(replace(genuine, closed=closed), 2.0)
    made.handle(genuine, 2.5)
    (evidence,) = outbox.accused
    check_evidence(evidence, ROUND.plan, ROUND.folk.cryptos[8])
    assert evidence.culprit == ROUND.plan.committee[LIAR]


@pytest.mark.parametrize("closed", FORGED)
def test_another_list_saves_the_liar_from_who_believes_it(closed, monkeypatch):
    monkeypatch.setattr(contributor, "shown_answers", credulous)
    made, outbox = sending()
    genuine = call(made, {LIAR})
    made.handle(replace(genuine, closed=closed), 2.0)
    made.handle(genuine, 2.5)
    assert outbox.accused == []
