"""What the roles of a round say about masked vectors: names, statements, and when they count."""

from collections.abc import Collection
from functools import lru_cache

from pnyx.errors import InvalidSignature, MalformedMessage, RuleBroken
from pnyx.primitives.hashing import digest
from pnyx.protocol.aggregation.coefficients import Claim
from pnyx.protocol.aggregation.encoding import IntVector
from pnyx.protocol.aggregation.masked.vectors import VectorCode
from pnyx.protocol.aggregation.masked_verification.key_weights import key_weights
from pnyx.protocol.aggregation.masked_verification.sketch import stated_sketch
from pnyx.protocol.chunks import chunks_of, describe, parcel_name
from pnyx.protocol.messages import (
    AnyFalseVector,
    FalseVector,
    HeldContribution,
    MaskedVector,
    VectorReceipt,
    WrongSum,
    WrongSumLength,
)
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.ports import Crypto
from pnyx.protocol.round.plan import RoundPlan

Accepted = tuple[HeldContribution, ...]


@lru_cache(maxsize=16)
def vector_code(plan: RoundPlan) -> VectorCode | None:
    """How vectors of an attempt are masked and summed; None where nothing is masked."""
    phase = plan.phase
    if phase is None or phase.masked is None:
        return None
    bounds = phase.masked_bounds
    return VectorCode(phase.masked, plan.context, 0 if bounds is None else bounds.largest_sum)


def sums_take_s(plan: RoundPlan, params: ProtocolParams) -> float:
    """How long the sums of a round take to all its members, on lines that are slow."""
    code = vector_code(plan)
    if code is None or plan.phase is None or not plan.aggregators:
        return 0.0
    sent = code.sum_bytes * plan.phase.groups * len(plan.committee)
    return sent / (len(plan.aggregators) * params.sum_bytes_per_s)


def parcel_named(vector: bytes) -> bytes:
    """The name of the parcel that carries these bytes."""
    return describe(list(chunks_of(vector))).name


def false_name(proof: AnyFalseVector) -> bytes:
    """The name of the parcel that a proof shows: all of it, or what its name is a hash of."""
    if isinstance(proof, FalseVector):
        return parcel_named(proof.vector)
    return parcel_name(proof.length, proof.root)


def has_vector_length(plan: RoundPlan, length: int) -> bool:
    """Whether a parcel that a header names is as long as this attempt's masked vectors."""
    code = vector_code(plan)
    assert code is not None, "vectors are masked here, or no header names one"
    return length == code.vector_bytes


def vector_is_right(plan: RoundPlan, claim: Claim, masked: MaskedVector, vector: bytes) -> bool:
    """Whether a vector is what the header that names it says: linear hash, and sketch if stated.

    claim: what the header claims (`values.InputReader.claim`).
    """
    code = vector_code(plan)
    assert code is not None, "vectors are masked here, or no header names one"
    try:
        linear_hash = code.linear_hash(vector)
    except MalformedMessage:
        return False
    if linear_hash_name(plan.context, linear_hash) != masked.linear_hash:
        return False
    return sketch_is_right(plan, claim, masked, vector)


def sketch_is_right(plan: RoundPlan, claim: Claim, masked: MaskedVector, vector: bytes) -> bool:
    """Whether a vector has the sketch that its header states, where it states one."""
    code = vector_code(plan)
    assert code is not None, "vectors are masked here, or no header names one"
    bounds = None if plan.phase is None else plan.phase.masked_bounds
    if masked.proof is None or bounds is None:
        return True
    stated = stated_sketch(code.parameters, bounds, claim.sketched, code.blocks(vector))
    return stated == masked.proof.sketch


def key_weights_of(plan: RoundPlan, claim: Claim, challenge: bytes) -> IntVector | None:
    """What a member needs of public data to answer; None where no masked update is verified."""
    phase, code = plan.phase, vector_code(plan)
    if phase is None or code is None or (bounds := phase.masked_bounds) is None:
        return None
    return key_weights(claim, challenge, bounds, phase.bounds, plan.size, code.public())


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


def sum_statement(
    context: bytes, teller: int, accepted: bytes, count: int, parcel: bytes, linear_hash: bytes
) -> bytes:
    """Bytes that whoever tells of a sum signs. linear_hash: that of the sum, by its parts' own."""
    numbers = teller.to_bytes(4, "big"), count.to_bytes(4, "big")
    return b"pnyx/sum/" + digest("pnyx/sum", context, *numbers, accepted, parcel, linear_hash)


def check_wrong_sum(
    plan: RoundPlan, crypto: Crypto, proof: WrongSum | WrongSumLength, teller: int
) -> None:
    """Check that a node signed a sum that is none. Raises ProtocolError if that is not shown."""
    code = _told_here(plan, teller, proof.count)
    if isinstance(proof, WrongSumLength):
        if proof.length == code.sum_bytes:
            raise RuleBroken("the parcel has the length of this round's sums")
        # A name is a hash of the length, so whoever signed the name signed the length.
        _check_told(plan, crypto, proof, teller, parcel_name(proof.length, proof.root))
        return
    if len(proof.total) != code.sum_bytes:
        raise RuleBroken("a sum has another length than this round's have")
    _check_told(plan, crypto, proof, teller, parcel_named(proof.total))
    code.read_linear_hash(proof.linear_hash)
    try:
        code.check_hash(proof.total, proof.linear_hash, proof.count)
    except (MalformedMessage, RuleBroken):
        return
    raise RuleBroken("the sum is that of its contributions")


def _told_here(plan: RoundPlan, teller: int, count: int) -> VectorCode:
    """How vectors are summed in an attempt in which this node may have told of a sum."""
    code = vector_code(plan)
    if code is None:
        raise RuleBroken("no masked vectors are summed here")
    if teller not in plan.aggregators and teller not in plan.member_of:
        raise RuleBroken("who tells of sums is an aggregator or a member")
    if count > code.parameters.contributors_max:
        raise RuleBroken("a sum has more contributors than this round's have")
    return code


def _check_told(
    plan: RoundPlan, crypto: Crypto, proof: WrongSum | WrongSumLength, teller: int, parcel: bytes
) -> None:
    """Check that a node signed that a parcel is a sum. Raises InvalidSignature."""
    statement = sum_statement(
        plan.context, teller, proof.accepted, proof.count, parcel, proof.linear_hash
    )
    if not crypto.verify(plan.census.public_keys[teller], statement, proof.signature):
        raise InvalidSignature("nobody signed that this is the sum of masked vectors")


def receipts_wanted(plan: RoundPlan) -> int:
    """Aggregators that must hold a masked vector before members take the shares of its key.

    Most of them: then the vector outlives the loss of fewer than half, and a contributor need not
    wait for those that are away. Where updates are verified, two thirds: a receipt then vouches for
    what the header states of the vector, and nobody else looks at that.
    """
    count = len(plan.aggregators)
    if plan.phase is not None and plan.phase.verified is not None:
        return -(-2 * count // 3)
    return count // 2 + 1


def check_receipt(plan: RoundPlan, crypto: Crypto, receipt: VectorReceipt, name: bytes) -> None:
    """Check an aggregator's receipt for the contribution of this header. Raises ProtocolError."""
    if receipt.aggregator not in plan.aggregators or receipt.header_hash != name:
        raise RuleBroken("a receipt for a masked vector is another's, or from no aggregator")
    statement = vector_statement(plan.context, receipt.aggregator, name)
    key = plan.census.public_keys[receipt.aggregator]
    if receipt.context != plan.context or not crypto.verify(key, statement, receipt.signature):
        raise InvalidSignature("the receipt for a masked vector does not verify")


def check_receipts(
    plan: RoundPlan,
    crypto: Crypto,
    receipts: tuple[VectorReceipt, ...],
    name: bytes,
    verified: Collection[VectorReceipt] = (),
) -> None:
    """Refuse a contribution whose masked vector too few aggregators hold. Raises ProtocolError.

    verified: receipts that need no second look.
    """
    held = {receipt.aggregator for receipt in receipts}
    if len(held) < receipts_wanted(plan):
        raise RuleBroken("a contribution comes before enough aggregators hold its masked vector")
    for receipt in receipts:
        if receipt not in verified:
            check_receipt(plan, crypto, receipt, name)
