"""Somebody spoils an honest contributor's message, to have it blamed or silenced (THREATS A8, A10).

Headers are signed, sealed envelopes are not: whoever has seen a header can put garbage beside it.
A header names a parcel, and whoever knows its length and root can show both: they convict only
whoever signed the name of a parcel that is no masked vector, by its length alone.
"""

import pytest
from msgspec.structs import replace
from tests.support.masked_round import masked_committee
from tests.support.town import Town
from tests.support.weakened import weaken

from pnyx.errors import (
    InvalidSignature,
    MalformedMessage,
    ProtocolError,
    RuleBroken,
    WrongContext,
)
from pnyx.primitives import codec
from pnyx.protocol.chunks import chunks_of, describe, parcel_name
from pnyx.protocol.events import MessageRejected, PeerBlamed
from pnyx.protocol.evidence.docket import Docket
from pnyx.protocol.evidence.proofs import check_evidence
from pnyx.protocol.messages import Contribution, Evidence, FalseVectorLength, Relay, Signed
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round import vectors
from pnyx.protocol.round.relay import EnvelopeRelay


def spoiled_round(spoil):
    """Round 1; for every honest contribution a traitor sends spoil(message), before or after it."""
    town = Town()
    study = town.propose()
    town.run(town.in_round(study, 1))
    plan = town.plan(study)
    traitor = plan.committee[1]

    def wire(sender, receiver, message):
        if isinstance(message, Contribution) and sender != traitor and receiver != traitor:
            for target, bad in spoil(plan, receiver, message):
                if target != traitor:
                    town.inject(traitor, target, bad)
        return

    town.wire = wire
    return town, study, traitor


def garbled(message: Contribution) -> Contribution:
    return replace(message, share=replace(message.share, sealed=message.share.sealed[::-1]))


def test_garbled_copy_of_a_contribution():
    town, study, _ = spoiled_round(lambda plan, at, message: [(at, garbled(message))])
    assert town.run(town.finished(study))
    assert town.certified()[0].contributors >= 5
    assert town.effects(PeerBlamed) == [], "the honest contributor is not blamed"
    assert town.effects(MessageRejected) != []


def test_header_signed_by_nobody():
    def forged(plan, at, message):
        return [(at, replace(message, header=replace(message.header, signature=bytes(64))))]

    town, study, _ = spoiled_round(forged)
    assert town.run(town.finished(study))
    assert town.effects(PeerBlamed) == []


def garbage_kept() -> tuple[int, bool]:
    """Garbled envelopes that aggregators keep, and whether anybody is blamed for them."""
    garbage = set()

    def leave(plan, at, message):
        bad = garbled(message).share
        garbage.add(bad.sealed)
        return [(at, Relay(plan.context, message.header, (bad,))) for at in plan.aggregators]

    town, study, _ = spoiled_round(leave)
    plan = town.plan(study)
    town.run(lambda: len(garbage) > 10)
    kept = 0
    for index in plan.aggregators:
        relay = town.machines[index].rounds.active[plan.context].relay
        for left in relay._kept.values():
            kept += sum(share.sealed in garbage for share in left.shares.values())
    assert town.run(town.finished(study))
    return kept, town.effects(PeerBlamed) != []


def test_garbage_left_at_the_aggregators(monkeypatch):
    """The first envelope for a member stays: it must be its contributor's own."""
    assert garbage_kept() == (0, False)
    original = EnvelopeRelay._keep

    def from_anybody(self, sender, message):
        return original(self, self._reader.header(message.header).contributor, message)

    monkeypatch.setattr(EnvelopeRelay, "_keep", from_anybody)
    kept, _ = garbage_kept()
    assert kept > 0


def test_a_contributor_that_sends_garbage_itself_is_blamed():
    town = Town()
    study = town.propose()
    town.run(town.in_round(study, 1))
    plan = town.plan(study)
    traitor = plan.contributors[0]
    town.wire = lambda sender, receiver, message: (
        [garbled(message)] if sender == traitor and isinstance(message, Contribution) else None
    )
    assert town.run(town.finished(study))
    assert town.blamed() == {traitor}
    assert sum(town.model(study)) == town.certified()[0].contributors


# --- the length of a masked vector ----------------------------------------------------------------

C = masked_committee()
WHO, OTHER = 2, 3
JUDGE = C.folk.cryptos[9]
RIGHT = describe(chunks_of(C.vector(WHO)))
LONG = C.code.vector_bytes
LONGEST = 2**33


def naming(parcel: bytes, **changes) -> Signed:
    """The contributor's header with the name of this parcel."""
    masked = C.reader.header(C.header(WHO)).masked
    return C.header(WHO, masked=replace(masked, parcel=parcel), **changes)


def of_length(header: Signed, length: int, root: bytes, culprit: int = WHO) -> Evidence:
    """Evidence that a header names a parcel of this length and root."""
    plan, proof = C.plan, FalseVectorLength(header, length, root)
    return Evidence(plan.study, plan.round_number, plan.attempt, culprit, proof)


@pytest.mark.parametrize("length", [1, LONG - 1, LONG + 1, LONGEST])
def test_a_parcel_of_another_length_convicts_whoever_named_it(length: int) -> None:
    said = codec.encode(of_length(naming(parcel_name(length, b"r" * 32)), length, b"r" * 32))
    assert len(said) < 2000, "however long the parcel"
    check_evidence(codec.decode(said, Evidence, bytes_max=len(said)), C.plan, JUDGE)


@pytest.mark.parametrize("length", [0, LONGEST + 1, -1])
def test_lengths_that_no_parcel_has_are_not_read(length: int) -> None:
    said = codec.encode(of_length(C.header(WHO), length, RIGHT.root))
    with pytest.raises(MalformedMessage):
        codec.decode(said, Evidence, bytes_max=len(said))


def test_a_right_vector_convicts_nobody_by_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the vector is: that is for other evidence to show."""
    framed = of_length(C.header(WHO), LONG, RIGHT.root)
    for each in (framed, of_length(naming(parcel_name(LONG, bytes(32))), LONG, bytes(32))):
        with pytest.raises(RuleBroken, match="has the length of this round's masked vectors"):
            check_evidence(each, C.plan, JUDGE)
    weaken(monkeypatch, vectors, ("proof.length == code.vector_bytes", "False"))
    check_evidence(framed, C.plan, JUDGE)  # to compare the length is the defence


@pytest.mark.parametrize("length", [1, LONG - 1, LONG + 1, LONGEST])
@pytest.mark.parametrize("root", [RIGHT.root, bytes(32)])
def test_a_right_vector_is_said_to_be_of_another_length(
    length: int, root: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name that its contributor signed is of one length and root."""
    framed = of_length(C.header(WHO), length, root)
    with pytest.raises(RuleBroken, match="not the one that a header names"):
        check_evidence(framed, C.plan, JUDGE)
    if root == RIGHT.root:  # a name that left the length out would frame its contributor
        monkeypatch.setattr(vectors, "parcel_name", lambda _, root: parcel_name(LONG, root))
        check_evidence(framed, C.plan, JUDGE)


SHORT = parcel_name(LONG - 1, bytes(32))


@pytest.mark.parametrize(
    ("header", "error"),
    [
        (replace(naming(SHORT), signature=bytes(64)), InvalidSignature),
        (replace(naming(SHORT), signer=C.plan.census.node_ids[OTHER]), ProtocolError),
        (replace(C.header(WHO), body=naming(SHORT).body), InvalidSignature),
        (replace(naming(SHORT), body=naming(SHORT).body + bytes(200_000)), MalformedMessage),
        (naming(SHORT, context=b"x" * 32), WrongContext),
        (naming(SHORT, contributor=OTHER), RuleBroken),
        (C.header(WHO, masked=None), RuleBroken),
    ],
)
def test_a_header_that_the_contributor_did_not_sign_here(header: Signed, error: type) -> None:
    """Nor in this attempt, nor of a masked vector."""
    with pytest.raises(error):
        check_evidence(of_length(header, LONG - 1, bytes(32)), C.plan, JUDGE)


def test_a_header_convicts_nobody_but_its_signer() -> None:
    framed = of_length(naming(SHORT), LONG - 1, bytes(32), culprit=OTHER)
    with pytest.raises(RuleBroken, match="another node"):
        check_evidence(framed, C.plan, JUDGE)


def test_evidence_of_a_length_is_not_looked_at_where_it_is_long() -> None:
    """No header is: what is behind it would be spread, and fill the evidence of every node."""
    docket = Docket(C.plan.census, JUDGE, ProtocolParams())
    true = naming(SHORT)
    assert docket.fits(of_length(true, LONG - 1, bytes(32)))
    padded = replace(true, body=true.body + bytes(ProtocolParams().two_bodies_bytes_max))
    assert not docket.fits(of_length(padded, LONG - 1, bytes(32)))
