"""Towns whose rounds have groups: who is in which, what leaves, and what a record says."""

import numpy as np
from msgspec.structs import replace
from tests.support.town import NETWORK, Town, manifest, phase

from pnyx.primitives import codec
from pnyx.protocol.aggregation import direct
from pnyx.protocol.aggregation.robust import GroupUpdate, Robust, combine
from pnyx.protocol.aggregation.verification import released_bytes, summed_length, summed_vector
from pnyx.protocol.identity import sign_body
from pnyx.protocol.messages import (
    Contribution,
    GroupSum,
    MemberInput,
    Record,
    RecordBody,
    Release,
    RoundBody,
)
from pnyx.protocol.round.groups import shares_by_group, sum_hash
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.study import read_body

LENGTH = 9
TWO = {"groups": 2, "cohort_min": 2, "target": 6, "drawn": 6}
ROBUST = {
    "groups": 3,
    "cohort_min": 2,
    "target": 9,
    "drawn": 9,
    "robust": Robust("trimmed", 1),
}


def grouped_town(terms=TWO, **about) -> tuple[Town, bytes]:
    """A town whose study is about to open its only round of contributions."""
    town = Town(**about)
    study = town.propose(plan=manifest(LENGTH, [phase(LENGTH, **terms)]))
    town.run(town.in_round(study, 1))
    return town, study


def silence(town: Town, plan: RoundPlan, silent: set[int]) -> None:
    """These contributors contribute nothing."""
    town.wire = lambda sender, receiver, message: (
        [] if sender in silent and isinstance(message, Contribution) else None
    )
    for index in silent:
        town.machines[index].rounds.active[plan.context].contributor.withhold()


def members_of(plan: RoundPlan, group: int) -> list[int]:
    """The contributors of a group."""
    return [who for who in plan.contributors if plan.group_of[who] == group]


def releases(town: Town, context: bytes) -> list[Release]:
    """What left members in the RELEASE step."""
    bodies = [
        codec.decode(message.signed.body, RoundBody, bytes_max=10**7)
        for message in town.sent(MemberInput)
        if message.context == context
    ]
    return [body for body in bodies if isinstance(body, Release)]


def sums_released(plan: RoundPlan, release: Release) -> float:
    """Of how many sums a member released a share."""
    assert plan.phase is not None
    return len(release.shares) / released_bytes(plan.phase.bounds, plan.size)


def record_of(town: Town, study: bytes) -> tuple[RecordBody, Record]:
    """The last record."""
    record = town.machines[0].studies[study].records[-1]
    return read_body(record), record


def growth(plan: RoundPlan, accepted, robust: Robust | None = None) -> list[int]:
    """What the model grows by when these unit vectors are combined by their groups."""
    assert plan.phase is not None
    updates = []
    for group in plan.opened(accepted).values():
        total = np.zeros(LENGTH, dtype=np.int64)
        total[list(group)] = 1
        updates.append(GroupUpdate(total, len(group)))
    return combine(updates, robust or plan.phase.robust).total.tolist()


def let_lie(town: Town, plan: RoundPlan, lie, place: int = 1) -> int:
    """One member lies about every body that it signs; returns its census index."""
    liar = plan.committee[place]

    def wire(sender, receiver, message):
        if sender != liar or not isinstance(message, MemberInput):
            return None
        body = codec.decode(message.signed.body, RoundBody, bytes_max=10**7)
        node = town.census.node_ids[liar]
        return [replace(message, signed=sign_body(town.cryptos[liar], NETWORK, node, lie(body)))]

    town.wire = wire
    return liar


def sums_of(plan: RoundPlan, body: RecordBody) -> tuple[GroupSum, ...]:
    """What a record must say of the groups of unit vectors that it counts."""
    found = []
    for group, accepted in plan.opened(body.accepted).items():
        total = np.zeros(LENGTH, dtype=np.int64)
        total[list(accepted)] = 1
        found.append(GroupSum(group, sum_hash(plan.context, group, total)))
    return tuple(found)


def decoded(plan: RoundPlan, given: list[Release]) -> list[np.ndarray]:
    """The sum of every group, as anybody decodes it from what members released."""
    assert plan.phase is not None
    length = summed_length(plan.phase.bounds, plan.size)
    shares = {each.member: shares_by_group(each.shares, plan.phase, plan.size) for each in given}
    sums = []
    for place in range(len(next(iter(shares.values())))):
        of_group = {
            member: direct.read_released(parts[place], length, plan.size.packing)
            for member, parts in shares.items()
        }
        total = direct.decode_sum(plan.size, of_group, length).total
        sums.append(summed_vector(total, plan.phase.bounds, plan.size))
    return sums
