"""The actor lists that a node helps to draw, and those that it knows, for all its studies.

For a study that selects by regions every node wants the list of the next round from the moment that
a round opens (`open`) until its record is in (`close`). Lists come from the node's own part in the
draw, or by gossip; of several attempts that came to one the first counts. A list is kept durably:
the committee's close votes wait for it.
"""

from collections import deque
from collections.abc import Callable, Collection, Mapping

from pnyx.primitives import codec
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.events import DrawStalled, Effect, Forget, Persist, RegionListed
from pnyx.protocol.messages import TwoWords
from pnyx.protocol.node_cache import LiveNodes
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.ports import Crypto
from pnyx.protocol.round.actors import read_actors
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.selection.region import (
    ActorProof,
    DrawSession,
    Offence,
    RegionDraws,
    RegionMessage,
    two_lists,
)
from pnyx.protocol.selection.region.draws import DrawHost, DrawTimes, Stalled
from pnyx.protocol.selection.region.messages import Region

_ENTERED = "region/"
_STALLED_MAX = 64
_ROLES = {Region.VALUE: "trigger", Region.LIST: "setter"}


def _scope(plan: RoundPlan) -> str:
    """Prefix of what a node stores for the draw that belongs to a round."""
    return f"{_ENTERED}{plan.study.hex()}/{plan.round_number:06d}"


class ActorLists:
    """Draws of one node; driven like a machine.

    emit: effects for the shell. on_list: told of a list that this node saw made. accuse: told of a
    node (by its id) that two words convict in the draw that belongs to a round.
    """

    def __init__(
        self,
        *,
        node_id: bytes,
        crypto: Crypto,
        sampler: Sampler,
        params: ProtocolParams,
        send: Callable[[bytes, RegionMessage], None],
        emit: Callable[[Effect], None],
        restored: Mapping[str, bytes],
        on_list: Callable[[ActorProof], None],
        accuse: Callable[[RoundPlan, bytes, TwoWords], None],
    ) -> None:
        self._emit = emit
        self._accuse = accuse
        self._on_list = on_list
        self._stored = {k: v for k, v in restored.items() if k.startswith(_ENTERED)}
        self._known: dict[str, bytes] = {}
        self._sessions: dict[str, DrawSession] = {}
        self._plans: dict[str, RoundPlan] = {}  # of the sessions
        self._stalled: deque[DrawStalled] = deque(maxlen=_STALLED_MAX)
        self._live = LiveNodes(
            node_id, refresh_s=params.node_cache_refresh_s, keep_s=params.node_cache_keep_s
        )
        self._draws = RegionDraws(
            DrawHost(
                node_id=node_id,
                crypto=crypto,
                sampler=sampler,
                times=DrawTimes(
                    attempt_s=params.selection_attempt_s,
                    attempt_growth=params.selection_attempt_growth,
                    grace_s=params.grace_s,
                    retransmit_s=params.retransmit_s,
                ),
                send=send,
                persist=lambda name: emit(Persist(name, b"1")),
                entered=self._stored,
                seen=self._seen,
                on_offence=self._on_offence,
                on_stalled=self._on_stalled,
            )
        )

    def open(self, plan: RoundPlan, now: float, *, serve: bool) -> None:
        """Want the list that the committee of this round fixes; take part in its draw if serving.

        A second attempt at the round goes on with the draw of the first.
        """
        name = _scope(plan)
        if plan.following is None or name in self._sessions:
            return
        stored = self._stored.get(f"{name}/list")
        if stored is not None:
            self._known[name] = stored
        elif serve:
            wanted = plan.following.wanted
            session = self._draws.want(name, plan.following.selector, wanted, self._on_list, now)
            self._sessions[name] = session
            self._plans[name] = plan
            listing = self._live.want(plan.following.selector.rule, wanted.count, now)
            if listing is not None and wanted.epoch == listing.epoch:
                self._emit(listing)

    def _seen(self, epoch: int, centre: int, share: float, now: float) -> Collection[bytes] | None:
        """Who is there, for draws of this epoch: in that of an earlier one places are others."""
        return self._live.known(centre, share, now) if epoch == self._live.epoch else None

    def enter(self, epoch: int, beacon: bytes) -> None:
        """An epoch has this beacon: this node stands elsewhere."""
        self._live.enter(epoch, beacon)

    def on_listed(self, listed: RegionListed, now: float) -> None:
        """The overlay has listed this node's surroundings: candidates of draws to come."""
        self._live.take(listed, now)

    def take(self, plan: RoundPlan, proof: ActorProof) -> bytes | None:
        """Check and keep a list; return its bytes if it is news, of an earlier attempt than known.

        Raises ProtocolError.
        """
        if plan.following is None:
            return None
        encoded, name = codec.encode(proof), _scope(plan)
        known = self._known.get(name)
        if known is not None:
            before = read_actors(known)
            if before.draw == proof.draw:
                self._compare(plan, before, proof)
            if before.draw.attempt <= proof.draw.attempt:
                return None
        plan.following.read(encoded)
        self._known[name] = encoded
        self._emit(Persist(f"{name}/list", encoded))
        if name in self._sessions:
            self._sessions[name].on_known(proof)
        return encoded

    def _compare(self, plan: RoundPlan, known: ActorProof, proof: ActorProof) -> None:
        """Convict whoever signed two lists of one draw, if the second is valid, too."""
        offences = tuple(two_lists(known, proof))
        if offences and plan.following is not None:
            plan.following.read(codec.encode(proof))
            for culprit, words in offences:
                self._accuse(plan, culprit, words)

    def _on_offence(self, name: str, offence: Offence) -> None:
        self._accuse(self._plans[name], offence.culprit, offence.proof)

    def known(self, plan: RoundPlan) -> bytes:
        """The list for the round after this one; empty while none is known."""
        return self._known.get(_scope(plan), b"")

    def close(self, plan: RoundPlan) -> bytes:
        """The record of the round is in: forget the draw; return the list that was known."""
        name = _scope(plan)
        if plan.following is not None:
            self._draws.close(name)
            self._sessions.pop(name, None)
            self._plans.pop(name, None)
            self._emit(Forget(f"{name}/"))
        return self._known.pop(name, b"")

    def _on_stalled(self, name: str, stalled: Stalled) -> None:
        plan = self._plans[name]
        terms = plan.study, plan.round_number + 1, stalled.attempt
        notice = DrawStalled(*terms, stalled.node, _ROLES[stalled.region])
        self._stalled.append(notice)
        self._emit(notice)

    def stalled(self, study: bytes) -> tuple[DrawStalled, ...]:
        """The last attempts at lists of a study that this node waited for in vain."""
        return tuple(notice for notice in self._stalled if notice.study == study)

    def handle(self, sender: bytes, message: RegionMessage, now: float) -> None:
        """Process a message of a draw. Raises ProtocolError."""
        self._draws.handle(sender, message, now)

    def tick(self, now: float) -> None:
        """Pass time on."""
        self._draws.tick(now)

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        return self._draws.next_deadline()
