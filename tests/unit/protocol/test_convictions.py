"""Machines and evidence: found, stored, spread, restored; and what follows from it."""

import pytest
from msgspec.structs import replace
from tests.support.lies import (
    AnswersLied,
)
from tests.support.town import NETWORK, Town, manifest, phase

from pnyx.primitives import codec
from pnyx.protocol.events import MessageRejected, PeerBlamed, Persist, Send
from pnyx.protocol.evidence.docket import PREFIX
from pnyx.protocol.evidence.proofs import Offence
from pnyx.protocol.identity import sign_body
from pnyx.protocol.messages import (
    CloseVote,
    Dispute,
    Evidence,
    GossipItem,
    Items,
    MemberBody,
    MemberInput,
    Message,
    Receipt,
    RoundKey,
    TwoBodies,
    WrongAnswer,
)
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.study import genesis_plan, read_body

ROUNDS = 4
NOBODY = 9


class Trial:
    """A town in which one member of round 1 lies about its answers.

    deaf: who is never sent evidence by others.
    """

    def __init__(self, deaf=frozenset(), rounds=ROUNDS, traitor=None, **params):
        self.town = Town(params=ProtocolParams(**params))
        self.study = self.town.propose(plan=manifest(9, [phase(9, rounds=rounds, target=6)]))
        self.town.run(self.town.in_round(self.study, 1))
        self.first = self.town.plan(self.study)
        self.traitor = self.first.committee[2] if traitor is None else traitor
        self.deaf = deaf
        self.lies = AnswersLied(self.town)
        self.town.wire = self.wire

    def wire(self, sender, receiver, message):
        self.lies.note(message)
        if isinstance(message, Items) and receiver in self.deaf:
            decoded = [codec.decode(item, GossipItem, bytes_max=10**7) for item in message.items]
            kept = [
                item
                for item, each in zip(message.items, decoded, strict=True)
                if not isinstance(each, Evidence)
            ]
            return [Items(tuple(kept))]
        if isinstance(message, Dispute) and receiver in self.deaf:
            return []
        lies = (
            sender == self.traitor and message.context == self.first.context
            if hasattr(message, "context")
            else False
        )
        lied = self.lies.instead(sender, message) if lies else None
        return None if lied is None else [lied]

    def believers(self):
        """Nodes that hold evidence."""
        return {i for i, machine in enumerate(self.town.machines) if machine.docket.convictions}

    def bodies(self):
        return [read_body(r) for r in self.town.machines[0].studies[self.study].records]

    def finish(self):
        assert self.town.run(self.town.finished(self.study))
        return self.bodies()


def tell(trial, nodes, evidence):
    """Hand evidence to some nodes, in whatever way it came to them."""
    for index in nodes:
        sender = next(i for i in range(9) if i != index)
        trial.town.inject(sender, index, Items((codec.encode(evidence),)))


def test_liar_is_convicted_everywhere_and_excluded():
    trial = Trial()
    bodies = trial.finish()
    town = trial.town
    assert trial.lies.told > 0
    assert trial.believers() == set(range(9))
    blamed = {(e.peer, e.rule) for e in town.effects(PeerBlamed)}
    assert blamed == {(town.census.node_ids[trial.traitor], Offence.WRONG_ANSWER.value)}
    assert all(e.evidence for e in town.effects(PeerBlamed))
    assert [body.excluded for body in bodies][:2] == [(), ()]
    assert bodies[2].excluded == (trial.traitor,), "the close votes of the next round name it"
    assert bodies[-1].excluded == (trial.traitor,)
    assert all(trial.traitor not in body.accepted for body in bodies[3:])


def test_the_excluded_are_drawn_for_nothing():
    trial = Trial()
    trial.town.run(trial.town.in_round(trial.study, 3))
    plan = trial.town.plan(trial.study)
    assert plan.excluded == (trial.traitor,)
    assert trial.traitor not in plan.committee
    assert trial.traitor not in plan.contributors
    assert trial.traitor not in plan.aggregators


def test_nodes_with_different_evidence_select_the_same_actors():
    """Half of the nodes never hear of it; they follow the records, like all others."""
    trial = Trial(deaf={0, 2, 4, 8})
    for number in range(1, ROUNDS + 1):
        assert trial.town.run(trial.town.in_round(trial.study, number))
        plans = [trial.town.plan(trial.study, index) for index in range(9)]
        assert all(plan == plans[0] for plan in plans)
        assert len({(p.committee, p.contributors, p.aggregators) for p in plans}) == 1
    trial.finish()
    assert trial.believers().isdisjoint({0, 2, 4, 8} - {trial.traitor})


@pytest.mark.parametrize("holders", [1, 2])  # f, and f + 1
def test_evidence_excludes_once_f_plus_one_members_hold_it(holders):
    """One close vote could be a liar's; of f + 1 an honest one has verified the evidence."""
    _, evidence = caught(ROUNDS)
    trial = Trial(deaf=set(range(9)), traitor=NOBODY)
    trial.town.run(trial.town.in_round(trial.study, 2))
    members = [i for i in trial.town.plan(trial.study).committee if i != evidence.culprit]
    tell(trial, members[:holders], evidence)
    assert trial.believers() == set(members[:holders])
    excluded = () if holders == 1 else (evidence.culprit,)
    assert trial.finish()[2].excluded == excluded


def test_evidence_is_stored_before_it_is_told_and_restored():
    trial = Trial(rounds=2)
    trial.finish()
    town = trial.town
    effects = [e for _, at, e in town.log if at == 0]
    at = next(n for n, e in enumerate(effects) if isinstance(e, PeerBlamed))
    assert any(isinstance(e, Persist) and e.key.startswith(PREFIX) for e in effects[:at])
    town.crash(0)
    before = town.machines[0].docket.standing
    town.restart(0)
    town.run(seconds=1.0)
    assert town.machines[0].docket.standing == before == {trial.traitor: True}
    (told,) = town.machines[0].convictions
    assert (told.culprit, len(told.evidence)) == (trial.traitor, 32)
    names = {e.evidence for e in town.effects(PeerBlamed)}
    assert any(town.machines[0]._gossip.get(name) for name in names)


def test_who_is_convicted_is_not_waited_for_and_gets_no_receipt():
    trial = Trial(traitor=NOBODY)
    town = trial.town
    town.run(town.in_round(trial.study, 2))
    plan = town.plan(trial.study)
    followers = trial.first.committee[1:]  # a leader's own input never crosses the wire
    traitor = next(i for i in followers if i in plan.contributors)
    _, evidence = caught(ROUNDS, traitor)
    others = set(range(9)) - {traitor}
    tell(trial, others, evidence)
    keepers = [town.machines[index].rounds for index in others]
    assert all(keeper.away_in(plan.census, trial.study)(traitor) for keeper in keepers)
    before = len(town.log)
    town.run(town.in_round(trial.study, 3))
    receipted = {
        town.census.index_of(e.peer)
        for _, at, e in town.log[before:]
        if isinstance(e, Send) and at in others
        if isinstance(codec.decode(e.payload, Message, bytes_max=2**24), Receipt)
    }
    assert receipted >= others.intersection(plan.contributors)
    assert traitor not in receipted


def test_large_evidence_is_told_and_not_spread():
    trial = Trial(evidence_bytes_max=64)
    bodies = trial.finish()
    blamed = trial.town.effects(PeerBlamed)
    assert blamed
    assert all(e.evidence == b"" for e in blamed)
    assert trial.believers() == set()
    assert all(body.excluded == () for body in bodies)


def caught(rounds=2, traitor=None) -> tuple[Trial, Evidence]:
    """A trial that is over, and its evidence."""
    trial = Trial(rounds=rounds, traitor=traitor)
    trial.finish()
    stored = trial.town.stored[0]
    (item,) = [value for key, value in stored.items() if key.startswith(PREFIX)]
    return trial, codec.decode(item, Evidence, bytes_max=10**6)


def test_evidence_from_peers():
    trial, evidence = caught()
    town, target = trial.town, 5

    def hear(changed):
        town.log.clear()
        town.inject(6, target, Items((codec.encode(changed),)))
        return [effect.rule for effect in town.effects(MessageRejected, target)]

    def with_proof(proof):
        return replace(evidence.proof, answer=replace(evidence.proof.answer, proof=proof))

    assert hear(evidence) == [], "known already"
    assert isinstance(evidence.proof, WrongAnswer)
    assert hear(replace(evidence, study=b"u" * 32, culprit=4)) == [], "of a study to come"
    assert hear(replace(evidence, round_number=9, culprit=4)) == [], "of a round to come"
    assert hear(replace(evidence, attempt=2, culprit=4)) == [], "of no attempt"
    assert len(hear(replace(evidence, culprit=4))) == 1
    for at in range(ProtocolParams().evidence_failures_max):
        changed = with_proof((bytes((at,)) * 32,))
        hear(replace(evidence, culprit=4, proof=changed))
    changed = with_proof((b"z" * 32,))
    assert "failed too often" in hear(replace(evidence, culprit=4, proof=changed))[0]


def test_evidence_about_the_first_committee():
    town = Town()
    study = town.propose()
    town.run(town.in_round(study, 1))
    plan = genesis_plan(town.census)
    culprit = plan.committee[0]
    keys = [
        sign_body(
            town.cryptos[culprit],
            NETWORK,
            town.census.node_ids[culprit],
            RoundKey(plan.context, 0, bytes((at,)) * 32, bytes(32), bytes(32)),
        )
        for at in (1, 2)
    ]
    evidence = Evidence(plan.study, 0, 1, culprit, TwoBodies(*keys))
    town.inject(1, 3, Items((codec.encode(evidence),)))
    assert town.machines[3].docket.culprits(study) == (culprit,)


def test_close_votes_name_the_culprits():
    trial = Trial(rounds=2)
    trial.finish()
    votes = [
        codec.decode(message.signed.body, MemberBody, bytes_max=10**7)
        for message in trial.town.sent(MemberInput)
    ]
    named = {vote.culprits for vote in votes if isinstance(vote, CloseVote)}
    assert named == {(), (trial.traitor,)}


def test_further_offences_of_a_convicted_node_are_told_once():
    """Nothing more is kept or spread, but owners should know what a node did."""
    trial, evidence = caught()
    machine = trial.town.machines[0]
    plan = machine.studies[trial.study].plan_at(1, 1, machine.params)
    assert isinstance(evidence.proof, WrongAnswer)
    keys = [
        sign_body(
            trial.town.cryptos[trial.traitor],
            NETWORK,
            trial.town.census.node_ids[trial.traitor],
            RoundKey(
                plan.context, plan.member_of[trial.traitor], bytes((at,)) * 32, bytes(32), bytes(32)
            ),
        )
        for at in (1, 2)
    ]
    other = replace(evidence, proof=TwoBodies(*keys))
    for repeated in (other, other, evidence):
        machine.accuse(plan, repeated)
    node = trial.town.census.node_ids[trial.traitor]
    assert machine._effects == [PeerBlamed(node, Offence.TWO_ROUND_KEYS.value)]
