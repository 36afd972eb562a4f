"""The verified evidence that one node holds: at most one item for each culprit and rule.

That bound is what keeps flooders out: genuine evidence exists against corrupt nodes only, and of
each the first item for a rule is kept. What fails costs its sender: after a few failures nothing
more of that peer is looked at, for an honest node passes on only what it has verified itself.
"""

from collections import Counter
from collections.abc import Iterable

import msgspec

from pnyx.errors import RuleBroken
from pnyx.primitives import codec
from pnyx.protocol.evidence.proofs import Offence, check_evidence, offence_of
from pnyx.protocol.gossip import item_id
from pnyx.protocol.identity import Census
from pnyx.protocol.messages import Evidence
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.ports import Crypto
from pnyx.protocol.round.plan import RoundPlan

PREFIX = "chain/evidence/"


class Conviction(msgspec.Struct, frozen=True):
    """A node, by its census index, the rule that it broke, and the hash of what proves it."""

    culprit: int
    offence: Offence
    evidence: bytes


class Docket:
    """Evidence by culprit (census index) and offence."""

    def __init__(self, census: Census, crypto: Crypto, params: ProtocolParams) -> None:
        self._census = census
        self._crypto = crypto
        self._params = params
        self._held: dict[tuple[int, Offence], bytes] = {}  # -> hash of the item
        self._culprits: set[int] = set()
        self._failures: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def culprits(self) -> tuple[int, ...]:
        """Census indices of convicted nodes, ascending."""
        return tuple(sorted(self._culprits))

    @property
    def convictions(self) -> tuple[Conviction, ...]:
        """What is held, in order of culprit and offence."""
        return tuple(Conviction(*key, held) for key, held in sorted(self._held.items()))

    def convicted(self, index: int | None) -> bool:
        """Whether evidence against the node with this census index is held."""
        return index in self._culprits

    def restore(self, stored: Iterable[bytes]) -> list[bytes]:
        """Take back what was verified before it was stored; return it for gossip."""
        items = []
        for item in stored:
            evidence = codec.decode(item, Evidence, bytes_max=self._params.evidence_bytes_max)
            self._keep(evidence, item)
            items.append(item)
        return items

    def wants(self, evidence: Evidence, peer: bytes) -> bool:
        """Whether to look at a peer's evidence at all; cheap. Raises ProtocolError."""
        if self._failures[peer] >= self._params.evidence_failures_max:
            raise RuleBroken("this peer's evidence has failed too often")
        if evidence.culprit >= len(self._census):
            raise RuleBroken("evidence names a node outside the census")
        return (evidence.culprit, offence_of(evidence.proof)) not in self._held

    def failed(self, peer: bytes) -> None:
        """A peer passed on what proves nothing."""
        self._failures[peer] += 1

    def fits(self, evidence: Evidence) -> bool:
        """Whether evidence is small enough to be passed on."""
        return len(codec.encode(evidence)) <= self._params.evidence_bytes_max

    def admit(self, evidence: Evidence, plan: RoundPlan) -> tuple[str, bytes, Offence]:
        """Verify and keep evidence; return where to store it, its bytes, and the offence.

        Raises ProtocolError when it proves nothing, or is too large to pass on.
        """
        if not self.fits(evidence):
            raise RuleBroken("evidence is too large to be passed on")
        item = codec.encode(evidence)
        check_evidence(evidence, plan, self._crypto)
        offence = self._keep(evidence, item)
        return f"{PREFIX}{evidence.culprit:010d}/{offence.name.lower()}", item, offence

    def _keep(self, evidence: Evidence, item: bytes) -> Offence:
        offence = offence_of(evidence.proof)
        self._held[evidence.culprit, offence] = item_id(item)
        self._culprits.add(evidence.culprit)
        return offence
