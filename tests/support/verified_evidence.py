"""Evidence of a round whose masked updates are verified: false vectors and receipts, and the rest.

Who is believed, and by whom, is as in `tests.support.evidence`.
"""

from functools import lru_cache

from msgspec.structs import replace
from tests.support.evidence import DEALER, LIAR, Scene
from tests.support.masked_round import (
    AGGREGATORS,
    MaskedCommittee,
    parcel_of,
    verified_committee,
)

from pnyx.protocol.aggregation.masked.checkpoints import commit_all
from pnyx.protocol.chunks import chunks_of, describe
from pnyx.protocol.evidence.proofs import Offence
from pnyx.protocol.messages import (
    BadContribution,
    Evidence,
    FalseReceipt,
    FalseVector,
    FalseVectorLength,
    Signed,
    WrongAnswer,
    WrongShare,
    WrongSum,
    WrongSumLength,
)

VOUCHER = AGGREGATORS[1]


@lru_cache
def verified_scene() -> Scene:
    """The one scene of all tests: nothing in it changes."""
    return Scene(verified_committee())


def _committee() -> MaskedCommittee:
    return verified_committee()


def other_sketch() -> Signed:
    """A contributor's header that states another sketch than its vector has."""
    c = _committee()
    masked = c.reader.header(c.header(DEALER)).masked
    assert masked is not None
    assert masked.proof is not None
    sketch = masked.proof.sketch
    lie = bytes((sketch[0] ^ 1,)) + sketch[1:]
    return c.header(DEALER, masked=c.says(DEALER, replace(masked.proof, sketch=lie)))


def false_vector() -> FalseVector:
    """A vector, and a header that says of it what is not so."""
    return _committee().false(other_sketch(), DEALER)


def false_receipt() -> FalseReceipt:
    """The receipt of an aggregator for such a header."""
    return FalseReceipt(false_vector(), _committee().receipt(VOUCHER, other_sketch()))


def other_length() -> FalseVectorLength:
    """A header that names a parcel of a byte more than its vector, with the proof of the vector."""
    c = _committee()
    longer = describe(chunks_of(c.vector(DEALER) + bytes(1)))
    masked = c.reader.header(c.header(DEALER)).masked
    assert masked is not None
    header = c.header(DEALER, masked=replace(masked, parcel=longer.name))
    return FalseVectorLength(header, longer.length, longer.root)


def length_vouched_for() -> FalseReceipt:
    """The receipt of an aggregator for such a header."""
    false = other_length()
    return FalseReceipt(false, _committee().receipt(VOUCHER, false.header))


def link() -> BadContribution:
    """A contribution whose proof is of another sketch than its header states."""
    payloads, header = _committee().payloads(DEALER), other_sketch()
    return BadContribution("link", header, tuple(verified_scene().answers(payloads, header)))


def wrong_answer() -> WrongAnswer:
    """A member that lied about an honest contribution."""
    c, scene = _committee(), verified_scene()
    opened = scene.opened(c.payloads(2), LIAR)
    return WrongAnswer(c.header(2), opened, scene.lie(LIAR, 2))


def unreadable_share() -> WrongShare:
    """A dealer whose payload ends with the key share of another member."""
    c = _committee()
    payloads = c.payloads(DEALER)
    payloads[1] = payloads[1][:-32] + bytes(32)
    header = c.header(DEALER, payloads, masked=c.reader.header(c.header(DEALER)).masked)
    return WrongShare(header, verified_scene().opened(payloads, 1), ())


def told_wrong() -> tuple[WrongSum, WrongSumLength]:
    """What convicts who told of another sum than that of two vectors, and of one a byte longer."""
    c = _committee()
    other = c.total((2, 2))
    longer = describe(chunks_of(other + bytes(1)))
    told = [c.told(2, 3, parcel=name, teller=VOUCHER) for name in (parcel_of(other), longer.name)]
    committed = commit_all(c.plan.context, c.checkpoints((c.summed(told[1]),)))
    shape = longer.length, longer.root
    return (
        c.wrong(told[0], other),
        WrongSumLength(told[1].accepted, 2, committed, *shape, told[1].signature),
    )


@lru_cache
def of_verified_rounds() -> dict[str, tuple[Evidence, Offence]]:
    """Evidence of every kind that verified rounds add or change, by name."""
    say = verified_scene().evidence
    wrong_sum, wrong_length = told_wrong()
    return {
        "wrong_sum": (say(VOUCHER, wrong_sum), Offence.WRONG_SUM),
        "wrong_sum_length": (say(VOUCHER, wrong_length), Offence.WRONG_SUM),
        "false_vector": (say(DEALER, false_vector()), Offence.FALSE_VECTOR),
        "false_receipt": (say(VOUCHER, false_receipt()), Offence.FALSE_RECEIPT),
        "false_vector_length": (say(DEALER, other_length()), Offence.FALSE_VECTOR),
        "false_receipt_of_length": (say(VOUCHER, length_vouched_for()), Offence.FALSE_RECEIPT),
        "link": (say(DEALER, link()), Offence.LINK),
        "wrong_answer": (say(LIAR, wrong_answer()), Offence.WRONG_ANSWER),
        "unreadable_share": (say(DEALER, unreadable_share()), Offence.WRONG_SHARE),
    }
