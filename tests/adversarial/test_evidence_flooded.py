"""Peers send evidence without end, to fill memory or to keep others busy (THREATS A6, A8)."""

import pytest
from msgspec.structs import replace
from tests.support.evidence import LIAR, OUTSIDER, encoded_size, everything, scene

from pnyx.errors import RuleBroken
from pnyx.primitives import codec
from pnyx.protocol.evidence import docket as docket_module
from pnyx.protocol.evidence.docket import Docket
from pnyx.protocol.evidence.proofs import Offence
from pnyx.protocol.messages import Evidence, TwoBodies
from pnyx.protocol.params import ProtocolParams

PEER = b"p" * 32
S = scene()


def docket(**terms) -> Docket:
    return Docket(S.c.plan.census, S.c.folk.cryptos[OUTSIDER], ProtocolParams(**terms))


def two_keys(at: int) -> Evidence:
    """One of many proofs that a corrupt member can give of one offence of its own."""
    keys = [S.c.round_key(LIAR, encryption_key=bytes((at, other)) * 16) for other in (0, 1)]
    return S.evidence(LIAR, TwoBodies(*(S.c.member_signed(LIAR, key) for key in keys)))


def test_corrupt_node_convicts_itself_a_hundred_times():
    """Genuine evidence costs its maker nothing: one item a rule is kept, whatever comes."""
    held = docket()
    kept = 0
    for at in range(100):
        evidence = two_keys(at)
        if held.wants(evidence, PEER):
            held.admit(evidence, S.c.plan)
            kept += 1
    assert kept == 1
    assert held.culprits == (LIAR,)


def test_everything_that_is_kept_of_one_culprit():
    held = docket()
    for evidence, _ in everything().values():
        if held.wants(evidence, PEER):
            held.admit(evidence, S.c.plan)
    assert len(held) <= len(Offence) * len(held.culprits)


def test_peer_whose_evidence_fails_is_heard_no_more(monkeypatch):
    """Judging takes milliseconds; a peer gets a few tries, and others go on."""
    judged = []
    check = docket_module.check_evidence
    monkeypatch.setattr(
        docket_module, "check_evidence", lambda *what: (judged.append(1), check(*what))
    )
    held = docket()
    forged = replace(everything()["wrong_share"][0], culprit=LIAR)
    for _ in range(100):
        try:
            wanted = held.wants(forged, PEER)
        except RuleBroken:
            continue
        assert wanted
        with pytest.raises(RuleBroken):
            held.admit(forged, S.c.plan)
        held.failed(PEER)
    assert len(judged) == ProtocolParams().evidence_failures_max
    assert held.wants(two_keys(1), b"q" * 32)


def test_evidence_beyond_its_size():
    evidence = everything()["wrong_share"][0]
    small = docket(evidence_bytes_max=encoded_size(evidence) - 1)
    with pytest.raises(RuleBroken, match="too large"):
        small.admit(evidence, S.c.plan)
    assert docket(evidence_bytes_max=encoded_size(evidence)).admit(evidence, S.c.plan)
    assert small.culprits == ()


def test_stranger_is_accused():
    with pytest.raises(RuleBroken, match="outside the census"):
        docket().wants(replace(two_keys(0), culprit=9), PEER)


def test_restart_takes_back_what_was_verified():
    held = docket()
    key, item, offence = held.admit(two_keys(0), S.c.plan)
    assert key.startswith(docket_module.PREFIX)
    again = docket()
    assert again.restore([item]) == [item]
    assert len(again) == len(held)
    assert again.convicted(LIAR)
    assert not again.wants(two_keys(1), PEER)
    assert codec.decode(item, Evidence, bytes_max=10**6).culprit == LIAR
    assert offence is Offence.TWO_ROUND_KEYS
