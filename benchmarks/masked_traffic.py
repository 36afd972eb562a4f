"""Bytes of one contribution in masked rounds, everything included, from the messages themselves.

A million values of 12 bits, in the committee of the rounds that are measured (24 members) and the
larger one of the aims (64, packing 4); with and without verification, which needs the receipts of
more aggregators. A contributor sends its vector once, in chunks, an offer, and a share with the
receipts to each member. A member gets and gives more than that share: per contributor there are its
line and header on the closed list, the answers of all members, and its linear hash, which comes
with the sum. TLS adds some 0.1 % and is left out; so are certificates, which one round has whoever
contributes.
"""

from typing import Any

import msgspec
import numpy as np

from pnyx.learning.update import TRAIN_COUNTS
from pnyx.node.learning import choose_masks, choose_verified, phase_for
from pnyx.primitives import codec
from pnyx.primitives.hashing import merkle_proof_hashes
from pnyx.primitives.ring.linear_hash import DIGEST_BYTES
from pnyx.protocol.aggregation.bounds import Bounds, layout
from pnyx.protocol.aggregation.masked.parameters import layout as masked_layout
from pnyx.protocol.aggregation.payloads import payload_bytes
from pnyx.protocol.aggregation.verification import (
    ELEMENT_BYTES,
    PUBLISHED_BYTES,
    SALT_BYTES,
    answer_count,
)
from pnyx.protocol.chunks import chunk_count, chunk_length
from pnyx.protocol.manifest import StudyPhase
from pnyx.protocol.messages import (
    Chunk,
    Contribution,
    ContributionHeader,
    HeldContribution,
    MaskedVector,
    Receipt,
    SealedShare,
    Signed,
    SketchProof,
    StatedHash,
    VectorOffer,
    VectorReceipt,
)
from pnyx.protocol.selection import CommitteeSize, committee_size

VALUES, VALUE_BITS, CONTRIBUTORS = 1_000_000, 12, 24
NORM_MAX = 1 << 12
UNPROVEN_NORM_MAX = 1 << 10  # all of it may lie in one value, of 12 bits
SIZES = (committee_size(24, 4, 2, 4), committee_size(64, 12, 4, 9))
RECEIPTS = {"masked": 2, "verified": 8}  # of three aggregators, of twelve
HASH, SIGNATURE, ENVELOPE_BYTES = bytes(32), bytes(64), 48
WHO = 4000  # census indices of two bytes


def _phase(*, verified: bool) -> StudyPhase:
    """The phase that trains, without noise."""
    norm_max = NORM_MAX if verified else UNPROVEN_NORM_MAX
    plain = Bounds(VALUES + TRAIN_COUNTS, VALUES, norm_max, 1 << 10)
    terms: dict[str, Any] = {}
    if verified:
        terms["verified"] = choose_verified(plain, CONTRIBUTORS, None)
    else:
        terms["masked"] = choose_masks(plain, VALUE_BITS, CONTRIBUTORS, None)
    return phase_for(
        "train",
        plain,
        rounds=1,
        cohort_min=CONTRIBUTORS,
        target=CONTRIBUTORS,
        drawn=CONTRIBUTORS,
        deadline_s=60.0,
        **terms,
    )


def _header(*, verified: bool) -> Signed:
    proof = SketchProof(HASH, bytes(SALT_BYTES), bytes(PUBLISHED_BYTES)) if verified else None
    masked = MaskedVector(HASH, HASH, proof)
    published = bytes(PUBLISHED_BYTES)
    header = ContributionHeader(HASH, WHO, HASH, HASH, HASH, published, masked)
    return Signed(HASH, codec.encode(header), SIGNATURE)


def _size(message: msgspec.Struct) -> int:
    return len(codec.encode(message))


def _vector_bytes(length: int) -> int:
    """Of all chunk messages of a parcel."""
    count = chunk_count(length)
    return sum(
        _size(
            Chunk(
                HASH,
                length,
                index,
                HASH,
                bytes(chunk_length(length, index)),
                (HASH,) * merkle_proof_hashes(index, count),
            )
        )
        for index in range(count)
    )


def measure(size: CommitteeSize, *, verified: bool) -> dict[str, Any]:
    """Bytes to and from a contributor and a member, for one contribution."""
    phase = _phase(verified=verified)
    assert phase.masked is not None, "both ways mask"
    header = _header(verified=verified)
    receipts = (VectorReceipt(HASH, WHO, HASH, SIGNATURE),) * RECEIPTS[
        "verified" if verified else "masked"
    ]
    shares = [
        Contribution(
            HASH,
            header,
            SealedShare(
                member,
                bytes(payload_bytes(phase.bounds, size, member) + ENVELOPE_BYTES),
                (HASH,) * merkle_proof_hashes(member, size.size),
            ),
            receipts,
        )
        for member in range(size.size)
    ]
    in_share = int(np.median([_size(share) for share in shares]))
    vector = _vector_bytes(phase.masked.bytes)
    earlier = (HASH,) * (masked_layout(phase.masked).segments - 1)
    offer = _size(VectorOffer(HASH, header, bytes(DIGEST_BYTES), earlier))
    linear_hash = _size(StatedHash(bytes(DIGEST_BYTES), HASH))
    line = _size(HeldContribution(WHO, HASH))
    answers = ELEMENT_BYTES * answer_count(size)
    listed = size.size - size.absent_max
    receipt = _size(Receipt(HASH, 1, HASH, SIGNATURE))
    signed = _size(header)
    return {
        "members": size.size,
        "packing": size.packing,
        "verified": verified,
        "key_columns": sum(layout(phase.bounds, size).keys),
        "contributor_sends": {
            "vector": vector,
            "offer": offer,
            "shares": sum(_size(share) for share in shares),
            "all": vector + offer + sum(_size(share) for share in shares),
        },
        "member_gets": {
            "share_with_header_and_receipts": in_share,
            "header_on_the_closed_list": signed,
            "lines_of_the_votes": listed * line,
            "answers_of_the_members": listed * answers,
            "linear_hash": linear_hash,
            "all": in_share + signed + listed * (line + answers) + linear_hash,
        },
        "member_gives": {
            "receipt": receipt,
            "line_of_its_vote": line,
            "answers": answers,
            "all": receipt + line + answers,
        },
    }


def run() -> dict[str, Any]:
    """The table, and what verification adds to what a contributor sends."""
    table = [measure(size, verified=verified) for size in SIZES for verified in (False, True)]
    sent = [each["contributor_sends"]["all"] for each in table]
    return {
        "values": VALUES,
        "value_bits": VALUE_BITS,
        "contributors": CONTRIBUTORS,
        "table": table,
        "verified_sends_more_percent": {
            str(size.size): round(100 * (sent[2 * at + 1] / sent[2 * at] - 1), 2)
            for at, size in enumerate(SIZES)
        },
    }
