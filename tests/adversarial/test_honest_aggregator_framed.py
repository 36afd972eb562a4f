"""A8: somebody makes evidence that an honest node told of a wrong sum of masked vectors.

A member that was told of a sum accuses whoever told of it, with the words that it signed. A right
sum convicts nobody, and nor do words that are altered, of another node, or of another sum. Nor does
a receipt for a masked vector of the right length, whatever length is said of it.
"""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.support.committee import Committee
from tests.support.masked_round import AGGREGATORS, masked_committee, open_all, parcel_of
from tests.support.weakened import weaken

from pnyx.errors import InvalidSignature, MalformedMessage, RuleBroken
from pnyx.node import daemon as daemon_module
from pnyx.node.daemon import Daemon
from pnyx.node.parcel_store import FileParcelStore
from pnyx.primitives import codec
from pnyx.protocol.aggregation.masked.checkpoints import commit_all
from pnyx.protocol.chunks import chunks_of, describe, parcel_name
from pnyx.protocol.events import SummingFailed, SumVectors, VectorsSummed
from pnyx.protocol.evidence.proofs import check_evidence
from pnyx.protocol.messages import (
    Evidence,
    FalseReceipt,
    FalseVectorLength,
    Signed,
    WrongSum,
    WrongSumLength,
)
from pnyx.protocol.round import false_segments, vectors
from pnyx.protocol.vector_sums import check_summed

C = masked_committee()
SET = (2, 3, 4)
TELLER, OTHER = AGGREGATORS[0], AGGREGATORS[1]
JUDGE = C.folk.cryptos[5]
RIGHT = C.total(SET)
WRONG = C.total((2, 2, 4))


def evidence(told_of: bytes, /, **changes) -> Evidence:
    """Evidence that a node told of this as the sum of the set."""
    proof = C.wrong(C.told(*SET, parcel=parcel_of(told_of), teller=TELLER), told_of)
    plan = C.plan
    return Evidence(plan.study, plan.round_number, plan.attempt, TELLER, replace(proof, **changes))


@pytest.mark.parametrize("total", [WRONG, bytes(len(RIGHT)), b"\xff" * len(RIGHT)])
def test_a_wrong_sum_convicts_whoever_told_of_it(total: bytes) -> None:
    check_evidence(
        codec.decode(codec.encode(evidence(total)), Evidence, bytes_max=10**7), C.plan, JUDGE
    )


def test_a_right_sum_convicts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuleBroken, match="the segment is what was signed of it"):
        check_evidence(evidence(RIGHT), C.plan, JUDGE)
    weaken(
        monkeypatch,
        false_segments,
        ("checkpoint(*after) == checkpoints[opened.segment]", "False"),
    )
    check_evidence(evidence(RIGHT), C.plan, JUDGE)  # to look at the sum is the defence


def signed_by(teller: int, total: bytes, count: int = len(SET)) -> Evidence:
    """Evidence by what a node signs to be convicted with as many bytes as it likes."""
    name, checkpoints = bytes(32), C.checkpoints(C.masked(2).linear_hashes)
    statement = vectors.sum_statement(
        C.plan.context,
        teller,
        name,
        count,
        parcel_of(total),
        commit_all(C.plan.context, checkpoints),
    )
    signature = C.folk.cryptos[teller].sign(statement)
    proof = WrongSum(name, count, checkpoints, open_all(total), signature)
    return Evidence(C.plan.study, C.plan.round_number, C.plan.attempt, teller, proof)


OUTSIDER = next(
    index
    for index in range(len(C.folk.cryptos))
    if index not in C.plan.aggregators and index not in C.plan.member_of
)


def length_of(told_of: bytes, /, **changes) -> Evidence:
    """Evidence that a node told of a parcel of this length as the sum of the set."""
    parcel = describe(chunks_of(told_of))
    told = C.told(*SET, parcel=parcel.name, teller=TELLER)
    committed = commit_all(C.plan.context, C.checkpoints((C.summed(told),)))
    proof = WrongSumLength(
        told.accepted, len(SET), committed, parcel.length, parcel.root, told.signature
    )
    plan = C.plan
    return Evidence(plan.study, plan.round_number, plan.attempt, TELLER, replace(proof, **changes))


LENGTHS = [RIGHT + bytes(1), RIGHT[:-1], bytes(1), bytes(10**6)]


@pytest.mark.parametrize("told_of", LENGTHS)
def test_a_sum_of_another_length_convicts_whoever_told_of_it(told_of: bytes) -> None:
    said = codec.encode(length_of(told_of))
    assert len(said) < 500, "however long the parcel"
    check_evidence(codec.decode(said, Evidence, bytes_max=len(said)), C.plan, JUDGE)


@pytest.mark.parametrize("told_of", [RIGHT, WRONG])
def test_a_parcel_of_a_sums_length_convicts_nobody_by_it(
    told_of: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RuleBroken, match="has the length of this round's sums"):
        check_evidence(length_of(told_of), C.plan, JUDGE)
    weaken(monkeypatch, vectors, ("proof.length == code.sum_bytes", "False"))
    check_evidence(length_of(told_of), C.plan, JUDGE)  # to compare the length is the defence


@pytest.mark.parametrize("length", [1, len(RIGHT) - 1, len(RIGHT) + 1, 2**33])
@pytest.mark.parametrize("root", [None, bytes(32)])
def test_a_right_sum_is_said_to_be_of_another_length(length: int, root: bytes | None) -> None:
    """The name that its teller signed is of one length and root."""
    right = describe(chunks_of(RIGHT)).root
    framed = length_of(RIGHT, length=length, root=right if root is None else root)
    with pytest.raises(InvalidSignature):
        check_evidence(framed, C.plan, JUDGE)


def test_a_name_that_left_the_length_out_would_frame_who_told_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vectors, "parcel_name", lambda _, root: parcel_name(len(RIGHT), root))
    check_evidence(length_of(RIGHT, length=len(RIGHT) + 1), C.plan, JUDGE)


@pytest.mark.parametrize(
    "framed",
    [
        length_of(LENGTHS[0], length=len(RIGHT) + 2),
        length_of(LENGTHS[0], root=bytes(32)),
        length_of(LENGTHS[0], count=1),
        length_of(LENGTHS[0], accepted=bytes(32)),
        length_of(LENGTHS[0], committed=bytes(32)),
        length_of(LENGTHS[0], signature=bytes(64)),
        replace(length_of(LENGTHS[0]), culprit=OTHER),
    ],
)
def test_words_about_a_length_that_the_node_did_not_sign(framed: Evidence) -> None:
    with pytest.raises(InvalidSignature):
        check_evidence(framed, C.plan, JUDGE)


@pytest.mark.parametrize("told", [evidence(WRONG), length_of(LENGTHS[0])])
def test_where_nothing_is_masked_nobody_told_of_a_sum(told: Evidence) -> None:
    plan = Committee().plan
    terms = {"study": plan.study, "round_number": plan.round_number, "attempt": plan.attempt}
    with pytest.raises(RuleBroken, match="no masked vectors are summed"):
        check_evidence(replace(told, **terms), plan, JUDGE)


def test_a_length_told_by_nobody_who_tells_of_sums() -> None:
    """Its own words would convict whoever is neither, with a signature of no meaning."""
    with pytest.raises(RuleBroken, match="aggregator or a member"):
        check_evidence(replace(length_of(LENGTHS[0]), culprit=OUTSIDER), C.plan, JUDGE)


def test_a_sum_of_more_than_can_be_summed() -> None:
    """Told of by nobody honest, and each would take another statement: it is refused unread."""
    most = C.code.parameters.contributors_max
    check_evidence(signed_by(TELLER, WRONG, most), C.plan, JUDGE)
    for count in (most + 1, 4096):
        for told in (length_of(LENGTHS[0], count=count), signed_by(TELLER, WRONG, count)):
            with pytest.raises(RuleBroken, match="more contributors"):
                check_evidence(told, C.plan, JUDGE)
    with pytest.raises(InvalidSignature):
        check_evidence(length_of(LENGTHS[0], count=most), C.plan, JUDGE)


WHO = SET[0]
VECTOR = describe(chunks_of(C.vector(WHO)))


def naming(parcel: bytes) -> Signed:
    """A contributor's header with the name of this parcel."""
    masked = C.reader.header(C.header(WHO)).masked
    return C.header(WHO, masked=replace(masked, parcel=parcel))


SHORT = FalseVectorLength(
    naming(parcel_name(VECTOR.length - 1, bytes(32))), VECTOR.length - 1, bytes(32)
)


def vouched(false: FalseVectorLength, culprit: int = TELLER, **signer) -> Evidence:
    """Evidence that an aggregator gave a receipt for the header of a vector of this length."""
    proof = FalseReceipt(false, C.receipt(culprit, false.header, **signer))
    return Evidence(C.plan.study, C.plan.round_number, C.plan.attempt, culprit, proof)


def test_a_receipt_for_a_vector_of_another_length_convicts_who_gave_it() -> None:
    said = codec.encode(vouched(SHORT))
    assert len(said) < 2000
    check_evidence(codec.decode(said, Evidence, bytes_max=len(said)), C.plan, JUDGE)


def test_a_receipt_for_a_right_vector_convicts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    right = vouched(FalseVectorLength(C.header(WHO), VECTOR.length, VECTOR.root))
    with pytest.raises(RuleBroken, match="has the length of this round's masked vectors"):
        check_evidence(right, C.plan, JUDGE)
    for length in (1, VECTOR.length - 1, VECTOR.length + 1, 2**33):
        framed = vouched(FalseVectorLength(C.header(WHO), length, VECTOR.root))
        with pytest.raises(RuleBroken, match="not the one that a header names"):
            check_evidence(framed, C.plan, JUDGE)
    weaken(monkeypatch, vectors, ("proof.length == code.vector_bytes", "False"))
    check_evidence(right, C.plan, JUDGE)


def test_a_receipt_that_the_aggregator_did_not_give() -> None:
    """It gave one for the right vector; or another node signed this one, or gave it elsewhere."""
    given = C.receipt(TELLER, C.header(WHO))
    elsewhere = replace(C.receipt(TELLER, SHORT.header), context=bytes(32))
    for receipt, error in (
        (given, RuleBroken),
        (replace(given, header_hash=C.receipt(TELLER, SHORT.header).header_hash), InvalidSignature),
        (C.receipt(TELLER, SHORT.header, signer=OTHER), InvalidSignature),
        (elsewhere, InvalidSignature),
        (C.receipt(OUTSIDER, SHORT.header), RuleBroken),
    ):
        framed = replace(vouched(SHORT), proof=FalseReceipt(SHORT, receipt))
        with pytest.raises(error):
            check_evidence(framed, C.plan, JUDGE)
    with pytest.raises(RuleBroken, match="another node"):
        check_evidence(replace(vouched(SHORT), culprit=OTHER), C.plan, JUDGE)


@pytest.mark.parametrize(
    ("padded", "error", "rule"),
    [
        (signed_by(TELLER, RIGHT[:-1]), InvalidSignature, "nobody signed"),
        (signed_by(TELLER, bytes(500_000)), InvalidSignature, "nobody signed"),
        (signed_by(TELLER, WRONG, 4096), RuleBroken, "more contributors"),
        (signed_by(OUTSIDER, WRONG), RuleBroken, "an aggregator or a member"),
    ],
)
def test_nobody_fills_dockets_with_sums_of_its_own(
    padded: Evidence, error: type[Exception], rule: str
) -> None:
    """What is shown has the length of a segment, of what a node that tells of sums signed."""
    with pytest.raises(error, match=rule):
        check_evidence(padded, C.plan, JUDGE)


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


def test_chunks_of_another_length_are_not_signed() -> None:
    """Whatever became of them in memory: the check looks at their length, too."""
    right = C.code.summed_hash([C.masked(who).linear_hash for who in SET])
    effect = SumVectors(C.plan.context, bytes(32), (bytes(32),) * 3, C.code.parameters, right)
    check_summed(effect, [RIGHT])
    for chunks in ([RIGHT[:-1]], [RIGHT, bytes(1)], []):
        with pytest.raises(MalformedMessage):
            check_summed(effect, chunks)


def test_a_sum_that_is_none_is_not_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = C.code.summed_hash([C.masked(who).linear_hash for who in SET])
    assert [type(each) for each in told_by_a_daemon(tmp_path / "a", right)] == [VectorsSummed]
    other = C.code.summed_hash([C.masked(who).linear_hash for who in SET[1:]])
    assert [type(each) for each in told_by_a_daemon(tmp_path / "b", other)] == [SummingFailed]
    monkeypatch.setattr(daemon_module, "check_summed", lambda *_: ())
    assert [type(each) for each in told_by_a_daemon(tmp_path / "c", other)] == [VectorsSummed]


FRAMED = [
    pytest.param(evidence(RIGHT, opened=open_all(WRONG)), id="another sum than it told of"),
    pytest.param(
        evidence(RIGHT, checkpoints=C.checkpoints(C.masked(2).linear_hashes)),
        id="other checkpoints",
    ),
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
