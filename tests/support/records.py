"""Records that a quorum signed, true or not."""

from collections.abc import Sequence

from tests.support.town import People, phase

from pnyx.primitives import codec
from pnyx.primitives.signature import QuorumCertificate
from pnyx.protocol.identity import signing_input
from pnyx.protocol.messages import GroupSum, Record, RecordBody
from pnyx.protocol.privacy import spent_after
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.round.values import joins_root

STUDY = b"s" * 32


def chain(folk: People) -> RoundPlan:
    """Round 1 of a study: members 0 to 6, contributors 2 to 7."""
    return RoundPlan(
        census=folk.census,
        study=STUDY,
        round_number=1,
        epoch=0,
        previous_record=b"p" * 32,
        model_hash=b"m" * 32,
        committee=tuple(range(folk.census.committee.size)),
        contributors=tuple(range(2, 8)),
        aggregators=(8, 0),
        phase=phase(9),
        cohort_min=3,
    )


def certify(folk: People, plan: RoundPlan, body: bytes, signers: Sequence[int] | None = None):
    """Signatures of these members (a quorum) under a record body."""
    chosen = tuple(range(plan.size.quorum)) if signers is None else tuple(signers)
    statement = signing_input(plan.census.network, body)
    signatures = tuple(folk.cryptos[plan.committee[m]].sign(statement) for m in chosen)
    return QuorumCertificate(chosen, signatures)


def spent(plan: RoundPlan, *, skipped: bool) -> int | None:
    """What a study has cost after this round."""
    return spent_after(
        plan.privacy_spent, plan.phase, opened=plan.phase is not None and not skipped
    )


def sums(plan: RoundPlan, accepted: Sequence[int], *, skipped: bool) -> tuple[GroupSum, ...]:
    """What a record says of the groups that these contributors fill."""
    if plan.phase is None or skipped:
        return ()
    counted = [who for who in accepted if who in plan.group_of]
    return tuple(GroupSum(group, b"s" * 32) for group in plan.opened(counted))


def record(folk: People, plan: RoundPlan, joins: tuple[int, ...] = (), **changes) -> Record:
    """A record of this round that a quorum signed."""
    terms = {
        "network": plan.census.network,
        "study": plan.study,
        "round_number": plan.round_number,
        "attempt": plan.attempt,
        "epoch": plan.epoch,
        "census_root": plan.census.root,
        "previous_record": plan.previous_record,
        "context": plan.context,
        "open_value": b"o" * 32,
        "closed_value": b"c" * 32,
        "accepted_value": b"a" * 32,
        "accepted": (),
        "skipped": False,
        "model_hash": plan.model_hash,
        "metrics": (),
        "joins_root": joins_root(joins),
        "next_beacon": b"n" * 32,
        "excluded": plan.excluded,
        **changes,
    }
    terms.setdefault("privacy_spent", spent(plan, skipped=terms["skipped"]))
    terms.setdefault("sums", sums(plan, terms["accepted"], skipped=terms["skipped"]))
    body = codec.encode(RecordBody(**terms))
    return Record(body, joins, certify(folk, plan, body), plan.abort)
