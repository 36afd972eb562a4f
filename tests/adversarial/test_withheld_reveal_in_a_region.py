"""R2: members of a region see the value coming and withhold their reveals.

All secrets of a draw are shared among the nodes of the region with degree k_r - 1, so the k_r - 1
accomplices that may be there can neither read them early nor keep them closed. In plain
commit-reveal, measured beside it, whoever reveals last chooses between 2^a values.
"""

import numpy as np
import pytest
from tests.support.region_baselines import bias
from tests.support.regions import Exchange, Ring, beacon_of

from pnyx.protocol.selection.region import draw_context
from pnyx.protocol.selection.region.messages import Continue, Locked, Reveal, Witness
from pnyx.protocol.selection.region.rule import RegionRule
from pnyx.protocol.selection.region.statements import point_of

RING = Ring(36, corrupt_max=4)
COUNT = 30


def coalition(number):
    """The trigger of a draw, and the k_r - 1 nodes next to it."""
    wanted = RING.selector.draw(beacon_of(number), b"s" * 32, 1, "actors", COUNT, 1)
    trigger = RING.cache.owner(point_of(draw_context(wanted))).node_id
    return wanted, trigger, frozenset(RING.nodes_around(trigger)[: RING.rule.corrupt_max])


def drawn(number, withheld, silent_trigger=False):
    """R1's value when these nodes open nothing, and the trigger shows locks to one node only."""
    wanted, trigger, accomplices = coalition(number)
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

    Exchange(RING, COUNT, wanted=wanted, spoil=spoil).run(9.0)
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


def test_plain_commit_reveal_multiplies_corrupted_actors():
    """With 10 % corrupted: 1.57 for one bit, 4.8 for eight; recovered reveals leave 1.0."""
    generator = np.random.Generator(np.random.PCG64(1))
    plain = {bits: bias(generator, 0.1, 8, bits, 4_000) for bits in (0, 1, 8)}
    assert plain[0] == pytest.approx(1.0, abs=0.05)
    assert plain[1] == pytest.approx(1.57, abs=0.06)
    assert plain[8] == pytest.approx(4.8, abs=0.15)
