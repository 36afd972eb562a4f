"""How long evidence by answers can become: short enough to be passed on, whatever the round."""

import pytest
from tests.support.evidence import DEALER, LIAR, scene

from pnyx.primitives import codec
from pnyx.primitives.hashing import merkle_proof_hashes
from pnyx.protocol.aggregation.verification import answer_count
from pnyx.protocol.evidence.docket import Docket
from pnyx.protocol.messages import (
    DRAWN_MAX,
    BadContribution,
    Evidence,
    OpenedAnswer,
    OpenedPayload,
    Proof,
    Signed,
    VerifyResponse,
    WrongAnswer,
    WrongShare,
)
from pnyx.protocol.params import DEFAULT_PARAMS
from pnyx.protocol.selection import committee_size
from pnyx.protocol.selection.security import CommitteeSize

S = scene()
SIZES = [
    committee_size(24, 4, 2, 4),
    committee_size(110, 21, 4, 11),
    committee_size(231, 51, 4, 11),
    committee_size(1000, 240, 4, 11),
]
SHARE = bytes(100_000)  # of an update of 20,000 entries, packed two by two, with its proof: 84 KB


def longest(size: CommitteeSize) -> tuple[OpenedAnswer, ...]:
    """Answers of a whole committee in a round of as many contributions as there can be."""
    context, digest = S.c.plan.context, b"d" * 32
    depth = max(merkle_proof_hashes(place, DRAWN_MAX) for place in (0, DRAWN_MAX - 1))
    return tuple(
        OpenedAnswer(
            Signed(digest, codec.encode(VerifyResponse(context, m, digest, digest)), digest * 2),
            bytes(4 * answer_count(size)),
            DRAWN_MAX - 1,
            DRAWN_MAX,
            (digest,) * depth,
        )
        for m in range(size.size)
    )


def proofs_by_answers(size: CommitteeSize) -> list[Proof]:
    """Each kind of proof that shows answers, at its longest."""
    answers, header = longest(size), S.c.header(DEALER)
    opened = OpenedPayload(LIAR, SHARE, (b"d" * 32,) * 10)
    return [
        WrongAnswer(header, opened, answers[0]),
        WrongShare(header, opened, answers),
        BadContribution("bound", header, answers),
    ]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: str(size.size))
def test_evidence_by_answers_can_always_be_passed_on(size: CommitteeSize) -> None:
    docket = Docket(S.c.plan.census, S.c.folk.cryptos[LIAR], DEFAULT_PARAMS)
    for proof in proofs_by_answers(size):
        evidence = Evidence(S.c.plan.study, 1, 1, DEALER, proof)
        assert docket.fits(evidence)
        encoded = codec.encode(evidence)
        assert len(encoded) < 1300 * size.size + 1.2 * len(SHARE)
        assert codec.decode(encoded, Evidence, bytes_max=len(encoded)) == evidence
