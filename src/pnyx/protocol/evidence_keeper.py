"""What a node does about evidence: takes it, stores it, passes it on, tells the owner.

Evidence that this node found itself and evidence from others go the same way: verified against the
plan of its attempt, durable, then told. The rules of what is kept are in `evidence.docket`.
"""

from collections.abc import Callable

from pnyx.errors import ProtocolError
from pnyx.protocol.events import Forget, PeerBlamed
from pnyx.protocol.evidence.dockets import Dockets
from pnyx.protocol.evidence.proofs import offence_of
from pnyx.protocol.gossip import Gossip
from pnyx.protocol.host import Host
from pnyx.protocol.identity import Census
from pnyx.protocol.messages import Evidence, TwoWords
from pnyx.protocol.round.plan import RoundPlan


class EvidenceKeeper:
    """Evidence of one node, and what follows from it.

    plan_at: the plan of the attempt that evidence is about, as far as this node knows it.
    census_of: the census of a study, if it is known. on_admitted: told of what was verified.
    """

    def __init__(
        self,
        *,
        node_id: bytes,
        dockets: Dockets,
        gossip: Gossip,
        host: Host,
        plan_at: Callable[[Evidence], RoundPlan | None],
        census_of: Callable[[bytes], Census | None],
        on_admitted: Callable[[RoundPlan, Evidence], None],
    ) -> None:
        self._node_id = node_id
        self._dockets = dockets
        self._gossip = gossip
        self._host = host
        self._plan_at = plan_at
        self._census_of = census_of
        self._on_admitted = on_admitted

    def accuse(self, plan: RoundPlan, evidence: Evidence) -> None:
        """Take evidence that this node found itself; what is not to be passed on is told only."""
        docket = self._dockets.of(plan.census)
        wanted = self._dockets.wants(plan.census, evidence, self._node_id)
        if wanted and docket.fits(evidence):
            self._host.guard(self._node_id, lambda: self._take(plan, evidence))
        else:
            offence = offence_of(evidence.proof)
            if wanted or docket.is_news(evidence.culprit, offence):
                node = plan.census.node_ids[evidence.culprit]
                self._host.emit(PeerBlamed(node, offence.value))

    def accuse_in_draw(self, plan: RoundPlan, node: bytes, proof: TwoWords) -> None:
        """Take evidence against a node, by its id, from the draw that belongs to a round."""
        culprit = plan.census.index_of(node)
        assert culprit is not None, "regions only hold nodes of the census"
        terms = plan.study, plan.round_number, plan.attempt
        self.accuse(plan, Evidence(*terms, culprit, proof))

    def on_evidence(self, evidence: Evidence, item: bytes, peer: bytes) -> None:
        """Take what a peer passes on. Raises ProtocolError if it proves nothing."""
        plan = self._plan_at(evidence)
        census = self._census_of(evidence.study) if plan is None else plan.census
        if census is None:
            return  # of a study that this node does not know yet, nor whose census
        if not self._dockets.wants(census, evidence, peer):
            self._gossip.refuse(item)
            return
        if plan is None:
            return  # of an attempt that this node does not know yet
        try:
            self._take(plan, evidence)
        except ProtocolError:
            self._dockets.of(census).failed(peer)
            raise

    def _take(self, plan: RoundPlan, evidence: Evidence) -> None:
        admitted = self._dockets.of(plan.census).admit(evidence, plan)
        for held in admitted.replaced:
            self._host.emit(Forget(held.key))
            self._gossip.drop((held.name,))
        if admitted.kept is not None:
            self._host.persist(admitted.kept.key, admitted.item)
            self._gossip.add(admitted.item)
        else:
            self._gossip.refuse(admitted.item)
        node = plan.census.node_ids[evidence.culprit]
        name = b"" if admitted.kept is None else admitted.kept.name
        self._host.emit(PeerBlamed(node, admitted.offence.value, name))
        self._on_admitted(plan, evidence)
