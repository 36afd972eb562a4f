"""What the roles of a round say about masked vectors: names, statements, and when they count."""

from collections.abc import Collection
from functools import lru_cache

from pnyx.errors import InvalidSignature, RuleBroken
from pnyx.primitives.hashing import digest
from pnyx.protocol.aggregation.coefficients import Claim
from pnyx.protocol.aggregation.encoding import IntVector
from pnyx.protocol.aggregation.masked.checkpoints import checkpoint, commit, commit_all
from pnyx.protocol.aggregation.masked.vectors import VectorCode
from pnyx.protocol.aggregation.masked_verification.key_weights import key_weights
from pnyx.protocol.chunks import chunks_of, describe, parcel_name
from pnyx.protocol.messages import (
    AnyFalseVector,
    FalseVector,
    FalseVectorLength,
    HeldContribution,
    MaskedVector,
    StatedHash,
    VectorReceipt,
    WrongSum,
    WrongSumLength,
)
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.ports import Crypto
from pnyx.protocol.round.false_segments import Walk, check_false_segment, sum_walk, vector_walk
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


def walk_of(plan: RoundPlan, claim: Claim) -> Walk:
    """Through the masked vector that a header names, which claims this."""
    code = vector_code(plan)
    assert code is not None, "vectors are masked here, or no header names one"
    return vector_walk(code, None if plan.phase is None else plan.phase.masked_bounds, claim)


def check_false_vector(
    plan: RoundPlan, claim: Claim, masked: MaskedVector, proof: AnyFalseVector
) -> None:
    """Check that a vector is not what a header says. Raises RuleBroken if that is not shown.

    claim, masked: what the header claims (`values.InputReader.claim`), and says of its vector.
    """
    if isinstance(proof, FalseVector):
        if commit_all(plan.context, proof.checkpoints) != masked.commitment:
            raise RuleBroken("the checkpoints are not those that a header commits to")
        check_false_segment(walk_of(plan, claim), proof.opened, masked.parcel, proof.checkpoints)
        return
    if parcel_name(proof.length, proof.root) != masked.parcel:
        raise RuleBroken("a vector is not the one that a header names")
    code = vector_code(plan)
    assert code is not None, "vectors are masked here, or no header names one"
    if proof.length == code.vector_bytes:
        raise RuleBroken("the parcel has the length of this round's masked vectors")


def key_weights_of(plan: RoundPlan, claim: Claim, challenge: bytes) -> IntVector | None:
    """What a member needs of public data to answer; None where no masked update is verified."""
    phase, code = plan.phase, vector_code(plan)
    if phase is None or code is None or (bounds := phase.masked_bounds) is None:
        return None
    return key_weights(claim, challenge, bounds, phase.bounds, plan.size, code.public())


def commitment_to(context: bytes, stated: StatedHash, masked: MaskedVector) -> bytes:
    """What the header of a vector commits to if its linear hash and checkpoints are as stated."""
    return commit(context, stated.earlier, last_checkpoint(stated.linear_hash, masked))


def last_checkpoint(linear_hash: bytes, masked: MaskedVector) -> bytes:
    """The checkpoint after all of a vector, by its linear hash and what a header says of it."""
    return checkpoint(linear_hash, b"" if masked.proof is None else masked.proof.sketch)


def accepted_hash(context: bytes, accepted: Accepted) -> bytes:
    """Names a set of contributions whose vectors are summed."""
    parts = [held.contributor.to_bytes(4, "big") + held.header_hash for held in accepted]
    return digest("pnyx/summed", context, *parts)


def vector_statement(context: bytes, aggregator: int, name: bytes) -> bytes:
    """Bytes that the receipt for a masked vector signs."""
    return b"pnyx/vector/" + digest("pnyx/vector", context, aggregator.to_bytes(4, "big"), name)


def sum_statement(
    context: bytes, teller: int, accepted: bytes, count: int, parcel: bytes, committed: bytes
) -> bytes:
    """Bytes that whoever tells of a sum signs. committed: what its checkpoints come to."""
    numbers = teller.to_bytes(4, "big"), count.to_bytes(4, "big")
    return b"pnyx/sum/" + digest("pnyx/sum", context, *numbers, accepted, parcel, committed)


def check_wrong_sum(
    plan: RoundPlan, crypto: Crypto, proof: WrongSum | WrongSumLength, teller: int
) -> None:
    """Check that a node signed a sum that is none. Raises ProtocolError if that is not shown."""
    code = vector_code(plan)
    if code is None:
        raise RuleBroken("no masked vectors are summed here")
    if teller not in plan.aggregators and teller not in plan.member_of:
        raise RuleBroken("who tells of sums is an aggregator or a member")
    if proof.count > code.parameters.contributors_max:
        raise RuleBroken("a sum has more contributors than this round's have")
    if isinstance(proof, WrongSum):
        parcel = parcel_name(code.sum_bytes, proof.opened.root)
        committed = commit_all(plan.context, proof.checkpoints)
    elif proof.length == code.sum_bytes:
        raise RuleBroken("the parcel has the length of this round's sums")
    else:
        # A name is a hash of the length, so whoever signed the name signed the length.
        parcel, committed = parcel_name(proof.length, proof.root), proof.committed
    statement = sum_statement(plan.context, teller, proof.accepted, proof.count, parcel, committed)
    if not crypto.verify(plan.census.public_keys[teller], statement, proof.signature):
        raise InvalidSignature("nobody signed that this is the sum of masked vectors")
    if isinstance(proof, WrongSum):
        check_false_segment(sum_walk(code, proof.count), proof.opened, parcel, proof.checkpoints)


def receipts_wanted(plan: RoundPlan) -> int:
    """Aggregators that must hold a masked vector before members take the shares of its key.

    Most of them: then the vector outlives the loss of fewer than half, and a contributor need not
    wait for those that are away. Where updates are verified, two thirds: a receipt then vouches for
    what the header states of the vector, and nobody else looks at that.
    """
    count = len(plan.aggregators)
    if vouched_for(plan):
        return -(-2 * count // 3)
    return count // 2 + 1


def vouched_for(plan: RoundPlan) -> bool:
    """Whether a receipt says that a vector is what its header states, and not only that it is held.

    That is where the norm is verified: nobody else looks at the sketch.
    """
    return plan.phase is not None and plan.phase.verified is not None


def vouches_against(plan: RoundPlan, proof: AnyFalseVector) -> bool:
    """Whether who gave a receipt for a header that this shows to be false must have known.

    Of a vector's length that holds always, as none is pulled of another.
    """
    return isinstance(proof, FalseVectorLength) or vouched_for(plan)


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
