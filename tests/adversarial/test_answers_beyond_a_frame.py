"""What somebody asks for is more than a message holds: no answer is longer than one (D1).

A reply above the frame is a bug of ours to the transport, and ends the node that made it. So the
answer to each request is bounded: by the types of what is in it, by what a study may ask for, or
because it is cut.
"""

from math import inf

import pytest
from msgspec import inspect

from pnyx.node.transport.base import TransportLimits
from pnyx.primitives import codec
from pnyx.primitives.ring.linear_hash import DIGEST_BYTES
from pnyx.primitives.signature import QuorumCertificate
from pnyx.protocol import messages
from pnyx.protocol.aggregation.masked.parameters import CONTRIBUTORS_MAX
from pnyx.protocol.messages import (
    SEGMENTS_MAX,
    Chunk,
    ChunkRequest,
    Contribution,
    Decision,
    HeadersRequest,
    MemberInput,
    Part,
    PartsRequest,
    Pull,
    Receipt,
    Relay,
    ShareRequest,
    ShownValue,
    StatedHash,
    SumRequest,
    ValueRequest,
    VectorOffer,
    VectorReceipt,
    VectorSum,
)
from pnyx.protocol.params import DEFAULT_PARAMS

LIMIT = DEFAULT_PARAMS.message_bytes_max
HEAD_BYTES = 9  # of an integer, a float, a tag or a length, at most
MEMBERS_MAX = 1024

BY_TYPE = {
    ShareRequest: Contribution,
    ValueRequest: ShownValue,
    PartsRequest: Part,
    ChunkRequest: Chunk,
    Pull: Decision,
    SumRequest: VectorOffer,  # to another aggregator
    VectorOffer: VectorReceipt,
    Contribution: Receipt,
}
CUT = {HeadersRequest: MemberInput}  # `test_committee.py`; a `Relay` too, which nobody asks for


def longest(kind: inspect.Type) -> float:
    """Bytes of the longest encoding of what is declared."""
    match kind:
        case inspect.StructType(cls=cls) if cls is QuorumCertificate:
            return MEMBERS_MAX * (HEAD_BYTES + 64 + HEAD_BYTES)  # `check_quorum` reads no more
        case inspect.StructType():
            return 2 * HEAD_BYTES + sum(longest(each.type) for each in kind.fields)
        case inspect.VarTupleType():
            length = inf if kind.max_length is None else kind.max_length
            return HEAD_BYTES + length * longest(kind.item_type)
        case inspect.BytesType():
            return inf if kind.max_length is None else HEAD_BYTES + kind.max_length
        case inspect.UnionType():
            return max(map(longest, kind.types))
        case inspect.IntType() | inspect.BoolType() | inspect.NoneType() | inspect.EnumType():
            return HEAD_BYTES
    raise TypeError(f"{kind} is in no answer")


def test_a_message_fits_into_a_frame():
    assert TransportLimits().frame_bytes_max > LIMIT


@pytest.mark.parametrize("answer", BY_TYPE.values(), ids=[kind.__name__ for kind in BY_TYPE])
def test_the_longest_answer_is_a_message(answer):
    assert longest(inspect.type_info(answer)) <= LIMIT


@pytest.mark.parametrize("kind", [*CUT.values(), Relay, VectorSum], ids=lambda kind: kind.__name__)
def test_other_answers_need_another_bound(kind):
    assert longest(inspect.type_info(kind)) > LIMIT


def test_the_largest_sum_that_a_study_may_ask_for():
    """Masks add up so many contributors, and `check_phase` lets no more be drawn for one sum."""
    hashes = (StatedHash(bytes(DIGEST_BYTES), bytes(32)),) * CONTRIBUTORS_MAX
    earlier = (bytes(32),) * (SEGMENTS_MAX - 1)
    answer = VectorSum(bytes(32), bytes(32), bytes(32), hashes, earlier, bytes(64))
    assert len(codec.encode(answer)) <= LIMIT


def test_every_request_is_here():
    named = {name for name in vars(messages) if name.endswith("Request")} - {"Request"}
    assert named == {kind.__name__ for kind in [*BY_TYPE, *CUT] if "Request" in kind.__name__}
