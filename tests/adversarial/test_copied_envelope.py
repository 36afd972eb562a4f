"""A sealed envelope is copied to another round, attempt, sender or member (THREATS A10, T1).

Contributions and dealings are sealed to what `holdings` binds them to: the context of the attempt,
who sends and who receives. Each attack succeeds once the part that stops it is left out of that.
"""

from collections.abc import Callable
from copy import copy
from types import SimpleNamespace

import pytest
from tests.support.committee import Committee

from pnyx.errors import MalformedMessage
from pnyx.primitives.envelope import EnvelopeKey, open_envelope, seal
from pnyx.protocol.round.holdings import dealing_info, share_info
from pnyx.protocol.round.plan import RoundPlan

KEY = EnvelopeKey(b"k" * 32)
PLAN = Committee().plan
SENDER, MEMBER = 2, 1
Info = Callable[[bytes, int, int], bytes]
INFOS: list[Info] = [share_info, dealing_info]


def plan_with(**changes: object) -> RoundPlan:
    """Another attempt, which differs in this."""
    plan = copy(PLAN)
    plan.__dict__.pop("context", None)
    for name, value in changes.items():
        setattr(plan, name, value)
    return plan


def other_network() -> RoundPlan:
    census = PLAN.census
    return plan_with(
        census=SimpleNamespace(network=b"n" * 32, root=census.root, committee=census.committee)
    )


ELSEWHERE = {
    "network": (other_network().context, SENDER, MEMBER),
    "study": (plan_with(study=b"x" * 32).context, SENDER, MEMBER),
    "round": (plan_with(round_number=2).context, SENDER, MEMBER),
    "attempt": (plan_with(attempt=2).context, SENDER, MEMBER),
    "epoch": (plan_with(epoch=1).context, SENDER, MEMBER),
    "record": (plan_with(previous_record=b"x" * 32).context, SENDER, MEMBER),
    "model": (plan_with(model_hash=b"x" * 32).context, SENDER, MEMBER),
    "sender": (PLAN.context, SENDER + 1, MEMBER),
    "member": (PLAN.context, SENDER, MEMBER + 1),
}
LEFT_OUT: dict[str, Callable[[Info], Info]] = {
    "sender": lambda info: lambda context, sender, member: info(context, 0, member),
    "member": lambda info: lambda context, sender, member: info(context, sender, 0),
}


def without_context(info: Info) -> Info:
    return lambda context, sender, member: info(b"", sender, member)


def opens_elsewhere(info: Info, place: str) -> bool:
    """Whether what was sealed for one place opens in another."""
    sealed = seal(KEY.public_key, b"shares", info(PLAN.context, SENDER, MEMBER))
    assert open_envelope(KEY, sealed, info(PLAN.context, SENDER, MEMBER)) == b"shares"
    try:
        return open_envelope(KEY, sealed, info(*ELSEWHERE[place])) == b"shares"
    except MalformedMessage:
        return False


@pytest.mark.parametrize("info", INFOS)
@pytest.mark.parametrize("place", ELSEWHERE)
def test_an_envelope_opens_in_its_own_context_only(place: str, info: Info) -> None:
    assert not opens_elsewhere(info, place)
    weak = LEFT_OUT.get(place, without_context)(info)
    assert opens_elsewhere(weak, place), "what is bound is the defence"


def test_a_contribution_does_not_pass_for_a_dealing() -> None:
    sealed = seal(KEY.public_key, b"shares", share_info(PLAN.context, SENDER, MEMBER))
    with pytest.raises(MalformedMessage):
        open_envelope(KEY, sealed, dealing_info(PLAN.context, SENDER, MEMBER))


def test_the_whole_context_counts() -> None:
    sealed = seal(KEY.public_key, b"shares", b"context")
    for other in (b"", b"contex", b"context\x00", b"Context"):
        with pytest.raises(MalformedMessage):
            open_envelope(KEY, sealed, other)
