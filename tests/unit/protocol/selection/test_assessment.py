"""What `pnyx security` prints, for programs and for people."""

import json

import pytest

from pnyx.errors import ConfigError
from pnyx.protocol.selection.assessment import as_json, assess, explain, in_words
from pnyx.protocol.selection.region import region_rule
from pnyx.protocol.selection.security import committee_size


def test_the_json_has_the_documented_keys():
    printed = json.loads(json.dumps(as_json(assess(10**5, 0.01, alpha_per_region=1e-6))))
    assert printed["committee"] == {
        "size": 45,
        "corrupt_max": 7,
        "packing": 4,
        "degree": 10,
        "quorum": 28,
        "answers_needed": 35,
        "absent_max": 10,
        "linear_answers_needed": 25,
    }
    assert [f"{row['region_size']:.4e}" for row in printed["regions"][:3]] == [
        "1.4156e-06",
        "1.8272e-05",
        "7.1097e-05",
    ]
    assert set(printed["regions"][0]) == {"k_r", "region_size", "expected_nodes"}
    assert [row["k_r"] for row in printed["regions"]] == list(range(2, 11))
    assert not printed["regions_network_wide"]
    assert 0 < printed["exposure_probability"] <= 1e-6
    assert 0 < printed["wrong_result_probability"] <= 1e-6
    assert printed["alpha_met"]
    assert printed["verification_operations"] == {
        "census_hashes": 45,
        "region_signatures": 2 * printed["region_signers"],
        "region_signatures_certificates_cached": printed["region_signers"],
        "region_call_signatures": 1,
    }


def test_a_small_network_says_honestly_what_it_can_promise():
    text = " ".join(explain(assess(36)))
    assert "24 of the 36 nodes" in text
    assert "Up to 4 corrupt members learn nothing" in text
    assert "5 together begin to learn, 6 read everything" in text
    assert (
        "The aim is met with up to 4 nodes corrupted; with one more the probability over the "
        "study becomes 99 %." in text
    )
    assert "16 signatures certify a decision; it would take 8 corrupt members" in text


@pytest.mark.parametrize("nodes", [12, 36, 300, 10_000])
def test_it_tells_the_regions_that_a_network_of_this_size_has(nodes):
    told, rule = assess(nodes), region_rule(nodes, assess(nodes).committee.corrupt_max)
    assert (told.region.signers, told.region.region_size) == (rule.signers, rule.region_share)


def test_an_aim_out_of_reach_is_said_plainly():
    assessment = assess(36, 0.20)
    assert not assessment.alpha_met
    text = " ".join(explain(assessment))
    assert "This does not reach the aim, which would be met with at most 4 nodes corrupted" in text


def test_a_tiny_network_reads_well():
    text = " ".join(explain(assess(8, alpha_per_region=1e-6)))
    assert "With 1 node of the network corrupted" in text
    assert "2 together read everything." in text
    assert "(bound per region)" in text


def test_a_given_committee_is_assessed_as_it_is():
    given = committee_size(24, 4, 2, 4)
    assessment = assess(10**4, committee=given)
    assert assessment.committee is given
    assert assessment.exposure_probability > 1e-6
    assert assessment.exposure_probability_stand_ins > assessment.exposure_probability


def test_probabilities_in_words():
    said = [in_words(value) for value in (0, 1e-12, 1e-6, 0.0061, 0.1127, 0.9999, 1)]
    assert said == [
        "zero",
        "below 1 in a billion",
        "1 in 1,000,000",
        "1 in 164",
        "11 %",
        "nearly one",
        "nearly one",
    ]


def test_groups_share_the_committee_and_add_nothing_to_its_exposure():
    one, many = assess(10**4), assess(10**4, groups=8)
    assert many.exposure_probability == one.exposure_probability
    assert many.committee == one.committee
    assert as_json(many)["groups"] == 8
    assert "All 8 groups of a round share its committee" in " ".join(explain(many))
    assert "groups" not in " ".join(explain(one))


def test_a_committee_for_each_group_would_add_up():
    many = assess(10**4, groups=8, committees=8, committee=assess(10**4).committee)
    assert many.exposure_probability > 7 * assess(10**4).exposure_probability
    assert "with 8 committees a round" in " ".join(explain(many))


def test_a_round_has_a_group():
    with pytest.raises(ConfigError, match="at least one group"):
        assess(10**4, groups=0)
