"""A contributor commits twice, to be counted twice or to split the committee (THREATS A3, A9)."""

from tests.support.town import NETWORK, SMALL, Town, manifest, phase, unit
from tests.support.weakened import succeeds, weaken

from pnyx.primitives import codec
from pnyx.primitives.hashing import merkle_proofs, merkle_root
from pnyx.protocol.aggregation.verification import prove
from pnyx.protocol.identity import sign_body
from pnyx.protocol.messages import (
    Contribution,
    ContributionHeader,
    SealedShare,
)
from pnyx.protocol.round import values
from pnyx.protocol.round.holdings import share_info
from pnyx.protocol.round.values import contribution_context


def test_equivocating_contributor():
    town = Town()
    study = town.propose(plan=manifest(9, [phase(9, target=6)]))  # everybody who is drawn
    town.run(town.in_round(study, 1))
    plan = town.plan(study)
    traitor = next(i for i in plan.contributors if i != plan.committee[0])
    context = contribution_context(plan.context, traitor)
    proven = prove(unit(0, 9), plan.phase.bounds, SMALL, b"2" * 32, context)
    second = proven.payloads

    def wire(sender, receiver, message):
        if sender != traitor or not isinstance(message, Contribution):
            return None
        if plan.member_of[receiver] % 2:
            return None
        header = codec.decode(message.header.body, ContributionHeader, bytes_max=2000)
        member = message.share.member
        machine = town.machines[receiver]
        key = machine.rounds.active[plan.context].member.keys[member].encryption_key
        other = ContributionHeader(
            header.context,
            traitor,
            header.open_value,
            header.model_hash,
            merkle_root(second),
            proven.published,
        )
        signed = sign_body(town.cryptos[traitor], NETWORK, town.census.node_ids[traitor], other)
        sealed = town.cryptos[traitor].seal(
            key, second[member], share_info(plan.context, traitor, member)
        )
        share = SealedShare(member, sealed, merkle_proofs(second)[member])
        return [Contribution(plan.context, signed, share)]

    town.wire = wire
    assert town.run(town.finished(study))
    model = town.model(study)
    assert model[traitor] == 0, "neither of its two contributions counts"
    assert sum(model) == town.certified()[0].contributors
    assert town.blamed() == {traitor}


def test_the_comparison_of_what_one_node_signed_is_what_names_it(monkeypatch):
    weaken(monkeypatch, values, ("if contradict(before, body):", "if False:"))
    assert succeeds(test_equivocating_contributor)
