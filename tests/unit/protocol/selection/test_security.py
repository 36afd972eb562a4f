"""Committee sizes: the check values of the design, small networks, and the rules themselves."""

from math import comb

import pytest

from pnyx.errors import ConfigError, MalformedMessage
from pnyx.primitives import codec
from pnyx.protocol.selection.security import (
    CommitteeSize,
    aggregators_needed,
    answers_needed,
    choose_committee,
    committee_size,
    corrupted_tolerated,
    exposure_probability,
    linear_answers_needed,
    quorum,
    too_few_answers_probability,
    two_sets_probability,
    wrong_result_probability,
)

DEMO = committee_size(24, 4, packing=2, absent_max=4)


@pytest.mark.parametrize("nodes", [10**5, 10**6])
@pytest.mark.parametrize(
    ("corrupted", "absent", "size", "corrupt_max"),
    [(0.05, 0.10, 110, 21), (0.10, 0.05, 231, 51)],
)
def test_check_values_of_large_networks(nodes, corrupted, absent, size, corrupt_max):
    committee = choose_committee(nodes, corrupted, absent, 40, packing=4)
    assert (committee.size, committee.corrupt_max, committee.packing) == (size, corrupt_max, 4)
    assert exposure_probability(nodes, int(corrupted * nodes), committee, 40) <= 1e-6
    assert too_few_answers_probability(nodes, int(absent * nodes), committee) <= 0.01


def test_the_committee_of_36_nodes():
    assert choose_committee(36) == DEMO
    assert (DEMO.degree, DEMO.quorum, DEMO.answers_needed) == (5, 16, 19)
    assert (DEMO.linear_answers_needed, DEMO.two_sets_min) == (14, 8)
    assert exposure_probability(36, 4, DEMO, 40) == 0
    assert exposure_probability(36, 5, DEMO, 1) == comb(31, 19) / comb(36, 24)
    assert too_few_answers_probability(36, 4, DEMO) == 0
    assert corrupted_tolerated(36, DEMO, 40) == 4


@pytest.mark.parametrize(
    ("nodes", "size", "corrupt_max", "absent_max"),
    [(6, 5, 1, 0), (7, 6, 1, 1), (8, 6, 1, 1), (10, 6, 1, 1), (11, 8, 1, 2), (12, 8, 1, 2)],
)
def test_tiny_networks(nodes, size, corrupt_max, absent_max):
    committee = choose_committee(nodes)
    assert committee == committee_size(size, corrupt_max, 1, absent_max)


def test_sizes_of_large_networks_do_not_depend_on_the_number_of_nodes():
    assert {choose_committee(nodes).size for nodes in (165, 300, 1000, 10**4, 10**6)} == {110}


def test_the_exact_head_count_is_met_too_where_it_asks_for_more():
    """Two corrupted nodes of 100,001 are more than 1e-5: the committee grows until both fit."""
    unlimited = choose_committee(10**7, 1e-5, rounds=60)
    exact = choose_committee(100_001, 1e-5, rounds=60)
    assert exposure_probability(100_001, 2, unlimited, 60) > 1e-6
    assert exposure_probability(100_001, 2, exact, 60) <= 1e-6
    assert exact.size > unlimited.size


def test_a_longer_study_or_more_groups_need_a_larger_committee():
    sizes = [
        choose_committee(10**5, rounds=rounds, groups=groups).size
        for rounds, groups in [(1, 1), (40, 1), (400, 1), (400, 8)]
    ]
    assert sizes == sorted(set(sizes))


def test_alpha_out_of_reach_still_gives_the_best_committee_and_its_honest_figure():
    committee = choose_committee(10**5, 0.20, 0.05, 40)
    assert committee.size == 512
    assert exposure_probability(10**5, 20_000, committee, 40) > 0.5
    tight = choose_committee(10**5, size_max=64)
    assert tight.size == 64
    assert exposure_probability(10**5, 5000, tight, 40) > 1e-6


def test_many_absences_are_planned_for_or_given_up_in_tiny_networks():
    committee = choose_committee(6, absent_share=0.9)
    assert (committee.size, committee.absent_max) == (5, 0)
    assert too_few_answers_probability(6, 6, committee) == 1
    assert choose_committee(1000, absent_share=0.3).quorum > 0


@pytest.mark.parametrize("nodes", [-1, 0, 5])
def test_too_small_a_network_is_told_so(nodes):
    with pytest.raises(ConfigError, match=rf"at least 6 nodes and this one has {nodes}: enrol"):
        choose_committee(nodes)


@pytest.mark.parametrize(
    "settings",
    [
        {"corrupted_share": -0.1},
        {"corrupted_share": 5},
        {"absent_share": 1.0},
        {"corrupted_share": float("nan")},
        {"rounds": 0},
        {"groups": 0},
        {"packing": 0},
        {"alpha": 0.0},
        {"too_few_max": 1.0},
        {"size_max": 4},
        {"size_max": 1025},
    ],
)
def test_meaningless_planning_figures_are_refused(settings):
    with pytest.raises(ConfigError):
        choose_committee(36, **settings)


def test_answers_needed():
    assert answers_needed(4, 2) == 4 * 4 + 2 * 2 - 1
    assert answers_needed(21, 4) == 91
    assert answers_needed(4, 2, lying=0) == 2 * 5 + 1 + 4
    assert answers_needed(4, 2, lying=6) == 2 * 5 + 1 + 12
    assert linear_answers_needed(4, 2) == 14


def test_a_quorum_is_safe_and_reachable():
    assert quorum(24, 4) == 15
    assert quorum(24, 4, 4) == 16
    assert quorum(25, 4) == 15  # 2 * 15 > 29
    with pytest.raises(ConfigError, match="cannot reach the quorum of 15"):
        quorum(24, 4, 6)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((4, 1), "5 to 1024 members"),
        ((1025, 1), "5 to 1024 members"),
        ((24, 0), "at least one corrupt"),
        ((24, 4, 0), "at least one value"),
        ((24, 4, 1, -1), "5 to 1024"),
        ((24, 5, 2, 4), "enlarge the committee"),
        ((24, 4, 2, 6), "enlarge the committee"),
        ((24, 2, 1, 9), "cannot reach the quorum"),
    ],
)
def test_sizes_that_cannot_work_are_refused(arguments, sentence):
    with pytest.raises(ConfigError, match=sentence):
        committee_size(*arguments)


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("degree", 4, "degree"),
        ("answers_needed", 14, "answers_needed"),
        ("absent_max", 6, "fewer answers"),
        ("quorum", 14, "quorum"),
        ("quorum", 17, "quorum"),
    ],
)
def test_inconsistent_sizes_cannot_exist_nor_be_received(field, value, rule):
    fields = {name: getattr(DEMO, name) for name in DEMO.__struct_fields__}
    with pytest.raises(ValueError, match=rule):
        CommitteeSize(**(fields | {field: value}))
    received = codec.encode(tuple((fields | {field: value}).values()))
    with pytest.raises(MalformedMessage):
        codec.decode(received, CommitteeSize, bytes_max=100)


def test_sizes_survive_the_codec():
    assert codec.decode(codec.encode(DEMO), CommitteeSize, bytes_max=100) == DEMO


def test_exposure_adds_up_rounds_groups_and_attempts():
    once = exposure_probability(10**4, 900, DEMO, 1)
    assert 0 < once < 0.1
    for shape in [(6, 1, 1), (2, 3, 1), (2, 1, 3)]:
        rounds, attempts, groups = shape
        study = exposure_probability(10**4, 900, DEMO, rounds, attempts, groups)
        assert study == pytest.approx(1 - (1 - once) ** 6)


def test_stand_ins_count_as_drawn():
    assert exposure_probability(36, 5, DEMO, 1, stand_ins=4) == comb(31, 23) / comb(36, 28)
    assert exposure_probability(36, 5, DEMO, 1, stand_ins=100) == 1


def test_two_sets_need_more_corrupt_members_than_exposure():
    assert two_sets_probability(36, 7, DEMO, 40) == 0
    assert two_sets_probability(36, 8, DEMO, 1) == comb(28, 16) / comb(36, 24)
    assert two_sets_probability(10**4, 900, DEMO, 40) < exposure_probability(10**4, 900, DEMO, 40)


def test_wrong_results_come_from_the_committee_or_from_all_aggregators():
    nodes, corrupted = 10**5, 5000
    committee = choose_committee(nodes)
    direct = wrong_result_probability(nodes, corrupted, committee, 40)
    assert direct == exposure_probability(nodes, corrupted, committee, 40)
    with_three = wrong_result_probability(nodes, corrupted, committee, 1, aggregators=3)
    assert with_three == pytest.approx(1.25e-4, rel=0.01)


def test_aggregators_of_the_design():
    assert aggregators_needed(10**6, 50_000, 40) == 6
    assert aggregators_needed(36, 0, 40) == 2
    assert aggregators_needed(36, 2, 40) == 3
    with pytest.raises(ConfigError, match="every node is corrupted"):
        aggregators_needed(8, 8, 1)


def test_a_round_stops_for_want_of_signatures_as_well_as_of_answers():
    committee = committee_size(13, 2, packing=1, absent_max=2)
    assert committee.answers_needed == 9  # four members could be spared
    assert too_few_answers_probability(20, 3, committee) == comb(17, 10) / comb(20, 13)


def test_corrupted_tolerated_is_the_last_count_within_alpha():
    committee = choose_committee(10**4)
    last = corrupted_tolerated(10**4, committee, 40)
    assert last >= 500
    assert exposure_probability(10**4, last, committee, 40) <= 1e-6
    assert exposure_probability(10**4, last + 1, committee, 40) > 1e-6
