"""What caller and signer share: the node, its keys, what it knows, and where messages go."""

from collections.abc import Callable, Collection

from pnyx.primitives.sampling import Sampler
from pnyx.protocol.ports import Crypto
from pnyx.protocol.selection.region.messages import (
    CANDIDATES_MAX,
    ActorProof,
    Draw,
    RandomProof,
    Region,
    RegionMessage,
)
from pnyx.protocol.selection.region.offences import Offence
from pnyx.protocol.selection.region.selector import RegionSelector
from pnyx.protocol.selection.region.statements import point_of


class DrawServices:
    """Services of one node, bound to one attempt at one list.

    seen: node ids that this node has heard of in a region around a point; None if it cannot tell.
    send: to a node by its id. enter: store durably that this node takes part in a call for this
    region; False when it did before, in an earlier life. may_open: whether secrets may still be
    opened. on_value: a valid random value that was heard of. on_random, on_list: what came of the
    call. on_offence: what convicts somebody.
    """

    def __init__(
        self,
        *,
        draw: Draw,
        context: bytes,
        node_id: bytes,
        crypto: Crypto,
        selector: RegionSelector,
        sampler: Sampler,
        grace_s: float,
        retransmit_s: float,
        seen: Callable[[int, float], Collection[bytes] | None],
        send: Callable[[bytes, RegionMessage], None],
        enter: Callable[[Region], bool],
        may_open: Callable[[], bool],
        on_value: Callable[[RandomProof], None],
        on_random: Callable[[RandomProof], None],
        on_list: Callable[[ActorProof], None],
        on_offence: Callable[[Offence], None],
    ) -> None:
        self.draw = draw
        self.context = context
        self.node_id = node_id
        self.crypto = crypto
        self.selector = selector
        self.cache = selector.cache
        self.rule = selector.rule
        self.sampler = sampler
        self.grace_s = grace_s
        self.retransmit_s = retransmit_s
        self._seen = seen
        self.send = send
        self.enter = enter
        self.may_open = may_open
        self.on_value = on_value
        self.on_random = on_random
        self.on_list = on_list
        self.on_offence = on_offence

    def certified(self, value: bytes) -> tuple[bytes, ...]:
        """Certified nodes of R3, nearest first."""
        centre, share = point_of(self.context, value), self.rule.candidate_share(self.draw.count)
        return tuple(place.node_id for place in self.cache.near(centre, share, CANDIDATES_MAX))

    def candidates(self, value: bytes) -> tuple[bytes, ...]:
        """Those that this node has heard of lately."""
        centre, share = point_of(self.context, value), self.rule.candidate_share(self.draw.count)
        seen, certified = self._seen(centre, share), self.certified(value)
        return certified if seen is None else tuple(node for node in certified if node in seen)
