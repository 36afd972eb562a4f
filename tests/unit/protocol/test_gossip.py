"""Items spread by name, and nothing that a peer says makes the store grow without bound."""

import pytest
from msgspec.structs import replace

from pnyx.errors import RuleBroken
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.gossip import Gossip, item_id
from pnyx.protocol.messages import Announce, Items, Request
from pnyx.protocol.params import ProtocolParams

PARAMS = ProtocolParams(
    gossip_fanout=2, model_fanout=1, items_per_message_max=4, gossip_announce_items_max=3
)
PEERS = [bytes((at,)) * 32 for at in range(5)]


class Node:
    def __init__(self, params: ProtocolParams = PARAMS, peers: list[bytes] = PEERS) -> None:
        self.sent: list[tuple[bytes, object]] = []
        self.accepted: list[bytes] = []
        self.models: list[tuple[bytes, tuple[bytes, ...]]] = []
        self.valid = True
        self.away: set[bytes] = set()
        self.gossip = Gossip(
            params,
            Sampler(bytes(32), "test"),
            lambda: peers,
            lambda peer: peer in self.away,
            lambda peer, message: self.sent.append((peer, message)),
            self._accept,
            lambda peer, names: self.models.append((peer, names)),
            0.0,
        )

    def _accept(self, peer: bytes, item: bytes) -> None:
        if not self.valid:
            self.gossip.refuse(item)
            raise RuleBroken("an invalid item")
        self.accepted.append(item)
        self.gossip.add(item, informed=frozenset(PEERS))

    def take(self, now=0.0):
        self.gossip.flush(now)
        sent, self.sent = self.sent, []
        return sent


def remembered(node: Node) -> set[bytes]:
    return {name for name in names(400) if node.gossip._asked.at(name) >= 0.0}


def names(count: int, start: int = 0) -> tuple[bytes, ...]:
    return tuple((start + at).to_bytes(32, "big") for at in range(count))


def test_models_are_announced_until_they_are_withdrawn():
    node = Node()
    one, other = names(2)
    for name in (one, one, other):
        node.gossip.announce_model(name)
    node.gossip.withdraw_model(other)
    node.gossip.withdraw_model(other)
    sent = node.take()
    assert [message for _, message in sent] == [Announce((), (one,))] * PARAMS.model_fanout
    assert node.take() == []
    item = node.gossip.add(b"item")
    node.gossip.announce_model(other)
    sent = node.take()
    assert [message for _, message in sent] == [Announce((item,), (other,))] * PARAMS.gossip_fanout
    node.gossip.tick(2.0)
    assert [message for _, message in node.take()] == [Announce((item,), (one, other))]
    node.gossip.handle(PEERS[0], Announce((item,), (one,)), 3.0)
    assert node.models == [(PEERS[0], (one,))]


def test_a_new_item_is_announced_to_a_few():
    node = Node()
    name = node.gossip.add(b"item")
    assert node.gossip.add(b"item") == name
    sent = node.take()
    assert len({peer for peer, _ in sent}) == len(sent) == PARAMS.gossip_fanout
    assert all(message == Announce((name,)) for _, message in sent)
    assert name in node.gossip
    assert node.gossip.get(name) == b"item"
    assert node.gossip.get(bytes(32)) is None


def test_the_periodic_exchange():
    node = Node()
    node.gossip.tick(PARAMS.gossip_interval_s)
    assert node.take() == [], "nothing is held"
    for at in range(5):
        node.gossip.add(b"%d" % at, informed=frozenset(PEERS))
    node.gossip.tick(PARAMS.gossip_interval_s + 1)
    assert node.take() == [], "not yet due"
    assert node.gossip.next_deadline() == 2 * PARAMS.gossip_interval_s
    node.gossip.tick(2 * PARAMS.gossip_interval_s)
    ((_, message),) = node.take()
    assert message == Announce(tuple(item_id(b"%d" % at) for at in (2, 3, 4)))


def test_what_is_announced_is_asked_for_once_at_a_time():
    node = Node()
    name = item_id(b"item")
    node.gossip.handle(PEERS[0], Announce((name,)), 0.0)
    node.gossip.handle(PEERS[1], Announce((name,)), 0.5)
    assert node.take() == [(PEERS[0], Request((name,)))]
    node.gossip.handle(PEERS[1], Announce((name,)), 1.0)
    assert node.take() == [(PEERS[1], Request((name,)))]
    node.gossip.handle(PEERS[1], Items((b"item",)), 1.1)
    node.gossip.handle(PEERS[1], Announce((name,)), 9.0)
    assert node.take() == []
    assert node.accepted == [b"item"]
    node.gossip.handle(PEERS[1], Items((b"item",)), 9.0)
    assert node.accepted == [b"item"]


def test_refused_and_dropped_items_are_not_asked_for():
    node = Node()
    node.valid = False
    with pytest.raises(RuleBroken):
        node.gossip.handle(PEERS[0], Items((b"bad",)), 0.0)
    name = node.gossip.add(b"old", informed=frozenset(PEERS))
    node.gossip.drop((name, bytes(32)))
    assert name not in node.gossip
    node.gossip.handle(PEERS[0], Announce((item_id(b"bad"), name)), 0.0)
    assert node.take() == []
    node.gossip.handle(PEERS[0], Items((b"bad", b"old")), 0.0)
    assert node.accepted == []


def test_only_so_many_items_of_a_message_are_looked_at():
    node = Node()
    node.gossip.handle(PEERS[0], Items(tuple(b"%d" % at for at in range(9))), 0.0)
    assert len(node.accepted) == PARAMS.items_per_message_max


def test_a_reply_is_split_and_bounded():
    params = ProtocolParams(items_per_message_max=4, item_bytes_max=100, gossip_reply_bytes_max=300)
    node = Node(params)
    small = [node.gossip.add(b"%d" % at, informed=frozenset(PEERS)) for at in range(6)]
    node.gossip.handle(PEERS[0], Request((*small, bytes(32))), 0.0)
    assert [len(message.items) for _, message in node.take()] == [4, 2]
    large = [node.gossip.add(bytes((at,)) * 90, informed=frozenset(PEERS)) for at in range(6)]
    node.gossip.handle(PEERS[0], Request(tuple(large)), 0.0)
    assert [len(message.items) for _, message in node.take()] == [1, 1, 1]
    huge = node.gossip.add(bytes(1000), informed=frozenset(PEERS))
    node.gossip.handle(PEERS[0], Request((huge,)), 0.0)
    assert len(node.take()) == 1, "one item always goes"
    node.gossip.handle(PEERS[0], Request((bytes(32),)), 0.0)
    assert node.take() == []


def test_names_that_lead_nowhere_are_bounded_and_forgotten():
    """All are asked for, but no more than so many are remembered, the peer's newest."""
    node = Node(replace(PARAMS, gossip_names_max=10))
    node.gossip.handle(PEERS[0], Announce(names(30)), 0.0)
    assert node.take() == [(PEERS[0], Request(names(30)))]
    assert remembered(node) == set(names(10, 20))
    node.gossip.tick(3 * PARAMS.gossip_interval_s)
    assert remembered(node) == set(names(10, 20)), "they may still come"
    node.gossip.tick(4 * PARAMS.gossip_interval_s)
    assert remembered(node) == set()


def test_a_peer_that_announces_too_much_loses_its_own_names():
    node = Node(replace(PARAMS, gossip_names_per_peer_max=5))
    node.gossip.handle(PEERS[1], Announce(names(5)), 0.0)
    node.gossip.handle(PEERS[0], Announce(names(30, 100)), 0.0)
    assert remembered(node) == {*names(5), *names(5, 125)}
    node.take()
    node.gossip.handle(PEERS[2], Announce(names(5)), 0.5)
    assert node.take() == [], "asked for of another one already"


def test_where_all_announce_too_much_the_one_with_most_names_loses_some():
    node = Node(replace(PARAMS, gossip_names_per_peer_max=8, gossip_names_max=10))
    node.gossip.handle(PEERS[0], Announce(names(3)), 0.0)
    node.gossip.handle(PEERS[1], Announce(names(7, 100)), 0.0)
    node.gossip.handle(PEERS[2], Announce(names(1, 200)), 0.0)
    assert remembered(node) == {*names(3), *names(6, 101), *names(1, 200)}
    node.gossip.handle(PEERS[0], Announce(names(1, 300)), 0.0)
    assert remembered(node) == {*names(2, 1), *names(6, 101), *names(1, 200), *names(1, 300)}


def test_who_announced_a_name_again_is_asked_for_it_now():
    """So what is forgotten with the first one's names is remembered as the other's."""
    node = Node(replace(PARAMS, gossip_names_per_peer_max=2))
    node.gossip.handle(PEERS[0], Announce(names(2)), 0.0)
    node.gossip.handle(PEERS[1], Announce(names(2)), 1.0)
    node.gossip.handle(PEERS[0], Announce(names(2, 100)), 1.0)
    assert remembered(node) == {*names(2), *names(2, 100)}


def test_refused_names_are_bounded():
    node = Node(replace(PARAMS, gossip_names_max=10))
    for at in range(25):
        node.gossip.refuse(b"%d" % at)
    assert len(node.gossip._refused) <= 10


def test_peers_that_seemed_away_are_tried_again():
    """A node whose first contacts were all still down must not stay alone for ever."""
    node = Node()
    node.away = set(PEERS)
    node.gossip.add(b"item")
    assert node.take() == []
    reached = set()
    for at in range(1, 200):
        node.gossip.tick(at * PARAMS.gossip_interval_s)
        reached |= {peer for peer, _ in node.take()}
    assert reached == set(PEERS)


def test_news_waits_for_more():
    node = Node(replace(PARAMS, gossip_gather_s=0.5, gossip_interval_s=9.0))
    first = node.gossip.add(b"first")
    assert node.take(1.0) == []
    assert node.gossip.next_deadline() == 1.5
    second = node.gossip.add(b"second")
    assert node.take(1.4) == []
    sent = node.take(1.5)
    assert [message for _, message in sent] == [Announce((first, second))] * PARAMS.gossip_fanout
    assert node.take(9.0) == []
    assert node.gossip.next_deadline() == 9.0


MANY = [at.to_bytes(32, "big") for at in range(400)]


def test_of_many_peers_a_few_are_looked_at():
    node = Node(peers=MANY)
    looked_at = []
    node.away = Looking(looked_at)
    informed = frozenset(MANY[:3])
    node.gossip.add(b"item", informed)
    told = {peer for peer, _ in node.take()}
    assert len(told) == PARAMS.gossip_fanout
    assert told.isdisjoint(informed)
    assert len(looked_at) <= 2 * PARAMS.gossip_fanout + len(informed)


class Looking(set):
    def __init__(self, looked_at):
        self.looked_at = looked_at

    def __contains__(self, peer):
        self.looked_at.append(peer)
        return False


def test_where_most_peers_are_away_all_are_looked_at():
    node = Node(peers=MANY)
    node.away = set(MANY[2:])
    node.gossip.add(b"item")
    assert {peer for peer, _ in node.take()} == set(MANY[:2])
