"""Who acts: committee and region sizes, and the draws that no coalition bends.

- `security` chooses committee sizes and computes what remains possible; `region_sizes` does so
  for regions, by the exact `tails`; `assessment` tells people and programs.
- `census` draws actors by hashing the beacon over the census, and `region`, which is imported by
  itself, by nodes around points of a ring: both behind the `selector` interface.
"""

from pnyx.protocol.selection.assessment import Assessment, as_json, assess, explain
from pnyx.protocol.selection.census import (
    CensusSelector,
    contributor_groups,
    draw_contributors,
    genesis_committee,
    select_census,
    stand_ins,
    verify_selection,
)
from pnyx.protocol.selection.region_sizes import (
    RegionSize,
    region_size,
    region_table,
    smallest_signers,
)
from pnyx.protocol.selection.security import (
    ALPHA,
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
from pnyx.protocol.selection.selector import ActorList, Selector
from pnyx.protocol.selection.tails import head_count

__all__ = [
    "ALPHA",
    "ActorList",
    "Assessment",
    "CensusSelector",
    "CommitteeSize",
    "RegionSize",
    "Selector",
    "aggregators_needed",
    "answers_needed",
    "as_json",
    "assess",
    "choose_committee",
    "committee_size",
    "contributor_groups",
    "corrupted_tolerated",
    "draw_contributors",
    "explain",
    "exposure_probability",
    "genesis_committee",
    "head_count",
    "linear_answers_needed",
    "quorum",
    "region_size",
    "region_table",
    "select_census",
    "smallest_signers",
    "stand_ins",
    "too_few_answers_probability",
    "two_sets_probability",
    "verify_selection",
    "wrong_result_probability",
]
