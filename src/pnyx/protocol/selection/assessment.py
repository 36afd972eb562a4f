"""What a network can promise, in figures for programs and in sentences for people.

`assess` gathers the sizes that `security` and `region_sizes` choose with the risks that remain;
`as_json` is what `pnyx security --json` prints and `explain` what it prints otherwise. Nothing is
rounded in our favour: a small network is told what it cannot promise.
"""

import msgspec

from pnyx.errors import ConfigError
from pnyx.protocol.selection import security
from pnyx.protocol.selection.region_sizes import RegionSize, region_table, smallest_signers
from pnyx.protocol.selection.tails import head_count

_TABLE_SIGNERS_MAX = 10  # the table goes at least so far, to compare with the SEP2P paper


class Assessment(msgspec.Struct, frozen=True, kw_only=True):
    """Planning figures, the sizes that follow, and the residual risk of a whole study."""

    nodes: int
    corrupted: int  # ⌈corrupted_share · nodes⌉
    absent: int  # ⌈absent_share · nodes⌉, away at any one time
    rounds: int
    groups: int  # of contributors in a round
    committees: int  # that serve them: one, unless it is asked what more of them would cost
    alpha: float
    committee: security.CommitteeSize
    exposure_probability: float  # some committee could read contributions
    exposure_probability_beyond: float  # one node above corrupted_tolerated
    exposure_probability_stand_ins: float  # the same if stand-ins replace every planned absence
    two_sets_probability: float
    wrong_result_probability: float
    too_few_answers_probability: float  # in one round
    corrupted_tolerated: int  # corrupted nodes up to which exposure stays within alpha
    aggregators_needed: int  # in each round, masked mode
    regions_network_wide: bool
    region: RegionSize  # the one in force
    regions: tuple[RegionSize, ...]

    @property
    def alpha_met(self) -> bool:
        """Whether the confidentiality target holds for the planned number of corrupted nodes."""
        return self.exposure_probability <= self.alpha


def assess(
    nodes: int,
    corrupted_share: float = 0.05,
    absent_share: float = 0.10,
    rounds: int = 40,
    *,
    groups: int = 1,
    committees: int = 1,
    packing: int = 4,
    alpha: float = security.ALPHA,
    alpha_per_region: float | None = None,
    committee: security.CommitteeSize | None = None,
) -> Assessment:
    """Choose sizes for a network, or take the given committee, and compute what remains possible.

    alpha_per_region: SEP2P's own bound, for one region instead of the whole network.
    Raises ConfigError as `security.choose_committee` and `smallest_signers` do.
    """
    if groups < 1:
        raise ConfigError("A round has at least one group of contributors.")
    chosen = security.choose_committee(
        nodes,
        corrupted_share,
        absent_share,
        rounds,
        groups=committees,
        packing=packing,
        alpha=alpha,
    )
    sizes = chosen if committee is None else committee
    corrupted, absent = head_count(corrupted_share, nodes), head_count(absent_share, nodes)
    network_wide = alpha_per_region is None
    region_alpha = alpha if alpha_per_region is None else alpha_per_region
    # As `region.rule`: a small network tolerates more corrupt nodes than the planned share.
    planned = max(corrupted, sizes.corrupt_max) if network_wide else corrupted
    region = smallest_signers(nodes, planned, region_alpha, network_wide=network_wide)
    signers = range(2, max(region.signers, _TABLE_SIGNERS_MAX) + 1)

    def exposure(corrupted: int, stand_ins: int = 0) -> float:
        return security.exposure_probability(
            nodes, corrupted, sizes, rounds, groups=committees, stand_ins=stand_ins
        )

    tolerated = security.corrupted_tolerated(nodes, sizes, rounds, committees, alpha)
    return Assessment(
        nodes=nodes,
        corrupted=corrupted,
        absent=absent,
        rounds=rounds,
        groups=groups,
        committees=committees,
        alpha=alpha,
        committee=sizes,
        exposure_probability=exposure(corrupted),
        exposure_probability_beyond=exposure(tolerated + 1),
        exposure_probability_stand_ins=exposure(corrupted, sizes.absent_max),
        two_sets_probability=security.two_sets_probability(
            nodes, corrupted, sizes, rounds, committees
        ),
        wrong_result_probability=security.wrong_result_probability(
            nodes, corrupted, sizes, rounds, committees
        ),
        too_few_answers_probability=security.too_few_answers_probability(nodes, absent, sizes),
        corrupted_tolerated=tolerated,
        aggregators_needed=security.aggregators_needed(nodes, corrupted, rounds, committees, alpha),
        regions_network_wide=network_wide,
        region=region,
        regions=region_table(nodes, planned, region_alpha, signers, network_wide=network_wide),
    )


def as_json(assessment: Assessment) -> dict[str, object]:
    """Return the object that `pnyx security --json` prints; probabilities are of a whole study.

    verification_operations: what anyone computes to check one actor list, by back-end.
    """
    committee = assessment.committee
    return {
        "nodes": assessment.nodes,
        "corrupted": assessment.corrupted,
        "absent": assessment.absent,
        "rounds": assessment.rounds,
        "groups": assessment.groups,
        "committees": assessment.committees,
        "alpha": assessment.alpha,
        "alpha_met": assessment.alpha_met,
        "committee": {
            name: getattr(committee, name)
            for name in (*committee.__struct_fields__, "linear_answers_needed")
        },
        "exposure_probability": assessment.exposure_probability,
        "exposure_probability_beyond": assessment.exposure_probability_beyond,
        "exposure_probability_stand_ins": assessment.exposure_probability_stand_ins,
        "two_sets_probability": assessment.two_sets_probability,
        "wrong_result_probability": assessment.wrong_result_probability,
        "too_few_answers_probability": assessment.too_few_answers_probability,
        "corrupted_tolerated": assessment.corrupted_tolerated,
        "aggregators_needed": assessment.aggregators_needed,
        "regions_network_wide": assessment.regions_network_wide,
        "region_signers": assessment.region.signers,
        "regions": [
            {
                "k_r": region.signers,
                "region_size": region.region_size,
                "expected_nodes": region.expected_nodes,
            }
            for region in assessment.regions
        ],
        "verification_operations": {
            "census_hashes": committee.size,
            "region_signatures": 2 * assessment.region.signers,
            "region_signatures_certificates_cached": assessment.region.signers,
            "region_call_signatures": 1,  # of the setter, beyond SEP2P's; see `region.selector`
        },
    }


def explain(assessment: Assessment) -> list[str]:
    """Say in plain sentences what was chosen, what it promises and what it does not."""
    a, c = assessment, assessment.committee
    return [
        f"For every round {c.size} of the {a.nodes:,} nodes are drawn as its committee; it is "
        "never everyone, so that the draw decides.",
        f"Up to {c.corrupt_max} corrupt members learn nothing of anyone's contribution; "
        + _who_reads(c),
        *explain_exposure(a),
        f"{c.quorum} signatures certify a decision; it would take {c.two_sets_min} corrupt members "
        "to have two different ones certified (probability over the study: "
        f"{in_words(a.two_sets_probability)}).",
        f"{c.answers_needed} answers verify contributions even if {c.corrupt_max} of them lie, and "
        f"{c.absent_max} members may be away besides. With {_nodes(a.absent)} away at a time, a "
        f"round must be tried again with probability {in_words(a.too_few_answers_probability)}.",
        f"In masked mode {a.aggregators_needed} aggregators are needed, so that one is honest.",
        f"Region selection would ask {a.region.signers} nodes of a region of "
        f"{a.region.expected_nodes:.1f} nodes to sign "
        + ("(bound for the whole network)." if a.regions_network_wide else "(bound per region)."),
    ]


def explain_exposure(assessment: Assessment) -> list[str]:
    """Say how likely a committee is that could read contributions, and whether the aim is met."""
    a, c = assessment, assessment.committee
    return [
        f"With {_nodes(a.corrupted)} of the network corrupted, some committee of a study of "
        f"{a.rounds} rounds holds more than {c.corrupt_max} of them with probability "
        f"{in_words(a.exposure_probability)}; the aim is {in_words(a.alpha)}.",
        *_groups(a),
        _verdict(a),
    ]


def _groups(a: Assessment) -> list[str]:
    """Say what groups add to the exposure."""
    if a.groups == 1:
        return []
    if a.committees == 1:
        return [
            f"All {a.groups} groups of a round share its committee, so they add nothing to this; "
            "what they add is told by the sum of each, which its own noise must hide."
        ]
    return [f"That is with {a.committees} committees a round, each a draw that may go wrong."]


def in_words(probability: float) -> str:
    """Say a probability for people: "zero", "1 in 10,000", "11 %"."""
    if probability == 0:
        return "zero"
    if probability >= 0.995:
        return "nearly one"
    if probability >= 0.01:
        return f"{probability:.0%}".replace("%", " %")
    if probability >= 1e-9:
        return f"1 in {round(1 / probability):,}"
    return "below 1 in a billion"


def _who_reads(committee: security.CommitteeSize) -> str:
    """Say where secrecy ends."""
    begin, everything = committee.corrupt_max + 1, committee.corrupt_max + committee.packing
    if begin == everything:
        return f"{everything} together read everything."
    return f"{begin} together begin to learn, {everything} read everything."


def _verdict(a: Assessment) -> str:
    """Say whether the aim is met, and where it ends."""
    if not a.alpha_met:
        return (
            f"This does not reach the aim, which would be met with at most "
            f"{_nodes(a.corrupted_tolerated)} corrupted: whether that is good enough is each "
            "owner's decision."
        )
    return (
        f"The aim is met with up to {_nodes(a.corrupted_tolerated)} corrupted; with one more the "
        f"probability over the study becomes {in_words(a.exposure_probability_beyond)}."
    )


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count:,} nodes"
