"""What a peer may make a node spend on it: a burst, and then so much a second.

The unit is the owner's: the ring counts requests (`overlay`), the machine bytes of its answers
(`machine`), a parcel its chunks (`parcels`). What something costs may turn out only once it is
done. So a peer is refused when nothing is left of its allowance, and may owe what the last thing
cost beyond that.
"""

from collections import OrderedDict

from pnyx.errors import RuleBroken


class Allowance:
    """Allowances of many peers; those that asked last are remembered, `peers_max` of them."""

    def __init__(self, burst: float, per_s: float, peers_max: int) -> None:
        self._burst = burst
        self._per_s = per_s
        self._peers_max = peers_max
        self._left: OrderedDict[bytes, tuple[float, float]] = OrderedDict()  # how much, and when

    def _now_left(self, peer: bytes, now: float) -> float:
        left, at = self._left.get(peer, (self._burst, now))
        return min(self._burst, left + (now - at) * self._per_s)

    def check(self, peer: bytes, now: float) -> None:
        """Raises RuleBroken when less than one unit is left to the peer."""
        left = self._now_left(peer, now)
        if left < 1.0:
            self._note(peer, left, now)
            raise RuleBroken("asks for more than it may")

    def charge(self, peer: bytes, now: float, cost: float) -> None:
        """Take off what was done for a peer; it may come to owe some of it."""
        self._note(peer, self._now_left(peer, now) - cost, now)

    def _note(self, peer: bytes, left: float, now: float) -> None:
        self._left[peer] = left, now
        self._left.move_to_end(peer)
        if len(self._left) > self._peers_max:
            self._left.popitem(last=False)

    def spend(self, peer: bytes, now: float) -> None:
        """Count one unit. Raises RuleBroken when it is not left to the peer."""
        self.check(peer, now)
        self.charge(peer, now, 1.0)
