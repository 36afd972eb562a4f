"""Links: latency, bandwidth, loss, duplicates, order, partitions and cuts."""

import pytest

from pnyx.simulator.network import Cut, Link, Network, Partition


def network(link: Link, *, partitions=(), cuts=(), seed: int = 1) -> Network:
    return Network(link, partitions, cuts, seed)


def test_latency_and_bandwidth() -> None:
    links = network(Link(latency_s=0.1, latency_tail_s=0.0, bytes_per_s=1000.0))
    assert links.arrivals(0, 1, 500, 0.0) == pytest.approx((0.6,))
    assert links.arrivals(0, 2, 500, 0.0) == pytest.approx((1.1,))  # behind the first
    assert (links.messages, links.bytes_sent) == (2, 1000)


def test_loss_and_duplication_in_their_proportions() -> None:
    links = network(Link(loss=0.2, duplication=0.3))
    fates = [len(links.arrivals(0, 1, 1, 0.0)) for _ in range(5000)]
    assert fates.count(0) / 5000 == pytest.approx(0.2, abs=0.03)
    assert fates.count(2) / 5000 == pytest.approx(0.24, abs=0.03)


def test_order_is_kept_unless_reordering() -> None:
    for reordering in (False, True):
        links = network(Link(latency_tail_s=0.1, reordering=reordering))
        times = [links.arrivals(0, 1, 1, 0.0)[0] for _ in range(200)]
        assert (times == sorted(times)) is not reordering


def test_partitions_and_cuts_heal() -> None:
    links = network(Link(), partitions=[Partition((0, 1), 1.0, 2.0)], cuts=[Cut(3, 4, 1.0, 2.0)])
    assert links.arrivals(0, 1, 1, 1.5)
    assert not links.arrivals(0, 2, 1, 1.5)
    assert not links.arrivals(2, 0, 1, 1.5)
    assert not links.arrivals(3, 4, 1, 1.5)
    assert links.arrivals(4, 3, 1, 1.5)
    assert links.arrivals(0, 2, 1, 2.0)
    assert links.arrivals(3, 4, 1, 0.5)


def test_one_seed_gives_one_fate() -> None:
    link = Link(loss=0.3, duplication=0.3, reordering=True, hint=0.5)
    first, second = network(link, seed=9), network(link, seed=9)
    for at in range(100):
        assert first.arrivals(0, at % 5, 10, 0.1 * at) == second.arrivals(0, at % 5, 10, 0.1 * at)
        assert first.hinted() == second.hinted()
