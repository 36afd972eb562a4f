"""R3: an actor list that the beacon does not impose, or one of another context, is refused."""

import pytest

from pnyx.errors import RuleBroken
from pnyx.protocol.selection import ActorList, CensusSelector

BEACON, STUDY, ROUND, ROLE, SIZE = bytes(32), b"a study", 3, "committee", 12
SELECTOR = CensusSelector(36)
IMPOSED = SELECTOR.select(BEACON, STUDY, ROUND, ROLE, SIZE).indices
STRANGER = min(set(range(36)) - set(IMPOSED))


def verify(indices, *, selector=SELECTOR, beacon=BEACON, study=STUDY, number=ROUND, role=ROLE):
    selector.verify(ActorList(tuple(indices)), beacon, study, number, role, SIZE)


def test_the_imposed_list_is_accepted():
    verify(IMPOSED)


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param((STRANGER, *IMPOSED[1:]), id="a member replaced by an accomplice"),
        pytest.param((*IMPOSED[:-1], STRANGER), id="the last member replaced"),
        pytest.param((*IMPOSED[1:], IMPOSED[0]), id="leaders reordered"),
        pytest.param((*IMPOSED[:-1], IMPOSED[0]), id="a member twice"),
        pytest.param(IMPOSED[:-1], id="a member dropped"),
        pytest.param((*IMPOSED, STRANGER), id="a member added"),
        pytest.param((), id="nobody"),
        pytest.param((*IMPOSED[:-1], 36), id="a node outside the census"),
    ],
)
def test_forged_actor_list(forged):
    with pytest.raises(RuleBroken):
        verify(forged)


@pytest.mark.parametrize(
    "context",
    [
        {"beacon": b"\x01" + bytes(31)},
        {"study": b"another study"},
        {"number": ROUND + 1},
        {"role": "aggregator"},
        {"selector": CensusSelector(37)},
        {"selector": CensusSelector(36, exclude={IMPOSED[0]})},
    ],
)
def test_replayed_actor_list(context):
    with pytest.raises(RuleBroken):
        verify(IMPOSED, **context)
