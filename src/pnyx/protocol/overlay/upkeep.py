"""Keeping the ring in order: whom to ask next, so that little traffic keeps neighbours true.

A tick asks a few nodes for their neighbourhood at this node's own place:

1. neighbours that this node was told of and has never heard, nearest first;
2. of the nearest neighbours, the one unheard for the longest, if that is longer than
   `near_refresh_s`; of all neighbours, the same with `far_refresh_s`; those that failed at once;
3. now and then one node that is away: it may be back.

Being asked by a neighbour that has answered before keeps it fresh, so two neighbours ask each other
half as often.
With 32 neighbours that makes less than one question in two seconds, however large the ring. A node
that has just joined asks more often: others join, too, and know each other as little.

Fingers are looked up one at a time, by full look-ups: a finger that a liar chose would spoil the
paths of many look-ups to come.
"""

from math import inf

from pnyx.protocol.overlay.params import OverlayParams
from pnyx.protocol.overlay.table import NodeTable, RingNode

_YOUNG = 4.0  # a node of this many seconds asks a neighbour again after one second


class Upkeep:
    """The schedule of one node on one ring."""

    def __init__(self, table: NodeTable, params: OverlayParams, now: float) -> None:
        self._table = table
        self._params = params
        self._born = now
        self._next_tick = now
        self._next_retry = now + params.away_retry_s
        self._next_finger = now + params.finger_first_s
        self._fingers_done: set[int] = set()
        self._finger_turn = 0

    def next_deadline(self) -> float:
        """When the next tick is due."""
        return self._next_tick

    def is_due(self, now: float) -> bool:
        """Whether to tick; the next one is then planned."""
        if now < self._next_tick:
            return False
        self._next_tick = now + self._params.tick_s
        return True

    def to_ask(self, now: float) -> list[RingNode]:
        """Whom to ask in this tick."""
        neighbours = self._table.neighbours()
        unheard = [node for node in neighbours if node.heard_at == -inf]
        asked = unheard[: self._params.unheard_asks]
        near = neighbours[: 2 * self._params.near_per_side]
        young = (now - self._born) / _YOUNG
        asked += self._oldest(near, now - min(self._params.near_refresh_s, young))
        asked += self._oldest(neighbours, now - min(self._params.far_refresh_s, 4 * young))
        asked += [node for node in neighbours if node.failures][:1]
        if now >= self._next_retry:
            self._next_retry = now + self._params.away_retry_s
            away = self._table.away_to_retry(now)
            asked += [away] if away is not None else []
        return list({node.node_id: node for node in asked}.values())

    def _oldest(self, nodes: list[RingNode], before: float) -> list[RingNode]:
        heard = [node for node in nodes if -inf < node.heard_at < before]
        return [min(heard, key=lambda node: node.heard_at)] if heard else []

    def next_finger(self, now: float) -> int | None:
        """A target to look up now, if one is due."""
        if now < self._next_finger:
            return None
        targets = self._table.finger_targets()
        if not targets:
            self._next_finger = now + self._params.finger_refresh_s
            return None
        missing = [at for at in range(len(targets)) if at not in self._fingers_done]
        if missing:
            turn, wait = missing[0], self._params.finger_first_s
        else:
            self._finger_turn = (self._finger_turn + 1) % len(targets)
            turn, wait = self._finger_turn, self._params.finger_refresh_s
        self._fingers_done.add(turn)
        self._next_finger = now + wait
        return targets[turn]
