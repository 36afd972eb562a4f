"""R2: a corrupt leader grinds the beacon that follows two aborted attempts.

Whoever leads the abort of the first attempt chooses which quorum of words it takes, and a corrupt
member may name whom it likes in its own. All of that is hashed into the context of the second
attempt. If that fails as well, the record only skips, and its beacon draws the next committee.
"""

from collections.abc import Callable, Iterator
from itertools import combinations, islice

from tests.support.aborts import abort_of
from tests.support.records import chain
from tests.support.town import people

from pnyx.primitives.hashing import digest
from pnyx.protocol import beacon as beacons
from pnyx.protocol.messages import AbortCertificate
from pnyx.protocol.round.attempts import NO_VALUE, second_attempt, skip_body
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.selection import committee_size, select_census

NODES, TRIES = 36, 100
FOLK = people(NODES, committee_size(24, 4, 2, 4))
PLAN = chain(FOLK)
# One node more than may be corrupt in a committee; one of the four that are members leads.
COALITION = {
    *PLAN.committee[:4],
    next(index for index in range(NODES) if index not in PLAN.committee),
}


def variants() -> Iterator[AbortCertificate]:
    """Aborts of the first attempt that differ in whom one corrupt member names."""
    for named in combinations(range(NODES), 2):
        yield abort_of(FOLK, PLAN, named={0: named})


def ground(beacon_of: Callable[[RoundPlan], bytes]) -> int:
    """Abort values until the next committee holds the whole coalition; 0 if none does."""
    for tried, abort in enumerate(islice(variants(), TRIES), 1):
        beacon = beacon_of(second_attempt(PLAN, abort, FOLK.cryptos[0]))
        drawn = select_census(
            beacon, PLAN.study, PLAN.round_number + 1, "committee", PLAN.size.size, NODES
        )
        if set(drawn) >= COALITION:
            return tried
    return 0


def skipped(plan: RoundPlan) -> bytes:
    """The beacon that the members themselves compute after the second abort."""
    return skip_body(plan, NO_VALUE, NO_VALUE, bytes(32), ()).next_beacon


def by_context(plan: RoundPlan) -> bytes:
    """The defence removed: the beacon hashes the attempt's context, as it once did."""
    return digest("pnyx/beacon/skipped", plan.context)


def test_words_of_giving_up_bend_no_beacon() -> None:
    seconds = [second_attempt(PLAN, abort, FOLK.cryptos[0]) for abort in islice(variants(), 20)]
    assert len({plan.context for plan in seconds}) == 20, "each would be another attempt"
    assert len({skipped(plan) for plan in seconds}) == 1
    assert ground(skipped) == 0


def test_words_of_giving_up_bend_a_beacon_of_the_context() -> None:
    assert 0 < ground(by_context) <= TRIES


def test_successive_skips_differ() -> None:
    """Or a committee that is bad, or away, would be drawn again for ever."""
    before = PLAN.beacon
    seen = {before}
    for number in range(PLAN.round_number, PLAN.round_number + 10):
        before = beacons.skipped(PLAN.study, number, before)
        assert before not in seen
        seen.add(before)
