"""Corrupt contributors and members have honest contributions dropped, and nobody is blamed.

The contributors deal nothing to some honest members, who then lack more than anybody; each corrupt
member omits a few honest contributions, fewer than those. Whoever lacks most leaves the pool: were
all contributions to decide who that is, honest members would go, corrupt ones would stay, and what
they omit would be lost, round after round (THREATS A7, A9).
"""

import pytest
from tests.support.weakened import succeeds, weaken

from pnyx.protocol.aggregation import direct
from pnyx.protocol.aggregation.direct import settle
from pnyx.protocol.aggregation.verdicts import Verdict
from pnyx.protocol.selection import committee_size

SIZE = committee_size(24, 4, 2, 4)
K, F, Q = SIZE.size, SIZE.corrupt_max, SIZE.quorum
CORRUPT = tuple(range(K - F, K))
HONEST = range(100, 120)  # honest contributors


def lost(starved: list[set[int]], answering=range(K), omits: int | None = None) -> set[int]:
    """Honest contributions that do not count.

    starved: for each corrupt contributor the members that it deals nothing to. omits: how many
    honest contributions each corrupt member omits; by default one fewer than there are corrupt
    ones. Each omits its own.
    """
    holders = {who: set(answering) for who in HONEST}
    omitted = iter(HONEST)
    for member in CORRUPT:
        for _ in range(len(starved) - 1 if omits is None else omits):
            holders[next(omitted)].discard(member)
    for who, members in enumerate(starved):
        holders[who] = set(answering) - members
    answers = {m: {who: None for who, held in holders.items() if m in held} for m in answering}
    verdicts = {who: Verdict(accepted=True) for who in holders}
    judgement = settle(SIZE, verdicts, answers)
    assert len(judgement.pool) >= Q
    return set(HONEST) - set(judgement.accepted)


@pytest.mark.parametrize("starved", [F + 1, K - Q, K - Q + 4])
@pytest.mark.parametrize("contributors", [2, 4, 6])
def test_contributions_that_starve_more_than_can_lie_yield_first(starved, contributors):
    assert lost([set(range(starved))] * contributors) == set()


@pytest.mark.parametrize("contributors", [2, 4, 6])
def test_all_may_starve_different_members(contributors):
    starved = [{(5 * at + m) % (K - F) for m in range(F + 1)} for at in range(contributors)]
    assert lost(starved) == set()


@pytest.mark.parametrize("contributors", [4, 6])
def test_contributors_that_starve_no_more_than_could_lie_drop_a_bounded_number(contributors):
    """It is word against word then: eight honest members lack more than the four that lie."""
    starved = [{(F * at + m) % (2 * F) for m in range(F)} for at in range(contributors)]
    assert lost(starved) == set(), "corrupt members that omit more go first"
    dropped = lost(starved, omits=contributors // 2 - 1)
    assert 0 < len(dropped) <= contributors * F**2 // (K - Q)


def test_with_the_planned_absences():
    """Of 20 that answer four may leave the pool: just the corrupt ones."""
    assert lost([set(range(4, 4 + F + 1))] * 6, range(4, K)) == set()


def test_who_decides_whom_to_leave_out_is_the_defence(monkeypatch):
    """Were all contributions asked, those that starve many would have honest members leave."""
    few = "deciding = [held for who, held in holders.items() if lacked[who] <= size.corrupt_max]"
    weaken(monkeypatch, direct, (few, "deciding = list(holders.values())"))
    assert succeeds(test_contributions_that_starve_more_than_can_lie_yield_first, F + 1, 6)
