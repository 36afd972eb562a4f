"""Attacks on the chain of epochs and on what each epoch begins with.

An epoch's record is believed because a quorum of the committee that the record before it imposes
has signed it; a census, because the authority has, and because that quorum pinned it.
"""

import pytest
from msgspec.structs import replace
from tests.support.epochs import LENGTH_S, EpochTown
from tests.support.records import record
from tests.support.town import manifest, people, phase

from pnyx.errors import ProtocolError, RuleBroken
from pnyx.primitives import codec
from pnyx.protocol.censuses import Censuses
from pnyx.protocol.epochs import EpochChain
from pnyx.protocol.events import RequestRefused
from pnyx.protocol.identity import sign_body
from pnyx.protocol.machine import NodeMachine
from pnyx.protocol.manifest import study_id
from pnyx.protocol.messages import Items, MemberInput
from pnyx.protocol.round import values
from pnyx.protocol.study import read_body


def town_in(epoch, **terms):
    town = EpochTown(**terms)
    assert town.run(town.in_epoch(epoch), seconds=(epoch + 2) * LENGTH_S)
    return town


def test_an_epoch_made_by_others_than_its_committee():
    """As many signatures as a quorum, of nodes that the beacon did not draw."""
    town = town_in(0, count=15)
    folk = people(15, town.size)
    machine = town.machines[0]
    plan = machine.epochs.chain.plan
    outsiders = [index for index in range(15) if index not in plan.committee]
    stolen = replace_committee(plan, outsiders)
    town.inject(1, 0, Items((codec.encode(record(folk, stolen)),)))
    assert machine.epochs.chain.number == 0
    assert any("signature" in rule for rule in town.rules())
    town.inject(1, 0, Items((codec.encode(record(folk, plan)),)))
    assert machine.epochs.chain.number == 1, "the same record by its committee is believed"


def replace_committee(plan, committee):
    from pnyx.protocol.round.plan import RoundPlan

    return RoundPlan(
        census=plan.census,
        study=plan.study,
        round_number=plan.round_number,
        epoch=plan.epoch,
        previous_record=plan.previous_record,
        model_hash=plan.model_hash,
        committee=tuple(committee[: len(plan.committee)]),
    )


def test_a_record_of_an_epoch_replayed_for_the_next():
    town = town_in(2)
    chain = EpochChain(Censuses(town.genesis, b"", town.cryptos[0]), town.cryptos[0])
    first, second, third = town.machines[0].epochs.chain.records[:3]
    with pytest.raises(ProtocolError):
        chain.accept(second)
    chain.accept(first)
    for wrong in (first, third):
        with pytest.raises(ProtocolError):
            chain.accept(wrong)
    chain.accept(second)
    chain.accept(third)
    assert chain.number == 2


def test_a_census_that_does_not_follow():
    """The authority signed it, and a quorum pinned it; but it skips one, or continues another."""
    town = town_in(0)
    folk, machine = people(9, town.size), town.machines[0]
    skipping = town.sign(range(8), 2, town.signed[0].root)
    stranger = town.sign(range(8), 1, b"x" * 32)
    for signed in (skipping, stranger):
        town.inject(1, 0, Items((codec.encode(signed),)))
        plan = machine.epochs.chain.plan
        town.inject(1, 0, Items((codec.encode(record(folk, plan, next_census=signed.root)),)))
        assert machine.epochs.chain.number == 0
    assert any("does not follow" in rule for rule in town.rules())


def test_a_study_does_not_begin_a_census():
    town = town_in(0)
    study = town.propose()
    town.run(lambda: study in town.machines[0].studies)
    plan = town.plan(study)
    folk = people(9, town.size)
    with pytest.raises(RuleBroken, match="only an epoch"):
        town.machines[0].studies[study].accept(
            record(folk, plan, next_census=b"x" * 32), town.cryptos[0], town.params
        )


def liar(town, index, root):
    """A committee member that names another census in its vote."""
    from pnyx.protocol.messages import CloseVote

    def wire(sender, receiver, message):
        if sender != index or not isinstance(message, MemberInput):
            return None
        try:
            vote = codec.decode(message.signed.body, CloseVote, bytes_max=10**6)
        except ProtocolError:
            return None
        lie = replace(vote, next_census=root)
        signed = sign_body(town.cryptos[index], town.census.network, message.signed.signer, lie)
        return [replace(message, signed=signed)]

    return wire


@pytest.mark.parametrize("named", [None, b"x" * 32])
def test_a_corrupt_member_neither_prevents_nor_picks_a_census(named):
    town = town_in(0)
    plan = town.machines[0].epochs.chain.plan
    successor = town.publish(range(9))
    town.inject(1, 0, Items((codec.encode(successor),)))
    town.wire = liar(town, plan.committee[3], named)
    assert town.run(town.in_epoch(1), seconds=3 * LENGTH_S)
    assert all(m.census.root == successor.root for m in town.living())


def test_if_all_votes_were_needed_one_member_would_prevent_it(monkeypatch):
    def everybody(self, votes):
        roots = {vote.next_census for vote in votes.values()}
        return roots.pop() if self._plan.round_number and len(roots) == 1 else None

    monkeypatch.setattr(values.InputReader, "_succession", everybody)
    town = town_in(0)
    plan = town.machines[0].epochs.chain.plan
    town.inject(1, 0, Items((codec.encode(town.publish(range(9))),)))
    town.wire = liar(town, plan.committee[3], None)
    assert town.run(town.in_epoch(1), seconds=3 * LENGTH_S)
    assert all(m.census.root == town.signed[0].root for m in town.living())


# --- a committee of long ago --------------------------------------------------------------------


def begun(town, study):
    """Condition: everybody holds the record that collected the study's joins."""

    def all_begun():
        states = [machine.studies.get(study) for machine in town.machines]
        return all(state is not None and state.records for state in states)

    return all_begun


def old_study(town):
    """A study for epoch 0, proposed when everybody is in epoch 2."""
    asked = replace(manifest(9), proposer=town.census.node_ids[3])
    signed = sign_body(town.cryptos[3], town.census.network, town.census.node_ids[3], asked)
    for index in range(9):
        town.inject(3, index, Items((codec.encode(signed),)))
    town.lengths[study_id(signed.body)] = 9
    return study_id(signed.body)


def test_a_study_for_a_committee_of_long_ago():
    """A proposer waits until it knows which epoch's committee suits it."""
    town = town_in(2)
    study = old_study(town)
    town.run(seconds=10.0)
    assert not any(study in machine.studies for machine in town.machines)
    town = town_in(1)
    study = old_study(town)
    assert town.run(begun(town, study), seconds=15), "the epoch before is not long ago"


def test_unless_old_epochs_are_shut_it_begins(monkeypatch):
    monkeypatch.setattr(NodeMachine, "_is_open_to", lambda self, manifest: True)
    town = town_in(2)
    assert town.run(begun(town, old_study(town)), seconds=15)


def test_who_was_away_follows_a_study_of_long_ago_that_did_begin():
    town = town_in(0)
    plan = town.machines[0].epochs.chain.plan
    away = next(index for index in range(9) if index not in plan.committee)
    town.crash(away)
    study = town.propose((away + 1) % 9)
    town.run(lambda: 2 in town.machines[(away + 1) % 9].epoch_beacons, seconds=4 * LENGTH_S)
    town.restart(away)
    assert town.run(town.finished(study), seconds=20.0)


# --- revocation ---------------------------------------------------------------------------------


def test_a_revoked_node_is_heard_no_more():
    """I4: after one epoch nothing that it says or signs for a new study is accepted."""
    town = town_in(0, count=10)
    revoked = 4
    successor = town.publish([index for index in range(10) if index != revoked])
    town.inject(1, 0, Items((codec.encode(successor),)))
    town.run(seconds=2.0)
    assert all(m.rounds.away_in(m.census, b"s" * 32)(revoked) for m in town.living()), (
        "nobody waits for it"
    )
    assert town.run(town.in_epoch(1), seconds=3 * LENGTH_S)
    asked = replace(manifest(10, epoch=1), proposer=town.census.node_ids[revoked])
    node = town.census.node_ids[revoked]
    signed = sign_body(town.cryptos[revoked], town.census.network, node, asked)
    for index in range(10):
        if index != revoked:
            town.inject(revoked, index, Items((codec.encode(signed),)))
            town.inject((index + 1) % 10, index, Items((codec.encode(signed),)))
    study = study_id(signed.body)
    assert not any(study in m.studies for i, m in enumerate(town.machines) if i != revoked)
    assert "the peer is not in the census" in town.rules()
    assert all(not m.epochs.admits(node) for i, m in enumerate(town.machines) if i != revoked)
    following = town.machines[0].epochs.chain.plan
    assert following.census.index_of(node) is None
    new = town.propose_now(1)
    town.crash(revoked)
    assert town.run(town.finished(new), seconds=60)
    assert len(read_body(town.machines[0].studies[new].records[0]).excluded) == 0


def test_an_expired_census_opens_no_study():
    town = EpochTown(valid_until=15)
    town.run(town.in_epoch(0))
    study = town.propose(plan=manifest(9, [phase(9, rounds=2, deadline_s=9.0, target=9, drawn=9)]))
    town.run(lambda: study in town.machines[0].studies)
    town.run(seconds=16.0 - town.now)
    late = town.propose(2, manifest(9, title="late"))
    forced = old_study(town)
    town.run(seconds=6.0)
    assert not any({late, forced} & set(machine.studies) for machine in town.machines)
    refused = [effect.reason for effect in town.effects(RequestRefused)]
    assert len(refused) == 1
    assert "expired" in refused[0]
    assert town.run(town.finished(study), seconds=60), "what was begun goes on"


def test_a_later_census_that_holds_is_enough():
    """Revocations are known, though the epoch of that census has not begun."""
    town = EpochTown(valid_until=15, length_s=1000.0)
    town.run(town.in_epoch(0))
    successor = town.publish(range(9), valid_until=10**9)
    for index in range(9):
        town.inject((index + 1) % 9, index, Items((codec.encode(successor),)))
    town.run(seconds=16.0 - town.now)
    assert town.run(town.finished(town.propose()), seconds=60)
