"""The verified evidence that one node holds, and whom it convicts in which study.

What assumes nothing convicts everywhere. What assumes that at most f members of a committee are
corrupt counts in that committee's study alone: a study whose committees are captured, perhaps its
proposer's own, must not convict honest nodes before others.

**What is kept** is little: of each culprit one item that assumes nothing, and one item each of at
most `evidence_studies_max` studies, the newest; all together `docket_bytes_max`. Items that are
larger than `two_bodies_bytes_max` have half of that: a few nodes that convict themselves by a
megabyte each do not keep the evidence against all others out. Where that is too little, what
assumes nothing takes the place of what counts in one study, oldest first; anything else convicts
here, and is neither stored nor passed on. Who is convicted already is not judged again, so genuine
evidence without end costs its maker's peers nothing. What fails costs its sender: after a few
failures nothing more of that peer is looked at, for an honest node passes on only what it has
verified itself.
"""

from collections import Counter
from collections.abc import Callable, Mapping

import msgspec

from pnyx.errors import MalformedMessage, RuleBroken
from pnyx.primitives import codec
from pnyx.protocol.evidence.proofs import (
    Offence,
    assumes_nothing,
    check_evidence,
    offence_of,
)
from pnyx.protocol.gossip import item_id
from pnyx.protocol.identity import Census
from pnyx.protocol.messages import (
    Evidence,
    FalseVectorLength,
    Indices,
    TwoBodies,
    WrongSumLength,
)
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.ports import Crypto, Records
from pnyx.protocol.round.plan import RoundPlan

PREFIX = "chain/evidence/"

VerifyEvidence = Callable[[Evidence, RoundPlan, Crypto], None]
_Key = tuple[int, bytes | None]  # culprit (census index), and the study; None for every study


class Held(msgspec.Struct, frozen=True):
    """An item that is kept. key: where it is stored. name: its hash."""

    key: str
    name: bytes
    size: int
    offence: Offence


class Admitted(msgspec.Struct, frozen=True):
    """Evidence that was verified. kept: None if there is no room. replaced: kept no longer."""

    offence: Offence
    item: bytes
    kept: Held | None
    replaced: tuple[Held, ...]


class Conviction(msgspec.Struct, frozen=True):
    """Whom evidence convicts.

    culprit: census index. evidence: hash of what proves it. node: the culprit's id.
    """

    culprit: int
    offence: Offence
    evidence: bytes
    node: bytes


class Docket:
    """Evidence by culprit and study, against nodes of one census.

    prefix: of the keys under which it is stored. records: how items are read and written. verify:
    as `check_evidence`.
    """

    def __init__(
        self,
        census: Census,
        crypto: Crypto,
        params: ProtocolParams,
        prefix: str = PREFIX,
        records: Records = codec,
        verify: VerifyEvidence = check_evidence,
    ) -> None:
        self.prefix = prefix
        self._records = records
        self._verify = verify
        self._census = census
        self._crypto = crypto
        self._params = params
        self._held: dict[_Key, Held] = {}  # oldest first
        self._next = 0  # number of the next item; keys begin with it, so ages outlive a restart
        self._bytes = 0
        self._proven: set[int] = set()  # convicted everywhere
        self._convicted: dict[bytes, set[int]] = {}  # study -> by what counts in it alone
        self._seen: set[tuple[int, Offence]] = set()
        self._failures: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def bytes_held(self) -> int:
        """Bytes of all items that are kept."""
        return self._bytes

    def culprits(self, study: bytes) -> Indices:
        """Census indices of the nodes that are convicted in a study.

        First those that are convicted everywhere, then those in this study alone; both ascending.
        """
        alone = self._convicted.get(study, set()) - self._proven
        return (*sorted(self._proven), *sorted(alone))

    def convicted(self, index: int, study: bytes) -> bool:
        """Whether the node with this census index is convicted in a study."""
        return index in self._proven or index in self._convicted.get(study, ())

    def keeps(self, index: int) -> bool:
        """Whether what convicts the node with this census index everywhere is kept."""
        return (index, None) in self._held

    @property
    def standing(self) -> dict[int, bool]:
        """Census index of each convicted node, ascending -> whether it is convicted everywhere."""
        everybody = self._proven.union(*self._convicted.values())
        return {index: index in self._proven for index in sorted(everybody)}

    @property
    def convictions(self) -> tuple[Conviction, ...]:
        """What is kept, in order of culprit and study."""
        return tuple(
            Conviction(culprit, held.offence, held.name, self._census.node_ids[culprit])
            for (culprit, _), held in sorted(
                self._held.items(), key=lambda each: (each[0][0], each[0][1] or b"")
            )
        )

    def restore(self, stored: Mapping[str, bytes]) -> list[bytes]:
        """Take back what was verified before it was stored; return it for gossip, oldest first.

        stored: items by key. What cannot be read, as an older version wrote it, convicts nobody any
        more.
        """
        items = []
        for key, item in sorted(stored.items()):
            self._next = int(key.removeprefix(self.prefix).partition("/")[0]) + 1
            try:
                evidence = self._records.decode(
                    item, Evidence, bytes_max=self._params.evidence_bytes_max
                )
            except MalformedMessage:
                continue
            self._convict(evidence)
            self._add(key, evidence, item)
            items.append(item)
        return items

    def wants(self, evidence: Evidence, peer: bytes) -> bool:
        """Whether to look at a peer's evidence at all; cheap. Raises ProtocolError."""
        if self._failures[peer] >= self._params.evidence_failures_max:
            raise RuleBroken("this peer's evidence has failed too often")
        if evidence.culprit >= len(self._census):
            raise RuleBroken("evidence names a node outside the census")
        if assumes_nothing(evidence.proof):
            return evidence.culprit not in self._proven
        return evidence.culprit not in self._convicted.get(evidence.study, ())

    def is_news(self, culprit: int, offence: Offence) -> bool:
        """Whether this is the first that is heard of such an offence by this node."""
        known = (culprit, offence) in self._seen
        self._seen.add((culprit, offence))
        return not known

    def failed(self, peer: bytes) -> None:
        """A peer passed on what proves nothing."""
        self._failures[peer] += 1

    def fits(self, evidence: Evidence) -> bool:
        """Whether evidence is small enough to be passed on."""
        padded = isinstance(evidence.proof, TwoBodies | FalseVectorLength | WrongSumLength)
        most = self._params.two_bodies_bytes_max if padded else self._params.evidence_bytes_max
        return len(self._records.encode(evidence)) <= most

    def admit(self, evidence: Evidence, plan: RoundPlan) -> Admitted:
        """Verify evidence that is wanted, convict its culprit, and keep it if there is room.

        Raises ProtocolError when it proves nothing, or is too large to pass on.
        """
        if not self.fits(evidence):
            raise RuleBroken("evidence is too large to be passed on")
        item = self._records.encode(evidence)
        self._verify(evidence, plan, self._crypto)
        self._convict(evidence)
        offence, key = offence_of(evidence.proof), _key(evidence)
        leaving = self._leaving(key, len(item))
        if leaving is None:
            return Admitted(offence, item, None, ())
        replaced = tuple(self._held.pop(each) for each in leaving)
        self._bytes -= sum(held.size for held in replaced)
        stored_at = f"{self.prefix}{self._next:010d}/{evidence.culprit:010d}"
        self._next += 1
        return Admitted(offence, item, self._add(stored_at, evidence, item), replaced)

    def _convict(self, evidence: Evidence) -> None:
        self._seen.add((evidence.culprit, offence_of(evidence.proof)))
        if assumes_nothing(evidence.proof):
            self._proven.add(evidence.culprit)
        else:
            self._convicted.setdefault(evidence.study, set()).add(evidence.culprit)

    def _leaving(self, key: _Key, size: int) -> list[_Key] | None:
        """What must go before an item can be kept; None if there is no room even so."""
        culprit, study = key
        large = {each for each, held in self._held.items() if self._is_large(held.size)}
        used, used_large = self._bytes, sum(self._held[each].size for each in large)
        leaving: list[_Key] = []

        def lacks_large() -> bool:
            most = self._params.docket_bytes_max // 2
            return self._is_large(size) and used_large + size > most

        def lacks() -> bool:
            return used + size > self._params.docket_bytes_max

        def leave(each: _Key) -> None:
            nonlocal used, used_large
            leaving.append(each)
            used -= self._held[each].size
            used_large -= self._held[each].size if each in large else 0

        if study is not None:
            same = [each for each in self._held if each[0] == culprit and each[1] is not None]
            for each in same[: max(0, len(same) + 1 - self._params.evidence_studies_max)]:
                leave(each)
        else:
            loose = [each for each in self._held if each[1] is not None]
            for each in (each for each in loose if each in large):
                if lacks_large():
                    leave(each)
            gone = set(leaving)
            for each in (each for each in loose if each not in gone):
                if lacks():
                    leave(each)
        return None if lacks() or lacks_large() else leaving

    def _is_large(self, size: int) -> bool:
        return size > self._params.two_bodies_bytes_max

    def _add(self, key: str, evidence: Evidence, item: bytes) -> Held:
        held = Held(key, item_id(item), len(item), offence_of(evidence.proof))
        self._held[_key(evidence)] = held
        self._bytes += held.size
        return held


def _key(evidence: Evidence) -> _Key:
    return evidence.culprit, None if assumes_nothing(evidence.proof) else evidence.study
