"""R3: an actor list that the beacon does not impose, or one of another context, is refused."""

import pytest
from tests.support.weakened import weaken

from pnyx.errors import RuleBroken
from pnyx.protocol.selection import ActorList, CensusSelector
from pnyx.protocol.selection import census as module

BEACON, STUDY, ROUND, ROLE, SIZE = bytes(32), b"a study", 3, "committee", 12
SELECTOR = CensusSelector(36)
IMPOSED = SELECTOR.select(BEACON, STUDY, ROUND, ROLE, SIZE).indices
STRANGER = min(set(range(36)) - set(IMPOSED))


COMPARED = "if tuple(indices) != imposed:"


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
    ("compared", "forged"),
    [
        ("if set(indices) != set(imposed):", (*IMPOSED[1:], IMPOSED[0])),
        ("if set(indices) - set(imposed):", IMPOSED[:-1]),
        ("if set(indices) - set(imposed):", (*IMPOSED[:-1], IMPOSED[0])),
        ("if set(indices) - set(imposed):", ()),
        ("if set(imposed) - set(indices):", (*IMPOSED, STRANGER)),
        ("if tuple(indices[1:]) != imposed[1:]:", (STRANGER, *IMPOSED[1:])),
        ("if tuple(indices[:-1]) != imposed[:-1]:", (*IMPOSED[:-1], STRANGER)),
        ("if tuple(indices[:-1]) != imposed[:-1]:", (*IMPOSED[:-1], 36)),
    ],
)
def test_the_whole_list_in_its_order_is_the_defence(monkeypatch, compared, forged):
    with pytest.raises(RuleBroken):
        verify(forged)
    weaken(monkeypatch, module, (COMPARED, compared))
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


DRAWN_BY = 'digest(_SELECTION, beacon, study, round_bytes, role_bytes, draw.to_bytes(8, "big"))'


@pytest.mark.parametrize(
    ("old", "new", "context"),
    [
        (DRAWN_BY, DRAWN_BY.replace("beacon", 'b""'), {"beacon": b"\x01" + bytes(31)}),
        (DRAWN_BY, DRAWN_BY.replace("study", 'b""'), {"study": b"another study"}),
        (DRAWN_BY, DRAWN_BY.replace("round_bytes", 'b""'), {"number": ROUND + 1}),
        (DRAWN_BY, DRAWN_BY.replace("role_bytes", 'b""'), {"role": "aggregator"}),
        (
            "seen = set(exclude)",
            "seen: set[int] = set()",
            {"selector": CensusSelector(36, exclude={IMPOSED[0]})},
        ),
    ],
)
def test_what_a_list_is_drawn_by_is_the_defence(monkeypatch, old, new, context):
    weaken(monkeypatch, module, (old, new))
    verify(SELECTOR.select(BEACON, STUDY, ROUND, ROLE, SIZE).indices, **context)
