"""f + 1 corrupt members of one committee forge evidence against honest ones (THREATS A9).

Where more than f are corrupt, proofs that read polynomials off answers convict whomever the corrupt
choose, and any verifier believes them. They must stay in the study whose committee it was: the
attacker may have proposed it itself, for a cohort of its own.
"""

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.evidence import LIAR, OUTSIDER, everything, flipped, scene
from tests.support.town import NETWORK, Town, manifest, phase
from tests.support.weakened import succeeds, weaken

from pnyx.errors import (
    RuleBroken,
)
from pnyx.primitives import codec
from pnyx.primitives.sharing import _interpolate
from pnyx.protocol.aggregation.direct import read_released
from pnyx.protocol.aggregation.encoding import FIELDS
from pnyx.protocol.aggregation.verification import sum_share, summed_length
from pnyx.protocol.events import PeerBlamed
from pnyx.protocol.evidence import docket as module
from pnyx.protocol.evidence.docket import PREFIX, Docket
from pnyx.protocol.evidence.proofs import Offence, assumes_nothing
from pnyx.protocol.identity import sign_body
from pnyx.protocol.messages import Evidence, MemberBody, MemberInput, Release, WrongRelease
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.study import read_body

PEER = b"p" * 32
ELSEWHERE = b"another study".ljust(32)
S = scene()
CORRUPT, USED, VICTIMS = (0, 1), (2, 3), (4, 5, 6)  # f = 1, so two are too many; D = 2


def docket() -> Docket:
    return Docket(S.c.plan.census, S.c.folk.cryptos[OUTSIDER], ProtocolParams())


def forged(victim: int) -> Evidence:
    """The corrupt release on polynomials through two honest shares, and past the victim's."""
    length = summed_length(S.bounds, S.size)
    honest = {
        m: read_released(
            sum_share([S.c.shares(i, m) for i in (2, 3, 4)], S.bounds, S.size),
            length,
            S.size.packing,
        )
        for m in range(7)
    }
    releases = []
    for member in sorted((*CORRUPT, *USED, victim)):
        packed = b""
        for at, field in enumerate(FIELDS):
            own = field.add(honest[CORRUPT[0]][at], 1)
            rows = np.stack([*(honest[h][at] for h in USED), own])
            points = (*USED, CORRUPT[0])
            value = _interpolate(field, points, rows, S.size.degree, (member + 1,))[0]
            packed += field.pack(own if member == CORRUPT[0] else value)
        corrupt = member in CORRUPT
        releases.append(S.release(member, lambda _, p=packed: p) if corrupt else S.release(member))
    return S.evidence(S.c.plan.committee[victim], WrongRelease(tuple(releases)))


def test_what_a_captured_committee_forges_counts_in_its_study_alone():
    held = docket()
    for victim in VICTIMS:
        evidence = forged(victim)
        assert held.wants(evidence, PEER)
        held.admit(evidence, S.c.plan)  # nobody can tell
    framed = tuple(S.c.plan.committee[victim] for victim in VICTIMS)
    assert held.culprits(S.c.plan.study) == framed
    assert held.culprits(ELSEWHERE) == ()
    assert held.standing == dict.fromkeys(framed, False)
    again = docket()
    again.restore({f"{PREFIX}{victim}": codec.encode(forged(victim)) for victim in VICTIMS})
    assert again.culprits(ELSEWHERE) == ()


def test_how_far_a_proof_counts_is_the_defence(monkeypatch):
    everywhere = "            self._proven.add(evidence.culprit)\n"
    asked = "        if assumes_nothing(evidence.proof):\n" + everywhere
    weaken(monkeypatch, module, (asked, "        if True:\n" + everywhere))
    assert succeeds(test_what_a_captured_committee_forges_counts_in_its_study_alone)


@pytest.mark.parametrize("kind", everything())
def test_only_what_assumes_nothing_counts_in_other_studies(kind):
    evidence, _ = everything()[kind]
    bound = {"wrong_share", "range", "bound", "sharing", "wrong_release", "malformed_release"}
    held = docket()
    held.admit(evidence, S.c.plan)
    assert assumes_nothing(evidence.proof) == (kind not in bound)
    assert held.culprits(S.c.plan.study) == (evidence.culprit,)
    assert held.culprits(ELSEWHERE) == (() if kind in bound else (evidence.culprit,))
    assert held.convicted(evidence.culprit, ELSEWHERE) == (kind not in bound)


def test_a_malformed_share_that_comes_with_answers_is_refused():
    """It needs none, so they are padding; and with them it would count in one study alone."""
    evidence = everything()["unreadable_share"][0]
    answers = everything()["wrong_share"][0].proof.answers
    held = docket()
    padded = replace(evidence, proof=replace(evidence.proof, answers=answers))
    with pytest.raises(RuleBroken, match="comes with answers"):
        held.admit(padded, S.c.plan)
    assert held.culprits(ELSEWHERE) == held.culprits(S.c.plan.study) == ()


def test_proof_beyond_doubt_follows_upon_one_that_is_not():
    held = docket()
    held.admit(everything()["wrong_release"][0], S.c.plan)
    proven = everything()["wrong_answer"][0]
    assert held.wants(proven, PEER)
    held.admit(proven, S.c.plan)
    assert held.culprits(ELSEWHERE) == (LIAR,)
    assert held.standing == {LIAR: True}


def test_other_studies_go_on_drawing_and_awaiting_whom_one_study_convicts():
    """A whole network: a member that releases wrong shares in one study, honest in another."""
    town = Town()
    study = town.propose(plan=manifest(9, [phase(9, rounds=3, target=6)]))
    town.run(town.in_round(study, 1))
    plan = town.plan(study)
    traitor = plan.committee[2]

    def wire(sender, receiver, message):
        if sender != traitor or not isinstance(message, MemberInput):
            return None
        body = codec.decode(message.signed.body, MemberBody, bytes_max=10**7)
        if not isinstance(body, Release) or body.context != plan.context:
            return None
        lie = replace(body, shares=flipped(body.shares))
        signed = sign_body(town.cryptos[sender], NETWORK, town.census.node_ids[sender], lie)
        return [replace(message, signed=signed)]

    town.wire = wire
    assert town.run(town.finished(study))
    other = town.propose(1, plan=manifest(9, [phase(9, rounds=3, target=6)], title="another"))
    assert town.run(town.in_round(other, 1))
    assert {effect.rule for effect in town.effects(PeerBlamed)} == {Offence.WRONG_RELEASE.value}
    for machine in town.machines:
        assert machine.convicted == {town.census.node_ids[traitor]: False}
        assert machine.rounds.away_in(town.census, study)(traitor)
        assert not machine.rounds.away_in(town.census, other)(traitor)
    assert town.run(town.finished(other))

    def excluded(name):
        return [read_body(r).excluded for r in town.machines[0].studies[name].records]

    assert excluded(study)[-1] == (traitor,)
    assert set(excluded(other)) == {()}
