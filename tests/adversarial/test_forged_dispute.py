"""A lying member uses up the look that a contributor takes at the answers to its challenge (A8).

Whoever shows a contributor the answers says which headers they are for. The answers are certified,
what is said of them is not. A contributor looks once, as that costs it a second proof; so a member
that lied calls first, with another list, and the honest calls would come too late to convict it.
"""

from collections.abc import (
    Callable,
    Iterator,
    Sequence,
)

import pytest
from msgspec.structs import replace
from tests.support.evidence import LIAR
from tests.unit.protocol.round.test_contributor import (
    ME,
    decision,
    sending,
)
from tests.unit.protocol.round.test_contributor import C as ROUND
from tests.unit.protocol.round.test_dispute import call

from pnyx.errors import (
    ProtocolError,
    RuleBroken,
)
from pnyx.primitives import (
    codec,
)
from pnyx.protocol.aggregation.verification import (
    ELEMENT_BYTES,
    answer_count,
)
from pnyx.protocol.evidence.proofs import check_evidence
from pnyx.protocol.messages import (
    Answered,
    Answers,
    Dispute,
    HeldContribution,
    Instance,
)
from pnyx.protocol.round import contributor
from pnyx.protocol.round.contributor import (
    Contributor,
)
from pnyx.protocol.round.dispute import shown_answers
from pnyx.protocol.round.values import (
    AcceptValue,
    answer_leaves,
    answers_root,
    header_hash,
)

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
        with pytest.raises(RuleBroken, match=r"for other headers|that are not named"):
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


# --- a captured committee -------------------------------------------------------------------------


def certified(shown: Dispute, answered: Callable[[Answered], Answered]) -> Dispute:
    """The same call with other answers, which a quorum of the committee has locked."""
    value = codec.decode(shown.accepted.value, AcceptValue, bytes_max=10**7)
    other = codec.encode(AcceptValue(tuple(answered(each) for each in value.responses)))
    return replace(shown, accepted=decision(ROUND, Instance.ACCEPT, other))


def signed_for(names: Sequence[bytes], answers: Answers, given: Answered) -> Answered:
    """Answers that their member signed for what goes by these names."""
    body = ROUND.reader.response(given.signed)
    root = answers_root(answer_leaves(names, answers.values))
    return Answered(ROUND.member_signed(body.member, replace(body, answers=root)), answers)


def no_answers(made: Contributor) -> Iterator[Callable[[Answered], Answered]]:
    """What no honest member would lock, each validly signed by everybody."""
    name = header_hash(made._header)
    each = ELEMENT_BYTES * answer_count(ROUND.size)
    yield lambda given: signed_for(
        (name, b""), Answers((ME, ME + 1), given.answers.values * 2), given
    )
    yield lambda given: signed_for((name, name), Answers((ME, ME), bytes(2 * each)), given)
    yield lambda given: signed_for((name,), Answers((ME,), b"\xff" * each), given)
    yield lambda given: signed_for((name,), Answers((ME,), bytes(each - 4)), given)
    yield lambda given: signed_for((), Answers((), bytes(each)), given)
    yield lambda given: replace(given, answers=Answers((ME,), bytes(each)))


@pytest.mark.parametrize("which", range(6))
def test_certified_nonsense_ends_no_node(which: int) -> None:
    """A captured committee harms its study, and not the nodes that take part in others."""
    made, outbox = sending()
    genuine = call(made, {LIAR})
    nonsense = certified(genuine, list(no_answers(made))[which])
    with pytest.raises(ProtocolError):
        made.handle(nonsense, 2.0)
    assert outbox.accused == []
    made.handle(genuine, 2.5)
    assert len(outbox.accused) == 1, "nothing was used up"
