"""Spreading what everybody should know: records of nodes, studies, joins and rounds.

An item is named by its hash. A node that accepts an item announces the name to a few random peers;
who lacks it asks, and gets the bytes. Every few seconds it announces all current names to one
random peer, so that whoever was away or lost a message catches up. The store holds only items that
the machine has verified and wants kept; it drops those that newer ones replace.

Models are too large for items: they are announced by name only, and pulled as parcels by whoever
needs them (`models`).
"""

from collections.abc import Callable, Iterable, Sequence
from math import inf

from pnyx.primitives.hashing import digest
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.messages import Announce, GossipMessage, Items, Request
from pnyx.protocol.params import ProtocolParams

_LOOKED_AT_MAX = 256  # up to so many peers, each is looked at before a few are drawn


def item_id(item: bytes) -> bytes:
    """Name of an encoded item."""
    return digest("pnyx/item", item)


class _Asked:
    """Names that were asked for: of whom, and when.

    They only save asking several peers for one item at a time; what comes is taken in any case. So
    a peer that announces more names than it may loses its own oldest, and takes nothing from
    others. Where all peers together announce too many, the one with the most of them loses some.
    """

    def __init__(self, per_peer_max: int, names_max: int) -> None:
        self._per_peer_max = per_peer_max
        self._names_max = names_max
        self._asked: dict[bytes, tuple[float, bytes]] = {}  # name -> when, of whom
        self._of: dict[bytes, dict[bytes, None]] = {}  # peer -> names, the oldest first

    def __len__(self) -> int:
        return len(self._asked)

    def at(self, name: bytes) -> float:
        """When a name was asked for last; -inf if it is not known to have been."""
        return self._asked[name][0] if name in self._asked else -inf

    def note(self, name: bytes, peer: bytes, now: float) -> None:
        """A peer, who announced it, is asked for a name."""
        self.forget(name)
        own = len(self._of.get(peer, ()))
        if own >= self._per_peer_max or (own and len(self) >= self._names_max):
            self._forget_oldest(peer)
        elif len(self) >= self._names_max:
            self._forget_oldest(max(self._of, key=lambda each: len(self._of[each])))
        self._asked[name] = now, peer
        self._of.setdefault(peer, {})[name] = None

    def _forget_oldest(self, peer: bytes) -> None:
        self.forget(next(iter(self._of[peer])))

    def forget(self, name: bytes) -> None:
        """The item is here, or it is not waited for any more."""
        if name in self._asked:
            _, peer = self._asked.pop(name)
            del self._of[peer][name]
            if not self._of[peer]:
                del self._of[peer]

    def expire(self, before: float) -> None:
        """Forget what was asked for at this time or earlier."""
        for name in [name for name, (at, _) in self._asked.items() if at <= before]:
            self.forget(name)


class Gossip:
    """Items held by one node, and who is asked for which."""

    def __init__(
        self,
        params: ProtocolParams,
        sampler: Sampler,
        peers: Callable[[], Sequence[bytes]],
        away: Callable[[bytes], bool],
        send: Callable[[bytes, GossipMessage], None],
        accept: Callable[[bytes, bytes], None],
        on_models: Callable[[bytes, tuple[bytes, ...]], None],
        now: float,
    ) -> None:
        self._params = params
        self._sampler = sampler
        self._peers = peers
        self._away = away
        self._send = send
        self._accept = accept
        self._on_models = on_models
        self._items: dict[bytes, bytes] = {}
        self._models: dict[bytes, None] = {}  # names, the newest last
        self._fresh: dict[frozenset[bytes], list[bytes]] = {}
        self._fresh_models: list[bytes] = []
        self._asked = _Asked(params.gossip_names_per_peer_max, params.gossip_names_max)
        self._refused: set[bytes] = set()
        self._next_round = now + params.gossip_interval_s
        self._news_at: float | None = None  # when what is new is announced

    def __contains__(self, name: bytes) -> bool:
        return name in self._items

    def get(self, name: bytes) -> bytes | None:
        """An item's bytes, if held."""
        return self._items.get(name)

    def next_deadline(self) -> float:
        """When the next periodic exchange, or what is new, is due."""
        return self._next_round if self._news_at is None else min(self._next_round, self._news_at)

    def tick(self, now: float) -> None:
        """Tell one random peer everything that is held."""
        if now < self._next_round:
            return
        self._next_round = now + self._params.gossip_interval_s
        self._asked.expire(now - 8 * self._params.gossip_request_timeout_s)
        # Whoever seemed away may be back, and at first everybody may: leave nobody out for ever.
        peers = self._peers()
        if peers:
            self.announce_all(peers[self._sampler.below(len(peers))])

    def announce_all(self, peer: bytes) -> None:
        """Tell one peer everything that is held, newest last."""
        most = self._params.gossip_announce_items_max
        names, models = tuple(self._items)[-most:], tuple(self._models)[-most:]
        if names or models:
            self._send(peer, Announce(names, models))

    def add(self, item: bytes, informed: frozenset[bytes] = frozenset()) -> bytes:
        """Keep an item of this node's own or one that it accepted; `flush` announces it.

        informed: peers that have the item from elsewhere.
        """
        name = item_id(item)
        if name not in self._items:
            self._items[name] = item
            self._fresh.setdefault(informed, []).append(name)
        return name

    def announce_model(self, name: bytes) -> None:
        """Say from now on that this node holds a model, until `withdraw_model`."""
        if name not in self._models:
            self._models[name] = None
            self._fresh_models.append(name)

    def withdraw_model(self, name: bytes) -> None:
        """Say no longer that this node holds a model."""
        if name in self._models:
            del self._models[name]
            self._fresh_models = [fresh for fresh in self._fresh_models if fresh != name]

    def flush(self, now: float) -> None:
        """Announce what is new, one message a peer, once it has waited for more as long as it may.

        Models alone to fewer: records name them, and their makers are known.

        So in a large network many joins travel in one message, instead of one in each.
        """
        if not self._fresh and not self._fresh_models:
            return
        if self._news_at is None:
            self._news_at = now + self._params.gossip_gather_s
        if now < self._news_at:
            return
        self._news_at = None
        fresh, self._fresh = self._fresh, {}
        models, self._fresh_models = self._fresh_models, []
        if models and not fresh:
            fresh = {frozenset(): []}
        most = self._params.gossip_announce_items_max
        for informed, names in fresh.items():
            announced = Announce(tuple(names[-most:]), tuple(models[-most:]))
            few = self._params.gossip_fanout if names else self._params.model_fanout
            for peer in self._random_peers(few, informed):
                self._send(peer, announced)

    def drop(self, names: Iterable[bytes]) -> None:
        """Stop keeping items that newer ones replace; they are not asked for again."""
        for name in names:
            if self._items.pop(name, None) is not None:
                self._refuse_name(name)

    def _random_peers(self, count: int, without: frozenset[bytes] = frozenset()) -> list[bytes]:
        known = self._peers()
        looked_at = 2 * count + len(without)
        if len(known) > max(_LOOKED_AT_MAX, looked_at):  # a sample will do, unless most are away
            drawn = [known[at] for at in self._sampler.sample(len(known), looked_at)]
            peers = [p for p in drawn if p not in without and not self._away(p)]
            if len(peers) >= count:
                return peers[:count]
        peers = [p for p in known if p not in without and not self._away(p)]
        chosen = self._sampler.sample(len(peers), min(count, len(peers)))
        return [peers[at] for at in chosen]

    def handle(self, peer: bytes, message: GossipMessage, now: float) -> None:
        """Process an announcement, a request or items. Items may raise ProtocolError."""
        match message:
            case Announce():
                self._on_announce(peer, message, now)
            case Request():
                self._on_request(peer, message)
            case Items():
                for item in message.items[: self._params.items_per_message_max]:
                    self._on_item(peer, item)

    def _on_announce(self, peer: bytes, message: Announce, now: float) -> None:
        wanted: list[bytes] = []
        timeout = self._params.gossip_request_timeout_s
        for name in message.items:
            if name in self._items or name in self._refused:
                continue
            if now >= self._asked.at(name) + timeout:
                self._asked.note(name, peer, now)
                wanted.append(name)
        if wanted:
            self._send(peer, Request(tuple(wanted)))
        if message.models:
            self._on_models(peer, message.models)

    def _on_request(self, peer: bytes, message: Request) -> None:
        batch: list[bytes] = []
        size, total = 0, 0
        for name in dict.fromkeys(message.items):
            item = self._items.get(name)
            if item is None:
                continue
            total += len(item)
            if total > self._params.gossip_reply_bytes_max and total > len(item):
                break  # the rest is announced and asked for again
            full = len(batch) == self._params.items_per_message_max
            if batch and (full or size + len(item) > self._params.item_bytes_max):
                self._send(peer, Items(tuple(batch)))
                batch, size = [], 0
            batch.append(item)
            size += len(item)
        if batch:
            self._send(peer, Items(tuple(batch)))

    def _on_item(self, peer: bytes, item: bytes) -> None:
        name = item_id(item)
        self._asked.forget(name)
        if name not in self._items and name not in self._refused:
            self._accept(peer, item)

    def refuse(self, item: bytes) -> None:
        """Never ask for an invalid or outdated item again."""
        self._refuse_name(item_id(item))

    def _refuse_name(self, name: bytes) -> None:
        if len(self._refused) >= self._params.gossip_names_max:
            self._refused.clear()
        self._refused.add(name)
