"""Abort certificates and handovers, with the signatures that they need."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace
from tests.support.town import People

from pnyx.primitives import codec
from pnyx.primitives.signature import QuorumCertificate
from pnyx.protocol.agreement import value_hash, vote_statement
from pnyx.protocol.identity import sign_body
from pnyx.protocol.messages import (
    AbortCertificate,
    Decision,
    GiveUp,
    Handover,
    Instance,
    Phase,
    RoundKey,
    Signed,
)
from pnyx.protocol.round.plan import HANDOVER, RoundPlan
from pnyx.protocol.round.values import AbortValue, OpenValue


def signed(folk: People, plan: RoundPlan, member: int, body: Any) -> Signed:
    """A body signed by a member."""
    index = plan.committee[member]
    return sign_body(folk.cryptos[index], plan.census.network, plan.census.node_ids[index], body)


def open_value(folk: People, plan: RoundPlan, members: Sequence[int]) -> bytes:
    """Round keys of these members."""
    keys = (RoundKey(plan.context, m, b"k" * 32, bytes(32), bytes(32)) for m in members)
    return codec.encode(OpenValue(tuple(signed(folk, plan, key.member, key) for key in keys)))


def abort_value(
    folk: People,
    plan: RoundPlan,
    members: Sequence[int],
    culprits: Mapping[int, tuple[int, ...]] | None = None,
) -> bytes:
    """The words of these members that they gave up. culprits: member -> whom it names."""
    named = culprits or {}
    words = (signed(folk, plan, m, GiveUp(plan.context, m, named.get(m, ()))) for m in members)
    return codec.encode(AbortValue(tuple(words)))


def decided(
    folk: People,
    plan: RoundPlan,
    instance: Instance,
    value: bytes,
    phase: Phase = Phase.LOCK,
    signers: Sequence[int] | None = None,
) -> Decision:
    """This value with the locks of a quorum, or of these members."""
    chosen = tuple(range(plan.size.quorum)) if signers is None else tuple(signers)
    statement = vote_statement(plan.context, instance, phase, 0, value_hash(value))
    signatures = tuple(folk.cryptos[plan.committee[m]].sign(statement) for m in chosen)
    return Decision(plan.context, instance, 0, value, QuorumCertificate(chosen, signatures))


def abort_of(
    folk: People,
    plan: RoundPlan,
    listed: Sequence[int] | None = None,
    left: Sequence[int] | None = None,
    named: Mapping[int, tuple[int, ...]] | None = None,
    **changes: Any,
) -> AbortCertificate:
    """The abort of a plan. listed, left: members with a key, and that gave up; else a quorum.

    named: member that gave up -> culprits.
    """
    quorum = range(plan.size.quorum)
    opened = open_value(folk, plan, quorum if listed is None else listed)
    aborted = abort_value(folk, plan, quorum if left is None else left, named)
    certificate = AbortCertificate(
        plan.study,
        plan.round_number,
        decided(folk, plan, Instance.OPEN, opened),
        decided(folk, plan, plan.aborting, aborted),
    )
    return replace(certificate, **changes)


def handover_of(
    folk: People, *plans: RoundPlan, signers: Sequence[int] | None = None, **changes: Any
) -> Handover:
    """The handover of these attempts at one record, the first of them first.

    signers: members whose locks it has; else as few as are enough. changes: of the last decision.
    """
    decisions = []
    for plan in plans:
        chosen = range(plan.size.handover_quorum) if signers is None else signers
        decisions.append(decided(folk, plan, Instance.CLOSE, HANDOVER, signers=chosen))
    decisions[-1] = replace(decisions[-1], **changes)
    return Handover(plans[0].study, plans[0].round_number, tuple(decisions))
