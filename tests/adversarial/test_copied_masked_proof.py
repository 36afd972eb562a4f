"""A contributor names another one's masked vector, and copies its proof (THREATS A9, A10).

As it is, the proof is one of another sketch: C1 names the contributor, and P comes from C1. With
the sketch that its own C1 draws it is right about the vector, whose key it does not know: the link
fails. Either way the thief is convicted by its own signature, its victim counts, and the sum is
exact; in unverified masked rounds such a copy spoils the sum (`test_copied_masked_vector`).
"""

from collections.abc import Iterator

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.masked import blocks_of
from tests.support.masked_runs import Watched, drawn, masked_study, opened

from pnyx.primitives import codec
from pnyx.protocol.aggregation import verdicts
from pnyx.protocol.aggregation.masked.vectors import MaskedUpdate, VectorCode
from pnyx.protocol.aggregation.masked_verification import commitments
from pnyx.protocol.aggregation.verdicts import Rule, Verdict
from pnyx.protocol.events import Effect, Send, StoreChunk
from pnyx.protocol.evidence.proofs import Offence
from pnyx.protocol.messages import ContributionHeader, Message, VectorOffer
from pnyx.protocol.round.plan import RoundPlan
from pnyx.simulator import InvariantError, Owner
from pnyx.simulator.adversary import Hands
from pnyx.simulator.masquerade import MaskedForger


def apart(plan: RoundPlan) -> list[int]:
    """Contributors that are no members; node 0 proposes, so it stays honest."""
    return [i for i in reversed(plan.contributors) if i not in plan.member_of and i > 0]


SEED, PLAN = next(
    (seed, plan)
    for seed in range(1, 100)
    for plan in (drawn(masked_study(seed, verified=True)),)
    if len(apart(plan)) > 1
)
THIEF, FIRST = apart(PLAN)[:2]
# Time enough for the thief: of the others all but one train for some seconds.
SLOW = tuple((i, Owner(training_s=5.0)) for i in PLAN.contributors if i not in (THIEF, FIRST))
HONEST = masked_study(SEED, verified=True, owners=SLOW)


class Thief(MaskedForger):
    """Offers nothing before it has heard an offer, and, as an aggregator, has pulled the vector.

    as_it_is: whether it signs the other one's words for its own, or makes a proof of its own.
    """

    def __init__(self, hands: Hands, *, as_it_is: bool) -> None:
        super().__init__(hands, pretend=self._steal)
        self._as_it_is = as_it_is
        self._theirs: VectorOffer | None = None
        self._chunks_of: dict[bytes, bytes] = {}
        self.victim = -1

    def _note(self, peer: bytes, message: Message) -> None:
        if isinstance(message, VectorOffer) and self._theirs is None:
            self._theirs = message
            self.victim = self._read(message).contributor
        super()._note(peer, message)

    def _read(self, offer: VectorOffer) -> ContributionHeader:
        return codec.decode(offer.header.body, ContributionHeader, bytes_max=10**6)

    def emit(self, effects: list[Effect], now: float) -> list[Effect]:
        for effect in effects:
            if isinstance(effect, StoreChunk):
                self._chunks_of[effect.parcel] = effect.data
        return super().emit(effects, now)

    def _offer(self, message: VectorOffer) -> Iterator[Send]:
        if self._theirs is None:
            return
        theirs = self._read(self._theirs)
        assert theirs.masked is not None
        if self._as_it_is:
            header = self._hands.sign(replace(theirs, contributor=self._hands.index))
            copy = codec.encode(replace(self._theirs, header=header))
            nodes = self._hands.census.node_ids
            for index in self._hands.aggregators(message.context):
                if index != self._hands.index:
                    yield Send(nodes[index], copy)
        elif theirs.masked.parcel in self._chunks_of:
            yield from super()._offer(message)

    def _steal(self, code: VectorCode, update: MaskedUpdate) -> MaskedUpdate:
        """The other one's vector, with a key of the thief's."""
        assert self._theirs is not None
        masked = self._read(self._theirs).masked
        assert masked is not None
        data = self._chunks_of[masked.parcel]
        nothing = tuple(np.zeros_like(each) for each in update.hidden)
        return update._replace(
            segments=(data,),
            linear_hashes=(self._theirs.linear_hash,),
            blocks=blocks_of(code, data),
            hidden=nothing,
        )


def attacked(*, as_it_is: bool) -> tuple[Watched, Thief]:
    simulation = Watched(replace(HONEST, limit_s=60.0))
    node = simulation.nodes[THIEF]
    simulation.corrupt = simulation.checker._corrupt = frozenset({THIEF})
    thief = Thief(simulation._hands(node, bytes(32)), as_it_is=as_it_is)
    node.adversary = thief
    return simulation, thief


@pytest.mark.parametrize(
    ("as_it_is", "rule"), [(True, Offence.FALSE_VECTOR.value), (False, Rule.LINK.value)]
)
def test_copied_masked_proof(as_it_is, rule):
    simulation, thief = attacked(as_it_is=as_it_is)
    outcome = simulation.run()
    assert opened(outcome)
    assert thief.victim in outcome.records[1].accepted
    assert THIEF not in outcome.records[1].accepted
    assert simulation.culprits() == {THIEF}
    assert simulation.rules_of(THIEF) == {rule}


def test_the_contributor_in_the_commitment_is_the_defence(monkeypatch):
    """Were P drawn without it, aggregators would vouch for the copy, and nobody be convicted."""
    bound = commitments.sketch_commitment
    monkeypatch.setattr(commitments, "sketch_commitment", lambda _, *parts: bound(b"", *parts))
    monkeypatch.setattr(
        "pnyx.protocol.aggregation.masked_verification.proof.sketch_commitment",
        commitments.sketch_commitment,
    )
    simulation, thief = attacked(as_it_is=True)
    assert opened(simulation.run())
    assert thief.victim >= 0
    assert simulation.rules_of(THIEF) == set()


def test_the_link_is_the_defence(monkeypatch):
    judge = verdicts._linked_verdict

    def unlinked(holds, off):
        found = judge(holds, off)
        return Verdict(accepted=True, off=off) if found.rule is Rule.LINK else found

    monkeypatch.setattr(verdicts, "_linked_verdict", unlinked)
    with pytest.raises(InvariantError, match=r"names another model|lost its sum"):
        attacked(as_it_is=False)[0].run()
