"""One peer announces names of nothing without end, and would keep others from being heard (D1, D4).

A node remembers whom it asked for which name, so as not to ask several peers for one item at once.
That memory is bounded. A bound that all peers share let one of them fill it, 2 MB every 8 seconds,
and a node asked for nothing more: no record, no abort, no evidence.
"""

from tests.support.town import NETWORK, Town

from pnyx.primitives import codec
from pnyx.protocol.events import Send
from pnyx.protocol.gossip import _Asked, item_id
from pnyx.protocol.identity import sign_body
from pnyx.protocol.messages import Announce, Items, Join, Request
from pnyx.protocol.params import DEFAULT_PARAMS

MOST = DEFAULT_PARAMS.gossip_names_max
FLOOD = MOST + 4 * 4096


def flooded(flooders: tuple[int, ...]) -> Town:
    """Node 0 has heard so many names of nothing, from each of these peers in turn."""
    town = Town()
    town.run(seconds=0.2)
    for start in range(0, FLOOD, 4096):
        names = tuple((start + at).to_bytes(32, "big") for at in range(4096))
        town.inject(flooders[start // 4096 % len(flooders)], 0, Announce(names))
    return town


def asked_for(effects) -> list[bytes]:
    sent = [codec.decode(e.payload, Request, bytes_max=MOST) for e in effects if type(e) is Send]
    return [name for request in sent for name in request.items]


def join_of(town: Town, index: int) -> bytes:
    body = Join(NETWORK, bytes(32), 0, True)
    return codec.encode(sign_body(town.cryptos[index], NETWORK, town.census.node_ids[index], body))


def remembered(town: Town) -> _Asked:
    return town.machines[0]._gossip._asked


def news_arrives(town: Town, sender: int, receiver: int = 0) -> None:
    """What another peer announces is asked for, once, and taken."""
    item = join_of(town, sender)
    name = item_id(item)
    assert asked_for(town.inject(sender, receiver, Announce((name,)))) == [name]
    assert asked_for(town.inject(3, receiver, Announce((name,)))) == [], "it is being asked for"
    town.inject(sender, receiver, Items((item,)))
    assert town.machines[receiver].rounds.joins.of(bytes(32), town.census.node_ids[sender])


def test_one_peer_keeps_nobody_from_being_heard():
    town = flooded((1,))
    assert len(remembered(town)) <= DEFAULT_PARAMS.gossip_names_per_peer_max
    news_arrives(town, 2)


def test_nor_do_many():
    """Together they fill what a node remembers; others are heard all the same."""
    town = flooded((1, 4, 5, 6, 7, 8))
    assert len(remembered(town)) <= 6 * DEFAULT_PARAMS.gossip_names_per_peer_max
    news_arrives(town, 2)


def test_a_flood_takes_nothing_from_what_is_asked_of_others():
    town = Town()
    town.run(seconds=0.2)
    item = join_of(town, 2)
    town.inject(2, 0, Announce((item_id(item),)))
    for start in range(0, FLOOD, 4096):
        names = tuple((start + at).to_bytes(32, "big") for at in range(4096))
        town.inject(1, 0, Announce(names))
    assert asked_for(town.inject(3, 0, Announce((item_id(item),)))) == []


def test_the_bounds_are_the_defence(monkeypatch):
    monkeypatch.setattr(_Asked, "_forget_oldest", lambda self, peer: None)
    assert len(remembered(flooded((1,)))) == FLOOD
