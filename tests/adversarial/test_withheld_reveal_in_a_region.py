"""R2: members of a region see the value coming and withhold their reveals.

All secrets of a draw are shared among the nodes of the region with degree k_r - 1, so the k_r - 1
accomplices that may be there can neither read them early nor keep them closed. In plain
commit-reveal, measured beside it, whoever reveals last chooses between 2^a values.

Where fewer than 2·k_r - 1 nodes take part, fewer than k_r of them may be honest. Those who withhold
then hide a value that they have seen, which ends the attempt; they cannot have another of it.
"""

import numpy as np
import pytest
from tests.support.region_baselines import bias
from tests.support.regions import Exchange, Ring, beacon_of

from pnyx.protocol.selection.region import draw_context
from pnyx.protocol.selection.region.messages import Continue, Locked, Reveal, Witness
from pnyx.protocol.selection.region.rule import RegionRule, region_rule
from pnyx.protocol.selection.region.statements import point_of
from pnyx.protocol.selection.tails import binomial_lower

RING = Ring(36, corrupt_max=4)
COUNT = 30


SPARSE = Ring(12, rule=RegionRule(nodes=12, signers=8, region_share=1.0))  # 11 around a trigger


def coalition(number, ring=RING, size=RING.rule.corrupt_max):
    """The trigger of a draw, and as many nodes next to it: k_r - 1 of them."""
    count = min(COUNT, len(ring.ids))
    wanted = ring.selector.draw(beacon_of(number), b"s" * 32, 1, "actors", count, 1)
    trigger = ring.cache.owner(point_of(draw_context(wanted))).node_id
    return wanted, trigger, frozenset(ring.nodes_around(trigger)[:size])


def drawn(number, withheld, silent_trigger=False, ring=RING, size=RING.rule.corrupt_max):
    """R1's value when these nodes open nothing, and the trigger shows locks to one node only."""
    wanted, trigger, accomplices = coalition(number, ring, size)
    shown, values = [], set()

    def spoil(sender, receiver, message):
        if isinstance(message, Continue) and message.proof.draw.attempt == 1:
            values.add(message.proof.value)
        if sender in accomplices and isinstance(message, Reveal | Witness) and withheld(sender):
            return []
        if silent_trigger and sender == trigger and isinstance(message, Locked):
            shown.append(receiver)
            return [(receiver, message)] if len(shown) == 1 else []
        return [(receiver, message)]

    Exchange(ring, COUNT, wanted=wanted, spoil=spoil).run(9.0)
    return values


@pytest.mark.parametrize("number", range(3))
def test_whatever_the_coalition_withholds_the_value_is_the_same(number):
    accomplices = sorted(coalition(number)[2])
    honest = drawn(number, lambda node: False)
    assert len(honest) == 1
    for bits in range(1, 1 << len(accomplices)):
        subset = {node for at, node in enumerate(accomplices) if bits >> at & 1}
        assert drawn(number, subset.__contains__, silent_trigger=bits % 2 == 0) == honest


def test_without_shares_withholding_would_hide_the_value(monkeypatch):
    """Degree high enough that the accomplices are needed: the attempt ends when they like it to."""
    monkeypatch.setattr(RegionRule, "corrupt_max", property(lambda rule: 15))
    _, _, accomplices = coalition(0)
    assert drawn(0, accomplices.__contains__) == set()


def test_in_a_sparse_region_a_value_is_hidden_by_those_who_leave_fewer_than_signers():
    assert len(drawn(0, lambda node: True, ring=SPARSE, size=3)) == 1, "8 of 11 open it"
    assert drawn(0, lambda node: True, ring=SPARSE, size=4) == set(), "7 of 11 do not"


@pytest.mark.parametrize("nodes", [1_000, 10_000, 1_000_000])
def test_few_regions_are_so_sparse(nodes):
    """With 5 % corrupted: if the caller is corrupt, its roll has no more than a quorum."""
    rule, corrupted = region_rule(nodes, 21), nodes // 20
    share, signers = rule.region_share, rule.signers

    def chances(population):
        lower = [binomial_lower(population, share, count) for count in range(4 * signers)]
        return np.diff([0.0, *lower])

    def hidden(rolled):
        return sum(
            here * there
            for liars, here in enumerate(chances(corrupted))
            for honest, there in enumerate(chances(nodes - corrupted))
            if signers <= liars + honest and rolled(liars + honest) - liars < signers
        )

    assert hidden(lambda everybody: everybody) < 1.2e-3
    assert hidden(rule.quorum) < 3.5e-3


def test_plain_commit_reveal_multiplies_corrupted_actors():
    """With 10 % corrupted: 1.57 for one bit, 4.8 for eight; recovered reveals leave 1.0."""
    generator = np.random.Generator(np.random.PCG64(1))
    plain = {bits: bias(generator, 0.1, 8, bits, 4_000) for bits in (0, 1, 8)}
    assert plain[0] == pytest.approx(1.0, abs=0.05)
    assert plain[1] == pytest.approx(1.57, abs=0.06)
    assert plain[8] == pytest.approx(4.8, abs=0.15)
