"""Region sizes against the check values of the design (computed independently with scipy)."""

import pytest

from pnyx.errors import ConfigError
from pnyx.protocol.selection.region_sizes import region_size, region_table, smallest_signers
from pnyx.protocol.selection.tails import binomial_upper

CHECK_VALUES = {
    2: 1.4156e-6,
    3: 1.8272e-5,
    4: 7.1097e-5,
    5: 1.6939e-4,
    6: 3.1377e-4,
    8: 7.2763e-4,
    10: 1.2818e-3,
}


def test_the_table_of_the_design_to_four_digits():
    table = region_table(10**5, 1000, 1e-6, CHECK_VALUES, network_wide=False)
    assert {row.signers: float(f"{row.region_size:.4e}") for row in table} == CHECK_VALUES
    assert [row.expected_nodes for row in table] == [row.region_size * 10**5 for row in table]


@pytest.mark.parametrize(
    ("corrupted", "signers"), [(100, 2), (1000, 3), (10**4, 5), (5 * 10**4, 10), (10**5, 15)]
)
def test_the_smallest_signers_of_the_design(corrupted, signers):
    sized = smallest_signers(10**6, corrupted, 1e-6, network_wide=False)
    assert sized.signers == signers
    assert sized.sparse_probability <= 1e-3
    tighter = region_size(10**6, corrupted, signers - 1, 1e-6, network_wide=False)
    assert signers == 2 or tighter.sparse_probability > 1e-3


def test_the_bound_per_region_lets_about_three_owners_forge_proofs_for_ever():
    sized = smallest_signers(10**7, 10**5, 1e-6, network_wide=False)
    lucky = 10**5 * binomial_upper(10**5 - 1, sized.region_size, sized.signers - 1)
    assert lucky == pytest.approx(2.97, abs=0.01)


def test_network_wide_holds_for_all_corrupted_triggers_together():
    nodes, corrupted = 10**7, 10**5
    sized = smallest_signers(nodes, corrupted, 1e-6)
    forged = corrupted * binomial_upper(corrupted - 1, sized.region_size, sized.signers)
    assert 0.999e-6 < forged <= 1e-6


def test_the_whole_ring_is_safe_when_there_are_fewer_corrupted_nodes_than_signers():
    assert region_size(36, 2, 3, 1e-6).region_size == 1.0
    assert region_size(36, 0, 1, 1e-6).region_size == 1.0
    assert smallest_signers(36, 2, 1e-6).signers == 2


@pytest.mark.parametrize("arguments", [(36, 2, 0, 1e-6), (36, 37, 2, 1e-6), (36, 2, 2, 0.0)])
def test_meaningless_regions_are_refused(arguments):
    with pytest.raises(ConfigError):
        region_size(*arguments)


def test_a_hopeless_network_is_told_so():
    with pytest.raises(ConfigError, match="use census selection"):
        smallest_signers(36, 36, 1e-6)
