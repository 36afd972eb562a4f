"""The live nodes around a node's own place, as its overlay lists them: its *node cache*.

Candidates of a draw are certified nodes of R3 that somebody in the setter's region has heard of
lately. Certificates tell who may be listed, the cache who is there. Caches differ from node to
node, and no node's word takes another out: the setter names those that it knows, each node of R2
adds those that it knows besides (`Presence.additions`), and the list is made of the union, which
the roll fixes for all. So a candidate is left out only if *every* honest node on the roll missed
it, and a quorum of the region is on the roll.

A listing (`RegionListed`) is what the overlay's enumeration came to: every node in it has answered
with a signature, neighbours were asked from both sides, and the density is right. One that is too
sparse is not taken. A node without a listing that covers R3 takes everybody who is certified for
live, so whoever is shut out of the overlay leaves nobody out either.

A node is kept for `keep_s` after it was listed last. Who is away for a while stays: corrupt nodes
are never away, and a cache of those that answer at this moment would give them 1/(1 - a) of their
share, where a share a of the others is away.
"""

from collections.abc import Collection

from pnyx.protocol.events import RegionListed, RegionWanted
from pnyx.protocol.selection.region.ring import RING, distance, position_of, reach
from pnyx.protocol.selection.region.rule import RegionRule


class LiveNodes:
    """Which nodes around its own place this node has heard of. Durations in seconds."""

    def __init__(self, node_id: bytes, *, refresh_s: float, keep_s: float) -> None:
        self._node_id = node_id
        self._refresh_s = refresh_s
        self._keep_s = keep_s
        self.epoch = -1
        self._position = 0
        self._reach = -1  # how far from the own position the last good listing goes
        self._listed_at = float("-inf")
        self._heard: dict[bytes, float] = {}

    def enter(self, epoch: int, beacon: bytes) -> None:
        """Stand at this epoch's place; what was listed around another one is of no use."""
        if epoch != self.epoch:
            self.epoch, self._position = epoch, position_of(self._node_id, beacon)
            self._listed_at, self._reach = float("-inf"), -1
            self._heard.clear()

    def want(self, rule: RegionRule, count: int, now: float) -> RegionWanted | None:
        """What to ask the overlay for; None while the last good listing is fresh."""
        if now < self._listed_at + self._refresh_s:
            return None
        furthest = reach(watched_share(rule, count))
        start, end = ((self._position + side * furthest) % RING for side in (-1, 1))
        return RegionWanted(self.epoch, start, end)

    def take(self, listed: RegionListed, now: float) -> None:
        """Keep what the overlay found around this node's place in this epoch, unless too sparse."""
        if listed.epoch != self.epoch or listed.sparse:
            return
        whole = listed.start == listed.end
        ends = (distance(self._position, point) for point in (listed.start, listed.end))
        self._reach = RING // 2 if whole else min(ends)
        self._listed_at = now
        self._heard.update(dict.fromkeys(listed.nodes, now))
        self._heard[self._node_id] = now
        oldest = now - self._keep_s
        self._heard = {node: at for node, at in self._heard.items() if at >= oldest}

    def known(self, centre: int, share: float, now: float) -> Collection[bytes] | None:
        """Nodes heard of lately, when all of a region around a point was listed; else None."""
        furthest = distance(centre, self._position) + reach(share)
        covered = furthest <= self._reach or self._reach == RING // 2
        return self._heard if covered and now <= self._listed_at + self._keep_s else None


def watched_share(rule: RegionRule, count: int) -> float:
    """The share of the ring that a node lists around itself.

    It stands within half of R2 from the setter, and the setter a gap behind the centre of R3.
    """
    return min(1.0, rule.candidate_share(count) + 2 * rule.region_share)
