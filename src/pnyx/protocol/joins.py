"""Which owners lend their data to which study, and whether this node's own owner consents.

A join says that its signer takes part, or no longer does; of one signer the last word counts, by
its sequence number. Only the owner's node knows its consent: joined without consent, after a
restart for instance, a node contributes nothing.
"""

from collections.abc import Callable

from pnyx.errors import RuleBroken
from pnyx.protocol.gossip import Gossip
from pnyx.protocol.identity import Census
from pnyx.protocol.messages import Indices, Join, Signed
from pnyx.protocol.ports import Records


class Joins:
    """The last word of each owner about each study, as one node knows it.

    node_id: this node. ahead_max: studies that nobody has proposed yet and that one node may join.
    """

    def __init__(self, *, node_id: bytes, ahead_max: int, gossip: Gossip, records: Records) -> None:
        self._node_id = node_id
        self._ahead_max = ahead_max
        self._gossip = gossip
        self._records = records
        self._joins: dict[bytes, dict[bytes, Join]] = {}  # study -> node -> its last word
        self._items: dict[tuple[bytes, bytes], bytes] = {}  # study, node -> the item's name
        self._consents: set[bytes] = set()

    def of(self, study: bytes, node: bytes) -> Join | None:
        """The last word of a node about a study."""
        return self._joins.get(study, {}).get(node)

    def joined(self, study: bytes, census: Census) -> Indices:
        """Census indices of the owners that are known to lend their data to a study, ascending."""
        places = (
            census.index_of(node)
            for node, join in self._joins.get(study, {}).items()
            if join.joined
        )
        return tuple(sorted(place for place in places if place is not None))

    def take(self, signed: Signed, join: Join, is_known: Callable[[bytes], bool]) -> None:
        """Take a node's word, unless a later one is known. Raises RuleBroken.

        is_known: whether a study has been proposed.
        """
        node, study = signed.signer, join.study
        if not is_known(study) and study not in self._joins:
            ahead = sum(node in them for each, them in self._joins.items() if not is_known(each))
            if ahead >= self._ahead_max:
                raise RuleBroken("a node joins too many studies that nobody has proposed")
        joins = self._joins.setdefault(study, {})
        known = joins.get(node)
        item = self._records.encode(signed)
        if known is not None and known.sequence >= join.sequence:
            self._gossip.refuse(item)
            return
        joins[node] = join
        name = self._gossip.add(item)
        old = self._items.get((study, node))
        if old is not None:
            self._gossip.drop((old,))
        self._items[study, node] = name

    def consent(self, study: bytes, *, given: bool) -> None:
        """The owner of this node gives or refuses consent."""
        if given:
            self._consents.add(study)
        else:
            self._consents.discard(study)

    def willing(self, study: bytes) -> bool:
        """Whether the owner of this node has joined and still consents."""
        mine = self.of(study, self._node_id)
        return study in self._consents and mine is not None and mine.joined
