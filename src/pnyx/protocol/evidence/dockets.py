"""Evidence that one node holds, a docket for each census whose members it is about.

Records and evidence name nodes by their place in a census, so what counts under one census must not
be read under another. What assumes nothing convicts a node by its id, in every census.

**What is kept again.** Who is convicted under one census by an item that is kept, so that others
can have it, is not judged again under a census that lists nobody new. Where one lists somebody new,
one more item is judged, kept and passed on, for newcomers may be unable to judge the first: a study
that ended before its first record is taken up by nobody later. Else a node could convict itself in
such a study, and no later evidence against it would reach them.

**No bound holds for all dockets together.** What assumes nothing never gives way, so a coalition
that filled a common bound once would keep evidence against others out under all censuses to come,
long after the authority has revoked it. Were older items to give way instead, it could push out
those against others. Only the authority makes censuses, so nobody else can have a docket made.
"""

from collections.abc import Iterable, Mapping

from pnyx.primitives import codec
from pnyx.protocol.evidence.docket import PREFIX, Conviction, Docket, VerifyEvidence
from pnyx.protocol.evidence.proofs import assumes_nothing, check_evidence
from pnyx.protocol.identity import Census
from pnyx.protocol.messages import Evidence, Indices
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.ports import Crypto, Records


class Dockets:
    """Dockets by census root. records, verify: as for a `Docket`."""

    def __init__(
        self,
        crypto: Crypto,
        params: ProtocolParams,
        records: Records = codec,
        verify: VerifyEvidence = check_evidence,
    ) -> None:
        self._crypto = crypto
        self._params = params
        self._records = records
        self._verify = verify
        self._dockets: dict[bytes, tuple[Census, Docket]] = {}

    def of(self, census: Census) -> Docket:
        """The docket of one census. The first census keeps the plain prefix."""
        known = self._dockets.get(census.root)
        if known is None:
            first = census.body.number == 0
            prefix = PREFIX if first else f"chain/evidence-{census.root.hex()}/"
            terms = census, self._crypto, self._params, prefix, self._records, self._verify
            known = census, Docket(*terms)
            self._dockets[census.root] = known
        return known[1]

    def restore(self, stored: Mapping[str, bytes], censuses: Iterable[Census]) -> list[bytes]:
        """Take back what was verified before it was stored; return it for gossip."""
        items: list[bytes] = []
        for census in censuses:
            docket = self.of(census)
            own = {key: item for key, item in stored.items() if key.startswith(docket.prefix)}
            items += docket.restore(own)
        return items

    def wants(self, census: Census, evidence: Evidence, peer: bytes) -> bool:
        """Whether to look at evidence of a study of this census at all; cheap.

        Raises ProtocolError.
        """
        if not self.of(census).wants(evidence, peer):
            return False
        return not (assumes_nothing(evidence.proof) and self._serves(census, evidence.culprit))

    def _serves(self, census: Census, index: int) -> bool:
        """Whether what convicts a node under another census is kept, and all of this can judge it.

        index: of the culprit, in this census.
        """
        node, here = census.node_ids[index], census.node_ids
        for other, docket in self._dockets.values():
            place = None if other is census else other.index_of(node)
            if place is not None and docket.keeps(place) and set(other.node_ids).issuperset(here):
                return True
        return False

    def culprits(self, census: Census, study: bytes) -> Indices:
        """Census indices of the nodes that are convicted in a study, as `Docket.culprits`."""
        own = self.of(census).culprits(study)
        carried = [index for index in self._carried(census) if index not in own]
        return (*carried, *own)

    def convicts(self, census: Census, index: int, study: bytes) -> bool:
        """Whether the node at a place in this census is convicted in a study."""
        docket = self.of(census)
        return docket.convicted(index, study) or (
            len(self._dockets) > 1 and index in self._carried(census)
        )

    def _carried(self, census: Census) -> list[int]:
        """Who was convicted beyond doubt under another census, ascending."""
        found = {
            census.index_of(other.node_ids[index])
            for other, docket in self._dockets.values()
            if other is not census
            for index, proven in docket.standing.items()
            if proven
        }
        return sorted(index for index in found if index is not None)

    @property
    def standing(self) -> dict[bytes, bool]:
        """Id of each convicted node -> whether it is convicted everywhere."""
        found: dict[bytes, bool] = {}
        for census, docket in self._dockets.values():
            for index, proven in docket.standing.items():
                node = census.node_ids[index]
                found[node] = proven or found.get(node, False)
        return found

    @property
    def convictions(self) -> tuple[Conviction, ...]:
        """What is kept, census by census."""
        return tuple(
            conviction for _, docket in self._dockets.values() for conviction in docket.convictions
        )


__all__ = ["Conviction", "Docket", "Dockets"]
