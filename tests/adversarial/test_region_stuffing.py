"""I2: a coalition fills a region, or lies about how dense it is.

Positions follow from ids that the authority's nonce decides and from the epoch's beacon, so where
the coalition stands is chance. Sizes make sure that no corrupt node of the whole network finds k_r
others around it, but with probability alpha. A caller that claims fewer nodes around it than there
are does not get past honest nodes, which count the nodes that they know.
"""

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.region_baselines import forgers
from tests.support.regions import Exchange, Ring, listed

from pnyx.errors import ProtocolError
from pnyx.protocol.selection.region import RegionRule
from pnyx.protocol.selection.region_sizes import region_size
from pnyx.protocol.selection.tails import binomial_upper

CORRUPTED, SIGNERS = 400, 4
ALPHA = 0.05  # large, so that it can be counted
NETWORKS = 4_000


def share_of_networks(share, needed, networks=NETWORKS, seed=1):
    """In how many networks some corrupted node could forge."""
    generator = np.random.Generator(np.random.PCG64(seed))
    found = sum(forgers(generator.random(CORRUPTED), share, needed) > 0 for _ in range(networks))
    return found / networks


def sized(*, network_wide):
    nodes = 100 * CORRUPTED
    return region_size(nodes, CORRUPTED, SIGNERS, ALPHA, network_wide=network_wide).region_size


@pytest.mark.parametrize("networks", [NETWORKS, pytest.param(100_000, marks=pytest.mark.full)])
def test_no_network_in_more_than_alpha_has_a_corrupted_node_that_could_forge(networks):
    """Clusters are found by each of their nodes, so the chance is below alpha, and not far."""
    share = share_of_networks(sized(network_wide=True), SIGNERS, networks)
    assert share < ALPHA
    assert share > ALPHA / (2 * SIGNERS)


def test_with_the_trigger_among_its_signers_more_networks_had_one():
    counted = share_of_networks(sized(network_wide=True), SIGNERS - 1, 400)
    assert counted > 5 * ALPHA


def test_with_alpha_for_one_region_nearly_all_networks_had_one():
    assert share_of_networks(sized(network_wide=False), SIGNERS, 200) > 0.9


def test_expected_forgers_are_the_exact_tail():
    share = sized(network_wide=True) * 3
    generator = np.random.Generator(np.random.PCG64(2))
    found = sum(forgers(generator.random(CORRUPTED), share, SIGNERS) for _ in range(NETWORKS))
    expected = NETWORKS * CORRUPTED * binomial_upper(CORRUPTED - 1, share, SIGNERS)
    assert found == pytest.approx(expected, rel=0.1)


# --- lies on density ----------------------------------------------------------------------------

RING = Ring(300, corrupt_max=5)
COUNT = 20
DRAW = Exchange(RING, COUNT, only=frozenset(RING.ids[:1])).wanted


def refused(proof):
    with pytest.raises(ProtocolError):
        RING.selector.check_list(proof)
    return True


def test_signers_from_elsewhere_do_not_fill_a_region():
    good = listed(RING.selector, DRAW, RING.crypto)
    RING.selector.check_list(good)
    far = [node for node in RING.ids if node not in RING.nodes_around(good.setter)]
    strangers = sorted(n for n in far if n != good.setter)[: RING.rule.signers]
    forged = listed(RING.selector, DRAW, RING.crypto, signers=strangers)
    assert refused(forged)


def test_without_the_region_anybody_could_vouch(monkeypatch):
    good = listed(RING.selector, DRAW, RING.crypto)
    far = [node for node in RING.ids if node not in RING.nodes_around(good.setter)]
    strangers = sorted(n for n in far if n != good.setter)[: RING.rule.signers]
    forged = listed(RING.selector, DRAW, RING.crypto, signers=strangers)
    monkeypatch.setattr("pnyx.protocol.selection.region.selector.reach", lambda share: 1 << 256)
    RING.selector.check_list(forged)


def test_the_setter_is_no_signer_and_fewer_than_k_are_none():
    good = listed(RING.selector, DRAW, RING.crypto)
    around = sorted(RING.nodes_around(good.setter))[: RING.rule.signers - 1]
    with_itself = sorted([*around, good.setter])
    assert refused(listed(RING.selector, DRAW, RING.crypto, signers=with_itself))
    assert refused(listed(RING.selector, DRAW, RING.crypto, signers=around))
    assert refused(replace(good, witnesses=good.witnesses * 2))


def test_a_setter_that_the_point_does_not_impose_is_refused():
    """The coalition calls where it is dense: k_r of its nodes around one of them."""
    good = listed(RING.selector, DRAW, RING.crypto)
    other = next(node for node in RING.ids if node != good.setter)
    assert refused(listed(RING.selector, DRAW, RING.crypto, setter=other))


def test_a_caller_that_hides_half_of_its_region_gets_no_value(monkeypatch):
    """It calls just k_r of its nodes, all there is, as it says; they know better."""
    from pnyx.protocol.selection.region.caller import Caller

    build = Caller.__init__

    def lying(caller, services, *terms):
        build(caller, services, *terms)
        caller._keys = dict(list(caller._keys.items())[: services.rule.signers])
        caller._quorum = services.rule.signers

    monkeypatch.setattr(Caller, "__init__", lying)
    exchange = Exchange(RING, COUNT)
    assert exchange.run(9.0) is None
    assert "a roll has fewer nodes than a quorum of the region" in exchange.refused
    monkeypatch.setattr(RegionRule, "quorum", lambda rule, legitimate: rule.signers)
    assert Exchange(RING, COUNT).run(9.0) is not None
