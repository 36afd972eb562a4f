"""Sums by group: what a member releases of them, who released wrongly, what a record says of them.

The contributors of a round fall into groups (`RoundPlan.group_of`), and every group that reaches
the floor has a sum of its own (`RoundPlan.opened`). A member releases one share of each, one after
the other in the order of the groups. There is one closed list and one accepted set for all of
them, so that whose vector counts is fixed once, and nobody can be in the sums of two groups.
"""

from collections import Counter
from collections.abc import Mapping

from pnyx.errors import RuleBroken
from pnyx.primitives.hashing import digest
from pnyx.protocol.aggregation import direct
from pnyx.protocol.aggregation.verification import key_widths, released_bytes, summed_length
from pnyx.protocol.manifest import StudyPhase
from pnyx.protocol.messages import RecordBody
from pnyx.protocol.ports import IntVector
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.selection.security import CommitteeSize

NO_SUM = bytes(32)


def sum_hash(context: bytes, group: int, total: IntVector) -> bytes:
    """Names the sum [length] over a group in the record of its round."""
    return digest(
        "pnyx/group-sum", context, group.to_bytes(4, "big"), total.astype("<i8").tobytes()
    )


def shares_by_group(data: bytes, phase: StudyPhase, size: CommitteeSize) -> list[bytes]:
    """Cut what a member released into its shares of the sums, in the order of the groups."""
    each = released_bytes(phase.bounds, size)
    return [data[start : start + each] for start in range(0, len(data), each)]


def wrong_releases(
    phase: StudyPhase, size: CommitteeSize, released: Mapping[int, bytes]
) -> frozenset[int]:
    """Members whose shares of the sums are wrong, of however many sums the others released.

    released: member -> shares; whoever released nothing did nothing wrong. How many sums there are
    is what f + 1 members say, as one of them is honest. As long as they do not, nor decode, only
    what is the share of no sum is wrong.
    """
    each = released_bytes(phase.bounds, size)
    wrong = {
        member
        for member, data in released.items()
        if len(data) % each or len(data) > each * phase.groups
    }
    given = {member: data for member, data in released.items() if data and member not in wrong}
    counts = Counter(len(data) for data in given.values())
    told = max(counts, key=lambda length: counts[length], default=0)
    if counts[told] > size.corrupt_max:
        wrong.update(member for member, data in given.items() if len(data) != told)
    cut = {
        member: shares_by_group(data, phase, size)
        for member, data in given.items()
        if len(data) == told
    }
    length, keys = summed_length(phase.bounds, size), key_widths(phase.bounds, size)
    for place in range(told // each):
        of_group = {member: shares[place] for member, shares in cut.items()}
        wrong |= direct.wrong_shares(size, of_group, length, keys)
    return frozenset(wrong)


def check_sums(plan: RoundPlan, body: RecordBody) -> None:
    """Refuse a record that opens other groups than those whose contributors it counts.

    Its contributors were drawn, each once. Raises RuleBroken.
    """
    groups = plan.opened(body.accepted) if plan.phase is not None and not body.skipped else {}
    if [each.group for each in body.sums] != list(groups):
        raise RuleBroken("a record opens other groups than its contributors fill")
    if sum(map(len, groups.values())) != len(body.accepted):
        raise RuleBroken("a record counts contributors of a group below the study's floor")


def holds_contribution(plan: RoundPlan, body: RecordBody, index: int) -> bool:
    """Whether what a record publishes holds the contribution of a node (census index).

    Not if the sum of its group came to nothing, or too few groups' did not: nothing is published
    then, though the record names who contributed.
    """
    group = plan.group_of.get(index)
    summed = any(each.group == group and each.sum != NO_SUM for each in body.sums)
    published = bool(body.metrics) or body.model_hash != plan.model_hash
    return index in body.accepted and summed and published
