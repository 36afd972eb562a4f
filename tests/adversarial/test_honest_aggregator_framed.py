"""A8: somebody makes evidence that an honest node told of a wrong sum of masked vectors.

A member that was told of a sum accuses whoever told of it, with the words that it signed. A right
sum convicts nobody, and nor do words that are altered, of another node, or of another sum.
"""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.support.masked_round import AGGREGATORS, masked_committee, parcel_of
from tests.support.weakened import weaken

from pnyx.errors import InvalidSignature, ProtocolError, RuleBroken
from pnyx.node import daemon as daemon_module
from pnyx.node.daemon import Daemon
from pnyx.node.parcel_store import FileParcelStore
from pnyx.primitives import codec
from pnyx.protocol.chunks import chunks_of, describe
from pnyx.protocol.events import SummingFailed, SumVectors, VectorsSummed
from pnyx.protocol.evidence.docket import Docket
from pnyx.protocol.evidence.proofs import check_evidence
from pnyx.protocol.messages import Evidence, WrongSum
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round import vectors

C = masked_committee()
SET = (2, 3, 4)
TELLER, OTHER = AGGREGATORS[0], AGGREGATORS[1]
JUDGE = C.folk.cryptos[5]
RIGHT = C.total(SET)
WRONG = C.total((2, 2, 4))


def evidence(told_of: bytes, /, **changes) -> Evidence:
    """Evidence that a node told of this as the sum of the set."""
    told = C.told(*SET, parcel=parcel_of(told_of), teller=TELLER)
    linear_hash = C.code.summed_hash(told.linear_hashes)
    proof = WrongSum(told.accepted, len(SET), linear_hash, told_of, told.signature)
    plan = C.plan
    return Evidence(plan.study, plan.round_number, plan.attempt, TELLER, replace(proof, **changes))


@pytest.mark.parametrize("total", [WRONG, bytes(len(RIGHT)), b"\xff" * len(RIGHT)])
def test_a_wrong_sum_convicts_whoever_told_of_it(total: bytes) -> None:
    check_evidence(
        codec.decode(codec.encode(evidence(total)), Evidence, bytes_max=10**7), C.plan, JUDGE
    )


def test_a_right_sum_convicts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuleBroken, match="the sum is that of its contributions"):
        check_evidence(evidence(RIGHT), C.plan, JUDGE)
    weaken(
        monkeypatch,
        vectors,
        ("code.check_hash(proof.total, proof.linear_hash, proof.count)", "raise RuleBroken"),
    )
    check_evidence(evidence(RIGHT), C.plan, JUDGE)  # to look at the sum is the defence


def signed_by(teller: int, total: bytes, count: int = len(SET)) -> Evidence:
    """Evidence by what a node signs to be convicted with as many bytes as it likes."""
    name, linear_hash = bytes(32), C.code.summed_hash([C.masked(2).linear_hash])
    statement = vectors.sum_statement(
        C.plan.context, teller, name, count, parcel_of(total), linear_hash
    )
    proof = WrongSum(name, count, linear_hash, total, C.folk.cryptos[teller].sign(statement))
    return Evidence(C.plan.study, C.plan.round_number, C.plan.attempt, teller, proof)


OUTSIDER = next(
    index
    for index in range(len(C.folk.cryptos))
    if index not in C.plan.aggregators and index not in C.plan.member_of
)


@pytest.mark.parametrize(
    "padded",
    [
        pytest.param(signed_by(TELLER, RIGHT[:-1]), id="a byte less"),
        pytest.param(signed_by(TELLER, bytes(500_000)), id="half a megabyte"),
        pytest.param(signed_by(TELLER, WRONG, 4096), id="more contributors than a sum holds"),
        pytest.param(signed_by(OUTSIDER, WRONG), id="of a node that tells of no sums"),
    ],
)
def test_nobody_fills_dockets_with_sums_of_its_own(padded: Evidence) -> None:
    with pytest.raises(RuleBroken):
        check_evidence(padded, C.plan, JUDGE)


def test_a_large_sum_is_not_spread() -> None:
    """As two bodies, and false vectors: what convicts everywhere, and has any length, is small."""
    large = signed_by(TELLER, bytes(300_000))
    docket = Docket(C.plan.census, JUDGE, ProtocolParams())
    assert not docket.fits(large)
    assert docket.fits(evidence(WRONG))


# --- an honest aggregator whose memory fails ------------------------------------------------------


def told_by_a_daemon(tmp_path: Path, linear_hash: bytes) -> list[object]:
    """What a node answers when it has added up vectors that are to have this linear hash."""
    store, names = FileParcelStore(tmp_path), []
    for who in SET:
        cut = list(chunks_of(C.vector(who)))
        parcel = describe(cut)
        for at, chunk in enumerate(cut):
            store.write(parcel.name, at, chunk)
        store.seal(parcel.name, parcel.length)
        names.append(parcel.name)
    daemon, told = Daemon.__new__(Daemon), []
    daemon._parcels, daemon.deliver = store, told.append
    effect = SumVectors(C.plan.context, bytes(32), tuple(names), C.code.parameters, linear_hash)
    asyncio.run(daemon._sum_vectors(effect))
    return told


def test_a_sum_that_is_none_is_not_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = C.code.summed_hash([C.masked(who).linear_hash for who in SET])
    assert [type(each) for each in told_by_a_daemon(tmp_path / "a", right)] == [VectorsSummed]
    other = C.code.summed_hash([C.masked(who).linear_hash for who in SET[1:]])
    assert [type(each) for each in told_by_a_daemon(tmp_path / "b", other)] == [SummingFailed]
    monkeypatch.setattr(daemon_module, "check_summed", lambda *_: None)
    assert [type(each) for each in told_by_a_daemon(tmp_path / "c", other)] == [VectorsSummed]


LINEAR_HASH = C.code.summed_hash([C.masked(2).linear_hash])
FRAMED = [
    pytest.param(evidence(RIGHT, total=WRONG), id="another sum than it told of"),
    pytest.param(evidence(RIGHT, linear_hash=LINEAR_HASH), id="another linear hash"),
    pytest.param(evidence(RIGHT, count=1), id="of fewer contributions"),
    pytest.param(evidence(RIGHT, accepted=bytes(32)), id="of another set"),
    pytest.param(replace(evidence(WRONG), culprit=OTHER), id="another culprit"),
    pytest.param(evidence(WRONG, signature=bytes(64)), id="unsigned"),
]


@pytest.mark.parametrize("framed", FRAMED)
def test_words_that_the_node_did_not_sign(framed: Evidence) -> None:
    with pytest.raises(InvalidSignature):
        check_evidence(framed, C.plan, JUDGE)


def test_the_signature_is_the_defence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(JUDGE), "verify", lambda *_: True)
    for framed in FRAMED:
        if framed.id != "of another set":  # whose sum it is does not matter: it is right
            check_evidence(framed.values[0], C.plan, JUDGE)


def test_a_linear_hash_that_is_none_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(JUDGE), "verify", lambda *_: True)
    for bad in (b"", b"\xff" * len(LINEAR_HASH), LINEAR_HASH[:-1]):
        with pytest.raises(ProtocolError):
            check_evidence(evidence(RIGHT, linear_hash=bad), C.plan, JUDGE)
