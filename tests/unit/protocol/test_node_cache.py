"""The node cache: what a listing covers, how long it counts, and what is asked for."""

from tests.support.regions import EPOCH_BEACON, Ring

from pnyx.protocol.events import RegionListed
from pnyx.protocol.node_cache import LiveNodes, watched_share
from pnyx.protocol.overlay.positions import interval_around
from pnyx.protocol.selection.region.ring import RING, position_of, reach
from pnyx.protocol.selection.region.rule import region_rule

SMALL = Ring(36, corrupt_max=4)
ME = SMALL.ids[0]
LARGE = region_rule(100_000, 24)
COUNT = 30


def cache() -> LiveNodes:
    made = LiveNodes(ME, refresh_s=10.0, keep_s=100.0)
    made.enter(0, EPOCH_BEACON)
    return made


def listed(wanted, nodes=tuple(SMALL.ids), **changes) -> RegionListed:
    terms = {"epoch": 0, "start": wanted.start, "end": wanted.end, "nodes": nodes, "sparse": False}
    return RegionListed(**{**terms, **changes})


def test_a_small_network_is_listed_whole():
    made = cache()
    wanted = made.want(SMALL.rule, COUNT, 0.0)
    assert (wanted.epoch, wanted.start) == (0, wanted.end)
    assert made.known(0, 1.0, 0.0) is None
    made.take(listed(wanted), 0.0)
    assert set(made.known(0, 1.0, 0.0)) == set(SMALL.ids)
    assert set(made.known(RING // 3, 0.5, 0.0)) == set(SMALL.ids)


def test_a_large_network_is_listed_around_this_node_alone():
    made, here = cache(), position_of(ME, EPOCH_BEACON)
    share = watched_share(LARGE, COUNT)
    assert share == LARGE.candidate_share(COUNT) + 2 * LARGE.region_share
    wanted = made.want(LARGE, COUNT, 0.0)
    near = interval_around(here, share)
    assert all(
        abs(a - b) < RING >> 50 for a, b in zip(near, (wanted.start, wanted.end), strict=True)
    )
    made.take(listed(wanted, SMALL.ids[1:3]), 0.0)
    candidates = LARGE.candidate_share(COUNT)
    assert set(made.known(here, candidates, 0.0)) == set(SMALL.ids[:3]), "itself, too"
    beside = reach(2 * LARGE.region_share)
    assert made.known((here + beside) % RING, candidates, 0.0) is not None
    assert made.known((here + beside + 2) % RING, candidates, 0.0) is None
    assert made.known(here, 2 * share, 0.0) is None


def test_a_listing_is_asked_for_until_there_is_one_and_then_not_for_a_while():
    made = cache()
    wanted = made.want(SMALL.rule, COUNT, 0.0)
    assert made.want(SMALL.rule, COUNT, 1.0) == wanted
    made.take(listed(wanted, sparse=True), 1.0)
    assert made.want(SMALL.rule, COUNT, 1.0) == wanted
    made.take(listed(wanted), 2.0)
    assert made.want(SMALL.rule, COUNT, 11.9) is None
    assert made.want(SMALL.rule, COUNT, 12.0) == wanted


def test_who_is_away_for_a_while_stays_and_who_is_gone_goes():
    made = cache()
    wanted = made.want(SMALL.rule, COUNT, 0.0)
    made.take(listed(wanted), 0.0)
    made.take(listed(wanted, SMALL.ids[:20]), 100.0)
    assert len(made.known(0, 1.0, 100.0)) == 36
    made.take(listed(wanted, SMALL.ids[:20]), 100.5)
    assert set(made.known(0, 1.0, 100.5)) == set(SMALL.ids[:20])
    assert made.known(0, 1.0, 200.6) is None, "nor is a listing believed for ever"


def test_another_epoch_begins_anew():
    made = cache()
    wanted = made.want(SMALL.rule, COUNT, 0.0)
    made.take(listed(wanted, epoch=1), 0.0)
    assert made.known(0, 1.0, 0.0) is None
    made.take(listed(wanted), 0.0)
    made.enter(0, EPOCH_BEACON)
    assert made.known(0, 1.0, 0.0) is not None
    made.enter(1, b"another beacon".ljust(32))
    assert made.known(0, 1.0, 0.0) is None
    assert made.want(SMALL.rule, COUNT, 0.0).epoch == 1
