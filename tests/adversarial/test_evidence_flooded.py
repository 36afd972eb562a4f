"""Peers send evidence without end, to fill memory or to keep others busy (THREATS A6, A8)."""

from copy import copy
from functools import lru_cache

import pytest
from msgspec.structs import replace
from tests.support.evidence import LIAR, OUTSIDER, encoded_size, everything, scene
from tests.support.weakened import (
    succeeds,
    weaken,
)

from pnyx.errors import RuleBroken
from pnyx.primitives import (
    codec,
)
from pnyx.protocol.evidence import (
    docket as module,
)
from pnyx.protocol.evidence import (
    proofs,
)
from pnyx.protocol.evidence.docket import PREFIX, Docket
from pnyx.protocol.evidence.proofs import Offence, check_evidence
from pnyx.protocol.messages import (
    Evidence,
    FalseVectorLength,
    OpenedAnswer,
    Release,
    Signed,
    TwoBodies,
    WrongRelease,
)
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round.plan import RoundPlan

PEER = b"p" * 32
S = scene()


def docket(**terms) -> Docket:
    return Docket(S.c.plan.census, S.c.folk.cryptos[OUTSIDER], ProtocolParams(**terms))


def two_keys(at: int) -> Evidence:
    """One of many proofs that a corrupt member can give of one offence of its own."""
    keys = [S.c.round_key(LIAR, encryption_key=bytes((at, other)) * 16) for other in (0, 1)]
    return S.evidence(LIAR, TwoBodies(*(S.c.member_signed(LIAR, key) for key in keys)))


@lru_cache
def plan_of(at: int) -> RoundPlan:
    """Round 1 of one of many studies, with the scene's committee."""
    plan = copy(S.c.plan)
    plan.study = bytes((at,)) * 32
    plan.__dict__.pop("context", None)
    return plan


@lru_cache
def of_study(plan: RoundPlan, culprit: int = LIAR) -> Evidence:
    """Evidence that counts in this study alone: the member released what is no share."""
    member = plan.member_of[culprit]
    release = S.c.member_signed(member, Release(plan.context, member, b"a" * 32, b"1234", ()))
    proof = WrongRelease((release,))
    return Evidence(plan.study, plan.round_number, plan.attempt, culprit, proof)


def test_corrupt_node_convicts_itself_a_hundred_times():
    """Genuine evidence costs its maker nothing: one item is kept, whatever comes."""
    held = docket()
    kept = 0
    for at in range(100):
        evidence = two_keys(at)
        if held.wants(evidence, PEER):
            held.admit(evidence, S.c.plan)
            kept += 1
    assert kept == 1
    assert held.standing == {LIAR: True}


def test_everything_that_is_kept_of_one_culprit():
    """Twelve kinds of proof against two nodes, in any order: one each that assumes nothing."""
    for order in (list(everything().values()), list(reversed(everything().values()))):
        held = docket()
        for evidence, _ in order:
            if held.wants(evidence, PEER):
                held.admit(evidence, S.c.plan)
        assert set(held.standing.values()) == {True}
        assert len(held) <= 2 * len(held.standing)


def test_culprit_convicts_itself_in_study_after_study():
    """Of one culprit the newest two studies are kept; it stays convicted in all of them."""
    held = docket()
    plans = [plan_of(at) for at in range(6)]
    stored: dict[str, bytes] = {}
    for plan in plans:
        admitted = held.admit(of_study(plan), plan)
        assert admitted.kept is not None
        for gone in admitted.replaced:
            del stored[gone.key]
        stored[admitted.kept.key] = admitted.item
        assert not held.wants(of_study(plan), PEER), "and is not judged again"
    assert len(held) == len(stored) == 2
    assert held.bytes_held == sum(map(len, stored.values()))
    assert all(held.culprits(plan.study) == (LIAR,) for plan in plans)
    again = docket()
    again.restore(stored)
    assert [len(again.culprits(plan.study)) for plan in plans] == [0, 0, 0, 0, 1, 1]


def test_many_culprits_fill_the_docket():
    """Beyond the total what comes convicts here, and is neither stored nor passed on."""
    size = encoded_size(of_study(plan_of(0)))
    held = docket(docket_bytes_max=3 * size)
    kept = []
    for culprit in range(7):
        plan = plan_of(culprit)
        admitted = held.admit(of_study(plan, culprit), plan)
        kept.append(admitted.kept is not None)
        assert held.bytes_held <= 3 * size
        assert admitted.replaced == ()
        assert held.culprits(plan.study) == (culprit,)
        assert not held.wants(of_study(plan, culprit), PEER)
    assert kept == [True] * 3 + [False] * 4


def test_what_assumes_nothing_takes_the_place_of_what_does():
    size = encoded_size(of_study(plan_of(0)))
    held = docket(docket_bytes_max=3 * size)
    oldest = [held.admit(of_study(plan_of(at), at), plan_of(at)).kept for at in range(3)]
    admitted = held.admit(two_keys(0), S.c.plan)
    assert admitted.kept is not None
    assert admitted.replaced
    assert list(admitted.replaced) == oldest[: len(admitted.replaced)]
    assert held.bytes_held <= 3 * size
    assert held.convicted(LIAR, b"any other study")
    full = docket(docket_bytes_max=encoded_size(two_keys(0)))
    assert full.admit(two_keys(0), S.c.plan).kept is not None
    other = everything()["two_contributions"][0]
    told = full.admit(other, S.c.plan)
    assert told.kept is None
    assert told.replaced == (), "what assumes nothing never gives way"
    assert full.convicted(other.culprit, b"any other study")


def test_padded_bodies_are_not_spread():
    """Two bodies prove an offence whatever else is in them; what they may hold is bounded."""
    releases = [
        S.c.member_signed(LIAR, Release(S.c.plan.context, LIAR, name * 32, bytes(200_000), ()))
        for name in (b"a", b"b")
    ]
    evidence = S.evidence(LIAR, TwoBodies(*releases))
    assert encoded_size(evidence) < ProtocolParams().evidence_bytes_max
    assert not docket().fits(evidence)
    with pytest.raises(RuleBroken, match="too large"):
        docket().admit(evidence, S.c.plan)


def test_padded_header_of_a_parcel_is_not_spread():
    """What shows a length takes 3 KB; whoever signs the header could pad it."""
    most = ProtocolParams().two_bodies_bytes_max
    for padding, fits in ((3_000, True), (most, False)):
        header = Signed(bytes(32), bytes(padding), bytes(64))
        evidence = S.evidence(LIAR, FalseVectorLength(header, 1, bytes(32)))
        assert encoded_size(evidence) < ProtocolParams().evidence_bytes_max
        assert docket().fits(evidence) == fits


def test_genuine_evidence_padded_by_a_peer(monkeypatch):
    """Somebody hangs two megabytes on evidence of another, to fill the dockets of all nodes."""
    genuine = everything()["unreadable_share"][0]
    junk = OpenedAnswer(Signed(b"x" * 32, bytes(1_900_000), b"s" * 64), b"", 0, 1, ())
    padded = replace(genuine, proof=replace(genuine.proof, answers=(junk,)))
    assert docket().fits(padded)
    with pytest.raises(RuleBroken, match="comes with answers"):
        docket().admit(padded, S.c.plan)
    weaken(monkeypatch, proofs, ("if proof.answers:  #", "if False:  #"))
    held = docket()
    held.admit(padded, S.c.plan)
    assert held.bytes_held > 1_000 * encoded_size(genuine)


def test_peer_whose_evidence_fails_is_heard_no_more():
    """Judging takes milliseconds; a peer gets a few tries, and others go on."""
    judged = []

    def judge(*what):
        judged.append(1)
        check_evidence(*what)

    held = Docket(S.c.plan.census, S.c.folk.cryptos[OUTSIDER], ProtocolParams(), verify=judge)
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
    assert small.standing == {}


def test_stranger_is_accused():
    with pytest.raises(RuleBroken, match="outside the census"):
        docket().wants(replace(two_keys(0), culprit=9), PEER)


def test_restart_takes_back_what_was_verified():
    held = docket()
    admitted = held.admit(two_keys(0), S.c.plan)
    assert admitted.kept is not None
    assert admitted.kept.key.startswith(PREFIX)
    again = docket()
    old = codec.encode(two_keys(0))[:-1]  # what an older version wrote cannot be read
    stored = {f"{PREFIX}{7:010d}/{LIAR:010d}": old, admitted.kept.key: admitted.item}
    assert again.restore(stored) == [admitted.item]
    assert (len(again), again.bytes_held) == (len(held), held.bytes_held)
    assert again.standing == {LIAR: True}
    assert not again.wants(two_keys(1), PEER)
    assert codec.decode(admitted.item, Evidence, bytes_max=10**6).culprit == LIAR
    assert admitted.offence is Offence.TWO_ROUND_KEYS


def test_oldest_leaves_first_after_a_restart():
    """Items are as old as they were, whoever they are about, whatever their studies are called."""
    size = encoded_size(of_study(plan_of(0)))
    order = [(5, 9), (3, 8), (4, 7), (4, 6)]  # culprit, study
    held = docket()
    kept = [held.admit(of_study(plan_of(at), who), plan_of(at)) for who, at in order]
    stored = {each.kept.key: each.item for each in kept if each.kept is not None}

    def restarted(**terms) -> Docket:
        again = docket(**terms)
        mixed = dict(sorted(stored.items(), key=lambda each: each[1]))  # as a disk lists them
        assert again.restore(mixed) == [each.item for each in kept]
        return again

    replaced = restarted(docket_bytes_max=4 * size).admit(two_keys(0), S.c.plan).replaced
    assert 0 < len(replaced) < len(order)
    assert list(replaced) == [each.kept for each in kept[: len(replaced)]]
    third = restarted().admit(of_study(plan_of(2), 4), plan_of(2))
    assert third.replaced == (kept[2].kept,), "of one culprit the studies that were newest stay"
    assert third.kept is not None
    assert third.kept.key > max(stored)


def test_item_after_a_restart_takes_no_place_of_another():
    """Also where what is stored last cannot be read any more."""
    old = f"{PREFIX}{11:010d}/{LIAR:010d}"
    again = docket()
    assert again.restore({old: b"of an older version"}) == []
    admitted = again.admit(two_keys(0), S.c.plan)
    assert admitted.kept is not None
    assert admitted.kept.key > old


@pytest.mark.parametrize(
    ("attack", "old", "new"),
    [
        (
            test_corrupt_node_convicts_itself_a_hundred_times,
            "return evidence.culprit not in self._proven",
            "return True",
        ),
        (
            test_culprit_convicts_itself_in_study_after_study,
            "for each in same[: max(0, len(same) + 1 - self._params.evidence_studies_max)]:",
            "for each in ():",
        ),
        (
            test_many_culprits_fill_the_docket,
            "return None if lacks() or lacks_large() else leaving",
            "return leaving",
        ),
        (
            test_what_assumes_nothing_takes_the_place_of_what_does,
            "                if lacks():",
            "                if False:",
        ),
        (
            test_padded_bodies_are_not_spread,
            "self._params.two_bodies_bytes_max if padded else",
            "self._params.evidence_bytes_max if padded else",
        ),
        (
            test_padded_header_of_a_parcel_is_not_spread,
            "TwoBodies | FalseVectorLength | WrongSumLength)",
            "TwoBodies)",
        ),
        (
            test_oldest_leaves_first_after_a_restart,
            "in sorted(stored.items()):",
            "in stored.items():",
        ),
        (
            test_peer_whose_evidence_fails_is_heard_no_more,
            "if self._failures[peer] >= self._params.evidence_failures_max:",
            "if False:",
        ),
        (test_evidence_beyond_its_size, "if not self.fits(evidence):", "if False:"),
        (test_stranger_is_accused, "if evidence.culprit >= len(self._census):", "if False:"),
    ],
)
def test_each_bound_is_a_defence(monkeypatch, attack, old, new):
    weaken(monkeypatch, module, (old, new))
    assert succeeds(attack)
