"""What the roles of a round say about masked vectors: names, statements, and when they count."""

from functools import lru_cache

from pnyx.errors import InvalidSignature, RuleBroken
from pnyx.primitives.hashing import digest
from pnyx.protocol.aggregation.masked.vectors import VectorCode
from pnyx.protocol.messages import HeldContribution, VectorReceipt
from pnyx.protocol.ports import Crypto
from pnyx.protocol.round.plan import RoundPlan

Accepted = tuple[HeldContribution, ...]


@lru_cache(maxsize=16)
def vector_code(plan: RoundPlan) -> VectorCode | None:
    """How vectors of an attempt are masked and summed; None where nothing is masked."""
    if plan.phase is None or plan.phase.masked is None:
        return None
    return VectorCode(plan.phase.masked, plan.context)


def linear_hash_name(context: bytes, linear_hash: bytes) -> bytes:
    """What a contributor's header says of its linear hash."""
    return digest("pnyx/linear-hash", context, linear_hash)


def accepted_hash(context: bytes, accepted: Accepted) -> bytes:
    """Names a set of contributions whose vectors are summed."""
    parts = [held.contributor.to_bytes(4, "big") + held.header_hash for held in accepted]
    return digest("pnyx/summed", context, *parts)


def vector_statement(context: bytes, aggregator: int, name: bytes) -> bytes:
    """Bytes that the receipt for a masked vector signs."""
    return b"pnyx/vector/" + digest("pnyx/vector", context, aggregator.to_bytes(4, "big"), name)


def receipts_wanted(plan: RoundPlan) -> int:
    """Aggregators that must hold a masked vector before members take the shares of its key.

    Most of them: then the vector outlives the loss of fewer than half, and a contributor need not
    wait for those that are away.
    """
    return len(plan.aggregators) // 2 + 1


def check_receipt(plan: RoundPlan, crypto: Crypto, receipt: VectorReceipt, name: bytes) -> None:
    """Check an aggregator's receipt for the contribution of this header. Raises ProtocolError."""
    if receipt.aggregator not in plan.aggregators or receipt.header_hash != name:
        raise RuleBroken("a receipt for a masked vector is another's, or from no aggregator")
    statement = vector_statement(plan.context, receipt.aggregator, name)
    key = plan.census.public_keys[receipt.aggregator]
    if receipt.context != plan.context or not crypto.verify(key, statement, receipt.signature):
        raise InvalidSignature("the receipt for a masked vector does not verify")


def check_receipts(
    plan: RoundPlan, crypto: Crypto, receipts: tuple[VectorReceipt, ...], name: bytes
) -> None:
    """Refuse a contribution whose masked vector too few aggregators hold. Raises ProtocolError."""
    held = {receipt.aggregator for receipt in receipts}
    if len(held) < receipts_wanted(plan):
        raise RuleBroken("a contribution comes before enough aggregators hold its masked vector")
    for receipt in receipts:
        check_receipt(plan, crypto, receipt, name)
