"""A contributor commits to another linear hash than its vector's, or shows two vectors (A9).

What a contributor commits to decides how its sum is checked. A false hash would have every sum
refused and its aggregators convicted, though they added up truly; so aggregators look before they
give a receipt, and once more before they sign a sum, and members take no share of a key without
receipts.
"""

import pytest
from msgspec.structs import replace
from tests.support.masked_runs import Watched, drawn, masked_study, only_contributor, opened

from pnyx.primitives import codec
from pnyx.protocol.aggregation.masked.vectors import VectorCode
from pnyx.protocol.events import Effect, Persist
from pnyx.protocol.evidence.proofs import Offence
from pnyx.protocol.messages import VectorOffer
from pnyx.protocol.round.aggregator import Aggregator
from pnyx.simulator import InvariantError, population
from pnyx.simulator.population import SimulatedNode

HONEST = masked_study()
PLAN = drawn(HONEST)
LIAR = only_contributor(PLAN)
AGGREGATORS = frozenset(PLAN.aggregators)


def test_false_linear_hash():
    simulation = Watched(replace(HONEST, corrupt=((LIAR, "other hash"),)))
    outcome = simulation.run()
    assert opened(outcome)
    assert LIAR not in outcome.records[1].accepted
    assert simulation.culprits() == {LIAR}
    assert simulation.rules_of(LIAR) == {Offence.FALSE_VECTOR.value}
    assert {who for who, whom, _ in simulation.blamed if whom == LIAR} >= AGGREGATORS


def test_without_a_look_at_vectors_true_sums_would_be_refused(monkeypatch):
    monkeypatch.setattr(VectorCode, "has_hash", lambda *_: True)
    study = replace(HONEST, corrupt=((LIAR, "other hash"),), limit_s=60.0)
    simulation = Watched(study)
    with pytest.raises(InvariantError, match="has not ended"):
        simulation.run()
    assert simulation.culprits() == set(), "aggregators look at sums, too, before they sign them"
    monkeypatch.setattr(population, "check_summed", lambda *_: ())
    with pytest.raises(InvariantError, match="has evidence against the honest node"):
        Watched(study).run()


class Holders(Watched):
    """Notes which aggregators hold which header of the liar."""

    def __init__(self, scenario) -> None:
        self.holders: dict[bytes, set[int]] = {}
        super().__init__(scenario)

    def observe(self, node: SimulatedNode, effect: Effect) -> None:
        super().observe(node, effect)
        if isinstance(effect, Persist) and effect.key.endswith(f"/vector/{LIAR}"):
            offer = codec.decode(effect.value, VectorOffer, bytes_max=10**6)
            self.holders.setdefault(offer.header.body, set()).add(node.index)


def test_two_vectors_count_once_at_most():
    """Each aggregator holds the one that it saw first; the other gets too few receipts."""
    simulation = Holders(replace(HONEST, corrupt=((LIAR, "two headers"),)))
    outcome = simulation.run()
    assert opened(outcome)
    assert outcome.records[1].metrics[LIAR] <= 1
    assert simulation.culprits() <= {LIAR}
    assert outcome.rules["a contributor showed two different contributions"] >= 2
    assert sorted(map(len, simulation.holders.values())) == [1, 2]
    assert sum(map(len, simulation.holders.values())) == len(AGGREGATORS)


def test_an_aggregator_that_took_both_would_give_receipts_for_both(monkeypatch):
    """Then members see two contributions of one node, and the list leaves both out."""
    on_offer = Aggregator._on_offer

    def take(aggregator: Aggregator, sender: int, offer: VectorOffer) -> None:
        header = aggregator._reader.header(offer.header)
        known = aggregator._offers.get(header.contributor)
        if known is not None and known.header != offer.header:
            for kept in (aggregator._offers, aggregator._sources):
                kept.pop(header.contributor, None)
            aggregator._sealed.discard(header.contributor)
        on_offer(aggregator, sender, offer)

    monkeypatch.setattr(Aggregator, "_on_offer", take)
    simulation = Holders(replace(HONEST, corrupt=((LIAR, "two headers"),)))
    try:
        accepted = simulation.run().records[1].accepted
        assert LIAR not in accepted
    except InvariantError:
        pass  # or a sum that was promised is not there any more
    assert max(map(len, simulation.holders.values())) == len(AGGREGATORS)
