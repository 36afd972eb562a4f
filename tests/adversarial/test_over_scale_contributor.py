"""A contributor adds more than the study's bound to the sum of a whole round (THREATS A9).

It shares five times its unit vector, either with the proof of the single one (its published vector
then vouches for other shares) or with the best proof that it can make for the large one. Every
honest member rejects it by the same rule and blames nobody else, and the sum of the others is
exact. Without the verdicts the whole network would learn from it.
"""

import numpy as np
import pytest
from tests.support.committee import over_scale
from tests.support.forger import Forger, parts
from tests.support.town import NETWORK, SMALL, Town, manifest, phase, unit

from pnyx.primitives import codec
from pnyx.primitives.hashing import merkle_proofs, merkle_root
from pnyx.protocol.aggregation import verdicts
from pnyx.protocol.aggregation.verdicts import Rule, Verdict
from pnyx.protocol.aggregation.verification import prove
from pnyx.protocol.events import PeerBlamed
from pnyx.protocol.identity import sign_body
from pnyx.protocol.messages import Contribution, ContributionHeader, Relay, SealedShare
from pnyx.protocol.round.holdings import share_info
from pnyx.protocol.round.values import contribution_context

FACTOR = 5


def borrowed(vector: np.ndarray, bounds, context: bytes) -> tuple[list[bytes], bytes]:
    """The proof of the vector, with shares of more."""
    proven = prove(vector, bounds, SMALL, b"2" * 32, context)
    alter = over_scale(FACTOR, bounds, SMALL)
    return [alter(payload) for payload in proven.payloads], proven.published


def forged(vector: np.ndarray, bounds, context: bytes) -> tuple[list[bytes], bytes]:
    """A proof of more: short integers and true bits, but too large a norm."""
    short = parts(bounds, SMALL, vector * FACTOR, 0)
    forger = Forger(bounds, SMALL, short, context=context)
    return forger.payloads, forger.claim.published


def attacked(make) -> tuple[Town, bytes, int, tuple[int, ...]]:
    """A town after round 1, in which one contributor sends what `make` makes."""
    town = Town()
    study = town.propose(plan=manifest(9, [phase(9, target=6)]))  # everybody who is drawn
    town.run(town.in_round(study, 1))
    plan = town.plan(study)
    # outside the committee: a member delivers to itself what its machine made
    traitor = next(i for i in plan.contributors if i not in plan.committee)
    context = contribution_context(plan.context, traitor)
    payloads, published = make(unit(traitor, town.count), plan.phase.bounds, context)
    crypto, node = town.cryptos[traitor], town.census.node_ids[traitor]

    def wire(sender, receiver, message):
        if sender != traitor or not isinstance(message, Contribution | Relay):
            return None
        honest = codec.decode(message.header.body, ContributionHeader, bytes_max=2000)
        if isinstance(message, Relay) or honest.contributor != traitor:
            return []
        body = ContributionHeader(
            honest.context,
            traitor,
            honest.open_value,
            honest.model_hash,
            merkle_root(payloads),
            published,
        )
        member = message.share.member
        key = town.machines[receiver].rounds.active[plan.context].member.keys[member].encryption_key
        sealed = crypto.seal(key, payloads[member], share_info(plan.context, traitor, member))
        share = SealedShare(member, sealed, merkle_proofs(payloads)[member])
        return [Contribution(plan.context, sign_body(crypto, NETWORK, node, body), share)]

    town.wire = wire
    assert town.run(town.finished(study))
    return town, study, traitor, plan.committee


@pytest.mark.parametrize(("make", "rule"), [(borrowed, Rule.RANGE), (forged, Rule.BOUND)])
def test_over_scale_contributor(make, rule):
    town, study, traitor, committee = attacked(make)
    (certified,) = town.certified()
    assert not certified.skipped
    model = town.model(study)
    assert model[traitor] == 0
    assert sum(model) == certified.contributors
    assert max(model) == 1, "the sum of the others is exact"
    blame = [
        (at, town.census.index_of(effect.peer), effect.rule)
        for _, at, effect in town.log
        if isinstance(effect, PeerBlamed)
    ]
    assert {at for at, _, _ in blame} >= set(committee) - {traitor}, "every honest member tells"
    assert {(who, why) for _, who, why in blame} == {(traitor, rule.value)}


@pytest.mark.parametrize("make", [borrowed, forged])
def test_the_verdict_is_the_defence(make, monkeypatch):
    monkeypatch.setattr(verdicts, "_verdict", lambda holds, off: Verdict(accepted=True, off=off))
    town, study, traitor, _ = attacked(make)
    assert town.model(study)[traitor] == FACTOR
    assert town.blamed() == set()
